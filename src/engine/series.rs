//! The rows behind windows: one series per (event, filter), with a column for
//! each property that some feature reads, shared by every window over it.
//!
//! Rows stand in canonical order (event time, event uid), so what is read
//! depends on the set of accepted events and not on the order they came in.
//! Few rows are read one by one; of more there is an [`index`].

mod decay;
mod index;
mod lifetime;
mod rows;
mod squares;

use std::ops::Range;
use std::sync::Arc;

pub use decay::Decay;
use index::{ColumnIndex, NO_KEY, NO_NUMBER, Totals};
pub use lifetime::{Edge, Lifetime, Numbers};
use rows::{BLOCK, Rows, time_cell};

use super::event::{EventUid, Value};
use super::exact_sum::ExactSum;
use super::plan::{Aggregate, BoundEvent, ColumnKind, SeriesPlan, TimeBounds, Window};
use super::session::Sessions;
use super::time::{Millis, Timestamp};

/// One user's part of a series.
#[derive(Clone, Debug)]
pub struct Series {
    rows: Rows,
    /// By column of the plan; kept while there are more rows than a block has.
    index: Option<Box<[ColumnIndex]>>,
    /// The texts behind keys that some feature reads, by key.
    texts: Vec<(u64, Arc<str>)>,
    /// By lifetime of the plan.
    lifetimes: Box<[Lifetime]>,
    /// By decay of the plan.
    decays: Box<[Decay]>,
}

/// A feature's value as read from a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// NaN is missing.
    Number(f64),
    /// A cell of the column: the bits of a number, or a text's key.
    Cell(u64),
}

/// What limits a window as of one instant.
#[derive(Clone, Copy, Debug)]
pub struct AsOf<'a> {
    pub now: Timestamp,
    pub sessions: &'a Sessions,
    pub bounds: TimeBounds,
}

impl Reading {
    /// What an aggregate is of no event.
    pub fn of_nothing(aggregate: Aggregate) -> Self {
        Self::Number(match aggregate {
            Aggregate::Count
            | Aggregate::Sum
            | Aggregate::Distinct
            | Aggregate::Rate
            | Aggregate::Decayed { .. } => 0.0,
            _ => f64::NAN,
        })
    }
}

/// The key of a value: 64 bits of xxh3, which tell the values of one user apart.
pub fn key_of(value: &Value) -> u64 {
    use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

    let hash = match value {
        Value::Text(text) => xxh3_64_with_seed(text.as_bytes(), 1),
        // One zero, so that equal numbers are one distinct value.
        other => xxh3_64(&(other.as_number().unwrap_or(f64::NAN) + 0.0).to_bits().to_le_bytes()),
    };
    if hash == NO_KEY { 1 } else { hash }
}

impl Series {
    pub fn new(plan: &SeriesPlan) -> Self {
        Self {
            rows: Rows::new(plan.n_cells()),
            index: None,
            texts: Vec::new(),
            lifetimes: vec![Lifetime::default(); plan.lifetimes.len()].into(),
            decays: vec![Decay::default(); plan.decays.len()].into(),
        }
    }

    /// Adds an event; drops rows at or before `horizon`, which no window can
    /// reach any more.
    pub fn insert(&mut self, plan: &SeriesPlan, event: &BoundEvent<'_>, horizon: Timestamp) {
        let (time, uid) = (event.event.time, order_of(event.event.uid));
        for (lifetime, lifetime_plan) in self.lifetimes.iter_mut().zip(&plan.lifetimes) {
            let kind = lifetime_plan.column.map(|column| plan.columns[column].kind);
            let cell = lifetime_plan.column.map_or(0, |column| cell(plan, column, event));
            lifetime.insert(lifetime_plan, kind, Edge { time, uid, cell });
        }
        for (decay, decay_plan) in self.decays.iter_mut().zip(&plan.decays) {
            let term = decay_plan.column.map_or(1.0, |column| f64::from_bits(cell(plan, column, event)));
            if !term.is_nan() {
                decay.add(term, time, decay_plan.half_life);
            }
        }
        self.drop_until(horizon);
        if time > horizon {
            self.insert_row(plan, event, time, uid);
        }
        for (column, column_plan) in plan.columns.iter().enumerate() {
            if column_plan.texts
                && let Some(Value::Text(text)) = event.property(column_plan.property)
            {
                let key = cell(plan, column, event);
                if let Err(at) = self.texts.binary_search_by_key(&key, |(key, _)| *key) {
                    self.texts.insert(at, (key, text.clone()));
                }
            }
        }
    }

