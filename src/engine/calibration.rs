//! From a model's probability to one that can be taken at its word.

/// A monotone map on probabilities, fitted on data the model was not trained on.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Calibration {
    #[default]
    None,
    /// `logistic(slope * logit(p) + intercept)`. Platt, "Probabilistic
    /// outputs for support vector machines", 1999, on the logit scale.
    Platt { slope: f64, intercept: f64 },
    /// Piecewise linear through `(x, y)` knots, flat beyond the ends; both
    /// non-decreasing. Zadrozny and Elkan, KDD 2002.
    Isotonic { x: Vec<f64>, y: Vec<f64> },
}

impl Calibration {
    /// The calibrated probability; NaN stays NaN.
    pub fn apply(&self, probability: f64) -> f64 {
        match self {
            Self::None => probability,
            Self::Platt { slope, intercept } => {
                // A model may say 0 or 1 outright; the logit of those is clamped.
                let p = probability.clamp(1e-15, 1.0 - 1e-15);
                let logit = (p / (1.0 - p)).ln();
                1.0 / (1.0 + (-(slope * logit + intercept)).exp())
            }
            Self::Isotonic { x, y } => interpolate(x, y, probability),
        }
    }
}

fn interpolate(x: &[f64], y: &[f64], at: f64) -> f64 {
    let (Some(&first), Some(&last)) = (x.first(), x.last()) else { return at };
    if at.is_nan() {
        return at;
    }
    if at <= first {
        return y[0];
    }
    if at >= last {
        return y[y.len() - 1];
    }
    let right = x.partition_point(|&knot| knot <= at);
    let (x0, x1, y0, y1) = (x[right - 1], x[right], y[right - 1], y[right]);
    y0 + (y1 - y0) * ((at - x0) / (x1 - x0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isotonic_interpolates_and_is_flat_outside() {
        let map = Calibration::Isotonic { x: vec![0.2, 0.4, 0.8], y: vec![0.1, 0.3, 0.3] };
        for (at, expected) in [(0.0, 0.1), (0.2, 0.1), (0.3, 0.2), (0.5, 0.3), (1.0, 0.3)] {
            assert!((map.apply(at) - expected).abs() < 1e-12, "{at}");
        }
        assert!(map.apply(f64::NAN).is_nan());
    }

    #[test]
    fn platt_of_slope_one_is_the_identity() {
        let map = Calibration::Platt { slope: 1.0, intercept: 0.0 };
        assert!((map.apply(0.3) - 0.3).abs() < 1e-12);
        assert!(map.apply(0.0) > 0.0);
    }
}
