//! From a committed firing to whoever waits for it.
//!
//! Delivery is at least once: a subscription takes firings in order and
//! acknowledges a token; after a break it goes on from what it acknowledged.
//! The firing id is the idempotency key.

mod cursors;
mod outbox;

pub use cursors::{
    Cursors, Error as CursorError, stored_clock, stored_definitions, stored_rollout, stored_sequence,
};
pub use outbox::{Outbox, Page, Writer};

use std::fmt;
use std::str::FromStr;

use crate::engine::codec;
use crate::engine::firing::Firing;
use crate::store::{self, LogPosition};

/// A firing's place in the order of commits, the same after any restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    position: u64,
    /// Among the firings of one decision.
    index: u16,
}

/// A firing in the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    pub token: Token,
    pub firing: Firing,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("firing {token} in the outbox: {error}")]
    Stored { token: Token, error: codec::Error },
    #[error("{0:?} is not a resume token of this server")]
    Token(String),
}

impl Token {
    /// Before every firing.
    pub const START: Self = Self { position: 0, index: 0 };

    /// The token of the `index`-th firing of the decision at `position`.
    pub fn new(position: LogPosition, index: u16) -> Self {
        // Zero is before everything: firings start at one.
        Self { position: position.get(), index: index.saturating_add(1) }
    }

    pub const fn position(self) -> LogPosition {
        LogPosition::new(self.position)
    }

    /// The least token after this one.
    fn next(self) -> Self {
        match self.index.checked_add(1) {
            Some(index) => Self { index, ..self },
            None => Self { position: self.position + 1, index: 0 },
        }
    }

    /// Ten bytes that sort as the tokens do.
    fn key(self) -> [u8; 10] {
        let mut key = [0; 10];
        key[..8].copy_from_slice(&self.position.to_be_bytes());
        key[8..].copy_from_slice(&self.index.to_be_bytes());
        key
    }

    fn from_key(key: &[u8]) -> Option<Self> {
        let (position, index) = key.split_first_chunk::<8>()?;
        let index: [u8; 2] = index.try_into().ok()?;
        Some(Self { position: u64::from_be_bytes(*position), index: u16::from_be_bytes(index) })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.position, self.index)
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (position, index) = text.split_once('.')?;
            Some(Self {
                position: u64::from_str_radix(position, 16).ok()?,
                index: u16::from_str_radix(index, 16).ok()?,
            })
        };
        parse().ok_or_else(|| Error::Token(text.to_owned()))
    }
}
