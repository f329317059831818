//! What the `gbdt` crate saves: `GBDT::save_model`.
//!
//! Raw outputs are the crate's sums, `bias + shrinkage * (tree 0 + …)` term by
//! term in single precision; outputs are what its `predict` gives, such as
//! `1 / (1 + exp(-2 raw))` for `LogLikelyhood`.
//!
//! The crate's mark for a missing value is the number `f32::MIN`; here NaN is
//! missing instead and takes the same way, and `f32::MIN` is a number like any
//! other. (The crate itself sends NaN right.) A split may end the walk of rows
//! whose value is missing, at a value of its own: as all splits that the crate
//! has trained do.

use serde::Deserialize;

use super::{Error, Format, TreeModel, json};
use crate::engine::forest::{Arithmetic, Condition, Forest, Frame, Leaf, Node, Precision, Side, Split, Tree};
use crate::engine::link::Link;

const FORMAT: Format = Format::Gbdt;

#[derive(Deserialize)]
struct ModelForm {
    conf: ConfigForm,
    trees: Vec<TreeForm>,
    bias: f32,
}

#[derive(Deserialize)]
struct ConfigForm {
    feature_size: usize,
    iterations: usize,
    shrinkage: f32,
    loss: String,
    #[serde(default)]
    initial_guess_enabled: bool,
}

#[derive(Deserialize)]
struct TreeForm {
    tree: NodesForm,
}

#[derive(Deserialize)]
struct NodesForm {
    tree: Vec<NodeForm>,
}

#[derive(Deserialize)]
struct NodeForm {
    value: ValueForm,
    left: u32,
    right: u32,
}

#[derive(Deserialize)]
struct ValueForm {
    feature_index: u32,
    feature_value: f32,
    pred: f32,
    /// -1: left; 0: the walk ends here, at `pred`; 1: right.
    missing: i8,
    is_leaf: bool,
}

pub fn read(content: &[u8]) -> Result<TreeModel, Error> {
    let ModelForm { conf, trees, bias } = json::read(FORMAT, content)?;
    let malformed = |at: &str, reason: String| Err(Error::malformed(FORMAT, at, reason));
    if conf.initial_guess_enabled {
        return Err(Error::unsupported(FORMAT, "an initial guess of each row's own"));
    }
    // The crate gives no score then, or none of all trees.
    if trees.is_empty() || trees.len() != conf.iterations {
        return malformed("trees", format!("{} for {} iterations", trees.len(), conf.iterations));
    }
    let link = link(&conf.loss)?;
    let mut n_nodes = 0;
    let mut of_forest = Vec::with_capacity(trees.len());
    for (index, tree) in trees.iter().enumerate() {
        n_nodes += 3 * tree.tree.tree.len();
        if n_nodes > 3 * Forest::MAX_NODES {
            return malformed("trees", format!("more than {} nodes", Forest::MAX_NODES));
        }
        of_forest.push(tree_of(index, &tree.tree.tree, conf.shrinkage)?);
    }
    let arithmetic =
        Arithmetic { inputs: Precision::Single, sums: Precision::Single, ..Arithmetic::default() };
    let frame = Frame { n_inputs: conf.feature_size, base: vec![f64::from(bias)], arithmetic };
    let forest = Forest::new(frame, of_forest).map_err(|source| Error::Forest { format: FORMAT, source })?;
    Ok(TreeModel { format: FORMAT, objective: conf.loss, forest, link, input_names: None })
}

fn link(loss: &str) -> Result<Link, Error> {
    match loss {
        "LogLikelyhood" => Ok(Link::ScaledLogistic { scale: 2.0 }),
        "BinaryLogistic" | "RegLogistic" => Ok(Link::Logistic),
        "SquaredError" | "LAD" | "RegLinear" | "BinaryLogitraw" | "RankPairwise" => Ok(Link::Identity),
        // The file does not say of how many classes.
        _ => Err(Error::unsupported(FORMAT, format!("the loss {loss:?}"))),
    }
}

