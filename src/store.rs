//! The store: a log that is the truth, and views of it that make recovery quick.
//!
//! It knows nothing of users or events: entries and values are bytes. A commit
//! goes through the [commit thread](commit) into the [log], is acknowledged as
//! durable as the options say, and only then reaches the [views], whose writes
//! and compactions so never delay an acknowledgement. [`Store::open`] gives the
//! views and the entries after them.
//!
//! There is no async code here: commits answer by a callback.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, TrySendError};

pub use commit::{Commit, Committed, Done, Rejected};
pub use error::{Error, Fault};
pub use log::segment::FORMAT_VERSION;
pub use log::tail::TornTail;
pub use log::{Entries, Entry, LogPosition, LogReader, StoreId};
pub use options::{Durability, Group, Observer, Options, Unobserved, ViewBatch};
pub use recovery::Recovery;
pub use sealed::{Compressed, LogOnDisk};
pub use views::{KeyValue, View, ViewWrite};

use commit::{CommitOptions, CommitThread};
use lock::LockFile;
use log::disk::{Disk, RealDisk};
use log::segment::{self, Form, Header, Segment};
use log::writer::{Limits, LogWriter};
use log::{tail, tail::Tail};
use poison::Poison;
use sealed::{SealedOptions, SealedThread};
use space::Space;
use views::behind::{Behind, BehindOptions, SharedViews, ViewThread};
use views::{MAX_KEY_BYTES, ViewOptions, Views};

pub mod backup;
mod commit;
mod error;
mod lock;
mod log;
mod options;
mod poison;
mod recovery;
pub mod repair;
mod sealed;
mod space;
#[cfg(test)]
pub(crate) mod tests;
pub mod verify;
mod views;

const LOG_DIRECTORY: &str = "log";
const VIEWS_DIRECTORY: &str = "views";

/// An open store. Shared by reference; closed by [`Store::close`] or by dropping it.
pub struct Store {
    id: StoreId,
    log: PathBuf,
    n_workers: u16,
    /// `None` once closed.
    queue: RwLock<Option<Sender<Commit>>>,
    views: SharedViews,
    behind: Arc<Behind>,
    poison: Poison,
    space: Space,
    threads: Mutex<Option<Threads>>,
}

/// Whether commits are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    /// What was committed last waits for room on the disk, and all that follows behind it.
    NoSpace,
    /// Nothing is committed until a restart.
    FailStop {
        reason: Arc<str>,
    },
}

struct Threads {
    commit: JoinHandle<()>,
    views: JoinHandle<()>,
    sealed: JoinHandle<()>,
    /// Dropped to end the thread of the sealed segments, …
    _sealed_open: Sender<()>,
    /// … which then leaves what takes long.
    is_over: Arc<AtomicBool>,
    _lock: LockFile,
}

impl Store {
    /// Whether opening would find something in `directory`, rather than create it.
    pub fn is_in(directory: &Path) -> bool {
        [LOG_DIRECTORY, VIEWS_DIRECTORY].iter().any(|part| directory.join(part).exists())
    }

    /// Opens the store in `directory`, or creates it.
    ///
    /// # Errors
    /// A store that is open elsewhere, newer, of another shape or damaged is
    /// refused and left as it is. A torn tail is cut and reported in [`Recovery`].
    pub fn open(directory: &Path, options: Options) -> Result<(Self, Recovery), Error> {
        Self::open_on(directory, options, Arc::new(RealDisk))
    }

    fn open_on(directory: &Path, options: Options, disk: Arc<dyn Disk>) -> Result<(Self, Recovery), Error> {
        options.validate()?;
        let log = directory.join(LOG_DIRECTORY);
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let lock = LockFile::acquire(directory)?;
        let (segment, tail) = open_log(directory, &log, options.n_virtual_shards)?;
        let (id, log_end) = (segment.header.store, tail.end(&segment));

        let view_options = ViewOptions {
            cache_bytes: options.view_cache_bytes,
            sync: options.durability != Durability::Memory,
        };
        let views_directory = directory.join(VIEWS_DIRECTORY);
        let (views, views_dropped) = Views::open(&views_directory, id, log_end, view_options)?;
        let (replay_from, applied) = (views.replay_from(), views.applied());
        let views: SharedViews = Arc::new(RwLock::new(Some(views)));

        let torn_tail = tail::cut(&segment, &tail, &*disk)?;
        let (segment, tail) = for_appending(&log, segment, tail)?;
        let limits = Limits {
            segment_bytes: options.segment_bytes,
            payload_bytes: options.payload_bytes,
            commit_bytes: options.commit_bytes,
        };
        let writer = LogWriter::open(log.clone(), &segment, tail, limits, disk)?;
        let behind_options = BehindOptions {
            interval: options.view_interval,
            batch_bytes: options.view_batch_bytes,
            pending_bytes: options.view_pending_bytes,
            views: view_options,
        };
        let behind = Arc::new(Behind::new(options.n_workers, log_end, behind_options));
        let poison = Poison::default();
        let space = Space::new(options.observer.clone());
        let (queue, threads) = spawn((&log, writer), &options, &behind, &views, (&poison, &space), lock)?;
        let recovery = Recovery {
            views: views.clone(),
            log: log.clone(),
            replay_from,
            applied,
            log_end,
            torn_tail,
            views_dropped,
        };
        let store = Self {
            id,
            log,
            n_workers: options.n_workers,
            queue: RwLock::new(Some(queue)),
            views,
            behind,
            poison,
            space,
            threads: Mutex::new(Some(threads)),
        };
        Ok((store, recovery))
    }

