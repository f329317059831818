//! What time the server goes by.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::ClockMode;
use crate::engine::time::Timestamp;

/// The wall clock, or one that follows what clients send.
#[derive(Debug)]
pub enum Clock {
    Wall,
    /// Milliseconds since the Unix epoch; never backwards.
    Replay(AtomicI64),
}

impl Clock {
    /// Where a replay clock stands until it is advanced: the Unix epoch.
    pub const START: Timestamp = Timestamp::from_millis(0);

    pub const fn new(mode: ClockMode) -> Self {
        match mode {
            ClockMode::Wall => Self::Wall,
            ClockMode::Replay => Self::Replay(AtomicI64::new(Self::START.as_millis())),
        }
    }

    pub const fn mode(&self) -> ClockMode {
        match self {
            Self::Wall => ClockMode::Wall,
            Self::Replay(_) => ClockMode::Replay,
        }
    }

    pub fn now(&self) -> Timestamp {
        match self {
            Self::Wall => wall(),
            Self::Replay(now_ms) => Timestamp::from_millis(now_ms.load(Ordering::Acquire)),
        }
    }

    /// Moves a replay clock on to `to`, and returns the time it then has; an
    /// earlier `to` does not move it, and nothing moves the wall clock.
    pub fn advance(&self, to: Timestamp) -> Timestamp {
        match self {
            Self::Wall => wall(),
            Self::Replay(now_ms) => {
                let before = now_ms.fetch_max(to.as_millis(), Ordering::AcqRel);
                Timestamp::from_millis(before.max(to.as_millis()))
            }
        }
    }
}

/// The time of day.
pub fn wall() -> Timestamp {
    // A clock set before 1970 reads as 1970.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_clock_follows_and_never_goes_back() {
        let clock = Clock::new(ClockMode::Replay);
        assert_eq!(clock.now(), Clock::START);
        assert_eq!(clock.advance(Timestamp::from_millis(50)), Timestamp::from_millis(50));
        assert_eq!(clock.advance(Timestamp::from_millis(20)), Timestamp::from_millis(50));
        assert_eq!(clock.now(), Timestamp::from_millis(50));
    }

    #[test]
    fn nothing_moves_the_wall_clock() {
        let clock = Clock::new(ClockMode::Wall);
        let future = Timestamp::from_millis(i64::MAX);
        assert!(clock.advance(future) < future);
        assert!(clock.now() < future);
    }
}