fn tree_of(index: usize, forms: &[NodeForm], shrinkage: f32) -> Result<Tree, Error> {
    let n_forms = forms.len() as u32;
    let leaf = |pred: f32| Node::Leaf(Leaf { value: f64::from(shrinkage * pred), cover: 0.0 });
    let mut nodes: Vec<Node> = Vec::with_capacity(forms.len());
    // Nodes that are none of the file's come after those that are.
    let mut more = Vec::new();
    for (node, form) in forms.iter().enumerate() {
        let value = &form.value;
        if value.is_leaf {
            nodes.push(leaf(value.pred));
            continue;
        }
        let split = |condition, missing, left, right| {
            Node::Split(Split {
                input: value.feature_index,
                condition,
                missing,
                zero_is_missing: false,
                left,
                right,
                cover: 0.0,
            })
        };
        // Children beyond the file's own nodes would be found among the others.
        if form.left >= n_forms || form.right >= n_forms {
            let at = format!("trees[{index}], node {node}");
            let reason = format!("children {} and {}, of {n_forms} nodes", form.left, form.right);
            return Err(Error::malformed(FORMAT, at, reason));
        }
        let condition = Condition::Less(f64::from(value.feature_value));
        nodes.push(match value.missing {
            -1 => split(condition, Side::Left, form.left, form.right),
            1 => split(condition, Side::Right, form.left, form.right),
            0 => {
                let asked = n_forms + more.len() as u32;
                more.push(split(condition, Side::Right, form.left, form.right));
                more.push(leaf(value.pred));
                split(Condition::LessOrEqual(f64::INFINITY), Side::Right, asked, asked + 1)
            }
            missing => {
                let at = format!("trees[{index}], node {node}");
                return Err(Error::malformed(
                    FORMAT,
                    at,
                    format!("missing is {missing}, none of -1, 0 and 1"),
                ));
            }
        });
    }
    nodes.extend(more);
    Ok(Tree::of(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str =
        r#""conf": {"feature_size": 2, "iterations": 1, "shrinkage": 0.5, "loss": "LogLikelyhood"}"#;

    fn split(left: i64, right: i64, missing: i64) -> String {
        node(0, 1.5, 10.0, missing, false, left, right)
    }

    fn node(
        input: i64,
        threshold: f64,
        pred: f64,
        missing: i64,
        is_leaf: bool,
        left: i64,
        right: i64,
    ) -> String {
        format!(
            r#"{{"value": {{"feature_index": {input}, "feature_value": {threshold}, "pred": {pred},
                "missing": {missing}, "is_leaf": {is_leaf}}}, "index": 0, "left": {left}, "right": {right}}}"#
        )
    }

    fn file(nodes: &[String]) -> String {
        format!(r#"{{{CONF}, "trees": [{{"tree": {{"tree": [{}]}}}}], "bias": 0.25}}"#, nodes.join(","))
    }

    fn leaves() -> [String; 2] {
        [2.0, 4.0].map(|pred| node(0, 0.0, pred, 0, true, 0, 0))
    }

    #[test]
    fn missing_values_go_left_or_right_or_end_the_walk() {
        for (missing, of_missing) in [(-1, 1.25), (0, 5.25), (1, 2.25)] {
            let [left, right] = leaves();
            let model = read(file(&[split(1, 2, missing), left, right]).as_bytes()).expect("valid");
            assert_eq!(model.link, Link::ScaledLogistic { scale: 2.0 });
            let rows = [(1.0, 1.25), (1.5, 2.25), (f64::INFINITY, 2.25), (f64::NAN, of_missing)];
            for (value, expected) in rows {
                assert_eq!(model.forest.raw(&[value, 0.0]), expected, "{missing} {value}");
            }
        }
    }

    #[test]
    fn bad_files_are_refused_with_their_place() {
        let [left, right] = leaves();
        let tree = |root: String| file(&[root, left.clone(), right.clone()]);
        let good = tree(split(1, 2, 0));
        let cases = [
            (good[..good.len() - 1].to_owned(), "EOF while parsing"),
            (good.replace(r#""bias""#, r#""bias": 1, "bias""#), "duplicate field `bias`"),
            (good.replace("0.25", "null"), "invalid type: null"),
            (good.replace("0.25", "1e39"), "line 4, column 100: number out of range"),
            (good.replace("LogLikelyhood", "MultiSoftprob"), r#"the loss "MultiSoftprob" is not supported"#),
            (
                good.replace(r#""iterations": 1"#, r#""iterations": 1000000000"#),
                "trees: 1 for 1000000000 iterations",
            ),
            (
                good.replace(r#""loss""#, r#""initial_guess_enabled": true, "loss""#),
                "an initial guess of each row's own",
            ),
            (
                good.replace(r#""feature_size": 2"#, r#""feature_size": 1000000"#),
                "1000000 inputs, of at most 65536",
            ),
            (tree(split(1, 3, 0)), "trees[0], node 0: children 1 and 3, of 3 nodes"),
            (tree(split(1, -1, 0)), "invalid value: integer `-1`"),
            (tree(split(0, 2, 1)), "child 0 has been reached before"),
            (tree(split(1, 1, 1)), "child 1 has been reached before"),
            (tree(split(1, 2, 7)), "trees[0], node 0: missing is 7, none of -1, 0 and 1"),
            (tree(node(2, 0.0, 0.0, 1, false, 1, 2)), "input 2, but there are 2"),
            (tree(left.clone()), "node 1 cannot be reached"),
            (file(&[]), "tree 0 has no node"),
        ];
        for (content, expected) in cases {
            let error = read(content.as_bytes()).expect_err(expected).to_string();
            assert!(error.starts_with("gbdt: ") && error.contains(expected), "{error}\nis not {expected}");
        }
    }
}
