//! The registry as a model repository of Triton.

use crate::deploy::{Deployer, Note};
use crate::proto::inference::repository_index_response::ModelIndex;
use crate::proto::inference::{
    RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest, RepositoryModelUnloadRequest,
};
use crate::registry::Entry;
use crate::rpc::context::Context;
use crate::rpc::error::Refusal;
use crate::rpc::model_service::{change, not_loaded};
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
    if !request.parameters.is_empty() {
        let message =
            "models are loaded as they are in the models directory, without a configuration or files";
        return Err(Refusal::of_field(Reason::NotSupported, "parameters", message));
    }
    let name = request.model_name;
    let serve = move |deployer: &Deployer| deployer.serve_newest(&name, note("RepositoryModelLoad"));
    match change(context, serve).await.map_err(at_model)? {
        entry if entry.stable().is_some() && entry.refused.is_empty() => Ok(()),
        entry => Err(not_loaded(&entry)),
    }
}

/// Lets go of the versions that neither an alias nor a rollback needs.
pub async fn unload(context: &Context, request: RepositoryModelUnloadRequest) -> Result<(), Refusal> {
    check_repository(&request.repository_name)?;
    // Clients send it whatever is asked for; no model depends on another.
    if request.parameters.keys().any(|name| name != "unload_dependents") {
        let message = "there is no parameter but unload_dependents";
        return Err(Refusal::of_field(Reason::NotSupported, "parameters", message));
    }
    let name = request.model_name;
    let unload = move |deployer: &Deployer| deployer.unload_unused(&name, note("RepositoryModelUnload"));
    change(context, unload).await.map_err(at_model)
}

fn at_model(refusal: Refusal) -> Refusal {
    refusal.at("model_name")
}

fn note(call: &str) -> Note {
    Note { who: "inference protocol".to_owned(), why: call.to_owned() }
}

/// There is one repository, and it has no name.
pub fn check_repository(name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Ok(());
    }
    let message = "there is one repository, without a name";
    Err(Refusal::of_field(Reason::NotSupported, "repository_name", message))
}
