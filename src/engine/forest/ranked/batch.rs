//! Many rows at once, in plain code that compilers turn into vectors.
//!
//! Of a tree, every split is asked of all rows, whether they pass it or not,
//! from the leaves up: what a split gives is, by row, the number of the leaf
//! that the row reaches once it is there. No row waits for memory, and a
//! split costs one comparison and one choice of bytes for all rows.

use super::ranks::{N_SLOTS, Ranker, Test, WIDTH};
use super::sums::Sums;
use crate::engine::forest::{Forest, Node, Tree};

/// Rows that are scored together.
pub const ROWS: usize = 64;
/// With less rows, it is faster to score one after the other.
pub const MIN_ROWS: usize = 12;
const MAX_LEAVES: usize = 256;
/// Of a tree of so many leaves, the larger part first: one and its logarithm.
const MAX_PENDING: usize = 9;

/// A byte of each row; on a cache line, or every access would be to two.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Column([u8; ROWS]);

#[derive(Debug)]
pub struct Batch {
    /// Of all trees, children first.
    splits: Vec<Choice>,
    /// Of all trees.
    values: Vec<f64>,
    trees: Vec<Extent>,
}

/// Takes `right` where the rank in `slot` is greater than `rank`, else `left`.
#[derive(Clone, Copy, Debug)]
struct Choice {
    slot: u8,
    rank: u8,
    /// Columns: those of the leaves' numbers, and then what is pending.
    left: u16,
    right: u16,
    into: u16,
}

#[derive(Debug)]
struct Extent {
    n_splits: usize,
    first_value: usize,
    output: usize,
    /// The column that says which leaf each row reaches.
    leaf: usize,
}

/// What is scored, and where to.
pub struct RowsAndRaw<'a> {
    /// Shape `[n, n_inputs]`.
    pub rows: &'a [f64],
    /// Not 0.
    pub n_inputs: usize,
    /// Shape `[n, n_outputs]`.
    pub raw: &'a mut [f64],
    pub n_outputs: usize,
}

impl Batch {
    /// None if a tree has too many leaves.
    pub fn of(forest: &Forest, tests: &[Box<[Test]>]) -> Option<Self> {
        let n_nodes: usize = forest.trees().iter().map(|tree| tree.nodes.len()).sum();
        let (splits, values) =
            (Vec::with_capacity(n_nodes / 2), Vec::with_capacity(n_nodes / 2 + forest.trees().len()));
        let mut batch = Self { splits, values, trees: Vec::with_capacity(forest.trees().len()) };
        for (tree, tests) in forest.trees().iter().zip(tests) {
            let n_leaves = tree.nodes.len() / 2 + 1;
            if n_leaves > MAX_LEAVES {
                return None;
            }
            let (first_value, output) = (batch.values.len(), tree.output as usize);
            let leaf = batch.lay_out(tree, tests);
            batch.trees.push(Extent { n_splits: n_leaves - 1, first_value, output, leaf });
        }
        Some(batch)
    }

    /// Appends a tree; gives the column that its root's leaves will be in.
    fn lay_out(&mut self, tree: &Tree, tests: &[Test]) -> usize {
        let n_leaves = n_leaves(tree);
        let first_value = self.values.len();
        // Columns that are ready, and how many of them are pending.
        let mut ready = vec![0; tree.nodes.len()];
        let mut n_pending = 0;
        let mut tasks = vec![(0, false)];
        while let Some((index, children_are_ready)) = tasks.pop() {
            match &tree.nodes[index as usize] {
                Node::Leaf(leaf) => {
                    ready[index as usize] = self.values.len() - first_value;
                    self.values.push(leaf.value);
                }
                Node::Split(split) if children_are_ready => {
                    let [left, right] = [split.left, split.right].map(|child| ready[child as usize]);
                    let Test { slot, rank } = tests[index as usize];
                    n_pending -= [left, right].iter().filter(|&&column| column >= MAX_LEAVES).count();
                    let into = MAX_LEAVES + n_pending;
                    n_pending += 1;
                    ready[index as usize] = into;
                    let [left, right, into] = [left, right, into].map(|column| column as u16);
                    self.splits.push(Choice { slot, rank, left, right, into });
                }
                Node::Split(split) => {
                    // The larger first: then few columns are pending at any time.
                    let (mut first, mut second) = (split.left, split.right);
                    if n_leaves[second as usize] > n_leaves[first as usize] {
                        (first, second) = (second, first);
                    }
                    tasks.extend([(index, true), (second, false), (first, false)]);
                }
            }
        }
        ready[0]
    }

    #[inline(always)]
    pub fn score(
        &self,
        ranker: &Ranker,
        sums: &Sums,
        rows: RowsAndRaw,
        n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize,
    ) {
        let RowsAndRaw { rows, n_inputs, raw, n_outputs } = rows;
        let mut columns = [Column([0; ROWS]); MAX_LEAVES + MAX_PENDING];
        for (number, column) in columns.iter_mut().take(MAX_LEAVES).enumerate() {
            column.0 = [number as u8; ROWS];
        }
        let mut ranks = [Column([0; ROWS]); N_SLOTS];
        for (rows, raw) in rows.chunks(ROWS * n_inputs).zip(raw.chunks_mut(ROWS * n_outputs)) {
            for (at, row) in rows.chunks_exact(n_inputs).enumerate() {
                ranker.each_rank(row, &n_reached, |slot, rank| ranks[slot].0[at] = rank);
            }
            let mut sum = sums.rows(raw);
            let mut splits = self.splits.iter();
            for tree in &self.trees {
                for split in splits.by_ref().take(tree.n_splits) {
                    choose(&ranks, split, &mut columns);
                }
                let (values, leaf) = (&self.values[tree.first_value..], &columns[tree.leaf].0);
                sum.add(tree.output, |at| values[usize::from(leaf[at])]);
            }
            sum.end();
        }
    }
}

#[inline(always)]
fn choose(ranks: &[Column; N_SLOTS], split: &Choice, columns: &mut [Column; MAX_LEAVES + MAX_PENDING]) {
    let [left, right] = [split.left, split.right].map(|column| columns[usize::from(column)].0);
    let into = &mut columns[usize::from(split.into)].0;
    let each = ranks[usize::from(split.slot)].0.iter().zip(&left).zip(&right);
    for (into, ((&rank, &left), &right)) in into.iter_mut().zip(each) {
        // Said as a condition, it becomes a choice of addresses, byte by byte.
        let goes_right = 0_u8.wrapping_sub(u8::from(rank > split.rank));
        *into = left ^ (left ^ right) & goes_right;
    }
}

/// By node, how many leaves are below it.
fn n_leaves(tree: &Tree) -> Vec<usize> {
    let mut order = Vec::with_capacity(tree.nodes.len());
    let mut pending = vec![0];
    while let Some(index) = pending.pop() {
        order.push(index as usize);
        if let Node::Split(split) = &tree.nodes[index as usize] {
            pending.extend([split.left, split.right]);
        }
    }
    let mut n_leaves = vec![1; tree.nodes.len()];
    for index in order.into_iter().rev() {
        if let Node::Split(split) = &tree.nodes[index] {
            n_leaves[index] = n_leaves[split.left as usize] + n_leaves[split.right as usize];
        }
    }
    n_leaves
}
