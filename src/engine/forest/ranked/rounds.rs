//! Walking trees in rounds, so that none waits for the deepest.
//!
//! Trees that were grown leaf by leaf are deep where few rows come: a row is
//! done in most of them long before the end of the longest way. So after a
//! round of levels only those trees go on that have not led to a leaf, put
//! together anew.

use super::layout::{Group, Layout};
use super::sums::Sum;

/// Groups that are walked before their leaves are added: so few that what is written
/// meanwhile stays in the nearest cache.
const GROUPS: usize = 8;
const ROOM: usize = (GROUPS + 1) * Group::LANES;
/// Nodes that are looked up in every round but the first.
pub const LEVELS: u32 = 4;

/// Trees that are walked side by side: the node each is at, and where its children's
/// distance counts from.
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

/// Adds the leaves of all trees. `begin` leads below the upper levels; `walk` looks up so
/// many nodes on the way of the first `n` lanes from there on, and asks what the last asks
/// if leaves follow; `keep` appends to what is open those of the first `n` lanes that are
/// at splits; `read` gives the values of leaves, and 0 of lanes without a tree.
#[inline(always)]
pub fn add_leaves(
    layout: &Layout,
    sum: &mut Sum,
    begin: impl Fn(&Group, &mut Lanes),
    walk: impl Fn(&mut Lanes, usize, u32),
    keep: impl Fn(&Lanes, usize, &mut Open),
    read: impl Fn(&Group, &[u32; Group::LANES]) -> [f64; Group::LANES],
) {
    if layout.is_of_one_round() {
        for group in &layout.groups {
            let mut lanes = Lanes::of(group, 0);
            begin(group, &mut lanes);
            walk(&mut lanes, group.n_trees, group.depth);
            sum.add(group, &read(group, &lanes.nodes));
        }
        return;
    }
    let mut ends = [0; GROUPS * Group::LANES];
    let mut open = Open { at: [0; ROOM], nodes: [0; ROOM], trees: [0; ROOM], n: 0 };
    for groups in layout.groups.chunks(GROUPS) {
        for (number, (group, ends)) in groups.iter().zip(ends.as_chunks_mut().0).enumerate() {
            let mut lanes = Lanes::of(group, number);
            begin(group, &mut lanes);
            walk(&mut lanes, group.n_trees, group.depth.min(layout.first_round));
            *ends = lanes.nodes;
            keep(&lanes, group.n_trees, &mut open);
        }
        finish(&mut open, &mut ends, &walk, &keep);
        for (group, ends) in groups.iter().zip(ends.as_chunks().0) {
            sum.add(group, &read(group, ends));
        }
    }
}

/// Moves down what is open until all are leaves.
#[inline(always)]
fn finish(
    open: &mut Open,
    ends: &mut [u32; GROUPS * Group::LANES],
    walk: &impl Fn(&mut Lanes, usize, u32),
    keep: &impl Fn(&Lanes, usize, &mut Open),
) {
    while open.n > 0 {
        // Those that go on move to the front.
        let n_open = std::mem::take(&mut open.n);
        for start in (0..n_open).step_by(Group::LANES) {
            let n = Group::LANES.min(n_open - start);
            let mut lanes = open.lanes(start);
            walk(&mut lanes, n, LEVELS);
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
        Self { at: group.roots, nodes: [0; _], trees: std::array::from_fn(tree) }
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

/// Of each upper level, by lane a bit: whether its tree's way goes right there. `goes_right`:
/// the same of each split, if the way came there.
#[inline(always)]
pub fn ways(goes_right: impl Fn(usize) -> u64) -> [u64; Group::UPPER_LEVELS] {
    let mut ways = [0; _];
    for level in 0..Group::UPPER_LEVELS {
        let mut n = 1 << level;
        let mut of_splits = [0; Group::BELOW / 2];
        for (split, of_split) in (n - 1..).zip(&mut of_splits[..n]) {
            *of_split = goes_right(split);
        }
        for way in &ways[..level] {
            n /= 2;
            for split in 0..n {
                of_splits[split] = of_splits[split] & !way | of_splits[n + split] & way;
            }
        }
        ways[level] = of_splits[0];
    }
    ways
}
