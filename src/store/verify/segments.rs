//! The log, segment by segment and frame by frame, past whatever is damaged.
//!
//! A segment is read into memory as a whole. After a broken frame the next one
//! is looked for at every offset: a frame's checksum covers the store's id and
//! its position, so nothing else passes for one.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::error::{Error, Fault};
use super::super::log::Broken;
use super::super::log::frame::{self, Kind, Raw, Seal};
use super::super::log::segment::{self, Form, Frames, HEADER_BYTES, Header, Segment};
use super::super::log::tail::{TornTail, was_synced};
use super::super::log::{Entry, LogPosition, StoreId};
use super::{Damage, LogFound, SegmentFound, Sound, Watch};

/// Reads the log in `directory`.
pub fn read(directory: &Path, watch: &mut dyn Watch, damage: &mut Vec<Damage>) -> Result<LogFound, Error> {
    let mut walk = Walk {
        watch,
        damage,
        found: LogFound::default(),
        group: Some(0),
        expected: LogPosition::START,
        last: Vec::new(),
        sound: Sound::default(),
    };
    let heads = walk.list(directory)?;
    walk.watch.total(heads.iter().map(|head| head.file_bytes).sum());
    let n_heads = heads.len();
    for (index, head) in heads.into_iter().enumerate() {
        walk.segment(head, index + 1 == n_heads)?;
    }
    Ok(walk.found)
}

/// A segment before its content is read.
struct Head {
    path: PathBuf,
    file_bytes: u64,
    plain_bytes: u64,
    header: Result<Header, Error>,
}

struct Walk<'a> {
    watch: &'a mut dyn Watch,
    damage: &'a mut Vec<Damage>,
    found: LogFound,
    /// The number of the next group, unless damage has left it unknown.
    group: Option<u64>,
    /// Where the next segment must begin.
    expected: LogPosition,
    /// The last sequence of each virtual shard, and whether damage since then may have left a gap.
    last: Vec<Option<(u64, bool)>>,
    /// What has been read without damage.
    sound: Sound,
}

/// A segment's bytes, uncompressed; zeros where a block of a compressed one is broken.
struct Content {
    bytes: Vec<u8>,
    /// What there should be.
    length: u64,
    /// Each with the end of what it should have given.
    broken: Vec<(usize, Broken)>,
    /// There is more than there should be.
    excess: Option<Broken>,
}

/// What is held of a group until its marker comes.
#[derive(Default)]
struct Open {
    entries: Vec<(u64, Kind, LogPosition, Entry)>,
    /// Its beginning was not read.
    is_headless: bool,
}

