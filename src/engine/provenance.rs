//! What a feature's value is made of, for people who doubt it.
//!
//! The events of a window are told one by one, read from the very rows that
//! the value is. Where no rows are kept, what is kept in their place is told,
//! and a value that is not exact for it.

use super::event::Value;
use super::plan::{Aggregate, ColumnKind, FeatureKind, FeaturePlan, Plan, SeriesPlan, Window};
use super::profile::Profile;
use super::series::{AsOf, Edge, Reading, Series};
use super::session::Session;
use super::time::{Millis, Timestamp};

/// Events that are told of one window.
pub const MAX_EVENTS: usize = 100;
/// Sessions that are told of one count.
pub const MAX_SESSIONS: usize = 100;

/// What a feature's value is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Explanation {
    Window {
        /// None: of a session, and there is none.
        bounds: Option<Bounds>,
        n_events: u64,
        /// The latest of them, latest first, at most [`MAX_EVENTS`].
        latest: Vec<Occurrence>,
    },
    Lifetime(Totals),
    /// The sessions that are counted.
    Sessions {
        /// They have an event after this; none: those of all time.
        after: Option<Timestamp>,
        n_sessions: u64,
        /// The latest of them, latest first, at most [`MAX_SESSIONS`].
        latest: Vec<Session>,
    },
    /// A sum is kept, and nothing of the events in it.
    Decayed {
        half_life: Millis,
    },
    /// What an expression reads; indices into [`Plan::features`].
    Expression {
        reads: Vec<usize>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// Event times after the one, up to and including the other.
    Sliding {
        after: Timestamp,
        until: Timestamp,
    },
    Session(Session),
}

/// An event that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    pub time: Timestamp,
    /// The property; none if events are counted, or if only a hash of it is kept.
    pub value: Option<Value>,
}

/// What is kept of all events there ever were. What no feature reads is not
/// kept, and none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub n_events: u64,
    pub first: Option<Occurrence>,
    pub last: Option<Occurrence>,
    pub sum: Option<f64>,
    pub least: Option<f64>,
    pub greatest: Option<f64>,
    pub n_distinct: Option<u64>,
}

/// The series and the column that an aggregate is taken of.
#[derive(Clone, Copy)]
struct Source<'a> {
    series: &'a Series,
    plan: &'a SeriesPlan,
    column: Option<usize>,
}

impl Profile {
    /// What `feature` is made of as of `now`, which is not before the last arrival.
    pub fn explain(&self, plan: &Plan, feature: &FeaturePlan, now: Timestamp) -> Explanation {
        let (series, aggregate, window) = match feature.kind {
            FeatureKind::Aggregate { series, aggregate, window } => (series, aggregate, window),
            FeatureKind::Sessions { window } => return self.explain_sessions(window, now),
            FeatureKind::Expression(_) => return Explanation::Expression { reads: feature.reads.clone() },
        };
        let series_plan = &plan.series[series];
        if let Aggregate::Decayed { decay } = aggregate {
            return Explanation::Decayed { half_life: series_plan.decays[decay].half_life };
        }
        let column = column_of(series_plan, feature);
        let source =
            self.series[series].as_deref().map(|series| Source { series, plan: series_plan, column });
        if window == Window::Lifetime {
            return Explanation::Lifetime(source.map(Source::totals).unwrap_or_default());
        }
        let as_of = AsOf { now, sessions: &self.sessions, bounds: plan.bounds };
        let (n_events, latest) = source.map(|source| source.events(window, as_of)).unwrap_or_default();
        Explanation::Window { bounds: bounds(window, as_of), n_events, latest }
    }

    fn explain_sessions(&self, window: Option<Millis>, now: Timestamp) -> Explanation {
        let latest = self.sessions.within(window, now).rev().take(MAX_SESSIONS);
        Explanation::Sessions {
            after: window.map(|length| now.before(length)),
            n_sessions: self.sessions.count(window, now),
            latest: latest.copied().collect(),
        }
    }
}

