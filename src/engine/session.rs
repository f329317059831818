//! Sessions: stretches of a user's events without a long gap.

use std::collections::VecDeque;

use super::plan::{SessionPlan, TimeBounds};
use super::time::{Millis, Timestamp};

/// Sessions that are kept although no event can change them any more and no
/// feature counts them.
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
///
/// That holds as long as the sessions that an event or a count can still reach
/// are no more than [`SessionPlan::max_kept`]. Of a user with more the oldest
/// are forgotten all the same: a count that reaches back to them is approximate,
/// and not greater than the exact one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    sessions: VecDeque<Session>,
    forgotten: Forgotten,
}

/// What is left of the sessions that are not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    pub n_sessions: u64,
    /// The latest event time of all that is forgotten.
    pub until: Timestamp,
    /// Events that came for them later: the number of all sessions is off by
    /// no more.
    pub n_strays: u64,
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
    pub fn insert(&mut self, time: Timestamp, bounds: TimeBounds, plan: SessionPlan, now: Timestamp) {
        if self.is_of_forgotten(time, bounds) {
            self.forgotten.n_strays += 1;
            if self.sessions.front().is_none_or(|oldest| time.after(bounds.session_gap) <= oldest.start) {
                self.forgotten.until = self.forgotten.until.max(time);
                return;
            }
        }
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
        while self.has_too_many(bounds, plan, now) {
            let Some(oldest) = self.sessions.pop_front() else { break };
            self.forgotten.n_sessions += 1;
            self.forgotten.until = oldest.end;
        }
    }

    /// How many sessions have an event in the `window` that ends at `now`;
    /// without one, how many there ever were.
    pub fn count(&self, window: Option<Millis>, now: Timestamp) -> u64 {
        let forgotten = if window.is_none() { self.forgotten.n_sessions } else { 0 };
        forgotten.saturating_add(self.within(window, now).len() as u64)
    }

    /// Those of them that are kept, by time.
    pub fn within(
        &self,
        window: Option<Millis>,
        now: Timestamp,
    ) -> impl DoubleEndedIterator<Item = &Session> + ExactSizeIterator {
        let start = window
            .map_or(0, |window| self.sessions.partition_point(|session| session.end <= now.before(window)));
        self.sessions.range(start..)
    }

    /// Whether a part of the session was forgotten.
    pub fn is_cut(&self, session: &Session, bounds: TimeBounds) -> bool {
        self.is_of_forgotten(session.start, bounds)
    }

    /// Whether that count is not exact, for what was forgotten.
    pub fn is_approximate(&self, window: Option<Millis>, now: Timestamp) -> bool {
        match window {
            Some(window) => self.forgotten.n_sessions > 0 && self.forgotten.until > now.before(window),
            None => self.forgotten.n_strays > 0,
        }
    }

    /// Whether some count may not be exact, or some session be cut.
    pub fn may_be_approximate(&self, bounds: TimeBounds, plan: SessionPlan, now: Timestamp) -> bool {
        self.forgotten.n_strays > 0
            || self.is_approximate(Some(plan.longest_window), now)
            || self.sessions.front().is_some_and(|oldest| self.is_cut(oldest, bounds))
    }

    /// The event time of the latest event.
    pub fn last_end(&self) -> Option<Timestamp> {
        self.sessions.back().map(|session| session.end)
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
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Session> + ExactSizeIterator {
        self.sessions.iter()
    }

    /// Whether an event or a session that begins at `time` would have been one
    /// with what is forgotten, or before it.
    fn is_of_forgotten(&self, time: Timestamp, bounds: TimeBounds) -> bool {
        self.forgotten.n_sessions > 0 && time < self.forgotten.until.after(bounds.session_gap)
    }

    pub fn forgotten(&self) -> Forgotten {
        self.forgotten
    }

    /// Rebuilds them from what [`Sessions::iter`] and [`Sessions::forgotten`] gave.
    pub fn from_parts(sessions: Vec<Session>, forgotten: Forgotten) -> Self {
        Self { sessions: sessions.into(), forgotten }
    }

    /// Whether the oldest is to be forgotten: when no event and no count can
    /// reach it, or there is no room.
    fn has_too_many(&self, bounds: TimeBounds, plan: SessionPlan, now: Timestamp) -> bool {
        let is_past =
            self.sessions.front().is_some_and(|oldest| oldest.end <= now.before(plan.longest_window));
        // Counting only those that cannot change keeps what is forgotten
        // independent of the order of arrival.
        let is_beyond = self.sessions.get(KEPT_SESSIONS).is_some_and(|session| session.is_final(bounds, now));
        is_past && is_beyond || self.sessions.len() > plan.max_kept
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

impl Default for Forgotten {
    fn default() -> Self {
        Self { n_sessions: 0, until: Timestamp::MIN, n_strays: 0 }
    }
}
