//! The pure core: events in, decisions out.
//!
//! No I/O, no clock, no spawn; time is an argument and effects are returned
//! values, so that serving, recovery, training and back-test run the same
//! code on the same bits.

#![deny(clippy::disallowed_methods)]

pub mod calendar;
pub mod calibration;
pub mod codec;
pub mod decision;
pub mod event;
pub mod exact_sum;
pub mod experiment;
pub mod explain;
pub mod expression;
pub mod firing;
pub mod forest;
pub mod input;
pub mod link;
pub mod lookup;
pub mod model;
pub mod plan;
pub mod profile;
pub mod provenance;
pub mod series;
pub mod session;
pub mod shadow;
pub mod time;
pub mod trigger;
pub mod vector;

use decision::{Action, Cause, Decision};
use event::{Event, EventUid, UserId};
use input::{Input, Step};
use model::Models;
use plan::{BoundEvent, Plan, Scope, TriggerKind};
use profile::Profile;
use series::Series;
use time::{Arrival, Millis, Timestamp};

/// The compiled definitions with the models that serve them: what decisions
/// are made with.
#[derive(Clone, Copy, Debug)]
pub struct Engine<'a> {
    pub plan: &'a Plan,
    pub models: &'a Models,
}

/// Where the arrivals of one virtual shard stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub virtual_shard: u16,
    /// The number the next input gets.
    pub next: u64,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    Accepted(Arrival),
    /// An event with this uid was accepted before: nothing changed.
    Duplicate,
    /// Older than the permitted lateness, by so much: refused.
    Late {
        by: Millis,
    },
    /// Further ahead of its arrival than the permitted skew, by so much: refused.
    Future {
        by: Millis,
    },
}

