//! What verifying says of sound and of damaged stores.

use super::super::log::segment::{self, HEADER_BYTES};
use super::super::log::tail;
use super::super::verify::{Damage, Place, ViewsFound, Watch, verify};
use super::*;

/// A store of several segments, closed; the end of each group.
fn written(directory: &Path) -> Vec<LogPosition> {
    let (store, _) = open(directory);
    let mut ends = Vec::new();
    for sequence in 1..60 {
        let views = vec![put(View::Profiles, &[sequence as u8 % 5], b"value")];
        ends.push(commit(&store, vec![entry(sequence as u16 % 3, sequence / 3, &[7; 150])], views).end);
    }
    store.close().unwrap();
    ends
}

#[derive(Default)]
struct Seen {
    total: u64,
    read: u64,
    n_entries: u64,
    n_values: u64,
}

impl Watch for Seen {
    fn total(&mut self, bytes: u64) {
        self.total = bytes;
    }
    fn read(&mut self, bytes: u64) {
        self.read += bytes;
    }
    fn entry(&mut self, position: LogPosition, _: &Entry) -> Result<(), String> {
        self.n_entries += 1;
        if position == LogPosition::START { Err("means nothing".into()) } else { Ok(()) }
    }
    fn value(&mut self, _: View, _: &[u8], _: &[u8]) -> Result<(), String> {
        self.n_values += 1;
        Ok(())
    }
}

#[test]
fn a_sound_store_is_read_whole_stopped_or_running_and_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let ends = written(directory.path());
    let before = files(directory.path());
    let mut seen = Seen::default();
    let verified = verify(directory.path(), &mut seen).unwrap();
    assert_eq!(files(directory.path()), before);
    assert_eq!((seen.n_entries, seen.n_values), (59, 5));
    assert_eq!(seen.read, seen.total);
    assert_eq!((verified.log.n_groups, verified.log.n_entries), (59, 59));
    assert_eq!(verified.log.end, ends[58]);
    let expected = Damage {
        path: verified.log.segments[0].path.clone(),
        place: Place::Offset(HEADER_BYTES),
        fault: "entry at 0: means nothing".into(),
        unreadable_bytes: 0,
    };
    assert_eq!(verified.damage, [expected]);
    assert!(matches!(verified.views, ViewsFound::Read { applied, .. } if applied == ends[58]));

    let (store, _) = open(directory.path());
    let verified = verify(directory.path(), &mut ()).unwrap();
    assert!(verified.is_sound(), "{:?}", verified.damage);
    assert!(matches!(verified.views, ViewsFound::InUse { pid } if pid == Some(std::process::id())));
    drop(store);
}

/// Every file below, with its bytes.
fn files(directory: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn all_damage_is_found_and_the_rest_is_read() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path());
    let segments = segment::list(&directory.path().join(LOG_DIRECTORY)).unwrap();
    // A broken frame, a broken header and a lost segment, each in a segment of its own.
    let frame = segments[0].file_bytes / 2;
    for (segment, offset) in [(0, frame), (2, 20)] {
        let mut bytes = fs::read(&segments[segment].path).unwrap();
        bytes[offset as usize] ^= 1;
        fs::write(&segments[segment].path, bytes).unwrap();
    }
    fs::remove_file(&segments[3].path).unwrap();
    let verified = verify(directory.path(), &mut ()).unwrap();
    let told: Vec<String> = verified.damage.iter().map(|damage| damage.to_string()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].ends_with("checksum mismatch; 174 bytes cannot be read"), "{told:?}");
    assert!(told[1].ends_with("offset 0: checksum mismatch; 64 bytes cannot be read"), "{told:?}");
    assert!(told[2].contains("a segment is missing"), "{told:?}");
    assert_eq!(verified.log.unreadable_bytes, 174 + 64);
    let n_lost = 1 + (segments[3].file_bytes - HEADER_BYTES) / (174 + 24);
    assert_eq!(verified.log.n_entries, 59 - n_lost);
    assert_eq!(verified.log.torn_tail, None);
}

#[test]
fn a_torn_tail_and_an_unborn_segment_are_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path());
    let log = directory.path().join(LOG_DIRECTORY);
    let last = segment::list(&log).unwrap().pop().unwrap();
    let mut bytes = fs::read(&last.path).unwrap();
    bytes.extend_from_slice(&[9; 33]);
    fs::write(&last.path, bytes).unwrap();
    fs::write(log.join("1.new"), b"").unwrap();
    let verified = verify(directory.path(), &mut ()).unwrap();
    assert!(verified.is_sound(), "{:?}", verified.damage);
    let torn = verified.log.torn_tail.unwrap();
    assert_eq!((torn.offset, torn.bytes), (last.file_bytes, 33));
    assert_eq!(verified.log.unborn, [log.join("1.new")]);
}

#[test]
fn a_group_in_the_writing_is_no_damage_to_who_reads_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path());
    let mut last = segment::list(&directory.path().join(LOG_DIRECTORY)).unwrap().pop().unwrap();
    // Listed when half of a group was there; since then it and a later one were finished.
    let whole = tail::inspect(&last).unwrap();
    (last.file_bytes, last.plain_bytes) = (HEADER_BYTES + 10, HEADER_BYTES + 10);
    let seen = tail::inspect(&last).unwrap();
    assert!(whole.next_group > seen.next_group);
    assert_eq!(seen.committed_bytes, HEADER_BYTES);
}
