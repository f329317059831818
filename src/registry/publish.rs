//! Writing an artifact so that it is either there, whole and verified, or not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::Error;
use super::load::{Loaded, load_from};
use super::manifest::{FileSum, Manifest};
use super::{Golden, check_name, foreign_file, forest_file, golden, network_file, version_of};
use crate::engine::forest::Forest;
use crate::engine::plan::Plan;
use crate::model_file::Format;
use crate::onnx::Networks;

/// The manifest until everything else is verified.
pub(super) const DRAFT: &str = "manifest.json.draft";

/// An artifact to be published; format, version and files of the manifest are filled in.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    pub manifest: Manifest,
    pub model: Content<'a>,
    pub golden: &'a [Golden],
    /// Further files by name, checksummed and otherwise not looked at.
    pub extra: BTreeMap<String, Vec<u8>>,
}

/// What scores.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    Forest(&'a Forest),
    /// A file of another trainer, as it is.
    Foreign(Format, &'a [u8]),
    /// The bytes of an ONNX file, and what runs it.
    Network(&'a [u8], &'a Networks),
}

#[derive(Debug)]
pub struct Published {
    pub dir: PathBuf,
    pub loaded: Loaded,
}

/// Publishes the draft as the next version of its model under `models`.
///
/// The files are written and synced, loaded and verified as a server would,
/// and only then the manifest gets its name.
///
/// # Errors
/// Whatever would have the artifact refused; its directory is removed then.
pub fn publish(models: &Path, draft: Draft<'_>, plan: &Plan) -> Result<Published, Error> {
    check_name(&draft.manifest.name)?;
    let (dir, version) = claim_version(&models.join(&draft.manifest.name))?;
    let published = write(&dir, version, draft, plan);
    if published.is_err() {
        // Nothing has been published; what is left behind would only be noise.
        let _ = fs::remove_dir_all(&dir);
    }
    Ok(Published { loaded: published?, dir })
}

/// The version after the newest one in the model's directory.
pub(super) fn next_version(model: &Path) -> Result<u32, Error> {
    let file = model.display().to_string();
    let mut version = 1;
    for entry in fs::read_dir(model).map_err(Error::io(&file))? {
        let entry = entry.map_err(Error::io(&file))?;
        if let Some(taken) = version_of(&entry.file_name().to_string_lossy()) {
            version = version.max(taken.saturating_add(1));
        }
    }
    Ok(version)
}

/// Makes the directory after the newest one; nobody else gets the same.
fn claim_version(model: &Path) -> Result<(PathBuf, u32), Error> {
    fs::create_dir_all(model).map_err(Error::io(&model.display().to_string()))?;
    let mut version = next_version(model)?;
    loop {
        let dir = model.join(version.to_string());
        match fs::create_dir(&dir) {
            Ok(()) => return Ok((dir, version)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && version < u32::MAX => version += 1,
            Err(error) => return Err(Error::Io { file: dir.display().to_string(), error }),
        }
    }
}

fn write(dir: &Path, version: u32, draft: Draft<'_>, plan: &Plan) -> Result<Loaded, Error> {
    let mut files = draft.extra;
    let no_networks = Networks::default();
    let (scorer, file, content, networks) = match draft.model {
        Content::Forest(forest) => {
            (forest_file::FORMAT, forest_file::FILE, forest_file::write(forest), &no_networks)
        }
        Content::Foreign(format, content) => {
            let (scorer, file) = foreign_file::of_format(format)?;
            (scorer, file, content.to_vec(), &no_networks)
        }
        Content::Network(network, networks) => {
            (network_file::FORMAT, network_file::FILE, network.to_vec(), networks)
        }
    };
    files.insert(file.to_owned(), content);
    files.insert(golden::FILE.to_owned(), golden::write(draft.golden));
    let manifest = Manifest {
        format: Manifest::FORMAT.to_owned(),
        format_version: Manifest::FORMAT_VERSION,
        version,
        scorer: scorer.to_owned(),
        files: files.iter().map(|(name, content)| (name.clone(), FileSum::of(content))).collect(),
        ..draft.manifest
    };
    for (name, content) in &files {
        write_synced(dir, name, content)?;
    }
    write_synced(dir, DRAFT, &manifest.to_json())?;
    let loaded = load_from(dir, DRAFT, &manifest.name, version, plan, networks)?;
    fs::rename(dir.join(DRAFT), dir.join(Manifest::FILE)).map_err(Error::io(Manifest::FILE))?;
    sync_dir(dir)?;
    if let Some(model) = dir.parent() {
        sync_dir(model)?;
    }
    Ok(loaded)
}

pub(super) fn write_synced(dir: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file = File::create_new(dir.join(name))?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(Error::io(name))
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(&dir.display().to_string()))
}
