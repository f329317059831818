//! What is kept of the events of one type and filter, and what reads it.

use std::sync::Arc;

use super::{BoundEvent, EventSelector};
use crate::engine::expression::BoolExpr;
use crate::engine::series::NO_KEY;
use crate::engine::time::Millis;
use crate::engine::vector::Slot;

/// Rows of one user and series that are kept one by one, and sessions, unless the definitions say otherwise.
pub const EXACT_ROWS: usize = 1_024;

/// The events of one type that pass one filter, shared by every window over them.
#[derive(Debug)]
pub struct SeriesPlan {
    /// What identifies the series across versions of the definitions.
    pub digest: Arc<str>,
    pub event: EventSelector,
    pub filter: Option<BoolExpr>,
    /// Whether some feature reads which event of one instant is the later one.
    pub is_ordered: bool,
    /// Rows of one user that are kept one by one; older ones become tiles.
    pub exact_rows: usize,
    /// Whether some feature reads the events themselves, whatever they carry.
    pub of_events: bool,
    /// The properties that some feature reads.
    pub columns: Vec<ColumnPlan>,
    /// The longest sliding window that reads the rows.
    pub longest_window: Millis,
    /// Whether some feature reads the rows of sessions.
    pub by_session: bool,
    pub lifetimes: Vec<LifetimePlan>,
    pub decays: Vec<DecayPlan>,
    /// The features over the series, by window: sliding ones first, from the shortest to the longest.
    pub reads: Vec<WindowReads>,
}

/// One property of a series' events, in the form that its features read.
#[derive(Debug)]
pub struct ColumnPlan {
    /// Index into [`Plan::properties`].
    pub property: usize,
    pub kind: ColumnKind,
    /// Whether some feature reads the standard deviation of a window.
    pub squares: bool,
    /// Whether some feature reads the least or the greatest number of a window.
    pub extremes: bool,
    /// Whether some feature reads the number of distinct keys of a window.
    pub distinct: bool,
    /// Whether some feature reads the text behind a key.
    pub texts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// The property as a number; missing if it is none.
    Number,
    /// A hash of the property's value, of whatever type.
    Key,
}

/// Aggregates over all time, of one column or of the events themselves.
#[derive(Debug)]
pub struct LifetimePlan {
    pub column: Option<usize>,
    /// Whether some feature reads sums or extremes.
    pub numbers: bool,
    pub squares: bool,
    pub distinct: bool,
}

/// A decayed count, or the decayed sum of a column.
#[derive(Debug)]
pub struct DecayPlan {
    pub column: Option<usize>,
    pub half_life: Millis,
}

/// The features that read one window of a series.
#[derive(Debug)]
pub struct WindowReads {
    pub window: Window,
    pub features: Vec<AggregateRead>,
}

#[derive(Debug)]
pub struct AggregateRead {
    pub slot: Slot,
    pub aggregate: Aggregate,
    /// Index into [`SeriesPlan::columns`]; none: the events themselves.
    pub column: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    Count,
    Sum,
    Mean,
    Min,
    Max,
    /// Sample standard deviation.
    Std,
    Distinct,
    First,
    Last,
    /// The value of most events; of several, the one that came last.
    MostFrequent,
    /// Seconds.
    TimeSinceFirst,
    /// Seconds.
    TimeSinceLast,
    /// Seconds between an event and the next, on average.
    MeanGap,
    /// Seconds from the first event to the last.
    Duration,
    /// Events, or the sum of the property, per second.
    Rate,
    /// The latter half of the window over the former: events, or the sum of the property.
    Trend,
    /// The count, or the sum of the property, each event weighing half as
    /// much every half-life; index into [`SeriesPlan::decays`].
    Decayed {
        decay: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// Event times in `(as-of - length, as-of]`.
    Sliding(Millis),
    /// Of the session that has not ended by the as-of.
    Session,
    /// Of the latest session that has.
    PreviousSession,
    Lifetime,
}

impl SeriesPlan {
    pub fn new(digest: Arc<str>, event: EventSelector, filter: Option<BoolExpr>) -> Self {
        Self {
            digest,
            event,
            filter,
            is_ordered: false,
            exact_rows: EXACT_ROWS,
            of_events: false,
            columns: Vec::new(),
            longest_window: Millis::ZERO,
            by_session: false,
            lifetimes: Vec::new(),
            decays: Vec::new(),
            reads: Vec::new(),
        }
    }

