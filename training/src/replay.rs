//! History through the engine, as it would have been served.

use anyhow::Result;
use tipoff::engine::event::{Event, UserId};
use tipoff::engine::input::{Input, Step};
use tipoff::engine::model::Models;
use tipoff::engine::plan::Plan;
use tipoff::engine::profile::Profile;
use tipoff::engine::time::Timestamp;
use tipoff::engine::{Acceptance, Engine, Sequence};

/// Events that the engine did not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub duplicate: u64,
    pub late: u64,
    pub future: u64,
}

/// One step of one user, and the profile right after it.
pub struct Moment<'a> {
    pub step: &'a Step,
    pub profile: &'a Profile,
    /// By index into [`Plan::models`]: whether the model is scored at this step.
    pub scored: &'a [bool],
}

/// Replays one user's events (in the order of arrival, with their arrivals)
/// and then the timers due by `end`. Lookups are joined as their tables are now.
///
/// No model is loaded: a decision has the vector that a model would be given.
pub fn replay(
    plan: &Plan,
    user: &UserId,
    events: Vec<(Timestamp, Event)>,
    end: Timestamp,
    mut visit: impl FnMut(Moment<'_>) -> Result<()>,
) -> Result<Refused> {
    let models = Models::default();
    let mut replay = Replay {
        engine: Engine { plan, models: &models },
        user,
        profile: Profile::new(plan),
        // Uids are the file's, and arrivals of one user only compare among themselves.
        sequence: Sequence { virtual_shard: 0, next: 0 },
        steps: Vec::new(),
        refused: Refused::default(),
    };
    for (arrival, event) in events {
        replay.run_timers(arrival, &mut visit)?;
        replay.accept(arrival, event, &mut visit)?;
    }
    replay.run_timers(end, &mut visit)?;
    Ok(replay.refused)
}

struct Replay<'a> {
    engine: Engine<'a>,
    user: &'a UserId,
    profile: Profile,
    sequence: Sequence,
    /// Emptied after every step.
    steps: Vec<Step>,
    refused: Refused,
}

impl Replay<'_> {
    /// One due instant at a time, so that each step can be seen with its profile.
    fn run_timers(
        &mut self,
        until: Timestamp,
        visit: &mut impl FnMut(Moment<'_>) -> Result<()>,
    ) -> Result<()> {
        while let Some(due) = self.profile.next_due().filter(|due| *due <= until) {
            let plan = self.engine.plan;
            let at = self.profile.last_arrival.map_or(due, |last| due.max(last.time));
            let is_due = |model| self.profile.score_due(plan, model).is_some_and(|due| due <= at);
            let scored: Vec<bool> = (0..plan.models.len()).map(is_due).collect();
            self.engine.run_due(self.user, &mut self.profile, due, &mut self.sequence, &mut self.steps);
            for step in self.steps.drain(..) {
                visit(Moment { step: &step, profile: &self.profile, scored: &scored })?;
            }
        }
        Ok(())
    }

    fn accept(
        &mut self,
        arrival: Timestamp,
        mut event: Event,
        visit: &mut impl FnMut(Moment<'_>) -> Result<()>,
    ) -> Result<()> {
        for lookup in &self.engine.plan.lookups {
            lookup.join(&mut event);
        }
        let accepted = self.engine.accept(
            self.user,
            &mut self.profile,
            event,
            arrival,
            &mut self.sequence,
            &mut self.steps,
        );
        match accepted {
            Acceptance::Accepted(_) => {}
            Acceptance::Duplicate => self.refused.duplicate += 1,
            Acceptance::Late { .. } => self.refused.late += 1,
            Acceptance::Future { .. } => self.refused.future += 1,
        }
        for step in self.steps.drain(..) {
            let scored: Vec<bool> = match &step.input {
                Input::Event(event) => {
                    let bound = self.engine.plan.bind(event);
                    let is_scored = |model: &tipoff::engine::plan::ModelPlan| {
                        model.score_on.iter().any(|selector| selector.matches(bound.kind))
                    };
                    self.engine.plan.models.iter().map(is_scored).collect()
                }
                _ => vec![false; self.engine.plan.models.len()],
            };
            visit(Moment { step: &step, profile: &self.profile, scored: &scored })?;
        }
        Ok(())
    }
}

impl Refused {
    pub fn add(&mut self, other: Self) {
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.future += other.future;
    }
}
