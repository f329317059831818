//! `tipoff model alias` and `tipoff model rollback`: which version serves.

use std::fmt;

use anyhow::Result;
use serde_json::json;

use super::{Note, models, move_json, told};
use crate::client::{Connect, Models, explain};
use crate::proto::v1;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    name: String,
    /// The alias
    #[arg(value_enum)]
    alias: AliasName,
    /// The version it is to point to; 0 ends a canary or a shadow
    version: u32,
    /// Of a canary: the percentage of users that it serves
    #[arg(long)]
    percent: Option<f64>,
    #[command(flatten)]
    rest: Rest,
}

#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The model
    name: String,
    #[command(flatten)]
    rest: Rest,
}

#[derive(Debug, clap::Args)]
struct Rest {
    /// Only if the alias points to this version now
    #[arg(long, value_name = "VERSION")]
    expect: Option<u32>,
    #[command(flatten)]
    note: Note,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AliasName {
    /// Serves every user whom no canary takes
    Stable,
    /// Serves a percentage of the users
    Canary,
    /// Serves nobody: scored and compared with stable
    Shadow,
}

impl AliasName {
    pub fn to_wire(self) -> v1::ModelAlias {
        match self {
            Self::Stable => v1::ModelAlias::Stable,
            Self::Canary => v1::ModelAlias::Canary,
            Self::Shadow => v1::ModelAlias::Shadow,
        }
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::alias_name(self.to_wire()))
    }
}

pub async fn run(args: Args) -> Result<()> {
    let Args { name, alias, version, percent, rest } = args;
    let Rest { expect, note: Note { who, why }, json, connect } = rest;
    let request = v1::SetAliasRequest {
        name: name.clone(),
        alias: alias.to_wire().into(),
        version,
        percent,
        expected_version: expect,
        who,
        why,
    };
    match ask(&mut models(&connect).await?, request).await? {
        done if json => println!("{}", json!({ "model": name, "move": done.as_ref().map(move_json) })),
        Some(done) => println!("{name}: {}", told(&done)),
        None => println!("{name}: {}", stands(alias, version)),
    }
    Ok(())
}

pub async fn roll_back(args: RollbackArgs) -> Result<()> {
    let RollbackArgs { name, rest } = args;
    let Rest { expect, note: Note { who, why }, json, connect } = rest;
    let request = v1::RollbackRequest { name: name.clone(), expected_version: expect, who, why };
    let answer = models(&connect).await?.rollback(request).await.map_err(explain)?;
    let done = answer.into_inner().r#move.unwrap_or_default();
    if json {
        println!("{}", json!({ "model": name, "move": move_json(&done) }));
    } else {
        println!("{name}: {}", told(&done));
    }
    Ok(())
}

/// Has an alias set; none if it pointed there already.
pub async fn ask(client: &mut Models, request: v1::SetAliasRequest) -> Result<Option<v1::ModelMove>> {
    Ok(client.set_alias(request).await.map_err(explain)?.into_inner().r#move)
}

/// What to say of an alias that is not moved.
pub fn stands(alias: AliasName, version: u32) -> String {
    match version {
        0 => format!("{alias} points to no version already"),
        version => format!("{alias} points to v{version} already"),
    }
}
