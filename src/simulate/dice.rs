//! Random draws that are the same on every platform.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in `[0, 1)`, in steps of 2^-32.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / 4_294_967_296.0
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..n`; the bias is below n / 2^32.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// An index drawn by weight; the weights sum to 1.
    pub fn pick(&mut self, weights: impl IntoIterator<Item = f64>) -> usize {
        let mut left = self.unit();
        let mut last = 0;
        for (index, weight) in weights.into_iter().enumerate() {
            if weight > 0.0 {
                last = index;
                if left < weight {
                    break;
                }
                left -= weight;
            }
        }
        last
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            let other = self.below(index as u32 + 1) as usize;
            items.swap(index, other);
        }
    }
}
