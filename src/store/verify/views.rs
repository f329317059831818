//! The views: a copy of them is opened, and every value looked at.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::super::Error;
use super::super::lock::LockFile;
use super::super::views::look::leftovers;
use super::super::views::{View, Views};
use super::{Damage, LogFound, Place, ViewsFound, Watch};

/// Reads the views in `directory`; `lock` is held until they are copied.
pub fn read(
    directory: &Path,
    lock: Option<LockFile>,
    log: &LogFound,
    watch: &mut dyn Watch,
    damage: &mut Vec<Damage>,
) -> Result<ViewsFound, Error> {
    for leftover in leftovers(directory) {
        if leftover.exists() && !leftover.is_dir() {
            damage.push(Damage::whole(&leftover, "not a directory".into()));
        }
    }
    if !directory.exists() {
        return Ok(ViewsFound::Absent);
    }
    if !directory.is_dir() {
        damage.push(Damage::whole(directory, "not a directory".into()));
        return Ok(ViewsFound::Unreadable);
    }
    let scratch = tempfile::tempdir().map_err(Error::io("create", Path::new("a temporary directory")))?;
    let copy = scratch.path().join("views");
    copy_directory(directory, &copy)?;
    drop(lock);
    let views = match Views::look(&copy) {
        Ok(views) => views,
        Err(reason) => {
            let reason = reason.replace(&*copy.to_string_lossy(), &directory.to_string_lossy());
            damage.push(Damage::whole(directory, reason));
            return Ok(ViewsFound::Unreadable);
        }
    };
    let (replay_from, applied) = views.positions();
    if log.store.is_some_and(|store| store != views.store()) {
        damage.push(Damage::whole(directory, format!("the views belong to store {}", views.store())));
    } else if applied > log.end || replay_from > applied {
        let end = log.end;
        let fault =
            format!("the views include the log up to {applied}, from {replay_from} on; it ends at {end}");
        damage.push(Damage::whole(directory, fault));
    }
    let mut values = BTreeMap::new();
    for view in View::ALL {
        let (n_values, bytes) = values.entry(view).or_default();
        let read = views.for_each_stored(view, |key, value| {
            let understood = match value {
                Some(value) => {
                    *n_values += 1;
                    *bytes += (key.len() + value.len()) as u64;
                    watch.value(view, key, value)
                }
                None => Err("checksum mismatch".to_owned()),
            };
            if let Err(fault) = understood {
                let place = Place::Value { view, key: key.to_vec() };
                damage.push(Damage { path: directory.to_owned(), place, fault, unreadable_bytes: 0 });
            }
        });
        if let Err(fault) = read {
            let place = Place::View(view);
            damage.push(Damage { path: directory.to_owned(), place, fault, unreadable_bytes: 0 });
        }
    }
    Ok(ViewsFound::Read { replay_from, applied, values })
}

/// Copies files and directories; anything else is left out.
pub fn copy_directory(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for item in fs::read_dir(from).map_err(Error::io("read", from))? {
        let item = item.map_err(Error::io("read", from))?;
        let (path, copy) = (item.path(), to.join(item.file_name()));
        if path.is_dir() {
            copy_directory(&path, &copy)?;
        } else if path.is_file() {
            copy_file(&path, &copy).map_err(Error::io("copy", &path))?;
        }
    }
    Ok(())
}

/// Copies a file without writing what is empty: the views' journals are made long in advance.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut block = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let n_read = from.read(&mut block)?;
        if n_read == 0 {
            return to.set_len(length);
        }
        if block[..n_read].iter().any(|byte| *byte > 0) {
            to.seek(SeekFrom::Start(length))?;
            to.write_all(&block[..n_read])?;
        }
        length += n_read as u64;
    }
}
