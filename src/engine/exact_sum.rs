//! Sums that do not depend on the order of their terms.

/// An exact sum of finite numbers, rounded once on read.
///
/// Terms that 128-bit fixed point holds exactly, such as counts and prices,
/// are summed there; the rest as non-overlapping partials of increasing
/// magnitude (Shewchuk, "Adaptive precision floating-point arithmetic",
/// 1997). No bit is lost, so any order of additions reads the same.
#[derive(Clone, Debug, Default)]
pub struct ExactSum {
    fixed: Fixed,
    wide: Option<Box<Partials>>,
}

/// Non-overlapping, of increasing magnitude.
#[derive(Clone, Debug, Default)]
struct Partials(Vec<f64>);

/// A number in steps of 2^-64.
///
/// Additions wrap: a difference of two running sums is exact as long as it
/// fits itself, which that of 2^25 terms always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed(pub i128);

const FRACTION_BITS: i32 = 64;
/// Terms are below 2^38, so that 2^25 of them stay below 2^63.
const MAX_SHIFT: i32 = 49;

impl Fixed {
    /// What [`Fixed::sum_of`] takes at once.
    pub const MAX_CELLS: usize = 32;
    const MAX_SPLIT: f64 = (1_u64 << 31) as f64;

    /// The number, if fixed point holds it exactly.
    pub fn of(number: f64) -> Option<Self> {
        const MANTISSA_BITS: u32 = 52;
        let bits = number.to_bits();
        let exponent = (bits >> MANTISSA_BITS & 0x7ff) as i32;
        let fraction = bits & ((1 << MANTISSA_BITS) - 1);
        if exponent == 0 {
            return (fraction == 0).then_some(Self(0));
        }
        let mantissa = i128::from(fraction | 1 << MANTISSA_BITS);
        // number = mantissa * 2^(exponent - 1075)
        let shift = exponent - 1_075 + FRACTION_BITS;
        let magnitude = if (0..=MAX_SHIFT).contains(&shift) {
            mantissa << shift
        } else if shift < 0 && shift.unsigned_abs() <= mantissa.trailing_zeros() {
            mantissa >> -shift
        } else {
            return None;
        };
        Some(Self(if number < 0.0 { -magnitude } else { magnitude }))
    }

    /// The sum of the numbers among at most [`Fixed::MAX_CELLS`] cells, and how
    /// many they are; NaN is none. None if one of them is not below 2^31, or
    /// is one that fixed point does not hold.
    ///
    /// Nothing here waits for a branch: a number is split into a multiple of
    /// 2^-16 and what remains, by adding and taking away one so great that the
    /// rest is rounded off, and either part sums up without rounding.
    pub fn sum_of(cells: &[u64]) -> Option<(Self, u32)> {
        const LANES: usize = 4;
        debug_assert!(cells.len() <= Self::MAX_CELLS);
        // The least bit of a number near to it is 2^-16, or 2^-64.
        const TO_16: f64 = 1.5 * (1_u64 << 36) as f64;
        const TO_64: f64 = 1.5 / (1_u64 << 12) as f64;
        let (mut high, mut low, mut n, mut misfits) =
            ([0.0; LANES], [0.0; LANES], [0; LANES], [false; LANES]);
        let mut add = |lane: usize, cell: u64| {
            let number = f64::from_bits(cell);
            let is_there = !number.is_nan();
            let number = if is_there { number } else { 0.0 };
            let upper = (number + TO_16) - TO_16;
            let lower = number - upper;
            high[lane] += upper;
            low[lane] += lower;
            n[lane] += u64::from(is_there);
            misfits[lane] |= number.abs() >= Self::MAX_SPLIT || (lower + TO_64) - TO_64 != lower;
        };
        let (chunks, rest) = cells.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, &cell) in chunk.iter().enumerate() {
                add(lane, cell);
            }
        }
        rest.iter().for_each(|&cell| add(0, cell));
        let high = (high.iter().sum::<f64>() * (1_u64 << 16) as f64) as i64;
        let low = (low.iter().sum::<f64>() * (1_u128 << 64) as f64) as i64;
        let sum = Self((i128::from(high) << (FRACTION_BITS - 16)) + i128::from(low));
        (!misfits.contains(&true)).then(|| (sum, n.iter().sum::<u64>() as u32))
    }

    /// Rounded to the nearest, half to even.
    pub fn value(self) -> f64 {
        const STEP: f64 = 1.0 / (1_u128 << FRACTION_BITS) as f64;
        // The upper 62 bits, of which the last stands for all below it, round as all do.
        let magnitude = self.0.unsigned_abs();
        let shift = 66_u32.saturating_sub(magnitude.leading_zeros());
        let rest = magnitude & ((1 << shift) - 1);
        let upper = (magnitude >> shift) as i64 | i64::from(rest != 0);
        let scale = f64::from_bits(u64::from(1_023 + shift) << 52) * STEP;
        let value = upper as f64 * scale;
        if self.0 < 0 { -value } else { value }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
}

