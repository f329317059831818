//! `tipoff simulate`: writes a simulated shop's events, and the truth beside them.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use super::outcome::usage;
use super::print::count;
use crate::engine::time::{Millis, Timestamp};
use crate::event_file::{MIN_TIME, Output, Record, Writer};
use crate::simulate::ceiling::{Ceiling, Summary};
use crate::simulate::{Config, Shares, Shop, Truth};

/// The last first day, 9980-01-01: its events still have a time that event files know.
const LAST_START: Timestamp = Timestamp::from_millis(252_771_148_800_000);

/// Write the events of a simulated shop, in order of arrival.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many customers the shop has.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub users: u32,
    /// How many days to simulate.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    pub days: u32,
    /// The same seed gives the same file.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// When the first day begins: RFC 3339 or milliseconds since 1970.
    #[arg(long, default_value = "2026-01-01T00:00:00Z", allow_hyphen_values = true, value_parser = start)]
    pub start: Timestamp,
    /// The event file to write: .jsonl, .ndjson or .json, also with .gz or .zst.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Also write, as CSV, what only the simulator knows after each event: the
    /// hidden intent and the probability of a purchase within 24 hours.
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// The share of visits that begin before login.
    #[arg(long, default_value_t = Shares::default().anonymous, value_parser = share)]
    pub anonymous_share: f64,
    /// The share of events that arrive up to six hours late.
    #[arg(long, default_value_t = Shares::default().late, value_parser = share)]
    pub late_share: f64,
    /// The share of events that arrive twice.
    #[arg(long, default_value_t = Shares::default().duplicate, value_parser = share)]
    pub duplicate_share: f64,
}

/// Runs the command; progress and a summary go to standard error.
pub fn run(args: &Args) -> Result<()> {
    let config = args.config();
    let mut writer = Writer::create(&args.out).map_err(usage)?;
    let progress = progress_bar(args.days);
    let mut counts = Counts::default();
    let mut take = |record: &Record| {
        if counts.take(record) % 4_096 == 0 {
            progress.set_position(days_since(config.start, record));
        }
        writer.write(record)
    };
    let ceiling = match &args.truth {
        None => {
            for record in Shop::new(config.clone()) {
                take(&record)?;
            }
            None
        }
        Some(path) => {
            let mut truths = TruthFile::create(path).map_err(usage)?;
            let mut ceiling = Ceiling::default();
            for (record, truth) in Shop::new(config.clone()).with_truth() {
                take(&record)?;
                if let Some(truth) = truth {
                    ceiling.observe(&record, &truth);
                    truths.write(&record, &truth).with_context(|| path.display().to_string())?;
                }
            }
            truths.finish().with_context(|| path.display().to_string())?;
            Some(ceiling)
        }
    };
    writer.finish()?;
    progress.finish_and_clear();

    eprintln!("{}: {}", args.out.display(), counts.describe());
    if let (Some(ceiling), Some(path), Some(span)) = (ceiling, &args.truth, config.span) {
        eprintln!("{}: {}", path.display(), describe(&ceiling.summary(config.start.after(span))));
    }
    Ok(())
}

impl Args {
    fn config(&self) -> Config {
        Config {
            n_users: self.users,
            start: self.start,
            span: Some(Millis::new(i64::from(self.days) * Millis::DAY.as_millis())),
            seed: self.seed,
            shares: Shares {
                anonymous: self.anonymous_share,
                late: self.late_share,
                duplicate: self.duplicate_share,
            },
        }
    }
}

/// One line for every event that is not a repetition.
struct TruthFile {
    output: Output,
    line: String,
}

#[derive(Default)]
struct Counts {
    n_records: u64,
    n_anonymous: u64,
    n_purchases: u64,
}

impl TruthFile {
    fn create(path: &Path) -> Result<Self> {
        let mut output = Output::create(path).with_context(|| path.display().to_string())?;
        output.write_all(b"event_id,time,person,known,intent,cart_items,purchase_in_visit,purchase_24h\n")?;
        Ok(Self { output, line: String::new() })
    }

