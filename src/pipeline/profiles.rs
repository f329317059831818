//! The map of users: profiles in use are decoded, idle ones are their packed
//! record.
//!
//! A packed profile is decoded when its owner next has an input or a due timer
//! for it; a reader decodes a copy and leaves the map as it is.

use std::collections::hash_map::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use dashmap::{DashMap, Entry};

use crate::engine::codec::{Error, decode_profile, encode_profile};
use crate::engine::event::UserId;
use crate::engine::plan::Plan;
use crate::engine::profile::Profile;

/// Stripes of the map: enough that two threads rarely meet in one.
const STRIPES: usize = 256;

/// The profiles of all users: read by anyone, changed by the owner of the
/// user's shard.
#[derive(Debug)]
pub struct Profiles {
    plan: Arc<Plan>,
    users: DashMap<UserId, Resident>,
    n_packed: AtomicUsize,
    packed_bytes: AtomicUsize,
}

/// What the map holds of one user.
#[derive(Debug)]
enum Resident {
    Hot(Box<Hot>),
    Packed(Packed),
}

#[derive(Debug)]
struct Hot {
    profile: Profile,
    used: Instant,
}

/// A record that decodes under the plan: it was encoded here, or decoded once
/// when it came in.
#[derive(Clone, Debug)]
struct Packed(Box<[u8]>);

/// What the map held of a user before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Hot,
    Packed,
    /// Nothing: the user is new.
    Unknown,
    /// Nothing, and so it still is: no input came.
    Refused,
}

/// How many users there are, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub all: usize,
    pub packed: usize,
    /// The records of those that are packed.
    pub packed_bytes: usize,
}

impl Profiles {
    /// `plan` is what every profile is folded under.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            users: DashMap::with_capacity_and_hasher_and_shard_amount(0, RandomState::new(), STRIPES),
            n_packed: AtomicUsize::new(0),
            packed_bytes: AtomicUsize::new(0),
        }
    }

    pub fn count(&self) -> Count {
        Count {
            all: self.users.len(),
            packed: self.n_packed.load(Ordering::Relaxed),
            packed_bytes: self.packed_bytes.load(Ordering::Relaxed),
        }
    }

    /// What `read` makes of the user's profile; it gets none for a user never seen.
    pub fn read<T>(&self, user: &UserId, read: impl FnOnce(Option<&Profile>) -> T) -> T {
        let packed = match self.users.get(user) {
            None => return read(None),
            Some(resident) => match resident.value() {
                Resident::Hot(hot) => return read(Some(&hot.profile)),
                Resident::Packed(packed) => packed.clone(),
            },
        };
        // Decoded after the map's lock is let go.
        read(Some(&packed.decode(&self.plan)))
    }

    /// The user's record, as the views hold it; none for a user never seen.
    pub fn record(&self, user: &UserId) -> Option<Vec<u8>> {
        Some(match self.users.get(user)?.value() {
            Resident::Hot(hot) => encode_profile(&self.plan, &hot.profile),
            Resident::Packed(packed) => packed.0.to_vec(),
        })
    }

    /// Changes the user's profile, which is hot from then on. A user never seen
    /// starts from an empty profile, which is kept if an input came.
    pub fn change<T>(
        &self,
        user: &UserId,
        now: Instant,
        change: impl FnOnce(&mut Profile) -> T,
    ) -> (T, Before) {
        let hot = |profile| Resident::Hot(Box::new(Hot { profile, used: now }));
        match self.users.entry(user.clone()) {
            Entry::Occupied(mut occupied) => match occupied.get_mut() {
                Resident::Hot(hot) => {
                    hot.used = now;
                    (change(&mut hot.profile), Before::Hot)
                }
                Resident::Packed(packed) => {
                    let mut profile = packed.decode(&self.plan);
                    let changed = change(&mut profile);
                    self.n_packed.fetch_sub(1, Ordering::Relaxed);
                    self.packed_bytes.fetch_sub(packed.0.len(), Ordering::Relaxed);
                    occupied.insert(hot(profile));
                    (changed, Before::Packed)
                }
            },
            Entry::Vacant(vacant) => {
                let mut profile = Profile::new(&self.plan);
                let changed = change(&mut profile);
                if profile.last_arrival.is_none() {
                    return (changed, Before::Refused);
                }
                vacant.insert(hot(profile));
                (changed, Before::Unknown)
            }
        }
    }

    /// Packs the user's profile unless it was used after `idle_since`. Returns
    /// whether it is packed now.
    pub fn pack(&self, user: &UserId, idle_since: Instant) -> bool {
        let Some(mut resident) = self.users.get_mut(user) else { return true };
        if let Resident::Hot(hot) = resident.value() {
            if hot.used > idle_since {
                return false;
            }
            let record = Packed(encode_profile(&self.plan, &hot.profile).into());
            self.count_packed(&record);
            *resident = Resident::Packed(record);
        }
        true
    }

    /// Takes in a profile as its stored record, which stays packed. Returns the
    /// profile that was decoded to see that it can be.
    ///
    /// # Errors
    /// The record does not decode.
    pub fn insert_packed(&self, user: UserId, record: &[u8]) -> Result<Profile, Error> {
        let profile = decode_profile(&self.plan, record)?;
        let record = Packed(record.into());
        self.count_packed(&record);
        self.users.insert(user, Resident::Packed(record));
        Ok(profile)
    }

    pub fn for_each_hot(&self, mut each: impl FnMut(&UserId, &Profile)) {
        for entry in &self.users {
            if let Resident::Hot(hot) = entry.value() {
                each(entry.key(), &hot.profile);
            }
        }
    }

    fn count_packed(&self, record: &Packed) {
        self.n_packed.fetch_add(1, Ordering::Relaxed);
        self.packed_bytes.fetch_add(record.0.len(), Ordering::Relaxed);
    }
}

impl Packed {
    fn decode(&self, plan: &Plan) -> Profile {
        decode_profile(plan, &self.0).expect("a packed record decodes")
    }
}
