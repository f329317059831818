//! The elements of a tensor, typed or raw.
//!
//! Raw ones are little-endian and without gaps, each of BYTES after its length
//! in four bytes: <https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol>.

use std::fmt;

use prost::bytes::Bytes;

use crate::proto::inference::InferTensorContents;
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

/// What a tensor's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datatype {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Fp32,
    Fp64,
    Bytes,
}

/// The typed contents of a tensor that has none.
pub static NO_CONTENTS: InferTensorContents = InferTensorContents {
    bool_contents: Vec::new(),
    int_contents: Vec::new(),
    int64_contents: Vec::new(),
    uint_contents: Vec::new(),
    uint64_contents: Vec::new(),
    fp32_contents: Vec::new(),
    fp64_contents: Vec::new(),
    bytes_contents: Vec::new(),
};

/// Where a tensor's elements are.
#[derive(Clone, Copy, Debug)]
pub enum Contents<'r> {
    Typed(&'r InferTensorContents),
    Raw(&'r Bytes),
}

/// The elements of one tensor: as many as its shape says.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'r> {
    pub datatype: Datatype,
    pub n_elements: usize,
    pub contents: Contents<'r>,
}

/// A field of [`InferTensorContents`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Bool,
    Int,
    Int64,
    Uint,
    Uint64,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    pub const ALL: [Self; 12] = [
        Self::Bool,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// The data type of this name in the protocol; FP16 and BF16 are not read.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|datatype| datatype.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// Bytes of a raw element; none where each says its own length.
    const fn raw_bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Int8 | Self::Uint8 => Some(1),
            Self::Int16 | Self::Uint16 => Some(2),
            Self::Int32 | Self::Uint32 | Self::Fp32 => Some(4),
            Self::Int64 | Self::Uint64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    const fn field(self) -> Field {
        match self {
            Self::Bool => Field::Bool,
            Self::Int8 | Self::Int16 | Self::Int32 => Field::Int,
            Self::Int64 => Field::Int64,
            Self::Uint8 | Self::Uint16 | Self::Uint32 => Field::Uint,
            Self::Uint64 => Field::Uint64,
            Self::Fp32 => Field::Fp32,
            Self::Fp64 => Field::Fp64,
            Self::Bytes => Field::Bytes,
        }
    }
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool_contents",
            Self::Int => "int_contents",
            Self::Int64 => "int64_contents",
            Self::Uint => "uint_contents",
            Self::Uint64 => "uint64_contents",
            Self::Fp32 => "fp32_contents",
            Self::Fp64 => "fp64_contents",
            Self::Bytes => "bytes_contents",
        }
    }
}

impl Elements<'_> {
    /// The elements as numbers, shape `[n_elements]`. False is 0 and true is 1;
    /// whole numbers beyond 2^53 are rounded to the nearest that a float64 has.
    ///
    /// # Errors
    /// They are texts, or not as many as the shape says.
    pub fn numbers(&self) -> Result<Vec<f64>, Refusal> {
        if self.datatype == Datatype::Bytes {
            return Err(Refusal::new(Reason::TensorDatatype, "BYTES are no numbers"));
        }
        match self.contents {
            Contents::Typed(contents) => {
                self.check_field(contents)?;
                typed_numbers(self.datatype, contents)
            }
            Contents::Raw(raw) => {
                // Not BYTES, so each has a size.
                let size = self.datatype.raw_bytes().unwrap_or(1);
                let expected = self.n_elements.checked_mul(size);
                if expected != Some(raw.len()) {
                    let (n_elements, datatype) = (self.n_elements, self.datatype.name());
                    return Err(wrong(format_args!(
                        "{} raw bytes, but {n_elements} elements of {datatype} are of {size} bytes each",
                        raw.len()
                    )));
                }
                Ok(raw_numbers(self.datatype, raw))
            }
        }
    }

    /// The elements as texts, shape `[n_elements]`.
    ///
    /// # Errors
    /// They are not BYTES, not UTF-8, or not as many as the shape says.
    pub fn texts(&self) -> Result<Vec<&str>, Refusal> {
        if self.datatype != Datatype::Bytes {
            let message = format_args!("{}, but it holds BYTES", self.datatype.name());
            return Err(Refusal::new(Reason::TensorDatatype, message));
        }
        let elements: Vec<&[u8]> = match self.contents {
            Contents::Typed(contents) => {
                self.check_field(contents)?;
                contents.bytes_contents.iter().map(Vec::as_slice).collect()
            }
            Contents::Raw(raw) => self.raw_texts(raw)?,
        };
        let text = |(index, element)| {
            std::str::from_utf8(element)
                .map_err(|_| wrong(format_args!("element {index} is not a text in UTF-8")))
        };
        elements.into_iter().enumerate().map(text).collect()
    }

    fn raw_texts<'b>(&self, raw: &'b [u8]) -> Result<Vec<&'b [u8]>, Refusal> {
        let mut elements = Vec::new();
        let mut rest = raw;
        while !rest.is_empty() {
            let index = elements.len();
            if index == self.n_elements {
                let message = format_args!("{} raw bytes follow the last of {index} elements", rest.len());
                return Err(wrong(message));
            }
            let Some((length, after)) = rest.split_first_chunk() else {
                return Err(wrong(format_args!("the raw bytes end within the length of element {index}")));
            };
            let length = u32::from_le_bytes(*length);
            let Some((element, after)) = after.split_at_checked(length as usize) else {
                let message = format_args!(
                    "element {index} says it has {length} bytes, but {} raw bytes are left",
                    after.len()
                );
                return Err(wrong(message));
            };
            elements.push(element);
            rest = after;
        }
        self.check_count("raw_input_contents", elements.len())?;
        Ok(elements)
    }

    /// Checks that the elements are in the field of their data type, and only there.
    fn check_field(&self, contents: &InferTensorContents) -> Result<(), Refusal> {
        let own = self.datatype.field();
        for (field, n_given) in counts(contents) {
            if field == own {
                self.check_count(field.name(), n_given)?;
            } else if n_given > 0 {
                let (datatype, own) = (self.datatype.name(), own.name());
                let message =
                    format_args!("elements are in {}, but those of {datatype} belong in {own}", field.name());
                return Err(wrong(message));
            }
        }
        Ok(())
    }

    fn check_count(&self, field: &str, n_given: usize) -> Result<(), Refusal> {
        if n_given == self.n_elements {
            return Ok(());
        }
        let n_elements = self.n_elements;
        Err(wrong(format_args!("{n_given} elements in {field}, but the shape has {n_elements}")))
    }
}

