//! How many levels trees are walked together before those go on that are left.

use super::layout::Group;
use super::rounds::LEVELS;
use crate::engine::forest::{Node, Tree};

/// Lanes that are walked at once where most are.
const VECTOR: usize = 16;
/// What a lane that goes on costs in a round beside its walk, in nodes that a
/// vector looks up. With this and the next the least is reckoned near where it was
/// measured: at 1 to 3 nodes of 25 (1,000 trees of 255 leaves), 2 to 4 of 18 (500 of 63),
/// and all 6 of 100 trees of 31 leaves.
const OF_A_LANE: f64 = 0.4;
/// What rounds cost whoever goes on, in the same unit: about a tenth of a microsecond.
const OF_ROUNDS: f64 = 24.0;

/// The levels of the first round for which a row is expected to cost least, by
/// how many rows of the training data came to each leaf; without that as if
/// each way were taken alike.
pub fn first_round(trees: &[Tree], groups: &[Group]) -> u32 {
    let open = trees_open(trees);
    let n_vectors = |group: &Group| group.n_trees.div_ceil(VECTOR) as u32;
    let cost_of_first =
        |levels: u32| groups.iter().map(|group| n_vectors(group) * group.depth.min(levels)).sum::<u32>();
    let cost = |levels: u32| {
        let later = open.iter().skip(levels as usize + 1).step_by(LEVELS as usize);
        let of_a_tree = f64::from(LEVELS) / VECTOR as f64 + OF_A_LANE;
        OF_ROUNDS + f64::from(cost_of_first(levels)) + of_a_tree * later.sum::<f64>()
    };
    let deepest = groups.iter().map(|group| group.depth).max().unwrap_or(0);
    let in_one = (deepest, f64::from(cost_of_first(deepest)));
    let in_rounds = (0..deepest).map(|levels| (levels, cost(levels)));
    in_rounds.chain([in_one]).min_by(|a, b| a.1.total_cmp(&b.1)).map_or(deepest, |(levels, _)| levels)
}

/// By number of nodes that are looked up, in how many trees a row looks up as many or more.
fn trees_open(trees: &[Tree]) -> Vec<f64> {
    let mut open: Vec<f64> = Vec::new();
    for way in trees.iter().flat_map(ways) {
        if open.len() <= way.n_looked_up() {
            open.resize(way.n_looked_up() + 1, 0.0);
        }
        open[way.n_looked_up()] += way.part;
    }
    for depth in (1..open.len()).rev() {
        open[depth - 1] += open[depth];
    }
    open
}

/// Levels of the longest way.
pub fn most_levels(tree: &Tree) -> u32 {
    ways(tree).iter().map(|way| way.depth).max().unwrap_or(0) as u32
}

/// Nodes that are looked up on the way that takes the most of them.
pub fn most_looked_up(tree: &Tree) -> u32 {
    ways(tree).iter().map(Way::n_looked_up).max().unwrap_or(0) as u32
}

/// From the root to a leaf.
struct Way {
    depth: usize,
    /// Whether the leaf's sibling is one, too.
    ends_in_two: bool,
    /// Of the rows, those that take it.
    part: f64,
}

impl Way {
    /// Neither the upper levels are looked up, nor leaves that are siblings.
    fn n_looked_up(&self) -> usize {
        (self.depth - usize::from(self.ends_in_two)).saturating_sub(Group::UPPER_LEVELS)
    }
}

fn ways(tree: &Tree) -> Vec<Way> {
    let cover = |index: u32| match &tree.nodes[index as usize] {
        Node::Split(split) => split.cover,
        Node::Leaf(leaf) => leaf.cover,
    };
    let is_leaf = |index: u32| matches!(tree.nodes[index as usize], Node::Leaf(_));
    let mut ways = Vec::new();
    let mut pending = vec![(0, Way { depth: 0, ends_in_two: false, part: 1.0 })];
    while let Some((index, way)) = pending.pop() {
        match &tree.nodes[index as usize] {
            Node::Leaf(_) => ways.push(way),
            Node::Split(split) => {
                let (left, right) = (cover(split.left), cover(split.right));
                let of_left = if left + right > 0.0 { left / (left + right) } else { 0.5 };
                let (depth, ends_in_two) = (way.depth + 1, is_leaf(split.left) && is_leaf(split.right));
                for (child, of_way) in [(split.left, of_left), (split.right, 1.0 - of_left)] {
                    pending.push((child, Way { depth, ends_in_two, part: way.part * of_way }));
                }
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::forest::ranked::Form;
    use crate::engine::forest::{Condition, Forest, Frame, Leaf, Side, Split};

    /// A chain of splits; of `first` of the rows the first leaf is the end, and so on.
    fn chain(depth: u32, first: f64) -> Tree {
        let mut nodes = Vec::new();
        let mut cover = 1e6;
        for level in 0..depth {
            let (left, right) = (2 * level + 1, 2 * level + 2);
            let condition = Condition::Less(f64::from(level));
            let (missing, zero_is_missing) = (Side::Left, false);
            nodes.push(Node::Split(Split {
                input: 0,
                condition,
                missing,
                zero_is_missing,
                left,
                right,
                cover,
            }));
            nodes.push(Node::Leaf(Leaf { value: f64::from(level), cover: first * cover }));
            cover *= 1.0 - first;
        }
        // Each split's children: a leaf, and the next split.
        nodes.push(Node::Leaf(Leaf { value: 0.5, cover }));
        Tree::of(nodes)
    }

    #[test]
    fn a_round_is_as_long_as_most_rows_ways() {
        let first_round = |depth, first| {
            let trees = vec![chain(depth, first); 128];
            let forest = Forest::new(Frame::single(1, 0.0), trees).expect("valid");
            let Ok(Form::Bytes(layout, _)) = Form::bytes(&forest) else { panic!("few thresholds") };
            layout.first_round
        };
        assert!((1..=3).contains(&first_round(40, 0.4)), "{}", first_round(40, 0.4));
        assert!(first_round(40, 0.2) > first_round(40, 0.4));
        // All are still there at the end: one round, without the upper levels and the two
        // leaves that end it.
        assert_eq!(first_round(40, 1e-6), 36);
        assert_eq!(first_round(5, 0.6), 1);
    }
}
