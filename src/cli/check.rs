//! `tipoff check`: whether definitions are right, and what they amount to.

use std::path::Path;

use anyhow::{Result, anyhow};
use serde_json::json;

use super::outcome::usage;
use super::print::count;
use crate::definitions::{self, Diagnostics};
use crate::engine::plan::Plan;

/// Checks a definitions file or folder. A plan is summed up on standard
/// output; mistakes go to standard error, or with `json` to standard output.
pub fn check(path: &Path, json: bool) -> Result<()> {
    let result = definitions::load(path);
    match (&result, json) {
        (_, true) => println!("{}", to_json(&result)),
        (Ok(plan), false) => println!("{}", summary(path, plan)),
        (Err(mistakes), false) => eprintln!("{mistakes}"),
    }
    let told =
        |mistakes: Diagnostics| anyhow!("{}: {}", path.display(), count(mistakes.count() as u64, "mistake"));
    result.map(drop).map_err(|mistakes| usage(told(mistakes)))
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
        (plan.features.len(), "feature"),
        (plan.series.len(), "series"),
        (plan.labels.len(), "label"),
        (plan.models.len(), "model"),
        (plan.triggers.len(), "trigger"),
        (plan.caps.len(), "cap"),
    ];
    let counts = counts.map(|(n, what)| count(n as u64, what)).join(", ");
    format!("{} is right: {counts}\ndigest {}", path.display(), plan.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_summed_up() {
        let plan =
            definitions::compile("[features.n]\naggregate = 'count'\nof = '*'\nwindow = '1d'").unwrap();
        let text = summary(Path::new("a.toml"), &plan);
        assert!(text.starts_with("a.toml is right: 1 feature, 1 series, 0 labels, 0 models"), "{text}");
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
