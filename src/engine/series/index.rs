//! What is known of whole blocks of rows, so that a window need not read its rows.
//!
//! Every window ends at the as-of, where the rows end: sums and counts of a
//! window are differences of running totals, and a value is distinct in a
//! window if its latest row lies in it. So one index serves windows of every
//! length, and a read touches one block and some summaries.

use super::rows::{BLOCK, Rows};
use super::squares::SumOfSquares;
use crate::engine::exact_sum::Fixed;
use crate::engine::plan::{ColumnKind, ColumnPlan};

/// Cells of a row that has no such property.
pub const NO_NUMBER: u64 = f64::NAN.to_bits();
pub const NO_KEY: u64 = 0;

/// One column's summaries.
#[derive(Clone, Debug)]
pub enum ColumnIndex {
    Number(NumberIndex),
    Key(KeyIndex),
}

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

#[derive(Clone, Debug)]
pub struct NumberIndex {
    /// Of all rows before a block since the index was made.
    before: Vec<Totals>,
    total: Totals,
    /// Least and greatest number of each block, if some feature reads them.
    extremes: Option<Vec<(f64, f64)>>,
    with_squares: bool,
}

#[derive(Clone, Debug)]
pub struct KeyIndex {
    /// Present keys before a block.
    before: Vec<u32>,
    n: u32,
    /// If some feature reads distinct values.
    latest: Option<Latest>,
}

/// Which rows are the latest of their key.
#[derive(Clone, Debug, Default)]
struct Latest {
    /// A byte of each row's key: enough to pass over most blocks.
    fingerprints: Vec<u8>,
    /// A bit a row, a word a block.
    marks: Vec<u32>,
    /// Marks in a block and those after it.
    from_block: Vec<u32>,
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

