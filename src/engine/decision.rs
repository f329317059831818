//! What was decided, and all it was decided on: enough to explain it later
//! and to fold it without deciding again.

use std::fmt;
use std::sync::Arc;

use super::event::EventUid;
use super::model::{Reason, Score};
use super::time::Arrival;
use super::vector::Vector;

/// One scoring and trigger evaluation of one user.
#[derive(Clone, Debug)]
pub struct Decision {
    pub as_of: Arrival,
    pub cause: Cause,
    /// Every feature, as read; see [`Plan::features`](super::plan::Plan::features).
    pub vector: Vector,
    pub scores: Vec<Score>,
    /// Models that gave none, by index into [`Plan::models`](super::plan::Plan::models).
    /// Counted and not recorded: nothing is decided on them.
    pub unscored: Vec<usize>,
    pub outcomes: Vec<Outcome>,
}

impl Decision {
    /// What a model, by index into [`Plan::models`](super::plan::Plan::models), was scored; none
    /// if it was not.
    pub fn score_of(&self, model: usize) -> Option<&Score> {
        self.scores.iter().find(|score| score.model == model)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Event(EventUid),
    /// The user's timers due at the as-of.
    Timers,
}

/// What a trigger did in a decision. What did not change is not recorded.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The trigger's name; slots differ between versions of the definitions.
    pub trigger: Arc<str>,
    /// The key of the arming, for keyed triggers.
    pub key: Option<Arc<str>>,
    pub action: Action,
    /// The score that was compared, for score triggers.
    pub score: Option<f64>,
    /// Top contributions to the score, for firings.
    pub reasons: Vec<Reason>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Fired {
        id: FiringId,
        variant: Option<Arc<str>>,
    },
    /// Passed every gate, and is in the holdout: recorded, not delivered.
    HeldOut {
        id: FiringId,
    },
    /// The gate that stopped it; recorded when the gate changes, not at every evaluation.
    Suppressed {
        gate: Gate,
    },
    /// The score went back over the exit threshold.
    Rearmed,
    /// The first score by another version of the model is beyond the threshold:
    /// as if fired, without a firing.
    Baselined,
}

/// The gates a firing passes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    Disabled,
    When,
    Unless,
    Cooldown,
    Cap,
}

/// The idempotency key of a firing: the same through retries, replays,
/// crashes and new versions of the definition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiringId(pub u128);

impl Gate {
    pub const ALL: [Self; 5] = [Self::Disabled, Self::When, Self::Unless, Self::Cooldown, Self::Cap];

    /// The gate's name in metrics, replies and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::When => "when",
            Self::Unless => "unless",
            Self::Cooldown => "cooldown",
            Self::Cap => "cap",
        }
    }
}

impl fmt::Display for FiringId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for FiringId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FiringId({self})")
    }
}

impl std::str::FromStr for FiringId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}
