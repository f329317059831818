//! Directories with all manner of damage, out of a seed: each gives back what
//! was written or refuses, and what opening refuses is found by verifying.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::log::compress::compress;
use super::super::log::frame;
use super::super::log::segment::{self, HEADER_BYTES};
use super::super::verify::views::copy_directory;
use super::super::verify::{Verified, verify};
use super::*;

const N_CASES: u64 = 840;
const N_SHARDS: u16 = 8;
const N_GROUPS: u64 = 28;

fn small() -> Options {
    Options { n_virtual_shards: N_SHARDS, segment_bytes: 700, view_cache_bytes: 1 << 20, ..options() }
}

/// A store as it was written, and is only copied from then on.
struct Original {
    name: &'static str,
    directory: tempfile::TempDir,
    /// Of the log, in order.
    files: Vec<(PathBuf, Vec<u8>)>,
    entries: Vec<Entry>,
    /// For each frame: its segment's name, its offset and end in the file, its
    /// group, whether the group had been written after a sync.
    frames: Vec<FrameAt>,
    /// How many entries there are before each group, the last one's end included.
    n_before: Vec<usize>,
    values: BTreeSet<(Vec<u8>, Vec<u8>)>,
    /// The groups that the views include.
    n_viewed: Option<usize>,
    /// Of the files.
    compressed: BTreeSet<usize>,
}

struct FrameAt {
    file: usize,
    start: usize,
    end: usize,
    group: usize,
    is_synced_before: bool,
}

/// Which views the store is left with.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Latest,
    Older,
    None,
}

fn write(name: &'static str, durability: Durability, kept: Kept, seed: u64) -> Original {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let options = || Options { durability, ..small() };
    let (mut store, _) = Store::open(directory.path(), options()).unwrap();
    let views = directory.path().join(VIEWS_DIRECTORY);
    let aside = directory.path().join("aside");
    let mut next = [1; N_SHARDS as usize];
    let (mut entries, mut n_before, mut values) = (Vec::new(), vec![0], BTreeSet::new());
    let mut replay_from = LogPosition::START;
    for group in 0..N_GROUPS {
        let mut commit = Vec::new();
        let mut writes = Vec::new();
        for _ in 0..random.random_range(1..4) {
            let shard = random.random_range(0..N_SHARDS);
            let mut payload = vec![0; random.random_range(0..60)];
            random.fill(&mut payload[..]);
            commit.push(entry(shard, next[usize::from(shard)], &payload));
            writes.push(put(View::Profiles, &shard.to_be_bytes(), &next[usize::from(shard)].to_be_bytes()));
            values.insert((shard.to_be_bytes().to_vec(), next[usize::from(shard)].to_be_bytes().to_vec()));
            next[usize::from(shard)] += 1;
        }
        entries.extend(commit.clone());
        n_before.push(entries.len());
        let report = (group % 4 == 3).then_some((0, replay_from));
        replay_from = queue(&store, commit, writes, report).recv().unwrap().unwrap().end;
        if group == N_GROUPS / 2 && kept == Kept::Older {
            store.close().unwrap();
            copy_directory(&views, &aside).unwrap();
            store = Store::open(directory.path(), options()).unwrap().0;
        }
    }
    store.close().unwrap();
    drop(store);
    if kept != Kept::Latest {
        fs::remove_dir_all(&views).unwrap();
    }
    let n_viewed = match kept {
        Kept::Latest => Some(N_GROUPS as usize),
        Kept::Older => Some(N_GROUPS as usize / 2 + 1),
        Kept::None => None,
    };
    if kept == Kept::Older {
        fs::rename(&aside, &views).unwrap();
    }
    // Journals are made long in advance: without their empty ends they are copied sooner.
    for file in files_below(&views) {
        let bytes = fs::read(&file).unwrap();
        if bytes.len() > 1 << 20 {
            let used = bytes.iter().rposition(|byte| *byte > 0).unwrap_or_default();
            fs::write(&file, &bytes[..used + 64]).unwrap();
        }
    }
    let segments = segment::list(&directory.path().join(LOG_DIRECTORY)).unwrap();
    let files: Vec<_> =
        segments.iter().map(|segment| (segment.path.clone(), fs::read(&segment.path).unwrap())).collect();
    assert!(files.len() > 4, "{}", files.len());
    let frames = frames(&files);
    let compressed = BTreeSet::new();
    Original { name, directory, files, entries, frames, n_before, values, n_viewed, compressed }
}

