//! Compressing a sealed segment, which then takes the plain one's place.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::error::Error;
use super::blocks::BlockWriter;
use super::segment::{Form, Header, Segment, UNBORN, give_name};

/// The library's own default.
const LEVEL: i32 = 3;

/// What a reader holds in memory.
pub const BLOCK_BYTES: u32 = 1 << 20;

/// Synced bit by bit, or a commit's sync would wait for all of it.
const SYNC_BYTES: u64 = 4 << 20;

/// Compresses a sealed segment: durably, read back and compared before the plain one goes.
///
/// A crash leaves the one or the other, and perhaps a file that an opening store removes.
///
/// # Errors
/// What the file system refuses, or a copy that does not read back: the plain one is as it was.
pub fn compress(segment: &Segment, block_bytes: u32, is_over: &AtomicBool) -> Result<Segment, Error> {
    let unborn = segment.path.with_extension(UNBORN);
    let written = write(segment, &unborn, block_bytes, is_over);
    if let Err(error) = written {
        // Best effort: an opening store removes it too.
        let _ = fs::remove_file(&unborn);
        return Err(error);
    }
    give_name(&unborn, &segment.path)?;
    Segment::read(segment.path.clone())
}

fn write(segment: &Segment, unborn: &Path, block_bytes: u32, is_over: &AtomicBool) -> Result<(), Error> {
    let length = segment.end().get() - segment.header.base.get();
    let header = Header { form: Form::Compressed { length, block_bytes }, ..segment.header };
    let (found, file) = Segment::open(segment.path.clone())?;
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    let changed = changed.map_err(Error::io("read", &segment.path))?;
    let mut frames = found.frames(file)?;
    let mut copy = || -> io::Result<()> {
        let mut out = Synced { file: File::create(unborn)?, unsynced: 0, is_over };
        out.write_all(&header.encode())?;
        let mut blocks = BlockWriter::new(BufWriter::new(out), header.block_seal(), block_bytes, LEVEL)?;
        io::copy(&mut frames, &mut blocks)?;
        let file = blocks.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.file;
        // The age of a segment is that of its last group.
        file.set_modified(changed)?;
        file.sync_all()
    };
    copy().map_err(Error::io("write", unborn))?;
    compare(segment, unborn, header).map_err(Error::io("read back", unborn))
}

/// Whether a compressed file gives the segment's frames.
fn compare(segment: &Segment, unborn: &Path, header: Header) -> io::Result<()> {
    let file_bytes = fs::metadata(unborn)?.len();
    let compressed =
        Segment { path: unborn.to_owned(), header, file_bytes, plain_bytes: segment.plain_bytes };
    let open = |path: &Path| {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(super::segment::HEADER_BYTES)).map(|_| file)
    };
    let mut copy = compressed.frames(open(unborn)?).map_err(io::Error::other)?;
    let mut plain = BufReader::new(open(&segment.path)?);
    let (mut ours, mut theirs) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let n_read = copy.read(&mut ours)?;
        plain.read_exact(&mut theirs[..n_read])?;
        if ours[..n_read] != theirs[..n_read] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds something else"));
        }
        if n_read == 0 {
            break;
        }
    }
    if plain.read(&mut theirs)? > 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it ends too early"));
    }
    Ok(())
}

/// Syncs a file while it is written.
struct Synced<'a> {
    file: File,
    unsynced: u64,
    is_over: &'a AtomicBool,
}

impl Write for Synced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("the store is closing"));
        }
        let n_written = self.file.write(bytes)?;
        self.unsynced += n_written as u64;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(n_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
