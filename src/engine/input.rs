//! Everything that changes a user's state from outside, and the step it makes
//! together with what was decided on it.

use super::decision::Decision;
use super::event::{Event, Value};
use super::time::Arrival;

/// An input to one user's state.
#[derive(Clone, Debug)]
pub enum Input {
    Event(Event),
    /// The user's timers that are due at the arrival's instant are run.
    Timers,
    /// Traits set by an identify call; a name set before is overwritten.
    Traits(Vec<(Box<str>, Value)>),
    /// The visitor id is the user; recorded, so that links can be folded from history.
    Link {
        anonymous_id: Box<str>,
    },
}

/// One input as accepted, with the decision it caused: what the log holds, an
/// entry each, and what recovery folds.
#[derive(Clone, Debug)]
pub struct Step {
    /// For timers the due instant, else when the shard accepted the input.
    pub arrival: Arrival,
    pub input: Input,
    /// None if no model is scored on the input and no trigger looks at it.
    pub decision: Option<Decision>,
}
