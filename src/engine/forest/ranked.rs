//! The fast form of a forest, which equals the reference walk bit for bit.
//!
//! Every condition compares a number with one of a known set of thresholds, so
//! a row is first turned into ranks: of each input, how many of its thresholds
//! it reaches. Then a node is four bytes, {rank, slot, offset of the children},
//! and a comparison is one of bytes. The splits of the upper levels are all asked,
//! of many trees at once; from there on trees are walked side by side, each
//! a level at a time. What is missing, and on which
//! side it goes, is settled in the ranks: there is one slot for each way in
//! which splits of an input treat it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch;
mod depths;
mod layout;
mod ranks;
mod rounds;
mod search;
mod sums;
mod symmetric;
mod tree_order;
mod walk;
mod wide;

use std::fmt;

use super::{Forest, SumOrder};
use crate::engine::explain;
use crate::engine::model::{self, Scorer};
use batch::{Batch, MIN_ROWS, RowsAndRaw};
use layout::Layout;
use ranks::Ranker;
use sums::Sums;
use wide::Wide;

/// A forest that is scored by ranks, with the reference to explain itself by.
#[derive(Debug)]
pub struct RankedForest {
    forest: Forest,
    /// None where it fits none: then the reference walks.
    form: Option<Form>,
    /// Why it is not in bytes.
    misfit: Option<Misfit>,
    sums: Sums,
    path: Path,
}

/// What trees are walked in.
#[derive(Debug)]
enum Form {
    /// Without a batch where a tree has too many leaves: then rows are scored one by one.
    Bytes(Layout, Option<Batch>),
    Bits(Wide),
}

/// Why a forest is not in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("input {input}, counted from 0, has more than 255 thresholds")]
    Thresholds { input: usize },
    #[error("there are more than 127 tests: inputs and sets of categories")]
    Tests,
    #[error("a tree has more nodes than their distances can say")]
    Distance,
    #[error("a tree has more leaves than fifteen bits can number")]
    Leaves,
}

/// The instructions that walk the trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// One tree after the other, node by node.
    Reference,
    /// Several trees at once, in plain code.
    Portable,
    /// Eight trees a vector: AVX2.
    Avx2,
    /// Sixteen trees a vector: AVX-512 with VBMI.
    Avx512,
}

impl RankedForest {
    /// By the fastest instructions that this machine has.
    pub fn new(forest: Forest) -> Self {
        let (form, misfit) = Form::of(&forest);
        let path = match &form {
            None => Path::Reference,
            Some(_) => Path::available().last().copied().unwrap_or(Path::Portable),
        };
        Self { sums: Sums::of(&forest), forest, form, misfit, path }
    }

