//! From an artifact's directory to a verified model bound to a plan.
//!
//! In this order, each step within bounds: manifest, checksums, features,
//! label, outputs, calibration, forest or network, golden outputs. The golden cases are
//! scored and explained, which warms the model up as well.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::error::Error;
use super::fastest::fastest;
use super::manifest::{FileSum, Label, Manifest};
use super::{check_name, foreign_file, forest_file, golden, network_file};
use crate::engine::calibration::Calibration;
use crate::engine::forest::{Forest, RankedForest, SumOrder};
use crate::engine::model::{Link, Model, Output, OutputKind, Scorer};
use crate::engine::plan::Plan;
use crate::engine::vector::Slot;
use crate::onnx::{self, Networks};

const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// Of the file that holds the trees.
const MAX_FOREST_BYTES: u64 = 256 << 20;
const MAX_GOLDEN_BYTES: u64 = 64 << 20;
/// Of a file that is only checksummed.
const MAX_OTHER_BYTES: u64 = 64 << 20;
pub(super) const MAX_FILES: usize = 64;
const MAX_FILE_NAME: usize = 128;
const MAX_KNOTS: usize = 100_000;

/// A model that passed every check, with what its artifact says of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub model: Arc<Model>,
    pub manifest: Arc<Manifest>,
}

/// Loads version `version` of the model `name` from its directory `dir`.
pub fn load(dir: &Path, name: &str, version: u32, plan: &Plan, networks: &Networks) -> Result<Loaded, Error> {
    let loaded = load_from(dir, Manifest::FILE, name, version, plan, networks)?;
    tracing::info!(model = name, version, engine = loaded.model.scorer.engine(), "model loaded");
    Ok(loaded)
}

/// The same, with the manifest in a file of another name: before it is published.
pub(super) fn load_from(
    dir: &Path,
    manifest_file: &str,
    name: &str,
    version: u32,
    plan: &Plan,
    networks: &Networks,
) -> Result<Loaded, Error> {
    let manifest = read_manifest(dir, manifest_file)?;
    if manifest.name != name || manifest.version != version {
        return Err(Error::Misplaced { name: manifest.name, version: manifest.version });
    }
    check_name(name)?;
    let bind = |manifest: &Manifest| {
        let inputs = bind_features(manifest, plan)?;
        check_label(manifest, plan)?;
        Ok(inputs)
    };
    let model = assemble(dir, &manifest, networks, bind)?;
    Ok(Loaded { model: Arc::new(model), manifest: Arc::new(manifest) })
}

/// An artifact by itself, without definitions: its inputs are bound to no features.
#[derive(Debug)]
pub struct Artifact {
    /// With an input's index for its slot.
    pub model: Model,
    pub manifest: Arc<Manifest>,
    /// None of a network.
    pub forest: Option<Forest>,
}

/// Reads and checks the artifact in `dir`, but for what definitions have to do with it.
pub fn open_artifact(dir: &Path, networks: &Networks) -> Result<Artifact, Error> {
    let manifest = read_manifest(dir, Manifest::FILE)?;
    check_name(&manifest.name)?;
    let by_position = |manifest: &Manifest| Ok((0..manifest.features.len()).collect());
    let model = assemble(dir, &manifest, networks, by_position)?;
    let forest = match model_file(&manifest)? {
        network_file::FILE => None,
        file => Some(read_forest(&manifest, &read_bounded(dir, file, MAX_FOREST_BYTES)?)?),
    };
    Ok(Artifact { model, manifest: Arc::new(manifest), forest })
}

/// The model of an artifact; `bind` gives the slots of its inputs.
fn assemble(
    dir: &Path,
    manifest: &Manifest,
    networks: &Networks,
    bind: impl FnOnce(&Manifest) -> Result<Vec<usize>, Error>,
) -> Result<Model, Error> {
    let model_file = model_file(manifest)?;
    let [content, golden] = read_files(dir, manifest, model_file)?;
    let inputs = bind(manifest)?;
    check_outputs(manifest)?;
    check_calibration(&manifest.calibration)?;

    let golden = golden::read(&golden)?;
    let outputs: Vec<Output> = manifest
        .outputs
        .iter()
        .map(|output| Output { name: output.name.as_str().into(), kind: output.kind })
        .collect();
    let scorer: Box<dyn Scorer> = if model_file == network_file::FILE {
        Box::new(network_file::open(&content, manifest, &outputs, networks)?)
    } else {
        let forest = read_forest(manifest, &content)?;
        check_shape(manifest, &forest)?;
        Box::new(fastest(RankedForest::new(forest), &golden))
    };
    let model = Model {
        name: manifest.name.as_str().into(),
        version: manifest.version,
        inputs,
        input_names: manifest.features.iter().map(|feature| feature.name.as_str().into()).collect(),
        outputs,
        link: manifest.link,
        calibration: manifest.calibration.clone(),
        scorer,
    };
    golden::verify(&model, &golden)?;
    Ok(model)
}

