//! From a row of numbers to ranks.

use std::collections::BTreeMap;

use super::Misfit;
use crate::engine::forest::{Condition, Forest, Node, Precision, Ranges, Side, Split, ZERO};

/// Ranks of one row, by slot; what is beyond the slots is 0. There are a few
/// more than slots, for who reads four at a time.
pub type RowRanks = [u8; N_SLOTS + 3];

/// That a byte can name.
pub const N_SLOTS: usize = 256;

/// Right of every threshold.
const HIGHEST: u8 = u8::MAX;
/// Thresholds that are compared at once.
pub const WIDTH: usize = 16;

/// What a split asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Test {
    /// Where it looks.
    pub slot: u8,
    /// The greatest there that goes left.
    pub rank: u8,
}

/// How a row is ranked.
#[derive(Debug)]
pub struct Ranker {
    precision: Precision,
    any_zero_is_missing: bool,
    /// In each half of the slots a test has one: what is missing goes left in
    /// the first half, and right in the second.
    thresholds: Vec<Thresholds>,
    sets: Vec<Set>,
    /// Of all thresholds; see [`Thresholds::first`].
    blocks: Vec<[f64; WIDTH]>,
}

/// Those of one input. The rank is how many of them the input reaches.
#[derive(Debug)]
struct Thresholds {
    subject: Subject,
    /// The block of the greatest of each block of thresholds; these follow. NaN,
    /// which is reached by none, fills up the last, where there is at least one.
    first: usize,
    all: Vec<f64>,
}

/// The rank is 0 if the ranges contain the input, else the highest.
#[derive(Debug)]
struct Set {
    subject: Subject,
    ranges: Ranges,
}

/// What splits of one input have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    zero_is_missing: bool,
    input: usize,
}

impl Ranker {
    const MAX_THRESHOLDS: usize = WIDTH * WIDTH - 1;
    const MAX_TESTS: usize = N_SLOTS / 2 - 1;

    pub fn of(forest: &Forest) -> Result<Self, Misfit> {
        let mut numbers: BTreeMap<Subject, Vec<f64>> = BTreeMap::new();
        let mut sets: Vec<Set> = Vec::new();
        for split in splits(forest) {
            match &split.condition {
                Condition::OneOf(ranges) if sets.iter().any(|set| set.is_of(split, ranges)) => {}
                Condition::OneOf(ranges) => {
                    sets.push(Set { subject: Subject::of(split), ranges: ranges.clone() })
                }
                condition => numbers.entry(Subject::of(split)).or_default().extend(threshold_of(condition)),
            }
            if sets.len() > Self::MAX_TESTS {
                return Err(Misfit::Tests);
            }
        }
        if numbers.len() + sets.len() > Self::MAX_TESTS {
            return Err(Misfit::Tests);
        }
        let precision = forest.frame().arithmetic.inputs;
        let any_zero_is_missing = numbers.keys().any(|subject| subject.zero_is_missing);
        let mut ranker =
            Self { precision, any_zero_is_missing, thresholds: Vec::new(), sets, blocks: Vec::new() };
        for (subject, mut all) in numbers {
            // The one NaN there may be, which nothing reaches, comes last.
            all.sort_by(f64::total_cmp);
            all.dedup_by(|a, b| a == b || a.is_nan() && b.is_nan());
            if all.len() > Self::MAX_THRESHOLDS {
                return Err(Misfit::Thresholds { input: subject.input });
            }
            ranker.push(subject, all);
        }
        Ok(ranker)
    }

    fn push(&mut self, subject: Subject, all: Vec<f64>) {
        let first = self.blocks.len();
        let block = |values: &[f64]| std::array::from_fn(|at| values.get(at).copied().unwrap_or(f64::NAN));
        let blocks: Vec<[f64; WIDTH]> = (0..=all.len() / WIDTH).map(|at| block(&all[WIDTH * at..])).collect();
        let greatest: Vec<f64> = blocks.iter().map(|block| block[WIDTH - 1]).collect();
        self.blocks.push(block(&greatest));
        self.blocks.extend(blocks);
        self.thresholds.push(Thresholds { subject, first, all });
    }

    fn n_tests(&self) -> usize {
        self.thresholds.len() + self.sets.len()
    }

    pub fn n_slots(&self) -> usize {
        2 * self.n_tests()
    }

    /// By tree and node, what is asked; what stands for leaves means nothing.
    pub fn tests(&self, forest: &Forest) -> Option<Vec<Box<[Test]>>> {
        let test = |node: &Node| match node {
            Node::Split(split) => self.test(split),
            Node::Leaf(_) => Some(Test::default()),
        };
        forest.trees().iter().map(|tree| tree.nodes.iter().map(test).collect()).collect()
    }

