//! Bytes in blocks, each compressed and checksummed by itself.
//!
//! | bytes of a block | field |
//! |---|---|
//! | 0..4 | number of compressed bytes |
//! | 4..8 | CRC-32C |
//! | 8.. | one frame of zstd |
//!
//! Every block of a file holds the same number of bytes, the last one what is left. A
//! reader thus knows what a block must give before it inflates it, and holds one at a
//! time. The checksum covers what the file is and where the block begins, so that a
//! block that lands elsewhere is noticed.

use std::fmt;
use std::io::{self, Read, Write};

use zstd::bulk::{Compressor, Decompressor};

/// Blocks are not larger, whatever a file says: a bound for what a reader allocates.
pub const MAX_BLOCK_BYTES: u32 = 16 << 20;

/// What is around the compressed bytes.
pub const OVERHEAD_BYTES: u64 = 8;

/// Writes what it is given in blocks.
pub struct BlockWriter<W> {
    out: W,
    seal: u32,
    compressor: Compressor<'static>,
    block_bytes: usize,
    block: Vec<u8>,
    /// Given so far, up to the block being filled.
    offset: u64,
}

/// Reads it back.
pub struct BlockReader<R> {
    file: R,
    seal: u32,
    inflater: Decompressor<'static>,
    block_bytes: usize,
    block: Vec<u8>,
    /// Of the block, handed out.
    n_taken: usize,
    /// Before the next block.
    offset: u64,
    length: u64,
    file_offset: u64,
    /// Where the next block begins is not known.
    is_lost: bool,
}

/// A block that does not read back, or that something else than the file's end follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    pub file_offset: u64,
}

impl<W: Write> BlockWriter<W> {
    /// `seal` says what the file is: a reader must be given the same.
    pub fn new(out: W, seal: u32, block_bytes: u32, level: i32) -> io::Result<Self> {
        let (compressor, block_bytes) = (Compressor::new(level)?, block_bytes as usize);
        Ok(Self { out, seal, compressor, block_bytes, block: Vec::new(), offset: 0 })
    }

    /// What all was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_block()?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let compressed = self.compressor.compress(&self.block)?;
        let length = (compressed.len() as u32).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&checksum(self.seal, self.offset, length, &compressed))?;
        self.out.write_all(&compressed)?;
        self.offset += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for BlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_taken = bytes.len().min(self.block_bytes - self.block.len());
        self.block.extend_from_slice(&bytes[..n_taken]);
        if self.block.len() == self.block_bytes {
            self.write_block()?;
        }
        Ok(n_taken)
    }

    /// A block is written when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<R: Read> BlockReader<R> {
    /// `file` stands at the first block, at `file_offset` of the file; there are `length` bytes in all.
    pub fn new(file: R, seal: u32, block_bytes: u32, length: u64, file_offset: u64) -> io::Result<Self> {
        Ok(Self {
            file,
            seal,
            inflater: Decompressor::new()?,
            block_bytes: block_bytes.clamp(1, MAX_BLOCK_BYTES) as usize,
            block: Vec::new(),
            n_taken: 0,
            offset: 0,
            length,
            file_offset,
            is_lost: false,
        })
    }

    /// The next block; none at the end. After a broken one it goes on where the next should begin.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn next_block(&mut self) -> io::Result<Option<Result<&[u8], Broken>>> {
        self.n_taken = 0;
        self.block.clear();
        let broken = Broken { file_offset: self.file_offset };
        if self.offset >= self.length {
            let ends_here = self.is_lost || self.file.read(&mut [0])? == 0;
            self.is_lost = true;
            return Ok((!ends_here).then_some(Err(broken)));
        }
        let n_bytes = usize::try_from(self.length - self.offset)
            .map_or(self.block_bytes, |rest| rest.min(self.block_bytes));
        let is_whole = !self.is_lost && self.read_block(n_bytes)?;
        self.offset += n_bytes as u64;
        if is_whole {
            return Ok(Some(Ok(&self.block)));
        }
        self.block.clear();
        if self.is_lost {
            // One break, however many blocks are behind it.
            self.offset = self.length;
        }
        Ok(Some(Err(broken)))
    }

    /// Where the next block begins in the bytes uncompressed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether no further block can be found.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether all blocks have been read and handed out.
    pub fn is_at_end(&self) -> bool {
        self.offset >= self.length && self.n_taken == self.block.len()
    }

    /// Whether the block gives what it must.
    fn read_block(&mut self, n_bytes: usize) -> io::Result<bool> {
        let (mut length, mut stored) = ([0; 4], [0; 4]);
        if !read_whole(&mut self.file, &mut length)? || !read_whole(&mut self.file, &mut stored)? {
            self.is_lost = true;
            return Ok(false);
        }
        let n_compressed = u32::from_le_bytes(length) as usize;
        if n_compressed > zstd::zstd_safe::compress_bound(n_bytes) {
            self.is_lost = true;
            return Ok(false);
        }
        let mut compressed = vec![0; n_compressed];
        if !read_whole(&mut self.file, &mut compressed)? {
            self.is_lost = true;
            return Ok(false);
        }
        self.file_offset += OVERHEAD_BYTES + n_compressed as u64;
        if stored != checksum(self.seal, self.offset, length, &compressed) {
            return Ok(false);
        }
        self.block.reserve(n_bytes);
        let inflated = self.inflater.decompress_to_buffer(&compressed, &mut self.block);
        Ok(inflated.is_ok_and(|n_inflated| n_inflated == n_bytes) && self.block.len() == n_bytes)
    }
}

/// A broken block is an error of kind `InvalidData` that holds a [`Broken`].
impl<R: Read> Read for BlockReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.n_taken == self.block.len() {
            match self.next_block()? {
                Some(Ok(_)) => {}
                None => return Ok(0),
                Some(Err(broken)) => return Err(io::Error::new(io::ErrorKind::InvalidData, broken)),
            }
        }
        let rest = &self.block[self.n_taken..];
        let n_read = rest.len().min(bytes.len());
        bytes[..n_read].copy_from_slice(&rest[..n_read]);
        self.n_taken += n_read;
        Ok(n_read)
    }
}

impl Broken {
    /// The break that an error of reading is about, if it is about one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the compressed block at byte {} of the file does not read back", self.file_offset)
    }
}

impl std::error::Error for Broken {}

/// False if the file ends first.
fn read_whole(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn checksum(seal: u32, offset: u64, length: [u8; 4], compressed: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c_append(seal, &offset.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &length);
    crc32c::crc32c_append(crc, compressed).to_le_bytes()
}
