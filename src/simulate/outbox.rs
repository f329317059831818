//! What is on its way to the shop's servers, in order of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::engine::time::{Millis, Timestamp};
use crate::event_file::Record;

use super::dice::Dice;
use super::{Shares, Truth};

const MAX_LATENCY_MS: u32 = 400;
const MIN_LATE: Millis = Millis::new(30_000);
const MAX_LATE: Millis = Millis::new(6 * 3_600_000);
const MAX_REPEAT: Millis = Millis::new(600_000);

pub struct Outbox {
    shares: Shares,
    /// By arrival, then by order of sending.
    due: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    slots: Vec<Option<Sent>>,
    free: Vec<usize>,
    n_sent: u64,
}

/// A record and the truth after it; a repeated record has none.
pub type Sent = (Record, Option<Truth>);

impl Outbox {
    pub fn new(shares: Shares) -> Self {
        Self { shares, due: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), n_sent: 0 }
    }

    /// Sends an event that happens now.
    pub fn send(&mut self, mut record: Record, truth: Option<Truth>, dice: &mut Dice) {
        let delay = if dice.chance(self.shares.late) {
            // Most of the late are not very late.
            let unit = dice.unit();
            let range = (MAX_LATE.as_millis() - MIN_LATE.as_millis()) as f64;
            Millis::new(MIN_LATE.as_millis() + (unit * unit * unit * range) as i64)
        } else {
            Millis::new(i64::from(20 + dice.below(MAX_LATENCY_MS)))
        };
        let arrival = record.event.time.after(delay);
        record.arrival = Some(arrival);
        if dice.chance(self.shares.duplicate) {
            let again = arrival.after(Millis::new((dice.unit() * MAX_REPEAT.as_millis() as f64) as i64 + 1));
            self.put(again, (Record { arrival: Some(again), ..record.clone() }, None));
        }
        self.put(arrival, (record, truth));
    }

    /// The next to arrive, unless something may still be sent that arrives before.
    pub fn take(&mut self, now: Timestamp) -> Option<Sent> {
        let Reverse((arrival, _, slot)) = *self.due.peek()?;
        if arrival > now {
            return None;
        }
        self.due.pop();
        self.free.push(slot);
        self.slots[slot].take()
    }

    fn put(&mut self, arrival: Timestamp, sent: Sent) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(sent);
        self.due.push(Reverse((arrival, self.n_sent, slot)));
        self.n_sent += 1;
    }
}
