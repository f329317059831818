//! `tipoff watch`: firings as they come.

use anyhow::Result;

use super::print::{firing_json, firing_line};
use crate::client::{Connect, explain};
use crate::proto::v1;
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
    let mut client = args.connect.connect().await?;
    let request = v1::SubscribeRequest {
        subscription: args.subscription.clone(),
        resume_token: String::new(),
        triggers: args.triggers,
    };
    let mut firings = client.triggers.subscribe(request).await.map_err(explain)?.into_inner();
    eprintln!("waiting for firings; Ctrl-C ends");
    loop {
        let message = tokio::select! {
            message = firings.message() => message.map_err(explain)?,
            _ = signals.next() => return Ok(()),
        };
        let Some(response) = message else { return Ok(()) };
        let Some(v1::subscribe_response::Message::Firing(firing)) = response.message else { continue };
        if args.json {
            println!("{}", firing_json(&firing));
        } else {
            println!("{}", firing_line(&firing));
        }
        let request = v1::AcknowledgeRequest {
            subscription: args.subscription.clone(),
            resume_token: firing.resume_token,
        };
        client.triggers.acknowledge(request).await.map_err(explain)?;
    }
}
