//! Values by key, laid over each other in layers; the embedded defaults say
//! which keys exist.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::mistake::{Error, Mistake, Origin, Position};
use super::value::{Raw, Setting};

/// `TIPOFF__SERVER__LISTEN` sets `server.listen`.
const ENVIRONMENT_PREFIX: &str = "TIPOFF__";

/// A suggestion is at most this many edits away, or a quarter of the name if that is more.
const SIMILAR_EDITS: usize = 2;

pub struct Settings {
    entries: BTreeMap<String, Entry>,
    mistakes: Vec<Mistake>,
}

struct Entry {
    default: Raw,
    value: Raw,
    origin: Origin,
}

impl Settings {
    /// Starts from the embedded defaults.
    pub fn with_defaults(text: &str) -> Self {
        let mut settings = Self { entries: BTreeMap::new(), mistakes: Vec::new() };
        let table = DeTable::parse(text).expect("the embedded defaults parse: tested");
        walk(table.get_ref(), "", &mut |key, value, _| {
            let default = Raw::of(value).expect("the embedded defaults hold plain values: tested");
            let value = default.clone();
            settings.entries.insert(key, Entry { default, value, origin: Origin::Default });
        });
        settings
    }

    /// Lays a file's values over those so far.
    pub fn lay_file(&mut self, path: &Path, text: &str) {
        let path: Arc<Path> = path.into();
        let origin = |offset: Option<usize>| Origin::File {
            path: path.clone(),
            position: offset.map(|offset| Position::of(text, offset)),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            self.report(origin(error.span().map(|span| span.start)), error.message().trim());
        }
        walk(table.get_ref(), "", &mut |key, value, offset| {
            let origin = origin(Some(offset));
            match Raw::of(value) {
                _ if self.is_section(&key) && matches!(value, DeValue::Table(_)) => {}
                _ if self.is_section(&key) => self.report(origin, &format!("`{key}` is a section")),
                _ if !self.entries.contains_key(&key) => self.report_unknown(&key, origin),
                Some(raw) => self.set(&key, raw, origin),
                None => self.report(origin, &format!("`{key}` cannot be {}", article(value.type_str()))),
            }
        });
    }

    /// Lays the environment over the values so far; variables without the prefix are not ours.
    pub fn lay_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let key = name.to_ascii_lowercase().replace("__", ".");
            self.lay_untyped(key, value, Origin::Environment { variable });
        }
    }

    /// Lays values given as flags over those so far.
    pub fn lay_flags(&mut self, flags: &[(String, String)]) {
        for (key, value) in flags {
            self.lay_untyped(key.clone(), value.clone(), Origin::Flag { key: key.clone() });
        }
    }

    /// The value of `key`; the default after a mistake, which is reported by [`Settings::finish`].
    pub fn take<T: Setting>(&mut self, key: &str) -> T {
        let entry = self.entry(key);
        if let Some(value) = T::read(&entry.value) {
            return value;
        }
        let default = T::read(&entry.default).expect("each default is of its key's type: tested");
        self.refuse(key, format_args!("expected {}", T::EXPECTED));
        default
    }

    /// As [`Settings::take`], within bounds.
    pub fn take_within<T>(&mut self, key: &str, bounds: RangeInclusive<T>) -> T
    where
        T: Setting + PartialOrd,
    {
        let value: T = self.take(key);
        if !bounds.contains(&value) {
            let (value, low, high) = (value.show(), bounds.start().show(), bounds.end().show());
            self.refuse(key, format_args!("{value} is not within {low} to {high}"));
        }
        value
    }

    /// The value of `key` by its name; the first choice after a mistake.
    pub fn take_choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let name: String = self.take(key);
        if let Some((_, choice)) = choices.iter().find(|(choice, _)| *choice == name) {
            return *choice;
        }
        let names: Vec<String> = choices.iter().map(|(choice, _)| format!("{choice:?}")).collect();
        self.refuse(key, format_args!("{name:?} is not one of {}", names.join(", ")));
        choices[0].1
    }

    /// A text, or none if empty.
    pub fn take_optional(&mut self, key: &str) -> Option<String> {
        Some(self.take::<String>(key)).filter(|text| !text.is_empty())
    }

    /// A path, or none if empty; a relative one counts from the directory of the file that says it.
    pub fn take_path(&mut self, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.take_optional(key)?);
        match self.entry(key).origin.directory() {
            Some(directory) => Some(directory.join(path)),
            None => Some(path),
        }
    }

    /// Reports that the value of `key` will not do.
    pub fn refuse(&mut self, key: &str, message: impl fmt::Display) {
        let origin = self.entry(key).origin.clone();
        self.report(origin, &format!("`{key}`: {message}"));
    }

    /// Everything that was wrong.
    pub fn finish(mut self) -> Result<(), Error> {
        self.mistakes.sort();
        if self.mistakes.is_empty() { Ok(()) } else { Err(Error { mistakes: self.mistakes }) }
    }

    fn entry(&self, key: &str) -> &Entry {
        self.entries.get(key).expect("each key that is read has a default: tested")
    }

    fn is_section(&self, key: &str) -> bool {
        let prefix = format!("{key}.");
        self.entries.range(prefix.clone()..).next().is_some_and(|(known, _)| known.starts_with(&prefix))
    }

    fn lay_untyped(&mut self, key: String, value: String, origin: Origin) {
        if self.entries.contains_key(&key) {
            self.set(&key, Raw::Untyped(value), origin);
        } else {
            self.report_unknown(&key, origin);
        }
    }

    fn set(&mut self, key: &str, value: Raw, origin: Origin) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.value = value;
            entry.origin = origin;
        }
    }

    fn report(&mut self, origin: Origin, message: &str) {
        self.mistakes.push(Mistake { origin, message: message.to_owned() });
    }

    fn report_unknown(&mut self, key: &str, origin: Origin) {
        let nearest = self
            .entries
            .keys()
            .map(|known| (edits(key, known), known))
            .min()
            .filter(|((edits, _), _)| *edits <= SIMILAR_EDITS.max(key.len() / 4));
        let message = match nearest {
            Some((_, known)) => format!("unknown key `{key}`; did you mean `{known}`?"),
            None => format!("unknown key `{key}`"),
        };
        self.report(origin, &message);
    }
}

/// Calls `leaf` with the dotted key, value and byte offset of each value that is not a table.
fn walk(table: &DeTable<'_>, prefix: &str, leaf: &mut impl FnMut(String, &DeValue<'_>, usize)) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => walk(inner, &format!("{key}."), leaf),
            other => leaf(key, other, name.span().start),
        }
    }
}

/// How far `key` is from `known`: the right name in the wrong section counts
/// as one edit, and among those the nearest section.
fn edits(key: &str, known: &str) -> (usize, usize) {
    let whole = strsim::damerau_levenshtein(key, known);
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    (if last(key) == last(known) { whole.min(1) } else { whole }, whole)
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}
