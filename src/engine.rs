//! The pure core: events in, decisions out.
//!
//! No I/O, no clock, no spawn; time is an argument and effects are returned
//! values, so that serving, recovery, training and back-test run the same
//! code on the same bits.

#![deny(clippy::disallowed_methods)]

pub mod calibration;
pub mod decision;
pub mod event;
pub mod expression;
pub mod model;
pub mod plan;
pub mod time;
pub mod vector;
