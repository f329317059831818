//! `tipoff demo`: a year of a real shop through the real server, then a
//! simulated shop on the wall clock.
//!
//! The server is the one that `tipoff serve` runs, on a temporary store and
//! free ports; everything is sent and asked as any gRPC client would. Only the
//! closing summary looks into the log, at the decisions that were recorded.

mod history;
mod outcome;
mod screen;
mod shop;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use include_dir::{Dir, include_dir};
use tokio::sync::mpsc;

use crate::app::App;
use crate::client::{Client, Connect, Firings};
use crate::config::Config;
use crate::proto::v1;
use crate::shutdown::Signals;

static MODELS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/models");

/// Watch a year of a real shop go through the server
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Days of the shop's year that pass in a second
    #[arg(long, value_name = "DAYS", default_value_t = 2.0, value_parser = speed)]
    speed: f64,
    /// As fast as the machine can, and a short second act
    #[arg(long)]
    fast: bool,
    /// Leave the server up after the first act, to be asked and scraped, until Ctrl-C
    #[arg(long)]
    stay: bool,
}

/// How the demo is paced.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// None: as fast as possible.
    days_per_second: Option<f64>,
    /// How long the simulated shop is open.
    shop_open: Duration,
    /// How long a cart may lie before it counts as abandoned.
    cart_wait: Duration,
}

/// Runs the demo; ends with its summaries on standard output.
pub fn run(args: &Args) -> Result<()> {
    let pace = match args.fast {
        true => Pace {
            days_per_second: None,
            shop_open: Duration::from_secs(4),
            cart_wait: Duration::from_secs(2),
        },
        false => Pace {
            days_per_second: Some(args.speed),
            shop_open: Duration::from_secs(18),
            cart_wait: Duration::from_secs(8),
        },
    };
    let directory = tempfile::Builder::new().prefix("tipoff-demo-").tempdir()?;
    remove_on_panic(directory.path().to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            outcome = acts(args, pace, directory.path()) => outcome,
            // The stores are temporary: there is nothing to save.
            _ = signals.next() => Ok(()),
        }
    })
}

async fn acts(args: &Args, pace: Pace, directory: &Path) -> Result<()> {
    println!("Act 1: a year of a real shop, replayed through the server");
    let server =
        DemoServer::start(directory.join("history"), history::DEFINITIONS, "replay", Some(&MODELS)).await?;
    history::play(&server, pace).await?;
    if args.stay {
        println!("\nThe server stays up; Ctrl-C ends it. From another terminal, try:");
        println!("  tipoff profile {} --address http://{}", history::A_CUSTOMER, server.app.grpc());
        println!("  curl http://{}/metrics", server.app.http());
        std::future::pending::<()>().await;
    }
    server.stop().await?;

    println!("\nAct 2: a simulated shop, on the wall clock");
    let server =
        DemoServer::start(directory.join("shop"), &shop::definitions(pace.cart_wait), "wall", None).await?;
    shop::play(&server, pace).await?;
    server.stop().await
}

/// Removes the folder when something panics: where nobody reads the output any
/// more, the panic ends the process and drops nothing.
fn remove_on_panic(directory: PathBuf) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = std::fs::remove_dir_all(&directory);
        report(panic);
    }));
}

/// The real server, on a folder of its own.
struct DemoServer {
    app: App,
    directory: PathBuf,
}

impl DemoServer {
    async fn start(
        directory: PathBuf,
        definitions: &str,
        clock: &str,
        models: Option<&Dir<'_>>,
    ) -> Result<Self> {
        let path = |name: &str| directory.join(name);
        std::fs::create_dir_all(path("models"))?;
        std::fs::write(path("definitions.toml"), definitions)?;
        if let Some(models) = models {
            models.extract(path("models")).context("cannot write the models")?;
        }
        let setting = |key: &str, value: String| (key.to_owned(), value);
        let file = |key: &str, name: &str| setting(key, path(name).display().to_string());
        let config = Config::from_layers(
            None,
            [],
            &[
                setting("server.listen", "127.0.0.1:0".to_owned()),
                setting("server.http_listen", "127.0.0.1:0".to_owned()),
                setting("pipeline.clock", clock.to_owned()),
                file("store.directory", "store"),
                file("definitions.file", "definitions.toml"),
                file("models.directory", "models"),
            ],
        )?;
        let app = App::start(config).await?;
        println!("  gRPC     http://{}", app.grpc());
        println!("  metrics  http://{}/metrics", app.http());
        Ok(Self { app, directory })
    }

    async fn client(&self) -> Result<Client> {
        Connect::to(self.app.grpc()).connect().await
    }

    /// The store's folder.
    fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    async fn stop(self) -> Result<()> {
        Ok(self.app.stop().await?)
    }
}

/// Takes the firings as they come.
async fn subscribe(client: &Client) -> Result<mpsc::Receiver<v1::Firing>> {
    let mut firings = Firings::open(client, "demo", Vec::new()).await?;
    let (sender, receiver) = mpsc::channel(1_024);
    tokio::spawn(async move {
        // The stream ends with the server.
        while let Ok(Some(firing)) = firings.next().await {
            if sender.send(firing).await.is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("expected a number of days above 0".to_owned()),
    }
}
