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
pub use number::{NumberIndex, greatest_of, least_of};

use super::rows::{BLOCK, Rows};
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
    #[inline(always)]
    pub fn before(&self, cells: &[u64], position: usize) -> Totals {
        match self {
            Self::Number(index) => index.before(cells, position),
            Self::Key(index) => Totals { n: index.before(cells, position), ..Totals::default() },
        }
    }

    /// Where the block begins in which the first row from `position` on stands
    /// that has the property; rows between need not be looked at.
    pub fn block_of_first(&self, cells: &[u64], position: usize) -> usize {
        let n = self.before(cells, position).n;
        // Counts wrap, but of no user does one window hold so many.
        self.partition_blocks(|before| n.wrapping_sub(before) as i32 >= 0).saturating_sub(1) * BLOCK
    }

    /// Where the block ends in which the last row before `position` stands that has the property.
    pub fn end_of_last(&self, cells: &[u64], position: usize) -> usize {
        let n = self.before(cells, position).n;
        self.partition_blocks(|before| n.wrapping_sub(before) as i32 > 0) * BLOCK
    }

    /// How many of the first blocks have such a number of present rows before them.
    fn partition_blocks(&self, is_such: impl Fn(u32) -> bool) -> usize {
        match self {
            Self::Number(index) => index.before.partition_point(|before| is_such(before.n)),
            Self::Key(index) => index.before.partition_point(|&before| is_such(before)),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::totals::NO_KEY;
    use super::*;

    /// What happens to a column.
    #[derive(Clone, Debug)]
    enum Change {
        /// A cell comes, so many before the last.
        Insert { from_end: usize, cell: u64 },
        /// So many rows leave every window, and whole blocks of such rows are forgotten.
        Leave { rows: usize },
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let from_end = prop_oneof![6 => Just(0_usize), 3 => 0..8_usize, 1 => 0..300_usize];
        let value = prop_oneof![1 => Just(0), 1 => 0..120_u64];
        let insert = (from_end, value).prop_map(|(from_end, cell)| Change::Insert { from_end, cell });
        let leave = (0..60_usize).prop_map(|rows| Change::Leave { rows });
        prop::collection::vec(prop_oneof![40 => insert, 1 => leave], 0..800)
    }

    fn column(kind: ColumnKind) -> ColumnPlan {
        ColumnPlan { property: 0, kind, squares: true, extremes: true, distinct: true, texts: false }
    }

    /// Compares with what the rows say after every change.
    fn agrees(plan: &ColumnPlan, changes: &[Change], cell: fn(u64) -> u64) -> Result<(), TestCaseError> {
        let (mut cells, mut start) = (Vec::new(), 0);
        let mut index = ColumnIndex::of(plan, &Rows::new(1), 0, Totals::default());
        let mut forgotten = Totals::default();
        for change in changes {
            match *change {
                Change::Insert { from_end, cell: value } => {
                    let position = cells.len() - from_end.min(cells.len() - start);
                    cells.insert(position, cell(value));
                    if position + 1 == cells.len() {
                        index.push(&cells, start);
                    } else {
                        index.insert(&cells, position, start);
                    }
                }
                Change::Leave { rows } => {
                    start = (start + rows).min(cells.len());
                    let n_blocks = (start / BLOCK).saturating_sub(1);
                    let gone: Vec<u64> = cells.drain(..n_blocks * BLOCK).collect();
                    forgotten = forgotten.plus(Totals::of(plan, &gone));
                    start -= gone.len();
                    index.drop_blocks(n_blocks);
                }
            }
            for from in [start, start.midpoint(cells.len()), cells.len().saturating_sub(3).max(start)] {
                let before = forgotten.plus(Totals::of(plan, &cells[..from]));
                prop_assert_eq!(index.before(&cells, from), before);
                let mut rows = from..cells.len();
                if let Some(first) = rows.clone().find(|&row| plan.has(cells[row])) {
                    let block = index.block_of_first(&cells, from);
                    prop_assert!(block <= first && first < block.max(from) + BLOCK);
                }
                if let Some(last) = rows.rfind(|&row| plan.has(cells[row])) {
                    let end = index.end_of_last(&cells, cells.len());
                    prop_assert!(last < end && end <= last + BLOCK);
                }
                match &index {
                    ColumnIndex::Number(index) => {
                        let cells = &cells[from..];
                        let pairs = [
                            (least_of(cells), index.least_from(from)),
                            (greatest_of(cells), index.greatest_from(from)),
                        ];
                        for (expected, by_index) in pairs {
                            let by_index = by_index.expect("kept");
                            let both_none = expected.is_nan() && by_index.is_nan();
                            prop_assert!(expected == by_index || both_none, "{expected} {by_index}");
                        }
                    }
                    ColumnIndex::Key(index) => {
                        let keys: BTreeSet<&u64> =
                            cells[from..].iter().filter(|key| **key != NO_KEY).collect();
                        prop_assert_eq!(index.n_distinct_from(from), Some(keys.len() as u32));
                    }
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn numbers_equal_what_the_rows_say(changes in changes()) {
            let cell = |value| if value == 0 { f64::NAN.to_bits() } else { (value as f64 / 8.0 - 3.0).to_bits() };
            agrees(&column(ColumnKind::Number), &changes, cell)?;
        }

        #[test]
        fn keys_equal_what_the_rows_say(changes in changes()) {
            agrees(&column(ColumnKind::Key), &changes, |value| value.wrapping_mul(0x9e37_79b9_7f4a_7c15))?;
        }
    }
}
