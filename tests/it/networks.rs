//! A network served over the wire, and a server that has no library to run it.
//! Skipped with a line where there is none.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;
use tipoff::definitions;
use tipoff::engine::model::Link;
use tipoff::onnx::{Library, Networks, Places};
use tipoff::proto::v1;
use tipoff::registry::{Content, Draft, Golden, Manifest, publish};
use tonic::Code;
use v1::model_service_client::ModelServiceClient;
use v1::scoring_service_client::ScoringServiceClient;
use v1::trigger_service_client::TriggerServiceClient;

use crate::harness::{TestServer, config, event, user};
use crate::http;
use crate::metrics::{sample, scrape};
use crate::process::{Process, refused};

/// Six features for the network; `mean_gap` is missing until the second view.
const DEFINITIONS: &str = r#"
[features.views_1d]
aggregate = "count"
of        = "page_view"
window    = "1d"

[features.views_7d]
aggregate = "count"
of        = "page_view"
window    = "7d"

[features.mean_gap]
aggregate = "mean_gap"
of        = "page_view"
window    = "7d"

[features.carts_7d]
aggregate = "count"
of        = "add_to_cart"
window    = "7d"

[features.carts_30d]
aggregate = "count"
of        = "add_to_cart"
window    = "30d"

[features.buys_30d]
aggregate = "count"
of        = "purchase"
window    = "30d"

[labels.buys]
event  = "purchase"
within = "24h"

[models.buys]
label    = "buys"
features = ["views_1d", "views_7d", "mean_gap", "carts_7d", "carts_30d", "buys_30d"]
score_on = ["page_view"]

[triggers.scored]
score    = "buys"
fire_at  = 0.0001
rearm_at = 0.00005
"#;

fn library() -> Option<&'static Library> {
    Library::load(&Places::of_process(None)).inspect_err(|error| eprintln!("skipped: {error}")).ok()
}

/// A network of `tests/networks` with the cases beside it.
fn publish_network(directory: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks/mlp_sigmoid");
    let plan = definitions::compile(DEFINITIONS).expect("valid definitions");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).expect("a file");
    let numbers =
        |line: &str| line.split(',').map(|cell| cell.parse().expect("a number")).collect::<Vec<f64>>();
    let (inputs, expected) = (read("inputs.csv"), read("expected.csv"));
    let cases = inputs.lines().zip(expected.lines()).skip(1);
    let golden = cases.map(|(inputs, expected)| {
        let outputs = numbers(expected);
        Golden { inputs: numbers(inputs), raw: outputs[0], outputs }
    });
    let golden: Vec<Golden> = golden.collect();
    let manifest = Manifest {
        link: Link::Identity,
        ..Manifest::of_binary(&plan, &plan.models[0], &plan.models[0].features)
    };
    let network = std::fs::read(folder.join("network.onnx")).expect("a network");
    let networks = Networks::default();
    let model = Content::Network(&network, &networks);
    let draft = Draft { manifest, model, golden: &golden, extra: BTreeMap::new() };
    publish(&directory.join("models"), draft, &plan).expect("a good artifact");
}

fn prepared() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("definitions.toml"), DEFINITIONS).expect("written");
    publish_network(directory.path());
    directory
}

fn score(models: &[&str]) -> v1::ScoreRequest {
    let models = models.iter().map(|name| (*name).to_owned()).collect();
    let options = Some(v1::ScoreOptions { models, include_features: false, max_reasons: 3 });
    v1::ScoreRequest { user: user("ada"), options, hypothetical: None }
}

fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt;
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_scores_fires_and_says_when_it_cannot() {
    let Some(library) = library() else { return };
    let server = TestServer::start_in(prepared(), &[]).await;

    // Nothing fills in what is missing: no score, and so no firing.
    server.accept([event("ada", "page_view", 1_000_000)]).await;
    let status = server.scoring().score(score(&["buys"])).await.expect_err("mean_gap is missing");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "NOT_SCORABLE"));
    assert!(status.message().contains("model \"buys\" version 1 gives no score"), "{}", status.message());
    let unnamed = server.scoring().score(score(&[])).await.expect("the others").into_inner();
    assert!(unnamed.scores.is_empty());
    let batch = v1::ScoreBatchRequest { requests: vec![score(&["buys"])], options: None };
    let results = server.scoring().score_batch(batch).await.expect("answered").into_inner().results;
    match &results[0].result {
        Some(v1::score_batch_result::Result::Rejection(rejection)) => {
            assert_eq!(rejection.reason, "NOT_SCORABLE")
        }
        other => panic!("{other:?}"),
    }
    let firings = || async {
        let listed = server.triggers().list_firings(v1::ListFiringsRequest::default()).await;
        listed.expect("listed").into_inner().firings
    };
    assert_eq!(firings().await.len(), 0);

    server.accept([event("ada", "page_view", 1_000_060)]).await;
    let fired = firings().await;
    let scored = server.scoring().score(score(&["buys"])).await.expect("scored").into_inner();
    let probability = scored.scores[0].outputs[0].value;
    assert!(probability > 0.0 && probability < 1.0);
    assert_eq!((fired.len(), fired[0].score), (1, Some(probability)));
    assert!(fired[0].reasons.is_empty() && scored.scores[0].reasons.is_empty(), "a network explains nothing");

    let request = v1::GetModelRequest { name: "buys".to_owned(), version: 0 };
    let model = server.models().get_model(request).await.expect("loaded").into_inner().model.expect("set");
    assert_eq!((model.format.as_str(), &model.runtime), ("onnx-network", &library.to_string()));
    let http = server.app().http();
    let status: serde_json::Value =
        serde_json::from_str(&http::get(http, "/status").expect("it answers").1).expect("JSON");
    assert_eq!(status["onnx"]["version"], library.version());
    assert_eq!(status["models"][0]["runtime"], library.to_string());
    let page = scrape(http);
    let (path, version) = (library.path().display(), library.version());
    let info = format!("tipoff_onnx_runtime_info{{library=\"{path}\",version=\"{version}\"}}");
    assert_eq!(sample(&page, &info), 1.0);
    // One decision, one call that names it, one that does not, one of a batch.
    assert_eq!(sample(&page, "tipoff_unscored_total{model=\"buys\"}"), 4.0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_others_get_their_own_scores() {
    if library().is_none() {
        return;
    }
    let server = TestServer::start_in(prepared(), &[("onnx.batch_wait_us", "2000")]).await;
    let ids: Vec<String> = (0..24).map(|user| format!("user {user}")).collect();
    let views = |(user, id): (usize, &String)| {
        (0..2 + user as i64).map(|view| event(id, "page_view", 1_000_000 + 60 * view)).collect::<Vec<_>>()
    };
    let mut events: Vec<v1::Event> = ids.iter().enumerate().flat_map(views).collect();
    events.sort_by_key(|event| event.time.map(|time| time.seconds));
    server.accept(events).await;
    let request = |id: &String| v1::ScoreRequest { user: user(id), ..score(&["buys"]) };
    let value = |response: &v1::ScoreResponse| response.scores[0].outputs[0].value;
    let batch = v1::ScoreBatchRequest { requests: ids.iter().map(request).collect(), options: None };
    let alone = server.scoring().score_batch(batch).await.expect("answered").into_inner().results;
    let calls: Vec<_> = ids
        .iter()
        .map(|id| {
            let (mut scoring, request) = (server.scoring(), request(id));
            tokio::spawn(async move { scoring.score(request).await.expect("scored").into_inner() })
        })
        .collect();
    let mut distinct = std::collections::BTreeSet::new();
    for (alone, call) in alone.iter().zip(calls) {
        let together = call.await.expect("no panic");
        match &alone.result {
            Some(v1::score_batch_result::Result::Response(alone)) => {
                assert!((value(alone) - value(&together)).abs() < 1e-6);
                distinct.insert(value(alone).to_bits());
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(distinct.len() > 3, "the users are not all the same to it");
    server.stop().await;
}

/// What was decided is in the log: the network is not asked again.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_library_a_network_is_refused_and_the_rest_goes_on() {
    let Some(library) = library() else { return };
    let directory = prepared();
    let flags = [("pipeline.clock", "replay"), ("onnx.library", library.path().to_str().expect("plain"))];
    let process = Process::start(directory.path(), &flags);
    let events = [1_000_000, 1_000_060, 1_000_120].map(|seconds| event("ada", "page_view", seconds)).into();
    let mut client = v1::event_service_client::EventServiceClient::new(process.channel());
    client.ingest(v1::IngestRequest { events, ..Default::default() }).await.expect("taken");
    let listed = |process: &Process| {
        let mut client = TriggerServiceClient::new(process.channel());
        async move {
            client.list_firings(v1::ListFiringsRequest::default()).await.expect("listed").into_inner().firings
        }
    };
    let fired = listed(&process).await;
    assert_eq!(fired.len(), 1);
    process.kill();

    let output = refused(directory.path(), &flags[..1]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no ONNX Runtime library") && said.contains("pip install onnxruntime"), "{said}");

    let process = Process::start(directory.path(), &[flags[0], ("models.allow_broken", "true")]);
    assert_eq!(listed(&process).await, fired);
    let status =
        ScoringServiceClient::new(process.channel()).score(score(&["buys"])).await.expect_err("no library");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "MODEL_NOT_LOADED"));
    let request = v1::GetModelRequest { name: "buys".to_owned(), version: 0 };
    let status = ModelServiceClient::new(process.channel()).get_model(request).await.expect_err("no library");
    assert!(status.message().contains("no ONNX Runtime library"), "{}", status.message());
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_is_named_must_be_one() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("definitions.toml"), "").expect("written");
    let file = directory.path().join("libonnxruntime.so");
    std::fs::write(&file, "not a library").expect("written");
    for (path, expected) in [(file, "file too short"), (directory.path().join("gone.so"), "No such file")] {
        let flags = [("onnx.library", path.to_str().expect("plain"))];
        let output = refused(directory.path(), &flags);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        #[cfg(target_os = "linux")]
        assert!(said.contains("onnx.library") && said.contains(expected), "{said}");
    }
    let path = directory.path().join("gone.so").display().to_string();
    assert!(tipoff::app::App::check(&config(directory.path(), &[("onnx.library", &path)])).is_err());
}

/// As a user runs it.
#[test]
fn a_bare_network_is_packaged_and_scores_as_where_it_was_made() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let [definitions, out, rows, scores] = ["definitions.toml", "models", "rows.csv", "scores.csv"].map(path);
    std::fs::write(&definitions, DEFINITIONS).expect("written");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks/mlp_sigmoid");
    let network = fixture.join("network.onnx").to_str().expect("UTF-8").to_owned();
    let tipoff = |args: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_tipoff"))
            .arg("model")
            .args(args)
            .output()
            .expect("runs")
    };
    let package = |more: &[&str]| {
        let args = ["package", &network, "--definitions", &definitions, "--out", &out, "--model", "buys"];
        tipoff(&[&args, more].concat())
    };
    let refuses = |output: &std::process::Output, expected: &str| {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{said}");
    };
    refuses(&package(&[]), "--link is missing");
    refuses(&package(&["--link", "softmax"]), "softmax is over classes");
    refuses(&package(&["--link", "identity", "--sum-order", "in-parts"]), "--sum-order is for trees");
    let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/lightgbm/binary/model.txt");
    let trees = trees.to_str().expect("UTF-8");
    let args = ["--definitions", &definitions, "--out", &out, "--model", "buys", "--link", "identity"];
    refuses(&tipoff(&[&["package", trees][..], &args].concat()), "--link and --scores are for networks");
    if library().is_none() {
        return;
    }

    // The rows of the fixture, under the features' names.
    let names = "views_1d,views_7d,mean_gap,carts_7d,carts_30d,buys_30d";
    let inputs = std::fs::read_to_string(fixture.join("inputs.csv")).expect("rows");
    let body: String = inputs.lines().skip(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(&rows, format!("{names}\n{body}")).expect("written");
    for more in [&["--link", "identity"][..], &["--link", "identity", "--rows", &rows]] {
        let made = package(more);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let dir = String::from_utf8(made.stdout).expect("UTF-8");
        let scored = tipoff(&["score", dir.trim(), "--input", &rows, "--output", &scores]);
        assert!(scored.status.success(), "{}", String::from_utf8_lossy(&scored.stderr));
        let numbers = |text: &str| -> Vec<f64> {
            let last = |line: &str| line.rsplit(',').next().expect("a cell").parse().expect("a number");
            text.lines().skip(1).map(last).collect()
        };
        let expected = numbers(&std::fs::read_to_string(fixture.join("expected.csv")).expect("scores"));
        let found = numbers(&std::fs::read_to_string(&scores).expect("scores"));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
    }
    refuses(&package(&["--link", "identity", "--features", "views_1d"]), "columns, the model has 1 features");
}
