//! How a server stops, and when it does not start.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tipoff::proto::v1;
use tipoff::proto::v1::event_service_client::EventServiceClient;
use tipoff::proto::v1::profile_service_client::ProfileServiceClient;
use tipoff::proto::v1::trigger_service_client::TriggerServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{DEFINITIONS, profile_of, publish_model};
use crate::http;
use crate::process::{Process, refused};

/// Far below the drain's deadline: nothing here needs to be cut off.
const SOON: Duration = Duration::from_secs(10);

fn prepared() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("definitions.toml"), DEFINITIONS).expect("written");
    publish_model(directory.path());
    directory
}

fn view(id: String) -> v1::Event {
    v1::Event {
        event_id: id,
        user_id: "ada".to_owned(),
        r#type: "page_view".to_owned(),
        ..v1::Event::default()
    }
}

fn is_draining(status: &tonic::Status) -> bool {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    status.code() == Code::Unavailable && reason == Some("DRAINING")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_drains_what_is_under_way() {
    let directory = prepared();
    let mut server = Process::start(directory.path(), &[]);
    let mut subscription = TriggerServiceClient::new(server.channel())
        .subscribe(v1::SubscribeRequest { subscription: "crm".to_owned(), ..v1::SubscribeRequest::default() })
        .await
        .expect("it opens")
        .into_inner();
    let (requests, receiver) = mpsc::channel(64);
    let mut answers = EventServiceClient::new(server.channel())
        .ingest_stream(ReceiverStream::new(receiver))
        .await
        .expect("it opens")
        .into_inner();
    let sender = tokio::spawn(async move {
        // Until the server closes the stream.
        for batch_id in 0.. {
            let events = (0..20).map(|n| view(format!("{batch_id}-{n}"))).collect();
            let request = v1::IngestStreamRequest { batch_id, events, ..v1::IngestStreamRequest::default() };
            if requests.send(request).await.is_err() {
                return;
            }
        }
    });

    let mut n_accepted = 0;
    let ended = loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                for result in answer.results {
                    assert_eq!(result.status(), v1::EventStatus::Accepted, "{result:?}");
                    n_accepted += 1;
                }
                if answer.batch_id == 10 {
                    server.signal("TERM");
                }
            }
            Ok(None) => panic!("the stream ends with its reason"),
            Err(status) => break status,
        }
    };
    assert!(is_draining(&ended), "{ended:?}");
    let ended = loop {
        match subscription.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the subscription ends with its reason"),
            Err(status) => break status,
        }
    };
    assert!(is_draining(&ended), "{ended:?}");
    sender.abort();
    assert_eq!(server.wait(SOON).code(), Some(0));

    // In the log is what was acknowledged: no more was taken in, and no less.
    let server = Process::start(directory.path(), &[]);
    let request = profile_of("ada");
    let profile = ProfileServiceClient::new(server.channel()).get_profile(request).await.expect("known");
    assert_eq!(profile.into_inner().event_count, n_accepted);
}

#[test]
fn a_signal_drains_a_server_whose_log_nobody_reads() {
    let directory = prepared();
    let mut server = Process::start_unread(directory.path());
    server.signal("TERM");
    assert_eq!(server.wait(SOON).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once() {
    let directory = prepared();
    let mut server = Process::start(directory.path(), &[("shutdown.drain_deadline", "1m")]);
    // A page that is never asked for keeps its connection, and so the drain, open.
    let mut connection = std::net::TcpStream::connect(server.http).expect("it listens");
    std::io::Write::write_all(&mut connection, b"GET /livez HTTP/1.1\r\n").expect("sent");
    // Long enough for a busy machine to read it.
    std::thread::sleep(Duration::from_millis(500));
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(500));
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_secs(2)).code(), Some(130));
}

