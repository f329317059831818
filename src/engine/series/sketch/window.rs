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
            window.add(number, register);
        }
        window.refresh();
        window
    }

    /// The window holds what is later.
    pub fn from(&self) -> Timestamp {
        self.from
    }

    /// Does not count a register any more, which is to change.
    pub fn remove(&mut self, register: &[u64]) {
        self.ranks.remove(greatest_after(register, self.from).map_or(0, rank));
    }

    /// Counts a register that is new or has changed; [`WindowRanks::refresh`]
    /// is due after it.
    pub fn add(&mut self, number: usize, register: &[u64]) {
        self.ranks.add(greatest_after(register, self.from).map_or(0, rank));
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

    pub fn refresh(&mut self) {
        self.count = self.ranks.estimate(INDEX_BITS).round();
    }

    /// Moves on to the window that begins at `from`, not earlier than it did.
    pub fn advance(&mut self, from: Timestamp, registers: &[Vec<u64>]) {
        let leaving = self.leaving(from);
        let ranks = (leaving > 0).then(|| self.ranks_after(from, leaving, registers));
        self.from = from;
        if let Some(ranks) = ranks {
            self.ranks = ranks;
            let left: SmallVec<[_; 4]> = self.greatest.drain(..leaving).collect();
            for (_, number) in left {
                self.note(usize::from(number), &registers[usize::from(number)]);
            }
            self.refresh();
        }
    }

    /// The count for the window that begins at `from`; none if it begins earlier than this.
    pub fn count_after(&self, from: Timestamp, registers: &[Vec<u64>]) -> Option<f64> {
        if from < self.from {
            return None;
        }
        Some(match self.leaving(from) {
            0 => self.count,
            leaving => self.ranks_after(from, leaving, registers).estimate(INDEX_BITS).round(),
        })
    }

    /// How many of the greatest a window that begins at `from` does not hold.
    fn leaving(&self, from: Timestamp) -> usize {
        self.greatest.iter().take_while(|(time, _)| *time <= from).count()
    }

    fn ranks_after(&self, from: Timestamp, leaving: usize, registers: &[Vec<u64>]) -> Ranks {
        let mut ranks = self.ranks;
        for &(left, number) in self.greatest.iter().take(leaving) {
            let register = &registers[usize::from(number)];
            if let Some(entry) = greatest_after(register, self.from)
                && time(entry) == left
            {
                ranks.remove(rank(entry));
                ranks.add(greatest_after(register, from).map_or(0, rank));
            }
        }
        ranks
    }
}
