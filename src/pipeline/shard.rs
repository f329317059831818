//! The hot path: one worker's loop over the virtual shards it owns.
//!
//! Stamp the arrival, run the user's due timers, fold, decide, fold; then one
//! commit for all of a batch, which answers it and lets its firings go.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::RecvTimeoutError;
use tokio::sync::oneshot;

use super::idle::Idle;
use super::profiles::Before;
use super::query::{read, scored};
use super::router::WorkerQueue;
use super::shadow::Handover;
use super::timers::Timers;
use super::{Error, Incoming, Parts, Profiles, Reply, ScoreRequest, Submitted};
use crate::clock::Clock;
use crate::config::ClockMode;
use crate::delivery::Outbox;
use crate::engine::decision::Decision;
use crate::engine::event::UserId;
use crate::engine::firing::Firing;
use crate::engine::input::{Input, Step};
use crate::engine::model::Models;
use crate::engine::plan::Plan;
use crate::engine::profile::Profile;
use crate::engine::time::Timestamp;
use crate::engine::{Acceptance, Engine, Sequence};
use crate::metrics::Metrics;
use crate::record::{CommittedEnd, VIRTUAL_SHARDS, encode_step};
use crate::store::{Commit, Entry, LogPosition, Store, View, ViewWrite};

/// Users whose timers are run between two looks at the queue.
const TIMERS_PER_GROUP: usize = 256;
/// Profiles handed to the views with one commit, at least.
const SNAPSHOTS_PER_GROUP: usize = 64;
/// Profiles handed to the views per log entry: as many users are marked at
/// most, so that with more than one the views catch up under any load.
const SNAPSHOTS_PER_ENTRY: usize = 2;
/// A batch whose entries reach this size goes on in a further commit: one
/// event may set off the timers of a long silence.
const GROUP_BYTES: usize = 1 << 20;
/// Hot profiles looked at, whether they are idle, between two looks at the queue, at least.
const LOOKS_PER_TURN: usize = 64;
/// And per profile that became hot: with more than one the looks keep up under any load.
const LOOKS_PER_HOT: usize = 2;
/// Longest sleep of an idle worker; the wall clock may be set meanwhile.
const MAX_IDLE: Duration = Duration::from_millis(200);

/// Everything that can wake a worker, besides its own timers.
pub(super) enum Message {
    Batch(Batch),
    /// Replay mode: the clock has moved.
    Advance {
        to: Timestamp,
        done: oneshot::Sender<Result<(), Error>>,
    },
}

/// One request's inputs for one worker, in the request's order.
pub(super) struct Batch {
    pub items: Vec<Item>,
    pub score: Option<Arc<ScoreRequest>>,
    pub reply: Reply,
}

pub(super) struct Item {
    /// Place in the request.
    pub index: usize,
    pub virtual_shard: u16,
    pub user: UserId,
    pub input: Incoming,
    /// The arrival, in replay mode; else it is stamped here.
    pub now: Option<Timestamp>,
}

/// One worker.
pub(super) struct Shard {
    worker: u16,
    queue: WorkerQueue,
    plan: Arc<Plan>,
    models: Arc<ArcSwap<Models>>,
    profiles: Arc<Profiles>,
    store: Arc<Store>,
    clock: Arc<Clock>,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    committed: Arc<CommittedEnd>,
    snapshot_lag_bytes: u64,
    max_traits: usize,
    sequences: HashMap<u16, Sequence>,
    timers: Timers,
    dirty: Dirty,
    idle: Idle,
    shadows: Handover,
    /// Profiles that became hot in this turn.
    n_heated: usize,
    /// When this turn of the loop began.
    turn: Instant,
    /// The latest arrival stamped here.
    last_now: Timestamp,
    /// The position last reported to the store as the one to replay from.
    reported: LogPosition,
}

/// Users whose stored view is behind, longest behind first.
#[derive(Default)]
struct Dirty {
    /// With a log position before all that the view lacks.
    queue: VecDeque<(UserId, LogPosition)>,
    members: HashSet<UserId>,
}

/// What one commit will hold.
#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    /// Of the entries' payloads.
    bytes: usize,
    /// Firings with the index of the entry that holds them.
    firings: Vec<(usize, Firing)>,
}

