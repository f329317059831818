//! `ProfileService`: what is known of one user.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::context::Context;
use super::convert;
use super::error::Refusal;
use super::reason::Reason;
use crate::definitions;
use crate::engine::plan::{FeaturePlan, Plan};
use crate::proto::v1;
use crate::proto::v1::profile_service_server::ProfileService;

/// Features explained in one reply.
const MAX_EXPLAINED: usize = 8;

/// Reads the profiles in memory.
#[derive(Clone)]
pub struct Profiles {
    context: Arc<Context>,
}

impl Profiles {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    fn get(&self, request: v1::GetProfileRequest) -> Result<v1::GetProfileResponse, Refusal> {
        let user = self.context.intake.user(request.user)?;
        let pipeline = &self.context.parts.pipeline;
        let plan = pipeline.plan();
        let explained = explained(plan, &request.explain)?;
        let view = pipeline
            .profile(&user)
            .ok_or_else(|| Refusal::new(Reason::UserUnknown, "nothing was ever heard of this user"))?;
        let mut reply = convert::profile(plan, &user, &view.profile, &view.vector, view.as_of);
        let explain = |feature| convert::explanation(plan, feature, &view, &reply.features);
        reply.explanations = explained.into_iter().map(explain).collect();
        Ok(reply)
    }
}

/// The features that are to be explained, each once.
fn explained<'p>(plan: &'p Plan, names: &[String]) -> Result<Vec<&'p FeaturePlan>, Refusal> {
    if names.len() > MAX_EXPLAINED {
        let message = format_args!("{} are given, at most {MAX_EXPLAINED} are permitted", names.len());
        return Err(Refusal::of_field(Reason::TooManyFeatures, "explain", message));
    }
    let mut features: Vec<&FeaturePlan> = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let feature = plan.feature(name).ok_or_else(|| {
            let nearest = definitions::nearest(name, plan.features.iter().map(|feature| &*feature.name));
            let hint = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            let message = format_args!("no definition names this feature{hint}");
            Refusal::of_field(Reason::FeatureUnknown, format_args!("explain[{index}]"), message)
        })?;
        if !features.iter().any(|known| known.name == feature.name) {
            features.push(feature);
        }
    }
    Ok(features)
}

#[tonic::async_trait]
impl ProfileService for Profiles {
    async fn get_profile(
        &self,
        request: Request<v1::GetProfileRequest>,
    ) -> Result<Response<v1::GetProfileResponse>, Status> {
        self.get(request.into_inner()).map(Response::new).map_err(|refusal| self.context.fail(refusal))
    }
}
