//! `tipoff model unload`: a version out of the server's memory.

use anyhow::Result;

use super::{Note, models};
use crate::client::{Connect, explain};
use crate::proto::v1;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    name: String,
    /// The version
    version: u32,
    #[command(flatten)]
    note: Note,
    #[command(flatten)]
    connect: Connect,
}

pub async fn run(args: Args) -> Result<()> {
    let Args { name, version, note: Note { who, why }, connect } = args;
    let request = v1::UnloadModelRequest { name: name.clone(), version, who, why };
    models(&connect).await?.unload_model(request).await.map_err(explain)?;
    println!("{name}: unloaded v{version}; its files stay");
    Ok(())
}