impl Shard {
    pub fn new(
        worker: usize,
        queue: WorkerQueue,
        parts: &Parts,
        profiles: Arc<Profiles>,
        shadows: Handover,
    ) -> Self {
        Self {
            worker: worker as u16,
            queue,
            plan: parts.plan.clone(),
            models: parts.models.clone(),
            profiles,
            store: parts.store.clone(),
            clock: parts.clock.clone(),
            outbox: parts.outbox.clone(),
            metrics: parts.metrics.clone(),
            committed: parts.committed.clone(),
            snapshot_lag_bytes: parts.snapshot_lag_bytes,
            max_traits: parts.max_traits,
            sequences: HashMap::new(),
            timers: Timers::default(),
            dirty: Dirty::default(),
            idle: Idle::new(parts.pack_after),
            shadows,
            n_heated: 0,
            turn: Instant::now(),
            last_now: Timestamp::MIN,
            reported: LogPosition::START,
        }
    }

    pub fn set_sequence(&mut self, virtual_shard: u16, next: u64) {
        self.sequences.insert(virtual_shard, Sequence { virtual_shard, next });
    }

    pub fn set_timer(&mut self, user: &UserId, due: Option<Timestamp>) {
        self.timers.set(user, due);
    }

    pub fn set_dirty(&mut self, user: UserId, since: LogPosition) {
        self.dirty.mark(&user, since);
    }

    /// Watches a hot profile, to pack it once it is idle.
    pub fn watch(&mut self, user: UserId, now: Instant) {
        self.idle.watch(user, now);
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        loop {
            let message = match self.queue.receiver.recv_timeout(self.idle_time()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.turn = Instant::now();
            match message {
                Some(Message::Batch(batch)) => self.take_in(batch),
                Some(Message::Advance { to, done }) => {
                    while self.has_due(to) {
                        self.run_timers(to);
                    }
                    // Timers may be left if there was no room for them.
                    let run = self.check();
                    self.commit(Group::default(), move |result| {
                        // Whoever asked may have gone.
                        let _ = done.send(run.and(result));
                    });
                }
                None => self.report(),
            }
            if self.clock.mode() == ClockMode::Wall && self.has_due(self.clock.now()) {
                let now = self.stamp(None);
                self.run_timers(now);
            }
            self.pack_idle();
        }
        self.store_all_dirty();
    }

    /// Whether something may be taken in: what cannot be logged must not change the state.
    fn check(&self) -> Result<(), Error> {
        self.store.check().map_err(|error| Error::Store(Arc::new(error)))
    }

    /// How long to wait for a message.
    fn idle_time(&self) -> Duration {
        if self.idle.has_due(Instant::now()) {
            return Duration::ZERO;
        }
        match self.timers.next_due() {
            Some(due) if self.clock.mode() == ClockMode::Wall && self.store.check().is_ok() => {
                let wait_ms = due.since(self.clock.now()).as_millis();
                Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).min(MAX_IDLE)
            }
            _ => MAX_IDLE,
        }
    }

    /// Whether timers are due and may be run.
    fn has_due(&self, until: Timestamp) -> bool {
        self.timers.next_due().is_some_and(|due| due <= until) && self.store.check().is_ok()
    }

    /// Tells the store how far this worker's part of the log is in the views,
    /// so that an idle worker does not lengthen the next recovery.
    fn report(&mut self) {
        let behind = self.committed.get().get() - self.reported.get();
        if behind > self.snapshot_lag_bytes {
            self.commit(Group::default(), |_| {});
        }
    }

    fn take_in(&mut self, batch: Batch) {
        let n_events = batch.items.len();
        self.queue.waiting.fetch_sub(n_events, Ordering::AcqRel);
        let reply = batch.reply;
        if let Err(error) = self.check() {
            // The caller may have gone.
            let _ = reply.send(Err(error));
            return;
        }
        let models = self.models.load_full();
        let mut group = Group::default();
        let mut results = Vec::with_capacity(n_events);
        for item in batch.items {
            if group.bytes >= GROUP_BYTES {
                // Should it fail, so will the last one, which answers.
                self.commit(std::mem::take(&mut group), |_| {});
            }
            let timer = self.metrics.pipeline.apply_seconds.start_timer();
            let now = self.stamp(item.now);
            let index = item.index;
            results.push((index, self.apply(item, now, &models, batch.score.as_deref(), &mut group)));
            timer.observe_duration();
        }
        self.commit(group, move |result| {
            // The caller may have gone; the events are in all the same.
            let _ = reply.send(result.map(|()| results));
        });
    }

    /// An input's arrival: never before that of the input before it.
    fn stamp(&mut self, given: Option<Timestamp>) -> Timestamp {
        self.last_now = self.last_now.max(given.unwrap_or_else(|| self.clock.now()));
        self.last_now
    }

