//! Every model under `tests/models`, as the real libraries wrote it, against
//! what they answer; see its README. A new folder needs no line here.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tipoff::engine::forest::{Path as Instructions, Precision, RankedForest, SumOrder};
use tipoff::engine::model::Scorer;
use tipoff::model_file::{self, Error, TreeModel};

/// Of outputs and contributions; the libraries give some in single precision.
const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct CaseForm {
    models: Vec<String>,
    tolerance: Tolerance,
    #[serde(default)]
    covers: Vec<String>,
    #[serde(default)]
    contributions: bool,
    /// What the model is, if not trees.
    kind: Option<String>,
}

/// Of raw scores.
#[derive(Clone, Copy, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
enum Tolerance {
    Relative(f64),
    Float32Ulp(u32),
}

/// The columns of a CSV file by row; empty is NaN.
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

#[test]
fn models_answer_as_their_trainers_do() {
    let (mut mistakes, mut n_models, mut n_rows) = (Vec::new(), 0, 0);
    for (folder, case) in cases(|folder| !is_refused(folder)) {
        for name in &case.models {
            let file = folder.join(name);
            match model_file::open(&file) {
                Ok(model) => {
                    n_models += 1;
                    n_rows += check(&model, &folder, &case, |mistake| {
                        mistakes.push(format!("{}: {mistake}", shown(&file)));
                    });
                }
                Err(error) => mistakes.push(format!("{}: {error}", shown(&file))),
            }
        }
    }
    println!("{n_models} models, {n_rows} rows");
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(n_models >= 313, "{n_models} models");
}

