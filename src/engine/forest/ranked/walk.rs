//! Walking many trees at once, in plain code.

use super::batch::{Batch, RowsAndRaw};
use super::layout::{Group, LEAF, Layout};
use super::ranks::{RowRanks, n_reached};
use super::rounds::{self, Levels};
use super::sums::Sums;

/// Trees that are in the air together: as many as registers hold.
const LANES: usize = 8;

pub fn add_leaves(layout: &Layout, sums: &Sums, row: &[f64], raw: &mut [f64]) {
    let ranks = layout.ranker.rank_by(row, n_reached);
    if let Some(symmetric) = &layout.symmetric {
        return symmetric.add_leaves(&ranks, &layout.groups, sums, raw);
    }
    rounds::add_leaves(layout, sums, raw, |at, levels| walk(&layout.nodes, &ranks, at, levels));
}

pub fn score_batch(batch: &Batch, layout: &Layout, sums: &Sums, rows: RowsAndRaw) {
    batch.score(&layout.ranker, sums, rows, n_reached);
}

/// Adds the leaves whose nodes are `ends`, by lane.
#[inline(always)]
pub fn add_group(ends: &[u32; Group::LANES], values: &[f64], group: &Group, sums: &Sums, raw: &mut [f64]) {
    sums.add(raw, group, |tree| {
        let lane = usize::from(group.lanes[tree]) % Group::LANES;
        values[ends[lane].wrapping_add(group.values[lane]) as usize]
    });
}

fn walk(nodes: &[u32], ranks: &RowRanks, at: &mut [u32; Group::LANES], levels: Levels) -> u64 {
    let mut at_split = 0;
    for (vector, lanes) in at.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut last = [LEAF; LANES];
        for _ in 0..levels[vector * LANES / Group::VECTOR] {
            for (at, last) in lanes.iter_mut().zip(&mut last) {
                let node = nodes[*at as usize];
                let [slot, rank, ..] = node.to_le_bytes();
                let goes_right = ranks[usize::from(slot)] > rank;
                *at = at.wrapping_add_signed(i32::from((node >> 16) as i16)) + u32::from(goes_right);
                *last = node;
            }
        }
        at_split |= rounds::at_split(last) << (vector * LANES);
    }
    at_split
}
