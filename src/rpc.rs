//! The gRPC edge: what comes in is checked and turned into the engine's
//! types, what goes out into the wire's; nothing is decided here.

pub mod auth;
mod context;
pub mod convert;
pub mod error;
mod event_service;
mod inference_service;
mod model_service;
mod page;
mod profile_service;
pub mod reason;
mod scoring_service;
mod server;
mod trigger_service;
pub mod wire;

pub use context::Services;
pub use server::{Error as ServeError, Server, Transport};
