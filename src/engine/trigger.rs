//! Triggers: one arming state machine per (trigger, user), and the gates a
//! firing passes.
//!
//! A score trigger is armed until the score crosses `fire_at`, and again once
//! it has gone back over `rearm_at`. An absence trigger keeps, per key, the
//! arming events not yet answered and the latest answer: a lattice, so that
//! events in any order within the lateness leave the same state.

use std::sync::Arc;

use super::decision::{Action, FiringId, Gate, Outcome};
use super::event::{EventUid, UserId};
use super::experiment;
use super::model::{Models, Score};
use super::plan::{CapPlan, OnRepeat, Plan, Scope, TriggerKind, TriggerPlan};
use super::profile::Profile;
use super::time::{Millis, Timestamp};

/// Keys of one trigger that may be armed for one user at a time; further ones do not arm.
pub const MAX_ARMINGS: usize = 256;
/// Unanswered repeats of one arming that are kept where the first one counts.
const MAX_REPEATS: usize = 64;
/// Contributions recorded with a firing.
const N_REASONS: usize = 3;

/// One trigger's state for one user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TriggerState {
    /// Score triggers: fired, or beyond the threshold by a swap of models, and
    /// not yet back over the exit threshold.
    pub fired: bool,
    /// The gate that last stopped it; a score trigger's standing suppression is recorded once.
    pub suppressed_by: Option<Gate>,
    pub last_fired: Option<Timestamp>,
    /// The user's arm of the holdout, recorded at first exposure.
    pub held_out: Option<bool>,
    /// Absence triggers: one a key, sorted by key.
    pub armings: Vec<Arming>,
}

/// One key of an absence trigger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arming {
    pub key: Option<Arc<str>>,
    /// Arming events without an answer, in canonical order.
    pub waiting: Vec<(Timestamp, EventUid)>,
    /// The latest event that answers or that has been decided on.
    pub answered: Option<(Timestamp, EventUid)>,
    /// When the wait ends; none while nothing waits.
    pub due: Option<Timestamp>,
}

/// Folds the event in `scope` into an absence trigger's armings. Returns
/// whether an arming was refused for want of room.
pub fn fold_event(
    state: &mut TriggerState,
    trigger: &TriggerPlan,
    scope: &Scope<'_>,
    lateness: Millis,
) -> bool {
    let TriggerKind::Absence { after, filter, without, wait, key, on_repeat } = &trigger.kind else {
        return false;
    };
    let (Some(event), now) = (scope.event, scope.now) else { return false };
    let arms = after.matches(event.kind) && filter.as_ref().is_none_or(|filter| filter.holds(scope));
    let answers = without.iter().any(|selector| selector.matches(event.kind));
    if !arms && !answers {
        return false;
    }
    let key = match key {
        None => None,
        Some(property) => match event.property(*property) {
            Some(value) => Some(key_text(value)),
            None => return false,
        },
    };
    if key.is_some() {
        // An idle key is remembered only as long as a late event can still touch it.
        let horizon = now.before(lateness);
        state.armings.retain(|arming| {
            !arming.waiting.is_empty()
                || arming.key == key
                || arming.answered.is_some_and(|(time, _)| time > horizon)
        });
    }
    let at = match state.armings.binary_search_by(|arming| arming.key.cmp(&key)) {
        Ok(at) => at,
        Err(_) if state.armings.len() >= MAX_ARMINGS => return arms,
        Err(at) => {
            state.armings.insert(at, Arming { key, ..Arming::default() });
            at
        }
    };
    let arming = &mut state.armings[at];
    let this = (event.event.time, event.event.uid);
    let before = arming.start(*on_repeat);
    if answers {
        arming.answered = arming.answered.max(Some(this));
        let answered = arming.answered;
        arming.waiting.retain(|waiting| is_open(*waiting, answered));
    }
    let open = is_open(this, arming.answered);
    if arms && open {
        if let Err(place) = arming.waiting.binary_search(&this) {
            arming.waiting.insert(place, this);
        }
        match on_repeat {
            OnRepeat::Reset => {
                let latest = arming.waiting.len() - 1;
                arming.waiting.drain(..latest);
            }
            OnRepeat::Keep => arming.waiting.truncate(MAX_REPEATS),
        }
    }
    let start = arming.start(*on_repeat);
    if start != before {
        arming.due = start.map(|(time, _)| time.after(*wait).max(now));
    }
    false
}

