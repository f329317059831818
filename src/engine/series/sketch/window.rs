//! How many distinct keys one window holds, kept up to date.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::{INDEX_BITS, greatest_after, rank, time};
use crate::engine::series::hyperloglog::Ranks;
use crate::engine::time::Timestamp;

/// The greatest rank of every register of a sketch in one window.
///
/// It changes where a key has a greater one or where the greatest leaves, so
/// that seldom more than one register is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRanks {
    /// The window holds what is later.
    from: Timestamp,
    ranks: Ranks,
    /// How many keys they come to.
    count: f64,
    /// When each register's greatest happened, with its number, in order;
    /// and of some that are not the greatest any more.
    greatest: VecDeque<(Timestamp, u8)>,
}

impl WindowRanks {
    pub fn of(registers: &[Vec<u64>], from: Timestamp) -> Self {
        let mut window = Self { from, ranks: Ranks::none(), count: 0.0, greatest: VecDeque::new() };
        for (number, register) in registers.iter().enumerate() {
            window.ranks.add(window.rank_of(register));
            window.note(number, register);
        }
        window.refresh();
        window
    }

    /// The window holds what is later.
    pub fn from(&self) -> Timestamp {
        self.from
    }

    /// The greatest rank of a register in the window, 0 if it has none.
    pub fn rank_of(&self, register: &[u64]) -> u8 {
        greatest_after(register, self.from).map_or(0, rank)
    }

    /// Takes notice of a register that had `old` as its greatest rank.
    pub fn change(&mut self, number: usize, old: u8, register: &[u64]) {
        let new = self.rank_of(register);
        if new != old {
            self.ranks.exchange(old, new);
            self.refresh();
        }
        self.note(number, register);
    }

    /// Notes when a register's greatest will leave.
    fn note(&mut self, number: usize, register: &[u64]) {
        let Some(greatest) = greatest_after(register, self.from) else { return };
        let new = (time(greatest), number as u8);
        // Nearly always the latest of all.
        let at = match self.greatest.back() {
            Some(last) if *last >= new => self.greatest.binary_search(&new),
            _ => Err(self.greatest.len()),
        };
        if let Err(at) = at {
            self.greatest.insert(at, new);
        }
    }

    fn refresh(&mut self) {
        self.count = self.ranks.estimate(INDEX_BITS).round();
    }

    /// Moves on to the window that begins at `from`, not earlier than it did.
    pub fn advance(&mut self, from: Timestamp, registers: &[Vec<u64>]) {
        if self.holds_all(from) {
            self.from = from;
            return;
        }
        let leaving = self.leaving(from).count();
        let left: SmallVec<[_; 4]> = self.left(from, registers).collect();
        self.from = from;
        self.greatest.drain(..leaving);
        let before = self.ranks;
        for (number, old, new) in left {
            self.ranks.exchange(old, new);
            self.note(number, &registers[number]);
        }
        if self.ranks != before {
            self.refresh();
        }
    }

    /// The count for the window that begins at `from`; none if it begins earlier than this.
    pub fn count_after(&self, from: Timestamp, registers: &[Vec<u64>]) -> Option<f64> {
        if from < self.from {
            return None;
        }
        if self.holds_all(from) {
            return Some(self.count);
        }
        let mut ranks = self.ranks;
        self.left(from, registers).for_each(|(_, old, new)| ranks.exchange(old, new));
        Some(if ranks == self.ranks { self.count } else { ranks.estimate(INDEX_BITS).round() })
    }

    /// Whether a window that begins at `from` holds all of the greatest, as nearly every one does.
    fn holds_all(&self, from: Timestamp) -> bool {
        self.greatest.front().is_none_or(|(first, _)| *first > from)
    }

    /// What a window that begins at `from` does not hold of the greatest, and of those that were.
    fn leaving(&self, from: Timestamp) -> impl Iterator<Item = &(Timestamp, u8)> {
        self.greatest.iter().take_while(move |(time, _)| *time <= from)
    }

    /// The registers whose greatest has left a window that begins at `from`:
    /// each one's number, and its greatest rank before and then.
    fn left(&self, from: Timestamp, registers: &[Vec<u64>]) -> impl Iterator<Item = (usize, u8, u8)> {
        self.leaving(from).filter_map(move |&(left, number)| {
            let register = &registers[usize::from(number)];
            let greatest = greatest_after(register, self.from).filter(|&greatest| time(greatest) == left)?;
            Some((usize::from(number), rank(greatest), greatest_after(register, from).map_or(0, rank)))
        })
    }
}
