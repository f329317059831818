//! The server as its callers see it: a real one, on free ports and a store of
//! its own, spoken to over the wire.

mod harness;
mod rpc;
