//! The views: what the log amounts to, kept so that recovery need not fold all of it.
//!
//! A view is never the only copy of anything. Each batch is written atomically
//! with the log position it includes; each value carries its own checksum;
//! each keyspace carries the number of its last batch, so that a keyspace that
//! lost batches which another one kept is noticed. Whatever is wrong with the
//! views costs a longer replay.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::Error;
use super::error::io_cause;
use super::log::segment::sync_directory;
use super::log::{LogPosition, StoreId};
use meta::Meta;

pub mod behind;
pub mod look;
mod meta;
mod value;

/// Longer view keys are refused: the store below holds up to 65,535 bytes, one is ours.
pub const MAX_KEY_BYTES: usize = 65_000;

/// A keyspace of the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// Snapshots of user profiles.
    Profiles,
    /// What a virtual shard keeps beside its profiles.
    Shards,
    /// Firings not yet delivered.
    Outbox,
    Timers,
    /// Event uids seen.
    Dedup,
    /// What belongs to no shard: definitions, aliases, source offsets.
    Control,
}

/// A value set or, with `None`, removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewWrite {
    pub view: View,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// The open views of one store.
pub struct Views {
    directory: PathBuf,
    database: Database,
    keyspaces: [Keyspace; View::ALL.len()],
    meta_keyspace: Keyspace,
    /// Changed by [`Views::apply`] alone, which has one caller at a time.
    meta: Mutex<Meta>,
    persist: PersistMode,
}

/// One atomic write of the views.
pub struct Batch<'a> {
    pub writes: &'a [ViewWrite],
    /// The end of the log that the views include after it.
    pub applied: LogPosition,
    pub replay_from: LogPosition,
}

#[derive(Clone, Copy)]
pub struct ViewOptions {
    pub cache_bytes: u64,
    /// Sync every batch; without, a power failure may cost a longer replay.
    pub sync: bool,
}

/// Views whose files are closed.
pub struct Shut {
    directory: PathBuf,
    /// That they had taken.
    n_batches: u64,
}

impl View {
    pub const ALL: [Self; 6] =
        [Self::Profiles, Self::Shards, Self::Outbox, Self::Timers, Self::Dedup, Self::Control];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Profiles => "profiles",
            Self::Shards => "shards",
            Self::Outbox => "outbox",
            Self::Timers => "timers",
            Self::Dedup => "dedup",
            Self::Control => "control",
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Views {
    /// Opens the views in `directory`, or makes empty ones that include nothing of the log.
    ///
    /// With the views comes the reason why those that were there had to be dropped, if so.
    ///
    /// # Errors
    /// Views of another store, of a newer format, or ahead of the log are left alone and refused.
    pub fn open(
        directory: &Path,
        store: StoreId,
        log_end: LogPosition,
        options: ViewOptions,
    ) -> Result<(Self, Option<String>), Error> {
        remove(&dropped(directory))?;
        remove(&unborn(directory))?;
        if !directory.exists() {
            return Ok((Self::create(directory, store, options)?, None));
        }
        match Self::load(directory, options) {
            Ok(views) if views.meta().store != store => {
                let directory = directory.to_owned();
                Err(Error::ForeignViews { directory, views: views.meta().store, log: store })
            }
            Ok(views) if views.meta().applied > log_end => {
                let directory = directory.to_owned();
                Err(Error::ViewsAhead { directory, applied: views.meta().applied, log_end })
            }
            Ok(views) => Ok((views, None)),
            Err(LoadError::Refused(error)) => Err(error),
            Err(LoadError::Unusable(reason)) => {
                Ok((Self::create_anew(directory, store, options)?, Some(reason)))
            }
        }
    }

    /// Drops all values: the result includes nothing of the log.
    pub fn reset(self, options: ViewOptions) -> Result<Self, Error> {
        let (directory, store) = (self.directory.clone(), self.meta().store);
        drop(self);
        Self::create_anew(&directory, store, options)
    }

    /// Closes the files, to open them anew.
    pub fn shut(self) -> Shut {
        Shut { directory: self.directory.clone(), n_batches: self.meta().n_batches }
    }

    pub fn applied(&self) -> LogPosition {
        self.meta().applied
    }

    pub fn replay_from(&self) -> LogPosition {
        self.meta().replay_from
    }

    pub fn get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let stored = self.keyspace(view).get(value::stored_key(key));
        let Some(stored) = stored.map_err(|error| self.unread(view, key, error))? else { return Ok(None) };
        value::unwrap(view.name(), key, &stored)
            .map(|value| Some(value.to_vec()))
            .ok_or_else(|| Error::ViewDamaged { view, key: key.to_vec() })
    }

