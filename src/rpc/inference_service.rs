//! `inference.GRPCInferenceService`: the Open Inference Protocol (KServe v2),
//! for clients that know nothing of this server.

mod describe;
mod inputs;
mod outputs;
mod parameters;
mod repository;
mod statistics;
mod tensor;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use self::inputs::{Bounds, Inputs};
use self::outputs::Scores;
use self::statistics::{Statistics, Times};
use super::context::Context;
use super::error::Refusal;
use super::model_service::{not_loaded, other_version};
use super::reason::Reason;
use crate::engine::event::UserId;
use crate::engine::model::Model;
use crate::pipeline::ScoreRequest;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::inference::*;
use crate::registry::Loaded;

/// Rows that are scored where they come in; more go to a thread of their own,
/// so that other calls go on meanwhile.
const MAX_ROWS_IN_PLACE: i64 = 1;
/// Names from outside are cut to so many characters where a message repeats them.
const SHOWN_NAME_CHARS: usize = 64;

/// Serves the registry's models by the protocol.
#[derive(Clone)]
pub struct Inference {
    context: Arc<Context>,
    statistics: Arc<Statistics>,
}

impl Inference {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, statistics: Arc::default() }
    }

    /// A loaded version of a model; empty is the one under `stable`.
    fn serving(&self, name: &str, version: &str) -> Result<Loaded, Refusal> {
        let unknown = |field, message| Refusal::of_field(Reason::ModelUnknown, field, message);
        let Some(entry) = self.context.parts.registry.get(name) else {
            return Err(unknown("model_name", format!("no definition names the model {:?}", shown(name))));
        };
        let found = match version {
            "" => entry.stable(),
            version => entry.loaded.iter().find(|loaded| loaded.model.version.to_string() == version),
        };
        match found {
            Some(found) => Ok(found.clone()),
            None if version.is_empty() || entry.loaded.is_empty() => Err(not_loaded(&entry)),
            None => Err(unknown("model_version", other_version(shown(version), &entry))),
        }
    }

    async fn infer(&self, request: ModelInferRequest) -> Result<ModelInferResponse, Refusal> {
        let came = Instant::now();
        let n_rows = request.inputs.first().and_then(|input| input.shape.first());
        if n_rows.is_none_or(|n_rows| *n_rows <= MAX_ROWS_IN_PLACE) {
            return self.infer_here(request, came);
        }
        let inference = self.clone();
        match tokio::task::spawn_blocking(move || inference.infer_here(request, came)).await {
            Ok(answer) => answer,
            Err(panicked) => {
                tracing::error!(error = %panicked, "scoring a batch failed");
                Err(Refusal::new(Reason::Internal, "scoring the batch failed"))
            }
        }
    }

    /// Scores a batch that came in at `came`; every row by the same version.
    fn infer_here(&self, request: ModelInferRequest, came: Instant) -> Result<ModelInferResponse, Refusal> {
        let stable = self.serving(&request.model_name, &request.model_version)?;
        let model = &*stable.model;
        let result = self.answer(request, model, came);
        let elapsed = came.elapsed();
        match result {
            Ok((response, n_rows, times)) => {
                let now = self.context.parts.clock.now();
                self.statistics.answer(&model.name, model.version, n_rows, times, now);
                self.context.parts.metrics.inference.answer(&model.name, n_rows, elapsed);
                Ok(response)
            }
            Err(refusal) => {
                self.statistics.refuse(&model.name, model.version, elapsed);
                Err(refusal)
            }
        }
    }

    fn answer(
        &self,
        request: ModelInferRequest,
        model: &Model,
        came: Instant,
    ) -> Result<(ModelInferResponse, usize, Times), Refusal> {
        let mut since = came;
        let mut lap = || {
            let now = Instant::now();
            now.duration_since(std::mem::replace(&mut since, now))
        };
        let queue: Duration = lap();
        parameters::check_request(&request.parameters)?;
        let wanted = outputs::requested(model, &request.outputs)?;
        let context = &*self.context;
        let bounds = Bounds { max_rows: context.limits.inference_rows, intake: &context.intake };
        let (n_rows, rows) = match inputs::read(&request, model, bounds)? {
            Inputs::Rows { n_rows, values } => (n_rows, values),
            Inputs::Users(users) => (users.len(), self.features(&users, model)?),
        };
        let input = lap();
        let scores = score(model, n_rows, &rows)?;
        let infer = lap();
        let mut response = ModelInferResponse {
            model_name: request.model_name,
            model_version: model.version.to_string(),
            id: request.id,
            ..ModelInferResponse::default()
        };
        outputs::write(&scores, &wanted, !request.raw_input_contents.is_empty(), &mut response);
        Ok((response, n_rows, Times { queue, input, infer, output: lap() }))
    }

    /// The model's inputs of users as of now, by row: shape `[n_users, n_features]`.
    fn features(&self, users: &[UserId], model: &Model) -> Result<Vec<f64>, Refusal> {
        let request = ScoreRequest { features: true, ..ScoreRequest::default() };
        let mut rows = Vec::with_capacity(users.len() * model.inputs.len());
        for user in users {
            let Some(features) = self.context.parts.pipeline.score(user, &request, None).features else {
                return Err(Refusal::new(Reason::Internal, "the features were not read"));
            };
            rows.extend(model.row(&features.vector));
        }
        Ok(rows)
    }

    fn ready(&self, request: &ModelReadyRequest) -> ModelReadyResponse {
        ModelReadyResponse { ready: self.serving(&request.name, &request.version).is_ok() }
    }

    fn statistics(&self, request: &ModelStatisticsRequest) -> Result<ModelStatisticsResponse, Refusal> {
        let models: Vec<Arc<Model>> = if request.name.is_empty() {
            let entries = self.context.parts.registry.list();
            let loaded = entries.into_iter().flat_map(|entry| entry.loaded);
            let mut models: Vec<_> = loaded.map(|loaded| loaded.model).collect();
            models.sort_by(|a, b| (&a.name, b.version).cmp(&(&b.name, a.version)));
            models
        } else {
            vec![self.serving(&request.name, &request.version)?.model]
        };
        let of = |model: &Arc<Model>| self.statistics.of(&model.name, model.version);
        Ok(ModelStatisticsResponse { model_stats: models.iter().map(of).collect() })
    }

    /// Answers a call, or counts its failure.
    fn reply<T>(&self, result: Result<T, Refusal>) -> Result<Response<T>, Status> {
        result.map(Response::new).map_err(|refusal| self.context.fail(refusal))
    }

    fn no_shared_memory(&self) -> Result<Response<SharedMemoryResponse>, Status> {
        let message = "this server shares no memory with clients: send the contents of tensors";
        self.reply(Err(Refusal::new(Reason::NotSupported, message)))
    }
}

