//! Trees as arrays of four-byte nodes.

use super::ranks::{LEAF_SLOT, Ranker};
use crate::engine::forest::{Forest, Node, Precision, Tree};

/// Trees whose leaves are added up together, in the order of the forest;
/// within, they are walked by depth.
pub const BLOCK: usize = 1_024;

#[derive(Debug)]
pub struct Layout {
    pub ranker: Ranker,
    /// Of all trees: see [`node`]. Siblings are neighbours.
    pub nodes: Vec<u32>,
    /// Of all trees.
    pub values: Vec<f64>,
    pub blocks: Vec<Block>,
    /// By output, how many trees it has; at least 1.
    pub trees_of_output: Vec<f64>,
    pub sums: Sums,
}

/// How leaves are added up.
#[derive(Clone, Copy, Debug)]
pub enum Sums {
    Double,
    /// In `f32`: no leaf is more precise.
    Single,
    /// In `f32`, of leaves that are more precise.
    Rounded,
}

#[derive(Debug)]
pub struct Block {
    /// Those of about the same depth together.
    pub groups: Vec<Group>,
    /// By tree in the order of the forest.
    pub outputs: Vec<u32>,
}

/// Trees that are walked side by side.
#[derive(Debug)]
pub struct Group {
    /// Levels of the deepest.
    pub depth: u32,
    pub n_trees: usize,
    /// Where each tree's root is among the nodes; of lanes without a tree as of the first.
    pub roots: [u32; Group::LANES],
    /// What makes of a leaf's node its value.
    pub values: [u32; Group::LANES],
    /// Which of the block's trees it is.
    pub trees: [u16; Group::LANES],
}

impl Group {
    pub const LANES: usize = 64;
}

/// The node that sends on by `slot` to `offset` further, or, if the rank is
/// greater than `rank`, to one more.
fn node(slot: u8, rank: u8, offset: u16) -> u32 {
    u32::from(offset) << 16 | u32::from(rank) << 8 | u32::from(slot)
}

/// A leaf leads to itself.
const LEAF: u32 = (LEAF_SLOT as u32) | (u8::MAX as u32) << 8;

struct Walked {
    depth: u32,
    root: u32,
    values: u32,
}

impl Layout {
    /// None if the forest does not fit.
    pub fn of(forest: &Forest) -> Option<Self> {
        let ranker = Ranker::of(forest)?;
        let mut trees_of_output = vec![0.0; forest.n_outputs()];
        for tree in forest.trees() {
            trees_of_output[tree.output as usize] += 1.0;
        }
        trees_of_output.iter_mut().for_each(|n| *n = f64::max(*n, 1.0));
        let (nodes, values, blocks) = (Vec::new(), Vec::new(), Vec::new());
        let mut layout = Self { ranker, nodes, values, blocks, trees_of_output, sums: Sums::of(forest) };
        for trees in forest.trees().chunks(BLOCK) {
            let mut walked: Vec<(usize, Walked)> = Vec::with_capacity(trees.len());
            // By depth, so that no group waits for one deep tree.
            let mut order: Vec<(u32, usize)> =
                trees.iter().enumerate().map(|(index, tree)| (depth(tree), index)).collect();
            order.sort_unstable();
            for (depth, index) in order {
                walked.push((index, layout.lay_out(&trees[index], depth)?));
            }
            let groups = walked.chunks(Group::LANES).map(Group::of).collect();
            let outputs = trees.iter().map(|tree| tree.output).collect();
            layout.blocks.push(Block { groups, outputs });
        }
        Some(layout)
    }

