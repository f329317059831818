//! `[features.*]`: aggregates over series of events, and expressions over
//! other features.

mod order;

use std::collections::{BTreeMap, HashMap};

use super::cel::check::Type;
use super::cel::scope::{Feature, Model, Names, Place};
use super::compile::{Context, section};
use super::condition::Source;
use super::digest::Canonical;
use super::names;
use super::report::Report;
use super::table::{Item, MAX_SPAN, Table, list, parse_duration};
use super::vocabulary::Vocabulary;
use crate::engine::expression::{BoolExpr, Expression};
use crate::engine::plan::{Aggregate, EventSelector, FeatureKind, FeaturePlan, SeriesPlan, Window};
use crate::engine::time::Millis;
use crate::engine::vector::Slot;

const MAX_FEATURES: usize = 10_000;

const KEYS: [&str; 6] = ["aggregate", "expression", "of", "type", "where", "window"];

const AGGREGATES: [(&str, Aggregate); 10] = [
    ("count", Aggregate::Count),
    ("distinct", Aggregate::Distinct),
    ("first", Aggregate::First),
    ("last", Aggregate::Last),
    ("max", Aggregate::Max),
    ("mean", Aggregate::Mean),
    ("min", Aggregate::Min),
    ("sum", Aggregate::Sum),
    ("time_since_first", Aggregate::TimeSinceFirst),
    ("time_since_last", Aggregate::TimeSinceLast),
];

/// The compiled section.
#[derive(Default)]
pub(super) struct Features {
    /// Expressions come after what they read.
    pub(super) plans: Vec<FeaturePlan>,
    pub(super) series: Vec<SeriesPlan>,
    pub(super) n_numbers: usize,
    pub(super) n_texts: usize,
    pub(super) canonical: Vec<Canonical>,
    /// Every name in the section, broken ones included.
    pub(super) names: BTreeMap<String, Feature>,
    /// Indices into `plans`.
    pub(super) index: HashMap<String, usize>,
    series_by_digest: HashMap<String, usize>,
}

/// What a series consists of.
struct Entries {
    event: EventSelector,
    property: Option<usize>,
    filter: Option<(BoolExpr, String)>,
}

pub(super) fn compile(root: &Table<'_>, cx: &mut Context<'_>) -> Features {
    let tables = section(root, "features", MAX_FEATURES, &mut cx.report);
    let mut features = Features::default();
    for table in &tables {
        table.refuse_unknown(&KEYS, &mut cx.report);
        features.names.insert(table.name.to_owned(), Feature::Broken);
    }
    let mut expressions = BTreeMap::new();
    for table in &tables {
        if table.has("expression") {
            let others = ["aggregate", "of", "type", "where", "window"];
            table.refuse(&others, "does not go with `expression`", &mut cx.report);
            let item = table.text("expression", &mut cx.report);
            if let Some(source) = item.and_then(|item| Source::parse(item, cx.text, &mut cx.report)) {
                expressions.insert(table.name, source);
            }
        } else if let Some(compiled) = features.aggregate(table, cx) {
            features.add(table.name, compiled);
        }
    }
    for name in order::by_dependency(&expressions, &mut cx.report) {
        if let Some(compiled) = features.expression(name, &expressions[name], cx) {
            features.add(name, compiled);
        }
    }
    features
}

/// A feature before it has a slot.
struct Unplaced {
    kind: FeatureKind,
    value: Type,
    canonical: Canonical,
}

