//! The command line: one file a command.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 done,
//! 1 failed, 2 what was given is wrong: flags, files, definitions, models,
//! configuration, address.

pub mod check;
pub mod model;
pub mod outcome;
pub mod print;
pub mod profile;
pub mod score;
pub mod send;
pub mod serve;
pub mod simulate;
pub mod store;
pub mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{bench, demo};

/// Nobody read the output: as a program ends that SIGPIPE kills.
const EXIT_UNREAD: i32 = 141;

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
    /// Look at, package and score models, without a server
    Model(model::Args),
    /// Verify what lies in a data directory, without a server
    Store(store::Args),
    /// Send an event file to a server
    Send(send::Args),
    /// Print a user's scores
    Score(score::Args),
    /// Print all that is known of a user
    Profile(profile::Args),
    /// Print firings as they come
    Watch(watch::Args),
    /// Measure the server's latency and throughput on this machine
    Bench(bench::Args),
    /// Write the events of a simulated shop to a file
    Simulate(simulate::Args),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let command = Cli::parse().command;
    if !matches!(command, Command::Serve(_)) {
        end_with_the_reader();
    }
    let outcome = match command {
        Command::Serve(args) => serve::run(args),
        Command::Check { file, json } => check::check(&file, json),
        Command::Model(args) => model::run(args),
        Command::Store(args) => store::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Send(args) => block_on(send::run(args)),
        Command::Score(args) => block_on(score::run(args)),
        Command::Profile(args) => block_on(profile::run(args)),
        Command::Bench(args) => block_on(bench::run(args)),
        Command::Watch(args) => block_on(watch::run(args)),
        Command::Simulate(args) => simulate::run(&args),
    };
    outcome::end("tipoff", outcome)
}

/// Ends the process in silence when nobody reads its output any more, as
/// behind `| head`. Rust reports that as a panic of the print macros.
pub fn end_with_the_reader() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.contains("Broken pipe")) {
            std::process::exit(EXIT_UNREAD);
        }
        report(panic);
    }));
}

/// Runs a client command.
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(command)
}
