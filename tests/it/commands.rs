//! The client commands, as a user runs them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tipoff::proto::v1;
use tipoff::proto::v1::trigger_service_server::{TriggerService, TriggerServiceServer};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::harness::{TestServer, add_empty_file, event, publish_saying};

/// Runs `tipoff` against the server; the arguments come before `--address`.
async fn tipoff(server: &TestServer, args: &[&str]) -> Output {
    // Without a scheme, as one types it.
    let address = server.app().grpc().to_string();
    run([args, &["--address", &address]].concat()).await
}

async fn run(args: Vec<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tipoff"));
    command.args(args).env_remove("TIPOFF_TOKEN").env_remove("TIPOFF_ADDRESS");
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

const EVENTS: &str = r#"{"user_id":"ada","type":"page_view","time":1000000,"event_id":"1","properties":{"page":"shoes"}}
{"user_id":"ada","type":"page_view","time":1001000,"event_id":"2","properties":{"page":"hats"}}
{"user_id":"ada","type":"page_view","time":1002000,"event_id":"3","properties":{"page":"coats"}}
{"user_id":"ada","type":"page_view","time":1002000,"event_id":"3","properties":{"page":"coats"}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_and_seen_in_scores_and_profile() {
    let server = TestServer::start(&[]).await;
    let file = server.directory.path().join("events.jsonl");
    std::fs::write(&file, EVENTS).expect("written");
    let file = file.to_str().expect("UTF-8");

    let mut sent = json_of(&tipoff(&server, &["send", file, "--replay", "--json"]).await);
    assert!(sent["seconds"].take().is_number());
    let expected = json!({
        "events": 4, "accepted": 3, "duplicate": 1, "bad_lines": 0, "refused": {}, "seconds": null,
    });
    assert_eq!(sent, expected);

    let scored =
        json_of(&tipoff(&server, &["score", "ada", "--model", "buys", "--features", "--json"]).await);
    assert_eq!((&scored["known"], &scored["features"]["views_7d"]), (&json!(true), &json!(3.0)));
    assert_eq!(scored["scores"][0]["raw_score"], json!(2.0));
    let text = stdout(&tipoff(&server, &["score", "ada", "--model", "buys"]).await);
    assert!(text.contains("buys v1  probability 0.8808"), "{text}");
    // Of a user with one view, a further one makes no difference; of two it does.
    let bob = ["score", "bob", "--model", "buys", "--event", "page_view", "--property", "page=x", "--json"];
    assert_eq!(json_of(&tipoff(&server, &bob).await)["scores"][0]["raw_score"], json!(-2.0));

    let profile = json_of(&tipoff(&server, &["profile", "ada", "--json"]).await);
    assert_eq!((&profile["event_count"], &profile["features"]["last_page"]), (&json!(3), &json!("coats")));
    assert_eq!(profile["sessions"][0]["event_count"], json!(3));
    let text = stdout(&tipoff(&server, &["profile", "ada"]).await);
    assert!(text.contains("views_7d     3"), "{text}");
    assert!(text.contains("3 events, open"), "{text}");

    let explain = ["profile", "ada", "--explain", "last_page", "--explain", "spent"];
    let text = stdout(&tipoff(&server, &explain).await);
    let expected = "last_page\n  value                 coats\n  aggregate             last\n  \
                    after                 1969-12-25T00:16:42Z\n";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("\n  1970-01-01T00:16:41Z  hats\n"), "{text}");
    assert!(text.contains("spent\n  value      0\n"), "{text}");
    let explained = json_of(&tipoff(&server, &[&explain[..], &["--json"]].concat()).await);
    let window = &explained["explanations"][0]["source"]["window"];
    assert_eq!(window["event_count"], json!(3));
    assert_eq!(window["events"][2], json!({ "time": "1970-01-01T00:16:40Z", "value": "shoes" }));
    let explain = ["profile", "ada", "--explain", "sessions_7d"];
    let text = stdout(&tipoff(&server, &explain).await);
    assert!(
        text.contains("  sessions              1\n  1970-01-01T00:16:40Z  2 seconds, 3 events, open\n"),
        "{text}"
    );
    let explained = json_of(&tipoff(&server, &[&explain[..], &["--json"]].concat()).await);
    let counted = &explained["explanations"][0]["source"]["sessions"];
    assert_eq!((&counted["session_count"], &counted["sessions"]), (&json!(1), &profile["sessions"]));
    let output = tipoff(&server, &["profile", "ada", "--explain", "last_paeg"]).await;
    assert!(stderr(&output).contains("did you mean `last_page`?"), "{output:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_by_line_and_fails_the_command() {
    let server = TestServer::start(&[("limits.user_id_bytes", "5")]).await;
    let file = server.directory.path().join("events.jsonl");
    let path = file.to_str().expect("UTF-8");
    let line = |user: &str| format!("{{\"user_id\":\"{user}\",\"type\":\"x\",\"time\":5}}\n");
    std::fs::write(&file, line("ada") + "\n" + &line("charles")).expect("written");
    let output = tipoff(&server, &["send", path, "--replay"]).await;
    let talk = stderr(&output);
    assert!(
        talk.contains("events.jsonl:3: user_id: 7 bytes, at most 5 are permitted (ID_TOO_LONG)\n"),
        "{talk}"
    );
    assert!(talk.contains("tipoff: 1 event not taken in\n"), "{talk}");
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("accepted   1"));

    // Lines that are no events are the file's fault, whatever the server says of the others.
    std::fs::write(&file, line("") + &line("ada") + &"nonsense\n".repeat(20)).expect("written");
    let output = tipoff(&server, &["send", path, "--replay"]).await;
    let talk = stderr(&output);
    assert!(talk.contains("events.jsonl:1: user_id: missing or empty\n"), "{talk}");
    assert!(talk.contains("tipoff: 21 events not taken in\n"), "{talk}");
    assert_eq!(talk.lines().count(), 11, "the first few, and the sum: {talk}");
    assert_eq!(output.status.code(), Some(2));

    let output = tipoff(&server, &["profile", "ghost"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("USER_UNKNOWN"), "{output:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_for_a_server_on_the_wall_clock_is_told_where_to_go() {
    let server = TestServer::start(&[("pipeline.clock", "wall")]).await;
    let file = server.directory.path().join("events.jsonl");
    std::fs::write(&file, EVENTS).expect("written");
    let file = file.to_str().expect("UTF-8");
    for (args, reason) in
        [(vec!["send", file], "EVENT_LATE"), (vec!["send", file, "--replay"], "ARRIVAL_TIME_REFUSED")]
    {
        let output = tipoff(&server, &args).await;
        assert_eq!(output.status.code(), Some(1));
        let talk = stderr(&output);
        assert!(talk.contains(reason) && talk.contains("tipoff serve --set pipeline.clock=replay"), "{talk}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_wrong_exits_2_and_says_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (events, header, broken) = (path("events.jsonl"), path("header.csv"), path("broken.csv.gz"));
    std::fs::write(&events, EVENTS).expect("written");
    std::fs::write(&header, "a,b\n1,2\n").expect("written");
    std::fs::write(&broken, "not gzip").expect("written");
    let (missing, csv) = (path("missing.jsonl"), path("z.csv"));
    for (args, expected) in [
        (vec!["send", &missing], "missing.jsonl: No such file or directory (os error 2)\n"),
        (vec!["send", &header], "header.csv: header: column \"type\" is missing"),
        (vec!["send", &broken], "broken.csv.gz:1: "),
        (
            vec!["send", &events, "--address", "ftp://localhost"],
            "--address ftp://localhost: neither http:// nor",
        ),
        (vec!["send", &events, "--address", "a b"], "--address a b: invalid URI"),
        (vec!["send", &events, "--token-file", &missing], "--token-file "),
        (
            vec!["send", &events, "--ca-file", &missing],
            "missing.jsonl: No such file or directory (os error 2)\n",
        ),
        (vec!["send", &events, "--ca-file", &header], "header.csv: no certificate in PEM form\n"),
        (
            vec!["send", &events, "--ca-file", &header, "--address", "http://[::1]"],
            "--ca-file is for https://",
        ),
        (vec!["score", "ada", "--event", "x", "--property", "y"], "--property y: expected NAME=VALUE"),
        (vec!["check", &missing], "missing.jsonl: 1 mistake\n"),
        (vec!["serve", "--config", &missing], "missing.jsonl"),
        (vec!["simulate", "--out", &csv], "z.csv: events are written as .jsonl, .ndjson or .json"),
        (vec!["simulate", "--out", &path("no/folder.jsonl")], "folder.jsonl: No such file"),
        (vec!["simulate", "--out", &path("a.jsonl"), "--start", "-1"], "--start <START>"),
        (vec!["simulate", "--out", &path("a.jsonl"), "--users", "0"], "--users <USERS>"),
    ] {
        let output = run(args.clone()).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        let talk = stderr(&output);
        assert!(talk.contains(expected), "{args:?}: {talk}");
        assert_eq!(
            talk.matches("os error").count(),
            usize::from(talk.contains("os error")),
            "said once: {talk}"
        );
    }
    assert!(!folder.path().join("z.csv").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_a_failure() {
    let address = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("bound").to_string()
    };
    let output = run(vec!["profile", "ada", "--address", &address]).await;
    assert_eq!(output.status.code(), Some(1));
    let talk = stderr(&output);
    assert!(
        talk.contains(&format!("cannot reach a server at http://{address}/ (is `tipoff serve`")),
        "{talk}"
    );
    assert_eq!(talk.matches("onnection refused").count(), 1, "{talk}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_trusts_the_authority_given_and_names_it_where_that_fails() {
    let files = tempfile::tempdir().expect("a directory");
    let path = |name| files.path().join(name).display().to_string();
    let (cert, key, other) = (path("cert.pem"), path("key.pem"), path("other.pem"));
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let made = make();
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    std::fs::write(&other, make().cert.pem()).expect("written");
    let server = TestServer::start(&[("server.tls.cert_file", &cert), ("server.tls.key_file", &key)]).await;
    let port = server.app().grpc().port();
    let profile = |address: String, ca: Option<&str>| {
        let ca = ca.map(|ca| ["--ca-file".to_owned(), ca.to_owned()]);
        async move {
            let args = ["profile", "ghost", "--address", &address];
            let ca = ca.iter().flatten().map(String::as_str);
            let output = run(args.into_iter().chain(ca).collect()).await;
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            stderr(&output)
        }
    };
    let talk = profile(format!("localhost:{port}"), Some(&cert)).await;
    assert!(talk.contains("USER_UNKNOWN"), "{talk}");
    let talk = profile(format!("localhost:{port}"), Some(&other)).await;
    assert!(talk.contains("other.pem") && talk.contains("certificate"), "{talk}");
    let talk = profile(format!("https://localhost:{port}"), None).await;
    assert!(talk.contains("cannot reach") && talk.contains("certificate"), "{talk}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firings_are_watched_and_acknowledged() {
    let server = TestServer::start(&[]).await;
    let address = format!("http://{}", server.app().grpc());
    let watch = || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tipoff"))
            .args(["watch", "--json", "--address", &address])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (out, talk) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let mut subscribed = String::new();
        BufReader::new(talk).read_line(&mut subscribed).expect("read");
        assert!(subscribed.contains("waiting for firings"), "{subscribed}");
        (child, BufReader::new(out))
    };
    let first_firing = |out: &mut BufReader<ChildStdout>| {
        let mut line = String::new();
        out.read_line(&mut line).expect("read");
        serde_json::from_str::<Value>(&line).expect("a JSON object a line")
    };
    let end = |mut child: Child| {
        let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("it runs");
        assert!(told.success());
        assert!(child.wait().expect("it ends").success());
    };

    let (child, mut out) = watch();
    server.accept((0..3).map(|second| event("ada", "page_view", 1_000 + second))).await;
    let firing = first_firing(&mut out);
    assert_eq!((&firing["trigger"], &firing["user"]), (&json!("likely_to_buy"), &json!("ada")));
    assert_eq!(firing["reasons"][0]["feature"], json!("views_7d"));
    end(child);
    // It goes on behind what was acknowledged, with what came meanwhile.
    server.accept((0..3).map(|second| event("bob", "page_view", 2_000 + second))).await;
    let (child, mut out) = watch();
    assert_eq!(first_firing(&mut out)["user"], json!("bob"));
    end(child);
    server.stop().await;
}

/// Sends one firing and ends the stream.
struct Ending {
    acknowledged: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl TriggerService for Ending {
    type SubscribeStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::SubscribeResponse, Status>>>;

    async fn subscribe(
        &self,
        _: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let firing = v1::Firing { resume_token: "7".into(), ..v1::Firing::default() };
        let message = Some(v1::subscribe_response::Message::Firing(firing));
        let firings = vec![Ok(v1::SubscribeResponse { message })];
        Ok(Response::new(tokio_stream::iter(firings)))
    }

    async fn acknowledge(
        &self,
        request: Request<v1::AcknowledgeRequest>,
    ) -> Result<Response<v1::AcknowledgeResponse>, Status> {
        self.acknowledged.lock().expect("no panic").push(request.into_inner().resume_token);
        Ok(Response::new(v1::AcknowledgeResponse::default()))
    }

    async fn list_firings(
        &self,
        _: Request<v1::ListFiringsRequest>,
    ) -> Result<Response<v1::ListFiringsResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_printed_is_acknowledged_when_the_server_ends_the_stream() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let acknowledged = Arc::<Mutex<Vec<String>>>::default();
    let service = TriggerServiceServer::new(Ending { acknowledged: acknowledged.clone() });
    let serving = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(serving);
    let output = run(vec!["watch", "--address", &address]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stdout(&output).lines().count(), 1);
    assert_eq!(*acknowledged.lock().expect("no panic"), ["7"]);
    serving.abort();
}

/// A short run of the benchmark.
const BENCH: [&str; 10] =
    ["bench", "--duration", "1", "--rate", "500", "--score-rate", "100", "--users", "500", "--json"];

/// Checks what every report of [`BENCH`] says.
fn check_report(report: &Value) {
    for (part, latency) in [
        ("open_loop", "ingest_acknowledgement_ms"),
        ("open_loop", "score_ms"),
        ("closed_loop", "batch_acknowledgement_ms"),
    ] {
        let latency = &report[part][latency];
        let at = |name: &str| latency[name].as_f64().expect("a number");
        assert!(0.0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("max"), "{part}: {latency}");
        let results = &report[part]["results"];
        assert!(results["accepted"].as_u64().expect("a number") > 0, "{part}: {results}");
        for refused in ["late", "rejected"] {
            assert_eq!(results[refused], json!(0), "{part}: {results}");
        }
        assert!(report[part]["events_per_second"].as_f64().expect("a number") > 0.0, "{part}");
        assert!(report[part]["seconds"].as_f64().expect("a number") >= 1.0, "{part}");
    }
    assert_eq!(report["open_loop"]["score_errors"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_benchmark_measures_a_server_of_its_own() {
    let run = || Command::new(env!("CARGO_BIN_EXE_tipoff")).args(BENCH).output().expect("it runs");
    let report = json_of(&tokio::task::spawn_blocking(run).await.expect("it ends"));
    check_report(&report);
    assert_eq!((&report["address"], &report["durability"]), (&Value::Null, &json!("fsync")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_benchmark_measures_a_running_server() {
    let server = TestServer::start(&[("pipeline.clock", "wall")]).await;
    // The second time the server knows the shop, and takes all of it in all the same.
    for _ in 0..2 {
        let report = json_of(&tipoff(&server, &BENCH).await);
        check_report(&report);
        assert_eq!(report["address"], json!(server.app().grpc().to_string()));
        let of_the_process = [
            &report["durability"],
            &report["models"],
            &report["resident_mib"],
            &report["open_loop"]["cpu_seconds_per_second"],
            &report["closed_loop"]["cpu_microseconds_per_event"],
        ];
        assert_eq!(of_the_process, [&Value::Null; 5]);
    }
    server.stop().await;
}

#[test]
fn more_load_than_the_server_takes_is_measured_as_well() {
    let args = ["bench", "--duration", "1", "--rate", "1000000", "--users", "500", "--json"];
    let output = Command::new(env!("CARGO_BIN_EXE_tipoff")).args(args).output().expect("it runs");
    let open_loop = &json_of(&output)["open_loop"];
    assert_eq!(open_loop["due_events_per_second"], json!(1_000_000));
    assert!(open_loop["events_per_second"].as_f64().expect("a number") > 0.0, "{open_loop}");
}

/// A command whose temporary files come to lie in the folder.
fn command_in(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tipoff"));
    command.args(args).env("TMPDIR", folder).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn n_files(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}

#[test]
fn an_interrupted_benchmark_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = command_in(folder.path(), &["bench", "--duration", "60"]).spawn().expect("it starts");
    while n_files(folder.path()) == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("it runs");
    assert!(told.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert_eq!(n_files(folder.path()), 0);
}

#[test]
fn a_demo_that_nobody_reads_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = command_in(folder.path(), &["demo", "--fast"]).spawn().expect("it starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("read");
    assert!(first.starts_with("Act 1"), "{first}");
    assert_eq!(child.wait().expect("it ends").code(), Some(141));
    assert_eq!(n_files(folder.path()), 0);
}

#[test]
fn a_reader_that_leaves_ends_the_command_in_silence() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tipoff"))
        .args(["check", "examples/shop.toml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(141), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_deployed_and_rolled_back_and_the_history_says_who() {
    let server = TestServer::start(&[]).await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    publish_saying(elsewhere.path(), -2.0);
    let artifact = publish_saying(elsewhere.path(), 0.5);
    add_empty_file(&artifact);
    let artifact = artifact.to_str().expect("UTF-8");
    let as_ada = ["--who", "ada", "--why", "new data"];

    let output = tipoff(&server, &[&["model", "deploy", artifact][..], &as_ada].concat()).await;
    assert!(output.status.success(), "{output:?}");
    let expected = "buys v2 is loaded and verified\nstable v1 -> v2\nback: tipoff model rollback buys\n";
    assert_eq!(stdout(&output), expected);
    let again = tipoff(&server, &["model", "alias", "buys", "stable", "2", "--who", "ada"]).await;
    assert_eq!(stdout(&again), "buys: stable points to v2 already\n");
    let late = ["model", "alias", "buys", "stable", "1", "--expect", "1", "--who", "ada"];
    let late = tipoff(&server, &late).await;
    assert_eq!((late.status.code(), late.stdout.len()), (Some(1), 0));
    assert!(stderr(&late).contains("stable points to version 2, not to version 1 (ALIAS_MOVED)"), "{late:?}");
    let back = tipoff(&server, &["model", "rollback", "buys", "--who", "bob"]).await;
    assert_eq!(stdout(&back), "buys: stable v2 -> v1, rolled back\n");
    let canary =
        ["model", "deploy", artifact, "--alias", "canary", "--percent", "5", "--who", "ada", "--json"];
    let moved = json_of(&tipoff(&server, &canary).await);
    assert_eq!((&moved["version"], &moved["move"]["percent"]), (&json!(2), &json!(5.0)));
    let unload = tipoff(&server, &["model", "unload", "buys", "2", "--who", "ada"]).await;
    assert!(stderr(&unload).contains("canary points to version 2 (MODEL_IN_USE)"), "{unload:?}");

    let history = stdout(&tipoff(&server, &["model", "history", "buys"]).await);
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 5, "{history}");
    assert!(
        lines[0].contains("canary nothing -> v2 for 5 % of users") && lines[0].ends_with("ada"),
        "{history}"
    );
    assert!(lines[1].contains("stable v2 -> v1, rolled back") && lines[1].ends_with("bob"), "{history}");
    assert!(lines[3].contains("loaded v2") && lines[3].ends_with("new data"), "{history}");

    let widen = |expect| {
        let canary = ["model", "deploy", artifact, "--alias", "canary", "--percent", "6", "--who", "ada"];
        let server = &server;
        async move { tipoff(server, &[&canary[..], &["--expect", expect]].concat()).await }
    };
    let late = widen("1").await;
    assert_eq!((late.status.code(), late.stdout.len()), (Some(1), 0));
    assert!(stderr(&late).contains("canary points to version 2, not to version 1 (ALIAS_MOVED)"), "{late:?}");
    let wider = widen("2").await;
    assert!(stdout(&wider).ends_with("\nback: tipoff model alias buys canary 0\n"), "{wider:?}");

    let first = std::path::Path::new(artifact).with_file_name("1");
    let first = first.to_str().expect("UTF-8");
    let manifest = format!("{first}/manifest.json");
    let text = std::fs::read_to_string(&manifest).expect("read");
    std::fs::write(&manifest, text + "\n").expect("written");
    let taken = tipoff(&server, &["model", "deploy", first, "--who", "ada"]).await;
    assert_eq!(taken.status.code(), Some(2));
    let talk = stderr(&taken);
    assert!(talk.contains("what served goes on") && talk.contains("--next-version"), "{talk}");
    let nothing = tipoff(&server, &["model", "deploy", elsewhere.path().to_str().expect("UTF-8")]).await;
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("no artifact; name the folder of one version"), "{nothing:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_deployed_and_its_report_is_printed() {
    let server = TestServer::start(&[]).await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    publish_saying(elsewhere.path(), -2.0);
    let artifact = publish_saying(elsewhere.path(), 0.5);
    let artifact = artifact.to_str().expect("UTF-8");
    let none = tipoff(&server, &["model", "shadow", "buys"]).await;
    assert!(stderr(&none).contains("shadow points to no version (NO_SHADOW)"), "{none:?}");

    let deployed = tipoff(&server, &["model", "deploy", artifact, "--alias", "shadow", "--who", "ada"]).await;
    let expected =
        "buys v2 is loaded and verified\nshadow nothing -> v2\nback: tipoff model alias buys shadow 0\n";
    assert_eq!(stdout(&deployed), expected);
    server.accept((0..3).map(|second| event("ada", "page_view", 1_000_000 + second))).await;
    let mut report = Value::Null;
    for _ in 0..200 {
        report = json_of(&tipoff(&server, &["model", "shadow", "buys", "--json"]).await);
        if report["compared"] == json!(3) {
            break;
        }
    }
    assert_eq!((&report["serving_version"], &report["shadow_version"]), (&json!(1), &json!(2)));
    let expected = json!([{ "trigger": "likely_to_buy", "both": 0, "serving_only": 1, "shadow_only": 0 }]);
    assert_eq!(report["triggers"], expected);
    let text = stdout(&tipoff(&server, &["model", "shadow", "buys"]).await);
    assert!(text.starts_with("buys: shadow v2 beside stable v1 since 2"), "{text}");
    let expected = "  compared       3 scores; 1 user followed now
  shadow less stable        mean   mean abs    max abs
                         +0.3355     0.3355     0.5033
  magnitude                  p50        p90        p99
                          0.5033     0.5033     0.5033
  fired by                  both     stable     shadow
  likely_to_buy                0          1          0
";
    assert_eq!(text.split_once('\n').map(|(_, rest)| rest), Some(expected), "{text}");
    let ended = tipoff(&server, &["model", "alias", "buys", "shadow", "0", "--who", "ada"]).await;
    assert_eq!(stdout(&ended), "buys: shadow v2 -> nothing\n");
    server.stop().await;
}