    pub fn id(&self) -> StoreId {
        self.id
    }

    /// Stops the store for good, as a failed sync does: nothing more is
    /// committed until a restart.
    ///
    /// For a worker whose state in memory has gone where the log could not
    /// follow. Called by a failed commit's `done`, no later commit gets past it.
    pub fn stop(&self, reason: &str) {
        self.poison.set(reason);
    }

    /// Fails once the store has stopped, and while there is no room on the disk: what
    /// is committed all the same waits. Cheap.
    pub fn check(&self) -> Result<(), Error> {
        self.poison.check()?;
        if self.space.is_short() { Err(Error::NoSpace) } else { Ok(()) }
    }

    pub fn health(&self) -> Health {
        match self.poison.reason() {
            None if self.space.is_short() => Health::NoSpace,
            None => Health::Healthy,
            Some(reason) => Health::FailStop { reason: reason.clone() },
        }
    }

    /// Queues a commit, waiting while the queue is full. Its `done` gets the outcome.
    ///
    /// # Errors
    /// The commit itself, not queued: the store is closed or stopped, or a
    /// view key or the worker is out of bounds.
    pub fn commit(&self, commit: Commit) -> Result<(), Rejected> {
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let (commit, queue) = self.admit(commit, queue.as_ref())?;
        queue.send(commit).map_err(|unsent| Rejected { commit: unsent.0, error: Error::Closed })
    }

    /// Queues a commit if there is room.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and [`Error::QueueFull`].
    pub fn try_commit(&self, commit: Commit) -> Result<(), Rejected> {
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let (commit, queue) = self.admit(commit, queue.as_ref())?;
        queue.try_send(commit).map_err(|unsent| match unsent {
            TrySendError::Full(commit) => Rejected { commit, error: Error::QueueFull },
            TrySendError::Disconnected(commit) => Rejected { commit, error: Error::Closed },
        })
    }

    /// A value as the view thread last wrote it: up to the view interval behind the commits.
    pub fn view_get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.with_views(|views| views.get(view, key))
    }

    /// The first `limit` keys and values of a range, in key order; see [`view_get`](Self::view_get).
    pub fn view_scan(
        &self,
        view: View,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>, Error> {
        let mut found = Vec::new();
        if limit > 0 {
            self.with_views(|views| {
                views.for_each(view, start, end, |key, value| {
                    found.push((key.to_vec(), value.to_vec()));
                    found.len() < limit
                })
            })?;
        }
        Ok(found)
    }

    /// The first `limit` keys that begin with `prefix`, with their values; see [`view_get`](Self::view_get).
    pub fn view_scan_prefix(&self, view: View, prefix: &[u8], limit: usize) -> Result<Vec<KeyValue>, Error> {
        let end = after_prefix(prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.view_scan(view, Bound::Included(prefix), end, limit)
    }

    /// Waits until every commit that was answered before this call is in the views.
    pub fn flush_views(&self) -> Result<(), Error> {
        if self.behind.flush() { Ok(()) } else { Err(self.stopped()) }
    }

    /// Drops all views, so that everything is folded anew from the start of the log.
    ///
    /// For when what the views mean has changed; before the first commit, and
    /// instead of the recovery that opening gave.
    pub fn reset_views(&self, reason: &str) -> Result<Recovery, Error> {
        if !self.behind.reset() {
            return Err(self.stopped());
        }
        Ok(Recovery {
            views: self.views.clone(),
            log: self.log.clone(),
            replay_from: LogPosition::START,
            applied: LogPosition::START,
            log_end: self.behind.log_end(),
            torn_tail: None,
            views_dropped: Some(reason.to_owned()),
        })
    }

    /// Lets nothing wait for room on the disk any longer: where there is none, the store stops.
    pub fn give_up_waiting(&self) {
        self.space.close();
    }

    /// Commits what is queued, writes the views and ends the threads. A second call does nothing.
    ///
    /// # Errors
    /// The store had stopped before, or stopped while closing; what waits for room is not in the log.
    pub fn close(&self) -> Result<(), Error> {
        self.give_up_waiting();
        self.queue.write().unwrap_or_else(PoisonError::into_inner).take();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(threads) = threads else { return Ok(()) };
        if threads.commit.thread().id() == thread::current().id() {
            // Dropped by a commit's callback: the thread ends by itself.
            return Ok(());
        }
        let Threads { commit, views, sealed, _sealed_open: open, is_over, _lock: lock } = threads;
        is_over.store(true, Ordering::Relaxed);
        drop(open);
        let committed = commit.join();
        let viewed = views.join();
        // What becomes of sealed segments decides nothing.
        let _ = sealed.join();
        self.views.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(lock);
        if committed.is_err() || viewed.is_err() {
            return Err(self.poison.set("a thread of the store panicked"));
        }
        self.poison.check()
    }

    fn admit<'a>(
        &self,
        commit: Commit,
        queue: Option<&'a Sender<Commit>>,
    ) -> Result<(Commit, &'a Sender<Commit>), Rejected> {
        let check = || {
            self.poison.check()?;
            if let Some((worker, _)) = commit.replay_from.filter(|(worker, _)| *worker >= self.n_workers) {
                return Err(Error::UnknownWorker { worker, n_workers: self.n_workers });
            }
            if let Some(write) = commit.views.iter().find(|write| write.key.len() > MAX_KEY_BYTES) {
                return Err(Error::ViewKeyTooLarge { bytes: write.key.len(), limit: MAX_KEY_BYTES });
            }
            queue.ok_or(Error::Closed)
        };
        match check() {
            Ok(queue) => Ok((commit, queue)),
            Err(error) => Err(Rejected { commit, error }),
        }
    }

    fn with_views<T>(&self, read: impl FnOnce(&Views) -> Result<T, Error>) -> Result<T, Error> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        read(views.as_ref().ok_or(Error::Closed)?)
    }

    fn stopped(&self) -> Error {
        self.poison.check().err().unwrap_or(Error::Closed)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Best effort: `health` and the commits' callbacks have told of any failure.
        let _ = self.close();
    }
}

