//! `tipoff model package`: a model file and definitions to an artifact.

mod network;

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};

use super::opened;
use super::rows::{Inputs, Rows};
use super::trees;
use crate::cli::outcome::usage;
use crate::cli::print::count;
use crate::clock::Clock;
use crate::config::ClockMode;
use crate::definitions;
use crate::engine::calibration::Calibration;
use crate::engine::forest::SumOrder;
use crate::engine::link::Link;
use crate::engine::model::{Model, Output, OutputKind, Scorer, Unscored};
use crate::engine::plan::{ModelPlan, Plan};
use crate::engine::time::Timestamp;
use crate::model_file::{self, TreeModel};
use crate::registry::{self, Content, Draft, Golden, Manifest, Published};

/// Rows that the artifact must score as now.
const GOLDEN_ROWS: usize = 64;
const SEED: u64 = 1;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model file as its trainer writes it: trees, or a network in ONNX
    file: PathBuf,
    /// The definitions of its features
    #[arg(long, value_name = "FILE")]
    definitions: PathBuf,
    /// Which model of the definitions it is
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The models' directory, in which it becomes the next version
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The features that are its inputs, in its order; else those that its inputs
    /// are called after, or of a file without names those of the model's definition
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    features: Vec<String>,
    /// What its outputs are called; else `probability`, `value`, `class_0`, …; of a
    /// network `probability`
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    outputs: Vec<String>,
    /// Of a network: what makes outputs of its scores, `identity` if it does that itself
    #[arg(long, value_enum)]
    link: Option<network::LinkName>,
    /// Of a network with several outputs: the one with the scores
    #[arg(long, value_name = "OUTPUT")]
    scores: Option<String>,
    /// Of trees: in which order their leaves are added. `of-trees` gives to the last bit what
    /// the trainer does; `in-parts` is faster, and differs in the last digits
    #[arg(long, value_enum, value_name = "ORDER", default_value = "of-trees")]
    sum_order: SumOrderName,
    /// Rows for the golden cases, as for `score`; else made up, of trees around their thresholds
    #[arg(long, value_name = "ROWS")]
    rows: Option<PathBuf>,
    /// When it was made (RFC 3339), for artifacts that are the same byte for
    /// byte; else SOURCE_DATE_EPOCH (seconds) if set, else now
    #[arg(long, value_name = "TIME")]
    created: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum SumOrderName {
    OfTrees,
    InParts,
}

