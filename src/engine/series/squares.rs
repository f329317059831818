//! Exact sums of squares of fixed-point numbers.

use crate::engine::exact_sum::Fixed;

/// An unsigned 256-bit integer in steps of 2^-128; additions wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumOfSquares {
    high: u128,
    low: u128,
}

impl SumOfSquares {
    pub fn plus(self, other: Self) -> Self {
        let (low, carry) = self.low.overflowing_add(other.low);
        Self { high: self.high.wrapping_add(other.high).wrapping_add(u128::from(carry)), low }
    }

    pub fn minus(self, other: Self) -> Self {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        Self { high: self.high.wrapping_sub(other.high).wrapping_sub(u128::from(borrow)), low }
    }

    pub fn of(number: Fixed) -> Self {
        let magnitude = number.0.unsigned_abs();
        Self::product(magnitude, magnitude)
    }

    fn product(a: u128, b: u128) -> Self {
        const HALF: u32 = 64;
        let parts = |x: u128| (x >> HALF, x & u128::from(u64::MAX));
        let ((a_high, a_low), (b_high, b_low)) = (parts(a), parts(b));
        let crossed = |x: u128| Self { high: x >> HALF, low: x << HALF };
        Self { high: a_high * b_high, low: a_low * b_low }
            .plus(crossed(a_high * b_low))
            .plus(crossed(a_low * b_high))
    }

    fn times(self, n: u32) -> Self {
        let mut product = Self::product(self.low, u128::from(n));
        product.high = product.high.wrapping_add(self.high.wrapping_mul(u128::from(n)));
        product
    }

    pub fn parts(self) -> [u128; 2] {
        [self.high, self.low]
    }

    pub fn from_parts([high, low]: [u128; 2]) -> Self {
        Self { high, low }
    }

    /// Rounded to the nearest, half to even.
    pub fn value(self) -> f64 {
        const STEP: f64 = 1.0 / (1_u128 << 64) as f64;
        let shift = self.high.leading_zeros();
        let top = match shift {
            0 => self.high,
            128 => return self.low as f64 * STEP * STEP,
            shift => self.high << shift | self.low >> (128 - shift),
        };
        // What is shifted out decides only between halves.
        let rest = if shift == 0 { self.low } else { self.low << shift };
        let top = top | u128::from(rest != 0);
        top as f64 * 2.0_f64.powi(-(shift as i32))
    }

    /// The sample standard deviation of `n` numbers with this sum of squares:
    /// exact up to the division and the root, so nothing cancels. NaN for
    /// fewer than two numbers.
    pub fn deviation(self, sum: Fixed, n: u32) -> f64 {
        if n < 2 {
            return f64::NAN;
        }
        let spread = self.times(n).minus(Self::of(sum));
        (spread.value() / (f64::from(n) * f64::from(n - 1))).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_spread_around_a_large_mean_is_not_cancelled() {
        let numbers = [1e11 + 0.25, 1e11, 1e11 - 0.25];
        let fixed = numbers.map(|number| Fixed::of(number).expect("fits"));
        let sum = fixed.iter().fold(Fixed::default(), |sum, number| sum.plus(*number));
        let squares = fixed.iter().fold(SumOfSquares::default(), |sum, x| sum.plus(SumOfSquares::of(*x)));
        assert_eq!(squares.deviation(sum, 3), 0.25);
    }

    proptest! {
        #[test]
        fn equals_integer_arithmetic(numbers in prop::collection::vec(-1_000_000_i64..1_000_000, 0..50)) {
            let n = numbers.len() as i128;
            let fixed = |x: i64| Fixed::of(x as f64 / 8.0).expect("fits");
            let sum = numbers.iter().fold(Fixed::default(), |sum, &x| sum.plus(fixed(x)));
            let squares =
                numbers.iter().fold(SumOfSquares::default(), |sum, &x| sum.plus(SumOfSquares::of(fixed(x))));
            let exact: i128 = numbers.iter().map(|&x| i128::from(x)).sum();
            let spread = n * numbers.iter().map(|&x| i128::from(x).pow(2)).sum::<i128>() - exact.pow(2);
            let expected = (spread as f64 / 64.0 / (n * (n - 1)) as f64).sqrt();
            let deviation = squares.deviation(sum, n as u32);
            prop_assert!(deviation.to_bits() == expected.to_bits() || n < 2 && deviation.is_nan());
        }

        #[test]
        fn subtraction_undoes_addition(a in any::<(u128, u128)>(), b in any::<(u128, u128)>()) {
            let (a, b) = (SumOfSquares { high: a.0, low: a.1 }, SumOfSquares { high: b.0, low: b.1 });
            prop_assert_eq!(a.plus(b).minus(b), a);
        }
    }
}