impl ExactSum {
    /// Adds a finite number.
    pub fn add(&mut self, term: f64) {
        debug_assert!(term.is_finite());
        match Fixed::of(term) {
            Some(term) => match self.fixed.0.checked_add(term.0) {
                Some(sum) => self.fixed.0 = sum,
                None => {
                    let full = std::mem::replace(&mut self.fixed, term);
                    full.parts().into_iter().for_each(|part| self.add_wide(part));
                }
            },
            None => self.add_wide(term),
        }
    }

    fn add_wide(&mut self, term: f64) {
        self.wide.get_or_insert_default().add(term);
    }

    /// The sum, correctly rounded (half to even); 0 for no terms.
    pub fn value(&self) -> f64 {
        match &self.wide {
            None => self.fixed.value(),
            Some(wide) => {
                let mut all = wide.as_ref().clone();
                self.fixed.parts().into_iter().for_each(|part| all.add(part));
                all.rounded()
            }
        }
    }

    /// Adds the square of a number, whose rounding error is added too.
    pub fn add_square(&mut self, number: f64) {
        let square = number * number;
        self.add(square);
        self.add(number.mul_add(number, -square));
    }

    /// The sample standard deviation of `n` numbers with this sum and this
    /// sum of squares. Nothing is rounded before the division, so nothing
    /// cancels; NaN for fewer than two numbers.
    pub fn deviation(sum: &Self, squares: &Self, n: u64) -> f64 {
        if n < 2 {
            return f64::NAN;
        }
        // n * sum(x^2) - sum(x)^2
        let mut spread = Self::default();
        let mut add_product = |a: f64, b: f64| {
            let product = a * b;
            spread.add(product);
            spread.add(a.mul_add(b, -product));
        };
        squares.parts().for_each(|part| add_product(part, n as f64));
        for a in sum.parts() {
            sum.parts().for_each(|b| add_product(-a, b));
        }
        (spread.value().max(0.0) / (n as f64 * (n - 1) as f64)).sqrt()
    }

    /// Numbers that sum to it exactly.
    fn parts(&self) -> impl Iterator<Item = f64> {
        self.fixed.parts().into_iter().chain(self.wide().iter().copied())
    }

    /// Whether nothing is in it; terms that cancel out may be.
    pub fn is_zero(&self) -> bool {
        self.fixed == Fixed(0) && self.wide().is_empty()
    }

    /// The sum times `2^exponent`, exactly unless it underflows.
    #[must_use]
    pub fn scaled(&self, exponent: i64) -> Self {
        self.parts().map(|part| scale(part, exponent)).collect()
    }

    pub fn fixed(&self) -> Fixed {
        self.fixed
    }

    /// What fixed point does not hold.
    pub fn wide(&self) -> &[f64] {
        self.wide.as_ref().map_or(&[], |partials| &partials.0)
    }

    /// Rebuilds a sum from stored parts.
    pub fn from_parts(fixed: Fixed, wide: Vec<f64>) -> Self {
        Self { fixed, wide: (!wide.is_empty()).then(|| Box::new(Partials(wide))) }
    }
}

impl Fixed {
    /// Numbers that sum to it exactly.
    fn parts(self) -> [f64; 3] {
        const BITS: u32 = 48;
        let low = self.0 & ((1 << BITS) - 1);
        let middle = self.0 >> BITS & ((1 << BITS) - 1);
        let high = self.0 >> (2 * BITS);
        [Self(low).value(), Self(middle << BITS).value(), Self(high << (2 * BITS)).value()]
    }
}

impl Partials {
    fn add(&mut self, term: f64) {
        let partials = &mut self.0;
        let mut carried = term;
        let mut kept = 0;
        for index in 0..partials.len() {
            let (sum, error) = two_sum(carried, partials[index]);
            if error != 0.0 {
                partials[kept] = error;
                kept += 1;
            }
            carried = sum;
        }
        partials.truncate(kept);
        if carried != 0.0 {
            partials.push(carried);
        }
    }