impl Profile {
    /// Which features are estimates as of `now`, by index into
    /// [`Plan::features`]: those whose window reaches back to events or sessions
    /// that are not kept one by one any more, counts of too many distinct
    /// values, and the expressions that read such a feature.
    pub fn approximate(&self, plan: &Plan, now: Timestamp) -> Vec<bool> {
        let as_of = AsOf { now, sessions: &self.sessions, bounds: plan.bounds };
        let mut approximate: Vec<bool> = Vec::with_capacity(plan.features.len());
        for feature in &plan.features {
            approximate.push(match feature.kind {
                FeatureKind::Aggregate { series, aggregate, window } => {
                    let is_cut = match bounds(window, as_of) {
                        Some(Bounds::Session(session)) => self.sessions.is_cut(&session, plan.bounds),
                        Some(Bounds::Sliding { .. }) | None => false,
                    };
                    let series_plan = &plan.series[series];
                    is_cut
                        || self.series[series].as_deref().is_some_and(|series| {
                            let column = column_of(series_plan, feature);
                            series.is_approximate(series_plan, aggregate, column, window, as_of)
                        })
                }
                FeatureKind::Sessions { window } => self.sessions.is_approximate(window, now),
                // They come after what they read.
                FeatureKind::Expression(_) => feature.reads.iter().any(|&read| approximate[read]),
            });
        }
        approximate
    }

    /// Whether some feature may be an estimate: cheap, and false for nearly every user.
    pub fn may_be_approximate(&self, plan: &Plan, now: Timestamp) -> bool {
        self.series.iter().flatten().any(|series| series.may_be_approximate())
            || self.sessions.may_be_approximate(plan.bounds, plan.sessions, now)
    }
}

/// The column that an aggregate is taken of; none: of the events themselves.
fn column_of(plan: &SeriesPlan, feature: &FeaturePlan) -> Option<usize> {
    let mut reads = plan.reads.iter().flat_map(|reads| &reads.features);
    reads.find(|read| read.slot == feature.slot).and_then(|read| read.column)
}

fn bounds(window: Window, as_of: AsOf<'_>) -> Option<Bounds> {
    let AsOf { now, sessions, bounds } = as_of;
    match window {
        Window::Sliding(length) => Some(Bounds::Sliding { after: now.before(length), until: now }),
        Window::Session => sessions.current(bounds, now).copied().map(Bounds::Session),
        Window::PreviousSession => sessions.previous(bounds, now).copied().map(Bounds::Session),
        Window::Lifetime => None,
    }
}

impl Source<'_> {
    /// How many events of a window count, and the latest of them.
    fn events(self, window: Window, as_of: AsOf<'_>) -> (u64, Vec<Occurrence>) {
        let Self { series, plan, column } = self;
        let slice = series.window(window, as_of, None);
        let n = match series.read(plan, Aggregate::Count, column, window, slice.clone(), as_of.now) {
            Reading::Number(n) => n.round() as u64,
            Reading::Cell(_) => 0,
        };
        let present = series.present(plan, column, slice);
        let latest = present.take(MAX_EVENTS).map(|(time, cell)| self.occurrence(time, cell)).collect();
        (n, latest)
    }

    fn totals(self) -> Totals {
        let Self { series, plan, column } = self;
        let lifetime = plan.lifetime(column).map(|lifetime| &series.lifetimes()[lifetime]);
        let Some(lifetime) = lifetime.filter(|lifetime| lifetime.n > 0) else { return Totals::default() };
        let edge = |edge: &Edge| Some(self.occurrence(edge.time, edge.cell));
        let numbers = lifetime.numbers.as_deref();
        Totals {
            n_events: lifetime.n,
            first: edge(&lifetime.first),
            last: edge(&lifetime.last),
            sum: numbers.map(|numbers| numbers.sum.value()),
            least: numbers.map(|numbers| numbers.least),
            greatest: numbers.map(|numbers| numbers.greatest),
            n_distinct: lifetime.distinct.as_ref().map(|distinct| distinct.n()),
        }
    }

    fn occurrence(self, time: Timestamp, cell: u64) -> Occurrence {
        let value = self.column.and_then(|column| match self.plan.columns[column].kind {
            ColumnKind::Number => Some(Value::Number(f64::from_bits(cell))),
            ColumnKind::Key => self.series.text(cell).cloned().map(Value::Text),
        });
        Occurrence { time, value }
    }
}