    /// Adds a feature that reads `aggregate` of a property (none: of the
    /// events themselves) over `window`.
    pub fn add(&mut self, slot: Slot, aggregate: Aggregate, property: Option<usize>, window: Window) {
        let is_text = matches!(slot, Slot::Text(_));
        let column = property.map(|property| self.column(property, aggregate.column_kind(is_text)));
        if let Some(column) = column {
            let column = &mut self.columns[column];
            let is_lifetime = window == Window::Lifetime;
            column.squares |= aggregate == Aggregate::Std && !is_lifetime;
            column.extremes |= matches!(aggregate, Aggregate::Min | Aggregate::Max) && !is_lifetime;
            column.distinct |= aggregate == Aggregate::Distinct && !is_lifetime;
            column.texts |= is_text;
        }
        self.of_events |= column.is_none();
        self.is_ordered |= aggregate.is_ordered();
        match window {
            Window::Sliding(length) => self.longest_window = self.longest_window.max(length),
            Window::Session | Window::PreviousSession => self.by_session = true,
            Window::Lifetime if !matches!(aggregate, Aggregate::Decayed { .. }) => {
                let lifetime = self.lifetime_of(column);
                lifetime.numbers |= aggregate.is_of_numbers();
                lifetime.squares |= aggregate == Aggregate::Std;
                lifetime.distinct |= aggregate == Aggregate::Distinct;
            }
            Window::Lifetime => {}
        }
        let read = AggregateRead { slot, aggregate, column };
        match self.reads.iter_mut().find(|reads| reads.window == window) {
            Some(reads) => reads.features.push(read),
            None => {
                let key = |window| match window {
                    Window::Sliding(length) => length,
                    _ => Millis::new(i64::MAX),
                };
                let at = self.reads.partition_point(|reads| key(reads.window) <= key(window));
                self.reads.insert(at, WindowReads { window, features: vec![read] });
            }
        }
    }

    /// Adds a decayed count, or a decayed sum of a property.
    pub fn add_decay(&mut self, slot: Slot, property: Option<usize>, half_life: Millis) -> Aggregate {
        let column = property.map(|property| self.column(property, ColumnKind::Number));
        self.decays.push(DecayPlan { column, half_life });
        let aggregate = Aggregate::Decayed { decay: self.decays.len() - 1 };
        self.add(slot, aggregate, property, Window::Lifetime);
        aggregate
    }

    /// Cells of a row: its time, its uid if the order needs it, then its columns.
    pub fn n_cells(&self) -> usize {
        self.first_column() + self.columns.len()
    }

    pub fn first_column(&self) -> usize {
        1 + usize::from(self.is_ordered)
    }

    /// Whether the event has something to keep; without it no row is made.
    pub fn has_any_column(&self, event: &BoundEvent<'_>) -> bool {
        self.of_events || self.columns.iter().any(|column| event.property(column.property).is_some())
    }

    /// The lifetime of a column, or of the events themselves.
    pub fn lifetime(&self, column: Option<usize>) -> Option<usize> {
        self.lifetimes.iter().position(|lifetime| lifetime.column == column)
    }

    /// The sliding windows of which some feature reads the distinct keys of a column.
    pub fn distinct_windows(&self, column: usize) -> impl Iterator<Item = Millis> {
        let is_it =
            move |read: &AggregateRead| read.aggregate == Aggregate::Distinct && read.column == Some(column);
        self.reads.iter().filter_map(move |reads| match reads.window {
            Window::Sliding(length) if reads.features.iter().any(is_it) => Some(length),
            _ => None,
        })
    }

    fn lifetime_of(&mut self, column: Option<usize>) -> &mut LifetimePlan {
        let index = self.lifetime(column).unwrap_or_else(|| {
            self.lifetimes.push(LifetimePlan { column, numbers: false, squares: false, distinct: false });
            self.lifetimes.len() - 1
        });
        &mut self.lifetimes[index]
    }

    fn column(&mut self, property: usize, kind: ColumnKind) -> usize {
        let is_it = |column: &ColumnPlan| column.property == property && column.kind == kind;
        self.columns.iter().position(is_it).unwrap_or_else(|| {
            self.columns.push(ColumnPlan {
                property,
                kind,
                squares: false,
                extremes: false,
                distinct: false,
                texts: false,
            });
            self.columns.len() - 1
        })
    }
}

impl ColumnPlan {
    /// Whether a cell is one of a row that has the property.
    pub fn has(&self, cell: u64) -> bool {
        match self.kind {
            ColumnKind::Number => !f64::from_bits(cell).is_nan(),
            ColumnKind::Key => cell != NO_KEY,
        }
    }
}

impl Aggregate {
    /// How definitions write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Std => "std",
            Self::Distinct => "distinct",
            Self::First => "first",
            Self::Last => "last",
            Self::MostFrequent => "most_frequent",
            Self::TimeSinceFirst => "time_since_first",
            Self::TimeSinceLast => "time_since_last",
            Self::MeanGap => "mean_gap",
            Self::Duration => "duration",
            Self::Rate => "rate",
            Self::Trend => "trend",
            Self::Decayed { .. } => "decayed",
        }
    }

    /// The form in which it reads a property.
    fn column_kind(self, is_text: bool) -> ColumnKind {
        match self {
            Self::Count | Self::Distinct | Self::TimeSinceFirst | Self::TimeSinceLast => ColumnKind::Key,
            Self::MeanGap | Self::Duration => ColumnKind::Key,
            Self::First | Self::Last | Self::MostFrequent if is_text => ColumnKind::Key,
            _ => ColumnKind::Number,
        }
    }

    /// Whether it matters which of two events of one instant comes first.
    fn is_ordered(self) -> bool {
        matches!(self, Self::First | Self::Last | Self::MostFrequent)
    }

    fn is_of_numbers(self) -> bool {
        matches!(self, Self::Sum | Self::Mean | Self::Min | Self::Max | Self::Std)
    }
}
