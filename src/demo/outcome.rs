//! Did it happen? What was predicted, against what then came.

use std::collections::HashMap;

use anyhow::Result;

use crate::engine::decision::{Decision, Outcome};
use crate::engine::event::UserId;
use crate::engine::expression::BoolExpr;
use crate::engine::plan::{EventSelector, LabelPlan, Plan, Scope, TriggerKind};
use crate::engine::time::{Millis, Timestamp};
use crate::event_file::Record;
use crate::record::{self, Record as LogRecord};
use crate::store::LogReader;

/// The decisions that a server recorded, with what then happened.
pub struct Outcomes {
    /// When each user did each thing, in order: (user, type) to times.
    happened: HashMap<(UserId, Box<str>), Vec<Timestamp>>,
    /// The end of what is known.
    end: Timestamp,
}

/// One model's decisions from an instant on whose horizon has passed.
#[derive(Default)]
pub struct Judged {
    /// Day, score and whether the label came true.
    decisions: Vec<(i64, f64, bool)>,
}

/// How a trigger's firings came out.
#[derive(Debug, PartialEq)]
pub struct Precision {
    /// Firings, held-out ones included, whose horizon has passed.
    pub n: usize,
    /// Of these, how many users did what was predicted.
    pub hits: usize,
    /// The share of the decisions of the same days that came true, of
    /// customers whom the trigger's `when` lets pass.
    pub base_rate: f64,
}

/// All that the closing summary says of a model and its trigger.
pub struct Report {
    pub judged: Judged,
    pub precision: Precision,
    /// Firings whose horizon has not passed.
    pub n_open: usize,
}

impl Outcomes {
    pub fn new(events: &[Record]) -> Self {
        let mut happened: HashMap<_, Vec<Timestamp>> = HashMap::new();
        for record in events {
            happened
                .entry((record.user.clone(), record.event.kind.clone()))
                .or_default()
                .push(record.event.time);
        }
        for times in happened.values_mut() {
            times.sort_unstable();
        }
        let end = events.iter().map(|record| record.event.time).max().unwrap_or_default();
        Self { happened, end }
    }

    /// Whether the label came true for a decision; none if its horizon has not passed.
    fn came_true(&self, plan: &Plan, label: &LabelPlan, user: &UserId, at: Timestamp) -> Option<bool> {
        let until = at.after(label.horizon);
        if until > self.end {
            return None;
        }
        let EventSelector::Type(kind) = label.event else { return None };
        let key = (user.clone(), Box::from(&**plan.event_types.name(kind)));
        let found = self.happened.get(&key).is_some_and(|times| {
            let next = times.partition_point(|time| *time <= at);
            times.get(next).is_some_and(|time| *time <= until)
        });
        Some(found == label.happens)
    }

    /// Judges a score trigger and its model by the log of `reader`, from `since` on.
    pub fn report(
        &self,
        plan: &Plan,
        trigger: usize,
        since: Timestamp,
        reader: LogReader,
    ) -> Result<Option<Report>> {
        let TriggerKind::Score { model, .. } = plan.triggers[trigger].kind else { return Ok(None) };
        let Some(label) = plan.models[model].label.map(|label| &plan.labels[label]) else { return Ok(None) };
        let when = plan.triggers[trigger].when.as_ref();
        let (mut judged, mut eligible) = (Judged::default(), Judged::default());
        let (mut fired, mut n_open) = (Vec::new(), 0);
        for entry in reader {
            let (_, entry) = entry?;
            let LogRecord::Step(user, step) = record::decode(plan, &entry.payload)? else { continue };
            let Some(decision) = &step.decision else { continue };
            let at = decision.as_of.time;
            if at < since {
                continue;
            }
            let came_true = self.came_true(plan, label, &user, at);
            if let (Some(score), Some(came_true)) = (decision.score_of(model), came_true) {
                judged.decisions.push((day(at), score.value(), came_true));
                if when.is_none_or(|when| holds(when, plan, decision)) {
                    eligible.decisions.push((day(at), score.value(), came_true));
                }
            }
            let is_ours = |outcome: &Outcome| {
                outcome.trigger == plan.triggers[trigger].name && outcome.action.is_firing()
            };
            // At most one: a score trigger fires once a decision.
            if decision.outcomes.iter().any(is_ours) {
                match came_true {
                    Some(came_true) => fired.push((day(at), came_true)),
                    None => n_open += 1,
                }
            }
        }
        let precision = eligible.precision(&fired);
        Ok(Some(Report { judged, precision, n_open }))
    }
}

