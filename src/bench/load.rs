//! The load: events that come when they come, or as fast as they are taken.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::client::{Client, Events, event, explain};
use crate::engine::time::Timestamp;
use crate::event_file::Record;
use crate::proto::v1;
use crate::rpc::reason::Reason;
use crate::simulate::{Config, Shares, Shop};

/// Events of a full batch, and the most of any.
pub const BATCH_EVENTS: usize = 256;
pub const STREAMS: usize = 4;
/// Batches of one stream under way while throughput is measured.
pub const UNDER_WAY: usize = 8;
/// Batches of one stream, and queries, under way while latency is measured: a
/// bound on memory and on the end of a load that is more than the server takes.
/// What waits for room is due all the same.
const BACKLOG: usize = 64;
const MAX_QUERIES: usize = 1_024;
/// Events that came due within one tick go together.
const TICK: Duration = Duration::from_millis(1);
/// Users that queries choose from: those of the latest events, so as Zipf as these.
const RECENT_USERS: usize = 4_096;

pub struct Load {
    client: Client,
    shop: Shop,
    dice: ChaCha8Rng,
    recent: VecDeque<v1::UserRef>,
    n_batches: u64,
    /// Begins every event id: a server that has seen the shop before, under
    /// the same seed, would take all for duplicates.
    run: String,
}

/// What became of events.
pub struct Ingested {
    /// From the start of the load to the last answer.
    pub elapsed: Duration,
    pub results: Results,
    /// Of those acknowledged, in microseconds.
    pub latency: Histogram<u64>,
}

/// What became of score queries.
pub struct Scored {
    /// From the start of the load to the last answer.
    pub elapsed: Duration,
    /// Failed calls by gRPC code.
    pub errors: BTreeMap<String, u64>,
    /// Of those answered, in microseconds.
    pub latency: Histogram<u64>,
}

/// Events by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Results {
    pub accepted: u64,
    pub duplicate: u64,
    pub late: u64,
    pub rejected: u64,
    /// Refused because a queue was full, which trying again can help.
    pub overloaded: u64,
}

/// One stream to the server; it ends when this is dropped.
struct Stream {
    requests: mpsc::UnboundedSender<v1::IngestStreamRequest>,
    /// For each batch under way, the moments that its events' latencies count
    /// from. Its capacity bounds what is under way.
    since: mpsc::Sender<Vec<Instant>>,
}

impl Load {
    pub fn new(client: Client, n_users: u32, seed: u64) -> Self {
        // On the wall clock an event that is late by hours could not have been sent now.
        let shares = Shares { late: 0.0, ..Shares::default() };
        let start = Timestamp::from_millis(1_767_600_000_000);
        let shop = Shop::new(Config { n_users, start, span: None, seed, shares });
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            client,
            shop,
            dice: ChaCha8Rng::seed_from_u64(seed),
            recent: VecDeque::new(),
            n_batches: 0,
            run: format!("{}-", now.as_millis()),
        }
    }

    /// Events and queries at the given rates per second, due at Poisson times.
    pub async fn open_loop(
        &mut self,
        duration: Duration,
        rate: u32,
        score_rate: u32,
        bar: &ProgressBar,
    ) -> Result<(Ingested, Scored)> {
        let (streams, acknowledgements) = self.open_streams(BACKLOG);
        let mut queries = JoinSet::new();
        let mut scored = Scored::new()?;
        let mut event_gaps = Gaps::new(rate)?;
        let mut score_gaps = Gaps::new(score_rate)?;
        let started = Instant::now();
        let progress = Progress::new(bar);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while started.elapsed() < duration {
            let now = started.elapsed();
            progress.at(now);
            for due in score_gaps.due(now, MAX_QUERIES, &mut self.dice) {
                let Some(user) = self.some_user() else { continue };
                if queries.len() == MAX_QUERIES
                    && let Some(query) = queries.join_next().await
                {
                    scored.count(query?);
                }
                queries.spawn(score(self.client.clone(), user, started + due));
            }
            while let Some(query) = queries.try_join_next() {
                scored.count(query?);
            }
            let due = event_gaps.due(now, BATCH_EVENTS, &mut self.dice);
            let is_behind = due.len() == BATCH_EVENTS;
            if !due.is_empty() {
                let stream = &streams[self.n_batches as usize % STREAMS];
                let Ok(slot) = stream.since.reserve().await else { break };
                stream.send(self.batch(due.len()));
                slot.send(due.into_iter().map(|due| started + due).collect());
            }
            if !is_behind {
                ticks.tick().await;
            }
        }
        drop(streams);
        while let Some(query) = queries.join_next().await {
            scored.count(query?);
        }
        scored.elapsed = started.elapsed();
        Ok((all(acknowledgements, started).await?, scored))
    }

    /// Full batches, as many as are taken.
    pub async fn closed_loop(&mut self, duration: Duration, bar: &ProgressBar) -> Result<Ingested> {
        let (streams, acknowledgements) = self.open_streams(UNDER_WAY);
        let started = Instant::now();
        let progress = Progress::new(bar);
        while started.elapsed() < duration {
            progress.at(started.elapsed());
            let batch = self.batch(BATCH_EVENTS);
            // Whichever stream has room; waits while none has.
            let slots = streams.iter().map(|stream| Box::pin(stream.since.reserve()));
            let (slot, index, _) = futures_util::future::select_all(slots).await;
            let Ok(slot) = slot else { break };
            slot.send(vec![Instant::now(); BATCH_EVENTS]);
            streams[index].send(batch);
        }
        drop(streams);
        all(acknowledgements, started).await
    }

    /// Streams with at most so many batches under way each, and what they will have come to.
    fn open_streams(&self, under_way: usize) -> (Vec<Stream>, JoinSet<Result<Ingested>>) {
        let mut acknowledgements = JoinSet::new();
        let streams = (0..STREAMS).map(|_| {
            let (requests, to_send) = mpsc::unbounded_channel();
            let (since, sent) = mpsc::channel(under_way);
            acknowledgements.spawn(ingest(self.client.events.clone(), to_send, sent));
            Stream { requests, since }
        });
        (streams.collect(), acknowledgements)
    }

    fn batch(&mut self, n_events: usize) -> v1::IngestStreamRequest {
        self.n_batches += 1;
        let events = (0..n_events).map(|_| self.next_event()).collect();
        v1::IngestStreamRequest { batch_id: self.n_batches, events, ..Default::default() }
    }

    /// The shop's next event, as of now.
    fn next_event(&mut self) -> v1::Event {
        let record: Record = self.shop.next().unwrap_or_else(|| unreachable!("the shop never closes"));
        if self.recent.len() == RECENT_USERS {
            self.recent.pop_front();
        }
        self.recent.push_back(crate::rpc::convert::user_ref(&record.user));
        let mut event = event(record);
        event.event_id.insert_str(0, &self.run);
        // The server stamps the time.
        v1::Event { time: None, arrival_time: None, ..event }
    }

    fn some_user(&mut self) -> Option<v1::UserRef> {
        let n = self.recent.len();
        (n > 0).then(|| self.recent[self.dice.random_range(0..n)].clone())
    }
}

