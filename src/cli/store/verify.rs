//! `tipoff store verify`: whether a store is sound.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use indicatif::HumanBytes;
use serde_json::{Map, Value, json};

use super::records::Records;
use super::{check_is_store, entries, progress_bar};
use crate::cli::print::count;
use crate::store::verify::{Damage, Place, Verified, ViewsFound, verify};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The `store.directory` of a server, stopped or running
    directory: PathBuf,
    /// Print a JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Prints what was found. Fails if anything is damaged.
pub fn run(args: &Args) -> Result<()> {
    check_is_store(&args.directory)?;
    let mut records = Records::new(progress_bar())?;
    let verified = verify(&args.directory, &mut records);
    records.finish();
    let verified = verified?;
    if args.json {
        println!("{}", to_json(&verified));
    } else {
        print!("{}", to_text(&verified, &records));
    }
    match verified.damage.len() {
        0 => Ok(()),
        n => Err(anyhow!("{}: damaged in {}", args.directory.display(), count(n as u64, "place"))),
    }
}

fn to_text(verified: &Verified, records: &Records) -> String {
    use std::fmt::Write as _;

    let log = &verified.log;
    let mut text = String::new();
    for damage in &verified.damage {
        let _ = writeln!(text, "damaged: {damage}");
    }
    let bytes = log.segments.iter().map(|segment| segment.file_bytes).sum();
    let _ = writeln!(
        text,
        "log        {}, {}, {}, {}, {} erased; up to position {}",
        count(log.segments.len() as u64, "segment"),
        HumanBytes(bytes),
        count(log.n_groups, "group"),
        entries(log.n_entries),
        log.n_erased,
        log.end,
    );
    if log.unreadable_bytes > 0 || log.n_stray > 0 {
        let _ = writeln!(
            text,
            "unreadable {} bytes; {} beside the damage can be read, in groups that are not whole",
            log.unreadable_bytes,
            entries(log.n_stray),
        );
    }
    if let Some(torn) = &log.torn_tail {
        let _ = writeln!(
            text,
            "torn tail  {} bytes at {} offset {}, never committed: a start cuts them",
            torn.bytes,
            torn.file.display(),
            torn.offset,
        );
    }
    for path in &log.unborn {
        let _ = writeln!(text, "left over  {}: a start removes it", path.display());
    }
    let views = match &verified.views {
        ViewsFound::Absent => "none: a start makes them from the log".to_owned(),
        ViewsFound::Unreadable => "not readable: see above".to_owned(),
        ViewsFound::InUse { pid } => {
            let by = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            format!("not looked at: {by} has the store open")
        }
        ViewsFound::Read { replay_from, applied, values } => {
            let (n, bytes) = values.values().fold((0, 0), |sum, view| (sum.0 + view.0, sum.1 + view.1));
            let folded = if records.has_plan() { "" } else { "; profiles not decoded, without definitions" };
            format!(
                "{}, {}; of the log up to {applied}, replayed from {replay_from}{folded}",
                count(n, "value"),
                HumanBytes(bytes)
            )
        }
    };
    let _ = writeln!(text, "views      {views}");
    if verified.is_sound() {
        let _ = writeln!(text, "sound");
    }
    text
}

fn to_json(verified: &Verified) -> Value {
    let log = &verified.log;
    let torn = log.torn_tail.as_ref();
    json!({
        "sound": verified.is_sound(),
        "store": log.store.map(|store| store.to_string()),
        "segments": log.segments.len(),
        "bytes": log.segments.iter().map(|segment| segment.file_bytes).sum::<u64>(),
        "groups": log.n_groups,
        "entries": log.n_entries,
        "erased": log.n_erased,
        "stray_entries": log.n_stray,
        "unreadable_bytes": log.unreadable_bytes,
        "log_end": log.end.get(),
        "torn_tail": torn.map(|torn| json!({
            "file": torn.file.display().to_string(), "offset": torn.offset, "bytes": torn.bytes,
        })),
        "leftovers": log.unborn.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "views": views_json(&verified.views),
        "damage": verified.damage.iter().map(damage_json).collect::<Vec<_>>(),
    })
}

fn views_json(views: &ViewsFound) -> Value {
    match views {
        ViewsFound::Absent => json!({ "state": "absent" }),
        ViewsFound::Unreadable => json!({ "state": "unreadable" }),
        ViewsFound::InUse { pid } => json!({ "state": "in_use", "pid": pid }),
        ViewsFound::Read { replay_from, applied, values } => json!({
            "state": "read",
            "replay_from": replay_from.get(),
            "applied": applied.get(),
            "values": values
                .iter()
                .map(|(view, (n, _))| (view.name().to_owned(), json!(n)))
                .collect::<Map<_, _>>(),
            "bytes": values.values().map(|(_, bytes)| bytes).sum::<u64>(),
        }),
    }
}

fn damage_json(damage: &Damage) -> Value {
    let (mut offset, mut of_view, mut of_key) = (None, None, None);
    match &damage.place {
        Place::Whole => {}
        Place::Offset(at) => offset = Some(*at),
        Place::View(view) => of_view = Some(view.name()),
        Place::Value { view, key } => {
            of_view = Some(view.name());
            of_key = Some(key.escape_ascii().to_string());
        }
    }
    json!({
        "file": damage.path.display().to_string(),
        "offset": offset,
        "view": of_view,
        "key": of_key,
        "fault": damage.fault,
        "unreadable_bytes": damage.unreadable_bytes,
    })
}