    fn insert_row(&mut self, plan: &SeriesPlan, event: &BoundEvent<'_>, time: Timestamp, uid: u64) {
        let dropped = self.rows.reserve();
        if dropped > 0 {
            self.index.iter_mut().flatten().for_each(|index| index.drop_blocks(dropped));
            self.drop_texts(plan);
        }
        let time = time_cell(time);
        let position = self.rows.place_of(time, plan.is_ordered.then_some(uid));
        self.rows.open(position);
        self.rows.set(0, position, time);
        if plan.is_ordered {
            self.rows.set(1, position, uid);
        }
        let is_last = position + 1 == self.rows.end();
        let first = plan.first_column();
        for column in 0..plan.columns.len() {
            self.rows.set(first + column, position, cell(plan, column, event));
        }
        match &mut self.index {
            Some(index) => {
                for (column, index) in index.iter_mut().enumerate() {
                    let cells = self.rows.column(first + column);
                    if is_last {
                        index.push(cells, self.rows.start());
                    } else {
                        index.insert(cells, position, self.rows.start());
                    }
                }
            }
            None => self.make_index(plan),
        }
    }

    fn make_index(&mut self, plan: &SeriesPlan) {
        if self.rows.len() > BLOCK && !plan.columns.is_empty() {
            let first = plan.first_column();
            let of = |(column, plan)| ColumnIndex::of(plan, &self.rows, first + column);
            self.index = Some(plan.columns.iter().enumerate().map(of).collect());
        }
    }

    fn drop_until(&mut self, horizon: Timestamp) {
        let (times, horizon) = (self.rows.times(), time_cell(horizon));
        let mut start = self.rows.start();
        while times.get(start).is_some_and(|&time| time <= horizon) {
            start += 1;
        }
        self.rows.drop_before(start);
        if self.index.is_some() && self.rows.len() < BLOCK / 2 {
            self.index = None;
        }
    }

    /// Forgets the texts of keys that are in no row.
    fn drop_texts(&mut self, plan: &SeriesPlan) {
        if self.texts.is_empty() {
            return;
        }
        let first = plan.first_column();
        let columns = plan.columns.iter().enumerate().filter(|(_, column)| column.texts);
        let in_rows = columns.flat_map(|(column, _)| &self.rows.column(first + column)[self.rows.start()..]);
        let at_edges = self.lifetimes.iter().flat_map(|lifetime| [&lifetime.first.cell, &lifetime.last.cell]);
        let mut used: Vec<u64> = in_rows.chain(at_edges).copied().collect();
        used.sort_unstable();
        self.texts.retain(|(key, _)| used.binary_search(key).is_ok());
    }

    /// The rows of a window as of an instant not before the last arrival.
    pub fn window(&self, window: Window, as_of: AsOf<'_>) -> Range<usize> {
        let AsOf { now, sessions, bounds } = as_of;
        let end = self.rows.end();
        match window {
            Window::Sliding(length) => self.rows.after(now.before(length))..end,
            Window::Session => match sessions.current(bounds, now) {
                Some(session) => self.rows.after(session.start.before(Millis::new(1)))..end,
                None => end..end,
            },
            Window::PreviousSession => match sessions.previous(bounds, now) {
                Some(session) => {
                    self.rows.after(session.start.before(Millis::new(1)))..self.rows.after(session.end)
                }
                None => end..end,
            },
            Window::Lifetime => 0..0,
        }
    }

    /// Reads one aggregate of the rows of a window.
    pub fn read(
        &self,
        plan: &SeriesPlan,
        aggregate: Aggregate,
        column: Option<usize>,
        window: Window,
        rows: Range<usize>,
        now: Timestamp,
    ) -> Reading {
        match (aggregate, window) {
            (Aggregate::Decayed { decay }, _) => {
                Reading::Number(self.decays[decay].value(now, plan.decays[decay].half_life))
            }
            (_, Window::Lifetime) => match plan.lifetime(column) {
                Some(lifetime) => self.lifetimes[lifetime].read(aggregate, now),
                None => Reading::of_nothing(aggregate),
            },
            _ if rows.is_empty() => Reading::of_nothing(aggregate),
            _ => self.read_rows(plan, aggregate, column, window, rows, now),
        }
    }

