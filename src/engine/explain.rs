//! Why a forest gave this score: exact Shapley values of its inputs.
//!
//! Path-dependent TreeSHAP: the value of a set of known inputs is the walk
//! that follows the row where the input is known and, where it is not, takes
//! both ways in proportion to cover (Lundberg, Erion, Lee, "Consistent
//! individualized feature attribution for tree ensembles", 2018).
//!
//! The value of a leaf for a set of known inputs is a product over the inputs
//! on its way, so a Shapley value is an integral: each input is known with
//! probability `t`, and the value's slope in one of them is averaged over `t`
//! from 0 to 1 (Owen, "Multilinear extensions of games", 1972). In `t` that is
//! a polynomial, for which Gauss-Legendre quadrature is exact, and no term of
//! it cancels another. Leaves are added up on the way back to the root, so that
//! every node is visited once.

mod quadrature;

use super::forest::{Forest, Node, Split, Tree};
use quadrature::Quadrature;

/// The contribution of each input to a raw output for `row`, and last what is
/// expected of it (shape `[n_inputs + 1]`); together they sum to the raw
/// output. None where the forest's covers are unknown.
pub fn contributions(forest: &Forest, row: &[f64], output: usize) -> Option<Vec<f64>> {
    let expected = *forest.expected()?.get(output)?;
    let row = &forest.rounded(row);
    let mut values = vec![0.0; forest.n_inputs() + 1];
    // A polynomial of one degree less than there are inputs on a way.
    match forest.depth().min(forest.n_inputs()).div_ceil(2).max(1) {
        n @ 0..=4 => explain::<4>(forest, row, output, n, &mut values),
        n @ 5..=8 => explain::<8>(forest, row, output, n, &mut values),
        n @ 9..=16 => explain::<16>(forest, row, output, n, &mut values),
        n @ 17..=32 => explain::<32>(forest, row, output, n, &mut values),
        n => explain::<{ Forest::MAX_DEPTH / 2 }>(forest, row, output, n, &mut values),
    }
    values[forest.n_inputs()] = expected;
    Some(values)
}

/// Adds what the trees of an output contribute, by `n_points` of at most `N`.
fn explain<const N: usize>(forest: &Forest, row: &[f64], output: usize, n_points: usize, values: &mut [f64]) {
    let trees = || forest.trees().iter().filter(|tree| tree.output as usize == output);
    let steps = vec![Step::<N>::ROOT; forest.depth() + 1];
    let mut walk = Walk::<N> {
        row,
        points: Quadrature::new(n_points),
        steps,
        latest: vec![0; forest.n_inputs()],
        values,
    };
    for tree in trees() {
        walk.descend(tree, 0, 0);
    }
    if forest.frame().arithmetic.mean {
        let n = trees().count().max(1) as f64;
        values.iter_mut().for_each(|value| *value /= n);
    }
}

struct Walk<'a, const N: usize> {
    row: &'a [f64],
    points: Quadrature<N>,
    /// From the root to the node, by depth.
    steps: Vec<Step<N>>,
    /// By input, the depth of the latest step that it decided; 0: none has.
    latest: Vec<usize>,
    values: &'a mut [f64],
}

/// A step from a node to a child. An input that decided it is, at point `t`,
/// known with probability `t`.
#[derive(Clone, Copy)]
struct Step<const N: usize> {
    /// Share of the rows that have come this way while the input is unknown.
    unknown: f64,
    /// Whether the row has while it is known.
    known: bool,
    /// By point, one over the probability that the input lets the row come this
    /// way; not set if that is never while it is known.
    inverse: [f64; N],
    /// By point, how the logarithm of that probability changes with the input known.
    slope: [f64; N],
    /// By point, the probability of having come this way.
    product: [f64; N],
    /// By point, the sum over the leaves below of value and probability.
    sum: [f64; N],
}

impl<const N: usize> Step<N> {
    const ROOT: Self = Self {
        unknown: 1.0,
        known: true,
        inverse: [1.0; N],
        slope: [0.0; N],
        product: [1.0; N],
        sum: [0.0; N],
    };
}

impl<const N: usize> Walk<'_, N> {
    /// Visits `node`. As deep as the tree, which [`Forest::MAX_DEPTH`] bounds.
    fn descend(&mut self, tree: &Tree, node: usize, depth: usize) {
        match &tree.nodes[node] {
            Node::Leaf(leaf) => {
                let step = &mut self.steps[depth];
                for (sum, product) in step.sum.iter_mut().zip(&step.product) {
                    *sum = product * leaf.value;
                }
            }
            Node::Split(split) => {
                self.steps[depth].sum.fill(0.0);
                let input = split.input as usize;
                let taken = split.child(self.row[input]);
                let before = self.latest[input];
                self.latest[input] = depth + 1;
                for (child, share) in children(tree, split) {
                    if !self.step(before, depth, share, child == taken) {
                        continue;
                    }
                    self.descend(tree, child, depth + 1);
                    let (earlier, below) = (&self.steps[before], &self.steps[depth + 1]);
                    let mut value = 0.0;
                    for at in 0..N {
                        // What is below counts for the latest step of an input only.
                        let slope = below.slope[at] - earlier.slope[at];
                        value += self.points.weights[at] * slope * below.sum[at];
                    }
                    let (parents, children) = self.steps.split_at_mut(depth + 1);
                    for (sum, below) in parents[depth].sum.iter_mut().zip(&children[0].sum) {
                        *sum += below;
                    }
                    self.values[input] += value;
                }
                self.latest[input] = before;
            }
        }
    }

    /// Extends the way by a step that leads `share` of the rows on, with the row if
    /// it `is_taken`. `before`: the depth of the step that the same input decided.
    /// False if no set of known inputs leads there.
    #[inline(never)] // Or its arrays would be on the stack once a level.
    fn step(&mut self, before: usize, depth: usize, share: f64, is_taken: bool) -> bool {
        let (parents, children) = self.steps.split_at_mut(depth + 1);
        let (before, parent, step) = (&parents[before], &parents[depth], &mut children[0]);
        step.unknown = before.unknown * share;
        step.known = before.known && is_taken;
        let Quadrature { points, inverse_of_rest, .. } = &self.points;
        match (step.known, before.known) {
            (true, _) => {
                for (at, point) in points.iter().enumerate() {
                    let probability = step.unknown * (1.0 - point) + point;
                    step.inverse[at] = 1.0 / probability;
                    step.slope[at] = (1.0 - step.unknown) * step.inverse[at];
                    step.product[at] = parent.product[at] * (probability * before.inverse[at]);
                }
            }
            (false, _) if step.unknown == 0.0 => return false,
            (false, true) => {
                for (at, (point, inverse)) in points.iter().zip(inverse_of_rest).enumerate() {
                    step.slope[at] = -inverse;
                    let probability = step.unknown * (1.0 - point);
                    step.product[at] = parent.product[at] * (probability * before.inverse[at]);
                }
            }
            (false, false) => {
                for at in 0..N {
                    step.slope[at] = before.slope[at];
                    step.product[at] = parent.product[at] * share;
                }
            }
        }
        true
    }
}

fn children(tree: &Tree, split: &Split) -> [(usize, f64); 2] {
    let [left, right] = tree.shares(split);
    [(split.left as usize, left), (split.right as usize, right)]
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
