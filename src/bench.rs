//! `tipoff bench`: a server in a second process, or one that runs already,
//! driven by the simulated shop.
//!
//! Latencies are measured open loop: events and queries come when they come
//! (Poisson arrivals), whether or not earlier ones were answered, and each
//! counts from the moment it was due. Throughput is measured closed loop:
//! full batches, as many under way as the streams allow, and each counts from
//! the moment it was sent. Refused events count for neither.

mod load;
mod model;
mod server;
mod swap;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::client::Connect;
use crate::shutdown::Signals;
use load::{Load, Results};
use server::BenchServer;

const WARM_UP: Duration = Duration::from_secs(2);

/// Measure a server's latency and throughput on this machine
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Events a second while latency is measured
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Score queries a second while latency is measured
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    score_rate: u32,
    /// Seconds of each of the two measurements; throughput falls and memory grows with them
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
    // Not `Connect`, whose address has a default and an environment variable:
    // a server that is in use must not be flooded by accident.
    /// gRPC address of a running server to measure instead of one of its own; it keeps the events
    #[arg(long, value_name = "URL", conflicts_with_all = ["durability", "definitions"])]
    address: Option<String>,
    /// File that holds the bearer token; TIPOFF_TOKEN holds the token itself
    #[arg(long, value_name = "FILE", requires = "address")]
    token_file: Option<PathBuf>,
    /// PEM file of the certificate authority to trust with https://
    #[arg(long, value_name = "FILE", requires = "address")]
    ca_file: Option<PathBuf>,
    /// Also measure latency while a model of 1,000 trees is deployed again and again
    #[arg(long, conflicts_with = "address")]
    swap: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// All that was measured. Fields are added, never changed.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    processors: usize,
    /// Of the running server that was measured; none for one of the benchmark's own.
    address: Option<String>,
    /// Not known of a running server; nor are its models, CPU and memory.
    durability: Option<String>,
    users: u32,
    /// Trees and leaves of each model that serves.
    models: Option<String>,
    open_loop: OpenLoop,
    /// The same load, meanwhile a model is deployed; none unless asked for.
    swaps: Option<swap::Swaps>,
    closed_loop: ClosedLoop,
    /// Of the server at the end.
    resident_mib: Option<f64>,
}

#[derive(Debug, Serialize)]
struct OpenLoop {
    /// Until every event was answered.
    seconds: f64,
    due_events_per_second: u32,
    due_scores_per_second: u32,
    /// Acknowledged.
    events_per_second: f64,
    /// Answered.
    scores_per_second: f64,
    results: Results,
    /// Failed score queries by gRPC code.
    score_errors: BTreeMap<String, u64>,
    ingest_acknowledgement_ms: Option<Percentiles>,
    score_ms: Option<Percentiles>,
    /// Of the server, for all it did meanwhile.
    cpu_seconds_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ClosedLoop {
    /// Until every event was answered. Windows grow meanwhile: the longer, the
    /// fewer events a second, and the more memory.
    seconds: f64,
    batch_events: usize,
    batches_under_way: usize,
    /// Acknowledged.
    events_per_second: f64,
    results: Results,
    batch_acknowledgement_ms: Option<Percentiles>,
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
    let Args { rate, score_rate, users, seed, .. } = *args;
    let duration = Duration::from_secs(args.duration);
    let (own, address) = match &args.address {
        Some(address) => (None, address.clone()),
        None => {
            let server = BenchServer::start(args)?;
            let address = server.address();
            (Some(server), address)
        }
    };
    let connect = Connect { address, token_file: args.token_file.clone(), ca_file: args.ca_file.clone() };
    let client = connect.connect().await?;
    let cpu_seconds = || own.as_ref().and_then(BenchServer::cpu_seconds);
    let bar = progress_bar(WARM_UP + duration * if args.swap { 3 } else { 2 });

    let mut load = Load::new(client, users, seed);
    bar.set_message("warming up");
    load.open_loop(WARM_UP, rate, score_rate, &bar).await?;

    bar.set_message("latency");
    let before = cpu_seconds();
    let (ingested, scored) = load.open_loop(duration, rate, score_rate, &bar).await?;
    let seconds = ingested.elapsed.as_secs_f64();
    let open_loop = OpenLoop {
        seconds,
        due_events_per_second: rate,
        due_scores_per_second: score_rate,
        events_per_second: ingested.results.acknowledged() as f64 / seconds,
        scores_per_second: scored.latency.len() as f64 / scored.elapsed.as_secs_f64(),
        results: ingested.results,
        score_errors: scored.errors,
        ingest_acknowledgement_ms: Percentiles::of(&ingested.latency),
        score_ms: Percentiles::of(&scored.latency),
        cpu_seconds_per_second: used(before, cpu_seconds()).map(|cpu| cpu / seconds),
    };

    let swaps = match &own {
        Some(server) if args.swap => {
            bar.set_message("latency while a model is swapped");
            let client = connect.connect().await?.models;
            let steady_ms = open_loop.score_ms.as_ref().map(|score| score.p99);
            let under_load = load.open_loop(duration, rate, score_rate, &bar);
            Some(swap::measure(client, &server.artifact()?, under_load, steady_ms).await?)
        }
        _ => None,
    };

    bar.set_message("throughput");
    let before = cpu_seconds();
    let ingested = load.closed_loop(duration, &bar).await?;
    let seconds = ingested.elapsed.as_secs_f64();
    let n_acknowledged = ingested.results.acknowledged() as f64;
    let closed_loop = ClosedLoop {
        seconds,
        batch_events: load::BATCH_EVENTS,
        batches_under_way: load::STREAMS * load::UNDER_WAY,
        events_per_second: n_acknowledged / seconds,
        results: ingested.results,
        batch_acknowledgement_ms: Percentiles::of(&ingested.latency),
        cpu_microseconds_per_event: used(before, cpu_seconds()).map(|cpu| cpu * 1e6 / n_acknowledged),
    };
    bar.finish_and_clear();

    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        address: args.address.clone(),
        durability: own.as_ref().map(|_| args.durability.clone()),
        users,
        models: own.as_ref().map(|_| match args.swap {
            false => model::ORDINARY.to_string(),
            true => format!("{}; the first {}", model::ORDINARY, model::LARGE),
        }),
        open_loop,
        swaps,
        closed_loop,
        resident_mib: own.as_ref().and_then(BenchServer::resident_mib),
    };
    if let Some(server) = own {
        server.stop().await?;
    }
    Ok(report)
}

