//! What an opening store knows: the views, and the log from where they must be continued.

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::PoisonError;

use super::Error;
use super::log::tail::TornTail;
use super::log::{Entries, LogPosition, segment};
use super::views::View;
use super::views::behind::SharedViews;

/// Fold [`entries`](Recovery::entries) from [`replay_from`](Recovery::replay_from)
/// onto the views to have the state as it was committed.
///
/// The views are as they were when the store was opened or reset only until
/// the first commit.
pub struct Recovery {
    pub(super) views: SharedViews,
    pub(super) log: PathBuf,
    pub(super) replay_from: LogPosition,
    pub(super) applied: LogPosition,
    pub(super) log_end: LogPosition,
    pub(super) torn_tail: Option<TornTail>,
    pub(super) views_dropped: Option<String>,
}

impl Recovery {
    /// The position from which the log must be folded.
    ///
    /// Between it and [`applied`](Self::applied) the views may include an
    /// entry already: a value's own sequence tells.
    pub fn replay_from(&self) -> LogPosition {
        self.replay_from
    }

    /// The end of the log that the views include.
    pub fn applied(&self) -> LogPosition {
        self.applied
    }

    /// The end of the log.
    pub fn log_end(&self) -> LogPosition {
        self.log_end
    }

    /// What a crash had left of a group that was never committed, and is cut now.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn_tail.as_ref()
    }

    /// Why the views had to be dropped, so that the whole log is to be folded.
    pub fn views_dropped(&self) -> Option<&str> {
        self.views_dropped.as_deref()
    }

    /// Calls `each` with the keys and values of a view, in key order, until it returns false.
    ///
    /// # Errors
    /// [`Error::ViewDamaged`]: reset the views and fold the whole log.
    pub fn for_each_view(&self, view: View, each: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), Error> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let views = views.as_ref().ok_or(Error::Closed)?;
        views.for_each(view, Bound::Unbounded, Bound::Unbounded, each)
    }

    /// The committed entries from a position to [`log_end`](Self::log_end), in log order.
    ///
    /// # Errors
    /// A position outside of the log, or a segment that is damaged or missing;
    /// from the iterator, damage within the segments.
    pub fn entries(&self, from: LogPosition) -> Result<Entries, Error> {
        Entries::open(segment::list(&self.log)?, from, self.log_end)
    }
}
