//! `tipoff model inspect`: what a model is, and what it costs here.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::opened::Opened;
use super::trees::{self, Summary};
use crate::cli::outcome::usage;
use crate::engine::model::Model;

/// Rows that the cost is measured over.
const ROWS: usize = 1_024;
/// Rows timed at a time: many times what the clock takes.
const TIMED_ROWS: usize = 16;
const MEASURED: Duration = Duration::from_millis(300);
const SEED: u64 = 1;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An artifact's directory, or a model file as its trainer writes it
    path: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Nanoseconds a row of single-row scoring on one thread.
struct Cost {
    p50_ns: f64,
    p99_ns: f64,
}

pub fn run(args: &Args) -> Result<()> {
    let opened = Opened::open(&args.path).map_err(usage)?;
    let rows = match &opened.forest {
        Some(forest) => trees::rows(forest, ROWS, SEED),
        None => vec![0.0; ROWS * opened.model.inputs.len()],
    };
    let cost = cost(&opened.model, &rows);
    let described = describe(&opened, &cost);
    if args.json {
        println!(
            "{}",
            described.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>()
        );
        return Ok(());
    }
    for (name, value) in described {
        match value {
            Value::Null => {}
            Value::String(text) => println!("{name:<12} {text}"),
            Value::Array(values) => {
                let shown: Vec<_> = values.iter().map(|value| value.as_str().unwrap_or_default()).collect();
                println!("{name:<12} {}: {}", shown.len(), shown.join(", "));
            }
            value => println!("{name:<12} {value}"),
        }
    }
    Ok(())
}

/// Names with values, in the order in which they are told.
fn describe(opened: &Opened, cost: &Cost) -> Vec<(&'static str, Value)> {
    let model = &opened.model;
    let named = |inputs: &mut dyn Iterator<Item = usize>| -> Value {
        inputs.map(|input| json!(*model.input_names[input])).collect()
    };
    let mut described = vec![("format", json!(opened.format))];
    if let Some(manifest) = &opened.manifest {
        described.push(("model", json!(format!("{} version {}", manifest.name, manifest.version))));
        described.push(("created", json!(manifest.created.to_string())));
    }
    described.push(("objective", json!(opened.objective)));
    described.push(("link", json!(format!("{:?}", model.link))));
    described.push(("outputs", model.outputs.iter().map(|output| json!(*output.name)).collect()));
    described.push(("features", named(&mut (0..model.inputs.len()))));
    if let Some(forest) = &opened.forest {
        let summary = Summary::of(forest);
        described.push(("read", json!(summary.used.len())));
        described.push(("categories", named(&mut summary.categorical.iter().copied())));
        described.push(("trees", json!(summary.n_trees)));
        described.push(("leaves", json!(summary.n_leaves)));
        described.push(("max_leaves", json!(summary.max_leaves)));
        described.push(("depth", json!(summary.depth)));
        described.push(("engine", json!(model.scorer.engine())));
    }
    described.push(("bytes", json!(opened.size)));
    described.push(("ns_per_row", json!(cost.p50_ns.round())));
    described.push(("ns_per_row_p99", json!(cost.p99_ns.round())));
    described
}

/// Scores the rows one by one, again and again.
fn cost(model: &Model, rows: &[f64]) -> Cost {
    let (n_inputs, mut raw) = (model.inputs.len().max(1), vec![0.0; model.outputs.len()]);
    // Of a model without inputs all rows are the same.
    let rows = if model.inputs.is_empty() { &[0.0; TIMED_ROWS] } else { rows };
    let (started, mut samples_ns) = (Instant::now(), Vec::new());
    while started.elapsed() < MEASURED {
        for block in rows.chunks(TIMED_ROWS * n_inputs) {
            let begun = Instant::now();
            for row in block.chunks(n_inputs) {
                let row = &row[..model.inputs.len()];
                model.scorer.score(std::hint::black_box(row), std::hint::black_box(&mut raw));
            }
            samples_ns.push(begun.elapsed().as_nanos() as f64 / TIMED_ROWS as f64);
        }
    }
    samples_ns.sort_unstable_by(f64::total_cmp);
    let percentile = |share: f64| samples_ns[((samples_ns.len() - 1) as f64 * share) as usize];
    Cost { p50_ns: percentile(0.5), p99_ns: percentile(0.99) }
}
