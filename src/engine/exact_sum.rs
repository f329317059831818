//! A sum that does not depend on the order of its terms.

/// An exact sum of finite numbers, rounded once on read.
///
/// Keeps the running sum as non-overlapping partials of increasing magnitude
/// (Shewchuk, "Adaptive precision floating-point arithmetic", 1997): no bit is
/// lost, so any order of additions reads the same.
#[derive(Clone, Debug, Default)]
pub struct ExactSum {
    partials: Vec<f64>,
}

impl ExactSum {
    pub fn add(&mut self, term: f64) {
        debug_assert!(term.is_finite());
        let mut carried = term;
        let mut kept = 0;
        for index in 0..self.partials.len() {
            let (sum, error) = two_sum(carried, self.partials[index]);
            if error != 0.0 {
                self.partials[kept] = error;
                kept += 1;
            }
            carried = sum;
        }
        self.partials.truncate(kept);
        if carried != 0.0 {
            self.partials.push(carried);
        }
    }

    /// The sum, correctly rounded (half to even); 0 for no terms.
    pub fn value(&self) -> f64 {
        let mut rest = self.partials.as_slice();
        let Some((&top, below)) = rest.split_last() else { return 0.0 };
        rest = below;
        let (mut sum, mut error) = (top, 0.0);
        while let Some((&next, below)) = rest.split_last() {
            rest = below;
            (sum, error) = two_sum(sum, next);
            if error != 0.0 {
                break;
            }
        }
        // Exactly half way: the partials below decide on which side it lies.
        if let Some(&next) = rest.last()
            && (error > 0.0) == (next > 0.0)
            && error != 0.0
        {
            let doubled = error * 2.0;
            let candidate = sum + doubled;
            if candidate - sum == doubled {
                sum = candidate;
            }
        }
        sum
    }

    pub fn partials(&self) -> &[f64] {
        &self.partials
    }

    /// Rebuilds a sum from stored partials.
    pub fn from_partials(partials: Vec<f64>) -> Self {
        Self { partials }
    }
}

impl FromIterator<f64> for ExactSum {
    fn from_iter<T: IntoIterator<Item = f64>>(terms: T) -> Self {
        let mut sum = Self::default();
        terms.into_iter().for_each(|term| sum.add(term));
        sum
    }
}

/// The rounded sum of two numbers and its rounding error, exactly.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let (large, small) = if a.abs() < b.abs() { (b, a) } else { (a, b) };
    let sum = large + small;
    (sum, small - (sum - large))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cancellation_leaves_the_small_term() {
        assert_eq!([1e100, 1.0, -1e100].into_iter().collect::<ExactSum>().value(), 1.0);
        assert_eq!([0.1; 10].into_iter().collect::<ExactSum>().value(), 1.0);
        // Half way between 1 and its successor: the tiny term decides.
        let half_ulp = f64::EPSILON / 2.0;
        assert_eq!([1.0, half_ulp].into_iter().collect::<ExactSum>().value(), 1.0);
        assert_eq!([1.0, half_ulp, 1e-40].into_iter().collect::<ExactSum>().value(), 1.0 + f64::EPSILON);
        assert_eq!(ExactSum::default().value().to_bits(), 0.0_f64.to_bits());
    }

    proptest! {
        #[test]
        fn integers_sum_as_integers(terms in prop::collection::vec(-(1_i64 << 52)..(1 << 52), 0..60)) {
            let exact: i128 = terms.iter().map(|&term| i128::from(term)).sum();
            let sum: ExactSum = terms.iter().map(|&term| term as f64).collect();
            prop_assert_eq!(sum.value(), exact as f64);
        }

        #[test]
        fn any_order_reads_the_same(
            terms in prop::collection::vec((-1.0_f64..1.0, -60_i32..60).prop_map(|(m, e)| m * 2.0_f64.powi(e)), 0..40)
                .prop_shuffle()
        ) {
            let mut sorted = terms.clone();
            sorted.sort_by(f64::total_cmp);
            let (a, b): (ExactSum, ExactSum) = (terms.into_iter().collect(), sorted.into_iter().collect());
            prop_assert_eq!(a.value().to_bits(), b.value().to_bits());
        }
    }
}