/// The last segment of the log and its tail, after all checks; creates a log where there is none.
fn open_log(directory: &Path, log: &Path, n_virtual_shards: u16) -> Result<(Segment, Tail), Error> {
    let mut segments = if log.exists() { segment::list(log)? } else { Vec::new() };
    let last = match segments.pop() {
        Some(last) => last,
        None if directory.join(VIEWS_DIRECTORY).exists() => {
            return Err(Error::LogLost { directory: directory.to_owned() });
        }
        None => {
            fs::create_dir_all(log).map_err(Error::io("create", log))?;
            segment::sync_directory(directory)?;
            segment::create_first(log, n_virtual_shards)?
        }
    };
    let stored = last.header.n_virtual_shards;
    if stored != n_virtual_shards {
        return Err(Error::VirtualShards { stored, configured: n_virtual_shards });
    }
    segment::remove_unborn(log)?;
    let tail = tail::inspect(&last)?;
    Ok((last, tail))
}

/// A compressed segment takes no more: another follows it.
fn for_appending(log: &Path, segment: Segment, tail: Tail) -> Result<(Segment, Tail), Error> {
    if !segment.is_compressed() {
        return Ok((segment, tail));
    }
    let (base, first_group) = (tail.end(&segment), tail.next_group);
    let header = Header { base, first_group, form: Form::Plain, ..segment.header };
    let next = segment::create_empty(log, header)?;
    Ok((next, Tail { committed_bytes: segment::HEADER_BYTES, ..tail }))
}

fn spawn(
    (log, writer): (&Path, LogWriter),
    options: &Options,
    behind: &Arc<Behind>,
    views: &SharedViews,
    (poison, space): (&Poison, &Space),
    lock: LockFile,
) -> Result<(Sender<Commit>, Threads), Error> {
    let (sender, queue) = crossbeam_channel::bounded(options.queued_commits);
    let disk = writer.disk().clone();
    let commit_thread = CommitThread {
        queue,
        writer,
        options: CommitOptions {
            durability: options.durability,
            group_bytes: options.group_bytes,
            group_window: options.group_window,
        },
        behind: behind.clone(),
        poison: poison.clone(),
        space: space.clone(),
        observer: options.observer.clone(),
        unsynced_since: None,
    };
    let view_thread = ViewThread {
        behind: behind.clone(),
        views: views.clone(),
        disk,
        poison: poison.clone(),
        space: space.clone(),
        observer: options.observer.clone(),
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let (sealed_open, closing) = crossbeam_channel::bounded(0);
    let sealed_thread = SealedThread {
        log: log.to_owned(),
        options: SealedOptions {
            interval: options.sealed_interval,
            compress: options.compress,
            block_bytes: options.block_bytes,
        },
        observer: options.observer.clone(),
        closing,
        is_over: is_over.clone(),
    };
    let start = |error| Error::Io {
        action: "start a thread for",
        path: LOG_DIRECTORY.into(),
        error: Arc::new(error),
    };
    let views =
        thread::Builder::new().name("store-views".into()).spawn(|| view_thread.run()).map_err(start)?;
    let commit =
        thread::Builder::new().name("store-commit".into()).spawn(|| commit_thread.run()).map_err(start)?;
    let sealed =
        thread::Builder::new().name("store-sealed".into()).spawn(|| sealed_thread.run()).map_err(start)?;
    Ok((sender, Threads { commit, views, sealed, _sealed_open: sealed_open, is_over, _lock: lock }))
}

/// The least key above all that begin with `prefix`, if there is one.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
