//! Trees: oblivious ones, whose levels ask one question each, and others.

use std::collections::VecDeque;

use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use smallvec::{SmallVec, smallvec};

use super::{FORMAT, FeaturesForm, FloatInput, malformed};
use crate::engine::forest::{self, Condition, Forest, Leaf, Node, Side, Split, Tree};
use crate::model_file::{Error, sum_covers};

/// CatBoost itself makes at most 16.
const MAX_OBLIVIOUS_DEPTH: usize = 20;

#[derive(Deserialize)]
pub struct ObliviousForm {
    splits: Option<Vec<SplitForm>>,
    /// By leaf and output. Bit `i` of a leaf's index is the answer of split `i`.
    leaf_values: Vec<f64>,
    leaf_weights: Option<Vec<f64>>,
}

/// A node of any other tree.
#[derive(Deserialize)]
pub struct NodeForm {
    split: Option<SplitForm>,
    left: Option<Box<NodeForm>>,
    right: Option<Box<NodeForm>>,
    value: Option<Values>,
    #[serde(default)]
    weight: f64,
}

#[derive(Deserialize)]
struct SplitForm {
    #[serde(default)]
    split_type: String,
    float_feature_index: Option<u32>,
    border: Option<f64>,
    cat_feature_index: Option<u32>,
}

/// One number, or one by output.
#[derive(Debug)]
struct Values(SmallVec<[f64; 1]>);

/// What trees are read with.
pub struct Reader<'a> {
    pub features: &'a FeaturesForm,
    pub floats: Vec<FloatInput>,
    pub scale: f64,
}

/// Trees so far, of a number of outputs that the first one says.
#[derive(Default)]
struct Trees {
    trees: Vec<Tree>,
    n_nodes: usize,
    n_outputs: Option<usize>,
}

impl Reader<'_> {
    /// The trees, and how many outputs they are of; none without a tree.
    pub fn oblivious(&self, forms: &[ObliviousForm]) -> Result<(Vec<Tree>, Option<usize>), Error> {
        let mut trees = Trees::default();
        for (index, form) in forms.iter().enumerate() {
            let at = || format!("oblivious_trees[{index}]");
            let splits = form.splits.as_deref().unwrap_or_default();
            if splits.len() > MAX_OBLIVIOUS_DEPTH {
                let reason = format!("{} splits, of at most {MAX_OBLIVIOUS_DEPTH}", splits.len());
                return Err(malformed(at(), reason));
            }
            let n_leaves = 1 << splits.len();
            let n_values = form.leaf_values.len();
            if n_values == 0 || n_values % n_leaves != 0 {
                return Err(malformed(at(), format!("{n_values} leaf_values for {n_leaves} leaves")));
            }
            let weights = form.leaf_weights.as_deref().unwrap_or_default();
            if !weights.is_empty() && weights.len() != n_leaves {
                return Err(malformed(at(), format!("{} leaf_weights for {n_leaves} leaves", weights.len())));
            }
            let n_outputs = n_values / n_leaves;
            trees.make_room(index, n_outputs, 2 * n_leaves - 1)?;
            let mut levels = Vec::with_capacity(splits.len());
            for (level, split) in splits.iter().enumerate() {
                levels.push(self.split(split).map_err(|error| error.within(&at(), level))?);
            }
            let mut nodes = complete(&levels);
            for (leaf, node) in nodes[n_leaves - 1..].iter_mut().enumerate() {
                let cover = weights.get(leaf).copied().unwrap_or(0.0);
                *node = Node::Leaf(Leaf { value: 0.0, cover });
            }
            sum_covers(&mut nodes);
            let values = form.leaf_values.chunks_exact(n_outputs).flatten();
            trees.push(nodes, &values.map(|value| self.scale * value).collect::<Vec<_>>(), n_outputs);
        }
        Ok((trees.trees, trees.n_outputs))
    }

    /// The same of trees whose nodes hold their children.
    pub fn binary(&self, forms: &[NodeForm]) -> Result<(Vec<Tree>, Option<usize>), Error> {
        let mut trees = Trees::default();
        for (index, root) in forms.iter().enumerate() {
            let at = |node: usize, reason: &str| malformed(format!("trees[{index}], node {node}"), reason);
            let mut nodes = Vec::new();
            let mut values = Vec::new();
            let mut n_outputs = None;
            // Nodes in the order of a walk by levels: children come after their parents.
            let mut pending = VecDeque::from([root]);
            while let Some(form) = pending.pop_front() {
                let node = nodes.len();
                match (&form.split, &form.left, &form.right, &form.value) {
                    (Some(split), Some(left), Some(right), None) => {
                        let split = self
                            .split(split)
                            .map_err(|error| error.within(&format!("trees[{index}]"), node))?;
                        let child = (node + 1 + pending.len()) as u32;
                        nodes.push(Node::Split(Split { left: child, right: child + 1, ..split }));
                        pending.extend([&**left, &**right]);
                    }
                    (None, None, None, Some(Values(leaf))) => {
                        if *n_outputs.get_or_insert(leaf.len()) != leaf.len() || leaf.is_empty() {
                            return Err(at(node, "not as many values as the other leaves have"));
                        }
                        values.extend(leaf.iter().map(|value| self.scale * value));
                        nodes.push(Node::Leaf(Leaf { value: 0.0, cover: form.weight }));
                    }
                    _ => return Err(at(node, "neither a split with left and right nor a leaf with a value")),
                }
            }
            sum_covers(&mut nodes);
            let n_outputs = n_outputs.unwrap_or(1);
            trees.make_room(index, n_outputs, nodes.len())?;
            trees.push(nodes, &values, n_outputs);
        }
        Ok((trees.trees, trees.n_outputs))
    }

    /// With no children yet.
    fn split(&self, form: &SplitForm) -> Result<Split, Refused> {
        match &*form.split_type {
            "FloatFeature" | "" => {}
            "OneHotFeature" => {
                let index = form.cat_feature_index.map(|index| index as usize);
                let feature = index.and_then(|index| self.features.categorical_features.get(index));
                let name = feature.map_or("", |feature| &*feature.feature_id);
                return Err(Refused::Unsupported(format!("the categorical feature {name:?} (one-hot)")));
            }
            "OnlineCtr" => return Err(Refused::Unsupported("a CTR of categorical features".to_owned())),
            other => return Err(Refused::Unsupported(format!("a split of type {other:?}"))),
        }
        let (Some(index), Some(border)) = (form.float_feature_index, form.border) else {
            return Err(Refused::Malformed("no float_feature_index or no border".to_owned()));
        };
        let Some(float) = self.floats.get(index as usize) else {
            let n_floats = self.floats.len();
            return Err(Refused::Malformed(format!("float feature {index}, but there are {n_floats}")));
        };
        Ok(Split {
            input: float.input,
            // Borders are floats, whatever digits they are written with.
            condition: Condition::LessOrEqual(f64::from(border as f32)),
            missing: if float.missing_is_greatest { Side::Right } else { Side::Left },
            zero_is_missing: false,
            left: 0,
            right: 0,
            cover: 0.0,
        })
    }
}

