//! Rows to score from a CSV or Parquet file, a block at a time.

mod csv_rows;
mod parquet_rows;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::errors::ParquetError;

use self::csv_rows::CsvRows;
use self::parquet_rows::ParquetRows;

/// Columns named in a message.
const SHOWN_COLUMNS: usize = 8;

/// Which columns of a file are a model's inputs.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a> {
    /// Those called so; others are left alone.
    ByName(&'a [Arc<str>]),
    /// All of them, so many.
    ByPosition(usize),
}

/// A file of rows, open.
pub struct Rows {
    path: PathBuf,
    content: Content,
}

enum Content {
    Csv(Box<CsvRows>),
    Parquet(Box<ParquetRows>),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("{}:{line}: {cause}", path.display())]
    Csv { path: PathBuf, line: u64, cause: csv::Error },
    #[error("{}: {cause}", path.display())]
    Parquet { path: PathBuf, cause: ParquetError },
    #[error("{}: the model's input {input:?} is no column; there are {columns}", path.display())]
    NoColumn { path: PathBuf, input: String, columns: String },
    #[error("{}: two columns are called {column:?}", path.display())]
    TwoColumns { path: PathBuf, column: String },
    #[error(
        "{}: {found} columns for the {expected} inputs of a model that has no names for them",
        path.display()
    )]
    Columns { path: PathBuf, found: usize, expected: usize },
    #[error("{}:{line}: {found} values under a header of {expected}", path.display())]
    Width { path: PathBuf, line: u64, found: usize, expected: usize },
    #[error("{}:{line}: {column}: {found:?} is no number", path.display())]
    Cell { path: PathBuf, line: u64, column: String, found: String },
    #[error("{}: the column {column:?} holds no plain numbers", path.display())]
    NotPlain { path: PathBuf, column: String },
}

impl Rows {
    pub fn open(path: &Path, inputs: Inputs<'_>) -> Result<Self, Error> {
        let is_parquet = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
        let content = if is_parquet {
            Content::Parquet(Box::new(ParquetRows::open(path, inputs)?))
        } else {
            Content::Csv(Box::new(CsvRows::open(path, inputs)?))
        };
        Ok(Self { path: path.to_owned(), content })
    }

    /// Adds up to `max` rows to `values`, each in the order of the model's
    /// inputs, NaN where missing; gives how many: none at the end.
    pub fn read(&mut self, max: usize, values: &mut Vec<f64>) -> Result<usize, Error> {
        for n_rows in 0..max {
            let more = match &mut self.content {
                Content::Csv(csv) => csv.next(&self.path, values)?,
                Content::Parquet(parquet) => parquet.next(&self.path, values)?,
            };
            if !more {
                return Ok(n_rows);
            }
        }
        Ok(max)
    }

    /// How far the file has been read, and how far there is to read.
    pub fn progress(&self) -> (u64, u64) {
        match &self.content {
            Content::Csv(csv) => csv.progress(),
            Content::Parquet(parquet) => parquet.progress(),
        }
    }
}

/// By the model's inputs: their column.
fn columns(path: &Path, header: &[&str], inputs: Inputs<'_>) -> Result<Vec<usize>, Error> {
    let path = || path.to_owned();
    let names = match inputs {
        Inputs::ByPosition(n_inputs) if header.len() == n_inputs => return Ok((0..n_inputs).collect()),
        Inputs::ByPosition(expected) => {
            return Err(Error::Columns { path: path(), found: header.len(), expected });
        }
        Inputs::ByName(names) => names,
    };
    let mut columns = Vec::with_capacity(names.len());
    for input in names {
        let mut called_so = header.iter().enumerate().filter(|(_, column)| **column == &**input);
        match (called_so.next(), called_so.next()) {
            (Some((column, _)), None) => columns.push(column),
            (Some(_), Some(_)) => {
                return Err(Error::TwoColumns { path: path(), column: input.to_string() });
            }
            (None, _) => {
                let mut shown = header.iter().take(SHOWN_COLUMNS).copied().collect::<Vec<_>>().join(", ");
                if header.len() > SHOWN_COLUMNS {
                    shown = format!("{shown} and {} more", header.len() - SHOWN_COLUMNS);
                }
                return Err(Error::NoColumn { path: path(), input: input.to_string(), columns: shown });
            }
        }
    }
    Ok(columns)
}

/// A number as text; empty is missing. None if it is no number.
fn number(text: &str) -> Option<f64> {
    match text.trim() {
        "" => Some(f64::NAN),
        "true" | "True" | "TRUE" => Some(1.0),
        "false" | "False" | "FALSE" => Some(0.0),
        text => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
