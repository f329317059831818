//! One subscriber's stream of firings.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tonic::Status;

use super::active::Place;
use super::read;
use crate::config::ClockMode;
use crate::delivery::{Queued, Token};
use crate::engine::firing::Firing;
use crate::proto::v1;
use crate::rpc::context::Context;
use crate::rpc::convert::{self, timestamp};
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

/// Firings read from the outbox at a time, and so held for one subscriber.
const PAGE_FIRINGS: usize = 256;

/// An open subscription.
pub struct Subscription {
    context: Arc<Context>,
    place: Place,
    /// Names of the triggers to follow; empty is all.
    triggers: Arc<[String]>,
    /// Every firing up to here has been sent or is pending.
    after: Token,
    pending: VecDeque<Queued>,
    newest: watch::Receiver<Token>,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    _counted: Counted,
}

/// One of the open subscriptions in the metrics.
struct Counted(Arc<Context>);

type Item = Result<v1::SubscribeResponse, Status>;

impl Subscription {
    pub fn new(context: Arc<Context>, place: Place, triggers: Vec<String>, after: Token) -> Self {
        context.parts.metrics.server.subscribers.inc();
        Self {
            newest: context.parts.outbox.watch(),
            draining: Box::pin(context.parts.shutdown.clone().draining()),
            _counted: Counted(context.clone()),
            context,
            place,
            triggers: triggers.into(),
            after,
            pending: VecDeque::new(),
        }
    }

    /// Firings as they come, heartbeats while none do; ends with the failure that ends it.
    pub fn stream(self) -> impl Stream<Item = Item> + Send {
        stream::unfold(Some(self), |subscription| async {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(message) => {
                    Some((Ok(v1::SubscribeResponse { message: Some(message) }), Some(subscription)))
                }
                Err(refusal) => Some((Err(subscription.context.fail(refusal)), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<v1::subscribe_response::Message, Refusal> {
        use v1::subscribe_response::Message;

        loop {
            if self.place.is_taken() {
                return Err(taken());
            }
            if self.context.parts.shutdown.is_draining() {
                return Err(draining());
            }
            if let Some(queued) = self.pending.pop_front() {
                if self.has_expired(&queued.firing) {
                    continue;
                }
                return Ok(Message::Firing(convert::firing(&queued.firing, Some(queued.token))));
            }
            // Marked as seen before reading, so that what comes meanwhile wakes the wait below.
            self.newest.borrow_and_update();
            let triggers = self.triggers.clone();
            let wanted = move |firing: &Firing| {
                let follows = triggers.is_empty() || triggers.iter().any(|name| **name == *firing.trigger);
                follows && !firing.held_out
            };
            let page = read(&self.context, self.after, PAGE_FIRINGS, wanted).await?;
            self.after = page.next;
            self.pending.extend(page.firings);
            if !self.pending.is_empty() || page.more {
                continue;
            }
            tokio::select! {
                biased;
                () = self.place.taken() => return Err(taken()),
                () = &mut self.draining => return Err(draining()),
                changed = self.newest.changed() => if changed.is_err() {
                    return Err(draining());
                },
                () = tokio::time::sleep(self.context.heartbeat_interval) => {
                    return Ok(Message::Heartbeat(v1::Heartbeat {
                        time: Some(timestamp(self.context.parts.clock.now())),
                        resume_token: self.after.to_string(),
                    }));
                }
            }
        }
    }

    /// A replay clock runs ahead of any subscriber: there nothing expires.
    fn has_expired(&self, firing: &Firing) -> bool {
        let clock = &self.context.parts.clock;
        clock.mode() == ClockMode::Wall && firing.expires_at < clock.now()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.parts.metrics.server.subscribers.dec();
    }
}

fn taken() -> Refusal {
    Refusal::new(Reason::SubscriptionTaken, "another subscriber took the subscription over")
}

fn draining() -> Refusal {
    Refusal::new(Reason::Draining, "the server is about to stop")
}
