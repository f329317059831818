//! What a forest must be before it is walked.

use super::{Condition, Forest, Frame, Node, Split, SumOrder, Tree};

/// Why trees are refused; trees and nodes are counted from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("{n_inputs} inputs, of at most {max}", max = Forest::MAX_INPUTS)]
    TooManyInputs { n_inputs: usize },
    #[error("{n_outputs} outputs, of 1 to {max}", max = Forest::MAX_OUTPUTS)]
    BadNumberOfOutputs { n_outputs: usize },
    #[error("leaves are added in parts only if there is one output, and there are {n_outputs}")]
    PartsOfSeveral { n_outputs: usize },
    #[error("{n_trees} trees, of at most {max}", max = Forest::MAX_TREES)]
    TooManyTrees { n_trees: usize },
    #[error("more than {max} nodes, at tree {tree}", max = Forest::MAX_NODES)]
    TooManyNodes { tree: usize },
    #[error("more than {max} ends of ranges, at tree {tree}", max = Forest::MAX_RANGE_ENDS)]
    TooManyRanges { tree: usize },
    #[error("tree {tree} is of output {output}, but there are {n_outputs}")]
    UnknownOutput { tree: usize, output: u32, n_outputs: usize },
    #[error("tree {tree} has no node")]
    EmptyTree { tree: usize },
    #[error("tree {tree}, node {node}: deeper than {max} splits", max = Forest::MAX_DEPTH)]
    TooDeep { tree: usize, node: usize },
    #[error("tree {tree}, node {node}: input {input}, but there are {n_inputs}")]
    UnknownInput { tree: usize, node: usize, input: u32, n_inputs: usize },
    #[error("tree {tree}, node {node}: child {child}, but the tree has {n_nodes} nodes")]
    UnknownChild { tree: usize, node: usize, child: u32, n_nodes: usize },
    #[error("tree {tree}, node {node}: child {child} has been reached before (a cycle, or shared)")]
    ChildReachedTwice { tree: usize, node: usize, child: u32 },
    #[error("tree {tree}, node {node} cannot be reached from the root")]
    Unreachable { tree: usize, node: usize },
    #[error("the base score {base} is not finite")]
    BaseNotFinite { base: f64 },
    #[error("tree {tree}, node {node}: the threshold is not a number")]
    ThresholdNotANumber { tree: usize, node: usize },
    #[error("tree {tree}, node {node}: the leaf value {value} is not finite")]
    LeafNotFinite { tree: usize, node: usize, value: f64 },
    #[error("tree {tree}, node {node}: the cover {cover} is not a finite weight of 0 or more")]
    BadCover { tree: usize, node: usize, cover: f64 },
    #[error("tree {tree}, node {node}: the cover {cover} is not that of the children, {children}")]
    CoverMismatch { tree: usize, node: usize, cover: f64, children: f64 },
    #[error("the raw output can overflow at tree {tree}")]
    Overflow { tree: usize },
}

/// Trainers keep covers in `f32`: sums over children are off by that much.
const COVER_TOLERANCE: f64 = 1e-3;

/// What comes of checking.
pub(super) struct Checked {
    /// By output, the expected raw output by cover, if known.
    pub expected: Option<Vec<f64>>,
    /// Splits on the longest way from a root to a leaf.
    pub depth: usize,
}

/// Checks everything.
pub(super) fn check(frame: &Frame, trees: &[Tree]) -> Result<Checked, Error> {
    let Frame { n_inputs, ref base, arithmetic } = *frame;
    let (n_outputs, n_trees) = (base.len(), trees.len());
    if n_inputs > Forest::MAX_INPUTS {
        return Err(Error::TooManyInputs { n_inputs });
    }
    if n_outputs == 0 || n_outputs > Forest::MAX_OUTPUTS {
        return Err(Error::BadNumberOfOutputs { n_outputs });
    }
    if frame.arithmetic.order == SumOrder::InParts && n_outputs != 1 {
        return Err(Error::PartsOfSeveral { n_outputs });
    }
    if n_trees > Forest::MAX_TREES {
        return Err(Error::TooManyTrees { n_trees });
    }
    if let Some(&base) = base.iter().find(|base| !base.is_finite()) {
        return Err(Error::BaseNotFinite { base });
    }
    let (mut n_nodes, mut n_ends, mut deepest) = (0, 0, 0);
    let mut largest: Vec<f64> = base.iter().map(|base| base.abs()).collect();
    let mut of_trees = Some(vec![0.0; n_outputs]);
    for (index, tree) in trees.iter().enumerate() {
        n_nodes += tree.nodes.len();
        if n_nodes > Forest::MAX_NODES {
            return Err(Error::TooManyNodes { tree: index });
        }
        n_ends += tree.nodes.iter().map(n_ends_of).sum::<usize>();
        if n_ends > Forest::MAX_RANGE_ENDS {
            return Err(Error::TooManyRanges { tree: index });
        }
        let output = tree.output as usize;
        let Some(largest) = largest.get_mut(output) else {
            return Err(Error::UnknownOutput { tree: index, output: tree.output, n_outputs });
        };
        check_nodes(n_inputs, index, tree)?;
        let (order, depth) = preorder(index, tree)?;
        deepest = deepest.max(depth);
        *largest += largest_leaf(tree);
        if !arithmetic.sums.round(*largest).is_finite() {
            return Err(Error::Overflow { tree: index });
        }
        let expected = expected_of(index, tree, &order)?;
        of_trees = of_trees.zip(expected).map(|(mut sums, expected)| {
            sums[output] += expected;
            sums
        });
    }
    let n_trees = |output: usize| match arithmetic.mean {
        true => trees.iter().filter(|tree| tree.output as usize == output).count().max(1) as f64,
        false => 1.0,
    };
    let expected = |(output, sum): (usize, &f64)| base[output] + sum / n_trees(output);
    let expected = of_trees.map(|sums| sums.iter().enumerate().map(expected).collect());
    Ok(Checked { expected, depth: deepest })
}

