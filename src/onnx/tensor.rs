//! Tensors of a file: that they are what they say, and all of it in the file.

use super::Error;
use crate::protobuf::{Message, Value};

/// Elements of one tensor.
pub const MAX_ELEMENTS: u64 = 1 << 26;
const MAX_DIMENSIONS: usize = 16;

pub const FLOAT: u64 = 1;
pub const INT64: u64 = 7;
pub const DOUBLE: u64 = 11;
const TEXT: u64 = 8;

/// Bytes of an element, by ONNX's number of its type; none of those that are not taken.
const fn element_bytes(element: u64) -> Option<u64> {
    match element {
        2 | 3 | 9 => Some(1),
        4 | 5 | 10 | 16 => Some(2),
        FLOAT | 6 | 12 => Some(4),
        INT64 | DOUBLE | 13 => Some(8),
        _ => None,
    }
}

/// Checks a tensor that stands at `at` and gives its name.
pub fn check<'a>(tensor: Message<'a>, at: &str) -> Result<&'a str, Error> {
    let (mut name, mut element) = ("", 0);
    let (mut n_dimensions, mut n_elements) = (0, 1_u64);
    let (mut n_listed, mut raw, mut outside) = (0, None, false);
    let mut place = String::new();
    for field in tensor.fields() {
        match field? {
            (1, dims) => dims.for_each_varint(tensor, |dim| {
                n_dimensions += 1;
                n_elements = n_elements.saturating_mul(dim);
                if n_dimensions > MAX_DIMENSIONS {
                    return Err(Error::malformed(at, format!("more than {MAX_DIMENSIONS} dimensions")));
                }
                Ok(())
            })?,
            (2, value) => element = value.varint(tensor)?,
            (3, _) => return Err(Error::unsupported(format!("{at}: a tensor in segments"))),
            (4, floats) => floats.for_each_float(tensor, |_| counted(&mut n_listed))?,
            (5 | 7 | 11, numbers) => numbers.for_each_varint(tensor, |_| counted(&mut n_listed))?,
            (10, doubles) => doubles.for_each_double(tensor, |_| counted(&mut n_listed))?,
            (6, text) => {
                text.message(tensor)?;
                n_listed += 1;
            }
            (8, value) => name = value.text(tensor)?,
            (9, value) => raw = Some(value.message(tensor)?.bytes().len() as u64),
            (13, entry) => {
                outside = true;
                place += &said(entry.message(tensor)?)?;
            }
            (14, value) => outside |= value.varint(tensor)? != 0,
            _ => {}
        }
    }
    if outside {
        return Err(Error::ExternalData { at: at.to_owned(), tensor: name.to_owned(), place });
    }
    let at = if name.is_empty() { at.to_owned() } else { format!("tensor {name:?}") };
    if n_elements > MAX_ELEMENTS {
        let reason = format!("{n_elements} elements, of at most {MAX_ELEMENTS}");
        return Err(Error::malformed(at, reason));
    }
    let expected = match (element_bytes(element), raw) {
        (None, None) if element == TEXT => n_elements,
        (None, _) => return Err(Error::unsupported(format!("{at}: the element type {element}"))),
        (Some(bytes), Some(_)) => n_elements * bytes,
        (Some(_), None) => n_elements,
    };
    if raw.is_some() && n_listed > 0 {
        return Err(Error::malformed(at, "both raw and listed data"));
    }
    let (found, what) = raw.map_or((n_listed, "elements"), |n_bytes| (n_bytes, "bytes"));
    if found != expected {
        let reason = format!("{n_elements} elements take {expected} {what}, but it holds {found}");
        return Err(Error::malformed(at, reason));
    }
    Ok(name)
}

fn counted(n: &mut u64) -> Result<(), Error> {
    *n += 1;
    Ok(())
}

/// One entry of where the data is: ` (location: ../weights.bin)`.
fn said(entry: Message<'_>) -> Result<String, Error> {
    const MAX_CHARS: usize = 200;
    let mut parts = [String::new(), String::new()];
    for field in entry.fields() {
        if let (number @ (1 | 2), value @ Value::Bytes(_)) = field? {
            parts[number as usize - 1] = value.text(entry)?.chars().take(MAX_CHARS).collect();
        }
    }
    let [key, value] = parts;
    // Offset and length say nothing more; the location is what to look at.
    Ok(if key == "location" { format!(" ({key}: {value})") } else { String::new() })
}
