//! The shop's time: customers' hours, visits under way, events sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::engine::event::{Event, EventUid, UserId};
use crate::engine::time::{Millis, Timestamp};
use crate::event_file::Record;

use super::behaviour::{CART_EXPIRES, N_INTENTS, intent_after_an_hour, visit_chance};
use super::catalogue::Catalogue;
use super::dice::Dice;
use super::outbox::{Outbox, Sent};
use super::outlook::{Customer, Endings, Outlook};
use super::population::{HOUR_MS, User, anonymous_id, draw, known_id};
use super::session::{Scene, Session, Visitor, over};
use super::{Config, Truth, event};

/// Visits begin in the first half of a customer's hour.
const LAST_BEGINNING_MS: u32 = 1_800_000;
/// Subscriptions are cancelled in the last minute of an hour, apart from any visit.
const CANCEL_AFTER_MS: u32 = 3_540_000;
const LAST_MINUTE_MS: u32 = 60_000;
/// An hour's chance that an idle subscriber cancels, by loyalty.
const CANCELS: [f64; 3] = [0.002, 0.001, 0.000_4];

/// The records of a simulated shop, in order of arrival, each with its arrival.
///
/// Memory grows with the number of users, not with time.
pub struct Shop {
    config: Config,
    dice: Dice,
    catalogue: Catalogue,
    /// Solved only if the truth is asked for.
    outlook: Option<Outlook>,
    users: Vec<User>,
    /// Hours begun by all customers, and how many customers have begun the next.
    hour: i64,
    cursor: usize,
    /// What happens when, in the order it was planned among what happens at once.
    due: BinaryHeap<Reverse<(Timestamp, u64, Due)>>,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    outbox: Outbox,
    n_planned: u64,
    n_events: u64,
    n_sessions: u64,
    n_orders: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The next step of the visit in this slot.
    Step(usize),
    Cancel(u32),
}

impl Shop {
    pub fn new(config: Config) -> Self {
        let mut dice = Dice::new(config.seed);
        let catalogue = Catalogue::new(&mut dice);
        let users = draw(config.n_users, &mut dice);
        Self {
            outbox: Outbox::new(config.shares),
            config,
            dice,
            catalogue,
            outlook: None,
            users,
            hour: 0,
            cursor: 0,
            due: BinaryHeap::new(),
            sessions: Vec::new(),
            free: Vec::new(),
            n_planned: 0,
            n_events: 0,
            n_sessions: 0,
            n_orders: 0,
        }
    }

    /// The same records, each with the truth right after it; a repeated record has none.
    pub fn with_truth(mut self) -> impl Iterator<Item = Sent> {
        self.outlook = Some(Outlook::new());
        std::iter::from_fn(move || self.advance())
    }

    fn advance(&mut self) -> Option<Sent> {
        loop {
            let turn = self.next_turn();
            let due = self.due.peek().map(|Reverse((time, ..))| *time);
            // Whatever is sent from now on arrives later than this.
            let now = turn.unwrap_or(Timestamp::MAX).min(due.unwrap_or(Timestamp::MAX));
            if let Some(sent) = self.outbox.take(now) {
                return Some(sent);
            }
            match (turn, due) {
                (None, None) => return None,
                (Some(turn), due) if due.is_none_or(|due| turn <= due) => self.turn_hour(turn),
                _ => self.do_due(),
            }
        }
    }

    /// When the next customer's next hour begins.
    fn next_turn(&self) -> Option<Timestamp> {
        let offset = i64::from(self.users.get(self.cursor)?.offset_ms);
        let turn = self.config.start.after(Millis::new(self.hour * HOUR_MS + offset));
        (!self.is_over(turn)).then_some(turn)
    }

    fn is_over(&self, time: Timestamp) -> bool {
        self.config.span.is_some_and(|span| time >= self.config.start.after(span))
    }

    fn turn_hour(&mut self, turn: Timestamp) {
        let index = self.cursor;
        self.cursor += 1;
        if self.cursor == self.users.len() {
            self.cursor = 0;
            self.hour += 1;
        }
        let user = &mut self.users[index];
        let intent = self.dice.pick(intent_after_an_hour(usize::from(user.intent), user.class));
        debug_assert!(intent < N_INTENTS);
        user.intent = intent as u8;
        if user.cart_items > 0 && self.dice.chance(CART_EXPIRES) {
            user.cart_items = 0;
        }
        let local_hour = local_hour(self.config.start, turn, user);
        let begins = self.dice.chance(visit_chance(intent, f64::from(user.activity), local_hour));
        let loyalty = usize::from(user.class.loyalty);
        let cancels = user.plan.is_some() && intent == 0 && self.dice.chance(CANCELS[loyalty]);
        if begins {
            self.begin_session(index, turn);
        }
        if cancels {
            let after = CANCEL_AFTER_MS + self.dice.below(LAST_MINUTE_MS);
            self.plan(turn.after(Millis::new(i64::from(after))), Due::Cancel(index as u32));
        }
    }

