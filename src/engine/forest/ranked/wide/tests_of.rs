//! From a row of numbers to the bits of all tests.

use std::collections::BTreeMap;

use super::super::ranks::{Subject, WIDTH, n_reached, splits, threshold_of};
use super::super::search::Search;
use crate::engine::forest::{Condition, Forest, Precision, Ranges, Side, Split};

/// A bit is 1 where the row goes right.
#[derive(Debug)]
pub struct Tests {
    precision: Precision,
    /// By subject, in order, as the sets are.
    thresholds: Vec<(Subject, Thresholds)>,
    sets: Vec<(Subject, Sets)>,
    n_words: usize,
}

#[derive(Debug, Default)]
struct Thresholds {
    ascending: Vec<f64>,
    search: Search,
    /// Where their bits begin, by the side of what is missing, if splits have it.
    words: [Option<usize>; 2],
}

#[derive(Debug, Default)]
struct Sets {
    /// By their ends and the side of what is missing, the number of the bit.
    bits: BTreeMap<(Vec<u64>, usize), usize>,
    search: Search,
    /// Where their bits begin.
    words: usize,
    n_words: usize,
    /// The bits of numbers that reach so many of all ends, one after the other,
    /// and last of what is missing.
    by_rank: Vec<u64>,
}

impl Tests {
    pub const MAX_WORDS: usize = 1 << 15;
    /// A bit that is 0.
    pub const NEVER: u32 = 0;
    /// Of all [`Sets::by_rank`]: 64 MiB.
    const MAX_WORDS_BY_RANK: usize = 1 << 23;

    /// None if there are too many.
    pub fn of(forest: &Forest) -> Option<Self> {
        let (mut thresholds, mut sets) = (BTreeMap::<_, Thresholds>::new(), BTreeMap::<_, Sets>::new());
        for split in splits(forest) {
            let (subject, side) = (Subject::of(split), side(split));
            match &split.condition {
                Condition::OneOf(ranges) => {
                    let bits = &mut sets.entry(subject).or_default().bits;
                    let bit = bits.len();
                    bits.entry((key(ranges), side)).or_insert(bit);
                }
                condition => {
                    let of = thresholds.entry(subject).or_default();
                    of.ascending.extend(threshold_of(condition));
                    of.words[side] = Some(0);
                }
            }
        }
        // The first has the bit that is 0.
        let mut n_words = 1;
        for of in thresholds.values_mut() {
            // The one NaN there may be, which nothing reaches, comes last.
            of.ascending.sort_by(f64::total_cmp);
            of.ascending.dedup_by(|a, b| a == b || a.is_nan() && b.is_nan());
            of.search = Search::of(&of.ascending);
            for words in of.words.iter_mut().flatten() {
                *words = n_words;
                n_words += of.ascending.len().div_ceil(64);
            }
        }
        let mut n_by_rank = 0;
        for sets in sets.values_mut() {
            sets.words = n_words;
            sets.n_words = sets.bits.len().div_ceil(64);
            n_words += sets.n_words;
            n_by_rank += sets.prepare(Self::MAX_WORDS_BY_RANK - n_by_rank)?;
        }
        let precision = forest.frame().arithmetic.inputs;
        let (thresholds, sets) = (thresholds.into_iter().collect(), sets.into_iter().collect());
        (n_words <= Self::MAX_WORDS).then_some(Self { precision, thresholds, sets, n_words })
    }

    pub fn n_words(&self) -> usize {
        self.n_words
    }

    /// The bit of a split.
    pub fn bit(&self, split: &Split) -> Option<u32> {
        let (subject, side) = (Subject::of(split), side(split));
        let bit = match &split.condition {
            Condition::OneOf(ranges) => {
                let sets = of_subject(&self.sets, subject)?;
                64 * sets.words + sets.bits.get(&(key(ranges), side))?
            }
            condition => {
                let of = of_subject(&self.thresholds, subject)?;
                let threshold = threshold_of(condition)?;
                // Of those that are not greater it is the last one; the NaN is the last of all.
                let n_reached = match threshold.is_nan() {
                    true => of.ascending.len(),
                    false => of.search.n_reached(threshold, n_reached),
                };
                64 * of.words[side]? + n_reached.checked_sub(1)?
            }
        };
        u32::try_from(bit).ok()
    }

    /// Sets the bits of a row among `words` (shape `[n_words]` or longer).
    #[inline(always)]
    pub fn set(&self, row: &[f64], words: &mut [u64], n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize) {
        for (subject, of) in &self.thresholds {
            let value = subject.value(self.precision, row);
            let n_words = of.ascending.len().div_ceil(64);
            // NaN reaches none.
            let rank = of.search.n_reached(value, &n_reached);
            for (side, first) in of.words.iter().enumerate() {
                let Some(first) = *first else { continue };
                let n_ones = if value.is_nan() { 64 * n_words * side } else { rank };
                let (full, rest) = (n_ones / 64, n_ones % 64);
                let words = &mut words[first..first + n_words];
                words[..full].fill(u64::MAX);
                words[full..].fill(0);
                if rest > 0 {
                    words[full] = (1 << rest) - 1;
                }
            }
        }
        for (subject, sets) in &self.sets {
            let value = subject.value(self.precision, row);
            let rank = match value.is_nan() {
                true => sets.by_rank.len() / sets.n_words - 1,
                false => sets.search.n_reached(value, &n_reached),
            };
            let bits = &sets.by_rank[sets.n_words * rank..sets.n_words * (rank + 1)];
            words[sets.words..sets.words + sets.n_words].copy_from_slice(bits);
        }
    }
}

impl Sets {
    /// Puts the bits together, of at most `max` words; gives how many there are.
    fn prepare(&mut self, max: usize) -> Option<usize> {
        let mut ends: Vec<f64> =
            self.bits.keys().flat_map(|(ends, _)| ends).map(|&end| f64::from_bits(end)).collect();
        ends.sort_by(f64::total_cmp);
        ends.dedup();
        let n_ranks = ends.len() + 2;
        let n_words = self.n_words * n_ranks;
        if n_words > max {
            return None;
        }
        self.by_rank = vec![u64::MAX; n_words];
        for ((of_set, side), bit) in &self.bits {
            let mut clear = |rank: usize| self.by_rank[self.n_words * rank + bit / 64] &= !(1 << (bit % 64));
            for range in of_set.chunks_exact(2) {
                let [start, end] = [0, 1].map(|at| f64::from_bits(range[at]));
                // A number that reaches `start` as the last is within.
                let first = ends.partition_point(|other| *other <= start);
                let behind = ends.partition_point(|other| *other <= end);
                (first..behind).for_each(&mut clear);
            }
            if *side == 0 {
                clear(n_ranks - 1);
            }
        }
        self.search = Search::of(&ends);
        Some(n_words)
    }
}

fn of_subject<T>(all: &[(Subject, T)], subject: Subject) -> Option<&T> {
    all.binary_search_by_key(&subject, |(subject, _)| *subject).ok().map(|at| &all[at].1)
}

/// Of what is missing: 0 is left.
fn side(split: &Split) -> usize {
    usize::from(split.missing == Side::Right)
}

/// The ends of ranges, with one zero.
fn key(ranges: &Ranges) -> Vec<u64> {
    ranges.ends().iter().map(|end| (end + 0.0).to_bits()).collect()
}
