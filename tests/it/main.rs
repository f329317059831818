//! The server as its callers see it: a real one, on free ports and a store of
//! its own, spoken to over the wire.

mod commands;
mod crash;
mod disk_full;
mod drain;
mod fail_stop;
mod harness;
mod http;
mod lookups;
mod metrics;
mod model_commands;
mod networks;
mod packing;
mod process;
mod recovery;
mod rpc;
mod store_commands;
mod tidy;
mod tritonclient;
