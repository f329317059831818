//! What a file calls our fields.

use std::collections::HashMap;
use std::str::FromStr;

use super::typing::Type;

/// Renames a file's fields to ours, and fixes types where the file has none.
///
/// Written as entries with commas between: `ours=theirs`, for example
/// `user_id=visitorid,type=event,time=timestamp`. Ours is a field of an event
/// (`user_id`, `anonymous_id`, `type`, `time`, `event_id`, `arrival_time`) or
/// a property's new name. `:text`, `:number`, `:integer`, `:bool` or `:time`
/// behind an entry fixes a property's type: `category=categoryid:text`. An
/// entry without ours, `=context`, drops the field. In JSON lines a nested
/// field is named with dots, and dropping an object drops all in it.
///
/// A field that is mapped away from loses its meaning: with `type=event`, a
/// column `type` is a plain property.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    targets: HashMap<Box<str>, Target>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    #[error("{0:?} is not `ours=theirs`")]
    NotAnEntry(String),
    #[error("{0:?} is mapped twice")]
    Repeated(String),
    #[error("{0:?} has a type of its own")]
    TypeOfARole(String),
}

/// What becomes of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Role(Role),
    Property { name: Box<str>, fixed: Option<Type> },
    Dropped,
}

/// The fields of an event that are not properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    UserId,
    AnonymousId,
    Type,
    Time,
    EventId,
    ArrivalTime,
}

const TYPES: [(&str, Type); 5] = [
    (":text", Type::Text),
    (":number", Type::Number),
    (":integer", Type::Integer),
    (":bool", Type::Bool),
    (":time", Type::Time),
];

impl Mapping {
    /// Whether the mapping names this field.
    pub(super) fn explicit(&self, field: &str) -> Option<&Target> {
        self.targets.get(field)
    }

    /// What becomes of a CSV column: one that the mapping does not name may
    /// carry its type behind its name.
    pub(super) fn column(&self, column: &str) -> Target {
        if let Some(target) = self.explicit(column) {
            return target.clone();
        }
        match split_type(column) {
            (name, Some(fixed)) => Target::Property { name: name.into(), fixed: Some(fixed) },
            (name, None) => self.implicit(name),
        }
    }

    /// What becomes of a field that the mapping does not name.
    pub(super) fn implicit(&self, field: &str) -> Target {
        match Role::of(field) {
            Some(role) if !self.is_taken(role) => Target::Role(role),
            _ => Target::Property { name: field.into(), fixed: None },
        }
    }

    /// The fields that the mapping names.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(|field| &**field)
    }

    fn is_taken(&self, role: Role) -> bool {
        self.targets.values().any(|target| *target == Target::Role(role))
    }
}

impl FromStr for Mapping {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, MappingError> {
        let mut mapping = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (ours, theirs) =
                entry.split_once('=').ok_or_else(|| MappingError::NotAnEntry(entry.to_owned()))?;
            let (ours, theirs) = (ours.trim(), theirs.trim());
            let (theirs, fixed) = split_type(theirs);
            if theirs.is_empty() {
                return Err(MappingError::NotAnEntry(entry.to_owned()));
            }
            let target = match Role::of(ours) {
                Some(_) if fixed.is_some() => return Err(MappingError::TypeOfARole(ours.to_owned())),
                Some(role) if mapping.is_taken(role) => return Err(MappingError::Repeated(ours.to_owned())),
                Some(role) => Target::Role(role),
                None if ours.is_empty() => Target::Dropped,
                None => Target::Property { name: ours.into(), fixed },
            };
            if mapping.targets.insert(theirs.into(), target).is_some() {
                return Err(MappingError::Repeated(theirs.to_owned()));
            }
        }
        Ok(mapping)
    }
}

impl Role {
    pub const ALL: [Self; 6] =
        [Self::UserId, Self::AnonymousId, Self::Type, Self::Time, Self::EventId, Self::ArrivalTime];

    pub const fn name(self) -> &'static str {
        match self {
            Self::UserId => "user_id",
            Self::AnonymousId => "anonymous_id",
            Self::Type => "type",
            Self::Time => "time",
            Self::EventId => "event_id",
            Self::ArrivalTime => "arrival_time",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Parts `category:text` into name and type.
pub(crate) fn split_type(name: &str) -> (&str, Option<Type>) {
    let typed = TYPES.iter().find_map(|(suffix, kind)| Some((name.strip_suffix(suffix)?, Some(*kind))));
    typed.unwrap_or((name, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_renamed_typed_and_dropped() {
        let mapping: Mapping = "user_id=visitorid, type=event,time=timestamp,category=categoryid:text,=noise"
            .parse()
            .expect("a mapping");
        assert_eq!(mapping.explicit("visitorid"), Some(&Target::Role(Role::UserId)));
        assert_eq!(
            mapping.explicit("categoryid"),
            Some(&Target::Property { name: "category".into(), fixed: Some(Type::Text) })
        );
        assert_eq!(mapping.explicit("noise"), Some(&Target::Dropped));
        // Mapped away from: a plain property now.
        assert_eq!(mapping.implicit("type"), Target::Property { name: "type".into(), fixed: None });
        assert_eq!(mapping.implicit("event_id"), Target::Role(Role::EventId));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("visitorid", MappingError::NotAnEntry("visitorid".into())),
            ("a=", MappingError::NotAnEntry("a=".into())),
            ("a=x,b=x", MappingError::Repeated("x".into())),
            ("time=a,time=b", MappingError::Repeated("time".into())),
            ("time=ts:text", MappingError::TypeOfARole("time".into())),
        ] {
            assert_eq!(text.parse::<Mapping>().err(), Some(expected), "{text}");
        }
    }
}
