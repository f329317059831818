//! What is read of profiles.

use prometheus::{IntCounter, Result};

use super::register::Register;
use crate::engine::plan::Plan;
use crate::engine::profile::Profile;
use crate::engine::time::Timestamp;

/// Metrics of the features.
#[derive(Debug)]
pub struct Features {
    /// By index into the plan's features.
    approximate: Vec<IntCounter>,
}

impl Features {
    pub(super) fn new(register: &Register<'_>, plan: &Plan) -> Result<Self> {
        let approximate = register.counters(
            "tipoff_approximate_readings_total",
            "Times a feature was an estimate when a decision was made or a score asked for, because the user has more events or sessions than are kept one by one, by feature.",
            &["feature"],
        )?;
        let of = |feature: &str| approximate.with_label_values(&[feature]);
        Ok(Self { approximate: plan.features.iter().map(|feature| of(&feature.name)).collect() })
    }

    /// Counts what is an estimate of all features, read `n` times as of `now`.
    pub fn read(&self, plan: &Plan, profile: &Profile, now: Timestamp, n: usize) {
        if n == 0 || !profile.may_be_approximate(plan, now) {
            return;
        }
        let estimates = self.approximate.iter().zip(profile.approximate(plan, now));
        estimates.filter(|(_, is_estimate)| *is_estimate).for_each(|(counter, _)| counter.inc_by(n as u64));
    }
}
