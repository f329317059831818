//! Why a forest gave this score: exact Shapley values of its inputs.
//!
//! Path-dependent TreeSHAP: the value of a set of known inputs is the walk
//! that follows the row where the input is known and, where it is not, takes
//! both ways in proportion to cover. Lundberg, Erion, Lee, "Consistent
//! individualized feature attribution for tree ensembles", 2018, Algorithm 2,
//! but for UNWIND, which here is stable on paths of any length.

use super::forest::{Forest, Node, Tree};

/// The contribution of each input to a raw output for `row`, and last what is
/// expected of it (shape `[n_inputs + 1]`); together they sum to the raw
/// output. None where the forest's covers are unknown.
pub fn contributions(forest: &Forest, row: &[f64], output: usize) -> Option<Vec<f64>> {
    let expected = *forest.expected()?.get(output)?;
    let row = &forest.rounded(row);
    let mut values = vec![0.0; forest.n_inputs() + 1];
    let mut paths = Vec::new();
    let trees = || forest.trees().iter().filter(|tree| tree.output as usize == output);
    for tree in trees() {
        Walk { tree, row, values: &mut values, paths: &mut paths }.descend(0, 0, Element::ROOT);
    }
    if forest.frame().arithmetic.mean {
        let n = trees().count().max(1) as f64;
        values.iter_mut().for_each(|value| *value /= n);
    }
    values[forest.n_inputs()] = expected;
    Some(values)
}

/// An input that the way from the root to a node has split on.
#[derive(Clone, Copy)]
struct Element {
    /// The input; none at the root.
    input: Option<u32>,
    /// Share of the rows that stay on the way while the input is unknown.
    unknown: f64,
    /// The same while it is known: 1 if the row stays on the way, else 0.
    known: f64,
    /// Summed weight of the sets of known inputs with as many members as the
    /// element's position.
    weight: f64,
}

struct Walk<'a> {
    tree: &'a Tree,
    row: &'a [f64],
    values: &'a mut [f64],
    /// The paths of all nodes on the way, one behind the other.
    paths: &'a mut Vec<Element>,
}

impl Walk<'_> {
    /// Visits `node`, whose path is that from `start` on, extended by `step`.
    /// As deep as the tree, which [`Forest::MAX_DEPTH`] bounds.
    fn descend(&mut self, node: usize, start: usize, step: Element) {
        if step.unknown == 0.0 && step.known == 0.0 {
            // No set of known inputs leads here.
            return;
        }
        let end = self.paths.len();
        self.paths.extend_from_within(start..end);
        extend(self.paths, end, step);

        match &self.tree.nodes[node] {
            Node::Leaf(leaf) => {
                let path = &self.paths[end..];
                for (position, element) in path.iter().enumerate() {
                    if let Some(input) = element.input {
                        let mut weight = 0.0;
                        unwound_weights(path, position, |_, unwound| weight += unwound);
                        self.values[input as usize] +=
                            weight * (element.known - element.unknown) * leaf.value;
                    }
                }
            }
            Node::Split(split) => {
                let (mut unknown, mut known) = (1.0, 1.0);
                let before = self.paths[end..].iter().position(|element| element.input == Some(split.input));
                if let Some(position) = before {
                    let earlier = self.paths[end + position];
                    (unknown, known) = (earlier.unknown, earlier.known);
                    unwind(self.paths, end, position);
                }
                let taken = split.child(self.row[split.input as usize]);
                let (left, right) = (split.left as usize, split.right as usize);
                for (child, share) in [left, right].into_iter().zip(self.tree.shares(split)) {
                    let step = Element {
                        input: Some(split.input),
                        unknown: unknown * share,
                        known: if child == taken { known } else { 0.0 },
                        weight: 0.0,
                    };
                    self.descend(child, end, step);
                }
            }
        }
        self.paths.truncate(end);
    }
}

impl Element {
    const ROOT: Self = Self { input: None, unknown: 1.0, known: 1.0, weight: 0.0 };
}

/// Adds an element to the path from `start` on: every set so far, with and
/// without it.
fn extend(paths: &mut Vec<Element>, start: usize, step: Element) {
    let length = paths.len() - start;
    paths.push(Element { weight: if length == 0 { 1.0 } else { 0.0 }, ..step });
    let path = &mut paths[start..];
    let size = (length + 1) as f64;
    for position in (0..length).rev() {
        let weight = path[position].weight;
        path[position + 1].weight += step.known * weight * (position + 1) as f64 / size;
        path[position].weight = step.unknown * weight * (length - position) as f64 / size;
    }
}

/// Takes the element at `position` out of the path from `start` on: the
/// inverse of having extended it by that element.
fn unwind(paths: &mut Vec<Element>, start: usize, position: usize) {
    let path = &mut paths[start..];
    let mut weights = vec![0.0; path.len() - 1];
    unwound_weights(path, position, |index, weight| weights[index] = weight);
    for (index, weight) in weights.into_iter().enumerate() {
        let kept = if index < position { path[index] } else { path[index + 1] };
        path[index] = Element { weight, ..kept };
    }
    paths.pop();
}