impl Stream {
    fn send(&self, batch: v1::IngestStreamRequest) {
        // An error means that the stream has failed, which its task tells.
        let _ = self.requests.send(batch);
    }
}

impl Ingested {
    fn new() -> Result<Self> {
        Ok(Self { elapsed: Duration::ZERO, results: Results::default(), latency: histogram()? })
    }

    fn count(&mut self, result: &v1::EventResult, latency: Duration) {
        let Results { accepted, duplicate, late, rejected, overloaded } = &mut self.results;
        let reason = result.rejection.as_ref().map(|rejection| rejection.reason.as_str());
        let counter = match result.status() {
            v1::EventStatus::Accepted => accepted,
            v1::EventStatus::Duplicate => duplicate,
            v1::EventStatus::Late => late,
            _ if reason == Some(Reason::Overloaded.name()) => overloaded,
            _ => rejected,
        };
        *counter += 1;
        if matches!(result.status(), v1::EventStatus::Accepted | v1::EventStatus::Duplicate) {
            self.latency.saturating_record(latency.as_micros() as u64);
        }
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        let Results { accepted, duplicate, late, rejected, overloaded } = other.results;
        self.results.accepted += accepted;
        self.results.duplicate += duplicate;
        self.results.late += late;
        self.results.rejected += rejected;
        self.results.overloaded += overloaded;
        Ok(self.latency.add(&other.latency)?)
    }
}

impl Scored {
    fn new() -> Result<Self> {
        Ok(Self { elapsed: Duration::ZERO, errors: BTreeMap::new(), latency: histogram()? })
    }

    fn count(&mut self, outcome: Result<Duration, tonic::Code>) {
        match outcome {
            Ok(latency) => self.latency.saturating_record(latency.as_micros() as u64),
            Err(code) => *self.errors.entry(format!("{code:?}")).or_default() += 1,
        }
    }
}

impl Results {
    /// Events that are in the store as the durability says.
    pub const fn acknowledged(&self) -> u64 {
        self.accepted + self.duplicate
    }
}

/// What there is of: `9870 accepted, 130 duplicate`.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, duplicate, late, rejected, overloaded } = *self;
        write!(f, "{accepted} accepted")?;
        let others =
            [(duplicate, "duplicate"), (late, "late"), (rejected, "rejected"), (overloaded, "overloaded")];
        others.iter().filter(|(n, _)| *n > 0).try_for_each(|(n, name)| write!(f, ", {n} {name}"))
    }
}

/// Moves a bar on, from where it stood.
struct Progress<'a> {
    bar: &'a ProgressBar,
    from: u64,
}

