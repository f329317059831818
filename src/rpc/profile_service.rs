//! `ProfileService`: what is known of one user.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::context::Context;
use super::convert;
use super::error::Refusal;
use super::reason::Reason;
use crate::proto::v1;
use crate::proto::v1::profile_service_server::ProfileService;

/// Reads the hot profiles.
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
        let view = pipeline
            .profile(&user)
            .ok_or_else(|| Refusal::new(Reason::UserUnknown, "nothing was ever heard of this user"))?;
        Ok(convert::profile(pipeline.plan(), &user, &view.profile, &view.vector, view.as_of))
    }
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
