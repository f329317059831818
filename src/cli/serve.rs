//! `tipoff serve`: the server, until a signal.

use std::path::PathBuf;

use anyhow::Result;

use super::outcome::usage;
use crate::app::{App, Error};
use crate::config::Config;
use crate::shutdown::{EXIT_FORCED, Signals};
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file; every key has a default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, above file and environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    settings: Vec<(String, String)>,
    /// Print the defaults with a comment on every key, and end
    #[arg(long)]
    print_defaults: bool,
    /// Check the configuration, the definitions and the models that would serve, and end;
    /// the log of a store is read for which these are, and nothing is changed
    #[arg(long)]
    check: bool,
    /// Drain when standard input ends: for a parent that may be killed
    #[arg(long, hide = true)]
    drain_on_stdin_eof: bool,
}

pub fn run(args: Args) -> Result<()> {
    if args.print_defaults {
        print!("{}", crate::config::DEFAULTS);
        return Ok(());
    }
    let config = Config::load(args.config.as_deref(), &args.settings).map_err(usage)?;
    if args.check {
        return App::check(&config).map_err(told);
    }
    telemetry::init(&config.log).map_err(usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(Error::Signals)?;
        // On a thread of its own: a long recovery must not keep a signal waiting.
        let mut starting = tokio::spawn(App::start(config));
        let app = tokio::select! {
            started = &mut starting => match started {
                Ok(started) => started?,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
            // Nothing has been acknowledged yet that the log does not hold.
            signal = signals.next() => {
                tracing::warn!(signal, "ending before the server has started");
                std::process::exit(EXIT_FORCED);
            }
        };
        // Not before a signal drains: whoever reads this may send one.
        let (grpc, http) = (app.grpc(), app.http());
        tracing::info!(%grpc, %http, "serving");
        if args.drain_on_stdin_eof {
            let shutdown = app.shutdown().clone();
            // A thread of its own: such a read cannot be cancelled.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
                shutdown.drain();
            });
        }
        let draining = app.draining();
        tokio::spawn(app.shutdown().clone().drain_on(signals));
        draining.draining().await;
        app.stop().await
    });
    outcome.map_err(told)
}

fn told(error: Error) -> anyhow::Error {
    if error.is_of_what_was_given() { usage(error) } else { error.into() }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected KEY=VALUE, such as store.directory=/var/lib/tipoff".to_owned()),
    }
}