    fn test(&self, split: &Split) -> Option<Test> {
        let (test, rank) = match (&split.condition, threshold_of(&split.condition)) {
            (Condition::OneOf(ranges), _) => {
                let set = self.sets.iter().position(|set| set.is_of(split, ranges))?;
                (self.thresholds.len() + set, 0)
            }
            (_, threshold) => {
                let subject = Subject::of(split);
                let test =
                    self.thresholds.binary_search_by_key(&subject, |thresholds| thresholds.subject).ok()?;
                (test, self.rank_below(&self.thresholds[test], threshold?))
            }
        };
        let side = if split.missing == Side::Right { self.n_tests() } else { 0 };
        Some(Test { slot: u8::try_from(test + side).ok()?, rank: u8::try_from(rank).ok()? })
    }

    #[inline(always)]
    fn rank(&self, of: &Thresholds, value: f64, n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize) -> usize {
        let full = n_reached(value, &self.blocks[of.first]);
        WIDTH * full + n_reached(value, &self.blocks[of.first + 1 + full])
    }

    /// The rank of the numbers just below a threshold that is one of them.
    fn rank_below(&self, of: &Thresholds, threshold: f64) -> usize {
        if threshold.is_nan() {
            of.all.partition_point(|other| !other.is_nan())
        } else {
            self.rank(of, threshold, n_reached) - 1
        }
    }

    /// Gives `set` the rank of a row in each slot. `n_reached`: how many of some
    /// thresholds a value reaches, which is not less than.
    #[inline(always)]
    pub fn each_rank(
        &self,
        row: &[f64],
        n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize,
        mut set: impl FnMut(usize, u8),
    ) {
        // Most forests compare inputs as they are. That is settled before the loop, so that
        // its comparisons need not wait for a value to be made.
        if self.precision == Precision::Double && !self.any_zero_is_missing {
            self.each_rank_of(|subject| row[subject.input], n_reached, &mut set);
        } else {
            self.each_rank_of(|subject| subject.value(self.precision, row), n_reached, &mut set);
        }
        let slots = (self.thresholds.len()..).zip(self.n_tests() + self.thresholds.len()..);
        for (of, (left, right)) in self.sets.iter().zip(slots) {
            let value = of.subject.value(self.precision, row);
            let rank = HIGHEST * u8::from(!of.ranges.contains(value));
            let missing = HIGHEST * u8::from(value.is_nan());
            set(left, rank & !missing);
            set(right, rank | missing);
        }
    }

    #[inline(always)]
    fn each_rank_of(
        &self,
        value: impl Fn(Subject) -> f64,
        n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize,
        mut set: impl FnMut(usize, u8),
    ) {
        for (test, (left, right)) in self.thresholds.iter().zip((0..).zip(self.n_tests()..)) {
            let value = value(test.subject);
            let rank = self.rank(test, value, &n_reached) as u8;
            // Without a branch: what is missing is hard to foresee. NaN reaches none.
            set(left, rank);
            set(right, rank | (HIGHEST * u8::from(value.is_nan())));
        }
    }

    /// The ranks of a row.
    #[inline(always)]
    pub fn rank_by(&self, row: &[f64], n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize) -> RowRanks {
        let mut ranks = [0; _];
        self.each_rank(row, n_reached, |slot, rank| ranks[slot] = rank);
        ranks
    }
}

/// In plain code.
pub fn n_reached(value: f64, thresholds: &[f64; WIDTH]) -> usize {
    thresholds.iter().map(|threshold| usize::from(value >= *threshold)).sum()
}

impl Set {
    fn is_of(&self, split: &Split, ranges: &Ranges) -> bool {
        self.subject == Subject::of(split) && self.ranges == *ranges
    }
}

impl Subject {
    pub fn of(split: &Split) -> Self {
        Self { zero_is_missing: split.zero_is_missing, input: split.input as usize }
    }

    /// The input's, as it is compared; NaN if it is missing.
    #[inline(always)]
    pub fn value(self, precision: Precision, row: &[f64]) -> f64 {
        let value = precision.round(row[self.input]);
        if self.zero_is_missing && value.abs() <= ZERO { f64::NAN } else { value }
    }
}

pub fn splits(forest: &Forest) -> impl Iterator<Item = &Split> {
    forest.trees().iter().flat_map(|tree| &tree.nodes).filter_map(|node| match node {
        Node::Split(split) => Some(split),
        Node::Leaf(_) => None,
    })
}

/// The least number that a condition does not hold for; NaN if it holds for all.
pub fn threshold_of(condition: &Condition) -> Option<f64> {
    match *condition {
        // One zero.
        Condition::Less(threshold) => Some(threshold + 0.0),
        Condition::LessOrEqual(f64::INFINITY) => Some(f64::NAN),
        Condition::LessOrEqual(threshold) => Some(threshold.next_up() + 0.0),
        Condition::OneOf(_) => None,
    }
}