/// The name of the file that scores.
fn model_file(manifest: &Manifest) -> Result<&'static str, Error> {
    let scorer = manifest.scorer.as_str();
    if scorer == network_file::FORMAT {
        return match manifest.sum_order {
            SumOrder::OfTrees => Ok(network_file::FILE),
            SumOrder::InParts => Err(Error::PartsOfNetwork),
        };
    }
    if manifest.network.is_some() {
        return Err(Error::NoNetwork { scorer: scorer.to_owned() });
    }
    if scorer == forest_file::FORMAT {
        return Ok(forest_file::FILE);
    }
    match foreign_file::of_scorer(scorer) {
        Some((_, file)) => Ok(file),
        None => Err(Error::UnknownScorer { scorer: scorer.to_owned() }),
    }
}

fn read_forest(manifest: &Manifest, content: &[u8]) -> Result<Forest, Error> {
    let forest = match foreign_file::of_scorer(&manifest.scorer) {
        Some((format, file)) => foreign_file::read(file, format, content)?,
        None => forest_file::read(content)?,
    };
    forest.with_order(manifest.sum_order).map_err(Error::Forest)
}

fn read_manifest(dir: &Path, file: &str) -> Result<Manifest, Error> {
    if !dir.join(file).exists() {
        return Err(Error::NotPublished);
    }
    let content = read_bounded(dir, file, MAX_MANIFEST_BYTES)?;
    super::check_header(file, &content, Manifest::FORMAT, Manifest::FORMAT_VERSION)?;
    super::from_json(file, &content)
}

/// Checks every file that is listed; gives the model's and the golden cases.
fn read_files(dir: &Path, manifest: &Manifest, model_file: &str) -> Result<[Vec<u8>; 2], Error> {
    if manifest.files.len() > MAX_FILES {
        return Err(Error::malformed(Manifest::FILE, format!("more than {MAX_FILES} files")));
    }
    for file in [model_file, golden::FILE] {
        if !manifest.files.contains_key(file) {
            return Err(Error::NotListed { file: file.to_owned() });
        }
    }
    let [mut model, mut golden] = [Vec::new(), Vec::new()];
    for (file, expected) in &manifest.files {
        check_file_name(file)?;
        let content = read_bounded(dir, file, max_bytes(file, model_file))?;
        let found = FileSum::of(&content);
        if found.bytes != expected.bytes {
            return Err(Error::WrongSize {
                file: file.clone(),
                found: found.bytes,
                expected: expected.bytes,
            });
        }
        if found.sha256 != expected.sha256 {
            return Err(Error::WrongChecksum { file: file.clone() });
        }
        if file == model_file {
            model = content;
        } else if file == golden::FILE {
            golden = content;
        }
    }
    Ok([model, golden])
}

/// A file's name stays within its directory.
pub(super) fn check_file_name(file: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if file.is_empty() || file.len() > MAX_FILE_NAME || file.starts_with('.') || !file.chars().all(plain) {
        return Err(Error::BadFileName { file: file.chars().take(MAX_FILE_NAME).collect() });
    }
    Ok(())
}

/// The most bytes that a file of an artifact may have while its manifest is not known.
pub(super) fn max_bytes_unread(file: &str) -> u64 {
    match file {
        Manifest::FILE => MAX_MANIFEST_BYTES,
        _ => max_bytes(file, file),
    }
}

/// The most bytes that a file of this name may have.
fn max_bytes(file: &str, model_file: &str) -> u64 {
    match file {
        network_file::FILE if file == model_file => onnx::MAX_BYTES,
        _ if file == model_file => MAX_FOREST_BYTES,
        golden::FILE => MAX_GOLDEN_BYTES,
        _ => MAX_OTHER_BYTES,
    }
}

pub(super) fn read_bounded(dir: &Path, file: &str, max: u64) -> Result<Vec<u8>, Error> {
    let path = dir.join(file);
    // Asked before it is opened: opening a pipe would wait for its other end.
    let metadata = path.metadata().map_err(Error::io(file))?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { file: file.to_owned() });
    }
    if metadata.len() > max {
        return Err(Error::TooLarge { file: file.to_owned(), max });
    }
    let mut content = Vec::with_capacity(metadata.len() as usize);
    let mut bounded = File::open(&path).map_err(Error::io(file))?.take(max + 1);
    bounded.read_to_end(&mut content).map_err(Error::io(file))?;
    if content.len() as u64 > max {
        return Err(Error::TooLarge { file: file.to_owned(), max });
    }
    Ok(content)
}