    fn apply(
        &mut self,
        item: Item,
        now: Timestamp,
        models: &Models,
        score: Option<&ScoreRequest>,
        group: &mut Group,
    ) -> Result<Submitted, Error> {
        let Item { virtual_shard, user, input, .. } = item;
        let engine = Engine { plan: &self.plan, models };
        let sequence = self.sequences.entry(virtual_shard).or_insert(Sequence { virtual_shard, next: 0 });
        let (max_traits, metrics) = (self.max_traits, &*self.metrics);
        let mut steps = Vec::new();
        let accept = |profile: &mut Profile| {
            // Recovery may have left a later arrival than a clock that was set back.
            let now = profile.last_arrival.map_or(now, |last| now.max(last.time));
            let acceptance = match input {
                Incoming::Event(event) => engine.accept(&user, profile, event, now, sequence, &mut steps),
                Incoming::Traits(traits) => {
                    if profile.traits.n_with(&traits) > max_traits {
                        return Err(Error::TooManyTraits { max: max_traits });
                    }
                    let input = Input::Traits(traits);
                    Acceptance::Accepted(engine.identify(&user, profile, input, now, sequence, &mut steps))
                }
                Incoming::Link { anonymous_id } => {
                    let input = Input::Link { anonymous_id };
                    Acceptance::Accepted(engine.identify(&user, profile, input, now, sequence, &mut steps))
                }
            };
            let wanted = match (acceptance, score) {
                (Acceptance::Accepted(as_of), Some(request)) => {
                    Some((request, as_of, read(engine.plan, profile, as_of, request, metrics)))
                }
                _ => None,
            };
            count_decisions(engine.plan, profile, &steps, metrics);
            metrics.triggers.armings_refused.inc_by(std::mem::take(&mut profile.armings_refused));
            let standing = Handover::standing(models, &steps, profile);
            Ok((acceptance, wanted, standing, profile.next_due()))
        };
        let (answer, before) = self.profiles.change(&user, self.turn, accept);
        self.watch_changed(&user, before);
        let (acceptance, wanted, standing, due) = answer?;
        self.timers.set(&user, due);
        let scored = wanted.map(|(request, as_of, features)| {
            scored(models, &user, request, (as_of, true), features, &self.metrics)
        });
        self.record(&user, virtual_shard, &steps, group);
        if let Some(standing) = standing {
            self.shadows.give(models, &user, steps, standing);
        }
        Ok(Submitted { acceptance, scored })
    }

    /// Runs the timers due by `until` in due order, up to a bound.
    fn run_timers(&mut self, until: Timestamp) {
        let models = self.models.load_full();
        let mut group = Group::default();
        for _ in 0..TIMERS_PER_GROUP {
            let Some((due, user)) = self.timers.first_due(until) else { break };
            let virtual_shard = user.virtual_shard(VIRTUAL_SHARDS);
            let sequence = self.sequences.entry(virtual_shard).or_insert(Sequence { virtual_shard, next: 0 });
            let mut steps = Vec::new();
            let ((next, standing), before) = self.profiles.change(&user, self.turn, |profile| {
                let engine = Engine { plan: &self.plan, models: &models };
                engine.run_due(&user, profile, due, sequence, &mut steps);
                count_decisions(&self.plan, profile, &steps, &self.metrics);
                (profile.next_due(), Handover::standing(&models, &steps, profile))
            });
            self.watch_changed(&user, before);
            self.timers.set(&user, next);
            self.metrics.pipeline.timers_run.inc();
            self.metrics.pipeline.timer_delay_seconds.observe(until.since(due).as_seconds());
            self.record(&user, virtual_shard, &steps, &mut group);
            if let Some(standing) = standing {
                self.shadows.give(&models, &user, steps, standing);
            }
        }
        if !group.entries.is_empty() {
            self.commit(group, |_| {});
        }
    }

    fn watch_changed(&mut self, user: &UserId, before: Before) {
        match before {
            Before::Hot | Before::Refused => return,
            Before::Packed => self.metrics.pipeline.profiles_unpacked.inc(),
            Before::Unknown => {}
        }
        self.n_heated += 1;
        self.watch(user.clone(), self.turn);
    }

    /// Packs profiles that have been idle for long enough, up to a bound.
    fn pack_idle(&mut self) {
        let n_looks = LOOKS_PER_TURN.max(LOOKS_PER_HOT * std::mem::take(&mut self.n_heated));
        for _ in 0..n_looks {
            let Some((user, looked)) = self.idle.pop_due(self.turn) else { break };
            if !self.profiles.pack(&user, looked) {
                self.idle.watch(user, self.turn);
            }
        }
    }

