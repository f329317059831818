//! Walking many trees at once, in plain code.

use super::layout::{BLOCK, Group, Layout};
use super::ranks::RowRanks;

/// Trees that are in the air together: as many as registers hold.
const LANES: usize = 8;

/// Gives the leaves of every block of trees with their outputs, in the order of the forest.
pub fn each_block(layout: &Layout, row: &[f64], add: impl FnMut(&[u32], &[f64])) {
    let ranks = layout.ranker.rank(row);
    each_block_by(layout, |group| walk(&layout.nodes, &ranks, group), add);
}

/// `walk` gives the nodes of the leaves that a group's trees end at.
#[inline(always)]
pub fn each_block_by(
    layout: &Layout,
    walk: impl Fn(&Group) -> [u32; Group::LANES],
    mut add: impl FnMut(&[u32], &[f64]),
) {
    let mut leaves = [0.0; BLOCK];
    for block in &layout.blocks {
        for group in &block.groups {
            let ends = walk(group);
            for lane in 0..group.n_trees {
                let value = ends[lane].wrapping_add(group.values[lane]);
                leaves[usize::from(group.trees[lane]) % BLOCK] = layout.values[value as usize];
            }
        }
        add(&block.outputs, &leaves[..block.outputs.len()]);
    }
}

fn walk(nodes: &[u32], ranks: &RowRanks, group: &Group) -> [u32; Group::LANES] {
    let mut ends = group.roots;
    for lanes in ends.as_chunks_mut::<LANES>().0.iter_mut().take(group.n_trees.div_ceil(LANES)) {
        for _ in 0..group.depth {
            for at in lanes.iter_mut() {
                let node = nodes[*at as usize];
                let [slot, rank, ..] = node.to_le_bytes();
                let goes_right = ranks[usize::from(slot)] > rank;
                *at = at.wrapping_add_signed(i32::from((node >> 16) as i16)) + u32::from(goes_right);
            }
        }
    }
    ends
}
