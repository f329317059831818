//! Training for tipoff: history through the engine, rows to a forest, a
//! forest to an artifact.
//!
//! [`history`] reads an event file, [`replay`] runs it through the very engine
//! that serves, [`dataset`] keeps the vectors of a model's decisions and joins
//! the [`label`], [`trainer`] fits a forest, [`calibrate`] and [`evaluate`]
//! make it honest, and [`train`] publishes it. [`rows`] writes the vectors
//! themselves.

pub mod calibrate;
pub mod dataset;
pub mod evaluate;
pub mod history;
pub mod label;
pub mod replay;
pub mod report;
pub mod rows;
pub mod train;
pub mod trainer;
