//! The graph around the trees: which columns go in, and that nothing else
//! computes.

use std::collections::{HashMap, HashSet};

use super::attributes::{Attributes, DOUBLE, FLOAT, last, tensor_numbers, text};
use super::{malformed, not_trees};
use crate::engine::forest::{Forest, Precision};
use crate::model_file::Error;
use crate::protobuf::Message;

/// Of nodes and graph inputs.
const MAX_NODES: usize = Forest::MAX_INPUTS + 64;

/// Names of columns that all values together have: a value that is passed on has a
/// copy of them.
const MAX_NAMES: usize = 16 * Forest::MAX_INPUTS;

const INT32: u64 = 6;
const INT64: u64 = 7;

pub struct Graph<'a> {
    pub operator: Operator,
    pub operator_node: Message<'a>,
    pub inputs: Inputs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Classifier,
    Regressor,
    /// Of `ai.onnx.ml` 5.
    Unified,
}

/// The matrix that the trees read.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// None where the file does not say.
    pub n_columns: Option<usize>,
    /// By column, if each is a graph input of its own.
    pub names: Option<Vec<String>>,
    /// What its numbers have been rounded to.
    precision: Precision,
    /// Type of its elements, as ONNX numbers them.
    element: u64,
}

/// What a value of the graph is.
enum Meaning {
    Inputs(Inputs),
    Labels,
    Scores,
    /// The constant 1.
    One,
}

struct Node<'a> {
    message: Message<'a>,
    operator: &'a str,
    domain: &'a str,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
}

impl<'a> Graph<'a> {
    pub fn read(content: &'a [u8]) -> Result<Self, Error> {
        let model = Message::new(content);
        let Some(graph) = last(model, 7)? else { return Err(malformed("the model", "no graph")) };
        let graph = graph.message(model)?;
        let mut values: HashMap<&str, Meaning> = HashMap::new();
        let mut n_inputs = 0;
        for field in graph.fields() {
            if let (11, input) = field? {
                n_inputs += 1;
                if n_inputs > MAX_NODES {
                    return Err(malformed("the graph", format!("more than {MAX_NODES} inputs")));
                }
                let input = input.message(graph)?;
                let name = text(input, 1)?.unwrap_or_default();
                if let Some(inputs) = Inputs::declared(name, input)?
                    && values.insert(name, Meaning::Inputs(inputs)).is_some()
                {
                    return Err(malformed(format!("input {name:?}"), "declared twice"));
                }
            }
        }
        for field in graph.fields() {
            if let (5, constant) = field? {
                let constant = constant.message(graph)?;
                if is_one(constant) {
                    values.entry(text(constant, 8)?.unwrap_or_default()).or_insert(Meaning::One);
                }
            }
        }
        let mut found = None;
        let (mut n_nodes, mut n_names) = (0, 0_usize);
        for field in graph.fields() {
            let (1, node) = field? else { continue };
            n_nodes += 1;
            if n_nodes > MAX_NODES {
                return Err(not_trees("more of them than any tree model has"));
            }
            let node = Node::read(node.message(graph)?)?;
            match Operator::of(&node) {
                Some(operator) if found.is_none() => {
                    let inputs = match node.inputs[..] {
                        [input] => values.get(input),
                        _ => None,
                    };
                    let Some(Meaning::Inputs(inputs)) = inputs else { return Err(not_trees(node.operator)) };
                    found = Some(Graph { operator, operator_node: node.message, inputs: inputs.clone() });
                    let meanings = match operator {
                        Operator::Classifier => &[Meaning::Labels, Meaning::Scores][..],
                        Operator::Regressor | Operator::Unified => &[Meaning::Scores],
                    };
                    for (output, meaning) in node.outputs.iter().zip(meanings) {
                        values.insert(output, meaning.copied());
                    }
                }
                Some(_) => return Err(not_trees(format!("{} more than once", node.operator))),
                None => {
                    let Some(meaning) = node.meaning(&values)? else { return Err(not_trees(node.operator)) };
                    n_names = n_names.saturating_add(meaning.n_names() * node.outputs.len());
                    if n_names > MAX_NAMES {
                        return Err(malformed("the graph", "its columns are passed on too often"));
                    }
                    for output in &node.outputs {
                        values.insert(output, meaning.copied());
                    }
                }
            }
        }
        let Some(found) = found else { return Err(not_trees("none at all")) };
        found.check_outputs(graph, &values)?;
        Ok(found)
    }

