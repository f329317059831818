//! Model files as their trainers write them, read into the one form of
//! [`Forest`].
//!
//! Files come from outside: what a loader takes in is bounded, and what it
//! cannot take over exactly is refused with its place and name.

pub mod catboost;
mod error;
pub mod gbdt;
mod json;
pub mod onnx;

pub use error::Error;

use crate::engine::forest::{Forest, Leaf, Node, Tree};
use crate::engine::link::Link;

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 256 << 20;

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
    /// Our own.
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
