//! Events as JSON lines.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::draft::{Draft, FieldProblem, Scalar};
use super::mapping::{Mapping, Target};
use super::{Problem, Record};

/// The record of a line.
pub(super) fn parse(line: u64, bytes: &[u8], mapping: &Mapping) -> Result<Record, FieldProblem> {
    let whole = |problem| ("line".to_owned(), problem);
    let text = std::str::from_utf8(bytes).map_err(|_| whole(Problem::NotUtf8))?;
    let json: Json<'_> =
        serde_json::from_str(text).map_err(|error| whole(Problem::NotJson(error.to_string())))?;
    let Json::Object(fields) = json else {
        return Err(whole(Problem::WrongType { found: json.to_string(), expected: "an object" }));
    };
    let mut draft = Draft::with_capacity(fields.len());
    for (name, value) in fields {
        match value {
            Json::Object(properties) if name == "properties" && mapping.explicit(&name).is_none() => {
                for (name, value) in properties {
                    take(&mut draft, mapping, Place::Properties, &name, &value)?;
                }
            }
            value => take(&mut draft, mapping, Place::Top, &name, &value)?,
        }
    }
    draft.finish(line)
}

/// Where a field stands: only at the top can it be more than a property
/// without a mapping.
#[derive(Clone, Copy)]
enum Place {
    Top,
    Properties,
}

fn take(
    draft: &mut Draft,
    mapping: &Mapping,
    place: Place,
    path: &str,
    value: &Json<'_>,
) -> Result<(), FieldProblem> {
    let explicit = match place {
        Place::Top => mapping.explicit(path),
        Place::Properties => {
            mapping.explicit(path).or_else(|| mapping.explicit(&format!("properties.{path}")))
        }
    };
    let implied;
    let target = match explicit {
        Some(Target::Dropped) => return Ok(()),
        Some(target) => target,
        None => {
            implied = match place {
                Place::Top => mapping.implicit(path),
                Place::Properties => Target::Property { name: path.into(), fixed: None },
            };
            &implied
        }
    };
    let scalar = match value {
        Json::Null => return Ok(()),
        Json::Text(text) if text.is_empty() && matches!(target, Target::Role(_)) => return Ok(()),
        Json::Object(fields) => {
            for (name, value) in fields {
                take(draft, mapping, place, &format!("{path}.{name}"), value)?;
            }
            return Ok(());
        }
        Json::Array(_) => {
            let text = value.to_string();
            return set(draft, target, path, Scalar::Text(&text));
        }
        Json::Text(text) => Scalar::Text(text),
        Json::Bool(bool) => Scalar::Bool(*bool),
        Json::Integer(integer) => Scalar::Integer(*integer),
        Json::Unsigned(integer) => Scalar::Unsigned(*integer),
        Json::Number(number) => Scalar::Number(*number),
    };
    set(draft, target, path, scalar)
}

fn set(draft: &mut Draft, target: &Target, path: &str, scalar: Scalar<'_>) -> Result<(), FieldProblem> {
    draft.set(target, scalar).map_err(|problem| (path.to_owned(), problem))
}

/// JSON that keeps the order of keys and the difference between integers and
/// other numbers, and borrows what it can.
enum Json<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Number(f64),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Compact JSON.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(bool) => write!(f, "{bool}"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Unsigned(integer) => write!(f, "{integer}"),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Text(text) => write_text(f, text),
            Self::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    write_text(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(bool))
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(integer))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(integer).map_or(Json::Unsigned(integer), Json::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some(Json::Text(name)) = access.next_key()? {
            fields.push((name, access.next_value()?));
        }
        Ok(Json::Object(fields))
    }
}