/// The same with sealed segments compressed, but for every third.
fn compressed(name: &'static str, kept: Kept, seed: u64) -> Original {
    let mut original = write(name, Durability::Fsync, kept, seed);
    let mut segments = segment::list(&original.directory.path().join(LOG_DIRECTORY)).unwrap();
    segments.pop();
    for (index, segment) in segments.iter().enumerate().filter(|(index, _)| index % 3 != 2) {
        compress(segment, 150, &AtomicBool::new(false)).unwrap();
        original.files[index].1 = fs::read(&segment.path).unwrap();
        original.compressed.insert(index);
    }
    original
}

/// Where the frames are, by their lengths alone.
fn frames(files: &[(PathBuf, Vec<u8>)]) -> Vec<FrameAt> {
    let (mut frames, mut group) = (Vec::new(), 0);
    for (file, (_, bytes)) in files.iter().enumerate() {
        let mut start = HEADER_BYTES as usize;
        while start < bytes.len() {
            let length = u32::from_le_bytes(bytes[start..start + 4].try_into().unwrap()) as usize;
            let end = start + frame::HEADER_BYTES + length;
            let is_synced_before = bytes[start + 10] == 1;
            frames.push(FrameAt { file, start, end, group, is_synced_before });
            group += usize::from(bytes[start + 9] == 2);
            start = end;
        }
    }
    frames
}

/// What opening may do with a damaged log.
#[derive(Debug, PartialEq)]
enum Expected {
    /// The entries of so many groups, and no others.
    Groups(usize),
    Refused,
}

impl Original {
    /// What the log in `directory` must give, told from its bytes and the original's alone.
    fn expected(&self, directory: &Path) -> Expected {
        let log = directory.join(LOG_DIRECTORY);
        let mut names: Vec<PathBuf> = match fs::read_dir(&log) {
            Ok(items) => items.map(|item| item.unwrap().path()).collect(),
            Err(_) => return Expected::Refused,
        };
        names.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        names.sort();
        if names.is_empty() {
            return Expected::Refused;
        }
        for (index, path) in names.iter().enumerate() {
            let Some((original, bytes)) = self.files.get(index) else { return Expected::Refused };
            let Ok(found) = fs::read(path) else { return Expected::Refused };
            let is_last = index + 1 == names.len();
            let header = HEADER_BYTES as usize;
            let has_header = found.len() >= header && found[..header] == bytes[..header];
            if path.file_name() != original.file_name() || !has_header || (!is_last && found != *bytes) {
                return Expected::Refused;
            }
            if is_last && self.compressed.contains(&index) {
                // All of it was synced once.
                let groups = self.frames.iter().filter(|frame| frame.file == index).map(|frame| frame.group);
                let whole = Expected::Groups(groups.max().unwrap_or_default() + 1);
                return if found == *bytes { whole } else { Expected::Refused };
            }
            if is_last {
                return self.tail(index, &found);
            }
        }
        Expected::Refused
    }

