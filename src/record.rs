//! What a log entry holds: a user's step, or something of the whole server.
//!
//! The first byte tells the kind; each kind carries a version of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::codec;
use crate::engine::event::UserId;
use crate::engine::input::Step;
use crate::engine::plan::Plan;
use crate::registry::Move;
use crate::store::LogPosition;

/// Number of user partitions, fixed in the store's header.
pub const VIRTUAL_SHARDS: u16 = 1_024;
/// The virtual shard of what belongs to no user; the store has one more than users do.
pub const CONTROL_SHARD: u16 = VIRTUAL_SHARDS;

/// The end of the log as far as commits have been answered; everything before
/// it has gone where it goes.
#[derive(Debug)]
pub struct CommittedEnd(AtomicU64);

const STEP: u8 = 1;
const CONTROL: u8 = 2;

/// A log entry, read.
#[derive(Clone, Debug)]
pub enum Record {
    Step(UserId, Box<Step>),
    Control(Control),
}

/// An input to the server as a whole.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "control", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// The arrivals of this store are those of this clock, by its name in the configuration.
    Clock { mode: String },
    /// From here on decisions are made under these definitions; the slots of
    /// the vectors that follow are theirs.
    Definitions { digest: String, source: String },
    /// From a start on these artifacts serve, by model; a model without one is not scored.
    Models { serving: Vec<(String, u32)> },
    /// What serves, or is kept loaded, has changed.
    Moved(Move),
    /// A subscription has taken everything up to the token.
    Acknowledged { subscription: String, token: String },
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Step(#[from] codec::Error),
    #[error("control record: {0}")]
    Control(String),
    #[error("record of unknown kind {0}")]
    Kind(u8),
    #[error("record is empty")]
    Empty,
}

impl CommittedEnd {
    pub const fn new(end: LogPosition) -> Self {
        Self(AtomicU64::new(end.get()))
    }

    pub fn get(&self) -> LogPosition {
        LogPosition::new(self.0.load(Ordering::Acquire))
    }

    /// Called in the order of commits.
    pub fn set(&self, end: LogPosition) {
        self.0.store(end.get(), Ordering::Release);
    }
}

/// The bytes of one step of `user`, decided under `plan`.
pub fn encode_step(plan: &Plan, user: &UserId, step: &Step) -> Vec<u8> {
    let mut bytes = vec![STEP];
    codec::encode_step(plan, user, step, &mut bytes);
    bytes
}

pub fn encode_control(control: &Control) -> Vec<u8> {
    let mut bytes = vec![CONTROL];
    // Strings and finite numbers only: what serde_json cannot fail on.
    bytes.extend(serde_json::to_vec(control).unwrap_or_default());
    bytes
}

/// Reads an entry's payload; names in it are resolved by `plan`.
pub fn decode(plan: &Plan, payload: &[u8]) -> Result<Record, Error> {
    match payload.split_first() {
        None => Err(Error::Empty),
        Some((&STEP, bytes)) => {
            let (user, step) = codec::decode_step(plan, bytes)?;
            Ok(Record::Step(user, Box::new(step)))
        }
        Some((&CONTROL, bytes)) => serde_json::from_slice(bytes)
            .map(Record::Control)
            .map_err(|error| Error::Control(error.to_string())),
        Some((&kind, _)) => Err(Error::Kind(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_records_read_back() {
        let plan = crate::definitions::compile("").expect("nothing is a valid definition");
        let control = Control::Models { serving: vec![("churn".into(), 3)] };
        match decode(&plan, &encode_control(&control)) {
            Ok(Record::Control(read)) => assert_eq!(read, control),
            other => panic!("{other:?}"),
        }
        assert!(matches!(decode(&plan, &[]), Err(Error::Empty)));
        assert!(matches!(decode(&plan, &[9, 1]), Err(Error::Kind(9))));
        assert!(matches!(decode(&plan, &[CONTROL, b'{']), Err(Error::Control(_))));
    }
}
