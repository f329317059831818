//! What the store answers when the disk fails.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::log::disk::{Disk, RealDisk};
use super::*;

#[derive(Default)]
pub struct FailingDisk {
    pub is_full: AtomicBool,
    pub fails_to_write: AtomicBool,
    fails_to_sync: AtomicBool,
    fails_to_truncate: AtomicBool,
}

impl Disk for FailingDisk {
    fn write(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let is_full = self.is_full.load(Ordering::SeqCst);
        if is_full || self.fails_to_write.load(Ordering::SeqCst) {
            RealDisk.write(file, offset, &bytes[..bytes.len() / 2])?;
            let kind = if is_full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            return Err(kind.into());
        }
        RealDisk.write(file, offset, bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.fails_to_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk does not sync"));
        }
        RealDisk.sync(file)
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        if self.fails_to_truncate.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk does not truncate"));
        }
        RealDisk.truncate(file, length)
    }
}

pub fn open_failing(directory: &Path, options: Options) -> (Store, Arc<FailingDisk>) {
    let disk = Arc::new(FailingDisk::default());
    let (store, _) = Store::open_on(directory, options, disk.clone()).unwrap();
    (store, disk)
}

fn outcome(store: &Store, entries: Vec<Entry>, view: &[u8]) -> Result<Committed, Error> {
    queue(store, entries, vec![put(View::Profiles, b"u", view)], None).recv().unwrap()
}

/// Counts how often it was said that there is no room, and that there is.
#[derive(Default)]
struct Room {
    short: AtomicUsize,
    found: AtomicUsize,
}

impl Observer for Room {
    fn short_of_space(&self, is_short: bool) {
        if is_short { &self.short } else { &self.found }.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn on_a_full_disk_commits_wait_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let room = Arc::new(Room::default());
    let (store, disk) = open_failing(directory.path(), Options { observer: room.clone(), ..options() });
    outcome(&store, vec![entry(0, 1, b"one")], b"1").unwrap();
    disk.is_full.store(true, Ordering::SeqCst);
    let two = queue(&store, vec![entry(0, 2, b"two")], vec![put(View::Profiles, b"u", b"2")], None);
    while store.health() != Health::NoSpace {
        std::thread::yield_now();
    }
    assert!(matches!(store.check(), Err(Error::NoSpace)));
    // What was under way by then follows.
    let three = queue(&store, vec![entry(0, 3, b"three")], vec![put(View::Profiles, b"u", b"3")], None);
    // Several tries later.
    std::thread::sleep(Duration::from_millis(1_200));
    assert!(two.try_recv().is_err() && three.try_recv().is_err());
    disk.is_full.store(false, Ordering::SeqCst);
    let [two, three] = [two, three].map(|waiting| waiting.recv().unwrap().expect("it is committed"));
    assert!(two.end <= three.positions[0]);
    assert_eq!((store.health(), store.check().is_ok()), (Health::Healthy, true));
    assert_eq!((room.short.load(Ordering::SeqCst), room.found.load(Ordering::SeqCst)), (1, 1));
    store.flush_views().unwrap();
    assert_eq!(store.view_get(View::Profiles, b"u").unwrap().as_deref(), Some(b"3".as_slice()));
    store.close().unwrap();
    let (_store, recovery) = open(directory.path());
    let all = [entry(0, 1, b"one"), entry(0, 2, b"two"), entry(0, 3, b"three")];
    assert_eq!(entries_from(&recovery, LogPosition::START), all);
    assert_eq!(recovery.torn_tail(), None);
}

#[test]
fn what_waits_for_room_when_the_store_closes_is_not_committed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, disk) = open_failing(directory.path(), options());
    outcome(&store, vec![entry(0, 1, b"one")], b"1").unwrap();
    disk.is_full.store(true, Ordering::SeqCst);
    let waiting = [(2, b"two".as_slice()), (3, b"three")]
        .map(|(sequence, payload)| queue(&store, vec![entry(0, sequence, payload)], Vec::new(), None));
    assert!(matches!(store.close(), Err(Error::FailStop { .. })));
    for waiting in waiting {
        let refused = waiting.recv().unwrap();
        assert!(matches!(refused, Err(Error::FailStop { .. })), "{refused:?}");
    }
    drop(store);
    let (_store, recovery) = open(directory.path());
    assert_eq!(entries_from(&recovery, LogPosition::START), [entry(0, 1, b"one")]);
    assert_eq!(recovery.torn_tail(), None);
}

