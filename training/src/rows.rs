//! `tipoff-training rows`: the feature vectors of history, as a table.

mod csv;
mod parquet;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use tipoff::cli::outcome::usage;
use tipoff::engine::event::UserId;
use tipoff::engine::input::Input;
use tipoff::engine::plan::Plan;
use tipoff::engine::time::Timestamp;
use tipoff::engine::vector::Vector;

use crate::history::{History, Source};
use crate::replay::{Refused, replay};

/// Write feature vectors as a table: `user_id`, `as_of`, then one column a
/// feature, empty where missing; user by user, in order of time
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Definitions: a TOML file, or a folder of them
    #[arg(long, value_name = "FILE")]
    pub definitions: PathBuf,
    #[command(flatten)]
    pub source: Source,
    /// Which vectors to write
    #[arg(long, value_enum, default_value_t = At::EachEvent)]
    pub at: At,
    /// Table to write: .csv or .parquet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum At {
    /// After every accepted event
    EachEvent,
    /// At every decision: events and timers that models score
    Decisions,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub rows: u64,
    pub refused: Refused,
}

/// Takes rows in order; a column a feature by index into [`Plan::features`].
trait Table {
    fn row(&mut self, user: &UserId, as_of: Timestamp, vector: &Vector) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Replays `history` and writes the table.
pub fn write(plan: &Plan, history: History, at: At, out: &Path, progress: &ProgressBar) -> Result<Written> {
    let mut table = open(plan, out).map_err(usage)?;
    let mut written = Written::default();
    progress.set_message("replaying");
    progress.set_length(history.users.len() as u64);
    let end = history.end;
    for (user, events) in history.users {
        let refused = replay(plan, &user, events, end, |moment| {
            let as_of = moment.step.arrival.time;
            let wanted = match at {
                At::EachEvent => matches!(moment.step.input, Input::Event(_)),
                At::Decisions => moment.scored.contains(&true),
            };
            if !wanted {
                return Ok(());
            }
            written.rows += 1;
            match &moment.step.decision {
                Some(decision) => table.row(&user, as_of, &decision.vector),
                None => table.row(&user, as_of, &moment.profile.read(plan, as_of)),
            }
        })?;
        written.refused.add(refused);
        progress.inc(1);
    }
    table.finish()?;
    Ok(written)
}

fn open<'p>(plan: &'p Plan, out: &Path) -> Result<Box<dyn Table + 'p>> {
    match out.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Ok(Box::new(csv::Csv::create(plan, out)?)),
        Some("parquet") => Ok(Box::new(parquet::Parquet::create(plan, out)?)),
        _ => bail!("{}: the name must end in .csv or .parquet", out.display()),
    }
}
