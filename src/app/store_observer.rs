//! Carries what the store does into the metrics and the server's log.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::store;

/// Told by the store's threads.
pub struct StoreObserver(pub Arc<Metrics>);

impl store::Observer for StoreObserver {
    fn committed(&self, group: &store::Group) {
        let metrics = &self.0.store;
        metrics.commit_seconds.observe(group.elapsed.as_secs_f64());
        metrics.commit_entries.observe(group.n_entries as f64);
        metrics.commit_bytes.observe(group.bytes as f64);
    }

    fn commit_failed(&self) {
        self.0.store.commit_failures.inc();
    }

    fn short_of_space(&self, is_short: bool) {
        self.0.store.no_space.set(is_short.into());
        if is_short {
            tracing::error!("no space left on the disk: events are refused until there is some");
        } else {
            tracing::warn!("there is room on the disk again");
        }
    }

    fn views_written(&self, batch: &store::ViewBatch) {
        self.0.store.view_write_seconds.observe(batch.elapsed.as_secs_f64());
    }

    fn commits_waited_for_views(&self, waited: Duration) {
        self.0.store.view_wait_seconds.observe(waited.as_secs_f64());
    }

    fn segment_compressed(&self, compressed: &store::Compressed) {
        let store::Compressed { plain_bytes, bytes, elapsed } = *compressed;
        self.0.store.compress_seconds.observe(elapsed.as_secs_f64());
        tracing::debug!(plain_bytes, bytes, seconds = elapsed.as_secs_f64(), "compressed a segment");
    }

    fn log_on_disk(&self, log: &store::LogOnDisk) {
        let metrics = &self.0.store;
        metrics.log_segments.set(log.n_segments as i64);
        metrics.compressed_segments.set(log.n_compressed as i64);
        metrics.sealed_bytes.set(log.sealed_bytes as i64);
        metrics.sealed_uncompressed_bytes.set(log.plain_bytes as i64);
    }

    fn sealed_failed(&self, error: &store::Error) {
        tracing::warn!(%error, "sealed segments stay as they are for now");
    }
}
