//! Adding up leaves, in the order of the trees and in the trainer's precision.

use super::layout::Group;
use crate::engine::forest::{Forest, Node, Precision};

#[derive(Debug)]
pub struct Sums {
    base: Vec<f64>,
    how: How,
    /// If outputs are means: how many trees each has, at least 1.
    n_trees: Option<Vec<f64>>,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Double,
    /// In `f32`: no leaf is more precise.
    Single,
    /// In `f32`, of leaves that are more precise.
    Rounded,
}

impl Sums {
    pub fn of(forest: &Forest) -> Self {
        let frame = forest.frame();
        let is_single = |value: f64| Precision::Single.round(value) == value;
        let is_exact = |node: &Node| match node {
            Node::Leaf(leaf) => is_single(leaf.value),
            Node::Split(_) => true,
        };
        let mut nodes = forest.trees().iter().flat_map(|tree| &tree.nodes);
        let how = match frame.arithmetic.sums {
            Precision::Double => How::Double,
            Precision::Single if frame.base.iter().all(|&base| is_single(base)) && nodes.all(is_exact) => {
                How::Single
            }
            Precision::Single => How::Rounded,
        };
        let mut n_trees = vec![0.0; frame.base.len()];
        for tree in forest.trees() {
            n_trees[tree.output as usize] += 1.0;
        }
        n_trees.iter_mut().for_each(|n| *n = f64::max(*n, 1.0));
        Self { base: frame.base.clone(), how, n_trees: frame.arithmetic.mean.then_some(n_trees) }
    }

    /// What leaves are added to.
    pub fn begin(&self, raw: &mut [f64]) {
        match self.n_trees {
            Some(_) => raw.fill(0.0),
            None => raw.copy_from_slice(&self.base),
        }
    }

    /// Adds a group's leaves, which `leaf` gives by tree, to their outputs, one after the other.
    #[inline(always)]
    pub fn add(&self, raw: &mut [f64], group: &Group, leaf: impl Fn(usize) -> f64) {
        let trees = 0..group.n_trees;
        match (self.how, &mut raw[..]) {
            (How::Double, [raw]) => *raw = trees.fold(*raw, |sum, tree| sum + leaf(tree)),
            (How::Single, [raw]) => {
                *raw = f64::from(trees.fold(*raw as f32, |sum, tree| sum + leaf(tree) as f32));
            }
            (How::Double, raw) => trees.for_each(|tree| raw[usize::from(group.outputs[tree])] += leaf(tree)),
            (How::Single | How::Rounded, raw) => {
                for tree in trees {
                    let sum = &mut raw[usize::from(group.outputs[tree])];
                    *sum = Precision::Single.round(*sum + leaf(tree));
                }
            }
        }
    }

    /// Adds a leaf of one tree, which `leaf` gives by row, to an output of each
    /// row of `raw` (shape `[n, n_outputs]`).
    #[inline(always)]
    pub fn add_column(&self, raw: &mut [f64], n_outputs: usize, output: usize, leaf: impl Fn(usize) -> f64) {
        let each = |raw: &mut [f64], add: &dyn Fn(f64, f64) -> f64| match n_outputs {
            1 => raw.iter_mut().enumerate().for_each(|(at, sum)| *sum = add(*sum, leaf(at))),
            _ => {
                for (at, raw) in raw.chunks_exact_mut(n_outputs).enumerate() {
                    raw[output] = add(raw[output], leaf(at));
                }
            }
        };
        match self.how {
            How::Double => each(raw, &|sum, leaf| sum + leaf),
            // Also where both are singles: rounding twice makes no difference to their sum.
            How::Single | How::Rounded => each(raw, &|sum, leaf| Precision::Single.round(sum + leaf)),
        }
    }

    /// Makes of sums the raw outputs.
    pub fn end(&self, raw: &mut [f64]) {
        let Some(n_trees) = &self.n_trees else { return };
        let round = |value| match self.how {
            How::Double => value,
            How::Single | How::Rounded => Precision::Single.round(value),
        };
        for ((raw, base), n) in raw.iter_mut().zip(&self.base).zip(n_trees) {
            *raw = round(base + round(*raw / n));
        }
    }
}
