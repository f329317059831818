//! `tipoff model`: model files and artifacts, without a server, and what a
//! server serves of them; one file a command.

mod alias;
mod deploy;
mod history;
mod inspect;
mod opened;
mod package;
mod rows;
mod score;
mod shadow;
mod trees;
mod unload;

use anyhow::Result;
use clap::Subcommand;

use super::block_on;
use crate::client::{Connect, time};
use crate::proto::v1;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a model file or an artifact holds, and what a row costs on this machine
    Inspect(inspect::Args),
    /// Make an artifact of a model file, for the server to load
    Package(package::Args),
    /// Score the rows of a file
    Score(score::Args),
    /// Send an artifact to a server, which verifies it, and let it serve
    Deploy(deploy::Args),
    /// Point an alias of a model to a version
    Alias(alias::Args),
    /// Serve the version that served before
    Rollback(alias::RollbackArgs),
    /// Print what was done to a model, latest first
    History(history::Args),
    /// Print how the version under `shadow` compares with the one that serves
    Shadow(shadow::Args),
    /// Let a version go that no alias points to and no rollback returns to
    Unload(unload::Args),
}

/// Who does it and why, for the model's history.
#[derive(Debug, clap::Args)]
struct Note {
    /// Who does it, for the history; your user name if left out
    #[arg(long, env = "USER", default_value = "unknown", hide_env_values = true)]
    who: String,
    /// Why, for the history
    #[arg(long, default_value = "")]
    why: String,
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Package(args) => package::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Deploy(args) => block_on(deploy::run(args)),
        Command::Alias(args) => block_on(alias::run(args)),
        Command::Rollback(args) => block_on(alias::roll_back(args)),
        Command::History(args) => block_on(history::run(args)),
        Command::Shadow(args) => block_on(shadow::run(args)),
        Command::Unload(args) => block_on(unload::run(args)),
    }
}

/// What a move did, in a few words.
fn told(done: &v1::ModelMove) -> String {
    use v1::ModelMoveKind as Kind;

    let version = |version: u32| if version == 0 { "nothing".to_owned() } else { format!("v{version}") };
    let (from, to) = (version(done.from_version), version(done.to_version));
    let share = done.percent.map(|percent| format!(" for {percent} % of users")).unwrap_or_default();
    let alias = alias_name(done.alias());
    match done.kind() {
        Kind::Started => format!("{alias} {from} -> {to} at a start"),
        Kind::Loaded => format!("loaded {to}"),
        Kind::Unloaded => format!("unloaded {from}"),
        Kind::Aliased => format!("{alias} {from} -> {to}{share}"),
        Kind::RolledBack => format!("{alias} {from} -> {to}, rolled back"),
        Kind::Unspecified => "something that this version of tipoff does not know".to_owned(),
    }
}

fn alias_name(alias: v1::ModelAlias) -> &'static str {
    match alias {
        v1::ModelAlias::Stable => "stable",
        v1::ModelAlias::Canary => "canary",
        v1::ModelAlias::Shadow => "shadow",
        v1::ModelAlias::Unspecified => "",
    }
}

fn move_json(done: &v1::ModelMove) -> serde_json::Value {
    let version = |version: u32| (version > 0).then_some(version);
    let kind = done.kind().as_str_name().trim_start_matches("MODEL_MOVE_KIND_").to_lowercase();
    serde_json::json!({
        "number": done.number,
        "time": time(done.time.as_ref()).to_string(),
        "who": done.who,
        "why": done.why,
        "kind": kind,
        "alias": Some(alias_name(done.alias())).filter(|name| !name.is_empty()),
        "from": version(done.from_version),
        "to": version(done.to_version),
        "percent": done.percent,
    })
}

/// The clients' connection, by the flags of every command.
async fn models(connect: &Connect) -> Result<crate::client::Models> {
    Ok(connect.connect().await?.models)
}
