//! The log against a list of groups: whatever happens to its files, it gives
//! back exactly the committed groups, or refuses.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::super::log::compress::compress;
use super::super::log::frame::{self, Kind, Seal};
use super::super::log::segment::{self, HEADER_BYTES};
use super::super::verify::verify;
use super::*;

const N_SHARDS: u16 = 4;

type Groups = Vec<Vec<(u16, Vec<u8>)>>;

/// A log as it was written.
struct Written {
    directory: tempfile::TempDir,
    /// By group.
    entries: Vec<Vec<Entry>>,
    /// The end of each group.
    ends: Vec<LogPosition>,
}

impl Written {
    fn log(&self) -> PathBuf {
        self.directory.path().join(LOG_DIRECTORY)
    }

    fn prefix(&self, n_groups: usize) -> Vec<Entry> {
        self.entries[..n_groups].concat()
    }

    fn read(&self, from: LogPosition) -> Result<Vec<Entry>, Error> {
        LogReader::open(self.directory.path(), from)?.map(|item| item.map(|(_, entry)| entry)).collect()
    }

    fn segments(&self) -> Vec<Segment> {
        segment::list(&self.log()).unwrap()
    }

    /// Compresses the sealed segments whose bit is set, in blocks that cut frames.
    fn compress(&self, which: u16) -> Vec<Segment> {
        let mut segments = self.segments();
        segments.pop();
        segments.retain(|segment| which >> (segment.header.first_group % 16) & 1 == 1);
        segments.iter().map(|segment| compress(segment, 100, &AtomicBool::new(false)).unwrap()).collect()
    }
}

