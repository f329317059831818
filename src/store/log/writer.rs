//! Appending groups.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::error::Error;
use super::disk::Disk;
use super::frame::{self, Kind, SYNCED_BEFORE, Seal};
use super::segment::{self, Header, Segment};
use super::sequences::Sequences;
use super::tail::Tail;
use super::{Entry, LogPosition};

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A segment that has reached this size gets no further group.
    pub segment_bytes: u64,
    pub payload_bytes: usize,
    pub commit_bytes: usize,
}

/// The one appender of a log. A group is [staged](LogWriter::stage) commit by
/// commit and then [written](LogWriter::write) at once.
pub struct LogWriter {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    limits: Limits,
    header: Header,
    seal: Seal,
    path: PathBuf,
    file: Arc<File>,
    /// Of the segment's file, up to the end of the last group.
    file_bytes: u64,
    group: u64,
    /// All that was written is synced.
    is_synced: bool,
    sequences: Sequences,
    staged: Vec<u8>,
    /// The staged group has its marker.
    is_sealed: bool,
    /// The sequences as they were before each entry of the commit being staged.
    undo: Vec<(u16, Option<u64>)>,
}

/// Why a group, or a new segment, is not in the log.
#[derive(Debug)]
pub enum WriteError {
    /// The log is as it was before; the same can be tried again.
    NoSpace,
    /// What the log holds is unknown.
    Fatal(Error),
}

impl LogWriter {
    /// Continues the last segment of a log after its committed part, which is synced first:
    /// a killed process may have left it to the system's cache.
    pub fn open(
        directory: PathBuf,
        segment: &Segment,
        tail: Tail,
        limits: Limits,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, Error> {
        let file = Arc::new(segment::open_for_append(&segment.path)?);
        disk.sync(&file).map_err(Error::io("sync", &segment.path))?;
        Ok(Self {
            directory,
            disk,
            limits,
            header: segment.header,
            seal: Seal::of(&segment.header.store),
            path: segment.path.clone(),
            file,
            file_bytes: tail.committed_bytes,
            group: tail.next_group,
            is_synced: true,
            sequences: tail.sequences,
            staged: Vec::new(),
            is_sealed: false,
            undo: Vec::new(),
        })
    }

    /// The position after the last group written.
    pub fn end(&self) -> LogPosition {
        self.header.base.after(self.file_bytes - segment::HEADER_BYTES)
    }

    pub fn staged_bytes(&self) -> usize {
        self.staged.len()
    }

    /// The segment that holds the end of the log; those before it are synced.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Starts a new segment if the last one is full. Nothing may be staged.
    pub fn roll_if_full(&mut self) -> Result<(), WriteError> {
        debug_assert!(self.staged.is_empty());
        if self.file_bytes < self.limits.segment_bytes || self.file_bytes == segment::HEADER_BYTES {
            return Ok(());
        }
        self.sync().map_err(WriteError::Fatal)?;
        let header = Header { base: self.end(), first_group: self.group, ..self.header };
        let (path, file) = segment::create(&self.directory, &header).map_err(|error| {
            if error.is_out_of_space() { WriteError::NoSpace } else { WriteError::Fatal(error) }
        })?;
        (self.path, self.file, self.header) = (path, Arc::new(file), header);
        self.file_bytes = segment::HEADER_BYTES;
        Ok(())
    }

    /// Adds a commit to the group and returns the position of each of its entries.
    ///
    /// # Errors
    /// An entry over a limit or out of sequence: nothing of the commit is staged.
    pub fn stage(&mut self, entries: &[Entry]) -> Result<Vec<LogPosition>, Error> {
        debug_assert!(!self.is_sealed);
        self.check_sizes(entries)?;
        self.undo.clear();
        for entry in entries {
            let (virtual_shard, found) = (entry.virtual_shard, entry.sequence);
            match self.sequences.advance(virtual_shard, found) {
                Ok(before) => self.undo.push((virtual_shard, before)),
                Err(expected) => {
                    while let Some((virtual_shard, before)) = self.undo.pop() {
                        self.sequences.restore(virtual_shard, before);
                    }
                    return Err(Error::OutOfSequence { virtual_shard, expected, found });
                }
            }
        }
        Ok(entries.iter().map(|entry| self.push(Kind::Entry, entry)).collect())
    }

    /// Writes the staged group and its marker. Durable after the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// Nothing of the group is in the log. It stays staged, to be written again,
    /// unless the error is fatal.
    pub fn write(&mut self) -> Result<LogPosition, WriteError> {
        if !self.is_sealed {
            let marker = Entry { virtual_shard: 0, sequence: self.group, payload: Vec::new() };
            self.push(Kind::Commit, &marker);
            self.is_sealed = true;
        }
        let written = self.disk.write(&self.file, self.file_bytes, &self.staged);
        if let Err(error) = written.map_err(Error::io("write", &self.path)) {
            if !error.is_out_of_space() || self.disk.truncate(&self.file, self.file_bytes).is_err() {
                return Err(WriteError::Fatal(error));
            }
            return Err(WriteError::NoSpace);
        }
        self.file_bytes += self.staged.len() as u64;
        self.staged.clear();
        self.is_sealed = false;
        self.group += 1;
        self.is_synced = false;
        Ok(self.end())
    }

    /// Makes all that was written durable. After an error nobody knows what is.
    pub fn sync(&mut self) -> Result<(), Error> {
        if !self.is_synced {
            self.disk.sync(&self.file).map_err(Error::io("sync", &self.path))?;
            self.is_synced = true;
        }
        Ok(())
    }

    fn check_sizes(&self, entries: &[Entry]) -> Result<(), Error> {
        let n_virtual_shards = self.header.n_virtual_shards;
        let mut commit_bytes = 0;
        for entry in entries {
            if entry.virtual_shard >= n_virtual_shards {
                let virtual_shard = entry.virtual_shard;
                return Err(Error::UnknownShard { virtual_shard, n_virtual_shards });
            }
            let (bytes, limit) = (entry.payload.len(), self.limits.payload_bytes);
            if bytes > limit {
                return Err(Error::PayloadTooLarge { bytes, limit });
            }
            commit_bytes += frame::HEADER_BYTES + bytes;
        }
        let limit = self.limits.commit_bytes;
        if commit_bytes > limit {
            return Err(Error::CommitTooLarge { bytes: commit_bytes, limit });
        }
        Ok(())
    }

    fn push(&mut self, kind: Kind, entry: &Entry) -> LogPosition {
        let position = self.end().after(self.staged.len() as u64);
        let header = frame::Header {
            // Bounded by `check_sizes`, and options bound its limits by `MAX_PAYLOAD_BYTES`.
            length: entry.payload.len() as u32,
            kind,
            flags: if self.is_synced { SYNCED_BEFORE } else { 0 },
            virtual_shard: entry.virtual_shard,
            group: self.group as u16,
            sequence: entry.sequence,
        };
        frame::encode(&mut self.staged, self.seal, position, &header, &entry.payload);
        position
    }
}
