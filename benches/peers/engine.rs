//! What is timed, and on which rows.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use cpu_time::ProcessTime;

/// Rows in both precisions: peers that take single precision get them so.
pub struct Rows {
    pub n_inputs: usize,
    /// Shape `[n, n_inputs]`.
    doubles: Vec<f64>,
    floats: Vec<f32>,
}

/// A model that is loaded, by one thread.
pub trait Engine {
    /// The raw score of the row, or what the peer gives in its place.
    fn score(&mut self, rows: &Rows, at: usize) -> f64;

    /// The same of the `scores.len()` rows from `at` on.
    fn score_batch(&mut self, rows: &Rows, at: usize, scores: &mut [f64]) {
        for (row, score) in (at..).zip(scores) {
            *score = self.score(rows, row);
        }
    }
}

/// Loads the model for a thread.
pub type Open<'a> = Box<dyn Fn() -> Result<Box<dyn Engine>> + Sync + 'a>;

pub struct Contestant<'a> {
    pub name: String,
    pub open: Open<'a>,
    /// CPU time of loading the model for the first time, and once more.
    pub load_ms: [f64; 2],
}

impl Rows {
    /// The first `n` of a file.
    pub fn read(path: &Path, n_inputs: usize, n: usize) -> Result<Self> {
        let bytes = fs::read(path)?;
        let numbers = bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
        let doubles: Vec<f64> = numbers.take(n * n_inputs).collect();
        ensure!(doubles.len() == n * n_inputs, "{} has no {n} rows", path.display());
        let floats = doubles.iter().map(|&number| number as f32).collect();
        Ok(Self { n_inputs, doubles, floats })
    }

    pub fn n(&self) -> usize {
        self.doubles.len() / self.n_inputs
    }

    /// `n` rows from `at` on.
    pub fn doubles(&self, at: usize, n: usize) -> &[f64] {
        &self.doubles[at * self.n_inputs..(at + n) * self.n_inputs]
    }

    /// `n` rows from `at` on.
    pub fn floats(&self, at: usize, n: usize) -> &[f32] {
        &self.floats[at * self.n_inputs..(at + n) * self.n_inputs]
    }
}

impl<'a> Contestant<'a> {
    pub fn new<E: Engine + 'static>(
        name: impl Into<String>,
        open: impl Fn() -> Result<E> + Sync + 'a,
    ) -> Result<Self> {
        let mut load_ms = [0.0; 2];
        for ms in &mut load_ms {
            let start = ProcessTime::now();
            let engine = open()?;
            *ms = start.elapsed().as_secs_f64() * 1e3;
            drop(engine);
        }
        Ok(Self { name: name.into(), open: Box::new(move || Ok(Box::new(open()?))), load_ms })
    }
}
