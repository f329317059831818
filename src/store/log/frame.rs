//! The frame: a fixed header and a payload.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | payload length |
//! | 4..8 | CRC-32C |
//! | 8 | version |
//! | 9 | kind |
//! | 10..12 | flags |
//! | 12..14 | virtual shard |
//! | 14..16 | low half of the group's number |
//! | 16..24 | sequence; of a marker, the group's number |
//!
//! Little endian. The checksum covers the store's id, the frame's position and
//! all its bytes but the checksum's own, so that neither stale bytes nor a log
//! quoted inside a payload ever pass for a frame.

use super::super::error::Fault;
use super::{LogPosition, StoreId};

pub const HEADER_BYTES: usize = 24;

/// No frame is longer, whatever the configuration: a bound for what a reader allocates.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// All that was written before this frame's group was synced before it: if the
/// frame is there, damage further up is no torn tail.
pub const SYNCED_BEFORE: u16 = 1;

const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Entry = 1,
    /// Ends a group.
    Commit = 2,
    /// An entry whose payload was erased; its length, virtual shard and sequence remain.
    Erased = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub length: u32,
    pub kind: Kind,
    pub flags: u16,
    pub virtual_shard: u16,
    pub group: u16,
    pub sequence: u64,
}

/// A header as it lies in the file, before its checksum is known to hold.
pub struct Raw([u8; HEADER_BYTES]);

/// Checksums frames for one store.
#[derive(Clone, Copy, Debug)]
pub struct Seal(u32);

/// Appends a frame to `out`.
pub fn encode(out: &mut Vec<u8>, seal: Seal, position: LogPosition, header: &Header, payload: &[u8]) {
    debug_assert_eq!(header.length as usize, payload.len());
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..4].copy_from_slice(&header.length.to_le_bytes());
    bytes[8] = VERSION;
    bytes[9] = header.kind as u8;
    bytes[10..12].copy_from_slice(&header.flags.to_le_bytes());
    bytes[12..14].copy_from_slice(&header.virtual_shard.to_le_bytes());
    bytes[14..16].copy_from_slice(&header.group.to_le_bytes());
    bytes[16..24].copy_from_slice(&header.sequence.to_le_bytes());
    let checksum = seal.checksum(position, &bytes, payload);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&bytes);
    out.extend_from_slice(payload);
}

impl Raw {
    pub const fn new(bytes: [u8; HEADER_BYTES]) -> Self {
        Self(bytes)
    }

    /// The payload's length.
    pub fn length(&self) -> Result<usize, Fault> {
        let length = u32::from_le_bytes(array(&self.0[0..4])) as usize;
        if length > MAX_PAYLOAD_BYTES { Err(Fault::Length) } else { Ok(length) }
    }

    /// Whether it claims to be of another group, written after a sync: a cheap test before the checksum.
    pub fn claims_sync_before_other_than(&self, group: u16) -> bool {
        let flags = u16::from_le_bytes(array(&self.0[10..12]));
        let own_group = u16::from_le_bytes(array(&self.0[14..16]));
        self.0[8] == VERSION && kind(self.0[9]).is_some() && flags == SYNCED_BEFORE && own_group != group
    }

    /// Whether it can be one at all: a cheap test before the checksum.
    pub fn is_plausible(&self, n_virtual_shards: u16) -> bool {
        let flags = u16::from_le_bytes(array(&self.0[10..12]));
        let virtual_shard = u16::from_le_bytes(array(&self.0[12..14]));
        self.0[8] == VERSION
            && kind(self.0[9]).is_some()
            && flags & !SYNCED_BEFORE == 0
            && virtual_shard < n_virtual_shards
    }

    pub fn verify(&self, seal: Seal, position: LogPosition, payload: &[u8]) -> Result<Header, Fault> {
        if u32::from_le_bytes(array(&self.0[4..8])) != seal.checksum(position, &self.0, payload) {
            return Err(Fault::Checksum);
        }
        let flags = u16::from_le_bytes(array(&self.0[10..12]));
        let kind = kind(self.0[9]).filter(|_| self.0[8] == VERSION && flags & !SYNCED_BEFORE == 0);
        Ok(Header {
            length: u32::from_le_bytes(array(&self.0[0..4])),
            kind: kind.ok_or(Fault::Unsupported)?,
            flags,
            virtual_shard: u16::from_le_bytes(array(&self.0[12..14])),
            group: u16::from_le_bytes(array(&self.0[14..16])),
            sequence: u64::from_le_bytes(array(&self.0[16..24])),
        })
    }
}

impl Seal {
    pub fn of(store: &StoreId) -> Self {
        Self(crc32c::crc32c(store.as_bytes()))
    }

    /// What seals the blocks of a file that begins at a position.
    pub fn of_blocks(self, base: LogPosition) -> u32 {
        crc32c::crc32c_append(self.0, &base.get().to_le_bytes())
    }

    fn checksum(self, position: LogPosition, header: &[u8; HEADER_BYTES], payload: &[u8]) -> u32 {
        let mut crc = crc32c::crc32c_append(self.0, &position.get().to_le_bytes());
        crc = crc32c::crc32c_append(crc, &header[0..4]);
        crc = crc32c::crc32c_append(crc, &header[8..]);
        crc32c::crc32c_append(crc, payload)
    }
}

fn kind(byte: u8) -> Option<Kind> {
    match byte {
        1 => Some(Kind::Entry),
        2 => Some(Kind::Commit),
        3 => Some(Kind::Erased),
        _ => None,
    }
}

/// The bytes of a slice whose length is the array's.
fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(slice);
    array
}