    /// Calls `each` with keys and values in key order until it returns false.
    pub fn for_each(
        &self,
        view: View,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let mut last = Vec::new();
        for item in self.keyspace(view).range(value::stored_range(start, end)) {
            let (stored_key, stored) = item.into_inner().map_err(|error| self.unread(view, &last, error))?;
            let key = value::key(&stored_key);
            let value = value::unwrap(view.name(), key, &stored)
                .ok_or_else(|| Error::ViewDamaged { view, key: key.to_vec() })?;
            if !each(key, value) {
                break;
            }
            last.clear();
            last.extend_from_slice(key);
        }
        Ok(())
    }

    pub fn apply(&self, batch: &Batch<'_>) -> Result<(), Error> {
        let before = self.meta();
        let meta = Meta {
            store: before.store,
            applied: batch.applied,
            replay_from: batch.replay_from,
            n_batches: before.n_batches + 1,
        };
        let mut writes = self.database.batch().durability(Some(self.persist));
        for ViewWrite { view, key, value } in batch.writes {
            let (keyspace, stored_key) = (self.keyspace(*view), value::stored_key(key));
            match value {
                Some(value) => writes.insert(keyspace, stored_key, value::wrap(view.name(), key, value)),
                None => writes.remove(keyspace, stored_key),
            }
        }
        for view in View::ALL {
            writes.insert(self.keyspace(view), meta::SEAL_KEY, meta::seal(view.name(), meta.n_batches));
        }
        writes.insert(&self.meta_keyspace, meta::META_KEY, meta.encode());
        writes.commit().map_err(Error::views(&self.directory))?;
        *self.meta.lock().unwrap_or_else(PoisonError::into_inner) = meta;
        Ok(())
    }

    /// Makes all that was applied durable.
    pub fn sync(&self) -> Result<(), Error> {
        self.database.persist(PersistMode::SyncAll).map_err(Error::views(&self.directory))
    }

    fn create_anew(directory: &Path, store: StoreId, options: ViewOptions) -> Result<Self, Error> {
        // Renamed first: a half-removed directory must never pass for the views.
        let dropped = dropped(directory);
        remove(&dropped)?;
        fs::rename(directory, &dropped).map_err(Error::io("rename", directory))?;
        if let Some(parent) = directory.parent() {
            sync_directory(parent)?;
        }
        remove(&dropped)?;
        Self::create(directory, store, options)
    }

    fn create(directory: &Path, store: StoreId, options: ViewOptions) -> Result<Self, Error> {
        let meta = Meta { store, applied: LogPosition::START, replay_from: LogPosition::START, n_batches: 0 };
        // Under another name first: a crash must never leave half-made views.
        let unborn = unborn(directory);
        let views = Self::build(&unborn, meta, options)?;
        views.apply(&Batch { writes: &[], applied: meta.applied, replay_from: meta.replay_from })?;
        views.sync()?;
        drop(views);
        fs::rename(&unborn, directory).map_err(Error::io("rename", &unborn))?;
        if let Some(parent) = directory.parent() {
            sync_directory(parent)?;
        }
        Self::load(directory, options).map_err(LoadError::into_error)
    }

    fn load(directory: &Path, options: ViewOptions) -> Result<Self, LoadError> {
        let unknown = Meta {
            store: StoreId::from_bytes([0; 16]),
            applied: LogPosition::START,
            replay_from: LogPosition::START,
            n_batches: 0,
        };
        let mut views = Self::build(directory, unknown, options).map_err(LoadError::of_open)?;
        let of_read = |error| LoadError::of_open(Error::views(directory)(error));
        let stored = views.meta_keyspace.get(meta::META_KEY).map_err(of_read)?;
        let stored = stored.ok_or_else(|| LoadError::Unusable("their header is missing".into()))?;
        let stored = match Meta::decode(&stored) {
            Ok(meta) => meta,
            Err(meta::Unreadable::Damaged) => {
                return Err(LoadError::Unusable("their header is damaged".into()));
            }
            Err(meta::Unreadable::Newer(found)) => {
                return Err(LoadError::Refused(Error::NewerFormat {
                    path: directory.to_owned(),
                    found: found.into(),
                    supported: meta::VERSION.into(),
                }));
            }
        };
        for view in View::ALL {
            let seal = views.keyspace(view).get(meta::SEAL_KEY).map_err(of_read)?;
            if seal.is_none_or(|seal| *seal != *meta::seal(view.name(), stored.n_batches)) {
                return Err(LoadError::Unusable(format!("{view} is not of the same batch as the others")));
            }
        }
        views.meta = Mutex::new(stored);
        Ok(views)
    }

