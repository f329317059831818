//! The names of event types, properties and traits that definitions use.

use super::report::Report;
use super::table::Item;
use crate::engine::plan::{EventSelector, Names};

#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    pub(super) event_types: Names,
    pub(super) properties: Names,
    pub(super) traits: Names,
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
        Some(self.properties.intern(name))
    }

    /// How a selector is written.
    pub(super) fn event_name(&self, selector: EventSelector) -> &str {
        match selector {
            EventSelector::Any => "*",
            EventSelector::Type(index) => self.event_types.name(index),
        }
    }
}
