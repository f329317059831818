//! The rows behind windows: one series per (event, filter), with a column for
//! each property that some feature reads, shared by every window over it.
//!
//! Rows stand in canonical order (event time, event uid), so what is read
//! depends on the set of accepted events and not on the order they came in.
//! Few rows are read one by one; of more there is an [`index`].

mod approximate;
mod decay;
mod hyperloglog;
mod index;
mod lifetime;
mod part;
mod rows;
mod sketch;
mod squares;
mod tiles;
mod totals;

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

pub use decay::Decay;
use index::ColumnIndex;
pub use lifetime::{Distinct, Edge, Lifetime, Numbers};
use part::Part;
pub use rows::time_cell;
use rows::{BLOCK, Rows, time_of};
pub use sketch::SlidingSketch;
pub use squares::SumOfSquares;
pub use tiles::{Tile, TileColumn, Tiles};
use tiles::{TileEdge, rows_of_a_tile};
pub use totals::{NO_KEY, NO_NUMBER, Totals};

use super::event::{EventUid, Value};
use super::plan::{Aggregate, BoundEvent, ColumnKind, ColumnPlan, SeriesPlan, TimeBounds, Window};
use super::session::{Session, Sessions};
use super::time::{Millis, Timestamp};

/// Numbers beyond are missing, so that no sum of squares of any user overflows.
pub const MAX_MAGNITUDE: f64 = 1e140;
/// Numbers nearer to zero are zero, so that no square and no decayed term underflows.
pub const MIN_MAGNITUDE: f64 = 1e-140;

