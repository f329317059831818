//! An artifact on its way in: written beside the versions, verified there, and
//! published by a rename, so that it is there whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::Error;
use super::load::{self, Loaded, load_from};
use super::manifest::Manifest;
use super::publish::{DRAFT, next_version, sync_dir, write_synced};
use super::{Source, check_header, check_name, from_json};

/// Begins the name of a directory that is written to; the dot hides it from
/// those who look for versions.
const PREFIX: &str = ".upload-";
/// Directories of uploads that one model may have.
const MAX_UPLOADS: u32 = 16;

/// The files so far; removed when dropped.
#[derive(Debug)]
pub struct Upload {
    staged: Staged,
    name: String,
    /// None takes the version after the newest one.
    version: Option<u32>,
    max_bytes: u64,
    n_bytes: u64,
    /// By the names they are stored under.
    files: BTreeSet<String>,
    /// The file that is being written, with its bytes so far.
    open: Option<(String, File, u64)>,
}

/// An artifact that passed every check, not yet published.
#[derive(Debug)]
pub struct Verified {
    pub loaded: Loaded,
    /// None if the same artifact is there already.
    staged: Option<Staged>,
}

/// A directory beside those of the versions; removed when dropped.
#[derive(Debug)]
struct Staged {
    /// The model's directory.
    model: PathBuf,
    dir: PathBuf,
    is_published: bool,
}

impl Upload {
    pub(super) fn begin(
        model: &Path,
        name: &str,
        version: Option<u32>,
        max_bytes: u64,
    ) -> Result<Self, Error> {
        check_name(name)?;
        Ok(Self {
            staged: Staged::new(model)?,
            name: name.to_owned(),
            version,
            max_bytes,
            n_bytes: 0,
            files: BTreeSet::new(),
            open: None,
        })
    }

    /// Appends to a file. Files come one after another.
    ///
    /// # Errors
    /// The name is no plain file name, or a limit is passed, or nothing is appended.
    pub fn write(&mut self, file: &str, data: &[u8]) -> Result<(), Error> {
        let stored = if file == Manifest::FILE { DRAFT } else { file };
        if self.open.as_ref().is_none_or(|(open, ..)| open != stored) {
            self.close()?;
            load::check_file_name(file)?;
            if !self.files.insert(stored.to_owned()) {
                return Err(Error::SentTwice { file: file.to_owned() });
            }
            // The manifest is one more than those that it lists.
            if self.files.len() > load::MAX_FILES + 1 {
                return Err(Error::TooManyFiles);
            }
            let created = File::create_new(self.staged.dir.join(stored)).map_err(Error::io(file))?;
            self.open = Some((stored.to_owned(), created, 0));
        } else if data.is_empty() {
            // Any number of them would keep others from sending, and get nowhere.
            return Err(Error::EmptyPart { file: file.to_owned() });
        }
        self.n_bytes = self.n_bytes.saturating_add(data.len() as u64);
        if self.n_bytes > self.max_bytes {
            return Err(Error::ArtifactTooLarge { max: self.max_bytes });
        }
        if let Some((_, open, n_bytes)) = &mut self.open {
            *n_bytes += data.len() as u64;
            let max = load::max_bytes_unread(file);
            if *n_bytes > max {
                return Err(Error::TooLarge { file: file.to_owned(), max });
            }
            open.write_all(data).map_err(Error::io(file))?;
        }
        Ok(())
    }

