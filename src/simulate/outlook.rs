//! The probability of a purchase, from the chain itself.

use super::behaviour::{
    Action, CART_EXPIRES, Class, MAX_ACTIONS, N_ACTIONS, N_CARTS, N_CLASSES, N_INTENTS, entry,
    intent_after_an_hour, next, visit_chance,
};

/// How a visit ends without a purchase: the probability of each cart it leaves.
/// What they lack to 1 is the probability of a purchase.
pub(super) type Endings = [f64; N_CARTS];

/// The endings of visits from every state, for every class and intent.
pub(super) struct Outlook {
    /// By class, intent, actions left, last action and cart after it.
    endings: Vec<Endings>,
    /// By class, intent and cart, when a visit begins.
    whole_visit: Vec<Endings>,
}

/// What decides about a customer's next day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Customer {
    pub class: Class,
    pub activity: f64,
    pub intent: usize,
    /// The hour under way, counted from 1970 in the customer's own time.
    pub local_hour: i64,
    /// How far into it, in hours.
    pub elapsed: f64,
}

/// The probabilities of no purchase, by intent and cart.
type NoPurchase = [[f64; N_CARTS]; N_INTENTS];

const HORIZON_HOURS: i64 = 24;

impl Outlook {
    pub fn new() -> Self {
        let n_rows = N_CLASSES * N_INTENTS;
        let mut outlook = Self {
            endings: vec![[0.0; N_CARTS]; n_rows * MAX_ACTIONS * N_ACTIONS * N_CARTS],
            whole_visit: vec![[0.0; N_CARTS]; n_rows * N_CARTS],
        };
        for class in (0..N_CLASSES).map(Class::of) {
            for intent in 0..N_INTENTS {
                outlook.solve(class, intent);
            }
        }
        outlook
    }

    /// The endings of a visit in which `action` was the last and `n_left` more may follow.
    pub fn endings(
        &self,
        class: Class,
        intent: usize,
        n_left: usize,
        action: Action,
        n_items: usize,
    ) -> &Endings {
        &self.endings[index(class, intent, n_left, action, n_items)]
    }

    /// The probability of a purchase within 24 hours, if the visit under way
    /// ends as `endings` says; without a visit, in the present cart for sure.
    pub fn purchase_24h(&self, customer: &Customer, endings: &Endings) -> f64 {
        let no_purchase = &self.after_the_hour(customer)[customer.intent];
        1.0 - endings.iter().zip(no_purchase).map(|(ending, no_purchase)| ending * no_purchase).sum::<f64>()
    }

    /// Backwards from the horizon, hour by hour, to the end of the hour under way.
    fn after_the_hour(&self, customer: &Customer) -> NoPurchase {
        let mut after = [[1.0; N_CARTS]; N_INTENTS];
        // Of the last hour only as much lies within the horizon as has passed of this one.
        let mut share = bought_by(customer.elapsed);
        for ahead in (1..=HORIZON_HOURS).rev() {
            let mut within = after;
            for (intent, row) in within.iter_mut().enumerate() {
                let visit = visit_chance(intent, customer.activity, customer.local_hour + ahead);
                for (n_items, no_purchase) in row.iter_mut().enumerate() {
                    let endings = &self.whole_visit[visit_index(customer.class, intent, n_items)];
                    let bought = 1.0 - endings.iter().sum::<f64>();
                    let survives: f64 =
                        endings.iter().zip(&after[intent]).map(|(ending, later)| ending * later).sum();
                    let visited = survives + bought * (1.0 - share);
                    *no_purchase = (1.0 - visit) * *no_purchase + visit * visited;
                }
            }
            for (intent, row) in after.iter_mut().enumerate() {
                let moves = intent_after_an_hour(intent, customer.class);
                for (n_items, no_purchase) in row.iter_mut().enumerate() {
                    let cart_stays = if n_items > 0 { 1.0 - CART_EXPIRES } else { 1.0 };
                    *no_purchase = moves
                        .iter()
                        .zip(&within)
                        .map(|(chance, row)| {
                            chance * (cart_stays * row[n_items] + (1.0 - cart_stays) * row[0])
                        })
                        .sum();
                }
            }
            share = 1.0;
        }
        after
    }

    fn solve(&mut self, class: Class, intent: usize) {
        for n_left in 0..MAX_ACTIONS {
            for action in Action::ALL {
                for n_items in 0..N_CARTS {
                    let solved = self.one_step(class, intent, n_left, action, n_items);
                    self.endings[index(class, intent, n_left, action, n_items)] = solved;
                }
            }
        }
        for n_items in 0..N_CARTS {
            let first = entry(n_items, intent);
            let solved = self.mixed(&first, class, intent, MAX_ACTIONS - 1, n_items);
            self.whole_visit[visit_index(class, intent, n_items)] = solved;
        }
    }

    fn one_step(
        &self,
        class: Class,
        intent: usize,
        n_left: usize,
        action: Action,
        n_items: usize,
    ) -> Endings {
        let mut left = [0.0; N_CARTS];
        left[n_items] = 1.0;
        if n_left == 0 {
            return left;
        }
        let next = next(action, n_items, intent, class);
        let mut endings = self.mixed(&next.actions, class, intent, n_left - 1, n_items);
        endings[n_items] += next.leave;
        endings
    }

    /// The endings if the next action is drawn by `weights`.
    fn mixed(
        &self,
        weights: &[f64; N_ACTIONS],
        class: Class,
        intent: usize,
        n_left: usize,
        n_items: usize,
    ) -> Endings {
        let mut mixed = [0.0; N_CARTS];
        for (action, weight) in Action::ALL.into_iter().zip(weights) {
            if *weight == 0.0 || action == Action::Purchase {
                continue;
            }
            let endings = self.endings(class, intent, n_left, action, action.cart_after(n_items));
            for (mixed, ending) in mixed.iter_mut().zip(endings) {
                *mixed += weight * ending;
            }
        }
        mixed
    }
}

/// The share of a whole visit hour's purchases that are made by then: visits
/// begin evenly over the first half hour, and a purchase takes some minutes.
fn bought_by(elapsed_hours: f64) -> f64 {
    const MEAN_HOURS_TO_PURCHASE: f64 = 0.05;
    ((elapsed_hours - MEAN_HOURS_TO_PURCHASE) / 0.5).clamp(0.0, 1.0)
}

fn index(class: Class, intent: usize, n_left: usize, action: Action, n_items: usize) -> usize {
    (((class.index() * N_INTENTS + intent) * MAX_ACTIONS + n_left) * N_ACTIONS + action as usize) * N_CARTS
        + n_items
}

fn visit_index(class: Class, intent: usize, n_items: usize) -> usize {
    (class.index() * N_INTENTS + intent) * N_CARTS + n_items
}
