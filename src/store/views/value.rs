//! How keys and values lie in the store below.
//!
//! A key has one byte before it, which keeps our own keys apart and empty ones
//! possible. A value has its version and a checksum over the view's name, the
//! key and the value, so that a value that lands elsewhere is noticed too.

use std::ops::Bound;

const VERSION: u8 = 1;
const PREFIX: u8 = 1;
const HEADER_BYTES: usize = 5;

pub fn stored_key(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(key.len() + 1);
    stored.push(PREFIX);
    stored.extend_from_slice(key);
    stored
}

/// The inverse of [`stored_key`].
pub fn key(stored: &[u8]) -> &[u8] {
    stored.get(1..).unwrap_or_default()
}

/// The stored keys of a range of keys; an inverted range holds none.
pub fn stored_range(start: Bound<&[u8]>, end: Bound<&[u8]>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let is_inverted = match (start, end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start >= end
        }
        _ => false,
    };
    if is_inverted {
        return (Bound::Included(vec![PREFIX]), Bound::Excluded(vec![PREFIX]));
    }
    let start = match start {
        Bound::Unbounded => Bound::Included(vec![PREFIX]),
        bound => bound.map(stored_key),
    };
    let end = match end {
        Bound::Unbounded => Bound::Excluded(vec![PREFIX + 1]),
        bound => bound.map(stored_key),
    };
    (start, end)
}

pub fn wrap(view: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEADER_BYTES + value.len());
    stored.push(VERSION);
    stored.extend_from_slice(&checksum(view, key, value).to_le_bytes());
    stored.extend_from_slice(value);
    stored
}

/// The value, if it is the one wrapped for that view and key.
pub fn unwrap<'a>(view: &str, key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (header, value) = stored.split_first_chunk::<HEADER_BYTES>()?;
    (header[0] == VERSION && header[1..] == checksum(view, key, value).to_le_bytes()).then_some(value)
}

fn checksum(view: &str, key: &[u8], value: &[u8]) -> u32 {
    // The key's length keeps (key, value) from being divided elsewhere.
    let mut crc = crc32c::crc32c(view.as_bytes());
    crc = crc32c::crc32c_append(crc, &(key.len() as u64).to_le_bytes());
    crc = crc32c::crc32c_append(crc, key);
    crc32c::crc32c_append(crc, value)
}
