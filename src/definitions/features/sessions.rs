//! `aggregate = "sessions"`: how many sessions there are, of events of any type.

use super::{Unplaced, UnplacedKind, window};
use crate::definitions::cel::check::Type;
use crate::definitions::compile::Context;
use crate::definitions::digest::Canonical;
use crate::definitions::table::Table;
use crate::engine::plan::Window;

pub(super) const AGGREGATE: &str = "sessions";

pub(super) fn compile(table: &Table<'_>, cx: &mut Context<'_>) -> Option<Unplaced> {
    let why = "does not go with `sessions`, which are of events of any type";
    table.refuse(&["of", "where"], why, &mut cx.report);
    table.refuse(&["half_life"], "goes with aggregate = \"decayed\" only", &mut cx.report);
    let why = "goes with `first`, `last` and `most_frequent` only";
    table.refuse(&["type"], why, &mut cx.report);
    if !table.has("window") {
        table.missing("window", "\"30d\" or \"lifetime\"", &mut cx.report);
        return None;
    }
    let mut canonical = Canonical::new("feature", table.name);
    canonical.line("aggregate", AGGREGATE);
    let window = match window(table, None, cx)? {
        Window::Sliding(length) => {
            canonical.line("window", length);
            Some(length)
        }
        Window::Lifetime => {
            canonical.line("window", "lifetime");
            None
        }
        Window::Session | Window::PreviousSession => {
            let message = "`sessions` is over a duration or a lifetime, such as window = \"30d\"";
            cx.report.error(&table.span, &table.path, message);
            return None;
        }
    };
    canonical.line("session_gap", cx.bounds.session_gap);
    Some(Unplaced {
        kind: UnplacedKind::Sessions { window },
        value: Type::Number,
        canonical,
        reads: Vec::new(),
    })
}