/// Why a split is.
enum Refused {
    Malformed(String),
    Unsupported(String),
}

impl Refused {
    fn within(self, tree: &str, split: usize) -> Error {
        match self {
            Self::Malformed(reason) => malformed(format!("{tree}, split {split}"), reason),
            Self::Unsupported(what) => Error::unsupported(FORMAT, what),
        }
    }
}

impl Trees {
    /// Checks a tree of `n_nodes` before it is copied for every output.
    fn make_room(&mut self, tree: usize, n_outputs: usize, n_nodes: usize) -> Result<(), Error> {
        let before = *self.n_outputs.get_or_insert(n_outputs);
        if before != n_outputs {
            let reason = format!("{n_outputs} values a leaf, but those before have {before}");
            return Err(malformed(format!("tree {tree}"), reason));
        }
        self.n_nodes = self.n_nodes.saturating_add(n_nodes.saturating_mul(n_outputs));
        let refuse = |source| Err(Error::Forest { format: FORMAT, source });
        if n_outputs > Forest::MAX_OUTPUTS {
            return refuse(forest::Error::BadNumberOfOutputs { n_outputs });
        }
        if self.n_nodes > Forest::MAX_NODES {
            return refuse(forest::Error::TooManyNodes { tree });
        }
        Ok(())
    }

    /// `values` of leaves in their order among `nodes`, by output.
    fn push(&mut self, nodes: Vec<Node>, values: &[f64], n_outputs: usize) {
        for output in 0..n_outputs {
            let mut nodes = nodes.clone();
            let leaves = nodes.iter_mut().filter_map(|node| match node {
                Node::Leaf(leaf) => Some(leaf),
                Node::Split(_) => None,
            });
            for (leaf, values) in leaves.zip(values.chunks_exact(n_outputs)) {
                leaf.value = values[output];
            }
            self.trees.push(Tree { output: output as u32, nodes });
        }
    }
}

/// A complete tree, level by level, of splits for the levels; the last comes
/// first, so that leaves stand by their indexes. Leaves are still to be set.
fn complete(levels: &[Split]) -> Vec<Node> {
    let n_splits = (1 << levels.len()) - 1;
    let mut nodes = Vec::with_capacity(2 * n_splits + 1);
    for (level, split) in levels.iter().rev().enumerate() {
        for node in (1 << level) - 1..(2 << level) - 1 {
            let (left, right) = (2 * node + 1, 2 * node + 2);
            nodes.push(Node::Split(Split { left, right, ..split.clone() }));
        }
    }
    nodes.resize(2 * n_splits + 1, Node::Leaf(Leaf { value: 0.0, cover: 0.0 }));
    nodes
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Values;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number or a list of numbers")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Values, E> {
                Ok(Values(smallvec![value]))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Values, E> {
                Ok(Values(smallvec![value as f64]))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Values, E> {
                Ok(Values(smallvec![value as f64]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut values = SmallVec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Values(values))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}
