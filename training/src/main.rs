//! `tipoff-training`: the command line.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tipoff::cli::outcome::{self, usage};
use tipoff::cli::print::count;
use tipoff::definitions;
use tipoff::engine::plan::Plan;
use tipoff_training::{rows, train};

/// Train models for tipoff on replayed history.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Options),
    Rows(rows::Options),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    tipoff::cli::end_with_the_reader();
    let outcome = match command {
        Command::Train(options) => train(&options),
        Command::Rows(options) => rows(&options),
    };
    outcome::end("tipoff-training", outcome)
}

fn plan(path: &Path) -> Result<Plan> {
    let told = |mistakes: definitions::Diagnostics| anyhow!("{} is wrong:\n{mistakes}", path.display());
    definitions::load(path).map_err(|mistakes| usage(told(mistakes)))
}

fn train(options: &train::Options) -> Result<()> {
    let plan = plan(&options.definitions)?;
    let progress = progress_bar();
    let trained = train::train(&plan, options, &progress)?;
    progress.finish_and_clear();
    print!("{}", trained.report);
    println!(
        "\nversion {} in {}: loaded and verified by its golden cases",
        trained.manifest.version,
        trained.dir.display()
    );
    Ok(())
}

fn rows(options: &rows::Options) -> Result<()> {
    let plan = plan(&options.definitions)?;
    let progress = progress_bar();
    let history = options.source.load(&progress).map_err(usage)?;
    let n_events = count(history.n_events as u64, "event");
    let n_skipped = count(history.n_skipped, "bad line");
    let written = rows::write(&plan, history, options.at, &options.out, &progress)?;
    progress.finish_and_clear();
    let refused = written.refused;
    eprintln!(
        "{} in {} from {n_events} ({} duplicate, {} late, {} from the future, {n_skipped} left out)",
        count(written.rows, "row"),
        options.out.display(),
        refused.duplicate,
        refused.late,
        refused.future
    );
    Ok(())
}

/// One bar for all that a command does; nothing where there is no terminal.
fn progress_bar() -> ProgressBar {
    let progress = ProgressBar::new(1);
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {msg:<16} {wide_bar} {pos}/{len} users {elapsed}")
    {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}
