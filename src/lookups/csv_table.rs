//! A table in CSV. A column may carry its type behind its name, as in event files.

use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::{Error, MAX_BYTES, Rows};
use crate::engine::event::Value;
use crate::event_file::csv_records::CsvRecords;
use crate::event_file::mapping::split_type;
use crate::event_file::source::decompressed;
use crate::event_file::typing::{self, Type};
use crate::event_file::{HeaderProblem, Problem};

pub(super) struct CsvTable {
    path: PathBuf,
    columns: Vec<Column>,
    records: CsvRecords,
}

struct Column {
    name: String,
    fixed: Option<Type>,
}

impl CsvTable {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |cause| Error::Read { path: path.to_owned(), cause };
        let (bytes, _) = decompressed(path).map_err(unreadable)?;
        let (header, records) =
            CsvRecords::new(bytes).map_err(|cause| Error::Csv { path: path.to_owned(), line: 1, cause })?;
        let columns = columns(&header).map_err(|cause| Error::Header { path: path.to_owned(), cause })?;
        Ok(Self { path: path.to_owned(), columns, records })
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Reads the rows; `key` and `wanted` are indices into the columns.
    pub(super) fn read(mut self, key: usize, wanted: &[usize], rows: &mut Rows) -> Result<(), Error> {
        loop {
            let next = self.records.next();
            let next = next.map_err(|(line, cause)| Error::Csv { path: self.path.clone(), line, cause })?;
            let Some((line, record)) = next else { return Ok(()) };
            if record.len() != self.columns.len() {
                let problem = Problem::Columns { found: record.len(), expected: self.columns.len() };
                return Err(rows.cell(line, "line", problem));
            }
            let value = |index: usize, fixed: Option<Type>| {
                value(&record[index], fixed)
                    .map_err(|problem| rows.cell(line, &self.columns[index].name, problem))
            };
            // A key is what it is spelled like, whatever its type.
            let key = value(key, Some(Type::Text))?;
            let row = wanted.iter().map(|&index| value(index, self.columns[index].fixed));
            let row = row.collect::<Result<_, _>>()?;
            rows.add(line, key, row)?;
            if self.records.bytes_read() > MAX_BYTES {
                return Err(Error::TooLarge { path: self.path });
            }
        }
    }
}

/// An empty cell is missing.
fn value(cell: &[u8], fixed: Option<Type>) -> Result<Option<Value>, Problem> {
    if cell.is_empty() {
        return Ok(None);
    }
    let cell = std::str::from_utf8(cell).map_err(|_| Problem::NotUtf8)?;
    typing::of_column(cell, fixed).map(Some)
}

fn columns(header: &ByteRecord) -> Result<Vec<Column>, HeaderProblem> {
    if header.is_empty() {
        return Err(HeaderProblem::Empty);
    }
    let mut columns: Vec<Column> = Vec::with_capacity(header.len());
    for name in header {
        let name = std::str::from_utf8(name).map_err(|_| HeaderProblem::NotUtf8)?;
        let (name, fixed) = split_type(name.trim());
        if name.is_empty() {
            return Err(HeaderProblem::Unnamed);
        }
        if columns.iter().any(|column| column.name == name) {
            return Err(HeaderProblem::Repeated(name.to_owned()));
        }
        columns.push(Column { name: name.to_owned(), fixed });
    }
    Ok(columns)
}
