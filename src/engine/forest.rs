//! Ensembles of decision trees: the one internal form that every tree model
//! is loaded into.
//!
//! The walk here is the reference: one condition a node, exactly as the
//! trainer has it. Whatever is faster must equal it bit for bit.

mod check;
mod condition;
#[cfg(test)]
pub(crate) mod random;
mod ranked;
#[cfg(test)]
mod tests;

pub use check::Error;
pub use condition::{Condition, Ranges};
pub use ranked::{Misfit, Path, RankedForest};

use smallvec::SmallVec;

use super::explain;
use super::model::Scorer;
use check::Checked;

/// Trees that passed every check: walking one of them cannot leave it, loop,
/// or give anything but a finite value.
///
/// A raw output is `base + tree 0 + tree 1 + …` over its own trees, added in
/// this order, unless [`SumOrder`] says otherwise; or, if it is their mean,
/// `base + (tree 0 + tree 1 + …) / n`.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    frame: Frame,
    trees: Vec<Tree>,
    /// By output, the raw output expected over the training rows; none where
    /// covers are missing.
    expected: Option<Vec<f64>>,
    depth: usize,
}

/// What a forest has besides its trees.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub n_inputs: usize,
    /// By output; there is at least one.
    pub base: Vec<f64>,
    pub arithmetic: Arithmetic,
}

/// What the trainer computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arithmetic {
    /// Inputs are rounded to it before they are compared.
    pub inputs: Precision,
    /// Every sum of leaves is rounded to it.
    pub sums: Precision,
    /// Whether an output is the mean of its trees: random forests.
    pub mean: bool,
    pub order: SumOrder,
}

/// In which order leaves are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SumOrder {
    /// One after the other, as trainers do: to the last bit what they give.
    #[default]
    OfTrees,
    /// The leaf of tree `n` to the part `n % 8`, all in `f64`; then the parts
    /// ([`in_parts`]), and what they make to the base. An addition waits only for the one
    /// eight trees before. Only for a forest of one output.
    InParts,
}

/// See [`SumOrder::InParts`].
pub const N_PARTS: usize = 8;

/// Into which leaves are added: see [`SumOrder::InParts`].
pub type Parts = [f64; N_PARTS];

/// The sum of the parts, by halves.
pub fn in_parts([a, b, c, d, e, f, g, h]: Parts) -> f64 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// `f32`
    Single,
    /// `f64`
    #[default]
    Double,
}

/// Nodes by index; the first is the root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// The output that it is added to.
    pub output: u32,
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Split(Split),
    Leaf(Leaf),
}

/// Sends a row to the missing side if the input is missing, else left if the
/// condition holds, else right.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Index of the input, below the forest's number of inputs.
    pub input: u32,
    pub condition: Condition,
    /// For an input that is NaN.
    pub missing: Side,
    /// Whether an input within [`ZERO`] of 0 is missing, too.
    pub zero_is_missing: bool,
    /// Index of the node for rows that the condition holds for.
    pub left: u32,
    /// Index of the node for the others.
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
pub enum Side {
    Left,
    Right,
}

/// The greatest number that LightGBM takes for 0, its `kZeroThreshold`.
pub const ZERO: f64 = 1e-35_f32 as f64;

/// A row as it is compared.
pub type RoundedRow = SmallVec<[f64; 64]>;

impl Forest {
    pub const MAX_INPUTS: usize = 1 << 16;
    pub const MAX_OUTPUTS: usize = 1 << 10;
    pub const MAX_TREES: usize = 20_000;
    /// Over all trees.
    pub const MAX_NODES: usize = 1 << 21;
    /// Ends of ranges, over all trees.
    pub const MAX_RANGE_ENDS: usize = 1 << 24;
    /// Splits on the longest way from a root to a leaf.
    pub const MAX_DEPTH: usize = 512;

    /// Checks the trees; see [`Error`] for what is refused.
    pub fn new(frame: Frame, trees: Vec<Tree>) -> Result<Self, Error> {
        let Checked { expected, depth } = check::check(&frame, &trees)?;
        Ok(Self { frame, trees, expected, depth })
    }

    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    pub fn n_inputs(&self) -> usize {
        self.frame.n_inputs
    }