impl Walk<'_> {
    /// The files that call themselves segments, by name.
    fn list(&mut self, directory: &Path) -> Result<Vec<Head>, Error> {
        if !directory.is_dir() {
            let fault = if directory.exists() { "not a directory" } else { "there is no log" };
            self.damage.push(Damage::whole(directory, fault.into()));
            return Ok(Vec::new());
        }
        let mut heads = Vec::new();
        for item in fs::read_dir(directory).map_err(Error::io("read", directory))? {
            let path = item.map_err(Error::io("read", directory))?.path();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            match extension {
                // A server may have given it its name meanwhile.
                segment::UNBORN if !path.exists() => {}
                "log" | segment::UNBORN if !path.is_file() => {
                    self.damage.push(Damage::whole(&path, "not a file".into()));
                }
                "log" => {
                    let file_bytes = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
                    let segment = Segment::read(path.clone());
                    let plain_bytes = segment.as_ref().map_or(file_bytes, |segment| segment.plain_bytes);
                    let header = segment.map(|segment| segment.header);
                    heads.push(Head { path, file_bytes, plain_bytes, header });
                }
                segment::UNBORN => self.found.unborn.push(path),
                _ => {}
            }
        }
        heads.sort_by(|one, other| one.path.cmp(&other.path));
        self.found.unborn.sort();
        let known = most(&heads);
        self.found.store = known.map(|header| header.store);
        self.last = vec![None; known.map_or(0, |header| usize::from(header.n_virtual_shards))];
        Ok(heads)
    }

    fn segment(&mut self, head: Head, is_last: bool) -> Result<(), Error> {
        let Head { path, file_bytes, plain_bytes, header } = head;
        let named = segment::named_base(&path);
        let base = header.as_ref().map_or(named, |header| Some(header.base));
        self.found.segments.push(SegmentFound { path: path.clone(), file_bytes, plain_bytes, base });
        let is_headed = header.is_ok();
        let header = match header {
            Ok(header) => header,
            Err(error) => {
                let bytes = file_bytes.min(HEADER_BYTES);
                self.hurt(Damage { unreadable_bytes: bytes, ..of_header(&path, &error) });
                self.lose_track();
                let (Some(base), Some(store)) = (named, self.found.store) else {
                    self.found.unreadable_bytes += file_bytes;
                    return Ok(());
                };
                self.found.unreadable_bytes += bytes;
                // The frames may be sound all the same: they know their store and position.
                let n_virtual_shards = self.last.len() as u16;
                Header { n_virtual_shards, store, base, first_group: 0, form: Form::Plain }
            }
        };
        if Some(header.store) != self.found.store {
            let fault =
                format!("belongs to store {}, the others to {}", header.store, told(self.found.store));
            self.hurt(Damage::whole(&path, fault));
            self.found.unreadable_bytes += file_bytes;
            self.lose_track();
            return Ok(());
        }
        if header.n_virtual_shards as usize != self.last.len() {
            let (found, others) = (header.n_virtual_shards, self.last.len());
            let fault = format!("has {found} virtual shards, the others have {others}");
            self.hurt(Damage::whole(&path, fault));
        }
        if header.base != self.expected {
            let fault =
                format!("starts at {}, expected {}: a segment is missing", header.base, self.expected);
            self.hurt(Damage::whole(&path, fault));
            self.lose_track();
        }
        if let Some(group) = self.group.filter(|group| is_headed && *group != header.first_group) {
            self.hurt(Damage::at(&path, 0, Fault::Group { expected: group }));
            self.lose_track();
        }
        // A segment begins with a group, and its header says with which.
        self.group = self.group.or(is_headed.then_some(header.first_group));
        let content = Content::read(&path, file_bytes, header.form)?;
        self.expected = header.base.after(content.length.saturating_sub(HEADER_BYTES));
        self.sound = Sound { last: Some((path.clone(), HEADER_BYTES)), end: header.base, ..self.sound };
        self.frames(&path, &content, header, is_last && header.form == Form::Plain);
        self.watch.read(file_bytes);
        Ok(())
    }

    fn frames(&mut self, path: &Path, content: &Content, header: Header, is_last: bool) {
        let (bytes, length) = (&content.bytes[..], content.length as usize);
        let seal = Seal::of(&header.store);
        let position = |offset: usize| header.base.after(offset as u64 - HEADER_BYTES);
        let (mut offset, mut committed) = (HEADER_BYTES as usize, HEADER_BYTES as usize);
        let mut open = Open::default();
        let mut is_lost = false;
        self.found.end = self.found.end.max(header.base);
        while offset < length {
            let (frame, payload) = match read_frame(bytes, offset, seal, position(offset)) {
                Ok(read) => read,
                Err(fault) => {
                    let group = self.group.unwrap_or(header.first_group);
                    let is_torn = is_last
                        && fault != Fault::Unsupported
                        && !was_synced(bytes, header, offset as u64, group);
                    if is_torn {
                        break;
                    }
                    let fault = content.broken_at(offset).map_or(fault, Fault::Block);
                    let next = resume(bytes, offset, seal, header).unwrap_or(length);
                    let unreadable_bytes = (next - offset) as u64;
                    self.hurt(Damage { unreadable_bytes, ..Damage::at(path, offset as u64, fault) });
                    self.found.unreadable_bytes += unreadable_bytes;
                    self.found.n_stray += open.entries.len() as u64;
                    self.lose_track();
                    open = Open { is_headless: true, ..Open::default() };
                    is_lost = next == length;
                    offset = next;
                    continue;
                }
            };
            let is_commit = frame.kind == Kind::Commit;
            self.check_group(path, offset, &frame);
            let at = offset as u64;
            offset += frame::HEADER_BYTES + payload.len();
            if is_commit {
                self.commit(path, std::mem::take(&mut open));
                self.group = Some(frame.sequence + 1);
                self.found.end = position(offset);
                committed = offset;
                let (end, n_entries) = (self.found.end, self.found.n_entries);
                self.sound = Sound { last: Some((path.to_owned(), offset as u64)), end, n_entries };
                continue;
            }
            let (virtual_shard, sequence) = (frame.virtual_shard, frame.sequence);
            let entry = Entry { virtual_shard, sequence, payload: payload.to_vec() };
            open.entries.push((at, frame.kind, position(at as usize), entry));
        }
        if let Some(broken) = content.excess {
            self.hurt(Damage::at(path, length as u64, Fault::Block(broken)));
        }
        if is_lost || committed == length || length < HEADER_BYTES as usize {
            return;
        }
        if is_last {
            let (file, bytes) = (path.to_owned(), (length - committed) as u64);
            self.found.torn_tail = Some(TornTail { file, offset: committed as u64, bytes });
        } else {
            self.found.n_stray += open.entries.len() as u64;
            self.lose_track();
            if offset >= length && !open.is_headless {
                self.hurt(Damage::at(path, committed as u64, Fault::Unfinished));
            }
        }
    }

    /// Takes the frame's group as the present one, whatever was expected.
    fn check_group(&mut self, path: &Path, offset: usize, frame: &frame::Header) {
        let is_commit = frame.kind == Kind::Commit;
        let Some(expected) = self.group else {
            if is_commit {
                self.group = Some(frame.sequence);
            }
            return;
        };
        if frame.group != expected as u16 || (is_commit && frame.sequence != expected) {
            self.hurt(Damage::at(path, offset as u64, Fault::Group { expected }));
            self.group = is_commit.then_some(frame.sequence);
        }
    }

    fn commit(&mut self, path: &Path, group: Open) {
        if group.is_headless {
            self.found.n_stray += group.entries.len() as u64;
        } else {
            self.found.n_groups += 1;
        }
        for (offset, kind, position, entry) in group.entries {
            if let Some(fault) = self.advance(&entry) {
                self.hurt(Damage::at(path, offset, fault));
            }
            if kind == Kind::Erased {
                self.found.n_erased += 1;
                continue;
            }
            self.found.n_entries += u64::from(!group.is_headless);
            if let Err(fault) = self.watch.entry(position, &entry) {
                self.hurt(Damage::at(path, offset, format_args!("entry at {position}: {fault}")));
            }
        }
    }

    /// Whether the entry follows its virtual shard's last one; the next must follow it either way.
    fn advance(&mut self, entry: &Entry) -> Option<Fault> {
        let (virtual_shard, found) = (entry.virtual_shard, entry.sequence);
        let Some(last) = self.last.get_mut(usize::from(virtual_shard)) else {
            return Some(Fault::Sequence { virtual_shard, expected: 0, found });
        };
        let before = last.replace((found, false));
        let (expected, may_jump) = before.map(|(last, may_jump)| (last.wrapping_add(1), may_jump))?;
        let is_next = found == expected || (may_jump && found > expected);
        (!is_next).then_some(Fault::Sequence { virtual_shard, expected, found })
    }

    fn hurt(&mut self, damage: Damage) {
        self.damage.push(damage);
        if self.found.sound.is_none() {
            self.found.sound = Some(self.sound.clone());
            self.watch.damaged();
        }
    }

    /// After damage: which group comes next, and how many entries are missing, is not known.
    fn lose_track(&mut self) {
        self.group = None;
        for (_, may_jump) in self.last.iter_mut().flatten() {
            *may_jump = true;
        }
    }
}

