//! From the engine outwards.

use std::collections::BTreeMap;

use crate::delivery::Token;
use crate::engine::event::{UserId, Value};
use crate::engine::experiment;
use crate::engine::firing::Firing;
use crate::engine::model::{Model, OutputKind, Reason, Score};
use crate::engine::plan::{FeaturePlan, Plan, TriggerKind, TriggerPlan};
use crate::engine::profile::Profile;
use crate::engine::session::Session;
use crate::engine::time::{Arrival, Timestamp};
use crate::engine::trigger::TriggerState;
use crate::engine::vector::{Slot, Vector};
use crate::proto::v1;

pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let ms = time.as_millis();
    prost_types::Timestamp {
        seconds: ms.div_euclid(1_000),
        // Below 1e9: a remainder of 1,000 times 1e6.
        nanos: (ms.rem_euclid(1_000) * 1_000_000) as i32,
    }
}

pub fn as_of(arrival: Arrival) -> v1::AsOf {
    v1::AsOf { time: Some(timestamp(arrival.time)), sequence: arrival.sequence }
}

pub fn user_ref(user: &UserId) -> v1::UserRef {
    let id = user.id().to_owned();
    v1::UserRef {
        id: Some(if user.is_anonymous() {
            v1::user_ref::Id::AnonymousId(id)
        } else {
            v1::user_ref::Id::UserId(id)
        }),
    }
}

pub fn value(value: &Value) -> v1::Value {
    use v1::value::Kind;

    v1::Value {
        kind: Some(match value {
            Value::Text(text) => Kind::StringValue(text.to_string()),
            Value::Number(number) => Kind::DoubleValue(*number),
            Value::Integer(integer) => Kind::IntValue(*integer),
            Value::Bool(bool) => Kind::BoolValue(*bool),
            Value::Time(time) => Kind::TimestampValue(timestamp(*time)),
        }),
    }
}

/// Every feature of the vector by name; `approximate` says which are, by index.
pub fn features(plan: &Plan, vector: &Vector, approximate: &[bool]) -> BTreeMap<String, v1::FeatureValue> {
    let named = |(feature, &approximate): (&FeaturePlan, &bool)| {
        (feature.name.to_string(), v1::FeatureValue { approximate, ..feature_value(feature, vector) })
    };
    plan.features.iter().zip(approximate).map(named).collect()
}

fn feature_value(feature: &FeaturePlan, vector: &Vector) -> v1::FeatureValue {
    use v1::feature_value::Value;

    let value = match feature.slot {
        Slot::Number(slot) => {
            let number = vector.numbers[slot];
            (!number.is_nan()).then_some(if feature.is_bool {
                Value::Bool(number != 0.0)
            } else {
                Value::Number(number)
            })
        }
        Slot::Text(slot) => vector.texts[slot].as_ref().map(|text| Value::Text(text.to_string())),
    };
    v1::FeatureValue { missing: value.is_none(), value, approximate: false }
}

/// What `model` said, with the reasons that were asked for.
pub fn model_score(model: &Model, score: &Score, reasons: &[Reason]) -> v1::ModelScore {
    v1::ModelScore {
        model: model.name.to_string(),
        version: score.version,
        outputs: model
            .outputs
            .iter()
            .zip(&score.outputs)
            .map(|(output, value)| v1::Output {
                name: output.name.to_string(),
                kind: output_kind(output.kind).into(),
                value: *value,
            })
            .collect(),
        raw_score: score.raw,
        reasons: reasons.iter().map(reason).collect(),
    }
}

pub fn reason(reason: &Reason) -> v1::Reason {
    v1::Reason {
        feature: reason.feature.to_string(),
        value: Some(reason.value).filter(|value| !value.is_nan()),
        contribution: reason.contribution,
    }
}

pub fn output_kind(kind: OutputKind) -> v1::OutputKind {
    match kind {
        OutputKind::Probability => v1::OutputKind::Probability,
        OutputKind::ClassProbability => v1::OutputKind::ClassProbability,
        OutputKind::Value => v1::OutputKind::Value,
        OutputKind::Rank => v1::OutputKind::Rank,
    }
}

