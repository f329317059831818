//! Event files: behavioural history as JSON lines or CSV.
//!
//! A line is one event: `user_id` and/or `anonymous_id`, `type`, `time`,
//! optionally `event_id` and `arrival_time`, and typed properties. In JSON
//! the properties stand in an object `properties`; any further key, and in
//! CSV any further column, is a property too. Null and an empty CSV cell are
//! absent, and so is an empty id. Times are RFC 3339 (also with a space for its `T`, and `UTC` for
//! its `Z`) or integer milliseconds since 1970.
//!
//! The name tells the format: `.jsonl`, `.ndjson`, `.json` or `.csv`, with
//! `.gz` or `.zst` behind it if compressed. Files whose columns have other
//! names are read through a [`Mapping`].
//!
//! Types of values:
//! - JSON: string, number, bool as they are; a number written without point
//!   and exponent that fits 64 bits is an integer. Nested objects become
//!   properties with dotted names; an array becomes its JSON text.
//! - CSV, cell by cell: see [`typing`]. A mapping can fix a column's type.

mod csv_lines;
pub(crate) mod csv_records;
pub(crate) mod draft;
mod json_lines;
pub(crate) mod mapping;
mod reader;
pub(crate) mod source;
pub mod typing;
mod writer;

use std::io;
use std::path::PathBuf;

pub use mapping::{Mapping, MappingError};
pub use reader::{Loaded, OnBadLine, Reader, load};
pub use source::Progress;
pub use writer::{Output, Writer};

use crate::engine::event::{Event, UserId};
use crate::engine::time::Timestamp;

// The limits of the server's default configuration.

/// The longest line (CSV: record) that is read.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The longest user id, anonymous id and event id.
pub const MAX_ID_BYTES: usize = 256;
/// The longest event type.
pub const MAX_TYPE_BYTES: usize = 128;
/// The longest property name.
pub const MAX_PROPERTY_NAME_BYTES: usize = 64;
/// The longest text property.
pub const MAX_TEXT_BYTES: usize = 4 << 10;
/// The most properties of one event.
pub const MAX_PROPERTIES: usize = 64;
/// The largest number, either sign.
pub const MAX_MAGNITUDE: f64 = 1e100;
/// The first event time that is read: 1970-01-01.
pub const MIN_TIME: Timestamp = Timestamp::from_millis(0);
/// The last: 9999-01-01.
pub const MAX_TIME: Timestamp = Timestamp::from_millis(253_370_764_800_000);
/// The first time that a property can have: 0001-01-01.
pub const MIN_PROPERTY_TIME: Timestamp = Timestamp::from_millis(-62_135_596_800_000);

/// One event of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub user: UserId,
    /// The uid is that of the event id, else minted from the line number, so
    /// that events without an id keep the file's order among equal times.
    pub event: Event,
    /// When the event reached the system, if the file says so.
    pub arrival: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}:{line}")]
    Read { path: PathBuf, line: u64, source: io::Error },
    #[error("{path}: the name ends in none of .jsonl, .ndjson, .json, .csv (with .gz or .zst)")]
    UnknownFormat { path: PathBuf },
    #[error("{path}: events are written as .jsonl, .ndjson or .json (with .gz or .zst)")]
    Unwritable { path: PathBuf },
    #[error("{path}: header: {reason}")]
    Header { path: PathBuf, reason: HeaderProblem },
    /// One line; a [`Reader`] goes on behind it.
    #[error("{0}")]
    BadLine(Box<BadLine>),
    /// The first of them.
    #[error("some lines are not events:{}", list(.0))]
    BadLines(Vec<BadLine>),
}

/// A line that is not an event, and why.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{path}:{line}: {field}: {problem}")]
pub struct BadLine {
    pub path: PathBuf,
    /// From 1; of a CSV record with line breaks in it, the first.
    pub line: u64,
    /// The field as the file calls it; `line` for the whole.
    pub field: String,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("not UTF-8")]
    NotUtf8,
    #[error("missing or empty")]
    Missing,
    #[error("given twice")]
    Repeated,
    #[error("not the {expected} columns of the header, but {found}")]
    Columns { found: usize, expected: usize },
    #[error("{bytes} bytes, more than {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("more than {limit} properties")]
    TooManyProperties { limit: usize },
    #[error("{found} is not {expected}")]
    WrongType { found: String, expected: &'static str },
    #[error("{found} is beyond {limit:e}")]
    TooLarge { found: String, limit: f64 },
    #[error("{time} is not within {earliest} to {MAX_TIME}")]
    TimeOutOfBounds { time: Timestamp, earliest: Timestamp },
    #[error("control character U+{:04X} at byte {at}", u32::from(*character))]
    ControlCharacter { character: char, at: usize },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    #[error("the file is empty")]
    Empty,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("column {0:?} is missing; map it with `{0}=<your column>`")]
    MissingColumn(&'static str),
    #[error("the mapping names column {0:?}, which the file does not have")]
    UnknownColumn(String),
    #[error("two columns are {0:?}")]
    Repeated(String),
    #[error("a column name of {bytes} bytes, more than {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("a column without a name")]
    Unnamed,
    #[error("{found} columns are properties, more than {limit}")]
    TooManyProperties { found: usize, limit: usize },
}

impl Record {
    /// When the event reached the system: the event's own time if the file
    /// does not say.
    pub fn arrival_or_time(&self) -> Timestamp {
        self.arrival.unwrap_or(self.event.time)
    }
}

fn list(lines: &[BadLine]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}

#[cfg(test)]
mod tests;
