//! Rows as Parquet: `user_id` text, `as_of` UTC milliseconds, numbers as
//! doubles, texts as text; null where missing.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use tipoff::engine::event::UserId;
use tipoff::engine::plan::Plan;
use tipoff::engine::time::Timestamp;
use tipoff::engine::vector::{Slot, Vector};

use super::Table;

/// Rows kept in memory until they are written together.
const ROW_GROUP_ROWS: usize = 1 << 16;

pub struct Parquet<'p> {
    plan: &'p Plan,
    writer: SerializedFileWriter<File>,
    users: Vec<ByteArray>,
    as_of: Vec<i64>,
    /// By index into [`Plan::features`].
    columns: Vec<Column>,
}

/// The present values, and for each row whether it has one.
enum Column {
    Numbers(Vec<f64>, Vec<i16>),
    Texts(Vec<ByteArray>, Vec<i16>),
}

impl<'p> Parquet<'p> {
    pub fn create(plan: &'p Plan, out: &Path) -> Result<Self> {
        let file = File::create(out).with_context(|| out.display().to_string())?;
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?));
        let writer = SerializedFileWriter::new(file, schema(plan)?, Arc::new(properties.build()))?;
        let columns = plan.features.iter().map(|feature| match feature.slot {
            Slot::Number(_) => Column::Numbers(Vec::new(), Vec::new()),
            Slot::Text(_) => Column::Texts(Vec::new(), Vec::new()),
        });
        Ok(Self { plan, writer, users: Vec::new(), as_of: Vec::new(), columns: columns.collect() })
    }

    fn write_group(&mut self) -> Result<()> {
        if self.users.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        let missing = "a column fewer than the schema has";
        let mut column = group.next_column()?.context(missing)?;
        column.typed::<ByteArrayType>().write_batch(&self.users, None, None)?;
        column.close()?;
        let mut column = group.next_column()?.context(missing)?;
        column.typed::<Int64Type>().write_batch(&self.as_of, None, None)?;
        column.close()?;
        for values in &mut self.columns {
            let mut column = group.next_column()?.context(missing)?;
            match values {
                Column::Numbers(values, present) => {
                    column.typed::<DoubleType>().write_batch(values, Some(present), None)?;
                    values.clear();
                    present.clear();
                }
                Column::Texts(values, present) => {
                    column.typed::<ByteArrayType>().write_batch(values, Some(present), None)?;
                    values.clear();
                    present.clear();
                }
            }
            column.close()?;
        }
        group.close()?;
        self.users.clear();
        self.as_of.clear();
        Ok(())
    }
}

fn schema(plan: &Plan) -> Result<Arc<Type>> {
    let column = |name: &str, physical, logical, repetition| {
        Type::primitive_type_builder(name, physical)
            .with_logical_type(logical)
            .with_repetition(repetition)
            .build()
            .map(Arc::new)
    };
    let time = LogicalType::timestamp(true, TimeUnit::MILLIS);
    let mut columns = vec![
        column("user_id", Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED)?,
        column("as_of", Physical::INT64, Some(time), Repetition::REQUIRED)?,
    ];
    for feature in &plan.features {
        columns.push(match feature.slot {
            Slot::Number(_) => column(&feature.name, Physical::DOUBLE, None, Repetition::OPTIONAL)?,
            Slot::Text(_) => {
                column(&feature.name, Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::OPTIONAL)?
            }
        });
    }
    Ok(Arc::new(Type::group_type_builder("rows").with_fields(columns).build()?))
}

impl Table for Parquet<'_> {
    fn row(&mut self, user: &UserId, as_of: Timestamp, vector: &Vector) -> Result<()> {
        self.users.push(user.to_string().into_bytes().into());
        self.as_of.push(as_of.as_millis());
        for (column, feature) in self.columns.iter_mut().zip(&self.plan.features) {
            match (column, feature.slot) {
                (Column::Numbers(values, present), Slot::Number(slot)) => {
                    let value = vector.numbers[slot];
                    present.push(i16::from(!value.is_nan()));
                    values.extend((!value.is_nan()).then_some(value));
                }
                (Column::Texts(values, present), Slot::Text(slot)) => {
                    let value = vector.texts[slot].as_deref();
                    present.push(i16::from(value.is_some()));
                    values.extend(value.map(|text| ByteArray::from(text.as_bytes().to_vec())));
                }
                _ => debug_assert!(false, "the columns were made from these features"),
            }
        }
        if self.users.len() == ROW_GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.write_group()?;
        self.writer.close()?;
        Ok(())
    }
}
