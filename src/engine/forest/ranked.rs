//! The fast form of a forest, which equals the reference walk bit for bit.
//!
//! Every condition compares a number with one of a known set of thresholds, so
//! a row is first turned into ranks: of each input, how many of its thresholds
//! it reaches. Then a node is four bytes, {slot, rank, offset of the children},
//! a comparison is one of bytes, and many trees are walked side by side, each
//! a level at a time; leaves lead to themselves. What is missing, and on which
//! side it goes, is settled in the ranks: there is one slot for each way in
//! which splits of an input treat it.

mod layout;
mod ranks;
mod walk;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::{Arithmetic, Forest};
use crate::engine::explain;
use crate::engine::model::Scorer;
use layout::Layout;

/// A forest that is scored by ranks, with the reference to explain itself by.
#[derive(Debug)]
pub struct RankedForest {
    forest: Forest,
    /// None where it does not fit the layout: then the reference walks.
    layout: Option<Layout>,
    path: Path,
}

/// The instructions that walk the trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// One tree after the other, node by node.
    Reference,
    /// Several trees at once, in plain code.
    Portable,
    /// Sixteen trees a vector: AVX-512 with VBMI.
    Avx512,
}

impl RankedForest {
    /// By the fastest instructions that this machine has.
    pub fn new(forest: Forest) -> Self {
        let layout = Layout::of(&forest);
        let path = match &layout {
            None => Path::Reference,
            Some(_) => Path::available().last().copied().unwrap_or(Path::Portable),
        };
        Self { forest, layout, path }
    }

    /// By instructions of choice; those that are not available are the reference's.
    #[must_use]
    pub fn with_path(mut self, path: Path) -> Self {
        let is_available = self.layout.is_some() && Path::available().contains(&path);
        self.path = if is_available { path } else { Path::Reference };
        self
    }

    pub fn forest(&self) -> &Forest {
        &self.forest
    }

    pub fn path(&self) -> Path {
        self.path
    }
}

impl Path {
    /// Those that this machine has, the fastest last.
    pub fn available() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        if x86::is_available() {
            return &[Self::Reference, Self::Portable, Self::Avx512];
        }
        &[Self::Reference, Self::Portable]
    }
}

impl Scorer for RankedForest {
    fn n_inputs(&self) -> usize {
        self.forest.n_inputs()
    }

    fn n_outputs(&self) -> usize {
        self.forest.n_outputs()
    }

    fn score(&self, row: &[f64], raw: &mut [f64]) {
        let Some(layout) = self.layout.as_ref().filter(|_| self.path != Path::Reference) else {
            return self.forest.score(row, raw);
        };
        let frame = self.forest.frame();
        let Arithmetic { sums, mean, .. } = frame.arithmetic;
        match mean {
            true => raw.fill(0.0),
            false => raw.copy_from_slice(&frame.base),
        }
        let add = |outputs: &[u32], leaves: &[f64]| layout.sums.add(raw, outputs, leaves);
        match self.path {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => x86::each_block(layout, row, add),
            _ => walk::each_block(layout, row, add),
        }
        if mean {
            for ((raw, base), n) in raw.iter_mut().zip(&frame.base).zip(&layout.trees_of_output) {
                *raw = sums.round(base + sums.round(*raw / n));
            }
        }
    }

    fn contributions(&self, row: &[f64], output: usize) -> Option<Vec<f64>> {
        explain::contributions(&self.forest, row, output)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::forest::{Condition, Frame, Leaf, Node, Ranges, Side, Split, Tree, random};

    fn stump(input: u32, condition: Condition, missing: Side, value: f64) -> Tree {
        let leaf = |value| Node::Leaf(Leaf { value, cover: 0.0 });
        let (left, right) = (1, 2);
        let split = Split { input, condition, missing, zero_is_missing: false, left, right, cover: 0.0 };
        Tree::of(vec![Node::Split(split), leaf(value), leaf(-value)])
    }

    fn agrees(forest: &Forest, rows: &[Vec<f64>]) -> Result<(), TestCaseError> {
        for &path in Path::available() {
            let ranked = RankedForest::new(forest.clone()).with_path(path);
            prop_assert_eq!(ranked.path(), path);
            for row in rows {
                let (mut expected, mut raw) =
                    (vec![0.0; forest.n_outputs()], vec![f64::NAN; forest.n_outputs()]);
                forest.score(row, &mut expected);
                ranked.score(row, &mut raw);
                let bits = |raw: &[f64]| raw.iter().map(|raw| raw.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&raw), bits(&expected), "{:?}: {:?}", path, row);
            }
        }
        Ok(())
    }

    /// As many thresholds as an input may have fill their blocks, and one more does not fit.
    #[test]
    fn every_number_of_thresholds_is_ranked() {
        for n in [1, 15, 16, 17, 32, 33, 240, 241, 254, 255] {
            let tree = |number: u32| {
                let threshold = f64::from(number) - 100.0;
                let missing = if number.is_multiple_of(2) { Side::Left } else { Side::Right };
                // Powers of two, so that each tree shows in the sum.
                stump(0, Condition::Less(threshold), missing, 2.0_f64.powi(number as i32 % 50))
            };
            let forest = Forest::new(Frame::single(1, 0.0), (0..n).map(tree).collect()).expect("valid");
            let at = |number: u32| f64::from(number) - 100.0;
            let around = (0..n).flat_map(|n| [at(n).next_down(), at(n), at(n).next_up()]);
            let rows: Vec<Vec<f64>> =
                around.chain([f64::NAN, f64::INFINITY, f64::NEG_INFINITY]).map(|at| vec![at]).collect();
            agrees(&forest, &rows).expect("agrees");
        }
        let tree = |number: u32| stump(0, Condition::Less(f64::from(number)), Side::Left, 1.0);
        let many = Forest::new(Frame::single(1, 0.0), (0..256).map(tree).collect()).expect("valid");
        assert_eq!(RankedForest::new(many).path(), Path::Reference);
    }

    #[test]
    fn every_number_of_slots_is_looked_up() {
        for n in [1, 32, 33, 64, 65, 127] {
            let set = |number: u32| {
                let condition = match number % 3 {
                    0 => Condition::OneOf(Ranges::of([(f64::from(number), f64::from(number) + 2.0)])),
                    1 => Condition::LessOrEqual(f64::INFINITY),
                    _ => Condition::LessOrEqual(f64::from(number)),
                };
                stump(number, condition, Side::Right, 2.0_f64.powi(number as i32 % 50))
            };
            let forest =
                Forest::new(Frame::single(n as usize, 0.5), (0..n).map(set).collect()).expect("valid");
            let row = |shift: u32| (0..n).map(|n| f64::from((n + shift) % 130)).collect();
            let mut rows: Vec<Vec<f64>> = (0..130).map(row).collect();
            rows.push(vec![f64::NAN; n as usize]);
            rows.push(vec![f64::INFINITY; n as usize]);
            agrees(&forest, &rows).expect("agrees");
        }
    }

    proptest! {
        #[test]
        fn every_path_equals_the_reference((forest, rows) in random::forest_and_rows(6), n_trees in 1..2_200_usize) {
            agrees(&forest, &rows)?;
            let trees = forest.trees().iter().cycle().take(n_trees).cloned().collect();
            agrees(&Forest::new(forest.frame().clone(), trees).expect("valid"), &rows)?;
        }
    }
}
