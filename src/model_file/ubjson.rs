//! UBJSON as XGBoost writes it, for the same structs that JSON is read into.
//!
//! Nothing is built of it but what these take: a value is a slice of the file
//! until then. Lists may be counted, and of one type if that is of numbers;
//! objects, counted or of one type, and numbers as texts are refused.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{Error, Format, json};

/// Lists and objects within each other.
const MAX_DEPTH: usize = 64;

pub fn read<T: DeserializeOwned>(format: Format, content: &[u8]) -> Result<T, Error> {
    let mut reader = Reader { content, offset: 0, depth: 0, n_values_left: json::max_values(format) };
    let value = reader.marker().and_then(|marker| T::deserialize(Value { reader: &mut reader, marker }));
    let value = value.and_then(|value| match reader.content.len() - reader.offset {
        0 => Ok(value),
        n_left => Err(Malformed(format!("{n_left} bytes behind the value"))),
    });
    // Where the reader came to is where it went wrong.
    value.map_err(|Malformed(reason)| Error::malformed(format, format!("byte {}", reader.offset), reason))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Malformed(String);

impl serde::de::Error for Malformed {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Reader<'a> {
    content: &'a [u8],
    offset: usize,
    depth: usize,
    /// Elements of lists that may still come.
    n_values_left: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let rest = &self.content[self.offset..];
        let Some(taken) = rest.get(..n) else {
            return Err(Malformed(format!("{n} bytes are next, but the file ends after {}", rest.len())));
        };
        self.offset += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn peek(&self) -> Option<u8> {
        self.content.get(self.offset).copied()
    }

    /// The next marker that says something.
    fn marker(&mut self) -> Result<u8, Malformed> {
        loop {
            match self.array()? {
                [b'N'] => {}
                [marker] => return Ok(marker),
            }
        }
    }

    /// A length, which is a whole number with its marker.
    fn length(&mut self) -> Result<usize, Malformed> {
        let marker = self.marker()?;
        let Some(length) = self.whole_number(marker)? else {
            return Err(Malformed(format!("a length of type {:?}", char::from(marker))));
        };
        usize::try_from(length).map_err(|_| Malformed(format!("a length of {length}")))
    }

    /// None if a marker is of no whole number.
    fn whole_number(&mut self, marker: u8) -> Result<Option<i64>, Malformed> {
        Ok(Some(match marker {
            b'i' => i64::from(i8::from_be_bytes(self.array()?)),
            b'U' => i64::from(u8::from_be_bytes(self.array()?)),
            b'I' => i64::from(i16::from_be_bytes(self.array()?)),
            b'l' => i64::from(i32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?),
            _ => return Ok(None),
        }))
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed("a text that is not UTF-8".to_owned()))
    }

    /// What follows the marker of a list: the type of its elements and how
    /// many there are, if it says so.
    fn list(&mut self) -> Result<(Option<u8>, Option<usize>), Malformed> {
        let mut marker = None;
        if self.peek() == Some(b'$') {
            let [_, of] = self.array()?;
            // Of other types an element may be of no bytes, or more lists.
            if width(of).is_none() {
                return Err(Malformed(format!("a list of type {:?}", char::from(of))));
            }
            marker = Some(of);
        }
        if self.peek() != Some(b'#') {
            return match marker {
                None => Ok((None, None)),
                Some(_) => Err(Malformed("a list with a type but without a length".to_owned())),
            };
        }
        self.offset += 1;
        let n = self.length()?;
        let n_left = self.content.len() - self.offset;
        // Every element takes a byte at least.
        if n.checked_mul(marker.and_then(width).unwrap_or(1)).is_none_or(|n_bytes| n_bytes > n_left) {
            return Err(Malformed(format!("a list of {n}, but the file ends after {n_left} bytes")));
        }
        Ok((marker, Some(n)))
    }

    fn within<T>(&mut self, visit: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<T, Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(Malformed(format!("more than {MAX_DEPTH} lists and objects within each other")));
        }
        self.depth += 1;
        let value = visit(self)?;
        self.depth -= 1;
        Ok(value)
    }
}

/// Bytes of a number.
fn width(marker: u8) -> Option<usize> {
    match marker {
        b'i' | b'U' => Some(1),
        b'I' => Some(2),
        b'l' | b'd' => Some(4),
        b'L' | b'D' => Some(8),
        _ => None,
    }
}

/// The value that begins behind a marker.
struct Value<'r, 'a> {
    reader: &'r mut Reader<'a>,
    marker: u8,
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Malformed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        let Self { reader, marker } = self;
        match marker {
            b'Z' => visitor.visit_unit(),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'd' => visitor.visit_f32(f32::from_be_bytes(reader.array()?)),
            b'D' => visitor.visit_f64(f64::from_be_bytes(reader.array()?)),
            b'S' => visitor.visit_borrowed_str(reader.text()?),
            b'[' => reader.within(|reader| {
                let (marker, n_left) = reader.list()?;
                let mut list = List { reader, marker, n_left };
                let value = visitor.visit_seq(&mut list)?;
                match list.next_marker()? {
                    None => Ok(value),
                    Some(_) => Err(Malformed("a list of more elements than there may be".to_owned())),
                }
            }),
            b'{' => reader.within(|reader| visitor.visit_map(Object { reader })),
            _ => match reader.whole_number(marker)? {
                Some(number) => visitor.visit_i64(number),
                None => Err(Malformed(format!("no value is of type {:?}", char::from(marker)))),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        match self.marker {
            b'Z' => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct List<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Of every element, if they have none of their own.
    marker: Option<u8>,
    /// None if the list ends by a marker.
    n_left: Option<usize>,
}

impl List<'_, '_> {
    /// That of the next element; none at the end.
    fn next_marker(&mut self) -> Result<Option<u8>, Malformed> {
        match &mut self.n_left {
            Some(0) => return Ok(None),
            Some(n_left) => *n_left -= 1,
            None => {}
        }
        let marker = match self.marker {
            Some(marker) => marker,
            None => self.reader.marker()?,
        };
        if self.n_left.is_none() && marker == b']' {
            self.n_left = Some(0);
            return Ok(None);
        }
        match self.reader.n_values_left.checked_sub(1) {
            Some(n_left) => self.reader.n_values_left = n_left,
            None => return Err(Malformed("more values than a model may have".to_owned())),
        }
        Ok(Some(marker))
    }
}

impl<'de> SeqAccess<'de> for &mut List<'_, 'de> {
    type Error = Malformed;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Malformed> {
        let Some(marker) = self.next_marker()? else { return Ok(None) };
        seed.deserialize(Value { reader: self.reader, marker }).map(Some)
    }
}

struct Object<'r, 'a> {
    reader: &'r mut Reader<'a>,
}

impl<'de> MapAccess<'de> for Object<'_, 'de> {
    type Error = Malformed;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Malformed> {
        match self.reader.peek() {
            Some(b'}') => {
                self.reader.offset += 1;
                Ok(None)
            }
            Some(marker @ (b'$' | b'#')) => {
                Err(Malformed(format!("an object with {:?}", char::from(marker))))
            }
            _ => {
                let name = self.reader.text()?;
                seed.deserialize(StrDeserializer::<Malformed>::new(name)).map(Some)
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Malformed> {
        let marker = self.reader.marker()?;
        seed.deserialize(Value { reader: self.reader, marker })
    }
}
