use std::time::Duration;

use prost::Message;
use tipoff::proto::v1;
use tipoff::proto::v1::value::Kind;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use super::failure;
use crate::harness::{TestServer, event, profile_of, with_property};

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_its_own_result_in_order() {
    let server = TestServer::start(&[]).await;
    let named = v1::Event { event_id: "e1".into(), ..event("ada", "page_view", 1_000_000) };
    let events = vec![
        named.clone(),
        event("", "page_view", 1_000_000),
        named,
        with_property(event("ada", "purchase", 1_000_000), "value", Kind::DoubleValue(f64::NAN)),
        v1::Event { arrival_time: Some(at(1_200_000)), ..event("ada", "page_view", 1_000) },
        v1::Event { arrival_time: Some(at(1_200_000)), ..event("ada", "page_view", 1_300_000) },
        event("grace", "page_view", 1_200_001),
    ];
    let answer = server
        .events()
        .ingest(v1::IngestRequest { events, score: None, clock_time: None })
        .await
        .expect("taken");
    let results: Vec<_> = answer
        .get_ref()
        .results
        .iter()
        .map(|result| {
            let rejection = result.rejection.clone().unwrap_or_default();
            (result.status(), rejection.reason, rejection.field, result.as_of.is_some())
        })
        .collect();
    use v1::EventStatus::{Accepted, Duplicate, Late, Rejected};
    let line =
        |status, reason: &str, field: &str, has_as_of| (status, reason.into(), field.into(), has_as_of);
    assert_eq!(
        results,
        [
            line(Accepted, "", "", true),
            line(Rejected, "USER_ID_MISSING", "user_id", false),
            line(Duplicate, "", "", false),
            line(Rejected, "NUMBER_NOT_FINITE", "properties[\"value\"]", false),
            line(Late, "EVENT_LATE", "time", false),
            line(Rejected, "EVENT_IN_FUTURE", "time", false),
            line(Accepted, "", "", true),
        ]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_can_be_tracked_and_scored_in_one_call() {
    let server = TestServer::start(&[]).await;
    let events = (0..4).map(|i| event("ada", "page_view", 1_000_000 + i)).collect();
    let score = v1::ScoreOptions { include_features: true, ..v1::ScoreOptions::default() };
    let request = v1::IngestRequest { events, score: Some(score), clock_time: None };
    let answer = server.events().ingest(request).await.expect("taken").into_inner();
    let seen: Vec<_> = answer
        .results
        .iter()
        .map(|result| {
            assert_eq!(result.scores.len(), 1, "the model without an artifact gives none");
            let views = result.features["views_7d"].value.clone();
            (views, (result.scores[0].outputs[0].value * 100.0).round())
        })
        .collect();
    let views = |n: f64| Some(v1::feature_value::Value::Number(n));
    assert_eq!(seen, [(views(1.0), 12.0), (views(2.0), 12.0), (views(3.0), 88.0), (views(4.0), 88.0)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_fails_as_a_whole_only_for_what_is_wrong_with_all_of_it() {
    let server = TestServer::start(&[("limits.batch_events", "2"), ("limits.message_bytes", "1KiB")]).await;
    let mut events = server.events();
    let batch = |n, score| v1::IngestRequest {
        events: vec![event("ada", "page_view", 1); n],
        score,
        clock_time: None,
    };
    let status = events.ingest(batch(3, None)).await.expect_err("too many events");
    assert_eq!(failure(&status), (Code::ResourceExhausted, "BATCH_TOO_LARGE".into()));
    let score = v1::ScoreOptions { models: vec!["byus".into()], ..v1::ScoreOptions::default() };
    let status = events.ingest(batch(1, Some(score))).await.expect_err("no such model");
    assert_eq!(failure(&status), (Code::NotFound, "MODEL_UNKNOWN".into()));
    let long = v1::Event { user_id: "x".repeat(2_000), ..event("", "page_view", 1) };
    let status = events
        .ingest(v1::IngestRequest { events: vec![long], score: None, clock_time: None })
        .await
        .expect_err("too large a message");
    assert_eq!(status.code(), Code::OutOfRange);
    let profile = server.profiles().get_profile(profile_of("ada")).await;
    assert_eq!(profile.expect_err("nothing was taken in").code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_acknowledges_each_batch_in_order() {
    let server = TestServer::start(&[]).await;
    let batches = (0..200_u64).map(|batch_id| v1::IngestStreamRequest {
        batch_id,
        events: (0..batch_id % 7)
            .map(|i| {
                event(&format!("user-{}", (batch_id + i) % 13), "page_view", 1_000_000 + batch_id as i64)
            })
            .collect(),
        score: None,
        clock_time: None,
    });
    let mut answers =
        server.events().ingest_stream(tokio_stream::iter(batches)).await.expect("it opens").into_inner();
    for batch_id in 0..200 {
        let answer = answers.message().await.expect("no failure").expect("an acknowledgement each");
        assert_eq!((answer.batch_id, answer.results.len() as u64), (batch_id, batch_id % 7));
        assert!(answer.results.iter().all(|result| result.status() == v1::EventStatus::Accepted));
    }
    assert!(answers.message().await.expect("no failure").is_none(), "the stream ends with the requests");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_batch_ends_the_stream_after_those_before_it() {
    let server = TestServer::start(&[("limits.batch_events", "2")]).await;
    let batch = |batch_id, n| v1::IngestStreamRequest {
        batch_id,
        events: vec![event("ada", "page_view", 1_000_000); n],
        score: None,
        clock_time: None,
    };
    let batches = tokio_stream::iter([batch(1, 2), batch(2, 3), batch(3, 1)]);
    let answers = server.events().ingest_stream(batches).await.expect("it opens").into_inner();
    let answers: Vec<_> = answers.collect().await;
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].as_ref().expect("the first is fine").batch_id, 1);
    assert_eq!(failure(answers[1].as_ref().expect_err("the second is not")).1, "BATCH_TOO_LARGE");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_does_not_keep_a_draining_server() {
    let server = TestServer::start(&[]).await;
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = server.events().ingest_stream(receiver).await.expect("it opens").into_inner();
    let batch = v1::IngestStreamRequest {
        batch_id: 7,
        events: vec![event("ada", "page_view", 1_000_000)],
        score: None,
        clock_time: None,
    };
    requests.send(batch).await.expect("the stream is open");
    assert_eq!(answers.message().await.expect("no failure").expect("acknowledged").batch_id, 7);
    let stopped = tokio::spawn(server.stop());
    let status = answers.message().await.expect_err("the server ends the stream");
    assert_eq!(failure(&status), (Code::Unavailable, "DRAINING".into()));
    drop((requests, answers));
    tokio::time::timeout(Duration::from_secs(5), stopped).await.expect("it stops").expect("in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn identify_sets_traits_and_records_the_link() {
    let server = TestServer::start(&[]).await;
    let traits =
        |plan: &str| [("plan".to_owned(), v1::Value { kind: Some(Kind::StringValue(plan.into())) })].into();
    let mut request = v1::IdentifyRequest {
        user_id: "ada".into(),
        anonymous_id: "cookie-1".into(),
        traits: traits("free"),
        arrival_time: Some(at(1_000_000)),
    };
    let mut events = server.events();
    let answer = events.identify(request.clone()).await.expect("taken").into_inner();
    assert_eq!(answer.link_status(), v1::LinkStatus::Recorded);
    assert!(answer.as_of.is_some());
    request.anonymous_id = String::new();
    request.traits = traits("paid");
    let answer = events.identify(request.clone()).await.expect("taken").into_inner();
    assert_eq!(answer.link_status(), v1::LinkStatus::None);
    let profile = server.profiles().get_profile(profile_of("ada")).await;
    let profile = profile.expect("known").into_inner();
    assert_eq!(profile.traits["plan"].kind, Some(Kind::StringValue("paid".into())));
    assert_eq!(profile.event_count, 0);

    request.traits = [(String::new(), v1::Value { kind: Some(Kind::BoolValue(true)) })].into();
    let status = events.identify(request).await.expect_err("a trait without a name");
    assert_eq!(failure(&status), (Code::InvalidArgument, "PROPERTY_NAME_MISSING".into()));
    assert!(status.message().starts_with("traits[\"\"]: "), "{status:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_far_time_moves_a_replay_clock() {
    const STEP: i64 = 10 * 86_400;
    const YEAR_9998: i64 = 253_340_000_000;
    let server = TestServer::start(&[("limits.replay_step", "10d")]).await;
    let batch = |events, clock_time| v1::IngestRequest { events, score: None, clock_time };
    let mut events = server.events();

    // A clock that does not stand anywhere yet takes any time.
    server.accept([event("ada", "page_view", 1_000_000_000)]).await;
    let arrives =
        |seconds| v1::Event { arrival_time: Some(at(seconds)), ..event("ada", "page_view", 1_000_000_001) };
    let happens = |seconds| v1::Event { arrival_time: None, ..event("ada", "page_view", seconds) };
    let mixed = vec![arrives(YEAR_9998), happens(1_000_000_000 + STEP + 1), arrives(1_000_000_001)];
    let results = events.ingest(batch(mixed, None)).await.expect("taken").into_inner().results;
    for (result, field) in results.iter().zip(["arrival_time", "time"]) {
        let rejection = result.rejection.as_ref().expect("refused");
        assert_eq!((rejection.reason.as_str(), rejection.field.as_str()), ("REPLAY_STEP_TOO_LARGE", field));
        assert!(rejection.message.contains("limits.replay_step"), "{rejection:?}");
    }
    let as_of = results[2].as_of.expect("accepted");
    assert_eq!(as_of.time, Some(at(1_000_000_001)));

    // An event that is alone in its batch has a result all the same.
    let results =
        events.ingest(batch(vec![arrives(YEAR_9998)], None)).await.expect("taken").into_inner().results;
    assert_eq!(results[0].status(), v1::EventStatus::Rejected);

    let refused = batch(vec![arrives(1_000_000_002)], Some(at(YEAR_9998)));
    let status = events.ingest(refused).await.expect_err("a far clock time");
    assert_eq!(failure(&status), (Code::InvalidArgument, "REPLAY_STEP_TOO_LARGE".into()));
    assert!(status.message().starts_with("clock_time: "), "{status:?}");
    let far = v1::IdentifyRequest {
        user_id: "ada".into(),
        arrival_time: Some(at(YEAR_9998)),
        ..v1::IdentifyRequest::default()
    };
    let status = events.identify(far).await.expect_err("a far arrival");
    assert_eq!(failure(&status), (Code::InvalidArgument, "REPLAY_STEP_TOO_LARGE".into()));
    assert!(status.message().starts_with("arrival_time: "), "{status:?}");
    let profile = server.profiles().get_profile(profile_of("ada")).await;
    assert_eq!(profile.expect("known").get_ref().event_count, 2, "a call that fails takes nothing in");

    // Step by step, it gets anywhere.
    events.ingest(batch(Vec::new(), Some(at(1_000_000_001 + STEP)))).await.expect("one step");
    server.accept([event("ada", "page_view", 1_000_000_001 + 2 * STEP)]).await;
    server.stop().await;
}

/// A batch whose events are bytes, as a client may send them that checks nothing.
#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(bytes = "vec", repeated, tag = "1")]
    events: Vec<Vec<u8>>,
}

/// The same of a stream.
#[derive(Clone, PartialEq, prost::Message)]
struct StreamBytes {
    #[prost(bytes = "vec", repeated, tag = "2")]
    events: Vec<Vec<u8>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_does_not_decode_is_refused_alone() {
    let server = TestServer::start(&[]).await;
    let good = event("ada", "page_view", 1_000_000).encode_to_vec();
    let not_utf8 = b"\x0a\x02\xff\xfe".to_vec();
    let wrong_wire_type = b"\x08\x01".to_vec();
    let cut_short = good[..good.len() - 1].to_vec();
    let events = vec![good.clone(), not_utf8, wrong_wire_type, cut_short, good];
    let check = |results: Vec<v1::EventResult>| {
        use v1::EventStatus::{Accepted, Rejected};
        let statuses: Vec<_> = results.iter().map(v1::EventResult::status).collect();
        assert_eq!(statuses, [Accepted, Rejected, Rejected, Rejected, Accepted]);
        for result in &results[1..4] {
            let rejection = result.rejection.as_ref().expect("refused");
            assert_eq!((rejection.reason.as_str(), rejection.retryable), ("MALFORMED", false));
        }
        let message = &results[1].rejection.as_ref().expect("refused").message;
        assert!(message.contains("user_id") && message.contains("UTF-8"), "{message}");
    };

    let mut raw = tonic::client::Grpc::new(server.channel.clone());
    raw.ready().await.expect("connected");
    let path = PathAndQuery::from_static("/tipoff.v1.EventService/Ingest");
    let codec = ProstCodec::<Bytes, v1::IngestResponse>::default();
    let batch = Bytes { events: events.clone() };
    let answer = raw.unary(tonic::Request::new(batch), path.clone(), codec).await.expect("taken");
    check(answer.into_inner().results);

    let codec = ProstCodec::<StreamBytes, v1::IngestStreamResponse>::default();
    let batch = tokio_stream::once(StreamBytes { events });
    let streamed = PathAndQuery::from_static("/tipoff.v1.EventService/IngestStream");
    raw.ready().await.expect("connected");
    let answer = raw.streaming(tonic::Request::new(batch), streamed, codec).await.expect("it opens");
    check(answer.into_inner().message().await.expect("no failure").expect("acknowledged").results);

    // What is wrong with the request itself fails the call, by the client's fault.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Wrong {
        #[prost(uint64, tag = "1")]
        events: u64,
    }
    let codec = ProstCodec::<Wrong, v1::IngestResponse>::default();
    raw.ready().await.expect("connected");
    let status =
        raw.unary(tonic::Request::new(Wrong { events: 1 }), path, codec).await.expect_err("no batch");
    assert_eq!(failure(&status), (Code::InvalidArgument, "MALFORMED".into()));
    let metrics = server.app().metrics().render().expect("it renders");
    assert!(metrics.contains("tipoff_events_refused_total{reason=\"MALFORMED\"} 6"), "{metrics}");
    server.stop().await;
}

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_refused_and_not_counted() {
    let flags = [("pipeline.clock", "wall"), ("pipeline.workers", "1"), ("pipeline.queue_events", "1")];
    let server = TestServer::start(&flags).await;
    let calls = (0..200).map(|_| {
        let mut events = server.events();
        let event = v1::Event { time: None, arrival_time: None, ..event("ada", "page_view", 0) };
        tokio::spawn(async move {
            events.ingest(v1::IngestRequest { events: vec![event], score: None, clock_time: None }).await
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut n_accepted = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(answer) => {
                assert_eq!(answer.get_ref().results[0].status(), v1::EventStatus::Accepted);
                n_accepted += 1;
            }
            Err(status) => {
                assert_eq!(failure(&status), (Code::ResourceExhausted, "OVERLOADED".into()));
                let retry = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
                assert!(retry.is_some(), "it says when to come back");
            }
        }
    }
    assert!((1..200).contains(&n_accepted), "{n_accepted} of 200 found room in a queue of one");
    let profile = server.profiles().get_profile(profile_of("ada")).await;
    assert_eq!(profile.expect("known").get_ref().event_count, n_accepted);
    server.stop().await;
}
