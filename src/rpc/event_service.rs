//! `EventService`: batches in, results out, in order.

mod stream;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::Stream;
use prost::bytes::Bytes;
use tonic::{Request, Response, Status, Streaming};

use super::context::Context;
use super::convert::{as_of, features, model_score};
use super::error::Refusal;
use super::reason::Reason;
use super::wire;
use crate::engine::Acceptance;
use crate::engine::time::Millis;
use crate::pipeline::{Error, Submission, Submitted};
use crate::proto::v1;
use crate::proto::v1::event_service_server::EventService;

/// What becomes of a batch of which nothing finds room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overload {
    /// The call fails, and can be tried again as a whole.
    FailsTheCall,
    /// Each event is answered.
    IsAnswered,
}

/// Feeds the pipeline.
#[derive(Clone)]
pub struct Events {
    context: Arc<Context>,
}

impl Events {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// One result an event, in order; they are durable as they say.
    ///
    /// Fails if nothing could be taken in for a reason of the server's own.
    async fn ingest(
        &self,
        events: Vec<Bytes>,
        score: Option<v1::ScoreOptions>,
        clock_time: Option<prost_types::Timestamp>,
        overload: Overload,
    ) -> Result<Vec<v1::EventResult>, Refusal> {
        let started = Instant::now();
        let context = &*self.context;
        context.check_batch("events", events.len())?;
        let options = score.map(|score| context.options("score", score)).transpose()?;
        let clock_time = context.intake.replay_time("clock_time", clock_time)?;

        // Results by place; those of submitted events come later.
        let mut results = Vec::with_capacity(events.len());
        let (mut submissions, mut places) = (Vec::with_capacity(events.len()), Vec::new());
        for event in events {
            match context.intake.encoded_event(event) {
                Ok(submission) => {
                    places.push((results.len(), arrival_field(&submission)));
                    submissions.push(submission);
                    results.push(v1::EventResult::default());
                }
                Err(refusal) => results.push(self.refused(refusal)),
            }
        }
        let request = options.map(|options| options.request);
        let submitted = context
            .parts
            .pipeline
            .submit(submissions, request, clock_time)
            .await
            .map_err(|error| refusal(error, "clock_time"))?;
        if let Some(error) = common_error(&submitted)
            && (overload == Overload::FailsTheCall || !matches!(error, Error::Overloaded { .. }))
        {
            return Err(error.clone().into());
        }
        for ((place, field), submitted) in places.into_iter().zip(submitted) {
            results[place] = match submitted {
                Ok(submitted) => self.result(submitted),
                Err(error) => self.refused(refusal(error, field)),
            };
        }
        let metrics = &context.parts.metrics.ingest;
        metrics.batch_events.observe(results.len() as f64);
        metrics.ack_seconds.observe(started.elapsed().as_secs_f64());
        Ok(results)
    }

    fn result(&self, submitted: Submitted) -> v1::EventResult {
        let metrics = &self.context.parts.metrics.ingest;
        let arrival = match submitted.acceptance {
            Acceptance::Accepted(arrival) => {
                metrics.accepted.inc();
                arrival
            }
            Acceptance::Duplicate => {
                metrics.duplicate.inc();
                return v1::EventResult {
                    status: v1::EventStatus::Duplicate.into(),
                    ..v1::EventResult::default()
                };
            }
            Acceptance::Late { by } => {
                let message = format_args!("{} older than the permitted lateness", rounded(by));
                return self.refused(Refusal::of_field(Reason::EventLate, "time", message));
            }
            Acceptance::Future { by } => {
                let message =
                    format_args!("{} further ahead of its arrival than the permitted skew", rounded(by));
                return self.refused(Refusal::of_field(Reason::EventInFuture, "time", message));
            }
        };
        let mut result = v1::EventResult {
            status: v1::EventStatus::Accepted.into(),
            as_of: Some(as_of(arrival)),
            ..v1::EventResult::default()
        };
        if let Some(scored) = submitted.scored {
            let pipeline = &self.context.parts.pipeline;
            result.scores = scored
                .scores
                .iter()
                .map(|(model, score, reasons)| model_score(model, score, reasons))
                .collect();
            result.features = scored
                .features
                .map(|read| features(pipeline.plan(), &read.vector, &read.approximate))
                .unwrap_or_default();
        }
        result
    }

