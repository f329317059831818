//! `[models.*]`: what is predicted, from which features, and when.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cel::scope::{Feature, Model};
use super::compile::{Compiled, Context, section};
use super::digest::Canonical;
use super::features::Features;
use super::labels::Labels;
use super::table::{Item, MAX_SPAN, Table};
use crate::engine::plan::{EventSelector, ModelPlan};
use crate::engine::time::Millis;
use crate::engine::vector::Slot;

const MAX_MODELS: usize = 100;

/// Stands in `score_on` for the moment at which a session ends.
const SESSION_END: &str = "session_end";

pub(super) struct Models {
    pub(super) compiled: Compiled<ModelPlan>,
    /// Every name in the section, broken ones included.
    pub(super) names: BTreeMap<String, Model>,
    /// By index, whether events make the model score, so that there is a current event.
    pub(super) scores_on_events: Vec<bool>,
    /// Where a `score_on` names [`SESSION_END`] first.
    session_end: Option<(Range<usize>, String)>,
}

pub(super) fn compile(
    root: &Table<'_>,
    features: &Features,
    labels: &Labels,
    cx: &mut Context<'_>,
) -> Models {
    let tables = section(root, "models", MAX_MODELS, &mut cx.report);
    let mut models = Models {
        compiled: Compiled { plans: Vec::new(), canonical: Vec::new() },
        names: BTreeMap::new(),
        scores_on_events: Vec::new(),
        session_end: None,
    };
    for (index, table) in tables.iter().enumerate() {
        let is_scored = table.has("score_on") || table.has("rescore_every");
        models.names.insert(table.name.to_owned(), Model { index, is_scored });
        if features.names.contains_key(table.name) {
            let message = format!("`{}` is the name of a feature too", table.name);
            cx.report.error(&table.span, &table.path, message);
        }
        let score_on = score_on(table, cx);
        models.scores_on_events.push(score_on.as_ref().is_none_or(|score_on| !score_on.events.is_empty()));
        if let Some(ScoreOn { session_end: Some(item), .. }) = &score_on {
            models.session_end.get_or_insert_with(|| (item.span.clone(), item.path.clone()));
        }
        if let Some((plan, canonical)) = model(table, score_on, features, labels, cx) {
            models.compiled.plans.push(plan);
            models.compiled.canonical.push(canonical);
        }
    }
    models
}

/// What a `score_on` names.
struct ScoreOn<'a> {
    events: Vec<EventSelector>,
    session_end: Option<Item<&'a str>>,
}

impl Models {
    /// Reports [`SESSION_END`] where other definitions read events of that type.
    pub(super) fn refuse_ambiguous_session_end(&self, cx: &mut Context<'_>) {
        if let Some((span, path)) = &self.session_end
            && cx.vocabulary.event_types.index_of(SESSION_END).is_some()
        {
            let message = "`session_end` in `score_on` is the end of a session, \
                           and other definitions read events of a type called so";
            cx.report.error(span, path, message);
        }
    }
}

fn score_on<'a>(table: &Table<'a>, cx: &mut Context<'_>) -> Option<ScoreOn<'a>> {
    if !table.has("score_on") {
        return Some(ScoreOn { events: Vec::new(), session_end: None });
    }
    let items = table.texts("score_on", &mut cx.report)?;
    if items.is_empty() {
        let message = "`score_on` is empty: leave it out, or name event types";
        cx.report.error(&table.span, &format!("{}.score_on", table.path), message);
    }
    let (ends, events): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.value == SESSION_END);
    if let [_, again, ..] = ends.as_slice() {
        cx.report.error(&again.span, &again.path, format!("{:?} is listed twice", again.value));
    }
    let events = cx.vocabulary.selectors(&events, &mut cx.report);
    Some(ScoreOn { events, session_end: ends.into_iter().next() })
}

