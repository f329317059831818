//! Entries a second through the commit thread, waiting for each commit, and with many in flight.

use std::sync::mpsc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tipoff::store::{Commit, Durability, Entry, Options, Store, View, ViewWrite};

const PAYLOAD_BYTES: usize = 200;
const VALUE_BYTES: usize = 500;

fn commits(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    for (name, durability) in [("fsync", Durability::Fsync), ("memory", Durability::Memory)] {
        for n_entries in [1, 64, 1_024] {
            group.throughput(Throughput::Elements(n_entries));
            group.bench_function(BenchmarkId::new(format!("{name}, one commit of"), n_entries), |bench| {
                let mut load = Load::new(durability);
                bench.iter(|| load.run(1, n_entries));
            });
        }
        group.throughput(Throughput::Elements(1_024));
        group.bench_function(
            BenchmarkId::new(format!("{name}, commits of one entry in flight"), 1_024),
            |bench| {
                let mut load = Load::new(durability);
                bench.iter(|| load.run(1_024, 1));
            },
        );
    }
}

/// A store of one shard, and one profile written for every entry.
struct Load {
    store: Store,
    sequence: u64,
    _directory: tempfile::TempDir,
}

impl Load {
    fn new(durability: Durability) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options { durability, ..Options::default() };
        let (store, _) = Store::open(directory.path(), options).expect("a store");
        Self { store, sequence: 0, _directory: directory }
    }

    fn run(&mut self, n_commits: u64, n_entries: u64) {
        let (sender, done) = mpsc::channel();
        for _ in 0..n_commits {
            let mut entries = Vec::new();
            let mut views = Vec::new();
            for _ in 0..n_entries {
                self.sequence += 1;
                let user = self.sequence % 10_000;
                entries.push(Entry {
                    virtual_shard: 0,
                    sequence: self.sequence,
                    payload: vec![7; PAYLOAD_BYTES],
                });
                let key = user.to_be_bytes().to_vec();
                views.push(ViewWrite { view: View::Profiles, key, value: Some(vec![7; VALUE_BYTES]) });
            }
            let sender = sender.clone();
            let done = Box::new(move |outcome: Result<_, _>| {
                sender.send(outcome.is_ok()).expect("the bench waits");
            });
            let commit = Commit { entries, views, replay_from: None, done };
            self.store.commit(commit).expect("the commit is queued");
        }
        drop(sender);
        assert_eq!(done.iter().filter(|is_committed| *is_committed).count() as u64, n_commits);
    }
}

criterion_group!(benches, commits);
criterion_main!(benches);
