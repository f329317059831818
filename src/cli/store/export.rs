//! `tipoff store export`: what the log holds, a JSON object a line.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value as Json, json};

use super::{check_is_store, entries};
use crate::cli::outcome::usage;
use crate::definitions;
use crate::engine::decision::{Action, Decision};
use crate::engine::event::{UserId, Value};
use crate::engine::input::{Input, Step};
use crate::record::{self, Control, Record};
use crate::store::{self, Entry, LogPosition, LogReader};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The `store.directory` of a server, stopped or running
    directory: PathBuf,
    /// Begin at this entry, by its position in the log
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    from: u64,
    /// Only what is of this user; a visitor as anonymous:ID
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// A file to write, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Stops at the first damage, which is told.
pub fn run(args: &Args) -> Result<()> {
    check_is_store(&args.directory)?;
    let log = LogReader::open(&args.directory, LogPosition::new(args.from)).map_err(told)?;
    let plan = definitions::compile("").map_err(|mistakes| anyhow!("{mistakes}"))?;
    let user = args.user.as_deref().map(user_of);
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => {
            let file = File::create(path).with_context(|| path.display().to_string()).map_err(usage)?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let mut n_written = 0;
    for item in log {
        let (position, entry) = item.map_err(told)?;
        let record = record::decode(&plan, &entry.payload)
            .with_context(|| format!("{}: entry at {position}", args.directory.display()))?;
        let is_meant = match (&user, &record) {
            (None, _) => true,
            (Some(user), Record::Step(of, _)) => of == user,
            (Some(_), Record::Control(_)) => false,
        };
        if is_meant {
            writeln!(out, "{}", line(position, &entry, record)).context("cannot write")?;
            n_written += 1;
        }
    }
    out.flush().context("cannot write")?;
    eprintln!("{}", entries(n_written));
    Ok(())
}

/// A position that is none is what was given.
fn told(error: store::Error) -> anyhow::Error {
    match error {
        store::Error::OutOfLog { .. } | store::Error::NotAnEntry { .. } => usage(error),
        error => error.into(),
    }
}

fn user_of(text: &str) -> UserId {
    text.strip_prefix("anonymous:").map_or_else(|| UserId::known(text), UserId::anonymous)
}

fn line(position: LogPosition, entry: &Entry, record: Record) -> Json {
    let mut line = json!({
        "position": position.get(),
        "virtual_shard": entry.virtual_shard,
        "sequence": entry.sequence,
    });
    let more = match record {
        Record::Step(user, step) => step_json(&user, &step),
        Record::Control(control) => json!({ "kind": "control", "control": control_json(&control) }),
    };
    if let (Some(line), Json::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    line
}

fn step_json(user: &UserId, step: &Step) -> Json {
    let (kind, input) = match &step.input {
        Input::Event(event) => {
            let input = json!({
                "event_id": event.id,
                "type": event.kind,
                "time": event.time.to_string(),
                "anonymous_id": event.anonymous_id,
                "properties": values(&event.properties),
            });
            ("event", input)
        }
        Input::Timers => ("timers", Json::Null),
        Input::Traits(traits) => ("traits", json!({ "traits": values(traits) })),
        Input::Link { anonymous_id } => ("link", json!({ "anonymous_id": anonymous_id })),
    };
    json!({
        "kind": kind,
        "user": user.to_string(),
        "arrival": step.arrival.time.to_string(),
        "input": input,
        "decision": step.decision.is_some(),
        "firings": step.decision.as_ref().map_or_else(Vec::new, fired),
    })
}

/// The triggers that fired.
fn fired(decision: &Decision) -> Vec<&str> {
    let fired = decision.outcomes.iter().filter(|outcome| matches!(outcome.action, Action::Fired { .. }));
    fired.map(|outcome| &*outcome.trigger).collect()
}

fn values(values: &[(Box<str>, Value)]) -> Map<String, Json> {
    let json_of = |value: &Value| match value {
        Value::Text(text) => json!(**text),
        Value::Number(number) => json!(number),
        Value::Integer(integer) => json!(integer),
        Value::Bool(bool) => json!(bool),
        Value::Time(time) => json!(time.to_string()),
    };
    values.iter().map(|(name, value)| (name.to_string(), json_of(value))).collect()
}

/// Without the source of definitions: their digest says which they are.
fn control_json(control: &Control) -> Json {
    let mut json = serde_json::to_value(control).unwrap_or_default();
    if let (Control::Definitions { .. }, Some(fields)) = (control, json.as_object_mut()) {
        fields.remove("source");
    }
    json
}
