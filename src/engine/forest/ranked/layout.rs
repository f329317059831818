//! Trees as arrays of four-byte nodes.

use super::Misfit;
use super::depths;
use super::ranks::{LEAF_SLOT, Ranker};
use super::symmetric::Symmetric;
use super::tree_order::{self, Placed};
use crate::engine::forest::{Forest, Node, Tree};

#[derive(Debug)]
pub struct Layout {
    pub ranker: Ranker,
    /// If all trees are: then these are scored by it.
    pub symmetric: Option<Symmetric>,
    /// Of all trees: see [`node`]. Siblings are neighbours.
    pub nodes: Vec<u32>,
    /// Of all trees.
    pub values: Vec<f64>,
    pub groups: Vec<Group>,
    /// Levels that all trees are walked before those go on that are left; at
    /// least 1 if there is any.
    pub first_round: u32,
}

/// Trees that are walked side by side, in the order of the forest.
#[derive(Debug)]
pub struct Group {
    pub n_trees: usize,
    /// By vector, the levels of its deepest tree; the first has the deepest.
    pub depths: [u32; Group::LANES / Group::VECTOR],
    /// By lane, where its tree's root is among the nodes; of lanes without a tree as of the first.
    pub roots: [u32; Group::LANES],
    /// By lane, what makes of a leaf's node its value.
    pub values: [u32; Group::LANES],
    /// By tree in the order of the forest, its lane.
    pub lanes: [u8; Group::LANES],
    /// By tree in the order of the forest, its output.
    pub outputs: [u16; Group::LANES],
}

impl Group {
    pub const LANES: usize = 64;
    /// Lanes of a vector.
    pub const VECTOR: usize = 16;
}

/// The node that sends on by `slot` to `offset` further, or, if the rank is
/// greater than `rank`, to one more.
fn node(slot: u8, rank: u8, offset: u16) -> u32 {
    u32::from(offset) << 16 | u32::from(rank) << 8 | u32::from(slot)
}

/// A leaf leads to itself.
pub const LEAF: u32 = (LEAF_SLOT as u32) | (u8::MAX as u32) << 8;

impl Layout {
    pub fn of(forest: &Forest) -> Result<Self, Misfit> {
        let ranker = Ranker::of(forest)?;
        let (nodes, values, groups) = (Vec::new(), Vec::new(), Vec::new());
        let symmetric = Symmetric::of(forest, &ranker);
        let mut layout = Self { ranker, symmetric, nodes, values, groups, first_round: 0 };
        for trees in forest.trees().chunks(Group::LANES) {
            let placed = trees.iter().map(|tree| layout.lay_out(tree)).collect::<Result<Vec<_>, _>>()?;
            layout.groups.push(Group::of(&placed));
        }
        layout.first_round = depths::first_round(forest.trees(), &layout.groups);
        Ok(layout)
    }

    /// Whether all levels are walked at once.
    pub fn is_of_one_round(&self) -> bool {
        self.groups.iter().all(|group| group.depths[0] <= self.first_round)
    }

    fn lay_out(&mut self, tree: &Tree) -> Result<Placed, Misfit> {
        let order = tree_order::of(tree);
        let root = self.nodes.len();
        self.nodes.resize(root + tree.nodes.len(), LEAF);
        for (content, &at) in tree.nodes.iter().zip(&order.place) {
            if let Node::Split(split) = content {
                // Children may come before their parent: offsets wrap within 16 bits.
                let offset = order.place[split.left as usize] as i64 - at as i64;
                let (slot, rank) = self.ranker.slot_and_rank(split).ok_or(Misfit::Tests)?;
                self.nodes[root + at] =
                    node(slot, rank, i16::try_from(offset).map_err(|_| Misfit::Distance)? as u16);
            }
        }
        Ok(order.placed(tree, root, &mut self.values))
    }
}

impl Group {
    /// The deepest trees come first, so that no vector waits for one deep tree.
    pub fn of(trees: &[Placed]) -> Self {
        let mut by_depth: Vec<usize> = (0..trees.len()).collect();
        by_depth.sort_by_key(|&tree| std::cmp::Reverse(trees[tree].depth));
        let at = |lane: usize| &trees[by_depth.get(lane).copied().unwrap_or(by_depth[0])];
        let mut lanes = [0; Self::LANES];
        let mut outputs = [0; Self::LANES];
        for (lane, &tree) in by_depth.iter().enumerate() {
            lanes[tree] = lane as u8;
            outputs[tree] = trees[tree].output;
        }
        Self {
            n_trees: trees.len(),
            depths: std::array::from_fn(|vector| {
                by_depth.get(Self::VECTOR * vector).map_or(0, |&tree| trees[tree].depth)
            }),
            roots: std::array::from_fn(|lane| at(lane).root),
            values: std::array::from_fn(|lane| at(lane).values),
            lanes,
            outputs,
        }
    }
}
