//! Models that are brought in and swapped while the server serves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use tipoff::app::App;
use tipoff::proto::v1;
use tipoff::proto::v1::load_model_request::Part;
use tipoff::proto::v1::model_service_client::ModelServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::failure;
use crate::harness::{DEFINITIONS, TestServer, add_empty_file, config, publish_model, publish_saying, user};
use crate::http;
use crate::metrics::{sample, scrape};
use crate::process::Process;

/// Small, so that files come in several parts.
const CHUNK: usize = 100;

fn header(version: u32) -> Part {
    Part::Artifact(v1::ArtifactHeader {
        name: "buys".into(),
        version,
        who: "ada".into(),
        why: "new data".into(),
    })
}

fn chunk(file: &str, data: &[u8]) -> Part {
    Part::Chunk(v1::FileChunk { file: file.into(), data: data.to_vec() })
}

/// The files of an artifact, in parts.
fn parts(artifact: &Path) -> Vec<Part> {
    let mut parts = Vec::new();
    let entries = std::fs::read_dir(artifact).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    // The manifest first.
    paths.sort_by(|a, b| b.cmp(a));
    for path in paths {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let content = std::fs::read(&path).expect("read");
        parts.extend(content.chunks(CHUNK).map(|data| chunk(&name, data)));
    }
    parts
}

async fn send(server: &TestServer, parts: Vec<Part>) -> Result<v1::Model, Status> {
    let requests = parts.into_iter().map(|part| v1::LoadModelRequest { part: Some(part) });
    let loaded = server.models().load_model(tokio_stream::iter(requests.collect::<Vec<_>>())).await?;
    Ok(loaded.into_inner().model.expect("it is there"))
}

/// An artifact of version 2, somewhere else, that says 0.62 below three views.
pub(super) fn second() -> (TempDir, PathBuf) {
    let elsewhere = tempfile::tempdir().expect("a directory");
    publish_saying(elsewhere.path(), -2.0);
    let artifact = publish_saying(elsewhere.path(), 0.5);
    (elsewhere, artifact)
}

pub(super) async fn load(server: &TestServer, artifact: &Path) -> Result<v1::Model, Status> {
    send(server, [vec![header(2)], parts(artifact)].concat()).await
}

pub(super) fn alias(alias: v1::ModelAlias, version: u32) -> v1::SetAliasRequest {
    v1::SetAliasRequest {
        name: "buys".into(),
        alias: alias.into(),
        version,
        who: "ada".into(),
        why: "better".into(),
        ..Default::default()
    }
}

pub(super) fn stable(version: u32) -> v1::SetAliasRequest {
    alias(v1::ModelAlias::Stable, version)
}

fn back(expected_version: Option<u32>) -> v1::RollbackRequest {
    v1::RollbackRequest { name: "buys".into(), expected_version, who: "bob".into(), why: "too many".into() }
}

fn unload(version: u32) -> v1::UnloadModelRequest {
    v1::UnloadModelRequest { name: "buys".into(), version, who: "ada".into(), why: String::new() }
}

/// The version that scores the user.
async fn version_for(server: &TestServer, id: &str) -> u32 {
    let request = v1::ScoreRequest { user: user(id), ..Default::default() };
    let scored = server.scoring().score(request).await.expect("scored").into_inner();
    scored.scores[0].version
}

/// Number, kind, from, to and who of each move, latest first.
async fn history(
    models: &mut ModelServiceClient<Channel>,
) -> Vec<(u64, v1::ModelMoveKind, u32, u32, String)> {
    let request = v1::ModelHistoryRequest { name: "buys".into(), ..Default::default() };
    let moves = models.model_history(request).await.expect("known").into_inner().moves;
    let told = |m: v1::ModelMove| (m.number, m.kind(), m.from_version, m.to_version, m.who);
    moves.into_iter().map(told).collect()
}

