//! Events as CSV records under a header.

use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::csv_records::CsvRecords;
use super::draft::{Draft, FieldProblem, Parsed, Scalar};
use super::mapping::{Mapping, Role, Target};
use super::source::Bytes;
use super::{Error, HeaderProblem, MAX_PROPERTIES, MAX_PROPERTY_NAME_BYTES, Problem, Record, typing};

pub(super) struct CsvLines {
    path: PathBuf,
    records: CsvRecords,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    target: Target,
}

impl CsvLines {
    pub fn new(path: &Path, bytes: Bytes, mapping: &Mapping) -> Result<Self, Error> {
        let (header, records) = CsvRecords::new(bytes).map_err(|error| read_error(path, 1, error))?;
        let columns =
            columns(&header, mapping).map_err(|reason| Error::Header { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), records, columns })
    }

    /// The next record with its line, or what is wrong with that line.
    pub fn next(&mut self) -> Result<Option<Parsed>, Error> {
        let next = self.records.next().map_err(|(line, error)| read_error(&self.path, line, error))?;
        Ok(next.map(|(line, record)| (line, parse(&self.columns, record, line))))
    }
}

fn parse(columns: &[Column], record: &ByteRecord, line: u64) -> Result<Record, FieldProblem> {
    if record.len() != columns.len() {
        let problem = Problem::Columns { found: record.len(), expected: columns.len() };
        return Err(("line".to_owned(), problem));
    }
    let mut draft = Draft::with_capacity(columns.len());
    for (column, cell) in columns.iter().zip(record) {
        if cell.is_empty() {
            continue;
        }
        let set = |draft: &mut Draft| {
            let cell = std::str::from_utf8(cell).map_err(|_| Problem::NotUtf8)?;
            let scalar = match column.target {
                Target::Property { fixed: None, .. } => typing::infer(cell),
                _ => Scalar::Text(cell),
            };
            draft.set(&column.target, scalar)
        };
        set(&mut draft).map_err(|problem| (column.name.clone(), problem))?;
    }
    draft.finish(line)
}

fn columns(header: &ByteRecord, mapping: &Mapping) -> Result<Vec<Column>, HeaderProblem> {
    if header.is_empty() {
        return Err(HeaderProblem::Empty);
    }
    let mut columns: Vec<Column> = Vec::with_capacity(header.len());
    for name in header {
        let name = std::str::from_utf8(name).map_err(|_| HeaderProblem::NotUtf8)?.trim();
        if name.is_empty() {
            return Err(HeaderProblem::Unnamed);
        }
        if name.len() > MAX_PROPERTY_NAME_BYTES {
            return Err(HeaderProblem::TooLong { bytes: name.len(), limit: MAX_PROPERTY_NAME_BYTES });
        }
        let target = mapping.column(name);
        if target != Target::Dropped && columns.iter().any(|column| same(&column.target, &target)) {
            return Err(HeaderProblem::Repeated(name.to_owned()));
        }
        columns.push(Column { name: name.to_owned(), target });
    }
    if let Some(field) = mapping.fields().find(|field| columns.iter().all(|column| column.name != *field)) {
        return Err(HeaderProblem::UnknownColumn(field.to_owned()));
    }
    let has = |role| columns.iter().any(|column| column.target == Target::Role(role));
    for role in [Role::Type, Role::Time] {
        if !has(role) {
            return Err(HeaderProblem::MissingColumn(role.name()));
        }
    }
    if !has(Role::UserId) && !has(Role::AnonymousId) {
        return Err(HeaderProblem::MissingColumn(Role::UserId.name()));
    }
    let n_properties =
        columns.iter().filter(|column| matches!(column.target, Target::Property { .. })).count();
    if n_properties > MAX_PROPERTIES {
        return Err(HeaderProblem::TooManyProperties { found: n_properties, limit: MAX_PROPERTIES });
    }
    Ok(columns)
}

fn same(left: &Target, right: &Target) -> bool {
    match (left, right) {
        (Target::Role(left), Target::Role(right)) => left == right,
        (Target::Property { name: left, .. }, Target::Property { name: right, .. }) => left == right,
        _ => false,
    }
}

fn read_error(path: &Path, line: u64, error: csv::Error) -> Error {
    Error::Read { path: path.to_owned(), line, source: error.into() }
}
