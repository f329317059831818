//! `tipoff model shadow`: how a model's shadow compares.

use anyhow::Result;
use serde_json::{Value, json};

use super::models;
use crate::cli::print::{count, time_json};
use crate::client::{Connect, explain, time};
use crate::proto::v1;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    name: String,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub async fn run(args: Args) -> Result<()> {
    let request = v1::GetShadowReportRequest { name: args.name };
    let answer = models(&args.connect).await?.get_shadow_report(request).await.map_err(explain)?;
    let report = answer.into_inner().report.unwrap_or_default();
    if args.json {
        println!("{}", to_json(&report));
    } else {
        print!("{}", told(&report));
    }
    Ok(())
}

fn told(report: &v1::ShadowReport) -> String {
    let since = time(report.since.as_ref());
    let mut text = format!(
        "{}: shadow v{} beside stable v{} since {since}\n",
        report.name, report.shadow_version, report.serving_version
    );
    let (scores, users) = (count(report.n_compared, "score"), count(report.n_users, "user"));
    text += &format!("  compared       {scores}; {users} followed now\n");
    let panicked = if report.panicked { "; it panicked, and is asked for nothing more" } else { "" };
    for (what, n, why) in [
        ("failed", report.n_failed, format!("without a number of the shadow{panicked}")),
        ("dropped", report.n_dropped, "for want of room in the queue".to_owned()),
        ("beyond users", report.n_beyond_users, "of users beyond models.shadow_users".to_owned()),
        ("other version", report.n_other_version, "by another version than stable's".to_owned()),
    ] {
        if n > 0 || what == "failed" && report.panicked {
            text += &format!("  {what:<13}  {n} {why}\n");
        }
    }
    if let Some(d) = &report.differences {
        text += &format!("  shadow less stable  {:>10} {:>10} {:>10}\n", "mean", "mean abs", "max abs");
        text += &format!(
            "                      {:>+10.4} {:>10.4} {:>10.4}\n",
            d.mean, d.mean_absolute, d.max_absolute
        );
        text += &format!("  magnitude           {:>10} {:>10} {:>10}\n", "p50", "p90", "p99");
        text += &format!(
            "                      {:>10.4} {:>10.4} {:>10.4}\n",
            d.p50_absolute, d.p90_absolute, d.p99_absolute
        );
    }
    if !report.triggers.is_empty() {
        let width = report.triggers.iter().map(|of| of.trigger.len()).max().unwrap_or(0).max(18);
        text += &format!("  {:<width$}  {:>10} {:>10} {:>10}\n", "fired by", "both", "stable", "shadow");
        for of in &report.triggers {
            let (both, stable, shadow) = (of.n_both, of.n_serving_only, of.n_shadow_only);
            text += &format!("  {:<width$}  {both:>10} {stable:>10} {shadow:>10}\n", of.trigger);
        }
    }
    text
}

fn to_json(report: &v1::ShadowReport) -> Value {
    let differences = report.differences.as_ref().map(|d| {
        json!({
            "mean": d.mean,
            "mean_absolute": d.mean_absolute,
            "max_absolute": d.max_absolute,
            "p50_absolute": d.p50_absolute,
            "p90_absolute": d.p90_absolute,
            "p99_absolute": d.p99_absolute,
        })
    });
    let triggers: Vec<Value> = report
        .triggers
        .iter()
        .map(|of| {
            json!({
                "trigger": of.trigger,
                "both": of.n_both,
                "serving_only": of.n_serving_only,
                "shadow_only": of.n_shadow_only,
            })
        })
        .collect();
    json!({
        "model": report.name,
        "serving_version": report.serving_version,
        "shadow_version": report.shadow_version,
        "since": time_json(report.since.as_ref()),
        "users": report.n_users,
        "compared": report.n_compared,
        "failed": report.n_failed,
        "dropped": report.n_dropped,
        "beyond_users": report.n_beyond_users,
        "other_version": report.n_other_version,
        "panicked": report.panicked,
        "differences": differences,
        "triggers": triggers,
    })
}
