//! What a training run found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde::Serialize;
use tipoff::cli::print::count;
use tipoff::engine::explain;
use tipoff::engine::forest::Forest;
use tipoff::engine::time::Millis;
use tipoff::registry::{Label, Metrics, Part, PartMetrics, Threshold, Training};

use crate::dataset::{self, Dataset};
use crate::evaluate::Bin;

/// Hold-out rows that importances are averaged over.
const N_EXPLAINED: usize = 1_000;
const N_IMPORTANCES: usize = 15;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub model: String,
    pub label: Label,
    pub counts: Counts,
    pub training: Training,
    /// Of the calibrated probabilities.
    pub metrics: Metrics,
    /// Log loss by kind, on rows of the calibration part that it was not fitted to.
    pub calibrations: BTreeMap<String, f64>,
    /// On the hold-out, by ascending probability.
    pub reliability: Vec<Bin>,
    /// On the calibration part, by descending threshold: what to choose a
    /// trigger's threshold by, so that the hold-out stays a test of it.
    pub calibration_thresholds: Vec<Threshold>,
    /// On the hold-out, by descending threshold.
    pub thresholds: Vec<Threshold>,
    /// The most important features on the hold-out, most important first.
    pub importances: Vec<Importance>,
}

/// Where the rows came from and went.
#[derive(Clone, Debug, Serialize)]
pub struct Counts {
    pub events: u64,
    pub users: u64,
    pub lines_skipped: u64,
    pub duplicate: u64,
    pub late: u64,
    pub future: u64,
    pub decisions: u64,
    /// Decisions whose horizon passes the end of history.
    pub undecided: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Importance {
    pub feature: String,
    /// Mean size of the feature's contribution, in log-odds.
    pub mean_contribution: f64,
}

/// The features by the mean size of their contributions over the hold-out.
pub fn importances(forest: &Forest, holdout: &Dataset, names: &[&str]) -> Vec<Importance> {
    let step = holdout.len().div_ceil(N_EXPLAINED).max(1);
    let mut sums = vec![0.0; names.len()];
    let mut n = 0.0;
    for contributions in holdout.rows().step_by(step).filter_map(|row| explain::contributions(forest, row, 0))
    {
        n += 1.0;
        for (sum, contribution) in sums.iter_mut().zip(contributions) {
            *sum += contribution.abs();
        }
    }
    let mut importances: Vec<Importance> = names
        .iter()
        .zip(sums)
        .filter(|(_, sum)| *sum > 0.0)
        .map(|(name, sum)| Importance { feature: (*name).to_owned(), mean_contribution: sum / n })
        .collect();
    importances.sort_by(|a, b| b.mean_contribution.total_cmp(&a.mean_contribution));
    importances.truncate(N_IMPORTANCES);
    importances
}

impl Counts {
    pub fn new(counts: &dataset::Counts, lines_skipped: u64) -> Self {
        Self {
            events: counts.events,
            users: counts.users,
            lines_skipped,
            duplicate: counts.refused.duplicate,
            late: counts.refused.late,
            future: counts.refused.future,
            decisions: counts.decisions,
            undecided: counts.undecided,
        }
    }
}

impl Report {
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut content = serde_json::to_vec_pretty(self)?;
        content.push(b'\n');
        Ok(content)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model {} for the label {}", self.model, self.label)?;
        let Counts { events, users, lines_skipped, duplicate, late, future, decisions, undecided } =
            self.counts;
        writeln!(
            f,
            "{} of {} ({duplicate} duplicate, {late} late, {future} from the future, {} left out)",
            count(events, "event"),
            count(users, "user"),
            count(lines_skipped, "bad line"),
        )?;
        let decisions = count(decisions, "decision");
        writeln!(f, "{decisions}, {undecided} of them without a known outcome yet")?;
        let training = &self.training;
        let parameters: Vec<String> =
            training.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(f, "trainer {}: {}", training.trainer, parameters.join(", "))?;

        writeln!(
            f,
            "\n{:<12} {:>10}  {:>10}  {:>8} {:>7} {:>7}  {:>6} {:<15} {:>8} {:>7} {:>7}",
            "part", "from", "to", "rows", "users", "rate", "AUC", "[95 %]", "log loss", "Brier", "ECE"
        )?;
        for (name, part, metrics, gap) in [
            ("train", &training.train, &self.metrics.train, training.gap_after_train),
            ("calibration", &training.calibration, &self.metrics.calibration, training.gap_after_calibration),
            ("hold-out", &training.holdout, &self.metrics.holdout, Millis::ZERO),
        ] {
            write_part(f, name, part, metrics)?;
            if gap > Millis::ZERO {
                writeln!(f, "{:<12} {gap} left out", "")?;
            }
        }
        let rate = self.metrics.holdout.base_rate;
        let constant = -(rate * rate.ln() + (1.0 - rate) * (1.0 - rate).ln());
        let gain = 1.0 - self.metrics.holdout.log_loss / constant;
        writeln!(f, "log loss on the hold-out: {:.1} % less than by its base rate", 100.0 * gain)?;
        let mut calibrations: Vec<_> = self.calibrations.iter().collect();
        calibrations.sort_by(|a, b| a.1.total_cmp(b.1));
        let calibrations: Vec<String> =
            calibrations.iter().map(|(kind, loss)| format!("{kind} {loss:.5}")).collect();
        writeln!(f, "calibration by log loss, best first: {}", calibrations.join(", "))?;

        writeln!(f, "\nreliability on the hold-out\n{:>10} {:>10} {:>8}", "said", "came true", "rows")?;
        for bin in &self.reliability {
            writeln!(f, "{:>10.4} {:>10.4} {:>8}", bin.mean_probability, bin.rate, bin.rows)?;
        }
        for (part, thresholds) in
            [("calibration part", &self.calibration_thresholds), ("hold-out", &self.thresholds)]
        {
            writeln!(f, "\nacting at and above a threshold on the {part}")?;
            write_thresholds(f, thresholds)?;
        }
        writeln!(f, "\nmean size of contributions on the hold-out, in log-odds")?;
        for importance in &self.importances {
            writeln!(f, "{:>10.4}  {}", importance.mean_contribution, importance.feature)?;
        }
        Ok(())
    }
}

fn write_thresholds(f: &mut fmt::Formatter<'_>, thresholds: &[Threshold]) -> fmt::Result {
    writeln!(f, "{:>10} {:>10} {:>8} {:>8}", "threshold", "precision", "recall", "share")?;
    for row in thresholds {
        writeln!(
            f,
            "{:>10.4} {:>10.4} {:>8.4} {:>8.4}",
            row.threshold, row.precision, row.recall, row.share
        )?;
    }
    Ok(())
}

fn write_part(f: &mut fmt::Formatter<'_>, name: &str, part: &Part, metrics: &PartMetrics) -> fmt::Result {
    let day = |time: tipoff::engine::time::Timestamp| time.to_string().chars().take(10).collect::<String>();
    let auc = metrics.auc.map_or("-".to_owned(), |auc| format!("{auc:.4}"));
    let interval = metrics.auc_interval.map_or(String::new(), |[low, high]| format!("[{low:.3}, {high:.3}]"));
    writeln!(
        f,
        "{name:<12} {:>10}  {:>10}  {:>8} {:>7} {:>7.4}  {auc:>6} {interval:<15} {:>8.5} {:>7.5} {:>7.5}",
        day(part.from),
        day(part.to),
        part.rows,
        part.users,
        metrics.base_rate,
        metrics.log_loss,
        metrics.brier,
        metrics.ece
    )
}
