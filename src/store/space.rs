//! Whether there is room on the disk. While there is none, what is to be written waits for it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Observer;

/// How often it is tried whether there is room again.
const RETRY: Duration = Duration::from_millis(500);

/// Who may lack room.
#[derive(Clone, Copy, Debug)]
pub enum Writer {
    Log = 1,
    Views = 2,
}

/// Shared by the store and its threads.
#[derive(Clone)]
pub struct Space(Arc<Inner>);

struct Inner {
    /// A bit for each writer that lacks room.
    short: AtomicU8,
    is_closing: Mutex<bool>,
    closing: Condvar,
    observer: Arc<dyn Observer>,
}

impl Space {
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        let (short, is_closing, closing) = (AtomicU8::new(0), Mutex::new(false), Condvar::new());
        Self(Arc::new(Inner { short, is_closing, closing, observer }))
    }

    pub fn is_short(&self) -> bool {
        self.0.short.load(Ordering::Acquire) != 0
    }

    /// The writer has found room.
    pub fn found(&self, writer: Writer) {
        let before = self.0.short.load(Ordering::Acquire);
        if before & writer as u8 != 0 {
            let before = self.0.short.fetch_and(!(writer as u8), Ordering::AcqRel);
            if before == writer as u8 {
                self.0.observer.short_of_space(false);
            }
        }
    }

    /// The writer has found none. Waits until it is time to try again; false if the store
    /// is closing instead.
    pub fn wait(&self, writer: Writer) -> bool {
        if self.0.short.fetch_or(writer as u8, Ordering::AcqRel) == 0 {
            self.0.observer.short_of_space(true);
        }
        let guard = self.0.is_closing.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.closing.wait_timeout_while(guard, RETRY, |is_closing| !*is_closing);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Nobody waits for room any longer.
    pub fn close(&self) {
        *self.0.is_closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.closing.notify_all();
    }
}