#[test]
fn a_failed_sync_stops_the_store_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let (store, disk) = open_failing(directory.path(), options());
    outcome(&store, vec![entry(0, 1, b"one")], b"1").unwrap();
    disk.fails_to_sync.store(true, Ordering::SeqCst);
    let stopped = outcome(&store, vec![entry(0, 2, b"two")], b"2");
    assert!(
        matches!(&stopped, Err(Error::FailStop { reason }) if reason.contains("does not sync")),
        "{stopped:?}"
    );
    disk.fails_to_sync.store(false, Ordering::SeqCst);
    let next = Commit { entries: vec![], views: vec![], replay_from: None, done: Box::new(drop) };
    assert!(matches!(store.commit(next).unwrap_err().error, Error::FailStop { .. }));
    assert!(matches!(store.health(), Health::FailStop { .. }));
    assert!(matches!(store.close(), Err(Error::FailStop { .. })));
    drop(store);

    // The restart knows what the disk holds: at least what was acknowledged.
    let (_store, recovery) = open(directory.path());
    assert_eq!(entries_from(&recovery, LogPosition::START)[0], entry(0, 1, b"one"));
    assert_eq!(view_map(&recovery, View::Profiles), [(b"u".to_vec(), b"1".to_vec())].into());
}

#[test]
fn a_failed_write_or_roll_back_stops_the_store() {
    for (is_full, fails_to_truncate) in [(false, false), (true, true)] {
        let directory = tempfile::tempdir().unwrap();
        let (store, disk) = open_failing(directory.path(), options());
        outcome(&store, vec![entry(0, 1, b"one")], b"1").unwrap();
        disk.is_full.store(is_full, Ordering::SeqCst);
        disk.fails_to_write.store(true, Ordering::SeqCst);
        disk.fails_to_truncate.store(fails_to_truncate, Ordering::SeqCst);
        let stopped = outcome(&store, vec![entry(0, 2, b"two")], b"2");
        assert!(matches!(stopped, Err(Error::FailStop { .. })), "{stopped:?}");
        drop(store);
        let (_store, recovery) = open(directory.path());
        assert_eq!(entries_from(&recovery, LogPosition::START), [entry(0, 1, b"one")]);
        assert!(recovery.torn_tail().is_some());
    }
}

#[test]
fn views_wait_for_the_log_they_include() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(FailingDisk::default());
    let lazy = Options { durability: Durability::Memory, ..options() };
    let (store, _) = Store::open_on(directory.path(), lazy, disk.clone()).unwrap();
    disk.fails_to_sync.store(true, Ordering::SeqCst);
    outcome(&store, vec![entry(0, 1, b"one")], b"1").unwrap();
    assert!(matches!(store.flush_views(), Err(Error::FailStop { .. })));
    assert_eq!(store.view_get(View::Profiles, b"u").unwrap(), None);
}

#[test]
fn a_callback_that_panics_stops_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let done: Done = Box::new(|_| panic!("a test's callback"));
    store.commit(Commit { entries: vec![], views: vec![], replay_from: None, done }).unwrap();
    while store.health() == Health::Healthy {
        std::thread::yield_now();
    }
    assert!(matches!(store.flush_views(), Err(Error::FailStop { .. })));
    assert!(matches!(store.close(), Err(Error::FailStop { .. })));
}

