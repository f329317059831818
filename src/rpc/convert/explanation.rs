//! What a feature's value is made of.

use std::collections::BTreeMap;

use super::reply::{session, timestamp};
use crate::engine::event::Value;
use crate::engine::plan::{FeatureKind, FeaturePlan, Plan};
use crate::engine::provenance::{Bounds, Explanation, Occurrence, Totals};
use crate::engine::time::Timestamp;
use crate::pipeline::ProfileView;
use crate::proto::v1;

/// What a feature is made of; `values` are those of all features of the view.
pub fn explanation(
    plan: &Plan,
    feature: &FeaturePlan,
    view: &ProfileView,
    values: &BTreeMap<String, v1::FeatureValue>,
) -> v1::Explanation {
    use v1::explanation::Source;

    let now = view.as_of.time;
    let value = |feature: &FeaturePlan| values.get(&*feature.name).cloned().unwrap_or_default();
    let source = match view.profile.explain(plan, feature, now) {
        Explanation::Window { bounds, n_events, latest } => Source::Window(v1::WindowEvents {
            bounds: bounds.map(|bounds| self::bounds(plan, bounds, now)),
            event_count: n_events,
            events: latest.into_iter().map(occurrence).collect(),
        }),
        Explanation::Lifetime(totals) => Source::Lifetime(lifetime(totals)),
        Explanation::Sessions { after, n_sessions, latest } => Source::Sessions(v1::CountedSessions {
            interval: after.map(|after| interval(after, now)),
            session_count: n_sessions,
            sessions: latest.iter().map(|kept| session(plan, kept, now)).collect(),
        }),
        Explanation::Decayed { half_life } => {
            let ms = half_life.as_millis();
            let half_life =
                prost_types::Duration { seconds: ms / 1_000, nanos: (ms % 1_000 * 1_000_000) as i32 };
            Source::Decayed(v1::Decay { half_life: Some(half_life) })
        }
        Explanation::Expression { reads } => {
            let read = reads.into_iter().map(|index| &plan.features[index]);
            let features = read.map(|feature| (feature.name.to_string(), value(feature))).collect();
            Source::Expression(v1::ExpressionReads { features })
        }
    };
    let aggregate = match feature.kind {
        FeatureKind::Aggregate { aggregate, .. } => aggregate.name(),
        FeatureKind::Sessions { .. } => "sessions",
        FeatureKind::Expression(_) => "",
    };
    v1::Explanation {
        feature: feature.name.to_string(),
        value: Some(value(feature)),
        aggregate: aggregate.to_owned(),
        source: Some(source),
    }
}

fn bounds(plan: &Plan, bounds: Bounds, now: Timestamp) -> v1::window_events::Bounds {
    match bounds {
        Bounds::Sliding { after, until } => v1::window_events::Bounds::Interval(interval(after, until)),
        Bounds::Session(kept) => v1::window_events::Bounds::Session(session(plan, &kept, now)),
    }
}

fn interval(after: Timestamp, until: Timestamp) -> v1::Interval {
    v1::Interval { after_time: Some(timestamp(after)), until_time: Some(timestamp(until)) }
}

fn occurrence(occurrence: Occurrence) -> v1::Occurrence {
    let value = occurrence.value.and_then(|value| match value {
        Value::Text(text) => Some(v1::occurrence::Value::Text(text.to_string())),
        other => other.as_number().map(v1::occurrence::Value::Number),
    });
    v1::Occurrence { time: Some(timestamp(occurrence.time)), value }
}

fn lifetime(totals: Totals) -> v1::LifetimeTotals {
    v1::LifetimeTotals {
        event_count: totals.n_events,
        first: totals.first.map(occurrence),
        last: totals.last.map(occurrence),
        sum: totals.sum,
        min: totals.least,
        max: totals.greatest,
        distinct_count: totals.n_distinct,
    }
}
