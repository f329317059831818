//! The tables of lookups: read from CSV or Parquet, and read again when their
//! files change.
//!
//! A table is bounded: [`MAX_ROWS`], [`MAX_BYTES`], and per cell what event
//! files permit. Cells are typed as in [event files](crate::event_file).

mod csv_table;
mod parquet_table;
mod reload;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv_table::CsvTable;
use parquet_table::ParquetTable;

pub use reload::keep_current;

use crate::engine::event::Value;
use crate::engine::lookup::{Lookup, Refused, Table};
use crate::event_file::source::{self, Format};
use crate::event_file::{HeaderProblem, Problem};

/// The most rows of a table.
pub const MAX_ROWS: usize = 1_000_000;
/// The largest file; of a compressed one, what is in it.
pub const MAX_BYTES: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {cause}")]
    Read { path: PathBuf, cause: io::Error },
    #[error("{path}: the name ends neither in .csv (with .gz or .zst) nor in .parquet")]
    UnknownFormat { path: PathBuf },
    #[error("{path}: {cause}")]
    Parquet { path: PathBuf, cause: parquet::errors::ParquetError },
    #[error("{path}: column {column:?} has neither texts, numbers, booleans nor times")]
    NotPlain { path: PathBuf, column: String },
    #[error("{path}: header: {cause}")]
    Header { path: PathBuf, cause: HeaderProblem },
    #[error("{path} has no column {column:?}")]
    NoColumn { path: PathBuf, column: String },
    #[error("{path}: more than {MAX_ROWS} rows")]
    TooManyRows { path: PathBuf },
    #[error("{path}: more than {MAX_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("{path}:{line}: {cause}")]
    Csv { path: PathBuf, line: u64, cause: csv::Error },
    #[error("{path}:{line}: {column}: {problem}")]
    Cell { path: PathBuf, line: u64, column: String, problem: Problem },
    #[error("{path}:{line}: {column}: {key} cannot be a key")]
    NotAKey { path: PathBuf, line: u64, column: String, key: String },
    #[error("{path}:{line}: {column}: the key {key} was in line {first} before")]
    Duplicate { path: PathBuf, line: u64, column: String, key: String, first: u64 },
}

/// A file that is open, its columns known.
pub struct TableFile {
    path: PathBuf,
    content: Content,
}

enum Content {
    Csv(Box<CsvTable>),
    Parquet(Box<ParquetTable>),
}

impl TableFile {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let is_parquet = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
        let content = match source::format(path) {
            _ if is_parquet => Content::Parquet(Box::new(ParquetTable::open(path)?)),
            Ok(Format::Csv) => Content::Csv(Box::new(CsvTable::open(path)?)),
            _ => return Err(Error::UnknownFormat { path: path.to_owned() }),
        };
        Ok(Self { path: path.to_owned(), content })
    }

    pub fn columns(&self) -> Vec<&str> {
        match &self.content {
            Content::Csv(csv) => csv.columns().collect(),
            Content::Parquet(parquet) => parquet.columns().collect(),
        }
    }

    /// Reads the table of these columns.
    fn read(self, key: &str, columns: &[&str]) -> Result<Table, Error> {
        let here = self.columns();
        let index = |column: &str| {
            here.iter()
                .position(|name| *name == column)
                .ok_or_else(|| Error::NoColumn { path: self.path.clone(), column: column.to_owned() })
        };
        let wanted = columns.iter().map(|column| index(column)).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Rows::new(self.path.clone(), key, columns.len());
        let key = index(key)?;
        match self.content {
            Content::Csv(csv) => csv.read(key, &wanted, &mut rows)?,
            Content::Parquet(parquet) => parquet.read(key, &wanted, &mut rows)?,
        }
        Ok(rows.table)
    }
}

/// Reads the table of a lookup from its file.
pub fn read(lookup: &Lookup) -> Result<Table, Error> {
    TableFile::open(&lookup.file)?.read(&lookup.key, &lookup.columns().collect::<Vec<_>>())
}

/// A table while it is read.
struct Rows {
    path: PathBuf,
    key: String,
    table: Table,
    /// By row. A line is that of a CSV file; in Parquet the row's number, from 1.
    lines: Vec<u64>,
    /// Texts that many rows have are kept once.
    texts: HashSet<Arc<str>>,
}

impl Rows {
    fn new(path: PathBuf, key: &str, n_columns: usize) -> Self {
        let table = Table::new(n_columns);
        Self { path, key: key.to_owned(), table, lines: Vec::new(), texts: HashSet::new() }
    }

    fn add(&mut self, line: u64, key: Option<Value>, row: Vec<Option<Value>>) -> Result<(), Error> {
        let Some(key) = key else { return Err(self.cell(line, &self.key, Problem::Missing)) };
        if self.lines.len() == MAX_ROWS {
            return Err(Error::TooManyRows { path: self.path.clone() });
        }
        let texts = &mut self.texts;
        let row = row.into_iter().map(|value| match value {
            Some(Value::Text(text)) => Some(Value::Text(match texts.get(&text) {
                Some(known) => known.clone(),
                None => {
                    texts.insert(text.clone());
                    text
                }
            })),
            value => value,
        });
        let refused = match self.table.insert(&key, row) {
            Ok(()) => {
                self.lines.push(line);
                return Ok(());
            }
            Err(refused) => refused,
        };
        let (path, column, key) = (self.path.clone(), self.key.clone(), shown(&key));
        Err(match refused {
            Refused::NotAKey => Error::NotAKey { path, line, column, key },
            Refused::Duplicate(row) => Error::Duplicate { path, line, column, key, first: self.lines[row] },
        })
    }

    fn cell(&self, line: u64, column: &str, problem: Problem) -> Error {
        Error::Cell { path: self.path.clone(), line, column: column.to_owned(), problem }
    }
}

fn shown(key: &Value) -> String {
    match key {
        Value::Text(text) => format!("{text:?}"),
        Value::Number(number) => number.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::Bool(bool) => bool.to_string(),
        Value::Time(time) => time.to_string(),
    }
}
