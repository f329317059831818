//! Point-in-time rows with their labels, split by time.
//!
//! In memory: 8 bytes a row and feature, and once more for the part that is
//! trained on.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use ndarray::{Array2, Axis};
use tipoff::engine::input::Input;
use tipoff::engine::plan::Plan;
use tipoff::engine::time::{Millis, Timestamp};
use tipoff::engine::vector::Slot;
use tipoff::registry;

use crate::history::History;
use crate::label::{self, Outcomes};
use crate::replay::{Refused, replay};

/// Rows of one model: its inputs at decisions, and what came of them.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Shape `[n_rows, n_inputs]`; NaN is missing.
    pub x: Array2<f64>,
    /// Shape `[n_rows]`, 0 or 1.
    pub y: Vec<f64>,
    /// Shape `[n_rows]`, counted from 0.
    pub users: Vec<usize>,
    /// Shape `[n_rows]`.
    pub as_of: Vec<Timestamp>,
}

/// Where the rows came from and went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub events: u64,
    pub users: u64,
    pub refused: Refused,
    /// Decisions of the model.
    pub decisions: u64,
    /// Of these, those whose horizon passes the end of history.
    pub undecided: u64,
}

/// The dataset in order of time, with gaps that no label looks across.
#[derive(Clone, Debug)]
pub struct Parts {
    pub train: Dataset,
    pub gap_after_train: Millis,
    pub calibration: Dataset,
    /// Zero where history is too short for a second gap.
    pub gap_after_calibration: Millis,
    pub holdout: Dataset,
}

/// Shares of the time that is left when the gaps are taken out.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    pub calibration: f64,
    pub holdout: Holdout,
}

#[derive(Clone, Copy, Debug)]
pub enum Holdout {
    Share(f64),
    /// Decisions from this time on; no label of an earlier part looks beyond it.
    From(Timestamp),
}

/// Replays history and takes a row at every decision of the model (an index
/// into [`Plan::models`]).
pub fn build(
    plan: &Plan,
    model: usize,
    history: History,
    progress: &ProgressBar,
) -> Result<(Dataset, Counts)> {
    let model_plan = &plan.models[model];
    let label = model_plan.label.with_context(|| format!("the model {:?} has no label", model_plan.name))?;
    let label = &plan.labels[label];
    let slots = number_slots(plan, &model_plan.features)?;
    let end = history.end;
    let mut counts =
        Counts { events: history.n_events as u64, users: history.users.len() as u64, ..Counts::default() };
    let (mut x, mut y, mut users, mut as_of) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());

    progress.set_message("replaying");
    progress.set_length(counts.users);
    for (index, (user, events)) in history.users.into_iter().enumerate() {
        let (mut times, mut decisions, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
        let refused = replay(plan, &user, events, end, |moment| {
            if let Input::Event(event) = &moment.step.input
                && label::matches(plan, label, event)
            {
                times.push(event.time);
            }
            if let (true, Some(decision)) = (moment.scored[model], &moment.step.decision) {
                decisions.push(decision.as_of.time);
                inputs.extend(slots.iter().map(|&slot| decision.vector.numbers[slot]));
            }
            Ok(())
        })?;
        counts.refused.add(refused);
        counts.decisions += decisions.len() as u64;
        let outcomes = Outcomes::new(label, times);
        for (row, time) in decisions.into_iter().enumerate() {
            let Some(label) = outcomes.label(time, end) else {
                counts.undecided += 1;
                continue;
            };
            x.extend_from_slice(&inputs[row * slots.len()..(row + 1) * slots.len()]);
            y.push(f64::from(label));
            users.push(index);
            as_of.push(time);
        }
        progress.inc(1);
    }
    let x = Array2::from_shape_vec((y.len(), slots.len()), x)?;
    Ok((Dataset { x, y, users, as_of }, counts))
}

/// The slots of features that are numbers; `features` are indices into [`Plan::features`].
fn number_slots(plan: &Plan, features: &[usize]) -> Result<Vec<usize>> {
    ensure!(!features.is_empty(), "the model reads no feature");
    let slot = |&feature: &usize| match plan.features[feature].slot {
        Slot::Number(slot) => Ok(slot),
        Slot::Text(_) => {
            bail!("the feature {:?} is a text, and models read numbers", plan.features[feature].name)
        }
    };
    features.iter().map(slot).collect()
}

impl Dataset {
    pub fn len(&self) -> usize {
        self.y.len()
    }

    pub fn is_empty(&self) -> bool {
        self.y.is_empty()
    }