/// One user's part of a series.
#[derive(Clone, Debug)]
pub struct Series {
    rows: Rows,
    /// By column of the plan; kept while there are more rows than a block has.
    index: Option<Box<[ColumnIndex]>>,
    /// What is kept of rows beyond the budget.
    tiles: Option<Box<Tiles>>,
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

/// What a window holds of a series.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Positions of rows.
    rows: Range<usize>,
    /// If it reaches back beyond the rows.
    tiles: Option<TileEdge>,
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
            tiles: None,
            texts: Vec::new(),
            lifetimes: vec![Lifetime::default(); plan.lifetimes.len()].into(),
            decays: vec![Decay::default(); plan.decays.len()].into(),
        }
    }

    /// Adds an event that arrived at `now`; drops rows at or before `horizon`,
    /// which no window can reach any more.
    pub fn insert(&mut self, plan: &SeriesPlan, event: &BoundEvent<'_>, horizon: Timestamp, now: Timestamp) {
        let (time, uid) = (event.event.time, order_of(event.event.uid));
        let cells: SmallVec<[u64; 8]> = plan.columns.iter().map(|column| cell(column, event)).collect();
        for (lifetime, lifetime_plan) in self.lifetimes.iter_mut().zip(&plan.lifetimes) {
            let kind = lifetime_plan.column.map(|column| plan.columns[column].kind);
            let cell = lifetime_plan.column.map_or(0, |column| cells[column]);
            lifetime.insert(lifetime_plan, kind, Edge { time, uid, cell }, plan.exact_rows);
        }
        for (decay, decay_plan) in self.decays.iter_mut().zip(&plan.decays) {
            let term = decay_plan.column.map_or(1.0, |column| f64::from_bits(cells[column]));
            if !term.is_nan() {
                decay.add(term, time, decay_plan.half_life);
            }
        }
        self.drop_until(horizon);
        if time > horizon {
            if self.is_among_tiles(time) {
                self.insert_into_tile(plan, &cells, time);
            } else {
                self.insert_row(plan, &cells, time, uid);
                if self.rows.len() > plan.exact_rows {
                    self.make_tile(plan);
                }
            }
            self.sketch(&cells, time, horizon, now);
        }
        for (column, column_plan) in plan.columns.iter().enumerate() {
            if column_plan.texts
                && let Some(Value::Text(text)) = event.property(column_plan.property)
            {
                let key = cells[column];
                if let Err(at) = self.texts.binary_search_by_key(&key, |(key, _)| *key) {
                    self.texts.insert(at, (key, text.clone()));
                    self.drop_texts(plan);
                }
            }
        }
    }

    fn insert_row(&mut self, plan: &SeriesPlan, cells: &[u64], time: Timestamp, uid: u64) {
        let dropped = self.rows.reserve();
        if dropped > 0 {
            self.index.iter_mut().flatten().for_each(|index| index.drop_blocks(dropped));
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
        for (column, &cell) in cells.iter().enumerate() {
            self.rows.set(first + column, position, cell);
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
            None if self.rows.len() > BLOCK => self.make_index(plan, &[]),
            None => {}
        }
    }

    /// `before`: what each column had before the rows there are, if anything.
    fn make_index(&mut self, plan: &SeriesPlan, before: &[Totals]) {
        if !plan.columns.is_empty() {
            let first = plan.first_column();
            let of = |(column, plan)| {
                let before = before.get(column).copied().unwrap_or_default();
                ColumnIndex::of(plan, &self.rows, first + column, before)
            };
            self.index = Some(plan.columns.iter().enumerate().map(of).collect());
        }
    }

    fn drop_until(&mut self, horizon: Timestamp) {
        let (times, until) = (self.rows.times(), time_cell(horizon));
        let mut start = self.rows.start();
        while times.get(start).is_some_and(|&time| time <= until) {
            start += 1;
        }
        self.rows.drop_before(start);
        if let Some(tiles) = &mut self.tiles {
            tiles.drop_until(horizon);
            if tiles.is_empty() {
                self.tiles = None;
            }
        }
        if self.tiles.is_none() && self.index.is_some() && self.rows.len() < BLOCK / 2 {
            self.index = None;
        }
    }

    fn is_among_tiles(&self, time: Timestamp) -> bool {
        let first_row = self.rows.times().get(self.rows.start());
        self.tiles.is_some() && first_row.is_none_or(|&first| time_cell(time) < first)
    }

    /// Makes a tile of the oldest rows.
    fn make_tile(&mut self, plan: &SeriesPlan) {
        let start = self.rows.start();
        let end = start + rows_of_a_tile(plan.exact_rows);
        let columns = plan.columns.iter().enumerate().map(|(column, column_plan)| {
            let cells = self.rows.column(plan.first_column() + column);
            let before =
                self.index.as_ref().map_or_else(Totals::default, |index| index[column].before(cells, start));
            TileColumn::of(column_plan, before, &cells[start..end])
        });
        let tile = Tile {
            first: self.rows.time(start),
            last: self.rows.time(end - 1),
            n_rows: (end - start) as u32,
            n_later: 0,
            columns: columns.collect(),
        };
        let tiles = self.tiles.get_or_insert_with(|| {
            let times = &self.rows.times()[start..];
            let sketch_of = |(column, column_plan): (usize, &ColumnPlan)| {
                let keys = &self.rows.column(plan.first_column() + column)[start..];
                column_plan.distinct.then(|| SlidingSketch::of(times, keys, plan.distinct_windows(column)))
            };
            Box::new(Tiles::new(plan.columns.iter().enumerate().map(sketch_of).collect()))
        });
        tiles.push(tile);
        self.rows.drop_before(end);
    }

    /// Counts a late event in the tile of its time.
    fn insert_into_tile(&mut self, plan: &SeriesPlan, cells: &[u64], time: Timestamp) {
        let Some(tiles) = &mut self.tiles else { return };
        tiles.insert(plan, time, cells);
        for (column, index) in self.index.iter_mut().flatten().enumerate() {
            index.add_before(Totals::of_cell(&plan.columns[column], cells[column]));
        }
    }

    fn sketch(&mut self, cells: &[u64], time: Timestamp, horizon: Timestamp, now: Timestamp) {
        let Some(tiles) = &mut self.tiles else { return };
        let rows = self.rows.times().get(self.rows.start()).map_or(Timestamp::MAX, |&row| time_of(row));
        for (sketch, &key) in tiles.sketches.iter_mut().zip(cells) {
            if let Some(sketch) = sketch {
                sketch.advance(now, rows);
                sketch.insert(key, time, horizon);
            }
        }
    }

    /// Forgets the texts of keys that are nowhere any more, once they may be
    /// the most of all: a lifetime's last text needs no rows to be replaced.
    fn drop_texts(&mut self, plan: &SeriesPlan) {
        let n_tiles = self.tiles.as_ref().map_or(0, |tiles| tiles.tiles.len());
        let most_used = plan.columns.len() * (self.rows.len() + n_tiles) + 2 * self.lifetimes.len();
        if self.texts.len() <= 2 * most_used {
            return;
        }
        let first = plan.first_column();
        let columns = plan.columns.iter().enumerate().filter(|(_, column)| column.texts);
        let in_rows = columns.flat_map(|(column, _)| &self.rows.column(first + column)[self.rows.start()..]);
        let at_edges = self.lifetimes.iter().flat_map(|lifetime| [&lifetime.first.cell, &lifetime.last.cell]);
        let of_tiles = self.tiles.iter().flat_map(|tiles| tiles.first_cells());
        let mut used: Vec<u64> = in_rows.chain(at_edges).chain(of_tiles).copied().collect();
        used.sort_unstable();
        self.texts.retain(|(key, _)| used.binary_search(key).is_ok());
    }

    /// What a window holds as of an instant not before the last arrival.
    /// `shorter`: what a sliding window holds that is not longer, if it is known.
    pub fn window(&self, window: Window, as_of: AsOf<'_>, shorter: Option<&Slice>) -> Slice {
        let AsOf { now, sessions, bounds } = as_of;
        let end = self.rows.end();
        let nothing = Slice { rows: end..end, tiles: None };
        // A session has the instant that it starts at.
        let before = |session: &Session| session.start.before(Millis::new(1));
        match window {
            Window::Sliding(length) => {
                self.after(now.before(length), shorter.map_or(end, |shorter| shorter.rows.start))
            }
            Window::Session => match sessions.current(bounds, now) {
                Some(session) => self.after(before(session), end),
                None => nothing,
            },
            Window::PreviousSession => match sessions.previous(bounds, now) {
                Some(session) => {
                    let Slice { rows, tiles } = self.after(before(session), end);
                    let end = self.rows.after(session.end, end);
                    Slice { rows: rows.start.min(end)..end, tiles }
                }
                None => nothing,
            },
            Window::Lifetime => nothing,
        }
    }

    /// `until`: where the rows after `from` begin, or a later position.
    fn after(&self, from: Timestamp, until: usize) -> Slice {
        let tiles = self.tiles.as_ref().and_then(|tiles| tiles.edge(from));
        let start = if tiles.is_some() { self.rows.start() } else { self.rows.after(from, until) };
        Slice { rows: start..self.rows.end(), tiles }
    }

    /// Reads one aggregate of the rows of a window.
    pub fn read(
        &self,
        plan: &SeriesPlan,
        aggregate: Aggregate,
        column: Option<usize>,
        window: Window,
        slice: Slice,
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
            _ if slice.is_empty() => Reading::of_nothing(aggregate),
            _ => Part { series: self, plan, column, slice }.read(aggregate, window, now),
        }
    }

    /// The rows of a window that have the property, latest first: when each
    /// happened and its cell, which without a column says nothing.
    pub fn present<'a>(
        &'a self,
        plan: &'a SeriesPlan,
        column: Option<usize>,
        slice: Slice,
    ) -> impl Iterator<Item = (Timestamp, u64)> + 'a {
        let cells =
            column.map(|column| (&plan.columns[column], self.rows.column(plan.first_column() + column)));
        slice.rows.rev().filter_map(move |row| {
            let cell = cells.map_or(0, |(_, cells)| cells[row]);
            let is_present = cells.is_none_or(|(column, _)| column.has(cell));
            is_present.then(|| (self.rows.time(row), cell))
        })
    }

    /// Reads a cell of each column: what a window reads next is then at hand.
    pub fn touch(&self) -> u64 {
        self.rows.touch()
    }

    /// The cells of the rows: times, uids if the plan keeps them, then its columns.
    pub fn columns(&self) -> Vec<&[u64]> {
        let n_cells = self.rows.n_columns();
        (0..n_cells).map(|column| &self.rows.column(column)[self.rows.start()..]).collect()
    }

    /// With totals of their own, not of all that came before them.
    pub fn tiles(&self, plan: &SeriesPlan) -> Option<Tiles> {
        let mut tiles = self.tiles.as_deref()?.clone();
        for column in 0..plan.columns.len() {
            let cells = self.rows.column(plan.first_column() + column);
            let before_rows = self.index.as_ref()?[column].before(cells, self.rows.start());
            tiles.unstack(column, before_rows);
        }
        Some(tiles)
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
        mut tiles: Option<Box<Tiles>>,
        texts: Vec<(u64, Arc<str>)>,
        lifetimes: Box<[Lifetime]>,
        decays: Box<[Decay]>,
    ) -> Self {
        let tile_totals = tiles.as_mut().map(|tiles| tiles.stack(plan.columns.len()));
        for (column, sketch) in tiles.iter_mut().flat_map(|tiles| tiles.sketches.iter_mut().enumerate()) {
            *sketch = sketch.take().map(|sketch| sketch.with_windows(plan.distinct_windows(column)));
        }
        let mut series = Self { rows: Rows::of(columns), index: None, tiles, texts, lifetimes, decays };
        if series.rows.len() > BLOCK || series.tiles.is_some() {
            series.make_index(plan, &tile_totals.unwrap_or_default());
        }
        series
    }

    /// The text of a key; none if the value was no text.
    pub fn text(&self, key: u64) -> Option<&Arc<str>> {
        let at = self.texts.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(&self.texts[at].1)
    }
}

impl Slice {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.tiles.is_none()
    }
}

/// Where a uid stands among those of the same instant: by arrival if minted.
fn order_of(uid: EventUid) -> u64 {
    (uid.0 >> 64) as u64
}

fn cell(column: &ColumnPlan, event: &BoundEvent<'_>) -> u64 {
    let value = event.property(column.property);
    match column.kind {
        ColumnKind::Number => match value.and_then(Value::as_number) {
            Some(number) if number.abs() < MIN_MAGNITUDE => 0.0_f64.to_bits(),
            Some(number) if number.abs() <= MAX_MAGNITUDE => number.to_bits(),
            _ => NO_NUMBER,
        },
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
