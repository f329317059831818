//! Whether a store is sound, found out without changing anything.
//!
//! Opening stops at the first thing that is wrong, and reads only as much as
//! recovery needs. This reads everything and tells all that it finds. The log
//! can be read while a server appends to it; the views are looked at in a
//! copy, as reading them writes to them, and only while nobody has them open.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::lock::{LockFile, Peek};
use super::log::tail::TornTail;
use super::log::{Entry, LogPosition, StoreId};
use super::views::View;
use super::views::look::leftovers;
use super::{Error, LOG_DIRECTORY, VIEWS_DIRECTORY};

mod segments;
pub(super) mod views;

/// Told what is read; says of what is sound whether it can be understood.
pub trait Watch {
    /// How many bytes there are to read.
    fn total(&mut self, _bytes: u64) {}

    fn read(&mut self, _bytes: u64) {}

    /// Called once, at the first damage of the log: what comes from here on is after it, but for
    /// the rest of the group that is damaged.
    fn damaged(&mut self) {}

    /// # Errors
    /// Why the entry means nothing.
    fn entry(&mut self, _position: LogPosition, _entry: &Entry) -> Result<(), String> {
        Ok(())
    }

    /// # Errors
    /// Why the value means nothing.
    fn value(&mut self, _view: View, _key: &[u8], _value: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// Looks away.
impl Watch for () {}

/// All that was found.
#[derive(Debug)]
pub struct Verified {
    pub log: LogFound,
    pub views: ViewsFound,
    /// In the order of the log, then of the views.
    pub damage: Vec<Damage>,
}

/// What the log holds, as far as it can be read.
#[derive(Debug, Default)]
pub struct LogFound {
    /// None if no segment tells.
    pub store: Option<StoreId>,
    pub segments: Vec<SegmentFound>,
    /// Whole groups.
    pub n_groups: u64,
    /// Of whole groups; erased ones are not among them.
    pub n_entries: u64,
    pub n_erased: u64,
    /// Sound entries whose group is not whole.
    pub n_stray: u64,
    /// That belong to no sound frame.
    pub unreadable_bytes: u64,
    /// The end of the last whole group.
    pub end: LogPosition,
    /// What a crash left behind that; no damage. A server that is running may
    /// be about to finish it.
    pub torn_tail: Option<TornTail>,
    /// Segments that never got their names; no damage.
    pub unborn: Vec<PathBuf>,
    /// Up to where all is well; none if all is.
    pub sound: Option<Sound>,
}

/// The part of the log before its first damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sound {
    /// The last segment of it and how much of that; none if nothing of the log is sound.
    pub last: Option<(PathBuf, u64)>,
    pub end: LogPosition,
    pub n_entries: u64,
}

#[derive(Clone, Debug)]
pub struct SegmentFound {
    pub path: PathBuf,
    pub file_bytes: u64,
    /// The same uncompressed.
    pub plain_bytes: u64,
    /// None where the header does not say.
    pub base: Option<LogPosition>,
}

#[derive(Debug)]
pub enum ViewsFound {
    /// They are made from the log at the next start.
    Absent,
    /// Not looked at: another process has the store open.
    InUse { pid: Option<u32> },
    /// They do not open; the damage says why.
    Unreadable,
    Read {
        replay_from: LogPosition,
        applied: LogPosition,
        /// The number of values of each view, and their bytes.
        values: BTreeMap<View, (u64, u64)>,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub place: Place,
    pub fault: String,
    /// From its place on, none of which can be read.
    pub unreadable_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The whole file or directory.
    Whole,
    Offset(u64),
    Value {
        view: View,
        key: Vec<u8>,
    },
    View(View),
}

/// Reads the store in `directory`.
///
/// # Errors
/// What the file system refuses. That something is damaged is no error.
pub fn verify(directory: &Path, watch: &mut dyn Watch) -> Result<Verified, Error> {
    // Of a running server the log alone: it is read before anyone is kept from starting.
    let (log, mut damage) = verify_log(directory, watch)?;
    let views = match LockFile::peek(directory)? {
        Peek::Held { pid } => ViewsFound::InUse { pid },
        Peek::Free(lock) => views::read(&directory.join(VIEWS_DIRECTORY), lock, &log, watch, &mut damage)?,
    };
    Ok(Verified { log, views, damage })
}

/// The same for who holds the lock.
pub(super) fn verify_locked(directory: &Path, watch: &mut dyn Watch) -> Result<Verified, Error> {
    let (log, mut damage) = verify_log(directory, watch)?;
    let views = views::read(&directory.join(VIEWS_DIRECTORY), None, &log, watch, &mut damage)?;
    Ok(Verified { log, views, damage })
}

fn verify_log(directory: &Path, watch: &mut dyn Watch) -> Result<(LogFound, Vec<Damage>), Error> {
    let mut damage = Vec::new();
    let lock_file = LockFile::path(directory);
    if lock_file.exists() && !lock_file.is_file() {
        damage.push(Damage::whole(&lock_file, "not a file to lock".into()));
    }
    let log_directory = directory.join(LOG_DIRECTORY);
    let log = segments::read(&log_directory, watch, &mut damage)?;
    if log.segments.is_empty() && !damage.iter().any(|damage| damage.path.starts_with(&log_directory)) {
        damage.push(Damage::whole(&log_directory, "no segment of a log".into()));
    }
    Ok((log, damage))
}

impl Verified {
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

impl Damage {
    fn whole(path: &Path, fault: String) -> Self {
        Self { path: path.to_owned(), place: Place::Whole, fault, unreadable_bytes: 0 }
    }

    fn at(path: &Path, offset: u64, fault: impl fmt::Display) -> Self {
        let (path, fault) = (path.to_owned(), fault.to_string());
        Self { path, place: Place::Offset(offset), fault, unreadable_bytes: 0 }
    }

    /// Whether only the views are hurt, which cost a longer replay and no more.
    pub fn is_of_views(&self, directory: &Path) -> bool {
        let views = directory.join(VIEWS_DIRECTORY);
        self.path.starts_with(&views) || leftovers(&views).contains(&self.path)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.place {
            Place::Whole => {}
            Place::Offset(offset) => write!(f, " offset {offset}")?,
            Place::View(view) => write!(f, " view {view}")?,
            Place::Value { view, key } => write!(f, " view {view} key {}", key.escape_ascii())?,
        }
        write!(f, ": {}", self.fault)?;
        match self.unreadable_bytes {
            0 => Ok(()),
            bytes => write!(f, "; {bytes} bytes cannot be read"),
        }
    }
}
