//! Which readings of a series are not exact.

use super::{AsOf, Lifetime, Series};
use crate::engine::plan::{Aggregate, SeriesPlan, Window};

impl Series {
    /// Whether an aggregate of a column over a window is an estimate: of tiles,
    /// or of a lifetime's keys beyond those that are kept one by one.
    pub fn is_approximate(
        &self,
        plan: &SeriesPlan,
        aggregate: Aggregate,
        column: Option<usize>,
        window: Window,
        as_of: AsOf<'_>,
    ) -> bool {
        match (aggregate, window) {
            (Aggregate::Distinct, Window::Lifetime) => {
                plan.lifetime(column).is_some_and(|lifetime| self.lifetimes[lifetime].is_approximate())
            }
            (_, Window::Lifetime) => false,
            _ => self.window(window, as_of, None).tiles.is_some(),
        }
    }

    /// Whether some reading of it may be an estimate.
    pub fn may_be_approximate(&self) -> bool {
        self.tiles.is_some() || self.lifetimes.iter().any(Lifetime::is_approximate)
    }
}