/// Scores rows of shape `[n_rows, n_features]`.
fn score(model: &Model, n_rows: usize, rows: &[f64]) -> Result<Scores, Refusal> {
    let n_values = n_rows * model.outputs.len();
    let (mut raw, mut outputs) = (vec![0.0; n_values], vec![0.0; n_values]);
    match model.score_rows(rows, &mut raw, &mut outputs) {
        Ok(()) => Ok(Scores { n_rows, raw, outputs }),
        Err((row, unscored)) => Err(Refusal::new(Reason::NotScorable, format_args!("row {row}: {unscored}"))),
    }
}

/// As much of a name from outside as a message repeats.
fn shown(name: &str) -> &str {
    name.char_indices().nth(SHOWN_NAME_CHARS).map_or(name, |(end, _)| &name[..end])
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: !self.context.parts.shutdown.is_draining() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        Ok(Response::new(self.ready(request.get_ref())))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(describe::server()))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.get_ref();
        self.reply(self.serving(name, version).map(|stable| describe::metadata(&stable)))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        self.reply(self.infer(request.into_inner()).await)
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let inference = self.clone();
        let answers = request.into_inner().then(move |request| {
            let inference = inference.clone();
            async move { Ok(inference.infer_of_stream(request?).await) }
        });
        let draining = self.context.parts.shutdown.clone().draining();
        Ok(Response::new(Box::pin(answers.take_until(draining))))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        let ModelConfigRequest { name, version } = request.get_ref();
        let max_rows = self.context.limits.inference_rows;
        self.reply(
            self.serving(name, version)
                .map(|stable| ModelConfigResponse { config: Some(describe::config(&stable, max_rows)) }),
        )
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        self.reply(self.statistics(request.get_ref()))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        self.reply(repository::index(request.get_ref(), self.context.parts.registry.list()))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        let loaded = repository::load(&self.context, request.into_inner()).await;
        self.reply(loaded.map(|()| RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        let unloaded = repository::unload(&self.context, request.into_inner()).await;
        self.reply(unloaded.map(|()| RepositoryModelUnloadResponse {}))
    }

    async fn system_shared_memory_status(
        &self,
        _: Request<SharedMemoryRequest>,
    ) -> Result<Response<SharedMemoryResponse>, Status> {
        self.no_shared_memory()
    }

    async fn system_shared_memory_register(
        &self,
        _: Request<SharedMemoryRequest>,
    ) -> Result<Response<SharedMemoryResponse>, Status> {
        self.no_shared_memory()
    }

    async fn system_shared_memory_unregister(
        &self,
        _: Request<SharedMemoryRequest>,
    ) -> Result<Response<SharedMemoryResponse>, Status> {
        self.no_shared_memory()
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<SharedMemoryRequest>,
    ) -> Result<Response<SharedMemoryResponse>, Status> {
        self.no_shared_memory()
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<SharedMemoryRequest>,
    ) -> Result<Response<SharedMemoryResponse>, Status> {
        self.no_shared_memory()
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<SharedMemoryRequest>,
    ) -> Result<Response<SharedMemoryResponse>, Status> {
        self.no_shared_memory()
    }
}

impl Inference {
    /// The answer to one batch of a stream, which a refusal does not end.
    async fn infer_of_stream(&self, request: ModelInferRequest) -> ModelStreamInferResponse {
        let (model_name, id) = (request.model_name.clone(), request.id.clone());
        match self.infer(request).await {
            Ok(response) => {
                ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) }
            }
            Err(refusal) => {
                let status = self.context.fail(refusal);
                let response = ModelInferResponse { model_name, id, ..ModelInferResponse::default() };
                ModelStreamInferResponse {
                    error_message: status.message().to_owned(),
                    infer_response: Some(response),
                }
            }
        }
    }
}
