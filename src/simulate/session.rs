//! A visit to the shop, action by action.

use std::sync::Arc;

use crate::engine::event::{Event, UserId};
use crate::engine::time::{Millis, Timestamp};

use super::behaviour::{Action, MAX_ACTIONS, N_ACTIONS, N_CARTS, entry, next};
use super::catalogue::Catalogue;
use super::dice::Dice;
use super::event::{self, CartLine, Page};
use super::outlook::{Endings, Outlook};
use super::population::User;

/// After an action, the chance of a voluntary login.
const LOGS_IN: f64 = 0.12;
/// The chance that a visitor with an intent comes back to the product seen last.
const LOOKS_AGAIN: [f64; 4] = [0.05, 0.1, 0.25, 0.35];
/// The chance to subscribe after a purchase, by loyalty.
const SUBSCRIBES: [f64; 3] = [0.02, 0.06, 0.15];
const MIN_DELAY_MS: f64 = 3_000.0;
/// So that [`MAX_ACTIONS`] and what may come around them fit into half an hour.
const MAX_DELAY_MS: f64 = 40_000.0;
const QUANTITIES: [f64; 3] = [0.85, 0.11, 0.04];

pub struct Session {
    pub user: u32,
    person: UserId,
    /// Until login.
    anonymous: Option<Arc<str>>,
    id: Arc<str>,
    step: Step,
    last: Action,
    /// How many actions may follow the last.
    n_left: usize,
    category: u8,
    product: Option<u16>,
}

/// What the visitor is about to do or has just done.
#[derive(Clone, Copy)]
enum Step {
    Act(Action),
    Login { to_checkout: bool },
    Confirmation,
    Subscribe,
}

/// What a visit draws on besides its customer.
pub struct Scene<'a> {
    pub dice: &'a mut Dice,
    pub catalogue: &'a Catalogue,
    pub n_orders: &'a mut u64,
}

/// Who begins a visit.
pub struct Visitor {
    pub user: u32,
    pub person: UserId,
    pub anonymous: Option<Arc<str>>,
}

impl Session {
    pub fn begin(visitor: Visitor, id: Arc<str>, user: &User, dice: &mut Dice) -> Self {
        let first = drawn(dice, &entry(usize::from(user.cart_items), usize::from(user.intent)), 0.0);
        let first = first.unwrap_or(Action::Home);
        let favourite = user.favourites[usize::from(dice.chance(0.35))];
        Self {
            user: visitor.user,
            person: visitor.person,
            anonymous: visitor.anonymous,
            id,
            step: Step::Act(first),
            last: first,
            n_left: MAX_ACTIONS,
            category: favourite,
            product: None,
        }
    }

    pub fn person(&self) -> &UserId {
        &self.person
    }

    /// Does what the visitor was about to do.
    pub fn perform(&mut self, time: Timestamp, user: &mut User, scene: &mut Scene<'_>) -> (UserId, Event) {
        let event = match self.step {
            Step::Act(action) => {
                self.last = action;
                self.n_left -= 1;
                self.act(action, time, user, scene)
            }
            Step::Login { .. } => {
                let mut event = event::login(time, &self.id);
                event.anonymous_id = self.anonymous.take().map(|id| (*id).into());
                event
            }
            Step::Confirmation => {
                let page = Page { name: "confirmation", path: &scene.catalogue.pages.confirmation };
                event::page_view(time, page, user.device, &self.id, scene.catalogue)
            }
            Step::Subscribe => {
                let plan = user.class.loyalty.min(1) + u8::from(scene.dice.chance(0.2));
                user.plan = Some(plan);
                event::subscribe(time, plan, &self.id)
            }
        };
        let id = match &self.anonymous {
            Some(id) => UserId::anonymous(id),
            None => self.person.clone(),
        };
        (id, event)
    }

    /// What the visitor does next and after what time; none: leaves.
    pub fn advance(&mut self, user: &User, dice: &mut Dice) -> Option<Millis> {
        self.step = match self.step {
            Step::Act(Action::Purchase) => Step::Confirmation,
            Step::Confirmation => {
                let subscribes = SUBSCRIBES[usize::from(user.class.loyalty)];
                if user.plan.is_some() || !dice.chance(subscribes) {
                    return None;
                }
                Step::Subscribe
            }
            Step::Subscribe => return None,
            Step::Login { to_checkout: true } => Step::Act(Action::Checkout),
            Step::Act(_) | Step::Login { to_checkout: false } => self.chooses(user, dice)?,
        };
        let unit = dice.unit();
        Some(Millis::new((MIN_DELAY_MS + unit * unit * (MAX_DELAY_MS - MIN_DELAY_MS)) as i64))
    }

