//! Batches from a stream, several under way at a time, acknowledged in order.

use std::future::Future;
use std::pin::Pin;

use futures_util::stream::{self, FuturesOrdered, Stream, StreamExt};
use tonic::{Status, Streaming};

use super::{Events, Overload};
use crate::proto::v1;
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;
use crate::rpc::wire;

/// Batches of one stream under way: enough that a group commit has company.
const MAX_UNDER_WAY: usize = 16;

type Acknowledgement = Result<v1::IngestStreamResponse, Status>;

struct State {
    events: Events,
    requests: Streaming<wire::IngestStreamRequest>,
    under_way: FuturesOrdered<Pin<Box<dyn Future<Output = Acknowledgement> + Send>>>,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    end: Option<End>,
}

/// Nothing more is read; the stream ends when all under way is acknowledged.
enum End {
    Closed,
    Failed(Status),
}

/// One acknowledgement a request. It is the reader of these that drives the
/// stream: one who does not read is not read from.
pub fn acknowledgements(
    events: Events,
    requests: Streaming<wire::IngestStreamRequest>,
) -> impl Stream<Item = Acknowledgement> + Send {
    let draining = Box::pin(events.context.parts.shutdown.clone().draining());
    let state = State { events, requests, under_way: FuturesOrdered::new(), draining, end: None };
    stream::unfold(Some(state), |state| async { state?.next().await })
}

impl State {
    async fn next(mut self) -> Option<(Acknowledgement, Option<Self>)> {
        loop {
            let may_read = self.end.is_none() && self.under_way.len() < MAX_UNDER_WAY;
            // Biased: a batch enters the pipeline by its first poll, before the next is read.
            tokio::select! {
                biased;
                Some(acknowledgement) = self.under_way.next() => {
                    // After a failure nothing later is acknowledged.
                    let rest = acknowledgement.is_ok().then_some(self);
                    return Some((acknowledgement, rest));
                }
                () = &mut self.draining, if self.end.is_none() => {
                    let refusal = Refusal::new(Reason::Draining, "the server is about to stop");
                    self.end = Some(End::Failed(self.events.context.fail(refusal)));
                }
                request = self.requests.message(), if may_read => match request {
                    Ok(Some(request)) => {
                        let batch = acknowledge(self.events.clone(), request);
                        self.under_way.push_back(Box::pin(batch));
                    }
                    Ok(None) => self.end = Some(End::Closed),
                    Err(status) => self.end = Some(End::Failed(status)),
                },
                else => return match self.end {
                    Some(End::Failed(status)) => Some((Err(status), None)),
                    Some(End::Closed) | None => None,
                },
            }
        }
    }
}

async fn acknowledge(events: Events, request: wire::IngestStreamRequest) -> Acknowledgement {
    let wire::IngestStreamRequest { batch_id, events: batch, score, clock_time } = request;
    match events.ingest(batch, score, clock_time, Overload::IsAnswered).await {
        Ok(results) => Ok(v1::IngestStreamResponse { batch_id, results }),
        Err(refusal) => Err(events.context.fail(refusal)),
    }
}
