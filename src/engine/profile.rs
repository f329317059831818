//! All state of one user.

mod seen;
mod traits;

use super::event::UserId;
use super::expression::Expression;
use super::plan::{AggregateRead, FeatureKind, Plan, Scope, SeriesPlan, TriggerKind, Window};
use super::series::{AsOf, Reading, Series};
use super::session::Sessions;
use super::time::{Arrival, Millis, Timestamp};
use super::trigger::TriggerState;
use super::vector::{Slot, Vector};
pub use seen::SeenUids;
pub use traits::Traits;

/// All state of one user, shaped by a [`Plan`]: the lists run parallel to the
/// plan's.
#[derive(Clone, Debug)]
pub struct Profile {
    /// By series of the plan; none until an event of it came.
    pub series: Box<[Option<Box<Series>>]>,
    pub sessions: Sessions,
    /// When the latest session ends, if that is still to be scored.
    pub session_due: Option<Timestamp>,
    pub traits: Traits,
    pub models: Box<[ModelState]>,
    pub triggers: Box<[TriggerState]>,
    /// Firings (index of the trigger, as-of) within the longest cap, in order.
    pub firings: Box<[(usize, Timestamp)]>,
    pub seen: SeenUids,
    /// Arrival of the first input.
    pub first_arrival: Option<Timestamp>,
    /// Arrival of the last input folded; none if there was none.
    pub last_arrival: Option<Arrival>,
    pub n_events: u64,
    /// Events that did not arm a trigger for want of room, since this was last
    /// taken: for the metrics, not part of the state.
    pub armings_refused: u64,
}

/// One model's state for one user.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelState {
    /// The last score's first output; NaN if there is none.
    pub last_score: f64,
    /// The version that said it; 0 if there is none.
    pub version: u32,
    pub next_rescore: Option<Timestamp>,
}

impl Profile {
    pub fn new(plan: &Plan) -> Self {
        Self {
            series: vec![None; plan.series.len()].into(),
            sessions: Sessions::default(),
            session_due: None,
            traits: Traits::default(),
            models: vec![
                ModelState { last_score: f64::NAN, version: 0, next_rescore: None };
                plan.models.len()
            ]
            .into(),
            triggers: vec![TriggerState::default(); plan.triggers.len()].into(),
            firings: Box::default(),
            seen: SeenUids::default(),
            first_arrival: None,
            last_arrival: None,
            n_events: 0,
            armings_refused: 0,
        }
    }

    /// What decisions on scores read of it beside the vector: without what
    /// features are read from, and without waits.
    pub fn standing(&self) -> Self {
        let standing = |trigger: &TriggerState| TriggerState {
            fired: trigger.fired,
            suppressed_by: trigger.suppressed_by,
            last_fired: trigger.last_fired,
            held_out: trigger.held_out,
            armings: Vec::new(),
        };
        Self {
            series: Box::default(),
            sessions: Sessions::default(),
            session_due: None,
            traits: self.traits.bound_only(),
            models: self.models.clone(),
            triggers: self.triggers.iter().map(standing).collect(),
            firings: self.firings.clone(),
            seen: SeenUids::default(),
            first_arrival: self.first_arrival,
            last_arrival: self.last_arrival,
            n_events: self.n_events,
            armings_refused: 0,
        }
    }

    /// Every feature as of `now`, which is not before the last arrival.
    pub fn read(&self, plan: &Plan, now: Timestamp) -> Vector {
        debug_assert!(self.last_arrival.is_none_or(|last| last.time <= now));
        let mut vector = plan.empty_vector();
        let as_of = AsOf { now, sessions: &self.sessions, bounds: plan.bounds };
        // All of their memory is asked for at once, instead of series by series.
        let touched = self.series.iter().flatten().fold(0, |all, series| all ^ series.touch());
        std::hint::black_box(touched);
        for (series, series_plan) in self.series.iter().zip(&plan.series) {
            read_series(series.as_deref(), series_plan, as_of, &mut vector);
        }
        let scores = self.last_scores();
        for feature in &plan.features {
            match &feature.kind {
                FeatureKind::Aggregate { .. } => {}
                FeatureKind::Sessions { window } => {
                    if let Slot::Number(slot) = feature.slot {
                        vector.numbers[slot] = self.sessions.count(*window, now) as f64;
                    }
                }
                FeatureKind::Expression(expression) => {
                    let traits = self.traits.bound();
                    let scope = Scope { event: None, vector: &vector, traits, scores: &scores, now };
                    match (feature.slot, expression) {
                        (Slot::Number(slot), Expression::Number(number)) => {
                            vector.numbers[slot] = number.eval(&scope);
                        }
                        (Slot::Number(slot), Expression::Bool(bool)) => {
                            vector.numbers[slot] =
                                bool.eval(&scope).map_or(f64::NAN, |bool| f64::from(u8::from(bool)));
                        }
                        (Slot::Text(slot), Expression::Text(text)) => {
                            vector.texts[slot] = text.eval(&scope).cloned();
                        }
                        (slot, expression) => debug_assert!(false, "{slot:?} does not take {expression:?}"),
                    }
                }
            }
        }
        vector
    }