fn counts(contents: &InferTensorContents) -> [(Field, usize); 8] {
    [
        (Field::Bool, contents.bool_contents.len()),
        (Field::Int, contents.int_contents.len()),
        (Field::Int64, contents.int64_contents.len()),
        (Field::Uint, contents.uint_contents.len()),
        (Field::Uint64, contents.uint64_contents.len()),
        (Field::Fp32, contents.fp32_contents.len()),
        (Field::Fp64, contents.fp64_contents.len()),
        (Field::Bytes, contents.bytes_contents.len()),
    ]
}

fn typed_numbers(datatype: Datatype, contents: &InferTensorContents) -> Result<Vec<f64>, Refusal> {
    let narrow_int = |min: i32, max: i32| {
        let checked = |(index, &element): (usize, &i32)| {
            if (min..=max).contains(&element) {
                Ok(f64::from(element))
            } else {
                Err(beyond(datatype, index, element))
            }
        };
        contents.int_contents.iter().enumerate().map(checked).collect()
    };
    let narrow_uint = |max: u32| {
        let checked = |(index, &element): (usize, &u32)| {
            if element <= max { Ok(f64::from(element)) } else { Err(beyond(datatype, index, element)) }
        };
        contents.uint_contents.iter().enumerate().map(checked).collect()
    };
    match datatype {
        Datatype::Bool => Ok(contents.bool_contents.iter().map(|&element| f64::from(element)).collect()),
        Datatype::Int8 => narrow_int(i8::MIN.into(), i8::MAX.into()),
        Datatype::Int16 => narrow_int(i16::MIN.into(), i16::MAX.into()),
        Datatype::Int32 => narrow_int(i32::MIN, i32::MAX),
        Datatype::Int64 => Ok(contents.int64_contents.iter().map(|&element| element as f64).collect()),
        Datatype::Uint8 => narrow_uint(u8::MAX.into()),
        Datatype::Uint16 => narrow_uint(u16::MAX.into()),
        Datatype::Uint32 => narrow_uint(u32::MAX),
        Datatype::Uint64 => Ok(contents.uint64_contents.iter().map(|&element| element as f64).collect()),
        Datatype::Fp32 => Ok(contents.fp32_contents.iter().map(|&element| f64::from(element)).collect()),
        Datatype::Fp64 => Ok(contents.fp64_contents.clone()),
        Datatype::Bytes => Ok(Vec::new()),
    }
}

fn raw_numbers(datatype: Datatype, raw: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(raw: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        raw.as_chunks::<N>().0.iter().map(|element| number(*element)).collect()
    }
    match datatype {
        Datatype::Bool => each(raw, |[byte]| f64::from(byte != 0)),
        Datatype::Int8 => each(raw, |bytes| f64::from(i8::from_le_bytes(bytes))),
        Datatype::Int16 => each(raw, |bytes| f64::from(i16::from_le_bytes(bytes))),
        Datatype::Int32 => each(raw, |bytes| f64::from(i32::from_le_bytes(bytes))),
        Datatype::Int64 => each(raw, |bytes| i64::from_le_bytes(bytes) as f64),
        Datatype::Uint8 => each(raw, |bytes| f64::from(u8::from_le_bytes(bytes))),
        Datatype::Uint16 => each(raw, |bytes| f64::from(u16::from_le_bytes(bytes))),
        Datatype::Uint32 => each(raw, |bytes| f64::from(u32::from_le_bytes(bytes))),
        Datatype::Uint64 => each(raw, |bytes| u64::from_le_bytes(bytes) as f64),
        Datatype::Fp32 => each(raw, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Datatype::Fp64 => each(raw, f64::from_le_bytes),
        Datatype::Bytes => Vec::new(),
    }
}

fn wrong(message: impl fmt::Display) -> Refusal {
    Refusal::new(Reason::TensorContents, message)
}

fn beyond(datatype: Datatype, index: usize, element: impl fmt::Display) -> Refusal {
    wrong(format_args!("element {index} is {element}, which {} cannot hold", datatype.name()))
}
