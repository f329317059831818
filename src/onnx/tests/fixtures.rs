//! Networks of `tests/networks` against what ONNX Runtime said of them in
//! Python. Skipped with a line where there is no library.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::made::{Made, node};
use crate::engine::calibration::Calibration;
use crate::engine::link::Link;
use crate::engine::model::{Model, Output, OutputKind, Scorer};
use crate::onnx::{Declared, Graph, Library, Network, Networks, Places, without_zip_maps};
use crate::registry;

#[derive(Deserialize)]
struct Case {
    link: String,
    outputs: Vec<registry::Output>,
    #[serde(default)]
    network: registry::Network,
}

struct Fixture {
    name: String,
    network: Network,
    case: Case,
    features: Vec<String>,
    /// By row.
    inputs: Vec<Vec<f64>>,
    expected: Vec<Vec<f64>>,
}

/// Whether there is a runtime; says so if not.
pub fn is_there() -> bool {
    match Library::load(&Places::of_process(None)) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks")
}

fn table(file: &Path) -> (Vec<String>, Vec<Vec<f64>>) {
    let text = fs::read_to_string(file).expect("a table");
    let mut lines = text.lines().map(|line| line.split(','));
    let header = lines.next().expect("a header").map(str::to_owned).collect();
    let number = |cell: &str| if cell.is_empty() { f64::NAN } else { cell.parse().expect("a number") };
    (header, lines.map(|line| line.map(number).collect()).collect())
}

fn fixture(name: &str) -> Fixture {
    waiting_fixture(name, Duration::ZERO)
}

fn waiting_fixture(name: &str, batch_wait: Duration) -> Fixture {
    let folder = folder().join(name);
    let content = fs::read(folder.join("network.onnx")).expect("a network");
    let case: Case =
        toml::from_str(&fs::read_to_string(folder.join("case.toml")).expect("a case")).expect("TOML");
    let (features, inputs) = table(&folder.join("inputs.csv"));
    let (_, expected) = table(&folder.join("expected.csv"));
    let registry::Network { inputs: names, scores, columns } = case.network.clone();
    let declared = Declared { inputs: names, scores, columns };
    let outputs: Vec<Output> = case
        .outputs
        .iter()
        .map(|output| Output { name: output.name.as_str().into(), kind: output.kind })
        .collect();
    let by_name: Vec<&str> = features.iter().map(String::as_str).collect();
    let networks = Networks { n_sessions: 2, batch_wait, ..Networks::default() };
    let network =
        networks.open(&content, &by_name, &outputs, &declared).unwrap_or_else(|e| panic!("{name}: {e}"));
    Fixture { name: name.to_owned(), network, case, features, inputs, expected }
}

fn all() -> Vec<Fixture> {
    let entries = fs::read_dir(folder()).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("case.toml").exists())
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    assert!(names.len() >= 13, "{names:?}");
    names.iter().map(|name| fixture(name)).collect()
}