impl<'a> Progress<'a> {
    fn new(bar: &'a ProgressBar) -> Self {
        Self { bar, from: bar.position() }
    }

    fn at(&self, elapsed: Duration) {
        self.bar.set_position(self.from + elapsed.as_millis() as u64);
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

    /// The arrivals up to `now` that have not been given yet, the first `max` of them.
    fn due(&mut self, now: Duration, max: usize, dice: &mut ChaCha8Rng) -> Vec<Duration> {
        let mut due = Vec::new();
        while due.len() < max && self.next_seconds <= now.as_secs_f64() {
            due.push(Duration::from_secs_f64(self.next_seconds));
            self.next_seconds += self.gap.sample(dice);
        }
        due
    }
}

/// Sends the batches, and measures each event until its acknowledgement.
async fn ingest(
    mut events: Events,
    requests: mpsc::UnboundedReceiver<v1::IngestStreamRequest>,
    mut since: mpsc::Receiver<Vec<Instant>>,
) -> Result<Ingested> {
    let mut ingested = Ingested::new()?;
    let requests = UnboundedReceiverStream::new(requests);
    let mut answers = events.ingest_stream(requests).await.map_err(explain)?.into_inner();
    while let Some(answer) = answers.message().await.map_err(explain)? {
        let now = Instant::now();
        let since = since.recv().await.context("an acknowledgement came without a batch")?;
        for (since, result) in since.into_iter().zip(&answer.results) {
            ingested.count(result, now - since);
        }
    }
    ensure!(since.recv().await.is_none(), "the server ended a stream before all was acknowledged");
    Ok(ingested)
}

/// What all streams came to; the first failure, if one failed.
async fn all(mut streams: JoinSet<Result<Ingested>>, started: Instant) -> Result<Ingested> {
    let mut all = Ingested::new()?;
    while let Some(stream) = streams.join_next().await {
        all.add(&stream??)?;
    }
    all.elapsed = started.elapsed();
    Ok(all)
}

/// How long a query took since it was due.
async fn score(mut client: Client, user: v1::UserRef, due: Instant) -> Result<Duration, tonic::Code> {
    let request = v1::ScoreRequest { user: Some(user), ..Default::default() };
    client.scoring.score(request).await.map(|_| due.elapsed()).map_err(|status| status.code())
}

/// From 1 µs to an hour, three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 3_600_000_000, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::EventStatus::{Accepted, Duplicate, Late, Rejected};

    #[test]
    fn events_are_counted_by_result_and_timed_if_acknowledged() {
        let mut ingested = Ingested::new().expect("valid bounds");
        for (status, reason) in [
            (Accepted, None),
            (Accepted, None),
            (Duplicate, None),
            (Late, Some(Reason::EventLate)),
            (Rejected, Some(Reason::ValueTooLong)),
            (Rejected, Some(Reason::Overloaded)),
        ] {
            let rejection =
                reason.map(|reason| v1::Rejection { reason: reason.name().to_owned(), ..Default::default() });
            let result = v1::EventResult { status: status.into(), rejection, ..Default::default() };
            ingested.count(&result, Duration::from_millis(1));
        }
        let expected = Results { accepted: 2, duplicate: 1, late: 1, rejected: 1, overloaded: 1 };
        assert_eq!(ingested.results, expected);
        assert_eq!(ingested.latency.len(), expected.acknowledged());
        assert_eq!(expected.to_string(), "2 accepted, 1 duplicate, 1 late, 1 rejected, 1 overloaded");
        assert_eq!(Results { accepted: 7, ..Results::default() }.to_string(), "7 accepted");

        let mut twice = Ingested::new().expect("valid bounds");
        twice.add(&ingested).and_then(|()| twice.add(&ingested)).expect("the same bounds");
        assert_eq!((twice.results.accepted, twice.results.overloaded), (4, 2));
        assert_eq!(twice.latency.len(), 6);
    }

    #[test]
    fn failed_queries_are_counted_by_code() {
        let mut scored = Scored::new().expect("valid bounds");
        scored.count(Ok(Duration::from_millis(2)));
        scored.count(Err(tonic::Code::Unavailable));
        scored.count(Err(tonic::Code::Unavailable));
        scored.count(Err(tonic::Code::NotFound));
        let errors = [("NotFound".to_owned(), 1), ("Unavailable".to_owned(), 2)];
        assert_eq!((scored.latency.len(), scored.errors), (1, errors.into()));
    }

    #[test]
    fn arrivals_come_once_and_at_their_rate() {
        let mut gaps = Gaps::new(1_000).expect("a rate");
        let mut dice = ChaCha8Rng::seed_from_u64(1);
        let due: Vec<Duration> = (1..=100)
            .flat_map(|tick| gaps.due(Duration::from_millis(100 * tick), 10_000, &mut dice))
            .collect();
        assert!(due.is_sorted());
        assert!((9_700..10_300).contains(&due.len()), "{} in 10 s", due.len());
    }
}
