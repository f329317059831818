//! The models that are served: found, verified, swapped.
//!
//! An artifact is an immutable directory `<models>/<name>/<version>/`. It
//! counts from the moment its `manifest.json` is there, and serves only once
//! everything in it has been checked against the plan; see [`load()`]. What is
//! wrong is refused with its reason, and the version served stays.
//!
//! Which version serves is decided by calls, recorded as [`Move`]s; until the
//! first, it is the newest valid one at each start.

mod error;
mod fastest;
mod foreign_file;
mod forest_file;
mod golden;
mod load;
mod manifest;
mod network_file;
mod publish;
mod rollout;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;

pub use error::Error;
pub use golden::Golden;
pub use load::{Artifact, Loaded, load, open_artifact};
pub use manifest::{
    Feature, FileSum, Label, Manifest, Metrics, Missing, Network, Output, Part, PartMetrics, Threshold,
    Training,
};
pub use publish::{Content, Draft, Published, publish};
pub use rollout::{Alias, CanaryShare, Change, Move, Rollout, ShadowSince};
pub use upload::{Upload, Verified};

use crate::clock;
use crate::engine::model::{Canary, Model, Models, Shadow};
use crate::engine::plan::{ModelPlan, Plan};
use crate::onnx::Networks;

const MAX_NAME: usize = 128;
const MAX_VERSIONS: usize = 10_000;
/// Versions of a model that are kept in memory though nothing needs them.
const MAX_SPARE: usize = 2;
/// How long a model that is let go is waited for, so that nobody who scores frees it.
const LET_GO: Duration = Duration::from_secs(5);

/// The serving models of one plan.
#[derive(Debug)]
pub struct Registry {
    dir: PathBuf,
    plan: Arc<Plan>,
    networks: Networks,
    models: Arc<ArcSwap<Models>>,
    /// By index into [`Plan::models`].
    entries: ArcSwap<Vec<Entry>>,
    /// Held while what serves is changed; readers never wait for it. In it are
    /// versions let go that someone still scored with.
    changing: Mutex<Vec<Arc<Model>>>,
}

/// What is known of one model of the plan.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: Arc<str>,
    /// What is recorded of it: which version serves whom.
    pub rollout: Arc<Rollout>,
    /// The versions in memory, in the order in which they were loaded.
    pub loaded: Vec<Loaded>,
    /// Versions that should be loaded, or are newer than the one served, and
    /// why they are not; newest first.
    pub refused: Vec<Refused>,
}

/// An artifact that is not served, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("model {model}{}: {reason}", version.map(|version| format!(" version {version}")).unwrap_or_default())]
pub struct Refused {
    pub model: Arc<str>,
    /// None if it is not about one version.
    pub version: Option<u32>,
    pub reason: Arc<Error>,
}

/// Where artifacts are, and what they are bound to.
#[derive(Clone, Copy)]
struct Source<'a> {
    dir: &'a Path,
    plan: &'a Plan,
    networks: &'a Networks,
}

impl Source<'_> {
    fn load(self, name: &str, version: u32) -> Result<Loaded, Error> {
        load(&self.dir.join(name).join(version.to_string()), name, version, self.plan, self.networks)
    }
}

impl Entry {
    /// The version served under `stable`; none if there is none that is valid.
    pub fn stable(&self) -> Option<&Loaded> {
        self.under(Alias::Stable)
    }

    /// The version in memory that the alias points to.
    pub fn under(&self, alias: Alias) -> Option<&Loaded> {
        self.get(self.rollout.version_of(alias)?)
    }

    /// A version in memory.
    pub fn get(&self, version: u32) -> Option<&Loaded> {
        self.loaded.iter().find(|loaded| loaded.model.version == version)
    }

    /// Whether the model has artifacts of which none serves, or one that
    /// should serve and does not load.
    pub fn is_broken(&self) -> bool {
        let is_refused = |version| self.refused.iter().any(|refused| refused.version == Some(version));
        let nothing_serves = self.stable().is_none() && self.refused.iter().any(|r| r.version.is_some());
        // A shadow serves nobody: without it nothing is missing but the comparison.
        let serving = [Alias::Stable, Alias::Canary];
        let aliased = serving.iter().filter_map(|alias| self.rollout.version_of(*alias));
        nothing_serves || aliased.into_iter().any(is_refused)
    }
}