/// Gives `each` the weights that would be left without the element at
/// `position`, with their positions.
///
/// An extension makes of weights `w` the sum, at each position `i` of `n`,
/// `(unknown (n - 1 - i) w[i] + known i w[i - 1]) / n`. This solves for `w`
/// from both ends, up to where the two factors are equal: beyond it either
/// direction alone multiplies rounding errors, without bound on long paths.
fn unwound_weights(path: &[Element], position: usize, mut each: impl FnMut(usize, f64)) {
    let Element { known, unknown, .. } = path[position];
    let last = path.len() - 1;
    let n = path.len() as f64;
    let turn = ((n * unknown / (known + unknown)) as usize).min(last);
    let mut weight = 0.0;
    for (i, element) in path.iter().enumerate().take(turn) {
        weight = (n * element.weight - known * i as f64 * weight) / (unknown * (last - i) as f64);
        each(i, weight);
    }
    weight = 0.0;
    for i in (turn + 1..=last).rev() {
        weight = (n * path[i].weight - unknown * (last - i) as f64 * weight) / (known * i as f64);
        each(i - 1, weight);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::forest::{Condition, Frame, Leaf, Side, Split, random};
    use crate::engine::model::Scorer;

    /// The value of a set of known inputs, straight from the definition.
    fn value_of(tree: &Tree, node: usize, row: &[f64], known: u32) -> f64 {
        match &tree.nodes[node] {
            Node::Leaf(leaf) => leaf.value,
            Node::Split(split) if known >> split.input & 1 == 1 => {
                value_of(tree, split.child(row[split.input as usize]), row, known)
            }
            Node::Split(split) => {
                let [left, right] = tree.shares(split);
                left * value_of(tree, split.left as usize, row, known)
                    + right * value_of(tree, split.right as usize, row, known)
            }
        }
    }

    /// Shapley values by the sum over all sets of the other inputs.
    fn brute_force(forest: &Forest, row: &[f64], output: usize) -> Vec<f64> {
        let n = forest.n_inputs() as u32;
        let factorial = |k: u32| (1..=k).map(f64::from).product::<f64>();
        let row = &forest.rounded(row);
        let trees = || forest.trees().iter().filter(|tree| tree.output as usize == output);
        let share = if forest.frame().arithmetic.mean { 1.0 / trees().count().max(1) as f64 } else { 1.0 };
        let value = |known| -> f64 {
            let sum: f64 = trees().map(|tree| value_of(tree, 0, row, known)).sum();
            forest.frame().base[output] + sum * share
        };
        let mut values: Vec<f64> = (0..n)
            .map(|input| {
                (0..1u32 << n)
                    .filter(|known| known >> input & 1 == 0)
                    .map(|known| {
                        let size = known.count_ones();
                        let weight = factorial(size) * factorial(n - size - 1) / factorial(n);
                        weight * (value(known | 1 << input) - value(known))
                    })
                    .sum()
            })
            .collect();
        values.push(value(0));
        values
    }

    /// A vine over as many inputs as it is deep; `share` of the rows go on at each split.
    fn vine(depth: u32, share: f64) -> Forest {
        let mut nodes = Vec::new();
        let mut cover = 1.0;
        for level in 0..depth {
            let (left, right) = (2 * level + 1, 2 * level + 2);
            let (condition, missing) = (Condition::Less(0.5), Side::Left);
            let split =
                Split { input: level, condition, missing, zero_is_missing: false, left, right, cover };
            let value = f64::from(level % 3) - 1.0;
            nodes.extend([Node::Split(split), Node::Leaf(Leaf { value, cover: cover * (1.0 - share) })]);
            cover *= share;
        }
        nodes.push(Node::Leaf(Leaf { value: 3.0, cover }));
        Forest::new(Frame::single(depth as usize, 0.0), vec![Tree::of(nodes)]).expect("valid")
    }

    /// Solving from one end only is off by 1e-4 at 50 inputs, and by 1e3 at 80.
    #[test]
    fn long_paths_lose_no_precision() {
        for (depth, share) in [(50, 0.9), (80, 0.9), (80, 0.1), (120, 0.5), (200, 0.99), (500, 0.9)] {
            let forest = vine(depth, share);
            for keeps_on in [|_| true, |level| level % 2 == 1, |level| level < 40] {
                let row: Vec<f64> = (0..depth).map(|level| f64::from(keeps_on(level))).collect();
                let contributions = contributions(&forest, &row, 0).expect("covers are known");
                let sum: f64 = contributions.iter().sum();
                assert!((sum - forest.raw(&row)).abs() < 1e-12, "{depth} inputs, {share}: {sum}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn contributions_are_shapley_values((forest, rows) in random::forest_and_rows(6)) {
            for (row, output) in rows.iter().flat_map(|row| (0..forest.n_outputs()).map(move |output| (row, output))) {
                let contributions = contributions(&forest, row, output).expect("covers are known");
                for (fast, slow) in contributions.iter().zip(brute_force(&forest, row, output)) {
                    prop_assert!((fast - slow).abs() < 1e-9, "{fast} is not {slow}");
                }
                let mut raw = vec![0.0; forest.n_outputs()];
                forest.score(row, &mut raw);
                let sum: f64 = contributions.iter().sum();
                prop_assert!((sum - raw[output]).abs() < 1e-5, "{sum} is not {}", raw[output]);
            }
        }
    }
}
