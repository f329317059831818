//! tipoff's own.

use std::sync::Arc;

use anyhow::Result;
use tipoff::engine::forest::{Forest, Path, RankedForest};
use tipoff::engine::model::Scorer;

use super::engine::{Contestant, Engine, Rows};

/// Threads share one forest.
pub struct Ours(Arc<RankedForest>);

impl Ours {
    pub fn contestant<'a>(
        name: impl Into<String>,
        path: Path,
        read: impl Fn() -> Result<Forest> + Sync + 'a,
    ) -> Result<Contestant<'a>> {
        let shared = Arc::new(RankedForest::new(read()?).with_path(path));
        let timed =
            Contestant::new(name, move || Ok(Self(Arc::new(RankedForest::new(read()?).with_path(path)))))?;
        let open = Box::new(move || Ok(Box::new(Self(shared.clone())) as Box<dyn Engine>));
        Ok(Contestant { open, ..timed })
    }
}

impl Engine for Ours {
    fn score(&mut self, rows: &Rows, at: usize) -> f64 {
        let mut raw = [0.0; 2];
        let n_outputs = self.0.n_outputs();
        self.0.score(rows.doubles(at, 1), &mut raw[..n_outputs]);
        // ONNX has an output for each of the two classes.
        raw[n_outputs - 1]
    }

    fn score_batch(&mut self, rows: &Rows, at: usize, scores: &mut [f64]) {
        match self.0.n_outputs() {
            1 => self.0.score_batch(rows.doubles(at, scores.len()), scores.len(), scores),
            _ => (at..).zip(scores).for_each(|(row, score)| *score = self.score(rows, row)),
        }
    }
}
