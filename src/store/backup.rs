//! A copy of what a store has committed, while it is open or not.
//!
//! The log alone: it is the truth, and the first start on a copy makes the
//! views from it. A segment never changes but at its end, so whole ones are
//! copied as they are, and the last one up to the end of its last group.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::log::segment::{self, Segment, sync_directory};
use super::log::{LogPosition, tail};
use super::verify::{Verified, Watch, verify};
use super::{Error, LOG_DIRECTORY};

/// What was copied, and verified.
#[derive(Debug)]
pub struct Backup {
    pub verified: Verified,
    /// The end of the log when the copying began.
    pub end: LogPosition,
    pub n_segments: usize,
    pub bytes: u64,
    /// Files of the folders copied beside the log.
    pub n_beside: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("{} is there already, and not an empty directory", .0.display())]
    Occupied(PathBuf),
    #[error("no log in {}", .0.display())]
    NoLog(PathBuf),
    #[error("the copy is damaged, and was removed again: {0}")]
    Damaged(String),
}

/// Copies the log of the store in `directory` to `to`, and the folders named `beside` as they are.
///
/// The copy has its name only once it is whole, durable and verified.
///
/// # Errors
/// A log that does not open, a place that is taken, a copy that does not read
/// back, or what the file system refuses. Nothing is left behind.
pub fn back_up(
    directory: &Path,
    to: &Path,
    beside: &[&str],
    watch: &mut dyn Watch,
) -> Result<Backup, BackupError> {
    if to.exists() {
        let is_empty = to.is_dir() && fs::read_dir(to).map_err(Error::io("read", to))?.next().is_none();
        if !is_empty {
            return Err(BackupError::Occupied(to.to_owned()));
        }
    }
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let half = parent.join(format!(".{}.partial", to.file_name().unwrap_or_default().to_string_lossy()));
    remove(&half)?;
    let backup = copy(directory, &half, beside, watch);
    let backup = match backup {
        Ok(backup) => backup,
        Err(error) => {
            // What kept it from being copied is the error to tell.
            let _ = fs::remove_dir_all(&half);
            return Err(error);
        }
    };
    fs::rename(&half, to).map_err(Error::io("rename", &half))?;
    sync_directory(parent)?;
    Ok(backup)
}

fn copy(directory: &Path, to: &Path, beside: &[&str], watch: &mut dyn Watch) -> Result<Backup, BackupError> {
    let log = directory.join(LOG_DIRECTORY);
    let segments = if log.exists() { segment::list(&log)? } else { Vec::new() };
    let last = segments.last().ok_or_else(|| BackupError::NoLog(directory.to_owned()))?;
    let tail = tail::inspect(last)?;
    let end = tail.end(last);

    let log_copy = to.join(LOG_DIRECTORY);
    fs::create_dir_all(&log_copy).map_err(Error::io("create", &log_copy))?;
    let length = |segment: &Segment| {
        if segment.path == last.path { tail.committed_bytes } else { segment.file_bytes }
    };
    // Once to copy it, once to verify it.
    let bytes: u64 = segments.iter().map(length).sum();
    watch.total(bytes * 2);
    for segment in &segments {
        let path = log_copy.join(segment.path.file_name().unwrap_or_default());
        // It may have been compressed since it was listed: then it is copied so.
        let (found, file) = Segment::open(segment.path.clone())?;
        let bytes = if found.is_compressed() { found.file_bytes } else { length(segment) };
        copy_file((&segment.path, file), &path, bytes, watch)?;
    }
    let mut n_beside = 0;
    for name in beside {
        let folder = directory.join(name);
        if folder.is_dir() {
            n_beside += copy_folder(&folder, &to.join(name))?;
        }
    }
    sync_directory(&log_copy)?;
    sync_directory(to)?;
    let verified = verify(to, &mut Second(watch))?;
    let is_whole = verified.log.end == end && verified.log.torn_tail.is_none();
    if !verified.is_sound() || !is_whole {
        let damage = verified.damage.first().map(ToString::to_string);
        return Err(BackupError::Damaged(damage.unwrap_or_else(|| "it ends too early".to_owned())));
    }
    Ok(Backup { verified, end, n_segments: segments.len(), bytes, n_beside })
}

/// The verification as the second half of the whole.
struct Second<'a>(&'a mut dyn Watch);

impl Watch for Second<'_> {
    fn read(&mut self, bytes: u64) {
        self.0.read(bytes);
    }

    fn entry(&mut self, position: LogPosition, entry: &super::Entry) -> Result<(), String> {
        self.0.entry(position, entry)
    }
}

/// Copies the first `bytes` of a file, durably, with the time of its last change.
fn copy_file(
    (from, mut file): (&Path, File),
    to: &Path,
    bytes: u64,
    watch: &mut dyn Watch,
) -> Result<(), Error> {
    file.rewind().map_err(Error::io("read", from))?;
    let changed =
        file.metadata().and_then(|metadata| metadata.modified()).map_err(Error::io("read", from))?;
    let mut source = file.take(bytes);
    let mut copy = File::create_new(to).map_err(Error::io("create", to))?;
    let mut block = vec![0; 1 << 20];
    loop {
        let n_read = source.read(&mut block).map_err(Error::io("read", from))?;
        if n_read == 0 {
            break;
        }
        copy.write_all(&block[..n_read]).map_err(Error::io("write", to))?;
        watch.read(n_read as u64);
    }
    if copy.stream_position().map_err(Error::io("write", to))? < bytes {
        return Err(Error::io("read", from)(io::ErrorKind::UnexpectedEof.into()));
    }
    copy.set_modified(changed).and_then(|()| copy.sync_all()).map_err(Error::io("sync", to))
}

/// Copies what is in a folder; how many files there were.
fn copy_folder(from: &Path, to: &Path) -> Result<u64, Error> {
    fs::create_dir(to).map_err(Error::io("create", to))?;
    let mut n_files = 0;
    for item in fs::read_dir(from).map_err(Error::io("read", from))? {
        let path = item.map_err(Error::io("read", from))?.path();
        let copy = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            n_files += copy_folder(&path, &copy)?;
        } else if path.is_file() {
            let bytes = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            copy_file((&path, file), &copy, bytes, &mut ())?;
            n_files += 1;
        }
    }
    sync_directory(to)?;
    Ok(n_files)
}

fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", directory)(error)),
        _ => Ok(()),
    }
}
