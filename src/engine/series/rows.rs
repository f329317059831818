//! Raw rows in canonical order, column by column.

use crate::engine::time::Timestamp;

/// Rows summarised together; room is made by whole blocks, so that a row
/// stays in its block.
pub const BLOCK: usize = 32;

/// The column of event times, as [`time_cell`].
const TIME: usize = 0;
/// The column of event uids, where a series keeps one.
const UID: usize = 1;

/// A table of 64-bit cells in one allocation, sorted by its first columns.
///
/// Positions count from the beginning of the allocation, where rows that have
/// left every window wait to be dropped together.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Column after column, each as long as the capacity.
    cells: Box<[u64]>,
    n_columns: u32,
    start: u32,
    end: u32,
}

/// Orders as the instants do.
pub fn time_cell(time: Timestamp) -> u64 {
    time.as_millis() as u64 ^ 1 << 63
}

pub fn time_of(cell: u64) -> Timestamp {
    Timestamp::from_millis((cell ^ 1 << 63) as i64)
}

impl Rows {
    pub fn new(n_columns: usize) -> Self {
        Self { cells: Box::default(), n_columns: n_columns as u32, start: 0, end: 0 }
    }

    /// Rows of these columns.
    pub fn of(columns: &[Vec<u64>]) -> Self {
        let n_rows = columns.first().map_or(0, Vec::len);
        Self { cells: columns.concat().into(), n_columns: columns.len() as u32, start: 0, end: n_rows as u32 }
    }

    pub fn n_columns(&self) -> usize {
        self.n_columns as usize
    }

    /// The first row's position.
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// The position after the last row's.
    pub fn end(&self) -> usize {
        self.end as usize
    }

    pub fn len(&self) -> usize {
        self.end() - self.start()
    }

    /// A column up to the last row.
    pub fn column(&self, column: usize) -> &[u64] {
        let first = column * self.capacity();
        &self.cells[first..first + self.end()]
    }

    /// The last row's cells, combined.
    pub fn touch(&self) -> u64 {
        let cells = self.cells.chunks_exact(self.capacity().max(1));
        let last = self.end().saturating_sub(1);
        cells.fold(0, |all, column| all ^ column.get(last).copied().unwrap_or(0))
    }

    pub fn times(&self) -> &[u64] {
        self.column(TIME)
    }

    pub fn time(&self, position: usize) -> Timestamp {
        time_of(self.times()[position])
    }

    pub fn set(&mut self, column: usize, position: usize, cell: u64) {
        let capacity = self.capacity();
        self.cells[column * capacity + position] = cell;
    }

    /// The position of the first row later than `time`, which is `until` or before it.
    pub fn after(&self, time: Timestamp, until: usize) -> usize {
        let (times, time) = (&self.times()[self.start()..until], time_cell(time));
        if times.last().is_none_or(|&last| last <= time) {
            return until;
        }
        if times[0] > time {
            return self.start();
        }
        // From the end, in steps that double: short windows touch the last rows only.
        let (mut step, mut high) = (1, times.len());
        while step < high && times[high - step] > time {
            high -= step;
            step *= 2;
        }
        let low = high.saturating_sub(step);
        self.start() + low + times[low..high].partition_point(|&row| row <= time)
    }

    /// Where a row of this time and uid belongs: after its equals.
    pub fn place_of(&self, time: u64, uid: Option<u64>) -> usize {
        let times = self.times();
        let is_before = |position: usize| match uid {
            None => times[position] <= time,
            Some(uid) => (times[position], self.column(UID)[position]) <= (time, uid),
        };
        let (mut low, mut high) = (self.start(), self.end());
        // Nearly always the end; a late event goes to its place.
        if low == high || is_before(high - 1) {
            return high;
        }
        high -= 1;
        while low < high {
            let middle = low.midpoint(high);
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Forgets the rows before `position`.
    pub fn drop_before(&mut self, position: usize) {
        self.start = position as u32;
    }

    /// Makes room for one more row. Returns how many blocks went from the
    /// front: positions have gone down by so much.
    pub fn reserve(&mut self) -> usize {
        if self.end() < self.capacity() {
            return 0;
        }
        let dead = self.start() / BLOCK * BLOCK;
        let kept = self.end() - dead;
        if dead >= BLOCK && dead >= kept / 2 {
            let capacity = self.capacity();
            for column in 0..self.n_columns as usize {
                let first = column * capacity;
                self.cells.copy_within(first + dead..first + dead + kept, first);
            }
        } else {
            let capacity = capacity_above(kept);
            let mut cells = vec![0; capacity * self.n_columns as usize].into_boxed_slice();
            for column in 0..self.n_columns as usize {
                let from = &self.column(column)[dead..];
                cells[column * capacity..column * capacity + kept].copy_from_slice(from);
            }
            self.cells = cells;
        }
        self.start -= dead as u32;
        self.end -= dead as u32;
        dead / BLOCK
    }

    /// Opens a row at `position`, its cells undefined; needs [`Rows::reserve`] before.
    pub fn open(&mut self, position: usize) {
        let (capacity, end) = (self.capacity(), self.end());
        if position < end {
            for column in 0..self.n_columns as usize {
                let first = column * capacity;
                self.cells.copy_within(first + position..first + end, first + position + 1);
            }
        }
        self.end += 1;
    }

    fn capacity(&self) -> usize {
        self.cells.len() / self.n_columns as usize
    }
}

/// Small users are many: their rows grow by two.
fn capacity_above(rows: usize) -> usize {
    match rows {
        0..16 => rows + 2,
        _ => rows + (rows / 2).next_multiple_of(BLOCK / 2),
    }
}
