//! `[triggers.*]`: when to act.

mod kind;

use std::collections::BTreeMap;

use super::cel::scope::Place;
use super::compile::{Compiled, Context, section};
use super::condition::Source;
use super::digest::Canonical;
use super::features::Features;
use super::models::Models;
use super::names;
use super::table::{MAX_SPAN, Table};
use crate::engine::expression::BoolExpr;
use crate::engine::plan::TriggerPlan;
use crate::engine::time::Millis;

const MAX_TRIGGERS: usize = 1_000;
const MAX_VARIANTS: usize = 16;

/// An undelivered firing is dead after this long, unless the trigger says otherwise.
const DEFAULT_TIME_TO_LIVE: Millis = Millis::DAY;

const KEYS: [&str; 18] = [
    "after",
    "cooldown",
    "deliver",
    "enabled",
    "falling",
    "fire_at",
    "for",
    "holdout",
    "key",
    "on_repeat",
    "rearm_at",
    "score",
    "time_to_live",
    "unless",
    "variants",
    "when",
    "where",
    "without",
];

pub(super) struct Triggers {
    pub(super) compiled: Compiled<TriggerPlan>,
    /// Every name in the section with its index, broken ones included.
    pub(super) index: BTreeMap<String, usize>,
}

pub(super) fn compile(
    root: &Table<'_>,
    features: &Features,
    models: &Models,
    cx: &mut Context<'_>,
) -> Triggers {
    let tables = section(root, "triggers", MAX_TRIGGERS, &mut cx.report);
    let index = tables.iter().enumerate().map(|(index, table)| (table.name.to_owned(), index)).collect();
    let mut compiled = Compiled { plans: Vec::new(), canonical: Vec::new() };
    for table in &tables {
        if let Some((plan, canonical)) = trigger(table, features, models, cx) {
            compiled.plans.push(plan);
            compiled.canonical.push(canonical);
        }
    }
    Triggers { compiled, index }
}

fn trigger(
    table: &Table<'_>,
    features: &Features,
    models: &Models,
    cx: &mut Context<'_>,
) -> Option<(TriggerPlan, Canonical)> {
    table.refuse_unknown(&KEYS, &mut cx.report);
    table.refuse(
        &["deliver"],
        "names no sink: there are none to name yet, every firing goes to the gRPC subscriptions",
        &mut cx.report,
    );
    let mut canonical = Canonical::new("trigger", table.name);
    let (kind, has_event) = kind::compile(table, features, models, &mut canonical, cx);

    let place = Place::Condition { has_event };
    let when = condition("when", table, place, features, models, &mut canonical, cx);
    let unless = condition("unless", table, place, features, models, &mut canonical, cx);
    for (key, condition, never) in [("when", &when, false), ("unless", &unless, true)] {
        if matches!(condition, Some(Some(BoolExpr::Literal(literal))) if *literal == never) {
            table.refuse(&[key], "lets nothing pass: `enabled = false` says so", &mut cx.report);
        }
    }

    let report = &mut cx.report;
    let enabled = table.bool("enabled", report).is_none_or(|item| item.value);
    let cooldown = table.duration("cooldown", Millis::ZERO..=MAX_SPAN, report);
    let cooldown = cooldown.map_or(Millis::ZERO, |item| item.value);
    let holdout = table.number("holdout", 0.0..=1.0, report).map_or(0.0, |item| {
        if item.value == 1.0 {
            let message = "a holdout of 1 leaves nobody to act on: `enabled = false` says so";
            report.error(&item.span, &item.path, message);
        }
        item.value
    });
    let time_to_live = table.duration("time_to_live", Millis::SECOND..=MAX_SPAN, report);
    let time_to_live = time_to_live.map_or(DEFAULT_TIME_TO_LIVE, |item| item.value);
    let variants = variants(table, cx);

    canonical
        .line("enabled", enabled)
        .line("cooldown", cooldown)
        .line("holdout", holdout)
        .line("time_to_live", time_to_live);
    for (name, weight) in &variants {
        canonical.line("variant", format!("{name} {weight:?}"));
    }
    let plan = TriggerPlan {
        name: table.name.into(),
        digest: canonical.digest().into(),
        enabled,
        kind: kind?,
        when: when?,
        unless: unless?,
        cooldown,
        holdout,
        variants,
        time_to_live,
    };
    Some((plan, canonical))
}

/// A condition, if there is one. The outer `None`: it is wrong.
fn condition(
    key: &str,
    table: &Table<'_>,
    place: Place,
    features: &Features,
    models: &Models,
    canonical: &mut Canonical,
    cx: &mut Context<'_>,
) -> Option<Option<BoolExpr>> {
    if !table.has(key) {
        return Some(None);
    }
    let item = table.text(key, &mut cx.report)?;
    let source = Source::parse(item, cx.text, &mut cx.report)?;
    let scope = features.scope(&models.names, &mut cx.vocabulary, &cx.report);
    let condition = source.condition(place, scope, &mut cx.report)?;
    canonical.line(key, source.canonical(&cx.vocabulary));
    features.add_reads(&source, canonical);
    Some(Some(condition))
}

fn variants(table: &Table<'_>, cx: &mut Context<'_>) -> Vec<(std::sync::Arc<str>, f64)> {
    let weights = table.weights("variants", &mut cx.report);
    if weights.len() > MAX_VARIANTS {
        let message = format!("a trigger has at most {MAX_VARIANTS} variants, not {}", weights.len());
        cx.report.error(&table.span, &format!("{}.variants", table.path), message);
    }
    for (item, _) in &weights {
        if let Some(mistake) = names::mistake_in(item.value) {
            cx.report.error(&item.span, &item.path, format!("variant: {mistake}"));
        }
    }
    weights.into_iter().map(|(item, weight)| (item.value.into(), weight)).collect()
}
