//! Versions that serve nobody and are compared.

use prometheus::{IntCounter, IntGauge, Result};

use super::register::Register;
use crate::engine::plan::Plan;
use crate::engine::shadow::FiredBy;

/// What became of a score that a decision was made on, as the shadow sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Compared,
    /// The shadow gave no number, or panicked.
    Failed,
    /// There was no room in the queue.
    Dropped,
    /// Of a user beyond the most that are followed.
    BeyondUsers,
    /// By another version than the one that the shadow is compared with.
    OtherVersion,
}

impl Asked {
    pub const ALL: [Self; 5] =
        [Self::Compared, Self::Failed, Self::Dropped, Self::BeyondUsers, Self::OtherVersion];

    const fn name(self) -> &'static str {
        match self {
            Self::Compared => "compared",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::BeyondUsers => "beyond_users",
            Self::OtherVersion => "other_version",
        }
    }
}

/// Metrics of the shadows.
#[derive(Debug)]
pub struct Shadows {
    /// By index into the plan's models: users whose decisions are compared.
    pub users: Vec<IntGauge>,
    /// The same, by [`Asked`].
    scores: Vec<Vec<IntCounter>>,
    /// By index into the plan's triggers, by [`FiredBy`]; empty for those on no score.
    firings: Vec<Vec<IntCounter>>,
}

/// What was counted of one model's shadow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// By [`Asked`].
    pub scores: [u64; Asked::ALL.len()],
    /// By index into the plan's triggers, by [`FiredBy`].
    pub firings: Vec<[u64; FiredBy::ALL.len()]>,
}

impl Shadows {
    pub(super) fn new(register: &Register<'_>, plan: &Plan) -> Result<Self> {
        let users = register.gauges(
            "tipoff_shadow_profiles",
            "Users whose decisions are compared with those of a shadow, by model.",
            &["model"],
        )?;
        let scores = register.counters(
            "tipoff_shadow_scores_total",
            "Scores that decisions were made on while the model has a shadow, by model and what became of them there.",
            &["model", "result"],
        )?;
        let firings = register.counters(
            "tipoff_shadow_firings_total",
            "Decisions in which a trigger fired, or would have by the shadow, by trigger and by which version.",
            &["trigger", "by"],
        )?;
        let of_model =
            |name: &str| Asked::ALL.map(|asked| scores.with_label_values(&[name, asked.name()])).to_vec();
        let of_trigger =
            |name: &str| FiredBy::ALL.map(|by| firings.with_label_values(&[name, by.name()])).to_vec();
        Ok(Self {
            users: plan.models.iter().map(|model| users.with_label_values(&[&*model.name])).collect(),
            scores: plan.models.iter().map(|model| of_model(&model.name)).collect(),
            firings: plan
                .triggers
                .iter()
                .map(|trigger| if trigger.kind.is_score() { of_trigger(&trigger.name) } else { Vec::new() })
                .collect(),
        })
    }

    pub fn count(&self, model: usize, asked: Asked, n: usize) {
        self.scores[model][asked as usize].inc_by(n as u64);
    }

    pub fn fired(&self, trigger: usize, by: FiredBy) {
        self.firings[trigger][by as usize].inc();
    }

    /// All that was counted so far.
    pub fn counts(&self, model: usize) -> Counts {
        Counts {
            scores: Asked::ALL.map(|asked| self.scores[model][asked as usize].get()),
            firings: self
                .firings
                .iter()
                .map(|of| FiredBy::ALL.map(|by| of.get(by as usize).map_or(0, IntCounter::get)))
                .collect(),
        }
    }
}

impl Counts {
    /// What came to it since an earlier count.
    pub fn since(mut self, earlier: &Self) -> Self {
        let scores = self.scores.iter_mut().zip(&earlier.scores);
        let firings = self.firings.iter_mut().flatten().zip(earlier.firings.iter().flatten());
        scores.chain(firings).for_each(|(count, earlier)| *count -= earlier);
        self
    }
}
