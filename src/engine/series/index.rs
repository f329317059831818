//! What is known of rows together, so that a window need not read each of its own.
//!
//! Every window but that of the previous session ends at the as-of, where the
//! rows end. So sums and counts of a window are differences of running totals,
//! its extremes are those of a suffix, and a value is distinct in it if its
//! latest row lies in it: one index serves windows of every length, and what
//! is touched in taking in a row or reading a window does not grow with it.

mod key;
mod minima;
mod number;

pub use key::KeyIndex;
pub use number::{NumberIndex, extremes_of};

use super::rows::Rows;
use super::totals::Totals;
use crate::engine::plan::{ColumnKind, ColumnPlan};

/// One column's index.
#[derive(Clone, Debug)]
pub enum ColumnIndex {
    Number(NumberIndex),
    Key(KeyIndex),
}

impl ColumnIndex {
    /// The index of the rows there are, after others that had `before`.
    pub fn of(plan: &ColumnPlan, rows: &Rows, column: usize, before: Totals) -> Self {
        let mut index = match plan.kind {
            ColumnKind::Number => Self::Number(NumberIndex::new(plan, before)),
            ColumnKind::Key => Self::Key(KeyIndex::new(plan, before.n)),
        };
        let cells = rows.column(column);
        for position in 0..rows.end() {
            index.push(&cells[..=position], rows.start());
        }
        index
    }

    /// Takes in the last of the cells; those before `start` are in no window.
    pub fn push(&mut self, cells: &[u64], start: usize) {
        match self {
            Self::Number(index) => index.push(cells),
            Self::Key(index) => index.push(cells, start),
        }
    }

    /// Takes in the cell at `position`, before others.
    pub fn insert(&mut self, cells: &[u64], position: usize, start: usize) {
        match self {
            Self::Number(index) => index.insert(cells, position),
            Self::Key(index) => index.insert(cells, position, start),
        }
    }

    /// What the rows before `position` had, and those that were there before them.
    pub fn before(&self, cells: &[u64], position: usize) -> Totals {
        match self {
            Self::Number(index) => index.before(cells, position),
            Self::Key(index) => Totals { n: index.before(cells, position), ..Totals::default() },
        }
    }

    /// Counts a row before all that are there.
    pub fn add_before(&mut self, more: Totals) {
        match self {
            Self::Number(index) => index.add_before(more),
            Self::Key(index) => index.add_before(more.n),
        }
    }

    /// Forgets blocks at the front: positions have gone down by so much.
    pub fn drop_blocks(&mut self, n_blocks: usize) {
        match self {
            Self::Number(index) => index.drop_blocks(n_blocks),
            Self::Key(index) => index.drop_blocks(n_blocks),
        }
    }
}