impl Judged {
    pub fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Area under the ROC curve, ties counted half; none without both outcomes.
    pub fn auc(&self) -> Option<f64> {
        let mut sorted: Vec<(f64, bool)> =
            self.decisions.iter().map(|(_, score, hit)| (*score, *hit)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let n_hits = sorted.iter().filter(|(_, hit)| *hit).count();
        let n_misses = sorted.len() - n_hits;
        if n_hits == 0 || n_misses == 0 {
            return None;
        }
        let (mut rank_sum, mut start) = (0.0, 0);
        while start < sorted.len() {
            let end = start + sorted[start..].partition_point(|(score, _)| *score <= sorted[start].0);
            // Ranks from 1; ties share their mean.
            let mean_rank = (start + 1 + end) as f64 / 2.0;
            rank_sum += mean_rank * sorted[start..end].iter().filter(|(_, hit)| *hit).count() as f64;
            start = end;
        }
        let hits = n_hits as f64;
        Some((rank_sum - hits * (hits + 1.0) / 2.0) / (hits * n_misses as f64))
    }

    fn precision(&self, fired: &[(i64, bool)]) -> Precision {
        let mut days: HashMap<i64, (usize, usize)> = HashMap::new();
        for (day, _, hit) in &self.decisions {
            let (n, hits) = days.entry(*day).or_default();
            *n += 1;
            *hits += usize::from(*hit);
        }
        // Weighted as the firings are: the same days, as often.
        let rates =
            fired.iter().filter_map(|(day, _)| days.get(day)).map(|(n, hits)| *hits as f64 / *n as f64);
        let (n_rates, sum) = rates.fold((0, 0.0), |(n, sum), rate| (n + 1, sum + rate));
        Precision {
            n: fired.len(),
            hits: fired.iter().filter(|(_, hit)| *hit).count(),
            base_rate: sum / f64::from(n_rates),
        }
    }
}

impl Precision {
    pub fn share(&self) -> f64 {
        self.hits as f64 / self.n as f64
    }

    /// The 95 % interval of the share. Wilson, "Probable inference", JASA 1927.
    pub fn interval(&self) -> (f64, f64) {
        const Z: f64 = 1.959_963_984_540_054;
        let (n, share) = (self.n as f64, self.share());
        let centre = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        (centre - half, centre + half)
    }
}

/// Whether a condition on the user's features held at a decision.
fn holds(condition: &BoolExpr, plan: &Plan, decision: &Decision) -> bool {
    let traits = vec![None; plan.traits.len()];
    let scores = vec![f64::NAN; plan.models.len()];
    let vector = &decision.vector;
    condition.holds(&Scope {
        event: None,
        vector,
        traits: &traits,
        scores: &scores,
        now: decision.as_of.time,
    })
}

fn day(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(Millis::DAY.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_counts_ties_half() {
        let judged = |decisions: &[(f64, bool)]| Judged {
            decisions: decisions.iter().map(|(score, hit)| (0, *score, *hit)).collect(),
        };
        assert_eq!(judged(&[(0.1, false), (0.9, true)]).auc(), Some(1.0));
        assert_eq!(judged(&[(0.5, false), (0.5, true)]).auc(), Some(0.5));
        assert_eq!(judged(&[(0.2, true), (0.2, false), (0.7, true), (0.9, false)]).auc(), Some(0.375));
        assert_eq!(judged(&[(0.2, true)]).auc(), None);
    }

    #[test]
    fn the_base_rate_is_that_of_the_firings_days() {
        let judged =
            Judged { decisions: vec![(1, 0.1, true), (1, 0.1, false), (2, 0.1, false), (3, 0.1, true)] };
        let precision = judged.precision(&[(1, true), (1, true), (2, false), (2, true)]);
        assert_eq!(precision, Precision { n: 4, hits: 3, base_rate: 0.25 });
        // Wilson's interval for 3 of 4, by hand.
        let (low, high) = precision.interval();
        assert!((low - 0.3006).abs() < 1e-4 && (high - 0.9544).abs() < 1e-4, "{low} {high}");
    }
}
