//! What `/metrics` says is what happened, and Prometheus can read it.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tipoff::proto::v1;

use crate::harness::{DEFINITIONS, TestServer, event, publish_model, user};
use crate::http;

/// A trigger that a gate always stops.
const GATED: &str = r#"
[triggers.gated]
score    = "buys"
fire_at  = 0.5
rearm_at = 0.3
when     = "spent > 1000.0"
"#;

async fn start() -> TestServer {
    let directory = tempfile::tempdir().expect("a directory");
    let definitions = DEFINITIONS.to_owned() + GATED;
    std::fs::write(directory.path().join("definitions.toml"), definitions).expect("written");
    publish_model(directory.path());
    TestServer::start_in(directory, &[]).await
}

pub fn scrape(address: SocketAddr) -> String {
    let (status, body) = http::get(address, "/metrics").expect("it answers");
    assert_eq!(status, 200);
    body
}

/// The value of one sample, by its name and labels as they stand.
pub fn sample(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("no {name} in:\n{page}"));
    value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_tell_what_was_sent() {
    let server = start().await;
    let subscription = v1::SubscribeRequest { subscription: "crm".into(), ..v1::SubscribeRequest::default() };
    let firings = server.triggers().subscribe(subscription).await.expect("it opens");

    let with_id = |id: &str, seconds| v1::Event { event_id: id.into(), ..event("ada", "page_view", seconds) };
    let events = vec![
        with_id("one", 1_000_000),
        with_id("two", 1_000_001),
        with_id("two", 1_000_001),
        with_id("three", 1_000_002),
        event("grace", "search", 1_000_003),
        v1::Event { arrival_time: event("", "", 1_000_004).time, ..event("grace", "search", 500_000) },
        event(&"x".repeat(1_000), "search", 1_000_004),
        event("", "search", 1_000_004),
        event("", "search", 1_000_004),
    ];
    let n_events = events.len() as f64;
    let request = v1::IngestRequest { events, ..v1::IngestRequest::default() };
    server.events().ingest(request).await.expect("taken");
    let options = v1::ScoreOptions { models: vec!["buys".into()], ..v1::ScoreOptions::default() };
    let request = v1::ScoreRequest { user: user("ada"), options: Some(options), hypothetical: None };
    for _ in 0..3 {
        server.scoring().score(request.clone()).await.expect("scored");
    }

    let page = scrape(server.app().http());
    for (name, expected) in [
        (r#"tipoff_events_total{result="accepted"}"#, 4.0),
        (r#"tipoff_events_total{result="duplicate"}"#, 1.0),
        (r#"tipoff_events_total{result="late"}"#, 1.0),
        (r#"tipoff_events_total{result="rejected"}"#, 3.0),
        (r#"tipoff_events_refused_total{reason="EVENT_LATE"}"#, 1.0),
        (r#"tipoff_events_refused_total{reason="ID_TOO_LONG"}"#, 1.0),
        (r#"tipoff_events_refused_total{reason="USER_ID_MISSING"}"#, 2.0),
        ("tipoff_batch_events_count", 1.0),
        ("tipoff_batch_events_sum", n_events),
        ("tipoff_ingest_ack_seconds_count", 1.0),
        ("tipoff_apply_seconds_count", 6.0),
        (r#"tipoff_queue_events{worker="0"}"#, 0.0),
        (r#"tipoff_queue_events{worker="1"}"#, 0.0),
        ("tipoff_profiles", 2.0),
        (r#"tipoff_scores_total{model="buys"}"#, 3.0),
        (r#"tipoff_score_seconds_count{model="buys"}"#, 3.0),
        ("tipoff_score_query_seconds_count", 3.0),
        (r#"tipoff_firings_total{trigger="likely_to_buy"}"#, 1.0),
        (r#"tipoff_firings_total{trigger="cart_abandoned"}"#, 0.0),
        (r#"tipoff_suppressions_total{gate="when",trigger="gated"}"#, 1.0),
        ("tipoff_armings_refused_total", 0.0),
        (r#"tipoff_model_info{alias="stable",model="buys",version="1"}"#, 1.0),
        (r#"tipoff_clock_mode{mode="replay"}"#, 1.0),
        (r#"tipoff_clock_mode{mode="wall"}"#, 0.0),
        ("tipoff_clock_timestamp_seconds", 1_000_004.0),
        (r#"tipoff_store_durability{mode="fsync"}"#, 1.0),
        ("tipoff_commit_failures_total", 0.0),
        ("tipoff_subscribers", 1.0),
    ] {
        assert_eq!(sample(&page, name), expected, "{name}");
    }
    // Two shards, the definitions, the models and the subscription have committed.
    assert!(sample(&page, "tipoff_commit_seconds_count") >= 2.0);
    assert!(sample(&page, "tipoff_commit_entries_sum") >= 7.0);
    assert!(sample(&page, "tipoff_commit_seconds_sum") > 0.0);
    drop(firings);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_traits_and_armings_are_refused_and_counted() {
    let server = TestServer::start(&[("limits.traits_per_profile", "2")]).await;
    let identify = |traits: &[&str]| {
        let value = v1::Value { kind: Some(v1::value::Kind::BoolValue(true)) };
        v1::IdentifyRequest {
            user_id: "ada".to_owned(),
            traits: traits.iter().map(|name| ((*name).to_owned(), value.clone())).collect(),
            ..v1::IdentifyRequest::default()
        }
    };
    let mut events = server.events();
    events.identify(identify(&["one", "two"])).await.expect("two are permitted");
    events.identify(identify(&["two"])).await.expect("it is known");
    let status = events.identify(identify(&["three"])).await.expect_err("one too many");
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");

    let n_keys = tipoff::engine::trigger::MAX_ARMINGS + 3;
    let cart = |n: usize| {
        let cart = v1::value::Kind::StringValue(n.to_string());
        crate::harness::with_property(event("ada", "add_to_cart", 1_000_000), "cart_id", cart)
    };
    server.accept((0..n_keys).map(cart)).await;
    assert_eq!(sample(&scrape(server.app().http()), "tipoff_armings_refused_total"), 3.0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_has_nothing_to_say_against_the_page() {
    let server = start().await;
    server.accept((0..3).map(|i| event("ada", "page_view", 1_000_000 + i))).await;
    let page = scrape(server.app().http());
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match promtool {
        Err(error) => println!("skipped: promtool does not run here ({error})"),
        Ok(mut promtool) => {
            promtool.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
            let output = promtool.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
    }
    server.stop().await;
}

/// Killed when dropped.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_server_and_answers_queries() {
    let server = start().await;
    server.accept((0..3).map(|i| event("ada", "page_view", 1_000_000 + i))).await;
    let directory = tempfile::tempdir().expect("a directory");
    let config = format!(
        "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\n\
         scrape_configs:\n\
         - job_name: tipoff\n  static_configs: [{{ targets: ['{}'] }}]\n",
        server.app().http()
    );
    let config_file = directory.path().join("prometheus.yml");
    std::fs::write(&config_file, config).expect("written");
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config_file.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--log.level=error")
        .spawn();
    let prometheus = match prometheus {
        Ok(child) => Prometheus(child),
        Err(error) => {
            println!("skipped: prometheus does not run here ({error})");
            server.stop().await;
            return;
        }
    };

    let query = |query: &str| {
        let (_, body) = http::get(address, &format!("/api/v1/query?query={query}")).ok()?;
        let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
    };
    let start = Instant::now();
    let accepted = loop {
        if let Some(accepted) = query("sum(tipoff_events_total)") {
            break accepted;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "Prometheus has scraped nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(accepted, 3.0);
    assert_eq!(query("sum(tipoff_firings_total)"), Some(1.0));
    assert_eq!(query("up"), Some(1.0));
    drop(prometheus);
    server.stop().await;
}
