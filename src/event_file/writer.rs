//! Writing records as JSON lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;

use crate::engine::event::Value;
use crate::engine::time::Timestamp;

use super::source::{Compression, Format, compression, format};
use super::{Error, Record};

/// Writes records as JSON lines, compressed as the name ends.
///
/// What is written is read back equal, but for two things: an event without
/// an id gets its uid from its line, and a time property comes back as text
/// unless the reader's mapping says `:time`. Non-finite numbers are left out.
pub struct Writer {
    path: PathBuf,
    output: Output,
    line: Vec<u8>,
}

/// A file that is being written, compressed as its name ends: `.gz`, `.zst` or not at all.
pub enum Output {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Writer {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let Ok(Format::JsonLines) = format(path) else {
            return Err(Error::Unwritable { path: path.to_owned() });
        };
        let output = Output::create(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), output, line: Vec::with_capacity(512) })
    }

    pub fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.line.clear();
        write_line(&mut self.line, record)
            .and_then(|()| self.output.write_all(&self.line))
            .map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    /// Ends the compressed stream and writes all of it out; without this the file is incomplete.
    pub fn finish(self) -> Result<(), Error> {
        self.output.finish().map_err(|source| Error::Io { path: self.path, source })
    }
}

impl Output {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(64 << 10, File::create(path)?);
        Ok(match compression(path) {
            Compression::None => Self::Plain(file),
            Compression::Gzip => Self::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }

    /// Ends the compressed stream and writes all of it out; without this the file is incomplete.
    pub fn finish(self) -> io::Result<()> {
        let mut file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.flush()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

fn write_line(line: &mut Vec<u8>, record: &Record) -> io::Result<()> {
    let event = &record.event;
    let user_field: &[u8] = if record.user.is_anonymous() { b"{\"anonymous_id\":" } else { b"{\"user_id\":" };
    line.extend_from_slice(user_field);
    write_text(line, record.user.id())?;
    if let Some(anonymous_id) = &event.anonymous_id {
        line.extend_from_slice(b",\"anonymous_id\":");
        write_text(line, anonymous_id)?;
    }
    line.extend_from_slice(b",\"type\":");
    write_text(line, &event.kind)?;
    line.extend_from_slice(b",\"time\":");
    write_time(line, event.time)?;
    if let Some(id) = &event.id {
        line.extend_from_slice(b",\"event_id\":");
        write_text(line, id)?;
    }
    if let Some(arrival) = record.arrival {
        line.extend_from_slice(b",\"arrival_time\":");
        write_time(line, arrival)?;
    }
    let mut separator: &[u8] = b",\"properties\":{";
    for (name, value) in &event.properties {
        if matches!(value, Value::Number(number) if !number.is_finite()) {
            continue;
        }
        line.extend_from_slice(separator);
        separator = b",";
        write_text(line, name)?;
        line.push(b':');
        match value {
            Value::Text(text) => write_text(line, text)?,
            Value::Number(number) => serde_json::to_writer(&mut *line, number)?,
            Value::Integer(integer) => serde_json::to_writer(&mut *line, integer)?,
            Value::Bool(bool) => serde_json::to_writer(&mut *line, bool)?,
            Value::Time(time) => write_time(line, *time)?,
        }
    }
    line.extend_from_slice(if separator == b"," { b"}}\n" } else { b"}\n" });
    Ok(())
}

fn write_text(line: &mut Vec<u8>, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(line, text)?)
}

/// As text where the civil calendar has the instant, else as plain milliseconds.
fn write_time(line: &mut Vec<u8>, time: Timestamp) -> io::Result<()> {
    write!(line, "\"{time}\"")
}
