//! Ensembles of decision trees: the one internal form that every tree model
//! is loaded into.
//!
//! The walk here is the reference: one comparison a node, exactly as the
//! trainer made it. Whatever is faster must equal it bit for bit.

mod check;
#[cfg(test)]
pub(crate) mod random;
#[cfg(test)]
mod tests;

pub use check::Error;

use super::explain;
use super::model::Scorer;

/// Trees that passed every check: walking one of them cannot leave it, loop,
/// or give anything but a finite value.
///
/// The raw output is `base + tree 0 + tree 1 + …`, added in this order in
/// `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    n_inputs: usize,
    base: f64,
    trees: Vec<Tree>,
    /// The raw output expected over the training rows; none where covers are missing.
    expected: Option<f64>,
}

/// Nodes by index; the first is the root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    pub nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    Split(Split),
    Leaf(Leaf),
}

/// Sends a row left if the comparison holds, right if not, and to the
/// missing side if the input is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Index of the input, below the forest's number of inputs.
    pub input: u32,
    pub comparison: Comparison,
    pub threshold: f64,
    pub missing: Side,
    /// Index of the node for rows that compare true.
    pub left: u32,
    /// Index of the node for rows that compare false.
    pub right: u32,
    /// Weight of the training rows that reached the node; 0: unknown.
    pub cover: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leaf {
    pub value: f64,
    /// Weight of the training rows that reached the node; 0: unknown, or none.
    pub cover: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Left if `input < threshold`: XGBoost, forust, gbdt.
    Less,
    /// Left if `input <= threshold`: LightGBM, scikit-learn.
    LessOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

impl Forest {
    pub const MAX_INPUTS: usize = 1 << 16;
    pub const MAX_TREES: usize = 20_000;
    /// Over all trees.
    pub const MAX_NODES: usize = 1 << 21;
    /// Splits on the longest way from a root to a leaf.
    pub const MAX_DEPTH: usize = 512;

    /// Checks the trees; see [`Error`] for what is refused.
    pub fn new(n_inputs: usize, base: f64, trees: Vec<Tree>) -> Result<Self, Error> {
        let expected = check::check(n_inputs, base, &trees)?;
        Ok(Self { n_inputs, base, trees, expected })
    }

    pub fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    pub fn base(&self) -> f64 {
        self.base
    }

    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// The raw output expected over the training rows by cover; none where a
    /// tree's covers are unknown.
    pub fn expected(&self) -> Option<f64> {
        self.expected
    }

    /// The raw output for `row` (shape `[n_inputs]`, NaN is missing).
    pub fn raw(&self, row: &[f64]) -> f64 {
        self.trees.iter().fold(self.base, |sum, tree| sum + tree.leaf(row).value)
    }

    /// The same trees with each node's cover the number of `rows` (each of
    /// shape `[n_inputs]`) that reach it.
    pub fn with_covers<'r>(self, rows: impl IntoIterator<Item = &'r [f64]>) -> Result<Self, Error> {
        let mut trees = self.trees;
        for node in trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
            *node.cover_mut() = 0.0;
        }
        for row in rows {
            for tree in &mut trees {
                tree.visit(row);
            }
        }
        Self::new(self.n_inputs, self.base, trees)
    }
}

impl Tree {
    /// The leaf that `row` reaches.
    pub fn leaf(&self, row: &[f64]) -> &Leaf {
        let mut index = 0;
        loop {
            match &self.nodes[index] {
                Node::Split(split) => index = split.child(row[split.input as usize]),
                Node::Leaf(leaf) => return leaf,
            }
        }
    }

    fn visit(&mut self, row: &[f64]) {
        let mut index = 0;
        loop {
            *self.nodes[index].cover_mut() += 1.0;
            match &self.nodes[index] {
                Node::Split(split) => index = split.child(row[split.input as usize]),
                Node::Leaf(_) => return,
            }
        }
    }
}

impl Node {
    pub fn cover(&self) -> f64 {
        match self {
            Self::Split(split) => split.cover,
            Self::Leaf(leaf) => leaf.cover,
        }
    }

    fn cover_mut(&mut self) -> &mut f64 {
        match self {
            Self::Split(split) => &mut split.cover,
            Self::Leaf(leaf) => &mut leaf.cover,
        }
    }
}

impl Split {
    /// The index of the node that an input of `value` goes to.
    pub fn child(&self, value: f64) -> usize {
        let left = if value.is_nan() {
            self.missing == Side::Left
        } else {
            match self.comparison {
                Comparison::Less => value < self.threshold,
                Comparison::LessOrEqual => value <= self.threshold,
            }
        };
        (if left { self.left } else { self.right }) as usize
    }
}

impl Scorer for Forest {
    fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    fn n_outputs(&self) -> usize {
        1
    }

    fn score(&self, row: &[f64], raw: &mut [f64]) {
        raw[0] = self.raw(row);
    }

    fn contributions(&self, row: &[f64]) -> Option<Vec<f64>> {
        explain::contributions(self, row)
    }
}
