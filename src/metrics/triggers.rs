//! What triggers decide.

use prometheus::{IntCounter, Result};

use super::register::Register;
use crate::engine::decision::{Action, Gate};
use crate::engine::plan::Plan;

/// Metrics of the triggers.
#[derive(Debug)]
pub struct Triggers {
    pub armings_refused: IntCounter,
    by_trigger: Vec<Trigger>,
}

/// One trigger's counters.
#[derive(Debug)]
struct Trigger {
    fired: IntCounter,
    held_out: IntCounter,
    baselined: IntCounter,
    /// By [`Gate`].
    suppressed: Vec<IntCounter>,
}

impl Triggers {
    pub(super) fn new(register: &Register<'_>, plan: &Plan) -> Result<Self> {
        let fired = register.counters(
            "tipoff_firings_total",
            "Firings to be delivered, by trigger.",
            &["trigger"],
        )?;
        let held_out = register.counters(
            "tipoff_held_out_total",
            "Firings recorded and not delivered, for the holdout, by trigger.",
            &["trigger"],
        )?;
        let baselined = register.counters(
            "tipoff_baselined_total",
            "Users whom a change of the model's version put beyond the threshold, who did not fire, by trigger.",
            &["trigger"],
        )?;
        let suppressed = register.counters(
            "tipoff_suppressions_total",
            "Decisions not to fire, by trigger and the gate that stopped it.",
            &["trigger", "gate"],
        )?;
        let by_trigger = plan.triggers.iter().map(|trigger| Trigger {
            fired: fired.with_label_values(&[&*trigger.name]),
            held_out: held_out.with_label_values(&[&*trigger.name]),
            baselined: baselined.with_label_values(&[&*trigger.name]),
            suppressed: Gate::ALL
                .iter()
                .map(|gate| suppressed.with_label_values(&[&*trigger.name, gate.name()]))
                .collect(),
        });
        Ok(Self {
            armings_refused: register.counter(
                "tipoff_armings_refused_total",
                "Events that did not arm a trigger because too many keys of it were armed for the user.",
            )?,
            by_trigger: by_trigger.collect(),
        })
    }

    /// Firings to be delivered, of all triggers.
    pub fn n_fired(&self) -> u64 {
        self.by_trigger.iter().map(|trigger| trigger.fired.get()).sum()
    }

    /// Counts what a trigger, by index into the plan's, did.
    pub fn count(&self, trigger: usize, action: &Action) {
        let Some(counters) = self.by_trigger.get(trigger) else { return };
        match action {
            Action::Fired { .. } => counters.fired.inc(),
            Action::HeldOut { .. } => counters.held_out.inc(),
            Action::Suppressed { gate } => counters.suppressed[*gate as usize].inc(),
            Action::Baselined => counters.baselined.inc(),
            Action::Rearmed => {}
        }
    }
}