impl Engine<'_> {
    /// Takes in one event, joined to the lookups, that arrived at `now`: runs the user's timers due by
    /// then, folds, decides, folds the decision. What happened is pushed to
    /// `steps`, in order; a refused event changes nothing.
    ///
    /// `now` is not before the user's last arrival. An event without an id
    /// gets a uid minted from its arrival.
    pub fn accept(
        &self,
        user: &UserId,
        profile: &mut Profile,
        mut event: Event,
        now: Timestamp,
        sequence: &mut Sequence,
        steps: &mut Vec<Step>,
    ) -> Acceptance {
        let bounds = self.plan.bounds;
        if event.time > now.after(bounds.skew) {
            return Acceptance::Future { by: event.time.since(now.after(bounds.skew)) };
        }
        if event.time < now.before(bounds.lateness) {
            return Acceptance::Late { by: now.before(bounds.lateness).since(event.time) };
        }
        event.time = event.time.min(now);
        if event.id.is_some() && profile.seen.contains(event.uid, now, bounds.dedup_horizon()) {
            return Acceptance::Duplicate;
        }
        self.run_due(user, profile, now, sequence, steps);
        let arrival = sequence.stamp(now);
        if event.uid == EventUid::UNMINTED {
            event.uid = EventUid::minted(sequence.virtual_shard, arrival.sequence);
        }
        self.step(user, profile, Input::Event(event), arrival, steps);
        Acceptance::Accepted(arrival)
    }

    /// Takes in traits or a link that arrived at `now`, as [`Engine::accept`] does an event.
    pub fn identify(
        &self,
        user: &UserId,
        profile: &mut Profile,
        input: Input,
        now: Timestamp,
        sequence: &mut Sequence,
        steps: &mut Vec<Step>,
    ) -> Arrival {
        self.run_due(user, profile, now, sequence, steps);
        let arrival = sequence.stamp(now);
        self.step(user, profile, input, arrival, steps);
        arrival
    }

    /// Runs the user's timers due at or before `until`, each at its own due
    /// instant, so that a timer reached late decides as one reached in time.
    pub fn run_due(
        &self,
        user: &UserId,
        profile: &mut Profile,
        until: Timestamp,
        sequence: &mut Sequence,
        steps: &mut Vec<Step>,
    ) {
        while let Some(due) = profile.next_due()
            && due <= until
        {
            // A wait that ended before the user's last input is decided right after it.
            let at = profile.last_arrival.map_or(due, |last| due.max(last.time));
            self.step(user, profile, Input::Timers, sequence.stamp(at), steps);
        }
    }

    fn step(
        &self,
        user: &UserId,
        profile: &mut Profile,
        input: Input,
        arrival: Arrival,
        steps: &mut Vec<Step>,
    ) {
        fold_input(self.plan, user, profile, &input, arrival);
        let decision = self.decide(user, profile, &input, arrival);
        if let Some(decision) = &decision {
            fold_decision(self.plan, profile, decision);
        }
        steps.push(Step { arrival, input, decision });
    }

    /// Reads the profile and decides: vector, scores, trigger outcomes. Pure.
    /// None if no model is scored on the input and no trigger is due.
    pub fn decide(
        &self,
        user: &UserId,
        profile: &Profile,
        input: &Input,
        as_of: Arrival,
    ) -> Option<Decision> {
        let now = as_of.time;
        let kind = match input {
            Input::Event(event) => Some(self.plan.event_types.index_of(&event.kind)),
            Input::Timers => None,
            Input::Traits(_) | Input::Link { .. } => return None,
        };
        let is_scored = |model: usize| match kind {
            Some(kind) => self.plan.models[model].score_on.iter().any(|selector| selector.matches(kind)),
            None => profile.score_due(self.plan, model).is_some_and(|due| due <= now),
        };
        let scored: Vec<usize> = (0..self.plan.models.len()).filter(|&model| is_scored(model)).collect();
        let bound = match input {
            Input::Event(_) if scored.is_empty() => return None,
            Input::Event(event) => Some(self.plan.bind(event)),
            _ => None,
        };

        let vector = profile.read(self.plan, now);
        let mut known = profile.last_scores();
        let (mut scores, mut unscored) = (Vec::with_capacity(scored.len()), Vec::new());
        for index in scored {
            if let Some(model) = self.models.of(index, user) {
                match model.score(index, &vector) {
                    Ok(score) => {
                        known[index] = score.value();
                        scores.push(score);
                    }
                    Err(_) => unscored.push(index),
                }
            }
        }

        let scope = Scope {
            event: bound.as_ref(),
            vector: &vector,
            traits: profile.traits.bound(),
            scores: &known,
            now,
        };
        let context = trigger::Context { plan: self.plan, models: self.models, scope, fired_now: Vec::new() };
        let (cause, occurrence) = match input {
            Input::Event(event) => (Cause::Event(event.uid), event.uid),
            _ => (Cause::Timers, occurrence_of_timers(profile, now)),
        };
        let outcomes =
            trigger::decide_each(context, |index, trigger, context, outcomes| match &trigger.kind {
                TriggerKind::Score { model, .. } => {
                    if let Some(score) = scores.iter().find(|score| score.model == *model) {
                        outcomes.extend(trigger::decide_score(
                            trigger, index, profile, user, score, occurrence, context,
                        ));
                    }
                }
                TriggerKind::Absence { .. } if bound.is_none() => {
                    trigger::decide_absence(trigger, index, profile, user, now, context, outcomes);
                }
                TriggerKind::Absence { .. } => {}
            });
        Some(Decision { as_of, cause, vector, scores, unscored, outcomes })
    }

    /// The profile as it would be if `event` came at `now`.
    pub fn supposing(&self, user: &UserId, profile: &Profile, mut event: Event, now: Timestamp) -> Profile {
        let mut profile = profile.clone();
        let sequence = profile.last_arrival.map_or(0, |last| last.sequence.saturating_add(1));
        event.time = event.time.min(now);
        fold_input(self.plan, user, &mut profile, &Input::Event(event), Arrival { time: now, sequence });
        profile
    }
}

/// Folds a recorded step: what recovery and rebuilding of views do, never
/// deciding again.
pub fn fold(plan: &Plan, user: &UserId, profile: &mut Profile, step: &Step) {
    fold_input(plan, user, profile, &step.input, step.arrival);
    if let Some(decision) = &step.decision {
        fold_decision(plan, profile, decision);
    }
}

/// Changes the state by an input; decides nothing.
pub fn fold_input(plan: &Plan, user: &UserId, profile: &mut Profile, input: &Input, arrival: Arrival) {
    let now = arrival.time;
    match input {
        Input::Event(event) => fold_event(plan, profile, &plan.bind(event), now),
        Input::Traits(traits) => profile.traits.set(plan, traits),
        Input::Timers | Input::Link { .. } => {}
    }
    if profile.first_arrival.is_none() {
        profile.first_arrival = Some(now);
        profile.start_rescores(plan, user, now);
    }
    profile.last_arrival = Some(arrival);
}