#[test]
fn commits_wait_for_views_that_are_too_far_behind() {
    struct Waits(AtomicBool);
    impl Observer for Waits {
        fn commits_waited_for_views(&self, _waited: Duration) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let observer = Arc::new(Waits(AtomicBool::new(false)));
    let tight = Options {
        view_batch_bytes: 1_000,
        view_pending_bytes: 1_000,
        view_interval: Duration::from_secs(3_600),
        observer: observer.clone(),
        ..options()
    };
    let (store, _) = Store::open(directory.path(), tight).unwrap();
    let outcomes: Vec<_> = (1_u64..50)
        .map(|sequence| {
            let view = put(View::Profiles, &sequence.to_be_bytes(), &[0; 600]);
            queue(&store, vec![entry(0, sequence, b"")], vec![view], None)
        })
        .collect();
    for outcome in outcomes {
        outcome.recv().unwrap().unwrap();
    }
    store.flush_views().unwrap();
    assert_eq!(store.view_scan(View::Profiles, Bound::Unbounded, Bound::Unbounded, 100).unwrap().len(), 49);
    assert!(observer.0.load(Ordering::SeqCst));
}

#[test]
fn a_full_queue_gives_the_commit_back() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path(), Options { queued_commits: 1, ..options() }).unwrap();
    let (holding, held) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let hold: Done = Box::new(move |_| {
        holding.send(()).expect("the test waits");
        gate.recv().expect("the test releases");
    });
    store.commit(Commit { entries: vec![], views: vec![], replay_from: None, done: hold }).unwrap();
    // Before, the next one could still come into the same group.
    held.recv().unwrap();
    let of = |entries| Commit { entries, views: vec![], replay_from: None, done: Box::new(drop) };
    store.try_commit(of(vec![])).unwrap();
    let rejected = store.try_commit(of(vec![entry(0, 1, b"")])).unwrap_err();
    assert!(matches!(rejected.error, Error::QueueFull));
    assert_eq!(rejected.commit.entries, [entry(0, 1, b"")]);
    release.send(()).unwrap();
    store.commit(rejected.commit).unwrap();
    store.close().unwrap();
    let reader = LogReader::open(directory.path(), LogPosition::START).unwrap();
    assert_eq!(reader.count(), 1);
}

#[test]
fn each_commit_of_a_group_ends_where_the_next_one_begins() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { group_window: Duration::from_millis(200), ..options() };
    let (store, _) = Store::open(directory.path(), options).unwrap();
    let answers: Vec<_> = (0..3)
        .map(|n| queue(&store, vec![entry(n, 1, b"one"), entry(n, 2, b"two")], Vec::new(), None))
        .collect();
    let [first, second, third] =
        [0, 1, 2].map(|n: usize| answers[n].recv().unwrap().expect("it is committed"));
    assert_eq!(first.end, second.positions[0]);
    assert_eq!(second.end, third.positions[0]);
    assert!(third.end > third.positions[1]);
    store.close().unwrap();
    let (_store, recovery) = open(directory.path());
    assert_eq!(recovery.log_end(), third.end);
    assert_eq!(entries_from(&recovery, first.end).len(), 4);
}

#[test]
fn a_commit_that_fails_can_stop_all_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { group_window: Duration::from_millis(200), ..options() };
    let (store, _) = Store::open(directory.path(), options).unwrap();
    let store = Arc::new(store);
    let stops = {
        let store = store.clone();
        let done: Done = Box::new(move |result| {
            assert!(matches!(result, Err(Error::UnknownShard { .. })), "{result:?}");
            store.stop("a commit failed");
        });
        Commit { entries: vec![entry(99, 1, b"nowhere")], views: Vec::new(), replay_from: None, done }
    };
    store.commit(stops).unwrap();
    // In the same group: it would put into the views what the failed one had promised.
    let (sender, outcome) = mpsc::channel();
    let done: Done = Box::new(move |result| sender.send(result).unwrap());
    let later = Commit {
        entries: vec![entry(0, 1, b"one")],
        views: vec![put(View::Profiles, b"u", b"1")],
        replay_from: None,
        done,
    };
    match store.commit(later) {
        Ok(()) => assert!(matches!(outcome.recv().unwrap(), Err(Error::FailStop { .. }))),
        Err(rejected) => assert!(matches!(rejected.error, Error::FailStop { .. })),
    }
    assert!(store.check().is_err() && store.close().is_err());
    drop(store);
    let (_store, recovery) = open(directory.path());
    assert_eq!(entries_from(&recovery, LogPosition::START), []);
    assert!(view_map(&recovery, View::Profiles).is_empty());
}