impl Registry {
    /// Loads the newest valid version of each model that the plan names.
    ///
    /// Never fails: a model without a valid version is among the refused,
    /// and is served without scores.
    pub fn open(dir: &Path, plan: Arc<Plan>, networks: Networks) -> (Self, Vec<Refused>) {
        let (registry, refused, _) = Self::restore(dir, plan, networks, &HashMap::new());
        (registry, refused)
    }

    /// The same, but a model that calls have decided on is served as recorded.
    /// Gives also the moves that this made, to be logged.
    pub fn restore(
        dir: &Path,
        plan: Arc<Plan>,
        networks: Networks,
        rollouts: &HashMap<String, Rollout>,
    ) -> (Self, Vec<Refused>, Vec<Move>) {
        let mut moves = Vec::new();
        let source = Source { dir, plan: &plan, networks: &networks };
        let open = |model: &ModelPlan| {
            let rollout = rollouts.get(&*model.name).cloned().unwrap_or_default();
            if rollout.is_managed {
                return as_recorded(source, &model.name, rollout);
            }
            let (entry, started) = newest(source, &model.name, rollout);
            moves.extend(started);
            entry
        };
        let entries: Vec<Entry> = plan.models.iter().map(open).collect();
        let refused = entries.iter().flat_map(|entry| entry.refused.iter().cloned()).collect();
        let models = Arc::new(ArcSwap::from_pointee(serving(&entries)));
        let entries = ArcSwap::from_pointee(entries);
        let changing = Mutex::default();
        let registry = Self { dir: dir.to_owned(), plan, networks, models, entries, changing };
        (registry, refused, moves)
    }

    /// The models served now, by index into [`Plan::models`].
    pub fn models(&self) -> Arc<Models> {
        self.models.load_full()
    }

    /// Where the models served stand, for those who read them often: it
    /// follows every change.
    pub fn current(&self) -> Arc<ArcSwap<Models>> {
        self.models.clone()
    }

    pub fn list(&self) -> Vec<Entry> {
        self.entries.load().to_vec()
    }

    pub fn get(&self, name: &str) -> Option<Entry> {
        self.entries.load().iter().find(|entry| &*entry.name == name).cloned()
    }

    /// Whether decisions are made on scores of the model, rather than on request only.
    pub fn is_decided_on(&self, name: &str) -> bool {
        self.plan.models.iter().any(|model| *model.name == *name && model.is_decided_on())
    }

    /// The version in memory, else read from its directory and verified; the
    /// latter blocks.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], or why the artifact is refused.
    pub fn version(&self, name: &str, version: u32) -> Result<Loaded, Error> {
        let entry = self.get(name).ok_or_else(|| Error::UnknownModel { name: name.to_owned() })?;
        match entry.get(version) {
            Some(loaded) => Ok(loaded.clone()),
            None => match self.source().load(name, version) {
                Err(Error::NotPublished) => Err(Error::UnknownVersion { version }),
                loaded => loaded,
            },
        }
    }

    /// Looks for versions newer than the one under `stable`: the newest valid
    /// one, unless there is none, and what is known then. Reads files: blocks.
    ///
    /// # Errors
    /// [`Error::UnknownModel`]
    pub fn find_newer(&self, name: &str) -> Result<(Option<Loaded>, Entry), Error> {
        // The lock guards nothing that a panic could leave half-way.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.list();
        let entry = entries
            .iter_mut()
            .find(|entry| &*entry.name == name)
            .ok_or_else(|| Error::UnknownModel { name: name.to_owned() })?;
        let (found, refused) = find_newest(self.source(), &entry.name, entry.rollout.stable);
        entry.refused = refused;
        let entry = entry.clone();
        self.entries.store(Arc::new(entries));
        Ok((found, entry))
    }

    /// Removes what uploads have left behind that ended with their server; for
    /// a start, before there are others.
    pub fn remove_leftovers(&self) {
        self.plan.models.iter().for_each(|model| upload::remove_leftovers(&self.dir.join(&*model.name)));
    }

