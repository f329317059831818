//! CEL, the Common Expression Language: from text to expressions bound to slots.
//!
//! `parse` reads a source within limits, `check` gives every part a type and a
//! slot (`scope` the names, `functions` the calls), `canonical` prints what counts for a digest.
//!
//! The parser is another's; it recurses and has no limits of its own, so a
//! source is bounded before it is parsed, and [`on_large_stack`] gives it room.

pub(super) mod canonical;
pub(super) mod check;
mod functions;
pub(super) mod parse;
pub(super) mod scope;

use std::ops::Range;

/// A mistake in a CEL source; the span is in bytes of that source.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

impl Problem {
    fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), suggestion: None }
    }
}

const STACK_BYTES: usize = 16 << 20;

/// Runs `work` on a thread whose stack a source within the limits cannot exhaust.
pub(super) fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("definitions".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
