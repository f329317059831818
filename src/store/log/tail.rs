//! Where the last segment's committed part ends, and what may follow it.
//!
//! A crash during a write leaves a group without its marker, or with holes:
//! pages reach the disk in any order. Such a group was never synced, so it was
//! never acknowledged as durable, and is cut. What tells it from damage is a
//! frame further down whose group was written after a sync: then what is
//! broken had been durable, and cutting it would lose acknowledged entries.

use std::fs::File;
use std::io::Read;

use super::super::error::{Error, Fault};
use super::frame::{Kind, Raw, Seal};
use super::reader::{SegmentReader, Step};
use super::segment::{self, Header, Segment};
use super::sequences::Sequences;
use super::{LogPosition, disk::Disk};

/// The committed part of the last segment.
pub struct Tail {
    /// The file offset after the last marker.
    pub committed_bytes: u64,
    pub next_group: u64,
    /// Of the virtual shards that have an entry in the segment.
    pub sequences: Sequences,
}

/// What a crash had left behind the last group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub file: std::path::PathBuf,
    /// The file offset it was cut at.
    pub offset: u64,
    pub bytes: u64,
}

impl Tail {
    pub fn end(&self, segment: &Segment) -> LogPosition {
        segment.header.base.after(self.committed_bytes - segment::HEADER_BYTES)
    }
}

/// Finds the end of the last group.
///
/// # Errors
/// [`Error::Damaged`] where what does not read back is no torn tail.
pub fn inspect(segment: &Segment) -> Result<Tail, Error> {
    let mut reader = SegmentReader::open(segment, segment.plain_bytes)?;
    let mut tail = Tail {
        committed_bytes: reader.offset(),
        next_group: reader.group(),
        sequences: Sequences::new(segment.header.n_virtual_shards),
    };
    let mut group = Vec::new();
    loop {
        let offset = reader.offset();
        match reader.step()? {
            Step::Frame(frame) if frame.header.kind == Kind::Commit => {
                for (offset, virtual_shard, found) in group.drain(..) {
                    tail.sequences.advance(virtual_shard, found).map_err(|expected| {
                        reader.damaged(offset, Fault::Sequence { virtual_shard, expected, found })
                    })?;
                }
                tail.committed_bytes = reader.offset();
                tail.next_group = reader.group();
            }
            Step::Frame(frame) => group.push((offset, frame.header.virtual_shard, frame.header.sequence)),
            Step::End if segment.is_compressed() && !group.is_empty() => {
                return Err(reader.damaged(tail.committed_bytes, Fault::Unfinished));
            }
            Step::End => return Ok(tail),
            Step::Broken(fault) => {
                // Whole frames that should not be there are no accident of a crash, and
                // what is compressed was whole and synced before.
                let is_whole =
                    segment.is_compressed() || matches!(fault, Fault::Unsupported | Fault::Group { .. });
                if is_whole || was_synced(&read(segment)?, segment.header, offset, reader.group()) {
                    return Err(reader.damaged(offset, fault));
                }
                return Ok(tail);
            }
        }
    }
}

/// Cuts what follows the committed part, and makes the cut durable.
pub fn cut(segment: &Segment, tail: &Tail, disk: &dyn Disk) -> Result<Option<TornTail>, Error> {
    let bytes = segment.plain_bytes - tail.committed_bytes;
    if bytes == 0 {
        return Ok(None);
    }
    let file = segment::open_for_append(&segment.path)?;
    disk.truncate(&file, tail.committed_bytes).map_err(Error::io("truncate", &segment.path))?;
    disk.sync(&file).map_err(Error::io("sync", &segment.path))?;
    Ok(Some(TornTail { file: segment.path.clone(), offset: tail.committed_bytes, bytes }))
}

/// What there was when the segment was listed: a server may have written more since,
/// and what it then added would make a group in the writing look like damage.
fn read(segment: &Segment) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(&segment.path)
        .and_then(|file| file.take(segment.file_bytes).read_to_end(&mut bytes))
        .map_err(Error::io("read", &segment.path))?;
    Ok(bytes)
}

/// Whether a frame after `broken` shows that the group there had been synced;
/// `file` is the whole segment.
pub fn was_synced(file: &[u8], header: Header, broken: u64, group: u64) -> bool {
    let seal = Seal::of(&header.store);
    let start = usize::try_from(broken).unwrap_or(usize::MAX).saturating_add(1);
    (start..file.len()).any(|offset| {
        let position = header.base.after(offset as u64 - segment::HEADER_BYTES);
        is_later_group(&file[offset..], seal, position, group as u16)
    })
}

/// Whether there is a whole frame of another group than `group`, written after a sync.
fn is_later_group(bytes: &[u8], seal: Seal, position: LogPosition, group: u16) -> bool {
    let Some((header, rest)) = bytes.split_first_chunk() else { return false };
    let raw = Raw::new(*header);
    raw.claims_sync_before_other_than(group)
        && raw
            .length()
            .ok()
            .and_then(|length| rest.get(..length))
            .is_some_and(|payload| raw.verify(seal, position, payload).is_ok())
}
