//! `TreeEnsemble` of `ai.onnx.ml` 5: nodes and leaves by their index.

use super::attributes::Attributes;
use super::classic::same_length;
use super::outputs::{Ensemble, Kind, Transform, Weight, WeightedTree};
use super::split::{Children, Mode, split};
use super::{malformed, unsupported};
use crate::engine::forest::{Forest, Leaf, Node};
use crate::model_file::Error;

struct Nodes {
    inputs: Vec<i64>,
    modes: Vec<Mode>,
    thresholds: Vec<f64>,
    /// By node: of a set the bounds among the members.
    sets: Vec<(usize, usize)>,
    members: Vec<f64>,
    missing_is_true: Vec<i64>,
    trues: Vec<Reference>,
    falses: Vec<Reference>,
    leaf_targets: Vec<i64>,
    leaf_weights: Vec<f64>,
}

#[derive(Clone, Copy)]
enum Reference {
    Node(usize),
    Leaf(usize),
}

pub fn ensemble(attributes: &Attributes<'_>) -> Result<Ensemble, Error> {
    let mean = match attributes.int("aggregate_function")?.unwrap_or(1) {
        0 => true,
        1 => false,
        2 => return Err(unsupported("the aggregate_function MIN")),
        3 => return Err(unsupported("the aggregate_function MAX")),
        number => return Err(malformed("aggregate_function", format!("{number} is none"))),
    };
    match attributes.int("post_transform")?.unwrap_or(0) {
        0 => {}
        // 1 is SOFTMAX and 2 LOGISTIC as specified, but the other way round in ONNX Runtime 1.32.
        number @ 1..=4 => return Err(unsupported(format!("the post_transform {number} of a TreeEnsemble"))),
        number => return Err(malformed("post_transform", format!("{number} is none"))),
    }
    let n_targets = attributes.int("n_targets")?.unwrap_or(1);
    let kind = Kind::Targets(usize::try_from(n_targets).unwrap_or(0));
    let roots = attributes.ints("tree_roots")?;
    if roots.len() > Forest::MAX_TREES {
        return Err(malformed("tree_roots", format!("{}, of at most {}", roots.len(), Forest::MAX_TREES)));
    }
    let nodes = Nodes::read(attributes)?;
    let mut reached = vec![false; nodes.modes.len()];
    let mut trees = Vec::with_capacity(roots.len());
    for (index, &root) in roots.iter().enumerate() {
        let Some(root) = usize::try_from(root).ok().filter(|&root| root < reached.len()) else {
            return Err(malformed(format!("tree_roots[{index}]"), format!("there is no node {root}")));
        };
        trees.push(nodes.tree(root, &mut reached)?);
    }
    if let Some(node) = reached.iter().position(|reached| !reached) {
        return Err(malformed(format!("node {node}"), "in no tree"));
    }
    Ok(Ensemble { trees, kind, base: Vec::new(), mean, transform: Transform::None })
}

