//! Writing the views behind the commits.
//!
//! The commit thread adds a group's writes to a map in memory, where a later
//! value of a key replaces an earlier one; the view thread takes the whole map
//! when it is due and writes it as one batch. So a commit waits for the views
//! only when the map has reached its bound, and by then its acknowledgement is out.

use std::collections::HashMap;
use std::fs::File;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::super::log::LogPosition;
use super::super::log::disk::Disk;
use super::super::poison::Poison;
use super::super::space::{Space, Writer};
use super::super::{Error, Observer, ViewBatch};
use super::{Batch, View, ViewOptions, ViewWrite, Views};

/// The views behind a lock, so that they can be replaced; `None` once closed.
pub type SharedViews = Arc<RwLock<Option<Views>>>;

/// What a group hands to the views.
pub struct Applied<'a> {
    pub writes: &'a mut dyn Iterator<Item = ViewWrite>,
    pub replay_from: &'a mut dyn Iterator<Item = (u16, LogPosition)>,
    /// The end of the log after the group.
    pub end: LogPosition,
    /// The segment to sync before the views may include the group; none if it is synced.
    pub unsynced: Option<Arc<File>>,
}

#[derive(Clone, Copy)]
pub struct BehindOptions {
    pub interval: Duration,
    /// Written before the interval is over when there is this much.
    pub batch_bytes: usize,
    /// Commits wait when there is this much.
    pub pending_bytes: usize,
    pub views: ViewOptions,
}

/// The queue between the commit thread and the view thread.
pub struct Behind {
    pending: Mutex<Pending>,
    /// There is something for the view thread.
    due: Condvar,
    /// The view thread has taken or finished something.
    done: Condvar,
    options: BehindOptions,
}

struct Pending {
    writes: HashMap<(View, Vec<u8>), Option<Vec<u8>>>,
    bytes: usize,
    /// When the first of the writes was added.
    oldest: Option<Instant>,
    applied: LogPosition,
    unsynced: Option<Arc<File>>,
    /// By worker, since the store was opened.
    replay_from: Vec<Option<LogPosition>>,
    /// Requests to write now, and how many of them are done.
    flushes: u64,
    flushed: u64,
    /// What to do before the flush that is asked for.
    reset: bool,
    /// A group is being acknowledged and not added yet.
    is_group_open: bool,
    is_closing: bool,
    is_stopped: bool,
}

/// What one turn of the view thread has to do.
struct Turn {
    writes: Vec<ViewWrite>,
    bytes: usize,
    applied: LogPosition,
    unsynced: Option<Arc<File>>,
    /// The least over the workers, once all have reported.
    replay_from: Option<LogPosition>,
    flushes: u64,
    reset: bool,
    is_closing: bool,
}

impl Behind {
    pub fn new(n_workers: u16, log_end: LogPosition, options: BehindOptions) -> Self {
        Self {
            pending: Mutex::new(Pending {
                writes: HashMap::new(),
                bytes: 0,
                oldest: None,
                applied: log_end,
                unsynced: None,
                replay_from: vec![None; usize::from(n_workers)],
                flushes: 0,
                flushed: 0,
                reset: false,
                is_group_open: false,
                is_closing: false,
                is_stopped: false,
            }),
            due: Condvar::new(),
            done: Condvar::new(),
            options,
        }
    }

    /// Announces a group, before it is acknowledged: a flush from then on waits for it.
    pub fn begin(&self) {
        self.lock().is_group_open = true;
    }

    /// Adds the group announced. Waits while the bound is reached; returns for how long it did.
    pub fn add(&self, group: Applied<'_>) -> Duration {
        let mut pending = self.lock();
        let was_empty = pending.writes.is_empty();
        for write in group.writes {
            pending.put(write);
        }
        for (worker, position) in group.replay_from {
            if let Some(reported) = pending.replay_from.get_mut(usize::from(worker)) {
                *reported = Some(position);
            }
        }
        pending.applied = group.end;
        pending.unsynced = group.unsynced;
        pending.is_group_open = false;
        self.done.notify_all();
        if was_empty && !pending.writes.is_empty() {
            pending.oldest = Some(Instant::now());
            self.due.notify_one();
        } else if pending.bytes >= self.options.batch_bytes {
            self.due.notify_one();
        }
        if pending.bytes < self.options.pending_bytes {
            return Duration::ZERO;
        }
        let start = Instant::now();
        while pending.bytes >= self.options.pending_bytes && !pending.is_stopped {
            pending = self.done.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        start.elapsed()
    }

    /// Waits until all groups acknowledged so far are in the views; false if the view thread has stopped first.
    pub fn flush(&self) -> bool {
        self.request(false)
    }

    /// Waits until the views are empty; what is pending is dropped with them.
    pub fn reset(&self) -> bool {
        self.request(true)
    }

    /// The end of the log after the last group added.
    pub fn log_end(&self) -> LogPosition {
        self.lock().applied
    }

    /// Tells the view thread to write what is left and end.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.due.notify_one();
    }

