//! Training for tipoff: history through the engine, rows to a forest, a
//! forest to an artifact.

pub mod calibrate;
pub mod evaluate;
pub mod trainer;
