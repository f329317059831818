//! Making a damaged store one that opens.
//!
//! What is worked out first, as a plan, and can be told instead of done. Of
//! itself it holds only what loses nothing that was acknowledged. The loss of
//! anything else must be accepted; the log then ends before its first damage.
//! Nothing is deleted but segments that never got their names, and a tail that
//! was never committed: what goes is moved into a folder of quarantine.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::lock::{LockFile, Peek};
use super::log::segment::{Segment, make_plain, open_for_append, sync_directory};
use super::verify::{Damage, Place, Sound, Verified, ViewsFound, Watch, verify_locked};
use super::{Error, LOG_DIRECTORY, VIEWS_DIRECTORY};

/// The repair of one store, which nobody can open meanwhile.
pub struct Repair {
    directory: PathBuf,
    quarantine: PathBuf,
    /// None where a look is all that was asked for and there is no file to lock.
    _lock: Option<LockFile>,
    pub steps: Vec<Step>,
    /// What goes with the steps and had been acknowledged.
    pub loss: Option<Loss>,
    /// Damage that no step mends, as its loss was not accepted.
    pub left: Vec<Damage>,
}

/// In the order they are to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    MoveAside(PathBuf),
    RemoveUnborn(PathBuf),
    /// Cut what a crash left of a group that was never committed.
    CutTail {
        file: PathBuf,
        offset: u64,
        bytes: u64,
    },
    /// The same with entries that were committed: the bytes are kept in quarantine.
    CutLog {
        file: PathBuf,
        offset: u64,
        bytes: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Of the log, headers included.
    pub bytes: u64,
    /// Entries after the cut that can still be read.
    pub n_readable: u64,
    pub views_were_ahead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Changes nothing, not even the lock's file.
    Look,
    Repair,
}

impl Repair {
    /// Verifies the store in `directory` and works out what is to be done.
    ///
    /// # Errors
    /// A store that is open elsewhere or in a newer format, or what the file system refuses.
    pub fn plan(
        directory: &Path,
        mode: Mode,
        accept_loss: bool,
        watch: &mut dyn Watch,
    ) -> Result<Self, Error> {
        let lock = match (mode, LockFile::peek(directory)?) {
            (_, Peek::Held { pid }) => return Err(Error::Locked { directory: directory.to_owned(), pid }),
            (Mode::Look, Peek::Free(lock)) => lock,
            (Mode::Repair, Peek::Free(lock)) => {
                // Or it would be in its own way.
                drop(lock);
                Some(LockFile::acquire(directory)?)
            }
        };
        let verified = verify_locked(directory, watch)?;
        refuse_newer(&verified)?;
        let mut repair = Self {
            directory: directory.to_owned(),
            quarantine: free_quarantine(directory),
            _lock: lock,
            steps: Vec::new(),
            loss: None,
            left: Vec::new(),
        };
        repair.work_out(&verified, accept_loss);
        Ok(repair)
    }

