//! The views as a tool looks at them: everything that is in them, damaged or not.

use std::path::Path;

use super::super::log::{LogPosition, StoreId};
use super::{LoadError, View, ViewOptions, Views, dropped, unborn, value};

impl Views {
    /// Opens views that are there, and may write to them: for a copy.
    ///
    /// # Errors
    /// Why they would be refused, or made anew.
    pub fn look(directory: &Path) -> Result<Self, String> {
        let options = ViewOptions { cache_bytes: 16 << 20, sync: false };
        Self::load(directory, options).map_err(|error| match error {
            LoadError::Refused(error) => error.to_string(),
            LoadError::Unusable(reason) => reason,
        })
    }

    pub fn store(&self) -> StoreId {
        self.meta().store
    }

    pub fn positions(&self) -> (LogPosition, LogPosition) {
        (self.replay_from(), self.applied())
    }

    /// Calls `each` with every key of a view, and its value where it is sound.
    ///
    /// # Errors
    /// Why the files below do not read on.
    pub fn for_each_stored(
        &self,
        view: View,
        mut each: impl FnMut(&[u8], Option<&[u8]>),
    ) -> Result<(), String> {
        let all = value::stored_range(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        for item in self.keyspace(view).range(all) {
            let (stored_key, stored) = item.into_inner().map_err(|error| error.to_string())?;
            let key = value::key(&stored_key);
            each(key, value::unwrap(view.name(), key, &stored));
        }
        Ok(())
    }
}

/// What a crash may leave beside the views: an opening store removes both.
pub fn leftovers(directory: &Path) -> [std::path::PathBuf; 2] {
    [unborn(directory), dropped(directory)]
}
