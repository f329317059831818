//! Gradient boosting with exact greedy splits by the crate `gbdt`.
//!
//! It works in `f32`, cannot take NaN, and its own mark for missing values
//! spoils the splits. So missing values are filled with a number well below
//! all that were seen: one split tells missing from present, and all others
//! take missing for "less". In the forest that is the left side, and the fill
//! is gone.

use ::gbdt::config::Config;
use ::gbdt::decision_tree::Data;
use ::gbdt::gradient_boost::GBDT;
use anyhow::{Context, Result, ensure};
use ndarray::ArrayView2;
use serde::Deserialize;
use tipoff::engine::forest::{
    Arithmetic, Condition, Forest, Frame, Leaf, Node, Precision, Side, Split, Tree,
};

use super::{Settings, Trainer};

/// Beyond this the fill and the midpoints of splits could overflow `f32`.
const MAX_MAGNITUDE: f64 = 1e30;
/// Fewer rows than this are not split again.
const MIN_LEAF_ROWS: usize = 20;

#[derive(Clone, Copy, Debug)]
pub struct Gbdt(pub Settings);

/// The parts of the crate's saved form that decide.
#[derive(Deserialize)]
struct Saved {
    conf: SavedConfig,
    trees: Vec<SavedTree>,
    bias: f32,
}

#[derive(Deserialize)]
struct SavedConfig {
    shrinkage: f32,
}

#[derive(Deserialize)]
struct SavedTree {
    tree: SavedNodes,
}

#[derive(Deserialize)]
struct SavedNodes {
    tree: Vec<SavedNode>,
}

#[derive(Deserialize)]
struct SavedNode {
    value: SavedSplit,
    left: u32,
    right: u32,
}

#[derive(Deserialize)]
struct SavedSplit {
    feature_index: u32,
    feature_value: f32,
    pred: f32,
    is_leaf: bool,
}

impl Trainer for Gbdt {
    fn name(&self) -> &'static str {
        "gbdt"
    }

    fn fit(&self, x: ArrayView2<'_, f64>, y: &[f64]) -> Result<Forest> {
        let fills = fills(x)?;
        let model = fit(self.0, x, y, &fills)?;
        export(&model, &fills)
    }
}

/// What stands for missing, by input: clearly below the least value seen.
/// None for an input that is never missing.
pub(super) fn fills(x: ArrayView2<'_, f64>) -> Result<Vec<Option<f32>>> {
    let mut fills = Vec::with_capacity(x.ncols());
    for (input, column) in x.columns().into_iter().enumerate() {
        let seen = column.iter().copied().filter(|value| !value.is_nan());
        let (least, largest) = seen.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, largest), value| {
            (least.min(value), largest.max(value))
        });
        if least > largest {
            // Never seen: any constant will do.
            fills.push(Some(0.0));
            continue;
        }
        ensure!(
            least.abs().max(largest.abs()) <= MAX_MAGNITUDE,
            "input {input} goes from {least} to {largest}; only up to {MAX_MAGNITUDE} can be trained on"
        );
        let fill = least - (1.0 + least.abs() + (largest - least));
        fills.push(column.iter().any(|value| value.is_nan()).then_some(fill as f32));
    }
    Ok(fills)
}

pub(super) fn fit(
    settings: Settings,
    x: ArrayView2<'_, f64>,
    y: &[f64],
    fills: &[Option<f32>],
) -> Result<GBDT> {
    let mut config = Config::new();
    config.set_feature_size(x.ncols());
    config.set_iterations(settings.n_trees);
    config.set_max_depth(u32::try_from(settings.depth).context("depth")?);
    config.set_shrinkage(settings.learning_rate as f32);
    config.set_min_leaf_size(MIN_LEAF_ROWS);
    // Spelt so; any other name is taken for squared error without a word.
    config.set_loss("LogLikelyhood");
    let mut data = rows(x, fills)
        .zip(y)
        .map(|(row, &y)| Data::new_training_data(row, 1.0, if y == 1.0 { 1.0 } else { -1.0 }, None))
        .collect();
    let mut model = GBDT::new(&config);
    model.fit(&mut data);
    Ok(model)
}

/// The rows as the crate sees them.
pub(super) fn rows<'a>(
    x: ArrayView2<'a, f64>,
    fills: &'a [Option<f32>],
) -> impl Iterator<Item = Vec<f32>> + 'a {
    (0..x.nrows()).map(move |index| {
        let row = x.row(index);
        let filled = |(&value, fill): (&f64, &Option<f32>)| {
            if value.is_nan() { fill.unwrap_or_default() } else { value as f32 }
        };
        row.iter().zip(fills).map(filled).collect()
    })
}

/// The crate's probability is `1 / (1 + exp(-2 f))`, with `f` summed in `f32`
/// from the bias; doubled, bias and leaves are log-odds.
pub(super) fn export(model: &GBDT, fills: &[Option<f32>]) -> Result<Forest> {
    // As values, not as text: numbers keep their bits.
    let saved: Saved = serde_json::from_value(serde_json::to_value(model)?)?;
    let mut trees = Vec::with_capacity(saved.trees.len());
    for tree in &saved.trees {
        let node = |node: &SavedNode| {
            let split = &node.value;
            if split.is_leaf {
                let value = 2.0 * f64::from(saved.conf.shrinkage * split.pred);
                return Node::Leaf(Leaf { value, cover: 0.0 });
            }
            // Never missing in training: the right side, which is as good as the left.
            let fill = fills[split.feature_index as usize];
            let missing =
                if fill.is_some_and(|fill| fill < split.feature_value) { Side::Left } else { Side::Right };
            let (left, right) = (node.left, node.right);
            Node::Split(Split {
                input: split.feature_index,
                condition: Condition::Less(f64::from(split.feature_value)),
                missing,
                zero_is_missing: false,
                left,
                right,
                cover: 0.0,
            })
        };
        trees.push(Tree::of(tree.tree.tree.iter().map(node).collect()));
    }
    let arithmetic =
        Arithmetic { inputs: Precision::Single, sums: Precision::Single, ..Arithmetic::default() };
    let base = vec![2.0 * f64::from(saved.bias)];
    Ok(Forest::new(Frame { n_inputs: fills.len(), base, arithmetic }, trees)?)
}
