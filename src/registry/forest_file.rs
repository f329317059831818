//! `forest.json`: a forest as a file.
//!
//! ```json
//! {"format": "tipoff-forest", "format_version": 1, "n_inputs": 2, "base": -1.5, "trees": [{"nodes": [
//!   {"input": 0, "lt": 3.5, "missing": "left", "left": 1, "right": 2, "cover": 100},
//!   {"leaf": -0.25, "cover": 60},
//!   {"leaf": 0.5, "cover": 40}]}]}
//! ```
//!
//! A split sends a row left if `input < lt`, or `input <= le`. Numbers come
//! back bit for bit.

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::engine::forest::{Comparison, Forest, Leaf, Node, Side, Split, Tree};

pub const FILE: &str = "forest.json";
pub const FORMAT: &str = "tipoff-forest";
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForestForm {
    format: String,
    format_version: u32,
    n_inputs: usize,
    base: f64,
    trees: Vec<TreeForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeForm {
    nodes: Vec<NodeForm>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lt: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    le: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<SideForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    right: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<f64>,
    #[serde(default)]
    cover: f64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SideForm {
    Left,
    Right,
}

/// The forest as the bytes of its file.
pub fn write(forest: &Forest) -> Vec<u8> {
    let form = ForestForm {
        format: FORMAT.to_owned(),
        format_version: FORMAT_VERSION,
        n_inputs: forest.n_inputs(),
        base: forest.base(),
        trees: forest
            .trees()
            .iter()
            .map(|tree| TreeForm { nodes: tree.nodes.iter().map(NodeForm::of).collect() })
            .collect(),
    };
    serde_json::to_vec(&form).expect("numbers and names always serialise")
}

/// Reads and checks a forest.
pub fn read(content: &[u8]) -> Result<Forest, Error> {
    // Every node is an object: counting braces bounds the memory before any is taken.
    let n_objects = content.iter().filter(|&&byte| byte == b'{').count();
    if n_objects > 1 + Forest::MAX_TREES + Forest::MAX_NODES {
        return Err(Error::malformed(FILE, "too many nodes"));
    }
    super::check_header(FILE, content, FORMAT, FORMAT_VERSION)?;
    let form: ForestForm = super::from_json(FILE, content)?;
    let mut trees = Vec::with_capacity(form.trees.len());
    for (index, tree) in form.trees.iter().enumerate() {
        let nodes = tree.nodes.iter().enumerate().map(|(node, form)| {
            form.node().ok_or_else(|| {
                let reason = format!(
                    "tree {index}, node {node}: neither a split (input, lt or le, missing, left, right) nor a leaf"
                );
                Error::malformed(FILE, reason)
            })
        });
        trees.push(Tree { nodes: nodes.collect::<Result<_, _>>()? });
    }
    Forest::new(form.n_inputs, form.base, trees).map_err(Error::Forest)
}

impl NodeForm {
    fn of(node: &Node) -> Self {
        match *node {
            Node::Leaf(leaf) => Self { leaf: Some(leaf.value), cover: leaf.cover, ..Self::default() },
            Node::Split(split) => {
                let less = split.comparison == Comparison::Less;
                Self {
                    input: Some(split.input),
                    lt: less.then_some(split.threshold),
                    le: (!less).then_some(split.threshold),
                    missing: Some(match split.missing {
                        Side::Left => SideForm::Left,
                        Side::Right => SideForm::Right,
                    }),
                    left: Some(split.left),
                    right: Some(split.right),
                    leaf: None,
                    cover: split.cover,
                }
            }
        }
    }

    fn node(&self) -> Option<Node> {
        match *self {
            Self { input: None, lt: None, le: None, missing: None, left: None, right: None, leaf, cover } => {
                Some(Node::Leaf(Leaf { value: leaf?, cover }))
            }
            Self { input, lt, le, missing, left, right, leaf: None, cover } => {
                let (comparison, threshold) = match (lt, le) {
                    (Some(threshold), None) => (Comparison::Less, threshold),
                    (None, Some(threshold)) => (Comparison::LessOrEqual, threshold),
                    _ => return None,
                };
                let missing = match missing? {
                    SideForm::Left => Side::Left,
                    SideForm::Right => Side::Right,
                };
                let (input, left, right) = (input?, left?, right?);
                Some(Node::Split(Split { input, comparison, threshold, missing, left, right, cover }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::forest::random;

    proptest! {
        #[test]
        fn forests_come_back_bit_for_bit((forest, _) in random::forest_and_rows(4)) {
            let read = read(&write(&forest)).expect("what was written");
            prop_assert_eq!(read, forest);
        }

        #[test]
        fn any_threshold_comes_back_bit_for_bit(bits: u64) {
            let threshold = f64::from_bits(bits);
            prop_assume!(threshold.is_finite());
            let mut form = NodeForm::of(&Node::Leaf(Leaf { value: threshold, cover: 1.0 }));
            form.cover = threshold;
            let text = serde_json::to_string(&form).expect("finite numbers");
            let form: NodeForm = serde_json::from_str(&text).expect("what was written");
            prop_assert_eq!(form.leaf.map(f64::to_bits), Some(bits));
            prop_assert_eq!(form.cover.to_bits(), bits);
        }
    }
}
