//! Gradient boosting on histograms by the crate `forust-ml`; NaN is native.

use anyhow::{Result, bail};
use forust_ml::{GradientBooster, Matrix};
use ndarray::ArrayView2;
use tipoff::engine::forest::{Condition, Forest, Frame, Leaf, Node, Side, Split, Tree};

use super::{Settings, Trainer};

#[derive(Clone, Copy, Debug)]
pub struct Forust(pub Settings);

impl Trainer for Forust {
    fn name(&self) -> &'static str {
        "forust"
    }

    fn fit(&self, x: ArrayView2<'_, f64>, y: &[f64]) -> Result<Forest> {
        export(&fit(self.0, x, y)?, x.ncols())
    }
}

pub(super) fn fit(settings: Settings, x: ArrayView2<'_, f64>, y: &[f64]) -> Result<GradientBooster> {
    let mut booster = GradientBooster::default();
    booster.iterations = settings.n_trees;
    booster.max_depth = settings.depth;
    booster.learning_rate = settings.learning_rate as f32;
    booster.seed = settings.seed;
    // In units of p (1 - p): at least 20 rows of a coin toss, more of a rare label.
    booster.min_leaf_weight = 5.0;
    let columns: Vec<f64> = x.t().iter().copied().collect();
    let weights = vec![1.0; y.len()];
    booster.fit(&Matrix::new(&columns, x.nrows(), x.ncols()), y, &weights, None)?;
    Ok(booster)
}

/// Left if the value is less, in `f64`; missing goes the way of one of the
/// two; leaves are `f32`, summed in `f64` from the base score in tree order.
pub(super) fn export(booster: &GradientBooster, n_inputs: usize) -> Result<Forest> {
    let mut trees = Vec::with_capacity(booster.trees.len());
    for tree in &booster.trees {
        let mut nodes = Vec::with_capacity(tree.nodes.len());
        for node in &tree.nodes {
            if node.is_leaf {
                nodes.push(Node::Leaf(Leaf { value: f64::from(node.weight_value), cover: 0.0 }));
                continue;
            }
            let missing = match node.missing_node {
                missing if missing == node.left_child => Side::Left,
                missing if missing == node.right_child => Side::Right,
                missing => bail!("node {} has a third way, {missing}, for missing values", node.num),
            };
            nodes.push(Node::Split(Split {
                input: u32::try_from(node.split_feature)?,
                condition: Condition::Less(node.split_value),
                missing,
                zero_is_missing: false,
                left: u32::try_from(node.left_child)?,
                right: u32::try_from(node.right_child)?,
                cover: 0.0,
            }));
        }
        trees.push(Tree::of(nodes));
    }
    Ok(Forest::new(Frame::single(n_inputs, booster.base_score), trees)?)
}