    fn build(directory: &Path, meta: Meta, options: ViewOptions) -> Result<Self, Error> {
        let open = || -> fjall::Result<Self> {
            let builder = Database::builder(directory).cache_size(options.cache_bytes).worker_threads(1);
            let database = builder.open()?;
            let open = |name| database.keyspace(name, KeyspaceCreateOptions::default);
            let [profiles, shards, outbox, timers, dedup, control] = View::ALL;
            let keyspaces = [
                open(profiles.name())?,
                open(shards.name())?,
                open(outbox.name())?,
                open(timers.name())?,
                open(dedup.name())?,
                open(control.name())?,
            ];
            let meta_keyspace = open("meta")?;
            let persist = if options.sync { PersistMode::SyncData } else { PersistMode::Buffer };
            let (directory, meta) = (directory.to_owned(), Mutex::new(meta));
            Ok(Self { directory, database, keyspaces, meta_keyspace, meta, persist })
        };
        // The store below asserts some of what it reads.
        let opened = panic::catch_unwind(AssertUnwindSafe(open));
        let contradiction =
            |_| Err(io::Error::new(io::ErrorKind::InvalidData, "what it reads contradicts itself").into());
        opened.unwrap_or_else(contradiction).map_err(Error::views(directory))
    }

    /// What a failed read at or after `key` means.
    fn unread(&self, view: View, key: &[u8], error: fjall::Error) -> Error {
        if is_damage(&error) {
            return Error::ViewDamaged { view, key: key.to_vec() };
        }
        Error::views(&self.directory)(error)
    }

    fn meta(&self) -> Meta {
        *self.meta.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keyspace(&self, view: View) -> &Keyspace {
        &self.keyspaces[view as usize]
    }
}

impl Shut {
    /// The views as they are on the disk: with the batch, perhaps, that was not known to be written.
    ///
    /// # Errors
    /// They do not open, or have lost what they had taken.
    pub fn open(&self, options: ViewOptions) -> Result<Views, Error> {
        let views = Views::load(&self.directory, options).map_err(LoadError::into_error)?;
        let (kept, written) = (views.meta().n_batches, self.n_batches);
        if kept < written { Err(Error::ViewsLost { kept, written }) } else { Ok(views) }
    }
}

enum LoadError {
    Refused(Error),
    Unusable(String),
}

impl LoadError {
    /// What the file system refuses may work the next time; what does not read back will not.
    fn of_open(error: Error) -> Self {
        match &error {
            Error::Views { error: source, .. } if is_damage(source) => Self::Unusable(error.to_string()),
            _ => Self::Refused(error),
        }
    }

    /// For views that were open just now, which nothing excuses.
    fn into_error(self) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Unusable(reason) => {
                Error::FailStop { reason: format!("views opened again: {reason}").into() }
            }
        }
    }
}

/// Whether it says that the files are not as they were written: they will be no better the next time.
fn is_damage(error: &fjall::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};

    if matches!(error, fjall::Error::Locked | fjall::Error::InvalidVersion(_) | fjall::Error::Poisoned) {
        return false;
    }
    // A file that is gone or too short, or says where to read in it what is not there, also the one
    // without which the store below begins anew in the midst of others; anything else is the file
    // system's.
    io_cause(error).is_none_or(|error| {
        matches!(error.kind(), NotFound | UnexpectedEof | InvalidData | InvalidInput | AlreadyExists)
    })
}

fn unborn(directory: &Path) -> PathBuf {
    directory.with_extension("new")
}

fn dropped(directory: &Path) -> PathBuf {
    directory.with_extension("dropped")
}

fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", directory)(error)),
    }
}
