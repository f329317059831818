//! Rows in CSV under a header, compressed or not.

use std::path::Path;

use super::{Error, Inputs, columns, number};
use crate::event_file::Progress;
use crate::event_file::csv_records::CsvRecords;
use crate::event_file::source::decompressed;

pub(super) struct CsvRows {
    header: Vec<String>,
    records: CsvRecords,
    /// By the model's inputs.
    columns: Vec<usize>,
    progress: Progress,
}

impl CsvRows {
    pub(super) fn open(path: &Path, inputs: Inputs<'_>) -> Result<Self, Error> {
        let (bytes, progress) =
            decompressed(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
        let (header, mut records) =
            CsvRecords::new(bytes).map_err(|cause| Error::Csv { path: path.to_owned(), line: 1, cause })?;
        if header.len() == 1 {
            // No comma could tell a row whose value is missing.
            records.keep_empty_lines();
        }
        let header: Vec<String> = header
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').to_owned())
            .collect();
        let names: Vec<&str> = header.iter().map(String::as_str).collect();
        let columns = columns(path, &names, inputs)?;
        Ok(Self { header, records, columns, progress })
    }

    /// Adds a row to `values`; false at the end.
    pub(super) fn next(&mut self, path: &Path, values: &mut Vec<f64>) -> Result<bool, Error> {
        let next = self.records.next();
        let next = next.map_err(|(line, cause)| Error::Csv { path: path.to_owned(), line, cause })?;
        let Some((line, record)) = next else { return Ok(false) };
        let (found, expected) = (record.len(), self.header.len());
        if found != expected {
            return Err(Error::Width { path: path.to_owned(), line, found, expected });
        }
        for &column in &self.columns {
            let cell = &record[column];
            let value = std::str::from_utf8(cell).ok().and_then(number).ok_or_else(|| Error::Cell {
                path: path.to_owned(),
                line,
                column: self.header[column].clone(),
                found: String::from_utf8_lossy(cell).chars().take(64).collect(),
            })?;
            values.push(value);
        }
        Ok(true)
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        (self.progress.bytes_read(), self.progress.bytes_total())
    }
}
