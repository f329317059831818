//! The compiled definitions: everything the engine looks at, by slot.
//!
//! `definitions/` parses, checks and compiles a file into a [`Plan`]; the
//! engine never sees a name per event beyond [`Plan::bind`].

use std::fmt::Write;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::event::{Event, Value};
use super::expression::{BoolExpr, Expression};
use super::lookup::Lookup;
use super::series::NO_KEY;
use super::time::{Millis, Timestamp};
use super::vector::{Slot, Vector};

/// Compiled definitions, immutable while served.
#[derive(Debug)]
pub struct Plan {
    /// SHA-256 of the canonical form of all definitions, lower-case hex.
    pub digest: Arc<str>,
    /// The text the plan was compiled from, logged so that a log explains itself.
    pub source: Arc<str>,
    /// Event types that some definition names.
    pub event_types: Names,
    /// Event properties that some definition names.
    pub properties: Names,
    /// Traits that some definition names.
    pub traits: Names,
    pub series: Vec<SeriesPlan>,
    /// In an order in which an expression comes after what it reads.
    pub features: Vec<FeaturePlan>,
    pub n_numbers: usize,
    pub n_texts: usize,
    pub labels: Vec<LabelPlan>,
    pub models: Vec<ModelPlan>,
    pub triggers: Vec<TriggerPlan>,
    pub caps: Vec<CapPlan>,
    /// Tables to join to events before the engine takes them in.
    pub lookups: Vec<Lookup>,
    pub bounds: TimeBounds,
    pub sessions: SessionPlan,
}

/// How far event times may be from arrivals, and from each other within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBounds {
    /// Later events are refused as late.
    pub lateness: Millis,
    /// Event times ahead of arrival by no more than this are clamped to it; further ahead: refused.
    pub skew: Millis,
    /// A session ends after so long without an event.
    pub session_gap: Millis,
}

/// How many sessions of a user are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPlan {
    /// The longest sliding window in which some feature counts sessions.
    pub longest_window: Millis,
    /// However many a late event or a count could still reach.
    pub max_kept: usize,
}

/// Names with their index, resolved once per event at the edge.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Vec<Arc<str>>,
    /// Names of definitions, not of senders: a hash that resists floods would only be slower.
    index: FxHashMap<Arc<str>, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventSelector {
    /// `*`
    Any,
    /// An index into [`Plan::event_types`].
    Type(usize),
}

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

#[derive(Debug)]
pub struct FeaturePlan {
    pub name: Arc<str>,
    /// Digest of the feature and of all it reads.
    pub digest: Arc<str>,
    pub slot: Slot,
    /// A boolean feature stands in a number slot as 0 or 1.
    pub is_bool: bool,
    /// The features that an expression reads; indices into [`Plan::features`].
    pub reads: Vec<usize>,
    pub kind: FeatureKind,
}

#[derive(Debug)]
pub enum FeatureKind {
    /// Read with its series: see [`SeriesPlan::reads`].
    Aggregate {
        series: usize,
        aggregate: Aggregate,
        window: Window,
    },
    /// The number of sessions with an event in the window.
    Sessions {
        /// None: of all time.
        window: Option<Millis>,
    },
    Expression(Expression),
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

/// A named future outcome: strictly after the decision, within the horizon.
#[derive(Debug)]
pub struct LabelPlan {
    pub name: Arc<str>,
    /// Digest of the label's definition.
    pub digest: Arc<str>,
    pub event: EventSelector,
    pub filter: Option<BoolExpr>,
    /// `true`: the label is that the event happens; `false`: that it does not.
    pub happens: bool,
    pub horizon: Millis,
}

#[derive(Debug)]
pub struct ModelPlan {
    pub name: Arc<str>,
    /// Index into [`Plan::labels`].
    pub label: Option<usize>,
    /// The features the model may use, in order; indices into [`Plan::features`].
    pub features: Vec<usize>,
    pub score_on: Vec<EventSelector>,
    pub score_on_session_end: bool,
    pub rescore_every: Option<Millis>,
}

#[derive(Debug)]
pub struct TriggerPlan {
    pub name: Arc<str>,
    pub digest: Arc<str>,
    pub enabled: bool,
    pub kind: TriggerKind,
    pub when: Option<BoolExpr>,
    pub unless: Option<BoolExpr>,
    pub cooldown: Millis,
    /// Share of users held out, 0..1.
    pub holdout: f64,
    /// Variant names with their weights; empty: none.
    pub variants: Vec<(Arc<str>, f64)>,
    /// After this long an undelivered firing is dead.
    pub time_to_live: Millis,
}

#[derive(Debug)]
pub enum TriggerKind {
    Score {
        /// Index into [`Plan::models`].
        model: usize,
        fire_at: f64,
        rearm_at: f64,
        /// Fires when the score falls to `fire_at` instead of rising to it.
        falling: bool,
    },
    Absence {
        after: EventSelector,
        /// What an `after` event must be to arm; whatever it is, it may answer.
        filter: Option<BoolExpr>,
        without: Vec<EventSelector>,
        wait: Millis,
        /// Event property that keys the armings; events without it do not arm.
        key: Option<usize>,
        on_repeat: OnRepeat,
    },
}

/// What a repeated arming event does to a running arming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRepeat {
    /// The wait starts anew.
    Reset,
    /// The wait goes on from the first.
    Keep,
}

