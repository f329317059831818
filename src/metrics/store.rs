//! Commits to the log.

use prometheus::{Histogram, IntCounter, IntGauge, IntGaugeVec, Result, exponential_buckets};

use super::register::Register;

/// Metrics of the store.
#[derive(Debug)]
pub struct Store {
    /// Time of a commit, the sync included.
    pub commit_seconds: Histogram,
    /// Log entries in a commit.
    pub commit_entries: Histogram,
    /// Bytes of a commit.
    pub commit_bytes: Histogram,
    pub commit_failures: IntCounter,
    /// 1 while the disk is full.
    pub no_space: IntGauge,
    /// Time of writing what the commits left for the views.
    pub view_write_seconds: Histogram,
    /// How long commits had to wait because the views were too far behind.
    pub view_wait_seconds: Histogram,
    /// The one that is written to included.
    pub log_segments: IntGauge,
    pub compressed_segments: IntGauge,
    /// Of the sealed segments' files.
    pub sealed_bytes: IntGauge,
    /// The same uncompressed.
    pub sealed_uncompressed_bytes: IntGauge,
    pub compress_seconds: Histogram,
    durability: IntGaugeVec,
}

impl Store {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        Ok(Self {
            commit_seconds: register
                .seconds("tipoff_commit_seconds", "Time of a commit to the log, the sync included.")?,
            commit_entries: register.histogram(
                "tipoff_commit_entries",
                "Log entries in a commit.",
                exponential_buckets(1.0, 4.0, 9)?,
            )?,
            commit_bytes: register.histogram(
                "tipoff_commit_bytes",
                "Bytes of a commit.",
                exponential_buckets(256.0, 4.0, 9)?,
            )?,
            commit_failures: register.counter(
                "tipoff_commit_failures_total",
                "Commits that failed; after a failed sync nothing more is acknowledged.",
            )?,
            no_space: register.gauge(
                "tipoff_store_no_space",
                "1 while the disk is full: events are refused, and what was committed waits.",
            )?,
            view_write_seconds: register
                .seconds("tipoff_view_write_seconds", "Time to write a batch of values to the views.")?,
            view_wait_seconds: register.seconds(
                "tipoff_commit_view_wait_seconds",
                "Time for which commits waited because the views were too far behind.",
            )?,
            log_segments: register.gauge("tipoff_log_segments", "Segments of the log.")?,
            compressed_segments: register
                .gauge("tipoff_log_compressed_segments", "Segments of the log that are compressed.")?,
            sealed_bytes: register.gauge(
                "tipoff_log_sealed_bytes",
                "What the log takes on the disk, without the segment that is written to.",
            )?,
            sealed_uncompressed_bytes: register.gauge(
                "tipoff_log_sealed_uncompressed_bytes",
                "What the same would take if nothing of it were compressed.",
            )?,
            compress_seconds: register
                .seconds("tipoff_segment_compress_seconds", "Time to compress a sealed segment.")?,
            durability: register.gauges(
                "tipoff_store_durability",
                "What an acknowledged event survives: the configured mode is 1.",
                &["mode"],
            )?,
        })
    }

    /// Shows the mode the store was opened with.
    pub fn opened(&self, durability: &str) {
        self.durability.with_label_values(&[durability]).set(1);
    }
}
