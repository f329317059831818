//! Rows in Parquet; only the columns that a model reads are decoded.

use std::fs::File;
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type as Schema;

use super::{Error, Inputs, columns, number};

pub(super) struct ParquetRows {
    rows: RowIter<'static>,
    /// By the model's inputs: the place in a row that is read.
    places: Vec<usize>,
    n_read: u64,
    n_rows: u64,
}

impl ParquetRows {
    pub(super) fn open(path: &Path, inputs: Inputs<'_>) -> Result<Self, Error> {
        let broken = |cause: ParquetError| Error::Parquet { path: path.to_owned(), cause };
        let file = File::open(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
        let reader = SerializedFileReader::new(file).map_err(broken)?;
        let metadata = reader.metadata().file_metadata();
        let n_rows = u64::try_from(metadata.num_rows()).unwrap_or(0);
        let root = metadata.schema();
        let fields = root.get_fields();
        let header: Vec<&str> = fields.iter().map(|field| field.name()).collect();
        let columns = columns(path, &header, inputs)?;
        if let Some(&nested) = columns.iter().find(|&&column| !fields[column].is_primitive()) {
            return Err(Error::NotPlain { path: path.to_owned(), column: header[nested].to_owned() });
        }
        let mut read = columns.clone();
        read.sort_unstable();
        let places = columns.iter().map(|column| read.partition_point(|other| other < column)).collect();
        let schema = Schema::group_type_builder(root.name())
            .with_fields(read.iter().map(|&column| fields[column].clone()).collect())
            .build()
            .map_err(broken)?;
        let rows = RowIter::from_file_into(Box::new(reader)).project(Some(schema)).map_err(broken)?;
        Ok(Self { rows, places, n_read: 0, n_rows })
    }

    /// Adds a row to `values`; false at the end.
    pub(super) fn next(&mut self, path: &Path, values: &mut Vec<f64>) -> Result<bool, Error> {
        let Some(row) = self.rows.next() else { return Ok(false) };
        let row = row.map_err(|cause| Error::Parquet { path: path.to_owned(), cause })?;
        self.n_read += 1;
        let cells: Vec<(&String, &Field)> = row.get_column_iter().collect();
        for &place in &self.places {
            let (name, field) = cells[place];
            let value = value(field).ok_or_else(|| Error::Cell {
                path: path.to_owned(),
                line: self.n_read,
                column: name.clone(),
                found: field.to_string().chars().take(64).collect(),
            })?;
            values.push(value);
        }
        Ok(true)
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        (self.n_read, self.n_rows)
    }
}

/// Null is missing; none if it is no number.
fn value(field: &Field) -> Option<f64> {
    Some(match field {
        Field::Null => f64::NAN,
        Field::Bool(bool) => f64::from(*bool),
        Field::Byte(integer) => f64::from(*integer),
        Field::Short(integer) => f64::from(*integer),
        Field::Int(integer) => f64::from(*integer),
        Field::Long(integer) => *integer as f64,
        Field::UByte(integer) => f64::from(*integer),
        Field::UShort(integer) => f64::from(*integer),
        Field::UInt(integer) => f64::from(*integer),
        Field::ULong(integer) => *integer as f64,
        Field::Float16(number) => f64::from(*number),
        Field::Float(number) => f64::from(*number),
        Field::Double(number) => *number,
        Field::Decimal(_) => field.to_string().parse().ok()?,
        Field::Str(text) => number(text)?,
        _ => return None,
    })
}
