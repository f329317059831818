//! The workers between intake and store.

use prometheus::{Histogram, IntCounter, IntGauge, Result};

use super::register::Register;

/// Metrics of the pipeline.
#[derive(Debug)]
pub struct Pipeline {
    /// By worker: events that wait.
    pub queue_events: Vec<IntGauge>,
    /// Profiles in memory.
    pub profiles: IntGauge,
    /// Those of them that are packed.
    pub packed_profiles: IntGauge,
    pub packed_profile_bytes: IntGauge,
    pub profiles_unpacked: IntCounter,
    /// Time of taking in one event: due timers, fold, decide, fold.
    pub apply_seconds: Histogram,
    pub timers_run: IntCounter,
    /// How long after its due instant a timer ran, by the server's clock.
    pub timer_delay_seconds: Histogram,
}

impl Pipeline {
    pub(super) fn new(register: &Register<'_>, n_workers: usize) -> Result<Self> {
        let queues = register.gauges("tipoff_queue_events", "Events that wait for a worker.", &["worker"])?;
        let delays = vec![0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0, 604_800.0];
        Ok(Self {
            queue_events: (0..n_workers)
                .map(|worker| queues.with_label_values(&[&worker.to_string()]))
                .collect(),
            profiles: register.gauge("tipoff_profiles", "User profiles in memory.")?,
            packed_profiles: register
                .gauge("tipoff_packed_profiles", "User profiles in memory that are idle, and so packed.")?,
            packed_profile_bytes: register
                .gauge("tipoff_packed_profile_bytes", "Size of the packed profiles' records.")?,
            profiles_unpacked: register.counter(
                "tipoff_profiles_unpacked_total",
                "Packed profiles that came into use again.",
            )?,
            apply_seconds: register.seconds(
                "tipoff_apply_seconds",
                "Time to take in one event: run the user's due timers, update the features, score and decide.",
            )?,
            timers_run: register.counter("tipoff_timers_run_total", "Timers that ran.")?,
            timer_delay_seconds: register.histogram(
                "tipoff_timer_delay_seconds",
                "How long after its due instant a timer ran.",
                delays,
            )?,
        })
    }
}
