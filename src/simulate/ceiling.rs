//! How well the truth predicts: the ceiling of every model.

use std::collections::HashMap;

use crate::engine::event::UserId;
use crate::engine::time::{Millis, Timestamp};
use crate::event_file::Record;

use super::Truth;

const HORIZON: Millis = Millis::DAY;

/// Gathers decisions and outcomes: one decision for every event of a known user.
///
/// Events before login are left out: to a system that does not link ids their
/// user never buys.
#[derive(Debug, Default)]
pub struct Ceiling {
    persons: HashMap<UserId, usize>,
    /// By person.
    purchases: Vec<Vec<Timestamp>>,
    decisions: Vec<Decision>,
}

/// How well the truth told who would buy within 24 hours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub n_decisions: usize,
    /// The share of decisions followed by a purchase.
    pub base_rate: f64,
    /// The mean of the probabilities.
    pub mean_truth: f64,
    /// The probability that one followed by a purchase has the higher truth; NaN if there are none of a kind.
    pub auc: f64,
    /// The mean squared error.
    pub brier: f64,
}

#[derive(Clone, Copy, Debug)]
struct Decision {
    person: usize,
    time: Timestamp,
    probability: f64,
}

impl Ceiling {
    /// Takes a record that is not a repetition.
    pub fn observe(&mut self, record: &Record, truth: &Truth) {
        if record.user.is_anonymous() {
            return;
        }
        let n_persons = self.persons.len();
        let person = *self.persons.entry(truth.person.clone()).or_insert(n_persons);
        if person == n_persons {
            self.purchases.push(Vec::new());
        }
        let time = record.event.time;
        if &*record.event.kind == "purchase" {
            self.purchases[person].push(time);
        }
        self.decisions.push(Decision { person, time, probability: truth.purchase_24h });
    }

    /// Sums up the decisions whose outcome is known by `end`.
    pub fn summary(&self, end: Timestamp) -> Summary {
        let purchases: Vec<Vec<Timestamp>> = self.purchases.iter().map(|times| sorted(times)).collect();
        let bought = |decision: &Decision| {
            let times = &purchases[decision.person];
            let next = times.partition_point(|time| *time <= decision.time);
            times.get(next).is_some_and(|time| *time <= decision.time.after(HORIZON))
        };
        let outcomes: Vec<(f64, bool)> = self
            .decisions
            .iter()
            .filter(|decision| decision.time.after(HORIZON) <= end)
            .map(|decision| (decision.probability, bought(decision)))
            .collect();
        let n_decisions = outcomes.len();
        let mean =
            |of: &dyn Fn(&(f64, bool)) -> f64| outcomes.iter().map(of).sum::<f64>() / n_decisions as f64;
        Summary {
            n_decisions,
            base_rate: mean(&|(_, bought)| f64::from(u8::from(*bought))),
            mean_truth: mean(&|(probability, _)| *probability),
            brier: mean(&|(probability, bought)| {
                let error = probability - f64::from(u8::from(*bought));
                error * error
            }),
            auc: auc(outcomes),
        }
    }
}

fn sorted(times: &[Timestamp]) -> Vec<Timestamp> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times
}

/// By ranks, equal scores sharing theirs.
fn auc(mut outcomes: Vec<(f64, bool)>) -> f64 {
    outcomes.sort_unstable_by(|(left, _), (right, _)| left.total_cmp(right));
    let n_positive = outcomes.iter().filter(|(_, positive)| *positive).count() as f64;
    let n_negative = outcomes.len() as f64 - n_positive;
    let mut rank_sum = 0.0;
    let mut n_before = 0;
    for group in outcomes.chunk_by(|(left, _), (right, _)| left == right) {
        let rank = n_before as f64 + (group.len() as f64 + 1.0) / 2.0;
        rank_sum += rank * group.iter().filter(|(_, positive)| *positive).count() as f64;
        n_before += group.len();
    }
    (rank_sum - n_positive * (n_positive + 1.0) / 2.0) / (n_positive * n_negative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_counts_pairs() {
        let cases = [(0.1, false), (0.4, false), (0.4, true), (0.8, true), (0.2, true)];
        let mut wins = 0.0;
        for (low, _) in cases.iter().filter(|(_, positive)| !positive) {
            for (high, _) in cases.iter().filter(|(_, positive)| *positive) {
                wins += if high > low { 1.0 } else { f64::from(u8::from(high == low)) / 2.0 };
            }
        }
        assert!((auc(cases.to_vec()) - wins / 6.0).abs() < 1e-12);
        assert!(auc(vec![(0.5, true)]).is_nan());
    }
}
