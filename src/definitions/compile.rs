//! From a text to a plan, section by section.

use toml::de::DeTable;

use super::cel;
use super::diagnostics::{Diagnostic, Diagnostics};
use super::digest::Canonical;
use super::report::Report;
use super::source::Source;
use super::table::Table;
use super::vocabulary::Vocabulary;
use super::{caps, features, labels, models, names, triggers};
use crate::engine::plan::{Plan, TimeBounds, sha256_hex};
use crate::engine::time::Millis;

const SECTIONS: [&str; 6] = ["caps", "features", "labels", "models", "time", "triggers"];

/// What every section needs while it is compiled.
pub(super) struct Context<'a> {
    /// The whole text.
    pub(super) text: &'a str,
    pub(super) report: Report,
    pub(super) vocabulary: Vocabulary,
}

/// One section's definitions with their canonical texts.
pub(super) struct Compiled<T> {
    pub(super) plans: Vec<T>,
    pub(super) canonical: Vec<Canonical>,
}

pub(super) fn compile(source: &Source) -> Result<Plan, Diagnostics> {
    cel::on_large_stack(|| compile_here(source)).unwrap_or_else(|error| {
        Err(Diagnostics::new(vec![Diagnostic::without_place(format!("cannot start a thread: {error}"))]))
    })
}

fn compile_here(source: &Source) -> Result<Plan, Diagnostics> {
    let entries = parse(source)?;
    let root = Table::root(&entries);
    let mut cx =
        Context { text: source.text(), report: Report::default(), vocabulary: Vocabulary::default() };
    root.refuse_unknown(&SECTIONS, &mut cx.report);

    let (bounds, time) = time_bounds(&root, &mut cx);
    let features = features::compile(&root, &mut cx);
    let labels = labels::compile(&root, &features, &mut cx);
    let models = models::compile(&root, &features, &labels, &mut cx);
    let triggers = triggers::compile(&root, &features, &models, &mut cx);
    let caps = caps::compile(&root, &triggers, &mut cx);
    cx.report.finish(source)?;

    let (labels, models, triggers) = (labels.compiled, models.compiled, triggers.compiled);
    let canonical =
        [features.canonical, labels.canonical, models.canonical, triggers.canonical, caps.canonical];
    let all: String = [&time].into_iter().chain(canonical.iter().flatten()).map(Canonical::text).collect();
    Ok(Plan {
        digest: sha256_hex(all.as_bytes()).into(),
        source: source.text().into(),
        event_types: cx.vocabulary.event_types,
        properties: cx.vocabulary.properties,
        traits: cx.vocabulary.traits,
        series: features.series,
        features: features.plans,
        n_numbers: features.n_numbers,
        n_texts: features.n_texts,
        labels: labels.plans,
        models: models.plans,
        triggers: triggers.plans,
        caps: caps.plans,
        bounds,
    })
}

/// The tables of one section by name, names checked.
pub(super) fn section<'a>(root: &Table<'a>, name: &str, max: usize, report: &mut Report) -> Vec<Table<'a>> {
    let Some(section) = root.table(name, &format!("tables [{name}.*]"), report) else { return Vec::new() };
    let singular = name.trim_end_matches('s');
    let tables = section.tables(&format!("a table [{name}.name]"), report);
    if tables.len() > max {
        let message = format!("there are {} {name}, at most {max} are possible", tables.len());
        report.error(&section.span, &section.path, message);
        return Vec::new();
    }
    for table in &tables {
        if let Some(mistake) = names::mistake_in(table.name) {
            report.error(&table.span, &table.path, format!("{singular}: {mistake}"));
        }
    }
    tables
}

/// Parses each file for itself, so that a slip in one is not blamed on
/// another, then all as one.
fn parse(source: &Source) -> Result<DeTable<'_>, Diagnostics> {
    let mut report = Report::default();
    for range in source.file_ranges() {
        let (_, errors) = DeTable::parse_recoverable(&source.text()[range.clone()]);
        for error in errors {
            let span = error.span().unwrap_or_default();
            report.error(&(range.start + span.start..range.start + span.end), "", error.message());
        }
    }
    report.finish(source)?;

    let mut report = Report::default();
    let (entries, errors) = DeTable::parse_recoverable(source.text());
    for error in errors {
        report.error(&error.span().unwrap_or_default(), "", error.message());
    }
    report.finish(source)?;
    Ok(entries.into_inner())
}

fn time_bounds(root: &Table<'_>, cx: &mut Context<'_>) -> (TimeBounds, Canonical) {
    let report = &mut cx.report;
    let minutes = |n: i64| Millis::new(n * Millis::MINUTE.as_millis());
    let mut bounds = TimeBounds { lateness: Millis::DAY, skew: minutes(5), session_gap: minutes(30) };
    if let Some(table) = root.table("time", "a table [time]", report) {
        table.refuse_unknown(&["lateness", "session_gap", "skew"], report);
        let max_lateness = Millis::new(366 * Millis::DAY.as_millis());
        if let Some(item) = table.duration("lateness", Millis::ZERO..=max_lateness, report) {
            bounds.lateness = item.value;
        }
        if let Some(item) = table.duration("skew", Millis::ZERO..=Millis::DAY, report) {
            bounds.skew = item.value;
        }
        if let Some(item) = table.duration("session_gap", Millis::SECOND..=Millis::DAY, report) {
            bounds.session_gap = item.value;
        }
    }
    let mut canonical = Canonical::new("time", "");
    canonical
        .line("lateness", bounds.lateness)
        .line("skew", bounds.skew)
        .line("session_gap", bounds.session_gap);
    (bounds, canonical)
}
