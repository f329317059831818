//! Walking many trees at once, in plain code.

use super::batch::{Batch, RowsAndRaw};
use super::layout::{Group, Layout};
use super::ranks::{RowRanks, n_reached};
use super::rounds::{self, Lanes, Levels};
use super::sums::Sums;
use super::symmetric;

/// Trees that are in the air together: as many as registers hold.
const LANES: usize = 8;

pub fn add_leaves(layout: &Layout, sums: &Sums, row: &[f64], raw: &mut [f64]) {
    let ranks = layout.ranker.rank_by(row, n_reached);
    if let Some(symmetric) = &layout.symmetric {
        let look_up = |slots: &_| symmetric::look_up(&ranks, slots);
        return symmetric.add_leaves(&layout.groups, sums, raw, look_up);
    }
    let walk = |lanes: &mut _, levels| walk(layout, &ranks, lanes, levels);
    // At the roots: without vectors, looking up here saves no load.
    let begin = |_: &_, _: &mut _| 0;
    rounds::add_leaves(layout, sums, raw, begin, walk, |lanes, n, open| open.push(lanes, n, at_split(lanes)));
}

pub fn score_batch(batch: &Batch, layout: &Layout, sums: &Sums, rows: RowsAndRaw) {
    batch.score(&layout.ranker, sums, rows, n_reached);
}

/// Adds the leaves that `nodes` are, by lane.
#[inline(always)]
pub fn add_group(nodes: &[u32; Group::LANES], values: &[f64], group: &Group, sums: &Sums, raw: &mut [f64]) {
    sums.add(raw, group, |tree| {
        let lane = usize::from(group.lanes[tree]) % Group::LANES;
        values[nodes[lane].wrapping_add(group.values[lane]) as usize]
    });
}

fn walk(layout: &Layout, ranks: &RowRanks, lanes: &mut Lanes, levels: Levels) {
    let down = |at: &mut u32, node: u32| {
        let [rank, slot, ..] = node.to_le_bytes();
        let goes_right = ranks[usize::from(slot)] > rank;
        *at = at.wrapping_add_signed((node as i32 >> 16) + i32::from(goes_right));
    };
    let vectors = lanes.at.as_chunks_mut::<LANES>().0.iter_mut().zip(lanes.nodes.as_chunks_mut::<LANES>().0);
    for (vector, (at, nodes)) in vectors.enumerate() {
        let n_levels = levels[vector * LANES / Group::VECTOR];
        if n_levels > 0 {
            at.iter_mut().zip(&*nodes).for_each(|(at, &node)| down(at, node));
            for _ in 1..n_levels {
                at.iter_mut().for_each(|at| down(at, layout.nodes[*at as usize]));
            }
            *nodes = at.map(|at| layout.nodes[at as usize]);
        }
    }
}

/// A bit for each lane that is at a split.
fn at_split(lanes: &Lanes) -> u64 {
    lanes.nodes.iter().enumerate().fold(0, |all, (lane, &node)| all | u64::from(node >> 31) << lane)
}
