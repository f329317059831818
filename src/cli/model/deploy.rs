//! `tipoff model deploy`: an artifact to a server, and an alias to it.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::alias::{AliasName, ask, stands};
use super::{Note, models, move_json, told};
use crate::cli::outcome::usage;
use crate::client::artifact::Artifact;
use crate::client::{Connect, explain};
use crate::proto::v1;
use crate::rpc::reason::Reason;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The artifact's folder, such as models/purchase_24h/3
    directory: PathBuf,
    /// What is to point to it once it is verified
    #[arg(long, value_enum, default_value_t = AliasName::Stable)]
    alias: AliasName,
    /// Of a canary: the percentage of users that it serves
    #[arg(long, required_if_eq("alias", "canary"))]
    percent: Option<f64>,
    /// Move the alias only if it points to this version now, 0 for none
    #[arg(long, value_name = "VERSION")]
    expect: Option<u32>,
    /// Send and verify it only; no alias is moved
    #[arg(long, conflicts_with_all = ["alias", "percent", "expect"])]
    only_load: bool,
    /// Give it the version after the server's newest, instead of its own
    #[arg(long)]
    next_version: bool,
    #[command(flatten)]
    note: Note,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub async fn run(args: Args) -> Result<()> {
    let artifact = Artifact::open(&args.directory).map_err(usage)?;
    let Artifact { name, version, .. } = artifact.clone();
    let mut client = models(&args.connect).await?;
    let header = v1::ArtifactHeader {
        name: name.clone(),
        version: if args.next_version { 0 } else { version },
        who: args.note.who.clone(),
        why: args.note.why.clone(),
    };
    let bar = progress_bar(artifact.n_bytes());
    let sent = bar.clone();
    let answer = artifact.send(&mut client, header, move |n| sent.inc(n)).await;
    bar.finish_and_clear();
    let model = answer.map_err(usage)?.map_err(|status| refused(status, &name, version))?;
    let mut talk = format!("{name} v{} is loaded and verified", model.version);
    let mut moved = None;
    if !args.only_load {
        let request = v1::SetAliasRequest {
            name: name.clone(),
            alias: args.alias.to_wire().into(),
            version: model.version,
            percent: args.percent,
            expected_version: args.expect,
            who: args.note.who,
            why: args.note.why,
        };
        moved = ask(&mut client, request).await.map_err(|error| error.context(talk.clone()))?;
        talk = match &moved {
            Some(done) => {
                let back = match args.alias {
                    AliasName::Stable => format!("rollback {name}"),
                    alias @ (AliasName::Canary | AliasName::Shadow) => format!("alias {name} {alias} 0"),
                };
                format!("{talk}\n{}\nback: tipoff model {back}", told(done))
            }
            None => format!("{talk}\n{}", stands(args.alias, model.version)),
        };
    }
    if args.json {
        let aliases = (!args.only_load).then(|| args.alias.to_string());
        let moved = moved.as_ref().map(move_json);
        println!("{}", json!({ "model": name, "version": model.version, "alias": aliases, "move": moved }));
    } else {
        println!("{talk}");
    }
    Ok(())
}

/// Says what to do next, where that is not plain from what the server says.
fn refused(status: Status, name: &str, version: u32) -> anyhow::Error {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    let of = |reasons: &[Reason]| reasons.iter().any(|known| known.name() == reason);
    let next = if of(&[Reason::ModelVersionTaken]) {
        Some("--next-version gives it the version after the server's newest")
    } else if of(&[Reason::ModelFeaturesDiffer, Reason::ModelLabelDiffers]) {
        Some("train it again under the definitions that the server has")
    } else if status.code() == Code::InvalidArgument || of(&[Reason::ModelGoldenMismatch]) {
        Some("make the artifact again; nothing of it was kept")
    } else {
        None
    };
    let error = explain(status);
    match next {
        Some(next) => {
            usage(anyhow!("{name} v{version} is refused, and what served goes on: {error}\n  {next}"))
        }
        None => anyhow!("{name} v{version} was not loaded, and what served goes on: {error}"),
    }
}

fn progress_bar(n_bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40.cyan/blue} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(n_bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
