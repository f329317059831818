//! Tree ensembles of ONNX: a graph whose only operator that computes is a
//! `TreeEnsembleClassifier`, a `TreeEnsembleRegressor` or a `TreeEnsemble` of
//! `ai.onnx.ml`. Any other graph is [`Error::NotTrees`].
//!
//! Scores are those of ONNX Runtime, also where the specification leaves room:
//! whole numbers are compared in single precision, sums are in the precision of
//! the operator's input, trees in their order and the base score last; raw
//! outputs are the scores before `post_transform`.
//!
//! A classifier has an output for each class. One of two classes whose leaves
//! score only one has the raw outputs `-s` and `s`; or `1 - s` and `s` if no
//! weight is negative and there is no `post_transform`.
//!
//! Inputs are the columns of the matrix that the trees read. Where it is
//! concatenated of graph inputs with a column each, these name them.

mod attributes;
mod chains;
mod classic;
mod graph;
mod outputs;
mod split;
#[cfg(test)]
mod tests;
mod unified;

use self::attributes::Attributes;
use self::graph::{Graph, Operator};
use self::outputs::{Ensemble, Outputs};
use super::{Error, Format, TreeModel};
use crate::engine::forest::{Arithmetic, Forest, Frame, Node};
use crate::protobuf;

const FORMAT: Format = Format::Onnx;

pub fn read(content: &[u8]) -> Result<TreeModel, Error> {
    let graph = Graph::read(content)?;
    let attributes = Attributes::of(graph.operator_node)?;
    let ensemble = match graph.operator {
        Operator::Classifier => classic::classifier(&attributes)?,
        Operator::Regressor => classic::regressor(&attributes)?,
        Operator::Unified => unified::ensemble(&attributes)?,
    };
    let n_inputs = match graph.inputs.n_columns {
        Some(n_columns) => n_columns,
        None => greatest_input(&ensemble).map_or(0, |input| input as usize + 1),
    };
    let Ensemble { mean, .. } = ensemble;
    let Outputs { trees, base, link } = outputs::of(ensemble)?;
    let (inputs, sums) = (graph.inputs.compared(), graph.inputs.sums());
    let arithmetic = Arithmetic { inputs, sums, mean, ..Arithmetic::default() };
    let forest = Forest::new(Frame { n_inputs, base, arithmetic }, trees)
        .map_err(|source| Error::Forest { format: FORMAT, source })?;
    let objective = graph.operator.name().to_owned();
    Ok(TreeModel { format: FORMAT, objective, forest, link, input_names: graph.inputs.names })
}

fn greatest_input(ensemble: &Ensemble) -> Option<u32> {
    let nodes = ensemble.trees.iter().flat_map(|tree| &tree.nodes);
    nodes
        .filter_map(|node| match node {
            Node::Split(split) => Some(split.input),
            Node::Leaf(_) => None,
        })
        .max()
}

impl From<protobuf::Error> for Error {
    fn from(protobuf::Error { offset, reason }: protobuf::Error) -> Self {
        malformed(format!("byte {offset}"), reason)
    }
}

fn malformed(at: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::malformed(FORMAT, at, reason)
}

fn unsupported(what: impl Into<String>) -> Error {
    Error::unsupported(FORMAT, what)
}

fn not_trees(operator: impl Into<String>) -> Error {
    Error::not_trees(operator)
}
