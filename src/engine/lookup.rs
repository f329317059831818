//! Tables by key, joined to events as they arrive.
//!
//! What is joined becomes a property of the event and is logged with it:
//! whoever folds the event again reads what was joined then, whatever the
//! table says now.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::event::{Event, Value};

/// A table, and how it is joined. The properties `name.…` of an event come from it alone.
#[derive(Clone, Debug)]
pub struct Lookup {
    pub name: Arc<str>,
    /// The event property that is looked up.
    pub on: Box<str>,
    /// What the joined properties are called, such as `products.price`; sorted.
    pub properties: Vec<Box<str>>,
    /// Where the table is read from.
    pub file: PathBuf,
    /// The file's column of keys.
    pub key: Box<str>,
    pub table: Arc<Table>,
}

/// Rows by key.
///
/// A key is what it is spelled like: the text `12` is the key 12.
#[derive(Debug, Default)]
pub struct Table {
    whole: HashMap<i64, usize>,
    texts: HashMap<Box<str>, usize>,
    n_columns: usize,
    /// Row by row, one for each column.
    values: Vec<Option<Value>>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// It has nothing to look up.
    Absent,
    /// The table has no such key.
    Missed,
    Joined,
}

/// Why a row is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No event could have such a key.
    NotAKey,
    /// The row with this index has the same key.
    Duplicate(usize),
}

enum Key<'v> {
    Whole(i64),
    Text(&'v str),
}

impl Lookup {
    /// Puts the row of the event's key into the event.
    ///
    /// What a sender gave under the name of a joined property is taken out:
    /// it would pass for the table's.
    pub fn join(&self, event: &mut Event) -> Join {
        let properties = &mut event.properties;
        let is_joined = |name: &str| name.strip_prefix(&*self.name).is_some_and(|rest| rest.starts_with('.'));
        properties.retain(|(name, _)| !is_joined(name));
        if self.properties.is_empty() {
            return Join::Absent;
        }
        let Ok(on) = properties.binary_search_by(|(name, _)| (**name).cmp(&*self.on)) else {
            return Join::Absent;
        };
        let Some(row) = self.table.row(&properties[on].1) else { return Join::Missed };
        // They share their beginning, so no other property stands between them.
        let at = properties.partition_point(|(name, _)| *name < self.properties[0]);
        for (name, value) in self.properties.iter().zip(row).rev() {
            if let Some(value) = value {
                properties.insert(at, (name.clone(), value.clone()));
            }
        }
        Join::Joined
    }

    /// The columns that are read, by index into [`Lookup::properties`].
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.properties.iter().map(|property| &property[self.name.len() + 1..])
    }
}

impl Table {
    pub fn new(n_columns: usize) -> Self {
        Self { n_columns, ..Self::default() }
    }

    pub fn n_rows(&self) -> usize {
        self.whole.len() + self.texts.len()
    }

    /// Adds a row, with a value or none for each column.
    pub fn insert(
        &mut self,
        key: &Value,
        row: impl IntoIterator<Item = Option<Value>>,
    ) -> Result<(), Refused> {
        let index = self.n_rows();
        let before = match Key::of(key).ok_or(Refused::NotAKey)? {
            Key::Whole(key) => *self.whole.entry(key).or_insert(index),
            Key::Text(key) => *self.texts.entry(key.into()).or_insert(index),
        };
        if before != index {
            return Err(Refused::Duplicate(before));
        }
        self.values.extend(row);
        debug_assert_eq!(self.values.len(), self.n_rows() * self.n_columns);
        Ok(())
    }

    /// The values of a key's row, one for each column.
    pub fn row(&self, key: &Value) -> Option<&[Option<Value>]> {
        let index = match Key::of(key)? {
            Key::Whole(key) => self.whole.get(&key)?,
            Key::Text(key) => self.texts.get(key)?,
        };
        self.values.get(index * self.n_columns..(index + 1) * self.n_columns)
    }
}

impl<'v> Key<'v> {
    /// The same for a whole number however it was sent.
    fn of(value: &'v Value) -> Option<Self> {
        /// Beyond this, a float stands for several whole numbers.
        const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
        match value {
            Value::Text(text) => Some(whole(text).map_or(Self::Text(text), Self::Whole)),
            Value::Integer(integer) => Some(Self::Whole(*integer)),
            Value::Number(number) if number.fract() == 0.0 && number.abs() < MAX_EXACT => {
                Some(Self::Whole(*number as i64))
            }
            Value::Bool(bool) => Some(Self::Text(if *bool { "true" } else { "false" })),
            Value::Number(_) | Value::Time(_) => None,
        }
    }
}

