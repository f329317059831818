//! Typed reading of TOML tables that reports what it cannot read, with its place.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::names::{self, MAX_FOREIGN_NAME_BYTES};
use super::report::Report;
use crate::engine::time::Millis;

/// Ten years: longer spans are taken for a slip.
pub(super) const MAX_SPAN: Millis = Millis::new(3_653 * Millis::DAY.as_millis());
/// Lists of names may not be longer.
const MAX_LIST: usize = 10_000;

/// A table with its dotted path, for reports.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    /// The table's own name, such as `cart_adds_30m`.
    pub(super) name: &'a str,
    pub(super) path: String,
    /// Where its name stands.
    pub(super) span: Range<usize>,
    entries: &'a DeTable<'a>,
}

/// A value as read, with its place.
#[derive(Clone, Debug)]
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
    pub(super) path: String,
}

impl<'a> Table<'a> {
    pub(super) fn root(entries: &'a DeTable<'a>) -> Self {
        Self { name: "", path: String::new(), span: 0..0, entries }
    }

    /// The tables in this one, by name.
    pub(super) fn tables(&self, what: &str, report: &mut Report) -> Vec<Table<'a>> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.get_ref().cmp(b.get_ref()));
        entries.into_iter().filter_map(|(key, value)| self.as_table(key, value, what, report)).collect()
    }

    /// The table under `key`, if it is there.
    pub(super) fn table(&self, key: &str, what: &str, report: &mut Report) -> Option<Table<'a>> {
        let (key, value) = self.entries.get_key_value(key)?;
        self.as_table(key, value, what, report)
    }

    fn as_table(
        &self,
        key: &'a Spanned<DeString<'a>>,
        value: &'a Spanned<DeValue<'a>>,
        what: &str,
        report: &mut Report,
    ) -> Option<Table<'a>> {
        let path = self.path_of(key.get_ref());
        match value.get_ref() {
            DeValue::Table(entries) => Some(Table { name: key.get_ref(), path, span: key.span(), entries }),
            other => {
                report.error(&value.span(), &path, format!("expected {what}, found {}", article(other)));
                None
            }
        }
    }

    /// Reports every key that is not among `known`.
    pub(super) fn refuse_unknown(&self, known: &[&str], report: &mut Report) {
        for key in self.entries.keys() {
            let name = key.get_ref();
            if !known.contains(&&**name) {
                let what = if self.path.is_empty() { "section" } else { "key" };
                let message = format!("unknown {what} `{name}`: expected one of {}", list(known));
                let nearest = names::nearest(name, known);
                report.error_with(&key.span(), &self.path_of(name), message, nearest);
            }
        }
    }

    /// Reports each of `keys` that is there: they do not go with the rest.
    pub(super) fn refuse(&self, keys: &[&str], why: &str, report: &mut Report) {
        for name in keys {
            if let Some((key, _)) = self.entries.get_key_value(*name) {
                report.error(&key.span(), &self.path_of(name), format!("`{name}` {why}"));
            }
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn has_table(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Reports that `key` is missing; `example` is what it could say.
    pub(super) fn missing(&self, key: &str, example: &str, report: &mut Report) {
        report.error(&self.span, &self.path, format!("`{key}` is missing, such as {key} = {example}"));
    }

    pub(super) fn text(&self, key: &str, report: &mut Report) -> Option<Item<&'a str>> {
        self.read(key, "a string", report, DeValue::as_str)
    }

    pub(super) fn bool(&self, key: &str, report: &mut Report) -> Option<Item<bool>> {
        self.read(key, "true or false", report, DeValue::as_bool)
    }

    /// A finite number within `range`.
    pub(super) fn number(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
        report: &mut Report,
    ) -> Option<Item<f64>> {
        let item = self.read(key, "a number", report, as_number)?;
        self.within(item, range, report)
    }

    /// A whole number within `range`.
    pub(super) fn integer(
        &self,
        key: &str,
        range: RangeInclusive<i64>,
        report: &mut Report,
    ) -> Option<Item<i64>> {
        let item = self.read(key, "a whole number", report, as_integer)?;
        self.within(item, range, report)
    }

    /// A duration such as `"30m"` within `range`.
    pub(super) fn duration(
        &self,
        key: &str,
        range: RangeInclusive<Millis>,
        report: &mut Report,
    ) -> Option<Item<Millis>> {
        let item = self.text(key, report)?;
        let value = parse_duration(&item, report)?;
        self.within(Item { value, span: item.span, path: item.path }, range, report)
    }

    /// An array of strings.
    pub(super) fn texts(&self, key: &str, report: &mut Report) -> Option<Vec<Item<&'a str>>> {
        let item = self.read(key, "an array of strings", report, DeValue::as_array)?;
        if item.value.len() > MAX_LIST {
            report.error(&item.span, &item.path, format!("a list has at most {MAX_LIST} items"));
            return None;
        }
        let mut texts = Vec::with_capacity(item.value.len());
        for element in item.value.iter() {
            match element.get_ref().as_str() {
                Some(value) => texts.push(Item { value, span: element.span(), path: item.path.clone() }),
                None => {
                    let message = format!("expected a string, found {}", article(element.get_ref()));
                    report.error(&element.span(), &item.path, message);
                }
            }
        }
        Some(texts)
    }

    /// A table of positive numbers by name.
    pub(super) fn weights(&self, key: &str, report: &mut Report) -> Vec<(Item<&'a str>, f64)> {
        let Some(table) = self.table(key, "a table of weights", report) else { return Vec::new() };
        let mut entries: Vec<_> = table.entries.iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.get_ref().cmp(b.get_ref()));
        let mut weights = Vec::new();
        for (key, _) in entries {
            let name: &str = key.get_ref();
            if let Some(weight) = table.number(name, 0.001..=1_000.0, report) {
                let path = table.path_of(name);
                weights.push((Item { value: name, span: key.span(), path }, weight.value));
            }
        }
        weights
    }

    fn read<T: 'a>(
        &self,
        key: &str,
        what: &str,
        report: &mut Report,
        parse: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Item<T>> {
        let value = self.entries.get(key)?;
        let path = self.path_of(key);
        match parse(value.get_ref()) {
            Some(parsed) => Some(Item { value: parsed, span: value.span(), path }),
            None => {
                let found = article(value.get_ref());
                report.error(&value.span(), &path, format!("expected {what}, found {found}"));
                None
            }
        }
    }

    fn within<T: PartialOrd + Display>(
        &self,
        item: Item<T>,
        range: RangeInclusive<T>,
        report: &mut Report,
    ) -> Option<Item<T>> {
        if range.contains(&item.value) {
            return Some(item);
        }
        let (low, high) = (range.start(), range.end());
        report.error(&item.span, &item.path, format!("{} is not between {low} and {high}", item.value));
        None
    }

    fn path_of(&self, key: &str) -> String {
        let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let key = if bare { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> Item<&'a str> {
    /// Reports a name of an event type or a property that no event could have.
    pub(super) fn check_foreign_name(&self, what: &str, report: &mut Report) -> Option<&'a str> {
        if self.value.is_empty() {
            report.error(&self.span, &self.path, format!("{what} is empty"));
            return None;
        }
        if self.value.len() > MAX_FOREIGN_NAME_BYTES {
            let message = format!("{what} has at most {MAX_FOREIGN_NAME_BYTES} bytes");
            report.error(&self.span, &self.path, message);
            return None;
        }
        Some(self.value)
    }
}

/// Reads the duration that a string spells.
pub(super) fn parse_duration(item: &Item<&str>, report: &mut Report) -> Option<Millis> {
    match item.value.parse::<Millis>() {
        Ok(span) => Some(span),
        Err(_) => {
            let message = format!(
                "{:?} is not a duration: a whole number and one of ms, s, m, h, d, w, such as \"30m\" or \"7d\"",
                item.value
            );
            report.error(&item.span, &item.path, message);
            None
        }
    }
}

/// `a`, `b`, `c` in code marks.
pub(super) fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn as_number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(_) => as_integer(value).map(|integer| integer as f64),
        DeValue::Float(float) => float.as_str().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn as_integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
