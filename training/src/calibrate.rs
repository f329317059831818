//! Fits the map from a model's probability to one that can be taken at its
//! word, on rows the model was not trained on.

use tipoff::engine::calibration::Calibration;

use crate::evaluate::log_loss;

const N_FOLDS: usize = 5;
/// Probabilities are kept so far from 0 and 1 before their logit is taken, as
/// [`Calibration::apply`] does.
const EPSILON: f64 = 1e-15;

/// The map with the least log loss, and how each kind did.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub calibration: Calibration,
    /// Log loss over the folds by kind, the chosen one first.
    pub candidates: Vec<(&'static str, f64)>,
}

/// Fits each kind of map and keeps the best.
///
/// They are compared on rows they were not fitted to, or the one with the most
/// freedom would always win: each fifth of the `users` (shape `[n_rows]`,
/// counted from 0) is mapped by a fit to the others.
pub fn choose(p: &[f64], y: &[f64], users: &[usize]) -> Chosen {
    type Fit = fn(&[f64], &[f64]) -> Option<Calibration>;
    let kinds: [(&str, Fit); 3] =
        [("none", |_, _| Some(Calibration::None)), ("platt", platt), ("isotonic", isotonic)];
    let mut fitted: Vec<(&str, f64, Calibration)> = kinds
        .into_iter()
        .filter_map(|(kind, fit)| Some((kind, out_of_fold_loss(fit, p, y, users)?, fit(p, y)?)))
        .collect();
    // Stable: the simpler one wins a tie.
    fitted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let candidates = fitted.iter().map(|(kind, loss, _)| (*kind, *loss)).collect();
    let calibration = fitted.into_iter().next().map_or(Calibration::None, |(_, _, calibration)| calibration);
    Chosen { calibration, candidates }
}

fn out_of_fold_loss(
    fit: impl Fn(&[f64], &[f64]) -> Option<Calibration>,
    p: &[f64],
    y: &[f64],
    users: &[usize],
) -> Option<f64> {
    let mut mapped = vec![0.0; p.len()];
    for fold in 0..N_FOLDS {
        let inside = |row: &usize| users[*row] % N_FOLDS == fold;
        let others: Vec<usize> = (0..p.len()).filter(|row| !inside(row)).collect();
        let pick = |values: &[f64]| others.iter().map(|&row| values[row]).collect::<Vec<_>>();
        let calibration = fit(&pick(p), &pick(y))?;
        for row in (0..p.len()).filter(inside) {
            mapped[row] = calibration.apply(p[row]);
        }
    }
    Some(log_loss(&mapped, y))
}

