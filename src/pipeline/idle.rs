//! Which hot profiles of a worker to look at next: each is looked at once per
//! `pack_after`, and packed if it was idle for that long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::engine::event::UserId;

/// The users whose profiles are hot, each once, by when they were last looked at.
#[derive(Debug)]
pub(super) struct Idle {
    queue: VecDeque<(UserId, Instant)>,
    pack_after: Duration,
}

impl Idle {
    pub fn new(pack_after: Duration) -> Self {
        Self { queue: VecDeque::new(), pack_after }
    }

    /// Watches a user who was looked at just now, and is not watched yet.
    pub fn watch(&mut self, user: UserId, now: Instant) {
        self.queue.push_back((user, now));
    }

    pub fn has_due(&self, now: Instant) -> bool {
        self.queue.front().is_some_and(|(_, looked)| now.duration_since(*looked) >= self.pack_after)
    }

    /// The next user to look at, with the instant they were last looked at: who
    /// was not used since is idle. They are not watched any more.
    pub fn pop_due(&mut self, now: Instant) -> Option<(UserId, Instant)> {
        if self.has_due(now) { self.queue.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_at_in_turn() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let (ada, bob) = (UserId::known("ada"), UserId::known("bob"));
        let mut idle = Idle::new(minute);
        idle.watch(ada.clone(), start);
        idle.watch(bob.clone(), start + minute / 2);
        assert!(!idle.has_due(start + minute / 2));
        assert_eq!(idle.pop_due(start + minute), Some((ada.clone(), start)));
        assert_eq!(idle.pop_due(start + minute), None);
        idle.watch(ada, start + minute);
        assert_eq!(idle.pop_due(start + 3 * minute), Some((bob, start + minute / 2)));
    }
}
