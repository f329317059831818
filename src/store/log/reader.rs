//! Reading the log back: frame by frame within a segment, entry by entry over all of them.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::vec;

use super::super::error::{Error, Fault};
use super::blocks::Broken;
use super::frame::{self, Kind, Raw, Seal};
use super::segment::{self, Frames, Segment};
use super::sequences::Sequences;
use super::{Entry, LogPosition, StoreId, tail};

/// The committed entries from a position, in log order, erased ones skipped.
///
/// An entry comes out only when its whole group was read and verified. After
/// an error the iterator ends.
pub struct Entries {
    /// Still to be opened.
    segments: vec::IntoIter<Segment>,
    current: Option<SegmentReader>,
    from: LogPosition,
    end: LogPosition,
    sequences: Sequences,
    ready: VecDeque<(LogPosition, Entry)>,
    failed: bool,
}

/// A read-only look at the log of a store, open or not, for tools.
///
/// It sees what was committed when it was opened.
pub struct LogReader {
    store: StoreId,
    end: LogPosition,
    entries: Entries,
}

/// One frame of a segment.
pub struct Frame {
    pub position: LogPosition,
    pub header: frame::Header,
    pub payload: Vec<u8>,
}

pub enum Step {
    Frame(Frame),
    End,
    /// What is at [`SegmentReader::offset`] is no frame that belongs there.
    Broken(Fault),
}

/// Walks the frames of one segment, checking all but the sequences.
pub struct SegmentReader {
    path: PathBuf,
    frames: Frames,
    base: LogPosition,
    seal: Seal,
    offset: u64,
    end: u64,
    group: u64,
    is_group_open: bool,
}

impl LogReader {
    /// Opens the log of the store in `directory`; entries start at `from`.
    ///
    /// # Errors
    /// Damage in the segments' chain or in the last segment, or a `from` outside of the log.
    pub fn open(directory: &Path, from: LogPosition) -> Result<Self, Error> {
        let log = directory.join(super::super::LOG_DIRECTORY);
        let segments = segment::list(&log)?;
        let last = segments.last().ok_or_else(|| Error::LogLost { directory: directory.to_owned() })?;
        let end = tail::inspect(last)?.end(last);
        let store = last.header.store;
        Ok(Self { store, end, entries: Entries::open(segments, from, end)? })
    }

    pub fn store(&self) -> StoreId {
        self.store
    }

    /// The position after the last committed group.
    pub fn end(&self) -> LogPosition {
        self.end
    }
}

impl Iterator for LogReader {
    type Item = Result<(LogPosition, Entry), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next()
    }
}

impl Entries {
    /// `end` must be the end of a group.
    pub(in super::super) fn open(
        segments: Vec<Segment>,
        from: LogPosition,
        end: LogPosition,
    ) -> Result<Self, Error> {
        let start = segments.first().map_or(end, |first| first.header.base);
        if from < start || from > end {
            return Err(Error::OutOfLog { position: from, start, end });
        }
        let n_virtual_shards = segments.first().map_or(0, |first| first.header.n_virtual_shards);
        let segments: Vec<_> = segments.into_iter().filter(|segment| segment.end() > from).collect();
        Ok(Self {
            segments: segments.into_iter(),
            current: None,
            from,
            end,
            sequences: Sequences::new(n_virtual_shards),
            ready: VecDeque::new(),
            failed: false,
        })
    }

    /// Reads groups until one has an entry to give; false at the end of the log.
    fn fill(&mut self) -> Result<bool, Error> {
        while self.ready.is_empty() {
            if self.current.is_none() && !self.open_next()? {
                return Ok(false);
            }
            let Some(reader) = &mut self.current else { return Ok(false) };
            if !read_group(reader, self.from, &mut self.sequences, &mut self.ready)? {
                let group = reader.group;
                self.current = None;
                if let Some(next) = self.segments.as_slice().first()
                    && next.header.first_group != group
                {
                    let fault = Fault::Group { expected: group };
                    return Err(Error::Damaged { path: next.path.clone(), offset: 0, fault });
                }
            }
        }
        Ok(true)
    }

    fn open_next(&mut self) -> Result<bool, Error> {
        let Some(segment) = self.segments.next() else { return Ok(false) };
        if segment.header.base >= self.end {
            return Ok(false);
        }
        let end = segment.end().min(self.end).get() - segment.header.base.get() + segment::HEADER_BYTES;
        self.current = Some(SegmentReader::open(&segment, end)?);
        Ok(true)
    }
}

