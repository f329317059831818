//! `tipoff score`: one user's scores, as they are or as they would be.

use anyhow::{Result, anyhow};
use serde_json::json;

use super::outcome::usage;
use super::print::{
    approximate, as_of_json, features_json, print_approximate, reasons_text, score_json, table,
};
use crate::client::{Connect, explain, user};
use crate::event_file::typing;
use crate::proto::v1;
use crate::rpc::convert::value;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A user id, or `anonymous:ID`
    user: String,
    /// Only this model; may be repeated. All that serve if left out
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Also print the features
    #[arg(long)]
    features: bool,
    /// How many reasons to give for each score
    #[arg(long, value_name = "N", default_value_t = 3)]
    reasons: u32,
    /// Score as if this event came now; nothing is stored
    #[arg(long, value_name = "TYPE")]
    event: Option<String>,
    /// A property of that event; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", requires = "event")]
    properties: Vec<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub async fn run(args: Args) -> Result<()> {
    let hypothetical = match args.event {
        Some(kind) => Some(v1::HypotheticalEvent {
            r#type: kind,
            properties: args.properties.iter().map(|text| property(text)).collect::<Result<_>>()?,
        }),
        None => None,
    };
    let options =
        v1::ScoreOptions { models: args.models, include_features: args.features, max_reasons: args.reasons };
    let request = v1::ScoreRequest { user: Some(user(&args.user)), options: Some(options), hypothetical };
    let mut client = args.connect.connect().await?;
    let reply = client.scoring.score(request).await.map_err(explain)?.into_inner();
    if args.json {
        let reply = json!({
            "user": args.user,
            "as_of": as_of_json(reply.as_of.as_ref()),
            "known": reply.known,
            "scores": reply.scores.iter().map(score_json).collect::<Vec<_>>(),
            "features": features_json(&reply.features),
            "approximate": approximate(&reply.features).collect::<Vec<_>>(),
        });
        println!("{reply}");
        return Ok(());
    }
    if !reply.known {
        println!("{} has never been seen", args.user);
    }
    if reply.scores.is_empty() {
        println!("no model serves");
    }
    for score in &reply.scores {
        for output in &score.outputs {
            println!("{} v{}  {} {:.4}", score.model, score.version, output.name, output.value);
        }
        if !score.reasons.is_empty() {
            println!("  because {}", reasons_text(&score.reasons));
        }
    }
    if let serde_json::Value::Object(features) = features_json(&reply.features) {
        table("features", features.into_iter());
    }
    print_approximate(&reply.features);
    Ok(())
}

/// `name=value`, typed as a cell of an event file.
fn property(text: &str) -> Result<(String, v1::Value)> {
    match text.split_once('=') {
        Some((name, text)) if !name.is_empty() => Ok((name.to_owned(), value(&typing::of_cell(text)))),
        _ => Err(usage(anyhow!("--property {text}: expected NAME=VALUE"))),
    }
}
