//! Forests of more thresholds, sets of categories or nodes than bytes can name.
//!
//! Every distinct test that a split makes has a bit, and a row sets all of
//! them before the walk: of an input's thresholds those that it reaches are
//! ones, and they are the first; of its sets the bits were put together at
//! loading, by where the number lies among all ends of ranges. A node is two
//! numbers: its test, and where its children stand.

mod tests_of;

use super::depths;
use super::layout::{Group, Placed};
use super::ranks::{Test, WIDTH, n_reached};
use super::sums::Sum;
use super::tree_order::Order;
use crate::engine::forest::{Forest, Node, Tree};
use tests_of::Tests;

#[derive(Debug)]
pub struct Wide {
    pub tests: Tests,
    /// Of all trees, two a node: its test, and where among these its left child
    /// is; the right one is next to it. A leaf leads to itself.
    pub nodes: Vec<u32>,
    /// By node; of splits 0.
    pub values: Vec<f64>,
    pub groups: Vec<Group>,
}

/// Trees that are in the air together.
const LANES: usize = 8;

pub const FEW: usize = 1 << 10;
pub const MORE: usize = 1 << 13;
pub const MOST: usize = Tests::MAX_WORDS;

impl Wide {
    /// None if there are too many tests.
    pub fn of(forest: &Forest) -> Option<Self> {
        let tests = Tests::of(forest)?;
        let (nodes, values, groups) = (Vec::new(), Vec::new(), Vec::new());
        let mut wide = Self { tests, nodes, values, groups };
        for trees in forest.trees().chunks(Group::LANES) {
            let placed = trees.iter().map(|tree| wide.lay_out(tree)).collect::<Option<Vec<_>>>()?;
            wide.groups.push(Group::of(&placed));
        }
        Some(wide)
    }

    fn lay_out(&mut self, tree: &Tree) -> Option<Placed> {
        let order = Order::of(tree, &[0], |_| true);
        let start = self.values.len();
        let end = start + order.n_places;
        self.nodes.resize(2 * end, Tests::NEVER);
        self.values.resize(end, 0.0);
        for (content, &at) in tree.nodes.iter().zip(&order.place) {
            let (test, child) = match content {
                Node::Leaf(leaf) => {
                    self.values[start + at] = leaf.value;
                    (Tests::NEVER, at)
                }
                Node::Split(split) => (self.tests.bit(split)?, order.place[split.left as usize]),
            };
            let at = 2 * (start + at);
            self.nodes[at..at + 2].copy_from_slice(&[test, 2 * (start + child) as u32]);
        }
        let root = (end - 1) as u32;
        let (upper, below) = ([Test::default(); Group::UPPER], [0; Group::BELOW]);
        let (depth, output) = (depths::most_levels(tree), tree.output as u16);
        Some(Placed { depth, root, upper, below, values: 0, output })
    }

    /// With room for `WORDS` words of bits; see [`by_words`].
    #[inline(always)]
    pub fn add_leaves_by<const WORDS: usize>(
        &self,
        row: &[f64],
        sum: &mut Sum,
        n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize,
        walk: impl Fn(&Self, &[u64], &Group) -> [u32; Group::LANES],
    ) {
        let mut words = [0; WORDS];
        self.tests.set(row, &mut words, n_reached);
        for group in &self.groups {
            let ends = walk(self, &words, group);
            let value = |tree| if tree < group.n_trees { self.values[ends[tree] as usize] } else { 0.0 };
            sum.add(group, &std::array::from_fn(value));
        }
    }
}

/// Of functions with room for few words, for more, and for the most that there
/// can be, the one for a forest: what is not needed would take longer to clear
/// than the walk.
pub fn by_words<F>(wide: &Wide, [few, more, most]: [F; 3]) -> F {
    let n_words = wide.tests.n_words();
    match (n_words <= FEW, n_words <= MORE) {
        (true, _) => few,
        (_, true) => more,
        _ => most,
    }
}

pub fn add_leaves(wide: &Wide, row: &[f64], sum: &mut Sum) {
    by_words(wide, [add_some::<FEW>, add_some::<MORE>, add_some::<MOST>])(wide, row, sum);
}

#[inline(never)] // Or the words would be on the stack of whoever calls it, used or not.
fn add_some<const WORDS: usize>(wide: &Wide, row: &[f64], sum: &mut Sum) {
    wide.add_leaves_by::<WORDS>(row, sum, n_reached, walk);
}

/// The leaves that a group's trees end at, in plain code.
fn walk(wide: &Wide, words: &[u64], group: &Group) -> [u32; Group::LANES] {
    let mut ends = group.roots.map(|root| 2 * root);
    for lanes in ends.as_chunks_mut::<LANES>().0 {
        for _ in 0..group.depth {
            for at in lanes.iter_mut() {
                let [test, child] = [0, 1].map(|part| wide.nodes[*at as usize + part]);
                let bit = words[test as usize / 64] >> (test % 64) & 1;
                *at = child + 2 * bit as u32;
            }
        }
    }
    ends.map(|end| end / 2)
}
