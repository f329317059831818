//! tipoff: a real-time propensity server.

pub mod engine;
pub mod proto;
