//! From a request to the shards and back.
//!
//! Every virtual shard has one writer: a worker thread that owns it. Requests
//! are split by user over the workers' bounded queues and answered after the
//! commit; reads go straight to the map of profiles and wait for no commit.

mod idle;
mod profiles;
mod query;
mod recovery;
mod router;
mod shadow;
mod shard;
mod timers;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::delivery::Outbox;
use crate::engine::Acceptance;
use crate::engine::event::{Event, UserId, Value};
use crate::engine::lookup::{Join, Lookup};
use crate::engine::model::{Model, Models, Reason, Score, Unscored};
use crate::engine::plan::Plan;
use crate::engine::profile::Profile;
use crate::engine::time::{Arrival, Millis, Timestamp};
use crate::engine::vector::Vector;
use crate::metrics::Metrics;
use crate::record::{CommittedEnd, VIRTUAL_SHARDS};
use crate::store::{self, Store};

pub use profiles::{Count, Profiles};
pub use recovery::{Error as RecoveryError, Recovered, recorded_rollouts, recover};
use router::Router;
use shadow::Shadows;
pub use shadow::{ShadowReport, Summary};
use shard::Shard;

/// What the pipeline is built from.
pub struct Parts {
    pub plan: Arc<Plan>,
    pub models: Arc<ArcSwap<Models>>,
    pub lookups: Arc<ArcSwap<Vec<Lookup>>>,
    pub store: Arc<Store>,
    pub clock: Arc<Clock>,
    pub outbox: Arc<Outbox>,
    pub metrics: Arc<Metrics>,
    pub committed: Arc<CommittedEnd>,
    pub workers: usize,
    /// Events that may wait for one worker.
    pub queue_events: usize,
    /// How far in log bytes a profile's stored view may lag behind.
    pub snapshot_lag_bytes: u64,
    /// Profiles unused for this long are packed.
    pub pack_after: Duration,
    /// Traits of one profile.
    pub max_traits: usize,
    /// How far one request may move a replay clock on.
    pub replay_step: Millis,
    /// Decisions that may wait to be compared with those of a shadow.
    pub shadow_queue: usize,
    /// Users whose decisions are compared, of each model.
    pub shadow_users: usize,
}

/// The running workers.
pub struct Pipeline {
    handle: PipelineHandle,
    workers: Vec<JoinHandle<()>>,
}

/// A cheap way in, for any number of callers.
#[derive(Clone)]
pub struct PipelineHandle {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Arc<Plan>,
    models: Arc<ArcSwap<Models>>,
    lookups: Arc<ArcSwap<Vec<Lookup>>>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    profiles: Arc<Profiles>,
    /// What a user never seen looks like.
    unknown: Profile,
    router: Router,
    shadows: Arc<Shadows>,
}

/// One input on its way in.
#[derive(Clone, Debug)]
pub struct Submission {
    pub user: UserId,
    pub input: Incoming,
    /// When it arrived, in replay mode; there, none is the event's own time.
    pub arrival_time: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub enum Incoming {
    Event(Event),
    Traits(Vec<(Box<str>, Value)>),
    Link { anonymous_id: Box<str> },
}

/// Which scores to return with an answer.
#[derive(Clone, Debug, Default)]
pub struct ScoreRequest {
    /// Indices into [`Plan::models`].
    pub models: Vec<usize>,
    /// Contributions to return with each score.
    pub n_reasons: usize,
    /// Whether to return the features.
    pub features: bool,
    /// Whether the caller's thread may wait for others to be scored with.
    pub may_wait: bool,
}

/// What became of a submission, once it is durable.
#[derive(Debug)]
pub struct Submitted {
    pub acceptance: Acceptance,
    /// The scores asked for; none for an event that was refused.
    pub scored: Option<Scored>,
}

/// Scores of one user as of one instant.
#[derive(Debug)]
pub struct Scored {
    pub as_of: Arrival,
    /// False for a user never seen.
    pub known: bool,
    /// With the artifact that scored, and its reasons.
    pub scores: Vec<(Arc<Model>, Score, Vec<Reason>)>,
    /// Models asked for that have no artifact to serve them.
    pub unserved: Vec<usize>,
    /// Models asked for whose artifact gives no score for these features.
    pub unscored: Vec<(Arc<Model>, Unscored)>,
    /// Present if they were asked for.
    pub features: Option<Features>,
}

/// The features of one user as read.
#[derive(Debug)]
pub struct Features {
    pub vector: Vector,
    /// Which are estimates, by index into [`Plan::features`]; empty unless
    /// features were asked for.
    pub approximate: Vec<bool>,
}

/// One user's state as of one instant.
#[derive(Debug)]
pub struct ProfileView {
    pub as_of: Arrival,
    pub profile: Profile,
    pub vector: Vector,
}

/// Why an input or a request was not taken in; it changed nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("the queue of {queue_events} events is full")]
    Overloaded { queue_events: usize },
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error("the profile would have more than {max} traits")]
    TooManyTraits { max: usize },
    #[error("{to} is more than {max} after {from}, where the replay clock stands; see `limits.replay_step`")]
    ReplayStepTooLarge { from: Timestamp, to: Timestamp, max: Millis },
    #[error("the store takes no writes: {0}")]
    Store(Arc<store::Error>),
}