/// Changes the state by what was decided: trigger states, timers, last scores.
pub fn fold_decision(plan: &Plan, profile: &mut Profile, decision: &Decision) {
    let now = decision.as_of.time;
    for score in &decision.scores {
        if let Some(state) = profile.models.get_mut(score.model) {
            state.last_score = score.value();
            state.version = score.version;
        }
    }
    if decision.cause == Cause::Timers {
        for (state, model) in profile.models.iter_mut().zip(&plan.models) {
            if let (Some(due), Some(every)) = (state.next_rescore, model.rescore_every)
                && due <= now
            {
                // At the end of time there is no next one.
                state.next_rescore = Some(due.after(every)).filter(|next| *next > due);
            }
        }
        profile.session_due = profile.session_due.filter(|due| *due > now);
    }
    for outcome in &decision.outcomes {
        let Some(index) = plan.triggers.iter().position(|trigger| trigger.name == outcome.trigger) else {
            continue;
        };
        trigger::fold_outcome(
            &mut profile.triggers[index],
            outcome,
            now,
            plan.triggers[index].kind.is_score(),
        );
        if outcome.action.is_firing() && !plan.caps.is_empty() {
            let longest = plan.caps.iter().map(|cap| cap.per).max().unwrap_or(Millis::ZERO);
            let is_within = |(_, time): &&(usize, Timestamp)| *time > now.before(longest);
            let firings = profile.firings.iter().filter(is_within).copied();
            profile.firings = firings.chain([(index, now)]).collect();
        }
    }
}

fn fold_event(plan: &Plan, profile: &mut Profile, event: &BoundEvent<'_>, now: Timestamp) {
    profile.n_events += 1;
    let ended = profile.sessions.last_end();
    profile.sessions.insert(event.event.time, plan.bounds, plan.sessions, now);
    if plan.scores_session_ends()
        && let Some(end) = profile.sessions.last_end()
        && ended != Some(end)
    {
        profile.session_due = Some(end.after(plan.bounds.session_gap).max(now));
    }
    if event.event.id.is_some() {
        profile.seen.insert(event.event.uid, now, plan.bounds.dedup_horizon());
    }
    let nothing = vector::Vector::default();
    let scope = Scope { event: Some(event), vector: &nothing, traits: &[], scores: &[], now };
    for (series, series_plan) in profile.series.iter_mut().zip(&plan.series) {
        if !series_plan.event.matches(event.kind)
            || series_plan.filter.as_ref().is_some_and(|filter| !filter.holds(&scope))
            || !series_plan.has_any_column(event)
        {
            continue;
        }
        let mut horizon = now.before(series_plan.longest_window);
        if series_plan.by_session {
            let reach = profile.sessions.reach(plan.bounds, now);
            horizon = horizon.min(reach.before(Millis::new(1)));
        }
        let series = series.get_or_insert_with(|| Box::new(Series::new(series_plan)));
        series.insert(series_plan, event, horizon, now);
    }
    for (state, trigger) in profile.triggers.iter_mut().zip(&plan.triggers) {
        let is_refused = trigger::fold_event(state, trigger, &scope, plan.bounds.lateness);
        profile.armings_refused += u64::from(is_refused);
    }
}

/// What tells apart the firings at timers, far from any hash or minted uid: the
/// session that has ended, of which several may be due at one instant, else the
/// due instant, which is distinct per user.
fn occurrence_of_timers(profile: &Profile, now: Timestamp) -> EventUid {
    let is_session_end = profile.session_due.is_some_and(|due| due <= now);
    let (kind, instant) = match profile.sessions.last_end().filter(|_| is_session_end) {
        Some(end) => (3_u128, end),
        None => (2, now),
    };
    EventUid(kind << 126 | instant.as_millis() as u64 as u128)
}

impl Sequence {
    fn stamp(&mut self, time: Timestamp) -> Arrival {
        let arrival = Arrival { time, sequence: self.next };
        self.next += 1;
        arrival
    }
}

impl Action {
    /// Fired or held out: what consumes cooldowns and caps.
    pub fn is_firing(&self) -> bool {
        matches!(self, Self::Fired { .. } | Self::HeldOut { .. })
    }
}

#[cfg(test)]
mod tests;
