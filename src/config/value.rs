//! Typed values out of TOML and out of plain text.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use toml::de::DeValue;

use crate::engine::time::Millis;

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// From the environment or a flag: of whatever type its key has.
    Untyped(String),
}

/// What a key can hold.
pub trait Setting: fmt::Debug + Sized {
    /// Names the type in messages: "expected …".
    const EXPECTED: &'static str;

    /// `None` if `raw` is not such a value.
    fn read(raw: &Raw) -> Option<Self>;

    /// As it would be written.
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The same where memory is meant; saturating.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SIZE_UNITS: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// As written in a configuration, in the largest unit that divides it.
impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |shift: u32| self.0 != 0 && self.0.trailing_zeros() >= shift;
        let (unit, shift) = SIZE_UNITS.into_iter().find(|(_, shift)| divides(*shift)).unwrap_or(("B", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl Raw {
    /// `None` for what no key holds: dates, arrays, and integers beyond 64 bits.
    pub fn of(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self::Text(text.clone().into_owned())),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(Self::Integer)
            }
            DeValue::Float(float) => float.as_str().parse().ok().map(Self::Float),
            DeValue::Boolean(bool) => Some(Self::Bool(*bool)),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Untyped(text) => Some(text),
            Self::Integer(_) | Self::Float(_) | Self::Bool(_) => None,
        }
    }
}

impl Setting for String {
    const EXPECTED: &'static str = "a text";

    fn read(raw: &Raw) -> Option<Self> {
        raw.as_text().map(str::to_owned)
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Bool(bool) => Some(*bool),
            Raw::Untyped(text) => text.parse().ok(),
            Raw::Text(_) | Raw::Integer(_) | Raw::Float(_) => None,
        }
    }
}

impl Setting for usize {
    const EXPECTED: &'static str = "a whole number";

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Integer(integer) => usize::try_from(*integer).ok(),
            Raw::Untyped(text) => text.parse().ok(),
            Raw::Text(_) | Raw::Float(_) | Raw::Bool(_) => None,
        }
    }
}

impl Setting for f64 {
    const EXPECTED: &'static str = "a number";

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Integer(integer) => Some(*integer as f64),
            Raw::Float(float) => Some(*float),
            Raw::Untyped(text) => text.parse().ok(),
            Raw::Text(_) | Raw::Bool(_) => None,
        }
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a duration such as \"250ms\", \"10s\" or \"24h\"";

    fn read(raw: &Raw) -> Option<Self> {
        let span: Millis = raw.as_text()?.parse().ok()?;
        u64::try_from(span.as_millis()).ok().map(Self::from_millis)
    }

    fn show(&self) -> String {
        i64::try_from(self.as_millis()).map_or_else(|_| format!("{self:?}"), |ms| Millis::new(ms).to_string())
    }
}

impl Setting for Size {
    const EXPECTED: &'static str = "a size such as \"512B\", \"64KiB\" or \"4MiB\"";

    fn read(raw: &Raw) -> Option<Self> {
        let text = raw.as_text()?;
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_at);
        let (_, shift) = SIZE_UNITS.into_iter().find(|(name, _)| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(1 << shift).map(Self)
    }
}

impl Setting for SocketAddr {
    const EXPECTED: &'static str = "an address and port such as \"127.0.0.1:7600\" or \"[::1]:7600\"";

    fn read(raw: &Raw) -> Option<Self> {
        raw.as_text()?.parse().ok()
    }
}