    /// How the visit may end, right after the step performed last.
    pub fn endings(&self, user: &User, outlook: &Outlook) -> Endings {
        let n_items = usize::from(user.cart_items);
        let state = match self.step {
            Step::Act(Action::Purchase) | Step::Confirmation | Step::Subscribe => {
                return over(n_items);
            }
            Step::Act(_) | Step::Login { to_checkout: false } => (self.n_left, self.last),
            Step::Login { to_checkout: true } => (self.n_left - 1, Action::Checkout),
        };
        *outlook.endings(user.class, usize::from(user.intent), state.0, state.1, n_items)
    }

    fn chooses(&self, user: &User, dice: &mut Dice) -> Option<Step> {
        if self.n_left == 0 {
            return None;
        }
        // The login changes nothing about what comes next, which is drawn after it.
        let is_action = matches!(self.step, Step::Act(_));
        if self.anonymous.is_some() && is_action && dice.chance(LOGS_IN) {
            return Some(Step::Login { to_checkout: false });
        }
        let next = next(self.last, usize::from(user.cart_items), usize::from(user.intent), user.class);
        let action = drawn(dice, &next.actions, next.leave)?;
        Some(if action == Action::Checkout && self.anonymous.is_some() {
            Step::Login { to_checkout: true }
        } else {
            Step::Act(action)
        })
    }

    fn act(&mut self, action: Action, time: Timestamp, user: &mut User, scene: &mut Scene<'_>) -> Event {
        let catalogue = scene.catalogue;
        let event = match action {
            Action::Home => {
                let page = Page { name: "home", path: &catalogue.pages.home };
                event::page_view(time, page, user.device, &self.id, catalogue)
            }
            Action::Cart => {
                let page = Page { name: "cart", path: &catalogue.pages.cart };
                event::page_view(time, page, user.device, &self.id, catalogue)
            }
            Action::Listing => {
                self.wander(user, scene.dice);
                event::listing_view(time, self.category, user.device, &self.id, catalogue)
            }
            Action::Search => {
                self.wander(user, scene.dice);
                event::search(time, self.category, scene.dice.below(180), &self.id, catalogue)
            }
            Action::Product => {
                let product = self.look(user, scene);
                event::product_view(time, product, user.device, &self.id, catalogue)
            }
            Action::AddToCart => {
                let product = match self.product {
                    Some(product) => product,
                    None => self.look(user, scene),
                };
                let quantity = 1 + scene.dice.pick(QUANTITIES) as u8;
                if user.cart_items == 0 {
                    user.cart_number += 1;
                }
                user.cart[usize::from(user.cart_items)] = CartLine { product, quantity };
                event::add_to_cart(
                    time,
                    &self.cart_id(user),
                    CartLine { product, quantity },
                    &self.id,
                    catalogue,
                )
            }
            Action::RemoveFromCart => {
                let removed = user.cart[usize::from(user.cart_items) - 1];
                event::remove_from_cart(time, &self.cart_id(user), removed, &self.id, catalogue)
            }
            Action::Checkout => event::checkout(time, &self.cart_id(user), user.cart(), &self.id, catalogue),
            Action::Purchase => {
                *scene.n_orders += 1;
                let order_id = format!("o{:08}", scene.n_orders);
                user.intent = 0;
                event::purchase(time, &order_id, &self.cart_id(user), user.cart(), &self.id, catalogue)
            }
        };
        user.cart_items = action.cart_after(usize::from(user.cart_items)) as u8;
        event
    }

    fn cart_id(&self, user: &User) -> String {
        format!("c{:07}-{}", self.user, user.cart_number)
    }

    /// Mostly to favourites; now and then to somewhere else.
    fn wander(&mut self, user: &User, dice: &mut Dice) {
        self.category = match dice.pick([0.5, 0.2, 0.2, 0.1]) {
            0 => return,
            1 => user.favourites[0],
            2 => user.favourites[1],
            _ => Catalogue::any_category(dice),
        };
    }

    fn look(&mut self, user: &User, scene: &mut Scene<'_>) -> u16 {
        let again = self.product.filter(|_| scene.dice.chance(LOOKS_AGAIN[usize::from(user.intent)]));
        let product =
            again.unwrap_or_else(|| scene.catalogue.draw(self.category, user.class.price, scene.dice));
        self.product = Some(product);
        product
    }
}

/// The endings where nothing more can happen.
pub fn over(n_items: usize) -> Endings {
    let mut endings = [0.0; N_CARTS];
    endings[n_items] = 1.0;
    endings
}

fn drawn(dice: &mut Dice, weights: &[f64; N_ACTIONS], leave: f64) -> Option<Action> {
    Action::ALL.get(dice.pick(weights.iter().copied().chain([leave]))).copied()
}
