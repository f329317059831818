//! An event file as one history a user.
//!
//! All of it is in memory: about 1 KiB an event with six properties (measured).

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::ProgressBar;
use tipoff::engine::event::{Event, UserId};
use tipoff::engine::time::Timestamp;
use tipoff::event_file::{self, Mapping, OnBadLine};

/// Where history comes from.
#[derive(Clone, Debug, Args)]
pub struct Source {
    /// Event file: .jsonl or .csv, also .gz or .zst
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// What the file calls the fields, such as `user_id=visitorid,type=event`
    #[arg(long, value_name = "OURS=THEIRS,…", default_value = "")]
    pub mapping: String,
    /// Leave out lines that are no events instead of refusing the file
    #[arg(long)]
    pub skip_bad_lines: bool,
    /// Take only what arrived before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub until: Option<Timestamp>,
}

/// Every user's events in the order of arrival.
#[derive(Debug)]
pub struct History {
    /// The arrival with each event; users in the order of their keys.
    pub users: BTreeMap<UserId, Vec<(Timestamp, Event)>>,
    pub n_events: usize,
    /// Lines left out as no events.
    pub n_skipped: u64,
    /// What happened after this is not known.
    pub end: Timestamp,
}

impl Source {
    pub fn load(&self, progress: &ProgressBar) -> Result<History> {
        progress.set_message("reading events");
        let on_bad_line = if self.skip_bad_lines { OnBadLine::Skip } else { OnBadLine::Refuse };
        let mapping: Mapping = self.mapping.parse().context("--mapping")?;
        let loaded = event_file::load(&self.events, &mapping, on_bad_line)?;
        let mut history = History {
            users: BTreeMap::new(),
            n_events: 0,
            n_skipped: loaded.n_skipped,
            end: loaded.records.last().map_or(Timestamp::MIN, |last| last.arrival_or_time()),
        };
        if let Some(until) = self.until {
            history.end = history.end.min(until);
        }
        for record in loaded.records {
            let arrival = record.arrival_or_time();
            if self.until.is_some_and(|until| arrival >= until) {
                break;
            }
            history.users.entry(record.user).or_default().push((arrival, record.event));
            history.n_events += 1;
        }
        ensure!(history.n_events > 0, "{}: no event to replay", self.events.display());
        Ok(history)
    }
}
