//! CSV records under a header, with the lines that they begin in.

use csv::{ByteRecord, Error};

use super::source::{BoundedRecords, Bytes};

pub(crate) struct CsvRecords {
    csv: csv::Reader<BoundedRecords>,
    record: ByteRecord,
    /// The parser ends a record at a carriage return and counts the line feed
    /// behind it to the next one: its lines are one short.
    ends_in_crlf: bool,
}

impl CsvRecords {
    /// Reads the header.
    pub fn new(bytes: Bytes) -> Result<(ByteRecord, Self), Error> {
        // Records of another length are our callers' error, by line.
        let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(BoundedRecords::new(bytes));
        let header = csv.byte_headers()?.clone();
        let ends_in_crlf = csv.position().line() == 1;
        csv.get_mut().keep_empty_lines(false);
        Ok((header, Self { csv, record: ByteRecord::new(), ends_in_crlf }))
    }

    /// Has lines without anything read as records of one empty cell, rather
    /// than passed over; before the first record is read.
    pub fn keep_empty_lines(&mut self) {
        self.csv.get_mut().keep_empty_lines(true);
    }

    /// The next record with its line; or the line in which the file cannot be read on.
    pub fn next(&mut self) -> Result<Option<(u64, &ByteRecord)>, (u64, Error)> {
        self.csv.get_mut().begin();
        let line = self.csv.position().line() + u64::from(self.ends_in_crlf);
        let found = self.csv.read_byte_record(&mut self.record).map_err(|error| (line, error))?;
        Ok(found.then_some((line, &self.record)))
    }

    /// Bytes up to the end of the record read last, decompressed.
    pub fn bytes_read(&self) -> u64 {
        self.csv.position().byte()
    }
}
