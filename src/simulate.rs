//! A simulated shop, for what no public data has: page views, carts left
//! behind, visitors before login, late and repeated events, and the truth.
//!
//! Each customer has a hidden **intent** that nobody but the simulator sees:
//! it comes up now and then, grows, fades, and is spent by a purchase. Intent
//! decides how often a customer visits and what happens during a visit; see
//! [`behaviour`]. Because intent, visits and carts form a Markov chain, the
//! probability of a purchase within 24 hours can be computed, not only
//! estimated: see [`Truth`]. It bounds what any model can reach.
//!
//! Everything follows from [`Config`]. The generator uses ChaCha8 and only
//! arithmetic that IEEE 754 rounds exactly (no logarithms, no powers), so a
//! seed gives the same events on every platform.

pub mod behaviour;
mod catalogue;
pub mod ceiling;
mod dice;
mod event;
mod outbox;
mod outlook;
mod population;
mod session;
mod shop;

pub use shop::Shop;

use crate::engine::event::UserId;
use crate::engine::time::{Millis, Timestamp};

/// What a shop follows from.
#[derive(Clone, Debug)]
pub struct Config {
    pub n_users: u32,
    /// When the first hour begins.
    pub start: Timestamp,
    /// After this long nothing happens any more, only late events arrive; none: endless.
    pub span: Option<Millis>,
    pub seed: u64,
    pub shares: Shares,
}

/// What real traffic is spoilt by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Of visits: begun before login. Their events carry an `anonymous_id`
    /// alone until a `login` event, which carries both ids; a visit of which
    /// nothing comes often ends without one.
    pub anonymous: f64,
    /// Of events: held up on their way for up to six hours. All others arrive
    /// within half a second.
    pub late: f64,
    /// Of events: arriving a second time with the same `event_id`, within ten minutes.
    pub duplicate: f64,
}

/// What the simulator knows of a customer right after an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Who it really is, also before login.
    pub person: UserId,
    /// 0 idle, 1 curious, 2 comparing, 3 ready to buy.
    pub intent: u8,
    pub cart_items: u8,
    /// The probability that the visit under way leads to a (further) purchase. Exact.
    pub purchase_in_visit: f64,
    /// The probability of a purchase after the event and within 24 hours of
    /// it, given all that the simulator knows: intent, cart, the state of the
    /// visit, the customer's habits.
    ///
    /// Exact but for the last of the hours: which part of that hour's visits
    /// would buy within the horizon goes by their usual timing. One hour in
    /// 24 is concerned, and the error is a small part of its share.
    pub purchase_24h: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { anonymous: 0.3, late: 0.02, duplicate: 0.01 }
    }
}

#[cfg(test)]
mod tests;
