//! One process a store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::Error;

/// Held while the store is open; names the holder in the file for whoever is refused.
pub struct LockFile {
    file: File,
}

/// Whether somebody has the store open, found out without a trace.
pub enum Peek {
    Held {
        pid: Option<u32>,
    },
    /// Nobody does, and nobody will while this is held. None where there is no file to lock.
    Free(Option<LockFile>),
}

impl LockFile {
    /// Where the lock lies.
    pub fn path(directory: &Path) -> PathBuf {
        directory.join("LOCK")
    }

    /// Locks what there is to lock, and writes nothing.
    pub fn peek(directory: &Path) -> Result<Peek, Error> {
        let path = Self::path(directory);
        if !path.is_file() {
            return Ok(Peek::Free(None));
        }
        let mut file = File::open(&path).map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Peek::Free(Some(Self { file }))),
            Err(TryLockError::WouldBlock) => Ok(Peek::Held { pid: holder(&mut file) }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }

    /// # Errors
    /// [`Error::Locked`] with the holder's pid.
    pub fn acquire(directory: &Path) -> Result<Self, Error> {
        let path = Self::path(directory);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = holder(&mut file);
                return Err(Error::Locked { directory: directory.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::io("write", &path))?;
        Ok(Self { file })
    }
}

impl Drop for LockFile {
    /// A child process in the making has the file open too, and would keep the lock.
    fn drop(&mut self) {
        // Closing it is all else that can be done.
        let _ = self.file.unlock();
    }
}

/// The pid is a courtesy: a holder that has not written it yet is still a holder.
fn holder(file: &mut File) -> Option<u32> {
    let mut pid = String::new();
    let read = file.read_to_string(&mut pid);
    read.ok().and_then(|_| pid.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_open_file_too_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LockFile::acquire(directory.path()).unwrap();
        let _of_a_child = lock.file.try_clone().unwrap();
        assert!(matches!(LockFile::acquire(directory.path()), Err(Error::Locked { .. })));
        drop(lock);
        LockFile::acquire(directory.path()).unwrap();
    }
}