impl Error {
    /// Whether another input might have been taken in.
    pub const fn is_of_the_input(&self) -> bool {
        matches!(self, Self::TooManyTraits { .. } | Self::ReplayStepTooLarge { .. })
    }
}

impl Pipeline {
    /// Starts the workers on what recovery left.
    ///
    /// # Errors
    /// The operating system starts no further thread.
    pub fn start(parts: Parts, recovered: Recovered) -> io::Result<Self> {
        let profiles = Arc::new(recovered.profiles);
        let (router, queues) = Router::new(&parts);
        let (shadows, handover) = Shadows::start(&parts)?;
        let mut shards: Vec<Shard> = queues
            .into_iter()
            .enumerate()
            .map(|(worker, queue)| Shard::new(worker, queue, &parts, profiles.clone(), handover.another()))
            .collect();
        for (virtual_shard, next) in recovered.sequences {
            shards[router.worker_of(virtual_shard)].set_sequence(virtual_shard, next);
        }
        let owner_of = |user: &UserId| router.worker_of(user.virtual_shard(VIRTUAL_SHARDS));
        for (user, due) in recovered.packed_due {
            shards[owner_of(&user)].set_timer(&user, Some(due));
        }
        let now = Instant::now();
        profiles.for_each_hot(|user, profile| {
            let shard = &mut shards[owner_of(user)];
            shard.set_timer(user, profile.next_due());
            shard.watch(user.clone(), now);
        });
        for (user, position) in recovered.dirty {
            shards[owner_of(&user)].set_dirty(user, position);
        }
        let workers = shards
            .into_iter()
            .enumerate()
            .map(|(worker, shard)| {
                std::thread::Builder::new().name(format!("shard-{worker}")).spawn(move || shard.run())
            })
            .collect::<io::Result<_>>()?;
        let shared = Shared {
            unknown: Profile::new(&parts.plan),
            plan: parts.plan,
            models: parts.models,
            lookups: parts.lookups,
            clock: parts.clock,
            metrics: parts.metrics,
            profiles,
            router,
            shadows,
        };
        Ok(Self { handle: PipelineHandle { shared: Arc::new(shared) }, workers })
    }

    pub fn handle(&self) -> PipelineHandle {
        self.handle.clone()
    }

    /// Takes nothing further in, finishes what is queued, hands the dirty
    /// profiles to the views and joins the workers.
    pub fn drain(self) {
        self.handle.shared.router.close();
        for worker in self.workers {
            // A worker that panicked has been reported by the panic hook.
            let _ = worker.join();
        }
        self.handle.shared.shadows.close();
    }
}

impl PipelineHandle {
    /// Takes in a batch; the results stand in its order, and come after their
    /// commit. One input that is refused fails no other.
    ///
    /// In replay mode the clock moves to the latest arrival of the batch, then
    /// on to `clock_time`, and the answer comes after every timer due by then
    /// has been run. Nothing moves the wall clock.
    ///
    /// # Errors
    /// `clock_time` is too far ahead, or not all timers could be run.
    pub async fn submit(
        &self,
        mut submissions: Vec<Submission>,
        score: Option<ScoreRequest>,
        clock_time: Option<Timestamp>,
    ) -> Result<Vec<Result<Submitted, Error>>, Error> {
        self.join(submissions.iter_mut().filter_map(|submission| match &mut submission.input {
            Incoming::Event(event) => Some(event),
            Incoming::Traits(_) | Incoming::Link { .. } => None,
        }));
        self.shared.router.submit(submissions, score, clock_time, &self.shared.clock).await
    }

    /// Joins the tables, as they are now, to events.
    fn join<'e>(&self, events: impl IntoIterator<Item = &'e mut Event>) {
        let lookups = self.shared.lookups.load();
        for event in events {
            for (index, lookup) in lookups.iter().enumerate() {
                if lookup.join(event) == Join::Missed {
                    self.shared.metrics.lookups.missed[index].inc();
                }
            }
        }
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.shared.plan
    }

    pub fn models(&self) -> &ArcSwap<Models> {
        &self.shared.models
    }

    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// How the shadow of a model, by index into [`Plan::models`], compares; none if
    /// it or the version under `stable` is not in memory.
    pub fn shadow_report(&self, model: usize) -> Option<ShadowReport> {
        self.shared.shadows.report(model)
    }

    /// By worker: events that wait.
    pub fn queued_events(&self) -> impl Iterator<Item = usize> + '_ {
        self.shared.router.queued_events()
    }

    pub fn count_profiles(&self) -> Count {
        self.shared.profiles.count()
    }
}

/// The results of one batch's part that went to one worker, by their index in
/// the batch; or why none of them is durable.
type Answer = Result<Vec<(usize, Result<Submitted, Error>)>, Error>;
type Reply = oneshot::Sender<Answer>;