/// Writes groups without syncing, in small segments.
fn write(groups: &Groups) -> Written {
    struct NoSync;
    impl Disk for NoSync {
        fn write(&self, file: &fs::File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            RealDisk.write(file, offset, bytes)
        }
        fn sync(&self, _: &fs::File) -> std::io::Result<()> {
            Ok(())
        }
        fn truncate(&self, file: &fs::File, length: u64) -> std::io::Result<()> {
            RealDisk.truncate(file, length)
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join(LOG_DIRECTORY);
    let (segment, tail) = open_log(directory.path(), &log, N_SHARDS).unwrap();
    let limits = Limits { segment_bytes: 400, payload_bytes: 1 << 10, commit_bytes: 1 << 20 };
    let mut writer = LogWriter::open(log, &segment, tail, limits, Arc::new(NoSync)).unwrap();
    let mut next = [10; N_SHARDS as usize];
    let mut written = Written { directory, entries: Vec::new(), ends: Vec::new() };
    for group in groups {
        let entries: Vec<Entry> = group
            .iter()
            .map(|(shard, payload)| {
                next[usize::from(*shard)] += 1;
                entry(*shard, next[usize::from(*shard)], payload)
            })
            .collect();
        writer.roll_if_full().unwrap();
        writer.stage(&entries).unwrap();
        written.ends.push(writer.write().unwrap());
        writer.sync().unwrap();
        written.entries.push(entries);
    }
    written
}

fn groups() -> impl Strategy<Value = Groups> {
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    prop::collection::vec(prop::collection::vec((0..N_SHARDS, payload), 1..5), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn reads_back_from_every_group(groups in groups()) {
        let written = write(&groups);
        prop_assert_eq!(written.read(LogPosition::START).unwrap(), written.prefix(groups.len()));
        for (index, end) in written.ends.iter().enumerate() {
            prop_assert_eq!(written.read(*end).unwrap(), written.entries[index + 1..].concat());
        }
    }

    #[test]
    fn compressed_segments_read_as_plain_ones_do(groups in groups(), which in any::<u16>()) {
        let written = write(&groups);
        let n_segments = written.segments().len();
        written.compress(which);
        prop_assert_eq!(written.segments().len(), n_segments);
        prop_assert_eq!(written.read(LogPosition::START).unwrap(), written.prefix(groups.len()));
        for (index, end) in written.ends.iter().enumerate() {
            prop_assert_eq!(written.read(*end).unwrap(), written.entries[index + 1..].concat());
        }
    }

    #[test]
    fn a_damaged_compressed_segment_is_refused(
        groups in groups(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        kind in 0..3_u8,
    ) {
        let written = write(&groups);
        let compressed = written.compress(u16::MAX);
        prop_assume!(!compressed.is_empty());
        let segment = &compressed[place.index(compressed.len())];
        let mut bytes = fs::read(&segment.path).unwrap();
        let at = place.index(bytes.len());
        match kind {
            0 => bytes[at] ^= 1 << bit,
            1 => bytes.truncate(at),
            _ => bytes.push(bit as u8),
        }
        fs::write(&segment.path, &bytes).unwrap();
        match written.read(LogPosition::START) {
            Err(Error::Damaged { path, .. } | Error::NewerFormat { path, .. }) => {
                prop_assert_eq!(&path, &segment.path);
            }
            other => prop_assert!(false, "{:?}", other),
        }
        let verified = verify(written.directory.path(), &mut ()).unwrap();
        prop_assert_eq!(verified.damage.first().map(|damage| &damage.path), Some(&segment.path));
    }

    #[test]
    fn a_tail_cut_anywhere_loses_only_its_group(groups in groups()) {
        let written = write(&groups);
        let segment = written.segments().pop().unwrap();
        let bytes = fs::read(&segment.path).unwrap();
        let n_whole = groups.len() - 1;
        let start = n_whole.checked_sub(1).map_or(LogPosition::START, |last| written.ends[last]);
        let start = (start.get() - segment.header.base.get() + HEADER_BYTES) as usize;
        for length in start..bytes.len() {
            fs::write(&segment.path, &bytes[..length]).unwrap();
            prop_assert_eq!(written.read(LogPosition::START).unwrap(), written.prefix(n_whole));
            // As after an out of order write: the length is there, the bytes are not.
            let mut holed = bytes.clone();
            holed[length..].fill(0);
            // A marker may end with zeros.
            let n_read = if holed == bytes { groups.len() } else { n_whole };
            fs::write(&segment.path, &holed).unwrap();
            prop_assert_eq!(written.read(LogPosition::START).unwrap(), written.prefix(n_read));
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_or_cuts_the_last_group(
        groups in groups(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let written = write(&groups);
        let segments = written.segments();
        let total: u64 = segments.iter().map(|segment| segment.file_bytes).sum();
        let mut offset = place.index(total as usize) as u64;
        let segment = segments
            .iter()
            .find(|segment| match offset.checked_sub(segment.file_bytes) {
                Some(rest) => { offset = rest; false }
                None => true,
            })
            .unwrap();
        let mut bytes = fs::read(&segment.path).unwrap();
        bytes[offset as usize] ^= 1 << bit;
        fs::write(&segment.path, &bytes).unwrap();
        check_flip(&written, segment, offset)?;
    }

    #[test]
    fn a_missing_segment_is_refused(groups in groups()) {
        let written = write(&groups);
        let segments = written.segments();
        // The loss of the last segment is known to the views alone.
        for segment in segments.iter().rev().skip(1) {
            let moved = segment.path.with_extension("away");
            fs::rename(&segment.path, &moved).unwrap();
            let outcome = written.read(LogPosition::START);
            prop_assert!(matches!(outcome, Err(Error::MissingSegment { .. })), "{:?}", outcome);
            fs::rename(&moved, &segment.path).unwrap();
        }
    }
}

fn check_flip(written: &Written, segment: &Segment, offset: u64) -> TestCaseResult {
    let n_groups = written.ends.len();
    let last_start = n_groups.checked_sub(2).map_or(LogPosition::START, |last| written.ends[last]);
    let is_last =
        offset >= HEADER_BYTES && segment.header.base.get() + offset - HEADER_BYTES >= last_start.get();
    match written.read(LogPosition::START) {
        Ok(entries) => {
            prop_assert!(is_last, "a flip at {} of {:?} went unnoticed", offset, segment.path);
            prop_assert_eq!(entries, written.prefix(n_groups - 1));
        }
        Err(Error::Damaged { path, offset: at, .. }) => {
            prop_assert_eq!(&path, &segment.path);
            prop_assert!(at <= offset, "refused at {}, flipped at {}", at, offset);
            prop_assert!(!is_last, "refused although only the last group is hurt");
        }
        Err(Error::NewerFormat { path, .. }) => {
            prop_assert_eq!(&path, &segment.path);
            prop_assert!((8..10).contains(&offset));
        }
        Err(error) => prop_assert!(false, "{}", error),
    }
    Ok(())
}

#[test]
fn erased_entries_are_skipped_and_keep_the_sequence() {
    let written = write(&vec![vec![(1, b"secret".to_vec()), (1, b"kept".to_vec())]]);
    let segment = written.segments().pop().unwrap();
    let mut bytes = fs::read(&segment.path).unwrap();
    let mut filler = Vec::new();
    let header = frame::Header {
        length: 6,
        kind: Kind::Erased,
        flags: frame::SYNCED_BEFORE,
        virtual_shard: 1,
        group: 0,
        sequence: 11,
    };
    frame::encode(&mut filler, Seal::of(&segment.header.store), LogPosition::START, &header, &[0; 6]);
    bytes[HEADER_BYTES as usize..][..filler.len()].copy_from_slice(&filler);
    fs::write(&segment.path, &bytes).unwrap();
    assert_eq!(written.read(LogPosition::START).unwrap(), [entry(1, 12, b"kept")]);
}

#[test]
fn a_log_quoted_in_a_payload_is_no_log() {
    let quoted = write(&vec![vec![(0, b"a".to_vec())], vec![(0, b"b".to_vec())]]);
    let quotation = fs::read(&quoted.segments()[0].path).unwrap();
    let written = write(&vec![vec![(0, b"a".to_vec())], vec![(1, quotation)]]);
    let segment = written.segments().pop().unwrap();
    let mut bytes = fs::read(&segment.path).unwrap();
    let start = (HEADER_BYTES + written.ends[0].get()) as usize;
    bytes[start] ^= 1;
    fs::write(&segment.path, &bytes).unwrap();
    assert_eq!(written.read(LogPosition::START).unwrap(), [entry(0, 11, b"a")]);
}

#[test]
fn damage_that_a_later_unsynced_group_follows_is_a_torn_tail() {
    // Two groups between two syncs: neither was durable, so a hole in the first is no damage.
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join(LOG_DIRECTORY);
    let (segment, tail) = open_log(directory.path(), &log, N_SHARDS).unwrap();
    let limits = Limits { segment_bytes: 1 << 20, payload_bytes: 1 << 10, commit_bytes: 1 << 20 };
    let mut writer = LogWriter::open(log, &segment, tail, limits, Arc::new(RealDisk)).unwrap();
    for sequence in 1..=3 {
        writer.stage(&[entry(0, sequence, b"payload")]).unwrap();
        writer.write().unwrap();
        if sequence == 1 {
            writer.sync().unwrap();
        }
    }
    let whole = fs::read(&segment.path).unwrap();
    let group_bytes = (whole.len() - HEADER_BYTES as usize) / 3;
    let read_with_hole_in = |group: usize| {
        let mut bytes = whole.clone();
        bytes[HEADER_BYTES as usize + group * group_bytes] ^= 1;
        fs::write(&segment.path, &bytes).unwrap();
        LogReader::open(directory.path(), LogPosition::START).map(Iterator::count)
    };
    assert!(matches!(read_with_hole_in(0), Err(Error::Damaged { offset: HEADER_BYTES, .. })));
    assert_eq!(read_with_hole_in(1).unwrap(), 1);
    assert_eq!(read_with_hole_in(2).unwrap(), 2);
}

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/store_v1");

fn fixture_groups() -> [Vec<Entry>; 3] {
    [
        vec![entry(0, 1, b"first"), entry(15, 1, b"")],
        vec![entry(0, 2, &[0xff; 300])],
        vec![entry(7, 1_000, "\u{e9}v\u{e9}nement".as_bytes()), entry(0, 3, b"last")],
    ]
}

#[test]
fn a_store_of_format_1_opens() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join(LOG_DIRECTORY);
    fs::create_dir(&log).unwrap();
    for item in fs::read_dir(Path::new(FIXTURE).join(LOG_DIRECTORY)).unwrap() {
        let item = item.unwrap();
        fs::copy(item.path(), log.join(item.file_name())).unwrap();
    }
    assert_eq!(segment::list(&log).unwrap().len(), 2);
    let (store, recovery) = open(directory.path());
    assert_eq!(entries_from(&recovery, LogPosition::START), fixture_groups().concat());
    assert_eq!(recovery.torn_tail(), None);
    commit(&store, vec![entry(0, 4, b"goes on")], vec![]);
}

#[test]
#[ignore = "writes the fixture of the present format; only for a new format version"]
fn write_fixture() {
    let (store, _) = Store::open(Path::new(FIXTURE), Options { segment_bytes: 200, ..options() })
        .expect("a new directory");
    for group in fixture_groups() {
        commit(&store, group, vec![]);
    }
    store.close().unwrap();
    fs::remove_dir_all(Path::new(FIXTURE).join(VIEWS_DIRECTORY)).unwrap();
    fs::remove_file(Path::new(FIXTURE).join("LOCK")).unwrap();
}
