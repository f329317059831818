//! What is kept of rows beyond those that are kept one by one.
//!
//! The oldest rows of a user whose series outgrows its budget become tiles:
//! summaries of consecutive rows, which grow with age, as in an exponential
//! histogram (Datar et al., "Maintaining Stream Statistics over Sliding
//! Windows", 2002). A window that begins within a tile takes the share of it
//! that its length suggests; the tile has at most a seventh as many rows as
//! there are later ones, which bounds the error.

use super::index::{greatest_of, least_of};
use super::rows::BLOCK;
use super::sketch::SlidingSketch;
use super::totals::Totals;
use crate::engine::exact_sum::Fixed;
use crate::engine::plan::{ColumnKind, ColumnPlan, SeriesPlan};
use crate::engine::time::{Millis, Timestamp};

/// Tiles of about the same number of rows; one more, and the two oldest become one.
const TILES_OF_A_SIZE: usize = 8;

/// One series' tiles, oldest first.
#[derive(Clone, Debug)]
pub struct Tiles {
    pub tiles: Vec<Tile>,
    /// By column, where some feature reads distinct keys.
    pub sketches: Box<[Option<SlidingSketch>]>,
}

/// Consecutive rows.
#[derive(Clone, Debug)]
pub struct Tile {
    pub first: Timestamp,
    pub last: Timestamp,
    pub n_rows: u32,
    /// Rows of the tiles after it.
    pub n_later: u32,
    pub columns: Box<[TileColumn]>,
}

#[derive(Clone, Copy, Debug)]
pub struct TileColumn {
    /// Of all that came before it in the column, as its index counts; a stored
    /// tile has what is its own here.
    pub before: Totals,
    /// Least and greatest of it and of the tiles after it.
    pub extremes: (f64, f64),
    /// Sum and sum of squares of the numbers that fixed point does not hold.
    pub wide: (f64, f64),
    /// The cell of its first row that has one.
    pub first: Option<u64>,
}

/// Where a window begins among tiles.
#[derive(Clone, Copy, Debug)]
pub struct TileEdge {
    pub tile: usize,
    /// How much of that tile lies in the window, 0..=1.
    pub share: f64,
    pub from: Timestamp,
}

/// How many rows become a tile at once: an eighth, so that seven times as many
/// stay behind the newest tile, and by the merging behind every other.
pub fn rows_of_a_tile(budget: usize) -> usize {
    (budget / TILES_OF_A_SIZE / BLOCK).max(1) * BLOCK
}

impl Tiles {
    pub fn new(sketches: Box<[Option<SlidingSketch>]>) -> Self {
        Self { tiles: Vec::new(), sketches }
    }

    pub fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }

    pub fn push(&mut self, tile: Tile) {
        let unit = tile.n_rows.max(1);
        let size = |tile: &Tile| (tile.n_rows / unit).checked_ilog2().unwrap_or(0);
        self.tiles.iter_mut().for_each(|earlier| earlier.precede(&tile));
        self.tiles.push(tile);
        let mut end = self.tiles.len();
        loop {
            let size_at_end = size(&self.tiles[end - 1]);
            let start = self.tiles[..end].partition_point(|tile| size(tile) > size_at_end);
            if end - start <= TILES_OF_A_SIZE {
                return;
            }
            let later = self.tiles.remove(start + 1);
            self.tiles[start].absorb(&later);
            end = start + 1;
        }
    }

    /// Counts a late event in the tile of its time.
    pub fn insert(&mut self, plan: &SeriesPlan, time: Timestamp, cells: &[u64]) {
        let at = self.tiles.partition_point(|tile| tile.last < time).min(self.tiles.len() - 1);
        let (upto, later) = self.tiles.split_at_mut(at + 1);
        let Some(tile) = upto.last_mut() else { return };
        (tile.first, tile.last) = (tile.first.min(time), tile.last.max(time));
        tile.n_rows += 1;
        let columns = cells.iter().zip(&plan.columns);
        let columns = columns.map(|(cell, plan)| TileColumn::of(plan, Totals::default(), &[*cell]));
        let one = Tile { first: time, last: time, n_rows: 1, n_later: 0, columns: columns.collect() };
        for (column, (&cell, column_plan)) in cells.iter().zip(&plan.columns).enumerate() {
            tile.columns[column].absorb(&one.columns[column]);
            tile.columns[column].widen(&one.columns[column]);
            let more = Totals::of_cell(column_plan, cell);
            for TileColumn { before, .. } in later.iter_mut().map(|tile| &mut tile.columns[column]) {
                *before = before.plus(more);
            }
        }
        upto[..at].iter_mut().for_each(|earlier| earlier.precede(&one));
    }

    /// Forgets the tiles that end at or before `horizon`.
    pub fn drop_until(&mut self, horizon: Timestamp) {
        self.tiles.drain(..self.first_after(horizon));
    }

    /// The first tile that ends after `time`; or how many there are.
    fn first_after(&self, time: Timestamp) -> usize {
        match &self.tiles[..] {
            // Where the longest window begins: what is before is forgotten.
            [first, ..] if first.last > time => 0,
            // Where the shortest do.
            [.., last] if last.last <= time => self.tiles.len(),
            tiles => tiles.partition_point(|tile| tile.last <= time),
        }
    }

    /// Where a window over what is after `from` begins; none if there are only rows in it.
    pub fn edge(&self, from: Timestamp) -> Option<TileEdge> {
        let tile = self.first_after(from);
        let Tile { first, last, .. } = *self.tiles.get(tile)?;
        let millis = |length: Millis| length.as_millis() as f64;
        let share =
            if first > from { 1.0 } else { millis(last.since(from)) / (millis(last.since(first)) + 1.0) };
        Some(TileEdge { tile, share, from })
    }

    /// Rows of the tiles in a window.
    pub fn n_rows(&self, edge: TileEdge) -> f64 {
        let tile = &self.tiles[edge.tile];
        edge.share * f64::from(tile.n_rows) + f64::from(tile.n_later)
    }

    /// The tiles of a window, each with its share.
    pub fn shares(&self, edge: TileEdge) -> impl Iterator<Item = (&Tile, f64)> {
        let share = move |at: usize| if at == 0 { edge.share } else { 1.0 };
        self.tiles[edge.tile..].iter().enumerate().map(move |(at, tile)| (tile, share(at)))
    }

    /// Every cell that a read may return.
    pub fn first_cells(&self) -> impl Iterator<Item = &u64> {
        self.tiles.iter().flat_map(|tile| &tile.columns).filter_map(|column| column.first.as_ref())
    }

    /// Turns the totals before each tile of a column into those of each tile;
    /// `rows` is what came before the rows.
    pub fn unstack(&mut self, column: usize, rows: Totals) {
        let mut after = rows;
        for tile in self.tiles.iter_mut().rev() {
            let before = &mut tile.columns[column].before;
            (*before, after) = (after.minus(*before), *before);
        }
    }

    /// The inverse of [`Tiles::unstack`]; what each column has before the rows.
    pub fn stack(&mut self, n_columns: usize) -> Vec<Totals> {
        let mut before = vec![Totals::default(); n_columns];
        for tile in &mut self.tiles {
            for (column, before) in tile.columns.iter_mut().zip(&mut before) {
                let own = std::mem::replace(&mut column.before, *before);
                *before = before.plus(own);
            }
        }
        let mut n_later = 0;
        for tile in self.tiles.iter_mut().rev() {
            tile.n_later = n_later;
            n_later = n_later.saturating_add(tile.n_rows);
        }
        before
    }
}