    fn check_outputs(&self, graph: Message<'_>, values: &HashMap<&str, Meaning>) -> Result<(), Error> {
        for field in graph.fields() {
            if let (12, output) = field? {
                let output = output.message(graph)?;
                let name = text(output, 1)?.unwrap_or_default();
                if let Some(Meaning::Scores) = values.get(name) {
                    return Ok(());
                }
            }
        }
        Err(malformed("the graph", format!("no output has the scores of {}", self.operator.name())))
    }
}

fn is_one(constant: Message<'_>) -> bool {
    // Anything longer is more than a number.
    constant.bytes().len() < 256
        && tensor_numbers(constant, "a constant").is_ok_and(|numbers| numbers == [1.0])
}

impl Operator {
    fn of(node: &Node<'_>) -> Option<Self> {
        let all = [Self::Classifier, Self::Regressor, Self::Unified];
        all.into_iter().find(|operator| node.domain == "ai.onnx.ml" && node.operator == operator.name())
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Classifier => "TreeEnsembleClassifier",
            Self::Regressor => "TreeEnsembleRegressor",
            Self::Unified => "TreeEnsemble",
        }
    }
}

impl Inputs {
    /// None of what is not a matrix of numbers.
    fn declared(name: &str, input: Message<'_>) -> Result<Option<Self>, Error> {
        let Some(of_type) = last(input, 2)? else { return Ok(None) };
        let of_type = of_type.message(input)?;
        let Some(tensor) = last(of_type, 1)? else { return Ok(None) };
        let tensor = tensor.message(of_type)?;
        let element = last(tensor, 1)?.map_or(Ok(0), |value| value.varint(tensor))?;
        if ![FLOAT, DOUBLE, INT32, INT64].contains(&element) {
            return Ok(None);
        }
        let mut dims = Vec::new();
        if let Some(shape) = last(tensor, 2)? {
            let shape = shape.message(tensor)?;
            for field in shape.fields() {
                if let (1, dim) = field? {
                    let dim = dim.message(shape)?;
                    dims.push(last(dim, 1)?.map(|value| value.varint(dim)).transpose()?);
                    if dims.len() > 2 {
                        return Ok(None);
                    }
                }
            }
        }
        let n_columns = match dims[..] {
            [_, Some(n_columns)] => Some(usize::try_from(n_columns).unwrap_or(usize::MAX)),
            _ => None,
        };
        let precision = if element == FLOAT { Precision::Single } else { Precision::Double };
        let names = (n_columns == Some(1)).then(|| vec![name.to_owned()]);
        Ok(Some(Self { n_columns, names, precision, element }))
    }

    fn cast(mut self, element: u64) -> Option<Self> {
        match element {
            FLOAT => self.precision = Precision::Single,
            DOUBLE => {}
            _ => return None,
        }
        self.element = element;
        Some(self)
    }

    /// Side by side; none if they do not go together, or it is not known how.
    fn concatenated(parts: &[&Self]) -> Option<Self> {
        let (first, more) = parts.split_first()?;
        let mut whole = (*first).clone();
        for part in more {
            if (part.precision, part.element) != (whole.precision, whole.element) {
                return None;
            }
            let n_columns = whole.n_columns?.saturating_add(part.n_columns?);
            // Before any name is copied: each could double what there is.
            if n_columns > Forest::MAX_INPUTS {
                return None;
            }
            whole.n_columns = Some(n_columns);
            if let (Some(names), Some(more)) = (&mut whole.names, &part.names) {
                names.extend_from_slice(more);
            } else {
                whole.names = None;
            }
        }
        whole.n_columns.is_some().then_some(whole)
    }

