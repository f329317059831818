//! Trees as arrays of four-byte nodes.

use super::Misfit;
use super::depths;
use super::ranks::{Ranker, Test};
use super::symmetric::Symmetric;
use super::tree_order::{self, LINE, Order};
use crate::engine::forest::{Forest, Node, Tree};

/// Levels of which all splits are asked: so many that what they lead to is cheaper to
/// read by lane than to look up.
const UPPER_LEVELS: usize = 3;

#[derive(Debug)]
pub struct Layout {
    pub ranker: Ranker,
    /// If all trees are: then these are scored by it.
    pub symmetric: Option<Symmetric>,
    /// Of all trees, [`split`]s and [`end`]s; the last line of a tree has its upper levels
    /// and what they lead to.
    pub nodes: Vec<u32>,
    /// Of all trees; those of more rows come first.
    pub values: Vec<f64>,
    pub groups: Vec<Group>,
    /// Nodes that are looked up on the way down each tree before those go on that are left.
    pub first_round: u32,
}

/// Trees that are walked side by side, in the order of the forest.
#[derive(Debug)]
pub struct Group {
    pub n_trees: usize,
    /// Nodes that are looked up on the longest way.
    pub depth: u32,
    /// By lane, where its tree's root is among the nodes; lanes without a tree are as the first.
    pub roots: [u32; Group::LANES],
    /// What the splits of the upper levels ask, level by level from left to right; a leaf
    /// sends to the left.
    pub upper: [Tests; Group::UPPER],
    /// By lane, what the upper levels lead to, from left to right, with distances from the root.
    pub below: [[u32; Group::LANES]; Group::BELOW],
    /// By lane, where its tree's first value is.
    pub values: [u32; Group::LANES],
    /// By lane, its tree's output.
    pub outputs: [u16; Group::LANES],
}

/// By lane, what is asked.
#[derive(Clone, Copy, Debug)]
pub struct Tests {
    pub slots: Slots,
    pub ranks: [u8; Group::LANES],
}

/// By lane.
pub type Slots = [u8; Group::LANES];

impl Group {
    pub const LANES: usize = 64;
    pub const UPPER_LEVELS: usize = UPPER_LEVELS;
    /// Splits of the upper levels.
    pub const UPPER: usize = Self::BELOW - 1;
    /// What the upper levels lead to.
    pub const BELOW: usize = 1 << UPPER_LEVELS;
}

/// A tree of a layout.
pub struct Placed {
    /// Nodes that are looked up on the longest way.
    pub depth: u32,
    pub root: u32,
    pub upper: [Test; Group::UPPER],
    pub below: [u32; Group::BELOW],
    pub values: u32,
    pub output: u16,
}

/// The split that sends on by `slot`: to the node so far before it, or, if the rank is
/// greater than `rank`, to that one's neighbour. As a signed number it is negative.
fn split(test: Test, distance: usize) -> Result<u32, Misfit> {
    let offset = i16::try_from(-(distance as i64)).map_err(|_| Misfit::Distance)?;
    Ok(u32::from(offset as u16) << 16 | u32::from(test.slot) << 8 | u32::from(test.rank))
}

/// The split that sends on to leaves: by number, the second to the next. As a signed
/// number it is not negative.
fn end(test: Test, leaf: usize) -> Result<u32, Misfit> {
    let leaf = i16::try_from(leaf + 1).map_err(|_| Misfit::Leaves)? - 1;
    Ok(u32::from(leaf as u16) << 16 | u32::from(test.slot) << 8 | u32::from(test.rank))
}

/// What is asked at a leaf, which is the end of a way as well: no rank is greater.
const AT_LEAF: Test = Test { slot: u8::MAX, rank: u8::MAX };

/// What is asked.
fn test(node: u32) -> Test {
    let [rank, slot, ..] = node.to_le_bytes();
    Test { slot, rank }
}

/// How far before a split its children stand.
fn distance(split: u32) -> usize {
    (split as i32 >> 16).unsigned_abs() as usize
}

pub fn is_split(node: u32) -> bool {
    (node as i32) < 0
}

/// What is at a leaf of this number.
pub fn at_leaf(number: i32) -> u32 {
    (number as u32) << 16 | u32::from(u16::MAX)
}

/// The number of the leaf that a way ended at.
pub fn leaf(node: u32) -> u32 {
    node >> 16
}

impl Layout {
    pub fn of(forest: &Forest, ranker: Ranker, tests: &[Box<[Test]>]) -> Result<Self, Misfit> {
        let symmetric = Symmetric::of(forest, tests);
        let n_places: usize = forest.trees().iter().map(tree_order::most_places).sum();
        let mut nodes = Vec::<u32>::with_capacity(LINE + n_places);
        // So that its lines are those of the caches. The first place is nobody's.
        let to_next = nodes.as_ptr().align_offset(LINE * size_of::<u32>());
        nodes.resize(if (1..LINE).contains(&to_next) { to_next } else { LINE }, 0);
        let n_leaves = forest.trees().iter().map(|tree| tree.nodes.len() / 2 + 1).sum();
        let (values, groups) = (Vec::with_capacity(n_leaves), Vec::new());
        let mut layout = Self { ranker, symmetric, nodes, values, groups, first_round: 0 };
        let trees = forest.trees().iter().zip(tests);
        let placed = trees.map(|(tree, tests)| layout.lay_out(tree, tests)).collect::<Result<Vec<_>, _>>()?;
        layout.groups.extend(placed.chunks(Group::LANES).map(Group::of));
        layout.first_round = depths::first_round(forest.trees(), &layout.groups);
        Ok(layout)
    }

