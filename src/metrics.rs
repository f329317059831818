//! What the server counts and measures, for `/metrics`.
//!
//! One file a component. Children of labelled metrics are made once and held,
//! so that the hot path looks nothing up; labels are the closed sets of this
//! code and the names in the definitions, never users or free text.

mod features;
mod inference;
mod ingest;
mod lookups;
mod models;
mod pipeline;
mod register;
mod server;
mod shadows;
mod store;
mod triggers;

#[cfg(test)]
pub(crate) mod tests;

pub use features::Features;
pub use inference::Inference;
pub use ingest::Ingest;
pub use lookups::Lookups;
pub use models::Models;
pub use pipeline::Pipeline;
pub use server::Server;
pub use shadows::{Asked, Counts, Shadows};
pub use store::Store;
pub use triggers::Triggers;

use prometheus::{Registry, TextEncoder};

use crate::config::ClockMode;
use crate::engine::plan::Plan;
use register::Register;

/// All metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub features: Features,
    pub inference: Inference,
    pub ingest: Ingest,
    pub lookups: Lookups,
    pub pipeline: Pipeline,
    pub store: Store,
    pub models: Models,
    pub shadows: Shadows,
    pub triggers: Triggers,
    pub server: Server,
}

impl Metrics {
    /// Registers everything for the given definitions and number of workers.
    pub fn new(plan: &Plan, n_workers: usize, clock: ClockMode) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let register = Register(&registry);
        Ok(Self {
            features: Features::new(&register, plan)?,
            inference: Inference::new(&register, plan)?,
            ingest: Ingest::new(&register)?,
            lookups: Lookups::new(&register, plan)?,
            pipeline: Pipeline::new(&register, n_workers)?,
            store: Store::new(&register)?,
            models: Models::new(&register, plan)?,
            shadows: Shadows::new(&register, plan)?,
            triggers: Triggers::new(&register, plan)?,
            server: Server::new(&register, clock)?,
            registry,
        })
    }

    /// Every metric in the text format of Prometheus.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
