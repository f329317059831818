//! The log: every input and every decision, in the order they were committed.
//!
//! A directory of segments, each named by the position of its first byte. A
//! segment is a [header](segment) and then frames; a [frame] is one entry, the
//! filler of an erased one, or the marker that ends a group. A group is what
//! one write and one sync made durable together: it is applied whole or not at all.
//!
//! What a crash may leave is a tail that never became a group, and it is
//! [cut](tail). Anything else that does not read back is damage, and refused
//! by file and offset.

use std::fmt;

mod blocks;
pub mod compress;
pub mod disk;
pub mod frame;
pub mod reader;
pub mod segment;
mod sequences;
pub mod tail;
pub mod writer;

pub use blocks::Broken;
pub use reader::{Entries, LogReader};

/// A byte offset over the whole log, segment headers not counted; it grows for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(u64);

/// The identity of a store, drawn when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId([u8; 16]);

/// One record of one virtual shard. The payload's meaning and version are the writer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub virtual_shard: u16,
    /// One more than that of the virtual shard's entry before.
    pub sequence: u64,
    pub payload: Vec<u8>,
}

impl LogPosition {
    pub const START: Self = Self(0);

    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub(super) const fn after(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl StoreId {
    fn random() -> Self {
        Self(rand::random())
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
