//! What an artifact says of itself: `manifest.json`, written last.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::calibration::Calibration;
use crate::engine::model::{Link, OutputKind};
use crate::engine::plan::LabelPlan;
use crate::engine::time::{Millis, Timestamp};

/// The manifest of one version of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`Manifest::FORMAT`]
    pub format: String,
    /// [`Manifest::FORMAT_VERSION`]
    pub format_version: u32,
    /// The model's name, that of the directory above.
    pub name: String,
    /// The version, that of the directory.
    pub version: u32,
    #[serde(with = "text")]
    pub created: Timestamp,
    /// What reads the model file: `tipoff-forest`.
    pub scorer: String,
    /// The model's inputs in their order, each bound to the digest of its definition.
    pub features: Vec<Feature>,
    /// One digest over all of them, see [`features_digest`].
    pub features_digest: String,
    /// What the outputs foretell; none for a model whose label is not ours.
    pub label: Option<Label>,
    pub missing: Missing,
    #[serde(with = "LinkForm")]
    pub link: Link,
    pub outputs: Vec<Output>,
    #[serde(with = "CalibrationForm")]
    pub calibration: Calibration,
    pub training: Option<Training>,
    pub metrics: Option<Metrics>,
    /// On the hold-out, by descending threshold.
    pub thresholds: Vec<Threshold>,
    /// Every other file of the directory that counts, by name.
    pub files: BTreeMap<String, FileSum>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    pub name: String,
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    pub name: String,
    /// `false`: the label is that the event does not happen.
    pub happens: bool,
    #[serde(with = "text")]
    pub horizon: Millis,
}

/// How a missing input reaches the scorer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// As NaN; each split names its missing side.
    Native,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    pub name: String,
    #[serde(with = "OutputKindForm")]
    pub kind: OutputKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    pub trainer: String,
    /// The trainer's settings, the seed included.
    pub parameters: BTreeMap<String, f64>,
    /// Left out between the parts, so that no label looks into the next one.
    #[serde(with = "text")]
    pub gap: Millis,
    pub train: Part,
    pub calibration: Part,
    pub holdout: Part,
}

/// A span of decision times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The first decision.
    #[serde(with = "text")]
    pub from: Timestamp,
    /// The last decision.
    #[serde(with = "text")]
    pub to: Timestamp,
    pub rows: u64,
    /// Rows whose label came true.
    pub positives: u64,
    pub users: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub train: PartMetrics,
    pub calibration: PartMetrics,
    pub holdout: PartMetrics,
}

/// Quality of the calibrated probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartMetrics {
    /// None where only one class is seen.
    pub auc: Option<f64>,
    /// A 95 % interval of the AUC by bootstrap over users.
    pub auc_interval: Option<[f64; 2]>,
    /// In nats.
    pub log_loss: f64,
    pub brier: f64,
    /// Expected calibration error over bins of equal count.
    pub ece: f64,
    pub base_rate: f64,
}

/// What acting at and above a threshold would mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    pub threshold: f64,
    pub precision: f64,
    pub recall: f64,
    /// Share of decisions at or above the threshold.
    pub share: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    /// Lower-case hex.
    pub sha256: String,
    pub bytes: u64,
}

/// What is read first, whatever the version.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub format: String,
    pub format_version: u32,
}

impl Manifest {
    pub const FILE: &str = "manifest.json";
    pub const FORMAT: &str = "tipoff-model";
    pub const FORMAT_VERSION: u32 = 1;
}

impl Label {
    pub fn of(label: &LabelPlan) -> Self {
        Self { name: label.name.to_string(), happens: label.happens, horizon: label.horizon }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let no = if self.happens { "" } else { "no " };
        write!(f, "{:?} ({no}event within {})", self.name, self.horizon)
    }
}

impl FileSum {
    pub fn of(content: &[u8]) -> Self {
        Self { sha256: hex(&Sha256::digest(content)), bytes: content.len() as u64 }
    }
}

/// The digest of a set of features in their order.
pub fn features_digest<'f>(features: impl IntoIterator<Item = (&'f str, &'f str)>) -> String {
    let mut hasher = Sha256::new();
    for (name, digest) in features {
        // Neither name nor digest holds a line break.
        hasher.update(format!("{name}\n{digest}\n"));
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Link", rename_all = "snake_case")]
enum LinkForm {
    Identity,
    Logistic,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OutputKind", rename_all = "snake_case")]
enum OutputKindForm {
    Probability,
    ClassProbability,
    Value,
    Rank,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Calibration", tag = "method", rename_all = "snake_case", deny_unknown_fields)]
enum CalibrationForm {
    None,
    Platt { slope: f64, intercept: f64 },
    Isotonic { x: Vec<f64>, y: Vec<f64> },
}

/// Types with one textual form: `Display` out, `FromStr` in.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
