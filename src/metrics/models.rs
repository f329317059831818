//! Scoring, and which artifacts do it.

use prometheus::{Histogram, IntCounter, IntGaugeVec, Result};

use super::register::Register;
use crate::engine::plan::Plan;
use crate::registry::Alias;

/// Metrics of the models.
#[derive(Debug)]
pub struct Models {
    /// By index into the plan's models: time of one row asked for, without reading its features.
    pub score_seconds: Vec<Histogram>,
    /// Time of answering one user's scores, features included.
    pub query_seconds: Histogram,
    /// By index into the plan's models: scores that decisions were made on.
    pub decided: Vec<IntCounter>,
    /// The same: rows for which there was no score.
    pub unscored: Vec<IntCounter>,
    info: IntGaugeVec,
}

impl Models {
    pub(super) fn new(register: &Register<'_>, plan: &Plan) -> Result<Self> {
        let score = register.seconds_by(
            "tipoff_score_seconds",
            "Time to score one row on request, without reading its features.",
            &["model"],
        )?;
        let decided = register.counters(
            "tipoff_scores_total",
            "Scores that decisions were made on, by model.",
            &["model"],
        )?;
        let unscored = register.counters(
            "tipoff_unscored_total",
            "Rows for which a model gave no score, by model.",
            &["model"],
        )?;
        Ok(Self {
            unscored: plan.models.iter().map(|model| unscored.with_label_values(&[&*model.name])).collect(),
            decided: plan.models.iter().map(|model| decided.with_label_values(&[&*model.name])).collect(),
            score_seconds: plan.models.iter().map(|model| score.with_label_values(&[&*model.name])).collect(),
            query_seconds: register.seconds(
                "tipoff_score_query_seconds",
                "Time to answer one user's scores, reading the features included.",
            )?,
            info: register.gauges(
                "tipoff_model_info",
                "The versions in memory that an alias points to, by model, alias and version.",
                &["model", "alias", "version"],
            )?,
        })
    }

    /// Shows the version under an alias of `model`, in place of the one before.
    pub fn show(&self, model: &str, alias: Alias, before: Option<u32>, version: Option<u32>) {
        if let Some(before) = before {
            // It may not have been shown; then there is nothing to remove.
            let _ = self.info.remove_label_values(&[model, alias.name(), &before.to_string()]);
        }
        if let Some(version) = version {
            self.info.with_label_values(&[model, alias.name(), &version.to_string()]).set(1);
        }
    }
}