    fn refused(&self, refusal: Refusal) -> v1::EventResult {
        self.context.parts.metrics.ingest.refuse(refusal.reason);
        let status = match refusal.reason {
            Reason::EventLate => v1::EventStatus::Late,
            _ => v1::EventStatus::Rejected,
        };
        v1::EventResult {
            status: status.into(),
            rejection: Some(refusal.into_rejection()),
            ..v1::EventResult::default()
        }
    }

    async fn identified(&self, request: v1::IdentifyRequest) -> Result<v1::IdentifyResponse, Refusal> {
        let submissions = self.context.intake.identification(request)?;
        let link_status = if submissions.len() > 1 { v1::LinkStatus::Recorded } else { v1::LinkStatus::None };
        let mut last = None;
        for submitted in self.context.parts.pipeline.submit(submissions, None, None).await? {
            let submitted = submitted.map_err(|error| refusal(error, "arrival_time"))?;
            if let Acceptance::Accepted(arrival) = submitted.acceptance {
                last = Some(arrival);
            }
        }
        Ok(v1::IdentifyResponse { as_of: last.map(as_of), link_status: link_status.into() })
    }
}

#[tonic::async_trait]
impl EventService for Events {
    type IngestStreamStream = Pin<Box<dyn Stream<Item = Result<v1::IngestStreamResponse, Status>> + Send>>;

    async fn ingest(
        &self,
        request: Request<wire::IngestRequest>,
    ) -> Result<Response<v1::IngestResponse>, Status> {
        let wire::IngestRequest { events, score, clock_time } = request.into_inner();
        match Events::ingest(self, events, score, clock_time, Overload::FailsTheCall).await {
            Ok(results) => Ok(Response::new(v1::IngestResponse { results })),
            Err(refusal) => Err(self.context.fail(refusal)),
        }
    }

    async fn ingest_stream(
        &self,
        request: Request<Streaming<wire::IngestStreamRequest>>,
    ) -> Result<Response<Self::IngestStreamStream>, Status> {
        Ok(Response::new(Box::pin(stream::acknowledgements(self.clone(), request.into_inner()))))
    }

    async fn identify(
        &self,
        request: Request<v1::IdentifyRequest>,
    ) -> Result<Response<v1::IdentifyResponse>, Status> {
        self.identified(request.into_inner())
            .await
            .map(Response::new)
            .map_err(|refusal| self.context.fail(refusal))
    }
}

/// What says when an event arrived, in replay mode.
fn arrival_field(submission: &Submission) -> &'static str {
    if submission.arrival_time.is_some() { "arrival_time" } else { "time" }
}

/// Of an input whose arrival is the given field.
fn refusal(error: Error, arrival_field: &str) -> Refusal {
    match error {
        Error::ReplayStepTooLarge { .. } => Refusal::from(error).at(arrival_field),
        _ => error.into(),
    }
}

/// The span in the largest unit of which it has at least one, to a tenth.
fn rounded(span: Millis) -> String {
    const UNITS: [(&str, Millis); 4] =
        [("d", Millis::DAY), ("h", Millis::HOUR), ("min", Millis::MINUTE), ("s", Millis::SECOND)];
    match UNITS.into_iter().find(|(_, length)| span >= *length) {
        Some((unit, length)) => format!("{:.1} {unit}", span.as_seconds() / length.as_seconds()),
        None => format!("{} ms", span.as_millis()),
    }
}

/// The first error, if nothing was taken in for a reason of the server's own.
fn common_error(submitted: &[Result<Submitted, Error>]) -> Option<&Error> {
    let of_the_server =
        |result: &Result<_, Error>| result.as_ref().is_err_and(|error| !error.is_of_the_input());
    submitted.first().filter(|_| submitted.iter().all(of_the_server))?.as_ref().err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_to_a_fitting_unit() {
        for (ms, text) in [(1, "1 ms"), (999, "999 ms"), (1_500, "1.5 s"), (400_000, "6.7 min")] {
            assert_eq!(rounded(Millis::new(ms)), text);
        }
        for (ms, text) in [(5_400_000, "1.5 h"), (86_400_000, "1.0 d"), (31_536_000_000, "365.0 d")] {
            assert_eq!(rounded(Millis::new(ms)), text);
        }
    }
}
