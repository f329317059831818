//! Sessions: stretches of a user's events without a long gap.

use std::collections::VecDeque;

use super::plan::TimeBounds;
use super::time::Timestamp;

/// Sessions that are kept although no event can change them any more.
pub const KEPT_SESSIONS: usize = 20;

/// One stretch: each event less than the inactivity gap after the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The event time of its first event.
    pub start: Timestamp,
    /// The event time of its last event so far.
    pub end: Timestamp,
    pub n_events: u64,
}

/// A user's latest sessions, by time.
///
/// A function of the set of accepted events: a late event goes where it
/// belongs, and two sessions that it bridges become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    sessions: VecDeque<Session>,
}

impl Session {
    /// Whether an event at `now` would still join it.
    pub fn is_open(&self, bounds: TimeBounds, now: Timestamp) -> bool {
        now < self.end.after(bounds.session_gap)
    }

    /// Whether no event that arrives from `now` on can join it.
    fn is_final(&self, bounds: TimeBounds, now: Timestamp) -> bool {
        !self.is_open(bounds, now.before(bounds.lateness))
    }
}

impl Sessions {
    /// Adds an event of `time` that arrived at `now`.
    pub fn insert(&mut self, time: Timestamp, bounds: TimeBounds, now: Timestamp) {
        let at = match self.sessions.back() {
            // Nearly always the last; a late event goes to its place.
            Some(last) if last.start <= time => self.sessions.len() - usize::from(last.is_open(bounds, time)),
            _ => self.sessions.partition_point(|session| !session.is_open(bounds, time)),
        };
        match self.sessions.get_mut(at) {
            Some(session) if session.start < time.after(bounds.session_gap) => {
                session.start = session.start.min(time);
                session.end = session.end.max(time);
                session.n_events += 1;
                self.bridge(at, bounds);
            }
            _ => self.sessions.insert(at, Session { start: time, end: time, n_events: 1 }),
        }
        // Counting only those that cannot change keeps what is forgotten
        // independent of the order of arrival.
        while self.sessions.get(KEPT_SESSIONS).is_some_and(|session| session.is_final(bounds, now)) {
            self.sessions.pop_front();
        }
    }

    /// The session that an event at `now` would still join.
    pub fn current(&self, bounds: TimeBounds, now: Timestamp) -> Option<&Session> {
        self.sessions.back().filter(|session| session.is_open(bounds, now))
    }

    /// The latest session that has ended by `now`.
    pub fn previous(&self, bounds: TimeBounds, now: Timestamp) -> Option<&Session> {
        self.sessions.iter().rev().find(|session| !session.is_open(bounds, now))
    }

    /// The instant from which on rows may still be in the current or the
    /// previous session, whatever arrives from `now` on.
    pub fn reach(&self, bounds: TimeBounds, now: Timestamp) -> Timestamp {
        let n_final = self.sessions.partition_point(|session| session.is_final(bounds, now));
        // All later sessions may yet become one with the last of the final ones before it.
        let oldest = self.sessions.get(n_final.saturating_sub(1));
        oldest.map_or(now, |session| session.start)
    }

    /// The latest sessions, at most [`KEPT_SESSIONS`], latest first.
    pub fn latest(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().rev().take(KEPT_SESSIONS)
    }

    /// Every session that is kept, by time.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Session> {
        self.sessions.iter()
    }

    /// Makes one of the session at `at` and the next if no gap is left between them.
    fn bridge(&mut self, at: usize, bounds: TimeBounds) {
        let Some(next) = self.sessions.get(at + 1).copied() else { return };
        let session = &mut self.sessions[at];
        if session.is_open(bounds, next.start) {
            session.end = next.end;
            session.n_events += next.n_events;
            self.sessions.remove(at + 1);
        }
    }
}

impl FromIterator<Session> for Sessions {
    fn from_iter<T: IntoIterator<Item = Session>>(sessions: T) -> Self {
        Self { sessions: sessions.into_iter().collect() }
    }
}
