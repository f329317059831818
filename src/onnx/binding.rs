//! Which input of a network is which feature, and where its scores are.

use std::collections::BTreeMap;

use super::graph::{Dimension, Graph, Port};
use super::{Error, tensor};
use crate::engine::model::{Output, OutputKind};

/// What a model's artifact says of its network, where names alone do not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Features by the network's inputs.
    pub inputs: BTreeMap<String, String>,
    /// The network's output that has the scores.
    pub scores: Option<String>,
    /// By the model's outputs: columns of the scores.
    pub columns: Option<Vec<usize>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    pub inputs: Vec<Input>,
    pub scores: Scores,
    pub n_features: usize,
    /// Whether the file leaves open how many rows there are.
    pub is_of_any_length: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub name: String,
    pub element: Element,
    pub takes: Takes,
    /// Rank 1 or 2.
    pub rank: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// All features, in the model's order.
    Row,
    /// One of them.
    Feature(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    Float,
    Double,
    Int64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Columns of one output, by the model's outputs; none until its width is known.
    Columns { output: String, columns: Option<Vec<usize>> },
    /// An output each.
    Each(Vec<String>),
}

impl Binding {
    pub fn of(
        graph: &Graph<'_>,
        features: &[&str],
        outputs: &[Output],
        declared: &Declared,
    ) -> Result<Self, Error> {
        let inputs = match &graph.inputs[..] {
            [] => return Err(inputs("there is none")),
            [port] if is_matrix(port, features, declared) => vec![row(port, features.len())?],
            ports => by_feature(ports, features, declared)?,
        };
        let is_open = |port: &Port<'_>| match port.dimensions.as_deref() {
            Some([first, ..]) => *first == Dimension::Free,
            _ => port.dimensions.is_none(),
        };
        Ok(Self {
            inputs,
            scores: scores(graph, outputs, declared)?,
            n_features: features.len(),
            is_of_any_length: graph.inputs.iter().all(is_open),
        })
    }
}

fn inputs(reason: impl Into<String>) -> Error {
    Error::Inputs { reason: reason.into() }
}

fn outputs(reason: impl Into<String>) -> Error {
    Error::Outputs { reason: reason.into() }
}

fn is_matrix(port: &Port<'_>, features: &[&str], declared: &Declared) -> bool {
    let names_a_feature = declared.inputs.contains_key(port.name) || features == [port.name];
    port.dimensions.as_ref().is_none_or(|dimensions| dimensions.len() == 2) && !names_a_feature
}

fn row(port: &Port<'_>, n_features: usize) -> Result<Input, Error> {
    check_length(port)?;
    if let Some(&[_, Dimension::Fixed(n_columns)]) = port.dimensions.as_deref()
        && n_columns != n_features as u64
    {
        let reason =
            format!("{:?} takes {n_columns} columns, the model has {n_features} features", port.name);
        return Err(inputs(reason));
    }
    Ok(Input { name: port.name.to_owned(), element: element(port)?, takes: Takes::Row, rank: 2 })
}

