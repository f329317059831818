//! `tipoff bench`: the server in a second process, driven by the simulated shop.
//!
//! Latencies are measured open loop: events and queries come when they come
//! (Poisson arrivals), whether or not earlier ones were answered, and each
//! counts from the moment it was due. Throughput is measured closed loop:
//! full batches, as many under way as the streams allow.

mod load;
mod model;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::client::Connect;
use crate::shutdown::Signals;
use load::{Latency, Load};
use server::BenchServer;

const WARM_UP: Duration = Duration::from_secs(2);

/// Measure the server's latency and throughput on this machine
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Events a second while latency is measured
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Score queries a second while latency is measured
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    score_rate: u32,
    /// Seconds of each of the two measurements
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    duration: u64,
    /// Customers of the shop; how often they come is Zipf distributed
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What an acknowledgement survives
    #[arg(long, default_value = "fsync", value_parser = ["fsync", "interval", "memory"])]
    durability: String,
    /// Definitions to serve instead of the shop's
    #[arg(long, value_name = "FILE")]
    definitions: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// All that was measured. Fields are added, never changed.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    processors: usize,
    durability: String,
    users: u32,
    /// Trees and leaves of each model that serves.
    models: String,
    open_loop: OpenLoop,
    closed_loop: ClosedLoop,
    /// Of the server at the end.
    resident_mib: Option<f64>,
}

#[derive(Debug, Serialize)]
struct OpenLoop {
    seconds: f64,
    events_per_second: f64,
    scores_per_second: f64,
    refused: u64,
    ingest_acknowledgement_ms: Percentiles,
    score_ms: Percentiles,
    /// Of the server, for all it did meanwhile.
    cpu_seconds_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ClosedLoop {
    seconds: f64,
    batch_events: usize,
    events_per_second: f64,
    refused: u64,
    batch_acknowledgement_ms: Percentiles,
    /// Of the server.
    cpu_microseconds_per_event: Option<f64>,
}

/// In milliseconds.
#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

pub async fn run(args: Args) -> Result<()> {
    let mut signals = Signals::listen()?;
    let report = tokio::select! {
        // Biased: at Ctrl-C the server drains too, and what it says then is not the cause.
        biased;
        // The server and its folder go with the measurement.
        signal = signals.next() => bail!("ended by {signal}"),
        report = measure(&args) => report?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

async fn measure(args: &Args) -> Result<Report> {
    let server = BenchServer::start(args)?;
    let connect = Connect { address: server.address(), token_file: None, ca_file: None };
    let client = connect.connect().await?;
    let duration = Duration::from_secs(args.duration);
    let bar = progress_bar(WARM_UP + duration * 2);

    let mut load = Load::new(client, args.users, args.seed);
    bar.set_message("warming up");
    load.open_loop(WARM_UP, args.rate, args.score_rate, &bar).await?;

    bar.set_message("latency");
    let before = server.cpu_seconds();
    let Latency { elapsed, events, scores, refused } =
        load.open_loop(duration, args.rate, args.score_rate, &bar).await?;
    let cpu = used(before, server.cpu_seconds());
    let seconds = elapsed.as_secs_f64();
    let open_loop = OpenLoop {
        seconds,
        events_per_second: events.len() as f64 / seconds,
        scores_per_second: scores.len() as f64 / seconds,
        refused,
        ingest_acknowledgement_ms: Percentiles::of(&events),
        score_ms: Percentiles::of(&scores),
        cpu_seconds_per_second: cpu.map(|cpu| cpu / seconds),
    };

    bar.set_message("throughput");
    let before = server.cpu_seconds();
    let throughput = load.closed_loop(duration, &bar).await?;
    let cpu = used(before, server.cpu_seconds());
    let seconds = throughput.elapsed.as_secs_f64();
    let closed_loop = ClosedLoop {
        seconds,
        batch_events: load::BATCH_EVENTS,
        events_per_second: throughput.n_events as f64 / seconds,
        refused: throughput.refused,
        batch_acknowledgement_ms: Percentiles::of(&throughput.batches),
        cpu_microseconds_per_event: cpu.map(|cpu| cpu * 1e6 / throughput.n_events as f64),
    };
    bar.finish_and_clear();

    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        durability: args.durability.clone(),
        users: args.users,
        models: model::DESCRIPTION.to_owned(),
        open_loop,
        closed_loop,
        resident_mib: server.resident_mib(),
    };
    server.stop().await?;
    Ok(report)
}

impl Report {
    fn print(&self) {
        let Self { open_loop, closed_loop, .. } = self;
        println!("tipoff {} on {} processors, shared with the load", self.version, self.processors);
        println!("  durability {}, {} users, models: {}", self.durability, self.users, self.models);
        println!(
            "\nopen loop, {:.0} events/s and {:.0} score queries/s for {:.0} s{}",
            open_loop.events_per_second,
            open_loop.scores_per_second,
            open_loop.seconds,
            refused(open_loop.refused),
        );
        println!("                    p50 ms    p99 ms  p99.9 ms    max ms");
        open_loop.ingest_acknowledgement_ms.print("acknowledgement");
        open_loop.score_ms.print("score");
        if let Some(cpu) = open_loop.cpu_seconds_per_second {
            println!("  server CPU        {cpu:.2} of a processor");
        }
        println!(
            "\nclosed loop, batches of {} for {:.0} s{}",
            closed_loop.batch_events,
            closed_loop.seconds,
            refused(closed_loop.refused)
        );
        println!("  events/s          {:.0}", closed_loop.events_per_second);
        closed_loop.batch_acknowledgement_ms.print("acknowledgement");
        if let Some(cpu) = closed_loop.cpu_microseconds_per_event {
            println!("  server CPU        {cpu:.1} µs an event");
        }
        if let Some(mib) = self.resident_mib {
            println!("\nserver memory       {mib:.0} MiB");
        }
    }
}

impl Percentiles {
    /// Of a histogram of microseconds.
    fn of(micros: &Histogram<u64>) -> Self {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1_000.0;
        Self { p50: at(0.5), p99: at(0.99), p99_9: at(0.999), max: micros.max() as f64 / 1_000.0 }
    }

    fn print(&self, what: &str) {
        let Self { p50, p99, p99_9, max } = self;
        println!("  {what:<16} {p50:>9.2} {p99:>9.2} {p99_9:>9.2} {max:>9.2}");
    }
}

fn refused(n: u64) -> String {
    if n == 0 { String::new() } else { format!(", {n} refused") }
}

fn used(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    Some(after? - before?)
}

fn progress_bar(total: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40.cyan/blue} {msg}");
    ProgressBar::new(total.as_millis() as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
