//! Act 1: history, in its own time but faster.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::outcome::Outcomes;
use super::screen::Screen;
use super::{DemoServer, Pace, subscribe};
use crate::client::{Client, event, time};
use crate::engine::plan::Plan;
use crate::engine::time::{Millis, Timestamp};
use crate::event_file::{self, Mapping, OnBadLine, Record};
use crate::proto::v1;
use crate::rpc::convert::timestamp;
use crate::store::{LogPosition, LogReader};

pub const DEFINITIONS: &str = include_str!("../../examples/online-retail.toml");
/// A regular customer, to try the client commands on.
pub const A_CUSTOMER: &str = "12748";
const EVENTS: &[u8] = include_bytes!("../../data/online-retail/events.csv.zst");

const BATCH_EVENTS: usize = 256;
/// How often the clock is moved on while watched.
const TICK: Duration = Duration::from_millis(50);

/// What came back.
#[derive(Default)]
struct Counts {
    sent: u64,
    accepted: u64,
    refused: u64,
    event_scores: u64,
    firings: BTreeMap<String, u64>,
}

pub async fn play(server: &DemoServer, pace: Pace) -> Result<()> {
    let records = load(server)?;
    let plan = server.app.plan();
    let client = server.client().await?;
    let watch_from = trained_until(&client, &plan).await?;
    let (Some(first), Some(last)) = (records.first(), records.last()) else { bail!("no events") };
    let end = last.event.time;
    println!(
        "  {} events of {}; the models have seen those before {}: from there on it counts",
        records.len(),
        span(first.event.time, end),
        day(watch_from),
    );

    let started = Instant::now();
    let mut firings = subscribe(&client).await?;
    let mut counts = Counts::default();
    let mut screen = Screen::new(days_between(first.event.time, end), &plan);
    let (requests, receiver) = mpsc::channel(16);
    let mut events = client.events.clone();
    let mut answers = events.ingest_stream(ReceiverStream::new(receiver)).await?.into_inner();
    let sender = tokio::spawn(send(records.clone(), requests, watch_from, pace));
    let mut now = first.event.time;
    loop {
        tokio::select! {
            answer = answers.message() => match answer? {
                Some(answer) => {
                    counts.take(&answer);
                    now = now.max(latest(&answer));
                    let elapsed = started.elapsed().as_secs_f64();
                    screen.progress(
                        days_between(first.event.time, now),
                        format!("{}  {:>7.0} events/s", day(now), counts.sent as f64 / elapsed),
                        counts.line(n_scored(server)),
                    );
                }
                None => break,
            },
            Some(firing) = firings.recv() => {
                *counts.firings.entry(firing.trigger.clone()).or_default() += 1;
                screen.firing(&firing);
            }
        }
    }
    sender.await??;
    let elapsed = started.elapsed();
    let delivered = server.app.metrics().triggers.n_fired();
    // The last firings are on their way still.
    while counts.firings.values().sum::<u64>() < delivered {
        match tokio::time::timeout(Duration::from_secs(5), firings.recv()).await {
            Ok(Some(firing)) => {
                *counts.firings.entry(firing.trigger.clone()).or_default() += 1;
                screen.firing(&firing);
            }
            _ => bail!("{delivered} firings were decided, and not all were delivered"),
        }
    }
    screen.finish();
    summary(server, &plan, &records, &counts, watch_from, elapsed)
}

/// Sends everything before `watch_from` as fast as it is taken, the rest at the pace.
async fn send(
    records: Vec<Record>,
    requests: mpsc::Sender<v1::IngestStreamRequest>,
    watch_from: Timestamp,
    pace: Pace,
) -> Result<()> {
    let watched = records.partition_point(|record| record.event.time < watch_from);
    let (before, after) = records.split_at(watched);
    let mut batch_id = 0;
    let mut request = |batch: &[Record], clock_time: Option<Timestamp>| {
        batch_id += 1;
        v1::IngestStreamRequest {
            batch_id,
            events: batch.iter().cloned().map(event).collect(),
            score: (!batch.is_empty()).then(v1::ScoreOptions::default),
            clock_time: clock_time.map(timestamp),
        }
    };
    let gone = "the server ended the stream";
    for batch in before.chunks(BATCH_EVENTS) {
        requests.send(request(batch, None)).await.context(gone)?;
    }
    let end = after.last().map_or(watch_from, |last| last.event.time);
    let mut rest = after;
    match pace.days_per_second {
        None => {
            for batch in rest.chunks(BATCH_EVENTS) {
                requests.send(request(batch, None)).await.context(gone)?;
            }
        }
        Some(speed) => {
            let mut ticks = tokio::time::interval(TICK);
            let step = Millis::new((speed * Millis::DAY.as_millis() as f64 * TICK.as_secs_f64()) as i64);
            let mut now = watch_from;
            while now < end {
                ticks.tick().await;
                now = now.after(step).min(end);
                let due = rest.partition_point(|record| record.event.time <= now);
                let (batch, later) = rest.split_at(due);
                rest = later;
                let (full, last) = batch.split_at(batch.len() - batch.len() % BATCH_EVENTS);
                for batch in full.chunks(BATCH_EVENTS) {
                    requests.send(request(batch, None)).await.context(gone)?;
                }
                requests.send(request(last, Some(now))).await.context(gone)?;
            }
        }
    }
    requests.send(request(&[], Some(end))).await.context(gone)
}

