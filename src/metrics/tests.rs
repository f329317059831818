use std::sync::Arc;

use super::*;
use crate::engine::decision::{Action, FiringId, Gate};
use crate::engine::plan::{
    EXACT_ROWS, EventSelector, ModelPlan, Names, OnRepeat, SessionPlan, TimeBounds, TriggerKind, TriggerPlan,
};
use crate::engine::time::Millis;
use crate::registry::Alias;
use crate::rpc::reason::Reason;

/// A plan with one model and one trigger.
pub fn plan() -> Plan {
    let trigger = TriggerPlan {
        name: Arc::from("cart_abandoned"),
        digest: Arc::from(""),
        enabled: true,
        kind: TriggerKind::Absence {
            after: EventSelector::Any,
            filter: None,
            without: Vec::new(),
            wait: Millis::MINUTE,
            key: None,
            on_repeat: OnRepeat::Reset,
        },
        when: None,
        unless: None,
        cooldown: Millis::DAY,
        holdout: 0.1,
        variants: Vec::new(),
        time_to_live: Millis::DAY,
    };
    let model = ModelPlan {
        name: Arc::from("purchase_24h"),
        label: None,
        features: Vec::new(),
        score_on: Vec::new(),
        score_on_session_end: false,
        rescore_every: None,
    };
    Plan {
        digest: Arc::from(""),
        source: Arc::from(""),
        event_types: Names::default(),
        properties: Names::default(),
        traits: Names::default(),
        series: Vec::new(),
        features: Vec::new(),
        n_numbers: 0,
        n_texts: 0,
        labels: Vec::new(),
        models: vec![model],
        triggers: vec![trigger],
        caps: Vec::new(),
        lookups: Vec::new(),
        bounds: TimeBounds { lateness: Millis::DAY, skew: Millis::MINUTE, session_gap: Millis::HOUR },
        sessions: SessionPlan { longest_window: Millis::ZERO, max_kept: EXACT_ROWS },
    }
}

pub fn metrics() -> Metrics {
    Metrics::new(&plan(), 2, ClockMode::Replay).expect("the names are unique and valid")
}

/// The lines of one metric's samples.
fn samples(metrics: &Metrics, name: &str) -> Vec<String> {
    let rendered = metrics.render().expect("it renders");
    let of_name =
        |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
    rendered.lines().filter(of_name).map(str::to_owned).collect()
}

#[test]
fn every_metric_keeps_to_the_naming_rules() {
    let metrics = metrics();
    metrics.models.show("purchase_24h", Alias::Stable, None, Some(1));
    for family in metrics.registry.gather() {
        let name = family.name();
        assert!(name.starts_with("tipoff_"), "{name}");
        assert!(family.help().ends_with('.'), "{name}");
        let is_counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
        assert_eq!(is_counter, name.ends_with("_total"), "{name}");
        for unit in ["_ms", "_millis", "_us", "_kb", "_mb", "_count", "_sum", "_bucket"] {
            assert!(!name.contains(unit), "{name} is not in base units");
        }
    }
}

#[test]
fn refusals_are_counted_by_result_and_reason() {
    let metrics = metrics();
    metrics.ingest.refuse(Reason::EventLate);
    metrics.ingest.refuse(Reason::IdTooLong);
    metrics.ingest.refuse(Reason::IdTooLong);
    let results = samples(&metrics, "tipoff_events_total");
    assert!(results.contains(&"tipoff_events_total{result=\"late\"} 1".to_owned()), "{results:?}");
    assert!(results.contains(&"tipoff_events_total{result=\"rejected\"} 2".to_owned()), "{results:?}");
    let reasons = samples(&metrics, "tipoff_events_refused_total");
    assert!(
        reasons.contains(&"tipoff_events_refused_total{reason=\"ID_TOO_LONG\"} 2".to_owned()),
        "{reasons:?}"
    );
}

#[test]
fn only_reasons_that_an_event_can_be_refused_for_have_a_series() {
    let reasons = samples(&metrics(), "tipoff_events_refused_total");
    for (reason, is_there) in [("EVENT_LATE", true), ("MALFORMED", true), ("MODEL_UNKNOWN", false)] {
        let line = format!("tipoff_events_refused_total{{reason=\"{reason}\"}} 0");
        assert_eq!(reasons.contains(&line), is_there, "{reason}");
    }
}

#[test]
fn trigger_actions_are_counted_where_they_belong() {
    let metrics = metrics();
    let id = FiringId(1);
    metrics.triggers.count(0, &Action::Fired { id, variant: None });
    metrics.triggers.count(0, &Action::HeldOut { id });
    for gate in Gate::ALL {
        metrics.triggers.count(0, &Action::Suppressed { gate });
    }
    metrics.triggers.count(0, &Action::Rearmed);
    metrics.triggers.count(7, &Action::HeldOut { id });
    for name in ["tipoff_firings_total", "tipoff_held_out_total"] {
        assert_eq!(samples(&metrics, name), [format!("{name}{{trigger=\"cart_abandoned\"}} 1")]);
    }
    let suppressions = samples(&metrics, "tipoff_suppressions_total");
    assert_eq!(suppressions.len(), Gate::ALL.len());
    assert!(suppressions.iter().all(|line| line.ends_with(" 1")), "{suppressions:?}");
}

#[test]
fn the_version_under_an_alias_replaces_the_one_before() {
    let metrics = metrics();
    let show = |alias, before, version| metrics.models.show("purchase_24h", alias, before, version);
    show(Alias::Stable, None, Some(1));
    show(Alias::Canary, None, Some(2));
    show(Alias::Stable, Some(1), Some(2));
    show(Alias::Canary, Some(2), None);
    let info = samples(&metrics, "tipoff_model_info");
    assert_eq!(info, [r#"tipoff_model_info{alias="stable",model="purchase_24h",version="2"} 1"#]);
}

#[test]
fn the_clock_and_each_worker_show() {
    let metrics = metrics();
    let mode = samples(&metrics, "tipoff_clock_mode");
    assert!(mode.contains(&"tipoff_clock_mode{mode=\"replay\"} 1".to_owned()), "{mode:?}");
    assert!(mode.contains(&"tipoff_clock_mode{mode=\"wall\"} 0".to_owned()), "{mode:?}");
    assert_eq!(samples(&metrics, "tipoff_queue_events").len(), 2);
}
