//! Models as the engine sees them: something that scores plain slices.

use std::fmt;
use std::sync::Arc;

use super::calibration::Calibration;
use super::event::UserId;
use super::experiment;
pub use super::link::Link;
use super::time::Timestamp;
use super::vector::Vector;

/// Turns one row of inputs into raw outputs. Trees and networks are implementors.
pub trait Scorer: Send + Sync + fmt::Debug {
    /// Number of inputs a row has.
    fn n_inputs(&self) -> usize;

    /// Number of outputs.
    fn n_outputs(&self) -> usize;

    /// Scores `row` (shape `[n_inputs]`, NaN is missing) into `raw` (shape
    /// `[n_outputs]`): NaN where it cannot.
    fn score(&self, row: &[f64], raw: &mut [f64]);

    /// The same for a caller whose thread may wait a little, for others' rows to
    /// go into the same run.
    fn score_in_company(&self, row: &[f64], raw: &mut [f64]) {
        self.score(row, raw);
    }

    /// Scores `n` rows (shape `[n, n_inputs]`) into `raw` (shape `[n, n_outputs]`),
    /// each as [`Scorer::score`] does.
    fn score_batch(&self, rows: &[f64], n: usize, raw: &mut [f64]) {
        score_each(self, rows, n, raw);
    }

    /// Contributions of each input to a raw output (shape `[n_inputs + 1]`, the
    /// last is the expected value); none if the scorer cannot explain itself.
    /// They sum to the raw output.
    fn contributions(&self, row: &[f64], output: usize) -> Option<Vec<f64>>;

    /// How it is scored, and why not faster: for people.
    fn engine(&self) -> String {
        self.runtime().to_owned()
    }

    /// What runs it: our own code, or a library of others.
    fn runtime(&self) -> &str {
        "tipoff-forest"
    }
}