/// The vector's slots of the model's inputs, if each is defined as it was.
fn bind_features(manifest: &Manifest, plan: &Plan) -> Result<Vec<usize>, Error> {
    let mut seen = HashSet::new();
    let (mut indices, mut slots) = (Vec::new(), Vec::new());
    for listed in &manifest.features {
        let feature = listed.name.clone();
        if !seen.insert(&listed.name) {
            return Err(Error::DuplicateFeature { feature });
        }
        let Some(index) = plan.features.iter().position(|defined| *defined.name == *listed.name) else {
            return Err(Error::UnknownFeature { feature });
        };
        let defined = &plan.features[index];
        if *defined.digest != *listed.digest {
            return Err(Error::FeatureChanged { feature });
        }
        match defined.slot {
            Slot::Number(slot) => {
                indices.push(index);
                slots.push(slot);
            }
            Slot::Text(_) => return Err(Error::TextFeature { feature }),
        }
    }
    if plan.features_digest(&indices) != manifest.features_digest {
        return Err(Error::WrongFeaturesDigest);
    }
    Ok(slots)
}

/// A model may come without a label; one that names a label must mean the plan's.
fn check_label(manifest: &Manifest, plan: &Plan) -> Result<(), Error> {
    let planned = plan.models.iter().find(|model| *model.name == *manifest.name);
    let (Some(trained), Some(defined)) = (&manifest.label, planned.and_then(|model| model.label)) else {
        return Ok(());
    };
    let defined = Label::of(&plan.labels[defined]);
    if (&trained.name, trained.happens, trained.horizon) != (&defined.name, defined.happens, defined.horizon)
    {
        return Err(Error::OtherLabel { trained: trained.to_string(), defined: defined.to_string() });
    }
    if trained.digest != defined.digest {
        return Err(Error::LabelChanged { label: trained.name.clone() });
    }
    Ok(())
}

fn check_outputs(manifest: &Manifest) -> Result<(), Error> {
    let refuse = |reason: &str| Err(Error::Outputs { reason: reason.to_owned() });
    let names = manifest.outputs.iter().map(|output| output.name.as_str());
    match manifest.outputs.as_slice() {
        [] => return refuse("there is none"),
        outputs if outputs.iter().any(|output| output.name.is_empty()) => return refuse("a name is empty"),
        outputs if names.collect::<HashSet<_>>().len() < outputs.len() => {
            return refuse("two have the same name");
        }
        _ => {}
    }
    let (n, link) = (manifest.outputs.len(), manifest.link);
    if link.scale().is_some_and(|scale| !(scale.is_finite() && scale > 0.0)) {
        return refuse("the scale of the link is not a positive number");
    }
    // A network may end in its own link; that its outputs are probabilities is checked row by row.
    let has_own = link == Link::Identity && manifest.scorer == network_file::FORMAT;
    let is_probability = has_own || matches!(link, Link::Logistic | Link::ScaledLogistic { .. });
    let is_softmax = matches!(link, Link::Softmax | Link::ScaledSoftmax { .. });
    for output in &manifest.outputs {
        match output.kind {
            OutputKind::Probability if !is_probability => {
                return refuse("a probability needs the logistic link");
            }
            OutputKind::ClassProbability if n < 2 => return refuse("class probabilities need several"),
            OutputKind::ClassProbability if !is_probability && !is_softmax => {
                return refuse("class probabilities need the softmax or the logistic link");
            }
            OutputKind::Value | OutputKind::Rank if manifest.calibration != Calibration::None => {
                return refuse("only a probability is calibrated");
            }
            OutputKind::ClassProbability if manifest.calibration != Calibration::None => {
                return refuse("class probabilities are not calibrated");
            }
            _ => {}
        }
    }
    Ok(())
}

/// A calibration must map probabilities to probabilities and keep their order.
fn check_calibration(calibration: &Calibration) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::Calibration { reason });
    match calibration {
        Calibration::None => Ok(()),
        Calibration::Platt { slope, intercept } if slope.is_finite() && intercept.is_finite() => {
            if *slope < 0.0 {
                return refuse(format!("the slope {slope} turns the order around"));
            }
            Ok(())
        }
        Calibration::Platt { .. } => refuse("slope and intercept must be finite".to_owned()),
        Calibration::Isotonic { x, y } => {
            if x.is_empty() || x.len() != y.len() || x.len() > MAX_KNOTS {
                return refuse(format!("{} x and {} y of 1 to {MAX_KNOTS} knots", x.len(), y.len()));
            }
            for (axis, values) in [("x", x), ("y", y)] {
                if !values.iter().all(|value| (0.0..=1.0).contains(value)) {
                    return refuse(format!("{axis} must be probabilities"));
                }
                if !values.is_sorted() {
                    return refuse(format!("{axis} must not decrease"));
                }
            }
            Ok(())
        }
    }
}

fn check_shape(manifest: &Manifest, forest: &Forest) -> Result<(), Error> {
    let (n_inputs, n_features) = (forest.n_inputs(), manifest.features.len());
    if n_inputs != n_features {
        return Err(Error::WrongNumberOfFeatures { n_inputs, n_features });
    }
    let (found, named) = (forest.n_outputs(), manifest.outputs.len());
    if found != named {
        let reason = format!("the manifest names {named}, but the forest has {found}");
        return Err(Error::Outputs { reason });
    }
    Ok(())
}
