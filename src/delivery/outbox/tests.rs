use std::path::Path;

use super::*;
use crate::engine::decision::FiringId;
use crate::engine::event::UserId;
use crate::engine::time::{Arrival, Timestamp};
use crate::store::Options;

fn open(directory: &Path, max_firings: usize) -> (Arc<Store>, Arc<Outbox>) {
    let options = Options { view_interval: Duration::from_millis(5), ..Options::default() };
    let (store, _) = Store::open(directory, options).expect("the store opens");
    let store = Arc::new(store);
    // Nothing is logged here, so nothing is before the firings in the log.
    let committed = Arc::new(CommittedEnd::new(LogPosition::START));
    let outbox = Outbox::open(store.clone(), committed, 0, max_firings).expect("the outbox opens");
    (store, Arc::new(outbox))
}

/// The `n`-th firing; three share a decision.
fn firing(n: u64) -> (LogPosition, Firing) {
    let firing = Firing {
        id: FiringId(n.into()),
        trigger: if n.is_multiple_of(10) { "rare" } else { "common" }.into(),
        user: UserId::known("ada"),
        key: None,
        as_of: Arrival { time: Timestamp::from_millis(n as i64), sequence: n },
        score: None,
        model: None,
        reasons: Vec::new(),
        variant: None,
        held_out: false,
        expires_at: Timestamp::from_millis(0),
    };
    (LogPosition::new(n / 3 * 100), firing)
}

/// Hands everything to the view.
fn store_all(outbox: &Outbox) {
    let mut reported = LogPosition::START;
    while outbox.write(&mut reported, 0) {}
    assert!(outbox.recent().firings.is_empty());
}

/// Reads on from `after` until there is no more; the ids and where they end.
fn read(outbox: &Outbox, mut after: Token, limit: usize) -> (Vec<u128>, Token) {
    let mut ids = Vec::new();
    loop {
        let page = outbox.page(after, limit, |_| true).expect("it reads");
        assert!(page.firings.len() <= limit && page.next >= after);
        ids.extend(page.firings.iter().map(|queued| queued.firing.id.0));
        after = page.next;
        if !page.more {
            return (ids, after);
        }
    }
}

fn ids(range: std::ops::Range<u64>) -> Vec<u128> {
    range.map(u128::from).collect()
}

#[test]
fn a_reader_misses_nothing_while_firings_move_to_the_view() {
    const N: u64 = 30_000;
    let directory = tempfile::tempdir().unwrap();
    let (store, outbox) = open(directory.path(), usize::MAX);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for first in (0..N).step_by(30) {
                outbox.push((first..first + 30).map(firing));
            }
        });
        let writer = outbox.start_writer().unwrap();
        let readers = [1_usize, 7, 1_000].map(|limit| {
            let outbox = &outbox;
            scope.spawn(move || {
                let (mut seen, mut after) = (Vec::new(), Token::START);
                while seen.len() < N as usize {
                    let (more, next) = read(outbox, after, limit);
                    seen.extend(more);
                    after = next;
                }
                assert_eq!(seen, ids(0..N));
            })
        });
        for reader in readers {
            reader.join().unwrap();
        }
        writer.stop();
    });
    assert_eq!(read(&outbox, Token::START, 500).0, ids(0..N), "all from the view");
    drop(outbox);
    store.close().unwrap();
}

#[test]
fn a_filter_passes_over_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, outbox) = open(directory.path(), usize::MAX);
    outbox.push((0..60).map(firing));
    store_all(&outbox);
    outbox.push((60..100).map(firing));
    let (mut rare, mut after) = (Vec::new(), Token::START);
    loop {
        let page = outbox.page(after, 3, |firing| &*firing.trigger == "rare").unwrap();
        rare.extend(page.firings.iter().map(|queued| queued.firing.id.0));
        after = page.next;
        if !page.more {
            break;
        }
    }
    assert_eq!(rare, (0..10).map(|n| n * 10).collect::<Vec<u128>>());
}

#[test]
fn a_restart_neither_loses_firings_nor_counts_them_twice() {
    let directory = tempfile::tempdir().unwrap();
    let (store, outbox) = open(directory.path(), usize::MAX);
    outbox.push((0..90).map(firing));
    store_all(&outbox);
    drop(outbox);
    store.close().unwrap();

    let (_store, outbox) = open(directory.path(), usize::MAX);
    // The log's tail holds some that the view has, and some that it lacks.
    outbox.push((60..120).map(firing));
    assert_eq!(read(&outbox, Token::START, 50).0, ids(0..120));
    store_all(&outbox);
    assert_eq!(read(&outbox, Token::START, 50).0, ids(0..120));
    assert_eq!(outbox.recent().stored.n_firings, 120);
}

#[test]
fn the_oldest_go_beyond_the_bound_and_nobody_waits_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, outbox) = open(directory.path(), 300);
    for first in (0..3_000).step_by(300) {
        outbox.push((first..first + 300).map(firing));
        store_all(&outbox);
    }
    assert_eq!(read(&outbox, Token::START, 100).0, ids(2_700..3_000));
    assert_eq!(outbox.recent().stored.n_firings, 300);
    // One who stands among those that went goes on with what is left.
    let (position, _) = firing(300);
    assert_eq!(read(&outbox, Token::new(position, 0), 100).0, ids(2_700..3_000));
}
