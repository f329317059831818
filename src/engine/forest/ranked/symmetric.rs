//! Trees that ask one question a level, as CatBoost's do: the answers are the
//! leaf's number, and nothing is walked.

use super::layout::Group;
use super::ranks::{Ranker, RowRanks};
use super::sums::Sums;
use crate::engine::forest::{Forest, Node, Split, Tree};

#[derive(Debug, Default)]
pub struct Symmetric {
    /// Of all trees, from the root: the slot, and the greatest rank that goes left.
    tests: Vec<[u8; 2]>,
    /// Of all trees, by number: the first answer is the highest digit, right is 1.
    values: Vec<f64>,
    trees: Vec<Extent>,
}

#[derive(Debug)]
struct Extent {
    first_test: usize,
    n_tests: usize,
    first_value: usize,
}

impl Symmetric {
    /// None if a tree is not symmetric.
    pub fn of(forest: &Forest, ranker: &Ranker) -> Option<Self> {
        let mut symmetric = Self::default();
        for tree in forest.trees() {
            symmetric.push(tree, ranker)?;
        }
        Some(symmetric)
    }

    fn push(&mut self, tree: &Tree, ranker: &Ranker) -> Option<()> {
        let (first_test, first_value) = (self.tests.len(), self.values.len());
        let mut level = vec![0_u32];
        loop {
            let nodes = level.iter().map(|&index| &tree.nodes[index as usize]);
            let splits: Vec<&Split> = nodes
                .clone()
                .filter_map(|node| match node {
                    Node::Split(split) => Some(split),
                    Node::Leaf(_) => None,
                })
                .collect();
            let Some(first) = splits.first() else {
                self.values.extend(nodes.filter_map(|node| match node {
                    Node::Leaf(leaf) => Some(leaf.value),
                    Node::Split(_) => None,
                }));
                let n_tests = self.tests.len() - first_test;
                self.trees.push(Extent { first_test, n_tests, first_value });
                return Some(());
            };
            if splits.len() < level.len() || !splits.iter().all(|split| asks_the_same(split, first)) {
                return None;
            }
            let (slot, rank) = ranker.slot_and_rank(first)?;
            self.tests.push([slot, rank]);
            level = splits.iter().flat_map(|split| [split.left, split.right]).collect();
        }
    }

    #[inline(always)]
    pub fn add_leaves(&self, ranks: &RowRanks, groups: &[Group], sums: &Sums, raw: &mut [f64]) {
        for (group, trees) in groups.iter().zip(self.trees.chunks(Group::LANES)) {
            sums.add(raw, group, |tree| {
                let Extent { first_test, n_tests, first_value } = trees[tree];
                let tests = &self.tests[first_test..first_test + n_tests];
                let number = tests.iter().fold(0, |number, &[slot, rank]| {
                    2 * number + usize::from(ranks[usize::from(slot)] > rank)
                });
                self.values[first_value + number]
            });
        }
    }
}

fn asks_the_same(a: &Split, b: &Split) -> bool {
    (a.input, a.missing, a.zero_is_missing) == (b.input, b.missing, b.zero_is_missing)
        && a.condition == b.condition
}
