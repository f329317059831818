//! Fail-stop: after a failed sync nobody knows what the disk holds, so nothing
//! more is acknowledged until a restart reads it.

use std::sync::{Arc, OnceLock};

use super::Error;

/// Set once, by the first failure; shared by the store's threads.
#[derive(Clone, Default)]
pub struct Poison(Arc<OnceLock<Arc<str>>>);

impl Poison {
    /// Stops the store, unless it is stopped already; the error that every commit answers from now on.
    pub fn set(&self, reason: impl Into<Arc<str>>) -> Error {
        let reason = self.0.get_or_init(|| reason.into());
        Error::FailStop { reason: reason.clone() }
    }

    pub fn reason(&self) -> Option<&Arc<str>> {
        self.0.get()
    }

    pub fn check(&self) -> Result<(), Error> {
        match self.reason() {
            Some(reason) => Err(Error::FailStop { reason: reason.clone() }),
            None => Ok(()),
        }
    }
}
