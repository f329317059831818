//! Tables that are joined to events.

use prometheus::{IntCounter, IntGauge, Result};

use super::register::Register;
use crate::engine::plan::Plan;

/// Metrics of the lookups, by index into the plan's.
#[derive(Debug)]
pub struct Lookups {
    /// Events whose key the table did not have.
    pub missed: Vec<IntCounter>,
    /// Changed tables that could not be read.
    pub failed: Vec<IntCounter>,
    rows: Vec<IntGauge>,
}

impl Lookups {
    pub(super) fn new(register: &Register<'_>, plan: &Plan) -> Result<Self> {
        let missed = register.counters(
            "tipoff_lookup_misses_total",
            "Events whose key is not in the lookup's table, by lookup.",
            &["lookup"],
        )?;
        let failed = register.counters(
            "tipoff_lookup_reload_failures_total",
            "Changed tables that could not be read, so that the one before stays, by lookup.",
            &["lookup"],
        )?;
        let rows = register.gauges("tipoff_lookup_rows", "Rows of the lookup's table.", &["lookup"])?;
        let names = || plan.lookups.iter().map(|lookup| [&*lookup.name]);
        let lookups = Self {
            missed: names().map(|name| missed.with_label_values(&name)).collect(),
            failed: names().map(|name| failed.with_label_values(&name)).collect(),
            rows: names().map(|name| rows.with_label_values(&name)).collect(),
        };
        for (index, lookup) in plan.lookups.iter().enumerate() {
            lookups.loaded(index, lookup.table.n_rows());
        }
        Ok(lookups)
    }

    /// Shows the size of a table that is served from now on.
    pub fn loaded(&self, index: usize, n_rows: usize) {
        self.rows[index].set(n_rows as i64);
    }
}
