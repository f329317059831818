//! What a user did, and who the user is.

use std::fmt;
use std::sync::Arc;

use super::time::Timestamp;

/// The canonical id of a profile: a known user, or an anonymous visitor who
/// is a user of their own until linked.
///
/// The two kinds never collide: the key carries the kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// The identity of an event for deduplication and for the canonical order:
/// a hash of the id given, else minted from the arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventUid(pub u128);

/// A typed property value. Numbers are finite; what is not is refused at the edge.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Arc<str>),
    Number(f64),
    Integer(i64),
    Bool(bool),
    Time(Timestamp),
}

/// An accepted event. Properties are sorted by name, each name once.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub uid: EventUid,
    /// The id the sender gave, kept as it came.
    pub id: Option<Box<str>>,
    /// The event's type, such as `purchase`.
    pub kind: Box<str>,
    /// When it happened, by the sender; never after its arrival.
    pub time: Timestamp,
    /// The visitor id that came along with a known user.
    pub anonymous_id: Option<Box<str>>,
    pub properties: Vec<(Box<str>, Value)>,
}

impl UserId {
    pub fn known(id: &str) -> Self {
        Self(format!("u:{id}").into())
    }

    pub fn anonymous(id: &str) -> Self {
        Self(format!("a:{id}").into())
    }

    /// The key under which the profile is kept: kind and id.
    pub fn key(&self) -> &str {
        &self.0
    }

    /// The inverse of [`UserId::key`].
    pub fn from_key(key: &str) -> Option<Self> {
        (key.starts_with("u:") || key.starts_with("a:")).then(|| Self(key.into()))
    }

    /// The id as the sender gave it.
    pub fn id(&self) -> &str {
        &self.0[2..]
    }

    pub fn is_anonymous(&self) -> bool {
        self.0.starts_with('a')
    }

    /// The user's virtual shard, one of `n_virtual_shards`, by xxh3 of the key.
    pub fn virtual_shard(&self, n_virtual_shards: u16) -> u16 {
        (xxhash_rust::xxh3::xxh3_64(self.0.as_bytes()) % u64::from(n_virtual_shards)) as u16
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_anonymous() {
            f.write_str("anonymous:")?;
        }
        f.write_str(self.id())
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({})", self.0)
    }
}

impl EventUid {
    /// Stands in an event without an id until its arrival is known.
    pub const UNMINTED: Self = Self(0);

    /// The uid of an event whose sender named it.
    pub fn of_id(id: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(id.as_bytes()))
    }

    /// The uid of an event without an id: ordered as the events arrived.
    pub fn minted(virtual_shard: u16, sequence: u64) -> Self {
        Self(u128::from(sequence) << 64 | u128::from(virtual_shard) << 1 | 1)
    }
}

impl Value {
    /// The value as a number: booleans are 0 and 1, times are milliseconds; text is none.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Text(_) => None,
            Self::Number(number) => Some(*number),
            Self::Integer(integer) => Some(*integer as f64),
            Self::Bool(bool) => Some(f64::from(u8::from(*bool))),
            Self::Time(time) => Some(time.as_millis() as f64),
        }
    }

    pub fn as_text(&self) -> Option<&Arc<str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}