    pub fn n_outputs(&self) -> usize {
        self.frame.base.len()
    }

    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// Splits on the longest way from a root to a leaf.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// By output, what is expected over the training rows by cover; none where
    /// a tree's covers are unknown.
    pub fn expected(&self) -> Option<&[f64]> {
        self.expected.as_deref()
    }

    /// The first raw output for `row` (shape `[n_inputs]`, NaN is missing).
    pub fn raw(&self, row: &[f64]) -> f64 {
        self.raw_of(0, &self.rounded(row))
    }

    /// `row` as its values are compared.
    pub fn rounded(&self, row: &[f64]) -> RoundedRow {
        row.iter().map(|&value| self.frame.arithmetic.inputs.round(value)).collect()
    }

    fn raw_of(&self, output: usize, rounded: &[f64]) -> f64 {
        let Frame { base, arithmetic, .. } = &self.frame;
        let sums = arithmetic.sums;
        let trees = self.trees.iter().filter(|tree| tree.output as usize == output);
        let n_trees = || trees.clone().count().max(1) as f64;
        if arithmetic.order == SumOrder::InParts {
            let mut parts = Parts::default();
            for (tree, part) in trees.clone().zip((0..N_PARTS).cycle()) {
                parts[part] += tree.leaf(rounded).value;
            }
            let sum = in_parts(parts);
            return sums.round(base[output] + if arithmetic.mean { sum / n_trees() } else { sum });
        }
        let add = |sum, tree: &Tree| sums.round(sum + tree.leaf(rounded).value);
        if arithmetic.mean {
            return sums.round(base[output] + sums.round(trees.clone().fold(0.0, add) / n_trees()));
        }
        trees.fold(base[output], add)
    }

    /// The same trees, whose leaves are added in another order.
    pub fn with_order(mut self, order: SumOrder) -> Result<Self, Error> {
        if order == self.frame.arithmetic.order {
            return Ok(self);
        }
        self.frame.arithmetic.order = order;
        Self::new(self.frame, self.trees)
    }

    /// The same trees with each node's cover the number of `rows` (each of
    /// shape `[n_inputs]`) that reach it.
    pub fn with_covers<'r>(mut self, rows: impl IntoIterator<Item = &'r [f64]>) -> Result<Self, Error> {
        for node in self.trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
            *node.cover_mut() = 0.0;
        }
        for row in rows {
            let rounded = self.rounded(row);
            for tree in &mut self.trees {
                tree.visit(&rounded);
            }
        }
        Self::new(self.frame, self.trees)
    }
}

impl Frame {
    /// Of one output, in double precision.
    pub fn single(n_inputs: usize, base: f64) -> Self {
        Self { n_inputs, base: vec![base], arithmetic: Arithmetic::default() }
    }
}

impl Precision {
    pub fn round(self, value: f64) -> f64 {
        match self {
            Self::Single => f64::from(value as f32),
            Self::Double => value,
        }
    }
}

impl Tree {
    /// A tree of the first output.
    pub fn of(nodes: Vec<Node>) -> Self {
        Self { output: 0, nodes }
    }

    /// The leaf that `row`, rounded, reaches.
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
    /// The index of the node that an input of `value`, rounded, goes to.
    pub fn child(&self, value: f64) -> usize {
        let is_missing = value.is_nan() || self.zero_is_missing && value.abs() <= ZERO;
        let left = if is_missing { self.missing == Side::Left } else { self.condition.holds(value) };
        (if left { self.left } else { self.right }) as usize
    }
}

impl Scorer for Forest {
    fn n_inputs(&self) -> usize {
        self.n_inputs()
    }

    fn n_outputs(&self) -> usize {
        self.n_outputs()
    }

    fn score(&self, row: &[f64], raw: &mut [f64]) {
        let rounded = self.rounded(row);
        for (output, raw) in raw.iter_mut().enumerate() {
            *raw = self.raw_of(output, &rounded);
        }
    }

    fn contributions(&self, row: &[f64], output: usize) -> Option<Vec<f64>> {
        explain::contributions(self, row, output)
    }
}