#[test]
fn calls_that_do_not_end_are_cut_off_at_the_deadline() {
    let directory = prepared();
    let mut server = Process::start(directory.path(), &[("shutdown.drain_deadline", "500ms")]);
    let mut connection = std::net::TcpStream::connect(server.http).expect("it listens");
    std::io::Write::write_all(&mut connection, b"GET /livez HTTP/1.1\r\n").expect("sent");
    // Long enough for a busy machine to read it.
    std::thread::sleep(Duration::from_millis(500));
    server.signal("TERM");
    assert_eq!(server.wait(SOON).code(), Some(0));
}

#[test]
fn a_store_serves_one_process() {
    let directory = prepared();
    let mut server = Process::start(directory.path(), &[]);
    let output = refused(directory.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&server.pid().to_string()), "{said}");
    assert_eq!(http::get(server.http, "/readyz").expect("it answers").0, 200, "the first is unharmed");
    server.signal("TERM");
    assert_eq!(server.wait(SOON).code(), Some(0));
}

#[test]
fn a_port_that_is_taken_leaves_a_store_that_opens() {
    let directory = prepared();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("bound").to_string();
    let output = refused(directory.path(), &[("server.listen", &taken)]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&taken), "{said}");
    assert!(said.contains("not trained yet") && !said.contains("WARN"), "{said}");
    drop(Process::start(directory.path(), &[]));
}

#[test]
fn what_is_wrong_is_told_at_once_and_creates_nothing() {
    let check = |flags: &[(&str, &str)], definitions: &str, mistakes: &[&str]| {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("definitions.toml"), definitions).expect("written");
        let output = refused(directory.path(), flags);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for mistake in mistakes {
            assert!(said.contains(mistake), "{mistake:?} is not in:\n{said}");
        }
        assert_eq!(files(directory.path()), ["definitions.toml"], "nothing is created");
    };
    let flags = [("pipeline.worker", "2"), ("limits.batch_events", "0"), ("store.durability", "perhaps")];
    check(&flags, "", &["pipeline.worker", "`pipeline.workers`", "limits.batch_events", "perhaps"]);
    let broken =
        "[features.n]\naggregate = 'cuont'\nof = '*'\nwindow = '1d'\n[triggers.t]\nscore = 'nothing'\n";
    check(&[], broken, &["cuont", "nothing"]);
    let no_certificate = [("server.tls.cert_file", "no/such.pem"), ("server.tls.key_file", "no/such.key")];
    check(&no_certificate, "", &["no/such.pem"]);
    check(&[("server.listen", "0.0.0.0:0")], "", &["token"]);
}

#[test]
fn a_store_of_the_other_clock_keeps_the_server_from_starting() {
    let directory = prepared();
    drop(Process::start(directory.path(), &[]));
    let output = refused(directory.path(), &[("pipeline.clock", "replay")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`pipeline.clock = \"wall\"`"), "{said}");
    drop(Process::start(directory.path(), &[]));
}

#[test]
fn a_model_of_which_no_artifact_loads_keeps_the_server_from_starting() {
    let directory = prepared();
    let forest = directory.path().join("models/buys/1/forest.json");
    std::fs::write(&forest, "{}").expect("overwritten");
    let output = refused(directory.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("model buys version 1: "), "{said}");
    assert!(!directory.path().join("store").exists(), "nothing is created");
    let process = Process::start(directory.path(), &[("models.allow_broken", "true")]);
    process.kill();
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_server_that_was_told_so_drains_when_its_input_ends() {
    let directory = prepared();
    let mut server = Command::new(env!("CARGO_BIN_EXE_tipoff"))
        .args(["serve", "--drain-on-stdin-eof"])
        .args(["--set", "server.listen=127.0.0.1:0", "--set", "server.http_listen=127.0.0.1:0"])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut log = BufReader::new(server.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("serving")));
    drop(server.stdin.take());
    assert!(log.any(|line| line.contains("everything acknowledged is stored")));
    assert!(server.wait().expect("it ends").success());
}