    /// Appends a tree: the root, and then pairs of siblings. Pairs of splits come
    /// first, so that the leaves, which have values, are close together.
    fn lay_out(&mut self, tree: &Tree, depth: u32) -> Option<Walked> {
        let root = self.nodes.len();
        let is_leaf = |index: u32| matches!(tree.nodes[index as usize], Node::Leaf(_));
        // Parents before children; how many of the pair are leaves decides its place.
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(tree.nodes.len() / 2);
        let mut pending = vec![0];
        while let Some(index) = pending.pop() {
            if let Node::Split(split) = &tree.nodes[index as usize] {
                pairs.push((split.left, split.right));
                pending.extend([split.right, split.left]);
            }
        }
        pairs.sort_by_key(|&(left, right)| u8::from(is_leaf(left)) + u8::from(is_leaf(right)));
        let mut place = vec![0; tree.nodes.len()];
        for (pair, &(left, right)) in pairs.iter().enumerate() {
            place[left as usize] = 1 + 2 * pair;
            place[right as usize] = 2 + 2 * pair;
        }
        let mut laid = vec![LEAF; tree.nodes.len()];
        let mut first_leaf = tree.nodes.len();
        for (index, content) in tree.nodes.iter().enumerate() {
            let at = place[index];
            match content {
                Node::Leaf(_) => first_leaf = first_leaf.min(at),
                Node::Split(split) => {
                    // Children may come before their parent: offsets wrap within 16 bits.
                    let offset = i16::try_from(place[split.left as usize] as i64 - at as i64).ok()?;
                    let (slot, rank) = self.ranker.slot_and_rank(split)?;
                    laid[at] = node(slot, rank, offset as u16);
                }
            }
        }
        let values = self.values.len();
        self.values.resize(values + laid.len() - first_leaf, 0.0);
        for (index, content) in tree.nodes.iter().enumerate() {
            if let Node::Leaf(leaf) = content {
                self.values[values + place[index] - first_leaf] = leaf.value;
            }
        }
        self.nodes.extend(laid);
        let to_values = values as i64 - first_leaf as i64 - root as i64;
        Some(Walked { depth, root: u32::try_from(root).ok()?, values: to_values as u32 })
    }
}

impl Sums {
    fn of(forest: &Forest) -> Self {
        let nodes = || forest.trees().iter().flat_map(|tree| &tree.nodes);
        let is_single = |value: f64| Precision::Single.round(value) == value;
        match forest.frame().arithmetic.sums {
            Precision::Double => Self::Double,
            Precision::Single if !forest.frame().base.iter().all(|&base| is_single(base)) => Self::Rounded,
            Precision::Single => {
                let is_exact = |node: &Node| match node {
                    Node::Leaf(leaf) => is_single(leaf.value),
                    Node::Split(_) => true,
                };
                if nodes().all(is_exact) { Self::Single } else { Self::Rounded }
            }
        }
    }

    /// Adds leaves to their outputs, one after the other.
    #[inline(always)]
    pub fn add(self, raw: &mut [f64], outputs: &[u32], leaves: &[f64]) {
        match (self, &mut raw[..]) {
            (Self::Double, [raw]) => *raw = leaves.iter().fold(*raw, |sum, leaf| sum + leaf),
            (Self::Single, [raw]) => {
                *raw = f64::from(leaves.iter().fold(*raw as f32, |sum, &leaf| sum + leaf as f32));
            }
            (Self::Double, raw) => {
                for (&output, leaf) in outputs.iter().zip(leaves) {
                    raw[output as usize] += leaf;
                }
            }
            (Self::Single | Self::Rounded, raw) => {
                for (&output, leaf) in outputs.iter().zip(leaves) {
                    let sum = &mut raw[output as usize];
                    *sum = Precision::Single.round(*sum + leaf);
                }
            }
        }
    }
}

impl Group {
    fn of(trees: &[(usize, Walked)]) -> Self {
        let lane = |lane: usize| &trees[if lane < trees.len() { lane } else { 0 }];
        Self {
            depth: trees.iter().map(|(_, walked)| walked.depth).max().unwrap_or(0),
            n_trees: trees.len(),
            roots: std::array::from_fn(|at| lane(at).1.root),
            values: std::array::from_fn(|at| lane(at).1.values),
            trees: std::array::from_fn(|at| lane(at).0 as u16),
        }
    }
}

/// Splits on the longest way to a leaf.
fn depth(tree: &Tree) -> u32 {
    let mut deepest = 0;
    let mut pending = vec![(0, 0)];
    while let Some((index, depth)) = pending.pop() {
        deepest = deepest.max(depth);
        if let Node::Split(split) = &tree.nodes[index as usize] {
            pending.extend([(split.left, depth + 1), (split.right, depth + 1)]);
        }
    }
    deepest
}
