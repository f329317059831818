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
    blocks: Vec<NumberBlock>,
    total: Totals,
    with_squares: bool,
}

#[derive(Clone, Copy, Debug)]
struct NumberBlock {
    /// Of all rows before the block since the index was made.
    before: Totals,
    least: f64,
    greatest: f64,
}

#[derive(Clone, Debug)]
pub struct KeyIndex {
    blocks: Vec<KeyBlock>,
    /// Present keys.
    n: u32,
    /// Whether some feature reads distinct keys.
    with_latest: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct KeyBlock {
    /// Present keys before the block.
    before: u32,
    /// Rows that are the latest of their key, a bit each.
    latest: u32,
    /// Such rows in this block and those after it.
    latest_from_here: u32,
    /// A byte of each row's key: enough to pass over most blocks.
    fingerprints: [u8; BLOCK],
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
            ColumnKind::Number => {
                Self::Number(NumberIndex { blocks: Vec::new(), total, with_squares: plan.squares })
            }
            ColumnKind::Key => {
                Self::Key(KeyIndex { blocks: Vec::new(), n: total.n, with_latest: plan.distinct })
            }
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
                index.blocks.iter_mut().for_each(|block| block.before = block.before.plus(more));
                index.total = index.total.plus(more);
            }
            Self::Key(index) => {
                index.blocks.iter_mut().for_each(|block| block.before = block.before.wrapping_add(more.n));
                index.n = index.n.wrapping_add(more.n);
            }
        }
    }

    /// Forgets blocks at the front.
    pub fn drop_blocks(&mut self, n: usize) {
        match self {
            Self::Number(index) => drop(index.blocks.drain(..n)),
            Self::Key(index) => drop(index.blocks.drain(..n)),
        }
    }
}

impl NumberBlock {
    fn after(before: Totals) -> Self {
        Self { before, least: f64::NAN, greatest: f64::NAN }
    }
}

impl NumberIndex {
    fn push(&mut self, cells: &[u64]) {
        let Some((&cell, before)) = cells.split_last() else { return };
        if before.len().is_multiple_of(BLOCK) {
            self.blocks.push(NumberBlock::after(self.total));
        }
        self.total = self.total.with(cell, self.with_squares);
        if let Some(block) = self.blocks.last_mut() {
            let number = f64::from_bits(cell);
            (block.least, block.greatest) = (block.least.min(number), block.greatest.max(number));
        }
    }

    /// The rows after `position` have moved on by one: each later block has
    /// lost its last row to the next.
    fn insert(&mut self, cells: &[u64], position: usize) {
        let one = |cell: u64| Totals::default().with(cell, self.with_squares);
        let new = one(cells[position]);
        if (cells.len() - 1).is_multiple_of(BLOCK) {
            self.blocks.push(NumberBlock::after(self.total));
        }
        self.total = self.total.plus(new);
        let first = position / BLOCK;
        for (number, (block, cells)) in
            self.blocks.iter_mut().zip(cells.chunks(BLOCK)).enumerate().skip(first)
        {
            if number > first {
                block.before = block.before.plus(new).minus(one(cells[0]));
            }
            (block.least, block.greatest) = extremes_of(cells);
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
            self.blocks[block].before.plus(of(&cells[from..position]))
        } else {
            let after = self.blocks.get(block + 1).map_or(self.total, |block| block.before);
            after.minus(of(&cells[position..to]))
        }
    }

    /// Least and greatest of the rows from `from` to `to`, NaN if there is none.
    pub fn extremes(&self, cells: &[u64], from: usize, to: usize) -> (f64, f64) {
        let (first, last) = (from.div_ceil(BLOCK), to / BLOCK);
        if first >= last {
            return extremes_of(&cells[from..to]);
        }
        let ends = [extremes_of(&cells[from..first * BLOCK]), extremes_of(&cells[last * BLOCK..to])];
        let whole = self.blocks[first..last].iter().map(|block| (block.least, block.greatest));
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
        let row = before.len();
        if row.is_multiple_of(BLOCK) {
            self.blocks.push(KeyBlock { before: self.n, ..KeyBlock::default() });
        }
        self.blocks[row / BLOCK].fingerprints[row % BLOCK] = key as u8;
        if key == NO_KEY {
            return;
        }
        self.n = self.n.wrapping_add(1);
        if self.with_latest {
            let earlier = self.latest_before(row, key, cells, start);
            self.blocks[row / BLOCK].latest |= 1 << (row % BLOCK);
            // Blocks up to the earlier one have lost one and won one.
            let mut gained = 0;
            if let Some(earlier) = earlier {
                self.blocks[earlier / BLOCK].latest &= !(1 << (earlier % BLOCK));
                gained = earlier / BLOCK + 1;
            }
            self.blocks[gained..].iter_mut().for_each(|block| block.latest_from_here += 1);
        }
    }

