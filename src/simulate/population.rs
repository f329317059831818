//! The customers.

use std::sync::Arc;

use crate::engine::event::UserId;

use super::behaviour::{Class, MAX_CART_ITEMS};
use super::catalogue::Catalogue;
use super::dice::Dice;
use super::event::CartLine;

pub const HOUR_MS: i64 = 3_600_000;
/// The most active customer visits at most this many times as often as the mean.
const MAX_ACTIVITY: f64 = 30.0;
/// How many are idle, curious, comparing and ready at the start.
const FIRST_INTENTS: [f64; 4] = [0.84, 0.09, 0.04, 0.03];

/// A customer, in as little memory as it takes.
#[derive(Clone, Debug)]
pub struct User {
    /// Where the customer's own hours begin.
    pub offset_ms: u32,
    /// Hours ahead of UTC, which also tell early birds from night owls.
    pub hours_ahead: u8,
    pub class: Class,
    /// Visits relative to the mean; Zipf by rank.
    pub activity: f32,
    pub device: u8,
    pub favourites: [u8; 2],
    pub intent: u8,
    pub cart: [CartLine; MAX_CART_ITEMS],
    /// How many of them are filled.
    pub cart_items: u8,
    /// Counts the carts.
    pub cart_number: u32,
    /// An index into the plans.
    pub plan: Option<u8>,
}

impl User {
    pub fn cart(&self) -> &[CartLine] {
        &self.cart[..usize::from(self.cart_items)]
    }
}

/// By offset, so that going through them goes through the hour.
pub fn draw(n_users: u32, dice: &mut Dice) -> Vec<User> {
    let mut ranks: Vec<u32> = (1..=n_users).collect();
    dice.shuffle(&mut ranks);
    let mean = ranks.iter().map(|rank| zipf(*rank)).sum::<f64>() / f64::from(n_users.max(1));
    let mut users: Vec<User> = ranks
        .into_iter()
        .map(|rank| User {
            offset_ms: dice.below(HOUR_MS as u32),
            hours_ahead: dice.below(4) as u8,
            class: Class { price: dice.below(3) as u8, loyalty: dice.below(3) as u8 },
            activity: (zipf(rank) / mean).min(MAX_ACTIVITY) as f32,
            device: dice.pick([0.6, 0.33, 0.07]) as u8,
            favourites: [Catalogue::any_category(dice), Catalogue::any_category(dice)],
            intent: dice.pick(FIRST_INTENTS) as u8,
            cart: [CartLine::default(); MAX_CART_ITEMS],
            cart_items: 0,
            cart_number: 0,
            plan: None,
        })
        .collect();
    users.sort_by_key(|user| user.offset_ms);
    users
}

/// rank^-0.75, by square roots, which are rounded alike everywhere.
fn zipf(rank: u32) -> f64 {
    let rank = f64::from(rank);
    1.0 / (rank * rank.sqrt()).sqrt()
}

pub fn known_id(user: u32) -> UserId {
    UserId::known(&format!("u{user:07}"))
}

/// The id of the customer's browser, which tells nothing of the customer's.
pub fn anonymous_id(user: u32, seed: u64) -> Arc<str> {
    let key = [user.to_le_bytes().as_slice(), &seed.to_le_bytes()].concat();
    format!("v{:016x}", xxhash_rust::xxh3::xxh3_64(&key)).into()
}