    /// Correctly rounded (half to even).
    fn rounded(&self) -> f64 {
        let Some((&top, mut rest)) = self.0.split_last() else { return 0.0 };
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
}

/// `number * 2^exponent`, exactly unless it underflows.
pub fn scale(number: f64, exponent: i64) -> f64 {
    // Beyond, every number but 0 is 0 or infinite.
    let exponent = exponent.clamp(-2_200, 2_200) as i32;
    let step = exponent.clamp(-1_000, 1_000);
    let scaled = number * 2.0_f64.powi(step);
    if step == exponent { scaled } else { scale(scaled, i64::from(exponent - step)) }
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

    #[test]
    fn ten_million_updates_leave_no_drift() {
        let (mut sum, cents) = (ExactSum::default(), 19.99);
        for _ in 0..10_000_000 {
            sum.add(cents);
        }
        // 19.99 as the nearest double, times ten million, rounded once.
        let exact = Fixed::of(cents).expect("fits").0 * 10_000_000;
        assert_eq!(sum.value(), Fixed(exact).value());
        for _ in 0..10_000_000 {
            sum.add(-cents);
        }
        assert_eq!(sum.value(), 0.0);
    }

    #[test]
    fn a_full_fixed_point_goes_over_to_partials() {
        let large = (1_u64 << 37) as f64;
        let sum = |terms: [f64; 3]| {
            let mut sum = ExactSum::from_parts(Fixed(i128::MAX - 5), Vec::new());
            terms.into_iter().for_each(|term| sum.add(term));
            sum.add(-(i128::MAX as f64) * 2.0_f64.powi(-64));
            sum.value()
        };
        assert_eq!(sum([large, 0.25, -large]), 0.25);
        assert_eq!(sum([0.25, large, -large]), 0.25);
    }

    fn any_magnitude() -> impl Strategy<Value = f64> {
        (-1.0_f64..1.0, -80_i32..80).prop_map(|(m, e)| m * 2.0_f64.powi(e))
    }

    /// Prices and counts, what fixed point just holds or not, and nothing.
    fn any_of_a_window() -> impl Strategy<Value = f64> {
        let just_held = (-(1_i64 << 53)..1 << 53, -66_i32..-20).prop_map(|(m, e)| m as f64 * 2.0_f64.powi(e));
        let price = (-100_000_i32..100_000).prop_map(|cents| f64::from(cents) / 100.0);
        prop_oneof![20 => price, 1 => just_held, 1 => any_magnitude(), 2 => Just(f64::NAN), 1 => Just(0.0)]
    }

    proptest! {
        #[test]
        fn integers_sum_as_integers(terms in prop::collection::vec(-(1_i64 << 52)..(1 << 52), 0..60)) {
            let exact: i128 = terms.iter().map(|&term| i128::from(term)).sum();
            let sum: ExactSum = terms.iter().map(|&term| term as f64).collect();
            prop_assert_eq!(sum.value(), exact as f64);
        }

        #[test]
        fn fixed_point_holds_what_it_takes(number in prop::num::f64::NORMAL | prop::num::f64::ZERO) {
            if let Some(fixed) = Fixed::of(number) {
                prop_assert_eq!(fixed.value(), number);
            }
        }

        /// Fixed point and partials are two ways to the same bits.
        #[test]
        fn any_order_reads_the_same(terms in prop::collection::vec(any_magnitude(), 0..40).prop_shuffle()) {
            let mut sorted = terms.clone();
            sorted.sort_by(f64::total_cmp);
            let (a, b): (ExactSum, ExactSum) = (terms.into_iter().collect(), sorted.iter().copied().collect());
            prop_assert_eq!(a.value().to_bits(), b.value().to_bits());
            let mut partials = Partials::default();
            sorted.into_iter().for_each(|term| partials.add(term));
            prop_assert_eq!(a.value().to_bits(), partials.rounded().to_bits());
        }

        #[test]
        fn cells_sum_up_as_their_numbers_do(
            numbers in prop::collection::vec(any_of_a_window(), 0..=Fixed::MAX_CELLS),
        ) {
            let cells: Vec<u64> = numbers.iter().map(|number| number.to_bits()).collect();
            let there = || numbers.iter().filter(|number| !number.is_nan());
            let all: Option<Vec<Fixed>> = there().map(|&number| Fixed::of(number)).collect();
            let is_small = there().all(|number| number.abs() < Fixed::MAX_SPLIT);
            let sum = all.map(|all| all.into_iter().fold(Fixed(0), Fixed::plus));
            let expected = sum.filter(|_| is_small).map(|sum| (sum, there().count() as u32));
            prop_assert_eq!(Fixed::sum_of(&cells), expected);
        }

        /// Also half way between two numbers, and a step beside it.
        #[test]
        fn fixed_point_rounds_as_integers_do(
            mantissa in 1_i128 << 52..1 << 53,
            shift in 0_u32..70,
            nudge in -1_i128..=1,
            any in any::<i128>(),
        ) {
            let half_way = (2 * mantissa + 1) << shift;
            for steps in [half_way + nudge, nudge - half_way, any, any >> shift] {
                prop_assert_eq!(Fixed(steps).value(), steps as f64 * 2.0_f64.powi(-64));
            }
        }
    }
}
