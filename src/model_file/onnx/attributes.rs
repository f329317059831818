//! The attributes of an operator, by name. Field numbers are those of
//! `onnx.proto3`.

use std::collections::HashMap;

use super::malformed;
use crate::engine::forest::Forest;
use crate::model_file::Error;
use crate::protobuf::Message;

/// Numbers or texts in a list.
const MAX_LENGTH: usize = Forest::MAX_NODES;
const MAX_ATTRIBUTES: usize = 256;

pub const FLOAT: u64 = 1;
const UINT8: u64 = 2;
pub const DOUBLE: u64 = 11;

pub struct Attributes<'a> {
    by_name: HashMap<&'a str, Message<'a>>,
}

impl<'a> Attributes<'a> {
    pub fn of(node: Message<'a>) -> Result<Self, Error> {
        let mut by_name = HashMap::new();
        for field in node.fields() {
            let (5, value) = field? else { continue };
            let attribute = value.message(node)?;
            let name = text(attribute, 1)?.unwrap_or_default();
            if by_name.insert(name, attribute).is_some() {
                return Err(malformed(format!("attribute {name:?}"), "set twice"));
            }
            if by_name.len() > MAX_ATTRIBUTES {
                return Err(malformed("attributes", format!("more than {MAX_ATTRIBUTES}")));
            }
        }
        Ok(Self { by_name })
    }

    pub fn int(&self, name: &str) -> Result<Option<i64>, Error> {
        let Some(attribute) = self.by_name.get(name) else { return Ok(None) };
        match last(*attribute, 3)? {
            Some(value) => Ok(Some(value.varint(*attribute)? as i64)),
            None => Err(malformed(name, "not a whole number")),
        }
    }

    pub fn string(&self, name: &str) -> Result<Option<&'a str>, Error> {
        match self.by_name.get(name) {
            Some(attribute) => text(*attribute, 4),
            None => Ok(None),
        }
    }

    /// Empty where there is none.
    pub fn ints(&self, name: &str) -> Result<Vec<i64>, Error> {
        let mut ints = Vec::new();
        let Some(&attribute) = self.by_name.get(name) else { return Ok(ints) };
        for field in attribute.fields() {
            if let (8, value) = field? {
                value.for_each_varint(attribute, |int| push(&mut ints, int as i64, name))?;
            }
        }
        Ok(ints)
    }

    pub fn strings(&self, name: &str) -> Result<Vec<&'a str>, Error> {
        let mut strings = Vec::new();
        let Some(&attribute) = self.by_name.get(name) else { return Ok(strings) };
        for field in attribute.fields() {
            if let (9, value) = field? {
                push(&mut strings, value.text(attribute)?, name)?;
            }
        }
        Ok(strings)
    }

    /// A list of floats, or the tensor `{name}_as_tensor`.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, Error> {
        let as_tensor = format!("{name}_as_tensor");
        let tensor = self.tensor(&as_tensor)?;
        let mut floats = Vec::new();
        if let Some(&attribute) = self.by_name.get(name) {
            for field in attribute.fields() {
                if let (7, value) = field? {
                    value.for_each_float(attribute, |float| push(&mut floats, f64::from(float), name))?;
                }
            }
        }
        match tensor {
            Some(_) if !floats.is_empty() => Err(malformed(name, format!("{as_tensor} is there, too"))),
            Some(tensor) => Ok(tensor),
            None => Ok(floats),
        }
    }

    /// The numbers of a tensor of one dimension.
    pub fn tensor(&self, name: &str) -> Result<Option<Vec<f64>>, Error> {
        let Some(&attribute) = self.by_name.get(name) else { return Ok(None) };
        let Some(value) = last(attribute, 5)? else { return Err(malformed(name, "not a tensor")) };
        tensor_numbers(value.message(attribute)?, name).map(Some)
    }
}

/// The numbers of a `TensorProto` of one dimension, or of none.
pub fn tensor_numbers(tensor: Message<'_>, name: &str) -> Result<Vec<f64>, Error> {
    let data_type = last(tensor, 2)?.map_or(Ok(0), |value| value.varint(tensor))?;
    let mut length = 1_u64;
    let mut numbers = Vec::new();
    for field in tensor.fields() {
        match field? {
            (1, dims) => dims.for_each_varint(tensor, |dim| {
                length = length.saturating_mul(dim);
                Ok::<_, Error>(())
            })?,
            (4, floats) if data_type == FLOAT => {
                floats.for_each_float(tensor, |float| push(&mut numbers, f64::from(float), name))?;
            }
            (5, bytes) if data_type == UINT8 => {
                bytes.for_each_varint(tensor, |byte| push(&mut numbers, byte as f64, name))?;
            }
            (10, doubles) if data_type == DOUBLE => {
                doubles.for_each_double(tensor, |double| push(&mut numbers, double, name))?;
            }
            (9, raw) => {
                let raw = raw.message(tensor)?;
                let value = crate::protobuf::Value::Bytes(raw);
                match data_type {
                    FLOAT => {
                        value.for_each_float(tensor, |float| push(&mut numbers, f64::from(float), name))?
                    }
                    DOUBLE => value.for_each_double(tensor, |double| push(&mut numbers, double, name))?,
                    UINT8 => {
                        raw.bytes().iter().try_for_each(|byte| push(&mut numbers, f64::from(*byte), name))?
                    }
                    _ => {}
                }
            }
            (13, _) => return Err(malformed(name, "its data is outside the file")),
            (14, place) if place.varint(tensor)? != 0 => {
                return Err(malformed(name, "its data is outside the file"));
            }
            _ => {}
        }
    }
    if ![FLOAT, DOUBLE, UINT8].contains(&data_type) {
        return Err(malformed(name, format!("a tensor of the type {data_type}, not of floats or doubles")));
    }
    if length != numbers.len() as u64 {
        return Err(malformed(name, format!("a tensor of {length} numbers that holds {}", numbers.len())));
    }
    Ok(numbers)
}

/// The last of a message's fields of a number: those of one value.
pub fn last<'a>(message: Message<'a>, number: u32) -> Result<Option<crate::protobuf::Value<'a>>, Error> {
    Ok(message.last(number)?)
}

pub fn text(message: Message<'_>, number: u32) -> Result<Option<&str>, Error> {
    Ok(last(message, number)?.map(|value| value.text(message)).transpose()?)
}

fn push<T>(list: &mut Vec<T>, item: T, name: &str) -> Result<(), Error> {
    if list.len() == MAX_LENGTH {
        return Err(malformed(name, format!("more than {MAX_LENGTH} values")));
    }
    list.push(item);
    Ok(())
}