    /// By instructions of choice; those that are not available are the reference's.
    #[must_use]
    pub fn with_path(mut self, path: Path) -> Self {
        let is_available = self.form.is_some() && Path::available().contains(&path);
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

impl Form {
    fn of(forest: &Forest) -> (Option<Self>, Option<Misfit>) {
        match Self::bytes(forest) {
            Ok(bytes) => (Some(bytes), None),
            Err(misfit) => (Wide::of(forest).map(Self::Bits), Some(misfit)),
        }
    }

    fn bytes(forest: &Forest) -> Result<Self, Misfit> {
        let ranker = Ranker::of(forest)?;
        let tests = ranker.tests(forest).ok_or(Misfit::Tests)?;
        let layout = Layout::of(forest, ranker, &tests)?;
        Ok(Self::Bytes(layout, Batch::of(forest, &tests)))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Bytes(Layout { symmetric: Some(_), .. }, _) => "symmetric",
            Self::Bytes(..) => "bytes",
            Self::Bits(_) => "bits",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

impl Path {
    /// Those that this machine has, the fastest last.
    pub fn available() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        match (avx2::is_available(), avx512::is_available()) {
            (true, true) => return &[Self::Reference, Self::Portable, Self::Avx2, Self::Avx512],
            (true, false) => return &[Self::Reference, Self::Portable, Self::Avx2],
            (false, _) => {}
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
        let Some(form) = self.form.as_ref().filter(|_| self.path != Path::Reference) else {
            return self.forest.score(row, raw);
        };
        let mut sum = self.sums.row(raw);
        match (form, self.path) {
            #[cfg(target_arch = "x86_64")]
            (Form::Bytes(layout, _), Path::Avx512) => avx512::add_leaves(layout, row, &mut sum),
            #[cfg(target_arch = "x86_64")]
            (Form::Bytes(layout, _), Path::Avx2) => avx2::add_leaves(layout, row, &mut sum),
            (Form::Bytes(layout, _), _) => walk::add_leaves(layout, row, &mut sum),
            // Longer vectors are no faster here.
            #[cfg(target_arch = "x86_64")]
            (Form::Bits(wide), Path::Avx2 | Path::Avx512) => avx2::add_wide_leaves(wide, row, &mut sum),
            (Form::Bits(wide), _) => wide::add_leaves(wide, row, &mut sum),
        }
        sum.end();
    }

    fn score_batch(&self, rows: &[f64], n: usize, raw: &mut [f64]) {
        let (n_inputs, n_outputs) = (self.n_inputs(), self.n_outputs());
        let is_worth_it = n >= MIN_ROWS && n_inputs > 0;
        match (&self.form, self.path) {
            (Some(Form::Bytes(layout, Some(batch))), path) if is_worth_it && path != Path::Reference => {
                let rows = RowsAndRaw { rows, n_inputs, raw, n_outputs };
                match path {
                    // Longer vectors are no faster here.
                    #[cfg(target_arch = "x86_64")]
                    Path::Avx2 | Path::Avx512 => avx2::score_batch(batch, layout, &self.sums, rows),
                    _ => walk::score_batch(batch, layout, &self.sums, rows),
                }
            }
            _ => model::score_each(self, rows, n, raw),
        }
    }

    fn engine(&self) -> String {
        let (path, order) = (self.path, self.forest.frame().arithmetic.order);
        let in_parts = if order == SumOrder::InParts { " in parts" } else { "" };
        match (&self.form, self.misfit) {
            (Some(_), _) if path == Path::Reference => format!("{path}{in_parts}"),
            (Some(form), None) => format!("{} {path}{in_parts}", form.name()),
            (Some(form), Some(misfit)) => format!("{} {path}{in_parts}, as {misfit}", form.name()),
            (None, Some(misfit)) => format!("{path}{in_parts}, as {misfit}"),
            (None, None) => format!("{path}{in_parts}"),
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
    use crate::engine::forest::{Condition, Frame, Leaf, Node, Ranges, Side, Split, SumOrder, Tree, random};

    fn stump(input: u32, condition: Condition, missing: Side, value: f64) -> Tree {
        let leaf = |value| Node::Leaf(Leaf { value, cover: 0.0 });
        let (left, right) = (1, 2);
        let split = Split { input, condition, missing, zero_is_missing: false, left, right, cover: 0.0 };
        Tree::of(vec![Node::Split(split), leaf(value), leaf(-value)])
    }

    /// Every form on every path against the reference, leaves added in every order.
    fn agrees(forest: &Forest, rows: &[Vec<f64>]) -> Result<(), TestCaseError> {
        agrees_in_order(forest, rows)?;
        match forest.clone().with_order(SumOrder::InParts) {
            Ok(in_parts) => agrees_in_order(&in_parts, rows),
            Err(_) => Ok(()),
        }
    }

    fn agrees_in_order(forest: &Forest, rows: &[Vec<f64>]) -> Result<(), TestCaseError> {
        let wide = Wide::of(forest).expect("few tests");
        agrees_in(forest, Form::Bits(wide), rows)?;
        for first_round in [None, Some(0), Some(1), Some(2), Some(3)] {
            if let Some(Form::Bytes(mut layout, batch)) = Form::of(forest).0 {
                layout.first_round = first_round.unwrap_or(layout.first_round);
                agrees_in(forest, Form::Bytes(layout, batch), rows)?;
            }
        }
        Ok(())
    }

    fn agrees_in(forest: &Forest, form: Form, rows: &[Vec<f64>]) -> Result<(), TestCaseError> {
        let n_outputs = forest.n_outputs();
        let bits = |raw: &[f64]| raw.iter().map(|raw| raw.to_bits()).collect::<Vec<_>>();
        // Two rounds, of which the second is not full.
        let n = batch::ROWS + MIN_ROWS + 1;
        let many: Vec<f64> = rows.iter().cycle().take(n).flatten().copied().collect();
        let mut expected = vec![0.0; n * n_outputs];
        model::score_each(forest, &many, n, &mut expected);
        let form = Some(form);
        let (sums, forest, path) = (Sums::of(forest), forest.clone(), Path::Reference);
        let mut ranked = RankedForest { forest, form, misfit: None, sums, path };
        for &path in Path::available() {
            ranked = ranked.with_path(path);
            prop_assert_eq!(ranked.path(), path);
            let mut raw = vec![f64::NAN; n * n_outputs];
            ranked.score_batch(&many, n, &mut raw);
            prop_assert_eq!(bits(&raw), bits(&expected), "{:?}: {:?}", path, rows);
            for (row, expected) in rows.iter().zip(expected.chunks_exact(n_outputs)) {
                let mut raw = vec![f64::NAN; n_outputs];
                ranked.score(row, &mut raw);
                prop_assert_eq!(bits(&raw), bits(expected), "{:?}: {:?}", path, row);
            }
        }
        Ok(())
    }

    /// As many thresholds as bytes can count fill their blocks, and one more makes
    /// bits of them; so it is with words of bits and levels of blocks.
    #[test]
    fn every_number_of_thresholds_is_ranked() {
        for n in [1, 15, 16, 17, 32, 33, 63, 64, 65, 240, 241, 254, 255, 256, 257, 4_095, 4_097] {
            let tree = |number: u32| {
                let threshold = f64::from(number) - 100.0;
                let missing = if number.is_multiple_of(2) { Side::Left } else { Side::Right };
                // Powers of two, so that each tree shows in the sum.
                stump(0, Condition::Less(threshold), missing, 2.0_f64.powi(number as i32 % 50))
            };
            let forest = Forest::new(Frame::single(1, 0.0), (0..n).map(tree).collect()).expect("valid");
            let at = |number: u32| f64::from(number) - 100.0;
            let around = (0..n)
                .step_by(1 + n as usize / 100)
                .flat_map(|n| [at(n).next_down(), at(n), at(n).next_up()]);
            let rows: Vec<Vec<f64>> =
                around.chain([f64::NAN, f64::INFINITY, f64::NEG_INFINITY]).map(|at| vec![at]).collect();
            let is_bytes = matches!(Form::of(&forest), (Some(Form::Bytes(..)), None));
            assert_eq!(is_bytes, n <= 255, "{n}");
            agrees(&forest, &rows).expect("agrees");
        }
    }

    #[test]
    fn every_number_of_slots_is_looked_up() {
        for n in [1, 32, 33, 64, 65, 127, 128, 300] {
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

    /// Of one question a level, the levels' inputs and thresholds by `seed`.
    fn symmetric(depth: u32, seed: u32) -> Tree {
        let mut nodes = Vec::new();
        for node in 0..(1 << (depth + 1)) - 1_u32 {
            let level = (node + 1).ilog2();
            let missing = if (seed + level).is_multiple_of(3) { Side::Left } else { Side::Right };
            nodes.push(match level == depth {
                true => Node::Leaf(Leaf { value: 2.0_f64.powi((node * seed % 60) as i32), cover: 0.0 }),
                false => Node::Split(Split {
                    input: (seed + level) % 4,
                    condition: Condition::LessOrEqual(f64::from((seed * 7 + level * 5) % 11)),
                    missing,
                    zero_is_missing: false,
                    left: 2 * node + 1,
                    right: 2 * node + 2,
                    cover: 0.0,
                }),
            });
        }
        Tree::of(nodes)
    }

    #[test]
    fn symmetric_trees_are_not_walked() {
        let trees: Vec<Tree> = (1..150).map(|seed| symmetric(seed % 8, seed)).collect();
        let forest = Forest::new(Frame::single(4, 0.5), trees.clone()).expect("valid");
        let value = |row: u32, input: u32| match (row * 7 + input * 3) % 13 {
            12 => f64::NAN,
            value => f64::from(value),
        };
        let rows: Vec<Vec<f64>> =
            (0..50).map(|row| (0..4).map(|input| value(row * row + row, input)).collect()).collect();
        agrees(&forest, &rows).expect("agrees");
        let ranked = RankedForest::new(forest).with_path(Path::Portable);
        assert_eq!(ranked.engine(), "symmetric portable");
        let lopsided = Forest::new(
            Frame::single(4, 0.5),
            trees
                .into_iter()
                .chain([stump(0, Condition::Less(1.0), Side::Left, 1.0), two_questions()])
                .collect(),
        );
        let ranked = RankedForest::new(lopsided.expect("valid")).with_path(Path::Portable);
        assert_eq!(ranked.engine(), "bytes portable");
        agrees(ranked.forest(), &rows).expect("agrees");
    }

    /// Of two levels; the children of the root ask about different inputs.
    /// More trees than are walked before their leaves are added, of which a part goes on each time.
    #[test]
    fn many_trees_of_all_depths_go_on_by_rounds() {
        let chain = |depth: u32, seed: u32| {
            let split = |level: u32| {
                let (left, right) = match (level + seed).is_multiple_of(2) {
                    true => (2 * level + 1, 2 * level + 2),
                    false => (2 * level + 2, 2 * level + 1),
                };
                Node::Split(Split {
                    input: (level + seed) % 5,
                    condition: Condition::LessOrEqual(f64::from((level * 3 + seed) % 9)),
                    missing: Side::Left,
                    zero_is_missing: false,
                    left,
                    right,
                    cover: 0.0,
                })
            };
            let leaf = |level: u32| {
                Node::Leaf(Leaf { value: 2.0_f64.powi(((level + 7 * seed) % 50) as i32), cover: 0.0 })
            };
            let mut nodes: Vec<Node> = (0..depth).flat_map(|level| [split(level), leaf(level)]).collect();
            nodes.push(leaf(depth));
            Tree::of(nodes)
        };
        let trees = (0..1_100).map(|seed| chain(seed * 7 % 23, seed)).collect();
        let forest = Forest::new(Frame::single(5, 0.25), trees).expect("valid");
        let Ok(Form::Bytes(layout, _)) = Form::bytes(&forest) else { panic!("bytes") };
        assert!(!layout.is_of_one_round());
        let rows: Vec<Vec<f64>> =
            (0..60).map(|row| (0..5).map(|input| f64::from((row * (input + 2)) % 10)).collect()).collect();
        agrees(&forest, &rows).expect("agrees");
    }

    fn two_questions() -> Tree {
        let mut tree = symmetric(2, 1);
        if let Node::Split(split) = &mut tree.nodes[2] {
            split.input = (split.input + 1) % 4;
        }
        tree
    }

    #[test]
    fn why_it_is_not_in_bytes_is_said() {
        let engine = |n_inputs: u32, trees: Vec<Tree>| {
            let forest = Forest::new(Frame::single(n_inputs as usize, 0.0), trees).expect("valid");
            RankedForest::new(forest).with_path(Path::Portable).engine()
        };
        let less = |at: u32| Condition::Less(f64::from(at));
        let thresholds = (0..256).map(|at| stump(1, less(at), Side::Left, 1.0)).collect();
        let said = "bits portable, as input 1, counted from 0, has more than 255 thresholds";
        assert_eq!(engine(2, thresholds), said);
        let by_choice = RankedForest::new(Forest::new(Frame::single(0, 0.0), Vec::new()).expect("valid"));
        assert_eq!(by_choice.with_path(Path::Reference).engine(), "reference");
        let tests = (0..128).map(|input| stump(input, less(0), Side::Left, 1.0)).collect();
        let said = "bits portable, as there are more than 127 tests: inputs and sets of categories";
        assert_eq!(engine(128, tests), said);
        // The second keeps the forest from being symmetric.
        let of_leaves = |depth| engine(4, vec![symmetric(depth, 1), two_questions()]);
        assert_eq!(of_leaves(15), "bytes portable");
        assert_eq!(of_leaves(16), "bits portable, as a tree has more nodes than their distances can say");
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
