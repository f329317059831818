//! Models as the engine sees them: something that scores plain slices.

use std::fmt;
use std::sync::Arc;

use super::calibration::Calibration;
pub use super::link::Link;
use super::vector::Vector;

/// Turns one row of inputs into raw outputs. Trees and networks are implementors.
pub trait Scorer: Send + Sync + fmt::Debug {
    /// Number of inputs a row has.
    fn n_inputs(&self) -> usize;

    /// Number of outputs.
    fn n_outputs(&self) -> usize;

    /// Scores `row` (shape `[n_inputs]`, NaN is missing) into `raw` (shape `[n_outputs]`).
    fn score(&self, row: &[f64], raw: &mut [f64]);

    /// Contributions of each input to a raw output (shape `[n_inputs + 1]`, the
    /// last is the expected value); none if the scorer cannot explain itself.
    /// They sum to the raw output.
    fn contributions(&self, row: &[f64], output: usize) -> Option<Vec<f64>>;
}

/// What a named output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// A calibrated probability, 0..=1.
    Probability,
    /// One class of several, 0..=1, summing to 1 over the model's outputs.
    ClassProbability,
    /// A value in the label's unit.
    Value,
    /// Comparable within one model only.
    Rank,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub name: Arc<str>,
    pub kind: OutputKind,
}

/// A loaded, verified artifact bound to a plan's slots.
#[derive(Debug)]
pub struct Model {
    pub name: Arc<str>,
    pub version: u32,
    /// The model's inputs: number slots of the vector, in the model's order.
    pub inputs: Vec<usize>,
    /// The inputs' feature names, in the model's order.
    pub input_names: Vec<Arc<str>>,
    pub outputs: Vec<Output>,
    pub link: Link,
    pub calibration: Calibration,
    pub scorer: Box<dyn Scorer>,
}

/// What a model said of one vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Index into [`Plan::models`](super::plan::Plan::models).
    pub model: usize,
    pub version: u32,
    /// The first output before link and calibration.
    pub raw: f64,
    /// One value an output, by the order of [`Model::outputs`].
    pub outputs: Vec<f64>,
}

/// One input's part in a score.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    pub feature: Arc<str>,
    /// The feature's value; NaN is missing.
    pub value: f64,
    /// In units of the raw output.
    pub contribution: f64,
}

/// The serving models by index into [`Plan::models`](super::plan::Plan::models).
#[derive(Clone, Debug, Default)]
pub struct Models {
    pub serving: Vec<Option<Arc<Model>>>,
}

impl Models {
    pub fn get(&self, model: usize) -> Option<&Arc<Model>> {
        self.serving.get(model).and_then(Option::as_ref)
    }
}

impl Score {
    /// The first output: for a binary model the calibrated probability.
    pub fn value(&self) -> f64 {
        self.outputs[0]
    }
}

impl Model {
    /// Scores a vector; `model` is the plan's index that the score will carry.
    pub fn score(&self, model: usize, vector: &Vector) -> Score {
        let (raw, outputs) = self.score_row(&self.row(vector));
        Score { model, version: self.version, raw, outputs }
    }

    /// Scores a row of the model's own inputs (shape `[inputs.len()]`): the
    /// first output before link and calibration, and all outputs after them.
    pub fn score_row(&self, row: &[f64]) -> (f64, Vec<f64>) {
        let mut outputs = vec![0.0; self.outputs.len()];
        self.scorer.score(row, &mut outputs);
        let raw = outputs[0];
        self.link.apply_all(&mut outputs);
        for output in &mut outputs {
            *output = self.calibration.apply(*output);
        }
        (raw, outputs)
    }

    /// The `top` inputs by size of contribution, largest first.
    pub fn reasons(&self, vector: &Vector, top: usize) -> Vec<Reason> {
        let row = self.row(vector);
        let Some(contributions) = self.scorer.contributions(&row, 0) else {
            return Vec::new();
        };
        let mut order: Vec<usize> = (0..row.len()).filter(|&input| contributions[input] != 0.0).collect();
        order.sort_by(|&a, &b| contributions[b].abs().total_cmp(&contributions[a].abs()).then(a.cmp(&b)));
        order.truncate(top);
        order
            .into_iter()
            .map(|input| Reason {
                feature: self.input_names[input].clone(),
                value: row[input],
                contribution: contributions[input],
            })
            .collect()
    }

    fn row(&self, vector: &Vector) -> Vec<f64> {
        self.inputs.iter().map(|&slot| vector.numbers[slot]).collect()
    }
}
