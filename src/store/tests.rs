//! The store as its users see it. The log's own properties are in [`log`],
//! crashes in [`crash`], failing disks in [`faults`].

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::*;

mod crash;
mod damage;
mod every_operation;
pub mod faults;
mod log;
mod repair;
mod sealed;
mod verify;

pub fn options() -> Options {
    Options {
        n_virtual_shards: 16,
        view_interval: Duration::from_millis(5),
        segment_bytes: 2_000,
        compress: false,
        ..Options::default()
    }
}

pub fn open(directory: &Path) -> (Store, Recovery) {
    Store::open(directory, options()).expect("the store opens")
}

pub fn refusal(directory: &Path, options: Options) -> Error {
    Store::open(directory, options).err().expect("the store is refused")
}

pub fn entry(virtual_shard: u16, sequence: u64, payload: &[u8]) -> Entry {
    Entry { virtual_shard, sequence, payload: payload.to_vec() }
}

pub fn put(view: View, key: &[u8], value: &[u8]) -> ViewWrite {
    ViewWrite { view, key: key.to_vec(), value: Some(value.to_vec()) }
}

/// Queues a commit; the receiver gets its outcome.
pub fn queue(
    store: &Store,
    entries: Vec<Entry>,
    views: Vec<ViewWrite>,
    replay_from: Option<(u16, LogPosition)>,
) -> mpsc::Receiver<Result<Committed, Error>> {
    let (sender, outcome) = mpsc::channel();
    let done: Done = Box::new(move |result| sender.send(result).expect("the test waits"));
    store.commit(Commit { entries, views, replay_from, done }).expect("the commit is queued");
    outcome
}

pub fn commit(store: &Store, entries: Vec<Entry>, views: Vec<ViewWrite>) -> Committed {
    queue(store, entries, views, None).recv().expect("an answer").expect("a commit")
}

pub fn entries_from(recovery: &Recovery, from: LogPosition) -> Vec<Entry> {
    let entries = recovery.entries(from).expect("the position is in the log");
    entries.map(|item| item.expect("the log is sound").1).collect()
}

pub fn view_map(recovery: &Recovery, view: View) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut map = BTreeMap::new();
    recovery
        .for_each_view(view, |key, value| {
            map.insert(key.to_vec(), value.to_vec());
            true
        })
        .expect("the views are sound");
    map
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (store, recovery) = open(directory.path());
    assert_eq!(recovery.replay_from(), LogPosition::START);
    assert_eq!(entries_from(&recovery, LogPosition::START), []);
    let first = vec![entry(3, 1, b"one"), entry(4, 1, b"")];
    let second = vec![entry(3, 2, b"two")];
    let committed = commit(&store, first.clone(), vec![put(View::Profiles, b"u", b"1")]);
    assert_eq!(committed.positions[0], LogPosition::START);
    let later =
        commit(&store, second.clone(), vec![put(View::Profiles, b"u", b"2"), put(View::Outbox, b"", b"x")]);
    assert_eq!(later.positions, [committed.end]);
    store.close().unwrap();
    store.close().unwrap();
    drop(store);

    let (store, recovery) = open(directory.path());
    assert_eq!(entries_from(&recovery, LogPosition::START), [first, second.clone()].concat());
    assert_eq!(entries_from(&recovery, committed.end), second);
    assert_eq!(recovery.log_end(), later.end);
    assert_eq!(recovery.applied(), later.end);
    assert_eq!(store.view_get(View::Profiles, b"u").unwrap().as_deref(), Some(b"2".as_slice()));
    assert_eq!(store.view_get(View::Outbox, b"").unwrap().as_deref(), Some(b"x".as_slice()));
    assert_eq!(store.view_get(View::Timers, b"u").unwrap(), None);
    assert!(matches!(
        recovery.entries(LogPosition::new(1)).unwrap().next(),
        Some(Err(Error::NotAnEntry { .. }))
    ));
    assert!(matches!(recovery.entries(LogPosition::new(10_000)), Err(Error::OutOfLog { .. })));
}

#[test]
fn a_second_process_is_refused_with_the_pid_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let error = refusal(directory.path(), options());
    assert!(matches!(error, Error::Locked { pid, .. } if pid == Some(std::process::id())), "{error}");
    drop(store);
    open(directory.path());
}

#[test]
fn replay_starts_at_the_least_report_once_all_workers_have_reported() {
    let directory = tempfile::tempdir().unwrap();
    let two_workers = || Options { n_workers: 2, ..options() };
    let (store, _) = Store::open(directory.path(), two_workers()).unwrap();
    let first = commit(&store, vec![entry(0, 1, b"a")], vec![]);
    let second = commit(&store, vec![entry(1, 1, b"b")], vec![]);
    queue(&store, vec![], vec![put(View::Shards, b"0", b"")], Some((0, second.end))).recv().unwrap().unwrap();
    store.close().unwrap();

    let (store, recovery) = Store::open(directory.path(), two_workers()).unwrap();
    assert_eq!(recovery.replay_from(), LogPosition::START, "worker 1 has not reported");
    for (worker, position) in [(0, second.end), (1, first.end)] {
        queue(&store, vec![], vec![], Some((worker, position))).recv().unwrap().unwrap();
    }
    store.flush_views().unwrap();
    store.close().unwrap();

    let (store, recovery) = Store::open(directory.path(), two_workers()).unwrap();
    assert_eq!(recovery.replay_from(), first.end);
    assert_eq!(entries_from(&recovery, recovery.replay_from()), [entry(1, 1, b"b")]);
    let commit =
        Commit { entries: vec![], views: vec![], replay_from: Some((2, first.end)), done: Box::new(drop) };
    let rejected = store.commit(commit).unwrap_err();
    assert!(matches!(rejected.error, Error::UnknownWorker { worker: 2, n_workers: 2 }));
}

