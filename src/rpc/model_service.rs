//! `ModelService`: what the registry serves.

use std::fmt::Display;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::context::Context;
use super::convert::{output_kind, timestamp};
use super::error::Refusal;
use super::page;
use super::reason::Reason;
use crate::proto::v1;
use crate::proto::v1::model_service_server::ModelService;
use crate::registry::{Entry, Manifest, Metrics, Stable};

/// Shows the registry.
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
        let mut entries = self.context.parts.registry.list();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let mut loaded = entries
            .iter()
            .filter(|entry| *entry.name > *request.page_token)
            .filter_map(|entry| entry.stable.as_ref());
        let models: Vec<_> = loaded.by_ref().take(size).map(model).collect();
        let next_page_token = match (loaded.next(), models.last()) {
            (Some(_), Some(last)) => last.name.clone(),
            _ => String::new(),
        };
        Ok(v1::ListModelsResponse { models, next_page_token })
    }

    fn get(&self, request: &v1::GetModelRequest) -> Result<v1::GetModelResponse, Refusal> {
        let unknown = |message: String| Refusal::of_field(Reason::ModelUnknown, "name", message);
        let Some(entry) = self.context.parts.registry.get(&request.name) else {
            return Err(unknown("no definition names this model".to_owned()));
        };
        match &entry.stable {
            None => Err(not_loaded(&entry)),
            Some(stable) if request.version == 0 || request.version == stable.manifest.version => {
                Ok(v1::GetModelResponse { model: Some(model(stable)) })
            }
            Some(stable) => Err(unknown(other_version(request.version, stable))),
        }
    }
}

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        self.list(request.get_ref()).map(Response::new).map_err(|refusal| self.context.fail(refusal))
    }

    async fn get_model(
        &self,
        request: Request<v1::GetModelRequest>,
    ) -> Result<Response<v1::GetModelResponse>, Status> {
        self.get(request.get_ref()).map(Response::new).map_err(|refusal| self.context.fail(refusal))
    }
}

/// The refusal of a model that no artifact serves, with what was wrong with those found.
pub(super) fn not_loaded(entry: &Entry) -> Refusal {
    let reasons: Vec<String> = entry.refused.iter().map(ToString::to_string).collect();
    Refusal::new(Reason::ModelNotLoaded, format_args!("no artifact serves the model: {}", reasons.join("; ")))
}

/// Says of a version asked for that another serves.
pub(super) fn other_version(asked: impl Display, stable: &Stable) -> String {
    format!("version {asked} is not loaded; version {} serves", stable.manifest.version)
}

fn model(stable: &Stable) -> v1::Model {
    let manifest: &Manifest = &stable.manifest;
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
        aliases: vec!["stable".to_owned()],
        create_time: Some(timestamp(manifest.created)),
        runtime: stable.model.scorer.runtime().to_owned(),
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
