//! Killed at any moment, the store gives back all that it acknowledged.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;

use super::*;

const DIRECTORY: &str = "STORE_CRASH_DIRECTORY";
const N_SHARDS: u64 = 8;

/// Commits round robin over the shards until killed, printing what was acknowledged.
/// Every shard's view is its last sequence.
#[test]
#[ignore = "the process that the crash tests kill"]
fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let fast = Options {
        view_interval: Duration::from_millis(1),
        segment_bytes: 20_000,
        compress: true,
        sealed_interval: Duration::from_millis(2),
        ..options()
    };
    let (store, recovery) = Store::open(Path::new(&directory), fast).unwrap();
    let mut turn = entries_from(&recovery, LogPosition::START).len() as u64;
    let mut end = recovery.log_end();
    // What is before `end` counts as being in the views from the first report on.
    let mut tail = BTreeMap::new();
    fold(&mut tail, &entries_from(&recovery, recovery.replay_from()));
    let tail = tail.iter().map(|(shard, sequence)| put(View::Shards, shard, sequence)).collect();
    queue(&store, vec![], tail, None).recv().unwrap().unwrap();
    loop {
        let outcomes: Vec<_> = (0..3)
            .map(|_| {
                let (shard, sequence) = ((turn % N_SHARDS) as u16, turn / N_SHARDS);
                let payload = vec![turn as u8; (turn % 97) as usize];
                let view = put(View::Shards, &shard.to_be_bytes(), &sequence.to_be_bytes());
                turn += 1;
                queue(&store, vec![entry(shard, sequence, &payload)], vec![view], Some((0, end)))
            })
            .collect();
        for outcome in outcomes {
            end = outcome.recv().unwrap().unwrap().end;
        }
        println!("acknowledged {turn}");
    }
}

/// When to kill the victim.
enum Moment {
    /// While it opens, most likely.
    AfterStart(Duration),
    AfterFirstCommit(Duration),
}

/// Runs the victim until its moment, kills it, and returns how many entries it had acknowledged.
fn crash(directory: &Path, moment: Moment) -> u64 {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::victim", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let (sender, acknowledged) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some(count) = line.strip_prefix("acknowledged ").and_then(|count| count.parse().ok()) {
                sender.send(count).unwrap();
            }
        }
    });
    let (first, rest) = match moment {
        Moment::AfterStart(rest) => (0, rest),
        Moment::AfterFirstCommit(rest) => (acknowledged.recv().expect("the victim commits"), rest),
    };
    thread::sleep(rest);
    victim.kill().unwrap();
    victim.wait().unwrap();
    reader.join().unwrap();
    acknowledged.try_iter().last().unwrap_or(first)
}

#[test]
fn a_killed_store_has_all_that_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..8 {
        let moment = if round % 2 == 0 {
            Moment::AfterStart(Duration::from_millis(30 + 40 * round))
        } else {
            Moment::AfterFirstCommit(Duration::from_millis(17 * round))
        };
        acknowledged = crash(directory.path(), moment).max(acknowledged);
        let (store, recovery) = open(directory.path());
        let all = entries_from(&recovery, LogPosition::START);
        assert!(all.len() as u64 >= acknowledged, "{} of {acknowledged}", all.len());
        for (turn, entry) in all.iter().enumerate() {
            assert_eq!(entry.payload, vec![turn as u8; turn % 97], "{turn}");
        }

        let mut folded = view_map(&recovery, View::Shards);
        fold(&mut folded, &entries_from(&recovery, recovery.replay_from()));
        let mut anew = BTreeMap::new();
        fold(&mut anew, &all);
        assert_eq!(folded, anew, "views and tail are the whole log");
        assert!(recovery.replay_from() <= recovery.applied() && recovery.applied() <= recovery.log_end());
        assert_eq!(recovery.views_dropped(), None, "round {round}");
        store.close().unwrap();
    }
}

#[test]
fn half_made_views_and_segments_are_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    drop(open(directory.path()));
    fs::rename(at("views"), at("views.new")).unwrap();
    fs::create_dir(at("views.dropped")).unwrap();
    fs::write(at("log").join(format!("{:020}.new", 77)), b"tipof").unwrap();
    let (_store, recovery) = open(directory.path());
    assert_eq!(recovery.views_dropped(), None);
    assert!(!at("views.new").exists() && !at("views.dropped").exists());
    assert_eq!(fs::read_dir(at("log")).unwrap().count(), 1);
}

#[test]
fn a_log_copied_while_in_use_is_a_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let mut acknowledged = 0;
    for round in 0..8_u64 {
        let outcomes: Vec<_> = (0..60)
            .map(|step| {
                let sequence = round * 60 + step;
                queue(&store, vec![entry(0, sequence, &sequence.to_le_bytes())], vec![], None)
            })
            .collect();
        let image = tempfile::tempdir().unwrap();
        copy_log(directory.path(), image.path());
        let (copy, recovery) = open(image.path());
        let all = entries_from(&recovery, LogPosition::START);
        assert!(all.len() as u64 >= acknowledged);
        assert!(all.iter().enumerate().all(|(index, entry)| entry.sequence == index as u64));
        // It goes on where it was cut.
        commit(&copy, vec![entry(0, all.len() as u64, b"next")], vec![]);
        for outcome in outcomes {
            outcome.recv().unwrap().unwrap();
        }
        acknowledged = (round + 1) * 60;
    }
}

fn fold(views: &mut BTreeMap<Vec<u8>, Vec<u8>>, entries: &[Entry]) {
    for entry in entries {
        views.insert(entry.virtual_shard.to_be_bytes().to_vec(), entry.sequence.to_be_bytes().to_vec());
    }
}

/// Copies the segments, the last one last: later segments may miss, earlier ones may not.
fn copy_log(from: &Path, to: &Path) {
    let log = to.join(LOG_DIRECTORY);
    fs::create_dir(&log).unwrap();
    let mut paths: Vec<_> = fs::read_dir(from.join(LOG_DIRECTORY))
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    for path in paths {
        fs::copy(&path, log.join(path.file_name().unwrap())).unwrap();
    }
}
