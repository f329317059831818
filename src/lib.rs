//! tipoff: a real-time propensity server.
//!
//! It takes in behavioural events, keeps exact rolling features per user,
//! scores them with models, and fires triggers the moment a probability
//! crosses a threshold or an expected event stays away. `training/` replays
//! history through the same [`engine`] and makes the models.
//!
//! # The journey of one event
//!
//! 1. [`rpc`] takes it off the wire; `rpc/convert` checks it field by field
//!    and turns it into an [`engine::event::Event`]. A bad event is answered
//!    alone, with field and reason.
//! 2. [`pipeline`] joins the tables of [`lookups`] to it, hashes its user to
//!    one of 1,024 virtual shards and queues it, within a bound, for the one
//!    worker thread that writes that shard.
//! 3. `pipeline/shard.rs`, the hot path, stamps the arrival and calls the
//!    [`engine`], which runs the user's timers due by then, folds the event
//!    into the [profile](engine::profile), decides (reads the
//!    [vector](engine::vector), scores it, evaluates the
//!    [triggers](engine::trigger)) and folds the decision.
//! 4. Event and decision become one [`record`], an entry of the [`store`]'s
//!    log. A commit thread writes what all workers have queued, syncs once,
//!    and only then lets the callbacks run:
//! 5. the sender gets its acknowledgement, and the firings go to the outbox of
//!    [`delivery`], from which subscriptions take them in order.
//! 6. Behind the log, profiles and firings are written to views, so that
//!    recovery need not fold the whole log. What recovery folds are the
//!    recorded steps: it never decides again.
//!
//! A score query takes none of this way: it copies the vector out of the
//! profile, or out of a decoded copy of an idle one, and scores it, waiting
//! for no commit.
//!
//! # What it is not
//!
//! Not an event store to query, not a campaign tool that sends messages, not a
//! feature store for batch jobs, and not a cluster: one process serves one
//! tenant. See `ARCHITECTURE.md` for the invariants.

// Pure: no I/O, no clock, no spawn.
pub mod engine;

// What users define, and the models they bring.
pub mod definitions;
pub mod lookups;
pub mod model_file;
pub mod onnx;
pub mod registry;

// From inputs to durable decisions.
pub mod delivery;
pub mod deploy;
pub mod pipeline;
pub mod record;
pub mod store;

// The edges.
pub mod connections;
pub mod proto;
pub mod protobuf;
pub mod rpc;
pub mod web;

// The process.
pub mod app;
pub mod clock;
pub mod config;
pub mod metrics;
pub mod priority;
pub mod shutdown;
pub mod telemetry;

// The command line, and what it is made of.
pub mod bench;
pub mod cli;
pub mod client;
pub mod demo;
pub mod event_file;
pub mod simulate;
