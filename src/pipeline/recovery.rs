//! From what is on disk to the profiles in memory: the views, then the log's tail, folded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::Profiles;
use crate::delivery::{Cursors, Token, stored_clock, stored_rollout, stored_sequence};
use crate::engine;
use crate::engine::event::UserId;
use crate::engine::firing::Firing;
use crate::engine::plan::Plan;
use crate::engine::profile::Profile;
use crate::engine::time::Timestamp;
use crate::record::{self, CONTROL_SHARD, Control, Record, VIRTUAL_SHARDS};
use crate::registry::Rollout;
use crate::store::{self, LogPosition, LogReader, Recovery, View};

/// What recovery found, ready to be served.
#[derive(Debug)]
pub struct Recovered {
    /// Packed, unless the log had more for them.
    pub profiles: Profiles,
    /// Users who were packed with a timer, and when it was due then.
    pub packed_due: Vec<(UserId, Timestamp)>,
    /// The next sequence number of each virtual shard that has one.
    pub sequences: HashMap<u16, u64>,
    /// Users whose stored view is behind, with a position before what it lacks.
    pub dirty: Vec<(UserId, LogPosition)>,
    /// Firings of the folded tail, for the outbox to take those that it lacks.
    pub firings: Vec<(LogPosition, Firing)>,
    pub n_replayed: u64,
    /// The latest arrival of any user; none without one.
    pub last_arrival: Option<Timestamp>,
    /// The name of the clock that the arrivals are of; none if it was never recorded.
    pub clock: Option<String>,
    /// How far each subscription has come.
    pub cursors: HashMap<String, Token>,
    /// What is recorded of each model, of those that no definition names any more too.
    pub rollouts: HashMap<String, Rollout>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("profile of user {user} in the views: {error}")]
    Profile { user: String, error: engine::codec::Error },
    #[error("what the views hold of {0}")]
    Rollout(String),
    #[error("log entry at {position}: {error}")]
    Record { position: LogPosition, error: record::Error },
}

impl Error {
    /// Whether it is the views that do not read back: they can be made anew from the log.
    pub const fn is_of_the_views(&self) -> bool {
        matches!(
            self,
            Self::Profile { .. } | Self::Rollout(_) | Self::Store(store::Error::ViewDamaged { .. })
        )
    }
}

/// Folds what the store holds.
///
/// # Errors
/// What does not read back is refused by its place; nothing is skipped.
pub fn recover(plan: &Arc<Plan>, recovery: &Recovery) -> Result<Recovered, Error> {
    let profiles = Profiles::new(plan.clone());
    let mut sequences: HashMap<u16, u64> = HashMap::new();
    let mut seen = |virtual_shard: u16, sequence: u64| {
        let next = sequences.entry(virtual_shard).or_default();
        *next = (*next).max(sequence + 1);
    };

    let (mut last_arrival, mut packed_due, mut failed) = (None, Vec::new(), None);
    recovery.for_each_view(View::Profiles, |key, value| {
        match take_in_stored(&profiles, key, value) {
            Ok((user, profile)) => {
                if let Some(last) = profile.last_arrival {
                    seen(user.virtual_shard(VIRTUAL_SHARDS), last.sequence);
                    last_arrival = last_arrival.max(Some(last.time));
                }
                packed_due.extend(profile.next_due().map(|due| (user, due)));
            }
            Err(error) => failed = failed.take().or(Some(error)),
        }
        failed.is_none()
    })?;
    if let Some(error) = failed.take() {
        return Err(error);
    }

    let (mut clock, mut cursors, mut rollouts) = (None, HashMap::new(), HashMap::new());
    recovery.for_each_view(View::Control, |key, value| {
        clock = clock.take().or_else(|| stored_clock(key, value));
        cursors.extend(Cursors::stored(key, value));
        match stored_rollout(key, value).transpose() {
            Ok(stored) => rollouts.extend(stored),
            Err(error) => failed = Some(Error::Rollout(error)),
        }
        if let Some(next) = stored_sequence(key, value) {
            seen(CONTROL_SHARD, next.saturating_sub(1));
        }
        failed.is_none()
    })?;
    if let Some(error) = failed {
        return Err(error);
    }

    let now = Instant::now();
    let mut members = HashSet::new();
    let (mut dirty, mut firings, mut n_replayed) = (Vec::new(), Vec::new(), 0);
    for entry in recovery.entries(recovery.replay_from())? {
        let (position, entry) = entry?;
        seen(entry.virtual_shard, entry.sequence);
        let record =
            record::decode(plan, &entry.payload).map_err(|error| Error::Record { position, error })?;
        let (user, step) = match record {
            Record::Step(user, step) => (user, step),
            Record::Control(Control::Acknowledged { subscription, token }) => {
                if let Ok(token) = token.parse::<Token>() {
                    let cursor = cursors.entry(subscription).or_default();
                    *cursor = token.max(*cursor);
                }
                continue;
            }
            Record::Control(Control::Clock { mode }) => {
                clock = Some(mode);
                continue;
            }
            Record::Control(Control::Moved(next)) => {
                rollouts.entry(next.model.clone()).or_default().fold(next);
                continue;
            }
            Record::Control(Control::Definitions { .. } | Control::Models { .. }) => continue,
        };
        if let Some(decision) = &step.decision {
            firings.extend(decision.firings(&user, plan).map(|firing| (position, firing)));
        }
        let (is_new, _) = profiles.change(&user, now, |profile| {
            // The view may hold it already: each profile is stored at a time of its own.
            if profile.last_arrival.is_some_and(|last| last.sequence >= step.arrival.sequence) {
                return false;
            }
            engine::fold(plan, &user, profile, &step);
            profile.armings_refused = 0;
            true
        });
        if !is_new {
            continue;
        }
        last_arrival = last_arrival.max(Some(step.arrival.time));
        n_replayed += 1;
        if members.insert(user.clone()) {
            dirty.push((user, position));
        }
    }
    Ok(Recovered {
        profiles,
        packed_due,
        sequences,
        dirty,
        firings,
        n_replayed,
        last_arrival,
        clock,
        cursors,
        rollouts,
    })
}

/// What the log records of the models, read through from its start.
///
/// # Errors
/// As [`recover`], as far as it is about the log.
pub fn recorded_rollouts(plan: &Plan, log: LogReader) -> Result<HashMap<String, Rollout>, Error> {
    let mut rollouts: HashMap<String, Rollout> = HashMap::new();
    for entry in log {
        let (position, entry) = entry?;
        if entry.virtual_shard != CONTROL_SHARD {
            continue;
        }
        let record =
            record::decode(plan, &entry.payload).map_err(|error| Error::Record { position, error })?;
        if let Record::Control(Control::Moved(next)) = record {
            rollouts.entry(next.model.clone()).or_default().fold(next);
        }
    }
    Ok(rollouts)
}

fn take_in_stored(profiles: &Profiles, key: &[u8], record: &[u8]) -> Result<(UserId, Profile), Error> {
    let key = String::from_utf8_lossy(key).into_owned();
    let Some(user) = UserId::from_key(&key) else {
        let error = engine::codec::Error::Invalid { at: 0, what: "user key" };
        return Err(Error::Profile { user: key, error });
    };
    let profile = profiles.insert_packed(user.clone(), record);
    Ok((user, profile.map_err(|error| Error::Profile { user: key, error })?))
}
