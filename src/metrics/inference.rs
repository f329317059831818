//! Scores by the Open Inference Protocol.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, Result};

use super::register::Register;
use crate::engine::plan::Plan;

/// Metrics of the inference service.
#[derive(Debug)]
pub struct Inference {
    seconds: HistogramVec,
    rows: IntCounterVec,
}

impl Inference {
    pub(super) fn new(register: &Register<'_>, plan: &Plan) -> Result<Self> {
        let inference = Self {
            seconds: register.seconds_by(
                "tipoff_inference_seconds",
                "Time to answer a batch of the Open Inference Protocol, by model.",
                &["model"],
            )?,
            rows: register.counters(
                "tipoff_inference_rows_total",
                "Rows scored by the Open Inference Protocol, by model.",
                &["model"],
            )?,
        };
        for model in &plan.models {
            inference.seconds.with_label_values(&[&*model.name]);
            inference.rows.with_label_values(&[&*model.name]);
        }
        Ok(inference)
    }

    /// Counts one batch that was answered; `model` is a name of the plan.
    pub fn answer(&self, model: &str, n_rows: usize, elapsed: Duration) {
        self.seconds.with_label_values(&[model]).observe(elapsed.as_secs_f64());
        self.rows.with_label_values(&[model]).inc_by(n_rows as u64);
    }
}
