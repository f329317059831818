//! How customers behave: the Markov chain behind the shop.
//!
//! **Between visits** a customer lives by the hour, on a grid of their own.
//! At the turn of an hour the intent may move one level (or, rarely, jump from
//! idle to comparing), a cart may expire, and a visit may begin in the first
//! half of the hour; its chance grows with intent and follows the customer's
//! habits, the hour of the day and the day of the week.
//!
//! **During a visit** each action leads to the next by chance, depending on
//! the intent, on what is in the cart and on the customer's class, until the
//! visitor leaves or has acted [`MAX_ACTIONS`] times. Visits end within the
//! hour and leave intent as it was, unless they end in a purchase: then the
//! intent is idle and the cart empty.

/// Levels of intent: idle, curious, comparing, ready.
pub const N_INTENTS: usize = 4;
pub const MAX_CART_ITEMS: usize = 4;
/// How many different things a cart can hold, nothing included.
pub(super) const N_CARTS: usize = MAX_CART_ITEMS + 1;
pub const MAX_ACTIONS: usize = 40;
pub(super) const N_ACTIONS: usize = 9;
/// Price sensitivity times loyalty, three levels each.
pub(super) const N_CLASSES: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Home,
    Listing,
    Search,
    Product,
    AddToCart,
    Cart,
    RemoveFromCart,
    Checkout,
    Purchase,
}

/// What a customer is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// 0 free-handed, 2 sensitive to prices.
    pub price: u8,
    /// 0 a stranger, 2 a regular.
    pub loyalty: u8,
}

/// What a visitor does next: an action, or leaving.
pub(super) struct Next {
    /// By [`Action`].
    pub actions: [f64; N_ACTIONS],
    pub leave: f64,
}

/// The chance of moving on instead of leaving, after each action, by intent.
const MOVES_ON: [f64; N_INTENTS] = [0.66, 0.82, 0.90, 0.93];
/// The chance that a look at a product puts it into the cart, by intent.
const ADDS: [f64; N_INTENTS] = [0.006, 0.03, 0.085, 0.19];
/// The chance to go from the cart to the checkout, by intent.
const CHECKS_OUT: [f64; N_INTENTS] = [0.03, 0.10, 0.26, 0.50];
/// The chance to go through with a checkout, by intent.
const PAYS: [f64; N_INTENTS] = [0.25, 0.40, 0.56, 0.72];
const PRICE_FACTORS: [f64; 3] = [1.2, 1.0, 0.7];
const LOYALTY_FACTORS: [f64; 3] = [0.85, 1.0, 1.12];

/// An hour's chance for an idle customer to become curious, by loyalty.
const AROUSED: [f64; 3] = [0.001_2, 0.002_5, 0.005];
/// An hour's chance for an idle customer to need something at once.
const JUMPS: f64 = 0.000_6;
const FADES: [f64; N_INTENTS] = [0.0, 0.020, 0.022, 0.030];
const GROWS: [f64; N_INTENTS] = [0.0, 0.012, 0.018, 0.0];
/// An hour's chance that a cart is cleared.
pub(super) const CART_EXPIRES: f64 = 0.01;

/// Visits a day of a customer of mean activity, by intent.
const VISITS_PER_DAY: [f64; N_INTENTS] = [0.14, 0.8, 1.8, 2.8];
/// No hour is surer than this to bring a visit.
const MAX_VISIT_CHANCE: f64 = 0.5;
/// The day's course, from midnight; its mean is 1.
const HOURS: [f64; 24] = [
    0.35, 0.2, 0.12, 0.1, 0.1, 0.18, 0.4, 0.7, 0.95, 1.15, 1.25, 1.3, 1.35, 1.25, 1.15, 1.1, 1.15, 1.3, 1.6,
    1.9, 2.1, 2.0, 1.5, 0.8,
];
/// From Monday; their mean is 1.
const WEEKDAYS: [f64; 7] = [1.0, 0.95, 0.93, 0.95, 0.9, 1.07, 1.2];
const HOURS_PER_DAY: i64 = 24;
/// 1970-01-01 was a Thursday.
const EPOCH_WEEKDAY: i64 = 3;

impl Action {
    pub const ALL: [Self; N_ACTIONS] = [
        Self::Home,
        Self::Listing,
        Self::Search,
        Self::Product,
        Self::AddToCart,
        Self::Cart,
        Self::RemoveFromCart,
        Self::Checkout,
        Self::Purchase,
    ];

    /// How many items the cart holds after the action.
    pub fn cart_after(self, n_items: usize) -> usize {
        match self {
            Self::AddToCart => (n_items + 1).min(MAX_CART_ITEMS),
            Self::RemoveFromCart => n_items.saturating_sub(1),
            Self::Purchase => 0,
            _ => n_items,
        }
    }
}

impl Class {
    pub fn index(self) -> usize {
        usize::from(self.price) * 3 + usize::from(self.loyalty)
    }

    pub fn of(index: usize) -> Self {
        Self { price: (index / 3) as u8, loyalty: (index % 3) as u8 }
    }
}

/// The first action of a visit.
pub(super) fn entry(n_items: usize, intent: usize) -> [f64; N_ACTIONS] {
    use Action::{Cart, Home, Listing, Product, Search};
    let to_cart = if n_items > 0 { [0.1, 0.2, 0.3, 0.4][intent] } else { 0.0 };
    let rest = 1.0 - to_cart;
    weights(&[
        (Home, 0.45 * rest),
        (Listing, 0.15 * rest),
        (Search, 0.15 * rest),
        (Product, 0.25 * rest),
        (Cart, to_cart),
    ])
}

