//! `forest.json`: a forest as a file.
//!
//! ```json
//! {"format": "tipoff-forest", "format_version": 1, "n_inputs": 2, "base": -1.5, "trees": [{"nodes": [
//!   {"input": 0, "lt": 3.5, "missing": "left", "left": 1, "right": 2, "cover": 100},
//!   {"leaf": -0.25, "cover": 60},
//!   {"leaf": 0.5, "cover": 40}]}]}
//! ```
//!
//! A split sends a row left if `input < lt`, or `input <= le`, or if the input
//! lies in a range `[start, end)` of `in`, a list of starts and ends. Of several
//! outputs, `base` is a list, and each tree names its `output`, from 0. Numbers
//! come back bit for bit; those without end are `"inf"` and `"-inf"`.

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::engine::forest::{
    Arithmetic, Condition, Forest, Frame, Leaf, Node, Precision, Ranges, Side, Split, Tree,
};

pub const FILE: &str = "forest.json";
pub const FORMAT: &str = "tipoff-forest";
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForestForm<N> {
    format: String,
    format_version: u32,
    n_inputs: usize,
    base: BaseForm,
    #[serde(default, skip_serializing_if = "is_default")]
    inputs: PrecisionForm,
    #[serde(default, skip_serializing_if = "is_default")]
    sums: PrecisionForm,
    /// Whether outputs are means of their trees.
    #[serde(default, skip_serializing_if = "is_default")]
    mean: bool,
    trees: Vec<TreeForm<N>>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BaseForm {
    One(f64),
    Several(Vec<f64>),
}

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PrecisionForm {
    Single,
    #[default]
    Double,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeForm<N> {
    #[serde(default, skip_serializing_if = "is_default")]
    output: u32,
    nodes: Vec<N>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lt: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    le: Option<Number>,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    one_of: Option<Vec<Number>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<SideForm>,
    #[serde(default, skip_serializing_if = "is_default")]
    zero_is_missing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    right: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<f64>,
    #[serde(default)]
    cover: f64,
}

/// A node as it is read: none if the form is of no node. All forms of a forest at
/// once would take more memory than its file and its nodes together.
#[derive(Deserialize)]
#[serde(from = "NodeForm")]
struct ReadNode(Option<Node>);

/// A number that may be infinite.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Infinite(Infinity),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Infinity {
    #[serde(rename = "inf")]
    Positive,
    #[serde(rename = "-inf")]
    Negative,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SideForm {
    Left,
    Right,
}

/// The forest as the bytes of its file.
pub fn write(forest: &Forest) -> Vec<u8> {
    let Frame { n_inputs, base, arithmetic } = forest.frame();
    let tree =
        |tree: &Tree| TreeForm { output: tree.output, nodes: tree.nodes.iter().map(NodeForm::of).collect() };
    let form = ForestForm {
        format: FORMAT.to_owned(),
        format_version: FORMAT_VERSION,
        n_inputs: *n_inputs,
        base: match base[..] {
            [base] => BaseForm::One(base),
            _ => BaseForm::Several(base.clone()),
        },
        inputs: PrecisionForm::of(arithmetic.inputs),
        sums: PrecisionForm::of(arithmetic.sums),
        mean: arithmetic.mean,
        trees: forest.trees().iter().map(tree).collect(),
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
    let form: ForestForm<ReadNode> = super::from_json(FILE, content).or_else(|malformed| {
        // A newer one is said to be newer.
        super::check_header(FILE, content, FORMAT, FORMAT_VERSION)?;
        Err(malformed)
    })?;
    super::check_format(FILE, (&form.format, form.format_version), (FORMAT, FORMAT_VERSION))?;
    let mut trees = Vec::with_capacity(form.trees.len());
    for (index, tree) in form.trees.into_iter().enumerate() {
        let nodes = tree.nodes.into_iter().enumerate().map(|(node, ReadNode(read))| {
            read.ok_or_else(|| {
                let reason = format!(
                    "tree {index}, node {node}: neither a split (input; lt, le or in; missing, left, right) nor a leaf"
                );
                Error::malformed(FILE, reason)
            })
        });
        trees.push(Tree { output: tree.output, nodes: nodes.collect::<Result<_, _>>()? });
    }
    let (inputs, sums, mean) = (form.inputs.precision(), form.sums.precision(), form.mean);
    // How it is added is the manifest's.
    let arithmetic = Arithmetic { inputs, sums, mean, ..Arithmetic::default() };
    let base = match form.base {
        BaseForm::One(base) => vec![base],
        BaseForm::Several(base) => base,
    };
    Forest::new(Frame { n_inputs: form.n_inputs, base, arithmetic }, trees).map_err(Error::Forest)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<NodeForm> for ReadNode {
    fn from(form: NodeForm) -> Self {
        Self(form.node())
    }
}

impl NodeForm {
    fn of(node: &Node) -> Self {
        let split = match node {
            Node::Leaf(leaf) => return Self { leaf: Some(leaf.value), cover: leaf.cover, ..Self::default() },
            Node::Split(split) => split,
        };
        let (mut lt, mut le, mut one_of) = (None, None, None);
        match &split.condition {
            Condition::Less(threshold) => lt = Some(Number::of(*threshold)),
            Condition::LessOrEqual(threshold) => le = Some(Number::of(*threshold)),
            Condition::OneOf(ranges) => {
                one_of = Some(ranges.ends().iter().copied().map(Number::of).collect())
            }
        }
        let missing = match split.missing {
            Side::Left => SideForm::Left,
            Side::Right => SideForm::Right,
        };
        Self {
            input: Some(split.input),
            lt,
            le,
            one_of,
            missing: Some(missing),
            zero_is_missing: split.zero_is_missing,
            left: Some(split.left),
            right: Some(split.right),
            leaf: None,
            cover: split.cover,
        }
    }

    fn node(self) -> Option<Node> {
        let Self { input, lt, le, one_of, missing, zero_is_missing, left, right, leaf, cover } = self;
        let condition = match (lt, le, one_of) {
            (None, None, None)
                if input.is_none() && missing.is_none() && left.is_none() && right.is_none() =>
            {
                return Some(Node::Leaf(Leaf { value: leaf?, cover }));
            }
            (Some(threshold), None, None) => Condition::Less(threshold.value()),
            (None, Some(threshold), None) => Condition::LessOrEqual(threshold.value()),
            (None, None, Some(ends)) => {
                Condition::OneOf(Ranges::new(ends.into_iter().map(Number::value).collect())?)
            }
            _ => return None,
        };
        let missing = match missing? {
            SideForm::Left => Side::Left,
            SideForm::Right => Side::Right,
        };
        let (input, left, right) = (input?, left?, right?);
        let split = Split { input, condition, missing, zero_is_missing, left, right, cover };
        leaf.is_none().then_some(Node::Split(split))
    }
}

impl Number {
    fn of(value: f64) -> Self {
        match value {
            f64::INFINITY => Self::Infinite(Infinity::Positive),
            f64::NEG_INFINITY => Self::Infinite(Infinity::Negative),
            _ => Self::Finite(value),
        }
    }

    fn value(self) -> f64 {
        match self {
            Self::Finite(value) => value,
            Self::Infinite(Infinity::Positive) => f64::INFINITY,
            Self::Infinite(Infinity::Negative) => f64::NEG_INFINITY,
        }
    }
}

impl PrecisionForm {
    fn of(precision: Precision) -> Self {
        match precision {
            Precision::Single => Self::Single,
            Precision::Double => Self::Double,
        }
    }

    fn precision(self) -> Precision {
        match self {
            Self::Single => Precision::Single,
            Self::Double => Precision::Double,
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
