//! What every service is built on.

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use super::auth::Guard;
use super::convert::Intake;
use super::error::Refusal;
use super::reason::Reason;
use crate::clock::Clock;
use crate::config::{Config, Limits};
use crate::delivery::{Cursors, Outbox};
use crate::deploy::Deployer;
use crate::metrics::Metrics;
use crate::pipeline::{self, PipelineHandle, ScoreRequest};
use crate::proto::v1;
use crate::registry::Registry;
use crate::shutdown::Token;

/// Reasons given for one score.
const MAX_REASONS: u32 = 32;

/// The server's parts that the services serve.
#[derive(Clone)]
pub struct Services {
    pub pipeline: PipelineHandle,
    pub registry: Arc<Registry>,
    pub deployer: Arc<Deployer>,
    pub outbox: Arc<Outbox>,
    pub cursors: Arc<Cursors>,
    pub clock: Arc<Clock>,
    pub metrics: Arc<Metrics>,
    pub guard: Guard,
    pub shutdown: Token,
}

/// The parts, with what else the services share.
pub struct Context {
    pub parts: Services,
    pub intake: Intake,
    pub limits: Limits,
    pub heartbeat_interval: Duration,
    /// Whether calls that score one user wait for others to be scored with.
    pub scores_in_company: bool,
}

/// Which scores were asked for.
#[derive(Debug)]
pub struct Options {
    pub request: ScoreRequest,
    /// Whether models were named; one that is not must not miss.
    pub named: bool,
}

impl Context {
    pub fn new(parts: Services, config: &Config) -> Self {
        Self {
            intake: Intake::new(config.limits.clone(), parts.clock.clone()),
            parts,
            limits: config.limits.clone(),
            heartbeat_interval: config.delivery.heartbeat_interval,
            scores_in_company: !config.onnx.batch_wait.is_zero(),
        }
    }

    /// Counts a call that fails as a whole.
    pub fn fail(&self, refusal: Refusal) -> Status {
        self.parts.metrics.server.fail(refusal.reason);
        refusal.into()
    }

    /// Checks that a batch is within the limit.
    pub fn check_batch(&self, field: &str, n_items: usize) -> Result<(), Refusal> {
        let max = self.limits.batch_events;
        if n_items <= max {
            return Ok(());
        }
        let message = format_args!("{n_items} are given, at most {max} are permitted");
        Err(Refusal::of_field(Reason::BatchTooLarge, field, message))
    }

    /// Resolves which scores are asked for; `field` names the options in refusals.
    pub fn options(&self, field: &str, options: v1::ScoreOptions) -> Result<Options, Refusal> {
        let plan = self.parts.pipeline.plan();
        if options.max_reasons > MAX_REASONS {
            let message = format_args!("{}, at most {MAX_REASONS} are permitted", options.max_reasons);
            return Err(Refusal::of_field(
                Reason::TooManyReasons,
                format_args!("{field}.max_reasons"),
                message,
            ));
        }
        let mut models = Vec::new();
        for (index, name) in options.models.iter().enumerate() {
            let Some(model) = plan.models.iter().position(|model| *model.name == **name) else {
                let field = format_args!("{field}.models[{index}]");
                return Err(Refusal::of_field(Reason::ModelUnknown, field, "no definition names this model"));
            };
            if !models.contains(&model) {
                models.push(model);
            }
        }
        let named = !models.is_empty();
        if !named {
            models = (0..plan.models.len()).collect();
        }
        let n_reasons = options.max_reasons as usize;
        let request = ScoreRequest { models, n_reasons, features: options.include_features, may_wait: false };
        Ok(Options { request, named })
    }
}

/// Why the pipeline takes nothing in.
impl From<pipeline::Error> for Refusal {
    fn from(error: pipeline::Error) -> Self {
        let reason = match &error {
            pipeline::Error::Overloaded { .. } => Reason::Overloaded,
            pipeline::Error::TooManyTraits { .. } => Reason::TooManyTraits,
            pipeline::Error::ReplayStepTooLarge { .. } => Reason::ReplayStepTooLarge,
            pipeline::Error::ShuttingDown => Reason::Draining,
            pipeline::Error::Store(error) => Reason::from(&**error),
        };
        Self::new(reason, error)
    }
}
