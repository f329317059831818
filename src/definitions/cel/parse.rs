//! A CEL source to its syntax tree, within limits.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{EntryExpr, Expr, IdedExpr, SourceInfo};

use super::Problem;

/// A source may have no more bytes.
pub(in crate::definitions) const MAX_SOURCE_BYTES: usize = 1_024;
/// A syntax tree may be no deeper; a chain of `+` is as deep as it is long.
pub(in crate::definitions) const MAX_DEPTH: usize = 32;
/// A list may have no more elements.
pub(in crate::definitions) const MAX_LIST: usize = 64;

const SYNTAX_ERROR: &str = "Syntax error: ";
const TOO_DEEP: &str =
    "the expression nests too deep, each term of a sum counting (32 are possible): split it into features";

/// A parsed source.
pub(in crate::definitions) struct Parsed<'s> {
    pub(super) root: IdedExpr,
    info: SourceInfo,
    source: &'s str,
}

/// Parses `source`; every syntax error the parser finds is a problem.
pub(in crate::definitions) fn parse(source: &str) -> Result<Parsed<'_>, Vec<Problem>> {
    let whole = |message: String| vec![Problem::new(0..source.len(), message)];
    if source.trim().is_empty() {
        return Err(whole("the expression is empty".to_owned()));
    }
    if source.len() > MAX_SOURCE_BYTES {
        let n = source.len();
        return Err(whole(format!("an expression has at most {MAX_SOURCE_BYTES} bytes, this one has {n}")));
    }
    // Without its macros, `has(x)` is a plain call and comprehensions do not exist.
    let parser = cel::Env::default().parser().enable_ident_escape_syntax(true).error_recovery_limit(4);
    let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse_with_source_info(source)))
        .map_err(|_| whole("the expression cannot be parsed".to_owned()))?;
    let (root, info) = parsed.map_err(|errors| vec![syntax_problem(source, &errors.errors)])?;
    let parsed = Parsed { root, info, source };
    parsed.check_limits()?;
    Ok(parsed)
}

impl Parsed<'_> {
    pub(super) fn source(&self) -> &str {
        self.source
    }

    /// The bytes of the source that a part of the tree comes from.
    pub(super) fn span(&self, expr: &IdedExpr) -> Range<usize> {
        let mut span: Option<Range<usize>> = None;
        self.widen(expr, &mut span);
        span.unwrap_or(0..self.source.len())
    }

    /// The names that stand by themselves, such as `views_7d`.
    pub(in crate::definitions) fn bare_names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        collect_names(&self.root, &mut names);
        names
    }

    /// The event properties among the names, with dots as they stand, such as `products.price`.
    pub(in crate::definitions) fn properties(&self) -> Vec<String> {
        let mut paths = Vec::new();
        collect_paths(&self.root, &mut paths);
        paths.iter().map(|path| path.strip_prefix("event.").unwrap_or(path).to_owned()).collect()
    }

    fn widen(&self, expr: &IdedExpr, span: &mut Option<Range<usize>>) {
        if let Some((start, last)) = self.info.offset_for(expr.id) {
            let (start, last) = (start as usize, last as usize);
            let last_width =
                self.source.get(last..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
            let end = last + last_width;
            let start = start - self.function_name_before(expr, start);
            *span = Some(match span.take() {
                Some(old) => old.start.min(start)..old.end.max(end),
                None => start..end,
            });
        }
        // A member's own token is the dot; what follows it belongs to it.
        if let (Expr::Select(select), Some(wide)) = (&expr.expr, span.as_mut())
            && self.source.get(wide.end..).is_some_and(|rest| rest.starts_with(&select.field))
        {
            wide.end += select.field.len();
        }
        children(expr).into_iter().for_each(|child| self.widen(child, span));
    }

    /// A call's own token is the bracket; the length of the name before it belongs to it.
    fn function_name_before(&self, expr: &IdedExpr, bracket: usize) -> usize {
        match &expr.expr {
            Expr::Call(call) if self.source[..bracket].ends_with(&call.func_name) => call.func_name.len(),
            _ => 0,
        }
    }

    fn check_limits(&self) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        if depth(&self.root) > MAX_DEPTH {
            problems.push(Problem::new(0..self.source.len(), TOO_DEEP));
        } else {
            self.check_lists(&self.root, &mut problems);
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn check_lists(&self, expr: &IdedExpr, problems: &mut Vec<Problem>) {
        if let Expr::List(list) = &expr.expr {
            let n = list.elements.len();
            if n > MAX_LIST {
                let message = format!("a list has at most {MAX_LIST} elements, this one has {n}");
                problems.push(Problem::new(self.span(expr), message));
            }
        }
        children(expr).into_iter().for_each(|child| self.check_lists(child, problems));
    }
}

fn collect_names<'e>(expr: &'e IdedExpr, names: &mut Vec<&'e str>) {
    if let Expr::Ident(name) = &expr.expr {
        names.push(name);
    }
    children(expr).into_iter().for_each(|child| collect_names(child, names));
}

fn collect_paths(expr: &IdedExpr, paths: &mut Vec<String>) {
    match path(expr) {
        Some(path) => paths.push(path),
        None => children(expr).into_iter().for_each(|child| collect_paths(child, paths)),
    }
}

/// A name with its members behind it.
fn path(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!("{}.{}", path(&select.operand)?, select.field)),
        _ => None,
    }
}

fn children(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_children(&entry.expr)).collect(),
        Expr::Struct(fields) => fields.entries.iter().flat_map(|entry| entry_children(&entry.expr)).collect(),
        // Comprehensions come from macros only, and the parser has none.
        Expr::Comprehension(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn entry_children(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

fn depth(expr: &IdedExpr) -> usize {
    1 + children(expr).into_iter().map(depth).max().unwrap_or(0)
}

/// The first thing the parser stumbled over; what follows is mostly its stumbling.
fn syntax_problem(source: &str, errors: &[cel::ParseError]) -> Problem {
    let is_syntax = |error: &&cel::ParseError| error.msg.starts_with(SYNTAX_ERROR);
    let Some(error) = errors.iter().find(is_syntax).or(errors.first()) else {
        return Problem::new(0..source.len(), "the expression cannot be parsed");
    };
    // The parser gives up on nesting with an error of another kind, or without a message.
    if errors.iter().any(|error| error.msg.contains("Recursion limit") || error.msg == "UNKNOWN") {
        return Problem::new(0..source.len(), TOO_DEEP);
    }
    let start = offset_of(source, error.pos);
    let width = source[start..].chars().next().map_or(0, char::len_utf8);
    // It goes on to list every token that it would have taken.
    let mut message = error.msg.split(" expecting ").next().unwrap_or_default().replace("'<EOF>'", "end");
    message = message.replace(SYNTAX_ERROR, "");
    for jargon in [
        "mismatched input",
        "extraneous input",
        "no viable alternative at input",
        "token recognition error at:",
    ] {
        message = message.replace(jargon, "unexpected");
    }
    Problem::new(start..start + width, format!("syntax error: {message}"))
}

/// The byte at a line and column as the parser counts them, both from 1, columns in characters.
fn offset_of(source: &str, (line, column): (isize, isize)) -> usize {
    let n_lines_before = usize::try_from(line - 1).unwrap_or(0);
    let n_chars_before = usize::try_from(column - 1).unwrap_or(0);
    let line_start: usize = source.split_inclusive('\n').take(n_lines_before).map(str::len).sum();
    let line = &source[line_start..];
    line.char_indices().nth(n_chars_before).map_or(source.len(), |(at, _)| line_start + at)
}
