//! What changes which models serve: each change is verified, logged, and only
//! then made, so that a restart serves what was served.
//!
//! One at a time, and on the caller's thread: it reads files and waits for the
//! log. Nobody who scores waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::clock;
use crate::delivery::{CursorError, Cursors};
use crate::metrics::Metrics;
use crate::registry::{self, Alias, Change, Entry, Loaded, Move, Registry, Upload};

/// The one who changes what serves.
pub struct Deployer {
    registry: Arc<Registry>,
    control: Arc<Cursors>,
    metrics: Arc<Metrics>,
    max_bytes: u64,
    /// Held from the look at what serves until it has changed.
    changing: Mutex<()>,
    /// Held while an artifact comes in.
    uploading: Mutex<()>,
}

/// An artifact on its way in: none other is, until this is dropped.
pub struct Incoming<'a> {
    deployer: &'a Deployer,
    upload: Upload,
    note: Note,
    /// Dropped behind the files: once they have gone, the next may begin.
    _uploading: MutexGuard<'a, ()>,
}

/// Who does something and why, as they say.
#[derive(Clone, Debug)]
pub struct Note {
    pub who: String,
    pub why: String,
}

/// Where an alias is to point.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub alias: Alias,
    /// None for no version.
    pub version: Option<u32>,
    /// Of a canary: above 0 and up to 100.
    pub percent: Option<f64>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] registry::Error),
    #[error("another artifact is on its way in")]
    UploadUnderWay,
    #[error("version {version} is not loaded")]
    NotLoaded { version: u32 },
    #[error("{alias} points to version {version}", alias = .alias.name())]
    InUse { alias: Alias, version: u32 },
    #[error("a rollback of {alias} returns to version {version}", alias = .alias.name())]
    KeptForRollback { alias: Alias, version: u32 },
    #[error("{alias} points to {}, not to {}", told(*.found), told(*.expected), alias = .alias.name())]
    Moved { alias: Alias, found: Option<u32>, expected: Option<u32> },
    #[error("{0}")]
    Alias(&'static str),
    #[error("no version served before{}", if *.rolled_back { ": it was rolled back already" } else { "" })]
    NoPrevious { rolled_back: bool },
    #[error("cannot be recorded: {0}")]
    Record(#[from] CursorError),
}

fn told(version: Option<u32>) -> String {
    version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"))
}

impl Deployer {
    pub fn new(
        registry: Arc<Registry>,
        control: Arc<Cursors>,
        metrics: Arc<Metrics>,
        max_bytes: u64,
    ) -> Self {
        registry.list().iter().for_each(|entry| show(&metrics, Shown::default(), entry));
        Self {
            registry,
            control,
            metrics,
            max_bytes,
            changing: Mutex::default(),
            uploading: Mutex::default(),
        }
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Begins to take in an artifact; no version takes the one after the newest.
    pub fn receive(&self, model: &str, version: Option<u32>, note: Note) -> Result<Incoming<'_>, Error> {
        let uploading = match self.uploading.try_lock() {
            Ok(guard) => guard,
            // The lock guards no data.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Error::UploadUnderWay),
        };
        let upload = self.registry.begin_upload(model, version, self.max_bytes)?;
        Ok(Incoming { deployer: self, upload, note, _uploading: uploading })
    }

    /// Lets a version go that neither an alias nor a rollback needs.
    pub fn unload(&self, model: &str, version: u32, note: Note) -> Result<(), Error> {
        let _changing = self.lock();
        let entry = self.entry(model)?;
        if let Some(alias) = entry.rollout.aliases_of(version).next() {
            return Err(Error::InUse { alias, version });
        }
        if entry.rollout.previous == Some(version) {
            return Err(Error::KeptForRollback { alias: Alias::Stable, version });
        }
        entry.get(version).ok_or(Error::NotLoaded { version })?;
        self.make(entry, Change::Unloaded { version }, note, None).map(drop)
    }

    /// Lets go of the versions that neither an alias nor a rollback needs; an
    /// error if there are others only.
    pub fn unload_unused(&self, model: &str, note: Note) -> Result<(), Error> {
        let _changing = self.lock();
        let entry = self.entry(model)?;
        let (rollout, loaded) = (entry.rollout.clone(), entry.loaded.iter());
        let versions: Vec<u32> = loaded.map(|loaded| loaded.model.version).collect();
        drop(entry); // As in `apply`.
        let unused: Vec<u32> = versions.iter().copied().filter(|version| !rollout.needs(*version)).collect();
        let in_use =
            versions.iter().find_map(|&version| Some((rollout.aliases_of(version).next()?, version)));
        if let (true, Some((alias, version))) = (unused.is_empty(), in_use) {
            return Err(Error::InUse { alias, version });
        }
        for version in unused {
            self.make(self.entry(model)?, Change::Unloaded { version }, note.clone(), None)?;
        }
        Ok(())
    }

    /// Points an alias to a version. None if it pointed there already.
    pub fn set_alias(
        &self,
        model: &str,
        target: Target,
        expected: Option<Option<u32>>,
        note: Note,
    ) -> Result<Option<Move>, Error> {
        let Target { alias, version, percent } = target;
        let _changing = self.lock();
        let entry = self.entry(model)?;
        let found = entry.rollout.version_of(alias);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(Error::Moved { alias, found, expected });
        }
        let serves = |version| {
            entry.rollout.aliases_of(version).any(|alias| matches!(alias, Alias::Stable | Alias::Canary))
        };
        let is_share = |percent: f64| percent > 0.0 && percent <= 100.0;
        match (alias, version, percent) {
            (Alias::Stable, None, _) => {
                return Err(Error::Alias("stable cannot point to no version; roll back, or name one"));
            }
            (Alias::Canary, Some(_), percent) if !percent.is_some_and(is_share) => {
                return Err(Error::Alias("a canary serves more than 0 and up to 100 percent of the users"));
            }
            (Alias::Canary, Some(_), _) if version == entry.rollout.stable => {
                return Err(Error::Alias("stable points to that version already: it serves everyone"));
            }
            (Alias::Stable | Alias::Shadow, _, Some(_)) | (_, None, Some(_)) => {
                return Err(Error::Alias("only a canary has a percentage"));
            }
            (Alias::Shadow, Some(_), _) if !self.registry.is_decided_on(model) => {
                return Err(Error::Alias(
                    "nothing is decided on this model's scores (`score_on`, `rescore_every`), \
                     so that a shadow would have nothing to be compared with",
                ));
            }
            (Alias::Shadow, Some(_), _) if entry.rollout.stable.is_none() => {
                return Err(Error::Alias("stable points to no version, which a shadow is compared with"));
            }
            (Alias::Shadow, Some(shadow), _) if serves(shadow) => {
                return Err(Error::Alias(
                    "stable or canary points to that version: it serves, and is no shadow",
                ));
            }
            _ => {}
        }
        let share = entry.rollout.canary.map(|canary| canary.percent).filter(|_| alias == Alias::Canary);
        let is_loaded = version.is_none_or(|version| entry.get(version).is_some());
        if version == found && is_loaded && percent == share {
            return Ok(None);
        }
        let brought = version.map(|version| self.registry.version(model, version)).transpose()?;
        let change = Change::Aliased { alias, from: found, to: version, percent };
        self.make(entry, change, note, brought).map(Some)
    }

    /// Points `stable` to the newest valid version in the models' directory, if
    /// that is newer and has not been rolled back. Gives what is known then.
    pub fn serve_newest(&self, model: &str, note: Note) -> Result<Entry, Error> {
        let _changing = self.lock();
        let (found, entry) = self.registry.find_newer(model)?;
        let is_new = |found: &Loaded| !entry.rollout.was_rolled_back(found.model.version);
        let Some(found) = found.filter(is_new) else { return Ok(entry) };
        let (from, to) = (entry.rollout.stable, Some(found.model.version));
        let change = Change::Aliased { alias: Alias::Stable, from, to, percent: None };
        self.make(entry, change, note, Some(found))?;
        self.entry(model)
    }

    /// Points `stable` back to the version that served before.
    pub fn rollback(&self, model: &str, expected: Option<u32>, note: Note) -> Result<Move, Error> {
        let _changing = self.lock();
        let entry = self.entry(model)?;
        let from = entry.rollout.stable;
        if let Some(expected) = expected.filter(|expected| Some(*expected) != from) {
            return Err(Error::Moved { alias: Alias::Stable, found: from, expected: Some(expected) });
        }
        let Some(to) = entry.rollout.previous else {
            let is_rollback = |last: &Move| matches!(last.change, Change::RolledBack { .. });
            return Err(Error::NoPrevious {
                rolled_back: entry.rollout.history.back().is_some_and(is_rollback),
            });
        };
        let brought = self.registry.version(model, to)?;
        self.make(entry, Change::RolledBack { from, to }, note, Some(brought))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, model: &str) -> Result<Entry, Error> {
        Ok(self
            .registry
            .get(model)
            .ok_or_else(|| registry::Error::UnknownModel { name: model.to_owned() })?)
    }

    /// Logs a change of what `entry` says, and makes it.
    fn make(&self, entry: Entry, change: Change, note: Note, brought: Option<Loaded>) -> Result<Move, Error> {
        let next = self.record(&entry, change, note)?;
        self.apply(entry, next.clone(), brought);
        Ok(next)
    }

    /// Makes a logged move of what `entry` says.
    fn apply(&self, entry: Entry, next: Move, brought: Option<Loaded>) {
        let before = shown(&entry);
        // It holds the versions of before, and what is let go is waited for.
        drop(entry);
        let model = next.model.clone();
        self.registry.apply(next, brought);
        if let Some(changed) = self.registry.get(&model) {
            show(&self.metrics, before, &changed);
        }
    }

    fn record(&self, entry: &Entry, change: Change, note: Note) -> Result<Move, Error> {
        let next = Move {
            model: entry.name.to_string(),
            number: entry.rollout.n_moves + 1,
            at: clock::wall(),
            who: note.who,
            why: note.why,
            change,
        };
        let mut after = (*entry.rollout).clone();
        after.fold(next.clone());
        self.control.record_move(&next, &after)?;
        tracing::info!(model = %next.model, change = ?next.change, who = next.who, why = next.why, "model moved");
        Ok(next)
    }
}

