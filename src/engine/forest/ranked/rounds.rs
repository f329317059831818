//! Walking trees in rounds, so that none waits for the deepest.
//!
//! Trees that were grown leaf by leaf are deep where few rows come: a row is
//! done in most of them long before the end of the longest way. So after a
//! round of levels only those trees go on that have not led to a leaf, put
//! together anew.

use super::layout::{Group, LEAF, Layout};
use super::sums::Sums;
use super::walk::add_group;

/// Groups that are walked before their leaves are added.
const GROUPS: usize = 16;
/// Levels of every round but the first.
pub const LEVELS: u32 = 4;

type Lanes = [u32; Group::LANES];
/// By vector, levels to go down; the first vectors have the most.
pub type Levels = [u32; Group::LANES / Group::VECTOR];

/// Adds the leaves of all trees. `walk` moves nodes down by so many levels, and
/// gives a bit for each lane that was still at a split before the last of them.
#[inline(always)]
pub fn add_leaves(layout: &Layout, sums: &Sums, raw: &mut [f64], walk: impl Fn(&mut Lanes, Levels) -> u64) {
    if layout.is_of_one_round() {
        for group in &layout.groups {
            let mut ends = group.roots;
            walk(&mut ends, group.depths);
            add_group(&ends, &layout.values, group, sums, raw);
        }
        return;
    }
    for groups in layout.groups.chunks(GROUPS) {
        let mut ends = [[0; Group::LANES]; GROUPS];
        let mut open = [0_u16; GROUPS * Group::LANES];
        let mut n_open = 0;
        for (number, (group, ends)) in groups.iter().zip(&mut ends).enumerate() {
            *ends = group.roots;
            let at_split = walk(ends, group.depths.map(|depth| depth.min(layout.first_round)));
            let n_deep = group.depths.iter().filter(|&&depth| depth > layout.first_round).count();
            let mut lanes = at_split & first_lanes(group.n_trees.min(n_deep * Group::VECTOR));
            while lanes != 0 {
                open[n_open] = (number * Group::LANES) as u16 + lanes.trailing_zeros() as u16;
                n_open += 1;
                lanes &= lanes - 1;
            }
        }
        if n_open > 0 {
            finish(&mut open[..n_open], ends.as_flattened_mut(), &walk);
        }
        for (group, ends) in groups.iter().zip(&ends) {
            add_group(ends, &layout.values, group, sums, raw);
        }
    }
}

/// Moves the nodes that are `open` down until they are leaves.
#[inline(always)]
fn finish(mut open: &mut [u16], ends: &mut [u32], walk: &impl Fn(&mut Lanes, Levels) -> u64) {
    while !open.is_empty() {
        let mut n_left = 0;
        for start in (0..open.len()).step_by(Group::LANES) {
            let n = Group::LANES.min(open.len() - start);
            let mut lanes = [ends[usize::from(open[start])]; Group::LANES];
            for (at, &end) in lanes.iter_mut().zip(&open[start..start + n]) {
                *at = ends[usize::from(end)];
            }
            let is_used = |vector: usize| vector * Group::VECTOR < n;
            let levels = std::array::from_fn(|vector| if is_used(vector) { LEVELS } else { 0 });
            let at_split = walk(&mut lanes, levels) & first_lanes(n);
            for (lane, &at) in lanes[..n].iter().enumerate() {
                let end = open[start + lane];
                ends[usize::from(end)] = at;
                // Those that go on move to the front.
                open[n_left] = end;
                n_left += (at_split >> lane & 1) as usize;
            }
        }
        open = &mut open[..n_left];
    }
}

fn first_lanes(n: usize) -> u64 {
    u64::MAX.checked_shr((Group::LANES - n) as u32).unwrap_or(0)
}

/// A bit for each lane whose node is a split.
#[inline(always)]
pub fn at_split<const N: usize>(nodes: [u32; N]) -> u64 {
    nodes.iter().enumerate().fold(0, |lanes, (lane, &node)| lanes | u64::from(node != LEAF) << lane)
}
