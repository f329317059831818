//! Model files as their trainers write them, read into the one form of
//! [`Forest`].
//!
//! Files come from outside: what a loader takes in is bounded, and what it
//! cannot take over exactly is refused with its place and name.

pub mod catboost;
mod detect;
mod error;
pub mod gbdt;
mod json;
pub mod lightgbm;
pub mod onnx;
mod ubjson;
pub mod xgboost;

pub use detect::detect;
pub use error::Error;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::engine::forest::{Forest, Leaf, Node, Tree};
use crate::engine::link::Link;

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 256 << 20;

/// The model of a file, of whichever format it is.
pub fn open(path: &Path) -> Result<TreeModel, Error> {
    read(&content(path)?)
}

/// The bytes of a model file.
pub fn content(path: &Path) -> Result<Vec<u8>, Error> {
    // Before it is opened: opening a pipe waits for a writer.
    let metadata = fs::metadata(path).map_err(Error::Io)?;
    if !metadata.is_file() {
        return Err(Error::NotAFile);
    }
    if metadata.len() > MAX_BYTES as u64 {
        return Err(Error::TooLarge);
    }
    let file = File::open(path).map_err(Error::Io)?;
    let mut content = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut content).map_err(Error::Io)?;
    Ok(content)
}

/// The model of a file's content.
pub fn read(content: &[u8]) -> Result<TreeModel, Error> {
    if content.len() > MAX_BYTES {
        return Err(Error::TooLarge);
    }
    match detect(content).ok_or(Error::UnknownFormat)? {
        Format::Lightgbm => lightgbm::read(content),
        Format::XgboostJson => xgboost::read_json(content),
        Format::XgboostUbjson => xgboost::read_ubjson(content),
        Format::CatboostJson => catboost::read(content),
        Format::Gbdt => gbdt::read(content),
        Format::Onnx => onnx::read(content),
        // Its link and names are in the artifact's manifest.
        Format::Tipoff => Err(Error::unsupported(Format::Tipoff, "a file without its artifact")),
    }
}

/// What a file says of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeModel {
    pub format: Format,
    /// As the trainer names it.
    pub objective: String,
    pub forest: Forest,
    pub link: Link,
    /// By input; none where the file has no names.
    pub input_names: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// LightGBM's text.
    Lightgbm,
    XgboostJson,
    XgboostUbjson,
    CatboostJson,
    /// What the `gbdt` crate saves.
    Gbdt,
    /// ONNX `TreeEnsembleClassifier`, `TreeEnsembleRegressor` or `TreeEnsemble`.
    Onnx,
    /// Our own: the forest of an artifact.
    Tipoff,
}

impl Format {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lightgbm => "LightGBM text",
            Self::XgboostJson => "XGBoost JSON",
            Self::XgboostUbjson => "XGBoost UBJSON",
            Self::CatboostJson => "CatBoost JSON",
            Self::Gbdt => "gbdt",
            Self::Onnx => "ONNX",
            Self::Tipoff => "tipoff forest",
        }
    }
}

/// Trees of a leaf each, for trainers that add a base score (by output) after all
/// other trees: a sum's order decides its last bits.
fn added_last(base: &[f64]) -> impl Iterator<Item = Tree> {
    let leaf = |value| vec![Node::Leaf(Leaf { value, cover: 0.0 })];
    let outputs = base.iter().enumerate().filter(|(_, base)| **base != 0.0);
    outputs.map(move |(output, &base)| Tree { output: output as u32, nodes: leaf(base) })
}

/// Gives every split the cover of its children, which come after it.
fn sum_covers(nodes: &mut [Node]) {
    for node in (0..nodes.len()).rev() {
        if let Node::Split(split) = &nodes[node] {
            let cover = nodes[split.left as usize].cover() + nodes[split.right as usize].cover();
            if let Node::Split(split) = &mut nodes[node] {
                split.cover = cover;
            }
        }
    }
}
