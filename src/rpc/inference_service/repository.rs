//! The registry as a model repository of Triton.

use std::collections::BTreeMap;

use crate::proto::inference::repository_index_response::ModelIndex;
use crate::proto::inference::{
    ModelRepositoryParameter, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
};
use crate::record::Control;
use crate::registry::{self, Entry};
use crate::rpc::context::Context;
use crate::rpc::error::Refusal;
use crate::rpc::model_service::not_loaded;
use crate::rpc::reason::Reason;

/// Every model with the version that serves it, and the versions that were refused.
pub fn index(
    request: &RepositoryIndexRequest,
    mut entries: Vec<Entry>,
) -> Result<RepositoryIndexResponse, Refusal> {
    check_repository(&request.repository_name)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let models = entries.iter().flat_map(of_entry).filter(|model| !request.ready || model.state == READY);
    Ok(RepositoryIndexResponse { models: models.collect() })
}

const READY: &str = "READY";
const UNAVAILABLE: &str = "UNAVAILABLE";

fn of_entry(entry: &Entry) -> Vec<ModelIndex> {
    let model = |version: Option<u32>, state: &str, reason: String| ModelIndex {
        name: entry.name.to_string(),
        version: version.map(|version| version.to_string()).unwrap_or_default(),
        state: state.to_owned(),
        reason,
    };
    let refused = entry.refused.iter();
    let refused = refused.map(|refused| model(refused.version, UNAVAILABLE, refused.reason.to_string()));
    let serving = entry.stable.iter().map(|stable| model(Some(stable.model.version), READY, String::new()));
    refused.chain(serving).collect()
}

/// Loads the newest valid version from the models directory; the one before
/// serves until then, and goes on if a newer one is refused.
pub async fn load(context: &Context, request: RepositoryModelLoadRequest) -> Result<(), Refusal> {
    check_repository(&request.repository_name)?;
    check_parameters(&request.parameters)?;
    let parts = &context.parts;
    let name = request.model_name;
    let before = parts.registry.get(&name).and_then(|entry| Some(entry.stable?.model.version));
    let registry = parts.registry.clone();
    let of_model = name.clone();
    let entry = match tokio::task::spawn_blocking(move || registry.reload(&of_model)).await {
        Ok(Ok(entry)) => entry,
        Ok(Err(error @ registry::Error::UnknownModel { .. })) => {
            return Err(Refusal::of_field(Reason::ModelUnknown, "model_name", error));
        }
        Ok(Err(error)) => return Err(Refusal::of_field(Reason::ModelNotLoaded, "model_name", error)),
        Err(panicked) => {
            tracing::error!(error = %panicked, model = name, "loading a model failed");
            return Err(Refusal::new(Reason::Internal, "loading the model failed"));
        }
    };
    if let Some(stable) = &entry.stable
        && before != Some(stable.model.version)
    {
        let version = stable.model.version;
        parts.metrics.models.serving(&name, before, version);
        tracing::info!(model = name, version, "model loaded");
        let serving = parts.registry.list().into_iter();
        let serving =
            serving.filter_map(|entry| Some((entry.name.to_string(), entry.stable?.model.version))).collect();
        let recorded = parts.cursors.record(&[Control::Models { serving }]).await;
        recorded.map_err(|error| Refusal::new(Reason::StoreFailed, error))?;
    }
    if entry.stable.is_none() || !entry.refused.is_empty() { Err(not_loaded(&entry)) } else { Ok(()) }
}

/// There is one repository, and it has no name.
pub fn check_repository(name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Ok(());
    }
    let message = "there is one repository, without a name";
    Err(Refusal::of_field(Reason::NotSupported, "repository_name", message))
}

fn check_parameters(parameters: &BTreeMap<String, ModelRepositoryParameter>) -> Result<(), Refusal> {
    if parameters.is_empty() {
        return Ok(());
    }
    let message = "models are loaded as they are in the models directory, without a configuration or files";
    Err(Refusal::of_field(Reason::NotSupported, "parameters", message))
}