/// The whole number that is spelled just so.
fn whole(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = text == "0" || digits.starts_with(|first: char| matches!(first, '1'..='9'));
    if is_plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::EventUid;
    use crate::engine::time::Timestamp;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    /// A product `p1` with both columns, and one `12` without a price.
    fn products() -> Lookup {
        let mut table = Table::new(2);
        table.insert(&text("p1"), [Some(text("shoes")), Some(Value::Number(9.5))]).expect("a new key");
        table.insert(&text("12"), [Some(text("hats")), None]).expect("a new key");
        Lookup {
            name: "products".into(),
            on: "id".into(),
            properties: vec!["products.category".into(), "products.price".into()],
            file: PathBuf::new(),
            key: "sku".into(),
            table: Arc::new(table),
        }
    }

    /// An event with these properties, which have to be sorted by name.
    fn event(properties: &[(&str, Value)]) -> Event {
        Event {
            uid: EventUid::UNMINTED,
            id: None,
            kind: "page_view".into(),
            time: Timestamp::default(),
            anonymous_id: None,
            properties: properties.iter().map(|(name, value)| ((*name).into(), value.clone())).collect(),
        }
    }

    fn joined(properties: &[(&str, Value)]) -> (Join, Vec<String>) {
        let mut event = event(properties);
        let join = products().join(&mut event);
        assert!(event.properties.is_sorted_by(|(a, _), (b, _)| a < b), "{:?}", event.properties);
        (join, event.properties.iter().map(|(name, value)| format!("{name} {value:?}")).collect())
    }

    #[test]
    fn a_row_stands_among_the_properties_in_order() {
        let (join, properties) = joined(&[("id", text("p1")), ("productsale", text("x")), ("z", text("y"))]);
        assert_eq!(join, Join::Joined);
        assert_eq!(
            properties,
            [
                r#"id Text("p1")"#,
                r#"products.category Text("shoes")"#,
                "products.price Number(9.5)",
                r#"productsale Text("x")"#,
                r#"z Text("y")"#,
            ]
        );
    }

    #[test]
    fn a_missing_cell_is_no_property() {
        let (join, properties) = joined(&[("id", text("12"))]);
        assert_eq!((join, properties.len()), (Join::Joined, 2));
    }

    #[test]
    fn without_a_row_nothing_is_joined() {
        assert_eq!(joined(&[("id", text("p2"))]).0, Join::Missed);
        assert_eq!(joined(&[("id", Value::Number(1.5))]).0, Join::Missed);
        assert_eq!(joined(&[("other", text("p1"))]).0, Join::Absent);
    }

    #[test]
    fn what_a_sender_gives_does_not_pass_for_the_tables() {
        for id in ["p1", "12", "p2"] {
            let sent =
                [("id", text(id)), ("products.colour", text("mine")), ("products.price", Value::Number(0.0))];
            let (_, properties) = joined(&sent);
            let is_sent = |property: &&String| property.contains("mine") || property.contains("0.0");
            assert_eq!(properties.iter().find(is_sent), None, "{id}");
        }
    }

    #[test]
    fn a_whole_number_is_one_key_however_it_is_sent() {
        let table = products().table;
        for key in [text("12"), Value::Integer(12), Value::Number(12.0)] {
            assert!(table.row(&key).is_some(), "{key:?}");
        }
        for key in [text("012"), text("+12"), text("12.0"), Value::Number(12.5), Value::Bool(true)] {
            assert!(table.row(&key).is_none(), "{key:?}");
        }
    }

    #[test]
    fn a_key_has_one_row() {
        let mut table = Table::new(0);
        assert_eq!(table.insert(&text("a"), []), Ok(()));
        assert_eq!(table.insert(&text("7"), []), Ok(()));
        assert_eq!(table.insert(&Value::Integer(7), []), Err(Refused::Duplicate(1)));
        assert_eq!(table.insert(&Value::Number(f64::NAN), []), Err(Refused::NotAKey));
        assert_eq!(table.n_rows(), 2);
    }
}
