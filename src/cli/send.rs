//! `tipoff send`: an event file to a server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{Connect, event, explain};
use crate::event_file::{Error as FileError, Mapping, Reader};
use crate::proto::v1;

const BATCH_EVENTS: usize = 256;
/// Batches sent and not yet acknowledged.
const BATCHES_UNDER_WAY: usize = 16;
/// What is refused for a passing reason is sent again so many times …
const MAX_RETRIES: u32 = 8;
/// … after a pause that doubles from here.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Refusals shown one by one.
const SHOWN: usize = 10;

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
    shown: usize,
}

pub async fn run(args: Args) -> Result<()> {
    let reader = Reader::open(&args.file, &args.mapping)?;
    let client = args.connect.connect().await?;
    let mut sender = Sender {
        events: client.events,
        bar: progress_bar(reader.progress().bytes_total()),
        summary: Summary::default(),
    };
    let started = Instant::now();
    let outcome = sender.send_all(reader, args.replay).await;
    sender.bar.finish_and_clear();
    sender.summary.print(args.json, started.elapsed());
    outcome?;
    match sender.summary.n_refused() {
        0 => Ok(()),
        n => bail!("{n} events were not taken in"),
    }
}

struct Sender {
    events: crate::client::Events,
    bar: ProgressBar,
    summary: Summary,
}

impl Sender {
    /// Streams the file; what can be tried again is, after the stream.
    async fn send_all(&mut self, reader: Reader, replay: bool) -> Result<()> {
        let progress = reader.progress().clone();
        let (requests, receiver) = mpsc::channel(BATCHES_UNDER_WAY);
        // Batches not yet acknowledged, in order, for those events that must be sent again.
        let (sent, mut under_way) = mpsc::channel::<Vec<v1::Event>>(BATCHES_UNDER_WAY);
        let reading = tokio::task::spawn_blocking(move || read(reader, replay, &requests, &sent));
        let mut answers =
            self.events.ingest_stream(ReceiverStream::new(receiver)).await.map_err(explain)?.into_inner();
        let mut again = Vec::new();
        while let Some(answer) = answers.message().await.map_err(explain)? {
            let batch = under_way.recv().await.context("an acknowledgement came without a batch")?;
            again.extend(self.take(batch, answer.results));
            self.bar.set_position(progress.bytes_read());
        }
        let bad_lines = reading.await??;
        for line in bad_lines.iter().take(SHOWN) {
            self.bar.suspend(|| eprintln!("{line}"));
        }
        self.summary.bad_lines = bad_lines.len() as u64;
        self.retry(again).await
    }

    /// Sends again, slower each time; what still finds no room counts as refused.
    async fn retry(&mut self, mut events: Vec<v1::Event>) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..MAX_RETRIES {
            if events.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            let mut still = Vec::new();
            for batch in events.chunks(BATCH_EVENTS) {
                let request = v1::IngestRequest { events: batch.to_vec(), ..Default::default() };
                match self.events.ingest(request).await {
                    Ok(answer) => still.extend(self.take(batch.to_vec(), answer.into_inner().results)),
                    Err(status) if status.code() == tonic::Code::ResourceExhausted => {
                        still.extend_from_slice(batch)
                    }
                    Err(status) => return Err(explain(status)),
                }
            }
            events = still;
        }
        if !events.is_empty() {
            *self.summary.refused.entry("OVERLOADED".to_owned()).or_default() += events.len() as u64;
        }
        Ok(())
    }

    /// Counts a batch's results; returns the events worth sending again.
    fn take(&mut self, batch: Vec<v1::Event>, results: Vec<v1::EventResult>) -> Vec<v1::Event> {
        let mut again = Vec::new();
        for (event, result) in batch.into_iter().zip(results) {
            match (result.status(), result.rejection) {
                (v1::EventStatus::Accepted, _) => self.summary.accepted += 1,
                (v1::EventStatus::Duplicate, _) => self.summary.duplicate += 1,
                (_, Some(rejection)) if rejection.retryable => again.push(event),
                (_, rejection) => {
                    let rejection = rejection.unwrap_or_default();
                    if self.summary.shown < SHOWN {
                        self.summary.shown += 1;
                        let (user, kind) = (&event.user_id, &event.r#type);
                        self.bar.suspend(|| {
                            eprintln!(
                                "{user} {kind}: {}: {} ({})",
                                rejection.field, rejection.message, rejection.reason
                            );
                        });
                    }
                    *self.summary.refused.entry(rejection.reason).or_default() += 1;
                }
            }
        }
        again
    }
}

/// Reads the file into batches; returns the lines that are no events.
fn read(
    reader: Reader,
    replay: bool,
    requests: &mpsc::Sender<v1::IngestStreamRequest>,
    sent: &mpsc::Sender<Vec<v1::Event>>,
) -> Result<Vec<String>> {
    let (mut batch, mut batch_id, mut bad_lines) = (Vec::with_capacity(BATCH_EVENTS), 0, Vec::new());
    let mut flush = |batch: &mut Vec<v1::Event>| {
        batch_id += 1;
        let events = std::mem::take(batch);
        let request = v1::IngestStreamRequest { batch_id, events: events.clone(), ..Default::default() };
        // Refused sends mean that the server ended the stream, which its answer explains.
        sent.blocking_send(events).is_ok() && requests.blocking_send(request).is_ok()
    };
    for record in reader {
        match record {
            Ok(mut record) => {
                record.arrival = replay.then(|| record.arrival_or_time());
                batch.push(event(record));
            }
            Err(FileError::BadLine(line)) => bad_lines.push(line.to_string()),
            Err(error) => return Err(error.into()),
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
        self.bad_lines + self.refused.values().sum::<u64>()
    }

    fn print(&self, as_json: bool, elapsed: Duration) {
        let n = self.accepted + self.duplicate + self.n_refused();
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
        println!("{n} events in {seconds:.1} s ({:.0}/s)", n as f64 / seconds);
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