    /// The last segment: what is broken is cut unless an intact frame of a later
    /// group shows that it had been synced.
    fn tail(&self, file: usize, found: &[u8]) -> Expected {
        let (_, bytes) = &self.files[file];
        let is_intact =
            |frame: &&FrameAt| found.get(frame.start..frame.end) == bytes.get(frame.start..frame.end);
        let of_file = || self.frames.iter().filter(|frame| frame.file == file);
        let Some(broken) = of_file().find(|frame| !is_intact(frame)) else {
            let n_groups = of_file().map(|frame| frame.group + 1).max().unwrap_or_default();
            return Expected::Groups(n_groups);
        };
        let is_shown = of_file()
            .filter(is_intact)
            .any(|frame| frame.start > broken.start && frame.group != broken.group && frame.is_synced_before);
        if is_shown { Expected::Refused } else { Expected::Groups(broken.group) }
    }

    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(self.directory.path(), copy.path()).unwrap();
        copy
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).into_iter().flatten() {
            let path = item.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn change(path: &Path, random: &mut ChaCha8Rng, change: impl FnOnce(&mut Vec<u8>, &mut ChaCha8Rng)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes, random);
    fs::write(path, bytes).unwrap();
}

/// Hurts the store in `directory`; says how.
fn hurt(original: &Original, foreign: &Original, directory: &Path, random: &mut ChaCha8Rng) -> &'static str {
    let log = directory.join(LOG_DIRECTORY);
    let views = directory.join(VIEWS_DIRECTORY);
    let n_files = original.files.len();
    // The end is where most can go either way.
    let pick = if random.random_bool(0.4) { n_files - 1 } else { random.random_range(0..n_files) };
    let at = |index: usize| log.join(original.files[index].0.file_name().unwrap());
    let path = at(pick);
    let bytes = original.files[pick].1.clone();
    // Only views that are there can be hurt.
    let kind = random.random_range(0..if views.exists() { 20 } else { 18 });
    match kind {
        0..=2 => {
            change(&path, random, |bytes, random| {
                for _ in 0..random.random_range(1..4) {
                    let place = random.random_range(0..bytes.len());
                    bytes[place] ^= 1 << random.random_range(0..8);
                }
            });
            "flipped bits"
        }
        3 | 4 => {
            change(&path, random, |bytes, random| bytes.truncate(random.random_range(0..bytes.len())));
            "truncated"
        }
        5 | 6 => {
            change(&path, random, |bytes, random| {
                let start = random.random_range(0..bytes.len());
                let end = random.random_range(start..bytes.len()) + 1;
                bytes[start..end].fill(0);
            });
            "zeroed"
        }
        7 => {
            fs::remove_file(path).unwrap();
            "removed"
        }
        8 => {
            let (other, _) = &original.files[random.random_range(0..n_files)];
            fs::write(log.join(other.file_name().unwrap()), bytes).unwrap();
            "duplicated"
        }
        9 => {
            let other = random.random_range(0..n_files);
            fs::write(at(other), bytes).unwrap();
            fs::write(path, &original.files[other].1).unwrap();
            "swapped"
        }
        10 => {
            let base: u64 = random.random_range(0..10_000);
            fs::rename(path, log.join(format!("{base:020}.log"))).unwrap();
            "renamed"
        }
        11 => {
            fs::write(path, []).unwrap();
            "emptied"
        }
        12 => {
            change(&path, random, |bytes, random| {
                let mut more = vec![0; random.random_range(1..200)];
                if random.random_bool(0.5) {
                    random.fill(&mut more[..]);
                }
                bytes.extend(more);
            });
            "extended"
        }
        13 => {
            let (_, bytes) = &foreign.files[random.random_range(0..foreign.files.len())];
            fs::write(path, bytes).unwrap();
            "foreign segment"
        }
        14 => {
            fs::write(log.join("00000000000000000123.new"), bytes).unwrap();
            fs::create_dir_all(directory.join("views.new")).unwrap();
            fs::create_dir_all(directory.join("views.dropped").join("keyspaces")).unwrap();
            "leftover temporary files"
        }
        15 => {
            let _ = fs::remove_dir_all(&views);
            change(&path, random, |bytes, random| bytes.truncate(random.random_range(0..bytes.len())));
            "truncated, without views"
        }
        16 => {
            let _ = fs::remove_dir_all(&views);
            copy_directory(&foreign.directory.path().join(VIEWS_DIRECTORY), &views).unwrap();
            "views of another store"
        }
        17 => {
            match random.random_range(0..4) {
                0 => {
                    let _ = fs::remove_dir_all(&views);
                    fs::write(&views, b"a file").unwrap();
                }
                1 => {
                    fs::remove_dir_all(&log).unwrap();
                    fs::write(&log, b"a file").unwrap();
                }
                2 => {
                    fs::remove_file(&path).unwrap();
                    fs::create_dir(&path).unwrap();
                }
                _ => fs::write(directory.join("views.dropped"), b"a file").unwrap(),
            }
            "a file in place of a directory"
        }
        _ => {
            let mut files = files_below(&views);
            files.retain(|file| fs::metadata(file).unwrap().len() > 0);
            let file = &files[random.random_range(0..files.len())];
            match random.random_range(0..4) {
                0 => fs::remove_file(file).unwrap(),
                1 => {
                    change(file, random, |bytes, random| bytes.truncate(random.random_range(0..bytes.len())))
                }
                2 => change(file, random, |bytes, random| {
                    let start = random.random_range(0..bytes.len());
                    bytes[start..].iter_mut().take(50).for_each(|byte| *byte = 0);
                }),
                _ => change(file, random, |bytes, random| {
                    // Where there is something: most of a journal may be empty.
                    let used = bytes.iter().rposition(|byte| *byte > 0).unwrap_or_default();
                    bytes[random.random_range(0..=used)] ^= 1 << random.random_range(0..8);
                }),
            }
            "a file of the views"
        }
    }
}