fn n_ends_of(node: &Node) -> usize {
    match node {
        Node::Split(split) => match &split.condition {
            Condition::OneOf(ranges) => ranges.ends().len(),
            Condition::Less(_) | Condition::LessOrEqual(_) => 0,
        },
        Node::Leaf(_) => 0,
    }
}

/// Each node by itself.
fn check_nodes(n_inputs: usize, tree: usize, of: &Tree) -> Result<(), Error> {
    for (node, content) in of.nodes.iter().enumerate() {
        let cover = content.cover();
        if !cover.is_finite() || cover < 0.0 {
            return Err(Error::BadCover { tree, node, cover });
        }
        match content {
            Node::Leaf(leaf) if !leaf.value.is_finite() => {
                return Err(Error::LeafNotFinite { tree, node, value: leaf.value });
            }
            Node::Leaf(_) => {}
            Node::Split(split) => {
                if split.input as usize >= n_inputs {
                    return Err(Error::UnknownInput { tree, node, input: split.input, n_inputs });
                }
                if let Condition::Less(threshold) | Condition::LessOrEqual(threshold) = split.condition
                    && threshold.is_nan()
                {
                    return Err(Error::ThresholdNotANumber { tree, node });
                }
                for child in [split.left, split.right] {
                    if child as usize >= of.nodes.len() {
                        return Err(Error::UnknownChild { tree, node, child, n_nodes: of.nodes.len() });
                    }
                }
            }
        }
    }
    Ok(())
}

/// The nodes in an order in which parents come first, each exactly once; and the
/// tree's depth.
fn preorder(tree: usize, of: &Tree) -> Result<(Vec<usize>, usize), Error> {
    if of.nodes.is_empty() {
        return Err(Error::EmptyTree { tree });
    }
    let mut reached = vec![false; of.nodes.len()];
    reached[0] = true;
    let mut order = Vec::with_capacity(of.nodes.len());
    let (mut pending, mut deepest) = (vec![(0, 0)], 0);
    while let Some((node, depth)) = pending.pop() {
        order.push(node);
        deepest = deepest.max(depth);
        let Node::Split(split) = &of.nodes[node] else { continue };
        if depth == Forest::MAX_DEPTH {
            return Err(Error::TooDeep { tree, node });
        }
        for child in [split.right, split.left] {
            if std::mem::replace(&mut reached[child as usize], true) {
                return Err(Error::ChildReachedTwice { tree, node, child });
            }
            pending.push((child as usize, depth + 1));
        }
    }
    match reached.iter().position(|reached| !reached) {
        Some(node) => Err(Error::Unreachable { tree, node }),
        None => Ok((order, deepest)),
    }
}

fn largest_leaf(tree: &Tree) -> f64 {
    tree.nodes.iter().fold(0.0, |largest, node| match node {
        Node::Leaf(leaf) => f64::max(largest, leaf.value.abs()),
        Node::Split(_) => largest,
    })
}

/// The mean leaf by cover; none if the covers are unknown, which is all 0.
fn expected_of(tree: usize, of: &Tree, order: &[usize]) -> Result<Option<f64>, Error> {
    let unknown = of.nodes.iter().all(|node| node.cover() == 0.0);
    let mut share = vec![0.0; of.nodes.len()];
    share[0] = 1.0;
    let mut expected = 0.0;
    for &node in order {
        match &of.nodes[node] {
            Node::Leaf(leaf) => expected += share[node] * leaf.value,
            Node::Split(_) if unknown => return Ok(None),
            Node::Split(split) => {
                let (left, right) = (split.left as usize, split.right as usize);
                let children = of.nodes[left].cover() + of.nodes[right].cover();
                if (children - split.cover).abs() > COVER_TOLERANCE * split.cover {
                    return Err(Error::CoverMismatch { tree, node, cover: split.cover, children });
                }
                let [of_left, of_right] = of.shares(split);
                share[left] = share[node] * of_left;
                share[right] = share[node] * of_right;
            }
        }
    }
    Ok(Some(expected))
}

impl Tree {
    /// The shares of the training rows at `split` that went left and right, which
    /// add up to one. Where there were none, they are halves: any would do.
    pub fn shares(&self, split: &Split) -> [f64; 2] {
        let covers = [split.left, split.right].map(|child| self.nodes[child as usize].cover());
        let sum = covers[0] + covers[1];
        if sum == 0.0 { [0.5, 0.5] } else { covers.map(|cover| cover / sum) }
    }
}
