//! `tipoff-training`: the command line.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tipoff::definitions;
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
    let result = match command {
        Command::Train(options) => train(&options),
        Command::Rows(options) => rows(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            // What was asked for cannot be done: definitions, events or options are wrong.
            ExitCode::from(2)
        }
    }
}

fn train(options: &train::Options) -> Result<()> {
    let plan = definitions::load(&options.definitions)?;
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
    let plan = definitions::load(&options.definitions)?;
    let progress = progress_bar();
    let history = options.source.load(&progress)?;
    let (n_events, n_skipped) = (history.n_events, history.n_skipped);
    let written = rows::write(&plan, history, options.at, &options.out, &progress)?;
    progress.finish_and_clear();
    let refused = written.refused;
    eprintln!(
        "{} rows in {} from {n_events} events ({} duplicate, {} late, {} from the future, {n_skipped} bad lines \
         left out)",
        written.rows,
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
