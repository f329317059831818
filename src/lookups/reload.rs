//! Reads tables again when their files change.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::read;
use crate::engine::lookup::Lookup;
use crate::metrics::Metrics;

/// What changes when a file is written: none while there is no file.
type Stamp = Option<(SystemTime, u64)>;

/// One lookup's file, as it was looked at.
#[derive(Clone, Copy)]
struct Seen {
    /// When it was last read.
    read: Stamp,
    /// The last time it was looked at.
    last: Stamp,
}

/// Looks at the files once an interval, for as long as it is polled, and swaps
/// in what has changed. A table that cannot be read leaves the one before.
///
/// `lookups` are what was read already.
pub fn keep_current(
    lookups: Arc<ArcSwap<Vec<Lookup>>>,
    interval: Duration,
    metrics: Arc<Metrics>,
) -> impl Future<Output = ()> + Send {
    // Now, not when it is first polled: recovery may take a while.
    let stamps = lookups.load().iter().map(|lookup| stamp(&lookup.file)).collect::<Vec<_>>();
    async move {
        let mut seen: Vec<Seen> = stamps.into_iter().map(|stamp| Seen { read: stamp, last: stamp }).collect();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !seen.is_empty() {
            ticks.tick().await;
            let (lookups, metrics) = (lookups.clone(), metrics.clone());
            let looked = tokio::task::spawn_blocking(move || {
                look(&lookups, &mut seen, &metrics);
                seen
            });
            // A panic has been reported by the panic hook.
            seen = looked.await.unwrap_or_default();
        }
    }
}

fn look(live: &ArcSwap<Vec<Lookup>>, seen: &mut [Seen], metrics: &Metrics) {
    let lookups = live.load_full();
    for (index, (lookup, seen)) in lookups.iter().zip(seen).enumerate() {
        let now = stamp(&lookup.file);
        // One that is still being written is left until it has stayed the same.
        let is_due = now != seen.read && now == seen.last;
        seen.last = now;
        if !is_due {
            continue;
        }
        seen.read = now;
        let (name, file) = (&*lookup.name, lookup.file.display());
        match read(lookup) {
            Ok(table) => {
                let rows = table.n_rows();
                let mut lookups = Vec::clone(&live.load());
                lookups[index].table = Arc::new(table);
                live.store(Arc::new(lookups));
                metrics.lookups.loaded(index, rows);
                tracing::info!(lookup = name, %file, rows, "the table has changed and was read again");
            }
            Err(error) => {
                metrics.lookups.failed[index].inc();
                tracing::warn!(lookup = name, %error, "the table has changed and cannot be read: the one before stays");
            }
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
