//! `tipoff model history`: who did what, when and why.

use anyhow::Result;

use super::{models, move_json, told};
use crate::client::{Connect, explain, time};
use crate::proto::v1;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    name: String,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    last: u32,
    /// Print one JSON object a line instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub async fn run(args: Args) -> Result<()> {
    let mut client = models(&args.connect).await?;
    let request =
        v1::ModelHistoryRequest { name: args.name, page_size: args.last, page_token: String::new() };
    let moves = client.model_history(request).await.map_err(explain)?.into_inner().moves;
    for done in &moves {
        if args.json {
            println!("{}", move_json(done));
        } else {
            let at = time(done.time.as_ref()).to_string();
            let why = if done.why.is_empty() { String::new() } else { format!("  {}", done.why) };
            println!("{at}  {:<32}  {}{why}", told(done), done.who);
        }
    }
    Ok(())
}
