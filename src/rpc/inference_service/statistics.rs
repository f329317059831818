//! What was asked of each version, and where the time went.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::time::Timestamp;
use crate::proto::inference::{InferStatistics, ModelStatistics, StatisticDuration};

/// Counts by model and version, for as long as the server runs: as many as
/// versions have served.
#[derive(Debug, Default)]
pub struct Statistics {
    counts: Mutex<BTreeMap<(Arc<str>, u32), Counts>>,
}

/// Where the time of one answer went.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Waiting for a thread.
    pub queue: Duration,
    /// Reading the inputs, or the users' features.
    pub input: Duration,
    /// Scoring.
    pub infer: Duration,
    /// Writing the outputs.
    pub output: Duration,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    last_scored_ms: u64,
    rows: u64,
    answered: u64,
    refused: u64,
    refused_ns: u64,
    queue_ns: u64,
    input_ns: u64,
    infer_ns: u64,
    output_ns: u64,
}

impl Statistics {
    pub fn answer(&self, model: &Arc<str>, version: u32, n_rows: usize, times: Times, now: Timestamp) {
        let mut all = self.lock();
        let counts = all.entry((model.clone(), version)).or_default();
        counts.last_scored_ms = u64::try_from(now.as_millis()).unwrap_or(0);
        counts.rows += n_rows as u64;
        counts.answered += 1;
        counts.queue_ns += nanoseconds(times.queue);
        counts.input_ns += nanoseconds(times.input);
        counts.infer_ns += nanoseconds(times.infer);
        counts.output_ns += nanoseconds(times.output);
    }

    pub fn refuse(&self, model: &Arc<str>, version: u32, elapsed: Duration) {
        let mut all = self.lock();
        let counts = all.entry((model.clone(), version)).or_default();
        counts.refused += 1;
        counts.refused_ns += nanoseconds(elapsed);
    }

    pub fn of(&self, model: &Arc<str>, version: u32) -> ModelStatistics {
        let counts = self.lock().get(&(model.clone(), version)).cloned().unwrap_or_default();
        let of_answers = |ns| Some(StatisticDuration { count: counts.answered, ns });
        let none = Some(StatisticDuration::default());
        ModelStatistics {
            name: model.to_string(),
            version: version.to_string(),
            last_inference: counts.last_scored_ms,
            inference_count: counts.rows,
            execution_count: counts.answered,
            inference_stats: Some(InferStatistics {
                success: of_answers(counts.queue_ns + counts.input_ns + counts.infer_ns + counts.output_ns),
                fail: Some(StatisticDuration { count: counts.refused, ns: counts.refused_ns }),
                queue: of_answers(counts.queue_ns),
                compute_input: of_answers(counts.input_ns),
                compute_infer: of_answers(counts.infer_ns),
                compute_output: of_answers(counts.output_ns),
                cache_hit: none,
                cache_miss: none,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, u32), Counts>> {
        // Whole counts at any time: a panic leaves nothing half-way.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of 584 years at most.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
