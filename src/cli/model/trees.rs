//! What a forest is made of, and rows that go every way through it.

use std::collections::BTreeSet;

use rand::prelude::*;
use rand_chacha::ChaCha8Rng;

use crate::engine::forest::{Condition, Forest, Node, Split, Tree};

/// The share of values of [`rows`] that are missing.
const MISSING: f64 = 0.1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub n_trees: usize,
    pub n_leaves: usize,
    pub max_leaves: usize,
    /// Splits on the longest way down.
    pub depth: usize,
    /// Inputs that some split reads.
    pub used: BTreeSet<usize>,
    /// Inputs that some split takes for a category.
    pub categorical: BTreeSet<usize>,
}

impl Summary {
    pub fn of(forest: &Forest) -> Self {
        let mut summary = Self { n_trees: forest.trees().len(), ..Self::default() };
        for tree in forest.trees() {
            let n_leaves = tree.nodes.iter().filter(|node| matches!(node, Node::Leaf(_))).count();
            summary.n_leaves += n_leaves;
            summary.max_leaves = summary.max_leaves.max(n_leaves);
            summary.depth = summary.depth.max(depth(tree));
            for split in splits(tree) {
                summary.used.insert(split.input as usize);
                if matches!(split.condition, Condition::OneOf(_)) {
                    summary.categorical.insert(split.input as usize);
                }
            }
        }
        summary
    }
}

/// Rows of values at which the forest decides, and between and beyond them;
/// the same seed gives the same rows. Shape `[n_rows, n_inputs]`.
pub fn rows(forest: &Forest, n_rows: usize, seed: u64) -> Vec<f64> {
    let mut thresholds = vec![Vec::new(); forest.n_inputs()];
    for split in forest.trees().iter().flat_map(splits) {
        let of_input = &mut thresholds[split.input as usize];
        match &split.condition {
            Condition::Less(threshold) | Condition::LessOrEqual(threshold) => of_input.push(*threshold),
            Condition::OneOf(ranges) => of_input.extend(ranges.ends()),
        }
    }
    for of_input in &mut thresholds {
        of_input.retain(|threshold| threshold.is_finite());
        of_input.sort_unstable_by(f64::total_cmp);
        of_input.dedup();
    }
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let value = |of_input: &Vec<f64>| match of_input.as_slice() {
        _ if dice.random_bool(MISSING) => f64::NAN,
        [] => 0.0,
        [first, .., last] | [first @ last] => match dice.random_range(0..=of_input.len()) {
            0 => first - 1.0,
            at if at == of_input.len() => last + 1.0,
            at if dice.random_bool(0.5) => of_input[at],
            at => of_input[at - 1] / 2.0 + of_input[at] / 2.0,
        },
    };
    thresholds.iter().cycle().take(n_rows * thresholds.len()).map(value).collect()
}

fn splits(tree: &Tree) -> impl Iterator<Item = &Split> {
    tree.nodes.iter().filter_map(|node| match node {
        Node::Split(split) => Some(split),
        Node::Leaf(_) => None,
    })
}

fn depth(tree: &Tree) -> usize {
    let (mut deepest, mut open) = (0, vec![(0, 0)]);
    while let Some((node, depth)) = open.pop() {
        deepest = deepest.max(depth);
        if let Node::Split(split) = &tree.nodes[node] {
            open.push((split.left as usize, depth + 1));
            open.push((split.right as usize, depth + 1));
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::forest::{Frame, Leaf, Ranges, Side};

    fn forest() -> Forest {
        let leaf = |value| Node::Leaf(Leaf { value, cover: 0.0 });
        let split = |input, condition, left, right| {
            let (missing, zero_is_missing) = (Side::Left, false);
            Node::Split(Split { input, condition, missing, zero_is_missing, left, right, cover: 0.0 })
        };
        let deep = Tree::of(vec![
            split(0, Condition::Less(2.0), 1, 2),
            leaf(-1.0),
            split(2, Condition::OneOf(Ranges::exactly(3.0)), 3, 4),
            leaf(0.0),
            leaf(1.0),
        ]);
        Forest::new(Frame::single(3, 0.0), vec![deep, Tree::of(vec![leaf(0.5)])]).expect("a valid forest")
    }

    #[test]
    fn a_forest_is_summed_up() {
        let expected = Summary {
            n_trees: 2,
            n_leaves: 4,
            max_leaves: 3,
            depth: 2,
            used: [0, 2].into(),
            categorical: [2].into(),
        };
        assert_eq!(Summary::of(&forest()), expected);
    }

    #[test]
    fn rows_go_every_way_and_are_the_same_again() {
        let forest = forest();
        let given = rows(&forest, 200, 7);
        assert_eq!(given.len(), 600);
        let bits = |rows: &[f64]| rows.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&given), bits(&rows(&forest, 200, 7)));
        let mut answers: Vec<f64> = given.chunks(3).map(|row| forest.raw(row)).collect();
        answers.sort_unstable_by(f64::total_cmp);
        answers.dedup();
        assert_eq!(answers, [-0.5, 0.5, 1.5], "every leaf is reached");
        assert!(given.iter().any(|value| value.is_nan()));
    }
}
