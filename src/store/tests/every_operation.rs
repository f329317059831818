//! The first operation on a file fails, then the second, and so on until none is left to
//! fail; likewise the process ends there, or the power does. Whichever it is, the store
//! opens afterwards and has all that it acknowledged.
//!
//! The operations are those of the whole process, the views' store included: a library
//! that is loaded before the C library counts them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use super::super::verify::views::copy_directory;
use super::*;

const DIRECTORY: &str = "STORE_OPERATIONS_DIRECTORY";
const SOURCE: &str = include_str!("faulty_io.c");
const N_SHARDS: u64 = 3;
/// In one run.
const N_COMMITS: u64 = 12;
/// There are fewer operations than this, or a run does not end.
const MAX_OPERATIONS: usize = 3_000;

fn small() -> Options {
    let often = Duration::from_millis(1);
    Options {
        view_interval: often,
        sealed_interval: often,
        segment_bytes: 700,
        block_bytes: 300,
        ..options()
    }
}

/// Opens the store, commits round robin over the shards, and closes it, as far as it gets.
#[test]
#[ignore = "the process whose operations fail"]
fn worker() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    match work(Path::new(&directory)) {
        Ok(()) => println!("closed"),
        Err(error) => println!("stopped: {error}"),
    }
}

fn work(directory: &Path) -> Result<(), Error> {
    let (store, recovery) = Store::open(directory, Options { compress: true, ..small() })?;
    let mut tail = BTreeMap::new();
    let mut turn = 0;
    for item in recovery.entries(LogPosition::START)? {
        let (position, entry) = item?;
        if position >= recovery.replay_from() {
            fold(&mut tail, &entry);
        }
        turn += 1;
    }
    let mut end = recovery.log_end();
    drop(recovery);
    println!("opened");
    let tail = tail.iter().map(|(shard, sequence)| put(View::Shards, shard, sequence)).collect();
    try_commit(&store, vec![], tail, None)?;
    for _ in 0..N_COMMITS {
        let (shard, sequence) = ((turn % N_SHARDS) as u16, turn / N_SHARDS);
        let view = put(View::Shards, &shard.to_be_bytes(), &sequence.to_be_bytes());
        end =
            try_commit(&store, vec![entry(shard, sequence, &payload(turn))], vec![view], Some((0, end)))?.end;
        turn += 1;
        println!("acknowledged {turn}");
    }
    // Sealed segments are compressed meanwhile.
    thread::sleep(Duration::from_millis(10));
    store.close()
}

fn try_commit(
    store: &Store,
    entries: Vec<Entry>,
    views: Vec<ViewWrite>,
    replay_from: Option<(u16, LogPosition)>,
) -> Result<Committed, Error> {
    let (sender, outcome) = mpsc::channel();
    let done: Done = Box::new(move |result| sender.send(result).expect("the worker waits"));
    let commit = Commit { entries, views, replay_from, done };
    store.commit(commit).map_err(|rejected| rejected.error)?;
    outcome.recv().expect("an answer")
}

fn payload(turn: u64) -> Vec<u8> {
    vec![turn as u8; (turn * 31 % 197) as usize]
}

fn fold(views: &mut BTreeMap<Vec<u8>, Vec<u8>>, entry: &Entry) {
    views.insert(entry.virtual_shard.to_be_bytes().to_vec(), entry.sequence.to_be_bytes().to_vec());
}

/// The library; none where there is no compiler for it.
fn library(directory: &Path) -> Option<PathBuf> {
    let (source, library) = (directory.join("faulty_io.c"), directory.join("faulty_io.so"));
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).args(["-ldl", "-lpthread"]);
    match compiler.output() {
        Ok(output) if output.status.success() && cfg!(target_os = "linux") => Some(library),
        output => {
            println!("skipped: the library that makes operations fail does not compile here ({output:?})");
            None
        }
    }
}

struct Run {
    output: Output,
    /// Which operation it was; none if there were fewer.
    hit: Option<String>,
}

fn run(library: &Path, store: &Path, mode: &str, nth: usize) -> Run {
    let hit = store.with_extension("hit");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::every_operation::worker", "--ignored", "--nocapture"])
        .env(DIRECTORY, store)
        .env("LD_PRELOAD", library)
        .env("FAULTY_IO_ROOT", store)
        .env("FAULTY_IO_NTH", nth.to_string())
        .env("FAULTY_IO_MODE", mode)
        .env("FAULTY_IO_HIT", &hit)
        .output()
        .unwrap();
    Run { output, hit: fs::read_to_string(hit).ok() }
}