/// What the directory of the model holds, hidden names too.
fn held(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("models/buys")).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_sent_served_and_rolled_back_over_restarts() {
    use v1::ModelMoveKind::{Aliased, Loaded, RolledBack, Started};

    let server = TestServer::start(&[]).await;
    let (_elsewhere, artifact) = second();
    let model = load(&server, &artifact).await.expect("loaded");
    assert_eq!((model.version, model.aliases.len()), (2, 0));
    assert_eq!(version_for(&server, "ada").await, 1);

    // Though it is newer, it serves only once an alias points to it.
    let server = TestServer::start_in(server.stop().await, &[]).await;
    assert_eq!(version_for(&server, "ada").await, 1);
    let moved = server.models().set_alias(stable(2)).await.expect("set").into_inner().r#move;
    let moved = moved.expect("it moved");
    assert_eq!((moved.from_version, moved.to_version, &*moved.why), (1, 2, "better"));
    assert_eq!(version_for(&server, "ada").await, 2);
    let again = server.models().set_alias(stable(2)).await.expect("set").into_inner();
    assert_eq!(again.r#move, None);

    let server = TestServer::start_in(server.stop().await, &[]).await;
    assert_eq!(version_for(&server, "ada").await, 2);
    let status = server.models().rollback(back(Some(1))).await.expect_err("2 serves");
    assert_eq!(failure(&status), (Code::Aborted, "ALIAS_MOVED".into()));
    server.models().rollback(back(Some(2))).await.expect("rolled back");
    assert_eq!(version_for(&server, "ada").await, 1);
    let status = server.models().rollback(back(None)).await.expect_err("nothing is before it");
    assert_eq!(failure(&status), (Code::FailedPrecondition, "NO_PREVIOUS_VERSION".into()));

    let server = TestServer::start_in(server.stop().await, &[]).await;
    assert_eq!(version_for(&server, "ada").await, 1);
    let expected = [
        (4, RolledBack, 2, 1, "bob".to_owned()),
        (3, Aliased, 1, 2, "ada".to_owned()),
        (2, Loaded, 0, 2, "ada".to_owned()),
        (1, Started, 0, 1, "tipoff".to_owned()),
    ];
    assert_eq!(history(&mut server.models()).await, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_of_models_outlives_the_views() {
    let server = TestServer::start(&[]).await;
    let (_elsewhere, artifact) = second();
    load(&server, &artifact).await.expect("loaded");
    server.models().set_alias(stable(2)).await.expect("set");
    let directory = server.stop().await;
    publish_model(directory.path());
    // Another digest: the views are dropped, and the log is folded from its start.
    let definitions =
        format!("{DEFINITIONS}\n[features.more]\naggregate = \"count\"\nof = \"x\"\nwindow = \"1h\"\n");
    std::fs::write(directory.path().join("definitions.toml"), definitions).expect("written");
    let server = TestServer::start_in(directory, &[]).await;
    assert_eq!(version_for(&server, "ada").await, 2);
    assert_eq!(history(&mut server.models()).await.len(), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_names_its_reason_and_leaves_nothing() {
    let server = TestServer::start(&[("limits.artifact_bytes", "8KiB")]).await;
    let (_elsewhere, artifact) = second();
    let edited = |file: &str, edit: &dyn Fn(&mut Value)| {
        let mut json =
            serde_json::from_slice(&std::fs::read(artifact.join(file)).expect("read")).expect("JSON");
        edit(&mut json);
        let other = parts(&artifact)
            .into_iter()
            .filter(|part| !matches!(part, Part::Chunk(chunk) if chunk.file == file));
        [vec![header(2)], other.collect(), vec![chunk(file, json.to_string().as_bytes())]].concat()
    };
    let manifest = |edit: &dyn Fn(&mut Value)| edited("manifest.json", edit);
    let all = || [vec![header(2)], parts(&artifact)].concat();
    let with = |part: Part| [all(), vec![part]].concat();
    let golden = |raw: f64| {
        let case = format!("{{\"inputs\":[0.0],\"raw\":{raw},\"outputs\":[0.6224593312018546]}}\n");
        let sum = tipoff::registry::FileSum::of(case.as_bytes());
        let mut parts = manifest(&|json| {
            json["files"]["golden.jsonl"] = serde_json::to_value(&sum).expect("it serialises");
        });
        parts.retain(|part| !matches!(part, Part::Chunk(chunk) if chunk.file == "golden.jsonl"));
        parts.push(chunk("golden.jsonl", case.as_bytes()));
        parts
    };
    let without = |file: &str| {
        let mut parts = all();
        parts.retain(|part| !matches!(part, Part::Chunk(chunk) if chunk.file == file));
        parts
    };
    send(&server, golden(0.5)).await.expect("the edit is right");
    std::fs::remove_dir_all(server.directory.path().join("models/buys/2")).expect("removed");
    for (what, parts, code, reason) in [
        (
            "a wrong checksum",
            edited("forest.json", &|json| json["trees"][0]["nodes"][1]["leaf"] = 0.6.into()),
            Code::InvalidArgument,
            "MODEL_FILE_WRONG",
        ),
        ("a golden case", golden(0.6), Code::FailedPrecondition, "MODEL_GOLDEN_MISMATCH"),
        (
            "the feature's digest",
            manifest(&|json| json["features"][0]["digest"] = "0".into()),
            Code::FailedPrecondition,
            "MODEL_FEATURES_DIFFER",
        ),
        (
            "the label",
            manifest(&|json| json["label"]["name"] = "leaves".into()),
            Code::FailedPrecondition,
            "MODEL_LABEL_DIFFERS",
        ),
        (
            "another version",
            manifest(&|json| json["version"] = 7.into()),
            Code::InvalidArgument,
            "MODEL_MISPLACED",
        ),
        (
            "no JSON",
            [vec![header(2)], vec![chunk("manifest.json", b"{")]].concat(),
            Code::InvalidArgument,
            "MODEL_MALFORMED",
        ),
        ("no manifest", without("manifest.json"), Code::InvalidArgument, "MODEL_FILE_WRONG"),
        ("no forest", without("forest.json"), Code::InvalidArgument, "MODEL_FILE_WRONG"),
        ("a file more", with(chunk("more.txt", b"x")), Code::InvalidArgument, "MODEL_FILE_WRONG"),
        ("a file twice", with(chunk("manifest.json", b"x")), Code::InvalidArgument, "UPLOAD_INVALID"),
        ("a way out", with(chunk("../../../away", b"x")), Code::InvalidArgument, "FILE_NAME_INVALID"),
        ("a way out", with(chunk("/tmp/away", b"x")), Code::InvalidArgument, "FILE_NAME_INVALID"),
        ("hidden", with(chunk(".hidden", b"x")), Code::InvalidArgument, "FILE_NAME_INVALID"),
        ("too large", with(chunk("more.txt", &[0; 8 << 10])), Code::ResourceExhausted, "MODEL_TOO_LARGE"),
        (
            "too many",
            [vec![header(2)], (0..66).map(|n| chunk(&format!("f{n}"), b"x")).collect()].concat(),
            Code::ResourceExhausted,
            "MODEL_TOO_LARGE",
        ),
        ("the header twice", with(header(2)), Code::InvalidArgument, "UPLOAD_INVALID"),
        ("no header", parts(&artifact), Code::InvalidArgument, "UPLOAD_INVALID"),
        ("nothing", Vec::new(), Code::InvalidArgument, "UPLOAD_INVALID"),
        (
            "of version 1",
            [vec![header(1)], manifest(&|json| json["version"] = 1.into())[1..].to_vec()].concat(),
            Code::AlreadyExists,
            "MODEL_VERSION_TAKEN",
        ),
        (
            "another name",
            vec![Part::Artifact(v1::ArtifactHeader {
                name: "../buys".into(),
                version: 2,
                who: "ada".into(),
                why: String::new(),
            })],
            Code::NotFound,
            "MODEL_UNKNOWN",
        ),
        (
            "nobody",
            vec![Part::Artifact(v1::ArtifactHeader { name: "buys".into(), ..Default::default() })],
            Code::InvalidArgument,
            "NOTE_INVALID",
        ),
    ] {
        let status = send(&server, parts).await.expect_err(what);
        assert_eq!(failure(&status), (code, reason.to_owned()), "{what}: {status:?}");
        assert_eq!(held(server.directory.path()), ["1"], "{what}");
        assert_eq!(version_for(&server, "ada").await, 1, "{what}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_artifact_sent_again_changes_nothing_and_the_next_version_is_counted() {
    let server = TestServer::start(&[]).await;
    let (_elsewhere, artifact) = second();
    for _ in 0..2 {
        load(&server, &artifact).await.expect("loaded");
    }
    assert_eq!(history(&mut server.models()).await.len(), 2);
    let model = send(&server, [vec![header(0)], parts(&artifact)].concat()).await.expect("loaded");
    assert_eq!(model.version, 3);
    server.models().set_alias(stable(3)).await.expect("set");
    assert_eq!(version_for(&server, "ada").await, 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_are_checked_and_used_versions_stay() {
    let server = TestServer::start(&[]).await;
    let (_elsewhere, artifact) = second();
    load(&server, &artifact).await.expect("loaded");
    let mut models = server.models();
    let canary = |version, percent| v1::SetAliasRequest { percent, ..alias(v1::ModelAlias::Canary, version) };
    let expecting = |expected| v1::SetAliasRequest { expected_version: Some(expected), ..stable(2) };
    for (request, code, reason) in [
        (stable(0), Code::InvalidArgument, "ALIAS_INVALID"),
        (stable(7), Code::NotFound, "MODEL_UNKNOWN"),
        (expecting(2), Code::Aborted, "ALIAS_MOVED"),
        (expecting(0), Code::Aborted, "ALIAS_MOVED"),
        (canary(2, None), Code::InvalidArgument, "ALIAS_INVALID"),
        (canary(2, Some(0.0)), Code::InvalidArgument, "ALIAS_INVALID"),
        (canary(2, Some(100.1)), Code::InvalidArgument, "ALIAS_INVALID"),
        (canary(2, Some(f64::NAN)), Code::InvalidArgument, "ALIAS_INVALID"),
        (canary(1, Some(5.0)), Code::InvalidArgument, "ALIAS_INVALID"),
        (v1::SetAliasRequest { percent: Some(5.0), ..stable(2) }, Code::InvalidArgument, "ALIAS_INVALID"),
        (alias(v1::ModelAlias::Unspecified, 2), Code::InvalidArgument, "ALIAS_INVALID"),
        (v1::SetAliasRequest { who: String::new(), ..stable(2) }, Code::InvalidArgument, "NOTE_INVALID"),
        (v1::SetAliasRequest { why: "x".repeat(1_025), ..stable(2) }, Code::InvalidArgument, "NOTE_INVALID"),
        (v1::SetAliasRequest { name: "byus".into(), ..stable(2) }, Code::NotFound, "MODEL_UNKNOWN"),
    ] {
        let status = models.set_alias(request.clone()).await.expect_err(reason);
        assert_eq!(failure(&status), (code, reason.to_owned()), "{request:?}");
    }
    assert_eq!(version_for(&server, "ada").await, 1);

    models.set_alias(canary(2, Some(30.0))).await.expect("set");
    let mut n_canaries = 0;
    for n in 0..300 {
        n_canaries += usize::from(version_for(&server, &format!("user-{n}")).await == 2);
    }
    assert!((60..120).contains(&n_canaries), "{n_canaries} of 300 are 30 percent");
    let got =
        models.get_model(v1::GetModelRequest { name: "buys".into(), version: 2 }).await.expect("loaded");
    let got = got.into_inner().model.expect("there");
    assert_eq!((got.aliases, got.canary_percent), (vec!["canary".to_owned()], 30.0));

    let status = models.unload_model(unload(2)).await.expect_err("a canary");
    assert_eq!(failure(&status), (Code::FailedPrecondition, "MODEL_IN_USE".into()));
    models.set_alias(alias(v1::ModelAlias::Canary, 0)).await.expect("ended");
    models.unload_model(unload(2)).await.expect("unloaded");
    let status = models.unload_model(unload(2)).await.expect_err("it has gone");
    assert_eq!(failure(&status), (Code::NotFound, "MODEL_UNKNOWN".into()));
    // Its files stay: an alias brings it back.
    models.set_alias(expecting(1)).await.expect("set");
    assert_eq!(version_for(&server, "ada").await, 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_that_a_rollback_returns_to_is_not_let_go() {
    let server = TestServer::start(&[]).await;
    let (_elsewhere, artifact) = second();
    load(&server, &artifact).await.expect("loaded");
    let mut models = server.models();
    models.set_alias(stable(2)).await.expect("set");
    let status = models.unload_model(unload(1)).await.expect_err("it served before");
    assert_eq!(failure(&status), (Code::FailedPrecondition, "MODEL_IN_USE".into()));
    assert!(status.message().contains("a rollback of stable returns to version 1"), "{status:?}");
    models.rollback(back(None)).await.expect("rolled back");
    assert_eq!(version_for(&server, "ada").await, 1);
    models.unload_model(unload(2)).await.expect("nothing returns to it");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_status_tell_what_each_alias_points_to() {
    let server = TestServer::start(&[]).await;
    for _ in 0..2 {
        publish_model(server.directory.path());
    }
    let info = || -> Vec<String> {
        let page = scrape(server.app().http());
        let lines = page.lines().filter_map(|line| line.strip_prefix("tipoff_model_info{"));
        lines.map(str::to_owned).collect()
    };
    let status = || -> Value {
        let (_, body) = http::get(server.app().http(), "/status").expect("it answers");
        let status: Value = serde_json::from_str(&body).expect("JSON");
        let models = status["models"].as_array().expect("a list");
        models.iter().find(|model| model["name"] == "buys").expect("defined")["aliases"].clone()
    };
    assert_eq!(info(), [r#"alias="stable",model="buys",version="1"} 1"#]);
    assert_eq!(status(), json!({"stable": {"version": 1}}));

    let mut models = server.models();
    let canary = v1::SetAliasRequest { percent: Some(5.0), ..alias(v1::ModelAlias::Canary, 2) };
    models.set_alias(canary).await.expect("set");
    models.set_alias(alias(v1::ModelAlias::Shadow, 3)).await.expect("set");
    let expected = [
        r#"alias="canary",model="buys",version="2"} 1"#,
        r#"alias="shadow",model="buys",version="3"} 1"#,
        r#"alias="stable",model="buys",version="1"} 1"#,
    ];
    assert_eq!(info(), expected);
    let expected = json!({
        "stable": {"version": 1}, "canary": {"version": 2, "percent": 5.0}, "shadow": {"version": 3},
    });
    assert_eq!(status(), expected);
    let server = TestServer::start_in(server.stop().await, &[]).await;
    server.models().set_alias(stable(2)).await.expect("and the canary ends");
    let page = scrape(server.app().http());
    let n_shown = page.lines().filter(|line| line.starts_with("tipoff_model_info{")).count();
    assert_eq!(sample(&page, r#"tipoff_model_info{alias="stable",model="buys",version="2"}"#), 1.0);
    assert_eq!(sample(&page, r#"tipoff_model_info{alias="shadow",model="buys",version="3"}"#), 1.0);
    assert_eq!(n_shown, 2, "{page}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_looks_at_what_a_start_would_serve_and_changes_nothing() {
    let server = TestServer::start(&[]).await;
    let (_elsewhere, artifact) = second();
    load(&server, &artifact).await.expect("loaded");
    server.models().set_alias(stable(2)).await.expect("set");
    let config = config(server.directory.path(), &[]);
    App::check(&config).expect("beside a server that runs");
    let directory = server.stop().await;
    // That version 1 would load does not help: 2 serves.
    std::fs::write(directory.path().join("models/buys/2/forest.json"), "{}").expect("written");
    let before = everything_in(directory.path());
    let error = App::check(&config).expect_err("2 does not load").to_string();
    assert!(error.contains("model buys version 2"), "{error}");
    assert_eq!(everything_in(directory.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_artifact_comes_in_at_a_time_and_one_that_breaks_off_leaves_nothing() {
    let server = TestServer::start(&[]).await;
    let (_elsewhere, artifact) = second();
    let (parts_sent, requests) = mpsc::channel(1);
    let mut models = server.models();
    let call = tokio::spawn(async move { models.load_model(ReceiverStream::new(requests)).await });
    for part in [header(2), chunk("forest.json", b"{")] {
        parts_sent.send(v1::LoadModelRequest { part: Some(part) }).await.expect("taken");
    }
    wait_for(|| held(server.directory.path()).len() == 2).await;
    let status = load(&server, &artifact).await.expect_err("another is under way");
    assert_eq!(failure(&status), (Code::Unavailable, "UPLOAD_UNDER_WAY".into()));
    // The caller goes.
    call.abort();
    drop(parts_sent);
    wait_for(|| held(server.directory.path()) == ["1"]).await;
    load(&server, &artifact).await.expect("loaded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_may_be_empty_but_no_later_part_of_it() {
    let server = TestServer::start(&[]).await;
    let (_elsewhere, artifact) = second();
    add_empty_file(&artifact);
    let all = [vec![header(2)], parts(&artifact), vec![chunk("notes.txt", b"")]].concat();
    let again = [all.clone(), vec![chunk("notes.txt", b"")]].concat();
    let status = send(&server, again).await.expect_err("it gets nowhere");
    assert_eq!(failure(&status), (Code::InvalidArgument, "UPLOAD_INVALID".into()));
    assert!(status.message().starts_with("chunk.data: "), "{status:?}");
    send(&server, all).await.expect("loaded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_while_an_artifact_comes_in_has_nothing_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("definitions.toml"), DEFINITIONS).expect("written");
    publish_model(directory.path());
    let (_elsewhere, artifact) = second();
    let server = Process::start(directory.path(), &[]);
    let (parts_sent, requests) = mpsc::channel(1);
    let mut models = ModelServiceClient::new(server.channel());
    let call = tokio::spawn(async move { models.load_model(ReceiverStream::new(requests)).await });
    for part in [vec![header(2)], parts(&artifact)].concat() {
        parts_sent.send(v1::LoadModelRequest { part: Some(part) }).await.expect("taken");
    }
    wait_for(|| held(directory.path()).len() == 2).await;
    server.kill();
    call.await.expect("it ends").expect_err("the server has gone");
    drop(parts_sent);

    let server = Process::start(directory.path(), &[]);
    assert_eq!(held(directory.path()), ["1"]);
    let mut models = ModelServiceClient::new(server.channel());
    assert_eq!(history(&mut models).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_on_its_way_in_keeps_no_server_from_stopping() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("definitions.toml"), DEFINITIONS).expect("written");
    publish_model(directory.path());
    let mut server = Process::start(directory.path(), &[]);
    let (parts_sent, requests) = mpsc::channel(1);
    let mut models = ModelServiceClient::new(server.channel());
    let call = tokio::spawn(async move { models.load_model(ReceiverStream::new(requests)).await });
    for part in [header(2), chunk("forest.json", b"{")] {
        parts_sent.send(v1::LoadModelRequest { part: Some(part) }).await.expect("taken");
    }
    wait_for(|| held(directory.path()).len() == 2).await;
    server.signal("TERM");
    let status = call.await.expect("it ends").expect_err("the server is about to stop");
    assert_eq!(failure(&status), (Code::Unavailable, "DRAINING".into()));
    // Far below the drain's deadline.
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
    assert_eq!(held(directory.path()), ["1"]);
}

/// The files below a directory: when they were written, and what is in them.
fn everything_in(directory: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let (mut files, mut directories) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let written = path.metadata().and_then(|file| file.modified()).expect("a time");
                let content = std::fs::read(&path).expect("read");
                files.insert(path, (written, content));
            }
        }
    }
    files
}

async fn wait_for(is_so: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be");
}