    /// The models' last scores, by index; NaN where there is none.
    pub fn last_scores(&self) -> Vec<f64> {
        self.models.iter().map(|model| model.last_score).collect()
    }

    /// The earliest instant at which a timer of this user is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let rescores = self.models.iter().filter_map(|model| model.next_rescore);
        let armings =
            self.triggers.iter().flat_map(|trigger| &trigger.armings).filter_map(|arming| arming.due);
        rescores.chain(armings).chain(self.session_due).min()
    }

    /// The earliest instant at which a timer makes the model score.
    pub fn score_due(&self, plan: &Plan, model: usize) -> Option<Timestamp> {
        let at_session_end = self.session_due.filter(|_| plan.models[model].score_on_session_end);
        self.models[model].next_rescore.into_iter().chain(at_session_end).min()
    }

    /// Starts the models' re-score timers at the user's first input, spread
    /// over the interval by a hash of (user, model).
    pub(super) fn start_rescores(&mut self, plan: &Plan, user: &UserId, now: Timestamp) {
        for (state, model) in self.models.iter_mut().zip(&plan.models) {
            if let (Some(every), None) = (model.rescore_every, state.next_rescore) {
                let salted = format!("rescore\0{}\0{}", model.name, user.key());
                let hash = xxhash_rust::xxh3::xxh3_64(salted.as_bytes());
                let offset = (hash % every.as_millis().max(1) as u64) as i64;
                state.next_rescore = Some(now.after(Millis::new(offset + 1)));
            }
        }
    }

    /// Whether some absence trigger or model of the plan has a timer due at or before `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_due().is_some_and(|due| due <= now)
    }
}

/// Reads every feature of a series into its slot.
fn read_series(series: Option<&Series>, plan: &SeriesPlan, as_of: AsOf<'_>, vector: &mut Vector) {
    let mut shorter = None;
    for reads in &plan.reads {
        let slice = series.map(|series| (series, series.window(reads.window, as_of, shorter.as_ref())));
        for read in &reads.features {
            let reading = match &slice {
                Some((series, slice)) => {
                    series.read(plan, read.aggregate, read.column, reads.window, slice.clone(), as_of.now)
                }
                None => Reading::of_nothing(read.aggregate),
            };
            write_reading(series, read, reading, vector);
        }
        shorter = slice.map(|(_, slice)| slice).filter(|_| matches!(reads.window, Window::Sliding(_)));
    }
}

fn write_reading(series: Option<&Series>, read: &AggregateRead, reading: Reading, vector: &mut Vector) {
    match (read.slot, reading) {
        (Slot::Number(slot), Reading::Number(number)) => vector.numbers[slot] = canonical(number),
        (Slot::Number(slot), Reading::Cell(cell)) => {
            vector.numbers[slot] = canonical(f64::from_bits(cell));
        }
        (Slot::Text(slot), Reading::Cell(cell)) => {
            vector.texts[slot] = series.and_then(|series| series.text(cell)).cloned();
        }
        (Slot::Text(_), Reading::Number(_)) => {}
    }
}

/// With one NaN and one zero: vectors are compared bit for bit. What is not finite is missing.
fn canonical(number: f64) -> f64 {
    if number.is_finite() { number + 0.0 } else { f64::NAN }
}

impl TriggerKind {
    pub fn is_score(&self) -> bool {
        matches!(self, Self::Score { .. })
    }
}
