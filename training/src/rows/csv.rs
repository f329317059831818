//! Rows as CSV. Numbers are the shortest text that reads back to the same bits.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use tipoff::engine::event::UserId;
use tipoff::engine::plan::Plan;
use tipoff::engine::time::Timestamp;
use tipoff::engine::vector::{Slot, Vector};

use super::Table;

pub struct Csv<'p> {
    plan: &'p Plan,
    writer: csv::Writer<File>,
}

impl<'p> Csv<'p> {
    pub fn create(plan: &'p Plan, out: &Path) -> Result<Self> {
        let mut writer = csv::Writer::from_path(out).with_context(|| out.display().to_string())?;
        let features = plan.features.iter().map(|feature| &*feature.name);
        writer.write_record(["user_id", "as_of"].into_iter().chain(features))?;
        Ok(Self { plan, writer })
    }
}

impl Table for Csv<'_> {
    fn row(&mut self, user: &UserId, as_of: Timestamp, vector: &Vector) -> Result<()> {
        self.writer.write_field(user.to_string())?;
        self.writer.write_field(as_of.to_string())?;
        for feature in &self.plan.features {
            match feature.slot {
                Slot::Number(slot) if vector.numbers[slot].is_nan() => self.writer.write_field("")?,
                Slot::Number(slot) => self.writer.write_field(vector.numbers[slot].to_string())?,
                Slot::Text(slot) => {
                    self.writer.write_field(vector.texts[slot].as_deref().unwrap_or_default())?
                }
            }
        }
        self.writer.write_record(None::<&[u8]>)?;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.writer.flush()?)
    }
}
