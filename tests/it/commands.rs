//! The client commands, as a user runs them.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{TestServer, event};

/// Runs `tipoff` against the server; the arguments come before `--address`.
async fn tipoff(server: &TestServer, args: &[&str]) -> Output {
    let address = format!("http://{}", server.app().grpc());
    let args: Vec<String> =
        args.iter().map(|arg| (*arg).to_owned()).chain(["--address".to_owned(), address]).collect();
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_tipoff"))
            .args(args)
            .env_remove("TIPOFF_TOKEN")
            .output()
            .expect("it runs")
    };
    tokio::task::spawn_blocking(run).await.expect("it ends")
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
    assert!(text.contains("views_7d   3"), "{text}");
    assert!(text.contains("3 events, open"), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_and_fails_the_command() {
    let server = TestServer::start(&[]).await;
    let file = server.directory.path().join("events.jsonl");
    let lines = "{\"user_id\":\"\",\"type\":\"x\",\"time\":1}\n{\"user_id\":\"ada\",\"type\":\"x\",\"time\":5}\nnonsense\n";
    std::fs::write(&file, lines).expect("written");
    let output = tipoff(&server, &["send", file.to_str().expect("UTF-8"), "--replay"]).await;
    assert_eq!(output.status.code(), Some(1));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(talk.contains("events.jsonl:1: user_id: missing or empty"), "{talk}");
    assert!(talk.contains("2 events were not taken in"), "{talk}");
    assert!(stdout(&output).contains("accepted   1"));

    let output = tipoff(&server, &["profile", "nobody"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("USER_UNKNOWN"), "{output:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn the_benchmark_measures_a_server_of_its_own() {
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_tipoff"))
            .args([
                "bench",
                "--duration",
                "1",
                "--rate",
                "500",
                "--score-rate",
                "100",
                "--users",
                "500",
                "--json",
            ])
            .output()
            .expect("it runs")
    };
    let report = json_of(&tokio::task::spawn_blocking(run).await.expect("it ends"));
    for (part, latency) in [
        ("open_loop", "ingest_acknowledgement_ms"),
        ("open_loop", "score_ms"),
        ("closed_loop", "batch_acknowledgement_ms"),
    ] {
        let latency = &report[part][latency];
        let at = |name: &str| latency[name].as_f64().expect("a number");
        assert!(0.0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("max"), "{part}: {latency}");
        assert_eq!(report[part]["refused"], json!(0), "{part}");
        assert!(report[part]["events_per_second"].as_f64().expect("a number") > 0.0, "{part}");
    }
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
