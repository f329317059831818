//! The thread that decides once more, and compares.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Case, Pair, Shadows};
use crate::engine::event::UserId;
use crate::engine::input::Step;
use crate::engine::model::Models;
use crate::engine::shadow::{Comparison, Shadowed, Shadowing};
use crate::metrics::Asked;

/// How long users are kept at most, after a shadow has gone and nothing is handed over.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    shadows: Arc<Shadows>,
    pub(super) receiver: Receiver<Case>,
    /// By index into the plan's models.
    running: Vec<Option<Running>>,
}

/// The comparison of one pair.
struct Running {
    pair: Pair,
    users: HashMap<UserId, Followed>,
    is_panicked: bool,
}

/// A user whose decisions are compared.
struct Followed {
    state: Shadowed,
    /// See [`Case::n_lost`].
    n_lost: u64,
}

impl Worker {
    pub fn new(shadows: Arc<Shadows>, receiver: Receiver<Case>) -> Self {
        let running = shadows.plan.models.iter().map(|_| None).collect();
        Self { shadows, receiver, running }
    }

    /// Works until the shards have gone, or nothing further is to be compared.
    pub fn run(mut self) {
        loop {
            let case = self.receiver.recv_timeout(IDLE);
            if self.shadows.is_closed.load(Ordering::Acquire) {
                return;
            }
            // Not kept: whoever lets a version go waits until nobody has it.
            let models = self.shadows.models.load_full();
            match case {
                Ok(case) => self.take(&case, &models),
                Err(RecvTimeoutError::Timeout) => self.follow_moves(&models),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    pub fn take(&mut self, case: &Case, models: &Models) {
        self.shadows.waiting.fetch_sub(case.steps.len(), Ordering::AcqRel);
        self.follow_moves(models);
        for (model, running) in self.running.iter_mut().enumerate() {
            if let (Some(running), Some(shadow)) = (running, models.shadow(model)) {
                let of = Shadowing { plan: &self.shadows.plan, model, shadow: &shadow.model };
                running.take(of, case, &self.shadows);
            }
        }
    }

    /// Begins the comparison of a pair that is new, and forgets one that is no more.
    pub(super) fn follow_moves(&mut self, models: &Models) {
        for (model, running) in self.running.iter_mut().enumerate() {
            let pair = Pair::of(models, model);
            if running.as_ref().map(|running| running.pair) == pair {
                continue;
            }
            let new = |pair| Running { pair, users: HashMap::new(), is_panicked: false };
            *running = pair.map(new);
            match pair {
                Some(pair) => drop(self.shadows.begin(&mut self.shadows.figures(model), model, pair)),
                None => self.shadows.metrics.shadows.users[model].set(0),
            }
        }
    }
}

impl Running {
    fn take(&mut self, of: Shadowing<'_>, case: &Case, shadows: &Shadows) {
        let metrics = &shadows.metrics.shadows;
        let version = |step: &Step| Some(step.decision.as_ref()?.score_of(of.model)?.version);
        let versions: Vec<u32> = case.steps.iter().filter_map(version).collect();
        let count = |asked| metrics.count(of.model, asked, versions.len());
        if versions.iter().any(|version| *version != self.pair.serving) {
            // What it decided is not followed, so that the user begins anew.
            self.users.remove(&case.user);
            count(Asked::OtherVersion);
        } else if self.is_panicked {
            count(Asked::Failed);
        } else {
            let known = self.users.remove(&case.user);
            if known.is_none() && self.users.len() >= shadows.max_users {
                count(Asked::BeyondUsers);
            } else {
                let known = known.filter(|followed| followed.n_lost == case.n_lost);
                match catch_unwind(AssertUnwindSafe(|| follow(of, case, known))) {
                    Ok((followed, compared)) => {
                        self.users.extend(followed.map(|followed| (case.user.clone(), followed)));
                        self.record(of, &compared, shadows);
                    }
                    Err(_) => {
                        self.is_panicked = true;
                        let (model, version) = (&of.shadow.name, self.pair.shadow);
                        tracing::error!(%model, version, "the shadow panicked, and is asked for nothing more");
                        self.users.clear();
                        count(Asked::Failed);
                        self.record(of, &[], shadows);
                    }
                }
            }
        }
        metrics.users[of.model].set(self.users.len() as i64);
    }

    fn record(&self, of: Shadowing<'_>, compared: &[Comparison], shadows: &Shadows) {
        let metrics = &shadows.metrics.shadows;
        let mut figures = shadows.figures(of.model);
        // A report may have begun the figures of the next pair already.
        let Some(figures) = figures.as_mut().filter(|figures| figures.pair == self.pair) else { return };
        figures.is_panicked = self.is_panicked;
        for Comparison { serving, shadow, firings } in compared {
            match shadow {
                Ok(shadow) => {
                    figures.differences.add(shadow - serving);
                    metrics.count(of.model, Asked::Compared, 1);
                }
                Err(_) => metrics.count(of.model, Asked::Failed, 1),
            }
            firings.iter().for_each(|(trigger, by)| metrics.fired(*trigger, *by));
        }
    }
}

/// Follows a case from where the user stood under the shadow, or else begins at
/// its last score; of those before it only the scores are compared. Gives where
/// the user stands now: nowhere, if there is nothing to begin at.
fn follow(of: Shadowing<'_>, case: &Case, known: Option<Followed>) -> (Option<Followed>, Vec<Comparison>) {
    let is_scored =
        |step: &Step| step.decision.as_ref().is_some_and(|decision| decision.score_of(of.model).is_some());
    let mut compared = Vec::new();
    let (mut followed, steps) = match (known, case.steps.iter().rposition(is_scored)) {
        (Some(known), _) => (known, &case.steps[..]),
        (None, None) => return (None, compared),
        (None, Some(last)) => {
            let (before, steps) = case.steps.split_at(last);
            for (serving, shadow) in before.iter().filter_map(|step| of.score(step.decision.as_ref()?)) {
                let shadow = shadow.map(|score| score.value());
                compared.push(Comparison { serving, shadow, firings: Vec::new() });
            }
            let state = Shadowed::new(&case.after);
            let first = &steps[..1];
            (Followed { state, n_lost: case.n_lost }, first)
        }
    };
    let state = &mut followed.state;
    compared.extend(steps.iter().filter_map(|step| state.follow(of, &case.user, step, &case.after)));
    let stands = state.has_begun(of);
    (stands.then_some(followed), compared)
}
