//! tipoff: a real-time propensity server.

pub mod clock;
pub mod config;
pub mod engine;
pub mod proto;
pub mod shutdown;
pub mod telemetry;
pub mod event_file;
