//! How good probabilities are.
//!
//! Throughout, `p` are probabilities and `y` the labels, 0 or 1, of the same rows.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use tipoff::registry::{PartMetrics, Threshold};

const N_BINS: usize = 10;
const N_RESAMPLES: usize = 200;
/// Probabilities are kept so far from 0 and 1 in the log loss.
const EPSILON: f64 = 1e-15;

/// Rows of similar probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    pub rows: usize,
    pub mean_probability: f64,
    /// Share of the rows whose label came true.
    pub rate: f64,
}

/// All measures of one part; `users` (shape `[n_rows]`) are counted from 0.
pub fn measure(p: &[f64], y: &[f64], users: &[usize], seed: u64) -> PartMetrics {
    PartMetrics {
        auc: auc(p, y),
        auc_interval: auc_interval(p, y, users, seed),
        log_loss: log_loss(p, y),
        brier: mean(p.iter().zip(y).map(|(p, y)| (p - y) * (p - y))),
        ece: ece(&reliability(p, y)),
        base_rate: mean(y.iter().copied()),
    }
}

/// The chance that a row with the label is ranked above one without, ties
/// counting half; none unless both are seen.
pub fn auc(p: &[f64], y: &[f64]) -> Option<f64> {
    Ranking::new(p).auc(y, |_| 1.0)
}

