//! `ModelService`: what the registry serves, and what changes it.

mod load;
mod moves;
mod refusal;
mod shadow;

use std::fmt::Display;
use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::context::Context;
use super::convert::{output_kind, timestamp};
use super::error::Refusal;
use super::page;
use super::reason::Reason;
use crate::deploy::{Deployer, Error, Note};
use crate::priority::giving_way;
use crate::proto::v1;
use crate::proto::v1::model_service_server::ModelService;
use crate::registry::{Entry, Loaded, Manifest, Metrics, Rollout};

/// The longest name of who does something, and the longest reason why, in bytes.
const MAX_WHO: usize = 256;
const MAX_WHY: usize = 1_024;

/// Shows the registry, and has it changed.
#[derive(Clone)]
pub struct Models {
    context: Arc<Context>,
}

impl Models {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    fn list(&self, request: &v1::ListModelsRequest) -> Result<v1::ListModelsResponse, Refusal> {
        let size = page::size(request.page_size)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(place_of(token).ok_or_else(page::bad_token)?),
        };
        let entries = self.context.parts.registry.list();
        let place = |loaded: &Loaded| (loaded.manifest.name.clone(), loaded.manifest.version);
        let mut all: Vec<_> =
            entries.iter().flat_map(|entry| entry.loaded.iter().map(move |loaded| (entry, loaded))).collect();
        all.sort_by_key(|(_, loaded)| place(loaded));
        let mut wanted = all.into_iter().filter(|(_, loaded)| Some(place(loaded)) > after);
        let models: Vec<_> =
            wanted.by_ref().take(size).map(|(entry, loaded)| model(&entry.rollout, loaded)).collect();
        let next_page_token = match (wanted.next(), models.last()) {
            (Some(_), Some(last)) => format!("{}/{}", last.name, last.version),
            _ => String::new(),
        };
        Ok(v1::ListModelsResponse { models, next_page_token })
    }

    fn get(&self, request: &v1::GetModelRequest) -> Result<v1::GetModelResponse, Refusal> {
        let entry = self.entry(&request.name)?;
        let found = match request.version {
            0 => entry.stable().ok_or_else(|| not_loaded(&entry))?,
            _ if entry.loaded.is_empty() => return Err(not_loaded(&entry)),
            version => entry.get(version).ok_or_else(|| {
                Refusal::of_field(Reason::ModelUnknown, "version", other_version(version, &entry))
            })?,
        };
        Ok(v1::GetModelResponse { model: Some(model(&entry.rollout, found)) })
    }

    fn entry(&self, name: &str) -> Result<Entry, Refusal> {
        self.context
            .parts
            .registry
            .get(name)
            .ok_or_else(|| Refusal::of_field(Reason::ModelUnknown, "name", "no definition names this model"))
    }

    /// As [`change`], in the name of the caller.
    async fn change<T: Send + 'static>(
        &self,
        note: Result<Note, Refusal>,
        change: impl FnOnce(&Deployer, Note) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Refusal> {
        let note = note?;
        self::change(&self.context, move |deployer| change(deployer, note)).await
    }
}

