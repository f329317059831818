//! Instants and spans, in whole milliseconds.
//!
//! Time is an argument everywhere in the engine; nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(i64);

/// When a shard accepted an input: strictly increasing per virtual shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arrival {
    /// The instant, never before that of the arrival before it.
    pub time: Timestamp,
    /// The virtual shard's sequence number of the input.
    pub sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is neither RFC 3339 nor integer milliseconds since 1970")]
    NotATimestamp(String),
    #[error("{0:?} is not a duration such as \"30m\", \"24h\" or \"7d\"")]
    NotADuration(String),
}

impl Timestamp {
    pub const MIN: Self = Self(i64::MIN);
    pub const MAX: Self = Self(i64::MAX);

    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The instant `span` later, saturating.
    #[must_use]
    pub const fn after(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The instant `span` earlier, saturating.
    #[must_use]
    pub const fn before(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The span since `earlier`, saturating; negative if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Millis {
    pub const ZERO: Self = Self(0);
    pub const SECOND: Self = Self(1_000);
    pub const MINUTE: Self = Self(60_000);
    pub const HOUR: Self = Self(3_600_000);
    pub const DAY: Self = Self(86_400_000);

    pub const fn new(ms: i64) -> Self {
        Self(ms)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

/// RFC 3339 in UTC; outside the range of the civil calendar, the plain milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

/// RFC 3339, or integer milliseconds since the Unix epoch.
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(ms) = text.parse::<i64>() {
            return Ok(Self(ms));
        }
        text.parse::<jiff::Timestamp>()
            .map(|instant| Self(instant.as_millisecond()))
            .map_err(|_| Error::NotATimestamp(text.to_owned()))
    }
}

const UNITS: [(&str, i64); 6] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The largest unit that divides the span: `90m`, `24h` is `1d`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, ms) in UNITS {
            if unit != "w" && self.0 != 0 && self.0 % ms == 0 {
                return write!(f, "{}{unit}", self.0 / ms);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

/// A whole number and a unit: `ms`, `s`, `m`, `h`, `d` or `w`.
impl FromStr for Millis {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::NotADuration(text.to_owned());
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*ms).map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        for (text, ms) in [("30m", 1_800_000), ("24h", 86_400_000), ("250ms", 250), ("2w", 1_209_600_000)] {
            assert_eq!(text.parse::<Millis>(), Ok(Millis(ms)), "{text}");
        }
        assert_eq!(Millis(86_400_000).to_string(), "1d");
        assert_eq!(Millis(5_400_000).to_string(), "90m");
        for text in ["", "30", "m", "-3d", "3 d", "9999999999999999d", "1y"] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
    }

    #[test]
    fn timestamps_parse_both_forms() {
        let instant = Timestamp(1_291_191_960_000);
        assert_eq!("2010-12-01T08:26:00Z".parse(), Ok(instant));
        assert_eq!("1291191960000".parse(), Ok(instant));
        assert_eq!(instant.to_string(), "2010-12-01T08:26:00Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
