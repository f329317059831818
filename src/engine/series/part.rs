//! The aggregates of what a window holds: its rows, and the tiles before them.

use std::ops::Range;

use super::index::{self, ColumnIndex, NumberIndex};
use super::rows::BLOCK;
use super::tiles::{TileColumn, TileEdge, Tiles};
use super::totals::{NO_KEY, Totals};
use super::{Reading, Series, Slice, length, seconds_between};
use crate::engine::exact_sum::{ExactSum, Fixed};
use crate::engine::plan::{Aggregate, SeriesPlan, Window};
use crate::engine::time::{Millis, Timestamp};

/// A slice of one column; of the events themselves without a column.
#[derive(Clone)]
pub(super) struct Part<'a> {
    pub(super) series: &'a Series,
    pub(super) plan: &'a SeriesPlan,
    pub(super) column: Option<usize>,
    pub(super) slice: Slice,
}

impl<'a> Part<'a> {
    /// One aggregate; there is something to read.
    pub(super) fn read(&self, aggregate: Aggregate, window: Window, now: Timestamp) -> Reading {
        let since = |time: Option<Timestamp>| time.map_or(f64::NAN, |time| seconds_between(time, now));
        let duration = || match (self.first_time(), self.last_time()) {
            (Some(first), Some(last)) => seconds_between(first, last),
            _ => f64::NAN,
        };
        Reading::Number(match aggregate {
            Aggregate::Count => self.n_present(),
            Aggregate::Sum => self.sum(),
            Aggregate::Mean => self.sum() / self.n_present(),
            Aggregate::Min => self.least(),
            Aggregate::Max => self.greatest(),
            Aggregate::Std => self.deviation(),
            Aggregate::Distinct => self.n_distinct(window),
            Aggregate::First => return self.first_cell(),
            Aggregate::Last => return self.cell(self.last()),
            Aggregate::MostFrequent => return self.cell(self.most_frequent()),
            Aggregate::TimeSinceFirst => since(self.first_time()),
            Aggregate::TimeSinceLast => since(self.last_time()),
            Aggregate::MeanGap => match self.n_present() {
                n if n < 2.0 => f64::NAN,
                n => duration() / (n - 1.0),
            },
            Aggregate::Duration => duration(),
            Aggregate::Rate => self.amount() / length(window).as_seconds(),
            Aggregate::Trend => {
                // The window holds both spans.
                let middle = now.before(Millis::new(length(window).as_millis() / 2));
                let lately =
                    Part { slice: self.series.after(middle, self.series.rows.end()), ..self.clone() };
                let before = match lately.slice.tiles {
                    None => {
                        let rows = self.slice.rows.start..lately.slice.rows.start;
                        Part { slice: Slice { rows, ..self.slice }, ..self.clone() }.amount()
                    }
                    Some(_) => self.amount() - lately.amount(),
                };
                if before == 0.0 { f64::NAN } else { lately.amount() / before }
            }
            Aggregate::Decayed { .. } => f64::NAN,
        })
    }

