//! Where a tree's nodes stand: pairs of siblings, in cache lines.

use crate::engine::forest::{Node, Tree};

/// Nodes of a cache line.
pub const LINE: usize = 16;
const PAIRS: usize = LINE / 2;

/// A tree's places are counted from its first line on; the root's is after them all.
pub struct Order {
    pub n_places: usize,
    /// Siblings, from the last places to the first.
    pub pairs: Vec<[u32; 2]>,
    /// By node.
    pub place: Vec<usize>,
    /// Splits on the longest way to a leaf.
    pub depth: u32,
}

/// Whole lines. They are odd in number: of trees of one size the first lines, which
/// every row passes, would otherwise come to a few sets of the caches.
pub fn n_places(tree: &Tree) -> usize {
    let n_pairs = tree.nodes.len() / 2;
    LINE * (n_pairs.div_ceil(PAIRS) | 1)
}

impl Order {
    /// Children stand before their parents, and a line is filled by those who are
    /// reached from it by most rows of the training data: a row's way passes few lines.
    pub fn of(tree: &Tree) -> Self {
        let n_places = n_places(tree);
        let mut order =
            Self { n_places, pairs: Vec::new(), place: vec![n_places; tree.nodes.len()], depth: 0 };
        // Splits whose children have no place yet: such as are in this line, and others.
        let (mut near, mut far) = (Vec::from_iter(Pending::of(tree, 0, 0)), Vec::new());
        while let Some(Pending { children, depth, .. }) = next(&mut near, &mut far) {
            order.pairs.push(children);
            let at = n_places - 2 * order.pairs.len();
            children.iter().zip(at..).for_each(|(&child, at)| order.place[child as usize] = at);
            order.depth = order.depth.max(depth);
            near.extend(children.iter().filter_map(|&child| Pending::of(tree, child, depth)));
            if order.pairs.len().is_multiple_of(PAIRS) {
                far.append(&mut near);
            }
        }
        order
    }
}

struct Pending {
    children: [u32; 2],
    /// Rows of the training data that come to them.
    cover: f64,
    depth: u32,
}

impl Pending {
    /// None of a leaf.
    fn of(tree: &Tree, index: u32, depth: u32) -> Option<Self> {
        match &tree.nodes[index as usize] {
            Node::Split(split) => {
                let children = [split.left, split.right];
                Some(Self { children, cover: split.cover, depth: depth + 1 })
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
            let order = Order::of(&tree);
            assert_eq!((order.depth, order.place[0]), (depth, order.n_places));
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
        let order = Order::of(&tree);
        // Always right: nodes 2, 6, 14, …
        let lines = (1..=depth).map(|level| order.place[(1 << (level + 1)) - 2] / LINE);
        let mut lines: Vec<usize> = lines.collect();
        assert_eq!(lines[0], order.n_places / LINE - 1, "the last line is the root's");
        lines.dedup();
        assert!(lines.len() <= 2, "{lines:?}");
    }
}
