//! `tipoff check`: whether definitions are right, and what they amount to.

use std::path::Path;

use anyhow::{Result, anyhow};
use serde_json::json;

use super::outcome::usage;
use super::print::count;
use crate::definitions::{self, Diagnostics};
use crate::engine::lookup::Lookup;
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
            "lookups": plan.lookups.iter().map(lookup_json).collect::<Vec<_>>(),
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
    let lookups: String = plan.lookups.iter().map(lookup_line).collect();
    format!("{} is right: {counts}\n{lookups}digest {}", path.display(), plan.digest)
}

fn lookup_json(lookup: &Lookup) -> serde_json::Value {
    json!({
        "name": &*lookup.name,
        "file": lookup.file.display().to_string(),
        "rows": lookup.table.n_rows(),
        "joined": lookup.properties,
    })
}

fn lookup_line(lookup: &Lookup) -> String {
    let rows = count(lookup.table.n_rows() as u64, "row");
    let joined = match lookup.properties.as_slice() {
        [] => "no definition reads a column".to_owned(),
        properties => properties.join(", "),
    };
    format!("lookup {} of {rows}, on {}: {joined}\n", lookup.name, lookup.on)
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
    fn lookups_are_told_with_their_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (table, file) = (folder.path().join("products.csv"), folder.path().join("a.toml"));
        std::fs::write(table, "sku,price\np1,10\np2,20\n").unwrap();
        let lookup = "[lookups.products]\nfile = 'products.csv'\nkey = 'sku'\non = 'product_id'\n";
        let feature = "[features.p]\naggregate = 'last'\nof = 'view.products.price'\n";
        for (feature, joined) in [(feature, "products.price"), ("", "no definition reads a column")] {
            std::fs::write(&file, format!("{lookup}{feature}")).unwrap();
            let plan = definitions::load(&file).unwrap();
            let line = format!("\nlookup products of 2 rows, on product_id: {joined}\ndigest ");
            let text = summary(&file, &plan);
            assert!(text.contains(&line), "{text}");
            assert_eq!(to_json(&Ok(plan))["lookups"][0]["rows"], 2);
        }
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
