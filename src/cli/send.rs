//! `tipoff send`: an event file to a server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic_types::StatusExt;

use super::outcome::usage;
use super::print::count;
use crate::client::{Connect, event, explain};
use crate::event_file::{Error as FileError, Mapping, Reader};
use crate::proto::v1;
use crate::rpc::reason::Reason;

const BATCH_EVENTS: usize = 256;
/// Batches sent and not yet acknowledged.
const BATCHES_UNDER_WAY: usize = 16;
/// What is refused for a passing reason is sent again so many times …
const MAX_RETRIES: u32 = 8;
/// … after a pause that doubles from here.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Bad lines, and refusals, shown one by one.
const SHOWN: u64 = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Event file: .jsonl or .csv, also .gz or .zst
    file: PathBuf,
    /// What the file calls the fields, such as `user_id=visitorid,type=event`
    #[arg(long, value_name = "OURS=THEIRS,…", default_value = "")]
    mapping: Mapping,
    /// Send arrival times, for a server in replay mode; an event without one
    /// arrives when it happened
    #[arg(long)]
    replay: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// What became of the events.
#[derive(Default)]
struct Summary {
    accepted: u64,
    duplicate: u64,
    bad_lines: u64,
    /// By the reason of the refusal.
    refused: BTreeMap<String, u64>,
}

/// An event under way, and its line in the file.
struct Sent {
    line: u64,
    event: v1::Event,
}

/// Shows lines of the file above the progress bar, the first few of them.
#[derive(Clone)]
struct Lines {
    file: String,
    bar: ProgressBar,
    shown: u64,
}

struct Sender {
    events: crate::client::Events,
    lines: Lines,
    summary: Summary,
    /// Before what was refused is first sent again.
    pause: Duration,
}

pub async fn run(args: Args) -> Result<()> {
    let reader = Reader::open(&args.file, &args.mapping).map_err(usage)?;
    let client = args.connect.connect().await?;
    let bar = progress_bar(reader.progress().bytes_total());
    let mut sender = Sender::new(client.events, args.file.display().to_string(), bar.clone());
    let started = Instant::now();
    let outcome = sender.send_all(reader, args.replay).await;
    bar.finish_and_clear();
    let summary = sender.summary;
    summary.print(args.json, started.elapsed());
    if let Some(hint) = summary.hint(args.replay) {
        eprintln!("{hint}");
    }
    outcome?;
    let lost = |n| anyhow!("{} not taken in", count(n, "event"));
    match (summary.n_refused(), summary.bad_lines) {
        (0, 0) => Ok(()),
        (n, 0) => Err(lost(n)),
        (n, bad_lines) => Err(usage(lost(n + bad_lines))),
    }
}

impl Sender {
    fn new(events: crate::client::Events, file: String, bar: ProgressBar) -> Self {
        let lines = Lines { file, bar, shown: 0 };
        Self { events, lines, summary: Summary::default(), pause: FIRST_PAUSE }
    }

    /// Streams the file; what can be tried again is, after the stream.
    async fn send_all(&mut self, reader: Reader, replay: bool) -> Result<()> {
        let progress = reader.progress().clone();
        let (requests, receiver) = mpsc::channel(BATCHES_UNDER_WAY);
        // Batches not yet acknowledged, in order.
        let (sent, mut under_way) = mpsc::channel::<Vec<Sent>>(BATCHES_UNDER_WAY);
        let lines = self.lines.clone();
        let reading = tokio::task::spawn_blocking(move || read(reader, replay, lines, &requests, &sent));
        let mut answers =
            self.events.ingest_stream(ReceiverStream::new(receiver)).await.map_err(explain)?.into_inner();
        let mut again = Vec::new();
        while let Some(answer) = answers.message().await.map_err(explain)? {
            let batch = under_way.recv().await.context("an acknowledgement came without a batch")?;
            again.extend(self.take(batch, answer.results));
            self.lines.bar.set_position(progress.bytes_read());
        }
        let read = reading.await?;
        self.retry(again).await?;
        self.summary.bad_lines = read?;
        Ok(())
    }

    /// Sends again, slower each time; what finds no room in the end counts as
    /// refused, for the last reason that was given.
    async fn retry(&mut self, mut refused: Vec<(Sent, v1::Rejection)>) -> Result<()> {
        let mut pause = self.pause;
        for _ in 0..MAX_RETRIES {
            if refused.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            let mut still = Vec::new();
            while !refused.is_empty() {
                let batch = refused.drain(..refused.len().min(BATCH_EVENTS));
                let batch: Vec<Sent> = batch.map(|(sent, _)| sent).collect();
                let events = batch.iter().map(|sent| sent.event.clone()).collect();
                match self.events.ingest(v1::IngestRequest { events, ..Default::default() }).await {
                    Ok(answer) => still.extend(self.take(batch, answer.into_inner().results)),
                    Err(status) => {
                        let rejection = passing(status)?;
                        still.extend(batch.into_iter().map(|sent| (sent, rejection.clone())));
                    }
                }
            }
            refused = still;
        }
        for (sent, rejection) in refused {
            self.refuse(&sent, rejection);
        }
        Ok(())
    }

