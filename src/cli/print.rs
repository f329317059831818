//! What the client commands print: aligned text for people, or one JSON object
//! a line with stable field names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::client::{time, user_text};
use crate::proto::v1;

/// `1 event`, `2 events`, `0 series`.
pub fn count(n: u64, what: &str) -> String {
    let ending = if n == 1 || what.ends_with('s') { "" } else { "s" };
    format!("{n} {what}{ending}")
}

/// A time of a reply; null where it is missing.
pub fn time_json(at: Option<&prost_types::Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(time(Some(at)).to_string()))
}

pub fn as_of_json(as_of: Option<&v1::AsOf>) -> Value {
    time_json(as_of.and_then(|as_of| as_of.time.as_ref()))
}

pub fn features_json(features: &BTreeMap<String, v1::FeatureValue>) -> Value {
    features.iter().map(|(name, feature)| (name.clone(), feature_json(feature))).collect::<Map<_, _>>().into()
}

/// The names of the features that are estimates.
pub fn approximate(features: &BTreeMap<String, v1::FeatureValue>) -> impl Iterator<Item = &str> {
    features.iter().filter(|(_, value)| value.approximate).map(|(name, _)| name.as_str())
}

pub fn print_approximate(features: &BTreeMap<String, v1::FeatureValue>) {
    table("approximate", approximate(features).map(|name| (name.to_owned(), json!("beyond the exact rows"))));
}

pub fn feature_json(feature: &v1::FeatureValue) -> Value {
    match &feature.value {
        Some(v1::feature_value::Value::Number(number)) => json!(number),
        Some(v1::feature_value::Value::Text(text)) => json!(text),
        Some(v1::feature_value::Value::Bool(bool)) => json!(bool),
        None => Value::Null,
    }
}

pub fn value_json(value: &v1::Value) -> Value {
    use v1::value::Kind;
    match &value.kind {
        Some(Kind::StringValue(text)) => json!(text),
        Some(Kind::DoubleValue(number)) => json!(number),
        Some(Kind::IntValue(integer)) => json!(integer),
        Some(Kind::BoolValue(bool)) => json!(bool),
        Some(Kind::TimestampValue(at)) => time_json(Some(at)),
        None => Value::Null,
    }
}

pub fn score_json(score: &v1::ModelScore) -> Value {
    let outputs = score.outputs.iter().map(|output| (output.name.clone(), json!(output.value)));
    json!({
        "model": score.model,
        "version": score.version,
        "outputs": outputs.collect::<Map<_, _>>(),
        "raw_score": score.raw_score,
        "reasons": reasons_json(&score.reasons),
    })
}

fn reasons_json(reasons: &[v1::Reason]) -> Value {
    let reason = |reason: &v1::Reason| json!({ "feature": reason.feature, "value": reason.value, "contribution": reason.contribution });
    reasons.iter().map(reason).collect()
}

pub fn firing_json(firing: &v1::Firing) -> Value {
    json!({
        "firing_id": firing.firing_id,
        "trigger": firing.trigger,
        "user": user_text(firing.user.as_ref()),
        "key": firing.key,
        "as_of": as_of_json(firing.as_of.as_ref()),
        "score": firing.score,
        "model": firing.model,
        "model_version": firing.model_version,
        "reasons": reasons_json(&firing.reasons),
        "variant": firing.variant,
        "expires_at": time_json(firing.expire_time.as_ref()),
    })
}

/// One line: when, which trigger, whom, how likely, and why.
pub fn firing_line(firing: &v1::Firing) -> String {
    let at = time(firing.as_of.as_ref().and_then(|as_of| as_of.time.as_ref())).to_string();
    let at = at.get(..16).unwrap_or(&at).replace('T', " ");
    let score = firing.score.map_or_else(|| "    ".to_owned(), |score| format!("{score:.2}"));
    let user = user_text(firing.user.as_ref());
    let rest = [firing.key.clone(), firing.variant.clone(), reasons_text(&firing.reasons)];
    let rest: Vec<String> = rest.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{at}  {:<20} {user:<12} {score}  {}", firing.trigger, rest.join("  ")).trim_end().to_owned()
}

/// `feature = value (contribution)`, largest first.
pub fn reasons_text(reasons: &[v1::Reason]) -> String {
    let reason = |reason: &v1::Reason| match reason.value {
        Some(value) => format!("{} = {} ({:+.2})", reason.feature, short(value), reason.contribution),
        None => format!("{} missing ({:+.2})", reason.feature, reason.contribution),
    };
    reasons.iter().map(reason).collect::<Vec<_>>().join(", ")
}

/// Names and values in two columns; missing values as `-`.
pub fn table(title: &str, rows: impl Iterator<Item = (String, Value)>) {
    let rows: Vec<(String, Value)> = rows.collect();
    if rows.is_empty() {
        return;
    }
    println!("{title}");
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        println!("  {name:<width$}  {}", cell(&value));
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), short),
        other => other.to_string(),
    }
}

/// A number short enough for a column.
fn short(number: f64) -> String {
    if number == number.trunc() || number.abs() >= 10_000.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    }
}