#[test]
fn removed_or_reset_views_replay_the_whole_log() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let end = commit(&store, vec![entry(0, 7, b"a")], vec![put(View::Profiles, b"u", b"1")]).end;
    queue(&store, vec![], vec![], Some((0, end))).recv().unwrap().unwrap();
    store.close().unwrap();
    fs::remove_dir_all(directory.path().join(VIEWS_DIRECTORY)).unwrap();

    let (store, recovery) = open(directory.path());
    assert_eq!(recovery.replay_from(), LogPosition::START);
    assert_eq!(recovery.log_end(), end);
    let end = commit(&store, vec![entry(0, 8, b"b")], vec![put(View::Profiles, b"u", b"2")]).end;
    queue(&store, vec![], vec![], Some((0, end))).recv().unwrap().unwrap();
    store.flush_views().unwrap();

    let recovery = store.reset_views("the definitions changed").unwrap();
    assert_eq!(recovery.replay_from(), LogPosition::START);
    assert_eq!(recovery.views_dropped(), Some("the definitions changed"));
    assert_eq!(view_map(&recovery, View::Profiles), BTreeMap::new());
    assert_eq!(entries_from(&recovery, LogPosition::START), [entry(0, 7, b"a"), entry(0, 8, b"b")]);
    commit(&store, vec![entry(0, 9, b"c")], vec![put(View::Profiles, b"u", b"3")]);
    store.close().unwrap();

    let (_store, recovery) = open(directory.path());
    assert_eq!(recovery.replay_from(), LogPosition::START, "nobody has reported since the reset");
    assert_eq!(view_map(&recovery, View::Profiles), [(b"u".to_vec(), b"3".to_vec())].into());
}

#[test]
fn views_that_do_not_fit_the_log_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let log = directory.path().join(LOG_DIRECTORY);
    let (store, _) = open(directory.path());
    let segment = fs::read(log.join(format!("{:020}.log", 0))).unwrap();
    commit(&store, vec![entry(0, 1, b"a")], vec![put(View::Profiles, b"u", b"1")]);
    store.close().unwrap();
    drop(open(other.path()));

    // The log as it was before the commit: it was acknowledged and is lost.
    fs::write(log.join(format!("{:020}.log", 0)), &segment).unwrap();
    let error = refusal(directory.path(), options());
    assert!(matches!(error, Error::ViewsAhead { log_end: LogPosition::START, .. }), "{error}");

    fs::remove_dir_all(&log).unwrap();
    assert!(matches!(refusal(directory.path(), options()), Error::LogLost { .. }));

    fs::rename(other.path().join(LOG_DIRECTORY), &log).unwrap();
    assert!(matches!(refusal(directory.path(), options()), Error::ForeignViews { .. }));
}

