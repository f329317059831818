//! What can go wrong with the store, each with the file, field or bound at fault.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log::{Broken, LogPosition, StoreId};
use super::views::View;

/// Cloned to every commit of a failed group, hence the shared causes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path:?}: {error}")]
    Io { action: &'static str, path: PathBuf, error: Arc<io::Error> },

    #[error("store option {field} {reason}")]
    Option { field: &'static str, reason: String },

    #[error("store {directory:?} is open in {}", Holder(*.pid))]
    Locked { directory: PathBuf, pid: Option<u32> },

    #[error("{path:?} has format version {found}, this program reads up to {supported}")]
    NewerFormat { path: PathBuf, found: u16, supported: u16 },

    #[error(
        "the store has {stored} virtual shards, the configuration says {configured}: the number cannot change"
    )]
    VirtualShards { stored: u16, configured: u16 },

    #[error("log damaged at {path:?} offset {offset}: {fault}")]
    Damaged { path: PathBuf, offset: u64, fault: Fault },

    #[error("log segment missing: {path:?} starts at {found}, expected {expected}")]
    MissingSegment { path: PathBuf, expected: LogPosition, found: LogPosition },

    #[error("{path:?} belongs to store {found}, this one is {expected}")]
    ForeignSegment { path: PathBuf, found: StoreId, expected: StoreId },

    #[error("no log in {directory:?}, but there are views of one: the log is lost")]
    LogLost { directory: PathBuf },

    #[error(
        "the views in {directory:?} include the log up to {applied}, but it ends at {log_end}: the end of the \
         log is lost; to go on without it, remove the views"
    )]
    ViewsAhead { directory: PathBuf, applied: LogPosition, log_end: LogPosition },

    #[error(
        "the views in {directory:?} belong to store {views}, the log to {log}; to rebuild them from this log, \
         remove the views"
    )]
    ForeignViews { directory: PathBuf, views: StoreId, log: StoreId },

    #[error("value of {view} at key {key:02x?} is damaged")]
    ViewDamaged { view: View, key: Vec<u8> },

    #[error("the views lost batches {kept} to {written}")]
    ViewsLost { kept: u64, written: u64 },

    #[error("the views' store in {directory:?} failed: {error}")]
    Views { directory: PathBuf, error: Arc<fjall::Error> },

    #[error("log position {position} is outside of the log, {start} to {end}")]
    OutOfLog { position: LogPosition, start: LogPosition, end: LogPosition },

    #[error("log position {position} is not the start of an entry")]
    NotAnEntry { position: LogPosition },

    #[error("payload of {bytes} bytes is over the limit of {limit}")]
    PayloadTooLarge { bytes: usize, limit: usize },

    #[error("commit of {bytes} bytes is over the limit of {limit}")]
    CommitTooLarge { bytes: usize, limit: usize },

    #[error("view key of {bytes} bytes is over the limit of {limit}")]
    ViewKeyTooLarge { bytes: usize, limit: usize },

    #[error("virtual shard {virtual_shard} is outside of 0..{n_virtual_shards}")]
    UnknownShard { virtual_shard: u16, n_virtual_shards: u16 },

    #[error("worker {worker} is outside of 0..{n_workers}")]
    UnknownWorker { worker: u16, n_workers: u16 },

    #[error("virtual shard {virtual_shard} continues with sequence {expected}, not {found}")]
    OutOfSequence { virtual_shard: u16, expected: u64, found: u64 },

    #[error("the commit queue is full")]
    QueueFull,

    #[error("no space left on the disk")]
    NoSpace,

    #[error("the store stopped after a failure, restart from the log: {reason}")]
    FailStop { reason: Arc<str> },

    #[error("the store is closed")]
    Closed,
}

/// What is wrong with a frame or a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends before its length.
    Short,
    Magic,
    Checksum,
    /// Sound, but of a version or kind this program does not know.
    Unsupported,
    /// Its length is over any that is written.
    Length,
    /// It belongs to another group than the one expected here.
    Group {
        expected: u64,
    },
    /// A gap or a repetition in a virtual shard's sequence.
    Sequence {
        virtual_shard: u16,
        expected: u64,
        found: u64,
    },
    /// The file's name and its header differ.
    Name,
    /// A segment that has a successor does not end with a whole group.
    Unfinished,
    /// Of a compressed segment.
    Block(Broken),
}

impl Error {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { action, path, error: Arc::new(error) }
    }

    pub(super) fn views(directory: &Path) -> impl Fn(fjall::Error) -> Self {
        let directory = directory.to_owned();
        move |error| Self::Views { directory: directory.clone(), error: Arc::new(error) }
    }

    pub(super) fn is_out_of_space(&self) -> bool {
        let is_full = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match self {
            Self::NoSpace => true,
            Self::Io { error, .. } => is_full(error),
            Self::Views { error, .. } => io_cause(error).is_some_and(is_full),
            _ => false,
        }
    }

    /// Whether the views' store takes no writes any more, for what it met before.
    pub(super) fn is_views_poisoned(&self) -> bool {
        matches!(self, Self::Views { error, .. } if matches!(**error, fjall::Error::Poisoned))
    }
}

/// What the file system said, if it is at the bottom of it.
pub(super) fn io_cause(error: &fjall::Error) -> Option<&io::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = cause.source();
    }
    None
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("cut short"),
            Self::Magic => f.write_str("not a log segment"),
            Self::Checksum => f.write_str("checksum mismatch"),
            Self::Unsupported => f.write_str("unknown version or kind"),
            Self::Length => f.write_str("impossible length"),
            Self::Group { expected } => write!(f, "group {expected} expected here"),
            Self::Sequence { virtual_shard, expected, found } => {
                write!(f, "virtual shard {virtual_shard} has sequence {found} where {expected} should follow")
            }
            Self::Name => f.write_str("the file's name is not its base position"),
            Self::Unfinished => f.write_str("the last group is not whole, yet another segment follows"),
            Self::Block(broken) => broken.fmt(f),
        }
    }
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}