/// Scores `n` rows one after the other; see [`Scorer::score_batch`].
pub fn score_each<S: Scorer + ?Sized>(scorer: &S, rows: &[f64], n: usize, raw: &mut [f64]) {
    let (n_inputs, n_outputs) = (scorer.n_inputs(), scorer.n_outputs());
    for at in 0..n {
        let row = &rows[n_inputs * at..n_inputs * (at + 1)];
        scorer.score(row, &mut raw[n_outputs * at..n_outputs * (at + 1)]);
    }
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

impl OutputKind {
    /// How far beyond 0 and 1 a probability may be that was computed in single precision.
    const ROUNDING: f64 = 1e-5;

    pub const fn is_probability(self) -> bool {
        matches!(self, Self::Probability | Self::ClassProbability)
    }

    fn allows(self, value: f64) -> bool {
        let within = -Self::ROUNDING..=1.0 + Self::ROUNDING;
        if self.is_probability() { within.contains(&value) } else { value.is_finite() }
    }
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

/// Why a model gives no score for a row: nothing may be decided on such a number.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("its output {output} would be {value}")]
pub struct Unscored {
    pub output: Arc<str>,
    pub value: f64,
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
    /// The same; shorter where the last models have none.
    pub canaries: Vec<Option<Canary>>,
    /// The same; empty if no model has one.
    pub shadows: Vec<Option<Shadow>>,
}

/// A version that serves some of the users.
#[derive(Clone, Debug)]
pub struct Canary {
    pub model: Arc<Model>,
    /// Of the users, 0 to 1.
    pub share: f64,
}

/// A version that serves nobody: scored and compared; see [`shadow`](super::shadow).
#[derive(Clone, Debug)]
pub struct Shadow {
    pub model: Arc<Model>,
    /// When it came to be compared with the version that serves.
    pub since: Timestamp,
}

impl Models {
    /// The version that serves the user.
    pub fn of(&self, model: usize, user: &UserId) -> Option<&Arc<Model>> {
        match self.canaries.get(model) {
            Some(Some(canary)) if canary.takes(user) => Some(&canary.model),
            _ => self.get(model),
        }
    }

    /// The version that serves whomever no canary takes.
    pub fn get(&self, model: usize) -> Option<&Arc<Model>> {
        self.serving.get(model).and_then(Option::as_ref)
    }

    /// The version that is compared with the one that serves.
    pub fn shadow(&self, model: usize) -> Option<&Shadow> {
        self.shadows.get(model).and_then(Option::as_ref)
    }
}

impl Canary {
    fn takes(&self, user: &UserId) -> bool {
        experiment::in_canary(&self.model.name, self.share, user)
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
    pub fn score(&self, model: usize, vector: &Vector) -> Result<Score, Unscored> {
        let (raw, outputs) = self.score_row(&self.row(vector))?;
        Ok(Score { model, version: self.version, raw, outputs })
    }

    /// The same by [`Scorer::score_in_company`].
    pub fn score_in_company(&self, model: usize, vector: &Vector) -> Result<Score, Unscored> {
        let mut raw = vec![0.0; self.outputs.len()];
        self.scorer.score_in_company(&self.row(vector), &mut raw);
        let (raw, outputs) = self.finish(raw)?;
        Ok(Score { model, version: self.version, raw, outputs })
    }

    /// Scores a row of the model's own inputs (shape `[inputs.len()]`): the
    /// first output before link and calibration, and all outputs after them.
    pub fn score_row(&self, row: &[f64]) -> Result<(f64, Vec<f64>), Unscored> {
        let mut raw = vec![0.0; self.outputs.len()];
        self.scorer.score(row, &mut raw);
        self.finish(raw)
    }

    /// From all raw outputs of a row to what [`Model::score_row`] gives.
    pub fn finish(&self, mut outputs: Vec<f64>) -> Result<(f64, Vec<f64>), Unscored> {
        let raw = outputs[0];
        self.check(&outputs, |_, value| value.is_finite())?;
        self.link.apply_all(&mut outputs);
        for output in &mut outputs {
            *output = self.calibration.apply(*output);
        }
        self.check(&outputs, OutputKind::allows)?;
        for (value, output) in outputs.iter_mut().zip(&self.outputs) {
            if output.kind.is_probability() {
                *value = value.clamp(0.0, 1.0);
            }
        }
        Ok((raw, outputs))
    }

    fn check(&self, values: &[f64], is_good: impl Fn(OutputKind, f64) -> bool) -> Result<(), Unscored> {
        let mut outputs = self.outputs.iter().zip(values);
        match outputs.find(|(output, value)| !is_good(output.kind, **value)) {
            None => Ok(()),
            Some((output, &value)) => Err(Unscored { output: output.name.clone(), value }),
        }
    }

    /// Scores rows of the model's own inputs (shape `[n_rows, inputs.len()]`)
    /// into all outputs before link and calibration, and those after them
    /// (shapes `[n_rows, outputs.len()]`).
    ///
    /// # Errors
    /// The first row without a score, by its index, and why.
    pub fn score_rows(
        &self,
        rows: &[f64],
        raw: &mut [f64],
        outputs: &mut [f64],
    ) -> Result<(), (usize, Unscored)> {
        let n_outputs = self.outputs.len();
        self.scorer.score_batch(rows, raw.len() / n_outputs, raw);
        let of_rows = raw.chunks_exact(n_outputs).zip(outputs.chunks_exact_mut(n_outputs));
        for (index, (raw, outputs)) in of_rows.enumerate() {
            let (_, finished) = self.finish(raw.to_vec()).map_err(|unscored| (index, unscored))?;
            outputs.copy_from_slice(&finished);
        }
        Ok(())
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

    /// The model's own inputs of a vector (shape `[inputs.len()]`).
    pub fn row(&self, vector: &Vector) -> Vec<f64> {
        self.inputs.iter().map(|&slot| vector.numbers[slot]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(Vec<f64>);

    impl Scorer for Fixed {
        fn n_inputs(&self) -> usize {
            0
        }

        fn n_outputs(&self) -> usize {
            self.0.len()
        }

        fn score(&self, _row: &[f64], raw: &mut [f64]) {
            raw.copy_from_slice(&self.0);
        }

        fn contributions(&self, _row: &[f64], _output: usize) -> Option<Vec<f64>> {
            None
        }
    }

    fn scored(kind: OutputKind, link: Link, raw: &[f64]) -> Result<(f64, Vec<f64>), String> {
        let output = |index| Output { name: format!("o{index}").into(), kind };
        let model = Model {
            name: "fixed".into(),
            version: 1,
            inputs: Vec::new(),
            input_names: Vec::new(),
            outputs: (0..raw.len()).map(output).collect(),
            link,
            calibration: Calibration::None,
            scorer: Box::new(Fixed(raw.to_vec())),
        };
        model.score_row(&[]).map_err(|unscored| unscored.to_string())
    }

    #[test]
    fn what_is_no_number_or_no_probability_is_no_score() {
        use OutputKind::{ClassProbability, Probability, Value};
        for (kind, link, raw, expected) in [
            (Value, Link::Identity, &[f64::NAN][..], "its output o0 would be NaN"),
            (Value, Link::Identity, &[1.0, f64::INFINITY], "its output o1 would be inf"),
            (Probability, Link::Logistic, &[f64::INFINITY], "its output o0 would be inf"),
            (Probability, Link::Identity, &[1.1], "its output o0 would be 1.1"),
            (ClassProbability, Link::Identity, &[0.5, -0.5], "its output o1 would be -0.5"),
        ] {
            assert_eq!(scored(kind, link, raw), Err(expected.to_owned()), "{kind:?} {link:?} {raw:?}");
        }
    }

    #[test]
    fn probabilities_are_not_beyond_1_by_rounding() {
        let outputs = [f64::from(1.0_f32 + f32::EPSILON), -1e-9];
        let scored = scored(OutputKind::ClassProbability, Link::Identity, &outputs);
        assert_eq!(scored, Ok((outputs[0], vec![1.0, 0.0])));
    }
}
