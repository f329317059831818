//! `tipoff model`, as a user runs it, over models of the real libraries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tipoff::proto::inference::model_infer_request::InferInputTensor;
use tipoff::proto::inference::{InferTensorContents, ModelInferRequest, ModelMetadataRequest};

use crate::harness::TestServer;

/// The six features of `tests/models/lightgbm/binary`, of whatever events.
const DEFINITIONS: &str = r#"
[features]
age = { aggregate = "sum", of = "seen.age", window = "7d" }
clicks = { aggregate = "sum", of = "seen.clicks", window = "7d" }
spend = { aggregate = "sum", of = "seen.spend", window = "7d" }
recency = { aggregate = "sum", of = "seen.recency", window = "7d" }
rate = { aggregate = "sum", of = "seen.rate", window = "7d" }
constant = { aggregate = "sum", of = "seen.constant", window = "7d" }

[labels.buys]
event  = "purchase"
within = "24h"

[models.buys]
label    = "buys"
features = ["age", "clicks", "spend", "recency", "rate", "constant"]
"#;

fn tipoff(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tipoff")).arg("model").args(args).output().expect("it runs")
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// What the command says of what it was given.
fn refused(args: &[&str]) -> String {
    let output = tipoff(args);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A CSV's header and numbers; empty is NaN.
fn table(path: &Path) -> (Vec<String>, Vec<Vec<f64>>) {
    let mut csv = csv::Reader::from_path(path).expect("it opens");
    let header = csv.headers().expect("a header").iter().map(str::to_owned).collect();
    let number = |cell: &str| if cell.is_empty() { f64::NAN } else { cell.parse().expect("a number") };
    (header, csv.records().map(|row| row.expect("a row").iter().map(number).collect()).collect())
}

/// The folders of cases that are scored, with their descriptions.
fn cases() -> Vec<(PathBuf, toml::Table)> {
    let (mut cases, mut folders) = (Vec::new(), vec![models()]);
    while let Some(folder) = folders.pop() {
        folders.extend(
            fs::read_dir(&folder)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.is_dir() && !path.ends_with("refused")),
        );
        if let Ok(case) = fs::read_to_string(folder.join("case.toml")) {
            let case: toml::Table = case.parse().expect("TOML");
            if case.get("kind").is_none_or(|kind| kind.as_str() == Some("trees")) {
                cases.push((folder, case));
            }
        }
    }
    cases
}

#[test]
fn rows_are_scored_as_the_trainers_do() {
    let out = tempfile::tempdir().expect("folder");
    let scores = out.path().join("scores.csv");
    let mut n_models = 0;
    for (folder, case) in cases() {
        let is_double = case["tolerance"]["kind"].as_str() == Some("relative");
        let (expected_header, expected) = table(&folder.join("expected.csv"));
        for model in case["models"].as_array().expect("a list") {
            let model = folder.join(model.as_str().expect("a name"));
            let rows = folder.join("inputs.csv");
            done(&tipoff(&["score", text(&model), "--input", text(&rows), "--output", text(&scores)]));
            let (header, found) = table(&scores);
            let n_raw = header.iter().filter(|name| name.starts_with("raw")).count();
            assert_eq!(n_raw, expected_header.iter().filter(|name| name.starts_with("raw")).count());
            assert_eq!(header.len(), expected_header.len(), "{}: {header:?}", model.display());
            assert_eq!(found.len(), expected.len(), "{}", model.display());
            for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
                for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let tolerance = match is_double && column < n_raw {
                        true => 1e-12 * expected.abs(),
                        false => 1e-6 * expected.abs().max(1.0),
                    };
                    let place = format!("{} row {row} {}", model.display(), header[column]);
                    assert!((found - expected).abs() <= tolerance, "{place}: {found}, not {expected}");
                }
            }
            n_models += 1;
        }
    }
    assert!(n_models >= 150, "{n_models} models");
}

#[test]
fn a_mistake_in_the_rows_names_its_place_and_leaves_no_scores() {
    let folder = tempfile::tempdir().expect("folder");
    let (rows, scores) = (folder.path().join("rows.csv"), folder.path().join("scores.csv"));
    let model = models().join("lightgbm/binary/model.txt");
    let refused = || refused(&["score", text(&model), "--input", text(&rows), "--output", text(&scores)]);
    let good = fs::read_to_string(models().join("lightgbm/binary/inputs.csv")).expect("rows");
    fs::write(&rows, good.clone() + "1,2,3,four,5,6\n").expect("written");
    let line = good.lines().count() + 1;
    let expected = format!("rows.csv:{line}: recency: \"four\" is no number");
    let said = refused();
    assert!(said.contains(&expected), "{said}");
    fs::write(&rows, good.replacen("clicks", "klicks", 1)).expect("written");
    let said = refused();
    assert!(said.contains("the model's input \"clicks\" is no column; there are age, klicks,"), "{said}");
    let by_position = ["--by-position", "--input", text(&rows), "--output", "/dev/null"];
    done(&tipoff(&[&["score", text(&model)], &by_position[..]].concat()));
    let names: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").map(|e| e.expect("one").file_name()).collect();
    assert_eq!(names, ["rows.csv"], "nothing half-way is left");
    fs::write(&rows, "nonsense").expect("written");
    let said = self::refused(&["score", text(&rows), "--input", text(&rows), "--output", text(&scores)]);
    assert!(said.contains("rows.csv: no format that is known"), "{said}");
}