    fn begin_session(&mut self, index: usize, turn: Timestamp) {
        let begin = turn.after(Millis::new(i64::from(self.dice.below(LAST_BEGINNING_MS))));
        self.n_sessions += 1;
        let id = format!("s{:08}", self.n_sessions).into();
        let number = index as u32;
        let is_anonymous = self.dice.chance(self.config.shares.anonymous);
        let visitor = Visitor {
            user: number,
            person: known_id(number),
            anonymous: is_anonymous.then(|| anonymous_id(number, self.config.seed)),
        };
        let session = Session::begin(visitor, id, &self.users[index], &mut self.dice);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() - 1
        });
        self.sessions[slot] = Some(session);
        self.plan(begin, Due::Step(slot));
    }

    fn do_due(&mut self) {
        let Some(Reverse((time, _, due))) = self.due.pop() else { return };
        match due {
            // What the end of the span interrupts does not happen.
            _ if self.is_over(time) => {}
            Due::Step(slot) => self.step(time, slot),
            Due::Cancel(index) => self.cancel(time, index),
        }
    }

    fn step(&mut self, time: Timestamp, slot: usize) {
        let Some(mut session) = self.sessions[slot].take() else { return };
        let user = &mut self.users[session.user as usize];
        let mut scene =
            Scene { dice: &mut self.dice, catalogue: &self.catalogue, n_orders: &mut self.n_orders };
        let (id, event) = session.perform(time, user, &mut scene);
        let truth = self.outlook.as_ref().map(|outlook| {
            let endings = session.endings(user, outlook);
            truth(outlook, self.config.start, session.person(), user, time, &endings)
        });
        let next = session.advance(user, &mut self.dice);
        self.send(id, event, truth);
        match next {
            Some(delay) => {
                self.sessions[slot] = Some(session);
                self.plan(time.after(delay), Due::Step(slot));
            }
            None => self.free.push(slot),
        }
    }

    fn cancel(&mut self, time: Timestamp, index: u32) {
        let user = &mut self.users[index as usize];
        let Some(plan) = user.plan.take() else { return };
        let person = known_id(index);
        let truth = self.outlook.as_ref().map(|outlook| {
            let endings = over(usize::from(user.cart_items));
            truth(outlook, self.config.start, &person, user, time, &endings)
        });
        let reason = self.dice.below(event::N_REASONS);
        self.send(person, event::subscription_cancelled(time, plan, reason), truth);
    }

    fn send(&mut self, user: UserId, mut event: Event, truth: Option<Truth>) {
        self.n_events += 1;
        // The seed keeps several shops' events apart.
        let id = format!("{:x}-{:x}", self.config.seed, self.n_events);
        event.uid = EventUid::of_id(&id);
        event.id = Some(id.into());
        self.outbox.send(Record { user, event, arrival: None }, truth, &mut self.dice);
    }

    fn plan(&mut self, time: Timestamp, due: Due) {
        self.due.push(Reverse((time, self.n_planned, due)));
        self.n_planned += 1;
    }
}

impl Iterator for Shop {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        self.advance().map(|(record, _)| record)
    }
}

fn truth(
    outlook: &Outlook,
    start: Timestamp,
    person: &UserId,
    user: &User,
    time: Timestamp,
    endings: &Endings,
) -> Truth {
    let since_first = time.since(start).as_millis() - i64::from(user.offset_ms);
    let elapsed_ms = since_first.rem_euclid(HOUR_MS);
    let customer = Customer {
        class: user.class,
        activity: f64::from(user.activity),
        intent: usize::from(user.intent),
        local_hour: local_hour(start, time.before(Millis::new(elapsed_ms)), user),
        elapsed: elapsed_ms as f64 / HOUR_MS as f64,
    };
    Truth {
        person: person.clone(),
        intent: user.intent,
        cart_items: user.cart_items,
        purchase_in_visit: (1.0 - endings.iter().sum::<f64>()).max(0.0),
        purchase_24h: outlook.purchase_24h(&customer, endings),
    }
}

/// The customer's own hour that begins at `turn`, counted from 1970.
fn local_hour(start: Timestamp, turn: Timestamp, user: &User) -> i64 {
    let hours = (turn.since(start).as_millis() - i64::from(user.offset_ms)).div_euclid(HOUR_MS);
    start.as_millis().div_euclid(HOUR_MS) + hours + i64::from(user.hours_ahead)
}
