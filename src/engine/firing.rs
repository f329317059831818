//! A firing: the decision to act, as it leaves for the outside.

use std::sync::Arc;

use super::decision::{Action, Decision, FiringId};
use super::event::UserId;
use super::model::Reason;
use super::plan::{Plan, TriggerKind};
use super::time::{Arrival, Timestamp};

/// One firing, or one that would have been delivered had the user not been held out.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    pub id: FiringId,
    pub trigger: Arc<str>,
    pub user: UserId,
    pub key: Option<Arc<str>>,
    pub as_of: Arrival,
    /// The score that crossed, for score triggers.
    pub score: Option<f64>,
    /// Name and version of the model that said it.
    pub model: Option<(Arc<str>, u32)>,
    pub reasons: Vec<Reason>,
    pub variant: Option<Arc<str>>,
    /// Recorded only, never delivered.
    pub held_out: bool,
    /// After this, delivery is given up.
    pub expires_at: Timestamp,
}

impl Decision {
    /// The firings of this decision, in the order of its outcomes.
    pub fn firings<'a>(&'a self, user: &'a UserId, plan: &'a Plan) -> impl Iterator<Item = Firing> + 'a {
        self.outcomes.iter().filter_map(move |outcome| {
            let (id, variant, held_out) = match &outcome.action {
                Action::Fired { id, variant } => (*id, variant.clone(), false),
                Action::HeldOut { id } => (*id, None, true),
                Action::Suppressed { .. } | Action::Rearmed | Action::Baselined => return None,
            };
            let trigger = plan.triggers.iter().find(|trigger| trigger.name == outcome.trigger)?;
            let model = match trigger.kind {
                TriggerKind::Score { model, .. } => {
                    self.score_of(model).map(|score| (plan.models[model].name.clone(), score.version))
                }
                TriggerKind::Absence { .. } => None,
            };
            Some(Firing {
                id,
                trigger: outcome.trigger.clone(),
                user: user.clone(),
                key: outcome.key.clone(),
                as_of: self.as_of,
                score: outcome.score,
                model,
                reasons: outcome.reasons.clone(),
                variant,
                held_out,
                expires_at: self.as_of.time.after(trigger.time_to_live),
            })
        })
    }
}
