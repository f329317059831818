//! `[features.*]`: aggregates over series of events, and expressions over
//! other features.

mod order;
mod sessions;

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

const KEYS: [&str; 7] = ["aggregate", "expression", "half_life", "of", "type", "where", "window"];

/// Stands for all decayed aggregates until the series has given it its place.
const DECAYED: Aggregate = Aggregate::Decayed { decay: usize::MAX };

const AGGREGATES: [Aggregate; 17] = [
    Aggregate::Count,
    DECAYED,
    Aggregate::Distinct,
    Aggregate::Duration,
    Aggregate::First,
    Aggregate::Last,
    Aggregate::Max,
    Aggregate::Mean,
    Aggregate::MeanGap,
    Aggregate::Min,
    Aggregate::MostFrequent,
    Aggregate::Rate,
    Aggregate::Std,
    Aggregate::Sum,
    Aggregate::TimeSinceFirst,
    Aggregate::TimeSinceLast,
    Aggregate::Trend,
];

const NAMED_WINDOWS: [(&str, Window); 3] = [
    ("lifetime", Window::Lifetime),
    ("previous_session", Window::PreviousSession),
    ("session", Window::Session),
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
struct Events {
    event: EventSelector,
    filter: Option<(BoolExpr, String)>,
}

/// Where an aggregate is taken.
#[derive(Clone, Copy)]
enum Span {
    Window(Window),
    HalfLife(Millis),
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
            let others = ["aggregate", "half_life", "of", "type", "where", "window"];
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
    kind: UnplacedKind,
    value: Type,
    canonical: Canonical,
    /// Indices of the features that an expression reads.
    reads: Vec<usize>,
}

enum UnplacedKind {
    Aggregate { series: usize, property: Option<usize>, aggregate: Aggregate, span: Span },
    Sessions { window: Option<Millis> },
    Expression(Expression),
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

    /// The longest sliding window in which sessions are counted.
    pub(super) fn longest_session_window(&self) -> Millis {
        let windows = self.plans.iter().filter_map(|feature| match feature.kind {
            FeatureKind::Sessions { window } => window,
            FeatureKind::Aggregate { .. } | FeatureKind::Expression(_) => None,
        });
        windows.max().unwrap_or(Millis::ZERO)
    }

    /// Adds to a canonical text the digests of the features that an expression reads.
    pub(super) fn add_reads(&self, source: &Source<'_>, canonical: &mut Canonical) {
        for index in self.reads(source) {
            let feature = &self.plans[index];
            canonical.line("reads", format!("{} {}", feature.name, feature.digest));
        }
    }

    /// The features that an expression reads, by name; indices into `plans`.
    fn reads(&self, source: &Source<'_>) -> Vec<usize> {
        let mut names = source.bare_names();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| self.index.get(name).copied()).collect()
    }

    fn aggregate(&mut self, table: &Table<'_>, cx: &mut Context<'_>) -> Option<Unplaced> {
        if !table.has("aggregate") {
            let message = "`aggregate` or `expression` is missing, such as aggregate = \"count\"";
            cx.report.error(&table.span, &table.path, message);
        }
        let aggregate = match table.text("aggregate", &mut cx.report) {
            Some(item) if item.value == sessions::AGGREGATE => return sessions::compile(table, cx),
            item => item.and_then(|item| aggregate(&item, cx)),
        };
        let of = of(table, cx);
        let span = span(table, aggregate, cx);
        let filter = filter(table, self, cx);
        let value = value_type(table, aggregate, cx);

        let aggregate = aggregate?;
        let (event, property) = of?;
        if property.is_none() && needs_property(aggregate) {
            let name = aggregate.name();
            let event = cx.vocabulary.event_name(event);
            let message = format!("`{name}` is taken of a property: of = \"{event}.property\"");
            cx.report.error(&table.span, &table.path, message);
            return None;
        }
        let (span, filter, value) = (span?, filter?, value?);
        let events = Events { event, filter };
        let mut canonical = Canonical::new("feature", table.name);
        canonical.line("aggregate", aggregate.name());
        canonical.line("series", events.canonical(property, cx).digest());
        match span {
            Span::HalfLife(half_life) => canonical.line("half_life", half_life),
            Span::Window(Window::Sliding(length)) => canonical.line("window", length),
            Span::Window(window) => canonical.line("window", window_name(window)),
        };
        if let Span::Window(Window::Session | Window::PreviousSession) = span {
            canonical.line("session_gap", cx.bounds.session_gap);
        }
        if value == Type::Text {
            canonical.line("type", "text");
        }
        let series = self.series_of(events, cx);
        let kind = UnplacedKind::Aggregate { series, property, aggregate, span };
        Some(Unplaced { kind, value, canonical, reads: Vec::new() })
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
        canonical.line("expression", source.canonical(&cx.vocabulary));
        self.add_reads(source, &mut canonical);
        let (kind, reads) = (UnplacedKind::Expression(expression), self.reads(source));
        Some(Unplaced { kind, value, canonical, reads })
    }

    /// The series of these events, shared by all features over them.
    fn series_of(&mut self, events: Events, cx: &Context<'_>) -> usize {
        let digest = events.canonical(None, cx).digest();
        if let Some(&index) = self.series_by_digest.get(&digest) {
            return index;
        }
        let filter = events.filter.map(|(filter, _)| filter);
        self.series.push(SeriesPlan::new(digest.as_str().into(), events.event, filter));
        self.series_by_digest.insert(digest, self.series.len() - 1);
        self.series.len() - 1
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
        let kind = match feature.kind {
            UnplacedKind::Expression(expression) => FeatureKind::Expression(expression),
            UnplacedKind::Sessions { window } => FeatureKind::Sessions { window },
            UnplacedKind::Aggregate { series, property, aggregate, span } => {
                let of = &mut self.series[series];
                let (aggregate, window) = match span {
                    Span::Window(window) => {
                        of.add(slot, aggregate, property, window);
                        (aggregate, window)
                    }
                    Span::HalfLife(half_life) => (of.add_decay(slot, property, half_life), Window::Lifetime),
                };
                FeatureKind::Aggregate { series, aggregate, window }
            }
        };
        let is_bool = feature.value == Type::Bool;
        self.names.insert(name.to_owned(), Feature::Known { slot, is_bool });
        self.index.insert(name.to_owned(), self.plans.len());
        self.plans.push(FeaturePlan {
            name: name.into(),
            digest: feature.canonical.digest().into(),
            slot,
            is_bool,
            reads: feature.reads,
            kind,
        });
        self.canonical.push(feature.canonical);
    }
}

