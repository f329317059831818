//! Walking trees in rounds, so that none waits for the deepest.
//!
//! Trees that were grown leaf by leaf are deep where few rows come: a row is
//! done in most of them long before the end of the longest way. So after a
//! round of levels only those trees go on that have not led to a leaf, put
//! together anew.

use super::layout::{Group, Layout};
use super::sums::Sums;
use super::walk::add_group;

/// Groups that are walked before their leaves are added: so few that what is written
/// meanwhile stays in the nearest cache.
const GROUPS: usize = 4;
const ROOM: usize = (GROUPS + 1) * Group::LANES;
/// Levels of every round but the first.
pub const LEVELS: u32 = 4;

/// By vector, levels to go down; the first vectors have the most.
pub type Levels = [u32; Group::LANES / Group::VECTOR];

/// Trees that are walked side by side: where each is, and the node there.
pub struct Lanes {
    pub at: [u32; Group::LANES],
    pub nodes: [u32; Group::LANES],
    /// Which of the trees that are walked together each is.
    pub trees: [u32; Group::LANES],
}

/// Trees that have not led to a leaf.
pub struct Open {
    pub at: [u32; ROOM],
    pub nodes: [u32; ROOM],
    pub trees: [u32; ROOM],
    pub n: usize,
}

/// Adds the leaves of all trees. `begin` moves lanes from the roots down the levels that
/// stand by lane ([`Group::tops`]), if that pays, and says how many; `walk` moves lanes
/// down by so many levels; `keep` appends to what is open those of the first `n` lanes
/// that are at splits.
#[inline(always)]
pub fn add_leaves(
    layout: &Layout,
    sums: &Sums,
    raw: &mut [f64],
    begin: impl Fn(&Group, &mut Lanes) -> u32,
    walk: impl Fn(&mut Lanes, Levels),
    keep: impl Fn(&Lanes, usize, &mut Open),
) {
    if layout.is_of_one_round() {
        for group in &layout.groups {
            let mut lanes = Lanes::of(group, 0);
            let done = begin(group, &mut lanes);
            walk(&mut lanes, group.depths.map(|depth| depth.saturating_sub(done)));
            add_group(&lanes.nodes, &layout.values, group, sums, raw);
        }
        return;
    }
    let mut ends = [0; GROUPS * Group::LANES];
    // The first node is a leaf.
    let mut open = Open { at: [0; ROOM], nodes: [layout.first_leaf(); ROOM], trees: [0; ROOM], n: 0 };
    for groups in layout.groups.chunks(GROUPS) {
        for (number, (group, ends)) in groups.iter().zip(ends.as_chunks_mut().0).enumerate() {
            let mut lanes = Lanes::of(group, number);
            let done = begin(group, &mut lanes);
            walk(&mut lanes, group.depths.map(|depth| depth.min(layout.first_round).saturating_sub(done)));
            *ends = lanes.nodes;
            keep(&lanes, group.n_trees, &mut open);
        }
        finish(&mut open, &mut ends, &walk, &keep);
        for (group, ends) in groups.iter().zip(ends.as_chunks().0) {
            add_group(ends, &layout.values, group, sums, raw);
        }
    }
}

/// Moves down what is open until all are leaves.
#[inline(always)]
fn finish(
    open: &mut Open,
    ends: &mut [u32; GROUPS * Group::LANES],
    walk: &impl Fn(&mut Lanes, Levels),
    keep: &impl Fn(&Lanes, usize, &mut Open),
) {
    while open.n > 0 {
        // Those that go on move to the front.
        let n_open = std::mem::take(&mut open.n);
        for start in (0..n_open).step_by(Group::LANES) {
            let n = Group::LANES.min(n_open - start);
            let mut lanes = open.lanes(start);
            let is_used = |vector: usize| vector * Group::VECTOR < n;
            walk(&mut lanes, std::array::from_fn(|vector| if is_used(vector) { LEVELS } else { 0 }));
            for (&tree, &node) in lanes.trees[..n].iter().zip(&lanes.nodes) {
                ends[tree as usize % ends.len()] = node;
            }
            keep(&lanes, n, open);
        }
    }
}

impl Lanes {
    /// At the roots of the group that has this number among those walked together.
    #[inline(always)]
    fn of(group: &Group, number: usize) -> Self {
        let tree = |lane| (number * Group::LANES + lane) as u32;
        Self { at: group.roots, nodes: group.tops[0], trees: std::array::from_fn(tree) }
    }
}

impl Open {
    /// Those from `start` on; beyond the last is what was there before, or nothing but
    /// zeros, which nobody keeps.
    #[inline(always)]
    fn lanes(&self, start: usize) -> Lanes {
        let of = |all: &[u32]| *all[start..].first_chunk().expect("there is room for all lanes");
        Lanes { at: of(&self.at), nodes: of(&self.nodes), trees: of(&self.trees) }
    }

    /// Appends those of the first `n` lanes that have a bit.
    #[inline(always)]
    pub fn push(&mut self, lanes: &Lanes, n: usize, bits: u64) {
        let mut bits = bits & u64::MAX >> (Group::LANES - n);
        let mut to = self.n;
        while bits != 0 {
            let lane = bits.trailing_zeros() as usize;
            self.at[to] = lanes.at[lane];
            self.nodes[to] = lanes.nodes[lane];
            self.trees[to] = lanes.trees[lane];
            to += 1;
            bits &= bits - 1;
        }
        self.n = to;
    }
}
