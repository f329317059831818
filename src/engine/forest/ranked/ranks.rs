//! From a row of numbers to ranks.

use std::collections::BTreeMap;

use crate::engine::forest::{Condition, Forest, Node, Precision, Ranges, Side, Split, ZERO};

/// Ranks of one row, by slot; what is beyond the slots is 0.
pub type RowRanks = [u8; MAX_SLOTS];

pub const MAX_SLOTS: usize = 256;
/// That of leaves: no split has it.
pub const LEAF_SLOT: u8 = u8::MAX;
/// Right of every threshold.
const HIGHEST: u8 = u8::MAX;
/// Thresholds that are compared at once.
pub const WIDTH: usize = 16;

/// How a row is ranked.
#[derive(Debug)]
pub struct Ranker {
    precision: Precision,
    tests: Vec<Test>,
}

/// What splits of one input have in common. It has two slots: what is missing
/// goes left in the first and right in the second.
#[derive(Debug)]
struct Test {
    input: usize,
    zero_is_missing: bool,
    of: Of,
}

#[derive(Debug)]
enum Of {
    /// The rank is how many of them the input reaches.
    Thresholds(Thresholds),
    /// The rank is 0 if they contain the input, else the highest.
    Ranges(Ranges),
}

/// In blocks of [`WIDTH`], the last of each block at hand; NaN is reached by none.
#[derive(Debug)]
struct Thresholds {
    last: [f64; WIDTH],
    blocks: Vec<[f64; WIDTH]>,
}

impl Ranker {
    const MAX_THRESHOLDS: usize = WIDTH * WIDTH - 1;
    const MAX_TESTS: usize = LEAF_SLOT as usize / 2;

    /// None if there are too many thresholds of an input, or too many tests.
    pub fn of(forest: &Forest) -> Option<Self> {
        let mut thresholds: BTreeMap<(u32, bool), Vec<f64>> = BTreeMap::new();
        let mut tests: Vec<Test> = Vec::new();
        for split in splits(forest) {
            let (input, zero_is_missing) = (split.input, split.zero_is_missing);
            match &split.condition {
                Condition::OneOf(ranges) if tests.iter().any(|test| test.is_of_set(split, ranges)) => {}
                Condition::OneOf(ranges) => {
                    let of = Of::Ranges(ranges.clone());
                    tests.push(Test { input: input as usize, zero_is_missing, of });
                }
                condition => {
                    let thresholds = thresholds.entry((input, zero_is_missing)).or_default();
                    thresholds.extend(threshold_of(condition));
                }
            }
            if tests.len() > Self::MAX_TESTS {
                return None;
            }
        }
        for ((input, zero_is_missing), mut thresholds) in thresholds {
            // The one NaN there may be, which nothing reaches, comes last.
            thresholds.sort_by(f64::total_cmp);
            thresholds.dedup_by(|a, b| a == b || a.is_nan() && b.is_nan());
            if thresholds.len() > Self::MAX_THRESHOLDS {
                return None;
            }
            let of = Of::Thresholds(Thresholds::of(&thresholds));
            tests.push(Test { input: input as usize, zero_is_missing, of });
        }
        let precision = forest.frame().arithmetic.inputs;
        (tests.len() <= Self::MAX_TESTS).then_some(Self { precision, tests })
    }

    pub fn n_slots(&self) -> usize {
        2 * self.tests.len()
    }

    /// The slot that a split looks at, and the greatest rank there that goes left.
    pub fn slot_and_rank(&self, split: &Split) -> Option<(u8, u8)> {
        let (test, rank) = match (&split.condition, threshold_of(&split.condition)) {
            (Condition::OneOf(ranges), _) => {
                (self.tests.iter().position(|test| test.is_of_set(split, ranges))?, 0)
            }
            (_, threshold) => {
                let test = self.tests.iter().position(|test| test.is_of_thresholds(split))?;
                let Of::Thresholds(thresholds) = &self.tests[test].of else { return None };
                (test, thresholds.position(threshold?)?)
            }
        };
        let slot = u8::try_from(2 * test).ok()? + u8::from(split.missing == Side::Right);
        Some((slot, rank))
    }

