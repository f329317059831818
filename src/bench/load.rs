//! The load: events that come when they come, or as fast as they are taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{Client, event, explain};
use crate::engine::time::Timestamp;
use crate::event_file::Record;
use crate::proto::v1;
use crate::simulate::{Config, Shares, Shop};

pub const BATCH_EVENTS: usize = 256;
const STREAMS: usize = 4;
/// Batches of one stream under way while throughput is measured.
const UNDER_WAY: usize = 8;
/// Events that came due within one tick go together.
const TICK: Duration = Duration::from_millis(1);
/// Users that queries choose from: those of the latest events, so as Zipf as these.
const RECENT_USERS: usize = 4_096;

pub struct Load {
    client: Client,
    shop: Shop,
    dice: ChaCha8Rng,
    recent: VecDeque<v1::UserRef>,
}

/// Latencies in microseconds.
pub struct Latency {
    pub elapsed: Duration,
    pub events: Histogram<u64>,
    pub scores: Histogram<u64>,
    pub refused: u64,
}

pub struct Throughput {
    pub elapsed: Duration,
    pub n_events: u64,
    pub refused: u64,
    /// Acknowledgements of batches, in microseconds.
    pub batches: Histogram<u64>,
}

/// Batches of one stream with the moments at which their events were due.
type Due = mpsc::UnboundedSender<(v1::IngestStreamRequest, Vec<Instant>)>;

impl Load {
    pub fn new(client: Client, n_users: u32, seed: u64) -> Self {
        // On the wall clock an event that is late by hours could not have been sent now.
        let shares = Shares { late: 0.0, ..Shares::default() };
        let start = Timestamp::from_millis(1_767_600_000_000);
        let shop = Shop::new(Config { n_users, start, span: None, seed, shares });
        Self { client, shop, dice: ChaCha8Rng::seed_from_u64(seed), recent: VecDeque::new() }
    }

    /// Events and queries at the given rates per second, due at Poisson times.
    pub async fn open_loop(
        &mut self,
        duration: Duration,
        rate: u32,
        score_rate: u32,
        bar: &ProgressBar,
    ) -> Result<Latency> {
        let event_latency = Arc::new(Mutex::new(histogram()?));
        let score_latency = Arc::new(Mutex::new(histogram()?));
        let refused = Arc::new(AtomicU64::new(0));
        let mut streams: Vec<Due> = Vec::new();
        let mut tasks = JoinSet::new();
        for _ in 0..STREAMS {
            let (due, batches) = mpsc::unbounded_channel();
            let (client, latency, refused) = (self.client.clone(), event_latency.clone(), refused.clone());
            tasks.spawn(measured_stream(client, batches, latency, refused));
            streams.push(due);
        }

        let mut event_gaps = Gaps::new(rate)?;
        let mut score_gaps = Gaps::new(score_rate)?;
        let started = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        let mut batch_id = 0;
        while started.elapsed() < duration {
            ticks.tick().await;
            let now = started.elapsed();
            bar.inc(TICK.as_millis() as u64);
            let due: Vec<Instant> =
                event_gaps.due(now, &mut self.dice).into_iter().map(|due| started + due).collect();
            if !due.is_empty() {
                let events = due.iter().map(|_| self.next_event()).collect();
                batch_id += 1;
                let request = v1::IngestStreamRequest { batch_id, events, ..Default::default() };
                let stream = &streams[batch_id as usize % STREAMS];
                stream.send((request, due)).ok().context("the server ended a stream")?;
            }
            for due in score_gaps.due(now, &mut self.dice) {
                let Some(user) = self.some_user() else { continue };
                let (client, latency) = (self.client.clone(), score_latency.clone());
                tasks.spawn(measured_score(client, user, started + due, latency));
            }
        }
        drop(streams);
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        let events = event_latency.lock().await.clone();
        let scores = score_latency.lock().await.clone();
        Ok(Latency { elapsed: started.elapsed(), events, scores, refused: refused.load(Ordering::Relaxed) })
    }

    /// Full batches, as many as are taken.
    pub async fn closed_loop(&mut self, duration: Duration, bar: &ProgressBar) -> Result<Throughput> {
        let mut tasks = JoinSet::new();
        let mut inputs = Vec::new();
        for _ in 0..STREAMS {
            let (batches, input) = mpsc::channel::<v1::IngestStreamRequest>(1);
            tasks.spawn(full_stream(self.client.clone(), input));
            inputs.push(batches);
        }
        let started = Instant::now();
        let mut batch_id = 0;
        while started.elapsed() < duration {
            bar.set_position(
                bar.length()
                    .unwrap_or(0)
                    .saturating_sub((duration - started.elapsed().min(duration)).as_millis() as u64),
            );
            let events = (0..BATCH_EVENTS).map(|_| self.next_event()).collect();
            batch_id += 1;
            let request = v1::IngestStreamRequest { batch_id, events, ..Default::default() };
            // Whichever stream has room; waits while none has.
            let slots = inputs.iter().map(|input| Box::pin(input.reserve()));
            let (slot, ..) = futures_util::future::select_all(slots).await;
            slot.context("the server ended a stream")?.send(request);
        }
        drop(inputs);
        let mut total =
            Throughput { elapsed: Duration::ZERO, n_events: 0, refused: 0, batches: histogram()? };
        while let Some(task) = tasks.join_next().await {
            let (n_events, refused, batches) = task??;
            total.n_events += n_events;
            total.refused += refused;
            total.batches.add(&batches)?;
        }
        total.elapsed = started.elapsed();
        Ok(total)
    }