impl Tile {
    /// Whether a row of it has the column; every row is an event.
    pub fn has_any(&self, column: Option<usize>) -> bool {
        column.is_none_or(|column| self.columns[column].first.is_some())
    }

    /// Takes notice of what is after it now.
    fn precede(&mut self, later: &Self) {
        self.n_later = self.n_later.saturating_add(later.n_rows);
        for (column, later) in self.columns.iter_mut().zip(&later.columns) {
            column.widen(later);
        }
    }

    fn absorb(&mut self, later: &Self) {
        self.last = later.last;
        self.n_rows += later.n_rows;
        self.n_later = self.n_later.saturating_sub(later.n_rows);
        for (column, later) in self.columns.iter_mut().zip(&later.columns) {
            column.absorb(later);
        }
    }
}

impl TileColumn {
    pub fn of(plan: &ColumnPlan, before: Totals, cells: &[u64]) -> Self {
        let is_number = plan.kind == ColumnKind::Number;
        let wide = cells.iter().map(|&cell| f64::from_bits(cell));
        let wide = wide.filter(|number| is_number && !number.is_nan() && Fixed::of(*number).is_none());
        Self {
            before,
            extremes: if is_number { (least_of(cells), greatest_of(cells)) } else { (f64::NAN, f64::NAN) },
            wide: wide.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x)),
            first: cells.iter().copied().find(|&cell| plan.has(cell)),
        }
    }

    fn widen(&mut self, later: &Self) {
        let (least, greatest) = later.extremes;
        self.extremes = (self.extremes.0.min(least), self.extremes.1.max(greatest));
    }

    fn absorb(&mut self, later: &Self) {
        self.wide = (self.wide.0 + later.wide.0, self.wide.1 + later.wide.1);
        self.first = self.first.or(later.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_at_most_a_seventh_of_the_rows_after_it() {
        const BUDGET: usize = 1_024;
        let n_rows = rows_of_a_tile(BUDGET);
        let mut tiles = Tiles::new(Box::default());
        for n in 0..8_000 {
            let at = Timestamp::from_millis(n);
            tiles.push(Tile {
                first: at,
                last: at,
                n_rows: n_rows as u32,
                n_later: 0,
                columns: Box::default(),
            });
            let mut later = BUDGET + 1 - n_rows;
            for tile in tiles.tiles.iter().rev() {
                assert_eq!(tile.n_later as usize, later + n_rows - BUDGET - 1);
                assert!(7 * tile.n_rows as usize <= later, "{n}: {} before {later}", tile.n_rows);
                later += tile.n_rows as usize;
            }
        }
        assert_eq!(tiles.tiles.iter().map(|tile| tile.n_rows as usize).sum::<usize>(), 8_000 * n_rows);
        assert!(tiles.tiles.len() < 100, "{} tiles of a million rows", tiles.tiles.len());
    }
}