fn summary(
    server: &DemoServer,
    plan: &Plan,
    records: &[Record],
    counts: &Counts,
    watch_from: Timestamp,
    elapsed: Duration,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out)?;
    writeln!(
        out,
        "  events     {} sent, {} accepted, {} refused, in {:.1} s",
        counts.sent,
        counts.accepted,
        counts.refused,
        elapsed.as_secs_f64()
    )?;
    writeln!(
        out,
        "  scores     {} by the models' own decisions, {} returned with events",
        n_scored(server),
        counts.event_scores
    )?;
    for (trigger, n) in &counts.firings {
        writeln!(out, "  firings    {n:>5}  {trigger}")?;
    }
    let outcomes = Outcomes::new(records);
    for (index, trigger) in plan.triggers.iter().enumerate() {
        let reader = LogReader::open(&server.store(), LogPosition::START)?;
        let Some(report) = outcomes.report(plan, index, watch_from, reader)? else { continue };
        let precision = &report.precision;
        writeln!(out, "\n  {}", trigger.name)?;
        if let Some(auc) = report.judged.auc() {
            writeln!(
                out,
                "    model      AUC {auc:.3} over {} decisions since {}",
                report.judged.len(),
                day(watch_from)
            )?;
        }
        if precision.n == 0 {
            writeln!(out, "    no firing's horizon has passed ({} have not)", report.n_open)?;
            continue;
        }
        let (low, high) = precision.interval();
        writeln!(
            out,
            "    came true  {} of {} firings whose horizon has passed: {:.1} % (95 % interval {:.1} to {:.1})",
            precision.hits,
            precision.n,
            100.0 * precision.share(),
            100.0 * low,
            100.0 * high
        )?;
        let customers =
            if trigger.when.is_some() { "customers that `when` lets pass" } else { "all customers" };
        writeln!(
            out,
            "    base rate  {:.1} % of {customers}, scored on the same days: {:.2} times as often",
            100.0 * precision.base_rate,
            precision.share() / precision.base_rate
        )?;
        if report.n_open > 0 {
            writeln!(out, "    still open {} firings", report.n_open)?;
        }
    }
    Ok(())
}

impl Counts {
    fn take(&mut self, answer: &v1::IngestStreamResponse) {
        for result in &answer.results {
            self.sent += 1;
            self.event_scores += result.scores.len() as u64;
            match result.status() {
                v1::EventStatus::Accepted => self.accepted += 1,
                _ => self.refused += 1,
            }
        }
    }

    fn line(&self, n_scored: u64) -> String {
        let firings: Vec<String> = self.firings.iter().map(|(trigger, n)| format!("{trigger} {n}")).collect();
        format!("{} events, {n_scored} scores, firings: {}", self.sent, firings.join(", "))
    }
}

/// Scores that the server made decisions on.
fn n_scored(server: &DemoServer) -> u64 {
    server.app.metrics().models.decided.iter().map(|scores| scores.get()).sum()
}

fn load(server: &DemoServer) -> Result<Vec<Record>> {
    let path = server.directory.join("events.csv.zst");
    std::fs::write(&path, EVENTS)?;
    Ok(event_file::load(&path, &Mapping::default(), OnBadLine::Refuse)?.records)
}

/// Up to when the models may have looked: the last decision they learned
/// from, and the horizon of its label.
async fn trained_until(client: &Client, plan: &Plan) -> Result<Timestamp> {
    let models =
        client.models.clone().list_models(v1::ListModelsRequest::default()).await?.into_inner().models;
    let horizon = |model: &v1::Model| {
        plan.labels
            .iter()
            .find(|label| *label.name == *model.label)
            .map_or(Millis::ZERO, |label| label.horizon)
    };
    models
        .iter()
        .map(|model| time(model.trained_until.as_ref()).after(horizon(model)))
        .max()
        .context("no model was loaded: their features may have changed since they were trained")
}

fn latest(answer: &v1::IngestStreamResponse) -> Timestamp {
    let times = answer.results.iter().filter_map(|result| result.as_of.as_ref()?.time.as_ref());
    times.map(|at| time(Some(at))).max().unwrap_or(Timestamp::MIN)
}

fn days_between(from: Timestamp, to: Timestamp) -> u64 {
    (to.since(from).as_millis() / Millis::DAY.as_millis()).max(0) as u64
}

fn span(from: Timestamp, to: Timestamp) -> String {
    format!("{} to {}", day(from), day(to))
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}