    /// Each row's inputs (shape `[n_inputs]`).
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        // The matrix is made, and selected from, in the standard layout.
        self.x.rows().into_iter().map(|row| row.to_slice().expect("rows of the standard layout"))
    }

    /// The rows decided in `[from, to)`.
    fn between(&self, from: Timestamp, to: Timestamp) -> Self {
        let rows: Vec<usize> =
            (0..self.len()).filter(|&row| self.as_of[row] >= from && self.as_of[row] < to).collect();
        Self {
            x: self.x.select(Axis(0), &rows),
            y: rows.iter().map(|&row| self.y[row]).collect(),
            users: rows.iter().map(|&row| self.users[row]).collect(),
            as_of: rows.iter().map(|&row| self.as_of[row]).collect(),
        }
    }

    /// Splits by time, leaving `horizon` out behind the training part, and
    /// behind the calibration part as well if that leaves half of the time, or
    /// if the start of the hold-out is given.
    ///
    /// A calibration has few parameters: labels of it that look into the
    /// hold-out matter little, while a model could learn them by heart.
    pub fn split(&self, horizon: Millis, shares: Shares) -> Result<Parts> {
        let (Some(&first), Some(&last)) = (self.as_of.iter().min(), self.as_of.iter().max()) else {
            bail!("no decision has a known outcome: history ends before the first horizon has passed");
        };
        let span = last.since(first);
        let left_by = |n_gaps: i64| span.as_millis() - n_gaps * horizon.as_millis();
        let (left, gap_after_calibration) = match (shares.holdout, left_by(2)) {
            (Holdout::From(_), left) => (left, horizon),
            (Holdout::Share(_), left) if 2 * left >= span.as_millis() => (left, horizon),
            (Holdout::Share(_), _) => (left_by(1), Millis::ZERO),
        };
        ensure!(
            left > 0,
            "decisions with a known outcome span {span}, and the horizon {horizon} must be left out of that \
             between training and calibration: more history, or a shorter horizon, is needed"
        );
        let share = |share: f64| Millis::new((left as f64 * share) as i64);
        let holdout_from = match shares.holdout {
            Holdout::Share(holdout) => last.before(share(holdout)),
            Holdout::From(from) => from,
        };
        let calibration_to = holdout_from.before(gap_after_calibration);
        let calibration_from = calibration_to.before(share(shares.calibration));
        let parts = Parts {
            train: self.between(Timestamp::MIN, calibration_from.before(horizon)),
            gap_after_train: horizon,
            calibration: self.between(calibration_from, calibration_to),
            gap_after_calibration,
            holdout: self.between(holdout_from, Timestamp::MAX),
        };
        for (name, part) in
            [("training", &parts.train), ("calibration", &parts.calibration), ("hold-out", &parts.holdout)]
        {
            let positives: f64 = part.y.iter().sum();
            ensure!(
                positives > 0.0 && (positives as usize) < part.len(),
                "{positives} of {} rows have the label in the {name} part: both outcomes must be seen",
                part.len()
            );
        }
        Ok(parts)
    }

    /// As the manifest records it; the dataset is not empty.
    pub fn part(&self) -> registry::Part {
        registry::Part {
            from: self.as_of.iter().copied().min().unwrap_or_default(),
            to: self.as_of.iter().copied().max().unwrap_or_default(),
            rows: self.len() as u64,
            positives: self.y.iter().sum::<f64>() as u64,
            users: self.users.iter().collect::<HashSet<_>>().len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row a day, labels alternating, as of day 0, 1, 2, …
    fn daily(days: i64) -> Dataset {
        Dataset {
            x: Array2::from_shape_fn((days as usize, 1), |(row, _)| row as f64),
            y: (0..days).map(|day| (day % 2) as f64).collect(),
            users: (0..days as usize).map(|row| row % 3).collect(),
            as_of: (0..days).map(|day| Timestamp::from_millis(day * Millis::DAY.as_millis())).collect(),
        }
    }

    fn days(n: i64) -> Millis {
        Millis::new(n * Millis::DAY.as_millis())
    }

    const SHARES: Shares = Shares { calibration: 0.2, holdout: Holdout::Share(0.3) };

    #[test]
    fn parts_are_a_horizon_apart() {
        let parts = daily(121).split(days(10), SHARES).expect("splits");
        // 120 days less two gaps: 100, of which 30 and 20.
        let span = |part: &Dataset| (part.x[(0, 0)], part.x[(part.len() - 1, 0)]);
        assert_eq!(span(&parts.train), (0.0, 49.0));
        assert_eq!(span(&parts.calibration), (60.0, 79.0));
        assert_eq!(span(&parts.holdout), (90.0, 120.0));
        for (earlier, later) in [(&parts.train, &parts.calibration), (&parts.calibration, &parts.holdout)] {
            let last = earlier.as_of.iter().max().expect("rows");
            assert!(last.after(days(10)) < *later.as_of.iter().min().expect("rows"));
        }
        let part = parts.calibration.part();
        assert_eq!((part.rows, part.positives, part.users), (20, 10, 3));
    }

    #[test]
    fn a_long_horizon_leaves_one_gap() {
        let parts = daily(121).split(days(40), SHARES).expect("splits");
        assert_eq!((parts.gap_after_train, parts.gap_after_calibration), (days(40), Millis::ZERO));
        // 80 days, of which 24 and 16.
        let first = |part: &Dataset| part.x[(0, 0)];
        assert_eq!((parts.train.len(), first(&parts.calibration), first(&parts.holdout)), (40, 80.0, 96.0));
    }

    #[test]
    fn nothing_looks_beyond_a_given_start_of_the_holdout() {
        let from =
            |day: i64| Shares { holdout: Holdout::From(Timestamp::default().after(days(day))), ..SHARES };
        let parts = daily(121).split(days(40), from(100)).expect("splits");
        assert_eq!((parts.gap_after_train, parts.gap_after_calibration), (days(40), days(40)));
        // A fifth of the 40 days that two gaps leave.
        let span = |part: &Dataset| (part.x[(0, 0)], part.x[(part.len() - 1, 0)]);
        assert_eq!(span(&parts.train), (0.0, 11.0));
        assert_eq!(span(&parts.calibration), (52.0, 59.0));
        assert_eq!(span(&parts.holdout), (100.0, 120.0));
        let error = daily(121).split(days(40), from(80)).expect_err("nothing to train on");
        assert!(error.to_string().contains("0 of 0 rows have the label in the training part"));
    }

    #[test]
    fn too_little_history_is_said() {
        let error = |dataset: &Dataset| dataset.split(days(10), SHARES).expect_err("refused").to_string();
        assert!(error(&daily(11)).contains("span 10d"));
        assert!(error(&daily(0)).contains("no decision has a known outcome"));
        let mut constant = daily(121);
        constant.y.fill(0.0);
        assert!(error(&constant).contains("0 of 50 rows have the label in the training part"));
    }
}
