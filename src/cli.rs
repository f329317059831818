//! The command line: one file a command.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 done,
//! 1 failed, 2 what was given is wrong (also the command line's own).

pub mod check;
pub mod serve;
pub mod simulate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::demo;

/// What was given is wrong: definitions, configuration, arguments.
pub const EXIT_USAGE: u8 = 2;

/// A real-time propensity server: events in, rolling features, model scores, triggers out.
#[derive(Debug, Parser)]
#[command(name = "tipoff", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a year of a real shop go through the server
    Demo(demo::Args),
    /// Run the server
    Serve(serve::Args),
    /// Check a definitions file and report every mistake at once
    Check {
        /// A file, or a folder of .toml files
        file: PathBuf,
        /// Print a JSON document instead of text
        #[arg(long)]
        json: bool,
    },
    /// Write the events of a simulated shop to a file
    Simulate(simulate::Args),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => return serve::run(args),
        Command::Check { file, json } => return check::check(&file, json),
        Command::Demo(args) => demo::run(&args),
        Command::Simulate(args) => simulate::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tipoff: {error:#}");
            ExitCode::FAILURE
        }
    }
}
