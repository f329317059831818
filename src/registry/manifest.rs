//! What an artifact says of itself: `manifest.json`, written last.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::calibration::Calibration;
use crate::engine::forest::SumOrder;
use crate::engine::model::{Link, OutputKind};
use crate::engine::plan::{LabelPlan, ModelPlan, Plan, sha256_hex};
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
    /// What reads the model file: `tipoff-forest`, `onnx-network`, or the format of a trainer.
    pub scorer: String,
    /// The model's inputs in their order, each bound to the digest of its definition.
    pub features: Vec<Feature>,
    /// One digest over all of them: [`Plan::features_digest`](crate::engine::plan::Plan::features_digest).
    pub features_digest: String,
    /// What the outputs foretell; none for a model whose label is not ours.
    pub label: Option<Label>,
    pub missing: Missing,
    #[serde(with = "LinkForm")]
    pub link: Link,
    pub outputs: Vec<Output>,
    #[serde(with = "CalibrationForm")]
    pub calibration: Calibration,
    /// How a network is bound to features and outputs, where names alone do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Of trees: in which order their leaves are added.
    #[serde(default, with = "SumOrderForm", skip_serializing_if = "is_default")]
    pub sum_order: SumOrder,
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
    pub digest: String,
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

/// See [`Declared`](crate::onnx::Declared).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Features by the network's inputs, for inputs that are called otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// The network's output that has the scores, if it could be several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<String>,
    /// By the model's outputs: columns of the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<usize>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    pub trainer: String,
    /// The trainer's settings, the seed included.
    pub parameters: BTreeMap<String, f64>,
    pub train: Part,
    /// Decisions left out behind the training part, so that no label of it
    /// looks into the next one: the label's horizon.
    #[serde(with = "text")]
    pub gap_after_train: Millis,
    pub calibration: Part,
    /// The same behind the calibration part; zero where history is too short.
    #[serde(with = "text")]
    pub gap_after_calibration: Millis,
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

    /// As `manifest.json` holds it.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut content = serde_json::to_vec_pretty(self).expect("numbers and names always serialise");
        content.push(b'\n');
        content
    }

    /// The manifest of an uncalibrated binary model in log-odds, of the model
    /// and the features (by index) of a plan, to be filled in and published.
    pub fn of_binary(plan: &Plan, model: &ModelPlan, features: &[usize]) -> Self {
        let feature = |&index: &usize| Feature {
            name: plan.features[index].name.to_string(),
            digest: plan.features[index].digest.to_string(),
        };
        Self {
            format: String::new(),
            format_version: 0,
            name: model.name.to_string(),
            version: 0,
            created: Timestamp::from_millis(0),
            scorer: String::new(),
            features: features.iter().map(feature).collect(),
            features_digest: plan.features_digest(features),
            label: model.label.map(|label| Label::of(&plan.labels[label])),
            missing: Missing::Native,
            link: Link::Logistic,
            outputs: vec![Output { name: "probability".to_owned(), kind: OutputKind::Probability }],
            calibration: Calibration::None,
            network: None,
            sum_order: SumOrder::default(),
            training: None,
            metrics: None,
            thresholds: Vec::new(),
            files: BTreeMap::new(),
        }
    }
}

impl Label {
    pub fn of(label: &LabelPlan) -> Self {
        Self {
            name: label.name.to_string(),
            digest: label.digest.to_string(),
            happens: label.happens,
            horizon: label.horizon,
        }
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
        Self { sha256: sha256_hex(content), bytes: content.len() as u64 }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SumOrder", rename_all = "snake_case")]
enum SumOrderForm {
    OfTrees,
    InParts,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Link", rename_all = "snake_case")]
enum LinkForm {
    Identity,
    Scaled { scale: f64 },
    Logistic,
    ScaledLogistic { scale: f64 },
    Softmax,
    ScaledSoftmax { scale: f64 },
    Exp,
    ScaledExp { scale: f64 },
    Softplus,
    SignedSquare,
    Step,
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
pub(super) mod text {
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
