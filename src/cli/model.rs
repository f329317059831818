//! `tipoff model`: model files and artifacts, without a server.

mod inspect;
mod opened;
mod package;
mod rows;
mod score;
mod trees;

use anyhow::Result;
use clap::Subcommand;

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
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Package(args) => package::run(&args),
        Command::Score(args) => score::run(&args),
    }
}
