//! What the views say of themselves.

use super::super::log::{LogPosition, StoreId};
use super::value;

pub const META_KEY: &[u8] = b"meta";

/// In every keyspace, beside the values: see [`seal`].
pub const SEAL_KEY: &[u8] = &[0];

const NAME: &str = "meta";
pub const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub store: StoreId,
    /// The end of the log that the views include.
    pub applied: LogPosition,
    /// Folding from here on onto the views gives the present state.
    pub replay_from: LogPosition,
    pub n_batches: u64,
}

pub enum Unreadable {
    Damaged,
    Newer(u8),
}

/// The mark of a batch in a keyspace. Marks that differ mean that a keyspace lost batches.
pub fn seal(view: &str, n_batches: u64) -> Vec<u8> {
    value::wrap(view, SEAL_KEY, &n_batches.to_le_bytes())
}

impl Meta {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.store.as_bytes());
        for number in [self.applied.get(), self.replay_from.get(), self.n_batches] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        value::wrap(NAME, META_KEY, &bytes)
    }

    pub fn decode(stored: &[u8]) -> Result<Self, Unreadable> {
        let bytes = value::unwrap(NAME, META_KEY, stored).ok_or(Unreadable::Damaged)?;
        let (&version, rest) = bytes.split_first().ok_or(Unreadable::Damaged)?;
        if version > VERSION {
            return Err(Unreadable::Newer(version));
        }
        let (store, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let (numbers, []) = rest.as_chunks() else { return Err(Unreadable::Damaged) };
        let &[applied, replay_from, n_batches] = numbers else { return Err(Unreadable::Damaged) };
        Ok(Self {
            store: StoreId::from_bytes(*store),
            applied: LogPosition::new(u64::from_le_bytes(applied)),
            replay_from: LogPosition::new(u64::from_le_bytes(replay_from)),
            n_batches: u64::from_le_bytes(n_batches),
        })
    }
}
