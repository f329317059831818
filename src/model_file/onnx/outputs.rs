//! From leaves with weights to outputs, as ONNX Runtime has them.

use super::{malformed, unsupported};
use crate::engine::forest::{self, Forest, Leaf, Node, Tree};
use crate::engine::link::Link;
use crate::model_file::{Error, added_last};

/// What an operator says.
pub struct Ensemble {
    pub trees: Vec<WeightedTree>,
    pub kind: Kind,
    /// By output; empty where there is none.
    pub base: Vec<f64>,
    pub mean: bool,
    pub transform: Transform,
}

/// A tree whose leaves have weights for any number of outputs; in its nodes they are 0.
#[derive(Default)]
pub struct WeightedTree {
    pub nodes: Vec<Node>,
    pub weights: Vec<Weight>,
}

pub struct Weight {
    pub output: usize,
    pub node: usize,
    pub value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Targets(usize),
    Classes(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    None,
    Logistic,
    Softmax,
}

pub struct Outputs {
    pub trees: Vec<Tree>,
    /// By output.
    pub base: Vec<f64>,
    pub link: Link,
}

pub fn of(mut ensemble: Ensemble) -> Result<Outputs, Error> {
    ensemble.check()?;
    match ensemble.kind {
        Kind::Targets(n_targets) => of_targets(ensemble, n_targets),
        Kind::Classes(2) => of_two_classes(ensemble),
        Kind::Classes(n_classes) => of_classes(ensemble, n_classes),
    }
}

fn of_targets(mut ensemble: Ensemble, n_targets: usize) -> Result<Outputs, Error> {
    if !ensemble.base.is_empty() && ensemble.base.len() != n_targets {
        let reason = format!("{} for {n_targets} targets", ensemble.base.len());
        return Err(malformed("base_values", reason));
    }
    ensemble.base.resize(n_targets, 0.0);
    for target in 0..n_targets {
        match ensemble.scored(target) {
            Scored::Always => {}
            // The runtime has no base score for a target that no leaf has a weight for.
            Scored::Never => ensemble.base[target] = 0.0,
            Scored::Sometimes if ensemble.base[target] == 0.0 => {}
            Scored::Sometimes => {
                return Err(unsupported(format!(
                    "a base value of target {target}, for which some leaves have no weight,"
                )));
            }
        }
    }
    let link = match (ensemble.transform, n_targets) {
        // The runtime transforms several targets, but not one.
        (_, 1) => Link::Identity,
        (transform, _) => transform.link(),
    };
    if ensemble.mean {
        let trees = ensemble.trees(n_targets)?;
        return Ok(Outputs { trees, base: ensemble.base, link });
    }
    let mut trees = ensemble.trees(n_targets)?;
    trees.extend(added_last(&ensemble.base));
    Ok(Outputs { trees, base: vec![0.0; n_targets], link })
}

fn of_classes(ensemble: Ensemble, n_classes: usize) -> Result<Outputs, Error> {
    if n_classes < 2 {
        return Err(malformed("classlabels", format!("{n_classes} classes, of at least 2")));
    }
    if !ensemble.base.is_empty() && ensemble.base.len() != n_classes {
        let reason = format!("{} for {n_classes} classes", ensemble.base.len());
        return Err(malformed("base_values", reason));
    }
    let mut trees = ensemble.trees(n_classes)?;
    trees.extend(added_last(&ensemble.base));
    Ok(Outputs { trees, base: vec![0.0; n_classes], link: ensemble.transform.link() })
}

fn of_two_classes(ensemble: Ensemble) -> Result<Outputs, Error> {
    if ensemble.base.len() > 1 {
        // The runtime takes the second for the first class.
        return Err(unsupported(format!("{} base_values of two classes", ensemble.base.len())));
    }
    let base = ensemble.base.first().copied().unwrap_or(0.0);
    let outputs = |trees, link| Ok(Outputs { trees, base: vec![0.0; 2], link });
    match ensemble.scored(1) {
        Scored::Always if base != 0.0 && ensemble.scored(0) != Scored::Always => {
            Err(unsupported("a base value of class 0, for which some leaves have no weight,"))
        }
        Scored::Always => {
            let mut trees = ensemble.trees(2)?;
            trees.extend(added_last(&ensemble.base));
            outputs(trees, ensemble.transform.link())
        }
        Scored::Sometimes => Err(unsupported("a score of class 1, for which some leaves have no weight,")),
        Scored::Never => {
            // One column `s`, of the second class in spite of its number.
            let any_negative =
                ensemble.trees.iter().flat_map(|tree| &tree.weights).any(|weight| weight.value < 0.0);
            let mut trees = ensemble.trees(1)?;
            trees.extend(added_last(&[base]));
            let n_nodes: usize = trees.iter().map(|tree| tree.nodes.len()).sum();
            if n_nodes > Forest::MAX_NODES / 2 {
                return Err(refused(forest::Error::TooManyNodes { tree: trees.len() }));
            }
            let negated: Vec<Tree> = trees.iter().map(negated).collect();
            for tree in &mut trees {
                tree.output = 1;
            }
            trees.splice(0..0, negated);
            if ensemble.transform == Transform::Logistic {
                return outputs(trees, Link::Logistic);
            }
            if !any_negative {
                trees.extend(added_last(&[1.0]));
            }
            // The runtime takes one column for no case of softmax.
            outputs(trees, Link::Identity)
        }
    }
}

/// Which rows have a score of an output at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scored {
    Always,
    Sometimes,
    Never,
}

