//! How many levels trees are walked together before those go on that are left.

use super::layout::Group;
use super::rounds::LEVELS;
use crate::engine::forest::{Node, Tree};

/// What a lane that goes on costs in a round beside its walk, in levels of a
/// vector. With this and the next the least is reckoned near where it was measured: at
/// 4 to 8 levels of 29 (1,000 trees of 255 leaves), 6 to 8 of 22 (500 of 63), and all
/// 10 of 100 trees of 31 leaves.
const OF_A_LANE: f64 = 0.35;
/// What rounds cost whoever goes on, in the same unit: about a tenth of a microsecond.
const OF_ROUNDS: f64 = 12.0;

/// The levels of the first round for which a row is expected to cost least, by
/// how many rows of the training data came to each leaf; without that as if
/// each way were taken alike.
pub fn first_round(trees: &[Tree], groups: &[Group]) -> u32 {
    let open = trees_open(trees);
    let depths = || groups.iter().flat_map(|group| group.depths);
    let cost = |levels: u32| {
        let of_first: u32 = depths().map(|depth| depth.min(levels)).sum();
        let later = open.iter().skip(levels as usize + 1).step_by(LEVELS as usize);
        let of_a_tree = f64::from(LEVELS) / Group::VECTOR as f64 + OF_A_LANE;
        OF_ROUNDS + f64::from(of_first) + of_a_tree * later.sum::<f64>()
    };
    let deepest = depths().max().unwrap_or(0);
    let in_one = (deepest, f64::from(depths().sum::<u32>()));
    let in_rounds = (1..deepest).map(|levels| (levels, cost(levels)));
    in_rounds.chain([in_one]).min_by(|a, b| a.1.total_cmp(&b.1)).map_or(deepest, |(levels, _)| levels)
}

/// By number of levels, how many trees have a row's leaf after as many or more.
fn trees_open(trees: &[Tree]) -> Vec<f64> {
    let mut open: Vec<f64> = Vec::new();
    for tree in trees {
        for (depth, part) in leaves(tree) {
            if open.len() <= depth {
                open.resize(depth + 1, 0.0);
            }
            open[depth] += part;
        }
    }
    for depth in (1..open.len()).rev() {
        open[depth - 1] += open[depth];
    }
    open
}

/// Depth of each leaf, and the part of the rows that come to it.
fn leaves(tree: &Tree) -> Vec<(usize, f64)> {
    let cover = |index: u32| match &tree.nodes[index as usize] {
        Node::Split(split) => split.cover,
        Node::Leaf(leaf) => leaf.cover,
    };
    let mut leaves = Vec::new();
    let mut pending = vec![(0, 0, 1.0)];
    while let Some((index, depth, part)) = pending.pop() {
        match &tree.nodes[index as usize] {
            Node::Leaf(_) => leaves.push((depth, part)),
            Node::Split(split) => {
                let (left, right) = (cover(split.left), cover(split.right));
                let of_left = if left + right > 0.0 { left / (left + right) } else { 0.5 };
                pending.push((split.left, depth + 1, part * of_left));
                pending.push((split.right, depth + 1, part * (1.0 - of_left)));
            }
        }
    }
    leaves
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
        assert!((2..=6).contains(&first_round(40, 0.6)), "{}", first_round(40, 0.6));
        assert!(first_round(40, 0.2) > first_round(40, 0.6));
        // All are still there at the end: one round.
        assert_eq!(first_round(40, 1e-6), 40);
        assert_eq!(first_round(3, 0.6), 3);
    }
}