/// Has something changed, away from the threads that serve calls: it reads
/// files and waits for the log, and goes on though the caller has gone.
pub(super) async fn change<T: Send + 'static>(
    context: &Context,
    change: impl FnOnce(&Deployer) -> Result<T, Error> + Send + 'static,
) -> Result<T, Refusal> {
    let deployer = context.parts.deployer.clone();
    match tokio::task::spawn_blocking(move || giving_way(|| change(&deployer))).await {
        Ok(changed) => Ok(changed?),
        Err(panicked) => {
            tracing::error!(error = %panicked, "changing what serves failed");
            Err(Refusal::new(Reason::Internal, "changing what serves failed"))
        }
    }
}

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        self.answer(self.list(request.get_ref()))
    }

    async fn get_model(
        &self,
        request: Request<v1::GetModelRequest>,
    ) -> Result<Response<v1::GetModelResponse>, Status> {
        self.answer(self.get(request.get_ref()))
    }

    async fn load_model(
        &self,
        request: Request<Streaming<v1::LoadModelRequest>>,
    ) -> Result<Response<v1::LoadModelResponse>, Status> {
        let loaded = self.receive(request.into_inner()).await;
        self.answer(loaded.and_then(|loaded| {
            let entry = self.entry(&loaded.manifest.name)?;
            Ok(v1::LoadModelResponse { model: Some(model(&entry.rollout, &loaded)) })
        }))
    }

    async fn unload_model(
        &self,
        request: Request<v1::UnloadModelRequest>,
    ) -> Result<Response<v1::UnloadModelResponse>, Status> {
        let v1::UnloadModelRequest { name, version, who, why } = request.into_inner();
        let unload = move |deployer: &Deployer, note| deployer.unload(&name, version, note);
        let unloaded = self.change(note(who, why), unload).await;
        self.answer(unloaded.map(|()| v1::UnloadModelResponse {}))
    }

    async fn set_alias(
        &self,
        request: Request<v1::SetAliasRequest>,
    ) -> Result<Response<v1::SetAliasResponse>, Status> {
        let moved = self.set(request.into_inner()).await;
        self.answer(moved.map(|moved| v1::SetAliasResponse { r#move: moved.as_ref().map(moves::to_wire) }))
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let v1::RollbackRequest { name, expected_version, who, why } = request.into_inner();
        let rollback = move |deployer: &Deployer, note| deployer.rollback(&name, expected_version, note);
        let moved = self.change(note(who, why), rollback).await;
        self.answer(moved.map(|moved| v1::RollbackResponse { r#move: Some(moves::to_wire(&moved)) }))
    }

    async fn model_history(
        &self,
        request: Request<v1::ModelHistoryRequest>,
    ) -> Result<Response<v1::ModelHistoryResponse>, Status> {
        self.answer(self.history(request.get_ref()))
    }

    async fn get_shadow_report(
        &self,
        request: Request<v1::GetShadowReportRequest>,
    ) -> Result<Response<v1::GetShadowReportResponse>, Status> {
        self.answer(self.shadow_report(request.get_ref()))
    }
}

impl Models {
    fn answer<T>(&self, answer: Result<T, Refusal>) -> Result<Response<T>, Status> {
        answer.map(Response::new).map_err(|refusal| self.context.fail(refusal))
    }
}

/// Who and why, within bounds.
fn note(who: String, why: String) -> Result<Note, Refusal> {
    let refuse = |field, message: String| Err(Refusal::of_field(Reason::NoteInvalid, field, message));
    if who.is_empty() {
        return refuse("who", "missing or empty".to_owned());
    }
    for (field, text, max) in [("who", &who, MAX_WHO), ("why", &why, MAX_WHY)] {
        if text.len() > max {
            return refuse(field, format!("{} bytes, at most {max} are permitted", text.len()));
        }
        if text.chars().any(char::is_control) {
            return refuse(field, "has control characters".to_owned());
        }
    }
    Ok(Note { who, why })
}

/// The name and version in a page token.
fn place_of(token: &str) -> Option<(String, u32)> {
    let (name, version) = token.split_once('/')?;
    Some((name.to_owned(), version.parse().ok()?))
}

/// The refusal of a model that no artifact serves, with what was wrong with those found.
pub(super) fn not_loaded(entry: &Entry) -> Refusal {
    let reasons: Vec<String> = entry.refused.iter().map(ToString::to_string).collect();
    Refusal::new(Reason::ModelNotLoaded, format_args!("no artifact serves the model: {}", reasons.join("; ")))
}

/// Says of a version asked for which others are loaded.
pub(super) fn other_version(asked: impl Display, entry: &Entry) -> String {
    let loaded: Vec<String> = entry.loaded.iter().map(|loaded| loaded.model.version.to_string()).collect();
    format!("version {asked} is not loaded; loaded: {}", loaded.join(", "))
}

fn model(rollout: &Rollout, loaded: &Loaded) -> v1::Model {
    let manifest: &Manifest = &loaded.manifest;
    let canary = rollout.canary.filter(|canary| canary.version == manifest.version);
    v1::Model {
        name: manifest.name.clone(),
        version: manifest.version,
        format: manifest.scorer.clone(),
        label: manifest.label.as_ref().map_or_else(String::new, |label| label.name.clone()),
        features: manifest
            .features
            .iter()
            .map(|feature| v1::ModelFeature { name: feature.name.clone(), digest: feature.digest.clone() })
            .collect(),
        outputs: manifest
            .outputs
            .iter()
            .map(|output| v1::ModelOutput {
                name: output.name.clone(),
                kind: output_kind(output.kind).into(),
            })
            .collect(),
        metrics: manifest.metrics.iter().flat_map(figures).collect(),
        trained_until: manifest
            .training
            .as_ref()
            .map(|training| timestamp(training.train.to.max(training.calibration.to))),
        features_digest: manifest.features_digest.clone(),
        aliases: rollout.aliases_of(manifest.version).map(|alias| alias.name().to_owned()).collect(),
        create_time: Some(timestamp(manifest.created)),
        runtime: loaded.model.scorer.runtime().to_owned(),
        engine: loaded.model.scorer.engine(),
        canary_percent: canary.map_or(0.0, |canary| canary.percent),
    }
}

/// The figures of the hold-out by name.
fn figures(metrics: &Metrics) -> impl Iterator<Item = (String, f64)> {
    let part = &metrics.holdout;
    let figures = [
        ("auc", part.auc),
        ("log_loss", Some(part.log_loss)),
        ("brier", Some(part.brier)),
        ("ece", Some(part.ece)),
        ("base_rate", Some(part.base_rate)),
    ];
    figures.into_iter().filter_map(|(name, figure)| Some((name.to_owned(), figure?)))
}