/// Logistic regression on the logit, by Newton's method, with targets drawn in
/// as Platt did: `(n + 1) / (n + 2)` and `1 / (n + 2)`. None unless both
/// classes are seen and the fit keeps the order.
pub fn platt(p: &[f64], y: &[f64]) -> Option<Calibration> {
    let positives: f64 = y.iter().sum();
    let negatives = y.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (high, low) = ((positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0));
    let rows: Vec<(f64, f64)> = p
        .iter()
        .zip(y)
        .map(|(p, y)| {
            let p = p.clamp(EPSILON, 1.0 - EPSILON);
            ((p / (1.0 - p)).ln(), if *y == 1.0 { high } else { low })
        })
        .collect();
    // -log likelihood; ln(1 + e^z) - t z, without overflow.
    let loss = |slope: f64, intercept: f64| -> f64 {
        let of_row = |&(x, target): &(f64, f64)| {
            let z = slope * x + intercept;
            z.max(0.0) + (-z.abs()).exp().ln_1p() - target * z
        };
        rows.iter().map(of_row).sum()
    };
    let (mut slope, mut intercept) = (1.0, 0.0);
    let mut current = loss(slope, intercept);
    for _ in 0..100 {
        let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(x, target) in &rows {
            let q = 1.0 / (1.0 + (-(slope * x + intercept)).exp());
            let (gradient, weight) = (q - target, q * (1.0 - q));
            g0 += gradient * x;
            g1 += gradient;
            h00 += weight * x * x;
            h01 += weight * x;
            h11 += weight;
        }
        // A ridge, so that equal logits do not make the matrix singular.
        let (h00, h11) = (h00 + 1e-9, h11 + 1e-9);
        let determinant = h00 * h11 - h01 * h01;
        let step = ((h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant);
        let mut scale = 1.0;
        let next = loop {
            let next = (slope - scale * step.0, intercept - scale * step.1);
            let next_loss = loss(next.0, next.1);
            if next_loss < current {
                break Some((next, next_loss));
            }
            scale /= 2.0;
            if scale < 1e-9 {
                break None;
            }
        };
        let Some((next, next_loss)) = next else { break };
        let gain = current - next_loss;
        ((slope, intercept), current) = (next, next_loss);
        if gain < 1e-12 * current.abs() {
            break;
        }
    }
    (slope >= 0.0 && slope.is_finite() && intercept.is_finite())
        .then_some(Calibration::Platt { slope, intercept })
}

/// Isotonic regression by pooling adjacent violators; equal probabilities are
/// one point. Flat over each pool, linear between pools.
///
/// Values keep `1 / (n + 2)` away from 0 and 1: never seen is not impossible.
/// None without rows.
pub fn isotonic(p: &[f64], y: &[f64]) -> Option<Calibration> {
    struct Pool {
        first: f64,
        last: f64,
        sum: f64,
        rows: f64,
    }
    let mut rows: Vec<(f64, f64)> = p.iter().copied().zip(y.iter().copied()).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut pools: Vec<Pool> = Vec::new();
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let sum = tied.iter().map(|row| row.1).sum();
        pools.push(Pool { first: tied[0].0, last: tied[0].0, sum, rows: tied.len() as f64 });
        while let [.., before, last] = pools.as_slice()
            // The means in the wrong order, or equal: without division.
            && before.sum * last.rows >= last.sum * before.rows
        {
            let last = pools.pop()?;
            let before = pools.last_mut()?;
            before.last = last.last;
            before.sum += last.sum;
            before.rows += last.rows;
        }
    }
    let margin = 1.0 / (rows.len() as f64 + 2.0);
    let (mut x, mut values) = (Vec::new(), Vec::new());
    for pool in &pools {
        let value = (pool.sum / pool.rows).clamp(margin, 1.0 - margin);
        for at in [pool.first, pool.last] {
            if x.last() != Some(&at) {
                x.push(at);
                values.push(value);
            }
        }
    }
    (!x.is_empty()).then_some(Calibration::Isotonic { x, y: values })
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    /// Rows whose true probability is `truth(p)`.
    fn rows(n: usize, truth: impl Fn(f64) -> f64) -> (Vec<f64>, Vec<f64>, Vec<usize>) {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
        let p: Vec<f64> = (0..n).map(|_| uniform()).collect();
        let y = p.iter().map(|p| f64::from(uniform() < truth(*p))).collect();
        (p, y, (0..n).map(|row| row / 3).collect())
    }

    fn logistic(slope: f64, intercept: f64) -> impl Fn(f64) -> f64 {
        move |p| Calibration::Platt { slope, intercept }.apply(p)
    }

    #[test]
    fn isotonic_pools_violators() {
        // Means 0, 1, 0.5, 1 by x: the second and third are pooled to 2/3.
        let p = [0.1, 0.1, 0.3, 0.5, 0.5, 0.9];
        let y = [0.0, 0.0, 1.0, 1.0, 0.0, 1.0];
        let low = 1.0 / 8.0;
        assert_eq!(
            isotonic(&p, &y),
            Some(Calibration::Isotonic {
                x: vec![0.1, 0.3, 0.5, 0.9],
                y: vec![low, 2.0 / 3.0, 2.0 / 3.0, 1.0 - low]
            })
        );
        // The wrong way round throughout: one pool.
        let falling = isotonic(&[0.2, 0.4, 0.6, 0.8], &[1.0, 1.0, 0.0, 0.0]);
        assert_eq!(falling, Some(Calibration::Isotonic { x: vec![0.2, 0.8], y: vec![0.5, 0.5] }));
        assert_eq!(isotonic(&[], &[]), None);
    }

    /// Isotonic regression is the best non-decreasing fit in squares: its
    /// value is `max over i <= k of min over j >= k of mean(i..=j)`.
    #[test]
    fn isotonic_equals_the_min_max_formula() {
        let (mut p, y, _) = rows(60, |p| 0.3 + 0.4 * p);
        p.sort_by(f64::total_cmp);
        let map = isotonic(&p, &y).expect("rows");
        for k in 0..p.len() {
            let mean = |i: usize, j: usize| y[i..=j].iter().sum::<f64>() / (j - i + 1) as f64;
            let least = |i| (k..p.len()).map(|j| mean(i, j)).fold(f64::INFINITY, f64::min);
            let expected = (0..=k).map(least).fold(f64::NEG_INFINITY, f64::max);
            let expected = expected.clamp(1.0 / 62.0, 61.0 / 62.0);
            assert!((map.apply(p[k]) - expected).abs() < 1e-12, "{k}: {} is not {expected}", map.apply(p[k]));
        }
    }

    #[test]
    fn platt_finds_the_slope_and_intercept_that_made_the_labels() {
        let (p, y, _) = rows(200_000, logistic(0.6, -0.8));
        let Some(Calibration::Platt { slope, intercept }) = platt(&p, &y) else { panic!("no fit") };
        assert!((slope - 0.6).abs() < 0.02 && (intercept + 0.8).abs() < 0.02, "{slope} {intercept}");
    }

    #[test]
    fn platt_is_where_the_gradient_is_zero() {
        let (p, y, _) = rows(500, logistic(1.4, 0.3));
        let Some(Calibration::Platt { slope, intercept }) = platt(&p, &y) else { panic!("no fit") };
        let n: f64 = y.iter().sum();
        let (high, low) = ((n + 1.0) / (n + 2.0), 1.0 / (y.len() as f64 - n + 2.0));
        let map = Calibration::Platt { slope, intercept };
        let residuals =
            || p.iter().zip(&y).map(|(&p, &y)| (p, map.apply(p) - if y == 1.0 { high } else { low }));
        let by_intercept: f64 = residuals().map(|(_, residual)| residual).sum();
        let by_slope: f64 = residuals().map(|(p, residual)| residual * (p / (1.0 - p)).ln()).sum();
        assert!(by_intercept.abs() < 1e-4 && by_slope.abs() < 1e-4, "{by_intercept} {by_slope}");
    }

    #[test]
    fn what_cannot_be_fitted_is_left_out() {
        assert_eq!(platt(&[0.2, 0.4], &[1.0, 1.0]), None);
        assert_eq!(
            platt(&[0.1, 0.2, 0.8, 0.9], &[1.0, 1.0, 0.0, 0.0]),
            None,
            "it would turn the order round"
        );
        assert!(platt(&[0.0, 1.0, 0.5, 0.5], &[0.0, 1.0, 0.0, 1.0]).is_some());
        let flat =
            platt(&[0.5; 10], &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).expect("an intercept");
        assert!((flat.apply(0.5) - (2.0 / 3.0 + 9.0 / 11.0) / 10.0).abs() < 1e-6);
    }

    #[test]
    fn the_kind_that_fits_is_chosen() {
        let chosen_for = |n, truth: &dyn Fn(f64) -> f64| {
            let (p, y, users) = rows(n, truth);
            choose(&p, &y, &users).candidates[0].0
        };
        assert_eq!(chosen_for(4_000, &logistic(0.5, -1.5)), "platt");
        assert_eq!(chosen_for(4_000, &|p| if p < 0.5 { 0.05 } else { 0.3 }), "isotonic");
    }
}