    /// Checks everything, as at a start.
    pub(super) fn verify(mut self, source: Source<'_>) -> Result<Verified, Error> {
        self.close()?;
        let Self { staged, name, version, files, .. } = self;
        let dir = &staged.dir;
        if !files.contains(DRAFT) {
            return Err(Error::NotPublished);
        }
        let content = load::read_bounded(dir, DRAFT, load::max_bytes_unread(Manifest::FILE))?;
        check_header(Manifest::FILE, &content, Manifest::FORMAT, Manifest::FORMAT_VERSION)?;
        let mut manifest: Manifest = from_json(Manifest::FILE, &content)?;
        if let Some(file) = files.iter().find(|file| *file != DRAFT && !manifest.files.contains_key(*file)) {
            return Err(Error::NotListed { file: file.clone() });
        }
        if let Some(file) = manifest.files.keys().find(|file| !files.contains(*file)) {
            return Err(Error::NotSent { file: file.clone() });
        }
        let version = match version {
            Some(version) => version,
            None => {
                manifest.version = next_version(&staged.model)?;
                fs::remove_file(dir.join(DRAFT)).map_err(Error::io(Manifest::FILE))?;
                write_synced(dir, DRAFT, &manifest.to_json())?;
                manifest.version
            }
        };
        let loaded = load_from(dir, DRAFT, &name, version, source.plan, source.networks)?;
        let there = staged.model.join(version.to_string());
        if !there.exists() {
            return Ok(Verified { loaded, staged: Some(staged) });
        }
        match load::read_bounded(&there, Manifest::FILE, load::max_bytes_unread(Manifest::FILE)) {
            Ok(known) if known == content => Ok(Verified { loaded, staged: None }),
            _ => Err(Error::VersionTaken { version }),
        }
    }

    /// Ends the file that is being written.
    fn close(&mut self) -> Result<(), Error> {
        let Some((file, open, _)) = self.open.take() else { return Ok(()) };
        open.sync_all().map_err(Error::io(&file))
    }
}

impl Verified {
    /// Whether the same artifact is there already.
    pub fn is_known(&self) -> bool {
        self.staged.is_none()
    }

    /// Puts the artifact in its place, whole; one that is there already stays.
    ///
    /// # Errors
    /// [`Error::VersionTaken`], [`Error::Io`]
    pub fn publish(self) -> Result<Loaded, Error> {
        let Self { loaded, staged } = self;
        let Some(mut staged) = staged else { return Ok(loaded) };
        let version = loaded.model.version;
        let manifest = Error::io(Manifest::FILE);
        fs::rename(staged.dir.join(DRAFT), staged.dir.join(Manifest::FILE)).map_err(manifest)?;
        sync_dir(&staged.dir)?;
        let there = staged.model.join(version.to_string());
        let io = |error| Error::Io { file: there.display().to_string(), error };
        // Claimed first, as those do who write into this folder beside the server: the rename
        // would take an empty directory from one who is about to fill it.
        fs::create_dir(&there).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::VersionTaken { version },
            _ => io(error),
        })?;
        if let Err(error) = fs::rename(&staged.dir, &there) {
            // Ours, and empty; if it stays, it is no version, and costs a number.
            let _ = fs::remove_dir(&there);
            return Err(io(error));
        }
        staged.is_published = true;
        sync_dir(&staged.model)?;
        Ok(loaded)
    }
}

impl Staged {
    fn new(model: &Path) -> Result<Self, Error> {
        let file = model.display().to_string();
        fs::create_dir_all(model).map_err(Error::io(&file))?;
        let mut n = 1;
        loop {
            let dir = model.join(format!("{PREFIX}{n}"));
            match fs::create_dir(&dir) {
                Ok(()) => return Ok(Self { model: model.to_owned(), dir, is_published: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && n < MAX_UPLOADS => n += 1,
                Err(error) => return Err(Error::Io { file: dir.display().to_string(), error }),
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.is_published {
            return;
        }
        // What stays is hidden, and goes at the next start.
        let _ = fs::remove_dir_all(&self.dir);
        // And the model's own directory, if this made it.
        let _ = fs::remove_dir(&self.model);
    }
}

/// Removes what uploads have left in a model's directory that ended with their server.
pub(super) fn remove_leftovers(model: &Path) {
    let Ok(entries) = fs::read_dir(model) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            // It is hidden: if it cannot be removed, nothing is lost but room.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