/// Whether an arming event still waits. An answer at the same instant is one:
/// events of one batch without times of their own have the same. An event that
/// both answers and arms starts a new wait by itself.
fn is_open(arming: (Timestamp, EventUid), answered: Option<(Timestamp, EventUid)>) -> bool {
    answered.is_none_or(|answered| arming.0 > answered.0 || arming == answered)
}

/// What the triggers do in one decision, in the order of the plan: `decide`
/// pushes what each does, and the gates of those behind it count its firings.
pub fn decide_each(
    mut context: Context<'_>,
    mut decide: impl FnMut(usize, &TriggerPlan, &Context<'_>, &mut Vec<Outcome>),
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (index, trigger) in context.plan.triggers.iter().enumerate() {
        let before = outcomes.len();
        decide(index, trigger, &context, &mut outcomes);
        let fired = outcomes[before..].iter().filter(|outcome| outcome.action.is_firing()).count();
        context.fired_now.extend(std::iter::repeat_n(index, fired));
    }
    outcomes
}

/// What a score trigger does at a new score; none if nothing changes.
///
/// The first score of a user by another version of the model than the last one
/// fires nobody: that it is beyond the threshold may be the shift between the
/// versions, and no crossing.
pub fn decide_score(
    trigger: &TriggerPlan,
    index: usize,
    profile: &Profile,
    user: &UserId,
    score: &Score,
    occurrence: EventUid,
    context: &Context<'_>,
) -> Option<Outcome> {
    let TriggerKind::Score { model, fire_at, rearm_at, falling } = &trigger.kind else { return None };
    let (state, before) = (&profile.triggers[index], &profile.models[*model]);
    let is_by_another = before.version != 0 && before.version != score.version;
    let score = score.value();
    let crosses = |score: f64| if *falling { score <= *fire_at } else { score >= *fire_at };
    let back = if *falling { score > *rearm_at } else { score < *rearm_at };
    let outcome = |action, reasons| Outcome {
        trigger: trigger.name.clone(),
        key: None,
        action,
        score: Some(score),
        reasons,
    };
    if back {
        return (state.fired || state.suppressed_by.is_some()).then(|| outcome(Action::Rearmed, Vec::new()));
    }
    if state.fired || !crosses(score) {
        return None;
    }
    if is_by_another {
        // Who waits at a gate had crossed by the version before as well, and goes on waiting.
        let waits = state.suppressed_by.is_some() && crosses(before.last_score);
        return (!waits).then(|| outcome(Action::Baselined, Vec::new()));
    }
    match first_closed_gate(trigger, index, profile, context) {
        Some(gate) if state.suppressed_by == Some(gate) => None,
        Some(gate) => Some(outcome(Action::Suppressed { gate }, Vec::new())),
        None => {
            let reasons = context
                .models
                .of(*model, user)
                .map_or_else(Vec::new, |m| m.reasons(context.scope.vector, N_REASONS));
            Some(outcome(fire(trigger, state, user, None, occurrence), reasons))
        }
    }
}

/// What an absence trigger does with its armings due at `now`.
pub fn decide_absence(
    trigger: &TriggerPlan,
    index: usize,
    profile: &Profile,
    user: &UserId,
    now: Timestamp,
    context: &Context<'_>,
    outcomes: &mut Vec<Outcome>,
) {
    let TriggerKind::Absence { on_repeat, .. } = &trigger.kind else { return };
    let state = &profile.triggers[index];
    for arming in &state.armings {
        let (Some(due), Some((_, occurrence))) = (arming.due, arming.start(*on_repeat)) else { continue };
        if due > now {
            continue;
        }
        let action = match first_closed_gate(trigger, index, profile, context) {
            Some(gate) => Action::Suppressed { gate },
            None => fire(trigger, state, user, arming.key.as_deref(), occurrence),
        };
        outcomes.push(Outcome {
            trigger: trigger.name.clone(),
            key: arming.key.clone(),
            action,
            score: None,
            reasons: Vec::new(),
        });
    }
}

/// What gates and reasons read in one decision.
pub struct Context<'a> {
    pub plan: &'a Plan,
    pub models: &'a Models,
    pub scope: Scope<'a>,
    /// Firings of this same decision, which caps and cooldowns already count.
    pub fired_now: Vec<usize>,
}

