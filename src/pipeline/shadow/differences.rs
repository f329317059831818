//! Differences between scores, summed up as they come, in bounded memory
//! whatever their scale.

use std::collections::BTreeMap;

/// A bin holds the magnitudes that begin with the same so many bits of the
/// significand: its upper edge is at most 1/32 above its lower one.
const BIN_BITS: u32 = 5;
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - BIN_BITS;

#[derive(Clone, Debug, Default)]
pub(super) struct Differences {
    n: u64,
    sum: f64,
    sum_absolute: f64,
    max_absolute: f64,
    /// How many magnitudes begin with the same bits, by these: 65,536 bins at most.
    bins: BTreeMap<u64, u64>,
}

/// What differences come to; of none, nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub mean: f64,
    pub mean_absolute: f64,
    pub max_absolute: f64,
    /// Half of the magnitudes are at most this; it is at most 1/32 too large.
    pub p50_absolute: f64,
    pub p90_absolute: f64,
    pub p99_absolute: f64,
}

impl Differences {
    pub fn add(&mut self, difference: f64) {
        // Two finite scores may be further apart than the largest number.
        let difference = difference.clamp(f64::MIN, f64::MAX);
        let magnitude = difference.abs();
        self.n += 1;
        self.sum += difference;
        self.sum_absolute += magnitude;
        self.max_absolute = self.max_absolute.max(magnitude);
        *self.bins.entry(magnitude.to_bits() >> SHIFT).or_default() += 1;
    }

    pub fn summary(&self) -> Option<Summary> {
        let n = self.n as f64;
        (self.n > 0).then(|| Summary {
            mean: self.sum / n,
            mean_absolute: self.sum_absolute / n,
            max_absolute: self.max_absolute,
            p50_absolute: self.quantile(0.5),
            p90_absolute: self.quantile(0.9),
            p99_absolute: self.quantile(0.99),
        })
    }

    /// The upper edge of the bin that holds the magnitude of this rank.
    fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.n as f64).ceil() as u64;
        let mut n = 0;
        let holds = |(_, count): &(&u64, &u64)| {
            n += **count;
            n >= rank
        };
        match self.bins.iter().find(holds) {
            None | Some((0, _)) => 0.0,
            Some((bin, _)) => f64::from_bits((bin + 1) << SHIFT).min(self.max_absolute),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_nothing_there_is_nothing_and_of_no_difference_none() {
        assert_eq!(Differences::default().summary(), None);
        let mut same = Differences::default();
        same.add(0.0);
        same.add(-0.0);
        let summary = same.summary().expect("two");
        assert_eq!((summary.mean, summary.max_absolute, summary.p99_absolute), (0.0, 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_magnitudes(
            differences in prop::collection::vec(prop_oneof![-1.0..1.0_f64, -1e6..1e6_f64, Just(0.0)], 1..200),
        ) {
            let mut all = Differences::default();
            differences.iter().for_each(|difference| all.add(*difference));
            let summary = all.summary().expect("some");
            let n = differences.len() as f64;
            let mut magnitudes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
            magnitudes.sort_by(f64::total_cmp);
            prop_assert_eq!(summary.max_absolute, magnitudes[magnitudes.len() - 1]);
            prop_assert!((summary.mean - differences.iter().sum::<f64>() / n).abs() < 1e-6);
            prop_assert!((summary.mean_absolute - magnitudes.iter().sum::<f64>() / n).abs() < 1e-6);
            let found = [summary.p50_absolute, summary.p90_absolute, summary.p99_absolute];
            for (share, found) in [0.5, 0.9, 0.99].into_iter().zip(found) {
                let exact = magnitudes[(share * n).ceil() as usize - 1];
                prop_assert!(exact <= found && found <= exact * (1.0 + 1.0 / 32.0), "{share}: {exact} {found}");
            }
        }
    }
}
