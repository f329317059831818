//! Protocol buffers read in place: fields as slices, nothing copied or built.
//!
//! A decoder into structs would let two bytes of a file become hundreds in
//! memory; this one needs none, whatever the file says.

/// The bytes of one message, and where they stand in the file.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// A field's value as it is on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// A message, a text, bytes, or packed numbers.
    Bytes(Message<'a>),
}

/// The fields of a message in their order, each with its number.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    offset: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub struct Error {
    /// Where in the file.
    pub offset: usize,
    pub reason: &'static str,
}

impl<'a> Message<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub fn fields(self) -> Fields<'a> {
        Fields { rest: self.bytes, offset: self.offset }
    }

    /// The last of the fields of a number: that of one value.
    pub fn last(self, number: u32) -> Result<Option<Value<'a>>, Error> {
        let mut found = None;
        for field in self.fields() {
            let (of, value) = field?;
            if of == number {
                found = Some(value);
            }
        }
        Ok(found)
    }

    /// The same as a text; empty where there is none.
    pub fn last_text(self, number: u32) -> Result<&'a str, Error> {
        self.last(number)?.map_or(Ok(""), |value| value.text(self))
    }

    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes as a text without control characters.
    pub fn text(self) -> Result<&'a str, Error> {
        match std::str::from_utf8(self.bytes) {
            Ok(text) if !text.chars().any(char::is_control) => Ok(text),
            _ => Err(self.malformed("not a plain text")),
        }
    }

    pub fn malformed(self, reason: &'static str) -> Error {
        Error { offset: self.offset, reason }
    }
}

/// Fields of the wrong type are errors at their message, `of`.
impl<'a> Value<'a> {
    pub fn message(self, of: Message<'_>) -> Result<Message<'a>, Error> {
        match self {
            Self::Bytes(message) => Ok(message),
            _ => Err(of.malformed("a number where a message should be")),
        }
    }

    pub fn text(self, of: Message<'_>) -> Result<&'a str, Error> {
        self.message(of)?.text()
    }

    pub fn varint(self, of: Message<'_>) -> Result<u64, Error> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(of.malformed("no whole number where one should be")),
        }
    }

    /// One number, or several that are packed: writers may do either.
    pub fn for_each_varint<E: From<Error>>(
        self,
        of: Message<'_>,
        mut each: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Varint(value) => each(value),
            Self::Bytes(packed) => {
                let mut fields = packed.fields();
                while !fields.rest.is_empty() {
                    each(fields.varint()?)?;
                }
                Ok(())
            }
            _ => Err(of.malformed("no whole number where one should be").into()),
        }
    }

    /// The same of numbers of four bytes.
    pub fn for_each_float<E: From<Error>>(
        self,
        of: Message<'_>,
        mut each: impl FnMut(f32) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Fixed32(bytes) => each(f32::from_le_bytes(bytes)),
            Self::Bytes(packed) => {
                let (floats, []) = packed.bytes.as_chunks() else {
                    return Err(packed.malformed("packed floats of no whole number").into());
                };
                floats.iter().try_for_each(|bytes| each(f32::from_le_bytes(*bytes)))
            }
            _ => Err(of.malformed("no float where one should be").into()),
        }
    }

    /// The same of numbers of eight bytes.
    pub fn for_each_double<E: From<Error>>(
        self,
        of: Message<'_>,
        mut each: impl FnMut(f64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Fixed64(bytes) => each(f64::from_le_bytes(bytes)),
            Self::Bytes(packed) => {
                let (doubles, []) = packed.bytes.as_chunks() else {
                    return Err(packed.malformed("packed doubles of no whole number").into());
                };
                doubles.iter().try_for_each(|bytes| each(f64::from_le_bytes(*bytes)))
            }
            _ => Err(of.malformed("no double where one should be").into()),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Value<'a>), Error> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0);
        let Some(number) = number else { return Err(self.malformed("no field has this number")) };
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.array()?),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let offset = self.offset;
                Value::Bytes(Message { bytes: self.take(length)?, offset })
            }
            5 => Value::Fixed32(self.array()?),
            _ => return Err(self.malformed("no field has this wire type")),
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number of more than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.malformed("the file ends within a field, or a field passes its message's end"));
        };
        self.rest = rest;
        self.offset += length;
        Ok(taken)
    }

    fn malformed(&self, reason: &'static str) -> Error {
        Error { offset: self.offset, reason }
    }
}