    fn write(&mut self, record: &Record, truth: &Truth) -> Result<()> {
        use std::fmt::Write as _;
        let event = &record.event;
        self.line.clear();
        writeln!(
            self.line,
            "{},{},{},{},{},{},{:.6},{:.6}",
            event.id.as_deref().unwrap_or_default(),
            event.time,
            truth.person.id(),
            !record.user.is_anonymous(),
            truth.intent,
            truth.cart_items,
            truth.purchase_in_visit,
            truth.purchase_24h,
        )?;
        Ok(self.output.write_all(self.line.as_bytes())?)
    }

    fn finish(self) -> Result<()> {
        Ok(self.output.finish()?)
    }
}

impl Counts {
    /// How many there were before this one.
    fn take(&mut self, record: &Record) -> u64 {
        self.n_records += 1;
        self.n_anonymous += u64::from(record.user.is_anonymous());
        self.n_purchases += u64::from(&*record.event.kind == "purchase");
        self.n_records - 1
    }

    fn describe(&self) -> String {
        let Self { n_records, n_anonymous, n_purchases } = *self;
        let (events, purchases) = (count(n_records, "event"), count(n_purchases, "purchase"));
        format!("{events}, {n_anonymous} of them before login, {purchases}")
    }
}

fn describe(summary: &Summary) -> String {
    format!(
        "over {} of known users, the probability of a purchase within 24 hours has an AUC of {:.4} \
         and a Brier score of {:.4}; it says {:.4} on average, and {:.4} did",
        count(summary.n_decisions as u64, "event"),
        summary.auc,
        summary.brier,
        summary.mean_truth,
        summary.base_rate
    )
}

fn days_since(start: Timestamp, record: &Record) -> u64 {
    let since = record.arrival_or_time().since(start).as_millis() / Millis::DAY.as_millis();
    u64::try_from(since).unwrap_or_default()
}

/// Drawn only on a terminal.
fn progress_bar(days: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} day {pos} of {len}, {eta} left");
    let progress = ProgressBar::new(u64::from(days));
    match style {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}

fn start(text: &str) -> Result<Timestamp, String> {
    match text.parse::<Timestamp>() {
        Ok(start) if (MIN_TIME..=LAST_START).contains(&start) => Ok(start),
        Ok(_) => Err(format!("not within {MIN_TIME} to {LAST_START}")),
        Err(error) => Err(error.to_string()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("not a share between 0 and 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &str) -> Result<Args, clap::Error> {
        Command::try_parse_from(words.split_whitespace()).map(|command| command.args)
    }

    #[test]
    fn events_and_truth_belong_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (out, truth) = (path("events.jsonl.gz"), path("truth.csv"));
        let args = parse(&format!(
            "simulate --users 50 --days 3 --seed 2 --start 2025-06-01T00:00:00Z --out {out} --truth {truth}"
        ));
        run(&args.expect("arguments")).expect("files");

        let reader = crate::event_file::Reader::open(Path::new(&out), &"".parse().expect("a mapping"));
        let records: Vec<Record> = reader.expect("a file").collect::<Result<_, _>>().expect("events");
        let ids: std::collections::BTreeSet<_> =
            records.iter().filter_map(|record| record.event.id.as_deref()).collect();
        let truth = std::fs::read_to_string(truth).expect("the truth");
        let told: std::collections::BTreeSet<_> =
            truth.lines().skip(1).map(|line| line.split(',').next().unwrap_or_default()).collect();
        assert!(ids.len() > 100);
        assert_eq!(ids, told);
        assert!(truth.lines().all(|line| line.split(',').count() == 8));
    }

    #[test]
    fn impossible_arguments_are_refused() {
        for words in [
            "--users 0",
            "--days 0",
            "--late-share 1.5",
            "--start noon",
            "--start 7826000000000000",
            "--start -1",
            "--start -0005-01-01T00:00:00Z",
        ] {
            let error = parse(&format!("simulate --out a.jsonl {words}")).expect_err(words).to_string();
            let flag = words.split(' ').next().expect("a flag");
            assert!(error.contains(&format!("for '{flag} ")), "{error}");
        }
    }
}
