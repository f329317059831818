//! Where a tree's nodes stand: the root, and then pairs of siblings.

use crate::engine::forest::{Node, Tree};

pub struct Order {
    /// By node of the tree.
    pub place: Vec<usize>,
    /// The first place of a leaf.
    first_leaf: usize,
    depth: u32,
}

/// A tree of a layout.
pub struct Placed {
    /// Splits on the longest way to a leaf.
    pub depth: u32,
    /// Where the root is among the nodes.
    pub root: u32,
    /// What makes of a leaf's node its value, by addition that wraps.
    pub values: u32,
    pub output: u16,
}

/// Pairs of splits come first, so that the leaves, which have values, are
/// close together; parents before their children where these are alike.
pub fn of(tree: &Tree) -> Order {
    let is_leaf = |index: u32| matches!(tree.nodes[index as usize], Node::Leaf(_));
    let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(tree.nodes.len() / 2);
    let mut pending = vec![(0, 0)];
    let mut deepest = 0;
    while let Some((index, depth)) = pending.pop() {
        deepest = deepest.max(depth);
        if let Node::Split(split) = &tree.nodes[index as usize] {
            pairs.push((split.left, split.right));
            pending.extend([(split.right, depth + 1), (split.left, depth + 1)]);
        }
    }
    pairs.sort_by_key(|&(left, right)| u8::from(is_leaf(left)) + u8::from(is_leaf(right)));
    let mut place = vec![0; tree.nodes.len()];
    for (pair, &(left, right)) in pairs.iter().enumerate() {
        place[left as usize] = 1 + 2 * pair;
        place[right as usize] = 2 + 2 * pair;
    }
    let leaves = tree.nodes.iter().zip(&place).filter(|(node, _)| matches!(node, Node::Leaf(_)));
    let first_leaf = leaves.map(|(_, &place)| place).min().unwrap_or(0);
    Order { place, first_leaf, depth: deepest }
}

impl Order {
    /// Of the tree that begins at `root` of the nodes: appends its leaves' values.
    pub fn placed(&self, tree: &Tree, root: usize, values: &mut Vec<f64>) -> Placed {
        let first = values.len();
        values.resize(first + tree.nodes.len() - self.first_leaf, 0.0);
        for (node, &place) in tree.nodes.iter().zip(&self.place) {
            if let Node::Leaf(leaf) = node {
                values[first + place - self.first_leaf] = leaf.value;
            }
        }
        let to_values = first as i64 - self.first_leaf as i64 - root as i64;
        Placed { depth: self.depth, root: root as u32, values: to_values as u32, output: tree.output as u16 }
    }
}
