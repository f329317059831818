//! `[caps.*]`: at most so many firings over several triggers.

use super::compile::{Compiled, Context, section};
use super::digest::Canonical;
use super::table::{MAX_SPAN, Table};
use super::triggers::Triggers;
use crate::engine::plan::CapPlan;
use crate::engine::time::Millis;

const MAX_CAPS: usize = 100;
/// A profile remembers this many firings for a cap.
const MAX_FIRINGS: i64 = 1_000;

pub(super) fn compile(root: &Table<'_>, triggers: &Triggers, cx: &mut Context<'_>) -> Compiled<CapPlan> {
    let tables = section(root, "caps", MAX_CAPS, &mut cx.report);
    let mut compiled = Compiled { plans: Vec::new(), canonical: Vec::new() };
    for table in &tables {
        if let Some((plan, canonical)) = cap(table, triggers, cx) {
            compiled.plans.push(plan);
            compiled.canonical.push(canonical);
        }
    }
    compiled
}

fn cap(table: &Table<'_>, triggers: &Triggers, cx: &mut Context<'_>) -> Option<(CapPlan, Canonical)> {
    let report = &mut cx.report;
    table.refuse_unknown(&["at_most", "per", "triggers"], report);
    for (key, example) in [("at_most", "3"), ("per", "\"1d\"")] {
        if !table.has(key) {
            table.missing(key, example, report);
        }
    }
    let at_most = table.integer("at_most", 1..=MAX_FIRINGS, report);
    let per = table.duration("per", Millis::SECOND..=MAX_SPAN, report);
    let members = members(table, triggers, cx);

    let (at_most, per, members) = (at_most?.value, per?.value, members?);
    let mut canonical = Canonical::new("cap", table.name);
    canonical.line("at_most", at_most).line("per", per);
    for (name, index) in &triggers.index {
        if members.contains(index) {
            canonical.line("trigger", name);
        }
    }
    let at_most = usize::try_from(at_most).ok()?;
    Some((CapPlan { name: table.name.into(), at_most, per, triggers: members }, canonical))
}

/// The triggers that count: those named, or all.
fn members(table: &Table<'_>, triggers: &Triggers, cx: &mut Context<'_>) -> Option<Vec<usize>> {
    let items = match table.has("triggers") {
        true => table.texts("triggers", &mut cx.report)?,
        false => Vec::new(),
    };
    let all = !table.has("triggers") || items.iter().any(|item| item.value == "*");
    let mut members = Vec::new();
    for item in items.iter().filter(|item| item.value != "*") {
        match triggers.index.get(item.value) {
            Some(index) if members.contains(index) => {
                let message = format!("`{}` is listed twice", item.value);
                cx.report.error(&item.span, &item.path, message);
            }
            Some(&index) => members.push(index),
            None => {
                let nearest = cx.report.nearest(item.value, triggers.index.keys());
                let message = format!("unknown trigger `{}`", item.value);
                cx.report.error_with(&item.span, &item.path, message, nearest);
            }
        }
    }
    if all {
        members = triggers.index.values().copied().collect();
    }
    if members.is_empty() && (all || items.is_empty()) {
        cx.report.error(&table.span, &table.path, "the cap is over no trigger");
    }
    members.sort_unstable();
    Some(members)
}
