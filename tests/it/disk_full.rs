//! A full disk refuses events, loses none, and takes them again once there is room.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use tipoff::proto::v1;
use tipoff::proto::v1::EventStatus::{Accepted, Duplicate};
use tipoff::proto::v1::event_service_client::EventServiceClient;
use tipoff::proto::v1::profile_service_client::ProfileServiceClient;
use tipoff::proto::v1::scoring_service_client::ScoringServiceClient;
use tipoff::proto::v1::value::Kind;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{DEFINITIONS, profile_of, publish_model, user};
use crate::http;
use crate::process::{FILLER, OnSmallDisk, Process};

const DISK_BYTES: usize = 48 << 20;
const N_USERS: usize = 50;
const BATCH: usize = 20;
/// The store takes events again at the latest so long after there is room.
const HEALS_WITHIN: Duration = Duration::from_secs(5);

/// Events of 2 kB that no other batch has.
fn batch(n: usize) -> v1::IngestRequest {
    let event = |n: usize| v1::Event {
        event_id: format!("e{n}"),
        user_id: format!("u{}", n % N_USERS),
        r#type: "page_view".to_owned(),
        properties: [("note".to_owned(), text(n))].into(),
        ..v1::Event::default()
    };
    let events = (n * BATCH..(n + 1) * BATCH).map(event).collect();
    v1::IngestRequest { events, ..v1::IngestRequest::default() }
}

/// What does not compress.
fn text(n: usize) -> v1::Value {
    use rand::{RngExt, SeedableRng};
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(n as u64);
    let text = (0..2_000).map(|_| char::from(dice.random_range(b' '..=b'~'))).collect();
    v1::Value { kind: Some(Kind::StringValue(text)) }
}

fn assert_no_space(status: &Status) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    assert_eq!((status.code(), reason.as_deref()), (Code::ResourceExhausted, Some("NO_SPACE")), "{status:?}");
    assert!(details.retry_info().is_some_and(|retry| retry.retry_delay.is_some()));
}

/// Whether every event is in; those that are not were refused for want of space.
fn taken_whole(results: &[v1::EventResult]) -> bool {
    let is_in = |result: &v1::EventResult| [Accepted, Duplicate].contains(&result.status());
    for result in results.iter().filter(|result| !is_in(result)) {
        let rejection = result.rejection.as_ref().expect("why");
        assert!(rejection.reason == "NO_SPACE" && rejection.retryable, "{result:?}");
    }
    results.iter().all(is_in)
}

struct Client {
    events: EventServiceClient<Channel>,
    next: usize,
    /// Batches that were refused.
    refused: BTreeSet<usize>,
}

impl Client {
    /// Sends new batches until one is refused.
    async fn fill(&mut self) {
        loop {
            let n = self.next;
            self.next += 1;
            match self.events.ingest(batch(n)).await {
                Ok(taken) if taken_whole(&taken.get_ref().results) => {}
                // The other worker's part of it was taken.
                Ok(_) => drop(self.refused.insert(n)),
                Err(status) => {
                    assert_no_space(&status);
                    self.refused.insert(n);
                    return;
                }
            }
        }
    }

    /// Sends what was refused until it is taken.
    async fn send_again(&mut self) {
        while let Some(&n) = self.refused.first() {
            match self.events.ingest(batch(n)).await {
                Ok(taken) if taken_whole(&taken.get_ref().results) => {
                    self.refused.remove(&n);
                }
                Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(status) => {
                    assert_no_space(&status);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn event_count(server: &Process) -> u64 {
    let mut profiles = ProfileServiceClient::new(server.channel());
    let mut count = 0;
    for n in 0..N_USERS {
        let profile = profiles.get_profile(profile_of(&format!("u{n}"))).await.expect("known");
        count += profile.into_inner().event_count;
    }
    count
}

/// Leaves no room on the disk.
fn fill(store: &Path) {
    let mut filler = std::fs::OpenOptions::new().append(true).open(store.join(FILLER)).expect("there");
    while filler.write_all(&[0; 4096]).is_ok() {}
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for item in std::fs::read_dir(from).expect("a directory") {
        let item = item.expect("readable");
        let (path, to) = (item.path(), to.join(item.file_name()));
        match item.file_type().expect("a type").is_dir() {
            true => copy(&path, &to),
            false => std::fs::copy(&path, &to).map(drop).expect("copied"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_events_and_heals_when_there_is_room() {
    fills_up_and_heals(OnSmallDisk::Everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_views_refuses_events_and_heals_when_there_is_room() {
    fills_up_and_heals(OnSmallDisk::AllButTheLog).await;
}

async fn fills_up_and_heals(on_it: OnSmallDisk) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("definitions.toml"), DEFINITIONS).expect("written");
    publish_model(directory.path());
    // Views are written all the time.
    let flags = [("pipeline.snapshot_lag_bytes", "1MiB"), ("store.view_interval", "20ms")];
    let small = (on_it, DISK_BYTES);
    let Some(server) = Process::start_on_small_disk(directory.path(), small, &flags) else { return };
    let store = server.path(&directory.path().join("store"));
    let mut client =
        Client { events: EventServiceClient::new(server.channel()), next: 0, refused: BTreeSet::new() };

    // A little room comes back at a time: the disk fills up more than once.
    for left in [DISK_BYTES / 4, DISK_BYTES / 8, 0] {
        if on_it == OnSmallDisk::AllButTheLog {
            fill(&store);
        }
        client.fill().await;
        let n_refused = client.next - 1;
        let status = client.events.ingest(batch(n_refused)).await.expect_err("there is no room");
        assert_no_space(&status);

        let options = v1::ScoreOptions { models: vec!["buys".into()], ..v1::ScoreOptions::default() };
        let request = v1::ScoreRequest { user: user("u1"), options: Some(options), hypothetical: None };
        let scored = ScoringServiceClient::new(server.channel()).score(request).await.expect("scores go on");
        assert!(scored.into_inner().known);
        let (status, body) = http::get(server.http, "/readyz").expect("it answers");
        assert!(status == 503 && body.contains("no space left on the disk"), "{status} {body}");
        let (_, page) = http::get(server.http, "/metrics").expect("it answers");
        assert!(page.lines().any(|line| line == "tipoff_store_no_space 1"));

        let filler = std::fs::OpenOptions::new().write(true).open(store.join(FILLER)).expect("there");
        filler.set_len(left as u64).expect("shrunk");
        let room = Instant::now();
        client.send_again().await;
        assert!(room.elapsed() < HEALS_WITHIN, "after {:?}", room.elapsed());
        println!("took events again {:?} after there was room", room.elapsed());
        assert_eq!(http::get(server.http, "/readyz").expect("it answers").0, 200);
    }
    let n_events = (client.next * BATCH) as u64;
    assert_eq!(event_count(&server).await, n_events, "each once");

    // What is on the disk is what was acknowledged.
    server.signal("STOP");
    let copied = tempfile::tempdir().expect("a directory");
    copy(directory.path().join("models").as_path(), &copied.path().join("models"));
    std::fs::write(copied.path().join("definitions.toml"), DEFINITIONS).expect("written");
    copy(&store, &copied.path().join("store"));
    server.kill();
    let server = Process::start(copied.path(), &[]);
    assert_eq!(event_count(&server).await, n_events, "after a restart");
}
