//! Forests against what else would score the same models, each through its C
//! interface, interleaved in one process. `run.py` makes the models and says
//! where the peers' libraries are.

mod catboost;
mod engine;
mod goals;
mod lightgbm;
mod lleaves;
mod onnx;
mod ours;
mod timing;
mod xgboost;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Deserialize;
use tipoff::engine::forest::{Path, SumOrder};
use tipoff::model_file;

use self::engine::{Contestant, Rows};
use self::ours::Ours;

#[derive(Parser)]
struct Args {
    /// Where `run.py` has put `peers.json`.
    #[arg(long, default_value = "target/peers")]
    folder: PathBuf,
    /// Distinct rows.
    #[arg(long, default_value_t = 20_000)]
    rows: usize,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// `peers.json`.
#[derive(Deserialize)]
struct Peers {
    /// Numbers in double precision, row by row.
    rows: PathBuf,
    n_inputs: usize,
    /// Shared libraries.
    lightgbm: PathBuf,
    xgboost: PathBuf,
    onnxruntime: PathBuf,
    models: Vec<Files>,
}

/// A model's files; none where a peer could not make one.
#[derive(Deserialize)]
struct Files {
    name: String,
    n_trees: usize,
    n_leaves: usize,
    lightgbm: PathBuf,
    onnx: Option<PathBuf>,
    xgboost: Option<PathBuf>,
    lleaves: Option<PathBuf>,
    catboost: Option<PathBuf>,
    catboost_library: Option<PathBuf>,
}

/// Our fastest, leaves added in parts.
const IN_PARTS: &str = "tipoff in parts";

fn main() -> Result<()> {
    let args = Args::parse();
    let place = args.folder.join("peers.json");
    let Ok(content) = fs::read(&place) else {
        println!("skipped: there is no {}; benches/peers/run.py makes it", place.display());
        return Ok(());
    };
    let peers: Peers = serde_json::from_slice(&content).context("peers.json")?;
    let rows = Rows::read(&peers.rows, peers.n_inputs, args.rows)?;
    println!(
        "{} distinct rows of {} inputs; the clock costs {:.0} ns a reading, which is in every time",
        rows.n(),
        rows.n_inputs,
        timing::clock_ns()
    );
    onnx::open_library(&peers.onnxruntime)?;
    for files in &peers.models {
        println!("\n({}) {} trees of {} leaves", files.name, files.n_trees, files.n_leaves);
        compare(&peers, files, &rows)?;
    }
    Ok(())
}

fn compare(peers: &Peers, files: &Files, rows: &Rows) -> Result<()> {
    let best = || *Path::available().last().expect("there is always one");
    let forest = || Ok(model_file::lightgbm::read(&fs::read(&files.lightgbm)?)?.forest);
    let lightgbm = Contestant::new("LightGBM", || lightgbm::Booster::open(&peers.lightgbm, &files.lightgbm))?;
    let mut of_lightgbm = vec![lightgbm];
    for &path in Path::available() {
        of_lightgbm.push(Ours::contestant(format!("tipoff {path:?}"), path, forest)?);
    }
    let in_parts = || Ok(forest()?.with_order(SumOrder::InParts)?);
    of_lightgbm.push(Ours::contestant(IN_PARTS, best(), in_parts)?);
    if let Some(library) = &files.lleaves {
        of_lightgbm.push(Contestant::new("lleaves", move || lleaves::Compiled::open(library))?);
    }
    agree(&of_lightgbm, rows, 1e-12)?;
    // Other models, each against ours of the very same.
    let mut others = Vec::new();
    if let Some(path) = &files.onnx {
        let ours = Ours::contestant("tipoff, of ONNX", best(), move || {
            Ok(model_file::onnx::read(&fs::read(path)?)?.forest)
        })?;
        let peer = Contestant::new("ONNX Runtime", move || onnx::Prebound::open(path, rows.n_inputs))?;
        // It has the probability only, in single precision.
        agree_by(&peer, &ours, rows, |raw| 1.0 / (1.0 + (-raw).exp()), 1e-6)?;
        others.extend([peer, ours]);
    }
    if let Some(path) = &files.xgboost {
        let read = move || Ok(model_file::xgboost::read_ubjson(&fs::read(path)?)?.forest);
        let ours = Ours::contestant("tipoff, of XGBoost", best(), read)?;
        let peer = Contestant::new("XGBoost", move || xgboost::Booster::open(&peers.xgboost, path))?;
        agree_by(&peer, &ours, rows, |raw| raw, 1e-6)?;
        others.extend([peer, ours]);
    }
    if let (Some(json), Some(library)) = (&files.catboost, &files.catboost_library) {
        let read = move || Ok(model_file::catboost::read(&fs::read(json)?)?.forest);
        let ours = Ours::contestant("tipoff, of CatBoost", best(), read)?;
        let peer = Contestant::new("CatBoost C++", move || catboost::Exported::open(library))?;
        agree_by(&peer, &ours, rows, |raw| raw, 1e-12)?;
        others.extend([peer, ours]);
    }
    of_lightgbm.extend(others);
    timing::report(&files.name, &of_lightgbm, rows);
    Ok(())
}

/// All score what the first does.
fn agree(contestants: &[Contestant], rows: &Rows, within: f64) -> Result<()> {
    let (first, others) = contestants.split_first().context("nobody")?;
    others.iter().try_for_each(|other| agree_by(first, other, rows, |raw| raw, within))
}

/// `peer` scores what `of_raw` makes of `ours`, up to a part of it (of numbers below 1: of 1).
fn agree_by(
    peer: &Contestant,
    ours: &Contestant,
    rows: &Rows,
    of_raw: impl Fn(f64) -> f64,
    within: f64,
) -> Result<()> {
    let (mut peers_engine, mut our_engine) = ((peer.open)()?, (ours.open)()?);
    for at in 0..rows.n() {
        let (expected, found) = (peers_engine.score(rows, at), of_raw(our_engine.score(rows, at)));
        let gap = (expected - found).abs() / expected.abs().max(1.0);
        ensure!(gap <= within, "row {at}: {} scores {expected}, {} {found}", peer.name, ours.name);
    }
    Ok(())
}
