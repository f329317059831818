//! The entries behind windows: one series per (event, filter, property),
//! shared by every window over it.
//!
//! Entries stand in canonical order (event time, event uid), so what is read
//! depends on the set of accepted events and not on the order they came in.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::event::{EventUid, Value};
use super::exact_sum::ExactSum;
use super::plan::{Aggregate, SeriesPlan, Window};
use super::time::{Millis, Timestamp};

/// One accepted event as a series sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub time: Timestamp,
    pub uid: EventUid,
    pub item: Item,
}

/// The property a series carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The series counts events and carries no property.
    None,
    Number(f64),
    Text(Arc<str>),
}

/// One user's part of a series.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Raw entries of the longest window, in canonical order.
    entries: VecDeque<Entry>,
    lifetime: Lifetime,
}

/// Aggregates over every entry there ever was.
#[derive(Clone, Debug, Default)]
pub struct Lifetime {
    pub count: u64,
    /// How many of the entries carry a number.
    pub n_numbers: u64,
    pub sum: ExactSum,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub first: Option<Entry>,
    pub last: Option<Entry>,
    /// Hashes of the distinct items (64-bit xxh3), kept only if a feature reads them.
    pub distinct: BTreeSet<u64>,
}

/// A feature's value as read from a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// NaN is missing.
    Number(f64),
    Text(Option<Arc<str>>),
}

impl Item {
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.clone()),
            // One zero, so that equal numbers are one distinct item.
            other => Self::Number(other.as_number().map_or(f64::NAN, |number| number + 0.0)),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn hash(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Number(number) => xxhash_rust::xxh3::xxh3_64(&number.to_bits().to_le_bytes()),
            Self::Text(text) => xxhash_rust::xxh3::xxh3_64_with_seed(text.as_bytes(), 1),
        }
    }
}

impl Series {
    /// Adds an entry that arrived at `now`; drops raw entries no window can
    /// reach from `now` on.
    pub fn insert(&mut self, entry: Entry, plan: &SeriesPlan, now: Timestamp) {
        if plan.lifetime {
            self.lifetime.insert(&entry, plan.lifetime_distinct);
        }
        let horizon = now.before(plan.longest_window);
        while self.entries.front().is_some_and(|oldest| oldest.time <= horizon) {
            self.entries.pop_front();
        }
        if entry.time > horizon {
            let key = (entry.time, entry.uid);
            // Nearly always the end; a late event goes to its place.
            let at = match self.entries.back() {
                Some(last) if (last.time, last.uid) > key => {
                    self.entries.partition_point(|other| (other.time, other.uid) < key)
                }
                _ => self.entries.len(),
            };
            self.entries.insert(at, entry);
        }
    }

    /// Reads one aggregate as of `now`, which is not before the last arrival.
    /// `wants_text` chooses between the text and the number of a first or last item.
    pub fn read(&self, aggregate: Aggregate, window: Window, now: Timestamp, wants_text: bool) -> Reading {
        match window {
            Window::Lifetime => self.lifetime.read(aggregate, now, wants_text),
            Window::Sliding(length) => self.read_window(aggregate, length, now, wants_text),
        }
    }

    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn lifetime(&self) -> &Lifetime {
        &self.lifetime
    }

    /// Rebuilds a series from stored parts; entries in canonical order.
    pub fn from_parts(entries: VecDeque<Entry>, lifetime: Lifetime) -> Self {
        Self { entries, lifetime }
    }

    fn read_window(&self, aggregate: Aggregate, length: Millis, now: Timestamp, wants_text: bool) -> Reading {
        let from = self.entries.partition_point(|entry| entry.time <= now.before(length));
        let to = match self.entries.back() {
            Some(last) if last.time > now => self.entries.partition_point(|entry| entry.time <= now),
            _ => self.entries.len(),
        };
        let window = || self.entries.range(from..to.max(from));
        let numbers = || window().filter_map(|entry| entry.item.number());
        let first = || window().next();
        let last = || window().next_back();
        Reading::Number(match aggregate {
            Aggregate::Count => (to.max(from) - from) as f64,
            Aggregate::Sum => numbers().collect::<ExactSum>().value(),
            Aggregate::Mean => numbers().collect::<ExactSum>().value() / numbers().count() as f64,
            Aggregate::Min => numbers().reduce(f64::min).unwrap_or(f64::NAN),
            Aggregate::Max => numbers().reduce(f64::max).unwrap_or(f64::NAN),
            Aggregate::Distinct => {
                let mut hashes: Vec<u64> = window().map(|entry| entry.item.hash()).collect();
                hashes.sort_unstable();
                hashes.dedup();
                hashes.len() as f64
            }
            Aggregate::First => return item_reading(first(), wants_text),
            Aggregate::Last => return item_reading(last(), wants_text),
            Aggregate::TimeSinceFirst => seconds_since(first(), now),
            Aggregate::TimeSinceLast => seconds_since(last(), now),
        })
    }
}

impl Lifetime {
    fn insert(&mut self, entry: &Entry, distinct: bool) {
        self.count += 1;
        if let Some(number) = entry.item.number() {
            self.n_numbers += 1;
            self.sum.add(number);
            self.min = Some(self.min.map_or(number, |min| min.min(number)));
            self.max = Some(self.max.map_or(number, |max| max.max(number)));
        }
        let key = (entry.time, entry.uid);
        if self.first.as_ref().is_none_or(|first| key < (first.time, first.uid)) {
            self.first = Some(entry.clone());
        }
        if self.last.as_ref().is_none_or(|last| key > (last.time, last.uid)) {
            self.last = Some(entry.clone());
        }
        if distinct {
            self.distinct.insert(entry.item.hash());
        }
    }

    fn read(&self, aggregate: Aggregate, now: Timestamp, wants_text: bool) -> Reading {
        Reading::Number(match aggregate {
            Aggregate::Count => self.count as f64,
            Aggregate::Sum => self.sum.value(),
            Aggregate::Mean => self.sum.value() / self.n_numbers as f64,
            Aggregate::Min => self.min.unwrap_or(f64::NAN),
            Aggregate::Max => self.max.unwrap_or(f64::NAN),
            Aggregate::Distinct => self.distinct.len() as f64,
            Aggregate::First => return item_reading(self.first.as_ref(), wants_text),
            Aggregate::Last => return item_reading(self.last.as_ref(), wants_text),
            Aggregate::TimeSinceFirst => seconds_since(self.first.as_ref(), now),
            Aggregate::TimeSinceLast => seconds_since(self.last.as_ref(), now),
        })
    }
}

fn item_reading(entry: Option<&Entry>, wants_text: bool) -> Reading {
    match (entry.map(|entry| &entry.item), wants_text) {
        (Some(Item::Text(text)), true) => Reading::Text(Some(text.clone())),
        (_, true) => Reading::Text(None),
        (Some(Item::Number(number)), false) => Reading::Number(*number),
        (_, false) => Reading::Number(f64::NAN),
    }
}

fn seconds_since(entry: Option<&Entry>, now: Timestamp) -> f64 {
    entry.map_or(f64::NAN, |entry| now.since(entry.time).as_seconds())
}
