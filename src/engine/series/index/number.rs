//! The index of a column of numbers.

use super::minima::Minima;
use crate::engine::plan::ColumnPlan;
use crate::engine::series::rows::BLOCK;
use crate::engine::series::totals::Totals;

#[derive(Clone, Debug)]
pub struct NumberIndex {
    /// By block: of all rows before it since the index was made.
    pub(super) before: Vec<Totals>,
    total: Totals,
    with_squares: bool,
    /// If some feature reads extremes.
    extremes: Option<Box<Extremes>>,
}

#[derive(Clone, Debug, Default)]
struct Extremes {
    least: Minima,
    /// Of the negated numbers.
    greatest: Minima,
}

/// The least number, NaN if there is none.
pub fn least_of(cells: &[u64]) -> f64 {
    cells.iter().map(|&cell| f64::from_bits(cell)).fold(f64::NAN, f64::min)
}

/// The greatest number, NaN if there is none.
pub fn greatest_of(cells: &[u64]) -> f64 {
    cells.iter().map(|&cell| f64::from_bits(cell)).fold(f64::NAN, f64::max)
}

impl NumberIndex {
    pub fn new(plan: &ColumnPlan, total: Totals) -> Self {
        let extremes = plan.extremes.then(Box::default);
        Self { before: Vec::new(), total, with_squares: plan.squares, extremes }
    }

    pub fn push(&mut self, cells: &[u64]) {
        let Some((&cell, before)) = cells.split_last() else { return };
        if before.len().is_multiple_of(BLOCK) {
            self.before.push(self.total);
        }
        self.total = self.total.plus(self.of(&[cell]));
        let number = f64::from_bits(cell);
        if let Some(extremes) = &mut self.extremes
            && !number.is_nan()
        {
            extremes.least.push(before.len(), number);
            extremes.greatest.push(before.len(), -number);
        }
    }

    /// The rows after `position` have moved on by one: each later block has
    /// lost its last row to the next.
    pub fn insert(&mut self, cells: &[u64], position: usize) {
        let new = self.of(&cells[position..=position]);
        if (cells.len() - 1).is_multiple_of(BLOCK) {
            self.before.push(self.total);
        }
        self.total = self.total.plus(new);
        for block in position / BLOCK + 1..self.before.len() {
            let first = block * BLOCK;
            let lost = self.of(&cells[first..=first]);
            self.before[block] = self.before[block].plus(new).minus(lost);
        }
        let number = f64::from_bits(cells[position]);
        if let Some(extremes) = &mut self.extremes {
            extremes.least.insert(position, number);
            extremes.greatest.insert(position, -number);
        }
    }

    /// Of the rows before `position`.
    #[inline(always)]
    pub fn before(&self, cells: &[u64], position: usize) -> Totals {
        if position == cells.len() {
            return self.total;
        }
        let block = position / BLOCK;
        let (from, to) = (block * BLOCK, ((block + 1) * BLOCK).min(cells.len()));
        // From whichever end of the block is nearer.
        if position - from <= to - position {
            self.before[block].plus(self.of(&cells[from..position]))
        } else {
            let after = self.before.get(block + 1).copied().unwrap_or(self.total);
            after.minus(self.of(&cells[position..to]))
        }
    }

    /// The least of the rows from `position` on, NaN if there is none.
    pub fn least_from(&self, position: usize) -> Option<f64> {
        Some(self.extremes.as_deref()?.least.from(position))
    }

    /// The greatest of the rows from `position` on, NaN if there is none.
    pub fn greatest_from(&self, position: usize) -> Option<f64> {
        Some(-self.extremes.as_deref()?.greatest.from(position))
    }

    /// Counts a row before all that are there.
    pub fn add_before(&mut self, more: Totals) {
        self.before.iter_mut().for_each(|before| *before = before.plus(more));
        self.total = self.total.plus(more);
    }

    pub fn drop_blocks(&mut self, n_blocks: usize) {
        self.before.drain(..n_blocks);
        if let Some(extremes) = &mut self.extremes {
            extremes.least.drop_positions(n_blocks * BLOCK);
            extremes.greatest.drop_positions(n_blocks * BLOCK);
        }
    }

    fn of(&self, cells: &[u64]) -> Totals {
        Totals::of_numbers(cells, self.with_squares)
    }
}
