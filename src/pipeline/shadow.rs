//! Shadows: what was decided is decided once more by another version, on a
//! thread of its own, and the two are compared.
//!
//! A shard hands over the steps that it has recorded and goes on. What the queue
//! has no room for is dropped and counted, and nobody waits for the thread, not
//! even the server's end: a shadow that is slow, hangs or panics harms nobody.

mod differences;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, unbounded};

use super::Parts;
use crate::clock;
use crate::engine::event::UserId;
use crate::engine::input::Step;
use crate::engine::model::Models;
use crate::engine::plan::Plan;
use crate::engine::profile::Profile;
use crate::engine::time::Timestamp;
use crate::metrics::{Asked, Counts, Metrics};
use crate::priority;
use differences::Differences;
pub use differences::Summary;
use worker::Worker;

/// What is lost of a user is counted with others of the same hash, of so many: few
/// begin anew for another's sake, and counts are bounded.
const LOSSES: u16 = u16::MAX;

/// What the shards, the thread and those who ask for reports share.
pub(super) struct Shadows {
    plan: Arc<Plan>,
    models: Arc<ArcSwap<Models>>,
    metrics: Arc<Metrics>,
    /// Decisions handed over and not yet taken.
    waiting: AtomicUsize,
    max_waiting: usize,
    max_users: usize,
    /// Nothing further is compared.
    is_closed: AtomicBool,
    started: Timestamp,
    /// By index into [`Plan::models`].
    figures: Vec<Mutex<Option<Figures>>>,
}

/// A shard's way in.
pub(super) struct Handover {
    shadows: Arc<Shadows>,
    /// Bounded by `waiting`, in decisions rather than messages.
    sender: Sender<Case>,
    /// How often something was dropped, by one of [`LOSSES`] of a user.
    n_lost: HashMap<u16, u64>,
}

/// Steps of one user in a row, all with a decision.
struct Case {
    user: UserId,
    steps: Vec<Step>,
    /// Where the user stands after them.
    after: Profile,
    /// How often something of the user, or of one with the same hash, was dropped before.
    /// Where it differs from that of the case before, a step may be missing between the two.
    n_lost: u64,
}

/// The two versions that are compared, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    serving: u32,
    shadow: u32,
    since: Timestamp,
}

/// How a pair compares so far.
struct Figures {
    pair: Pair,
    differences: Differences,
    is_panicked: bool,
    /// What had been counted before.
    before: Counts,
}

/// How the shadow of a model compares with the version under `stable`.
#[derive(Clone, Debug)]
pub struct ShadowReport {
    pub serving: u32,
    pub shadow: u32,
    /// By the wall clock.
    pub since: Timestamp,
    /// Whose decisions are compared.
    pub n_users: u64,
    pub counts: Counts,
    /// None of no score.
    pub differences: Option<Summary>,
    /// Whether it panicked, and is asked for nothing more.
    pub is_panicked: bool,
}

impl Shadows {
    /// Starts the thread that compares.
    ///
    /// # Errors
    /// The operating system starts no further thread.
    pub fn start(parts: &Parts) -> io::Result<(Arc<Self>, Handover)> {
        let Parts { plan, models, metrics, shadow_queue, shadow_users, .. } = parts;
        let (shadows, handover, worker) =
            Self::new(plan.clone(), models.clone(), metrics.clone(), *shadow_queue, *shadow_users);
        // Nobody joins it: a shadow that hangs keeps no server from stopping.
        let run = move || {
            priority::give_way();
            worker.run();
        };
        std::thread::Builder::new().name("shadow".to_owned()).spawn(run)?;
        Ok((shadows, handover))
    }

