//! `tipoff store stats`: what a store holds, in numbers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use indicatif::{HumanBytes, ProgressBar};
use serde_json::{Map, Value, json};

use super::{check_is_store, progress_bar};
use crate::cli::print::{count, table};
use crate::definitions;
use crate::engine::input::Input;
use crate::engine::plan::Plan;
use crate::engine::time::Timestamp;
use crate::record::{self, Control, Record};
use crate::store::verify::{Verified, ViewsFound, Watch, verify};
use crate::store::{Entry, FORMAT_VERSION, LogPosition};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The `store.directory` of a server, stopped or running
    directory: PathBuf,
    /// Print a JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Prints what can be read. Fails if that is not all.
pub fn run(args: &Args) -> Result<()> {
    check_is_store(&args.directory)?;
    let plan = definitions::compile("").map_err(|mistakes| anyhow!("{mistakes}"))?;
    let mut counts = Counts { bar: progress_bar(), plan, by_kind: BTreeMap::new(), span: None };
    let verified = verify(&args.directory, &mut counts);
    counts.bar.finish_and_clear();
    let verified = verified?;
    if args.json {
        println!("{}", to_json(&verified, &counts));
    } else {
        print_text(&verified, &counts);
    }
    match verified.damage.len() {
        0 => Ok(()),
        n => Err(anyhow!(
            "{}: damaged in {}, see `tipoff store verify`",
            args.directory.display(),
            count(n as u64, "place")
        )),
    }
}

struct Counts {
    bar: ProgressBar,
    /// That of nothing: records are read without names.
    plan: Plan,
    by_kind: BTreeMap<&'static str, u64>,
    /// The least and the greatest arrival.
    span: Option<(Timestamp, Timestamp)>,
}

impl Watch for Counts {
    fn total(&mut self, bytes: u64) {
        self.bar.set_length(bytes);
    }

    fn read(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn entry(&mut self, _: LogPosition, entry: &Entry) -> Result<(), String> {
        let record = record::decode(&self.plan, &entry.payload).map_err(|error| error.to_string())?;
        let kind = match &record {
            Record::Step(_, step) => {
                let time = step.arrival.time;
                let (least, greatest) = self.span.unwrap_or((time, time));
                self.span = Some((least.min(time), greatest.max(time)));
                match step.input {
                    Input::Event(_) => "event",
                    Input::Timers => "timers",
                    Input::Traits(_) => "traits",
                    Input::Link { .. } => "link",
                }
            }
            Record::Control(Control::Clock { .. }) => "control: clock",
            Record::Control(Control::Definitions { .. }) => "control: definitions",
            Record::Control(Control::Models { .. }) => "control: models",
            Record::Control(Control::Moved(_)) => "control: move of a model",
            Record::Control(Control::Acknowledged { .. }) => "control: acknowledgement",
        };
        *self.by_kind.entry(kind).or_default() += 1;
        Ok(())
    }
}

fn print_text(verified: &Verified, counts: &Counts) {
    let log = &verified.log;
    let row = |name: &str, value: Value| (name.to_owned(), value);
    let span = counts.span.map(|(first, last)| format!("{first} to {last}"));
    let store = log.store.map(|store| store.to_string());
    let rows = [
        row("id", json!(store)),
        row("log format", json!(FORMAT_VERSION)),
        row("log end", json!(log.end.get())),
        row("groups", json!(log.n_groups)),
        row("entries", json!(log.n_entries)),
        row("erased", json!(log.n_erased)),
        row("arrivals", json!(span)),
    ];
    table("store", rows.into_iter());
    let segments = log.segments.iter().map(|segment| {
        let base = segment.base.map_or_else(|| "unknown".to_owned(), |base| format!("position {base}"));
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let compressed = match segment.plain_bytes {
            plain if plain == segment.file_bytes => String::new(),
            plain => format!(", compressed from {}", HumanBytes(plain)),
        };
        (name, json!(format!("{base}, {}{compressed}", HumanBytes(segment.file_bytes))))
    });
    table("segments", segments);
    table("entries by kind", counts.by_kind.iter().map(|(kind, n)| row(kind, json!(n))));
    match &verified.views {
        ViewsFound::Read { replay_from, applied, values } => {
            let replay = log.end.get().saturating_sub(replay_from.get());
            let rows = [
                row("include the log up to", json!(applied.get())),
                row("replay begins at", json!(replay_from.get())),
                row("to replay", json!(HumanBytes(replay).to_string())),
            ];
            let of_view = values.iter().map(|(view, (n, bytes))| {
                row(view.name(), json!(format!("{}, {}", count(*n, "value"), HumanBytes(*bytes))))
            });
            table("views", rows.into_iter().chain(of_view));
        }
        ViewsFound::Absent => println!("views\n  none"),
        ViewsFound::InUse { .. } => println!("views\n  not looked at: the store is open"),
        ViewsFound::Unreadable => println!("views\n  not readable"),
    }
}

fn to_json(verified: &Verified, counts: &Counts) -> Value {
    let log = &verified.log;
    let segments = log.segments.iter().map(|segment| {
        json!({
            "file": segment.path.display().to_string(),
            "bytes": segment.file_bytes,
            "uncompressed_bytes": segment.plain_bytes,
            "position": segment.base.map(LogPosition::get),
        })
    });
    let views = match &verified.views {
        ViewsFound::Read { replay_from, applied, values } => {
            let values = values
                .iter()
                .map(|(view, (n, bytes))| (view.name().to_owned(), json!({ "values": n, "bytes": bytes })));
            json!({
                "applied": applied.get(),
                "replay_from": replay_from.get(),
                "replay_bytes": log.end.get().saturating_sub(replay_from.get()),
                "by_view": values.collect::<Map<_, _>>(),
            })
        }
        _ => Value::Null,
    };
    json!({
        "store": log.store.map(|store| store.to_string()),
        "format": FORMAT_VERSION,
        "log_end": log.end.get(),
        "groups": log.n_groups,
        "entries": log.n_entries,
        "erased": log.n_erased,
        "by_kind": counts.by_kind,
        "first_arrival": counts.span.map(|(first, _)| first.to_string()),
        "last_arrival": counts.span.map(|(_, last)| last.to_string()),
        "segments": segments.collect::<Vec<_>>(),
        "views": views,
        "damage": verified.damage.len(),
    })
}
