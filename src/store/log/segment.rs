//! Segment files: their names, their header, and the chain they form.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic |
//! | 8..10 | format version |
//! | 10..12 | number of virtual shards |
//! | 12 | form: 0 plain, 1 compressed |
//! | 13..16 | zero |
//! | 16..32 | store id |
//! | 32..40 | position of the first frame |
//! | 40..48 | number of the first group |
//! | 48..56 | compressed: bytes of the frames, uncompressed |
//! | 56..60 | compressed: bytes of a block, uncompressed |
//! | 60..64 | CRC-32C of all before |
//!
//! The frames follow as they are, or in [blocks](super::blocks). A compressed segment
//! has the name it had before, and takes its place at once; offsets and positions are
//! those it has uncompressed. Format 1 knew no forms, and is read all the same.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::super::error::{Error, Fault};
use super::blocks::{BlockReader, MAX_BLOCK_BYTES, OVERHEAD_BYTES};
use super::frame::Seal;
use super::{LogPosition, StoreId};

pub const HEADER_BYTES: u64 = 64;
pub const FORMAT_VERSION: u16 = 2;

/// No compressed segment holds more, whatever its header says: twice what any configuration writes.
const MAX_LENGTH: u64 = 8 << 30;

const MAGIC: [u8; 8] = *b"tipoflog";

/// The form of a compressed segment.
const COMPRESSED: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub n_virtual_shards: u16,
    pub store: StoreId,
    pub base: LogPosition,
    pub first_group: u64,
    pub form: Form,
}

/// How the frames lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    Compressed {
        /// Of all frames, uncompressed.
        length: u64,
        block_bytes: u32,
    },
}

/// A segment of a checked chain.
#[derive(Clone, Debug)]
pub struct Segment {
    pub path: PathBuf,
    pub header: Header,
    /// Of the file, header included.
    pub file_bytes: u64,
    /// The same uncompressed.
    pub plain_bytes: u64,
}

/// The frames of a segment's file, one after another.
pub enum Frames {
    Plain(BufReader<File>),
    Compressed(Box<BlockReader<BufReader<File>>>),
}

/// Makes an empty segment durable, whole or not at all, and opens it for appending.
pub fn create(directory: &Path, header: &Header) -> Result<(PathBuf, File), Error> {
    let path = directory.join(file_name(header.base));
    let unborn = path.with_extension(UNBORN);
    let mut file = File::create(&unborn).map_err(Error::io("create", &unborn))?;
    let written = file.write_all(&header.encode()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Best effort: an opening store removes it too.
        let _ = fs::remove_file(&unborn);
        return Err(Error::io("write", &unborn)(error));
    }
    give_name(&unborn, &path)?;
    Ok((path, file))
}

/// Begins the log of a new store.
pub fn create_first(directory: &Path, n_virtual_shards: u16) -> Result<Segment, Error> {
    let (store, base) = (StoreId::random(), LogPosition::START);
    let header = Header { n_virtual_shards, store, base, first_group: 0, form: Form::Plain };
    create_empty(directory, header)
}

/// Makes a segment with nothing in it yet.
pub fn create_empty(directory: &Path, header: Header) -> Result<Segment, Error> {
    let (path, _) = create(directory, &header)?;
    Ok(Segment { path, header, file_bytes: HEADER_BYTES, plain_bytes: HEADER_BYTES })
}

/// Opens an existing segment for appending.
pub fn open_for_append(path: &Path) -> Result<File, Error> {
    OpenOptions::new().write(true).open(path).map_err(Error::io("open", path))
}

