//! The compiled definitions: everything the engine looks at, by slot.
//!
//! `definitions/` parses, checks and compiles a file into a [`Plan`]; the
//! engine never sees a name per event beyond [`Plan::bind`].

mod series;

use std::fmt::Write;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::event::{Event, Value};
use super::expression::{BoolExpr, Expression};
use super::lookup::Lookup;
use super::time::{Millis, Timestamp};
use super::vector::{Slot, Vector};

pub use series::{
    Aggregate, AggregateRead, ColumnKind, ColumnPlan, DecayPlan, EXACT_ROWS, LifetimePlan, SeriesPlan,
    Window, WindowReads,
};

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

impl ModelPlan {
    /// Whether decisions are made on its scores, rather than on request only.
    pub fn is_decided_on(&self) -> bool {
        !self.score_on.is_empty() || self.score_on_session_end || self.rescore_every.is_some()
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