impl Ensemble {
    /// Puts weights in order: by output, then by node.
    fn check(&mut self) -> Result<(), Error> {
        let (Kind::Targets(n_outputs) | Kind::Classes(n_outputs)) = self.kind;
        if n_outputs == 0 || n_outputs > Forest::MAX_OUTPUTS {
            return Err(refused(forest::Error::BadNumberOfOutputs { n_outputs }));
        }
        for (index, tree) in self.trees.iter_mut().enumerate() {
            tree.weights.sort_by_key(|weight| (weight.output, weight.node));
            let twice = tree
                .weights
                .windows(2)
                .find(|two| (two[0].output, two[0].node) == (two[1].output, two[1].node));
            if let Some([Weight { output, node, .. }, _]) = twice {
                let reason = format!("two weights of output {output}");
                return Err(malformed(format!("tree {index}, node {node}"), reason));
            }
            if let Some(Weight { output, node, .. }) =
                tree.weights.iter().find(|weight| weight.output >= n_outputs)
            {
                let reason = format!("a weight of output {output}, but there are {n_outputs}");
                return Err(malformed(format!("tree {index}, node {node}"), reason));
            }
        }
        Ok(())
    }

    fn scored(&self, output: usize) -> Scored {
        let mut found = Scored::Never;
        for tree in &self.trees {
            let n_weights = tree.weights_of(output).len();
            if n_weights > 0 {
                found = Scored::Sometimes;
            }
            let n_leaves = tree.nodes.iter().filter(|node| matches!(node, Node::Leaf(_))).count();
            if n_weights == n_leaves && n_leaves > 0 {
                return Scored::Always;
            }
        }
        found
    }

    /// A tree of one output for every output that a tree has weights for; if
    /// outputs are means, for every output.
    fn trees(&self, n_outputs: usize) -> Result<Vec<Tree>, Error> {
        let mut trees = Vec::new();
        let mut n_nodes = 0;
        for (index, tree) in self.trees.iter().enumerate() {
            for output in 0..n_outputs {
                let weights = tree.weights_of(output);
                if weights.is_empty() && !self.mean {
                    continue;
                }
                n_nodes += tree.nodes.len();
                if n_nodes > Forest::MAX_NODES {
                    return Err(refused(forest::Error::TooManyNodes { tree: index }));
                }
                if trees.len() == Forest::MAX_TREES {
                    return Err(refused(forest::Error::TooManyTrees { n_trees: trees.len() + 1 }));
                }
                let mut nodes = tree.nodes.clone();
                for weight in weights {
                    nodes[weight.node] = Node::Leaf(Leaf { value: weight.value, cover: 0.0 });
                }
                trees.push(Tree { output: output as u32, nodes });
            }
        }
        Ok(trees)
    }
}

impl WeightedTree {
    /// Weights are in order.
    fn weights_of(&self, output: usize) -> &[Weight] {
        let start = self.weights.partition_point(|weight| weight.output < output);
        let end = self.weights.partition_point(|weight| weight.output <= output);
        &self.weights[start..end]
    }
}

impl Transform {
    fn link(self) -> Link {
        match self {
            Self::None => Link::Identity,
            Self::Logistic => Link::Logistic,
            Self::Softmax => Link::Softmax,
        }
    }

    pub fn named(name: &str) -> Result<Self, Error> {
        match name {
            "NONE" => Ok(Self::None),
            "LOGISTIC" => Ok(Self::Logistic),
            "SOFTMAX" => Ok(Self::Softmax),
            // It leaves a score of exactly 0 as it is.
            "SOFTMAX_ZERO" | "PROBIT" => Err(unsupported(format!("the post_transform {name}"))),
            _ => Err(malformed("post_transform", format!("{name:?} is none"))),
        }
    }
}

fn negated(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for node in &mut tree.nodes {
        if let Node::Leaf(leaf) = node {
            leaf.value = -leaf.value;
        }
    }
    tree
}

fn refused(source: forest::Error) -> Error {
    Error::Forest { format: super::FORMAT, source }
}
