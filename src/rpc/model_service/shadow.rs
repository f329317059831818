//! How a model's shadow compares.

use super::Models;
use crate::engine::shadow::{FiredBy, is_on};
use crate::metrics::Asked;
use crate::pipeline::{ShadowReport, Summary};
use crate::proto::v1;
use crate::rpc::convert::timestamp;
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

impl Models {
    pub(super) fn shadow_report(
        &self,
        request: &v1::GetShadowReportRequest,
    ) -> Result<v1::GetShadowReportResponse, Refusal> {
        let entry = self.entry(&request.name)?;
        if entry.rollout.shadow.is_none() {
            return Err(Refusal::new(Reason::NoShadow, "shadow points to no version"));
        }
        let pipeline = &self.context.parts.pipeline;
        let triggers = &pipeline.plan().triggers;
        let model = pipeline.plan().models.iter().position(|model| model.name == entry.name);
        let report = model.and_then(|model| Some((model, pipeline.shadow_report(model)?)));
        let (model, report) = report.ok_or_else(|| {
            let reasons: Vec<String> = entry.refused.iter().map(ToString::to_string).collect();
            let message = format!("what is to be compared is not loaded: {}", reasons.join("; "));
            Refusal::new(Reason::ModelNotLoaded, message)
        })?;
        let ShadowReport { serving, shadow, since, n_users, counts, differences, is_panicked } = report;
        let scores = |asked: Asked| counts.scores[asked as usize];
        let triggers = triggers.iter().zip(&counts.firings).filter(|(trigger, _)| is_on(trigger, model));
        let report = v1::ShadowReport {
            name: request.name.clone(),
            serving_version: serving,
            shadow_version: shadow,
            since: Some(timestamp(since)),
            n_users,
            n_compared: scores(Asked::Compared),
            n_failed: scores(Asked::Failed),
            n_dropped: scores(Asked::Dropped),
            n_beyond_users: scores(Asked::BeyondUsers),
            n_other_version: scores(Asked::OtherVersion),
            panicked: is_panicked,
            differences: differences.map(to_wire),
            triggers: triggers
                .map(|(trigger, by)| v1::ShadowTrigger {
                    trigger: trigger.name.to_string(),
                    n_both: by[FiredBy::Both as usize],
                    n_serving_only: by[FiredBy::Serving as usize],
                    n_shadow_only: by[FiredBy::Shadow as usize],
                })
                .collect(),
        };
        Ok(v1::GetShadowReportResponse { report: Some(report) })
    }
}

fn to_wire(summary: Summary) -> v1::ShadowDifferences {
    let Summary { mean, mean_absolute, max_absolute, p50_absolute, p90_absolute, p99_absolute } = summary;
    v1::ShadowDifferences { mean, mean_absolute, max_absolute, p50_absolute, p90_absolute, p99_absolute }
}
