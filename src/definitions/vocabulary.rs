//! The names of event types, properties and traits that definitions use.

use std::collections::{BTreeMap, BTreeSet};

use super::names;
use super::report::Report;
use super::table::Item;
use crate::engine::plan::{EventSelector, Names};

#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    pub(super) event_types: Names,
    pub(super) properties: Names,
    pub(super) traits: Names,
    /// Every name in the section, broken ones included.
    pub(super) lookups: BTreeMap<String, Joined>,
}

/// What a lookup joins to events.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) on: String,
    pub(super) key: String,
    /// None if the definition is wrong, and reported there.
    pub(super) columns: Option<Vec<String>>,
}

/// A property of a lookup that has no such column.
#[derive(Debug)]
pub(super) struct UnknownColumn {
    pub(super) message: String,
    pub(super) nearest: Option<String>,
}

impl Vocabulary {
    /// The selector that `"purchase"` or `"*"` stands for.
    pub(super) fn selector(&mut self, item: &Item<&str>, report: &mut Report) -> Option<EventSelector> {
        let name = item.check_foreign_name("an event type", report)?;
        Some(if name == "*" {
            EventSelector::Any
        } else {
            EventSelector::Type(self.event_types.intern(name))
        })
    }

    pub(super) fn selectors(&mut self, items: &[Item<&str>], report: &mut Report) -> Vec<EventSelector> {
        let mut selectors = Vec::new();
        for item in items {
            if let Some(selector) = self.selector(item, report) {
                if selectors.contains(&selector) {
                    report.error(&item.span, &item.path, format!("{:?} is listed twice", item.value));
                }
                selectors.push(selector);
            }
        }
        selectors
    }

    pub(super) fn property(&mut self, item: &Item<&str>, report: &mut Report) -> Option<usize> {
        let name = item.check_foreign_name("a property", report)?;
        match self.property_index(name, report.suggests()) {
            Ok(index) => Some(index),
            Err(UnknownColumn { message, nearest }) => {
                report.error_with(&item.span, &item.path, message, nearest);
                None
            }
        }
    }

    /// The index of a property, which may be one that is joined.
    pub(super) fn property_index(&mut self, name: &str, suggest: bool) -> Result<usize, UnknownColumn> {
        if let Some((lookup, column)) = self.lookup_of(name)
            && let Some(columns) = &self.lookups[lookup].columns
            && columns.iter().all(|known| known != column)
        {
            let message = format!("lookup `{lookup}` joins no column {column:?}");
            let known = columns.iter().map(|column| format!("{lookup}.{column}"));
            return Err(UnknownColumn {
                message,
                nearest: suggest.then(|| names::nearest(name, known)).flatten(),
            });
        }
        Ok(self.properties.intern(name))
    }

    /// The lookup that a property is joined from, and the column.
    pub(super) fn lookup_of<'p>(&self, property: &'p str) -> Option<(&'p str, &'p str)> {
        property.split_once('.').filter(|(name, _)| self.lookups.contains_key(*name))
    }

    pub(super) fn canonical_property(&self, index: usize) -> String {
        let name = &**self.properties.name(index);
        self.with_joins(name.to_owned(), [name])
    }

    /// Adds to what a definition reads of events how that comes to be there,
    /// as far as it is joined.
    pub(super) fn with_joins<'p>(
        &self,
        mut canonical: String,
        properties: impl IntoIterator<Item = &'p str>,
    ) -> String {
        let lookups: BTreeSet<&str> = properties
            .into_iter()
            .filter_map(|property| self.lookup_of(property))
            .map(|(name, _)| name)
            .collect();
        for name in lookups {
            let Joined { on, key, .. } = &self.lookups[name];
            canonical.push_str(&format!("\njoined {name} {on:?} {key:?}"));
        }
        canonical
    }

    /// How a selector is written.
    pub(super) fn event_name(&self, selector: EventSelector) -> &str {
        match selector {
            EventSelector::Any => "*",
            EventSelector::Type(index) => self.event_types.name(index),
        }
    }
}