    fn of_numbers(cells: &[u64], with_squares: bool) -> Self {
        cells.iter().fold(Self::default(), |totals, &cell| totals.with(cell, with_squares))
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

impl ColumnIndex {
    /// The index of the rows there are, after others that had `total`.
    pub fn of(plan: &ColumnPlan, rows: &Rows, column: usize, total: Totals) -> Self {
        let mut index = match plan.kind {
            ColumnKind::Number => Self::Number(NumberIndex {
                before: Vec::new(),
                total,
                extremes: plan.extremes.then(Vec::new),
                with_squares: plan.squares,
            }),
            ColumnKind::Key => Self::Key(KeyIndex {
                before: Vec::new(),
                n: total.n,
                latest: plan.distinct.then(Latest::default),
            }),
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
            Self::Number(index) => {
                index.before.iter_mut().for_each(|before| *before = before.plus(more));
                index.total = index.total.plus(more);
            }
            Self::Key(index) => {
                index.before.iter_mut().for_each(|before| *before = before.wrapping_add(more.n));
                index.n = index.n.wrapping_add(more.n);
            }
        }
    }

    /// Forgets blocks at the front.
    pub fn drop_blocks(&mut self, n: usize) {
        match self {
            Self::Number(index) => {
                index.before.drain(..n);
                if let Some(extremes) = &mut index.extremes {
                    extremes.drain(..n);
                }
            }
            Self::Key(index) => {
                index.before.drain(..n);
                if let Some(latest) = &mut index.latest {
                    latest.fingerprints.drain(..n * BLOCK);
                    latest.marks.drain(..n);
                    latest.from_block.drain(..n);
                }
            }
        }
    }
}

impl NumberIndex {
    fn push(&mut self, cells: &[u64]) {
        let Some((&cell, before)) = cells.split_last() else { return };
        if before.len().is_multiple_of(BLOCK) {
            self.before.push(self.total);
            if let Some(extremes) = &mut self.extremes {
                extremes.push((f64::NAN, f64::NAN));
            }
        }
        self.total = self.total.with(cell, self.with_squares);
        if let Some((least, greatest)) = self.extremes.as_mut().and_then(|extremes| extremes.last_mut()) {
            let number = f64::from_bits(cell);
            (*least, *greatest) = (least.min(number), greatest.max(number));
        }
    }

    /// The rows after `position` have moved on by one: each later block has
    /// lost its last row to the next.
    fn insert(&mut self, cells: &[u64], position: usize) {
        let one = |cell: u64| Totals::default().with(cell, self.with_squares);
        let new = one(cells[position]);
        let first = position / BLOCK;
        for block in first + 1..self.before.len() {
            self.before[block] = self.before[block].plus(new).minus(one(cells[block * BLOCK]));
        }
        if (cells.len() - 1).is_multiple_of(BLOCK) {
            let moved = one(cells[cells.len() - 1]);
            self.before.push(self.total.plus(new).minus(moved));
            self.extremes.iter_mut().for_each(|extremes| extremes.push((f64::NAN, f64::NAN)));
        }
        self.total = self.total.plus(new);
        if let Some(extremes) = &mut self.extremes {
            for (block, cells) in cells.chunks(BLOCK).enumerate().skip(first) {
                extremes[block] = extremes_of(cells);
            }
        }
    }

    /// Of the rows before `position`.
    fn before(&self, cells: &[u64], position: usize) -> Totals {
        if position == cells.len() {
            return self.total;
        }
        let block = position / BLOCK;
        let (from, to) = (block * BLOCK, ((block + 1) * BLOCK).min(cells.len()));
        let of = |cells: &[u64]| Totals::of_numbers(cells, self.with_squares);
        // From whichever end of the block is nearer.
        if position - from <= to - position {
            self.before[block].plus(of(&cells[from..position]))
        } else {
            let after = self.before.get(block + 1).unwrap_or(&self.total);
            after.minus(of(&cells[position..to]))
        }
    }

    /// Least and greatest of the rows from `from` to `to`, NaN if there is none.
    pub fn extremes(&self, cells: &[u64], from: usize, to: usize) -> (f64, f64) {
        let Some(extremes) = &self.extremes else { return extremes_of(&cells[from..to]) };
        let (first, last) = (from.div_ceil(BLOCK), to / BLOCK);
        if first >= last {
            return extremes_of(&cells[from..to]);
        }
        let ends = [extremes_of(&cells[from..first * BLOCK]), extremes_of(&cells[last * BLOCK..to])];
        let whole = extremes[first..last].iter().copied();
        whole.chain(ends).fold((f64::NAN, f64::NAN), |all, part| (all.0.min(part.0), all.1.max(part.1)))
    }
}

/// Least and greatest number, NaN if there is none.
pub fn extremes_of(cells: &[u64]) -> (f64, f64) {
    let numbers = || cells.iter().map(|&cell| f64::from_bits(cell));
    (numbers().fold(f64::NAN, f64::min), numbers().fold(f64::NAN, f64::max))
}

impl KeyIndex {
    fn push(&mut self, cells: &[u64], start: usize) {
        let Some((&key, before)) = cells.split_last() else { return };
        if before.len().is_multiple_of(BLOCK) {
            self.before.push(self.n);
        }
        self.n = self.n.wrapping_add(u32::from(key != NO_KEY));
        if let Some(latest) = &mut self.latest {
            latest.push(cells, start);
        }
    }

    fn insert(&mut self, cells: &[u64], position: usize, start: usize) {
        let one = |cell: u64| u32::from(cell != NO_KEY);
        let new = one(cells[position]);
        for block in position / BLOCK + 1..self.before.len() {
            self.before[block] = self.before[block].wrapping_add(new).wrapping_sub(one(cells[block * BLOCK]));
        }
        if (cells.len() - 1).is_multiple_of(BLOCK) {
            self.before.push(self.n.wrapping_add(new).wrapping_sub(one(cells[cells.len() - 1])));
        }
        self.n = self.n.wrapping_add(new);
        if let Some(latest) = &mut self.latest {
            latest.insert(cells, position, start);
        }
    }

    /// Present keys before `position`.
    fn before(&self, cells: &[u64], position: usize) -> u32 {
        if position == cells.len() {
            return self.n;
        }
        let block = position / BLOCK;
        self.before[block].wrapping_add(n_present(&cells[block * BLOCK..position]))
    }

    /// Distinct keys from `from` to the last row.
    pub fn n_distinct(&self, from: usize) -> Option<u32> {
        self.latest.as_ref().map(|latest| latest.count_from(from))
    }
}

pub fn n_present(keys: &[u64]) -> u32 {
    keys.iter().map(|&key| u32::from(key != NO_KEY)).sum()
}

impl Latest {
    fn push(&mut self, cells: &[u64], start: usize) {
        let Some((&key, before)) = cells.split_last() else { return };
        self.fingerprints.push(key as u8);
        if before.len().is_multiple_of(BLOCK) {
            self.marks.push(0);
            self.from_block.push(0);
        }
        if key != NO_KEY {
            if let Some(earlier) = self.find_before(before.len(), key, cells, start) {
                self.set(earlier, false);
            }
            self.set(before.len(), true);
        }
    }

    fn insert(&mut self, cells: &[u64], position: usize, start: usize) {
        let key = cells[position];
        self.fingerprints.insert(position, key as u8);
        // Every later mark moves on by one bit, from word to word.
        if (cells.len() - 1).is_multiple_of(BLOCK) {
            self.marks.push(0);
            self.from_block.push(0);
        }
        let (first, bit) = (position / BLOCK, position % BLOCK);
        let below = (1_u32 << bit) - 1;
        let mut carried = self.marks[first] >> (BLOCK - 1);
        self.marks[first] = self.marks[first] & below | (self.marks[first] & !below) << 1;
        for word in &mut self.marks[first + 1..] {
            let carry = *word >> (BLOCK - 1);
            *word = *word << 1 | carried;
            carried = carry;
        }
        let is_latest = key != NO_KEY && !cells[position + 1..].contains(&key);
        if is_latest {
            if let Some(earlier) = self.find_before(position, key, cells, start) {
                self.marks[earlier / BLOCK] &= !(1 << (earlier % BLOCK));
            }
            self.marks[first] |= 1 << bit;
        }
        let mut n = 0;
        for (word, from_block) in self.marks.iter().zip(&mut self.from_block).rev() {
            n += word.count_ones();
            *from_block = n;
        }
    }

    /// The marked row of the key before `end`.
    fn find_before(&self, end: usize, key: u64, cells: &[u64], start: usize) -> Option<usize> {
        let fingerprint = key as u8;
        let mut to = end;
        while to > start {
            let block = (to - 1) / BLOCK;
            let from = (block * BLOCK).max(start);
            let among = &self.fingerprints[from..to];
            if among.iter().fold(false, |any, &other| any | (other == fingerprint)) {
                let is_it = |&row: &usize| cells[row] == key && self.marks[block] >> (row % BLOCK) & 1 == 1;
                if let Some(row) = (from..to).rev().find(is_it) {
                    return Some(row);
                }
            }
            to = from;
        }
        None
    }

    fn set(&mut self, row: usize, mark: bool) {
        let (block, bit) = (row / BLOCK, 1 << (row % BLOCK));
        if mark {
            self.marks[block] |= bit;
            self.from_block[..=block].iter_mut().for_each(|n| *n += 1);
        } else {
            self.marks[block] &= !bit;
            self.from_block[..=block].iter_mut().for_each(|n| *n -= 1);
        }
    }

    fn count_from(&self, from: usize) -> u32 {
        let block = from / BLOCK;
        match self.marks.get(block) {
            None => 0,
            Some(word) => {
                (word >> (from % BLOCK)).count_ones() + self.from_block.get(block + 1).copied().unwrap_or(0)
            }
        }
    }
}