    /// The column up to the last row there is.
    fn column(&self, column: usize) -> &'a [u64] {
        self.series.rows.column(self.plan.first_column() + column)
    }

    fn index(&self, column: usize) -> Option<&'a ColumnIndex> {
        self.series.index.as_ref().map(|index| &index[column])
    }

    fn tiles(&self) -> Option<(&'a Tiles, TileEdge)> {
        self.series.tiles.as_deref().zip(self.slice.tiles)
    }

    fn is_present(&self, column: usize, cell: u64) -> bool {
        self.plan.columns[column].has(cell)
    }

    /// Of the rows in the slice.
    #[inline(always)]
    fn totals(&self, column: usize) -> Totals {
        let (cells, Range { start, end }) = (self.column(column), self.slice.rows.clone());
        match self.index(column) {
            Some(index) => index.before(cells, end).minus(index.before(cells, start)),
            None => Totals::of(&self.plan.columns[column], &cells[start..end]),
        }
    }

    /// If the slice begins in a tile: of what comes after that tile, and of
    /// the tile, with its share.
    #[inline(always)]
    fn totals_from_tile(&self, column: usize) -> Option<(Totals, Totals, f64)> {
        let ((tiles, edge), index) = self.tiles().zip(self.index(column))?;
        let cells = self.column(column);
        let before = |tile: usize| {
            let before = tiles.tiles.get(tile).map(|tile| tile.columns[column].before);
            before.unwrap_or_else(|| index.before(cells, self.series.rows.start()))
        };
        let after_edge = before(edge.tile + 1);
        let until_end = index.before(cells, self.slice.rows.end);
        Some((until_end.minus(after_edge), after_edge.minus(before(edge.tile)), edge.share))
    }

    fn n_present(&self) -> f64 {
        let Some(column) = self.column else {
            let among_tiles = self.tiles().map_or(0.0, |(tiles, edge)| tiles.n_rows(edge));
            return among_tiles + self.slice.rows.len() as f64;
        };
        match self.totals_from_tile(column) {
            None => f64::from(self.totals(column).n),
            Some((whole, edge, share)) => f64::from(whole.n) + share * f64::from(edge.n),
        }
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let cells = self.column.map_or(&[][..], |column| &self.column(column)[self.slice.rows.clone()]);
        cells.iter().map(|&cell| f64::from_bits(cell)).filter(|number| !number.is_nan())
    }

    fn sum(&self) -> f64 {
        let Some(column) = self.column else { return f64::NAN };
        if let Some((whole, edge, share)) = self.totals_from_tile(column) {
            let sum = whole.sum.value() + share * edge.sum.value();
            let n_wide = whole.n_wide + edge.n_wide;
            return if n_wide == 0 { sum } else { sum + self.wide(column).0 };
        }
        let totals = self.totals(column);
        if totals.n_wide == 0 { totals.sum.value() } else { self.numbers().collect::<ExactSum>().value() }
    }

    /// Sum and sum of squares of the numbers that fixed point does not hold.
    fn wide(&self, column: usize) -> (f64, f64) {
        let of_tiles = self.tiles().into_iter().flat_map(|(tiles, edge)| tiles.shares(edge));
        let of_tiles = of_tiles.map(|(tile, share)| (tile.columns[column].wide, share));
        let of_rows = self.numbers().filter(|&number| Fixed::of(number).is_none());
        let of_rows = of_rows.map(|number| ((number, number * number), 1.0));
        of_tiles.chain(of_rows).fold((0.0, 0.0), |(sum, squares), (wide, share)| {
            (sum + share * wide.0, squares + share * wide.1)
        })
    }

    fn deviation(&self) -> f64 {
        let Some(column) = self.column else { return f64::NAN };
        if let Some((whole, edge, share)) = self.totals_from_tile(column) {
            let mut squares = whole.squares.value() + share * edge.squares.value();
            if whole.n_wide + edge.n_wide > 0 {
                squares += self.wide(column).1;
            }
            let (sum, n) = (self.sum(), self.n_present());
            return ((squares - sum * sum / n).max(0.0) / (n - 1.0)).sqrt();
        }
        let totals = self.totals(column);
        if totals.n_wide == 0 {
            return totals.squares.deviation(totals.sum, totals.n);
        }
        let mut squares = ExactSum::default();
        self.numbers().for_each(|number| squares.add_square(number));
        ExactSum::deviation(&self.numbers().collect(), &squares, u64::from(totals.n))
    }

    /// What rates and trends compare: the sum of the property, or the number of events.
    fn amount(&self) -> f64 {
        if self.column.is_some() { self.sum() } else { self.n_present() }
    }

    fn least(&self) -> f64 {
        self.extreme(NumberIndex::least_from, index::least_of, |tile| tile.extremes.0, f64::min)
    }

    fn greatest(&self) -> f64 {
        self.extreme(NumberIndex::greatest_from, index::greatest_of, |tile| tile.extremes.1, f64::max)
    }

    #[inline(always)]
    fn extreme(
        &self,
        of_index: impl Fn(&NumberIndex, usize) -> Option<f64>,
        of_cells: impl Fn(&[u64]) -> f64,
        of_tile: impl Fn(&TileColumn) -> f64,
        of_both: impl Fn(f64, f64) -> f64,
    ) -> f64 {
        let Some(column) = self.column else { return f64::NAN };
        let (cells, Range { start, end }) = (self.column(column), self.slice.rows.clone());
        let indexed = match self.index(column) {
            Some(ColumnIndex::Number(index)) if end == cells.len() => of_index(index, start),
            _ => None,
        };
        let of_rows = indexed.unwrap_or_else(|| of_cells(&cells[start..end]));
        match self.tiles() {
            None => of_rows,
            Some((tiles, edge)) => of_both(of_rows, of_tile(&tiles.tiles[edge.tile].columns[column])),
        }
    }

    fn n_distinct(&self, window: Window) -> f64 {
        let Some(column) = self.column else { return 0.0 };
        let of_rows = self.n_distinct_of_rows(column) as f64;
        match self.tiles() {
            None => of_rows,
            Some((tiles, edge)) => {
                let sketch = tiles.sketches[column].as_ref();
                let length = match window {
                    Window::Sliding(length) => Some(length),
                    _ => None,
                };
                sketch.map_or(of_rows, |sketch| sketch.count_after(edge.from, length).max(of_rows))
            }
        }
    }

    fn n_distinct_of_rows(&self, column: usize) -> usize {
        let (cells, Range { start, end }) = (self.column(column), self.slice.rows.clone());
        if end == cells.len()
            && let Some(ColumnIndex::Key(index)) = self.index(column)
            && let Some(n) = index.n_distinct_from(start)
        {
            return n as usize;
        }
        let keys = &cells[start..end];
        if keys.len() <= BLOCK {
            let is_latest = |(row, key): &(usize, &u64)| **key != NO_KEY && !keys[row + 1..].contains(key);
            return keys.iter().enumerate().filter(is_latest).count();
        }
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        keys.len() - usize::from(keys.first() == Some(&NO_KEY))
    }

    fn first(&self) -> Option<usize> {
        let mut rows = self.slice.rows.clone();
        let Some(column) = self.column else { return rows.next() };
        let cells = self.column(column);
        if let Some(index) = self.index(column) {
            rows.start = index.block_of_first(cells, rows.start).max(rows.start);
        }
        rows.find(|&row| self.is_present(column, cells[row]))
    }

    fn last(&self) -> Option<usize> {
        let mut rows = self.slice.rows.clone();
        let Some(column) = self.column else { return rows.next_back() };
        let cells = self.column(column);
        if let Some(index) = self.index(column) {
            rows.end = index.end_of_last(cells, rows.end).min(rows.end);
        }
        rows.rfind(|&row| self.is_present(column, cells[row]))
    }

    /// Of a window that begins within a tile, its beginning.
    fn first_time(&self) -> Option<Timestamp> {
        if let Some((tiles, edge)) = self.tiles()
            && let Some((tile, _)) = tiles.shares(edge).find(|(tile, _)| tile.has_any(self.column))
        {
            return Some(tile.first.max(edge.from));
        }
        self.first().map(|row| self.series.rows.time(row))
    }

    fn last_time(&self) -> Option<Timestamp> {
        let of_rows = self.last().map(|row| self.series.rows.time(row));
        of_rows.or_else(|| {
            let (tiles, edge) = self.tiles()?;
            let with_any = tiles.shares(edge).filter(|(tile, _)| tile.has_any(self.column));
            with_any.last().map(|(tile, _)| tile.last)
        })
    }

    fn first_cell(&self) -> Reading {
        if let (Some((tiles, edge)), Some(column)) = (self.tiles(), self.column)
            && let Some(first) = tiles.shares(edge).find_map(|(tile, _)| tile.columns[column].first)
        {
            return Reading::Cell(first);
        }
        self.cell(self.first())
    }

    /// The last row of the cell that most rows have; of several, the latest.
    fn most_frequent(&self) -> Option<usize> {
        let column = self.column?;
        let cells = self.column(column);
        let mut rows: Vec<usize> =
            self.slice.rows.clone().filter(|&row| self.is_present(column, cells[row])).collect();
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