    fn read_rows(
        &self,
        plan: &SeriesPlan,
        aggregate: Aggregate,
        column: Option<usize>,
        window: Window,
        rows: Range<usize>,
        now: Timestamp,
    ) -> Reading {
        let part = Part { series: self, plan, column, rows };
        Reading::Number(match aggregate {
            Aggregate::Count => part.n_present() as f64,
            Aggregate::Sum => part.sum(),
            Aggregate::Mean => part.sum() / part.n_present() as f64,
            Aggregate::Min => part.extremes().0,
            Aggregate::Max => part.extremes().1,
            Aggregate::Std => part.deviation(),
            Aggregate::Distinct => part.n_distinct() as f64,
            Aggregate::First => return part.cell(part.first()),
            Aggregate::Last => return part.cell(part.last()),
            Aggregate::MostFrequent => return part.cell(part.most_frequent()),
            Aggregate::TimeSinceFirst => {
                part.first().map_or(f64::NAN, |row| seconds_between(self.rows.time(row), now))
            }
            Aggregate::TimeSinceLast => {
                part.last().map_or(f64::NAN, |row| seconds_between(self.rows.time(row), now))
            }
            Aggregate::MeanGap => match (part.first(), part.last()) {
                (Some(first), Some(last)) => {
                    let n = part.n_present() as u64;
                    mean_gap_seconds(self.rows.time(first), self.rows.time(last), n)
                }
                _ => f64::NAN,
            },
            Aggregate::Duration => match (part.first(), part.last()) {
                (Some(first), Some(last)) => seconds_between(self.rows.time(first), self.rows.time(last)),
                _ => f64::NAN,
            },
            Aggregate::Rate => part.amount() / length(window).as_seconds(),
            Aggregate::Trend => {
                // The window holds both spans.
                let middle = self.rows.after(now.before(Millis::new(length(window).as_millis() / 2)));
                let before = Part { rows: part.rows.start..middle, ..part.clone() }.amount();
                let lately = Part { rows: middle..part.rows.end, ..part }.amount();
                if before == 0.0 { f64::NAN } else { lately / before }
            }
            Aggregate::Decayed { .. } => f64::NAN,
        })
    }

    /// The cells of the rows: times, uids if the plan keeps them, then its columns.
    pub fn columns(&self) -> Vec<&[u64]> {
        let n_cells = self.rows.n_columns();
        (0..n_cells).map(|column| &self.rows.column(column)[self.rows.start()..]).collect()
    }

    pub fn texts(&self) -> impl ExactSizeIterator<Item = &(u64, Arc<str>)> {
        self.texts.iter()
    }

    pub fn lifetimes(&self) -> &[Lifetime] {
        &self.lifetimes
    }

    pub fn decays(&self) -> &[Decay] {
        &self.decays
    }

    /// Rebuilds a series from what [`Series::columns`] and the others gave.
    pub fn from_parts(
        plan: &SeriesPlan,
        columns: &[Vec<u64>],
        texts: Vec<(u64, Arc<str>)>,
        lifetimes: Box<[Lifetime]>,
        decays: Box<[Decay]>,
    ) -> Self {
        let mut series = Self { rows: Rows::of(columns), index: None, texts, lifetimes, decays };
        series.make_index(plan);
        series
    }

    /// The text of a key; none if the value was no text.
    pub fn text(&self, key: u64) -> Option<&Arc<str>> {
        let at = self.texts.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(&self.texts[at].1)
    }
}

/// Some rows of one column; of the events themselves without a column.
#[derive(Clone)]
struct Part<'a> {
    series: &'a Series,
    plan: &'a SeriesPlan,
    column: Option<usize>,
    rows: Range<usize>,
}