/// What follows an action, with `n_items` in the cart after it.
pub(super) fn next(action: Action, n_items: usize, intent: usize, class: Class) -> Next {
    use Action::{AddToCart, Cart, Checkout, Home, Listing, Product, Purchase, RemoveFromCart, Search};
    let price = PRICE_FACTORS[usize::from(class.price)];
    let loyalty = LOYALTY_FACTORS[usize::from(class.loyalty)];
    let moves_on = match action {
        Purchase => 0.0,
        // Who has come this far either pays, goes back or leaves.
        Checkout => 1.0,
        _ => MOVES_ON[intent],
    };
    let to_cart = if n_items > 0 { 0.1 } else { 0.0 };
    let mut actions = match action {
        Home => weights(&[(Listing, 0.45), (Search, 0.25), (Product, 0.3 - to_cart), (Cart, to_cart)]),
        Listing => weights(&[(Product, 0.6), (Listing, 0.2), (Search, 0.1), (Home, 0.1)]),
        Search => weights(&[(Product, 0.65), (Search, 0.2), (Listing, 0.15)]),
        Product => {
            let adds = if n_items < MAX_CART_ITEMS { (ADDS[intent] * price).min(1.0) } else { 0.0 };
            let rest = 1.0 - adds;
            let browse = rest * (1.0 - to_cart);
            weights(&[
                (AddToCart, adds),
                (Cart, rest * to_cart),
                (Product, browse * 0.45),
                (Listing, browse * 0.35),
                (Search, browse * 0.2),
            ])
        }
        AddToCart => weights(&[(Cart, 0.45), (Product, 0.3), (Listing, 0.25)]),
        Cart if n_items > 0 => {
            let checks_out = CHECKS_OUT[intent] * loyalty;
            let rest = 1.0 - checks_out;
            weights(&[
                (Checkout, checks_out),
                (RemoveFromCart, rest * 0.2),
                (Product, rest * 0.4),
                (Listing, rest * 0.4),
            ])
        }
        Cart => weights(&[(Listing, 0.6), (Home, 0.4)]),
        RemoveFromCart => weights(&[(Cart, 0.5), (Listing, 0.5)]),
        Checkout => {
            let pays = PAYS[intent] * loyalty * (0.5 + 0.5 * price);
            let pays = pays.min(0.97);
            let back = (1.0 - pays) * 0.4;
            let leave = 1.0 - pays - back;
            return Next { actions: weights(&[(Purchase, pays), (Cart, back)]), leave };
        }
        Purchase => weights(&[]),
    };
    for weight in &mut actions {
        *weight *= moves_on;
    }
    Next { actions, leave: 1.0 - moves_on }
}

/// The chances of each intent an hour later.
pub(super) fn intent_after_an_hour(intent: usize, class: Class) -> [f64; N_INTENTS] {
    let mut chances = [0.0; N_INTENTS];
    if intent == 0 {
        chances[1] = AROUSED[usize::from(class.loyalty)];
        chances[2] = JUMPS;
    } else {
        chances[intent - 1] = FADES[intent];
        if intent + 1 < N_INTENTS {
            chances[intent + 1] = GROWS[intent];
        }
    }
    chances[intent] = 1.0 - chances.iter().sum::<f64>();
    chances
}

/// The chance that a visit begins in an hour, counted from 1970 in the customer's own time.
pub(super) fn visit_chance(intent: usize, activity: f64, local_hour: i64) -> f64 {
    let hour = local_hour.rem_euclid(HOURS_PER_DAY) as usize;
    let weekday = (local_hour.div_euclid(HOURS_PER_DAY) + EPOCH_WEEKDAY).rem_euclid(7) as usize;
    let mean = VISITS_PER_DAY[intent] / HOURS_PER_DAY as f64;
    (mean * activity * HOURS[hour] * WEEKDAYS[weekday]).min(MAX_VISIT_CHANCE)
}

fn weights(pairs: &[(Action, f64)]) -> [f64; N_ACTIONS] {
    let mut weights = [0.0; N_ACTIONS];
    for (action, weight) in pairs {
        weights[*action as usize] += weight;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_add_up() {
        let is_one = |sum: f64| (sum - 1.0).abs() < 1e-12;
        for class in (0..N_CLASSES).map(Class::of) {
            for intent in 0..N_INTENTS {
                assert!(is_one(intent_after_an_hour(intent, class).iter().sum()));
                for n_items in 0..N_CARTS {
                    assert!(is_one(entry(n_items, intent).iter().sum()));
                    for action in Action::ALL {
                        let next = next(action, n_items, intent, class);
                        assert!(is_one(next.actions.iter().sum::<f64>() + next.leave), "{action:?}");
                        assert!(next.actions.iter().all(|weight| *weight >= 0.0), "{action:?}");
                    }
                }
            }
        }
        assert!(is_one(HOURS.iter().sum::<f64>() / 24.0));
        assert!(is_one(WEEKDAYS.iter().sum::<f64>() / 7.0));
    }

    #[test]
    fn sundays_are_busier_than_fridays() {
        // 2026-01-02 was a Friday.
        let friday_noon = (1_767_312_000 / 3_600) + 12;
        assert!(visit_chance(1, 1.0, friday_noon + 48) > visit_chance(1, 1.0, friday_noon));
    }
}
