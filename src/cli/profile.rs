//! `tipoff profile`: all that is known of one user.

mod explanation;

use std::time::Duration;

use anyhow::Result;
use indicatif::HumanDuration;
use serde_json::{Value, json};

use super::print::{
    approximate, as_of_json, count, features_json, print_approximate, table, time_json, value_json,
};
use crate::client::{Connect, explain, user};
use crate::proto::v1;

/// Sessions in the text form; the JSON form has all that the server sends.
const SHOWN_SESSIONS: usize = 5;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A user id, or `anonymous:ID`
    user: String,
    /// Show what a feature's value is made of; repeatable
    #[arg(long, value_name = "FEATURE")]
    explain: Vec<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub async fn run(args: Args) -> Result<()> {
    let mut client = args.connect.connect().await?;
    let request = v1::GetProfileRequest { user: Some(user(&args.user)), explain: args.explain };
    let profile = client.profiles.get_profile(request).await.map_err(explain)?.into_inner();
    let traits = profile.traits.iter().map(|(name, value)| (name.clone(), value_json(value)));
    if args.json {
        let profile = json!({
            "user": args.user,
            "as_of": as_of_json(profile.as_of.as_ref()),
            "event_count": profile.event_count,
            "first_seen": time_json(profile.first_seen_time.as_ref()),
            "last_seen": time_json(profile.last_seen_time.as_ref()),
            "features": features_json(&profile.features),
            "approximate": approximate(&profile.features).collect::<Vec<_>>(),
            "traits": traits.collect::<serde_json::Map<_, _>>(),
            "sessions": profile.sessions.iter().map(session_json).collect::<Vec<_>>(),
            "triggers": profile.triggers.iter().map(trigger_json).collect::<Vec<_>>(),
            "models": profile.models.iter().map(model_json).collect::<Vec<_>>(),
            "explanations": profile.explanations.iter().map(explanation::json).collect::<Vec<_>>(),
        });
        println!("{profile}");
        return Ok(());
    }
    let facts = [
        ("as of", as_of_json(profile.as_of.as_ref())),
        ("events", json!(profile.event_count)),
        ("first seen", time_json(profile.first_seen_time.as_ref())),
        ("last seen", time_json(profile.last_seen_time.as_ref())),
    ];
    table(&args.user, facts.into_iter().map(|(name, value)| (name.to_owned(), value)));
    if let Value::Object(features) = features_json(&profile.features) {
        table("features", features.into_iter());
    }
    print_approximate(&profile.features);
    table("traits", traits);
    let sessions = profile.sessions.iter().take(SHOWN_SESSIONS).map(session_row);
    table("latest sessions", sessions);
    table("last scores", profile.models.iter().map(|model| (model.model.clone(), json!(model.last_score))));
    let triggers = profile.triggers.iter().map(|state| {
        let name = if state.key.is_empty() {
            state.trigger.clone()
        } else {
            format!("{} {}", state.trigger, state.key)
        };
        (name, json!(trigger_text(state)))
    });
    table("triggers", triggers);
    for explained in &profile.explanations {
        table(&explained.feature, explanation::rows(explained).into_iter());
    }
    Ok(())
}

fn session_row(session: &v1::Session) -> (String, Value) {
    let seconds = |time: &Option<prost_types::Timestamp>| time.as_ref().map_or(0, |time| time.seconds);
    let lasted =
        HumanDuration(Duration::from_secs(seconds(&session.end_time).abs_diff(seconds(&session.start_time))));
    let open = if session.open { ", open" } else { "" };
    let text = format!("{lasted}, {}{open}", count(session.event_count, "event"));
    (time_json(session.start_time.as_ref()).as_str().unwrap_or_default().to_owned(), json!(text))
}

fn session_json(session: &v1::Session) -> Value {
    json!({
        "start": time_json(session.start_time.as_ref()),
        "end": time_json(session.end_time.as_ref()),
        "event_count": session.event_count,
        "open": session.open,
    })
}

fn trigger_text(state: &v1::TriggerState) -> String {
    let mut text = phase(state).to_owned();
    let times = [
        ("due", &state.due_time),
        ("last fired", &state.last_fired_time),
        ("cooling until", &state.cooling_until),
    ];
    for (what, at) in times {
        if let Value::String(at) = time_json(at.as_ref()) {
            text = format!("{text}, {what} {at}");
        }
    }
    if !state.suppressed_by.is_empty() {
        text = format!("{text}, stopped by the gate `{}`", state.suppressed_by);
    }
    if state.held_out == Some(true) {
        text.push_str(", in the holdout");
    }
    text
}

fn trigger_json(state: &v1::TriggerState) -> Value {
    json!({
        "trigger": state.trigger,
        "key": state.key,
        "phase": phase(state),
        "armed": time_json(state.armed_time.as_ref()),
        "due": time_json(state.due_time.as_ref()),
        "last_fired": time_json(state.last_fired_time.as_ref()),
        "cooling_until": time_json(state.cooling_until.as_ref()),
        "suppressed_by": state.suppressed_by,
        "held_out": state.held_out,
        "variant": state.variant,
    })
}

fn model_json(state: &v1::ModelState) -> Value {
    json!({
        "model": state.model,
        "last_score": state.last_score,
        "next_rescore": time_json(state.next_rescore_time.as_ref()),
    })
}

fn phase(state: &v1::TriggerState) -> &'static str {
    match state.phase() {
        v1::TriggerPhase::Unspecified => "unknown",
        v1::TriggerPhase::Idle => "idle",
        v1::TriggerPhase::Armed => "armed",
        v1::TriggerPhase::Fired => "fired",
        v1::TriggerPhase::Cooling => "cooling",
    }
}
