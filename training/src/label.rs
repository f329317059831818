//! Joins what happened after a decision.

use tipoff::engine::event::Event;
use tipoff::engine::plan::{LabelPlan, Plan, Scope};
use tipoff::engine::time::{Millis, Timestamp};
use tipoff::engine::vector::Vector;

/// The times at which one user did what a label asks for.
#[derive(Clone, Debug)]
pub struct Outcomes {
    happens: bool,
    horizon: Millis,
    times: Vec<Timestamp>,
}

/// Whether the label's event is this one.
pub fn matches(plan: &Plan, label: &LabelPlan, event: &Event) -> bool {
    let bound = plan.bind(event);
    let nothing = Vector::default();
    let scope = Scope { event: Some(&bound), vector: &nothing, traits: &[], scores: &[], now: event.time };
    label.event.matches(bound.kind) && label.filter.as_ref().is_none_or(|filter| filter.holds(&scope))
}

impl Outcomes {
    /// `times` are those of matching events, in any order.
    pub fn new(label: &LabelPlan, mut times: Vec<Timestamp>) -> Self {
        times.sort_unstable();
        Self { happens: label.happens, horizon: label.horizon, times }
    }

    /// The label of a decision at `as_of`: whether an event in
    /// `(as_of, as_of + horizon]` does happen, or does not. None if history
    /// ends, at `end`, before the horizon has passed.
    pub fn label(&self, as_of: Timestamp, end: Timestamp) -> Option<bool> {
        let last = as_of.after(self.horizon);
        if last > end {
            return None;
        }
        let next = self.times.partition_point(|time| *time <= as_of);
        let seen = self.times.get(next).is_some_and(|time| *time <= last);
        Some(seen == self.happens)
    }
}

#[cfg(test)]
mod tests {
    use tipoff::engine::plan::EventSelector;

    use super::*;

    fn outcomes(happens: bool) -> Outcomes {
        let label = LabelPlan {
            name: "label".into(),
            digest: "".into(),
            event: EventSelector::Any,
            filter: None,
            happens,
            horizon: Millis::new(10),
        };
        Outcomes::new(&label, [100, 50].map(Timestamp::from_millis).into())
    }

    #[test]
    fn a_label_looks_strictly_after_the_decision_and_to_the_horizon_inclusive() {
        let end = Timestamp::from_millis(120);
        for (as_of, expected) in [
            (39, Some(false)),
            (40, Some(true)),
            (49, Some(true)),
            (50, Some(false)),
            (89, Some(false)),
            (90, Some(true)),
            (100, Some(false)),
            (110, Some(false)),
            (111, None),
        ] {
            let as_of = Timestamp::from_millis(as_of);
            assert_eq!(outcomes(true).label(as_of, end), expected, "{as_of:?}");
            assert_eq!(outcomes(false).label(as_of, end), expected.map(|label| !label), "{as_of:?}");
        }
    }
}