impl From<SumOrderName> for SumOrder {
    fn from(name: SumOrderName) -> Self {
        match name {
            SumOrderName::OfTrees => Self::OfTrees,
            SumOrderName::InParts => Self::InParts,
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let plan = definitions::load(&args.definitions).map_err(usage)?;
    let model = plan.models.iter().find(|model| *model.name == *args.model).ok_or_else(|| {
        let known: Vec<&str> = plan.models.iter().map(|model| &*model.name).collect();
        usage(anyhow!("the definitions have no model {:?}: {}", args.model, known.join(", ")))
    })?;
    let in_file = || args.file.display().to_string();
    let content = model_file::content(&args.file).with_context(in_file).map_err(usage)?;
    let published = match model_file::read(&content) {
        Err(model_file::Error::NotTrees { .. }) => network::publish(args, &content, &plan, model),
        Err(error) => Err(usage(anyhow!(error).context(in_file()))),
        Ok(file) => publish(args, &content, &file, &plan, model),
    };
    println!("{}", published?.dir.display());
    Ok(())
}

/// Makes an artifact of trees.
fn publish(
    args: &Args,
    content: &[u8],
    file: &TreeModel,
    plan: &Plan,
    model: &ModelPlan,
) -> Result<Published> {
    if args.link.is_some() || args.scores.is_some() {
        return Err(usage(anyhow!("--link and --scores are for networks: the file says what its trees are")));
    }
    let features = args.features(file, plan, model).map_err(usage)?;
    let mut manifest = args.manifest(plan, model, &features, file.link, &args.outputs(file)?)?;
    manifest.sum_order = args.sum_order.into();
    let rows = args.given_rows(&manifest)?.unwrap_or_else(|| trees::rows(&file.forest, GOLDEN_ROWS, SEED));
    let forest = file.forest.clone().with_order(manifest.sum_order);
    let reference = scored_by(&manifest, Box::new(forest.context("--sum-order").map_err(usage)?));
    let golden: Vec<Golden> = cases(&reference, &rows).collect::<Result<_, _>>().map_err(usage)?;
    let content = Content::Foreign(file.format, content);
    let draft = Draft { manifest, model: content, golden: &golden, extra: Default::default() };
    args.publish(draft, plan, file.format.name())
}

impl Args {
    fn publish(&self, draft: Draft<'_>, plan: &Plan, format: &str) -> Result<Published> {
        let features = count(draft.manifest.features.len() as u64, "feature");
        let golden = count(draft.golden.len() as u64, "golden row");
        let published = registry::publish(&self.out, draft, plan).map_err(usage)?;
        eprintln!("{format} of {features}, verified with {golden}");
        Ok(published)
    }

    /// By the file's inputs: the feature, by its index in the plan.
    fn features(&self, file: &TreeModel, plan: &Plan, model: &ModelPlan) -> Result<Vec<usize>> {
        let n_inputs = file.forest.n_inputs();
        let names = match &file.input_names {
            _ if !self.features.is_empty() => &self.features,
            Some(names) => names,
            None if model.features.len() == n_inputs => return Ok(model.features.clone()),
            None => bail!(
                "{}: {n_inputs} inputs without names, and the definition of {:?} has {}: \
                 --features names them in the model's order",
                self.file.display(),
                self.model,
                count(model.features.len() as u64, "feature"),
            ),
        };
        if names.len() != n_inputs {
            bail!("--features: {} for {n_inputs} inputs", count(names.len() as u64, "name"));
        }
        indices(names, plan)
    }

    /// Those of the file, under the names that were given.
    fn outputs(&self, file: &TreeModel) -> Result<Vec<Output>> {
        let mut outputs = opened::outputs(file);
        if !self.outputs.is_empty() {
            if self.outputs.len() != outputs.len() {
                let named = count(self.outputs.len() as u64, "name");
                return Err(usage(anyhow!("--outputs: {named} for {} outputs", outputs.len())));
            }
            outputs
                .iter_mut()
                .zip(&self.outputs)
                .for_each(|(output, name)| output.name = name.as_str().into());
        }
        Ok(outputs)
    }

    fn manifest(
        &self,
        plan: &Plan,
        model: &ModelPlan,
        features: &[usize],
        link: Link,
        outputs: &[Output],
    ) -> Result<Manifest> {
        let mut manifest = Manifest::of_binary(plan, model, features);
        if outputs.iter().any(|output| output.kind != OutputKind::Probability) {
            // What it says is not how likely the label is.
            manifest.label = None;
        }
        let outputs = outputs
            .iter()
            .map(|output| registry::Output { name: output.name.to_string(), kind: output.kind })
            .collect();
        Ok(Manifest { created: self.created()?, link, outputs, ..manifest })
    }

    /// The first rows of `--rows`, by the manifest's features.
    fn given_rows(&self, manifest: &Manifest) -> Result<Option<Vec<f64>>> {
        let Some(path) = &self.rows else { return Ok(None) };
        let names: Vec<_> = manifest.features.iter().map(|feature| feature.name.as_str().into()).collect();
        let mut rows = Vec::new();
        let mut given = Rows::open(path, Inputs::ByName(&names)).map_err(usage)?;
        given.read(GOLDEN_ROWS, &mut rows).map_err(usage)?;
        Ok(Some(rows))
    }

    fn created(&self) -> Result<Timestamp> {
        if let Some(created) = self.created {
            return Ok(created);
        }
        match std::env::var("SOURCE_DATE_EPOCH") {
            Err(_) => Ok(Clock::new(ClockMode::Wall).now()),
            Ok(seconds) => {
                let ms = seconds.parse().ok().and_then(|seconds: i64| seconds.checked_mul(1_000));
                ms.map(Timestamp::from_millis)
                    .context("SOURCE_DATE_EPOCH is not whole seconds")
                    .map_err(usage)
            }
        }
    }
}

/// The manifest's model, for its golden cases.
fn scored_by(manifest: &Manifest, scorer: Box<dyn Scorer>) -> Model {
    let outputs = manifest.outputs.iter();
    Model {
        name: manifest.name.as_str().into(),
        version: 0,
        inputs: (0..manifest.features.len()).collect(),
        input_names: manifest.features.iter().map(|feature| feature.name.as_str().into()).collect(),
        outputs: outputs
            .map(|output| Output { name: output.name.as_str().into(), kind: output.kind })
            .collect(),
        link: manifest.link,
        calibration: Calibration::None,
        scorer,
    }
}

/// What the model says of each row without an infinity, which golden cases cannot hold.
fn cases(model: &Model, rows: &[f64]) -> impl Iterator<Item = Result<Golden, Unscored>> {
    let rows = rows.chunks(model.inputs.len().max(1));
    let rows = rows.filter(|row| !row.iter().any(|value| value.is_infinite()));
    rows.map(|row| Golden::of(model, row.to_vec()))
}

/// The features that are called so, by index in the plan.
fn indices(names: &[String], plan: &Plan) -> Result<Vec<usize>> {
    let index = |name: &String| {
        let index = plan.features.iter().position(|feature| *feature.name == **name);
        index.ok_or_else(|| {
            anyhow!(
                "no definition is called {name:?} as the model's input is: \
                 --features names the features in the model's order"
            )
        })
    };
    names.iter().map(index).collect()
}
