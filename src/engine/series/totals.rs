//! Counts and sums that can be subtracted again.

use super::squares::SumOfSquares;
use crate::engine::exact_sum::Fixed;
use crate::engine::plan::{ColumnKind, ColumnPlan};

/// Cells of a row that has no such property.
pub const NO_NUMBER: u64 = f64::NAN.to_bits();
pub const NO_KEY: u64 = 0;

/// Count and sums of the present numbers among some rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Of the numbers that fixed point holds.
    pub sum: Fixed,
    pub squares: SumOfSquares,
    pub n: u32,
    /// Numbers that fixed point does not hold.
    pub n_wide: u32,
}

impl Totals {
    /// Of one cell of a column.
    pub fn of_cell(plan: &ColumnPlan, cell: u64) -> Self {
        match plan.kind {
            ColumnKind::Number => Self::default().with(cell, plan.squares),
            ColumnKind::Key => Self { n: u32::from(cell != NO_KEY), ..Self::default() },
        }
    }

    /// Of some cells of a column.
    pub fn of(plan: &ColumnPlan, cells: &[u64]) -> Self {
        match plan.kind {
            ColumnKind::Number => Self::of_numbers(cells, plan.squares),
            ColumnKind::Key => Self { n: n_present(cells), ..Self::default() },
        }
    }

    pub fn of_numbers(cells: &[u64], with_squares: bool) -> Self {
        let each = |cells: &[u64], totals| {
            cells.iter().fold(totals, |all: Self, &cell| all.with(cell, with_squares))
        };
        if with_squares {
            return each(cells, Self::default());
        }
        cells.chunks(Fixed::MAX_CELLS).fold(Self::default(), |totals, cells| match Fixed::sum_of(cells) {
            Some((sum, n)) => totals.plus(Self { sum, n, ..Self::default() }),
            None => each(cells, totals),
        })
    }

    fn with(mut self, cell: u64, with_squares: bool) -> Self {
        let number = f64::from_bits(cell);
        if number.is_nan() {
            return self;
        }
        self.n += 1;
        match Fixed::of(number) {
            Some(fixed) => {
                self.sum = self.sum.plus(fixed);
                if with_squares {
                    self.squares = self.squares.plus(SumOfSquares::of(fixed));
                }
            }
            None => self.n_wide += 1,
        }
        self
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            sum: self.sum.plus(other.sum),
            squares: self.squares.plus(other.squares),
            n: self.n.wrapping_add(other.n),
            n_wide: self.n_wide.wrapping_add(other.n_wide),
        }
    }

    pub fn minus(self, other: Self) -> Self {
        Self {
            sum: self.sum.minus(other.sum),
            squares: self.squares.minus(other.squares),
            n: self.n.wrapping_sub(other.n),
            n_wide: self.n_wide.wrapping_sub(other.n_wide),
        }
    }
}

/// How many keys are those of a property that is there.
pub fn n_present(keys: &[u64]) -> u32 {
    keys.iter().map(|&key| u32::from(key != NO_KEY)).sum()
}