/// A firing, with its place in a subscription if it goes to one.
pub fn firing(firing: &Firing, resume_token: Option<Token>) -> v1::Firing {
    let (model, model_version) = match &firing.model {
        Some((name, version)) => (name.to_string(), *version),
        None => (String::new(), 0),
    };
    v1::Firing {
        firing_id: firing.id.to_string(),
        trigger: firing.trigger.to_string(),
        user: Some(user_ref(&firing.user)),
        key: firing.key.as_deref().unwrap_or_default().to_owned(),
        as_of: Some(as_of(firing.as_of)),
        score: firing.score,
        model,
        model_version,
        reasons: firing.reasons.iter().map(reason).collect(),
        variant: firing.variant.as_deref().unwrap_or_default().to_owned(),
        held_out: firing.held_out,
        expire_time: Some(timestamp(firing.expires_at)),
        resume_token: resume_token.map_or_else(String::new, |token| token.to_string()),
    }
}

/// A user's profile as of `now`, of which `vector` was read; nothing is explained.
pub fn profile(
    plan: &Plan,
    user: &UserId,
    profile: &Profile,
    vector: &Vector,
    now: Arrival,
) -> v1::GetProfileResponse {
    v1::GetProfileResponse {
        user: Some(user_ref(user)),
        as_of: Some(as_of(now)),
        event_count: profile.n_events,
        first_seen_time: profile.first_arrival.map(timestamp),
        last_seen_time: profile.last_arrival.map(|last| timestamp(last.time)),
        features: features(plan, vector, &profile.approximate(plan, now.time)),
        traits: profile
            .traits
            .by_name()
            .iter()
            .map(|(name, trait_)| (name.to_string(), value(trait_)))
            .collect(),
        sessions: profile.sessions.latest().map(|kept| session(plan, kept, now.time)).collect(),
        triggers: plan
            .triggers
            .iter()
            .zip(&profile.triggers)
            .flat_map(|(trigger, state)| trigger_states(trigger, state, user, now.time))
            .collect(),
        models: plan
            .models
            .iter()
            .zip(&profile.models)
            .enumerate()
            .map(|(index, (model, state))| v1::ModelState {
                model: model.name.to_string(),
                last_score: Some(state.last_score).filter(|score| !score.is_nan()),
                next_rescore_time: profile.score_due(plan, index).map(timestamp),
            })
            .collect(),
        explanations: Vec::new(),
    }
}

pub(super) fn session(plan: &Plan, session: &Session, now: Timestamp) -> v1::Session {
    v1::Session {
        start_time: Some(timestamp(session.start)),
        end_time: Some(timestamp(session.end)),
        event_count: session.n_events,
        open: session.is_open(plan.bounds, now),
    }
}

/// Where a trigger stands: one state for each key that waits, else one.
fn trigger_states(
    trigger: &TriggerPlan,
    state: &TriggerState,
    user: &UserId,
    now: Timestamp,
) -> Vec<v1::TriggerState> {
    let cooling_until = state.last_fired.map(|fired| fired.after(trigger.cooldown)).filter(|end| *end > now);
    let variant =
        state.held_out.filter(|held_out| !held_out).and_then(|_| experiment::variant(trigger, user));
    let idle = v1::TriggerState {
        trigger: trigger.name.to_string(),
        key: String::new(),
        phase: v1::TriggerPhase::Idle.into(),
        armed_time: None,
        due_time: None,
        last_fired_time: state.last_fired.map(timestamp),
        cooling_until: cooling_until.map(timestamp),
        suppressed_by: state.suppressed_by.map_or_else(String::new, |gate| gate.name().to_owned()),
        held_out: state.held_out,
        variant: variant.map_or_else(String::new, |variant| variant.to_string()),
    };
    let with_phase = |phase: v1::TriggerPhase| v1::TriggerState { phase: phase.into(), ..idle.clone() };
    match &trigger.kind {
        TriggerKind::Score { .. } if state.fired => vec![with_phase(v1::TriggerPhase::Fired)],
        _ if cooling_until.is_some() && !is_waiting(state) => vec![with_phase(v1::TriggerPhase::Cooling)],
        TriggerKind::Score { .. } => vec![with_phase(v1::TriggerPhase::Armed)],
        TriggerKind::Absence { .. } if !is_waiting(state) => vec![idle],
        TriggerKind::Absence { on_repeat, .. } => state
            .armings
            .iter()
            .filter(|arming| arming.due.is_some())
            .map(|arming| v1::TriggerState {
                key: arming.key.as_deref().unwrap_or_default().to_owned(),
                armed_time: arming.start(*on_repeat).map(|(time, _)| timestamp(time)),
                due_time: arming.due.map(timestamp),
                ..with_phase(v1::TriggerPhase::Armed)
            })
            .collect(),
    }
}

fn is_waiting(state: &TriggerState) -> bool {
    state.armings.iter().any(|arming| arming.due.is_some())
}
