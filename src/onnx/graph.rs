//! The file, read before a runtime sees it: its graph, what goes in and comes
//! out, and that nothing in it is out of bounds.
//!
//! Field numbers are those of `onnx.proto3`.

use std::collections::{HashMap, HashSet};

use super::{Error, tensor};
use crate::protobuf::{Message, Value};

/// Nodes, those of subgraphs included.
pub const MAX_NODES: usize = 1 << 16;
/// Named values, those of subgraphs included.
pub const MAX_VALUES: usize = 1 << 18;
/// Subgraphs within each other.
pub const MAX_DEPTH: usize = 8;
pub const MAX_INPUTS: usize = 4_096;
pub const MAX_OUTPUTS: usize = 1_024;
const MAX_ATTRIBUTES: usize = 256;
/// Older operators are not what newer ones of their names are.
const MIN_OPSET: u64 = 7;

/// A graph that has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph<'a> {
    /// Without those that have a value of their own.
    pub inputs: Vec<Port<'a>>,
    pub outputs: Vec<Port<'a>>,
    /// Outputs that are scores by class name, which `ZipMap` makes of a tensor.
    pub zip_maps: Vec<ZipMap<'a>>,
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Port<'a> {
    pub name: &'a str,
    /// Of a tensor: its element type as ONNX numbers it. None where the file does not
    /// say, or if it is no tensor.
    pub element: Option<u64>,
    /// None where the file does not say.
    pub dimensions: Option<Vec<Dimension>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    Fixed(u64),
    Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZipMap<'a> {
    /// The graph's output.
    pub output: &'a str,
    /// What it is made of.
    pub tensor: &'a str,
}

impl<'a> Graph<'a> {
    pub fn read(content: &'a [u8]) -> Result<Self, Error> {
        let model = Message::new(content);
        let mut graph = None;
        let mut opsets = HashMap::new();
        for field in model.fields() {
            match field? {
                // A runtime would put the two together.
                (7, _) if graph.is_some() => return Err(Error::malformed("the model", "two graphs")),
                (7, value) => graph = Some(value.message(model)?),
                (8, value) => {
                    let opset = value.message(model)?;
                    let domain = domain(opset.last_text(1)?);
                    let version = opset.last(2)?.map_or(Ok(0), |version| version.varint(opset))?;
                    opsets.insert(domain, version);
                    if opsets.len() > MAX_ATTRIBUTES {
                        return Err(Error::malformed("the model", "too many operator sets"));
                    }
                }
                (20, _) => return Err(Error::unsupported("a model that goes on training")),
                (25, _) => return Err(Error::unsupported("a function of the model's own (inline them)")),
                _ => {}
            }
        }
        let Some(graph) = graph else { return Err(Error::malformed("the model", "no graph")) };
        let standard = opsets.get("").copied().unwrap_or(0);
        if standard < MIN_OPSET {
            return Err(Error::unsupported(format!("the operator set {standard}, older than {MIN_OPSET}")));
        }
        let mut reader =
            Reader { opsets, n_nodes: 0, n_values: 0, known: HashSet::new(), zipped: HashMap::new() };
        reader.graph(graph, 0)
    }
}

/// The standard domain has two names.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

struct Reader<'a> {
    /// Versions by domain.
    opsets: HashMap<&'a str, u64>,
    n_nodes: usize,
    n_values: usize,
    /// Values that a node may read: of the graphs around it, and made before it.
    known: HashSet<&'a str>,
    /// What `ZipMap` made and no node has read, with what it was made of.
    zipped: HashMap<&'a str, &'a str>,
}