#[test]
fn a_model_is_shown_with_its_cost() {
    let model = models().join("lightgbm/binary/model.txt");
    let shown: Value =
        serde_json::from_str(&done(&tipoff(&["inspect", text(&model), "--json"]))).expect("JSON");
    assert_eq!(shown["format"], "LightGBM text");
    assert_eq!(shown["objective"], "binary sigmoid:1");
    assert_eq!(shown["features"], json!(["age", "clicks", "spend", "recency", "rate", "constant"]));
    assert_eq!((&shown["trees"], &shown["leaves"], &shown["max_leaves"]), (&json!(8), &json!(64), &json!(8)));
    assert_eq!(shown["bytes"], json!(fs::metadata(&model).expect("there").len()));
    assert!(shown["ns_per_row"].as_f64().is_some_and(|ns| ns > 0.0), "{shown}");
    let categorical = models().join("lightgbm/categorical/model.txt");
    let shown = done(&tipoff(&["inspect", text(&categorical)]));
    assert!(shown.contains("\nfeatures     "), "{shown}");
    assert!(!shown.contains("\ncategories   0"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packaged_model_is_served_as_its_trainer_scores() {
    let folder = tempfile::tempdir().expect("folder");
    let [definitions, out] = ["definitions.toml", "models"].map(|name| folder.path().join(name));
    fs::write(&definitions, DEFINITIONS).expect("written");
    let case = models().join("lightgbm/binary");
    let model = case.join("model.txt");
    let package = |more: &[&str]| {
        let args = ["package", text(&model), "--definitions", text(&definitions), "--out", text(&out)];
        tipoff(&[&args, more].concat())
    };
    let made = done(&package(&["--model", "buys", "--created", "2026-01-02T03:04:05Z"]));
    assert_eq!(made.trim(), text(&out.join("buys/1")));
    let rows = case.join("inputs.csv");
    done(&package(&["--model", "buys", "--rows", text(&rows), "--outputs", "chance"]));

    // The artifact scores as the file it was made of, and tells what it is.
    let scores = folder.path().join("scores.csv");
    let artifact = out.join("buys/1");
    done(&tipoff(&["score", text(&artifact), "--input", text(&rows), "--output", text(&scores)]));
    let of_artifact = fs::read(&scores).expect("scores");
    done(&tipoff(&["score", text(&model), "--input", text(&rows), "--output", text(&scores)]));
    assert_eq!(of_artifact, fs::read(&scores).expect("scores"));
    let shown = done(&tipoff(&["inspect", text(&artifact)]));
    assert!(shown.contains("buys version 1") && shown.contains("2026-01-02T03:04:05Z"), "{shown}");
    assert!(!shown.contains("in parts"), "{shown}");

    // Another order of adding differs in the last digits only, and is said.
    done(&package(&["--model", "buys", "--sum-order", "in-parts", "--outputs", "chance"]));
    let in_parts = out.join("buys/3");
    assert!(done(&tipoff(&["inspect", text(&in_parts)])).contains(" in parts\n"));
    done(&tipoff(&["score", text(&in_parts), "--input", text(&rows), "--output", text(&scores)]));
    let (_, in_parts) = table(&scores);
    fs::write(&scores, &of_artifact).expect("written");
    let (_, in_order) = table(&scores);
    assert_eq!(in_order.len(), in_parts.len());
    for (a, b) in in_order.concat().into_iter().zip(in_parts.concat()) {
        assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a}, {b}");
    }

    for (more, expected) in [
        (&["--model", "byus"][..], "the definitions have no model \"byus\": buys"),
        (&["--model", "buys", "--features", "age,clicks"], "2 names for 6 inputs"),
        (
            &["--model", "buys", "--features", "age,clicks,spend,recency,rate,x"],
            "no definition is called \"x\"",
        ),
        (&["--model", "buys", "--outputs", "a,b"], "2 names for 1 outputs"),
    ] {
        let output = package(more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(expected), "{said}");
    }

    let server = TestServer::start_in(folder, &[]).await;
    let mut inference = server.inference();
    let metadata = ModelMetadataRequest { name: "buys".into(), version: String::new() };
    let metadata = inference.model_metadata(metadata).await.expect("served").into_inner();
    assert_eq!((metadata.platform.as_str(), metadata.versions[0].as_str()), ("lightgbm", "3"));
    assert_eq!(metadata.outputs[0].name, "chance");
    let (_, inputs) = table(&rows);
    let fp64_contents = inputs.concat();
    let request = ModelInferRequest {
        model_name: "buys".into(),
        inputs: vec![InferInputTensor {
            name: "input".into(),
            datatype: "FP64".into(),
            shape: vec![inputs.len() as i64, 6],
            contents: Some(InferTensorContents { fp64_contents, ..InferTensorContents::default() }),
            ..InferInputTensor::default()
        }],
        ..ModelInferRequest::default()
    };
    let response = inference.model_infer(request).await.expect("scored").into_inner();
    let (_, expected) = table(&case.join("expected.csv"));
    let served = &response.outputs[0].contents.as_ref().expect("typed").fp64_contents;
    for (served, expected) in served.iter().zip(&expected) {
        assert!((served - expected[1]).abs() < 1e-9, "{served}, not {}", expected[1]);
    }
    server.stop().await;
}
