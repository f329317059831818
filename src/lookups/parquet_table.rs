//! A table in Parquet, which has types of its own.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type as Schema;

use super::{Error, MAX_BYTES, Rows};
use crate::engine::event::Value;
use crate::engine::time::{Millis, Timestamp};
use crate::event_file::draft::Scalar;
use crate::event_file::{MAX_TIME, MIN_PROPERTY_TIME, Problem, typing};

pub(super) struct ParquetTable {
    path: PathBuf,
    reader: SerializedFileReader<File>,
}

impl ParquetTable {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |cause| Error::Read { path: path.to_owned(), cause };
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.len() > MAX_BYTES {
            return Err(Error::TooLarge { path: path.to_owned() });
        }
        let reader = SerializedFileReader::new(file)
            .map_err(|cause| Error::Parquet { path: path.to_owned(), cause })?;
        Ok(Self { path: path.to_owned(), reader })
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.reader.metadata().file_metadata().schema().get_fields().iter().map(|field| field.name())
    }

    /// Reads the rows; `key` and `wanted` are indices into the columns.
    pub(super) fn read(self, key: usize, wanted: &[usize], rows: &mut Rows) -> Result<(), Error> {
        let broken = |cause: ParquetError| Error::Parquet { path: self.path.clone(), cause };
        let root = self.reader.metadata().file_metadata().schema();
        let fields = root.get_fields();
        let mut read: Vec<usize> = wanted.iter().copied().chain([key]).collect();
        read.sort_unstable();
        read.dedup();
        if let Some(field) = read.iter().map(|&index| &fields[index]).find(|field| !is_plain(field)) {
            return Err(Error::NotPlain { path: self.path.clone(), column: field.name().to_owned() });
        }
        let schema = Schema::group_type_builder(root.name())
            .with_fields(read.iter().map(|&index| fields[index].clone()).collect())
            .build()
            .map_err(broken)?;
        let place = |index: usize| read.partition_point(|&other| other < index);
        let table = self.reader.get_row_iter(Some(schema)).map_err(broken)?;
        for (line, row) in (1..).zip(table) {
            let row = row.map_err(broken)?;
            let cells: Vec<(&String, &Field)> = row.get_column_iter().collect();
            let value = |index: usize| {
                let (name, field) = cells[place(index)];
                let cell = match field {
                    Field::Long(ns) if is_in_nanoseconds(&fields[index]) => time(ns.div_euclid(1_000_000)),
                    field => value(field),
                };
                cell.map_err(|problem| rows.cell(line, name, problem))
            };
            let key = value(key)?;
            let row = wanted.iter().map(|&index| value(index)).collect::<Result<_, _>>()?;
            rows.add(line, key, row)?;
        }
        Ok(())
    }
}

/// Whether the reader has a plain value for each cell.
fn is_plain(field: &Schema) -> bool {
    use ConvertedType as Type;
    let info = field.get_basic_info();
    let is_known = matches!(
        info.converted_type(),
        Type::NONE
            | Type::UTF8
            | Type::ENUM
            | Type::JSON
            | Type::DECIMAL
            | Type::DATE
            | Type::TIMESTAMP_MILLIS
            | Type::TIMESTAMP_MICROS
            | Type::INT_8
            | Type::INT_16
            | Type::INT_32
            | Type::INT_64
            | Type::UINT_8
            | Type::UINT_16
            | Type::UINT_32
            | Type::UINT_64
    );
    let is_time_of_day = matches!(info.logical_type_ref(), Some(LogicalType::Time(_)));
    field.is_primitive() && is_known && !is_time_of_day
}

/// Such timestamps the reader takes for whole numbers.
fn is_in_nanoseconds(field: &Schema) -> bool {
    let kind = field.get_basic_info().logical_type_ref();
    matches!(kind, Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS)
}

/// Null is missing, and so is NaN, which is how some writers say it.
fn value(field: &Field) -> Result<Option<Value>, Problem> {
    let scalar = match field {
        Field::Null => return Ok(None),
        Field::Bool(bool) => Scalar::Bool(*bool),
        Field::Byte(integer) => Scalar::Integer((*integer).into()),
        Field::Short(integer) => Scalar::Integer((*integer).into()),
        Field::Int(integer) => Scalar::Integer((*integer).into()),
        Field::Long(integer) => Scalar::Integer(*integer),
        Field::UByte(integer) => Scalar::Integer((*integer).into()),
        Field::UShort(integer) => Scalar::Integer((*integer).into()),
        Field::UInt(integer) => Scalar::Integer((*integer).into()),
        Field::ULong(integer) => i64::try_from(*integer).map_or(Scalar::Unsigned(*integer), Scalar::Integer),
        Field::Float16(number) => return finite(f64::from(*number)),
        Field::Float(number) => return finite(f64::from(*number)),
        Field::Double(number) => return finite(*number),
        Field::Decimal(_) => {
            let shown = field.to_string();
            return finite(shown.parse().map_err(|_| wrong(&shown, "a number"))?);
        }
        Field::Str(text) => Scalar::Text(text),
        Field::Bytes(bytes) => Scalar::Text(std::str::from_utf8(bytes.data()).map_err(|_| Problem::NotUtf8)?),
        Field::Date(days) => return time(i64::from(*days) * Millis::DAY.as_millis()),
        Field::TimestampMillis(ms) => return time(*ms),
        Field::TimestampMicros(us) => return time(us.div_euclid(1_000)),
        _ => return Err(wrong("it", "a text, a number, a boolean or a time")),
    };
    typing::property(scalar, None).map(Some)
}

fn finite(number: f64) -> Result<Option<Value>, Problem> {
    match number {
        _ if number.is_nan() => Ok(None),
        _ if number.is_infinite() => Err(wrong(&number.to_string(), "a finite number")),
        _ => typing::property(Scalar::Number(number), None).map(Some),
    }
}

fn time(ms: i64) -> Result<Option<Value>, Problem> {
    let time = Timestamp::from_millis(ms);
    if (MIN_PROPERTY_TIME..=MAX_TIME).contains(&time) {
        Ok(Some(Value::Time(time)))
    } else {
        Err(Problem::TimeOutOfBounds { time, earliest: MIN_PROPERTY_TIME })
    }
}

fn wrong(found: &str, expected: &'static str) -> Problem {
    Problem::WrongType { found: found.to_owned(), expected }
}
