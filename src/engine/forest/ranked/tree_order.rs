//! Where a tree's nodes stand: pairs of siblings, in cache lines.

use crate::engine::forest::{Node, Tree};

/// Nodes of a cache line.
pub const LINE: usize = 16;
const PAIRS: usize = LINE / 2;

/// A tree's places are counted from its first line on.
pub struct Order {
    pub n_places: usize,
    /// Siblings, from the last places to the first.
    pub pairs: Vec<[u32; 2]>,
    /// By node; of those that are in no pair it is the last, which is the root's.
    pub place: Vec<usize>,
}

impl Order {
    /// Of the siblings below these nodes that have a place at all. Children stand before
    /// their parents, and a line is filled by those who are reached from it by most rows
    /// of the training data: a row's way passes few lines. The last line is free.
    pub fn of(tree: &Tree, from: &[u32], has_place: impl Fn([u32; 2]) -> bool) -> Self {
        let pending = |&index: &u32| Pending::of(tree, index).filter(|pending| has_place(pending.children));
        // Splits whose children have no place yet: such as are in this line, and others.
        let (mut near, mut far) = (Vec::from_iter(from.iter().filter_map(pending)), Vec::new());
        let mut pairs = Vec::new();
        while let Some(Pending { children, .. }) = next(&mut near, &mut far) {
            pairs.push(children);
            near.extend(children.iter().filter_map(pending));
            if pairs.len().is_multiple_of(PAIRS) {
                far.append(&mut near);
            }
        }
        let n_places = n_places(pairs.len());
        let mut place = vec![n_places - 1; tree.nodes.len()];
        for (pair, children) in (1..).zip(&pairs) {
            let at = n_places - LINE - 2 * pair;
            children.iter().zip(at..).for_each(|(&child, at)| place[child as usize] = at);
        }
        Self { n_places, pairs, place }
    }
}

/// Whole lines. They are odd in number: of trees of one size the last lines, which
/// every row passes, would otherwise come to a few sets of the caches.
fn n_places(n_pairs: usize) -> usize {
    LINE * ((n_pairs.div_ceil(PAIRS) + 1) | 1)
}

/// As many as a tree can have.
pub fn most_places(tree: &Tree) -> usize {
    n_places(tree.nodes.len() / 2)
}

struct Pending {
    children: [u32; 2],
    /// Rows of the training data that come to them.
    cover: f64,
}

impl Pending {
    /// None of a leaf.
    fn of(tree: &Tree, index: u32) -> Option<Self> {
        match &tree.nodes[index as usize] {
            Node::Split(split) => {
                let children = [split.left, split.right];
                Some(Self { children, cover: split.cover })
            }
            Node::Leaf(_) => None,
        }
    }
}

fn next(near: &mut Vec<Pending>, far: &mut Vec<Pending>) -> Option<Pending> {
    let by_cover = near.iter().enumerate().max_by(|(_, a), (_, b)| a.cover.total_cmp(&b.cover));
    match by_cover {
        Some((most, _)) => Some(near.swap_remove(most)),
        None => far.pop(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::forest::{Condition, Leaf, Side, Split};

    /// A full tree of `depth` levels; of the rows of a split three quarters go right.
    fn tree(depth: u32) -> Tree {
        let (mut nodes, mut covers) = (Vec::new(), vec![1.0]);
        for index in 0..(1 << (depth + 1)) - 1_u32 {
            let cover = covers[index as usize];
            covers.extend([cover / 4.0, cover * 3.0 / 4.0]);
            nodes.push(match (index + 1).ilog2() == depth {
                true => Node::Leaf(Leaf { value: f64::from(index), cover }),
                false => Node::Split(Split {
                    input: 0,
                    condition: Condition::Less(0.0),
                    missing: Side::Left,
                    zero_is_missing: false,
                    left: 2 * index + 1,
                    right: 2 * index + 2,
                    cover,
                }),
            });
        }
        Tree::of(nodes)
    }

    #[test]
    fn siblings_are_neighbours_before_their_parents() {
        for depth in [0, 1, 3, 4, 7] {
            let tree = tree(depth);
            let order = Order::of(&tree, &[0], |_| true);
            assert_eq!(order.place[0], order.n_places - 1);
            assert_eq!(order.n_places / LINE % 2, 1);
            let mut places = order.place.clone();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), tree.nodes.len());
            for (node, &at) in tree.nodes.iter().zip(&order.place) {
                if let Node::Split(split) = node {
                    let [left, right] = [split.left, split.right].map(|child| order.place[child as usize]);
                    assert!(left % 2 == 0 && right == left + 1 && right < at, "{left}, {right}, {at}");
                }
            }
        }
    }

    #[test]
    fn the_way_of_most_rows_passes_few_lines() {
        let (tree, depth) = (tree(8), 8);
        let order = Order::of(&tree, &[0], |_| true);
        // Always right: nodes 2, 6, 14, …
        let lines = (1..=depth).map(|level| order.place[(1 << (level + 1)) - 2] / LINE);
        let mut lines: Vec<usize> = lines.collect();
        assert_eq!(lines[0], order.n_places / LINE - 2, "the last line is free");
        lines.dedup();
        assert!(lines.len() <= 2, "{lines:?}");
    }
}
