//! How many distinct keys there are in a window, roughly.

use smallvec::SmallVec;

use super::hyperloglog::{self, Ranks, max_rank};
use super::rows::time_of;
use super::totals::NO_KEY;
use crate::engine::time::{Millis, Timestamp};

const INDEX_BITS: u32 = 8;
const RANK_BITS: u32 = 8;

/// A HyperLogLog that can be read over any window that ends now (Chabchoub and
/// Hébrail, "Sliding HyperLogLog", 2010).
///
/// Each register keeps the ranks that may yet be the greatest of some window:
/// those to which no later one is equal or greater. What is read of a window is
/// what a HyperLogLog of its keys would say, with a standard error of 6.5 %
/// (1.04 / sqrt(256)), in whatever order the keys came.
#[derive(Clone, Debug, PartialEq)]
pub struct SlidingSketch {
    /// Of each register: time and rank, packed; times ascend and ranks descend.
    registers: Box<[Vec<u64>]>,
    /// Of the windows that features read, so that they need not read every register.
    windows: Vec<WindowRanks>,
}

/// The greatest ranks of one window.
#[derive(Clone, Copy, Debug, PartialEq)]
struct WindowRanks {
    length: Millis,
    ranks: Ranks,
    /// What they come to; none if they have changed since.
    estimate: Option<f64>,
    /// It holds what is later than this …
    from: Timestamp,
    /// … and stays so up to a window from here, where the first of its ranks leaves it.
    until: Timestamp,
}

/// The latest time that fits beside a rank, in milliseconds.
const MAX_TIME: i64 = (1 << (u64::BITS - RANK_BITS)) - 1;

fn pack(time: Timestamp, rank: u64) -> u64 {
    // Events lie between 1970 and the year 10,000, in 48 bits; windows may begin before.
    (time.as_millis().clamp(0, MAX_TIME) as u64) << RANK_BITS | rank
}

fn time(entry: u64) -> Timestamp {
    Timestamp::from_millis((entry >> RANK_BITS) as i64)
}

fn rank(entry: u64) -> u64 {
    entry & ((1 << RANK_BITS) - 1)
}

impl Default for SlidingSketch {
    fn default() -> Self {
        Self { registers: vec![Vec::new(); Self::N_REGISTERS].into(), windows: Vec::new() }
    }
}

impl SlidingSketch {
    pub const N_REGISTERS: usize = 1 << INDEX_BITS;

    /// Of a column's keys and their times, as cells; `windows`: that features read.
    pub fn of(times: &[u64], keys: &[u64], windows: impl Iterator<Item = Millis>) -> Self {
        let mut sketch = Self::default().with_windows(windows);
        for (&time, &key) in times.iter().zip(keys) {
            sketch.insert(key, time_of(time), Timestamp::from_millis(0));
        }
        sketch
    }

    #[must_use]
    pub fn with_windows(mut self, windows: impl Iterator<Item = Millis>) -> Self {
        self.windows.clear();
        self.windows.extend(windows.map(|length| WindowRanks::of(&self.registers, length, Timestamp::MIN)));
        self
    }

    /// Adds a key of an event at `time`, if there is one; what is at or before
    /// `horizon` in the same register is forgotten.
    pub fn insert(&mut self, key: u64, time: Timestamp, horizon: Timestamp) {
        if key == NO_KEY {
            return;
        }
        let (register, new_rank) = hyperloglog::place(key, INDEX_BITS);
        let (register, new_rank) = (&mut self.registers[register], u64::from(new_rank));
        let entry = pack(time, new_rank);
        let at = register.partition_point(|&other| other >> RANK_BITS < entry >> RANK_BITS);
        if register[at..].first().is_some_and(|&later| rank(later) >= new_rank) {
            return;
        }
        // Of equal times the greater rank is enough.
        let until = at + usize::from(register.get(at).is_some_and(|e| e >> RANK_BITS == entry >> RANK_BITS));
        let from = register[..at].partition_point(|&earlier| rank(earlier) > new_rank);
        let before: SmallVec<[u8; 8]> =
            self.windows.iter().map(|window| rank_after(register, window.from)).collect();
        if from < until {
            register[from] = entry;
            register.drain(from + 1..until);
        } else {
            register.insert(from, entry);
        }
        let gone = first_after(register, horizon);
        if gone > 0 {
            register.drain(..gone);
        }
        for (window, before) in self.windows.iter_mut().zip(before) {
            // Seldom: most keys have no greater rank than those before them.
            if rank_after(register, window.from) != before {
                window.ranks.remove(before);
                window.add(register);
            }
        }
    }

    /// Makes the windows that begin before `rows`, whose keys are counted one
    /// by one, ready to be read as of `now`.
    pub fn advance(&mut self, now: Timestamp, rows: Timestamp) {
        for window in &mut self.windows {
            let from = now.before(window.length);
            if from < window.until {
                window.from = from;
            } else if from < rows {
                *window = WindowRanks::of(&self.registers, window.length, from);
            }
            if from < rows {
                window.estimate.get_or_insert_with(|| window.ranks.estimate(INDEX_BITS));
            }
        }
    }