#[test]
fn another_shape_or_a_newer_format_is_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let error = refusal(directory.path(), Options { n_virtual_shards: 32, ..options() });
    assert!(matches!(error, Error::VirtualShards { stored: 16, configured: 32 }), "{error}");

    let path = directory.path().join(LOG_DIRECTORY).join(format!("{:020}.log", 0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    bytes.extend_from_slice(b"what a newer version might append");
    fs::write(&path, &bytes).unwrap();
    let error = refusal(directory.path(), options());
    assert!(matches!(error, Error::NewerFormat { found: 9, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_keyspace_that_lost_batches_costs_a_replay() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let end = commit(&store, vec![entry(0, 1, b"a")], vec![put(View::Profiles, b"u", b"1")]).end;
    queue(&store, vec![], vec![], Some((0, end))).recv().unwrap().unwrap();
    store.close().unwrap();
    let database = fjall::Database::builder(directory.path().join(VIEWS_DIRECTORY)).open().unwrap();
    let timers = database.keyspace("timers", fjall::KeyspaceCreateOptions::default).unwrap();
    timers.remove([0]).unwrap();
    drop((timers, database));

    let (_store, recovery) = open(directory.path());
    assert_eq!(recovery.replay_from(), LogPosition::START);
    assert_eq!(view_map(&recovery, View::Profiles), BTreeMap::new());
    assert_eq!(recovery.views_dropped(), Some("timers is not of the same batch as the others"));
}

#[test]
fn a_damaged_value_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    commit(&store, vec![], vec![put(View::Profiles, b"u", b"1"), put(View::Profiles, b"v", b"2")]);
    store.close().unwrap();
    let database = fjall::Database::builder(directory.path().join(VIEWS_DIRECTORY)).open().unwrap();
    let profiles = database.keyspace("profiles", fjall::KeyspaceCreateOptions::default).unwrap();
    let other = profiles.get(b"\x01v").unwrap().unwrap();
    profiles.insert(b"\x01u", other).unwrap();
    drop((profiles, database));

    let (store, recovery) = open(directory.path());
    let error = store.view_get(View::Profiles, b"u").unwrap_err();
    assert!(matches!(&error, Error::ViewDamaged { view: View::Profiles, key } if key == b"u"), "{error}");
    assert!(recovery.for_each_view(View::Profiles, |_, _| true).is_err());
    assert_eq!(store.view_get(View::Profiles, b"v").unwrap().as_deref(), Some(b"2".as_slice()));
}

#[test]
fn views_are_scanned_in_key_order() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let keys: [&[u8]; 6] = [b"", b"a", b"ab", b"a\xff", b"b", b"\xff\xff"];
    commit(&store, vec![], keys.iter().map(|key| put(View::Timers, key, b"")).collect());
    let removal = ViewWrite { view: View::Timers, key: b"b".to_vec(), value: None };
    commit(&store, vec![], vec![removal, put(View::Outbox, b"aa", b"")]);
    store.flush_views().unwrap();
    let keys_of = |found: Vec<KeyValue>| found.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let all = keys_of(store.view_scan(View::Timers, Bound::Unbounded, Bound::Unbounded, 10).unwrap());
    assert_eq!(all, [b"".as_slice(), b"a", b"ab", b"a\xff", b"\xff\xff"]);
    let prefixed = keys_of(store.view_scan_prefix(View::Timers, b"a", 10).unwrap());
    assert_eq!(prefixed, [b"a".as_slice(), b"ab", b"a\xff"]);
    assert_eq!(keys_of(store.view_scan_prefix(View::Timers, b"\xff", 10).unwrap()), [b"\xff\xff"]);
    let rest = store.view_scan(View::Timers, Bound::Excluded(b"a"), Bound::Unbounded, 1).unwrap();
    assert_eq!(keys_of(rest), [b"ab"]);
    let inverted = store.view_scan(View::Timers, Bound::Excluded(b"b"), Bound::Included(b"a"), 10).unwrap();
    assert_eq!(inverted, []);
}

#[test]
fn bad_commits_are_refused_alone() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { payload_bytes: 10, commit_bytes: 100, ..options() };
    let (store, _) = Store::open(directory.path(), small).unwrap();
    let outcome = |entries| queue(&store, entries, vec![], None).recv().unwrap();
    outcome(vec![entry(0, 5, b"a")]).unwrap();
    let gap = outcome(vec![entry(1, 1, b""), entry(0, 7, b"a")]);
    assert!(matches!(gap, Err(Error::OutOfSequence { virtual_shard: 0, expected: 6, found: 7 })), "{gap:?}");
    let shard = outcome(vec![entry(16, 1, b"")]);
    assert!(matches!(shard, Err(Error::UnknownShard { virtual_shard: 16, .. })), "{shard:?}");
    let payload = outcome(vec![entry(0, 6, b"12345678901")]);
    assert!(matches!(payload, Err(Error::PayloadTooLarge { bytes: 11, limit: 10 })), "{payload:?}");
    let long = outcome((6..10).map(|sequence| entry(0, sequence, b"12")).collect());
    assert!(matches!(long, Err(Error::CommitTooLarge { bytes: 104, limit: 100 })), "{long:?}");
    outcome(vec![entry(0, 6, b"b"), entry(1, 9, b"")]).unwrap();
    let key = put(View::Profiles, &[0; 65_001], b"");
    let commit = Commit { entries: vec![], views: vec![key], replay_from: None, done: Box::new(drop) };
    assert!(matches!(store.commit(commit).unwrap_err().error, Error::ViewKeyTooLarge { .. }));
    store.close().unwrap();
    let commit = Commit { entries: vec![], views: vec![], replay_from: None, done: Box::new(drop) };
    assert!(matches!(store.try_commit(commit).unwrap_err().error, Error::Closed));
    let reader = LogReader::open(directory.path(), LogPosition::START).unwrap();
    let all: Vec<_> = reader.map(|item| item.unwrap().1).collect();
    assert_eq!(all, [entry(0, 5, b"a"), entry(0, 6, b"b"), entry(1, 9, b"")]);
}

#[test]
fn every_durability_survives_a_close() {
    for durability in [Durability::Fsync, Durability::Interval(Duration::from_millis(3)), Durability::Memory]
    {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), Options { durability, ..options() }).unwrap();
        for sequence in 1..100 {
            commit(&store, vec![entry(0, sequence, b"payload")], vec![put(View::Shards, b"0", b"x")]);
        }
        store.close().unwrap();
        let (_store, recovery) = open(directory.path());
        assert_eq!(entries_from(&recovery, LogPosition::START).len(), 99, "{durability:?}");
        assert_eq!(recovery.applied(), recovery.log_end(), "{durability:?}");
    }
}