    /// What its numbers are rounded to where they are compared: the runtime
    /// compares whole numbers in single precision.
    pub fn compared(&self) -> Precision {
        if self.element == DOUBLE { self.precision } else { Precision::Single }
    }

    /// What the trees of this matrix are summed in.
    pub fn sums(&self) -> Precision {
        if self.element == DOUBLE { Precision::Double } else { Precision::Single }
    }
}

impl Meaning {
    fn n_names(&self) -> usize {
        let Self::Inputs(inputs) = self else { return 0 };
        inputs.names.as_ref().map_or(0, Vec::len)
    }

    fn copied(&self) -> Self {
        match self {
            Self::Inputs(inputs) => Self::Inputs(inputs.clone()),
            Self::Labels => Self::Labels,
            Self::Scores => Self::Scores,
            Self::One => Self::One,
        }
    }
}

impl<'a> Node<'a> {
    fn read(message: Message<'a>) -> Result<Self, Error> {
        let operator = text(message, 4)?.unwrap_or_default();
        let domain = text(message, 7)?.unwrap_or_default();
        let mut node = Self { message, operator, domain, inputs: Vec::new(), outputs: Vec::new() };
        for field in message.fields() {
            match field? {
                (1, name) => node.inputs.push(name.text(message)?),
                (2, name) => node.outputs.push(name.text(message)?),
                _ => {}
            }
            if node.inputs.len().max(node.outputs.len()) > MAX_NODES {
                return Err(not_trees(operator));
            }
        }
        Ok(node)
    }

    /// What the node's outputs are, if it does no more than to pass on its inputs,
    /// or makes something of labels only.
    fn meaning(&self, values: &HashMap<&str, Meaning>) -> Result<Option<Meaning>, Error> {
        let mut known = self.inputs.iter().filter_map(|name| values.get(name));
        let Some(first) = known.next() else { return Ok(None) };
        if matches!(first, Meaning::Labels) {
            return Ok(known.all(|other| matches!(other, Meaning::Labels)).then_some(Meaning::Labels));
        }
        match (self.domain, self.operator, &self.inputs[..]) {
            ("" | "ai.onnx", "Identity", [_]) => Ok(Some(first.copied())),
            ("" | "ai.onnx", "Cast", [_]) => self.cast(first),
            ("" | "ai.onnx", "Concat", _) => self.concatenated(values),
            // LightGBM's converter ends with it.
            ("" | "ai.onnx", "Mul", [one, other]) => match (values.get(one), values.get(other)) {
                (Some(Meaning::Scores), Some(Meaning::One)) | (Some(Meaning::One), Some(Meaning::Scores)) => {
                    Ok(Some(Meaning::Scores))
                }
                _ => Ok(None),
            },
            ("ai.onnx.ml", "ZipMap", [_]) => Ok(matches!(first, Meaning::Scores).then_some(Meaning::Scores)),
            _ => Ok(None),
        }
    }

    fn cast(&self, meaning: &Meaning) -> Result<Option<Meaning>, Error> {
        let to = Attributes::of(self.message)?.int("to")?.unwrap_or_default() as u64;
        Ok(match meaning {
            Meaning::Inputs(inputs) => inputs.clone().cast(to).map(Meaning::Inputs),
            Meaning::Scores => [FLOAT, DOUBLE].contains(&to).then_some(Meaning::Scores),
            Meaning::Labels => Some(Meaning::Labels),
            Meaning::One => None,
        })
    }

    fn concatenated(&self, values: &HashMap<&str, Meaning>) -> Result<Option<Meaning>, Error> {
        let along_columns = matches!(Attributes::of(self.message)?.int("axis")?, Some(1 | -1));
        let distinct = self.inputs.iter().collect::<HashSet<_>>().len() == self.inputs.len();
        let part = |name| match values.get(name) {
            Some(Meaning::Inputs(inputs)) => Some(inputs),
            _ => None,
        };
        let parts: Option<Vec<&Inputs>> = self.inputs.iter().copied().map(part).collect();
        let parts = parts.filter(|_| along_columns && distinct);
        Ok(parts.and_then(|parts| Inputs::concatenated(&parts)).map(Meaning::Inputs))
    }
}
