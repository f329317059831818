//! The near end of the timers: which of a worker's users is due next.
//!
//! The timers themselves are part of the profiles, and so as durable as
//! these; this index is rebuilt from them at start.

use std::collections::{BTreeSet, HashMap};

use crate::engine::event::UserId;
use crate::engine::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Timers {
    by_due: BTreeSet<(Timestamp, UserId)>,
    due_of: HashMap<UserId, Timestamp>,
}

impl Timers {
    /// Sets when the user is due next, if at all.
    pub fn set(&mut self, user: &UserId, due: Option<Timestamp>) {
        if self.due_of.get(user).copied() == due {
            return;
        }
        let before = match due {
            Some(due) => {
                self.by_due.insert((due, user.clone()));
                self.due_of.insert(user.clone(), due)
            }
            None => self.due_of.remove(user),
        };
        if let Some(before) = before {
            self.by_due.remove(&(before, user.clone()));
        }
    }

    /// The next instant at which some user is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// The user due first, if due by `until`; stays until set anew.
    pub fn first_due(&self, until: Timestamp) -> Option<(Timestamp, UserId)> {
        self.by_due.first().filter(|(due, _)| *due <= until).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_due_in_order_and_move() {
        let (ada, bob) = (UserId::known("ada"), UserId::known("bob"));
        let at = Timestamp::from_millis;
        let mut timers = Timers::default();
        timers.set(&ada, Some(at(20)));
        timers.set(&bob, Some(at(10)));
        assert_eq!(timers.first_due(at(9)), None);
        assert_eq!(timers.first_due(at(10)), Some((at(10), bob.clone())));
        timers.set(&bob, Some(at(30)));
        assert_eq!(timers.next_due(), Some(at(20)));
        timers.set(&ada, None);
        assert_eq!(timers.first_due(at(99)), Some((at(30), bob)));
    }
}
