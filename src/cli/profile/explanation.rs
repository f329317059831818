//! What a feature's value is made of, as lines and as JSON.

use serde_json::{Value, json};

use super::{session_json, session_row};
use crate::cli::print::{count, feature_json, features_json, time_json};
use crate::engine::time::Millis;
use crate::proto::v1;
use v1::explanation::Source;
use v1::window_events::Bounds;

pub fn json(explanation: &v1::Explanation) -> Value {
    let source = match &explanation.source {
        Some(Source::Window(window)) => {
            let bounds = match &window.bounds {
                Some(Bounds::Interval(interval)) => interval_json(interval),
                Some(Bounds::Session(session)) => json!({ "session": session_json(session) }),
                None => Value::Null,
            };
            let events: Vec<Value> = window.events.iter().map(occurrence_json).collect();
            json!({ "window": { "bounds": bounds, "event_count": window.event_count, "events": events } })
        }
        Some(Source::Lifetime(totals)) => json!({ "lifetime": {
            "event_count": totals.event_count,
            "first": totals.first.as_ref().map(occurrence_json),
            "last": totals.last.as_ref().map(occurrence_json),
            "sum": totals.sum,
            "min": totals.min,
            "max": totals.max,
            "distinct_count": totals.distinct_count,
        } }),
        Some(Source::Sessions(counted)) => json!({ "sessions": {
            "bounds": counted.interval.as_ref().map(interval_json),
            "session_count": counted.session_count,
            "sessions": counted.sessions.iter().map(session_json).collect::<Vec<_>>(),
        } }),
        Some(Source::Decayed(decay)) => json!({ "decayed": { "half_life": half_life(decay) } }),
        Some(Source::Expression(reads)) => json!({ "expression": features_json(&reads.features) }),
        None => Value::Null,
    };
    json!({
        "feature": explanation.feature,
        "value": value(explanation),
        "aggregate": explanation.aggregate,
        "source": source,
    })
}

/// Names and values: what the feature is, then each event or each feature it reads.
pub fn rows(explanation: &v1::Explanation) -> Vec<(String, Value)> {
    let mut rows = vec![("value".to_owned(), value(explanation))];
    let mut row = |name: &str, value: Value| rows.push((name.to_owned(), value));
    if !explanation.aggregate.is_empty() {
        row("aggregate", json!(explanation.aggregate));
    }
    match &explanation.source {
        Some(Source::Window(window)) => {
            match &window.bounds {
                Some(Bounds::Interval(interval)) => {
                    interval_rows(interval).for_each(|(name, value)| row(name, value))
                }
                Some(Bounds::Session(session)) => {
                    row("session from", time_json(session.start_time.as_ref()));
                    row("session to", time_json(session.end_time.as_ref()));
                }
                None => row("session", json!("there is none")),
            }
            row("events", json!(shown(window.event_count, window.events.len())));
            for event in &window.events {
                row(&time_text(event), occurrence_value(event));
            }
        }
        Some(Source::Lifetime(totals)) => {
            row("events", json!(format!("{}, of which only totals are kept", totals.event_count)));
            for (name, event) in [("first", &totals.first), ("last", &totals.last)] {
                if let Some(event) = event {
                    row(name, json!(occurrence_text(event)));
                }
            }
            for (name, number) in [("sum", totals.sum), ("min", totals.min), ("max", totals.max)] {
                if let Some(number) = number {
                    row(name, json!(number));
                }
            }
            if let Some(n) = totals.distinct_count {
                row("different values", json!(n));
            }
        }
        Some(Source::Sessions(counted)) => {
            counted.interval.iter().flat_map(interval_rows).for_each(|(name, value)| row(name, value));
            row("sessions", json!(shown(counted.session_count, counted.sessions.len())));
            for (start, lasted) in counted.sessions.iter().map(session_row) {
                row(&start, lasted);
            }
        }
        Some(Source::Decayed(decay)) => {
            row("half-life", half_life(decay));
            row("events", json!("only their decayed sum is kept"));
        }
        Some(Source::Expression(reads)) => {
            row("reads", json!(count(reads.features.len() as u64, "feature")));
            for (name, feature) in &reads.features {
                row(name, feature_json(feature));
            }
        }
        None => {}
    }
    rows
}

/// How many there are, and how many of them follow.
fn shown(n: u64, n_shown: usize) -> String {
    if (n_shown as u64) < n { format!("{n}, of which these are the latest {n_shown}") } else { n.to_string() }
}

fn interval_json(interval: &v1::Interval) -> Value {
    json!({
        "after": time_json(interval.after_time.as_ref()),
        "until": time_json(interval.until_time.as_ref()),
    })
}

fn interval_rows(interval: &v1::Interval) -> impl Iterator<Item = (&'static str, Value)> {
    [("after", &interval.after_time), ("until", &interval.until_time)]
        .map(|(name, time)| (name, time_json(time.as_ref())))
        .into_iter()
}

fn value(explanation: &v1::Explanation) -> Value {
    explanation.value.as_ref().map_or(Value::Null, feature_json)
}

fn occurrence_json(event: &v1::Occurrence) -> Value {
    json!({ "time": time_json(event.time.as_ref()), "value": occurrence_value(event) })
}

fn occurrence_value(event: &v1::Occurrence) -> Value {
    match &event.value {
        Some(v1::occurrence::Value::Number(number)) => json!(number),
        Some(v1::occurrence::Value::Text(text)) => json!(text),
        None => Value::Null,
    }
}

fn occurrence_text(event: &v1::Occurrence) -> String {
    match &event.value {
        Some(v1::occurrence::Value::Number(number)) => format!("{number} at {}", time_text(event)),
        Some(v1::occurrence::Value::Text(text)) => format!("{text} at {}", time_text(event)),
        None => time_text(event),
    }
}

fn time_text(event: &v1::Occurrence) -> String {
    time_json(event.time.as_ref()).as_str().unwrap_or_default().to_owned()
}

fn half_life(decay: &v1::Decay) -> Value {
    decay.half_life.as_ref().map_or(Value::Null, |span| {
        let ms = span.seconds * 1_000 + i64::from(span.nanos) / 1_000_000;
        json!(Millis::new(ms).to_string())
    })
}