    /// Begins to take in an artifact of at most so many bytes.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], [`Error::Io`]
    pub fn begin_upload(&self, name: &str, version: Option<u32>, max_bytes: u64) -> Result<Upload, Error> {
        if self.get(name).is_none() {
            return Err(Error::UnknownModel { name: name.to_owned() });
        }
        Upload::begin(&self.dir.join(name), name, version, max_bytes)
    }

    /// Checks everything that was sent, as at a start.
    ///
    /// # Errors
    /// Why the artifact is refused.
    pub fn verify(&self, upload: Upload) -> Result<Verified, Error> {
        upload.verify(self.source())
    }

    fn source(&self) -> Source<'_> {
        Source { dir: &self.dir, plan: &self.plan, networks: &self.networks }
    }

    /// Makes a logged move take effect, with the version that it brings in.
    /// Every scoring is by the models before or by those after. Blocks until
    /// nobody scores by what is let go.
    pub fn apply(&self, next: Move, brought: Option<Loaded>) {
        // The lock guards nothing that a panic could leave half-way.
        let mut let_go = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.list();
        let Some(entry) = entries.iter_mut().find(|entry| *entry.name == *next.model) else { return };
        if let Some(loaded) = brought {
            entry.refused.retain(|refused| refused.version != Some(loaded.model.version));
            if entry.get(loaded.model.version).is_none() {
                entry.loaded.push(loaded);
            }
        }
        let unloaded = match next.change {
            Change::Unloaded { version } => Some(version),
            _ => None,
        };
        Arc::make_mut(&mut entry.rollout).fold(next);
        let is_spare = |loaded: &Loaded| !entry.rollout.needs(loaded.model.version);
        let mut n_spare = entry.loaded.iter().filter(|loaded| is_spare(loaded)).count();
        entry.loaded.retain(|loaded| {
            let goes = is_spare(loaded) && (n_spare > MAX_SPARE || unloaded == Some(loaded.model.version));
            if goes {
                n_spare -= 1;
                let_go.push(loaded.model.clone());
            }
            !goes
        });
        self.models.store(Arc::new(serving(&entries)));
        self.entries.store(Arc::new(entries));
        wait_until_unused(&mut let_go);
    }
}

