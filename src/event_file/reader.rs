//! Reading a file, record by record or as a whole.

use std::path::{Path, PathBuf};

use super::csv_lines::CsvLines;
use super::draft::{FieldProblem, Parsed};
use super::source::{Format, Line, Lines, Progress, open};
use super::{BadLine, Error, MAX_LINE_BYTES, Mapping, Problem, Record, json_lines};

/// How many bad lines are kept to be shown.
const MAX_BAD_LINES: usize = 20;

/// The records of a file, in its order.
///
/// Yields [`Error::BadLine`] for a line that is no event and goes on with the
/// next; after any other error it ends.
pub struct Reader {
    path: PathBuf,
    mapping: Mapping,
    lines: AnyLines,
    line: u64,
    progress: Progress,
    ended: bool,
}

/// What to do about lines that are no events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadLine {
    /// Refuse the file, and list the first of them.
    #[default]
    Refuse,
    /// Leave them out, and count them.
    Skip,
}

/// A whole file.
#[derive(Debug)]
pub struct Loaded {
    /// In the order of arrival; those that arrived at once, in the file's order.
    pub records: Vec<Record>,
    pub n_skipped: u64,
    /// The first of those skipped.
    pub skipped: Vec<BadLine>,
}

enum AnyLines {
    Json(Lines),
    Csv(Box<CsvLines>),
}

/// Reads a file into memory, in the order of arrival.
pub fn load(path: &Path, mapping: &Mapping, on_bad_line: OnBadLine) -> Result<Loaded, Error> {
    Reader::open(path, mapping)?.load(on_bad_line)
}

impl Reader {
    /// Opens a file; a CSV header is checked at once.
    pub fn open(path: &Path, mapping: &Mapping) -> Result<Self, Error> {
        let (format, bytes, progress) = open(path)?;
        let lines = match format {
            Format::JsonLines => AnyLines::Json(Lines::new(path.to_owned(), bytes)),
            Format::Csv => AnyLines::Csv(Box::new(CsvLines::new(path, bytes, mapping)?)),
        };
        Ok(Self { path: path.to_owned(), mapping: mapping.clone(), lines, line: 0, progress, ended: false })
    }

    /// The line of the record that was read last.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// How far the file has been read; a clone can be watched from elsewhere.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Reads the rest into memory, in the order of arrival.
    pub fn load(self, on_bad_line: OnBadLine) -> Result<Loaded, Error> {
        let mut loaded = Loaded { records: Vec::new(), n_skipped: 0, skipped: Vec::new() };
        for record in self {
            match record {
                Ok(record) => loaded.records.push(record),
                Err(Error::BadLine(bad)) => {
                    loaded.n_skipped += 1;
                    if loaded.skipped.len() < MAX_BAD_LINES {
                        loaded.skipped.push(*bad);
                    } else if on_bad_line == OnBadLine::Refuse {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if on_bad_line == OnBadLine::Refuse && loaded.n_skipped > 0 {
            return Err(Error::BadLines(loaded.skipped));
        }
        loaded.records.sort_by_key(Record::arrival_or_time);
        Ok(loaded)
    }

    fn read(&mut self) -> Result<Option<Record>, Error> {
        let (line, parsed): Parsed = match &mut self.lines {
            AnyLines::Csv(csv) => match csv.next()? {
                None => return Ok(None),
                Some(parsed) => parsed,
            },
            AnyLines::Json(lines) => loop {
                match lines.next()? {
                    None => return Ok(None),
                    Some(Line::TooLong(line, bytes)) => break (line, Err(too_long(bytes))),
                    Some(Line::Whole(_, bytes)) if bytes.trim_ascii().is_empty() => {}
                    Some(Line::Whole(line, bytes)) => {
                        break (line, json_lines::parse(line, bytes, &self.mapping));
                    }
                }
            },
        };
        self.line = line;
        parsed.map(Some).map_err(|(field, problem)| {
            Error::BadLine(Box::new(BadLine { path: self.path.clone(), line, field, problem }))
        })
    }
}

impl Iterator for Reader {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.read().transpose();
        self.ended = !matches!(record, Some(Ok(_) | Err(Error::BadLine(_))));
        record
    }
}

fn too_long(bytes: usize) -> FieldProblem {
    ("line".to_owned(), Problem::TooLong { bytes, limit: MAX_LINE_BYTES })
}
