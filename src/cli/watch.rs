//! `tipoff watch`: firings as they come.

use anyhow::Result;

use super::print::{firing_json, firing_line};
use crate::client::{Connect, Firings};
use crate::shutdown::Signals;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the subscription: after a break it goes on where it was. A new one begins now
    #[arg(long, value_name = "NAME", default_value = "tipoff-watch")]
    subscription: String,
    /// Only this trigger; may be repeated
    #[arg(long = "trigger", value_name = "NAME")]
    triggers: Vec<String>,
    /// Print one JSON object a line instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Prints and acknowledges firings until Ctrl-C or the server's end.
pub async fn run(args: Args) -> Result<()> {
    let mut signals = Signals::listen()?;
    let client = args.connect.connect().await?;
    let mut firings = Firings::open(&client, &args.subscription, args.triggers).await?;
    eprintln!("waiting for firings; Ctrl-C ends");
    loop {
        let firing = tokio::select! {
            firing = firings.next() => firing?,
            _ = signals.next() => return firings.acknowledge().await,
        };
        match firing {
            Some(firing) if args.json => println!("{}", firing_json(&firing)),
            Some(firing) => println!("{}", firing_line(&firing)),
            None => return Ok(()),
        }
    }
}
