//! Files made by hand, field by field.

pub type Bytes = Vec<u8>;

pub fn varint(mut value: u64) -> Bytes {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub fn number(field: u64, value: i64) -> Bytes {
    [varint(field << 3), varint(value as u64)].concat()
}

pub fn message(field: u64, content: &[u8]) -> Bytes {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

pub fn text(field: u64, text: &str) -> Bytes {
    message(field, text.as_bytes())
}

pub fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Bytes {
    let inputs = inputs.iter().flat_map(|name| text(1, name));
    let outputs = outputs.iter().flat_map(|name| text(2, name));
    inputs.chain(outputs).chain(text(4, operator)).collect()
}

/// A port of this shape; sizes below 0 are open.
pub fn port(name: &str, element: i64, dimensions: &[i64]) -> Bytes {
    let dimension = |&size: &i64| if size < 0 { text(2, "n") } else { number(1, size) };
    let shape: Bytes = dimensions.iter().flat_map(|size| message(1, &dimension(size))).collect();
    let tensor = [number(1, element), message(2, &shape)].concat();
    [text(1, name), message(2, &message(1, &tensor))].concat()
}

pub fn tensor(name: &str, element: i64, dimensions: &[i64], data: &[Bytes]) -> Bytes {
    let dimensions = dimensions.iter().flat_map(|&size| number(1, size));
    let start = dimensions.chain(number(2, element)).chain(text(8, name));
    start.chain(data.iter().flatten().copied()).collect()
}

pub fn raw_floats(values: &[f32]) -> Bytes {
    message(9, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Bytes>())
}

/// A model whose parts can be changed.
#[derive(Clone)]
pub struct Made {
    pub nodes: Vec<Bytes>,
    pub initializers: Vec<Bytes>,
    pub inputs: Vec<Bytes>,
    pub outputs: Vec<Bytes>,
    /// Domain and version.
    pub opsets: Vec<(&'static str, i64)>,
    /// Further fields of the graph, and of the model.
    pub in_graph: Bytes,
    pub in_model: Bytes,
}

impl Made {
    /// `scores = sigmoid(rows * w)`, of two features.
    pub fn small() -> Self {
        Self {
            nodes: vec![node("MatMul", &["rows", "w"], &["z"]), node("Sigmoid", &["z"], &["scores"])],
            initializers: vec![tensor("w", 1, &[2, 1], &[raw_floats(&[0.5, -0.25])])],
            inputs: vec![port("rows", 1, &[-1, 2])],
            outputs: vec![port("scores", 1, &[-1, 1])],
            opsets: vec![("", 17), ("ai.onnx.ml", 3)],
            in_graph: Bytes::new(),
            in_model: Bytes::new(),
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn graph(&self) -> Bytes {
        let part = |field, parts: &[Bytes]| parts.iter().flat_map(|it| message(field, it)).collect::<Bytes>();
        [
            part(1, &self.nodes),
            text(2, "made"),
            part(5, &self.initializers),
            part(11, &self.inputs),
            part(12, &self.outputs),
            self.in_graph.clone(),
        ]
        .concat()
    }

    pub fn bytes(&self) -> Bytes {
        let opset =
            |(domain, version): &(&str, i64)| message(8, &[text(1, domain), number(2, *version)].concat());
        let opsets: Bytes = self.opsets.iter().flat_map(opset).collect();
        [number(1, 8), message(7, &self.graph()), opsets, self.in_model.clone()].concat()
    }
}
