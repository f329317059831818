//! `tipoff store`, run on what real servers have left or are writing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tipoff::proto::v1;
use tipoff::proto::v1::event_service_client::EventServiceClient;
use tipoff::proto::v1::profile_service_client::ProfileServiceClient;
use tipoff::proto::v1::value::Kind;

use crate::harness::{DEFINITIONS, TestServer, event, profile_of, publish_model};
use crate::process::Process;

fn store(command: &str, paths: &[&Path], flags: &[&str]) -> Output {
    let mut tipoff = Command::new(env!("CARGO_BIN_EXE_tipoff"));
    tipoff.args(["store", command]).args(paths).args(flags).output().expect("it runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The first segment of a store.
fn segment(store: &Path) -> PathBuf {
    store.join("log").join(format!("{:020}.log", 0))
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).expect("a file");
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

async fn n_events(server: &TestServer, user: &str) -> Option<u64> {
    let profile = server.profiles().get_profile(profile_of(user)).await.ok()?;
    Some(profile.into_inner().event_count)
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_by_verify_and_mended_by_repair() {
    let server = TestServer::start(&[]).await;
    server.accept((0..3).map(|i| event("ada", "page_view", 1_000_000 + i))).await;
    let path = server.directory.path().join("store");
    let running = store("verify", &[&path], &["--json"]);
    assert_eq!(code(&running), 0, "{running:?}");
    let found: Value = serde_json::from_slice(&running.stdout).expect("one JSON object");
    let expected = json!({ "state": "in_use", "pid": std::process::id() });
    assert_eq!((&found["sound"], &found["views"]), (&json!(true), &expected));
    let locked = store("repair", &[&path], &["--dry-run"]);
    assert_eq!(code(&locked), 1, "{locked:?}");
    let pid = format!("process {}", std::process::id());
    assert!(stderr(&locked).contains(&pid), "{locked:?}");

    server.accept([event("bob", "page_view", 1_000_010)]).await;
    let directory = server.stop().await;
    let sound = store("verify", &[&path], &[]);
    assert_eq!(code(&sound), 0, "{sound:?}");
    assert!(stdout(&sound).ends_with("\nsound\n"), "{sound:?}");
    assert!(!stdout(&sound).contains("not decoded"), "{sound:?}");
    let nothing = store("repair", &[&path], &[]);
    assert_eq!((code(&nothing), stdout(&nothing)), (0, "nothing to repair\n".to_owned()));

    // A torn tail is no damage; repair cuts it as a start does.
    let whole = std::fs::read(segment(&path)).expect("a segment");
    std::fs::write(segment(&path), [&whole[..], b"torn"].concat()).expect("written");
    let torn = store("verify", &[&path], &[]);
    assert_eq!(code(&torn), 0, "{torn:?}");
    assert!(stdout(&torn).contains("torn tail  4 bytes"), "{torn:?}");
    let cut = store("repair", &[&path], &[]);
    assert!(code(&cut) == 0 && stdout(&cut).contains("cut 4 bytes"), "{cut:?}");
    assert_eq!(std::fs::read(segment(&path)).expect("a segment"), whole);

    // The clock's record is the first entry: nothing of the log is left after it.
    flip(&segment(&path), 100);
    let damaged = store("verify", &[&path], &["--json"]);
    assert_eq!(code(&damaged), 1, "{damaged:?}");
    let found: Value = serde_json::from_slice(&damaged.stdout).expect("one JSON object");
    assert_eq!((&found["damage"][0]["offset"], &found["sound"]), (&json!(64), &json!(false)));
    let kept = store("repair", &[&path], &[]);
    assert!(code(&kept) == 1 && stderr(&kept).contains("--accept-loss"), "{kept:?}");
    let look = store("repair", &[&path], &["--accept-loss", "--dry-run"]);
    assert!(
        stdout(&look).contains("which arrived from 1970-01-12T13:46:40Z to 1970-01-12T13:46:50Z"),
        "{look:?}"
    );
    assert!(!path.join("quarantine-1").exists());
    let repaired = store("repair", &[&path], &["--accept-loss"]);
    assert!(code(&repaired) == 0 && stdout(&repaired).ends_with("repaired\n"), "{repaired:?}");
    let server = TestServer::start_in(directory, &[]).await;
    assert_eq!(n_events(&server, "ada").await, None);
    server.accept([event("ada", "page_view", 1_000_000)]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_holds_is_counted_and_exported() {
    let server = TestServer::start(&[]).await;
    server.accept((0..3).map(|i| event("ada", "page_view", 1_000_000 + i))).await;
    server.accept([event("bob", "page_view", 1_000_010)]).await;
    let path = server.directory.path().join("store");
    let running = store("export", &[&path], &["--user", "ada"]);
    assert_eq!(stdout(&running).lines().count(), 3, "{running:?}");
    let directory = server.stop().await;

    let stats = store("stats", &[&path], &["--json"]);
    assert_eq!(code(&stats), 0, "{stats:?}");
    let stats: Value = serde_json::from_slice(&stats.stdout).expect("one JSON object");
    assert_eq!(stats["by_kind"]["event"], json!(4));
    assert_eq!(stats["first_arrival"], json!("1970-01-12T13:46:40Z"));
    assert_eq!(stats["views"]["by_view"]["profiles"]["values"], json!(2));
    assert_eq!(stats["views"]["applied"], stats["log_end"]);
    let text = stdout(&store("stats", &[&path], &[]));
    assert!(text.contains("entries by kind\n"), "{text}");

    let file = directory.path().join("entries.jsonl");
    let written = store("export", &[&path], &["--output", file.to_str().expect("UTF-8")]);
    assert_eq!(code(&written), 0, "{written:?}");
    let text = std::fs::read_to_string(&file).expect("written");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(json!(lines.len()), stats["entries"]);
    let third = lines.iter().filter(|line| line["user"] == "ada").nth(2).expect("three events");
    assert_eq!((&third["kind"], &third["decision"]), (&json!("event"), &json!(true)));
    assert_eq!(third["firings"], json!(["likely_to_buy"]));
    assert_eq!(third["input"]["time"], json!("1970-01-12T13:46:42Z"));
    assert!(lines.iter().all(|line| line["control"]["source"].is_null()));
    let from = third["position"].to_string();
    let rest = store("export", &[&path], &["--from", &from]);
    assert_eq!(stdout(&rest).lines().next(), Some(&*third.to_string()));
    let nowhere = store("export", &[&path], &["--from", "1"]);
    assert_eq!(code(&nowhere), 2, "{nowhere:?}");
}

#[test]
fn what_is_no_store_is_what_was_given() {
    let directory = tempfile::tempdir().expect("a directory");
    for path in [directory.path().to_owned(), directory.path().join("none")] {
        for command in ["verify", "repair", "stats", "export"] {
            let output = store(command, &[&path], &[]);
            assert_eq!(code(&output), 2, "{output:?}");
            assert!(stderr(&output).contains("store.directory"), "{output:?}");
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
}

/// Sends events of one user after another until told to stop; counts what was acknowledged.
async fn send(process: &Process, acknowledged: Arc<AtomicUsize>, is_over: Arc<AtomicBool>) {
    let mut events = EventServiceClient::new(process.channel());
    // A segment and more before the backup.
    let page = v1::Value { kind: Some(Kind::StringValue("x".repeat(500))) };
    while !is_over.load(Ordering::Relaxed) {
        let n = acknowledged.load(Ordering::Relaxed);
        let events_of_one = (0..20).map(|i| v1::Event {
            event_id: format!("{n}-{i}"),
            user_id: format!("user-{n}"),
            r#type: "page_view".to_owned(),
            properties: [("page".to_owned(), page.clone())].into(),
            ..v1::Event::default()
        });
        let request = v1::IngestRequest { events: events_of_one.collect(), ..v1::IngestRequest::default() };
        let results = events.ingest(request).await.expect("the batch is taken").into_inner().results;
        assert!(results.iter().all(|result| result.status() == v1::EventStatus::Accepted), "{results:?}");
        acknowledged.store(n + 1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_server_under_load_has_all_that_was_acknowledged_before() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("definitions.toml"), DEFINITIONS).expect("written");
    publish_model(directory.path());
    let process = Arc::new(Process::start(directory.path(), &[("store.segment_bytes", "1MiB")]));
    let (acknowledged, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let sending = {
        let (process, acknowledged, is_over) = (process.clone(), acknowledged.clone(), is_over.clone());
        tokio::spawn(async move { send(&process, acknowledged, is_over).await })
    };
    while acknowledged.load(Ordering::Relaxed) < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let n_before = acknowledged.load(Ordering::Relaxed);
    let copy = tempfile::tempdir().expect("a directory");
    let (from, to) = (directory.path().join("store"), copy.path().join("store"));
    let backup = tokio::task::spawn_blocking({
        let (from, to) = (from.clone(), to.clone());
        move || store("backup", &[&from, &to], &[])
    });
    let backup = backup.await.expect("it ends");
    assert_eq!(code(&backup), 0, "{backup:?}");
    let n_after = acknowledged.load(Ordering::Relaxed);
    is_over.store(true, Ordering::Relaxed);
    sending.await.expect("all were accepted");
    assert!(n_after > n_before, "the server was under load");
    let again = store("backup", &[&from, &to], &[]);
    assert_eq!(code(&again), 2, "{again:?}");

    std::fs::write(copy.path().join("definitions.toml"), DEFINITIONS).expect("written");
    publish_model(copy.path());
    let restored = Process::start(copy.path(), &[]);
    let mut profiles = ProfileServiceClient::new(restored.channel());
    for n in 0..n_before {
        let profile = profiles.get_profile(profile_of(&format!("user-{n}"))).await.expect("known");
        assert_eq!(profile.into_inner().event_count, 20, "user {n} of {n_before}");
    }
}