    /// The shop's next event, as of now.
    fn next_event(&mut self) -> v1::Event {
        let record: Record = self.shop.next().unwrap_or_else(|| unreachable!("the shop never closes"));
        if self.recent.len() == RECENT_USERS {
            self.recent.pop_front();
        }
        self.recent.push_back(crate::rpc::convert::user_ref(&record.user));
        // The server stamps the time.
        v1::Event { time: None, arrival_time: None, ..event(record) }
    }

    fn some_user(&mut self) -> Option<v1::UserRef> {
        let n = self.recent.len();
        (n > 0).then(|| self.recent[self.dice.random_range(0..n)].clone())
    }
}

/// Poisson arrivals: exponential gaps.
struct Gaps {
    gap: Exp<f64>,
    next_seconds: f64,
}

impl Gaps {
    fn new(per_second: u32) -> Result<Self> {
        Ok(Self { gap: Exp::new(f64::from(per_second)).context("a rate above 0")?, next_seconds: 0.0 })
    }

    /// The arrivals up to `now` that have not been given yet.
    fn due(&mut self, now: Duration, dice: &mut ChaCha8Rng) -> Vec<Duration> {
        let mut due = Vec::new();
        while self.next_seconds <= now.as_secs_f64() {
            due.push(Duration::from_secs_f64(self.next_seconds));
            self.next_seconds += self.gap.sample(dice);
        }
        due
    }
}

/// Sends batches as they come due, and measures each event from when it was.
async fn measured_stream(
    mut client: Client,
    mut batches: mpsc::UnboundedReceiver<(v1::IngestStreamRequest, Vec<Instant>)>,
    latency: Arc<Mutex<Histogram<u64>>>,
    refused: Arc<AtomicU64>,
) -> Result<()> {
    let (requests, receiver) = mpsc::unbounded_channel();
    let requests_out = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
    let (times, mut under_way) = mpsc::unbounded_channel::<Vec<Instant>>();
    let forward = tokio::spawn(async move {
        while let Some((request, due)) = batches.recv().await {
            if times.send(due).is_err() || requests.send(request).is_err() {
                break;
            }
        }
    });
    let mut answers = client.events.ingest_stream(requests_out).await.map_err(explain)?.into_inner();
    while let Some(answer) = answers.message().await.map_err(explain)? {
        let now = Instant::now();
        let due = under_way.recv().await.context("an acknowledgement came without a batch")?;
        let mut latency = latency.lock().await;
        for (due, result) in due.into_iter().zip(answer.results) {
            latency.record(micros(now - due))?;
            refused.fetch_add(u64::from(is_refused(&result)), Ordering::Relaxed);
        }
    }
    forward.await?;
    Ok(())
}

async fn measured_score(
    mut client: Client,
    user: v1::UserRef,
    due: Instant,
    latency: Arc<Mutex<Histogram<u64>>>,
) -> Result<()> {
    let request = v1::ScoreRequest { user: Some(user), ..Default::default() };
    client.scoring.score(request).await.map_err(explain)?;
    latency.lock().await.record(micros(due.elapsed()))?;
    Ok(())
}

/// Keeps so many batches under way; returns events, refusals and latencies.
async fn full_stream(
    mut client: Client,
    mut input: mpsc::Receiver<v1::IngestStreamRequest>,
) -> Result<(u64, u64, Histogram<u64>)> {
    let (requests, receiver) = mpsc::channel(UNDER_WAY);
    let (sent, mut under_way) = mpsc::channel::<Instant>(UNDER_WAY);
    let forward = tokio::spawn(async move {
        while let Some(request) = input.recv().await {
            // The bound on what is under way: its place is taken until the acknowledgement.
            if sent.send(Instant::now()).await.is_err() || requests.send(request).await.is_err() {
                break;
            }
        }
    });
    let (mut n_events, mut refused, mut latency) = (0, 0, histogram()?);
    let mut answers =
        client.events.ingest_stream(ReceiverStream::new(receiver)).await.map_err(explain)?.into_inner();
    while let Some(answer) = answers.message().await.map_err(explain)? {
        let sent = under_way.recv().await.context("an acknowledgement came without a batch")?;
        latency.record(micros(sent.elapsed()))?;
        n_events += answer.results.len() as u64;
        refused += answer.results.iter().filter(|result| is_refused(result)).count() as u64;
    }
    forward.await?;
    Ok((n_events, refused, latency))
}

fn is_refused(result: &v1::EventResult) -> bool {
    !matches!(result.status(), v1::EventStatus::Accepted | v1::EventStatus::Duplicate)
}

/// From 1 µs to a minute, three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).clamp(1, 60_000_000)
}