/// Folds what was decided into the state. `now` is the decision's as-of.
pub fn fold_outcome(state: &mut TriggerState, outcome: &Outcome, now: Timestamp, is_score: bool) {
    match &outcome.action {
        Action::Fired { .. } | Action::HeldOut { .. } => {
            state.fired = is_score;
            state.suppressed_by = None;
            state.last_fired = Some(now);
            state.held_out.get_or_insert(matches!(outcome.action, Action::HeldOut { .. }));
        }
        Action::Suppressed { gate } => state.suppressed_by = Some(*gate),
        Action::Baselined => {
            state.fired = is_score;
            state.suppressed_by = None;
        }
        Action::Rearmed => {
            state.fired = false;
            state.suppressed_by = None;
        }
    }
    if !is_score && let Ok(at) = state.armings.binary_search_by(|arming| arming.key.cmp(&outcome.key)) {
        let arming = &mut state.armings[at];
        arming.answered = arming.answered.max(arming.waiting.last().copied());
        arming.waiting.clear();
        arming.due = None;
    }
}

impl Arming {
    /// The arming event whose wait is running.
    pub fn start(&self, on_repeat: OnRepeat) -> Option<(Timestamp, EventUid)> {
        match on_repeat {
            OnRepeat::Reset => self.waiting.last().copied(),
            OnRepeat::Keep => self.waiting.first().copied(),
        }
    }
}

/// The first gate that stops the trigger, in the order in which gates are passed.
fn first_closed_gate(
    trigger: &TriggerPlan,
    index: usize,
    profile: &Profile,
    context: &Context<'_>,
) -> Option<Gate> {
    let state = &profile.triggers[index];
    let now = context.scope.now;
    if !trigger.enabled {
        return Some(Gate::Disabled);
    }
    if trigger.when.as_ref().is_some_and(|when| !when.holds(&context.scope)) {
        return Some(Gate::When);
    }
    if trigger.unless.as_ref().is_some_and(|unless| unless.holds(&context.scope)) {
        return Some(Gate::Unless);
    }
    let cooling = state.last_fired.is_some_and(|fired| now < fired.after(trigger.cooldown));
    if cooling || (trigger.cooldown > Millis::ZERO && context.fired_now.contains(&index)) {
        return Some(Gate::Cooldown);
    }
    let full = |cap: &CapPlan| {
        let earlier = profile
            .firings
            .iter()
            .filter(|(trigger, time)| *time > now.before(cap.per) && cap.triggers.contains(trigger));
        let same = context.fired_now.iter().filter(|trigger| cap.triggers.contains(trigger));
        cap.triggers.contains(&index) && earlier.count() + same.count() >= cap.at_most
    };
    context.plan.caps.iter().any(full).then_some(Gate::Cap)
}

fn fire(
    trigger: &TriggerPlan,
    state: &TriggerState,
    user: &UserId,
    key: Option<&str>,
    occurrence: EventUid,
) -> Action {
    let id = firing_id(&trigger.name, user, key, occurrence);
    if state.held_out.unwrap_or_else(|| experiment::held_out(trigger, user)) {
        Action::HeldOut { id }
    } else {
        Action::Fired { id, variant: experiment::variant(trigger, user) }
    }
}

/// Hash of (trigger name, user, key, occurrence, step): see [`FiringId`].
fn firing_id(trigger: &str, user: &UserId, key: Option<&str>, occurrence: EventUid) -> FiringId {
    let mut bytes = Vec::with_capacity(96);
    for part in [trigger, user.key(), key.unwrap_or("")] {
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes.push(u8::from(key.is_some()));
    bytes.extend_from_slice(&occurrence.0.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    FiringId(xxhash_rust::xxh3::xxh3_128(&bytes))
}

fn key_text(value: &super::event::Value) -> Arc<str> {
    use super::event::Value;
    match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string().into(),
        Value::Integer(integer) => integer.to_string().into(),
        Value::Bool(bool) => bool.to_string().into(),
        Value::Time(time) => time.to_string().into(),
    }
}