/// Frees the models that nobody else holds any more, and waits a while for the others.
fn wait_until_unused(models: &mut Vec<Arc<Model>>) {
    let deadline = Instant::now() + LET_GO;
    loop {
        models.retain(|model| Arc::strong_count(model) > 1);
        if models.is_empty() || Instant::now() > deadline {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn serving(entries: &[Entry]) -> Models {
    let canary = |entry: &Entry| {
        let CanaryShare { version, percent } = entry.rollout.canary?;
        Some(Canary { model: entry.get(version)?.model.clone(), share: percent / 100.0 })
    };
    let shadow = |entry: &Entry| {
        let ShadowSince { version, since } = entry.rollout.shadow?;
        Some(Shadow { model: entry.get(version)?.model.clone(), since })
    };
    let mut shadows: Vec<_> = entries.iter().map(shadow).collect();
    if shadows.iter().all(Option::is_none) {
        shadows.clear();
    }
    Models {
        serving: entries.iter().map(|entry| Some(entry.stable()?.model.clone())).collect(),
        canaries: entries.iter().map(canary).collect(),
        shadows,
    }
}

/// Loads what the aliases point to, and what a rollback would serve.
fn as_recorded(source: Source<'_>, name: &Arc<str>, rollout: Rollout) -> Entry {
    let mut wanted: Vec<u32> = Alias::ALL.iter().filter_map(|alias| rollout.version_of(*alias)).collect();
    wanted.extend(rollout.previous);
    wanted.sort_unstable_by(|a, b| b.cmp(a));
    wanted.dedup();
    let mut entry =
        Entry { name: name.clone(), rollout: Arc::new(rollout), loaded: Vec::new(), refused: Vec::new() };
    for version in wanted {
        match source.load(name, version) {
            Ok(loaded) => entry.loaded.push(loaded),
            Err(reason) => entry.refused.push(refused(name, Some(version), reason)),
        }
    }
    entry
}

/// The newest valid version, and the move to it if it is another than before.
fn newest(source: Source<'_>, name: &Arc<str>, mut rollout: Rollout) -> (Entry, Option<Move>) {
    let (found, refused) = find_newest(source, name, None);
    let (from, to) = (rollout.stable, found.as_ref().map(|found| found.model.version));
    let started = (from != to).then(|| Move {
        model: name.to_string(),
        number: rollout.n_moves + 1,
        at: clock::wall(),
        who: "tipoff".to_owned(),
        why: "the newest valid version at the start".to_owned(),
        change: Change::Started { from, to },
    });
    if let Some(started) = &started {
        rollout.fold(started.clone());
    }
    let loaded = found.into_iter().collect();
    (Entry { name: name.clone(), rollout: Arc::new(rollout), loaded, refused }, started)
}

/// Tries the versions from the newest down to the one after `floor`; gives
/// those that were refused too.
fn find_newest(source: Source<'_>, name: &Arc<str>, floor: Option<u32>) -> (Option<Loaded>, Vec<Refused>) {
    let mut all_refused = Vec::new();
    let mut refuse = |version, reason| all_refused.push(refused(name, version, reason));
    let (versions, strays) = match versions(&source.dir.join(&**name), name) {
        Ok(found) => found,
        Err(reason) => {
            refuse(None, reason);
            return (None, all_refused);
        }
    };
    strays.into_iter().for_each(|stray| refuse(None, Error::NotAVersion { entry: stray }));
    for version in versions.into_iter().take_while(|version| floor.is_none_or(|floor| *version > floor)) {
        match source.load(name, version) {
            Ok(found) => return (Some(found), all_refused),
            Err(reason) => refuse(Some(version), reason),
        }
    }
    (None, all_refused)
}

fn refused(model: &Arc<str>, version: Option<u32>, reason: Error) -> Refused {
    Refused { model: model.clone(), version, reason: Arc::new(reason) }
}

/// The versions in a model's directory, newest first, and the directories that are none.
fn versions(dir: &Path, name: &str) -> Result<(Vec<u32>, Vec<String>), Error> {
    check_name(name)?;
    if !dir.exists() {
        return Err(Error::NoArtifact);
    }
    let (mut versions, mut strays) = (Vec::new(), Vec::new());
    for (index, entry) in fs::read_dir(dir).map_err(Error::io(name))?.enumerate() {
        if index == MAX_VERSIONS {
            return Err(Error::TooManyVersions);
        }
        let entry = entry.map_err(Error::io(name))?;
        let file_name = entry.file_name().to_string_lossy().into_owned();
        if file_name.starts_with('.') || !entry.path().is_dir() {
            continue;
        }
        match version_of(&file_name) {
            Some(version) => versions.push(version),
            None => strays.push(file_name),
        }
    }
    if versions.is_empty() && strays.is_empty() {
        return Err(Error::NoArtifact);
    }
    versions.sort_unstable_by(|a, b| b.cmp(a));
    strays.sort_unstable();
    Ok((versions, strays))
}

/// One directory name a version: no sign, no leading zero.
fn version_of(file_name: &str) -> Option<u32> {
    let version: u32 = file_name.parse().ok()?;
    (version >= 1 && version.to_string() == file_name).then_some(version)
}

fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        return Err(Error::BadName { name: name.to_owned() });
    }
    Ok(())
}

fn from_json<T: DeserializeOwned>(file: &str, content: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(content).map_err(|error| Error::malformed(file, error.to_string()))
}

/// Says "newer" of a newer file, before its fields are looked at.
fn check_header(file: &str, content: &[u8], format: &str, known: u32) -> Result<(), Error> {
    let manifest::Header { format: found, format_version } = from_json(file, content)?;
    check_format(file, (&found, format_version), (format, known))
}

/// The format and its version that a file says, against those that are read here.
fn check_format(file: &str, found: (&str, u32), known: (&str, u32)) -> Result<(), Error> {
    if found.0 != known.0 {
        let (found, expected) = (found.0.to_owned(), known.0.to_owned());
        return Err(Error::WrongFormat { file: file.to_owned(), found, expected });
    }
    match (found.1, known.1) {
        (0, _) => Err(Error::malformed(file, "format versions start at 1")),
        (found, known) if found > known => Err(Error::NewerFormat { file: file.to_owned(), found, known }),
        _ => Ok(()),
    }
}
