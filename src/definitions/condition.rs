//! Expressions as they stand in TOML strings.

use std::ops::Range;

use super::cel::check;
use super::cel::parse::{self, Parsed};
use super::cel::scope::{Names, Place};
use super::cel::{Problem, canonical::canonical};
use super::report::Report;
use super::table::Item;
use super::vocabulary::Vocabulary;
use crate::engine::expression::{BoolExpr, Expression};

/// A parsed expression that knows where it stands in the file.
pub(super) struct Source<'a> {
    item: Item<&'a str>,
    /// The string as it is written in the file, quotes included.
    written: &'a str,
    parsed: Parsed<'a>,
}

impl<'a> Source<'a> {
    /// Parses the expression in a TOML string; `file` is the whole text that the item is from.
    pub(super) fn parse(item: Item<&'a str>, file: &'a str, report: &mut Report) -> Option<Self> {
        let written = file.get(item.span.clone()).unwrap_or_default();
        match parse::parse(item.value) {
            Ok(parsed) => Some(Self { item, written, parsed }),
            Err(problems) => {
                report_all(&item, written, problems, report);
                None
            }
        }
    }

    pub(super) fn canonical(&self, vocabulary: &Vocabulary) -> String {
        let properties = self.parsed.properties();
        vocabulary.with_joins(canonical(&self.parsed), properties.iter().map(String::as_str))
    }

    pub(super) fn bare_names(&self) -> Vec<&str> {
        self.parsed.bare_names()
    }

    pub(super) fn span(&self) -> &Range<usize> {
        &self.item.span
    }

    pub(super) fn path(&self) -> &str {
        &self.item.path
    }

    pub(super) fn condition(&self, place: Place, names: Names<'_>, report: &mut Report) -> Option<BoolExpr> {
        check::condition(&self.parsed, place, names)
            .map_err(|problems| report_all(&self.item, self.written, problems, report))
            .ok()
    }

    pub(super) fn expression(&self, names: Names<'_>, report: &mut Report) -> Option<Expression> {
        check::expression(&self.parsed, Place::Feature, names)
            .map_err(|problems| report_all(&self.item, self.written, problems, report))
            .ok()
    }
}

fn report_all(item: &Item<&str>, written: &str, problems: Vec<Problem>, report: &mut Report) {
    for problem in problems {
        let start = item.span.start + written_offset(written, item.value, problem.span.start);
        let end = item.span.start + written_offset(written, item.value, problem.span.end);
        report.error_with(&(start..end.max(start)), &item.path, problem.message, problem.suggestion);
    }
}

/// Where byte `at` of a TOML string's value stands in the string as written.
fn written_offset(written: &str, value: &str, at: usize) -> usize {
    let quote = written.chars().next().unwrap_or('"');
    let triple: String = [quote; 3].iter().collect();
    let mut offset = if written.starts_with(&triple) && written.len() >= 6 { 3 } else { 1 };
    if offset == 3 {
        // A line break right after the opening quotes is not part of the value.
        offset += ["\r\n", "\n"].iter().find(|br| written[3..].starts_with(**br)).map_or(0, |br| br.len());
    }
    let mut rest = value.get(..at.min(value.len())).unwrap_or(value).len();
    while rest > 0 {
        let Some(tail) = written.get(offset..).filter(|tail| !tail.is_empty()) else { break };
        let (written_len, value_len) = match quote {
            '"' if tail.starts_with('\\') => escape_lengths(tail),
            _ => {
                let width = tail.chars().next().map_or(1, char::len_utf8);
                (width, width)
            }
        };
        offset += written_len;
        rest = rest.saturating_sub(value_len);
    }
    offset
}

/// Length of an escape as written, and of what it stands for, in bytes.
fn escape_lengths(tail: &str) -> (usize, usize) {
    let n_digits = match tail.as_bytes().get(1) {
        Some(b'u') => 4,
        Some(b'U') => 8,
        Some(b'x') => 2,
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            // A line continuation, which stands for nothing.
            let blank = tail[1..].len() - tail[1..].trim_start().len();
            return (1 + blank, 0);
        }
        _ => return (2, 1),
    };
    let code = tail.get(2..2 + n_digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    (2 + n_digits, code.and_then(char::from_u32).map_or(1, char::len_utf8))
}
