//! What turns rows and labels into a forest.
//!
//! Trainers differ in how they grow trees; all give the same thing: trees
//! that, walked on the original inputs, decide as the trainer itself would.

mod forust;
mod gbdt;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use ndarray::{ArrayView2, CowArray, Ix2};
use tipoff::engine::forest::Forest;

pub use self::forust::Forust;
pub use self::gbdt::Gbdt;

/// Grows trees whose raw output is the log-odds of the label.
pub trait Trainer {
    fn name(&self) -> &'static str;

    /// Fits to `x` (shape `[n_rows, n_inputs]`, NaN is missing, else finite)
    /// and `y` (shape `[n_rows]`, each 0 or 1, both seen).
    fn fit(&self, x: ArrayView2<'_, f64>, y: &[f64]) -> Result<Forest>;
}

/// Settings that every trainer understands.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub n_trees: usize,
    /// Splits on the longest way to a leaf.
    pub depth: usize,
    pub learning_rate: f64,
    pub seed: u64,
}

impl Settings {
    /// As the manifest records them.
    pub fn parameters(&self) -> BTreeMap<String, f64> {
        [
            ("trees", self.n_trees as f64),
            ("depth", self.depth as f64),
            ("learning_rate", self.learning_rate),
            ("seed", self.seed as f64),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// Fits, keeps as many of the first trees as do best on the validation rows,
/// and counts each node's training rows as its cover, whatever the trainer
/// weighs by.
pub fn fit(
    trainer: &dyn Trainer,
    (x, y): (ArrayView2<'_, f64>, &[f64]),
    (valid_x, valid_y): (ArrayView2<'_, f64>, &[f64]),
) -> Result<Forest> {
    check(x, y)?;
    let forest = trainer.fit(x, y).with_context(|| format!("trainer {}", trainer.name()))?;
    let forest = keep_best(&forest, valid_x, valid_y)?;
    let rows = contiguous(x);
    Ok(forest.with_covers(slices(&rows))?)
}

fn check(x: ArrayView2<'_, f64>, y: &[f64]) -> Result<()> {
    ensure!(x.nrows() == y.len(), "{} rows, but {} labels", x.nrows(), y.len());
    ensure!(x.ncols() > 0, "no numeric feature to train on");
    ensure!(y.iter().all(|&y| y == 0.0 || y == 1.0), "a label is neither 0 nor 1");
    let positives = y.iter().filter(|&&y| y == 1.0).count();
    ensure!(
        positives > 0 && positives < y.len(),
        "{positives} of {} training rows have the label: nothing to tell apart",
        y.len()
    );
    if let Some(((row, input), value)) = x.indexed_iter().find(|(_, value)| value.is_infinite()) {
        anyhow::bail!(
            "row {row}, input {input} is {value}: only finite numbers and missing can be trained on"
        );
    }
    Ok(())
}

/// The first trees, as many as give the least log loss; at least one.
fn keep_best(forest: &Forest, x: ArrayView2<'_, f64>, y: &[f64]) -> Result<Forest> {
    let rows = contiguous(x);
    let (base, sums) = (forest.frame().base[0], forest.frame().arithmetic.sums);
    let mut raw = vec![base; y.len()];
    let (mut best, mut least) = (forest.trees().len(), f64::INFINITY);
    for (index, tree) in forest.trees().iter().enumerate() {
        let mut loss = 0.0;
        for ((raw, y), row) in raw.iter_mut().zip(y).zip(slices(&rows)) {
            *raw = sums.round(*raw + tree.leaf(&forest.rounded(row)).value);
            // ln(1 + exp(-margin)), without overflow.
            let margin = if *y == 1.0 { *raw } else { -*raw };
            loss += (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
        }
        if loss < least {
            (best, least) = (index + 1, loss);
        }
    }
    Ok(Forest::new(forest.frame().clone(), forest.trees()[..best].to_vec())?)
}

fn contiguous<'a>(x: ArrayView2<'a, f64>) -> CowArray<'a, f64, Ix2> {
    if x.is_standard_layout() { x.into() } else { x.as_standard_layout().into_owned().into() }
}

/// The rows of a matrix in the standard layout.
fn slices<'a>(x: &'a CowArray<'_, f64, Ix2>) -> impl Iterator<Item = &'a [f64]> {
    x.rows().into_iter().map(|row| row.to_slice().expect("rows of the standard layout"))
}