impl Events {
    /// With the property that a feature reads of them.
    fn canonical(&self, property: Option<usize>, cx: &Context<'_>) -> Canonical {
        let mut canonical = Canonical::new("series", cx.vocabulary.event_name(self.event));
        canonical.optional("property", property.map(|index| cx.vocabulary.canonical_property(index)));
        canonical.optional("where", self.filter.as_ref().map(|(_, text)| text));
        canonical
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
    Some(Some((filter, source.canonical(&cx.vocabulary))))
}

fn aggregate(item: &Item<&str>, cx: &mut Context<'_>) -> Option<Aggregate> {
    let found = AGGREGATES.iter().find(|aggregate| aggregate.name() == item.value);
    if found.is_none() {
        let mut known = AGGREGATES.map(Aggregate::name).to_vec();
        known.push(sessions::AGGREGATE);
        known.sort_unstable();
        let message = format!("unknown aggregate `{}`: expected one of {}", item.value, list(&known));
        cx.report.error_with(&item.span, &item.path, message, names::nearest(item.value, known));
    }
    found.copied()
}

fn window_name(window: Window) -> &'static str {
    NAMED_WINDOWS.iter().find(|(_, known)| *known == window).map_or("", |(name, _)| name)
}

/// Those of the events' times and numbers do without; so do those that
/// without a property count events.
fn needs_property(aggregate: Aggregate) -> bool {
    !matches!(
        aggregate,
        Aggregate::Count
            | Aggregate::TimeSinceFirst
            | Aggregate::TimeSinceLast
            | Aggregate::MeanGap
            | Aggregate::Duration
            | Aggregate::Rate
            | Aggregate::Trend
            | DECAYED
    )
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

/// The window, or what stands in its place.
fn span(table: &Table<'_>, aggregate: Option<Aggregate>, cx: &mut Context<'_>) -> Option<Span> {
    let report = &mut cx.report;
    if aggregate == Some(DECAYED) {
        table.refuse(&["window"], "does not go with `decayed`, which has a `half_life`", report);
        if !table.has("half_life") {
            table.missing("half_life", "\"7d\"", report);
        }
        let half_life = table.duration("half_life", Millis::SECOND..=MAX_SPAN, report)?;
        return Some(Span::HalfLife(half_life.value));
    }
    table.refuse(&["half_life"], "goes with aggregate = \"decayed\" only", report);
    let window = window(table, aggregate, cx)?;
    match (aggregate, window) {
        // The span and the one before it.
        (Some(Aggregate::Trend), Window::Sliding(length)) => {
            Some(Span::Window(Window::Sliding(Millis::new(2 * length.as_millis()))))
        }
        (Some(Aggregate::Rate), Window::Sliding(_)) => Some(Span::Window(window)),
        (Some(aggregate @ (Aggregate::Trend | Aggregate::Rate)), _) => {
            let message = format!("`{}` is over a duration, such as window = \"7d\"", aggregate.name());
            cx.report.error(&table.span, &table.path, message);
            None
        }
        (Some(Aggregate::MostFrequent), Window::Lifetime) => {
            let message = "`most_frequent` is over a duration or a session, such as window = \"90d\"";
            cx.report.error(&table.span, &table.path, message);
            None
        }
        _ => Some(Span::Window(window)),
    }
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
            table.missing("window", "\"30d\", \"session\" or \"lifetime\"", report);
        }
        return None;
    }
    let item = table.text("window", report)?;
    if let Some((_, window)) = NAMED_WINDOWS.iter().find(|(name, _)| *name == item.value) {
        return Some(*window);
    }
    if item.value.chars().all(|c| c.is_alphabetic() || c == '_') {
        let known = NAMED_WINDOWS.map(|(name, _)| name);
        let message =
            format!("{:?} is neither a duration such as \"30m\" nor one of {}", item.value, list(&known));
        report.error_with(&item.span, &item.path, message, names::nearest(item.value, known));
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

/// What a feature's value is: numbers, unless `first`, `last` or `most_frequent` say `type = "text"`.
fn value_type(table: &Table<'_>, aggregate: Option<Aggregate>, cx: &mut Context<'_>) -> Option<Type> {
    let report = &mut cx.report;
    if !table.has("type") {
        return Some(Type::Number);
    }
    let item = table.text("type", report)?;
    if !matches!(aggregate, Some(Aggregate::First | Aggregate::Last | Aggregate::MostFrequent) | None) {
        report.error(&item.span, &item.path, "`type` goes with `first`, `last` and `most_frequent` only");
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
