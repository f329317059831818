//! `TreeEnsembleClassifier` and `TreeEnsembleRegressor`: nodes by the ids of
//! their tree and their own.

use std::collections::HashMap;

use super::attributes::Attributes;
use super::outputs::{Ensemble, Kind, Transform, Weight, WeightedTree};
use super::split::{Children, Mode, split};
use super::{chains, malformed, unsupported};
use crate::engine::forest::{Leaf, Node};
use crate::model_file::Error;

pub fn classifier(attributes: &Attributes<'_>) -> Result<Ensemble, Error> {
    let n_texts = attributes.strings("classlabels_strings")?.len();
    let n_numbers = attributes.ints("classlabels_int64s")?.len();
    let n_classes = match (n_texts, n_numbers) {
        (n_classes, 0) | (0, n_classes) => n_classes,
        _ => return Err(malformed("classlabels", "both texts and numbers")),
    };
    ensemble(attributes, "class", Kind::Classes(n_classes), false)
}

pub fn regressor(attributes: &Attributes<'_>) -> Result<Ensemble, Error> {
    let mean = match attributes.string("aggregate_function")?.unwrap_or("SUM") {
        "SUM" => false,
        "AVERAGE" => true,
        name @ ("MIN" | "MAX") => return Err(unsupported(format!("the aggregate_function {name}"))),
        name => return Err(malformed("aggregate_function", format!("{name:?} is none"))),
    };
    let n_targets = attributes.int("n_targets")?.unwrap_or(1);
    let n_targets = usize::try_from(n_targets).unwrap_or(0);
    ensemble(attributes, "target", Kind::Targets(n_targets), mean)
}

fn ensemble(attributes: &Attributes<'_>, of_output: &str, kind: Kind, mean: bool) -> Result<Ensemble, Error> {
    let (mut trees, places) = trees(attributes)?;
    let name = |what: &str| format!("{of_output}_{what}");
    let tree_ids = attributes.ints(&name("treeids"))?;
    let node_ids = attributes.ints(&name("nodeids"))?;
    let outputs = attributes.ints(&name("ids"))?;
    let weights = attributes.numbers(&name("weights"))?;
    for (what, length) in [("nodeids", node_ids.len()), ("ids", outputs.len()), ("weights", weights.len())] {
        same_length(&name(what), length, &name("treeids"), tree_ids.len())?;
    }
    for (index, ((&tree, &node), (&output, &value))) in
        tree_ids.iter().zip(&node_ids).zip(outputs.iter().zip(&weights)).enumerate()
    {
        let at = || format!("{}[{index}]", name("treeids"));
        let Some(&(tree, node)) = places.get(&(tree, node)) else {
            return Err(malformed(at(), format!("tree {tree} has no node {node}")));
        };
        let WeightedTree { nodes, weights } = &mut trees[tree];
        if !matches!(nodes[node], Node::Leaf(_)) {
            return Err(malformed(at(), "the node is no leaf"));
        }
        let Ok(output) = usize::try_from(output) else {
            return Err(malformed(at(), format!("the output {output}")));
        };
        weights.push(Weight { output, node, value });
    }
    trees.iter_mut().for_each(chains::merge);
    let transform = Transform::named(attributes.string("post_transform")?.unwrap_or("NONE"))?;
    let base = attributes.numbers("base_values")?;
    Ok(Ensemble { trees, kind, base, mean, transform })
}

/// Where nodes are, by the ids of their tree and their own: tree and node.
type Places = HashMap<(i64, i64), (usize, usize)>;

/// Trees in the order in which they come; the first node of each is its root.
fn trees(attributes: &Attributes<'_>) -> Result<(Vec<WeightedTree>, Places), Error> {
    let tree_ids = attributes.ints("nodes_treeids")?;
    let node_ids = attributes.ints("nodes_nodeids")?;
    let inputs = attributes.ints("nodes_featureids")?;
    let values = attributes.numbers("nodes_values")?;
    let modes = attributes.strings("nodes_modes")?;
    let trues = attributes.ints("nodes_truenodeids")?;
    let falses = attributes.ints("nodes_falsenodeids")?;
    let mut tracks = attributes.ints("nodes_missing_value_tracks_true")?;
    if tracks.is_empty() {
        tracks.resize(tree_ids.len(), 0);
    }
    for (name, length) in [
        ("nodes_nodeids", node_ids.len()),
        ("nodes_featureids", inputs.len()),
        ("nodes_values", values.len()),
        ("nodes_modes", modes.len()),
        ("nodes_truenodeids", trues.len()),
        ("nodes_falsenodeids", falses.len()),
        ("nodes_missing_value_tracks_true", tracks.len()),
    ] {
        same_length(name, length, "nodes_treeids", tree_ids.len())?;
    }
    let mut by_id: HashMap<i64, usize> = HashMap::new();
    let mut places = Places::with_capacity(tree_ids.len());
    let mut n_nodes: Vec<usize> = Vec::new();
    for (index, (&tree_id, &node_id)) in tree_ids.iter().zip(&node_ids).enumerate() {
        let tree = *by_id.entry(tree_id).or_insert(n_nodes.len());
        if tree == n_nodes.len() {
            n_nodes.push(0);
        }
        if places.insert((tree_id, node_id), (tree, n_nodes[tree])).is_some() {
            let reason = format!("tree {tree_id} has two nodes {node_id}");
            return Err(malformed(format!("nodes_nodeids[{index}]"), reason));
        }
        n_nodes[tree] += 1;
    }
    let mut trees: Vec<WeightedTree> = n_nodes.iter().map(|_| WeightedTree::default()).collect();
    for (index, &tree_id) in tree_ids.iter().enumerate() {
        let child = |name: &str, id: i64| match places.get(&(tree_id, id)) {
            Some(&(_, node)) => Ok(node as u32),
            None => Err(malformed(format!("{name}[{index}]"), format!("tree {tree_id} has no node {id}"))),
        };
        let node = match modes[index] {
            "LEAF" => Node::Leaf(Leaf { value: 0.0, cover: 0.0 }),
            name => {
                let Some(mode) = Mode::named(name) else {
                    return Err(malformed(format!("nodes_modes[{index}]"), format!("{name:?} is none")));
                };
                let children = Children {
                    of_true: child("nodes_truenodeids", trues[index])?,
                    of_false: child("nodes_falsenodeids", falses[index])?,
                    missing_is_true: tracks[index] == 1,
                };
                split(index, inputs[index], mode, values[index], &[], children)?
            }
        };
        trees[by_id[&tree_id]].nodes.push(node);
    }
    Ok((trees, places))
}

pub fn same_length(name: &str, length: usize, as_name: &str, as_length: usize) -> Result<(), Error> {
    if length == as_length {
        return Ok(());
    }
    Err(malformed(name, format!("{length} values, but {as_name} has {as_length}")))
}
