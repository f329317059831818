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

/// The head of a compact 0; no number that fits has it.
const COMPACT_ZERO: u8 = 0xff;

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

    /// A time by how far it is before another one, which the reader knows.
    pub fn time_before(&mut self, later: Timestamp, value: Timestamp) {
        self.varint(difference(value, later));
    }

    /// A time by how far it is after another one, which the reader knows.
    pub fn time_after(&mut self, earlier: Timestamp, value: Timestamp) {
        self.varint(difference(earlier, value));
    }

    /// A number that is likely to have zero bytes at either end, without these.
    pub fn compact(&mut self, value: u128) {
        if value == 0 {
            return self.u8(COMPACT_ZERO);
        }
        let n_zeros = (value.trailing_zeros() / 8) as usize;
        let n_bytes = (u128::BITS - value.leading_zeros()).div_ceil(8) as usize - n_zeros;
        self.u8((n_zeros << 4 | (n_bytes - 1)) as u8);
        self.bytes.extend_from_slice(&value.to_le_bytes()[n_zeros..][..n_bytes]);
    }

    pub fn compact_i128(&mut self, value: i128) {
        self.compact((value << 1 ^ value >> 127) as u128);
    }

    pub fn compact_f64(&mut self, value: f64) {
        self.compact(value.to_bits().into());
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

    pub fn time_before(&mut self, later: Timestamp, what: &'static str) -> Result<Timestamp, Error> {
        let difference = self.varint(what)? as i64;
        Ok(Timestamp::from_millis(later.as_millis().wrapping_sub(difference)))
    }

    pub fn time_after(&mut self, earlier: Timestamp, what: &'static str) -> Result<Timestamp, Error> {
        let difference = self.varint(what)? as i64;
        Ok(Timestamp::from_millis(earlier.as_millis().wrapping_add(difference)))
    }

    pub fn compact(&mut self, what: &'static str) -> Result<u128, Error> {
        let head = self.u8(what)?;
        if head == COMPACT_ZERO {
            return Ok(0);
        }
        let (n_zeros, n_bytes) = (usize::from(head >> 4), usize::from(head & 0xf) + 1);
        let mut bytes = [0; 16];
        let place = bytes.get_mut(n_zeros..n_zeros + n_bytes).ok_or_else(|| self.invalid(what))?;
        place.copy_from_slice(self.take(n_bytes, what)?);
        Ok(u128::from_le_bytes(bytes))
    }

    pub fn compact_i128(&mut self, what: &'static str) -> Result<i128, Error> {
        let value = self.compact(what)?;
        Ok((value >> 1) as i128 ^ -((value & 1) as i128))
    }

    pub fn compact_u64(&mut self, what: &'static str) -> Result<u64, Error> {
        u64::try_from(self.compact(what)?).map_err(|_| self.invalid(what))
    }

    pub fn compact_f64(&mut self, what: &'static str) -> Result<f64, Error> {
        self.compact_u64(what).map(f64::from_bits)
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

/// In milliseconds, modulo 2^64: any two times have one.
fn difference(earlier: Timestamp, later: Timestamp) -> u64 {
    later.as_millis().wrapping_sub(earlier.as_millis()) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers with zeros at either end, and any others.
    fn number() -> impl Strategy<Value = u128> {
        (any::<u128>(), 0..128_u32, 0..128_u32).prop_map(|(bits, left, right)| bits << left >> right)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in number(), float: u64, times: (i64, i64)) {
            let times = (Timestamp::from_millis(times.0), Timestamp::from_millis(times.1));
            let mut out = Writer::default();
            out.u8(1);
            out.compact(number);
            out.compact_i128(number as i128);
            out.compact_f64(f64::from_bits(float));
            out.time_before(times.0, times.1);
            out.time_after(times.0, times.1);
            let mut from = Reader::versioned(&out.bytes, 1..=1).expect("version 1");
            prop_assert_eq!(from.compact("number"), Ok(number));
            prop_assert_eq!(from.compact_i128("number"), Ok(number as i128));
            prop_assert_eq!(from.compact_f64("number").map(f64::to_bits), Ok(float));
            prop_assert_eq!(from.time_before(times.0, "time"), Ok(times.1));
            prop_assert_eq!(from.time_after(times.0, "time"), Ok(times.1));
            prop_assert_eq!(from.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            for read in [Reader::compact_u64, Reader::varint] {
                let _ = read(&mut Reader { bytes: &bytes, at: 0 }, "number");
            }
        }
    }

    #[test]
    fn zeros_at_either_end_take_no_bytes() {
        for (number, n_bytes) in [(0.0, 1), (1.0, 3), (99.25, 4), (0.1, 9), (f64::NAN, 3)] {
            let mut out = Writer::default();
            out.compact_f64(number);
            assert_eq!(out.bytes.len(), n_bytes, "{number}");
        }
    }
}
