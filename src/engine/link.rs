//! From raw outputs to values.

/// The function from a model's raw outputs to its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    Identity,
    /// `1 / (1 + exp(-raw))`, of each output.
    Logistic,
    /// `1 / (1 + exp(-scale * raw))`, of each output: LightGBM's `sigmoid`.
    ScaledLogistic {
        scale: f64,
    },
    /// `exp(raw) / sum of exp(raw)` over the outputs.
    Softmax,
    /// `exp(raw)`: counts and amounts.
    Exp,
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
            Self::Logistic => logistic(raw),
            Self::ScaledLogistic { scale } => logistic(scale * raw),
            Self::Softmax => 1.0,
            Self::Exp => raw.exp().min(f64::MAX),
            Self::Softplus => raw.max(0.0) + (-raw.abs()).exp().ln_1p(),
            Self::SignedSquare => (raw * raw.abs()).clamp(f64::MIN, f64::MAX),
            Self::Step => f64::from(u8::from(raw > 0.0)),
        }
    }

    /// Turns the raw outputs of one row into values.
    pub fn apply_all(self, outputs: &mut [f64]) {
        if self != Self::Softmax {
            outputs.iter_mut().for_each(|output| *output = self.apply(*output));
            return;
        }
        // The greatest is taken away first, so that nothing overflows.
        let greatest = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        outputs.iter_mut().for_each(|output| *output = (*output - greatest).exp());
        let sum: f64 = outputs.iter().sum();
        outputs.iter_mut().for_each(|output| *output /= sum);
    }
}

fn logistic(raw: f64) -> f64 {
    1.0 / (1.0 + (-raw).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: [Link; 8] = [
        Link::Identity,
        Link::Logistic,
        Link::ScaledLogistic { scale: 0.7 },
        Link::Softmax,
        Link::Exp,
        Link::Softplus,
        Link::SignedSquare,
        Link::Step,
    ];

    #[test]
    fn each_is_its_formula() {
        let at = 0.8_f64;
        let expected = [
            0.8,
            1.0 / (1.0 + (-0.8_f64).exp()),
            1.0 / (1.0 + (-0.56_f64).exp()),
            1.0,
            at.exp(),
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
        for link in LINKS {
            for raw in [-1e300, -1_000.0, 0.0, 1_000.0, 1e300] {
                let mut outputs = [raw, 0.0];
                link.apply_all(&mut outputs);
                assert!(outputs.iter().all(|output| output.is_finite()), "{link:?} {raw}: {outputs:?}");
            }
        }
    }
}
