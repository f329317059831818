//! A model from an artifact's directory or from a file of a trainer, to be
//! looked at and scored without a server.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::engine::calibration::Calibration;
use crate::engine::forest::{Forest, RankedForest};
use crate::engine::link::Link;
use crate::engine::model::{Model, Output, OutputKind};
use crate::model_file::{self, TreeModel};
use crate::onnx::Networks;
use crate::registry::{self, Artifact, Manifest};

pub struct Opened {
    pub model: Model,
    /// Whether the inputs' names are the file's own.
    pub has_names: bool,
    pub format: String,
    /// As the trainer names it; of an artifact, what the outputs foretell.
    pub objective: String,
    /// Whether the trainer's own answer is the likeliest class instead of all outputs.
    pub says_class: bool,
    /// Of what scores, in bytes.
    pub size: u64,
    /// None for a network.
    pub forest: Option<Forest>,
    /// None for a file of a trainer.
    pub manifest: Option<Arc<Manifest>>,
}

impl Opened {
    /// Reads and checks what is at `path`; an artifact with its golden cases.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = if path.is_dir() { Self::artifact(path) } else { Self::file(path) };
        opened.with_context(|| path.display().to_string())
    }

    fn file(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path)?.len();
        let file = model_file::open(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            has_names: file.input_names.is_some(),
            format: file.format.name().to_owned(),
            objective: file.objective.clone(),
            says_class: file.objective == "multi:softmax",
            size,
            forest: Some(file.forest.clone()),
            manifest: None,
            model: model(&name, file),
        })
    }

    fn artifact(dir: &Path) -> Result<Self> {
        let Artifact { model, manifest, forest } = registry::open_artifact(dir, &Networks::default())?;
        Ok(Self {
            has_names: true,
            format: manifest.scorer.clone(),
            objective: manifest.label.as_ref().map_or_else(String::new, |label| format!("label {label}")),
            says_class: false,
            size: manifest.files.values().map(|file| file.bytes).sum(),
            forest,
            manifest: Some(manifest),
            model,
        })
    }
}

/// The model of a file, its inputs by position where it has no names for them.
fn model(name: &str, file: TreeModel) -> Model {
    let n_inputs = file.forest.n_inputs();
    let input_names = match &file.input_names {
        Some(names) => names.iter().map(|name| name.as_str().into()).collect(),
        None => (0..n_inputs).map(|input| format!("input_{input}").into()).collect(),
    };
    Model {
        name: name.into(),
        version: 0,
        inputs: (0..n_inputs).collect(),
        input_names,
        outputs: outputs(&file),
        link: file.link,
        calibration: Calibration::None,
        scorer: Box::new(RankedForest::new(file.forest)),
    }
}

/// What the outputs of a trainer's file are, by its link.
pub fn outputs(file: &TreeModel) -> Vec<Output> {
    let is_probability = matches!(
        file.link,
        Link::Logistic | Link::ScaledLogistic { .. } | Link::Softmax | Link::ScaledSoftmax { .. }
    );
    let is_rank = file.objective.to_ascii_lowercase().contains("rank");
    let (name, kind) = match file.forest.n_outputs() {
        1 if is_probability => ("probability", OutputKind::Probability),
        1 if is_rank => ("rank", OutputKind::Rank),
        1 => ("value", OutputKind::Value),
        _ if is_probability => ("class", OutputKind::ClassProbability),
        _ => ("value", OutputKind::Value),
    };
    match file.forest.n_outputs() {
        1 => vec![Output { name: name.into(), kind }],
        n => (0..n).map(|output| Output { name: format!("{name}_{output}").into(), kind }).collect(),
    }
}
