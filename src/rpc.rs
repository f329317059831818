//! The gRPC edge: what comes in is checked and turned into the engine's
//! types, what goes out into the wire's; nothing is decided here.

pub mod auth;
pub mod convert;
pub mod error;
pub mod reason;