/// A 95 % interval of the AUC by resampling users, whose rows depend on each other.
pub fn auc_interval(p: &[f64], y: &[f64], users: &[usize], seed: u64) -> Option<[f64; 2]> {
    let n_users = users.iter().max()? + 1;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let ranking = Ranking::new(p);
    let mut times_drawn = vec![0.0; n_users];
    let mut found: Vec<f64> = (0..N_RESAMPLES)
        .filter_map(|_| {
            times_drawn.fill(0.0);
            for _ in 0..n_users {
                // The high bits of a product: uniform enough for far fewer users than 2^64.
                let drawn = (u128::from(rng.next_u64()) * n_users as u128) >> 64;
                times_drawn[drawn as usize] += 1.0;
            }
            ranking.auc(y, |row| times_drawn[users[row]])
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    found.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| found[((found.len() - 1) as f64 * share).round() as usize];
    Some([at(0.025), at(0.975)])
}

/// In nats.
pub fn log_loss(p: &[f64], y: &[f64]) -> f64 {
    mean(p.iter().zip(y).map(|(p, y)| {
        let p = p.clamp(EPSILON, 1.0 - EPSILON);
        if *y == 1.0 { -p.ln() } else { -(1.0 - p).ln() }
    }))
}

/// Bins of about equal count by ascending probability; equal probabilities
/// stay together.
pub fn reliability(p: &[f64], y: &[f64]) -> Vec<Bin> {
    let ranking = Ranking::new(p);
    let mut bins = Vec::new();
    let mut start = 0;
    for (index, group) in ranking.groups.iter().enumerate() {
        let full = group.end * N_BINS >= p.len() * (bins.len() + 1);
        if !full && index + 1 < ranking.groups.len() {
            continue;
        }
        let rows = &ranking.order[start..group.end];
        bins.push(Bin {
            rows: rows.len(),
            mean_probability: mean(rows.iter().map(|&row| p[row])),
            rate: mean(rows.iter().map(|&row| y[row])),
        });
        start = group.end;
    }
    bins
}

/// Expected calibration error: how far the bins' rates are from what was said.
pub fn ece(bins: &[Bin]) -> f64 {
    let rows: usize = bins.iter().map(|bin| bin.rows).sum();
    bins.iter().map(|bin| bin.rows as f64 / rows as f64 * (bin.rate - bin.mean_probability).abs()).sum()
}

/// What acting at and above a threshold would mean, for round probabilities
/// and for round shares of the rows; by descending threshold.
pub fn thresholds(p: &[f64], y: &[f64]) -> Vec<Threshold> {
    const SHARES: [f64; 8] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5];
    let ranking = Ranking::new(p);
    let mut candidates: Vec<f64> = (1..20).map(|twentieth| f64::from(twentieth) / 20.0).collect();
    candidates.extend(SHARES.iter().filter_map(|share| {
        let rank = ((p.len() as f64 * share) as usize).checked_sub(1)?;
        Some(p[ranking.order[p.len() - 1 - rank]])
    }));
    candidates.sort_unstable_by(|a, b| b.total_cmp(a));
    candidates.dedup();
    let positives: f64 = y.iter().sum();
    let measured = candidates.into_iter().filter_map(|threshold| {
        let above: Vec<usize> = (0..p.len()).filter(|&row| p[row] >= threshold).collect();
        let hits: f64 = above.iter().map(|&row| y[row]).sum();
        (!above.is_empty()).then(|| Threshold {
            threshold,
            precision: hits / above.len() as f64,
            recall: if positives > 0.0 { hits / positives } else { 0.0 },
            share: above.len() as f64 / p.len() as f64,
        })
    });
    measured.collect()
}

/// Rows by ascending probability, with the groups of equal ones.
struct Ranking {
    order: Vec<usize>,
    groups: Vec<Range<usize>>,
}

impl Ranking {
    fn new(p: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
        let mut groups = Vec::new();
        let mut start = 0;
        for group in order.chunk_by(|&a, &b| p[a] == p[b]) {
            groups.push(start..start + group.len());
            start += group.len();
        }
        Self { order, groups }
    }

    /// With rows counted `weight` times.
    fn auc(&self, y: &[f64], weight: impl Fn(usize) -> f64) -> Option<f64> {
        let (mut negatives, mut positives, mut pairs) = (0.0, 0.0, 0.0);
        for group in &self.groups {
            let (mut with, mut without) = (0.0, 0.0);
            for &row in &self.order[group.clone()] {
                *(if y[row] == 1.0 { &mut with } else { &mut without }) += weight(row);
            }
            pairs += with * (negatives + without / 2.0);
            positives += with;
            negatives += without;
        }
        (positives > 0.0 && negatives > 0.0).then(|| pairs / (positives * negatives))
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn auc_counts_pairs_and_halves_ties() {
        // Positives 0.9, 0.5, 0.2 against negatives 0.5, 0.1: 2 + 1.5 + 1 of 6 pairs.
        let (p, y) = ([0.9, 0.5, 0.5, 0.2, 0.1], [1.0, 1.0, 0.0, 1.0, 0.0]);
        close(auc(&p, &y).expect("both classes"), 4.5 / 6.0);
        close(auc(&[0.3; 4], &[1.0, 0.0, 0.0, 1.0]).expect("both classes"), 0.5);
        assert_eq!(auc(&[0.1, 0.2], &[1.0, 1.0]), None);
        assert_eq!(auc(&[], &[]), None);
    }

    #[test]
    fn auc_equals_the_sum_over_all_pairs() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let p: Vec<f64> = (0..200).map(|_| (rng.next_u32() % 50) as f64 / 50.0).collect();
        let y: Vec<f64> = p.iter().map(|p| f64::from(rng.next_u32() as f64 / 4e9 < *p)).collect();
        let (mut pairs, mut won) = (0.0, 0.0);
        for i in 0..p.len() {
            for j in 0..p.len() {
                if y[i] == 1.0 && y[j] == 0.0 {
                    pairs += 1.0;
                    won += if p[i] > p[j] {
                        1.0
                    } else if p[i] == p[j] {
                        0.5
                    } else {
                        0.0
                    };
                }
            }
        }
        close(auc(&p, &y).expect("both classes"), won / pairs);
    }

    #[test]
    fn the_interval_is_wider_where_rows_share_a_user() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        // Fifty coins, each seen by one user ten times over.
        let coins: Vec<(f64, f64)> = (0..50)
            .map(|_| {
                let p = f64::from(rng.next_u32()) / f64::from(u32::MAX);
                (p, f64::from(f64::from(rng.next_u32()) / f64::from(u32::MAX) < p))
            })
            .collect();
        let (p, y): (Vec<f64>, Vec<f64>) = (0..500).map(|row| coins[row / 10]).unzip();
        let shared: Vec<usize> = (0..500).map(|row| row / 10).collect();
        let apart: Vec<usize> = (0..500).collect();
        let [low, high] = auc_interval(&p, &y, &shared, 1).expect("both classes");
        let [low_apart, high_apart] = auc_interval(&p, &y, &apart, 1).expect("both classes");
        let auc = auc(&p, &y).expect("both classes");
        assert!(low < auc && auc < high && low >= 0.0 && high <= 1.0);
        assert!(high - low > 2.0 * (high_apart - low_apart));
        assert_eq!(auc_interval(&p, &y, &shared, 1), Some([low, high]), "the seed decides");
    }

    #[test]
    fn losses_are_the_textbook_ones() {
        let (p, y) = ([0.8, 0.4, 0.0], [1.0, 0.0, 0.0]);
        close(log_loss(&p, &y), -(0.8f64.ln() + 0.6f64.ln()) / 3.0);
        let metrics = measure(&p, &y, &[0, 1, 2], 1);
        close(metrics.brier, (0.04 + 0.16) / 3.0);
        close(metrics.base_rate, 1.0 / 3.0);
        assert!(log_loss(&[0.0], &[1.0]).is_finite());
    }

    #[test]
    fn bins_hold_equal_counts_and_keep_ties_together() {
        let p: Vec<f64> = (0..20).map(|row| f64::from(row) / 20.0).collect();
        let y: Vec<f64> = (0..20).map(|row| f64::from(row % 2)).collect();
        let bins = reliability(&p, &y);
        assert_eq!(bins.len(), 10);
        assert!(bins.iter().all(|bin| bin.rows == 2 && bin.rate == 0.5));
        close(bins[3].mean_probability, 6.5 / 20.0);
        // |0.5 - 0.025|, |0.5 - 0.125|, … |0.5 - 0.925|
        close(
            ece(&bins),
            (0.475 + 0.375 + 0.275 + 0.175 + 0.075 + 0.025 + 0.125 + 0.225 + 0.325 + 0.425) / 10.0,
        );

        let ties = reliability(&[0.2, 0.2, 0.2, 0.7], &[0.0, 0.0, 1.0, 1.0]);
        let expected = [(3, 1.0 / 3.0), (1, 1.0)];
        assert_eq!(ties.iter().map(|bin| (bin.rows, bin.rate)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn thresholds_count_from_the_top() {
        let (p, y) = ([0.9, 0.6, 0.6, 0.1], [1.0, 1.0, 0.0, 1.0]);
        let table = thresholds(&p, &y);
        assert!(table.is_sorted_by(|a, b| a.threshold > b.threshold));
        let at = |threshold| table.iter().find(|row| row.threshold == threshold).expect("in the table");
        let expected = Threshold { threshold: 0.6, precision: 2.0 / 3.0, recall: 2.0 / 3.0, share: 0.75 };
        assert_eq!(*at(0.6), expected);
        assert_eq!(at(0.9).precision, 1.0);
        assert_eq!(at(0.05).share, 1.0);
        assert!(table.iter().all(|row| row.threshold != 0.95), "nobody is there");
    }
}
