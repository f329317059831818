//! `ScoringService`: reads that wait for no commit.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::context::{Context, Options};
use super::convert::{as_of, features, model_score};
use super::error::Refusal;
use super::reason::Reason;
use crate::proto::v1;
use crate::proto::v1::scoring_service_server::ScoringService;

/// Scores from the profiles in memory.
#[derive(Clone)]
pub struct Scoring {
    context: Arc<Context>,
}

impl Scoring {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// `may_wait`: whether this thread may.
    fn score(&self, request: v1::ScoreRequest, may_wait: bool) -> Result<v1::ScoreResponse, Refusal> {
        let context = &*self.context;
        let user = context.intake.user(request.user)?;
        let Options { request: mut scores, named } =
            context.options("options", request.options.unwrap_or_default())?;
        let hypothetical =
            request.hypothetical.map(|event| context.intake.hypothetical(event)).transpose()?;
        scores.may_wait = may_wait;
        let pipeline = &context.parts.pipeline;
        let scored = pipeline.score(&user, &scores, hypothetical);
        if let Some(&model) = scored.unserved.first().filter(|_| named) {
            let name = &pipeline.plan().models[model].name;
            return Err(Refusal::new(
                Reason::ModelNotLoaded,
                format_args!("no artifact serves model {name:?}"),
            ));
        }
        if let Some((model, unscored)) = scored.unscored.first().filter(|_| named) {
            let (name, version) = (&model.name, model.version);
            return Err(Refusal::new(
                Reason::NotScorable,
                format_args!(
                    "model {name:?} version {version} gives no score for these features: {unscored}"
                ),
            ));
        }
        Ok(v1::ScoreResponse {
            as_of: Some(as_of(scored.as_of)),
            known: scored.known,
            scores: scored
                .scores
                .iter()
                .map(|(model, score, reasons)| model_score(model, score, reasons))
                .collect(),
            features: scored
                .features
                .map(|read| features(pipeline.plan(), &read.vector, &read.approximate))
                .unwrap_or_default(),
        })
    }

    fn score_batch(&self, batch: v1::ScoreBatchRequest) -> Result<v1::ScoreBatchResponse, Refusal> {
        self.context.check_batch("requests", batch.requests.len())?;
        let results = batch.requests.into_iter().map(|mut request| {
            request.options = request.options.or_else(|| batch.options.clone());
            let result = match self.score(request, false) {
                Ok(response) => v1::score_batch_result::Result::Response(response),
                Err(refusal) => v1::score_batch_result::Result::Rejection(refusal.into_rejection()),
            };
            v1::ScoreBatchResult { result: Some(result) }
        });
        Ok(v1::ScoreBatchResponse { results: results.collect() })
    }
}

#[tonic::async_trait]
impl ScoringService for Scoring {
    async fn score(&self, request: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreResponse>, Status> {
        let request = request.into_inner();
        let scored = if self.context.scores_in_company {
            let scoring = self.clone();
            answer("a score", move || Scoring::score(&scoring, request, true)).await
        } else {
            Scoring::score(self, request, false)
        };
        scored.map(Response::new).map_err(|refusal| self.context.fail(refusal))
    }

    async fn score_batch(
        &self,
        request: Request<v1::ScoreBatchRequest>,
    ) -> Result<Response<v1::ScoreBatchResponse>, Status> {
        let scoring = self.clone();
        // A large batch with reasons is seconds of work; other calls go on meanwhile.
        let answered = answer("a batch", move || Scoring::score_batch(&scoring, request.into_inner()));
        answered.await.map(Response::new).map_err(|refusal| self.context.fail(refusal))
    }
}

/// The answer of a thread on which other calls do not depend.
async fn answer<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panicked| {
        tracing::error!(error = %panicked, what, "scoring failed");
        Err(Refusal::new(Reason::Internal, format_args!("scoring {what} failed")))
    })
}
