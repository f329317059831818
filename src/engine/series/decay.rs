//! Exponentially decayed counts and sums.

use crate::engine::exact_sum::{ExactSum, scale};
use crate::engine::time::{Millis, Timestamp};

/// Half-lives after which the landmark moves up.
const MAX_AHEAD: i64 = 32;

/// A sum whose terms halve in weight every half-life.
///
/// Forward decay (Cormode et al., "Forward Decay", 2009): a term weighs
/// 2^(half-lives after a landmark), which its age does not change, so that
/// terms in any order sum to the same bits; a read divides by the weight of now.
#[derive(Clone, Debug, Default)]
pub struct Decay {
    /// In half-lives since 1970.
    landmark: i64,
    sum: ExactSum,
}

/// An instant in half-lives since 1970: whole ones, and the rest in 0..1.
fn half_lives(time: Timestamp, half_life: Millis) -> (i64, f64) {
    let (ms, length) = (time.as_millis(), half_life.as_millis());
    (ms.div_euclid(length), ms.rem_euclid(length) as f64 / length as f64)
}

impl Decay {
    pub fn add(&mut self, term: f64, time: Timestamp, half_life: Millis) {
        let (whole, rest) = half_lives(time, half_life);
        if self.sum.is_zero() {
            self.landmark = whole;
        }
        // Saturating: the ends of time are further apart than an i64 holds.
        let mut ahead = whole.saturating_sub(self.landmark);
        if ahead > MAX_AHEAD {
            self.sum = self.sum.scaled(-ahead);
            (self.landmark, ahead) = (whole, 0);
        }
        self.sum.add(scale(term * rest.exp2(), ahead));
    }

    pub fn value(&self, now: Timestamp, half_life: Millis) -> f64 {
        let (whole, rest) = half_lives(now, half_life);
        scale(self.sum.value() / rest.exp2(), self.landmark.saturating_sub(whole))
    }

    pub fn landmark(&self) -> i64 {
        self.landmark
    }

    pub fn sum(&self) -> &ExactSum {
        &self.sum
    }

    pub fn from_parts(landmark: i64, sum: ExactSum) -> Self {
        Self { landmark, sum }
    }
}