impl<'a> Part<'a> {
    /// The column up to the last row there is.
    fn column(&self, column: usize) -> &'a [u64] {
        self.series.rows.column(self.plan.first_column() + column)
    }

    fn index(&self, column: usize) -> Option<&'a ColumnIndex> {
        self.series.index.as_ref().map(|index| &index[column])
    }

    fn is_present(&self, column: usize, cell: u64) -> bool {
        match self.plan.columns[column].kind {
            ColumnKind::Number => cell != NO_NUMBER,
            ColumnKind::Key => cell != NO_KEY,
        }
    }

    fn n_present(&self) -> usize {
        let Some(column) = self.column else { return self.rows.len() };
        let (cells, Range { start, end }) = (self.column(column), self.rows.clone());
        match self.index(column) {
            Some(ColumnIndex::Number(index)) => index.totals(cells, start, end).n as usize,
            Some(ColumnIndex::Key(index)) => index.n_present(cells, start, end) as usize,
            None => cells[start..end].iter().filter(|&&cell| self.is_present(column, cell)).count(),
        }
    }

    fn totals(&self) -> Totals {
        let Some(column) = self.column else { return Totals::default() };
        let (cells, Range { start, end }) = (self.column(column), self.rows.clone());
        match self.index(column) {
            Some(ColumnIndex::Number(index)) => index.totals(cells, start, end),
            _ => Totals::of(&cells[start..end], self.plan.columns[column].squares),
        }
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let cells = self.column.map_or(&[][..], |column| &self.column(column)[self.rows.clone()]);
        cells.iter().map(|&cell| f64::from_bits(cell)).filter(|number| !number.is_nan())
    }

    fn sum(&self) -> f64 {
        let totals = self.totals();
        if totals.n_wide == 0 { totals.sum.value() } else { self.numbers().collect::<ExactSum>().value() }
    }

    fn deviation(&self) -> f64 {
        let totals = self.totals();
        if totals.n_wide == 0 {
            return totals.squares.deviation(totals.sum, totals.n);
        }
        let mut squares = ExactSum::default();
        self.numbers().for_each(|number| squares.add_square(number));
        ExactSum::deviation(&self.numbers().collect(), &squares, u64::from(totals.n))
    }

    /// What rates and trends compare: the sum of the property, or the number of events.
    fn amount(&self) -> f64 {
        if self.column.is_some() { self.sum() } else { self.rows.len() as f64 }
    }

    fn extremes(&self) -> (f64, f64) {
        let Some(column) = self.column else { return (f64::NAN, f64::NAN) };
        let (cells, Range { start, end }) = (self.column(column), self.rows.clone());
        match self.index(column) {
            Some(ColumnIndex::Number(index)) => index.extremes(cells, start, end),
            _ => index::extremes_of(&cells[start..end]),
        }
    }

    fn n_distinct(&self) -> usize {
        let Some(column) = self.column else { return 0 };
        let (cells, Range { start, end }) = (self.column(column), self.rows.clone());
        if end == cells.len()
            && let Some(ColumnIndex::Key(index)) = self.index(column)
            && let Some(n) = index.n_distinct(start)
        {
            return n as usize;
        }
        let keys = &cells[start..end];
        if keys.len() <= BLOCK {
            let is_latest = |(row, key): (usize, &u64)| *key != NO_KEY && !keys[row + 1..].contains(key);
            return keys.iter().enumerate().filter(|&row| is_latest(row)).count();
        }
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        keys.len() - usize::from(keys.first() == Some(&NO_KEY))
    }

    fn first(&self) -> Option<usize> {
        let Some(column) = self.column else { return Some(self.rows.start) };
        let cells = self.column(column);
        self.rows.clone().find(|&row| self.is_present(column, cells[row]))
    }

    fn last(&self) -> Option<usize> {
        let Some(column) = self.column else { return Some(self.rows.end - 1) };
        let cells = self.column(column);
        self.rows.clone().rev().find(|&row| self.is_present(column, cells[row]))
    }

    /// The last row of the cell that most rows have; of several, the latest.
    fn most_frequent(&self) -> Option<usize> {
        let column = self.column?;
        let cells = self.column(column);
        let mut rows: Vec<usize> =
            self.rows.clone().filter(|&row| self.is_present(column, cells[row])).collect();
        rows.sort_unstable_by_key(|&row| (cells[row], row));
        let runs = rows.chunk_by(|&a, &b| cells[a] == cells[b]);
        runs.filter_map(|run| run.last().map(|&last| (run.len(), last))).max().map(|(_, last)| last)
    }

    fn cell(&self, row: Option<usize>) -> Reading {
        match (self.column, row) {
            (Some(column), Some(row)) => Reading::Cell(self.column(column)[row]),
            _ => Reading::Number(f64::NAN),
        }
    }
}

/// Where a uid stands among those of the same instant: by arrival if minted.
fn order_of(uid: EventUid) -> u64 {
    (uid.0 >> 64) as u64
}

fn cell(plan: &SeriesPlan, column: usize, event: &BoundEvent<'_>) -> u64 {
    let column = &plan.columns[column];
    let value = event.property(column.property);
    match column.kind {
        // One zero, so that equal numbers have equal bits.
        ColumnKind::Number => {
            value.and_then(Value::as_number).map_or(NO_NUMBER, |number| (number + 0.0).to_bits())
        }
        ColumnKind::Key => value.map_or(NO_KEY, key_of),
    }
}

fn length(window: Window) -> Millis {
    match window {
        Window::Sliding(length) => length,
        _ => Millis::ZERO,
    }
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.since(earlier).as_seconds()
}

fn mean_gap_seconds(first: Timestamp, last: Timestamp, n: u64) -> f64 {
    if n < 2 { f64::NAN } else { seconds_between(first, last) / (n - 1) as f64 }
}
