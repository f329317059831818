//! tipoff: a real-time propensity server.

pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod connections;
pub mod definitions;
pub mod delivery;
pub mod demo;
pub mod engine;
pub mod event_file;
pub mod metrics;
pub mod pipeline;
pub mod proto;
pub mod record;
pub mod registry;
pub mod rpc;
pub mod shutdown;
pub mod simulate;
pub mod store;
pub mod telemetry;
pub mod web;
