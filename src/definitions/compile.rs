//! From a text to a plan, section by section.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::cel;
use super::diagnostics::{Diagnostic, Diagnostics};
use super::digest::Canonical;
use super::report::Report;
use super::source::Source;
use super::table::Table;
use super::vocabulary::Vocabulary;
use super::{caps, features, labels, lookups, models, names, triggers};
use crate::engine::plan::{EXACT_ROWS, Plan, SessionPlan, TimeBounds, sha256_hex};
use crate::engine::time::Millis;

const SECTIONS: [&str; 8] = ["caps", "features", "labels", "lookups", "models", "series", "time", "triggers"];

/// What every section needs while it is compiled.
pub(super) struct Context<'a> {
    /// The whole text.
    pub(super) text: &'a str,
    pub(super) report: Report,
    pub(super) vocabulary: Vocabulary,
    pub(super) bounds: TimeBounds,
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
    let mut report = Report::default();
    root.refuse_unknown(&SECTIONS, &mut report);
    let (bounds, time) = time_bounds(&root, &mut report);
    let mut cx = Context { text: source.text(), report, vocabulary: Vocabulary::default(), bounds };

    let (exact_rows, series) = series_bounds(&root, &mut cx);
    let unread = lookups::compile(&root, source.directory(), &mut cx);
    let mut features = features::compile(&root, &mut cx);
    features.series.iter_mut().for_each(|series| series.exact_rows = exact_rows);
    let labels = labels::compile(&root, &features, &mut cx);
    let models = models::compile(&root, &features, &labels, &mut cx);
    let triggers = triggers::compile(&root, &features, &models, &mut cx);
    let caps = caps::compile(&root, &triggers, &mut cx);
    models.refuse_ambiguous_session_end(&mut cx);
    let lookups = unread.into_iter().filter_map(|lookup| lookup.read(&mut cx)).collect();
    cx.report.finish(source)?;

    let longest_session_window = features.longest_session_window();
    let (labels, models, triggers) = (labels.compiled, models.compiled, triggers.compiled);
    let canonical =
        [features.canonical, labels.canonical, models.canonical, triggers.canonical, caps.canonical];
    let all: String =
        [&time, &series].into_iter().chain(canonical.iter().flatten()).map(Canonical::text).collect();
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
        lookups,
        bounds,
        sessions: SessionPlan { longest_window: longest_session_window, max_kept: exact_rows },
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
        report_syntax(source, range, &errors, &mut report);
    }
    report.finish(source)?;

    let mut report = Report::default();
    let (entries, errors) = DeTable::parse_recoverable(source.text());
    report_syntax(source, 0..source.text().len(), &errors, &mut report);
    report.finish(source)?;
    Ok(entries.into_inner())
}

/// Reports the first error in a part of the text: those behind it are mostly of its making.
fn report_syntax(source: &Source, part: Range<usize>, errors: &[toml::de::Error], report: &mut Report) {
    let spans = errors.iter().map(|error| (error.span().unwrap_or_default(), error));
    let Some((span, error)) = spans.min_by_key(|(span, _)| span.start) else { return };
    let in_text = |span: Range<usize>| part.start + span.start..part.start + span.end;
    let mut message = error.message().to_owned();
    if message == DUPLICATE_KEY
        && let Some(first) = first_definition(&source.text()[part.clone()], &span)
    {
        let first = source.diagnose(in_text(first), String::new(), String::new(), None);
        let file = first.file.map(|file| format!("{file}, ")).unwrap_or_default();
        message = format!("{message}: first defined in {file}line {}", first.line);
    }
    report.error(&in_text(span), "", message);
}

/// What the parser says of a key or a table that was there before.
const DUPLICATE_KEY: &str = "duplicate key";

/// Where the key or table that stands at `again` was before, if it is found.
fn first_definition(text: &str, again: &Range<usize>) -> Option<Range<usize>> {
    let line_start = text[..again.start].rfind('\n').map_or(0, |newline| newline + 1);
    let (before, _) = DeTable::parse_recoverable(&text[..line_start]);
    let line = text[line_start..].lines().next()?;
    if line.trim_start().starts_with('[') {
        let (header, _) = DeTable::parse_recoverable(line);
        return same_table(before.get_ref(), header.get_ref());
    }
    // The table it stands in is open still: the last key of this name is in it.
    let name = text.get(again.clone())?.trim_matches(['"', '\'']);
    last_key(before.get_ref(), name)
}

/// Where the one table that `header` names stands in `entries`.
fn same_table(entries: &DeTable<'_>, header: &DeTable<'_>) -> Option<Range<usize>> {
    let (name, rest) = header.iter().next()?;
    let (key, value) = entries.get_key_value(&**name.get_ref())?;
    match rest.get_ref() {
        DeValue::Table(rest) if !rest.is_empty() => same_table(value.get_ref().as_table()?, rest),
        _ => Some(key.span()),
    }
}

fn last_key(entries: &DeTable<'_>, name: &str) -> Option<Range<usize>> {
    let keys = entries.iter().flat_map(|(key, value)| {
        let here = (key.get_ref() == name).then(|| key.span());
        let below = value.get_ref().as_table().and_then(|entries| last_key(entries, name));
        [here, below]
    });
    keys.flatten().max_by_key(|span| span.start)
}

/// How many rows of a user and series are kept one by one.
fn series_bounds(root: &Table<'_>, cx: &mut Context<'_>) -> (usize, Canonical) {
    let mut exact_rows = EXACT_ROWS;
    if let Some(table) = root.table("series", "a table [series]", &mut cx.report) {
        table.refuse_unknown(&["exact_rows"], &mut cx.report);
        if let Some(item) = table.integer("exact_rows", 256..=65_536, &mut cx.report) {
            exact_rows = item.value as usize;
        }
    }
    let mut canonical = Canonical::new("series", "");
    canonical.line("exact_rows", exact_rows);
    (exact_rows, canonical)
}

fn time_bounds(root: &Table<'_>, report: &mut Report) -> (TimeBounds, Canonical) {
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