impl Features {
    /// The names in reach of an expression.
    pub(super) fn scope<'a>(
        &'a self,
        models: &'a BTreeMap<String, Model>,
        vocabulary: &'a mut Vocabulary,
        report: &Report,
    ) -> Names<'a> {
        Names { features: &self.names, models, vocabulary, suggest: report.suggests() }
    }

    /// Adds to a canonical text the digests of the features that an expression reads.
    pub(super) fn add_reads(&self, source: &Source<'_>, canonical: &mut Canonical) {
        let mut reads: Vec<&str> = source.bare_names();
        reads.sort_unstable();
        reads.dedup();
        for name in reads {
            if let Some(&index) = self.index.get(name) {
                canonical.line("reads", format!("{name} {}", self.plans[index].digest));
            }
        }
    }

    fn aggregate(&mut self, table: &Table<'_>, cx: &mut Context<'_>) -> Option<Unplaced> {
        if !table.has("aggregate") {
            let message = "`aggregate` or `expression` is missing, such as aggregate = \"count\"";
            cx.report.error(&table.span, &table.path, message);
        }
        let aggregate = table.text("aggregate", &mut cx.report).and_then(|item| aggregate(&item, cx));
        let of = of(table, cx);
        let window = window(table, aggregate, cx);
        let filter = filter(table, self, cx);
        let value = value_type(table, aggregate, cx);

        let aggregate = aggregate?;
        let (event, property) = of?;
        if property.is_none() && needs_property(aggregate) {
            let name = aggregate_name(aggregate);
            let event = cx.vocabulary.event_name(event);
            let message = format!("`{name}` is taken of a property: of = \"{event}.property\"");
            cx.report.error(&table.span, &table.path, message);
            return None;
        }
        let (window, filter, value) = (window?, filter?, value?);
        let (series, series_digest) =
            self.add_series(Entries { event, property, filter }, aggregate, window, cx);
        let mut canonical = Canonical::new("feature", table.name);
        canonical.line("aggregate", aggregate_name(aggregate)).line("series", series_digest);
        match window {
            Window::Sliding(length) => canonical.line("window", length),
            Window::Lifetime => canonical.line("window", "lifetime"),
        };
        if value == Type::Text {
            canonical.line("type", "text");
        }
        Some(Unplaced { kind: FeatureKind::Aggregate { series, aggregate, window }, value, canonical })
    }

    fn expression(&mut self, name: &str, source: &Source<'_>, cx: &mut Context<'_>) -> Option<Unplaced> {
        let models = BTreeMap::new();
        let scope = self.scope(&models, &mut cx.vocabulary, &cx.report);
        let expression = source.expression(scope, &mut cx.report)?;
        let value = match &expression {
            Expression::Number(_) => Type::Number,
            Expression::Text(_) => Type::Text,
            Expression::Bool(_) => Type::Bool,
        };
        let mut canonical = Canonical::new("feature", name);
        canonical.line("expression", source.canonical());
        self.add_reads(source, &mut canonical);
        Some(Unplaced { kind: FeatureKind::Expression(expression), value, canonical })
    }

    /// The series of these entries, shared by all features over it, with its digest.
    fn add_series(
        &mut self,
        entries: Entries,
        aggregate: Aggregate,
        window: Window,
        cx: &Context<'_>,
    ) -> (usize, String) {
        let mut canonical = Canonical::new("series", cx.vocabulary.event_name(entries.event));
        canonical.optional("property", entries.property.map(|index| cx.vocabulary.properties.name(index)));
        canonical.optional("where", entries.filter.as_ref().map(|(_, text)| text));
        let digest = canonical.digest();
        let index = match self.series_by_digest.get(&digest) {
            Some(&index) => index,
            None => {
                self.series_by_digest.insert(digest.clone(), self.series.len());
                self.series.push(SeriesPlan {
                    digest: digest.as_str().into(),
                    event: entries.event,
                    filter: entries.filter.map(|(filter, _)| filter),
                    property: entries.property,
                    longest_window: Millis::ZERO,
                    lifetime: false,
                    lifetime_distinct: false,
                });
                self.series.len() - 1
            }
        };
        let series = &mut self.series[index];
        match window {
            Window::Sliding(length) => series.longest_window = series.longest_window.max(length),
            Window::Lifetime => {
                series.lifetime = true;
                series.lifetime_distinct |= aggregate == Aggregate::Distinct;
            }
        }
        (index, digest)
    }

    fn add(&mut self, name: &str, feature: Unplaced) {
        let n = match feature.value {
            Type::Text => &mut self.n_texts,
            Type::Number | Type::Bool => &mut self.n_numbers,
        };
        let slot = match feature.value {
            Type::Text => Slot::Text(*n),
            Type::Number | Type::Bool => Slot::Number(*n),
        };
        *n += 1;
        let is_bool = feature.value == Type::Bool;
        self.names.insert(name.to_owned(), Feature::Known { slot, is_bool });
        self.index.insert(name.to_owned(), self.plans.len());
        self.plans.push(FeaturePlan {
            name: name.into(),
            digest: feature.canonical.digest().into(),
            slot,
            is_bool,
            kind: feature.kind,
        });
        self.canonical.push(feature.canonical);
    }
}

/// A `where`, compiled and in canonical form. The outer `None`: it is wrong.
pub(super) fn filter(
    table: &Table<'_>,
    features: &Features,
    cx: &mut Context<'_>,
) -> Option<Option<(BoolExpr, String)>> {
    if !table.has("where") {
        return Some(None);
    }
    let item = table.text("where", &mut cx.report)?;
    let source = Source::parse(item, cx.text, &mut cx.report)?;
    let models = BTreeMap::new();
    let scope = features.scope(&models, &mut cx.vocabulary, &cx.report);
    let filter = source.condition(Place::Filter, scope, &mut cx.report)?;
    Some(Some((filter, source.canonical())))
}