/// What every run is begun on: nothing, or a store with a torn tail whose views lag behind.
fn make_base(directory: &Path, is_empty: bool) {
    fs::create_dir_all(directory).unwrap();
    if is_empty {
        return;
    }
    let running = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(running.path(), small()).unwrap();
    for turn in 0..9 {
        let (shard, sequence) = ((turn % N_SHARDS) as u16, turn / N_SHARDS);
        let view = put(View::Shards, &shard.to_be_bytes(), &sequence.to_be_bytes());
        commit(&store, vec![entry(shard, sequence, &payload(turn))], vec![view]);
    }
    copy_directory(running.path(), directory).unwrap();
    let last = fs::read_dir(directory.join(LOG_DIRECTORY)).unwrap().map(|item| item.unwrap().path()).max();
    let path = last.unwrap();
    fs::write(&path, [&fs::read(&path).unwrap()[..], &[7; 20]].concat()).unwrap();
}

/// Opens the store after what happened, and goes on with it.
fn check(store: &Path, n_before: u64, run: &Run, told: &str) {
    let stdout = String::from_utf8_lossy(&run.output.stdout);
    let stderr = String::from_utf8_lossy(&run.output.stderr);
    assert!(!stderr.contains("panicked"), "{told}: {stderr}");
    let acknowledged = stdout.lines().filter_map(|line| line.strip_prefix("acknowledged ")).next_back();
    let acknowledged = acknowledged.map_or(n_before, |count| count.parse().unwrap());

    let (opened, recovery) = Store::open(store, small()).unwrap_or_else(|error| panic!("{told}: {error}"));
    let all = entries_from(&recovery, LogPosition::START);
    let n = all.len() as u64;
    assert!(n >= acknowledged && n <= n_before + N_COMMITS, "{told}: {n} entries of {acknowledged}");
    let mut anew = BTreeMap::new();
    for (turn, entry) in (0..).zip(&all) {
        assert_eq!(entry.payload, payload(turn), "{told}");
        fold(&mut anew, entry);
    }
    let mut folded = view_map(&recovery, View::Shards);
    for entry in entries_from(&recovery, recovery.replay_from()) {
        fold(&mut folded, &entry);
    }
    assert_eq!(folded, anew, "{told}: views and tail are the whole log");
    let (shard, sequence) = ((n % N_SHARDS) as u16, n / N_SHARDS);
    commit(&opened, vec![entry(shard, sequence, &payload(n))], vec![]);
    opened.close().unwrap_or_else(|error| panic!("{told}: {error}"));
}

/// On a disk that syncs at once, where there is one.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Runs until no operation is left to fail; how many there were, and of which kinds.
fn fail_each(library: &Path, mode: &str, is_empty: bool) -> (usize, BTreeSet<String>) {
    let directory = in_memory();
    let root = directory.path().canonicalize().unwrap();
    let base = root.join("base");
    make_base(&base, is_empty);
    let n_before = if is_empty { 0 } else { 9 };
    let mut kinds = BTreeSet::new();
    for nth in 1..MAX_OPERATIONS {
        let store = root.join(format!("{nth}"));
        copy_directory(&base, &store).unwrap();
        let run = run(library, &store, mode, nth);
        let stdout = String::from_utf8_lossy(&run.output.stdout).into_owned();
        let told = format!("{mode}, operation {nth}, {:?}, printed {stdout:?}", run.hit);
        check(&store, n_before, &run, &told);
        let is_closed = stdout.lines().any(|line| line == "closed");
        match &run.hit {
            Some(hit) => {
                let was_opened = stdout.lines().any(|line| line == "opened");
                let all = format!("acknowledged {}", n_before + N_COMMITS);
                if mode == "full" && was_opened {
                    assert!(stdout.lines().any(|line| line == all), "{told}: a full disk stops nothing");
                }
                let kind = hit.split_once(' ').map_or(&**hit, |(operation, _)| operation);
                kinds.insert(kind.to_owned());
            }
            None => {
                assert!(is_closed, "{told}");
                return (nth - 1, kinds);
            }
        }
        fs::remove_dir_all(&store).unwrap();
    }
    panic!("{mode}: more than {MAX_OPERATIONS} operations");
}

#[test]
fn whichever_operation_fails_nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = library(directory.path()) else { return };
    let library = &library;
    let of_base = |is_empty: bool, modes: &[&str]| {
        for mode in modes {
            let (n, kinds) = fail_each(library, mode, is_empty);
            let base = if is_empty { "a new store" } else { "a used store" };
            println!("{mode:5} {base}: {n} operations, {kinds:?}");
            for kind in ["create", "write"] {
                assert!(kinds.contains(kind), "{mode}: no {kind} failed");
            }
        }
    };
    thread::scope(|scope| {
        // Nearly all of its operations are the making of empty views.
        scope.spawn(|| of_base(true, &["fail", "full", "power"]));
        of_base(false, &["fail", "full", "read", "kill", "torn", "power", "holes"]);
    });
}
