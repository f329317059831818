//! An event on its way from a line's fields to a [`Record`].

use std::fmt;

use crate::engine::event::{Event, EventUid, UserId, Value};
use crate::engine::time::Timestamp;

use super::mapping::{Role, Target};
use super::{
    MAX_ID_BYTES, MAX_PROPERTIES, MAX_PROPERTY_NAME_BYTES, MAX_TIME, MAX_TYPE_BYTES, MIN_TIME, Problem,
    Record, typing,
};

/// A field's value before its type is settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Integer(i64),
    /// Above the range of `Integer`.
    Unsigned(u64),
    Number(f64),
    Bool(bool),
}

/// What is known of a line's event so far.
#[derive(Default)]
pub(super) struct Draft {
    user_id: Option<Box<str>>,
    anonymous_id: Option<Box<str>>,
    kind: Option<Box<str>>,
    time: Option<Timestamp>,
    event_id: Option<Box<str>>,
    arrival: Option<Timestamp>,
    properties: Vec<(Box<str>, Value)>,
}

/// A problem with the field that has it, as the file calls the field.
pub(super) type FieldProblem = (String, Problem);

/// A line's number and what became of it.
pub(super) type Parsed = (u64, Result<Record, FieldProblem>);

impl Draft {
    pub fn with_capacity(n_properties: usize) -> Self {
        Self { properties: Vec::with_capacity(n_properties), ..Self::default() }
    }

    /// Takes a field that is present.
    pub fn set(&mut self, target: &Target, scalar: Scalar<'_>) -> Result<(), Problem> {
        match target {
            Target::Dropped => Ok(()),
            Target::Role(role) => self.set_role(*role, scalar),
            Target::Property { name, fixed } => {
                if self.properties.len() == MAX_PROPERTIES {
                    return Err(Problem::TooManyProperties { limit: MAX_PROPERTIES });
                }
                if name.is_empty() {
                    return Err(Problem::Missing);
                }
                clean(name, MAX_PROPERTY_NAME_BYTES)?;
                self.properties.push((name.clone(), typing::property(scalar, *fixed)?));
                Ok(())
            }
        }
    }

    fn set_role(&mut self, role: Role, scalar: Scalar<'_>) -> Result<(), Problem> {
        match role {
            Role::UserId => put(&mut self.user_id, id(scalar)?),
            Role::AnonymousId => put(&mut self.anonymous_id, id(scalar)?),
            Role::EventId => put(&mut self.event_id, id(scalar)?),
            Role::Type => {
                let Scalar::Text(text) = scalar else {
                    return Err(Problem::WrongType { found: scalar.to_string(), expected: "text" });
                };
                clean(text, MAX_TYPE_BYTES)?;
                put(&mut self.kind, text.into())
            }
            Role::Time => put(&mut self.time, time(scalar, MIN_TIME)?),
            Role::ArrivalTime => put(&mut self.arrival, time(scalar, MIN_TIME)?),
        }
    }

    /// The record, its uid minted from the line number if it has no id.
    pub fn finish(self, line: u64) -> Result<Record, FieldProblem> {
        let missing = |role: Role| (role.name().to_owned(), Problem::Missing);
        let (user, anonymous_id) = match (self.user_id, self.anonymous_id) {
            (Some(user_id), anonymous_id) => (UserId::known(&user_id), anonymous_id),
            (None, Some(anonymous_id)) => (UserId::anonymous(&anonymous_id), None),
            (None, None) => return Err(missing(Role::UserId)),
        };
        let kind = self.kind.ok_or_else(|| missing(Role::Type))?;
        let time = self.time.ok_or_else(|| missing(Role::Time))?;
        let mut properties = self.properties;
        properties.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        if let Some(pair) = properties.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err((pair[0].0.to_string(), Problem::Repeated));
        }
        let uid = match &self.event_id {
            Some(id) => EventUid::of_id(id),
            None => EventUid::minted(0, line),
        };
        let event = Event { uid, id: self.event_id, kind, time, anonymous_id, properties };
        Ok(Record { user, event, arrival: self.arrival })
    }
}

impl Scalar<'_> {
    pub fn into_value(self) -> Value {
        match self {
            Self::Text(text) => Value::Text(text.into()),
            Self::Integer(integer) => Value::Integer(integer),
            Self::Unsigned(integer) => Value::Number(integer as f64),
            Self::Number(number) => Value::Number(number),
            Self::Bool(bool) => Value::Bool(bool),
        }
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Unsigned(integer) => write!(f, "{integer}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(bool) => write!(f, "{bool}"),
        }
    }
}

/// RFC 3339 or integer milliseconds, not before `earliest`.
pub(super) fn time(scalar: Scalar<'_>, earliest: Timestamp) -> Result<Timestamp, Problem> {
    let wrong =
        || Problem::WrongType { found: scalar.to_string(), expected: "RFC 3339 or integer milliseconds" };
    let time = match scalar {
        Scalar::Text(text) => match text.strip_suffix(" UTC") {
            None => text.parse(),
            Some(start) => format!("{start}Z").parse(),
        }
        .map_err(|_| wrong())?,
        Scalar::Integer(ms) => Timestamp::from_millis(ms),
        _ => return Err(wrong()),
    };
    if (earliest..=MAX_TIME).contains(&time) {
        Ok(time)
    } else {
        Err(Problem::TimeOutOfBounds { time, earliest })
    }
}

fn id(scalar: Scalar<'_>) -> Result<Box<str>, Problem> {
    match scalar {
        Scalar::Text(text) => {
            clean(text, MAX_ID_BYTES)?;
            Ok(text.into())
        }
        Scalar::Integer(_) | Scalar::Unsigned(_) => Ok(scalar.to_string().into()),
        Scalar::Number(_) | Scalar::Bool(_) => {
            Err(Problem::WrongType { found: scalar.to_string(), expected: "text or an integer" })
        }
    }
}

fn put<T>(place: &mut Option<T>, value: T) -> Result<(), Problem> {
    if place.replace(value).is_some() { Err(Problem::Repeated) } else { Ok(()) }
}

fn at_most(text: &str, limit: usize) -> Result<(), Problem> {
    if text.len() <= limit { Ok(()) } else { Err(Problem::TooLong { bytes: text.len(), limit }) }
}

/// For ids and names, which end up in logs and reports: no control characters.
fn clean(text: &str, limit: usize) -> Result<(), Problem> {
    at_most(text, limit)?;
    match text.char_indices().find(|(_, character)| character.is_control()) {
        Some((at, character)) => Err(Problem::ControlCharacter { character, at }),
        None => Ok(()),
    }
}