#[test]
fn what_cannot_be_scored_exactly_is_refused_by_name() {
    let (mut mistakes, mut n_models) = (Vec::new(), 0);
    for (folder, case) in cases(is_refused) {
        for name in &case.models {
            n_models += 1;
            let file = folder.join(name);
            let refusal = match model_file::open(&file) {
                Ok(_) => "it is not refused".to_owned(),
                Err(error @ (Error::Unsupported { .. } | Error::NotTrees { .. })) => {
                    let error = error.to_string();
                    if case.covers.iter().any(|what| error.contains(what)) {
                        continue;
                    }
                    error
                }
                Err(error) => error.to_string(),
            };
            mistakes.push(format!("{} ({}): {refusal}", shown(&file), case.covers.join(", ")));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(n_models >= 22, "{n_models} models");
}

/// The cases of trees, by their folders.
fn cases(is_wanted: impl Fn(&Path) -> bool) -> Vec<(PathBuf, CaseForm)> {
    let mut cases = Vec::new();
    let mut folders = vec![models()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "case.toml") && is_wanted(&folder) {
                let text = fs::read_to_string(&path).expect("a text");
                let case: CaseForm =
                    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", shown(&path)));
                if case.kind.as_deref().is_none_or(|kind| kind == "trees") {
                    cases.push((folder.clone(), case));
                }
            }
        }
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

fn is_refused(folder: &Path) -> bool {
    folder.starts_with(models().join("refused"))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(models()).unwrap_or(path).display().to_string()
}

/// Gives `report` what the model answers otherwise; how many rows it was asked for.
fn check(model: &TreeModel, folder: &Path, case: &CaseForm, mut report: impl FnMut(String)) -> usize {
    let inputs = Table::read(&folder.join("inputs.csv"));
    let expected = Table::read(&folder.join("expected.csv"));
    let n_outputs = model.forest.n_outputs();
    if inputs.names.len() != model.forest.n_inputs() {
        report(format!("{} inputs, not {}", model.forest.n_inputs(), inputs.names.len()));
        return 0;
    }
    if model.input_names.as_ref().is_some_and(|names| *names != inputs.names) {
        report(format!("its inputs are {:?}, not {:?}", model.input_names, inputs.names));
    }
    if expected.columns("raw_") != n_outputs || inputs.rows.len() != expected.rows.len() {
        report(format!("{n_outputs} outputs, not {}", expected.columns("raw_")));
        return 0;
    }
    let engines: Vec<(Instructions, RankedForest)> = Instructions::available()
        .iter()
        .map(|&path| (path, RankedForest::new(model.forest.clone()).with_path(path)))
        .collect();
    let in_parts = model.forest.clone().with_order(SumOrder::InParts).ok().map(RankedForest::new);
    let within = match model.forest.frame().arithmetic.sums {
        Precision::Double => 1e-12,
        Precision::Single => 1e-5,
    };
    for (index, (row, expected)) in inputs.rows.iter().zip(&expected.rows).enumerate() {
        let (expected_raw, expected_outputs) = expected.split_at(n_outputs);
        let mut raw = vec![0.0; n_outputs];
        model.forest.score(row, &mut raw);
        if let Some(in_parts) = &in_parts {
            let mut summed = [f64::NAN];
            in_parts.score(row, &mut summed);
            let is_close = (summed[0] - raw[0]).abs() <= within * raw[0].abs().max(1.0);
            if !is_close && summed[0].to_bits() != raw[0].to_bits() {
                report(format!("row {index}: {summed:?} in parts, not {raw:?}"));
            }
        }
        for (engine, forest) in &engines {
            let mut of_engine = vec![f64::NAN; n_outputs];
            forest.score(row, &mut of_engine);
            if of_engine.iter().zip(&raw).any(|(a, b)| a.to_bits() != b.to_bits()) {
                report(format!("row {index}: {of_engine:?} by {engine:?}, not {raw:?}"));
            }
        }
        if !raw.iter().zip(expected_raw).all(|(&found, &expected)| case.tolerance.allows(found, expected)) {
            report(format!("row {index}: raw {raw:?}, not {expected_raw:?}"));
        }
        let outputs = outputs(model, &raw, expected_outputs.len());
        let agree = |(&found, &expected): (&f64, &f64)| {
            (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0)
        };
        if outputs.len() != expected_outputs.len() || !outputs.iter().zip(expected_outputs).all(agree) {
            report(format!("row {index}: {outputs:?}, not {expected_outputs:?}"));
        }
    }
    if case.contributions {
        check_contributions(model, &inputs, &Table::read(&folder.join("contributions.csv")), report);
    }
    inputs.rows.len()
}

/// The outputs after the link; of a library that says the class of several, that.
fn outputs(model: &TreeModel, raw: &[f64], n_expected: usize) -> Vec<f64> {
    let mut outputs = raw.to_vec();
    model.link.apply_all(&mut outputs);
    if n_expected == 1 && outputs.len() > 1 {
        let greatest = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let class = outputs.iter().position(|output| *output == greatest);
        return vec![class.map_or(f64::NAN, |class| class as f64)];
    }
    outputs
}

fn check_contributions(model: &TreeModel, inputs: &Table, expected: &Table, mut report: impl FnMut(String)) {
    let n_values = model.forest.n_inputs() + 1;
    for (index, (row, expected)) in inputs.rows.iter().zip(&expected.rows).enumerate() {
        for (output, expected) in expected.chunks(n_values).enumerate() {
            let Some(found) = model.forest.contributions(row, output) else {
                return report("no contributions".to_owned());
            };
            // As large as the parts are, so large are the errors of their sum.
            let size = expected.iter().map(|value| value.abs()).sum::<f64>().max(1.0);
            let agree = |(found, expected): (&f64, &f64)| (found - expected).abs() <= TOLERANCE * size;
            if found.len() != expected.len() || !found.iter().zip(expected).all(agree) {
                report(format!("row {index}, output {output}: contributions {found:?}, not {expected:?}"));
            }
        }
    }
}

impl Table {
    fn read(path: &Path) -> Self {
        let mut reader =
            csv::Reader::from_path(path).unwrap_or_else(|error| panic!("{}: {error}", shown(path)));
        let names = reader.headers().expect("a header").iter().map(str::to_owned).collect();
        let number = |text: &str| match text {
            "" => f64::NAN,
            _ => text.parse().unwrap_or_else(|error| panic!("{}: {text:?}: {error}", shown(path))),
        };
        let rows = reader.records().map(|row| row.expect("a row").iter().map(number).collect()).collect();
        Self { names, rows }
    }

    /// How many columns have names that begin so.
    fn columns(&self, prefix: &str) -> usize {
        self.names.iter().filter(|name| name.starts_with(prefix)).count()
    }
}

impl Tolerance {
    fn allows(self, found: f64, expected: f64) -> bool {
        match self {
            Self::Relative(tolerance) => (found - expected).abs() <= tolerance * expected.abs(),
            Self::Float32Ulp(n) => ordered(found as f32).abs_diff(ordered(expected as f32)) <= n,
        }
    }
}

/// Neighbouring numbers have neighbouring ones.
fn ordered(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    if bits < 0 { i32::MIN - bits } else { bits }
}
