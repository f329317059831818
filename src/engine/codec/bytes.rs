//! Reading and writing plain values; every read is bounded by what is there.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::engine::event::{EventUid, Value};
use crate::engine::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("record version {found}, where {oldest} to {newest} can be read")]
    Version { found: u8, oldest: u8, newest: u8 },
    #[error("record ends at byte {at}, within {what}")]
    Short { at: usize, what: &'static str },
    #[error("byte {at}: not a {what}")]
    Invalid { at: usize, what: &'static str },
    #[error("{n} bytes follow the end of the record")]
    Trailing { n: usize },
    #[error("record holds {found} {what}, the definitions have {expected}")]
    Shape { what: &'static str, found: usize, expected: usize },
}

#[derive(Debug, Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Writer {
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn f64(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u128(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn time(&mut self, value: Timestamp) {
        self.i64(value.as_millis());
    }

    pub fn uid(&mut self, value: EventUid) {
        self.u128(value.0);
    }

    pub fn str(&mut self, value: &str) {
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.varint(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }

    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => {
                self.u8(0);
                self.str(text);
            }
            Value::Number(number) => {
                self.u8(1);
                self.f64(*number);
            }
            Value::Integer(integer) => {
                self.u8(2);
                self.i64(*integer);
            }
            Value::Bool(bool) => {
                self.u8(3);
                self.bool(*bool);
            }
            Value::Time(time) => {
                self.u8(4);
                self.time(*time);
            }
        }
    }
}

impl<'a> Reader<'a> {
    /// Starts reading a record whose first byte is its version.
    pub fn versioned(bytes: &'a [u8], versions: RangeInclusive<u8>) -> Result<Self, Error> {
        let mut reader = Self { bytes, at: 0 };
        match reader.u8("version")? {
            found if versions.contains(&found) => Ok(reader),
            found => Err(Error::Version { found, oldest: *versions.start(), newest: *versions.end() }),
        }
    }

    /// Checks that everything was read.
    pub fn finish(self) -> Result<(), Error> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            n => Err(Error::Trailing { n }),
        }
    }

    pub fn invalid(&self, what: &'static str) -> Error {
        Error::Invalid { at: self.at, what }
    }

    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(Error::Short { at: self.bytes.len(), what })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, Error> {
        Ok(self.array::<1>(what)?[0])
    }

    pub fn bool(&mut self, what: &'static str) -> Result<bool, Error> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.invalid(what)),
        }
    }

    pub fn varint(&mut self, what: &'static str) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.invalid(what))
    }

    /// A number of items, each at least one byte long: never more than bytes are left.
    pub fn length(&mut self, what: &'static str) -> Result<usize, Error> {
        let length = self.varint(what)?;
        let left = self.bytes.len() - self.at;
        usize::try_from(length).ok().filter(|&n| n <= left).ok_or_else(|| self.invalid(what))
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64, Error> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    pub fn f64(&mut self, what: &'static str) -> Result<f64, Error> {
        Ok(f64::from_bits(u64::from_le_bytes(self.array(what)?)))
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub fn u128(&mut self, what: &'static str) -> Result<u128, Error> {
        Ok(u128::from_le_bytes(self.array(what)?))
    }

    pub fn time(&mut self, what: &'static str) -> Result<Timestamp, Error> {
        self.i64(what).map(Timestamp::from_millis)
    }

    pub fn uid(&mut self, what: &'static str) -> Result<EventUid, Error> {
        self.u128(what).map(EventUid)
    }

    pub fn str(&mut self, what: &'static str) -> Result<&'a str, Error> {
        let length = self.length(what)?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| self.invalid(what))
    }

    pub fn arc_str(&mut self, what: &'static str) -> Result<Arc<str>, Error> {
        self.str(what).map(Arc::from)
    }

    pub fn option<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.bool(what)? { read(self).map(Some) } else { Ok(None) }
    }

    pub fn list<T, L: FromIterator<T>>(
        &mut self,
        what: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<L, Error> {
        let length = self.length(what)?;
        (0..length).map(|_| read(self)).collect()
    }

    pub fn value(&mut self, what: &'static str) -> Result<Value, Error> {
        Ok(match self.u8(what)? {
            0 => Value::Text(self.arc_str(what)?),
            1 => Value::Number(self.f64(what)?),
            2 => Value::Integer(self.i64(what)?),
            3 => Value::Bool(self.bool(what)?),
            4 => Value::Time(self.time(what)?),
            _ => return Err(self.invalid(what)),
        })
    }
}