impl Incoming<'_> {
    /// Takes in bytes of a file.
    pub fn write(&mut self, file: &str, data: &[u8]) -> Result<(), Error> {
        Ok(self.upload.write(file, data)?)
    }

    /// Verifies what was sent, records it, and puts it in its place and into memory.
    pub fn finish(self) -> Result<Loaded, Error> {
        let Self { deployer, upload, note, _uploading } = self;
        let verified = deployer.registry.verify(upload)?;
        let version = verified.loaded.model.version;
        let _changing = deployer.lock();
        let entry = deployer.entry(&verified.loaded.model.name)?;
        if let Some(known) = entry.get(version).filter(|_| verified.is_known()) {
            return Ok(known.clone());
        }
        // Logged before it is there: a model that nothing was decided on would
        // serve its newest version after a restart.
        let next = deployer.record(&entry, Change::Loaded { version }, note)?;
        let published = verified.publish();
        deployer.apply(entry, next, published.as_ref().ok().cloned());
        Ok(published?)
    }
}

/// By [`Alias`], the version in memory that it points to.
type Shown = [Option<u32>; Alias::ALL.len()];

fn shown(entry: &Entry) -> Shown {
    Alias::ALL.map(|alias| Some(entry.under(alias)?.model.version))
}

/// Shows which versions are under the aliases, in place of those before.
fn show(metrics: &Metrics, before: Shown, entry: &Entry) {
    for ((alias, before), version) in Alias::ALL.into_iter().zip(before).zip(shown(entry)) {
        metrics.models.show(&entry.name, alias, before, version);
    }
}
