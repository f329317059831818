//! Trees that ask one question a level, as CatBoost's do: the answers are the
//! leaf's number, and nothing is walked.

use super::layout::{Group, Slots, Tests};
use super::ranks::{RowRanks, Test};
use super::sums::Sum;
use crate::engine::forest::{Forest, Node, Split, Tree};

#[derive(Debug)]
pub struct Symmetric {
    groups: Vec<Levels>,
    /// Of all trees, by number: the first answer is the highest digit, right is 1.
    values: Vec<f64>,
    /// Those that are looked at, counted from the first.
    pub n_slots: usize,
}

/// Of the trees of a group.
#[derive(Debug)]
struct Levels {
    /// From the roots down; trees of fewer levels begin at a later one, and all go left before.
    levels: Vec<Tests>,
    /// By tree.
    first_values: [u32; Group::LANES],
}

impl Symmetric {
    /// Answers that a leaf's number holds.
    const MAX_DEPTH: usize = u16::BITS as usize;

    /// None if a tree is not symmetric, or too deep.
    pub fn of(forest: &Forest, tests: &[Box<[Test]>]) -> Option<Self> {
        let mut symmetric = Self { groups: Vec::new(), values: Vec::new(), n_slots: 0 };
        let mut of_trees = Vec::with_capacity(tests.len());
        for (tree, tests) in forest.trees().iter().zip(tests) {
            let first_value = symmetric.values.len() as u32;
            let levels = symmetric.push(tree, tests)?;
            of_trees.push((levels, first_value));
        }
        symmetric.groups = of_trees.chunks(Group::LANES).map(Levels::of).collect();
        Some(symmetric)
    }

    /// Takes in the leaves of a tree; gives its tests, by level.
    fn push(&mut self, tree: &Tree, tests: &[Test]) -> Option<Vec<Test>> {
        let mut of_levels = Vec::new();
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
                return Some(of_levels);
            };
            let is_symmetric =
                splits.len() == level.len() && splits.iter().all(|split| asks_the_same(split, first));
            if !is_symmetric || of_levels.len() == Self::MAX_DEPTH {
                return None;
            }
            let test = tests[level[0] as usize];
            self.n_slots = self.n_slots.max(usize::from(test.slot) + 1);
            of_levels.push(test);
            level = splits.iter().flat_map(|split| [split.left, split.right]).collect();
        }
    }

    /// `look_up`: the ranks in the slots.
    #[inline(always)]
    pub fn add_leaves(
        &self,
        groups: &[Group],
        sum: &mut Sum,
        look_up: impl Fn(&Slots) -> [u8; Group::LANES],
    ) {
        for (group, Levels { levels, first_values }) in groups.iter().zip(&self.groups) {
            let mut numbers = [0_u16; Group::LANES];
            for level in levels {
                let ranks = look_up(&level.slots);
                for (number, (rank, of_level)) in numbers.iter_mut().zip(ranks.iter().zip(&level.ranks)) {
                    *number = 2 * *number + u16::from(rank > of_level);
                }
            }
            let mut leaves = [0.0; Group::LANES];
            let values = first_values.iter().zip(&numbers).take(group.n_trees);
            for (leaf, (&first, &number)) in leaves.iter_mut().zip(values) {
                *leaf = self.values[first as usize + usize::from(number)];
            }
            sum.add(group, &leaves);
        }
    }
}

/// In plain code.
#[inline(always)]
pub fn look_up(ranks: &RowRanks, slots: &Slots) -> [u8; Group::LANES] {
    slots.map(|slot| ranks[usize::from(slot)])
}

impl Levels {
    fn of(trees: &[(Vec<Test>, u32)]) -> Self {
        let n_levels = trees.iter().map(|(tests, _)| tests.len()).max().unwrap_or(0);
        let mut first_values = [0; Group::LANES];
        let all_left = Tests { slots: [0; Group::LANES], ranks: [u8::MAX; Group::LANES] };
        let mut levels = vec![all_left; n_levels];
        for (tree, (tests, first_value)) in trees.iter().enumerate() {
            first_values[tree] = *first_value;
            for (level, test) in levels[n_levels - tests.len()..].iter_mut().zip(tests) {
                (level.slots[tree], level.ranks[tree]) = (test.slot, test.rank);
            }
        }
        Self { levels, first_values }
    }
}

fn asks_the_same(a: &Split, b: &Split) -> bool {
    (a.input, a.missing, a.zero_is_missing) == (b.input, b.missing, b.zero_is_missing)
        && a.condition == b.condition
}