    fn count(&self, decision: &Decision) {
        for score in &decision.scores {
            self.metrics.models.decided[score.model].inc();
        }
        for &model in &decision.unscored {
            self.metrics.models.unscored[model].inc();
        }
        for outcome in &decision.outcomes {
            let trigger = self.plan.triggers.iter().position(|trigger| trigger.name == outcome.trigger);
            if let Some(trigger) = trigger {
                self.metrics.triggers.count(trigger, &outcome.action);
            }
        }
    }

    /// Puts the steps into the group as log entries.
    fn record(&mut self, user: &UserId, virtual_shard: u16, steps: &[Step], group: &mut Group) {
        if steps.is_empty() {
            return;
        }
        self.dirty.mark(user, self.committed.get());
        for step in steps {
            if let Some(decision) = &step.decision {
                self.count(decision);
                let entry = group.entries.len();
                group.firings.extend(decision.firings(user, &self.plan).map(|firing| (entry, firing)));
            }
            let payload = encode_step(&self.plan, user, step);
            group.bytes += payload.len();
            group.entries.push(Entry { virtual_shard, sequence: step.arrival.sequence, payload });
        }
    }

    /// Commits a group; `done` runs once it is durable, or has failed, after
    /// its firings have gone to the outbox.
    fn commit(&mut self, group: Group, done: impl FnOnce(Result<(), Error>) + Send + 'static) {
        let mut views = Vec::new();
        let lag = self.snapshot_lag_bytes;
        let committed = self.committed.get();
        let most = SNAPSHOTS_PER_GROUP.max(SNAPSHOTS_PER_ENTRY * group.entries.len());
        while views.len() < most
            && let Some(user) = self.dirty.pop_if(|since| committed.get().saturating_sub(since.get()) > lag)
        {
            views.extend(self.snapshot(&user));
        }
        self.send(group, views, done);
    }

    fn send(
        &mut self,
        group: Group,
        views: Vec<ViewWrite>,
        done: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) {
        let replay_from = self.dirty.oldest().unwrap_or_else(|| self.committed.get());
        self.reported = replay_from;
        let (outbox, mark) = (self.outbox.clone(), self.committed.clone());
        let store = Arc::downgrade(&self.store);
        let firings = group.firings;
        let commit = Commit {
            entries: group.entries,
            views,
            replay_from: Some((self.worker, replay_from)),
            done: Box::new(move |result| match result {
                Ok(committed) => {
                    let placed = |(entry, firing): (usize, Firing)| (committed.positions[entry], firing);
                    outbox.push(firings.into_iter().map(placed));
                    mark.set(committed.end);
                    done(Ok(()));
                }
                Err(error) => {
                    // The profiles have gone where the log did not follow:
                    // what they hold must not reach the views.
                    if let Some(store) = store.upgrade() {
                        store.stop(&format!("a commit failed: {error}"));
                    }
                    done(Err(Error::Store(Arc::new(error))));
                }
            }),
        };
        if let Err(rejected) = self.store.commit(commit) {
            (rejected.commit.done)(Err(rejected.error));
        }
    }

    fn snapshot(&self, user: &UserId) -> Option<ViewWrite> {
        let record = self.profiles.record(user)?;
        Some(ViewWrite { view: View::Profiles, key: user.key().as_bytes().to_vec(), value: Some(record) })
    }

    /// Hands every dirty profile to the views: the last thing a worker does.
    fn store_all_dirty(&mut self) {
        while self.dirty.oldest().is_some() {
            let mut views = Vec::new();
            while views.len() < SNAPSHOTS_PER_GROUP
                && let Some(user) = self.dirty.pop_if(|_| true)
            {
                views.extend(self.snapshot(&user));
            }
            self.send(Group::default(), views, |_| {});
        }
    }
}

/// Counts the vectors that steps of the profile, just made, were decided on.
fn count_decisions(plan: &Plan, profile: &Profile, steps: &[Step], metrics: &Metrics) {
    let n = steps.iter().filter(|step| step.decision.is_some()).count();
    if let Some(last) = profile.last_arrival {
        metrics.features.read(plan, profile, last.time, n);
    }
}

impl Dirty {
    fn mark(&mut self, user: &UserId, since: LogPosition) {
        if !self.members.contains(user) {
            self.members.insert(user.clone());
            self.queue.push_back((user.clone(), since));
        }
    }

    fn oldest(&self) -> Option<LogPosition> {
        self.queue.front().map(|(_, since)| *since)
    }

    fn pop_if(&mut self, test: impl FnOnce(LogPosition) -> bool) -> Option<UserId> {
        if !test(self.oldest()?) {
            return None;
        }
        let (user, _) = self.queue.pop_front()?;
        self.members.remove(&user);
        Some(user)
    }
}