fn model(
    table: &Table<'_>,
    score_on: Option<ScoreOn<'_>>,
    features: &Features,
    labels: &Labels,
    cx: &mut Context<'_>,
) -> Option<(ModelPlan, Canonical)> {
    table.refuse_unknown(&["features", "label", "rescore_every", "score_on"], &mut cx.report);
    if !table.has("label") {
        let example = labels.index.keys().next().map_or("purchase_24h", String::as_str);
        table.missing("label", &format!("{example:?}"), &mut cx.report);
    }
    let label = table.text("label", &mut cx.report).and_then(|item| label_index(&item, labels, cx));
    let inputs = inputs(table, features, cx);
    // Scores cost a timer and a record for every user each time.
    let rescore_every = table.duration("rescore_every", Millis::MINUTE..=MAX_SPAN, &mut cx.report);

    let (label, inputs, ScoreOn { events: score_on, session_end }) = (label?, inputs?, score_on?);
    let score_on_session_end = session_end.is_some();
    let rescore_every = rescore_every.map(|item| item.value);
    let mut canonical = Canonical::new("model", table.name);
    canonical
        .optional("label", labels.index.iter().find(|(_, index)| **index == label).map(|(name, _)| name));
    for &input in &inputs {
        let feature = &features.plans[input];
        canonical.line("feature", format!("{} {}", feature.name, feature.digest));
    }
    let mut events: Vec<&str> = score_on.iter().map(|event| cx.vocabulary.event_name(*event)).collect();
    events.extend(score_on_session_end.then_some(SESSION_END));
    events.sort_unstable();
    for event in events {
        canonical.line("score_on", event);
    }
    canonical.optional("rescore_every", rescore_every);
    let plan = ModelPlan {
        name: table.name.into(),
        label: Some(label),
        features: inputs,
        score_on,
        score_on_session_end,
        rescore_every,
    };
    Some((plan, canonical))
}

fn label_index(item: &Item<&str>, labels: &Labels, cx: &mut Context<'_>) -> Option<usize> {
    let index = labels.index.get(item.value).copied();
    if index.is_none() {
        let nearest = cx.report.nearest(item.value, labels.index.keys());
        cx.report.error_with(&item.span, &item.path, format!("unknown label `{}`", item.value), nearest);
    }
    index
}

/// The features a model reads: those named, in that order, or all numbers by name.
fn inputs(table: &Table<'_>, features: &Features, cx: &mut Context<'_>) -> Option<Vec<usize>> {
    let items = match table.has("features") {
        true => table.texts("features", &mut cx.report)?,
        false => Vec::new(),
    };
    let all = !table.has("features") || items.iter().any(|item| item.value == "*");
    let inputs = if all {
        if let Some(other) = items.iter().find(|item| item.value != "*") {
            let message = format!("`*` stands for every number feature, `{}` among them", other.value);
            cx.report.error(&other.span, &other.path, message);
        }
        every_number(features)
    } else {
        let mut inputs = Vec::new();
        for item in &items {
            match input(item, features, cx) {
                Some(index) if inputs.contains(&index) => {
                    let message = format!("`{}` is listed twice", item.value);
                    cx.report.error(&item.span, &item.path, message);
                }
                Some(index) => inputs.push(index),
                None => {}
            }
        }
        inputs
    };
    if inputs.is_empty() && (all || items.is_empty()) && features.names.is_empty() {
        cx.report.error(&table.span, &table.path, "there is no feature for the model to read");
    }
    Some(inputs)
}

fn every_number(features: &Features) -> Vec<usize> {
    let numbers = features
        .names
        .iter()
        .filter(|(_, feature)| matches!(feature, Feature::Known { slot: Slot::Number(_), .. }));
    numbers.filter_map(|(name, _)| features.index.get(name).copied()).collect()
}

fn input(item: &Item<&str>, features: &Features, cx: &mut Context<'_>) -> Option<usize> {
    match features.names.get(item.value) {
        Some(Feature::Known { slot: Slot::Number(_), .. }) => features.index.get(item.value).copied(),
        Some(Feature::Known { slot: Slot::Text(_), .. }) => {
            let message = format!("`{}` is a text, and models read numbers", item.value);
            cx.report.error(&item.span, &item.path, message);
            None
        }
        Some(Feature::Broken) => None,
        None => {
            let nearest = cx.report.nearest(item.value, features.names.keys());
            cx.report.error_with(
                &item.span,
                &item.path,
                format!("unknown feature `{}`", item.value),
                nearest,
            );
            None
        }
    }
}
