//! Trees as arrays of four-byte nodes.

use super::Misfit;
use super::depths;
use super::ranks::{Ranker, Test};
use super::symmetric::Symmetric;
use super::tree_order::{self, LINE, Order};
use crate::engine::forest::{Forest, Node, Tree};

#[derive(Debug)]
pub struct Layout {
    pub ranker: Ranker,
    /// If all trees are: then these are scored by it.
    pub symmetric: Option<Symmetric>,
    /// Of all trees but for their roots: splits, which are negative as signed numbers
    /// (see [`split_node`]), and leaves (see [`Layout::first_leaf`]).
    pub nodes: Vec<u32>,
    /// Of all trees; those of more rows come first.
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
    /// By lane, where its tree's root would be among the nodes; of lanes without a tree as of the first.
    pub roots: [u32; Group::LANES],
    /// By lane, its tree's uppermost nodes: the root, its children, and theirs, from left
    /// to right; below a leaf that leaf.
    pub tops: [[u32; Group::LANES]; Group::TOPS],
    /// By lane, what makes of a leaf the place of its value, by addition that wraps.
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
    /// Levels below the roots whose nodes stand by lane, too: they are reached without
    /// looking anything up.
    pub const TOP_LEVELS: u32 = 2;
    /// Nodes of these levels and the roots.
    pub const TOPS: usize = (2 << Self::TOP_LEVELS) - 1;
}

/// A tree of a layout.
pub struct Placed {
    /// Splits on the longest way to a leaf.
    pub depth: u32,
    pub root: u32,
    pub tops: [u32; Group::TOPS],
    pub values: u32,
    pub output: u16,
}

/// The split that sends on by `slot`: to the node so far before it, or, if the rank is
/// greater than `rank`, to that one's neighbour. As a signed number it is negative.
fn split_node(slot: u8, rank: u8, distance: usize) -> Option<u32> {
    let offset = i16::try_from(-(distance as i64)).ok()?;
    Some(u32::from(offset as u16) << 16 | u32::from(slot) << 8 | u32::from(rank))
}

/// How far before a split its children stand; none of a leaf.
fn distance(node: u32) -> Option<usize> {
    usize::try_from(-(node as i32 >> 16)).ok().filter(|distance| *distance > 0)
}

impl Layout {
    pub fn of(forest: &Forest, ranker: Ranker, tests: &[Box<[Test]>]) -> Result<Self, Misfit> {
        let symmetric = Symmetric::of(forest, tests);
        let n_places: usize = forest.trees().iter().map(tree_order::n_places).sum();
        let mut nodes = Vec::<u32>::with_capacity(LINE + n_places);
        // So that its lines are those of the caches. The first place is a leaf's.
        let to_next = nodes.as_ptr().align_offset(LINE * size_of::<u32>());
        nodes.resize(if (1..LINE).contains(&to_next) { to_next } else { LINE }, 0);
        let n_leaves = forest.trees().iter().map(|tree| tree.nodes.len() / 2 + 1).sum();
        let (values, groups) = (Vec::with_capacity(n_leaves), Vec::new());
        let mut layout = Self { ranker, symmetric, nodes, values, groups, first_round: 0 };
        layout.nodes[0] = layout.first_leaf();
        let trees = forest.trees().iter().zip(tests);
        let placed = trees.map(|(tree, tests)| layout.lay_out(tree, tests)).collect::<Result<Vec<_>, _>>()?;
        layout.groups.extend(placed.chunks(Group::LANES).map(Group::of));
        layout.first_round = depths::first_round(forest.trees(), &layout.groups);
        Ok(layout)
    }

    /// Whether all levels are walked at once.
    pub fn is_of_one_round(&self) -> bool {
        self.groups.iter().all(|group| group.depths[0] <= self.first_round)
    }

    fn lay_out(&mut self, tree: &Tree, tests: &[Test]) -> Result<Placed, Misfit> {
        let order = Order::of(tree);
        let (start, first_value) = (self.nodes.len(), self.values.len());
        self.nodes.resize(start + order.n_places, 0);
        let root_node = self.node(tree, tests, &order, first_value, 0)?;
        for &index in order.pairs.as_flattened() {
            let node = self.node(tree, tests, &order, first_value, index)?;
            self.nodes[start + order.place[index as usize]] = node;
        }
        let mut root = start + order.n_places;
        if order.pairs.is_empty() {
            // A leaf leads to itself, so it must be somewhere.
            root -= 1;
            self.nodes[root] = root_node;
        }
        let tops = self.tops(root, root_node);
        let values = first_value as i64 - i64::from(self.first_leaf());
        let (root, output) = (root as u32, tree.output as u16);
        Ok(Placed { depth: order.depth, root, tops, values: values as u32, output })
    }

    /// The uppermost nodes of a tree that has been laid out: see [`Group::tops`].
    fn tops(&self, root: usize, root_node: u32) -> [u32; Group::TOPS] {
        let mut tops = [(root, root_node); Group::TOPS];
        for top in 1..Group::TOPS {
            let (parent, goes_right) = ((top - 1) / 2, top.is_multiple_of(2));
            let (at, node) = tops[parent];
            tops[top] = match distance(node) {
                Some(distance) => {
                    let child = at - distance + usize::from(goes_right);
                    (child, self.nodes[child])
                }
                None => (at, node),
            };
        }
        tops.map(|(_, node)| node)
    }

    fn node(
        &mut self,
        tree: &Tree,
        tests: &[Test],
        order: &Order,
        first_value: usize,
        index: u32,
    ) -> Result<u32, Misfit> {
        match &tree.nodes[index as usize] {
            Node::Leaf(leaf) => {
                let node = self.first_leaf() + (self.values.len() - first_value) as u32;
                self.values.push(leaf.value);
                if node > u32::from(u16::MAX) { Err(Misfit::Leaves) } else { Ok(node) }
            }
            Node::Split(split) => {
                let Test { slot, rank } = tests[index as usize];
                let distance = order.place[index as usize] - order.place[split.left as usize];
                split_node(slot, rank, distance).ok_or(Misfit::Distance)
            }
        }
    }

    /// The node that is a tree's first leaf. The others are the numbers that follow: as
    /// splits they would look at slots that no test has, whose ranks are 0 and so greater
    /// than none, and lead no further.
    pub fn first_leaf(&self) -> u32 {
        (self.ranker.n_slots() << 8) as u32
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
            tops: std::array::from_fn(|top| std::array::from_fn(|lane| at(lane).tops[top])),
            lanes,
            outputs,
        }
    }
}