fn assert_close(what: &str, found: &[f64], expected: &[f64]) {
    for (found, expected) in found.iter().zip(expected) {
        let tolerance = 1e-6 * expected.abs().max(1.0);
        assert!((found - expected).abs() <= tolerance, "{what}: {found} instead of {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[test]
fn scores_are_those_of_the_runtime_in_python() {
    if !is_there() {
        return;
    }
    for Fixture { name, network, inputs, expected, .. } in all() {
        assert_eq!(inputs.len(), 40, "{name}");
        for (row, expected) in inputs.iter().zip(&expected) {
            let mut raw = vec![0.0; network.n_outputs()];
            network.score(row, &mut raw);
            assert_close(&name, &raw, expected);
        }
        assert!(network.runtime().starts_with("ONNX Runtime 1."), "{}", network.runtime());
        assert_eq!(network.contributions(&inputs[0], 0), None);
    }
}

#[test]
fn many_rows_in_one_run_score_as_one_by_one() {
    if !is_there() {
        return;
    }
    let mut n_batched = 0;
    for Fixture { name, network, inputs, expected, .. } in all() {
        let is_for_one_row = ["mlp_one_row", "branches"].contains(&name.as_str());
        assert_eq!(network.is_batched(), !is_for_one_row, "{name}");
        if !network.is_batched() {
            continue;
        }
        n_batched += 1;
        for n in [2, 3, inputs.len()] {
            let mut raw = vec![0.0; n * network.n_outputs()];
            network.run(n, &inputs[..n].concat(), &mut raw).expect("a run");
            assert_close(&name, &raw, &expected[..n].concat());
        }
    }
    assert!(n_batched >= 11);
}

#[test]
fn threads_share_sessions_and_get_the_same_bits() {
    if !is_there() {
        return;
    }
    let Fixture { network, inputs, .. } = fixture("mlp_softmax");
    let score_all = || {
        let score = |row: &Vec<f64>| {
            let mut raw = vec![0.0; network.n_outputs()];
            network.score(row, &mut raw);
            raw.iter().map(|raw| raw.to_bits()).collect::<Vec<u64>>()
        };
        (0..50).map(|_| inputs.iter().map(score).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let alone = score_all();
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..5).map(|_| scope.spawn(score_all)).collect();
        for other in others {
            assert_eq!(other.join().expect("no panic"), alone);
        }
    });
}

#[test]
fn rows_that_wait_for_others_score_as_alone() {
    if !is_there() {
        return;
    }
    for name in ["mlp_softmax", "mlp_one_row", "per_feature", "sklearn_zipmap"] {
        let Fixture { network, inputs, expected, .. } = waiting_fixture(name, Duration::from_millis(5));
        std::thread::scope(|scope| {
            for (row, expected) in inputs.iter().zip(&expected) {
                let network = &network;
                scope.spawn(move || {
                    let mut raw = vec![0.0; network.n_outputs()];
                    network.score_in_company(row, &mut raw);
                    assert_close(name, &raw, expected);
                });
            }
        });
    }
}

#[test]
fn a_row_without_a_score_takes_no_other_along() {
    if !is_there() {
        return;
    }
    let Fixture { network, inputs, expected, .. } = waiting_fixture("per_feature", Duration::from_millis(20));
    let mut bad = inputs[0].clone();
    bad[4] = 0.5;
    std::thread::scope(|scope| {
        for (row, expected) in
            [(&inputs[3], Some(&expected[3])), (&bad, None), (&inputs[4], Some(&expected[4]))]
        {
            let network = &network;
            scope.spawn(move || {
                let mut raw = [0.0];
                network.score_in_company(row, &mut raw);
                match expected {
                    Some(expected) => assert_close("beside a bad one", &raw, expected),
                    None => assert!(raw[0].is_nan()),
                }
            });
        }
    });
}

fn model(fixture: Fixture) -> Model {
    let link = if fixture.case.link == "logistic" { Link::Logistic } else { Link::Identity };
    Model {
        name: fixture.name.as_str().into(),
        version: 1,
        inputs: (0..fixture.features.len()).collect(),
        input_names: fixture.features.iter().map(|name| name.as_str().into()).collect(),
        outputs: fixture
            .case
            .outputs
            .iter()
            .map(|output| Output { name: output.name.as_str().into(), kind: output.kind })
            .collect(),
        link,
        calibration: Calibration::None,
        scorer: Box::new(fixture.network),
    }
}

#[test]
fn logits_with_a_link_are_probabilities() {
    if !is_there() {
        return;
    }
    let [with_link, without] = ["mlp_logits", "mlp_sigmoid"].map(|name| {
        let rows = fixture(name).inputs;
        let model = model(fixture(name));
        rows.iter().map(|row| model.score_row(row).expect("a score").1[0]).collect::<Vec<f64>>()
    });
    assert_close("the same weights", &with_link, &without);
}

#[test]
fn a_run_that_fails_or_gives_no_number_is_no_score() {
    if !is_there() {
        return;
    }
    let of_missing = |name: &str, at: usize, value: f64| {
        let mut fixture = fixture(name);
        let mut row = fixture.inputs.swap_remove(3);
        row[at] = value;
        model(fixture).score_row(&row)
    };
    assert!(of_missing("mlp_sigmoid", 0, f64::NAN).is_err(), "missing, and nothing fills it in");
    assert!(of_missing("sklearn_zipmap", 0, f64::NAN).is_ok(), "missing, and the pipeline fills it in");
    // `hour` goes in as a whole number.
    assert!(of_missing("per_feature", 4, 7.0).is_ok());
    for value in [f64::NAN, 7.5, 1e300, f64::NEG_INFINITY] {
        assert!(of_missing("per_feature", 4, value).is_err(), "{value} is no whole number");
    }
    let fixture = fixture("per_feature");
    let mut row = fixture.inputs[3].clone();
    row[4] = 7.5;
    let reason = fixture.network.run(1, &row, &mut [0.0]).expect_err("no whole number").to_string();
    assert!(reason.contains("the feature \"hour\" is 7.5"), "{reason}");
    // And goes on as before.
    fixture.network.run(1, &fixture.inputs[3], &mut [0.0]).expect("a run");
}

#[test]
fn what_the_runtime_refuses_is_an_error() {
    if !is_there() {
        return;
    }
    let probability = [Output { name: "p".into(), kind: OutputKind::Probability }];
    let networks = Networks { n_sessions: 1, ..Networks::default() };
    let unknown = Made::small().with(|made| made.nodes[1] = node("NoSuchOperator", &["z"], &["scores"]));
    let wide = Made::small().with(|made| made.nodes[0] = node("MatMul", &["w", "rows"], &["z"]));
    for (made, expected) in
        [(unknown, "NoSuchOperator"), (wide, "\"scores\" has the shape [2, 2] for 1 rows")]
    {
        let opened = networks.open(&made.bytes(), &["a", "b"], &probability, &Declared::default());
        let reason = opened.expect_err(expected).to_string();
        assert!(reason.contains(expected), "{reason:?} does not say {expected:?}");
    }
    networks
        .open(&Made::small().bytes(), &["a", "b"], &probability, &Declared::default())
        .expect("nothing wrong");
}

/// Needs no runtime.
#[test]
fn zip_maps_are_taken_off() {
    let content = fs::read(folder().join("sklearn_classes/network.onnx")).expect("a network");
    let graph = Graph::read(&content).expect("a graph");
    let [zip_map] = graph.zip_maps[..] else { panic!("{graph:?}") };
    assert_eq!(zip_map.output, "output_probability");
    let without = without_zip_maps(&content, &graph).expect("readable").expect("something to take off");
    let graph = Graph::read(&without).expect("a graph");
    let names: Vec<&str> = graph.outputs.iter().map(|output| output.name).collect();
    assert_eq!(names, ["output_label", zip_map.tensor]);
    assert_eq!(without_zip_maps(&without, &graph).expect("readable"), None);
}
