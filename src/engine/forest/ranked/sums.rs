//! Adding up leaves, in the forest's order and in the trainer's precision.

use super::batch::ROWS;
use super::layout::Group;
use crate::engine::forest::{Forest, N_PARTS, Node, Parts, Precision, SumOrder, in_parts};

#[derive(Debug)]
pub struct Sums {
    base: Vec<f64>,
    how: How,
    /// What a mean is rounded to.
    precision: Precision,
    /// If outputs are means: how many trees each has, at least 1.
    n_trees: Option<Vec<f64>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Double,
    /// In `f32`: no leaf is more precise.
    Single,
    /// In `f32`, of leaves that are more precise.
    Rounded,
    /// [`SumOrder::InParts`]
    InParts,
}

/// Of one row.
pub struct Sum<'a> {
    sums: &'a Sums,
    /// Shape `[n_outputs]`.
    raw: &'a mut [f64],
    parts: Parts,
}

/// Of up to [`ROWS`] rows.
pub struct ColumnSum<'a> {
    sums: &'a Sums,
    /// Shape `[n, n_outputs]`.
    raw: &'a mut [f64],
    parts: [[f64; ROWS]; N_PARTS],
    n_trees: usize,
}

impl Sums {
    pub fn of(forest: &Forest) -> Self {
        let frame = forest.frame();
        let precision = frame.arithmetic.sums;
        let is_single = |value: f64| Precision::Single.round(value) == value;
        let is_exact = |node: &Node| match node {
            Node::Leaf(leaf) => is_single(leaf.value),
            Node::Split(_) => true,
        };
        let mut nodes = forest.trees().iter().flat_map(|tree| &tree.nodes);
        let how = match (frame.arithmetic.order, precision) {
            (SumOrder::InParts, _) => How::InParts,
            (SumOrder::OfTrees, Precision::Double) => How::Double,
            (SumOrder::OfTrees, Precision::Single)
                if frame.base.iter().all(|&base| is_single(base)) && nodes.all(is_exact) =>
            {
                How::Single
            }
            (SumOrder::OfTrees, Precision::Single) => How::Rounded,
        };
        let mut n_trees = vec![0.0; frame.base.len()];
        for tree in forest.trees() {
            n_trees[tree.output as usize] += 1.0;
        }
        n_trees.iter_mut().for_each(|n| *n = f64::max(*n, 1.0));
        Self { base: frame.base.clone(), how, precision, n_trees: frame.arithmetic.mean.then_some(n_trees) }
    }

    /// Begins to add a row's leaves.
    pub fn row<'a>(&'a self, raw: &'a mut [f64]) -> Sum<'a> {
        self.begin(raw);
        Sum { sums: self, raw, parts: Parts::default() }
    }

    /// Begins to add several rows' leaves.
    pub fn rows<'a>(&'a self, raw: &'a mut [f64]) -> ColumnSum<'a> {
        raw.chunks_exact_mut(self.base.len()).for_each(|raw| self.begin(raw));
        ColumnSum { sums: self, raw, parts: [[0.0; ROWS]; _], n_trees: 0 }
    }

    /// What leaves are added to.
    fn begin(&self, raw: &mut [f64]) {
        match self.n_trees {
            None if self.how != How::InParts => raw.copy_from_slice(&self.base),
            _ => raw.fill(0.0),
        }
    }

    /// Makes of sums the raw outputs.
    fn end(&self, raw: &mut [f64]) {
        let round = |value| self.precision.round(value);
        match (self.how, &self.n_trees) {
            (How::InParts, n_trees) => {
                let n = n_trees.as_ref().map_or(1.0, |n_trees| n_trees[0]);
                raw[0] = round(self.base[0] + raw[0] / n);
            }
            (_, None) => {}
            (_, Some(n_trees)) => {
                for ((raw, base), n) in raw.iter_mut().zip(&self.base).zip(n_trees) {
                    *raw = round(base + round(*raw / n));
                }
            }
        }
    }
}

impl Sum<'_> {
    /// Adds a group's leaves, by tree, to their outputs. Where the group has no tree they
    /// are 0.
    #[inline(always)]
    pub fn add(&mut self, group: &Group, leaves: &[f64; Group::LANES]) {
        let of_trees = leaves[..group.n_trees].iter();
        match (self.sums.how, &mut self.raw[..]) {
            (How::InParts, _) => {
                for leaves in leaves.as_chunks::<N_PARTS>().0 {
                    self.parts = std::array::from_fn(|part| self.parts[part] + leaves[part]);
                }
            }
            (How::Double, [raw]) => *raw = of_trees.fold(*raw, |sum, leaf| sum + leaf),
            (How::Single, [raw]) => {
                *raw = f64::from(of_trees.fold(*raw as f32, |sum, &leaf| sum + leaf as f32));
            }
            (How::Double, raw) => {
                of_trees.zip(&group.outputs).for_each(|(leaf, &output)| raw[usize::from(output)] += leaf);
            }
            (How::Single | How::Rounded, raw) => {
                for (leaf, &output) in of_trees.zip(&group.outputs) {
                    let sum = &mut raw[usize::from(output)];
                    *sum = Precision::Single.round(*sum + leaf);
                }
            }
        }
    }

    /// Makes of sums the raw outputs.
    pub fn end(self) {
        if self.sums.how == How::InParts {
            self.raw[0] = in_parts(self.parts);
        }
        self.sums.end(self.raw);
    }
}

impl ColumnSum<'_> {
    /// Adds a leaf of the next tree, which `leaf` gives by row, to an output of each row.
    #[inline(always)]
    pub fn add(&mut self, output: usize, leaf: impl Fn(usize) -> f64) {
        let n_outputs = self.sums.base.len();
        let part = self.n_trees % N_PARTS;
        self.n_trees += 1;
        let raw = &mut self.raw[..];
        let each = |raw: &mut [f64], add: &dyn Fn(f64, f64) -> f64| match n_outputs {
            1 => raw.iter_mut().enumerate().for_each(|(at, sum)| *sum = add(*sum, leaf(at))),
            _ => {
                for (at, raw) in raw.chunks_exact_mut(n_outputs).enumerate() {
                    raw[output] = add(raw[output], leaf(at));
                }
            }
        };
        match self.sums.how {
            How::Double => each(raw, &|sum, leaf| sum + leaf),
            // Also where both are singles: rounding twice makes no difference to their sum.
            How::Single | How::Rounded => each(raw, &|sum, leaf| Precision::Single.round(sum + leaf)),
            How::InParts => {
                let n = raw.len();
                each(&mut self.parts[part][..n], &|sum, leaf| sum + leaf);
            }
        }
    }

    /// Makes of sums the raw outputs.
    pub fn end(self) {
        if self.sums.how == How::InParts {
            for (at, raw) in self.raw.iter_mut().enumerate() {
                *raw = in_parts(self.parts.map(|part| part[at]));
            }
        }
        self.raw.chunks_exact_mut(self.sums.base.len()).for_each(|raw| self.sums.end(raw));
    }
}
