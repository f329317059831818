//! Which events came already.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::event::EventUid;
use crate::engine::time::{Millis, Timestamp};

/// So many are searched one by one.
const FEW: usize = 32;

/// Uids of events by arrival, as far back as an event may still come again.
#[derive(Clone, Debug, Default)]
pub struct SeenUids(Option<Box<Seen>>);

#[derive(Clone, Debug, Default)]
struct Seen {
    by_arrival: VecDeque<(Timestamp, EventUid)>,
    /// The arrivals of all of them, or empty while they are few.
    index: BTreeMap<EventUid, Timestamp>,
}

impl SeenUids {
    /// Records a uid; false if it was there already. Forgets what arrived
    /// before the horizon.
    pub fn insert(&mut self, uid: EventUid, now: Timestamp, horizon: Millis) -> bool {
        let seen = self.0.get_or_insert_default();
        seen.forget_before(now.before(horizon));
        if seen.arrival_of(uid).is_some() {
            return false;
        }
        seen.push(now, uid);
        true
    }

    /// Whether the uid was seen within the horizon before `now`.
    pub fn contains(&self, uid: EventUid, now: Timestamp, horizon: Millis) -> bool {
        let arrival = self.0.as_ref().and_then(|seen| seen.arrival_of(uid));
        arrival.is_some_and(|arrival| arrival >= now.before(horizon))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(Timestamp, EventUid)> {
        static NONE: VecDeque<(Timestamp, EventUid)> = VecDeque::new();
        self.0.as_ref().map_or(&NONE, |seen| &seen.by_arrival).iter()
    }
}

impl Seen {
    fn arrival_of(&self, uid: EventUid) -> Option<Timestamp> {
        if !self.index.is_empty() {
            return self.index.get(&uid).copied();
        }
        self.by_arrival.iter().find(|(_, other)| *other == uid).map(|(arrival, _)| *arrival)
    }

    fn forget_before(&mut self, oldest: Timestamp) {
        while let Some(&(arrival, uid)) = self.by_arrival.front()
            && arrival < oldest
        {
            self.by_arrival.pop_front();
            self.index.remove(&uid);
        }
        if self.by_arrival.len() <= FEW / 2 {
            self.index.clear();
        }
    }

    fn push(&mut self, arrival: Timestamp, uid: EventUid) {
        self.by_arrival.push_back((arrival, uid));
        if !self.index.is_empty() {
            self.index.insert(uid, arrival);
        } else if self.by_arrival.len() > FEW {
            self.index = self.by_arrival.iter().map(|&(arrival, uid)| (uid, arrival)).collect();
        }
    }
}

impl FromIterator<(Timestamp, EventUid)> for SeenUids {
    fn from_iter<T: IntoIterator<Item = (Timestamp, EventUid)>>(seen: T) -> Self {
        let mut all = Self::default();
        for (arrival, uid) in seen {
            all.0.get_or_insert_default().push(arrival, uid);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However many there are, and whether they went through a list or not.
        #[test]
        fn a_uid_is_seen_until_its_horizon(
            drawn in prop::collection::vec((0..80_u128, 0..12_i64, prop::bool::weighted(0.05)), 0..400),
        ) {
            let horizon = Millis::new(300);
            let (mut seen, mut naive) = (SeenUids::default(), Vec::new());
            let mut now = Timestamp::from_millis(0);
            for (uid, wait, packs) in drawn {
                now = now.after(Millis::new(wait));
                let uid = EventUid(uid);
                naive.retain(|(arrival, _)| *arrival >= now.before(horizon));
                let is_new = naive.iter().all(|(_, other)| *other != uid);
                prop_assert_eq!(seen.contains(uid, now, horizon), !is_new);
                prop_assert_eq!(seen.insert(uid, now, horizon), is_new);
                if is_new {
                    naive.push((now, uid));
                }
                if packs {
                    seen = seen.iter().copied().collect();
                }
                prop_assert_eq!(seen.iter().copied().collect::<Vec<_>>(), naive.clone());
            }
        }
    }
}