impl Content {
    fn read(path: &Path, file_bytes: u64, form: Form) -> Result<Self, Error> {
        let mut content = Self { bytes: Vec::new(), length: 0, broken: Vec::new(), excess: None };
        let of_file = |error| Error::io("read", path)(error);
        if form == Form::Plain {
            let file = fs::File::open(path).map_err(of_file)?;
            file.take(file_bytes).read_to_end(&mut content.bytes).map_err(of_file)?;
            content.length = content.bytes.len() as u64;
            return Ok(content);
        }
        let (segment, file) = Segment::open(path.to_owned())?;
        content.length = segment.plain_bytes;
        // The header's place: offsets are those of the plain segment.
        content.bytes.resize(HEADER_BYTES as usize, 0);
        let Frames::Compressed(mut blocks) = segment.frames(file)? else { return Ok(content) };
        loop {
            let block = blocks.next_block().map_err(of_file)?;
            match block {
                None => return Ok(content),
                Some(Ok(block)) => content.bytes.extend_from_slice(block),
                Some(Err(broken)) if content.bytes.len() as u64 == content.length => {
                    content.excess = Some(broken);
                }
                Some(Err(broken)) => {
                    let end = (HEADER_BYTES + blocks.offset()) as usize;
                    if !blocks.is_lost() {
                        content.bytes.resize(end, 0);
                    }
                    content.broken.push((end, broken));
                }
            }
        }
    }

    /// The first broken block whose bytes end after an offset.
    fn broken_at(&self, offset: usize) -> Option<Broken> {
        self.broken.iter().find(|(end, _)| *end > offset).map(|(_, broken)| *broken)
    }
}

fn read_frame(
    bytes: &[u8],
    offset: usize,
    seal: Seal,
    position: LogPosition,
) -> Result<(frame::Header, &[u8]), Fault> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let (header, rest) = rest.split_first_chunk().ok_or(Fault::Short)?;
    let raw = Raw::new(*header);
    let payload = rest.get(..raw.length()?).ok_or(Fault::Short)?;
    Ok((raw.verify(seal, position, payload)?, payload))
}

/// The offset of the first sound frame after a broken one.
fn resume(bytes: &[u8], broken: usize, seal: Seal, header: Header) -> Option<usize> {
    (broken + 1..bytes.len()).find(|offset| {
        let Some(start) = bytes[*offset..].first_chunk() else { return false };
        let position = header.base.after(*offset as u64 - HEADER_BYTES);
        Raw::new(*start).is_plausible(header.n_virtual_shards)
            && read_frame(bytes, *offset, seal, position).is_ok()
    })
}

/// The header of the store that most segments belong to.
fn most(heads: &[Head]) -> Option<Header> {
    let headers = || heads.iter().filter_map(|head| head.header.as_ref().ok());
    let n_of = |store: StoreId| headers().filter(|header| header.store == store).count();
    // The first of several, as an opening store would have it.
    headers().rev().max_by_key(|header| n_of(header.store)).copied()
}

fn of_header(path: &Path, error: &Error) -> Damage {
    match error {
        Error::Damaged { path, offset, fault } => Damage::at(path, *offset, fault),
        _ => Damage::whole(path, error.to_string()),
    }
}

fn told(store: Option<StoreId>) -> String {
    store.map_or_else(|| "none".to_owned(), |store| store.to_string())
}