    fn request(&self, reset: bool) -> bool {
        let mut pending = self.lock();
        while pending.is_group_open && !pending.is_stopped {
            pending = self.done.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        if reset {
            pending.writes.clear();
            pending.bytes = 0;
            pending.replay_from.fill(None);
            pending.reset = true;
        }
        pending.flushes += 1;
        let ticket = pending.flushes;
        self.due.notify_one();
        while pending.flushed < ticket && !pending.is_stopped {
            pending = self.done.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        pending.flushed >= ticket
    }

    /// Waits until something is due and takes it.
    fn take(&self) -> Turn {
        let mut pending = self.lock();
        while !pending.is_due(self.options.batch_bytes) {
            // With nothing to write there is nothing to wake up for: `add` does.
            let Some(oldest) = pending.oldest else {
                pending = self.due.wait(pending).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let age = oldest.elapsed();
            if age >= self.options.interval {
                break;
            }
            let rest = self.options.interval - age;
            pending = self.due.wait_timeout(pending, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        pending.take()
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing panics while holding it; a poisoned lock would only hide the first failure.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn put(&mut self, write: ViewWrite) {
        let key_bytes = write.key.len() + mem::size_of::<ViewWrite>();
        self.bytes += value_bytes(write.value.as_ref());
        match self.writes.insert((write.view, write.key), write.value) {
            Some(before) => self.bytes -= value_bytes(before.as_ref()),
            None => self.bytes += key_bytes,
        }
    }

    fn is_due(&self, batch_bytes: usize) -> bool {
        self.is_closing || self.flushes > self.flushed || self.bytes >= batch_bytes
    }

    fn take(&mut self) -> Turn {
        self.oldest = None;
        let reported: Option<Vec<_>> = self.replay_from.iter().copied().collect();
        Turn {
            writes: mem::take(&mut self.writes)
                .into_iter()
                .map(|((view, key), value)| ViewWrite { view, key, value })
                .collect(),
            bytes: mem::take(&mut self.bytes),
            applied: self.applied,
            unsynced: self.unsynced.take(),
            replay_from: reported.and_then(|all| all.into_iter().min()),
            flushes: self.flushes,
            reset: mem::take(&mut self.reset),
            is_closing: self.is_closing,
        }
    }
}

fn value_bytes(value: Option<&Vec<u8>>) -> usize {
    value.map_or(0, Vec::len)
}

/// What the view thread works with.
pub struct ViewThread {
    pub behind: Arc<Behind>,
    pub views: SharedViews,
    pub disk: Arc<dyn Disk>,
    pub poison: Poison,
    pub space: Space,
    pub observer: Arc<dyn Observer>,
}

impl ViewThread {
    /// Writes what is due until told to close, or until a write fails.
    pub fn run(self) {
        if panic::catch_unwind(AssertUnwindSafe(|| self.take_turns())).is_err() {
            self.poison.set("the view thread panicked");
            self.behind.lock().is_stopped = true;
            self.behind.done.notify_all();
        }
    }

    fn take_turns(&self) {
        loop {
            let turn = self.behind.take();
            // The commit thread may go on as soon as the map is empty.
            self.behind.done.notify_all();
            if let Err(error) = self.write_with_room(&turn) {
                self.poison.set(format!("views: {error}"));
            }
            let mut pending = self.behind.lock();
            let has_failed = self.poison.reason().is_some();
            if !has_failed {
                pending.flushed = turn.flushes;
            }
            pending.is_stopped = has_failed || turn.is_closing;
            self.behind.done.notify_all();
            if pending.is_stopped {
                return;
            }
        }
    }

    /// Writes as soon as there is room on the disk.
    fn write_with_room(&self, turn: &Turn) -> Result<(), Error> {
        let mut was_opened_again = false;
        loop {
            let error = match self.write(turn) {
                Ok(()) => {
                    self.space.found(Writer::Views);
                    return Ok(());
                }
                Err(error) => error,
            };
            // What fills the disk may be met by the store's own work, which then tells
            // the next write only that it takes none.
            let is_poisoned = error.is_views_poisoned() && !was_opened_again;
            if !is_poisoned && !error.is_out_of_space() {
                return Err(error);
            }
            self.open_again(&error)?;
            was_opened_again = true;
        }
    }

    /// Opens the views anew: after a failed write their store takes no other one.
    fn open_again(&self, failed: &Error) -> Result<(), Error> {
        self.wait_for_room(failed)?;
        let mut guard = self.views.write().unwrap_or_else(PoisonError::into_inner);
        let shut = guard.take().ok_or(Error::Closed)?.shut();
        loop {
            match shut.open(self.behind.options.views) {
                Ok(views) => {
                    *guard = Some(views);
                    return Ok(());
                }
                Err(error) if error.is_out_of_space() => self.wait_for_room(&error)?,
                Err(error) => return Err(error),
            }
        }
    }

    fn wait_for_room(&self, failed: &Error) -> Result<(), Error> {
        if failed.is_out_of_space() && !self.space.wait(Writer::Views) {
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    fn write(&self, turn: &Turn) -> Result<(), Error> {
        let start = Instant::now();
        // Views that outlive the log they include would be refused at the next start.
        if let Some(file) = &turn.unsynced {
            self.disk
                .sync(file)
                .map_err(|error| Error::FailStop { reason: format!("sync: {error}").into() })?;
        }
        if turn.reset {
            let mut guard = self.views.write().unwrap_or_else(PoisonError::into_inner);
            let current = guard.take().ok_or(Error::Closed)?;
            *guard = Some(current.reset(self.behind.options.views)?);
            return Ok(());
        }
        let guard = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let views = guard.as_ref().ok_or(Error::Closed)?;
        let replay_from = turn.replay_from.unwrap_or_else(|| views.replay_from()).min(turn.applied);
        let batch = Batch { writes: &turn.writes, applied: turn.applied, replay_from };
        if !turn.writes.is_empty() || views.applied() != batch.applied || views.replay_from() != replay_from {
            views.apply(&batch)?;
        }
        if turn.is_closing {
            views.sync()?;
        }
        self.observer.views_written(&ViewBatch {
            n_values: turn.writes.len(),
            bytes: turn.bytes,
            elapsed: start.elapsed(),
        });
        Ok(())
    }
}