impl Report {
    fn print(&self) {
        let Self { version, processors, users, open_loop, closed_loop, .. } = self;
        println!("tipoff {version} on {processors} processors, shared with the load");
        match &self.address {
            Some(address) => {
                println!("  {users} users, server at {address}: its CPU and memory are not measured");
            }
            None => println!(
                "  durability {}, {users} users, models: {}",
                self.durability.as_deref().unwrap_or_default(),
                self.models.as_deref().unwrap_or_default()
            ),
        }
        open_loop.print();
        if let Some(swaps) = &self.swaps {
            swaps.print();
        }
        closed_loop.print();
        if let Some(mib) = self.resident_mib {
            println!("\nserver memory       {mib:.0} MiB");
        }
    }
}

impl OpenLoop {
    fn print(&self) {
        println!(
            "\nopen loop, {} events/s and {} score queries/s due, for {:.1} s",
            self.due_events_per_second, self.due_scores_per_second, self.seconds
        );
        println!(
            "  reached           {:.0} events/s and {:.0} score queries/s",
            self.events_per_second, self.scores_per_second
        );
        println!("  events            {}", self.results);
        for (code, n) in &self.score_errors {
            println!("  score errors      {n} {code}");
        }
        println!("                    p50 ms    p99 ms  p99.9 ms    max ms");
        print_percentiles("acknowledgement", self.ingest_acknowledgement_ms.as_ref());
        print_percentiles("score", self.score_ms.as_ref());
        if let Some(cpu) = self.cpu_seconds_per_second {
            println!("  server CPU        {cpu:.2} of a processor");
        }
    }
}

impl ClosedLoop {
    fn print(&self) {
        println!(
            "\nclosed loop, {} batches of {} under way, for {:.1} s",
            self.batches_under_way, self.batch_events, self.seconds
        );
        println!("  events/s          {:.0}", self.events_per_second);
        println!("  events            {}", self.results);
        print_percentiles("acknowledgement", self.batch_acknowledgement_ms.as_ref());
        if let Some(cpu) = self.cpu_microseconds_per_event {
            println!("  server CPU        {cpu:.1} µs an event");
        }
        println!("  a longer run takes fewer events/s and more memory: windows grow");
    }
}

impl Percentiles {
    /// Of a histogram of microseconds; none of an empty one.
    fn of(micros: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1_000.0;
        let max = micros.max() as f64 / 1_000.0;
        (!micros.is_empty()).then(|| Self { p50: at(0.5), p99: at(0.99), p99_9: at(0.999), max })
    }
}

fn print_percentiles(what: &str, percentiles: Option<&Percentiles>) {
    match percentiles {
        Some(Percentiles { p50, p99, p99_9, max }) => {
            println!("  {what:<16} {p50:>9.2} {p99:>9.2} {p99_9:>9.2} {max:>9.2}");
        }
        None => println!("  {what:<16} {:>9}", "none"),
    }
}

fn used(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    Some(after? - before?)
}

fn progress_bar(total: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40.cyan/blue} {msg}");
    ProgressBar::new(total.as_millis() as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