enum Outcome {
    Whole,
    Prefix,
    Rebuilt,
    Refused(Error),
}

/// Opens and recovers as a server does.
fn recover(original: &Original, directory: &Path, expected: &Expected) -> Outcome {
    let (store, mut recovery) = match Store::open(directory, small()) {
        Ok(opened) => opened,
        Err(error) => return Outcome::Refused(error),
    };
    let mut is_rebuilt = recovery.views_dropped().is_some();
    let mut values = Vec::new();
    let read = recovery.for_each_view(View::Profiles, |key, value| {
        values.push((key.to_vec(), value.to_vec()));
        true
    });
    match read {
        Ok(()) => {}
        Err(Error::ViewDamaged { .. }) => {
            values.clear();
            recovery = store.reset_views("damaged").expect("the views are made anew");
            is_rebuilt = true;
        }
        Err(error) => return Outcome::Refused(error),
    }
    for value in values {
        assert!(original.values.contains(&value), "a value that was never written: {value:02x?}");
    }
    let tail: Result<Vec<Entry>, Error> = recovery
        .entries(recovery.replay_from())
        .and_then(|entries| entries.map(|item| item.map(|(_, entry)| entry)).collect());
    let whole: Result<Vec<Entry>, Error> = recovery
        .entries(LogPosition::START)
        .and_then(|entries| entries.map(|item| item.map(|(_, entry)| entry)).collect());
    let end = recovery.log_end();
    assert!(recovery.replay_from() <= recovery.applied() && recovery.applied() <= end);
    if let Err(error) = tail {
        return Outcome::Refused(error);
    }
    let whole = match whole {
        Ok(whole) => whole,
        Err(error) => return Outcome::Refused(error),
    };
    assert!(whole.ends_with(&tail.unwrap_or_default()), "the tail is of the same entries");
    let Expected::Groups(n_groups) = expected else { panic!("opened, {} entries", whole.len()) };
    assert!(whole == original.entries[..original.n_before[*n_groups]], "other entries than were written");
    if is_rebuilt {
        Outcome::Rebuilt
    } else if *n_groups < original.n_before.len() - 1 {
        Outcome::Prefix
    } else {
        Outcome::Whole
    }
}

