//! `[lookups.*]`: tables whose columns are joined to events by a key.
//!
//! The header of each file is read first, for what the other sections may
//! name; the rows last, when it is known which columns are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compile::{Context, section};
use super::table::{Item, Table};
use super::vocabulary::Joined;
use crate::engine::lookup::{Lookup, Table as Rows};
use crate::lookups::{self, TableFile};

const MAX_LOOKUPS: usize = 32;
/// Columns of one lookup that can be joined: what comes on top of the sender's properties.
const MAX_COLUMNS: usize = 64;

const KEYS: [&str; 4] = ["columns", "file", "key", "on"];

/// A lookup whose rows are still to be read.
pub(super) struct Unread<'a> {
    name: &'a str,
    file: Item<PathBuf>,
    key: &'a str,
    on: &'a str,
}

/// Reads the section and the headers of its files; relative ones are in `directory`.
pub(super) fn compile<'a>(root: &Table<'a>, directory: &Path, cx: &mut Context<'_>) -> Vec<Unread<'a>> {
    let tables = section(root, "lookups", MAX_LOOKUPS, &mut cx.report);
    for table in &tables {
        // Known by its name at least: what reads it is not wrong for that.
        cx.vocabulary.lookups.insert(table.name.to_owned(), Joined::default());
    }
    tables.iter().filter_map(|table| lookup(table, directory, cx)).collect()
}

fn lookup<'a>(table: &Table<'a>, directory: &Path, cx: &mut Context<'_>) -> Option<Unread<'a>> {
    table.refuse_unknown(&KEYS, &mut cx.report);
    for (key, example) in [("file", "\"products.csv\""), ("key", "\"sku\""), ("on", "\"product_id\"")] {
        if !table.has(key) {
            table.missing(key, example, &mut cx.report);
        }
    }
    let file = table.text("file", &mut cx.report);
    let key = table.text("key", &mut cx.report);
    let on = table.text("on", &mut cx.report).and_then(|item| on(&item, cx));
    let listed = table.texts("columns", &mut cx.report);

    let file = file?;
    let file = Item { value: directory.join(file.value), span: file.span, path: file.path };
    let header = match TableFile::open(&file.value) {
        Ok(header) => header,
        Err(error) => {
            cx.report.error(&file.span, &file.path, error.to_string());
            return None;
        }
    };
    let columns = header.columns();
    let mut check = |item: &Item<&str>| {
        if !columns.contains(&item.value) {
            let message = format!("{} has no column {:?}", file.value.display(), item.value);
            let nearest = cx.report.nearest(item.value, &columns);
            cx.report.error_with(&item.span, &item.path, message, nearest);
        }
    };
    key.iter().for_each(&mut check);
    listed.iter().flatten().for_each(&mut check);

    let (key, on) = (key?, on?);
    let joined = match &listed {
        Some(listed) => listed.iter().map(|item| item.value.to_owned()).collect(),
        None if table.has("columns") => return None,
        None => {
            columns.iter().filter(|column| **column != key.value).map(|&column| column.to_owned()).collect()
        }
    };
    let is_right = columns.contains(&key.value);
    let joined = Joined { on: on.to_owned(), key: key.value.to_owned(), columns: Some(joined) };
    cx.vocabulary.lookups.insert(table.name.to_owned(), joined);
    is_right.then_some(Unread { name: table.name, file, key: key.value, on })
}

/// The property that is looked up, which comes from the sender.
fn on<'a>(item: &Item<&'a str>, cx: &mut Context<'_>) -> Option<&'a str> {
    let name = item.check_foreign_name("a property", &mut cx.report)?;
    if cx.vocabulary.lookup_of(name).is_some() {
        let message = format!("`{name}` is joined itself: `on` is a property that senders give");
        cx.report.error(&item.span, &item.path, message);
        return None;
    }
    Some(name)
}

impl Unread<'_> {
    /// Reads the rows, of the columns that some definition reads.
    pub(super) fn read(self, cx: &mut Context<'_>) -> Option<Lookup> {
        let is_joined = |property: &&Arc<str>| {
            cx.vocabulary.lookup_of(property).is_some_and(|(name, _)| name == self.name)
        };
        let mut properties: Vec<Box<str>> =
            cx.vocabulary.properties.iter().filter(is_joined).map(|property| (**property).into()).collect();
        properties.sort_unstable();
        let (span, path) = (&self.file.span, &self.file.path);
        if properties.len() > MAX_COLUMNS {
            let message = format!(
                "definitions read {} of its columns, at most {MAX_COLUMNS} are possible",
                properties.len()
            );
            cx.report.error(span, path, message);
            return None;
        }
        let mut lookup = Lookup {
            name: self.name.into(),
            on: self.on.into(),
            properties,
            file: self.file.value,
            key: self.key.into(),
            table: Arc::new(Rows::default()),
        };
        match lookups::read(&lookup) {
            Ok(table) => lookup.table = Arc::new(table),
            Err(error) => {
                cx.report.error(span, path, error.to_string());
                return None;
            }
        }
        Some(lookup)
    }
}