impl<'a> Reader<'a> {
    fn graph(&mut self, graph: Message<'a>, depth: usize) -> Result<Graph<'a>, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::unsupported(format!("a graph more than {MAX_DEPTH} deep in others")));
        }
        let mut own = Vec::new();
        let mut initialised = HashSet::new();
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for field in graph.fields() {
            match field? {
                (5, value) => {
                    let at = format!("initializer {}", initialised.len());
                    let name = tensor::check(value.message(graph)?, &at)?;
                    if !initialised.insert(name) {
                        return Err(Error::malformed(format!("initializer {name:?}"), "there twice"));
                    }
                    self.count_value()?;
                }
                (11, value) => {
                    bounded(&mut inputs, Port::read(value.message(graph)?)?, MAX_INPUTS, "inputs")?
                }
                (12, value) => {
                    bounded(&mut outputs, Port::read(value.message(graph)?)?, MAX_OUTPUTS, "outputs")?;
                }
                (15, _) => return Err(Error::unsupported("a sparse initializer")),
                _ => {}
            }
        }
        for input in &inputs {
            if !initialised.contains(input.name) {
                self.define(input.name, "input", &mut own)?;
            }
        }
        for &name in &initialised {
            self.define(name, "initializer", &mut own)?;
        }
        inputs.retain(|input| !initialised.contains(input.name));

        for field in graph.fields() {
            if let (1, node) = field? {
                self.node(node.message(graph)?, depth, &mut own)?;
            }
        }
        let mut zip_maps = Vec::new();
        for output in &outputs {
            if !self.known.contains(output.name) {
                return Err(Error::malformed(format!("output {:?}", output.name), "nothing makes it"));
            }
            if let Some(&tensor) = self.zipped.get(output.name) {
                zip_maps.push(ZipMap { output: output.name, tensor });
            }
        }
        for name in own {
            self.known.remove(name);
            self.zipped.remove(name);
        }
        Ok(Graph { inputs, outputs, zip_maps })
    }

    fn node(&mut self, node: Message<'a>, depth: usize, own: &mut Vec<&'a str>) -> Result<(), Error> {
        self.n_nodes += 1;
        if self.n_nodes > MAX_NODES {
            return Err(Error::malformed("the graph", format!("more than {MAX_NODES} nodes")));
        }
        let operator = node.last_text(4)?;
        let at = format!("node {} ({operator})", self.n_nodes - 1);
        let of_domain = domain(node.last_text(7)?);
        self.check_operator(operator, of_domain, &at)?;
        let (mut tensor, mut n_attributes) = (None, 0);
        for field in node.fields() {
            match field? {
                (1, value) => {
                    let name = value.text(node)?;
                    if !name.is_empty() && !self.known.contains(name) {
                        let reason = format!("reads {name:?}, which nothing before it makes (or a cycle)");
                        return Err(Error::malformed(at, reason));
                    }
                    let is_zipped = self.zipped.remove(name).is_some();
                    tensor = tensor.or((!is_zipped && !name.is_empty()).then_some(name));
                }
                (5, value) => {
                    n_attributes += 1;
                    if n_attributes > MAX_ATTRIBUTES {
                        return Err(Error::malformed(at, format!("more than {MAX_ATTRIBUTES} attributes")));
                    }
                    self.attribute(value.message(node)?, depth, &at)?;
                }
                _ => {}
            }
        }
        for field in node.fields() {
            if let (2, value) = field? {
                let name = value.text(node)?;
                if !name.is_empty() {
                    self.define(name, "value", own)?;
                    if let (("ai.onnx.ml", "ZipMap"), Some(tensor)) = ((of_domain, operator), tensor) {
                        self.zipped.insert(name, tensor);
                    }
                }
            }
        }
        Ok(())
    }

    fn check_operator(&self, operator: &str, of_domain: &str, at: &str) -> Result<(), Error> {
        if !["", "ai.onnx.ml"].contains(&of_domain) {
            return Err(Error::unsupported(format!("{at}: the operator domain {of_domain:?}")));
        }
        if !self.opsets.contains_key(of_domain) {
            return Err(Error::malformed(at, format!("the model does not import its domain {of_domain:?}")));
        }
        match operator {
            // What they cost is not bounded by the size of the file.
            "Loop" | "Scan" | "SequenceMap" => Err(Error::unsupported(format!("{at}: a loop"))),
            // The same features must give the same score.
            "Bernoulli" | "Multinomial" | "RandomNormal" | "RandomNormalLike" | "RandomUniform"
            | "RandomUniformLike" => Err(Error::unsupported(format!("{at}: chance"))),
            "" => Err(Error::malformed(at, "no operator")),
            _ => Ok(()),
        }
    }

    fn attribute(&mut self, attribute: Message<'a>, depth: usize, at: &str) -> Result<(), Error> {
        let name = attribute.last_text(1)?;
        let at = format!("{at}, attribute {name:?}");
        for field in attribute.fields() {
            match field? {
                (5 | 10, value) => {
                    tensor::check(value.message(attribute)?, &at)?;
                }
                (6 | 11, value) => {
                    self.graph(value.message(attribute)?, depth + 1)?;
                }
                (22 | 23, _) => return Err(Error::unsupported(format!("{at}: a sparse tensor"))),
                _ => {}
            }
        }
        Ok(())
    }

    fn define(&mut self, name: &'a str, what: &str, own: &mut Vec<&'a str>) -> Result<(), Error> {
        self.count_value()?;
        if !self.known.insert(name) {
            return Err(Error::malformed(format!("{what} {name:?}"), "made twice"));
        }
        own.push(name);
        Ok(())
    }

    fn count_value(&mut self) -> Result<(), Error> {
        self.n_values += 1;
        if self.n_values > MAX_VALUES {
            return Err(Error::malformed("the graph", format!("more than {MAX_VALUES} values")));
        }
        Ok(())
    }
}

