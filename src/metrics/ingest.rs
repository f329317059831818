//! What becomes of events.

use prometheus::{Histogram, IntCounter, IntCounterVec, Result, exponential_buckets};

use super::register::Register;
use crate::rpc::reason::Reason;

/// Metrics of the intake.
#[derive(Debug)]
pub struct Ingest {
    pub accepted: IntCounter,
    pub duplicate: IntCounter,
    pub late: IntCounter,
    pub rejected: IntCounter,
    /// By the name of the [`Reason`], late ones included.
    refused: IntCounterVec,
    /// Events in a batch.
    pub batch_events: Histogram,
    /// From a batch's arrival to its acknowledgement.
    pub ack_seconds: Histogram,
}

impl Ingest {
    pub(super) fn new(register: &Register<'_>) -> Result<Self> {
        let events =
            register.counters("tipoff_events_total", "Events by what became of them.", &["result"])?;
        let refused = register.counters(
            "tipoff_events_refused_total",
            "Events that were late or rejected, by reason.",
            &["reason"],
        )?;
        // Each is there from the start, so that its first event shows as a rise.
        for reason in Reason::OF_EVENTS {
            refused.with_label_values(&[reason.name()]);
        }
        Ok(Self {
            accepted: events.with_label_values(&["accepted"]),
            duplicate: events.with_label_values(&["duplicate"]),
            late: events.with_label_values(&["late"]),
            rejected: events.with_label_values(&["rejected"]),
            refused,
            batch_events: register.histogram(
                "tipoff_batch_events",
                "Events in a batch.",
                exponential_buckets(1.0, 4.0, 9)?,
            )?,
            ack_seconds: register.seconds(
                "tipoff_ingest_ack_seconds",
                "Time from a batch's arrival to its durable acknowledgement.",
            )?,
        })
    }

    /// Counts one event that was late or rejected.
    pub fn refuse(&self, reason: Reason) {
        match reason {
            Reason::EventLate => self.late.inc(),
            _ => self.rejected.inc(),
        }
        self.refused.with_label_values(&[reason.name()]).inc();
    }
}
