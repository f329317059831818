//! How a store is to run; the bounds of everything it queues and writes.

use std::sync::Arc;
use std::time::Duration;

use super::log::compress::BLOCK_BYTES;
use super::log::frame::{HEADER_BYTES, MAX_PAYLOAD_BYTES};
use super::{Compressed, Error, LogOnDisk};

/// What an acknowledged commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power failure.
    Fsync,
    /// The process; a power failure, but for what was committed in the last interval.
    Interval(Duration),
    /// The process.
    Memory,
}

#[derive(Clone)]
pub struct Options {
    /// Fixed when the store is created.
    pub n_virtual_shards: u16,
    /// How many report where a replay must begin.
    pub n_workers: u16,
    pub durability: Durability,
    pub segment_bytes: u64,
    pub payload_bytes: usize,
    /// The entries of one commit, frames included.
    pub commit_bytes: usize,
    /// A group takes no further commit beyond it.
    pub group_bytes: usize,
    /// How long a group waits for company; with zero it takes what is queued already.
    pub group_window: Duration,
    /// Commits waiting for the commit thread.
    pub queued_commits: usize,
    pub view_interval: Duration,
    /// The views are written before the interval is over when this much is pending.
    pub view_batch_bytes: usize,
    /// Commits wait for the views when this much is pending; as much again may be in the writing.
    pub view_pending_bytes: usize,
    pub view_cache_bytes: u64,
    /// Whether sealed segments are compressed.
    pub compress: bool,
    /// How much of a segment is compressed by itself.
    pub block_bytes: u32,
    /// How often it is looked what there is to do with sealed segments.
    pub sealed_interval: Duration,
    pub observer: Arc<dyn Observer>,
}

/// Told what the store does, on the store's threads: it must be quick.
pub trait Observer: Send + Sync {
    fn committed(&self, _group: &Group) {}
    /// A commit that was queued is not in the log.
    fn commit_failed(&self) {}
    /// There is no room on the disk, and commits wait; or there is room again.
    fn short_of_space(&self, _is_short: bool) {}
    fn views_written(&self, _batch: &ViewBatch) {}
    /// The views are too far behind: commits after this one had to wait.
    fn commits_waited_for_views(&self, _waited: Duration) {}
    fn segment_compressed(&self, _compressed: &Compressed) {}
    fn log_on_disk(&self, _log: &LogOnDisk) {}
    /// A sealed segment is as it was, and it is tried again later.
    fn sealed_failed(&self, _error: &Error) {}
}

/// One group in the log.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub n_commits: usize,
    pub n_entries: usize,
    pub bytes: usize,
    /// From the first commit's turn to the end of the sync.
    pub elapsed: Duration,
}

/// One batch in the views.
#[derive(Clone, Copy, Debug)]
pub struct ViewBatch {
    pub n_values: usize,
    pub bytes: usize,
    pub elapsed: Duration,
}

/// An observer that looks away.
pub struct Unobserved;

impl Observer for Unobserved {}

impl Default for Options {
    fn default() -> Self {
        Self {
            n_virtual_shards: 1_024,
            n_workers: 1,
            durability: Durability::Fsync,
            segment_bytes: 64 << 20,
            payload_bytes: 16 << 20,
            commit_bytes: 64 << 20,
            group_bytes: 4 << 20,
            group_window: Duration::ZERO,
            queued_commits: 1_024,
            view_interval: Duration::from_millis(200),
            view_batch_bytes: 16 << 20,
            view_pending_bytes: 128 << 20,
            view_cache_bytes: 64 << 20,
            compress: true,
            block_bytes: BLOCK_BYTES,
            sealed_interval: Duration::from_secs(1),
            observer: Arc::new(Unobserved),
        }
    }
}

impl Options {
    pub(super) fn validate(&self) -> Result<(), Error> {
        let at_least = |field, value: u64, least: u64| {
            if value < least {
                let reason = format!("is {value}, must be at least {least}");
                return Err(Error::Option { field, reason });
            }
            Ok(())
        };
        let at_most = |field, value: usize, most: usize| {
            if value > most {
                let reason = format!("is {value}, must be at most {most}");
                return Err(Error::Option { field, reason });
            }
            Ok(())
        };
        at_least("n_virtual_shards", self.n_virtual_shards.into(), 1)?;
        at_least("n_workers", self.n_workers.into(), 1)?;
        at_least("segment_bytes", self.segment_bytes, 1)?;
        at_most("payload_bytes", self.payload_bytes, MAX_PAYLOAD_BYTES)?;
        at_least("commit_bytes", self.commit_bytes as u64, (self.payload_bytes + HEADER_BYTES) as u64)?;
        at_least("queued_commits", self.queued_commits as u64, 1)?;
        at_least("view_batch_bytes", self.view_batch_bytes as u64, 1)?;
        at_least("view_pending_bytes", self.view_pending_bytes as u64, self.view_batch_bytes as u64)?;
        if let Durability::Interval(interval) = self.durability {
            at_least("durability interval (ms)", interval.as_millis() as u64, 1)?;
        }
        Ok(())
    }
}