fn by_feature(ports: &[Port<'_>], features: &[&str], declared: &Declared) -> Result<Vec<Input>, Error> {
    let mut is_taken = vec![false; features.len()];
    let mut bound = Vec::with_capacity(ports.len());
    for port in ports {
        let name = declared.inputs.get(port.name).map_or(port.name, String::as_str);
        let Some(feature) = features.iter().position(|feature| *feature == name) else {
            return Err(inputs(format!("{:?} is {name:?}, which is no feature of the model", port.name)));
        };
        if std::mem::replace(&mut is_taken[feature], true) {
            return Err(inputs(format!("two take the feature {name:?}")));
        }
        check_length(port)?;
        let rank = match port.dimensions.as_deref() {
            None | Some([_, Dimension::Fixed(1) | Dimension::Free]) => 2,
            Some([_]) => 1,
            Some(_) => {
                return Err(inputs(format!("{:?} has neither the shape [n] nor [n, 1]", port.name)));
            }
        };
        let (element, takes) = (element(port)?, Takes::Feature(feature));
        bound.push(Input { name: port.name.to_owned(), element, takes, rank });
    }
    if let Some(feature) = is_taken.iter().position(|is_taken| !is_taken) {
        return Err(inputs(format!("none takes the feature {:?}", features[feature])));
    }
    if let Some(name) = declared.inputs.keys().find(|name| ports.iter().all(|port| port.name != **name)) {
        return Err(inputs(format!("the manifest names {name:?}, but there is none")));
    }
    Ok(bound)
}

fn check_length(port: &Port<'_>) -> Result<(), Error> {
    match port.dimensions.as_deref() {
        Some([Dimension::Fixed(length), ..]) if *length != 1 => {
            Err(inputs(format!("{:?} takes {length} rows at a time, neither one nor any number", port.name)))
        }
        Some([]) => Err(inputs(format!("{:?} takes no rows", port.name))),
        _ => Ok(()),
    }
}

fn element(port: &Port<'_>) -> Result<Element, Error> {
    match port.element {
        Some(tensor::FLOAT) => Ok(Element::Float),
        Some(tensor::DOUBLE) => Ok(Element::Double),
        Some(tensor::INT64) => Ok(Element::Int64),
        Some(element) => {
            Err(inputs(format!("{:?} has the element type {element}, not float, double or int64", port.name)))
        }
        None => Err(inputs(format!("{:?} is no tensor of a type that is said", port.name))),
    }
}

fn scores(graph: &Graph<'_>, of_model: &[Output], declared: &Declared) -> Result<Scores, Error> {
    // What the runtime calls it, by what the file does.
    let mut candidates = BTreeMap::new();
    for port in &graph.outputs {
        let zipped = graph.zip_maps.iter().find(|zip_map| zip_map.output == port.name);
        match zipped {
            Some(zip_map) => candidates.insert(port.name, zip_map.tensor),
            None if port.may_be_real() => candidates.insert(port.name, port.name),
            None => None,
        };
    }
    let columns_of = |output: &str| Scores::Columns { output: output.to_owned(), columns: None };
    if let Some(name) = &declared.scores {
        return match candidates.get(name.as_str()) {
            Some(output) => Ok(columns_of(output)),
            None => Err(outputs(format!("none called {name:?} has real numbers"))),
        };
    }
    let named: Option<Vec<String>> =
        of_model.iter().map(|output| candidates.get(&*output.name).map(|&name| name.to_owned())).collect();
    match (named, candidates.values().collect::<Vec<_>>().as_slice()) {
        (Some(named), _) if named.len() == 1 => Ok(columns_of(&named[0])),
        (Some(named), _) => Ok(Scores::Each(named)),
        (None, [output]) => Ok(columns_of(output)),
        (None, []) => Err(outputs("none has real numbers")),
        (None, _) => {
            let names = candidates.keys().copied().collect::<Vec<_>>().join(", ");
            Err(outputs(format!("any of {names} may be the scores: name it as `network.scores`")))
        }
    }
}

/// The columns of scores that are `width` wide.
pub fn columns(width: usize, of_model: &[Output], declared: &Declared) -> Result<Vec<usize>, Error> {
    let n = of_model.len();
    match &declared.columns {
        Some(columns) if columns.len() != n => {
            Err(outputs(format!("`network.columns` names {} columns for {n} outputs", columns.len())))
        }
        Some(columns) => match columns.iter().find(|&&column| column >= width) {
            Some(column) => Err(outputs(format!("there is no column {column} of {width}"))),
            None => Ok(columns.clone()),
        },
        None if width == n => Ok((0..n).collect()),
        // Of two classes, the second is the one that is asked for.
        None if width == 2 && n == 1 && of_model[0].kind == OutputKind::Probability => Ok(vec![1]),
        None => Err(outputs(format!("the scores have {width} columns, the model has {n} outputs"))),
    }
}
