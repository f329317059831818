//! How many distinct keys there are in a window, roughly.

mod window;

use smallvec::SmallVec;

use super::hyperloglog::{self, Ranks, max_rank};
use super::rows::time_of;
use super::totals::NO_KEY;
use crate::engine::time::{Millis, Timestamp};
use window::WindowRanks;

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
    /// None while they hold no more than rows, whose keys are counted one by one.
    windows: Vec<KeptWindow>,
}

type KeptWindow = (Millis, Option<WindowRanks>);

/// The latest time that fits beside a rank, in milliseconds.
const MAX_TIME: i64 = (1 << (u64::BITS - RANK_BITS)) - 1;

fn pack(time: Timestamp, rank: u8) -> u64 {
    // Events lie between 1970 and the year 10,000, in 48 bits; windows may begin before.
    (time.as_millis().clamp(0, MAX_TIME) as u64) << RANK_BITS | u64::from(rank)
}

fn time(entry: u64) -> Timestamp {
    Timestamp::from_millis((entry >> RANK_BITS) as i64)
}

fn rank(entry: u64) -> u8 {
    entry as u8
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
        self.windows.extend(windows.map(|length| (length, None)));
        self
    }

    /// Adds a key of an event at `time`, if there is one; what is at or before
    /// `horizon` in the same register is forgotten.
    pub fn insert(&mut self, key: u64, time: Timestamp, horizon: Timestamp) {
        if key == NO_KEY {
            return;
        }
        let (number, new_rank) = hyperloglog::place(key, INDEX_BITS);
        let (register, entry) = (&mut self.registers[number], pack(time, new_rank));
        let when = |entry: u64| entry >> RANK_BITS;
        // Nearly every event is later than all there are, and the greatest of no window.
        if register.last().is_none_or(|&last| when(last) < when(entry)) {
            let kept = register.iter().rposition(|&other| rank(other) > new_rank).map_or(0, |last| last + 1);
            let greater = kept.checked_sub(1).map(|greater| self::time(register[greater]));
            if !self.windows.iter().any(|window| is_changed(window, greater)) {
                register.truncate(kept);
                register.push(entry);
                forget_until(register, horizon);
                return;
            }
        }
        let at = register.iter().rposition(|&other| when(other) < when(entry)).map_or(0, |last| last + 1);
        if register.get(at).is_some_and(|&later| rank(later) >= rank(entry)) {
            return;
        }
        // Of equal times the greater rank is enough.
        let until = at + usize::from(register.get(at).is_some_and(|&other| when(other) == when(entry)));
        let from =
            register[..at].iter().rposition(|&other| rank(other) > rank(entry)).map_or(0, |last| last + 1);
        let greater = from.checked_sub(1).map(|greater| self::time(register[greater]));
        let rank_of = |window: &KeptWindow| {
            let is_changed = is_changed(window, greater);
            window.1.as_ref().filter(|_| is_changed).map(|window| window.rank_of(register))
        };
        let old: SmallVec<[Option<u8>; 4]> = self.windows.iter().map(rank_of).collect();
        if from < until {
            register[from] = entry;
            register.drain(from + 1..until);
        } else {
            register.insert(from, entry);
        }
        forget_until(register, horizon);
        for ((_, window), old) in self.windows.iter_mut().zip(old) {
            if let Some((window, old)) = window.as_mut().zip(old) {
                window.change(number, old, register);
            }
        }
    }

    /// Moves the windows on to `now`, before what comes then is inserted;
    /// `rows`: from when on keys are counted one by one.
    pub fn advance(&mut self, now: Timestamp, rows: Timestamp) {
        for (length, window) in &mut self.windows {
            let from = now.before(*length);
            match window {
                _ if from >= rows => *window = None,
                Some(window) => window.advance(from, &self.registers),
                None => *window = Some(WindowRanks::of(&self.registers, from)),
            }
        }
    }

    /// About how many distinct keys there are after `time`, where a window of `length` begins.
    pub fn count_after(&self, time: Timestamp, length: Option<Millis>) -> f64 {
        let kept = self.windows.iter().find(|(kept, _)| Some(*kept) == length);
        let kept = kept.and_then(|(_, window)| window.as_ref()?.count_after(time, &self.registers));
        kept.unwrap_or_else(|| {
            let ranks = self.registers.iter().map(|register| greatest_after(register, time).map_or(0, rank));
            ranks.collect::<Ranks>().estimate(INDEX_BITS).round()
        })
    }

    pub fn registers(&self) -> &[Vec<u64>] {
        &self.registers
    }

    /// Rebuilds a sketch; none if these are no registers of one.
    pub fn from_registers(registers: Vec<Vec<u64>>) -> Option<Self> {
        let is_register = |register: &Vec<u64>| {
            let is_rank = |&entry: &u64| (1..=max_rank(INDEX_BITS)).contains(&rank(entry));
            let is_next = |&a: &u64, &b: &u64| time(a) < time(b) && rank(a) > rank(b);
            register.iter().all(is_rank) && register.is_sorted_by(is_next)
        };
        (registers.len() == Self::N_REGISTERS && registers.iter().all(is_register))
            .then(|| Self { registers: registers.into(), windows: Vec::new() })
    }
}

/// Whether a window's greatest rank of a register changes by what is new after
/// `greater`, the time of a greater rank.
fn is_changed((_, window): &KeptWindow, greater: Option<Timestamp>) -> bool {
    window.as_ref().is_some_and(|window| greater.is_none_or(|greater| greater <= window.from()))
}

fn forget_until(register: &mut Vec<u64>, horizon: Timestamp) {
    if register.first().is_some_and(|&first| time(first) <= horizon) {
        register.drain(..first_after(register, horizon));
    }
}

/// Where in a register the entries after `time` begin.
fn first_after(register: &[u64], time: Timestamp) -> usize {
    register.partition_point(|&entry| entry <= pack(time, u8::MAX))
}

/// The greatest after `time`: ranks descend, so it is the first.
fn greatest_after(register: &[u64], time: Timestamp) -> Option<u64> {
    register.get(first_after(register, time)).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

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
            watched.advance(time, at(20_000));
            watched.insert(key, time, at(-1));
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

    proptest! {
        #[test]
        fn kept_windows_read_as_the_registers_do(
            inputs in prop::collection::vec((0_u64..400, 0_i64..300, 0_i64..40, 0_i64..60), 1..400),
        ) {
            let seconds = |n| Millis::new(n * 1_000);
            let (short, long) = (seconds(30), seconds(250));
            let mut sketch = SlidingSketch::default().with_windows([short, long].into_iter());
            let mut now = Timestamp::from_millis(1_700_000_000_000);
            for (number, late, pause, rows) in inputs {
                now = now.after(seconds(pause));
                sketch.advance(now, now.before(seconds(rows)));
                // Few registers, so that keys meet.
                let key = key(number) & !(0xf0 << 56);
                sketch.insert(key, now.before(seconds(late)), now.before(long));
                let later = now.after(seconds(pause / 2));
                for (length, now) in [short, long].into_iter().flat_map(|length| [(length, now), (length, later)]) {
                    let from = now.before(length);
                    prop_assert_eq!(sketch.count_after(from, Some(length)), sketch.count_after(from, None));
                }
            }
        }
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