/// One damaged directory; the kind of damage, and what became of it.
fn case(seed: u64, originals: &[Original], foreign: &Original) -> (&'static str, &'static str) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let original = &originals[random.random_range(0..originals.len())];
    let copy = original.copy();
    let directory = copy.path();
    let kind = hurt(original, foreign, directory, &mut random);
    let expected = original.expected(directory);
    let told = format!("case {seed}, {} of the store {}, expecting {expected:?}", kind, original.name);

    let verified = verify(directory, &mut ()).unwrap_or_else(|error| panic!("{told}: {error}"));
    let opened = panic::catch_unwind(AssertUnwindSafe(|| recover(original, directory, &expected)))
        .unwrap_or_else(|_| panic!("{told}: see above"));
    let is_about_views =
        |verified: &Verified| verified.damage.iter().any(|damage| damage.is_of_views(directory));
    let outcome = match opened {
        Outcome::Refused(error) => {
            let message = error.to_string();
            assert!(message.contains(&*directory.to_string_lossy()), "{told}: no path in {message:?}");
            assert!(!verified.is_sound(), "{told}: called sound, yet refused: {message}");
            let is_of_views = matches!(
                error,
                Error::ViewsAhead { .. }
                    | Error::ForeignViews { .. }
                    | Error::Views { .. }
                    | Error::Io { .. }
            );
            assert!(expected == Expected::Refused || is_of_views, "{told}: {message}");
            if kind == "a file of the views" {
                // What the store below cannot tell from a version of its own that is newer.
                assert!(
                    message.contains("InvalidVersion") || message.contains("include the log"),
                    "{told}: {message}"
                );
            }
            "refused"
        }
        Outcome::Whole => "opened whole",
        Outcome::Prefix => "opened without its end",
        Outcome::Rebuilt => "opened with new views",
    };
    match outcome {
        "opened whole" | "opened without its end" if kind != "a file of the views" => {
            assert!(verified.is_sound(), "{told}: opens, yet called damaged: {:?}", verified.damage);
        }
        "opened with new views" => assert!(is_about_views(&verified), "{told}: {:?}", verified.damage),
        _ => {}
    }
    if let Expected::Groups(n_groups) = expected
        && !verified.damage.iter().any(|damage| !damage.is_of_views(directory))
    {
        assert_eq!(verified.log.n_entries as usize, original.n_before[n_groups], "{told}");
        assert_eq!(verified.log.n_groups as usize, n_groups, "{told}");
    }
    (kind, outcome)
}

#[test]
fn whatever_is_damaged_is_refused_cut_or_rebuilt_and_never_made_up() {
    let originals = [
        write("with its views", Durability::Fsync, Kept::Latest, 1),
        write("with older views", Durability::Fsync, Kept::Older, 2),
        write("never synced, with older views", Durability::Memory, Kept::Older, 3),
        write("without views", Durability::Fsync, Kept::None, 4),
        compressed("compressed, with its views", Kept::Latest, 6),
        compressed("compressed, without views", Kept::None, 7),
    ];
    let foreign = write("another", Durability::Fsync, Kept::Latest, 5);
    assert!(originals.iter().all(|original| original.n_viewed.is_none_or(|viewed| viewed > 0)));
    let started = Instant::now();
    let halves = [0, N_CASES / 2, N_CASES];
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let (originals, foreign) = (&originals, &foreign);
        let run = |seeds: std::ops::Range<u64>| {
            scope.spawn(move || seeds.map(|seed| case(seed, originals, foreign)).collect::<Vec<_>>())
        };
        let running = [run(halves[0]..halves[1]), run(halves[1]..halves[2])];
        for outcomes in running {
            for outcome in outcomes.join().unwrap_or_else(|panic| panic::resume_unwind(panic)) {
                *counts.entry(outcome).or_default() += 1;
            }
        }
    });
    println!("{N_CASES} damaged directories in {:.1} s", started.elapsed().as_secs_f64());
    for ((kind, outcome), n) in &counts {
        println!("{n:4}  {kind}: {outcome}");
    }
    let n_of =
        |outcome| counts.iter().filter(|((_, found), _)| *found == outcome).map(|(_, n)| n).sum::<usize>();
    for outcome in ["refused", "opened whole", "opened without its end", "opened with new views"] {
        assert!(n_of(outcome) > 10, "{outcome}: {}", n_of(outcome));
    }
}
