//! `[labels.*]`: future outcomes that models learn.

use std::collections::BTreeMap;

use super::compile::{Compiled, Context, section};
use super::digest::Canonical;
use super::features::{Features, filter};
use super::table::{MAX_SPAN, Table};
use crate::engine::plan::LabelPlan;
use crate::engine::time::Millis;

const MAX_LABELS: usize = 1_000;

pub(super) struct Labels {
    pub(super) compiled: Compiled<LabelPlan>,
    /// Every name in the section with its index, broken ones included.
    pub(super) index: BTreeMap<String, usize>,
}

pub(super) fn compile(root: &Table<'_>, features: &Features, cx: &mut Context<'_>) -> Labels {
    let tables = section(root, "labels", MAX_LABELS, &mut cx.report);
    let index = tables.iter().enumerate().map(|(index, table)| (table.name.to_owned(), index)).collect();
    let mut compiled = Compiled { plans: Vec::new(), canonical: Vec::new() };
    for table in &tables {
        if let Some((plan, canonical)) = label(table, features, cx) {
            compiled.plans.push(plan);
            compiled.canonical.push(canonical);
        }
    }
    Labels { compiled, index }
}

fn label(table: &Table<'_>, features: &Features, cx: &mut Context<'_>) -> Option<(LabelPlan, Canonical)> {
    table.refuse_unknown(&["event", "for", "no_event", "where", "within"], &mut cx.report);
    let happens = match (table.has("event"), table.has("no_event")) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => {
            let message = "a label says either `event` and `within`, or `no_event` and `for`";
            cx.report.error(&table.span, &table.path, message);
            return None;
        }
        (false, false) => {
            let message = "`event` or `no_event` is missing, such as event = \"purchase\", within = \"24h\"";
            cx.report.error(&table.span, &table.path, message);
            return None;
        }
    };
    let (event_key, horizon_key, other_key) =
        if happens { ("event", "within", "for") } else { ("no_event", "for", "within") };
    table.refuse(
        &[other_key],
        &format!("does not go with `{event_key}`: say `{horizon_key}`"),
        &mut cx.report,
    );
    if !table.has(horizon_key) {
        table.missing(horizon_key, "\"24h\"", &mut cx.report);
    }
    let horizon = table.duration(horizon_key, Millis::SECOND..=MAX_SPAN, &mut cx.report);
    let event = table.text(event_key, &mut cx.report);
    let event = event.and_then(|item| cx.vocabulary.selector(&item, &mut cx.report));
    let filter = filter(table, features, cx);

    let (event, horizon, filter) = (event?, horizon?.value, filter?);
    let mut canonical = Canonical::new("label", table.name);
    canonical
        .line(event_key, cx.vocabulary.event_name(event))
        .line(horizon_key, horizon)
        .optional("where", filter.as_ref().map(|(_, text)| text));
    let filter = filter.map(|(filter, _)| filter);
    let (name, digest) = (table.name.into(), canonical.digest().into());
    Some((LabelPlan { name, digest, event, filter, happens, horizon }, canonical))
}
