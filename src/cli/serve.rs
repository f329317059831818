//! `tipoff serve`: the server, until a signal.

use std::path::PathBuf;
use std::process::ExitCode;

use super::EXIT_USAGE;
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
    /// Check the configuration and the definitions, and end
    #[arg(long)]
    check: bool,
}

pub fn run(args: Args) -> ExitCode {
    if args.print_defaults {
        print!("{}", crate::config::DEFAULTS);
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(args.config.as_deref(), &args.settings) {
        Ok(config) => config,
        Err(error) => return refuse(&error, EXIT_USAGE),
    };
    if args.check {
        return match App::check(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&error, EXIT_USAGE),
        };
    }
    if let Err(error) = telemetry::init(&config.log) {
        return refuse(&error, EXIT_USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, 1),
    };
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
        let draining = app.draining();
        tokio::spawn(app.shutdown().clone().drain_on(signals));
        draining.draining().await;
        app.stop().await
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_of_what_was_given() => refuse(&error, EXIT_USAGE),
        Err(error) => refuse(&error, 1),
    }
}

fn refuse(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("tipoff: {error}");
    ExitCode::from(code)
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected KEY=VALUE, such as store.directory=/var/lib/tipoff".to_owned()),
    }
}
