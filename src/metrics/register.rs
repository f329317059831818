//! Makes metrics and registers them.

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

/// From 10 µs to 10 s, three a decade.
const SECONDS: [f64; 19] = [
    1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

pub struct Register<'a>(pub &'a Registry);

impl Register<'_> {
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    pub fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.add(Gauge::new(name, help)?)
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A histogram of durations.
    pub fn seconds(&self, name: &str, help: &str) -> Result<Histogram> {
        self.histogram(name, help, SECONDS.to_vec())
    }

    /// As [`Register::seconds`], with labels.
    pub fn seconds_by(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
        let opts = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.add(HistogramVec::new(opts, labels)?)
    }

    pub fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Result<Histogram> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
    }

    fn add<T: Collector + Clone + 'static>(&self, metric: T) -> Result<T> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
