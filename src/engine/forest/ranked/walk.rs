//! Walking many trees at once, in plain code.

use super::batch::{Batch, RowsAndRaw};
use super::layout::{Group, Layout, at_leaf, leaf};
use super::ranks::{RowRanks, n_reached};
use super::rounds::{self, Lanes, Open};
use super::sums::{Sum, Sums};
use super::symmetric;

/// Trees that are in the air together: as many as registers hold.
const LANES: usize = 8;

pub fn add_leaves(layout: &Layout, row: &[f64], sum: &mut Sum) {
    let ranks = layout.ranker.rank_by(row, n_reached);
    if let Some(symmetric) = &layout.symmetric {
        let look_up = |slots: &_| symmetric::look_up(&ranks, slots);
        return symmetric.add_leaves(&layout.groups, sum, look_up);
    }
    let begin = |_: &_, lanes: &mut _| begin(layout, &ranks, lanes);
    let walk = |lanes: &mut _, n, depth| walk(layout, &ranks, lanes, n, depth);
    let keep = |lanes: &_, n, open: &mut Open| open.push(lanes, n, at_split(lanes));
    rounds::add_leaves(layout, sum, begin, walk, keep, |group, ends| read(layout, group, ends));
}

pub fn score_batch(batch: &Batch, layout: &Layout, sums: &Sums, rows: RowsAndRaw) {
    batch.score(&layout.ranker, sums, rows, n_reached);
}

/// [`rounds::add_leaves`]' `read`.
#[inline(always)]
pub fn read(layout: &Layout, group: &Group, ends: &[u32; Group::LANES]) -> [f64; Group::LANES] {
    let value = |lane| layout.values[(group.values[lane] + leaf(ends[lane])) as usize];
    std::array::from_fn(|lane| if lane < group.n_trees { value(lane) } else { 0.0 })
}

/// Walks the upper levels: without vectors that is faster than to ask all.
fn begin(layout: &Layout, ranks: &RowRanks, lanes: &mut Lanes) {
    for at in lanes.at.as_chunks_mut::<LANES>().0 {
        for _ in 0..Group::UPPER_LEVELS {
            at.iter_mut()
                .for_each(|at| *at = at.wrapping_add_signed(next(ranks, layout.nodes[*at as usize])));
        }
    }
}

fn walk(layout: &Layout, ranks: &RowRanks, lanes: &mut Lanes, n: usize, depth: u32) {
    let vectors = lanes.at.as_chunks_mut::<LANES>().0.iter_mut().zip(lanes.nodes.as_chunks_mut::<LANES>().0);
    for (at, nodes) in vectors.take(n.div_ceil(LANES)) {
        for _ in 0..depth {
            for at in at.iter_mut() {
                let node = layout.nodes[*at as usize];
                *at = at.wrapping_add_signed(next(ranks, node) & of_split(node));
            }
        }
        for (at, node) in at.iter().zip(nodes) {
            let there = layout.nodes[*at as usize];
            let bits = of_split(there) as u32;
            *node = there & bits | at_leaf(next(ranks, there)) & !bits;
        }
    }
}

/// By how much a node leads on, if it is a split, else to which leaf.
fn next(ranks: &RowRanks, node: u32) -> i32 {
    let [rank, slot, ..] = node.to_le_bytes();
    (node as i32 >> 16) + i32::from(ranks[usize::from(slot)] > rank)
}

/// All bits of a split, none of an end: without a branch, as where ways end is hard to foresee.
fn of_split(node: u32) -> i32 {
    node as i32 >> 31
}

/// A bit for each lane that is at a split.
fn at_split(lanes: &Lanes) -> u64 {
    lanes.nodes.iter().enumerate().fold(0, |all, (lane, &node)| all | u64::from(node >> 31) << lane)
}
