//! Collects mistakes while compiling goes on.

use std::ops::Range;

use super::diagnostics::{Diagnostic, Diagnostics};
use super::names;
use super::source::Source;

/// More mistakes than this are counted, not listed.
const MAX_LISTED: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Report {
    mistakes: Vec<Mistake>,
}

#[derive(Debug)]
struct Mistake {
    span: Range<usize>,
    path: String,
    message: String,
    suggestion: Option<String>,
}

impl Report {
    pub(super) fn error(&mut self, span: &Range<usize>, path: &str, message: impl Into<String>) {
        self.error_with(span, path, message, None);
    }

    /// A mistake with the nearest valid name, if there is one.
    pub(super) fn error_with(
        &mut self,
        span: &Range<usize>,
        path: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        self.mistakes.push(Mistake {
            span: span.clone(),
            path: path.to_owned(),
            message: message.into(),
            suggestion,
        });
    }

    /// The name nearest to a wrong one. Not sought once there are more
    /// mistakes than are listed: one renamed feature can break thousands.
    pub(super) fn nearest<S: AsRef<str>>(
        &self,
        name: &str,
        known: impl IntoIterator<Item = S>,
    ) -> Option<String> {
        if self.suggests() { names::nearest(name, known) } else { None }
    }

    pub(super) fn suggests(&self) -> bool {
        self.mistakes.len() < MAX_LISTED
    }

    /// `Ok` if there was no mistake.
    pub(super) fn finish(mut self, source: &Source) -> Result<(), Diagnostics> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        self.mistakes.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        let n_more = self.mistakes.len().saturating_sub(MAX_LISTED);
        self.mistakes.truncate(MAX_LISTED);
        let mut listed: Vec<Diagnostic> = self
            .mistakes
            .into_iter()
            .map(|m| source.diagnose(m.span, m.path, m.message, m.suggestion))
            .collect();
        if n_more > 0 {
            listed.push(Diagnostic::without_place(format!("{n_more} more mistakes are not listed")));
        }
        Err(Diagnostics::new(listed))
    }
}