    /// The folder that things are moved to.
    pub fn quarantine(&self) -> &Path {
        &self.quarantine
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// What the file system refuses: the rest is not done, and can be tried again.
    pub fn carry_out(&self) -> Result<(), Error> {
        let moves = |step: &Step| matches!(step, Step::MoveAside(_) | Step::CutLog { .. });
        if self.steps.iter().any(moves) {
            fs::create_dir(&self.quarantine).map_err(Error::io("create", &self.quarantine))?;
        }
        for step in &self.steps {
            match step {
                Step::MoveAside(path) => self.move_aside(path)?,
                Step::RemoveUnborn(path) => fs::remove_file(path).map_err(Error::io("remove", path))?,
                Step::CutTail { file, offset, .. } => cut(file, *offset)?,
                Step::CutLog { file, offset, .. } if Segment::read(file.clone())?.is_compressed() => {
                    self.keep(file, 0)?;
                    make_plain(file, *offset)?;
                }
                Step::CutLog { file, offset, .. } => {
                    self.keep(file, *offset)?;
                    cut(file, *offset)?;
                }
            }
        }
        sync_directory(&self.directory)
    }

    fn work_out(&mut self, verified: &Verified, accept_loss: bool) {
        let log = &verified.log;
        let of_log = |damage: &&Damage| !damage.is_of_views(&self.directory);
        let log_damage: Vec<Damage> = verified.damage.iter().filter(of_log).cloned().collect();
        let end = log.sound.as_ref().filter(|_| accept_loss).map_or(log.end, |sound| sound.end);
        let is_ahead = matches!(verified.views, ViewsFound::Read { applied, .. } if applied > end);
        let views = self.directory.join(VIEWS_DIRECTORY);

        // The views first: were they ahead of the log, even for a moment, a start would be refused.
        let mut hurt: Vec<PathBuf> = Vec::new();
        for damage in verified.damage.iter().filter(|damage| damage.is_of_views(&self.directory)) {
            hurt.push(damage.path.clone());
        }
        if is_ahead || (log.segments.is_empty() && views.exists()) {
            hurt.push(views.clone());
        }
        hurt.sort();
        hurt.dedup();
        // Views that know more than the log are the proof of what it has lost.
        let is_proof = is_ahead || log.segments.is_empty();
        if is_proof && !accept_loss {
            self.left.extend(verified.damage.iter().filter(|damage| damage.path == views).cloned());
            hurt.retain(|path| *path != views);
        }
        self.steps.extend(hurt.into_iter().map(Step::MoveAside));
        self.steps.extend(log.unborn.iter().cloned().map(Step::RemoveUnborn));

        let must_cut = log.sound.is_some() || !log_damage.is_empty();
        if must_cut && !accept_loss {
            self.left.extend(log_damage);
            return;
        }
        let mut loss = Loss { bytes: 0, n_readable: 0, views_were_ahead: is_ahead && log.sound.is_none() };
        // What is of the wrong kind holds nothing that could be read.
        let lies_wrong = |damage: &&Damage| {
            let is_log = damage.path == self.directory.join(LOG_DIRECTORY);
            damage.place == Place::Whole && damage.path.exists() && (is_log || !damage.path.is_file())
        };
        let wrong = log_damage.iter().filter(lies_wrong).map(|damage| Step::MoveAside(damage.path.clone()));
        self.steps.extend(wrong.collect::<Vec<_>>());
        match &log.sound {
            Some(sound) => {
                self.cut_at(verified, sound, &mut loss);
                loss.n_readable = (log.n_entries + log.n_stray).saturating_sub(sound.n_entries);
            }
            None => {
                if let Some(torn) = &log.torn_tail {
                    let (file, offset, bytes) = (torn.file.clone(), torn.offset, torn.bytes);
                    self.steps.push(Step::CutTail { file, offset, bytes });
                }
            }
        }
        if loss.bytes > 0 || loss.views_were_ahead {
            self.loss = Some(loss);
        }
    }

    /// The last segments first: what is left is the beginning of a log whenever this ends.
    fn cut_at(&mut self, verified: &Verified, sound: &Sound, loss: &mut Loss) {
        let last = sound.last.as_ref();
        for segment in verified.log.segments.iter().rev() {
            match last {
                Some((file, offset)) if *file == segment.path => {
                    let bytes = segment.plain_bytes.saturating_sub(*offset);
                    if bytes > 0 {
                        loss.bytes += bytes;
                        self.steps.push(Step::CutLog { file: file.clone(), offset: *offset, bytes });
                    }
                    return;
                }
                _ => {
                    loss.bytes += segment.file_bytes;
                    self.steps.push(Step::MoveAside(segment.path.clone()));
                }
            }
        }
    }

    fn move_aside(&self, path: &Path) -> Result<(), Error> {
        let to = self.quarantine.join(path.file_name().unwrap_or_default());
        fs::rename(path, &to).map_err(Error::io("move", path))?;
        sync_directory(&self.quarantine)?;
        path.parent().map_or(Ok(()), sync_directory)
    }

    /// Copies a file from an offset on, durably.
    fn keep(&self, file: &Path, offset: u64) -> Result<(), Error> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let to = self.quarantine.join(format!("{name}.from-{offset}"));
        let copy = || -> io::Result<()> {
            let (mut from, mut kept) = (File::open(file)?, File::create(&to)?);
            from.seek(SeekFrom::Start(offset))?;
            io::copy(&mut from.by_ref(), &mut kept)?;
            kept.sync_all()
        };
        copy().map_err(Error::io("copy", file))?;
        sync_directory(&self.quarantine)
    }
}

fn cut(file: &Path, offset: u64) -> Result<(), Error> {
    let handle = open_for_append(file)?;
    handle.set_len(offset).and_then(|()| handle.sync_all()).map_err(Error::io("truncate", file))
}

/// What a newer version has written reads as damage, which it is not.
fn refuse_newer(verified: &Verified) -> Result<(), Error> {
    for segment in &verified.log.segments {
        if let Err(error @ Error::NewerFormat { .. }) = Segment::read(segment.path.clone()) {
            return Err(error);
        }
    }
    Ok(())
}

/// The first that is not there.
fn free_quarantine(directory: &Path) -> PathBuf {
    let name = |n: u32| directory.join(format!("quarantine-{n}"));
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MoveAside(path) => write!(f, "move {} into quarantine", path.display()),
            Self::RemoveUnborn(path) => {
                write!(f, "remove {}, which was never finished", path.display())
            }
            Self::CutTail { file, offset, bytes } => {
                write!(f, "cut {bytes} bytes, never committed, off {} at offset {offset}", file.display())
            }
            Self::CutLog { file, offset, bytes } => {
                write!(f, "move {bytes} bytes of {} from offset {offset} on into quarantine", file.display())
            }
        }
    }
}
