//! The index of a column of keys.

use hashbrown::HashTable;

use crate::engine::plan::ColumnPlan;
use crate::engine::series::rows::BLOCK;
use crate::engine::series::totals::{NO_KEY, n_present};

/// Blocks whose marks are counted together.
const GROUP: usize = 16;

#[derive(Clone, Debug)]
pub struct KeyIndex {
    /// By block: present keys before it.
    pub(super) before: Vec<u32>,
    /// Present keys.
    n: u32,
    /// If some feature reads distinct keys.
    latest: Option<Box<Latest>>,
}

/// Which rows are the latest of their key.
#[derive(Clone, Debug, Default)]
struct Latest {
    /// By block, a bit for each such row.
    marks: Vec<u32>,
    /// By [`GROUP`] of blocks, how many there are.
    n_marks: Vec<u32>,
    /// Their positions, by key; and of some rows that are in no window any more.
    positions: HashTable<u32>,
}

impl KeyIndex {
    pub fn new(plan: &ColumnPlan, n: u32) -> Self {
        Self { before: Vec::new(), n, latest: plan.distinct.then(Box::default) }
    }

    pub fn push(&mut self, cells: &[u64], start: usize) {
        let Some((&key, before)) = cells.split_last() else { return };
        if before.len().is_multiple_of(BLOCK) {
            self.before.push(self.n);
        }
        self.n = self.n.wrapping_add(u32::from(key != NO_KEY));
        if let Some(latest) = &mut self.latest {
            latest.push(cells, start);
        }
    }

    pub fn insert(&mut self, cells: &[u64], position: usize, start: usize) {
        let present = |position: usize| u32::from(cells[position] != NO_KEY);
        if (cells.len() - 1).is_multiple_of(BLOCK) {
            self.before.push(self.n);
        }
        self.n = self.n.wrapping_add(present(position));
        // The rows after it have moved on by one: each later block has lost its last to the next.
        for block in position / BLOCK + 1..self.before.len() {
            let before = &mut self.before[block];
            *before = before.wrapping_add(present(position)).wrapping_sub(present(block * BLOCK));
        }
        if let Some(latest) = &mut self.latest {
            latest.insert(cells, position, start);
        }
    }

    /// Present keys before `position`.
    #[inline(always)]
    pub fn before(&self, cells: &[u64], position: usize) -> u32 {
        if position == cells.len() {
            return self.n;
        }
        let block = position / BLOCK;
        self.before[block].wrapping_add(n_present(&cells[block * BLOCK..position]))
    }

    /// Distinct keys from `position` to the last row, if they are counted.
    pub fn n_distinct_from(&self, position: usize) -> Option<u32> {
        Some(self.latest.as_ref()?.n_from(position))
    }

    pub fn add_before(&mut self, more: u32) {
        self.before.iter_mut().for_each(|before| *before = before.wrapping_add(more));
        self.n = self.n.wrapping_add(more);
    }

    pub fn drop_blocks(&mut self, n_blocks: usize) {
        self.before.drain(..n_blocks);
        if let Some(latest) = &mut self.latest {
            latest.drop_blocks(n_blocks);
        }
    }
}

impl Latest {
    fn push(&mut self, cells: &[u64], start: usize) {
        self.grow(cells.len());
        self.mark_if_latest(cells, cells.len() - 1, start);
    }

    fn insert(&mut self, cells: &[u64], position: usize, start: usize) {
        self.grow(cells.len());
        self.move_on(cells, position);
        self.mark_if_latest(cells, position, start);
    }

    fn grow(&mut self, n_rows: usize) {
        self.marks.resize(n_rows.div_ceil(BLOCK), 0);
        self.n_marks.resize(self.marks.len().div_ceil(GROUP), 0);
    }

    /// Takes in the key of a new row.
    fn mark_if_latest(&mut self, cells: &[u64], position: usize, start: usize) {
        let key = cells[position];
        if key == NO_KEY {
            return;
        }
        if let Some(latest) = self.positions.find_mut(key, |&row| cells[row as usize] == key) {
            let earlier = *latest as usize;
            if earlier > position {
                return;
            }
            *latest = position as u32;
            self.unmark(earlier);
        } else {
            let hash = |row: &u32| cells[*row as usize];
            if self.positions.len() == self.positions.capacity() {
                self.positions.retain(|row| *row as usize >= start);
                // Room for half as many more, lest the next few find it full again.
                self.positions.reserve(self.positions.len() / 2, hash);
            }
            self.positions.insert_unique(key, position as u32, hash);
        }
        self.marks[position / BLOCK] |= 1 << (position % BLOCK);
        self.n_marks[position / BLOCK / GROUP] += 1;
    }

    fn unmark(&mut self, position: usize) {
        self.marks[position / BLOCK] &= !(1 << (position % BLOCK));
        self.n_marks[position / BLOCK / GROUP] -= 1;
    }

    /// Moves on the rows from `position`, where a new one stands now.
    fn move_on(&mut self, cells: &[u64], position: usize) {
        let (first, at) = (position / BLOCK, position % BLOCK);
        let mut pushed_out = 0;
        for (block, marks) in self.marks.iter_mut().enumerate().skip(first) {
            let below = if block == first { (1 << at) - 1 } else { 0 };
            let moved = *marks & below | (*marks & !below) << 1 | pushed_out;
            pushed_out = *marks >> (BLOCK - 1);
            *marks = moved;
        }
        for (group, marks) in self.marks.chunks(GROUP).enumerate().skip(first / GROUP) {
            self.n_marks[group] = marks.iter().map(|marks| marks.count_ones()).sum();
        }
        let n_moved = cells.len() - 1 - position;
        if n_moved < self.positions.len() / 8 {
            let marks = &self.marks;
            // From the last, so that no two are ever at one position.
            for moved in
                (position + 1..cells.len()).rev().filter(|row| marks[row / BLOCK] >> (row % BLOCK) & 1 == 1)
            {
                let was = moved as u32 - 1;
                if let Some(row) = self.positions.find_mut(cells[moved], |&row| row == was) {
                    *row += 1;
                }
            }
        } else {
            self.positions.iter_mut().filter(|row| **row as usize >= position).for_each(|row| *row += 1);
        }
    }

    fn n_from(&self, position: usize) -> u32 {
        let block = position / BLOCK;
        let Some(&marks) = self.marks.get(block) else { return 0 };
        let group_end = ((block / GROUP + 1) * GROUP).min(self.marks.len());
        let of_group: u32 = self.marks[block + 1..group_end].iter().map(|marks| marks.count_ones()).sum();
        let later: u32 = self.n_marks[block / GROUP + 1..].iter().sum();
        (marks >> (position % BLOCK)).count_ones() + of_group + later
    }

    fn drop_blocks(&mut self, n_blocks: usize) {
        let gone = (n_blocks * BLOCK) as u32;
        self.marks.drain(..n_blocks);
        self.n_marks.clear();
        let groups = self.marks.chunks(GROUP);
        self.n_marks.extend(groups.map(|marks| marks.iter().map(|marks| marks.count_ones()).sum::<u32>()));
        self.positions.retain(|row| {
            let is_kept = *row >= gone;
            *row = row.wrapping_sub(gone);
            is_kept
        });
    }
}