    /// The ranks of a row. `n_reached`: how many of some thresholds a value
    /// reaches, which is not less than.
    #[inline(always)]
    pub fn rank_by(&self, row: &[f64], n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize) -> RowRanks {
        let mut ranks = [0; MAX_SLOTS];
        for (test, slots) in self.tests.iter().zip(ranks.as_chunks_mut::<2>().0) {
            let value = self.precision.round(row[test.input]);
            let rank = match &test.of {
                Of::Thresholds(thresholds) => thresholds.n_reached(value, &n_reached),
                Of::Ranges(ranges) if ranges.contains(value) => 0,
                Of::Ranges(_) => HIGHEST,
            };
            let is_missing = value.is_nan() | (test.zero_is_missing & (value.abs() <= ZERO));
            // Without a branch: what is missing is hard to foresee.
            let missing = HIGHEST * u8::from(is_missing);
            *slots = [rank & !missing, rank | missing];
        }
        ranks
    }

    pub fn rank(&self, row: &[f64]) -> RowRanks {
        self.rank_by(row, |value, thresholds| {
            thresholds.iter().map(|threshold| usize::from(value >= *threshold)).sum()
        })
    }
}

impl Test {
    fn is_of_set(&self, split: &Split, set: &Ranges) -> bool {
        self.is_of(split) && matches!(&self.of, Of::Ranges(ranges) if ranges == set)
    }

    fn is_of_thresholds(&self, split: &Split) -> bool {
        self.is_of(split) && matches!(self.of, Of::Thresholds(_))
    }

    fn is_of(&self, split: &Split) -> bool {
        self.input == split.input as usize && self.zero_is_missing == split.zero_is_missing
    }
}

impl Thresholds {
    fn of(ascending: &[f64]) -> Self {
        let block = |values: &[f64]| {
            let mut block = [f64::NAN; WIDTH];
            block[..values.len()].copy_from_slice(values);
            block
        };
        let blocks: Vec<[f64; WIDTH]> = ascending.chunks(WIDTH).map(block).collect();
        let mut last = [f64::NAN; WIDTH];
        for (last, block) in last.iter_mut().zip(&blocks) {
            *last = block[WIDTH - 1];
        }
        Self { last, blocks }
    }

    #[inline(always)]
    fn n_reached(&self, value: f64, n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize) -> u8 {
        let full = n_reached(value, &self.last);
        // A value beyond the last has nothing more to reach in any block.
        let block = &self.blocks[full.min(self.blocks.len() - 1)];
        let rank =
            if full < self.blocks.len() { WIDTH * full + n_reached(value, block) } else { WIDTH * full };
        rank as u8
    }

    /// The rank of the numbers just below a threshold that is one of them.
    fn position(&self, threshold: f64) -> Option<u8> {
        let all = self.blocks.iter().flatten();
        let n = all.clone().filter(|threshold| !threshold.is_nan()).count();
        let below = all.take(n).filter(|other| **other < threshold).count();
        u8::try_from(if threshold.is_nan() { n } else { below }).ok()
    }
}

fn splits(forest: &Forest) -> impl Iterator<Item = &Split> {
    forest.trees().iter().flat_map(|tree| &tree.nodes).filter_map(|node| match node {
        Node::Split(split) => Some(split),
        Node::Leaf(_) => None,
    })
}

/// The least number that a condition does not hold for; NaN if it holds for all.
fn threshold_of(condition: &Condition) -> Option<f64> {
    match *condition {
        // One zero.
        Condition::Less(threshold) => Some(threshold + 0.0),
        Condition::LessOrEqual(f64::INFINITY) => Some(f64::NAN),
        Condition::LessOrEqual(threshold) => Some(threshold.next_up() + 0.0),
        Condition::OneOf(_) => None,
    }
}
