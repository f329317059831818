//! `tipoff store`: what lies in a data directory, without a server; one file a command.

mod backup;
mod export;
mod records;
mod repair;
mod stats;
mod verify;

use std::path::Path;

use anyhow::{Result, anyhow};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use super::outcome::usage;
use crate::store::Store;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read all of a store and tell whatever is damaged; changes nothing
    Verify(verify::Args),
    /// Make a damaged store one that a server starts on
    Repair(repair::Args),
    /// Copy what a store has committed, while a server runs on it or not
    Backup(backup::Args),
    /// Tell what a store holds, in numbers
    Stats(stats::Args),
    /// Write what the log holds as JSON lines
    Export(export::Args),
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Verify(args) => verify::run(&args),
        Command::Repair(args) => repair::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Export(args) => export::run(&args),
    }
}

/// Refuses what is no data directory.
fn check_is_store(directory: &Path) -> Result<()> {
    if Store::is_in(directory) {
        return Ok(());
    }
    let what = if directory.exists() { "holds no store" } else { "does not exist" };
    Err(usage(anyhow!("{} {what}: name the `store.directory` of a server", directory.display())))
}

/// Of bytes; drawn only on a terminal.
fn progress_bar() -> ProgressBar {
    let template = "{bar:40.cyan/blue} {binary_bytes} of {binary_total_bytes}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn entries(n: u64) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{n} entries") }
}
