//! The models that are served: found, verified, swapped.
//!
//! An artifact is an immutable directory `<models>/<name>/<version>/`. It
//! counts from the moment its `manifest.json` is there, and serves only once
//! everything in it has been checked against the plan; see [`load()`]. What is
//! wrong is refused with its reason, and the version served stays.

mod error;
mod foreign_file;
mod forest_file;
mod golden;
mod load;
mod manifest;
mod network_file;
mod publish;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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

use crate::engine::model::{Model, Models};
use crate::engine::plan::Plan;
use crate::onnx::Networks;

const MAX_NAME: usize = 128;
const MAX_VERSIONS: usize = 10_000;

/// The serving models of one plan.
#[derive(Debug)]
pub struct Registry {
    dir: PathBuf,
    plan: Arc<Plan>,
    networks: Networks,
    models: Arc<ArcSwap<Models>>,
    /// By index into [`Plan::models`].
    entries: ArcSwap<Vec<Entry>>,
    /// Held while versions are read and swapped; readers never wait for it.
    reloading: Mutex<()>,
}

/// What is known of one model of the plan.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: Arc<str>,
    /// The version served under `stable`; none if no version is valid.
    pub stable: Option<Stable>,
    /// Versions newer than the one served, and why they are not; newest first.
    pub refused: Vec<Refused>,
}

#[derive(Clone, Debug)]
pub struct Stable {
    pub model: Arc<Model>,
    pub manifest: Arc<Manifest>,
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

impl Registry {
    /// Loads the newest valid version of each model that the plan names.
    ///
    /// Never fails: a model without a valid version is among the refused,
    /// and is served without scores.
    pub fn open(dir: &Path, plan: Arc<Plan>, networks: Networks) -> (Self, Vec<Refused>) {
        let entries: Vec<Entry> =
            plan.models.iter().map(|model| scan(dir, &plan, &networks, &model.name, None)).collect();
        let refused = entries.iter().flat_map(|entry| entry.refused.iter().cloned()).collect();
        let models = Arc::new(ArcSwap::from_pointee(serving(&entries)));
        let entries = ArcSwap::from_pointee(entries);
        (Self { dir: dir.to_owned(), plan, networks, models, entries, reloading: Mutex::new(()) }, refused)
    }

    /// The models served now, by index into [`Plan::models`].
    pub fn models(&self) -> Arc<Models> {
        self.models.load_full()
    }

    /// Where the models served stand, for those who read them often: it
    /// follows every reload.
    pub fn current(&self) -> Arc<ArcSwap<Models>> {
        self.models.clone()
    }

    pub fn list(&self) -> Vec<Entry> {
        self.entries.load().to_vec()
    }

    pub fn get(&self, name: &str) -> Option<Entry> {
        self.entries.load().iter().find(|entry| &*entry.name == name).cloned()
    }

    /// Looks for versions newer than the one served; the newest valid one is
    /// swapped in. Gives what is known after that. Reads files: blocks.
    ///
    /// # Errors
    /// [`Error::UnknownModel`]
    pub fn reload(&self, name: &str) -> Result<Entry, Error> {
        // The lock guards no data that a panic could leave half-way.
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.list();
        let entry = entries
            .iter_mut()
            .find(|entry| &*entry.name == name)
            .ok_or_else(|| Error::UnknownModel { name: name.to_owned() })?;
        *entry = scan(&self.dir, &self.plan, &self.networks, &entry.name, entry.stable.take());
        let entry = entry.clone();
        self.models.store(Arc::new(serving(&entries)));
        self.entries.store(Arc::new(entries));
        Ok(entry)
    }
}

fn serving(entries: &[Entry]) -> Models {
    Models { serving: entries.iter().map(|entry| Some(entry.stable.as_ref()?.model.clone())).collect() }
}

/// Tries the versions from the newest down to the one served, which stays as
/// it is: versions never change.
fn scan(dir: &Path, plan: &Plan, networks: &Networks, name: &Arc<str>, served: Option<Stable>) -> Entry {
    let mut entry = Entry { name: name.clone(), stable: served, refused: Vec::new() };
    let refuse = |version, reason| Refused { model: name.clone(), version, reason: Arc::new(reason) };
    let (versions, strays) = match versions(&dir.join(&**name), name) {
        Ok(found) => found,
        Err(reason) => {
            entry.refused.push(refuse(None, reason));
            return entry;
        }
    };
    entry.refused.extend(strays.into_iter().map(|stray| refuse(None, Error::NotAVersion { entry: stray })));
    for version in versions {
        if entry.stable.as_ref().is_some_and(|served| served.model.version >= version) {
            break;
        }
        match load(&dir.join(&**name).join(version.to_string()), name, version, plan, networks) {
            Ok(Loaded { model, manifest }) => {
                entry.stable = Some(Stable { model, manifest });
                break;
            }
            Err(reason) => entry.refused.push(refuse(Some(version), reason)),
        }
    }
    entry
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
    let header: manifest::Header = from_json(file, content)?;
    let (found, expected) = (header.format, format.to_owned());
    if found != expected {
        return Err(Error::WrongFormat { file: file.to_owned(), found, expected });
    }
    match header.format_version {
        0 => Err(Error::malformed(file, "format versions start at 1")),
        found if found > known => Err(Error::NewerFormat { file: file.to_owned(), found, known }),
        _ => Ok(()),
    }
}
