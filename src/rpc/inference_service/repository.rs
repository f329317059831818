//! The registry as a model repository of Triton.

use std::collections::BTreeMap;

use crate::deploy::Note;
use crate::proto::inference::repository_index_response::ModelIndex;
use crate::proto::inference::{
    ModelRepositoryParameter, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
};
use crate::registry::Entry;
use crate::rpc::context::Context;
use crate::rpc::error::Refusal;
use crate::rpc::model_service::not_loaded;
use crate::rpc::reason::Reason;

/// Every model with the versions that are loaded, and the versions that were refused.
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
    let mut loaded: Vec<u32> = entry.loaded.iter().map(|loaded| loaded.model.version).collect();
    loaded.sort_unstable_by(|a, b| b.cmp(a));
    let loaded = loaded.into_iter().map(|version| model(Some(version), READY, String::new()));
    refused.chain(loaded).collect()
}

/// Loads the newest valid version from the models directory; the one before
/// serves until then, and goes on if a newer one is refused.
pub async fn load(context: &Context, request: RepositoryModelLoadRequest) -> Result<(), Refusal> {
    check_repository(&request.repository_name)?;
    check_parameters(&request.parameters)?;
    let (deployer, name) = (context.parts.deployer.clone(), request.model_name);
    let note = Note { who: "inference protocol".to_owned(), why: "RepositoryModelLoad".to_owned() };
    match tokio::task::spawn_blocking(move || deployer.serve_newest(&name, note)).await {
        Ok(Ok(entry)) if entry.stable().is_some() && entry.refused.is_empty() => Ok(()),
        Ok(Ok(entry)) => Err(not_loaded(&entry)),
        Ok(Err(error)) => Err(Refusal::from(error).at("model_name")),
        Err(panicked) => {
            tracing::error!(error = %panicked, "loading a model failed");
            Err(Refusal::new(Reason::Internal, "loading the model failed"))
        }
    }
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