    /// The estimate of distinct keys after `time`, where a window of `length` begins.
    pub fn count_after(&self, time: Timestamp, length: Option<Millis>) -> f64 {
        let ready = |window: &&WindowRanks| {
            Some(window.length) == length && (window.from..window.until).contains(&time)
        };
        let ready = self.windows.iter().find(ready).and_then(|window| window.estimate);
        ready.unwrap_or_else(|| {
            let ranks = self.registers.iter().map(|register| rank_after(register, time));
            ranks.collect::<Ranks>().estimate(INDEX_BITS)
        })
    }

    pub fn registers(&self) -> &[Vec<u64>] {
        &self.registers
    }

    /// Rebuilds a sketch; none if these are no registers of one.
    pub fn from_registers(registers: Vec<Vec<u64>>) -> Option<Self> {
        let is_register = |register: &Vec<u64>| {
            let is_rank = |&entry: &u64| (1..=u64::from(max_rank(INDEX_BITS))).contains(&rank(entry));
            let is_next = |&a: &u64, &b: &u64| time(a) < time(b) && rank(a) > rank(b);
            register.iter().all(is_rank) && register.is_sorted_by(is_next)
        };
        (registers.len() == Self::N_REGISTERS && registers.iter().all(is_register))
            .then(|| Self { registers: registers.into(), windows: Vec::new() })
    }
}

impl WindowRanks {
    fn of(registers: &[Vec<u64>], length: Millis, from: Timestamp) -> Self {
        let mut window = Self { length, ranks: Ranks::none(), estimate: None, from, until: Timestamp::MAX };
        registers.iter().for_each(|register| window.add(register));
        window
    }

    /// Counts a register that is new or has changed.
    fn add(&mut self, register: &[u64]) {
        let first = register.get(first_after(register, self.from)).copied();
        self.ranks.add(first.map_or(0, |entry| rank(entry) as u8));
        self.until = first.map_or(self.until, |entry| self.until.min(time(entry)));
        self.estimate = None;
    }
}

/// Where in a register the entries after `time` begin.
fn first_after(register: &[u64], time: Timestamp) -> usize {
    register.partition_point(|&entry| entry <= pack(time, u64::MAX >> (64 - RANK_BITS)))
}

/// The greatest rank after `time`: ranks descend, so it is the first; 0 if there is none.
fn rank_after(register: &[u64], time: Timestamp) -> u8 {
    register.get(first_after(register, time)).map_or(0, |&entry| rank(entry) as u8)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn key(number: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes())
    }

    #[test]
    fn any_window_is_within_its_error_and_order_leaves_no_trace() {
        let at = |second: i64| Timestamp::from_millis(1_700_000_000_000 + second * 1_000);
        let events: Vec<(u64, Timestamp)> =
            (0..200_000).map(|n| (key(key(n) % 30_000), at((n / 10) as i64))).collect();
        let (mut sorted, mut shuffled) = (SlidingSketch::default(), SlidingSketch::default());
        let window = Millis::new(5_000_000);
        let mut watched = SlidingSketch::default().with_windows([window].into_iter());
        for &(key, time) in &events {
            sorted.insert(key, time, at(-1));
            watched.insert(key, time, at(-1));
            watched.advance(time, at(20_000));
            let from = time.before(window);
            if key % 100 == 0 {
                assert_eq!(watched.count_after(from, Some(window)), sorted.count_after(from, None));
            }
        }
        let mut order: Vec<usize> = (0..events.len()).collect();
        order.sort_by_key(|&n| key(n as u64 + 7));
        order.iter().for_each(|&n| shuffled.insert(events[n].0, events[n].1, at(-1)));
        assert_eq!(sorted, shuffled);
        for seconds in [10, 100, 1_000, 5_000, 20_000] {
            let from = at(20_000).before(Millis::new(seconds * 1_000));
            let exact: BTreeSet<u64> =
                events.iter().filter(|(_, time)| *time > from).map(|(key, _)| *key).collect();
            let error = sorted.count_after(from, None) / exact.len() as f64 - 1.0;
            // Three standard errors.
            assert!(error.abs() < 3.0 * 0.065, "{seconds} s: off by {error}");
        }
        let n_entries: usize = sorted.registers.iter().map(Vec::len).sum();
        assert!(n_entries < 10 * SlidingSketch::N_REGISTERS, "{n_entries}");
    }

    #[test]
    fn what_has_left_every_window_is_forgotten() {
        let at = Timestamp::from_millis;
        let mut sketch = SlidingSketch::default();
        let key = key(1);
        sketch.insert(key, at(1_000), at(0));
        sketch.insert(key, at(2_000), at(1_500));
        assert_eq!(sketch.registers.iter().map(Vec::len).sum::<usize>(), 1);
        assert_eq!(sketch.count_after(at(2_000), None), 0.0);
        // A window of early history may begin before 1970.
        sketch.insert(key, at(3_000), at(-1));
        assert_eq!(sketch.count_after(at(-1), None).round(), 1.0);
    }
}
