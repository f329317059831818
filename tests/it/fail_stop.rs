//! A store that cannot write stops the acknowledgements, not the scores.

use std::process::Command;

use tipoff::proto::v1;
use tipoff::proto::v1::event_service_client::EventServiceClient;
use tipoff::proto::v1::profile_service_client::ProfileServiceClient;
use tipoff::proto::v1::scoring_service_client::ScoringServiceClient;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{DEFINITIONS, profile_of, publish_model, user};
use crate::http;
use crate::process::Process;

fn views(ids: std::ops::Range<usize>) -> v1::IngestRequest {
    let view = |n: usize| v1::Event {
        event_id: format!("e{n}"),
        user_id: "ada".to_owned(),
        r#type: "page_view".to_owned(),
        ..v1::Event::default()
    };
    v1::IngestRequest { events: ids.map(view).collect(), ..v1::IngestRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_nothing_is_acknowledged_and_scores_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("definitions.toml"), DEFINITIONS).expect("written");
    publish_model(directory.path());
    let server = Process::start(directory.path(), &[]);
    let mut events = EventServiceClient::new(server.channel());
    events.ingest(views(0..3)).await.expect("taken");

    // From now on no file grows beyond this.
    let pid = server.pid().to_string();
    match Command::new("prlimit").args(["--pid", &pid, "--fsize=512"]).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => return println!("skipped: prlimit does not run here ({error})"),
    }
    for first in [3, 4, 3] {
        let status = events.ingest(views(first..first + 1)).await.expect_err("it is not durable");
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone());
        assert_eq!(
            (status.code(), reason.as_deref()),
            (Code::Unavailable, Some("STORE_FAILED")),
            "{status:?}"
        );
    }
    let options = v1::ScoreOptions { models: vec!["buys".into()], ..v1::ScoreOptions::default() };
    let request = v1::ScoreRequest { user: user("ada"), options: Some(options), hypothetical: None };
    let scored = ScoringServiceClient::new(server.channel()).score(request).await.expect("scores go on");
    assert!(scored.into_inner().known);

    let (status, body) = http::get(server.http, "/readyz").expect("it answers");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("the store has stopped"), "{body}");
    assert_eq!(http::get(server.http, "/livez").expect("it answers").0, 200);
    let (_, page) = http::get(server.http, "/metrics").expect("it answers");
    let failures = page.lines().find_map(|line| line.strip_prefix("tipoff_commit_failures_total "));
    assert!(failures.expect("there is one").parse::<f64>().expect("a number") >= 1.0);
    server.kill();

    // What was refused was never in, and comes in now.
    let server = Process::start(directory.path(), &[]);
    let mut profiles = ProfileServiceClient::new(server.channel());
    let request = profile_of("ada");
    let profile = profiles.get_profile(request.clone()).await.expect("known").into_inner();
    assert_eq!(profile.event_count, 3);
    let results = EventServiceClient::new(server.channel()).ingest(views(2..5)).await.expect("taken");
    let results: Vec<_> = results.into_inner().results.iter().map(v1::EventResult::status).collect();
    use v1::EventStatus::{Accepted, Duplicate};
    assert_eq!(results, [Duplicate, Accepted, Accepted]);
    let profile = profiles.get_profile(request).await.expect("known").into_inner();
    assert_eq!(profile.event_count, 5);
}