    fn new(
        plan: Arc<Plan>,
        models: Arc<ArcSwap<Models>>,
        metrics: Arc<Metrics>,
        max_waiting: usize,
        max_users: usize,
    ) -> (Arc<Self>, Handover, Worker) {
        let shadows = Arc::new(Self {
            figures: plan.models.iter().map(|_| Mutex::default()).collect(),
            plan,
            models,
            metrics,
            waiting: AtomicUsize::new(0),
            max_waiting,
            max_users,
            is_closed: AtomicBool::new(false),
            started: clock::wall(),
        });
        let (sender, receiver) = unbounded();
        let worker = Worker::new(shadows.clone(), receiver);
        (shadows.clone(), Handover { shadows, sender, n_lost: HashMap::new() }, worker)
    }

    /// Ends the comparisons, after the one that is being made.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// How the model's shadow compares; none if one of the two versions is not in memory.
    pub fn report(&self, model: usize) -> Option<ShadowReport> {
        let pair = Pair::of(&self.models.load(), model)?;
        let mut figures = self.figures(model);
        let figures = self.begin(&mut figures, model, pair);
        let Pair { serving, shadow, since } = pair;
        Some(ShadowReport {
            serving,
            shadow,
            since: since.max(self.started),
            n_users: u64::try_from(self.metrics.shadows.users[model].get()).unwrap_or(0),
            counts: self.metrics.shadows.counts(model).since(&figures.before),
            differences: figures.differences.summary(),
            is_panicked: figures.is_panicked,
        })
    }

    fn figures(&self, model: usize) -> MutexGuard<'_, Option<Figures>> {
        // Each change is whole: a panic leaves nothing half-way.
        self.figures[model].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The figures of a pair, from nothing if they are of another.
    fn begin<'f>(&self, figures: &'f mut Option<Figures>, model: usize, pair: Pair) -> &'f mut Figures {
        if figures.as_ref().is_some_and(|figures| figures.pair != pair) {
            *figures = None;
        }
        figures.get_or_insert_with(|| {
            self.metrics.shadows.users[model].set(0);
            Figures {
                pair,
                differences: Differences::default(),
                is_panicked: false,
                before: self.metrics.shadows.counts(model),
            }
        })
    }
}

impl Pair {
    fn of(models: &Models, model: usize) -> Option<Self> {
        let (serving, shadow) = (models.get(model)?, models.shadow(model)?);
        Some(Self { serving: serving.version, shadow: shadow.model.version, since: shadow.since })
    }
}

impl Handover {
    /// For another shard.
    pub fn another(&self) -> Self {
        let (shadows, sender) = (self.shadows.clone(), self.sender.clone());
        Self { shadows, sender, n_lost: HashMap::new() }
    }

    /// Where the user stands after the steps, if these are to be handed over.
    pub fn standing(models: &Models, steps: &[Step], profile: &Profile) -> Option<Profile> {
        let is_wanted = !models.shadows.is_empty() && steps.iter().any(|step| step.decision.is_some());
        is_wanted.then(|| profile.standing())
    }

    /// Hands over steps of a user, or drops and counts them: never waits.
    pub fn give(&mut self, models: &Models, user: &UserId, mut steps: Vec<Step>, after: Profile) {
        steps.retain(|step| step.decision.is_some());
        let n = steps.len();
        let losses = user.virtual_shard(LOSSES);
        let n_lost = self.n_lost.get(&losses).copied().unwrap_or(0);
        let case = Case { user: user.clone(), steps, after, n_lost };
        let Shadows { waiting, max_waiting, metrics, .. } = &*self.shadows;
        let rejected = if waiting.fetch_add(n, Ordering::AcqRel) + n > *max_waiting {
            Some(case)
        } else {
            self.sender.send(case).err().map(|rejected| rejected.0)
        };
        let Some(case) = rejected else { return };
        waiting.fetch_sub(n, Ordering::AcqRel);
        self.n_lost.insert(losses, n_lost + 1);
        let decisions = case.steps.iter().filter_map(|step| step.decision.as_ref());
        for score in decisions.flat_map(|decision| &decision.scores) {
            if models.shadow(score.model).is_some() {
                metrics.shadows.count(score.model, Asked::Dropped, 1);
            }
        }
    }
}
