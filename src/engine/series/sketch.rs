//! How many distinct keys there are in a window, roughly.

use super::hyperloglog::{self, max_rank};
use super::index::NO_KEY;
use super::rows::time_of;
use crate::engine::time::Timestamp;

const INDEX_BITS: u32 = 8;
const RANK_BITS: u32 = 8;

/// A HyperLogLog that can be read over any window that ends now (Chabchoub and
/// Hébrail, "Sliding HyperLogLog", 2010).
///
/// Each register keeps the ranks that may yet be the greatest of some window:
/// those to which no later one is equal or greater. What is read of a window is
/// what a HyperLogLog of its keys would say, with a standard error of 6.5 %
/// (1.04 / sqrt(256)), in whatever order the keys came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlidingSketch {
    /// Of each register: time and rank, packed; times ascend and ranks descend.
    registers: Box<[Vec<u64>]>,
}

/// The latest time that fits beside a rank, in milliseconds.
const MAX_TIME: i64 = (1 << (u64::BITS - RANK_BITS)) - 1;

fn pack(time: Timestamp, rank: u64) -> u64 {
    // Events lie between 1970 and the year 10,000, in 48 bits; windows may begin before.
    (time.as_millis().clamp(0, MAX_TIME) as u64) << RANK_BITS | rank
}

fn rank(entry: u64) -> u64 {
    entry & ((1 << RANK_BITS) - 1)
}

impl Default for SlidingSketch {
    fn default() -> Self {
        Self { registers: vec![Vec::new(); Self::N_REGISTERS].into() }
    }
}

impl SlidingSketch {
    pub const N_REGISTERS: usize = 1 << INDEX_BITS;

    /// Of a column's keys and their times, as cells.
    pub fn of(times: &[u64], keys: &[u64]) -> Self {
        let mut sketch = Self::default();
        for (&time, &key) in times.iter().zip(keys) {
            sketch.insert(key, time_of(time), Timestamp::from_millis(0));
        }
        sketch
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
        register.splice(from..until, [entry]);
        let gone = register.partition_point(|&entry| entry <= pack(horizon, u64::MAX >> (64 - RANK_BITS)));
        register.drain(..gone);
    }

    /// The estimate of distinct keys after `time`.
    pub fn count_after(&self, time: Timestamp) -> f64 {
        let until = pack(time, u64::MAX >> (64 - RANK_BITS));
        let greatest = |register: &Vec<u64>| {
            // Ranks descend: the first that is later is the greatest.
            let first = register.partition_point(|&entry| entry <= until);
            register.get(first).map_or(0, |&entry| rank(entry) as u8)
        };
        hyperloglog::estimate(self.registers.iter().map(greatest), INDEX_BITS)
    }

    pub fn registers(&self) -> &[Vec<u64>] {
        &self.registers
    }

    /// Rebuilds a sketch; none if these are no registers of one.
    pub fn from_registers(registers: Vec<Vec<u64>>) -> Option<Self> {
        let has_rank = |entry: &u64| (1..=u64::from(max_rank(INDEX_BITS))).contains(&rank(*entry));
        let is_valid = registers.len() == Self::N_REGISTERS && registers.iter().flatten().all(has_rank);
        is_valid.then(|| Self { registers: registers.into() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::time::Millis;

    fn key(number: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes())
    }

    #[test]
    fn any_window_is_within_its_error_and_order_leaves_no_trace() {
        let at = |second: i64| Timestamp::from_millis(1_700_000_000_000 + second * 1_000);
        let events: Vec<(u64, Timestamp)> =
            (0..200_000).map(|n| (key(key(n) % 30_000), at((n / 10) as i64))).collect();
        let (mut sorted, mut shuffled) = (SlidingSketch::default(), SlidingSketch::default());
        events.iter().for_each(|&(key, time)| sorted.insert(key, time, at(-1)));
        let mut order: Vec<usize> = (0..events.len()).collect();
        order.sort_by_key(|&n| key(n as u64 + 7));
        order.iter().for_each(|&n| shuffled.insert(events[n].0, events[n].1, at(-1)));
        assert_eq!(sorted, shuffled);
        for seconds in [10, 100, 1_000, 5_000, 20_000] {
            let from = at(20_000).before(Millis::new(seconds * 1_000));
            let exact: BTreeSet<u64> =
                events.iter().filter(|(_, time)| *time > from).map(|(key, _)| *key).collect();
            let error = sorted.count_after(from) / exact.len() as f64 - 1.0;
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
        assert_eq!(sketch.count_after(at(2_000)), 0.0);
        // A window of early history may begin before 1970.
        sketch.insert(key, at(3_000), at(-1));
        assert_eq!(sketch.count_after(at(-1)).round(), 1.0);
    }
}
