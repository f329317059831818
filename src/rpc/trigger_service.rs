//! `TriggerService`: firings to named subscriptions, acknowledged by token.

mod active;
mod subscription;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tonic::{Request, Response, Status};

use self::active::Active;
use self::subscription::Subscription;
use super::context::Context;
use super::convert;
use super::error::Refusal;
use super::page;
use super::reason::Reason;
use crate::delivery::{self, Page, Token};
use crate::engine::firing::Firing;
use crate::proto::v1;
use crate::proto::v1::trigger_service_server::TriggerService;

const MAX_NAME_BYTES: usize = 64;

/// Reads the outbox.
#[derive(Clone)]
pub struct Triggers {
    context: Arc<Context>,
    active: Arc<Active>,
}

impl Triggers {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, active: Arc::default() }
    }

    async fn open(&self, request: v1::SubscribeRequest) -> Result<Subscription, Refusal> {
        let name = checked_name(request.subscription)?;
        let context = &*self.context;
        let plan = context.parts.pipeline.plan();
        for (index, trigger) in request.triggers.iter().enumerate() {
            if !plan.triggers.iter().any(|known| *known.name == **trigger) {
                let field = format_args!("triggers[{index}]");
                return Err(Refusal::of_field(
                    Reason::TriggerUnknown,
                    field,
                    "no definition names this trigger",
                ));
            }
        }
        let after = match (request.resume_token.as_str(), context.parts.cursors.get(&name)) {
            ("", Some(acknowledged)) => acknowledged,
            // What is new begins now; that is recorded, or a break would lose its place.
            ("", None) => self.acknowledge_up_to(&name, context.parts.outbox.end()).await?,
            (token, known) => {
                let token = self.checked_token(token)?;
                if known.is_none() {
                    self.acknowledge_up_to(&name, token).await?;
                }
                token
            }
        };
        let place = self.active.take(name);
        Ok(Subscription::new(self.context.clone(), place, request.triggers, after))
    }

    async fn acknowledged(
        &self,
        request: v1::AcknowledgeRequest,
    ) -> Result<v1::AcknowledgeResponse, Refusal> {
        let name = checked_name(request.subscription)?;
        if self.context.parts.cursors.get(&name).is_none() {
            let message = "this subscription was never opened";
            return Err(Refusal::of_field(Reason::SubscriptionUnknown, "subscription", message));
        }
        let token = self.checked_token(&request.resume_token)?;
        let token = self.acknowledge_up_to(&name, token).await?;
        Ok(v1::AcknowledgeResponse { resume_token: token.to_string() })
    }

    async fn acknowledge_up_to(&self, name: &str, token: Token) -> Result<Token, Refusal> {
        self.context.parts.cursors.acknowledge(name, token).await.map_err(|error| match error {
            delivery::CursorError::TooMany { .. } => Refusal::new(Reason::TooManySubscriptions, error),
            delivery::CursorError::Store(ref failed) => Refusal::new(failed.into(), error),
        })
    }

    /// A token this server may have given: none lies beyond the last firing.
    fn checked_token(&self, text: &str) -> Result<Token, Refusal> {
        let known = |token: &Token| *token <= self.context.parts.outbox.end();
        text.parse().ok().filter(known).ok_or_else(|| {
            let message = "not a resume token of this server";
            Refusal::of_field(Reason::ResumeTokenInvalid, "resume_token", message)
        })
    }

    async fn list(&self, request: v1::ListFiringsRequest) -> Result<v1::ListFiringsResponse, Refusal> {
        let size = page::size(request.page_size)?;
        let user = match request.user {
            None => None,
            user => Some(self.context.intake.user(user)?),
        };
        let after = match request.page_token.as_str() {
            "" => Token::START,
            token => token.parse().map_err(|_| page::bad_token())?,
        };
        let trigger = request.trigger;
        let wanted = move |firing: &Firing| {
            user.as_ref().is_none_or(|user| firing.user == *user)
                && (trigger.is_empty() || *firing.trigger == *trigger)
        };
        let page = read(&self.context, after, size, wanted).await?;
        Ok(v1::ListFiringsResponse {
            firings: page.firings.iter().map(|queued| convert::firing(&queued.firing, None)).collect(),
            next_page_token: if page.more { page.next.to_string() } else { String::new() },
        })
    }
}

#[tonic::async_trait]
impl TriggerService for Triggers {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        match self.open(request.into_inner()).await {
            Ok(subscription) => Ok(Response::new(Box::pin(subscription.stream()))),
            Err(refusal) => Err(self.context.fail(refusal)),
        }
    }

    async fn acknowledge(
        &self,
        request: Request<v1::AcknowledgeRequest>,
    ) -> Result<Response<v1::AcknowledgeResponse>, Status> {
        self.acknowledged(request.into_inner())
            .await
            .map(Response::new)
            .map_err(|refusal| self.context.fail(refusal))
    }

    async fn list_firings(
        &self,
        request: Request<v1::ListFiringsRequest>,
    ) -> Result<Response<v1::ListFiringsResponse>, Status> {
        self.list(request.into_inner()).await.map(Response::new).map_err(|refusal| self.context.fail(refusal))
    }
}

/// Reads the outbox away from the threads that serve calls: it may have to read the disk.
async fn read(
    context: &Arc<Context>,
    after: Token,
    limit: usize,
    wanted: impl Fn(&Firing) -> bool + Send + 'static,
) -> Result<Page, Refusal> {
    let outbox = context.parts.outbox.clone();
    let page = tokio::task::spawn_blocking(move || outbox.page(after, limit, wanted)).await;
    let error = match page {
        Ok(Ok(page)) => return Ok(page),
        Ok(Err(error)) => error.to_string(),
        Err(panicked) => panicked.to_string(),
    };
    tracing::error!(error, "the outbox cannot be read");
    Err(Refusal::new(Reason::Internal, "the outbox cannot be read"))
}

fn checked_name(name: String) -> Result<String, Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name);
    }
    let message = format_args!("a name is 1 to {MAX_NAME_BYTES} letters, digits, `-`, `_` or `.`");
    Err(Refusal::of_field(Reason::SubscriptionInvalid, "subscription", message))
}