    /// Counts a batch's results; returns the events worth sending again, and why they are.
    fn take(&mut self, batch: Vec<Sent>, results: Vec<v1::EventResult>) -> Vec<(Sent, v1::Rejection)> {
        let mut again = Vec::new();
        for (sent, result) in batch.into_iter().zip(results) {
            match (result.status(), result.rejection) {
                (v1::EventStatus::Accepted, _) => self.summary.accepted += 1,
                (v1::EventStatus::Duplicate, _) => self.summary.duplicate += 1,
                (_, Some(rejection)) if rejection.retryable => again.push((sent, rejection)),
                (_, rejection) => self.refuse(&sent, rejection.unwrap_or_default()),
            }
        }
        again
    }

    fn refuse(&mut self, sent: &Sent, rejection: v1::Rejection) {
        let v1::Rejection { field, reason, message, .. } = rejection;
        let separator = if field.is_empty() { "" } else { ": " };
        self.lines.show(sent.line, &format!("{field}{separator}{message} ({reason})"));
        *self.summary.refused.entry(reason).or_default() += 1;
    }
}

impl Lines {
    fn show(&mut self, line: u64, problem: &str) {
        if self.shown < SHOWN {
            self.shown += 1;
            self.bar.suspend(|| eprintln!("{}:{line}: {problem}", self.file));
        }
    }
}

/// The refusal of a whole batch, if the server says that trying again can help.
fn passing(status: tonic::Status) -> Result<v1::Rejection> {
    let details = status.get_error_details();
    match (details.retry_info(), details.error_info()) {
        (Some(_), Some(info)) => Ok(v1::Rejection {
            reason: info.reason.clone(),
            message: status.message().to_owned(),
            retryable: true,
            ..Default::default()
        }),
        _ => Err(explain(status)),
    }
}

/// Reads the file into batches; returns how many lines are no events.
fn read(
    mut reader: Reader,
    replay: bool,
    mut lines: Lines,
    requests: &mpsc::Sender<v1::IngestStreamRequest>,
    sent: &mpsc::Sender<Vec<Sent>>,
) -> Result<u64> {
    let (mut batch, mut batch_id, mut bad_lines) = (Vec::with_capacity(BATCH_EVENTS), 0, 0);
    let mut flush = |batch: &mut Vec<Sent>| {
        batch_id += 1;
        let batch = std::mem::take(batch);
        let events = batch.iter().map(|sent| sent.event.clone()).collect();
        let request = v1::IngestStreamRequest { batch_id, events, ..Default::default() };
        // Refused sends mean that the server ended the stream, which its answer explains.
        sent.blocking_send(batch).is_ok() && requests.blocking_send(request).is_ok()
    };
    while let Some(record) = reader.next() {
        match record {
            Ok(mut record) => {
                record.arrival = replay.then(|| record.arrival_or_time());
                batch.push(Sent { line: reader.line(), event: event(record) });
            }
            Err(FileError::BadLine(bad)) => {
                bad_lines += 1;
                lines.show(bad.line, &format!("{}: {}", bad.field, bad.problem));
            }
            Err(error) => return Err(usage(error)),
        }
        if batch.len() == BATCH_EVENTS && !flush(&mut batch) {
            return Ok(bad_lines);
        }
    }
    if !batch.is_empty() {
        flush(&mut batch);
    }
    Ok(bad_lines)
}

impl Summary {
    fn n_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    fn n_events(&self) -> u64 {
        self.accepted + self.duplicate + self.bad_lines + self.n_refused()
    }

    /// What to do about most events being refused, where that can be told.
    fn hint(&self, replay: bool) -> Option<&'static str> {
        let most = |reason: Reason| self.refused.get(reason.name()).is_some_and(|n| n * 2 > self.n_events());
        if most(Reason::EventLate) && !replay {
            return Some(
                "most events are too old for a server on the wall clock: history goes to one with \
                 `clock = \"replay\"`, by `tipoff serve --set pipeline.clock=replay` and `tipoff send --replay`",
            );
        }
        most(Reason::ArrivalTimeRefused).then_some(
            "this server goes by the wall clock: send new events without --replay, and history to one with \
             `clock = \"replay\"`, by `tipoff serve --set pipeline.clock=replay`",
        )
    }

    fn print(&self, as_json: bool, elapsed: Duration) {
        let n = self.n_events();
        let seconds = elapsed.as_secs_f64();
        if as_json {
            let summary = json!({
                "events": n,
                "accepted": self.accepted,
                "duplicate": self.duplicate,
                "bad_lines": self.bad_lines,
                "refused": self.refused,
                "seconds": seconds,
            });
            println!("{summary}");
            return;
        }
        println!("{} in {seconds:.1} s ({:.0}/s)", count(n, "event"), n as f64 / seconds);
        println!("  accepted   {}", self.accepted);
        println!("  duplicate  {}", self.duplicate);
        if self.bad_lines > 0 {
            println!("  not events {}", self.bad_lines);
        }
        for (reason, n) in &self.refused {
            println!("  refused    {n}  {reason}");
        }
    }
}

fn progress_bar(bytes: u64) -> ProgressBar {
    let template = "{bar:40.cyan/blue} {percent:>3} %  {bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}

#[cfg(test)]
mod tests;
