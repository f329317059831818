//! `tipoff check`: whether definitions are right, and what they amount to.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::definitions::{self, Diagnostics};
use crate::engine::plan::Plan;

/// Exit code of a check that found mistakes.
const MISTAKES: u8 = super::EXIT_USAGE;

/// Checks a definitions file or folder. A plan is summed up on standard
/// output; mistakes go to standard error, or with `json` to standard output,
/// and the exit code is 2.
pub fn check(path: &Path, json: bool) -> ExitCode {
    let result = definitions::load(path);
    match (&result, json) {
        (_, true) => println!("{}", to_json(&result)),
        (Ok(plan), false) => println!("{}", summary(path, plan)),
        (Err(mistakes), false) => eprint!("{}", listing(path, mistakes)),
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(MISTAKES) }
}

fn to_json(result: &Result<Plan, Diagnostics>) -> serde_json::Value {
    match result {
        Ok(plan) => json!({
            "ok": true,
            "features": plan.features.len(),
            "series": plan.series.len(),
            "labels": plan.labels.len(),
            "models": plan.models.len(),
            "triggers": plan.triggers.len(),
            "caps": plan.caps.len(),
            "digest": &*plan.digest,
        }),
        Err(mistakes) => json!({ "ok": false, "mistakes": mistakes.to_json() }),
    }
}

fn summary(path: &Path, plan: &Plan) -> String {
    let counts = [
        (plan.features.len(), "features"),
        (plan.series.len(), "series"),
        (plan.labels.len(), "labels"),
        (plan.models.len(), "models"),
        (plan.triggers.len(), "triggers"),
        (plan.caps.len(), "caps"),
    ];
    let counts = counts.map(|(n, what)| format!("{n} {what}")).join(", ");
    format!("{} is right: {counts}\ndigest {}", path.display(), plan.digest)
}

fn listing(path: &Path, mistakes: &Diagnostics) -> String {
    let n = mistakes.count();
    let plural = if n == 1 { "mistake" } else { "mistakes" };
    format!("{mistakes}\n{}: {n} {plural}\n", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_summed_up() {
        let plan =
            definitions::compile("[features.n]\naggregate = 'count'\nof = '*'\nwindow = '1d'").unwrap();
        let json = to_json(&Ok(plan));
        assert_eq!(json["ok"], true);
        assert_eq!((&json["features"], &json["series"], &json["models"]), (&json!(1), &json!(1), &json!(0)));
        assert_eq!(json["digest"].as_str().map(str::len), Some(64));
    }

    #[test]
    fn mistakes_have_their_places() {
        let mistakes = definitions::compile("[feature.n]").unwrap_err();
        let json = to_json(&Err(mistakes));
        let mistake = &json["mistakes"][0];
        assert_eq!((&mistake["line"], &mistake["column"]), (&json!(1), &json!(2)));
        assert_eq!(mistake["suggestion"], "features");
    }

    #[test]
    fn a_missing_file_is_a_mistake_without_a_place() {
        let mistakes = definitions::load(Path::new("no/such/file.toml")).unwrap_err();
        assert!(mistakes.to_string().starts_with("error: cannot read no/such/file.toml"), "{mistakes}");
    }
}
