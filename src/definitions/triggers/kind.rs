//! What sets a trigger off: a score that crosses a threshold, or an absence.

use crate::definitions::compile::Context;
use crate::definitions::digest::Canonical;
use crate::definitions::features::{Features, filter};
use crate::definitions::models::Models;
use crate::definitions::names;
use crate::definitions::table::{Item, MAX_SPAN, Table};
use crate::engine::plan::{EventSelector, OnRepeat, TriggerKind};
use crate::engine::time::Millis;

const SCORE_KEYS: [&str; 4] = ["falling", "fire_at", "rearm_at", "score"];
const ABSENCE_KEYS: [&str; 6] = ["after", "for", "key", "on_repeat", "where", "without"];

/// The kind, if it is right, and whether conditions can read a current event.
pub(super) fn compile(
    table: &Table<'_>,
    features: &Features,
    models: &Models,
    canonical: &mut Canonical,
    cx: &mut Context<'_>,
) -> (Option<TriggerKind>, bool) {
    match (table.has("score"), table.has("after")) {
        (true, false) => {
            table.refuse(&ABSENCE_KEYS, "does not go with `score`", &mut cx.report);
            score(table, models, canonical, cx)
        }
        (false, true) => {
            table.refuse(&SCORE_KEYS, "does not go with `after`", &mut cx.report);
            // It fires when time has passed, not on an event.
            (absence(table, features, canonical, cx), false)
        }
        (true, true) => {
            let message = "a trigger says either `score` and `fire_at`, or `after`, `without` and `for`";
            cx.report.error(&table.span, &table.path, message);
            (None, true)
        }
        (false, false) => {
            let message = "`score` (a threshold is crossed) or `after` (an absence) is missing";
            cx.report.error(&table.span, &table.path, message);
            (None, true)
        }
    }
}

fn score(
    table: &Table<'_>,
    models: &Models,
    canonical: &mut Canonical,
    cx: &mut Context<'_>,
) -> (Option<TriggerKind>, bool) {
    let report = &mut cx.report;
    let mut has_event = true;
    let model = table.text("score", report).and_then(|item| match models.names.get(item.value) {
        Some(model) => {
            canonical.line("score", item.value);
            if !model.is_scored {
                let message =
                    format!("model `{}` is never scored: give it `score_on` or `rescore_every`", item.value);
                report.error(&item.span, &item.path, message);
            }
            has_event = models.scores_on_events[model.index];
            Some(model.index)
        }
        None => {
            let nearest = report.nearest(item.value, models.names.keys());
            report.error_with(&item.span, &item.path, format!("unknown model `{}`", item.value), nearest);
            None
        }
    });
    let falling = table.bool("falling", report).is_some_and(|item| item.value);
    if !table.has("fire_at") {
        table.missing("fire_at", "0.75", report);
    }
    let fire_at = table.number("fire_at", 0.0..=1.0, report);
    let rearm_at = match table.has("rearm_at") {
        true => table.number("rearm_at", 0.0..=1.0, report),
        false => fire_at.clone(),
    };
    if let Some(fire_at) = &fire_at {
        let always = if falling { 1.0 } else { 0.0 };
        if fire_at.value == always {
            let side = if falling { "at most 1" } else { "at least 0" };
            let message = format!("every score is {side}: nothing ever crosses {always}");
            cx.report.error(&fire_at.span, &fire_at.path, message);
        }
    }
    if let (Some(fire_at), Some(rearm_at)) = (&fire_at, &rearm_at) {
        check_sides(fire_at, rearm_at, falling, cx);
    }
    let kind = || {
        let (model, fire_at, rearm_at) = (model?, fire_at?.value, rearm_at?.value);
        canonical.line("fire_at", fire_at).line("rearm_at", rearm_at).line("falling", falling);
        Some(TriggerKind::Score { model, fire_at, rearm_at, falling })
    };
    (kind(), has_event)
}

fn check_sides(fire_at: &Item<f64>, rearm_at: &Item<f64>, falling: bool, cx: &mut Context<'_>) {
    let (fire, rearm) = (fire_at.value, rearm_at.value);
    let message = if falling && rearm < fire {
        format!("a falling trigger re-arms above where it fires: rearm_at {rearm} is below fire_at {fire}")
    } else if !falling && rearm > fire {
        format!("a rising trigger re-arms below where it fires: rearm_at {rearm} is above fire_at {fire}")
    } else {
        return;
    };
    cx.report.error(&rearm_at.span, &rearm_at.path, message);
}

fn absence(
    table: &Table<'_>,
    features: &Features,
    canonical: &mut Canonical,
    cx: &mut Context<'_>,
) -> Option<TriggerKind> {
    let after = table.text("after", &mut cx.report);
    let after = after.and_then(|item| cx.vocabulary.selector(&item, &mut cx.report));
    let filter = filter(table, features, cx);
    let without = without(table, cx);
    if !table.has("for") {
        table.missing("for", "\"30m\"", &mut cx.report);
    }
    let wait = table.duration("for", Millis::SECOND..=MAX_SPAN, &mut cx.report);
    let key = match table.text("key", &mut cx.report) {
        Some(item) => Some(cx.vocabulary.property(&item, &mut cx.report)?),
        None => None,
    };
    let on_repeat = on_repeat(table, cx);

    let (after, filter, without, wait) = (after?, filter?, without?, wait?.value);
    canonical
        .line("after", cx.vocabulary.event_name(after))
        .optional("where", filter.as_ref().map(|(_, text)| text));
    let filter = filter.map(|(filter, _)| filter);
    let mut names: Vec<&str> = without.iter().map(|event| cx.vocabulary.event_name(*event)).collect();
    names.sort_unstable();
    for name in names {
        canonical.line("without", name);
    }
    canonical
        .line("for", wait)
        .optional("key", key.map(|index| cx.vocabulary.canonical_property(index)))
        .line("on_repeat", if on_repeat == OnRepeat::Reset { "reset" } else { "keep" });
    Some(TriggerKind::Absence { after, filter, without, wait, key, on_repeat })
}

fn without(table: &Table<'_>, cx: &mut Context<'_>) -> Option<Vec<EventSelector>> {
    if !table.has("without") {
        table.missing("without", "[\"purchase\"]", &mut cx.report);
    }
    let items = table.texts("without", &mut cx.report)?;
    if items.is_empty() {
        let path = format!("{}.without", table.path);
        cx.report.error(&table.span, &path, "`without` is empty: name the events whose absence counts");
    }
    Some(cx.vocabulary.selectors(&items, &mut cx.report))
}

fn on_repeat(table: &Table<'_>, cx: &mut Context<'_>) -> OnRepeat {
    let Some(item) = table.text("on_repeat", &mut cx.report) else { return OnRepeat::Reset };
    match item.value {
        "reset" => OnRepeat::Reset,
        "keep" => OnRepeat::Keep,
        other => {
            let message = format!("`on_repeat` is \"reset\" or \"keep\", not {other:?}");
            let nearest = names::nearest(other, ["reset", "keep"]);
            cx.report.error_with(&item.span, &item.path, message, nearest);
            OnRepeat::Reset
        }
    }
}