/// The segments of a log in order, their headers verified and their positions contiguous.
///
/// # Errors
/// The first segment that is foreign, missing or has a bad header. What a
/// segment holds is not read here.
pub fn list(directory: &Path) -> Result<Vec<Segment>, Error> {
    let paths = paths(directory)?;
    let mut segments: Vec<Segment> = Vec::with_capacity(paths.len());
    for path in paths {
        let segment = Segment::read(path)?;
        let (base, store) = (segment.header.base, segment.header.store);
        let expected = segments.last().map_or(LogPosition::START, Segment::end);
        if let Some(first) = segments.first().filter(|first| first.header.store != store) {
            let expected = first.header.store;
            return Err(Error::ForeignSegment { path: segment.path, found: store, expected });
        }
        if base != expected {
            return Err(Error::MissingSegment { path: segment.path, expected, found: base });
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// The file that calls itself the last segment, unread.
pub fn last_path(directory: &Path) -> Result<Option<PathBuf>, Error> {
    paths(directory).map(|mut paths| paths.pop())
}

/// The files that call themselves segments, by name.
fn paths(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for item in fs::read_dir(directory).map_err(Error::io("read", directory))? {
        let path = item.map_err(Error::io("read", directory))?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Makes a compressed segment a plain one that ends at `offset`, at once; the other is gone.
pub fn make_plain(path: &Path, offset: u64) -> Result<(), Error> {
    let (segment, file) = Segment::open(path.to_owned())?;
    let header = Header { form: Form::Plain, ..segment.header };
    let mut frames = segment.frames(file)?.take(offset.saturating_sub(HEADER_BYTES));
    let unborn = path.with_extension(UNBORN);
    let mut copy = || -> io::Result<()> {
        let mut file = File::create(&unborn)?;
        file.write_all(&header.encode())?;
        io::copy(&mut frames, &mut file)?;
        file.sync_all()
    };
    copy().map_err(Error::io("write", &unborn))?;
    give_name(&unborn, path)
}

/// Puts a whole, durable file in the place of a segment, durably and at once.
pub fn give_name(unborn: &Path, path: &Path) -> Result<(), Error> {
    fs::rename(unborn, path).map_err(Error::io("rename", unborn))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Removes a segment whose creation was cut off before it had its name.
pub fn remove_unborn(directory: &Path) -> Result<(), Error> {
    for item in fs::read_dir(directory).map_err(Error::io("read", directory))? {
        let path = item.map_err(Error::io("read", directory))?.path();
        if path.extension().is_some_and(|extension| extension == UNBORN) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(Error::io("sync", directory))
}

/// The extension of a segment that has not got its name yet.
pub const UNBORN: &str = "new";

fn file_name(base: LogPosition) -> String {
    format!("{:020}.log", base.get())
}

/// The position that a file's name says, whatever its header does.
pub fn named_base(path: &Path) -> Option<LogPosition> {
    let base = LogPosition::new(path.file_stem()?.to_str()?.parse().ok()?);
    path.file_name().is_some_and(|name| name == file_name(base).as_str()).then_some(base)
}

impl Segment {
    /// A file by its header alone: whether it fits its neighbours is for [`list`] to say.
    pub fn read(path: PathBuf) -> Result<Self, Error> {
        Self::open(path).map(|(segment, _)| segment)
    }

    /// The same, and the file, which stands behind the header.
    pub fn open(path: PathBuf) -> Result<(Self, File), Error> {
        let mut file = File::open(&path).map_err(Error::io("open", &path))?;
        let file_bytes = file.metadata().map_err(Error::io("read", &path))?.len();
        let mut bytes = [0; HEADER_BYTES as usize];
        let damaged = |fault| Error::Damaged { path: path.clone(), offset: 0, fault };
        if file_bytes < HEADER_BYTES {
            return Err(damaged(Fault::Short));
        }
        file.read_exact(&mut bytes).map_err(Error::io("read", &path))?;
        let header = Header::decode(&bytes, &path)?;
        if path.file_name().is_none_or(|name| name != file_name(header.base).as_str()) {
            return Err(damaged(Fault::Name));
        }
        let plain_bytes = match header.form {
            Form::Plain => file_bytes,
            // So many blocks take some room.
            Form::Compressed { length, block_bytes }
                if length.div_ceil(block_bytes.into()) * OVERHEAD_BYTES > file_bytes =>
            {
                return Err(damaged(Fault::Short));
            }
            Form::Compressed { length, .. } => HEADER_BYTES + length,
        };
        Ok((Self { path, header, file_bytes, plain_bytes }, file))
    }

    /// The position after its last byte.
    pub fn end(&self) -> LogPosition {
        self.header.base.after(self.plain_bytes - HEADER_BYTES)
    }

    pub fn is_compressed(&self) -> bool {
        self.header.form != Form::Plain
    }

    /// The frames of its `file`, which stands behind the header.
    pub fn frames(&self, file: File) -> Result<Frames, Error> {
        let file = BufReader::with_capacity(256 << 10, file);
        match self.header.form {
            Form::Plain => Ok(Frames::Plain(file)),
            Form::Compressed { length, block_bytes } => {
                let seal = self.header.block_seal();
                BlockReader::new(file, seal, block_bytes, length, HEADER_BYTES)
                    .map(|reader| Frames::Compressed(Box::new(reader)))
                    .map_err(Error::io("read", &self.path))
            }
        }
    }
}

impl Read for Frames {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(bytes),
            Self::Compressed(blocks) => blocks.read(bytes),
        }
    }
}

impl Header {
    /// What the blocks of a compressed segment are sealed with.
    pub fn block_seal(&self) -> u32 {
        Seal::of(&self.store).of_blocks(self.base)
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.n_virtual_shards.to_le_bytes());
        bytes[16..32].copy_from_slice(self.store.as_bytes());
        bytes[32..40].copy_from_slice(&self.base.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_group.to_le_bytes());
        if let Form::Compressed { length, block_bytes } = self.form {
            bytes[12] = COMPRESSED;
            bytes[48..56].copy_from_slice(&length.to_le_bytes());
            bytes[56..60].copy_from_slice(&block_bytes.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES as usize], path: &Path) -> Result<Self, Error> {
        let damaged = |fault| Error::Damaged { path: path.to_owned(), offset: 0, fault };
        if bytes[0..8] != MAGIC {
            return Err(damaged(Fault::Magic));
        }
        // Before the checksum: a newer format may keep it elsewhere.
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version > FORMAT_VERSION {
            return Err(Error::NewerFormat {
                path: path.to_owned(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        if bytes[60..64] != crc32c::crc32c(&bytes[..60]).to_le_bytes() {
            return Err(damaged(Fault::Checksum));
        }
        let mut store = [0; 16];
        store.copy_from_slice(&bytes[16..32]);
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let block_bytes = u32::from_le_bytes([bytes[56], bytes[57], bytes[58], bytes[59]]);
        let form = match bytes[12] {
            0 => Form::Plain,
            COMPRESSED => Form::Compressed { length: number(48), block_bytes },
            _ => return Err(damaged(Fault::Unsupported)),
        };
        if let Form::Compressed { length, block_bytes } = form
            && (length > MAX_LENGTH || !(1..=MAX_BLOCK_BYTES).contains(&block_bytes))
        {
            return Err(damaged(Fault::Length));
        }
        Ok(Self {
            n_virtual_shards: u16::from_le_bytes([bytes[10], bytes[11]]),
            store: StoreId::from_bytes(store),
            base: LogPosition::new(number(32)),
            first_group: number(40),
            form,
        })
    }
}
