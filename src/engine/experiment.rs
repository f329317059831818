//! Who gets what: salted, stable assignment.

use std::sync::Arc;

use super::event::UserId;
use super::plan::TriggerPlan;

/// Whether the user is in the trigger's holdout, by a salted hash of the user.
pub fn held_out(trigger: &TriggerPlan, user: &UserId) -> bool {
    trigger.holdout > 0.0 && unit_interval("holdout", &trigger.name, user) < trigger.holdout
}

/// The user's variant, by weights; none if the trigger has none.
pub fn variant(trigger: &TriggerPlan, user: &UserId) -> Option<Arc<str>> {
    let total: f64 = trigger.variants.iter().map(|(_, weight)| weight).sum();
    let mut left = unit_interval("variant", &trigger.name, user) * total;
    for (name, weight) in &trigger.variants {
        left -= weight;
        if left < 0.0 {
            return Some(name.clone());
        }
    }
    trigger.variants.last().map(|(name, _)| name.clone())
}

/// Whether a canary of the model takes the user: `share` (0 to 1) of all, those
/// of a smaller share among those of a larger one.
pub fn in_canary(model: &str, share: f64, user: &UserId) -> bool {
    unit_interval("canary", model, user) < share
}

/// A number in `[0, 1)`, uniform over users, independent between purposes and
/// between triggers or models.
fn unit_interval(purpose: &str, name: &str, user: &UserId) -> f64 {
    let text = format!("{purpose}\0{name}\0{}", user.key());
    (xxhash_rust::xxh3::xxh3_64(text.as_bytes()) >> 11) as f64 / (1_u64 << 53) as f64
}