    /// Whether all levels are walked at once.
    pub fn is_of_one_round(&self) -> bool {
        self.groups.iter().all(|group| group.depth <= self.first_round)
    }

    fn lay_out(&mut self, tree: &Tree, tests: &[Test]) -> Result<Placed, Misfit> {
        // From the root on, level by level; below a leaf it is that leaf.
        let mut top = [0; Group::UPPER + Group::BELOW];
        for at in 1..top.len() {
            let parent = top[(at - 1) / 2];
            top[at] = match &tree.nodes[parent as usize] {
                Node::Split(split) if at.is_multiple_of(2) => split.right,
                Node::Split(split) => split.left,
                Node::Leaf(_) => parent,
            };
        }
        let is_leaf = |index: u32| matches!(tree.nodes[index as usize], Node::Leaf(_));
        let order = Order::of(tree, &top[Group::UPPER..], |children| !children.into_iter().all(is_leaf));
        let (start, first_value) = (self.nodes.len(), self.values.len());
        self.nodes.resize(start + order.n_places, 0);
        let mut below = [0; Group::BELOW];
        for at in 0..Group::BELOW {
            let index = top[Group::UPPER + at];
            below[at] = match at > 0 && index == top[Group::UPPER + at - 1] {
                true => below[at - 1],
                false => self.node(tree, tests, &order, first_value, index)?,
            };
        }
        for &index in order.pairs.as_flattened() {
            let node = self.node(tree, tests, &order, first_value, index)?;
            self.nodes[start + order.place[index as usize]] = node;
        }
        let root = start + order.n_places - 1;
        let upper = std::array::from_fn(|at| match &tree.nodes[top[at] as usize] {
            Node::Split(_) => tests[top[at] as usize],
            Node::Leaf(_) => AT_LEAF,
        });
        self.set_top(root, &upper, &below)?;
        Ok(Placed {
            depth: depths::most_looked_up(tree),
            root: root as u32,
            upper,
            below,
            values: first_value as u32,
            output: tree.output as u16,
        })
    }

    /// The upper levels and what they lead to, for who walks from the root.
    fn set_top(
        &mut self,
        root: usize,
        upper: &[Test; Group::UPPER],
        below: &[u32; Group::BELOW],
    ) -> Result<(), Misfit> {
        // From there the left ones come first, too.
        let before_root = |at: usize| if at.is_multiple_of(2) { at.max(1) - 1 } else { at + 1 };
        for (at, &test) in upper.iter().enumerate() {
            self.nodes[root - before_root(at)] = split(test, before_root(2 * at + 1) - before_root(at))?;
        }
        for (at, &node) in (Group::UPPER..).zip(below) {
            self.nodes[root - before_root(at)] = match is_split(node) {
                true => split(test(node), distance(node) - before_root(at))?,
                false => node,
            };
        }
        Ok(())
    }

    fn node(
        &mut self,
        tree: &Tree,
        tests: &[Test],
        order: &Order,
        first_value: usize,
        index: u32,
    ) -> Result<u32, Misfit> {
        let number = self.values.len() - first_value;
        let test = tests[index as usize];
        match &tree.nodes[index as usize] {
            Node::Leaf(leaf) => {
                self.values.push(leaf.value);
                end(AT_LEAF, number)
            }
            Node::Split(of_node) => {
                match [of_node.left, of_node.right].map(|child| &tree.nodes[child as usize]) {
                    [Node::Leaf(left), Node::Leaf(right)] => {
                        self.values.extend([left.value, right.value]);
                        end(test, number)
                    }
                    _ => split(test, order.place[index as usize] - order.place[of_node.left as usize]),
                }
            }
        }
    }
}

impl Group {
    pub fn of(trees: &[Placed]) -> Self {
        let of_lane = |lane: usize| trees.get(lane).unwrap_or(&trees[0]);
        Self {
            n_trees: trees.len(),
            depth: trees.iter().map(|tree| tree.depth).max().unwrap_or(0),
            roots: std::array::from_fn(|lane| of_lane(lane).root),
            upper: std::array::from_fn(|split| Tests {
                slots: std::array::from_fn(|lane| of_lane(lane).upper[split].slot),
                ranks: std::array::from_fn(|lane| of_lane(lane).upper[split].rank),
            }),
            below: std::array::from_fn(|node| std::array::from_fn(|lane| of_lane(lane).below[node])),
            values: std::array::from_fn(|lane| of_lane(lane).values),
            outputs: std::array::from_fn(|lane| of_lane(lane).output),
        }
    }

    /// By lane a bit: whether it has a tree.
    pub fn is_tree(&self) -> u64 {
        u64::MAX >> (Self::LANES - self.n_trees)
    }
}
