//! Repairs: what they do, what they keep, and that the store opens afterwards.

use super::super::backup::{BackupError, back_up};
use super::super::log::segment::{self, HEADER_BYTES};
use super::super::repair::{Loss, Mode, Repair, Step};
use super::super::verify::verify;
use super::*;

/// A store of several segments with its views, closed; all entries.
fn written(directory: &Path) -> Vec<Entry> {
    let (store, _) = open(directory);
    let mut entries = Vec::new();
    for sequence in 1..40 {
        let entry = entry(0, sequence, &[7; 150]);
        commit(&store, vec![entry.clone()], vec![put(View::Profiles, b"u", &sequence.to_be_bytes())]);
        entries.push(entry);
    }
    store.close().unwrap();
    entries
}

fn segments(directory: &Path) -> Vec<segment::Segment> {
    segment::list(&directory.join(LOG_DIRECTORY)).unwrap()
}

fn plan(directory: &Path, mode: Mode, accept_loss: bool) -> Repair {
    Repair::plan(directory, mode, accept_loss, &mut ()).unwrap()
}

fn entries_of(directory: &Path) -> Vec<Entry> {
    let (_store, recovery) = open(directory);
    entries_from(&recovery, LogPosition::START)
}

#[test]
fn what_loses_nothing_is_done_without_asking() {
    let directory = tempfile::tempdir().unwrap();
    let entries = written(directory.path());
    let last = segments(directory.path()).pop().unwrap();
    let unborn = directory.path().join(LOG_DIRECTORY).join("5.new");
    fs::write(&unborn, b"").unwrap();
    let whole = fs::read(&last.path).unwrap();
    fs::write(&last.path, [&whole[..], &[3; 50]].concat()).unwrap();
    let views = directory.path().join(VIEWS_DIRECTORY);
    fs::remove_dir_all(&views).unwrap();
    fs::write(&views, b"a file").unwrap();

    let expected = [
        Step::MoveAside(views.clone()),
        Step::RemoveUnborn(unborn.clone()),
        Step::CutTail { file: last.path.clone(), offset: last.file_bytes, bytes: 50 },
    ];
    assert_eq!(plan(directory.path(), Mode::Look, false).steps, expected);
    assert!(unborn.exists() && views.is_file(), "a look changes nothing");
    let repair = plan(directory.path(), Mode::Repair, false);
    assert!(matches!(Store::open(directory.path(), options()), Err(Error::Locked { .. })));
    assert_eq!((&repair.steps[..], repair.loss, repair.left.len()), (&expected[..], None, 0));
    repair.carry_out().unwrap();
    drop(repair);
    assert_eq!(fs::read(directory.path().join("quarantine-1/views")).unwrap(), b"a file");
    assert_eq!(fs::read(&last.path).unwrap(), whole);
    assert!(verify(directory.path(), &mut ()).unwrap().is_sound());
    assert_eq!(plan(directory.path(), Mode::Look, true).steps, []);
    assert_eq!(entries_of(directory.path()), entries);
}

#[test]
fn a_damaged_log_is_cut_only_if_its_loss_is_accepted_and_nothing_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let entries = written(directory.path());
    let segments = segments(directory.path());
    let path = &segments[1].path;
    let mut bytes = fs::read(path).unwrap();
    // The second group of the second segment.
    let group = (150 + 24 + 24) as u64;
    let offset = HEADER_BYTES + group;
    bytes[offset as usize + 30] ^= 1;
    fs::write(path, &bytes).unwrap();

    let repair = plan(directory.path(), Mode::Repair, false);
    assert_eq!((repair.steps.len(), repair.left.len(), repair.loss), (0, 1, None));
    drop(repair);
    let repair = plan(directory.path(), Mode::Repair, true);
    let n_kept = (segments[0].file_bytes - HEADER_BYTES) / group + 1;
    let lost: u64 = segments[2..].iter().map(|segment| segment.file_bytes).sum::<u64>();
    let loss = Loss {
        bytes: lost + segments[1].file_bytes - offset,
        n_readable: 39 - n_kept - 1,
        views_were_ahead: false,
    };
    assert_eq!(repair.loss, Some(loss));
    repair.carry_out().unwrap();
    let quarantine = repair.quarantine().to_owned();
    drop(repair);
    assert_eq!(entries_of(directory.path()), entries[..n_kept as usize]);
    let name = path.file_name().unwrap().to_string_lossy();
    assert_eq!(fs::read(quarantine.join(format!("{name}.from-{offset}"))).unwrap(), bytes[offset as usize..]);
    assert!(
        quarantine.join("views").is_dir() && quarantine.join(segments[2].path.file_name().unwrap()).exists()
    );
}

#[test]
fn what_a_newer_version_has_written_is_not_cut() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path());
    let path = &segments(directory.path())[1].path;
    let mut bytes = fs::read(path).unwrap();
    bytes[8] = 9;
    fs::write(path, &bytes).unwrap();
    let refused = Repair::plan(directory.path(), Mode::Repair, true, &mut ()).err();
    assert!(matches!(refused, Some(Error::NewerFormat { found: 9, .. })), "{refused:?}");
    assert_eq!(&fs::read(path).unwrap(), &bytes);
}

#[test]
fn views_ahead_of_the_log_are_kept_as_the_proof_of_a_loss() {
    let directory = tempfile::tempdir().unwrap();
    let entries = written(directory.path());
    let last = segments(directory.path()).pop().unwrap();
    fs::remove_file(&last.path).unwrap();
    assert!(matches!(refusal(directory.path(), options()), Error::ViewsAhead { .. }));
    let repair = plan(directory.path(), Mode::Repair, false);
    assert_eq!((repair.steps.len(), repair.left.len()), (0, 1), "{:?}", repair.steps);
    drop(repair);
    let repair = plan(directory.path(), Mode::Repair, true);
    assert_eq!(repair.loss, Some(Loss { bytes: 0, n_readable: 0, views_were_ahead: true }));
    repair.carry_out().unwrap();
    drop(repair);
    let left = entries_of(directory.path());
    assert!(!left.is_empty() && entries.starts_with(&left));
}

#[test]
fn a_backup_of_a_store_that_is_written_to_opens_and_holds_what_was_committed_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut entries = written(directory.path());
    fs::create_dir_all(directory.path().join("models/buys")).unwrap();
    fs::write(directory.path().join("models/buys/forest.json"), b"{}").unwrap();
    let (store, _) = open(directory.path());
    let to = directory.path().join("copies").join("one");
    fs::create_dir_all(&to).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let backup = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut more = Vec::new();
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let next = entry(0, 40 + more.len() as u64, &[9; 90]);
                commit(&store, vec![next.clone()], vec![]);
                more.push(next);
            }
            more
        });
        let backup = back_up(directory.path(), &to, &["models", "none"], &mut ());
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        entries.extend(writing.join().unwrap());
        backup.unwrap()
    });
    assert_eq!(backup.n_beside, 1);
    assert!(to.join("models/buys/forest.json").exists() && !to.join(VIEWS_DIRECTORY).exists());
    let copied = entries_of(&to);
    assert!(copied.len() >= 39 && entries.starts_with(&copied));
    let again = back_up(directory.path(), &to, &[], &mut ());
    assert!(matches!(again, Err(BackupError::Occupied(_))));
    assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1, "nothing half made is left");
}
