//! Gauss-Legendre quadrature from 0 to 1.

/// Points and weights that integrate polynomials of degrees below twice the
/// number of points exactly; what is beyond them up to `N` has no weight.
pub struct Quadrature<const N: usize> {
    pub points: [f64; N],
    pub weights: [f64; N],
    /// One over what is left from each point to 1.
    pub inverse_of_rest: [f64; N],
}

impl<const N: usize> Quadrature<N> {
    pub fn new(n: usize) -> Self {
        let (mut points, mut weights) = ([0.5; N], [0.0; N]);
        for at in 0..n.div_ceil(2) {
            // A root of the Legendre polynomial, from Tricomi's estimate by Newton's method.
            let mut x = (std::f64::consts::PI * (at as f64 + 0.75) / (n as f64 + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..8 {
                let (value, of) = legendre(n, x);
                slope = of;
                let step = value / slope;
                x -= step;
                if step.abs() < 1e-16 {
                    break;
                }
            }
            let weight = 1.0 / ((1.0 - x * x) * slope * slope);
            // Both of a pair; the one in the middle is its own.
            (points[at], weights[at]) = (0.5 - 0.5 * x, weight);
            (points[n - 1 - at], weights[n - 1 - at]) = (0.5 + 0.5 * x, weight);
        }
        Self { points, weights, inverse_of_rest: points.map(|point| 1.0 / (1.0 - point)) }
    }
}

/// The Legendre polynomial of degree `n` and its derivative, for `x` within -1 and 1.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (0.0, 1.0);
    for degree in 0..n {
        let degree = degree as f64;
        let next = ((2.0 * degree + 1.0) * x * value - degree * before) / (degree + 1.0);
        (before, value) = (value, next);
    }
    (value, n as f64 * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_integrated_exactly() {
        for n in [1, 2, 3, 4, 7, 16, 31, 100, 256] {
            let quadrature = Quadrature::<256>::new(n);
            for degree in [0, 1, n, 2 * n - 1] {
                let at = |(point, weight): (&f64, &f64)| weight * point.powi(degree as i32);
                let sum: f64 = quadrature.points.iter().zip(&quadrature.weights).map(at).sum();
                assert!(
                    (sum * (degree + 1) as f64 - 1.0).abs() < 1e-11,
                    "{n} points, degree {degree}: {sum}"
                );
            }
        }
    }
}
