//! Why an artifact is refused.

use std::io;

use crate::engine::forest;
use crate::engine::model::Unscored;
use crate::model_file;
use crate::onnx;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{name:?} is not a model name: letters, digits, `_` and `-`, at most {max}", max = super::MAX_NAME)]
    BadName { name: String },
    #[error("the definitions have no model {name:?}")]
    UnknownModel { name: String },
    #[error("no artifact of this model")]
    NoArtifact,
    #[error("{entry:?} is not a version: a whole number from 1")]
    NotAVersion { entry: String },
    #[error("more than {max} versions", max = super::MAX_VERSIONS)]
    TooManyVersions,
    #[error("there is no version {version}, neither loaded nor in the models' directory")]
    UnknownVersion { version: u32 },
    #[error("version {version} is there already, with other content")]
    VersionTaken { version: u32 },
    #[error("{file:?} is sent twice, or its parts are not together")]
    SentTwice { file: String },
    #[error("empty, and {file:?} has begun")]
    EmptyPart { file: String },
    #[error("{file} was not sent, but the manifest lists it")]
    NotSent { file: String },
    #[error("more than {max} files", max = super::load::MAX_FILES)]
    TooManyFiles,
    #[error("the artifact has more than {max} bytes")]
    ArtifactTooLarge { max: u64 },
    #[error("no manifest.json: not published, or still being written")]
    NotPublished,
    #[error("{file}: {error}")]
    Io { file: String, error: io::Error },
    #[error("{file} is not a regular file")]
    NotAFile { file: String },
    #[error("{file} has more than {max} bytes")]
    TooLarge { file: String, max: u64 },
    #[error("{file}: {reason}")]
    Malformed { file: String, reason: String },
    #[error("{file} is of format {found:?}, not {expected:?}")]
    WrongFormat { file: String, found: String, expected: String },
    #[error("{file} is of format version {found}, newer than {known}, the newest known here")]
    NewerFormat { file: String, found: u32, known: u32 },
    #[error("the manifest is of {name:?} version {version}, which is not where it stands")]
    Misplaced { name: String, version: u32 },
    #[error("the scorer {scorer:?} is not known here")]
    UnknownScorer { scorer: String },
    #[error("the manifest lists no {file}")]
    NotListed { file: String },
    #[error("the manifest lists {file:?}, which is not a plain file name")]
    BadFileName { file: String },
    #[error("{file} has {found} bytes, not {expected}")]
    WrongSize { file: String, found: u64, expected: u64 },
    #[error("{file} does not have the SHA-256 of the manifest")]
    WrongChecksum { file: String },
    #[error("forest.json: {0}")]
    Forest(forest::Error),
    #[error("network.onnx: {0}")]
    Network(onnx::Error),
    #[error("`network` is for the scorer {network:?}, not {scorer:?}", network = super::network_file::FORMAT)]
    NoNetwork { scorer: String },
    #[error("`sum_order` is for trees, not for the scorer {scorer:?}", scorer = super::network_file::FORMAT)]
    PartsOfNetwork,
    #[error("{file}: {error}")]
    ForeignModel { file: String, error: model_file::Error },
    #[error("the model reads {n_inputs} inputs, the manifest lists {n_features} features")]
    WrongNumberOfFeatures { n_inputs: usize, n_features: usize },
    #[error("the feature {feature:?} is listed twice")]
    DuplicateFeature { feature: String },
    #[error("the digest over all features is not that of the features listed")]
    WrongFeaturesDigest,
    #[error("the definitions have no feature {feature:?}")]
    UnknownFeature { feature: String },
    #[error("the feature {feature:?} is defined otherwise than when the model was trained")]
    FeatureChanged { feature: String },
    #[error("the feature {feature:?} is a text, not a number")]
    TextFeature { feature: String },
    #[error("trained for the label {trained}, but the definitions have {defined}")]
    OtherLabel { trained: String, defined: String },
    #[error("the label {label:?} is defined otherwise than when the model was trained")]
    LabelChanged { label: String },
    #[error("outputs: {reason}")]
    Outputs { reason: String },
    #[error("calibration: {reason}")]
    Calibration { reason: String },
    #[error("golden case {case} has {n_inputs} inputs and {n_outputs} outputs, unlike the model")]
    GoldenShape { case: usize, n_inputs: usize, n_outputs: usize },
    #[error("golden case {case} has no score: {unscored}")]
    GoldenUnscored { case: usize, unscored: Unscored },
    #[error("golden case {case}: {output} should be {expected}, but is {found}")]
    GoldenMismatch { case: usize, output: String, expected: f64, found: f64 },
}

impl Error {
    pub(super) fn malformed(file: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), reason: reason.into() }
    }

    pub(super) fn io(file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        |error| Self::Io { file, error }
    }
}