/// At most so many firings in a rolling span, over several triggers.
#[derive(Debug)]
pub struct CapPlan {
    pub name: Arc<str>,
    pub at_most: usize,
    pub per: Millis,
    /// Indices into [`Plan::triggers`].
    pub triggers: Vec<usize>,
}

/// An event with its names resolved to slots.
#[derive(Debug)]
pub struct BoundEvent<'e> {
    pub event: &'e Event,
    /// Index into [`Plan::event_types`]; none if no definition names the type.
    pub kind: Option<usize>,
    /// By slot, the index of the event's property; past the last if it has none.
    properties: SmallVec<[u16; 24]>,
}

/// What expressions read.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub event: Option<&'a BoundEvent<'a>>,
    pub vector: &'a Vector,
    /// By index into [`Plan::traits`].
    pub traits: &'a [Option<Value>],
    /// By index into [`Plan::models`]; NaN where there is no score.
    pub scores: &'a [f64],
    pub now: Timestamp,
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

impl TimeBounds {
    /// How long after its arrival an event may come again.
    pub const fn dedup_horizon(self) -> Millis {
        Millis::new(self.lateness.as_millis().saturating_add(self.skew.as_millis()))
    }
}

impl Names {
    /// The index of `name`, added if new.
    pub fn intern(&mut self, name: &str) -> usize {
        if let Some(&index) = self.index.get(name) {
            return index;
        }
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.index.insert(name, self.names.len() - 1);
        self.names.len() - 1
    }

    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub fn name(&self, index: usize) -> &Arc<str> {
        &self.names[index]
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }
}

impl EventSelector {
    /// Whether it selects the events of a type, by index into [`Plan::event_types`].
    pub fn matches(self, kind: Option<usize>) -> bool {
        match self {
            Self::Any => true,
            Self::Type(index) => kind == Some(index),
        }
    }
}

impl Plan {
    /// Resolves the event's names: the only look-ups by name per event.
    pub fn bind<'e>(&self, event: &'e Event) -> BoundEvent<'e> {
        let mut properties = SmallVec::from_elem(u16::MAX, self.properties.len());
        for (index, (name, _)) in event.properties.iter().enumerate() {
            if let Some(slot) = self.properties.index_of(name) {
                properties[slot] = u16::try_from(index).unwrap_or(u16::MAX);
            }
        }
        BoundEvent { event, kind: self.event_types.index_of(&event.kind), properties }
    }

    /// Whether some model is scored when a session ends.
    pub fn scores_session_ends(&self) -> bool {
        self.models.iter().any(|model| model.score_on_session_end)
    }

    pub fn empty_vector(&self) -> Vector {
        Vector::empty(self.n_numbers, self.n_texts)
    }

    pub fn feature(&self, name: &str) -> Option<&FeaturePlan> {
        self.features.iter().find(|feature| &*feature.name == name)
    }

    /// What a model that reads these features, in this order, is bound to:
    /// SHA-256 over their names and digests, lower-case hex. `features` are
    /// indices into [`Plan::features`].
    pub fn features_digest(&self, features: &[usize]) -> String {
        let mut text = String::new();
        for &index in features {
            let feature = &self.features[index];
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{} {}", feature.name, feature.digest);
        }
        sha256_hex(text.as_bytes())
    }
}

impl<'e> BoundEvent<'e> {
    /// The value of an event property by its index into [`Plan::properties`].
    pub fn property(&self, slot: usize) -> Option<&'e Value> {
        self.event.properties.get(usize::from(self.properties[slot])).map(|(_, value)| value)
    }
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