    fn insert(&mut self, cells: &[u64], position: usize, start: usize) {
        let key = cells[position];
        let one = |cell: u64| u32::from(cell != NO_KEY);
        if (cells.len() - 1).is_multiple_of(BLOCK) {
            self.blocks.push(KeyBlock { before: self.n, ..KeyBlock::default() });
        }
        self.n = self.n.wrapping_add(one(key));
        // Every later row moves on by one, from block to block.
        let (first, at) = (position / BLOCK, position % BLOCK);
        let (mut fingerprint, mut mark) = (key as u8, 0);
        for (number, (block, cells)) in
            self.blocks.iter_mut().zip(cells.chunks(BLOCK)).enumerate().skip(first)
        {
            let from = if number == first { at } else { 0 };
            if number > first {
                block.before = block.before.wrapping_add(one(key)).wrapping_sub(one(cells[0]));
            }
            let pushed_out = (block.fingerprints[BLOCK - 1], block.latest >> (BLOCK - 1));
            block.fingerprints.copy_within(from..BLOCK - 1, from + 1);
            block.fingerprints[from] = fingerprint;
            let below = (1 << from) - 1;
            block.latest = block.latest & below | (block.latest & !below) << 1 | mark << from;
            (fingerprint, mark) = pushed_out;
        }
        if !self.with_latest {
            return;
        }
        if key != NO_KEY && !cells[position + 1..].contains(&key) {
            if let Some(earlier) = self.latest_before(position, key, cells, start) {
                self.blocks[earlier / BLOCK].latest &= !(1 << (earlier % BLOCK));
            }
            self.blocks[first].latest |= 1 << at;
        }
        let mut n = 0;
        for block in self.blocks.iter_mut().rev() {
            n += block.latest.count_ones();
            block.latest_from_here = n;
        }
    }

    /// The row before `end` that is the latest of the key.
    fn latest_before(&self, end: usize, key: u64, cells: &[u64], start: usize) -> Option<usize> {
        let fingerprint = key as u8;
        let first = start.min(end) / BLOCK;
        let blocks = self.blocks[first..end.div_ceil(BLOCK)].iter().enumerate().rev();
        for (number, block) in blocks {
            // Without an early exit: it is a comparison of vectors.
            if block.fingerprints.iter().fold(false, |any, &other| any | (other == fingerprint)) {
                let from = (number + first) * BLOCK;
                let rows = from.max(start)..(from + BLOCK).min(end);
                let is_it = |&row: &usize| cells[row] == key && block.latest >> (row % BLOCK) & 1 == 1;
                if let Some(row) = rows.rev().find(is_it) {
                    return Some(row);
                }
            }
        }
        None
    }

    /// Present keys before `position`.
    fn before(&self, cells: &[u64], position: usize) -> u32 {
        if position == cells.len() {
            return self.n;
        }
        let block = position / BLOCK;
        self.blocks[block].before.wrapping_add(n_present(&cells[block * BLOCK..position]))
    }

    /// Distinct keys from `from` to the last row.
    pub fn n_distinct(&self, from: usize) -> Option<u32> {
        let Some(block) = self.blocks.get(from / BLOCK) else { return self.with_latest.then_some(0) };
        let later = self.blocks.get(from / BLOCK + 1).map_or(0, |block| block.latest_from_here);
        self.with_latest.then(|| (block.latest >> (from % BLOCK)).count_ones() + later)
    }
}

pub fn n_present(keys: &[u64]) -> u32 {
    keys.iter().map(|&key| u32::from(key != NO_KEY)).sum()
}
