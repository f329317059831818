//! The user's features, labels, models and triggers: TOML in, a [`Plan`] out.
//!
//! One file, or a folder of them, is checked as a whole: [`compile`] and
//! [`load`] give either a plan or every mistake there is, each with its place
//! and the nearest valid name. Nothing of a broken file takes effect.
//!
//! Reading order: `source` and `table` read the text, `compile` goes through
//! the sections in the order in which they refer to each other (`lookups`,
//! `features`, `labels`, `models`, `triggers`, `caps`), `cel` compiles the expressions in
//! them, `digest` says what each definition amounts to.

mod caps;
mod cel;
mod compile;
mod condition;
mod diagnostics;
mod digest;
mod features;
mod labels;
mod lookups;
mod models;
mod names;
mod report;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod triggers;
mod vocabulary;

use std::path::Path;

pub use diagnostics::{Diagnostic, Diagnostics};
pub use names::nearest;
pub use source::MAX_BYTES;

use crate::engine::plan::Plan;
use source::Source;

/// Compiles definitions from a text of at most [`MAX_BYTES`].
pub fn compile(source: &str) -> Result<Plan, Diagnostics> {
    compile::compile(&Source::inline(source)?)
}

/// Compiles a file, or every `*.toml` of a folder taken together. Each
/// diagnostic names its file.
pub fn load(path: &Path) -> Result<Plan, Diagnostics> {
    compile::compile(&Source::read(path)?)
}