impl Iterator for Entries {
    type Item = Result<(LogPosition, Entry), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.fill() {
            Ok(_) => self.ready.pop_front().map(Ok),
            Err(error) => {
                self.failed = true;
                self.ready.clear();
                Some(Err(error))
            }
        }
    }
}

/// Appends the next group's entries at or after `from`; false at the end of the segment.
fn read_group(
    reader: &mut SegmentReader,
    from: LogPosition,
    sequences: &mut Sequences,
    ready: &mut VecDeque<(LogPosition, Entry)>,
) -> Result<bool, Error> {
    loop {
        let offset = reader.offset;
        let frame = match reader.step()? {
            Step::Frame(frame) => frame,
            Step::End if reader.is_group_open => return Err(reader.damaged(offset, Fault::Unfinished)),
            Step::End => return Ok(false),
            Step::Broken(fault) => return Err(reader.damaged(offset, fault)),
        };
        if frame.position < from && reader.position() > from {
            return Err(Error::NotAnEntry { position: from });
        }
        if frame.header.kind == Kind::Commit {
            return Ok(true);
        }
        let (virtual_shard, sequence) = (frame.header.virtual_shard, frame.header.sequence);
        sequences.advance(virtual_shard, sequence).map_err(|expected| {
            reader.damaged(offset, Fault::Sequence { virtual_shard, expected, found: sequence })
        })?;
        if frame.header.kind == Kind::Entry && frame.position >= from {
            ready.push_back((frame.position, Entry { virtual_shard, sequence, payload: frame.payload }));
        }
    }
}

impl SegmentReader {
    /// Reads up to the offset `end`.
    pub fn open(segment: &Segment, end: u64) -> Result<Self, Error> {
        // Its header again: it may have been compressed since it was listed.
        let (segment, file) = Segment::open(segment.path.clone())?;
        Ok(Self {
            frames: segment.frames(file)?,
            path: segment.path,
            base: segment.header.base,
            seal: Seal::of(&segment.header.store),
            offset: segment::HEADER_BYTES,
            end,
            group: segment.header.first_group,
            is_group_open: false,
        })
    }

    /// The offset of the next frame: in the file, or in what a compressed one holds.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of the group that the next frame belongs to.
    pub fn group(&self) -> u64 {
        self.group
    }

    pub fn damaged(&self, offset: u64, fault: Fault) -> Error {
        Error::Damaged { path: self.path.clone(), offset, fault }
    }

    /// Reads the frame at the offset and moves past it, if it is whole.
    ///
    /// # Errors
    /// What the file system answers, and a block of a compressed segment that does not read back.
    pub fn step(&mut self) -> Result<Step, Error> {
        if self.offset == self.end {
            // Where that is the end of the blocks, nothing may follow them.
            if matches!(&self.frames, Frames::Compressed(blocks) if blocks.is_at_end()) {
                self.read(&mut [0])?;
            }
            return Ok(Step::End);
        }
        let left = self.end - self.offset;
        let mut bytes = [0; frame::HEADER_BYTES];
        if left < bytes.len() as u64 || !self.read(&mut bytes)? {
            return Ok(Step::Broken(Fault::Short));
        }
        let raw = Raw::new(bytes);
        let length = match raw.length() {
            Ok(length) => length,
            Err(fault) => return Ok(Step::Broken(fault)),
        };
        let frame_bytes = (frame::HEADER_BYTES + length) as u64;
        if left < frame_bytes {
            return Ok(Step::Broken(Fault::Short));
        }
        let mut payload = vec![0; length];
        if !self.read(&mut payload)? {
            return Ok(Step::Broken(Fault::Short));
        }
        let position = self.position();
        let header = match raw.verify(self.seal, position, &payload) {
            Ok(header) => header,
            Err(fault) => return Ok(Step::Broken(fault)),
        };
        let is_commit = header.kind == Kind::Commit;
        if header.group != self.group as u16 || (is_commit && header.sequence != self.group) {
            return Ok(Step::Broken(Fault::Group { expected: self.group }));
        }
        self.offset += frame_bytes;
        self.is_group_open = !is_commit;
        self.group += u64::from(is_commit);
        Ok(Step::Frame(Frame { position, header, payload }))
    }

    /// The position of the next frame.
    fn position(&self) -> LogPosition {
        self.base.after(self.offset - segment::HEADER_BYTES)
    }

    /// False if the file ends first.
    fn read(&mut self, bytes: &mut [u8]) -> Result<bool, Error> {
        match self.frames.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(match Broken::of(&error) {
                Some(broken) => self.damaged(self.offset, Fault::Block(broken)),
                None => Error::io("read", &self.path)(error),
            }),
        }
    }
}
