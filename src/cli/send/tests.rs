//! What is sent again: against a server that is made to refuse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::proto::v1::event_service_server::{EventService, EventServiceServer};
use crate::rpc::error::Refusal;
use crate::rpc::wire;

type Stream<T> = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// Has no room on the stream, refuses the first call as a whole and takes
/// events from call `takes_from` on.
#[derive(Clone)]
struct Full {
    takes_from: u32,
    calls: Arc<AtomicU32>,
}

#[tonic::async_trait]
impl EventService for Full {
    type IngestStreamStream = Stream<v1::IngestStreamResponse>;

    async fn ingest_stream(
        &self,
        requests: Request<Streaming<wire::IngestStreamRequest>>,
    ) -> Result<Response<Self::IngestStreamStream>, Status> {
        let answers = requests.into_inner().map(|request| {
            let wire::IngestStreamRequest { batch_id, events, .. } = request?;
            Ok(v1::IngestStreamResponse { batch_id, results: refused(&events, Reason::Overloaded) })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn ingest(
        &self,
        request: Request<wire::IngestRequest>,
    ) -> Result<Response<v1::IngestResponse>, Status> {
        let call = 1 + self.calls.fetch_add(1, Ordering::Relaxed);
        let events = request.into_inner().events;
        let accepted = || v1::EventResult { status: v1::EventStatus::Accepted.into(), ..Default::default() };
        let results = match call {
            1 => return Err(Refusal::new(Reason::Overloaded, "no room at all").into()),
            call if call < self.takes_from => refused(&events, Reason::StoreFailed),
            _ => events.iter().map(|_| accepted()).collect(),
        };
        Ok(Response::new(v1::IngestResponse { results }))
    }

    async fn identify(
        &self,
        _: Request<v1::IdentifyRequest>,
    ) -> Result<Response<v1::IdentifyResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

fn refused<T>(events: &[T], reason: Reason) -> Vec<v1::EventResult> {
    let result = v1::EventResult {
        status: v1::EventStatus::Rejected.into(),
        rejection: Some(Refusal::new(reason, "not now").into_rejection()),
        ..Default::default()
    };
    vec![result; events.len()]
}

/// Sends two events; the summary, and how many calls it took after the stream.
async fn send(takes_from: u32) -> (Summary, u32) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("bound");
    let server = Full { takes_from, calls: Arc::default() };
    let calls = server.calls.clone();
    let serving = tonic::transport::Server::builder()
        .add_service(EventServiceServer::new(server))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(serving);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.jsonl");
    let lines =
        "{\"user_id\":\"ada\",\"type\":\"x\",\"time\":1}\n{\"user_id\":\"bob\",\"type\":\"x\",\"time\":2}\n";
    std::fs::write(&file, lines).expect("written");
    let reader = Reader::open(&file, &Mapping::default()).expect("a file");
    let client = Connect::to(address).connect().await.expect("a server");
    let mut sender = Sender::new(client.events, "events.jsonl".to_owned(), ProgressBar::hidden());
    sender.pause = Duration::from_millis(1);
    sender.send_all(reader, false).await.expect("answers");
    serving.abort();
    (sender.summary, calls.load(Ordering::Relaxed))
}

#[tokio::test]
async fn what_finds_no_room_is_sent_again() {
    let (summary, calls) = send(3).await;
    assert_eq!((summary.accepted, summary.n_refused(), calls), (2, 0, 3));
}

#[tokio::test]
async fn what_never_finds_room_is_refused_for_the_last_reason() {
    let (summary, calls) = send(u32::MAX).await;
    assert_eq!((summary.accepted, calls), (0, MAX_RETRIES));
    assert_eq!(summary.refused, BTreeMap::from([("STORE_FAILED".to_owned(), 2)]));
}