fn bounded<T>(list: &mut Vec<T>, item: T, max: usize, what: &str) -> Result<(), Error> {
    if list.len() == max {
        return Err(Error::malformed("the graph", format!("more than {max} {what}")));
    }
    list.push(item);
    Ok(())
}

impl<'a> Port<'a> {
    fn read(port: Message<'a>) -> Result<Self, Error> {
        const MAX_DIMENSIONS: usize = 16;
        let name = port.last_text(1)?;
        if name.is_empty() {
            return Err(Error::malformed("the graph", "an input or output without a name"));
        }
        let mut found = Self { name, element: None, dimensions: None };
        let Some(tensor) = inner(port, 2)?.map(|of_type| inner(of_type, 1)).transpose()?.flatten() else {
            return Ok(found);
        };
        found.element = tensor.last(1)?.map(|element| element.varint(tensor)).transpose()?;
        let Some(shape) = inner(tensor, 2)? else { return Ok(found) };
        let mut dimensions = Vec::new();
        for field in shape.fields() {
            if let (1, dimension) = field? {
                let dimension = dimension.message(shape)?;
                let size = dimension.last(1)?.map(|size| size.varint(dimension)).transpose()?;
                // Some writers mean any size by -1.
                let size = size.filter(|&size| size <= i64::MAX as u64);
                dimensions.push(size.map_or(Dimension::Free, Dimension::Fixed));
                if dimensions.len() > MAX_DIMENSIONS {
                    let reason = format!("more than {MAX_DIMENSIONS} dimensions");
                    return Err(Error::malformed(format!("{name:?}"), reason));
                }
            }
        }
        found.dimensions = Some(dimensions);
        Ok(found)
    }

    /// Whether it has a tensor of real numbers, or the file does not say.
    pub fn may_be_real(&self) -> bool {
        self.element.is_none_or(|element| [tensor::FLOAT, tensor::DOUBLE].contains(&element))
    }
}

fn inner(message: Message<'_>, number: u32) -> Result<Option<Message<'_>>, Error> {
    Ok(message.last(number)?.map(|value: Value<'_>| value.message(message)).transpose()?)
}
