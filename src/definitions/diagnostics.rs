//! What is wrong with a definitions file, as a compiler would say it.

use std::fmt;

use serde::Serialize;

/// Every mistake that was found, by position. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

/// One mistake. Lines and columns count from 1, columns in characters; both
/// are 0 for a mistake without a place, such as a file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// None for definitions that did not come from a file.
    pub file: Option<String>,
    pub line: usize,
    pub column: usize,
    /// The dotted path of the key, such as `triggers.likely_to_buy.when`.
    pub path: String,
    pub message: String,
    /// The nearest valid name.
    pub suggestion: Option<String>,
    #[serde(skip)]
    pub(super) source_line: String,
    /// Number of characters to underline.
    #[serde(skip)]
    pub(super) width: usize,
}

impl Diagnostics {
    pub(super) fn new(mistakes: Vec<Diagnostic>) -> Self {
        debug_assert!(!mistakes.is_empty());
        Self(mistakes)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// How many mistakes there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// An array of objects `{file, line, column, path, message, suggestion}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }
}

impl Diagnostic {
    pub(super) fn without_place(message: String) -> Self {
        Self {
            file: None,
            line: 0,
            column: 0,
            path: String::new(),
            message,
            suggestion: None,
            source_line: String::new(),
            width: 0,
        }
    }
}

impl std::error::Error for Diagnostics {}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        if self.line > 0 {
            let gutter = self.line.to_string().len();
            write!(f, "{:gutter$}--> ", "")?;
            if let Some(file) = &self.file {
                write!(f, "{file}:")?;
            }
            write!(f, "{}:{}", self.line, self.column)?;
            if !self.path.is_empty() {
                write!(f, " ({})", self.path)?;
            }
            let (excerpt, column) = excerpt(&self.source_line, self.column);
            let underline = "^".repeat(self.width.min(excerpt.chars().count() + 2 - column).max(1));
            writeln!(f, "\n{:gutter$} |", "")?;
            writeln!(f, "{} | {excerpt}", self.line)?;
            writeln!(f, "{:gutter$} | {}{underline}", "", indent(&excerpt, column - 1))?;
        }
        if let Some(suggestion) = &self.suggestion {
            writeln!(f, "  did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

/// The part of a line around a column that fits a terminal, and the column in
/// that part. Control characters do not reach the terminal.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 160;
    let skipped = if column > WIDTH { column - WIDTH / 2 } else { 0 };
    let printable = |c: char| if c.is_control() && c != '\t' { '\u{FFFD}' } else { c };
    (line.chars().skip(skipped).take(WIDTH).map(printable).collect(), column - skipped)
}

/// White space as wide as the first `n` characters of the line, tabs kept.
fn indent(line: &str, n: usize) -> String {
    line.chars().take(n).map(|c| if c == '\t' { '\t' } else { ' ' }).collect()
}
