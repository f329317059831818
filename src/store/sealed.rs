//! What becomes of sealed segments, on a thread that gives way to all others.
//!
//! They are compressed, oldest first. What goes wrong here stops nothing: the
//! log is as good as before, and it is tried again later.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::log::compress::compress;
use super::log::segment::{self, Segment};
use super::{Error, Observer};
use crate::priority;

/// After a failure, such as a full disk.
const RETRY: Duration = Duration::from_secs(30);

/// The log as it lies on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOnDisk {
    pub n_segments: usize,
    pub n_compressed: usize,
    /// Of the files, without the segment that is written to.
    pub sealed_bytes: u64,
    /// The same uncompressed.
    pub plain_bytes: u64,
}

/// One segment that was compressed.
#[derive(Clone, Copy, Debug)]
pub struct Compressed {
    pub plain_bytes: u64,
    pub bytes: u64,
    pub elapsed: Duration,
}

pub struct SealedOptions {
    /// How often it is looked whether there is something to do.
    pub interval: Duration,
    pub compress: bool,
    pub block_bytes: u32,
}

pub struct SealedThread {
    pub log: PathBuf,
    pub options: SealedOptions,
    pub observer: Arc<dyn Observer>,
    /// Closed when the store closes.
    pub closing: Receiver<()>,
    /// Set then, too: ends what takes long.
    pub is_over: Arc<AtomicBool>,
}

impl SealedThread {
    /// Looks after the segments until the store closes.
    pub fn run(self) {
        priority::give_way();
        let mut last = None;
        let mut wait = Duration::ZERO;
        while self.closing.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            wait = self.options.interval;
            if let Err(error) = self.take_turn(&mut last)
                && !self.is_over.load(Ordering::Relaxed)
            {
                self.observer.sealed_failed(&error);
                last = None;
                wait = RETRY;
            }
        }
    }

    /// `last` is the segment that was written to when all was done.
    fn take_turn(&self, last: &mut Option<PathBuf>) -> Result<(), Error> {
        if *last == segment::last_path(&self.log)? {
            return Ok(());
        }
        let mut segments = segment::list(&self.log)?;
        let Some(open) = segments.pop() else { return Ok(()) };
        self.tell(&segments);
        for index in 0..segments.len() {
            if self.options.compress && !segments[index].is_compressed() {
                segments[index] = self.compress(&segments[index])?;
                self.tell(&segments);
            }
        }
        *last = Some(open.path);
        Ok(())
    }

    fn compress(&self, segment: &Segment) -> Result<Segment, Error> {
        let start = Instant::now();
        let compressed = compress(segment, self.options.block_bytes, &self.is_over)?;
        let (plain_bytes, bytes) = (segment.file_bytes, compressed.file_bytes);
        self.observer.segment_compressed(&Compressed { plain_bytes, bytes, elapsed: start.elapsed() });
        Ok(compressed)
    }

    fn tell(&self, sealed: &[Segment]) {
        self.observer.log_on_disk(&LogOnDisk {
            n_segments: sealed.len() + 1,
            n_compressed: sealed.iter().filter(|segment| segment.is_compressed()).count(),
            sealed_bytes: sealed.iter().map(|segment| segment.file_bytes).sum(),
            plain_bytes: sealed.iter().map(|segment| segment.plain_bytes).sum(),
        });
    }
}
