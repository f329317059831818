//! Aggregates over every event there ever was.

mod distinct;

pub use distinct::Distinct;

use super::totals::{NO_KEY, NO_NUMBER};
use super::{Reading, mean_gap_seconds, seconds_between};
use crate::engine::exact_sum::ExactSum;
use crate::engine::plan::{Aggregate, ColumnKind, LifetimePlan};
use crate::engine::time::Timestamp;

/// What is kept of one column, or of the events themselves, for ever.
#[derive(Clone, Debug, Default)]
pub struct Lifetime {
    /// Events that have the property.
    pub n: u64,
    pub first: Edge,
    pub last: Edge,
    /// Of a column of numbers.
    pub numbers: Option<Box<Numbers>>,
    /// Kept only if a feature reads how many keys are distinct.
    pub distinct: Option<Box<Distinct>>,
}

/// The first or the last event, in canonical order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub time: Timestamp,
    pub uid: u64,
    pub cell: u64,
}

#[derive(Clone, Debug)]
pub struct Numbers {
    pub sum: ExactSum,
    pub squares: ExactSum,
    pub least: f64,
    pub greatest: f64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { sum: ExactSum::default(), squares: ExactSum::default(), least: f64::NAN, greatest: f64::NAN }
    }
}

impl Lifetime {
    /// The edge's cell is that of the column, or anything if the events
    /// themselves are counted. Distinct keys are exact up to `max_exact`.
    pub fn insert(&mut self, plan: &LifetimePlan, kind: Option<ColumnKind>, edge: Edge, max_exact: usize) {
        let is_missing = match kind {
            None => false,
            Some(ColumnKind::Number) => edge.cell == NO_NUMBER,
            Some(ColumnKind::Key) => edge.cell == NO_KEY,
        };
        if is_missing {
            return;
        }
        if self.n == 0 || edge < self.first {
            self.first = edge;
        }
        if self.n == 0 || edge > self.last {
            self.last = edge;
        }
        self.n += 1;
        match kind {
            Some(ColumnKind::Number) if plan.numbers => {
                self.numbers.get_or_insert_default().add(f64::from_bits(edge.cell), plan.squares);
            }
            Some(ColumnKind::Key) if plan.distinct => {
                self.distinct.get_or_insert_default().insert(edge.cell, max_exact);
            }
            _ => {}
        }
    }

    /// Whether its distinct keys are an estimate.
    pub fn is_approximate(&self) -> bool {
        self.distinct.as_ref().is_some_and(|distinct| distinct.is_approximate())
    }

    pub fn read(&self, aggregate: Aggregate, now: Timestamp) -> Reading {
        if self.n == 0 {
            return Reading::of_nothing(aggregate);
        }
        let n = self.n as f64;
        let numbers = |read: fn(&Numbers) -> f64| self.numbers.as_deref().map_or(f64::NAN, read);
        Reading::Number(match aggregate {
            Aggregate::Count => n,
            Aggregate::Sum => numbers(|numbers| numbers.sum.value()),
            Aggregate::Mean => numbers(|numbers| numbers.sum.value()) / n,
            Aggregate::Min => numbers(|numbers| numbers.least),
            Aggregate::Max => numbers(|numbers| numbers.greatest),
            Aggregate::Std => match &self.numbers {
                Some(numbers) => ExactSum::deviation(&numbers.sum, &numbers.squares, self.n),
                None => f64::NAN,
            },
            Aggregate::Distinct => self.distinct.as_ref().map_or(0.0, |distinct| distinct.n() as f64),
            Aggregate::First => return Reading::Cell(self.first.cell),
            Aggregate::Last => return Reading::Cell(self.last.cell),
            Aggregate::TimeSinceFirst => seconds_between(self.first.time, now),
            Aggregate::TimeSinceLast => seconds_between(self.last.time, now),
            Aggregate::Duration => seconds_between(self.first.time, self.last.time),
            Aggregate::MeanGap => mean_gap_seconds(self.first.time, self.last.time, self.n),
            // Not offered over a lifetime.
            Aggregate::MostFrequent | Aggregate::Rate | Aggregate::Trend | Aggregate::Decayed { .. } => {
                f64::NAN
            }
        })
    }
}

impl Numbers {
    fn add(&mut self, number: f64, with_squares: bool) {
        self.sum.add(number);
        if with_squares {
            self.squares.add_square(number);
        }
        self.least = self.least.min(number);
        self.greatest = self.greatest.max(number);
    }
}
