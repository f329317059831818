//! An artifact of a network.

use anyhow::{Context, Result, anyhow};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Args, GOLDEN_ROWS, SEED, SumOrderName, cases, indices, scored_by};
use crate::cli::outcome::usage;
use crate::engine::link::Link;
use crate::engine::model::{Model, Output, OutputKind};
use crate::engine::plan::{ModelPlan, Plan};
use crate::onnx::{Declared, Graph, Networks};
use crate::registry::{Content, Draft, Golden, Manifest, Network, Published};

/// The links that networks leave to others.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum LinkName {
    Identity,
    Logistic,
    Softmax,
    Exp,
    Softplus,
}

/// Makes an artifact of a network, with golden cases as it answers here.
pub fn publish(args: &Args, content: &[u8], plan: &Plan, model: &ModelPlan) -> Result<Published> {
    let link = args.link.map(Link::from).ok_or_else(|| {
        let missing = "--link is missing: whether the network gives outputs (identity), or scores that \
                       the logistic function or another makes outputs of, no file says";
        usage(anyhow!(missing))
    })?;
    if args.sum_order != SumOrderName::OfTrees {
        return Err(usage(anyhow!("--sum-order is for trees")));
    }
    let features = features(args, content, plan, model).map_err(usage)?;
    let outputs = outputs(args, link, model)?;
    let scores = args.scores.clone();
    let manifest = Manifest {
        network: scores.is_some().then(|| Network { scores: scores.clone(), ..Network::default() }),
        ..args.manifest(plan, model, &features, link, &outputs)?
    };

    let networks = Networks::default();
    let names: Vec<&str> = manifest.features.iter().map(|feature| feature.name.as_str()).collect();
    let declared = Declared { scores, ..Declared::default() };
    let network = networks.open(content, &names, &outputs, &declared);
    let network = network.with_context(|| args.file.display().to_string()).map_err(usage)?;
    let golden = golden(&scored_by(&manifest, Box::new(network)), args.given_rows(&manifest)?)?;
    let content = Content::Network(content, &networks);
    let draft = Draft { manifest, model: content, golden: &golden, extra: Default::default() };
    args.publish(draft, plan, "ONNX network")
}

/// Those that are named, or else those that the network's inputs are called
/// after, or of a matrix those of the model's definition.
fn features(args: &Args, content: &[u8], plan: &Plan, model: &ModelPlan) -> Result<Vec<usize>> {
    if !args.features.is_empty() {
        return indices(&args.features, plan);
    }
    let graph = Graph::read(content).with_context(|| args.file.display().to_string())?;
    let names: Vec<String> = graph.inputs.iter().map(|input| input.name.to_owned()).collect();
    let is_feature = |name: &String| plan.features.iter().any(|feature| *feature.name == **name);
    match &names[..] {
        [only] if !is_feature(only) => Ok(model.features.clone()),
        names => indices(names, plan),
    }
}

fn outputs(args: &Args, link: Link, model: &ModelPlan) -> Result<Vec<Output>> {
    if matches!(link, Link::Softmax) && args.outputs.len() < 2 {
        return Err(usage(anyhow!("--outputs: softmax is over classes, name each")));
    }
    // What a network says itself of a label is how likely it is.
    let is_probability = match link {
        Link::Identity => model.label.is_some(),
        Link::Logistic | Link::Softmax => true,
        _ => false,
    };
    let (name, kind) = match (is_probability, args.outputs.len()) {
        (true, 0 | 1) => ("probability", OutputKind::Probability),
        (true, _) => ("class", OutputKind::ClassProbability),
        (false, _) => ("value", OutputKind::Value),
    };
    let output = |name: &str| Output { name: name.into(), kind };
    Ok(match &args.outputs[..] {
        [] => vec![output(name)],
        names => names.iter().map(|name| output(name)).collect(),
    })
}

/// What the network answers to rows that are given, or else made up.
fn golden(model: &Model, given: Option<Vec<f64>>) -> Result<Vec<Golden>> {
    if let Some(rows) = given {
        return cases(model, &rows).collect::<Result<_, _>>().map_err(usage);
    }
    // It need not take whatever comes to mind.
    let golden: Vec<Golden> = cases(model, &made_up(model.inputs.len())).flatten().collect();
    if golden.is_empty() {
        return Err(usage(anyhow!("--rows: the network gives no score for the rows that were made up")));
    }
    Ok(golden)
}

/// Counts, amounts and what is about zero; some zeros, and some missing in every fourth row.
fn made_up(n_inputs: usize) -> Vec<f64> {
    let mut dice = ChaCha8Rng::seed_from_u64(SEED);
    let mut value = |row: usize| match dice.random_range(0..8) {
        0 if row.is_multiple_of(4) => f64::NAN,
        0 | 1 => 0.0,
        2 | 3 => f64::from(dice.random_range(1..20)),
        4 | 5 => (dice.random_range(0.0..6.0_f64)).exp(),
        _ => dice.random_range(-3.0..3.0),
    };
    (0..GOLDEN_ROWS).flat_map(|row| vec![row; n_inputs]).map(&mut value).collect()
}

impl From<LinkName> for Link {
    fn from(name: LinkName) -> Self {
        match name {
            LinkName::Identity => Self::Identity,
            LinkName::Logistic => Self::Logistic,
            LinkName::Softmax => Self::Softmax,
            LinkName::Exp => Self::Exp,
            LinkName::Softplus => Self::Softplus,
        }
    }
}
