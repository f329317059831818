//! The process and its calls.

use prometheus::{Gauge, IntCounter, IntGauge, IntGaugeVec, Result};

use super::register::Register;
use crate::config::ClockMode;
use crate::rpc::reason::Reason;

/// Metrics of the server as a whole.
#[derive(Debug)]
pub struct Server {
    /// By [`Reason`]: calls that failed as a whole.
    failures: Vec<IntCounter>,
    /// The server's clock, in seconds since the Unix epoch.
    pub clock_seconds: Gauge,
    /// Open subscriptions.
    pub subscribers: IntGauge,
    onnx_runtime: IntGaugeVec,
}

impl Server {
    pub(super) fn new(register: &Register<'_>, clock: ClockMode) -> Result<Self> {
        register
            .gauges("tipoff_build_info", "The version of the server.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let modes = register.gauges("tipoff_clock_mode", "The clock the server goes by is 1.", &["mode"])?;
        for mode in [ClockMode::Wall, ClockMode::Replay] {
            modes.with_label_values(&[mode.name()]).set(i64::from(mode == clock));
        }
        let failures = register.counters(
            "tipoff_call_failures_total",
            "Calls that failed as a whole, by reason.",
            &["reason"],
        )?;
        Ok(Self {
            failures: Reason::ALL.iter().map(|reason| failures.with_label_values(&[reason.name()])).collect(),
            clock_seconds: register.float_gauge(
                "tipoff_clock_timestamp_seconds",
                "The server's clock, in seconds since the Unix epoch.",
            )?,
            subscribers: register.gauge("tipoff_subscribers", "Open subscriptions.")?,
            onnx_runtime: register.gauges(
                "tipoff_onnx_runtime_info",
                "The library that runs networks, once a model has needed it.",
                &["library", "version"],
            )?,
        })
    }

    /// Shows the library that runs networks: a process loads one, once.
    pub fn onnx_runtime(&self, library: &str, version: &str) {
        self.onnx_runtime.with_label_values(&[library, version]).set(1);
    }

    /// Counts one call that failed as a whole.
    pub fn fail(&self, reason: Reason) {
        self.failures[reason as usize].inc();
    }
}