fn aggregate(item: &Item<&str>, cx: &mut Context<'_>) -> Option<Aggregate> {
    let found = AGGREGATES.iter().find(|(name, _)| *name == item.value);
    if found.is_none() {
        let known = AGGREGATES.map(|(name, _)| name);
        let message = format!("unknown aggregate `{}`: expected one of {}", item.value, list(&known));
        cx.report.error_with(&item.span, &item.path, message, names::nearest(item.value, known));
    }
    found.map(|(_, aggregate)| *aggregate)
}

fn aggregate_name(aggregate: Aggregate) -> &'static str {
    AGGREGATES.iter().find(|(_, known)| *known == aggregate).map_or("", |(name, _)| name)
}

fn needs_property(aggregate: Aggregate) -> bool {
    !matches!(aggregate, Aggregate::Count | Aggregate::TimeSinceFirst | Aggregate::TimeSinceLast)
}

/// The event and the property that `of` names: `"event"`, `"event.property"`,
/// or `{ event = "…", property = "…" }` where a name has a dot in it.
fn of(table: &Table<'_>, cx: &mut Context<'_>) -> Option<(EventSelector, Option<usize>)> {
    let report = &mut cx.report;
    if !table.has("of") {
        table.missing("of", "\"purchase\" or \"purchase.value\"", report);
        return None;
    }
    let (event, property) = if table.has_table("of") {
        let of = table.table("of", "an event", report)?;
        of.refuse_unknown(&["event", "property"], report);
        if !of.has("event") {
            of.missing("event", "\"purchase\"", report);
        }
        let property = of.text("property", report);
        (of.text("event", report)?, property)
    } else {
        let item = table.text("of", report)?;
        match item.value.split_once('.') {
            Some((event, property)) => {
                (Item { value: event, ..item.clone() }, Some(Item { value: property, ..item }))
            }
            None => (item, None),
        }
    };
    let selector = cx.vocabulary.selector(&event, &mut cx.report);
    let property = match property {
        Some(item) => Some(cx.vocabulary.property(&item, &mut cx.report)?),
        None => None,
    };
    Some((selector?, property))
}

fn window(table: &Table<'_>, aggregate: Option<Aggregate>, cx: &mut Context<'_>) -> Option<Window> {
    let report = &mut cx.report;
    if !table.has("window") {
        let over_all_time = matches!(
            aggregate,
            Some(Aggregate::First | Aggregate::Last | Aggregate::TimeSinceFirst | Aggregate::TimeSinceLast)
        );
        if over_all_time {
            return Some(Window::Lifetime);
        }
        if aggregate.is_some() {
            table.missing("window", "\"30d\" or \"lifetime\"", report);
        }
        return None;
    }
    let item = table.text("window", report)?;
    if item.value == "lifetime" {
        return Some(Window::Lifetime);
    }
    if item.value.chars().all(char::is_alphabetic) {
        let message = format!("{:?} is neither a duration such as \"30m\" nor \"lifetime\"", item.value);
        report.error_with(&item.span, &item.path, message, names::nearest(item.value, ["lifetime"]));
        return None;
    }
    let length = parse_duration(&item, report)?;
    if !(Millis::SECOND..=MAX_SPAN).contains(&length) {
        let message = format!("a window is at least 1s and at most {MAX_SPAN}, not {length}");
        report.error(&item.span, &item.path, message);
        return None;
    }
    Some(Window::Sliding(length))
}

/// What a feature's value is: numbers, unless `first` or `last` say `type = "text"`.
fn value_type(table: &Table<'_>, aggregate: Option<Aggregate>, cx: &mut Context<'_>) -> Option<Type> {
    let report = &mut cx.report;
    if !table.has("type") {
        return Some(Type::Number);
    }
    let item = table.text("type", report)?;
    if !matches!(aggregate, Some(Aggregate::First | Aggregate::Last) | None) {
        report.error(&item.span, &item.path, "`type` goes with `first` and `last` only");
        return None;
    }
    match item.value {
        "number" => Some(Type::Number),
        "text" => Some(Type::Text),
        other => {
            let message = format!("unknown type `{other}`: expected `number` or `text`");
            let nearest = names::nearest(other, ["number", "text"]);
            report.error_with(&item.span, &item.path, message, nearest);
            None
        }
    }
}
