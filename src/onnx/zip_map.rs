//! Takes `ZipMap` off a graph's outputs: scores by class name become the tensor
//! that they are made of, which costs nothing to read.

use std::collections::HashSet;

use super::graph::Graph;
use super::{Error, tensor};
use crate::protobuf::{Message, Value};

/// The model without the nodes that make `graph.zip_maps`, whose tensors are the
/// outputs instead; none if there is nothing to take off.
pub fn without_zip_maps(content: &[u8], graph: &Graph<'_>) -> Result<Option<Vec<u8>>, Error> {
    if graph.zip_maps.is_empty() {
        return Ok(None);
    }
    let model = Message::new(content);
    let mut written = Vec::with_capacity(content.len());
    for field in model.fields() {
        match field? {
            (7, value) => {
                let message = value.message(model)?;
                let mut inner = Vec::with_capacity(message.bytes().len());
                write_graph(&mut inner, message, graph)?;
                write_bytes(&mut written, 7, &inner);
            }
            (number, value) => write(&mut written, number, value),
        }
    }
    Ok(Some(written))
}

fn write_graph(written: &mut Vec<u8>, message: Message<'_>, graph: &Graph<'_>) -> Result<(), Error> {
    let tensor_of = |name| graph.zip_maps.iter().find(|zip_map| zip_map.output == name).map(|it| it.tensor);
    let mut there: HashSet<&str> = graph.outputs.iter().map(|output| output.name).collect();
    for field in message.fields() {
        let (number, value) = field?;
        match number {
            1 if tensor_of(value.message(message)?.last_text(2)?).is_some() => {}
            12 => match tensor_of(value.message(message)?.last_text(1)?) {
                None => write(written, number, value),
                Some(name) if there.insert(name) => write_bytes(written, 12, &output(name)),
                Some(_) => {}
            },
            _ => write(written, number, value),
        }
    }
    Ok(())
}

/// A `ValueInfoProto` of a tensor of floats, of any shape.
fn output(name: &str) -> Vec<u8> {
    let (mut tensor, mut of_type, mut port) = (Vec::new(), Vec::new(), Vec::new());
    write(&mut tensor, 1, Value::Varint(tensor::FLOAT));
    write_bytes(&mut of_type, 1, &tensor);
    write_bytes(&mut port, 1, name.as_bytes());
    write_bytes(&mut port, 2, &of_type);
    port
}

fn write(written: &mut Vec<u8>, number: u32, value: Value<'_>) {
    let key = u64::from(number) << 3;
    match value {
        Value::Varint(value) => {
            write_varint(written, key);
            write_varint(written, value);
        }
        Value::Fixed64(bytes) => {
            write_varint(written, key | 1);
            written.extend(bytes);
        }
        Value::Bytes(message) => write_bytes(written, number, message.bytes()),
        Value::Fixed32(bytes) => {
            write_varint(written, key | 5);
            written.extend(bytes);
        }
    }
}

fn write_bytes(written: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    write_varint(written, u64::from(number) << 3 | 2);
    write_varint(written, bytes.len() as u64);
    written.extend_from_slice(bytes);
}

fn write_varint(written: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        written.push(value as u8 | 0x80);
        value >>= 7;
    }
    written.push(value as u8);
}
