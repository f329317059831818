//! Sealed segments: compressed behind the commits, and the same store afterwards.

use std::thread;
use std::time::Instant;

use super::super::backup::back_up;
use super::super::log::compress::compress;
use super::super::log::segment::{self, HEADER_BYTES};
use super::super::repair::{Mode, Repair};
use super::super::verify::verify;
use super::*;

fn compressing() -> Options {
    Options { compress: true, block_bytes: 300, sealed_interval: Duration::from_millis(1), ..options() }
}

fn segments(directory: &Path) -> Vec<Segment> {
    segment::list(&directory.join(LOG_DIRECTORY)).unwrap()
}

/// Commits so many entries of one shard after those before.
fn commit_some(store: &Store, after: u64, n: u64) -> Vec<Entry> {
    let entries: Vec<_> = (after + 1..=after + n).map(|sequence| entry(0, sequence, &[7; 150])).collect();
    for entry in &entries {
        let view = put(View::Profiles, b"u", &entry.sequence.to_be_bytes());
        commit(store, vec![entry.clone()], vec![view]);
    }
    entries
}

fn wait_until(what: &str, test: impl Fn() -> bool) {
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn wait_until_compressed(directory: &Path) {
    wait_until("all sealed segments are compressed", || {
        let segments = segments(directory);
        let (last, sealed) = segments.split_last().unwrap();
        !last.is_compressed() && sealed.iter().all(Segment::is_compressed)
    });
}

/// A store with compressed segments, closed; its entries.
fn written(directory: &Path) -> Vec<Entry> {
    let (store, _) = Store::open(directory, compressing()).unwrap();
    let entries = commit_some(&store, 0, 40);
    wait_until_compressed(directory);
    store.close().unwrap();
    entries
}

#[test]
fn a_store_is_the_same_after_its_segments_were_compressed() {
    let directory = tempfile::tempdir().unwrap();
    let mut entries = written(directory.path());
    let before = segments(directory.path());
    assert!(before.len() > 2 && before[0].file_bytes * 3 < before[0].plain_bytes);
    let (store, recovery) = open(directory.path());
    assert_eq!(entries_from(&recovery, LogPosition::START), entries);
    entries.extend(commit_some(&store, 40, 10));
    store.close().unwrap();
    let verified = verify(directory.path(), &mut ()).unwrap();
    assert!(verified.is_sound(), "{:?}", verified.damage);
    assert_eq!(verified.log.n_entries, 50);
    let copy = tempfile::tempdir().unwrap();
    back_up(directory.path(), &copy.path().join("copy"), &[], &mut ()).unwrap();
    let (_store, recovery) = open(&copy.path().join("copy"));
    assert_eq!(entries_from(&recovery, LogPosition::START), entries);
}

#[test]
fn an_older_program_refuses_what_it_cannot_read() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path());
    for segment in segments(directory.path()) {
        let bytes = fs::read(&segment.path).unwrap();
        assert_eq!(bytes[8..10], 2_u16.to_le_bytes(), "the version it looks at first");
    }
}

#[test]
fn a_compression_that_is_cut_off_anywhere_leaves_the_plain_segment() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let entries = commit_some(&store, 0, 30);
    store.close().unwrap();
    let first = segments(directory.path()).remove(0);
    let plain = fs::read(&first.path).unwrap();
    compress(&first, 300, &AtomicBool::new(false)).unwrap();
    let compressed = fs::read(&first.path).unwrap();
    let unborn = first.path.with_extension("new");
    for length in (0..=compressed.len()).step_by(20) {
        fs::write(&first.path, &plain).unwrap();
        fs::write(&unborn, &compressed[..length]).unwrap();
        assert!(verify(directory.path(), &mut ()).unwrap().is_sound());
        let (store, recovery) = open(directory.path());
        assert_eq!(entries_from(&recovery, LogPosition::START), entries);
        assert!(!unborn.exists());
        store.close().unwrap();
    }
}

#[test]
fn a_log_that_ends_with_a_compressed_segment_goes_on_in_another() {
    let directory = tempfile::tempdir().unwrap();
    let entries = written(directory.path());
    fs::remove_dir_all(directory.path().join(VIEWS_DIRECTORY)).unwrap();
    fs::remove_file(&segments(directory.path()).pop().unwrap().path).unwrap();
    let (store, recovery) = open(directory.path());
    let mut left = entries_from(&recovery, LogPosition::START);
    assert!(!left.is_empty() && entries.starts_with(&left));
    left.extend(commit_some(&store, left.len() as u64, 3));
    store.close().unwrap();
    let (_store, recovery) = open(directory.path());
    assert_eq!(entries_from(&recovery, LogPosition::START), left);
}

#[test]
fn repair_cuts_a_compressed_segment_before_its_damage() {
    let directory = tempfile::tempdir().unwrap();
    let entries = written(directory.path());
    let second = segments(directory.path()).remove(1);
    let mut bytes = fs::read(&second.path).unwrap();
    // In the last of its blocks.
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    fs::write(&second.path, &bytes).unwrap();
    let verified = verify(directory.path(), &mut ()).unwrap();
    assert_eq!(verified.damage.len(), 1, "{:?}", verified.damage);
    assert!(verified.damage[0].fault.contains("compressed block at byte"), "{:?}", verified.damage);
    let sound = verified.log.sound.unwrap();
    assert!(sound.end > second.header.base);

    let repair = Repair::plan(directory.path(), Mode::Repair, true, &mut ()).unwrap();
    repair.carry_out().unwrap();
    let kept =
        repair.quarantine().join(format!("{}.from-0", second.path.file_name().unwrap().to_string_lossy()));
    assert_eq!(fs::read(kept).unwrap(), bytes, "nothing is deleted");
    drop(repair);
    assert!(verify(directory.path(), &mut ()).unwrap().is_sound());
    let (_store, recovery) = open(directory.path());
    let left = entries_from(&recovery, LogPosition::START);
    assert_eq!(left.len() as u64, sound.n_entries);
    assert!(entries.starts_with(&left));
}

#[test]
fn what_a_header_claims_is_bounded_before_anything_is_allocated() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path());
    let first = segments(directory.path()).remove(0);
    for (at, claim) in [(48, 1_u64 << 50), (48, 1 << 32), (56, 1 << 30)] {
        let mut bytes = fs::read(&first.path).unwrap();
        bytes[at..at + 8].copy_from_slice(&claim.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes.splice(60..64, checksum.to_le_bytes());
        bytes.truncate(HEADER_BYTES as usize + 500);
        let copy = tempfile::tempdir().unwrap();
        let log = copy.path().join(LOG_DIRECTORY);
        fs::create_dir(&log).unwrap();
        fs::write(log.join(first.path.file_name().unwrap()), &bytes).unwrap();
        let error = refusal(copy.path(), options());
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(!verify(copy.path(), &mut ()).unwrap().is_sound());
    }
}