impl Nodes {
    fn read(attributes: &Attributes<'_>) -> Result<Self, Error> {
        let inputs = attributes.ints("nodes_featureids")?;
        let n_nodes = inputs.len();
        let modes = attributes.tensor("nodes_modes")?.unwrap_or_default();
        let thresholds = attributes.tensor("nodes_splits")?.unwrap_or_default();
        let leaf_targets = attributes.ints("leaf_targetids")?;
        let leaf_weights = attributes.tensor("leaf_weights")?.unwrap_or_default();
        same_length("leaf_weights", leaf_weights.len(), "leaf_targetids", leaf_targets.len())?;
        let mut missing_is_true = attributes.ints("nodes_missing_value_tracks_true")?;
        if missing_is_true.is_empty() {
            missing_is_true.resize(n_nodes, 0);
        }
        let mut sides = Vec::with_capacity(2);
        for [ids, are_leaves] in
            [["nodes_truenodeids", "nodes_trueleafs"], ["nodes_falsenodeids", "nodes_falseleafs"]]
        {
            let indexes = attributes.ints(ids)?;
            let of_leaves = attributes.ints(are_leaves)?;
            same_length(ids, indexes.len(), "nodes_featureids", n_nodes)?;
            same_length(are_leaves, of_leaves.len(), "nodes_featureids", n_nodes)?;
            let side = indexes.iter().zip(&of_leaves).enumerate().map(|(node, (&index, &is_leaf))| {
                let (what, length) =
                    if is_leaf != 0 { ("leaf", leaf_targets.len()) } else { ("node", n_nodes) };
                match usize::try_from(index) {
                    Ok(index) if index < length && is_leaf != 0 => Ok(Reference::Leaf(index)),
                    Ok(index) if index < length => Ok(Reference::Node(index)),
                    _ => Err(malformed(format!("{ids}[{node}]"), format!("there is no {what} {index}"))),
                }
            });
            sides.push(side.collect::<Result<Vec<_>, Error>>()?);
        }
        let (falses, trues) = (sides.pop().unwrap_or_default(), sides.pop().unwrap_or_default());
        for (name, length) in [
            ("nodes_modes", modes.len()),
            ("nodes_splits", thresholds.len()),
            ("nodes_missing_value_tracks_true", missing_is_true.len()),
        ] {
            same_length(name, length, "nodes_featureids", n_nodes)?;
        }
        let mode = |(node, &number): (usize, &f64)| match Mode::numbered(number) {
            Some(mode) => Ok(mode),
            None => Err(malformed(format!("nodes_modes[{node}]"), format!("{number} is none"))),
        };
        let modes = modes.iter().enumerate().map(mode).collect::<Result<Vec<_>, Error>>()?;
        let members = attributes.tensor("membership_values")?.unwrap_or_default();
        let sets = sets(&modes, &members)?;
        Ok(Self {
            inputs,
            modes,
            thresholds,
            sets,
            members,
            missing_is_true,
            trues,
            falses,
            leaf_targets,
            leaf_weights,
        })
    }

    /// Leaves that several nodes share are copied; nodes are not.
    fn tree(&self, root: usize, reached: &mut [bool]) -> Result<WeightedTree, Error> {
        let none = Node::Leaf(Leaf { value: 0.0, cover: 0.0 });
        let mut tree = WeightedTree { nodes: vec![none.clone()], weights: Vec::new() };
        let mut pending = vec![(0, Reference::Node(root))];
        while let Some((place, reference)) = pending.pop() {
            match reference {
                Reference::Leaf(leaf) => {
                    let Ok(output) = usize::try_from(self.leaf_targets[leaf]) else {
                        let reason = format!("the output {}", self.leaf_targets[leaf]);
                        return Err(malformed(format!("leaf_targetids[{leaf}]"), reason));
                    };
                    tree.weights.push(Weight { output, node: place, value: self.leaf_weights[leaf] });
                }
                Reference::Node(node) => {
                    if std::mem::replace(&mut reached[node], true) {
                        return Err(malformed(format!("node {node}"), "reached twice (a cycle, or shared)"));
                    }
                    let child = tree.nodes.len();
                    tree.nodes.extend([none.clone(), none.clone()]);
                    pending.extend([(child + 1, self.falses[node]), (child, self.trues[node])]);
                    let children = Children {
                        of_true: child as u32,
                        of_false: child as u32 + 1,
                        missing_is_true: self.missing_is_true[node] == 1,
                    };
                    let (start, end) = self.sets[node];
                    tree.nodes[place] = split(
                        node,
                        self.inputs[node],
                        self.modes[node],
                        self.thresholds[node],
                        &self.members[start..end],
                        children,
                    )?;
                }
            }
        }
        Ok(tree)
    }
}

/// Members are listed set by set, with NaN behind each.
fn sets(modes: &[Mode], members: &[f64]) -> Result<Vec<(usize, usize)>, Error> {
    let mut start = 0;
    let mut sets = Vec::with_capacity(modes.len());
    for mode in modes {
        if *mode != Mode::Member {
            sets.push((0, 0));
            continue;
        }
        let rest = members.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return Err(malformed("membership_values", "fewer sets than nodes that ask for one"));
        }
        let length = rest.iter().position(|member| member.is_nan()).unwrap_or(rest.len());
        sets.push((start, start + length));
        start += length + 1;
    }
    if start < members.len() {
        return Err(malformed("membership_values", "more sets than nodes that ask for one"));
    }
    Ok(sets)
}
