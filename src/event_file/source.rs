//! A file's bytes, decompressed, bounded and counted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::{Error, MAX_LINE_BYTES};

const BUFFER_BYTES: usize = 64 << 10;

/// How far a file has been read, in bytes on disk; can be asked from any thread.
#[derive(Clone, Debug)]
pub struct Progress {
    read: Arc<AtomicU64>,
    total: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    JsonLines,
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// The decompressed bytes.
pub(crate) type Bytes = Box<dyn BufRead + Send>;

/// Opens a file by the endings of its name.
pub(super) fn open(path: &Path) -> Result<(Format, Bytes, Progress), Error> {
    let format = format(path)?;
    let (bytes, progress) =
        decompressed(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    Ok((format, bytes, progress))
}

/// What is in a file, decompressed as its name tells.
pub(crate) fn decompressed(path: &Path) -> io::Result<(Bytes, Progress)> {
    let file = File::open(path)?;
    let total = file.metadata()?.len();
    let progress = Progress { read: Arc::default(), total };
    let counted = BufReader::with_capacity(BUFFER_BYTES, Counted { file, read: progress.read.clone() });
    let bytes: Bytes = match compression(path) {
        Compression::None => Box::new(counted),
        Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(counted))),
        Compression::Zstd => {
            let decoder = zstd::Decoder::with_buffer(counted)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
    };
    Ok((bytes, progress))
}

pub(super) fn compression(path: &Path) -> Compression {
    match extension(path).as_deref() {
        Some("gz") => Compression::Gzip,
        Some("zst") => Compression::Zstd,
        _ => Compression::None,
    }
}

pub(crate) fn format(path: &Path) -> Result<Format, Error> {
    let inner = match compression(path) {
        Compression::None => path.to_owned(),
        Compression::Gzip | Compression::Zstd => path.with_extension(""),
    };
    match extension(&inner).as_deref() {
        Some("jsonl" | "ndjson" | "json") => Ok(Format::JsonLines),
        Some("csv") => Ok(Format::Csv),
        _ => Err(Error::UnknownFormat { path: path.to_owned() }),
    }
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

/// One physical line at a time, never more than [`MAX_LINE_BYTES`] of it.
pub(super) struct Lines {
    path: PathBuf,
    bytes: Bytes,
    /// Of the line read last, from 1.
    number: u64,
    buffer: Vec<u8>,
}

pub(super) enum Line<'a> {
    Whole(u64, &'a [u8]),
    /// Its number and length; the rest of it has been passed over.
    TooLong(u64, usize),
}

impl Lines {
    pub fn new(path: PathBuf, bytes: Bytes) -> Self {
        Self { path, bytes, number: 0, buffer: Vec::new() }
    }

    pub fn next(&mut self) -> Result<Option<Line<'_>>, Error> {
        self.buffer.clear();
        let mut length = 0;
        let mut ended = false;
        while !ended {
            let chunk = match self.bytes.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(Error::Read { path: self.path.clone(), line: self.number + 1, source });
                }
            };
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let room = MAX_LINE_BYTES.saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(&part[..part.len().min(room)]);
            length += part.len();
            if chunk.is_empty() && length == 0 {
                return Ok(None);
            }
            ended = end.is_some() || chunk.is_empty();
            let consumed = part.len() + usize::from(end.is_some());
            self.bytes.consume(consumed);
        }
        self.number += 1;
        Ok(Some(if length > MAX_LINE_BYTES {
            Line::TooLong(self.number, length)
        } else {
            Line::Whole(self.number, self.buffer.strip_suffix(b"\r").unwrap_or(&self.buffer))
        }))
    }
}

/// Passes bytes on as long as the record being read is within its bound.
pub(super) struct BoundedRecords {
    bytes: Bytes,
    left: usize,
    empty_lines: EmptyLines,
    is_line_begun: bool,
}

/// What becomes of lines without anything, which the parser passes over.
enum EmptyLines {
    /// Not known yet: no more than a line is read ahead of the parser.
    Undecided,
    Passed,
    /// They reach the parser as a quoted cell of nothing.
    Kept,
}

impl BoundedRecords {
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, left: MAX_LINE_BYTES, empty_lines: EmptyLines::Undecided, is_line_begun: false }
    }

    /// The header has been read: are empty lines records from here on?
    pub fn keep_empty_lines(&mut self, keep: bool) {
        self.empty_lines = if keep { EmptyLines::Kept } else { EmptyLines::Passed };
    }

    /// A new record begins.
    pub fn begin(&mut self) {
        self.left = MAX_LINE_BYTES;
    }
}

impl Read for BoundedRecords {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let message = format!("a record of more than {MAX_LINE_BYTES} bytes; is a quote left open?");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let room = buffer.len().min(self.left);
        let buffer = &mut buffer[..room];
        let n_bytes = match self.empty_lines {
            EmptyLines::Passed => self.bytes.read(buffer)?,
            EmptyLines::Undecided | EmptyLines::Kept => self.read_within_line(buffer)?,
        };
        self.left -= n_bytes;
        Ok(n_bytes)
    }
}

impl BoundedRecords {
    /// Bytes up to the end of a line at most; those of an empty cell first if it is empty and kept.
    fn read_within_line(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const EMPTY_CELL: &[u8] = b"\"\"";

        let ahead = self.bytes.fill_buf()?;
        let is_empty = !self.is_line_begun && matches!(ahead.first(), Some(b'\n' | b'\r'));
        if is_empty && matches!(self.empty_lines, EmptyLines::Kept) && buffer.len() >= EMPTY_CELL.len() {
            buffer[..EMPTY_CELL.len()].copy_from_slice(EMPTY_CELL);
            self.is_line_begun = true;
            return Ok(EMPTY_CELL.len());
        }
        let end = ahead.iter().position(|byte| *byte == b'\n').map_or(ahead.len(), |end| end + 1);
        let n_bytes = end.min(buffer.len());
        buffer[..n_bytes].copy_from_slice(&ahead[..n_bytes]);
        self.is_line_begun = ahead[..n_bytes].last() != Some(&b'\n');
        self.bytes.consume(n_bytes);
        Ok(n_bytes)
    }
}

impl Progress {
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub fn bytes_total(&self) -> u64 {
        self.total
    }
}

struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.file.read(buffer)?;
        self.read.fetch_add(n_bytes as u64, Ordering::Relaxed);
        Ok(n_bytes)
    }
}
