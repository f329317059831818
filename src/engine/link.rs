//! From raw outputs to values.

/// The function from a model's raw outputs to its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    Identity,
    /// `scale * raw`, of each output: the mean of a random forest whose raw output is the sum.
    Scaled {
        scale: f64,
    },
    /// `1 / (1 + exp(-raw))`, of each output.
    Logistic,
    /// `1 / (1 + exp(-scale * raw))`, of each output: LightGBM's `sigmoid`.
    ScaledLogistic {
        scale: f64,
    },
    /// `exp(raw) / sum of exp(raw)` over the outputs.
    Softmax,
    /// `exp(scale * raw) / sum of exp(scale * raw)` over the outputs.
    ScaledSoftmax {
        scale: f64,
    },
    /// `exp(raw)`: counts and amounts.
    Exp,
    /// `exp(scale * raw)`
    ScaledExp {
        scale: f64,
    },
    /// `ln(1 + exp(raw))`: LightGBM's `cross_entropy_lambda`.
    Softplus,
    /// `sign(raw) * raw * raw`: LightGBM's `reg_sqrt`.
    SignedSquare,
    /// 1 if `raw > 0`, else 0: XGBoost's `binary:hinge`.
    Step,
}

impl Link {
    /// The value of a single raw output.
    pub fn apply(self, raw: f64) -> f64 {
        match self {
            Self::Identity => raw,
            Self::Scaled { scale } => scale * raw,
            Self::Logistic => logistic(raw),
            Self::ScaledLogistic { scale } => logistic(scale * raw),
            Self::Softmax | Self::ScaledSoftmax { .. } => 1.0,
            Self::Exp => exp(raw),
            Self::ScaledExp { scale } => exp(scale * raw),
            Self::Softplus => raw.max(0.0) + (-raw.abs()).exp().ln_1p(),
            Self::SignedSquare => (raw * raw.abs()).clamp(f64::MIN, f64::MAX),
            Self::Step => f64::from(u8::from(raw > 0.0)),
        }
    }

    /// Turns the raw outputs of one row into values.
    pub fn apply_all(self, outputs: &mut [f64]) {
        match self {
            Self::Softmax => softmax(1.0, outputs),
            Self::ScaledSoftmax { scale } => softmax(scale, outputs),
            _ => outputs.iter_mut().for_each(|output| *output = self.apply(*output)),
        }
    }

    /// What raw outputs are multiplied by, where a link has such a number.
    pub fn scale(self) -> Option<f64> {
        match self {
            Self::Scaled { scale }
            | Self::ScaledLogistic { scale }
            | Self::ScaledSoftmax { scale }
            | Self::ScaledExp { scale } => Some(scale),
            _ => None,
        }
    }
}

fn exp(raw: f64) -> f64 {
    raw.exp().min(f64::MAX)
}

fn softmax(scale: f64, outputs: &mut [f64]) {
    // The greatest is taken away first, so that nothing overflows.
    let greatest = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    outputs.iter_mut().for_each(|output| *output = (scale * (*output - greatest)).exp());
    let sum: f64 = outputs.iter().sum();
    outputs.iter_mut().for_each(|output| *output /= sum);
}

fn logistic(raw: f64) -> f64 {
    1.0 / (1.0 + (-raw).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: [Link; 11] = [
        Link::Identity,
        Link::Scaled { scale: 0.5 },
        Link::Logistic,
        Link::ScaledLogistic { scale: 0.7 },
        Link::Softmax,
        Link::ScaledSoftmax { scale: 0.5 },
        Link::Exp,
        Link::ScaledExp { scale: 0.5 },
        Link::Softplus,
        Link::SignedSquare,
        Link::Step,
    ];

    #[test]
    fn each_is_its_formula() {
        let at = 0.8_f64;
        let expected = [
            0.8,
            0.4,
            1.0 / (1.0 + (-0.8_f64).exp()),
            1.0 / (1.0 + (-0.56_f64).exp()),
            1.0,
            1.0,
            at.exp(),
            0.4_f64.exp(),
            (1.0 + at.exp()).ln(),
            0.64,
            1.0,
        ];
        for (link, expected) in LINKS.into_iter().zip(expected) {
            assert!((link.apply(at) - expected).abs() < 1e-15, "{link:?}");
        }
        assert_eq!(Link::SignedSquare.apply(-3.0), -9.0);
        assert_eq!(Link::Step.apply(0.0), 0.0);
    }

    #[test]
    fn class_probabilities_sum_to_one_and_nothing_overflows() {
        let mut outputs = [1_000.0, 999.0, -1_000.0];
        Link::Softmax.apply_all(&mut outputs);
        assert!((outputs.iter().sum::<f64>() - 1.0).abs() < 1e-15);
        assert!((outputs[0] - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-15);
        let mut outputs = [1_000.0, 998.0];
        Link::ScaledSoftmax { scale: 0.5 }.apply_all(&mut outputs);
        assert!((outputs[0] - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-15);
        for link in LINKS {
            for raw in [-1e300, -1_000.0, 0.0, 1_000.0, 1e300] {
                let mut outputs = [raw, 0.0];
                link.apply_all(&mut outputs);
                assert!(outputs.iter().all(|output| output.is_finite()), "{link:?} {raw}: {outputs:?}");
            }
        }
    }
}
