//! What a store's bytes mean: records in the log, profiles in the views.

use anyhow::{Result, anyhow};
use indicatif::ProgressBar;

use crate::definitions;
use crate::engine::codec::decode_profile;
use crate::engine::plan::Plan;
use crate::engine::time::Timestamp;
use crate::record::{self, Control, Record};
use crate::store::verify::Watch;
use crate::store::{Entry, LogPosition, View};

/// Sees that every record and every profile can be understood.
pub struct Records {
    bar: ProgressBar,
    /// That of nothing: records are read without names.
    none: Plan,
    /// What the log says last that decisions are made under.
    definitions: Option<String>,
    plan: Option<Option<Plan>>,
    is_after_damage: bool,
    /// The least and the greatest arrival of steps after the first damage.
    after_damage: Option<(Timestamp, Timestamp)>,
}

impl Records {
    pub fn new(bar: ProgressBar) -> Result<Self> {
        let none = definitions::compile("").map_err(|mistakes| anyhow!("{mistakes}"))?;
        Ok(Self { bar, none, definitions: None, plan: None, is_after_damage: false, after_damage: None })
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    pub fn after_damage(&self) -> Option<(Timestamp, Timestamp)> {
        self.after_damage
    }

    /// Whether the profiles could be looked into.
    pub fn has_plan(&self) -> bool {
        self.plan.as_ref().is_none_or(Option::is_some)
    }
}

impl Watch for Records {
    fn total(&mut self, bytes: u64) {
        self.bar.set_length(bytes);
    }

    fn read(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn damaged(&mut self) {
        self.is_after_damage = true;
    }

    fn entry(&mut self, _: LogPosition, entry: &Entry) -> Result<(), String> {
        let record = record::decode(&self.none, &entry.payload).map_err(|error| error.to_string())?;
        match record {
            Record::Control(Control::Definitions { source, .. }) => self.definitions = Some(source),
            Record::Step(_, step) if self.is_after_damage => {
                let time = step.arrival.time;
                let (least, greatest) = self.after_damage.unwrap_or((time, time));
                self.after_damage = Some((least.min(time), greatest.max(time)));
            }
            _ => {}
        }
        Ok(())
    }

    fn value(&mut self, view: View, _: &[u8], value: &[u8]) -> Result<(), String> {
        if view != View::Profiles {
            return Ok(());
        }
        let source = &self.definitions;
        // A table joined to events may be out of reach: then there is no plan, and no harm.
        let plan = self.plan.get_or_insert_with(|| definitions::compile(source.as_deref()?).ok());
        match plan {
            Some(plan) => decode_profile(plan, value).map(drop).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}
