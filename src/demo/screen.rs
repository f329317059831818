//! What there is to watch: progress, counts and the latest firings.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::{time, user_text};
use crate::engine::plan::Plan;
use crate::proto::v1;

/// Firings of each trigger that stay in view, so that a frequent one does not
/// drive out a rare one.
const N_LATEST: usize = 3;
/// Without a terminal, so often a line.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// A live view on a terminal; elsewhere a line now and then.
pub struct Screen {
    progress: ProgressBar,
    counts: ProgressBar,
    lines: Vec<ProgressBar>,
    latest: BTreeMap<String, VecDeque<String>>,
    /// When the last plain line was written; none on a terminal.
    plain: Option<Instant>,
}

impl Screen {
    /// `length` is in the unit of [`Screen::progress`].
    pub fn new(length: u64, plan: &Plan) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let progress = bars.add(ProgressBar::new(length));
        progress.set_style(style("  {bar:40.cyan/blue} {percent:>3} %  {msg}"));
        let line = || {
            let line = bars.add(ProgressBar::new_spinner());
            line.set_style(style("  {msg}"));
            line
        };
        let counts = line();
        let lines = (0..N_LATEST * plan.triggers.len()).map(|_| line()).collect();
        let plain = bars.is_hidden().then(Instant::now);
        Self { progress, counts, lines, latest: BTreeMap::new(), plain }
    }

    pub fn progress(&mut self, position: u64, message: String, counts: String) {
        if let Some(last) = &mut self.plain {
            if last.elapsed() >= PLAIN_INTERVAL {
                *last = Instant::now();
                eprintln!("  {message}  {counts}");
            }
            return;
        }
        self.progress.set_position(position);
        self.progress.set_message(message);
        self.counts.set_message(counts);
    }

    pub fn firing(&mut self, firing: &v1::Firing) {
        let latest = self.latest.entry(firing.trigger.clone()).or_default();
        latest.push_back(describe(firing));
        if latest.len() > N_LATEST {
            latest.pop_front();
        }
        if self.plain.is_none() {
            for (line, text) in self.lines.iter().zip(self.latest.values().flatten()) {
                line.set_message(text.clone());
            }
        }
    }

    /// Leaves the last view standing.
    pub fn finish(self) {
        if self.plain.is_some() {
            for line in self.latest.values().flatten() {
                eprintln!("  {line}");
            }
            return;
        }
        self.progress.abandon();
        self.counts.abandon();
        for line in &self.lines {
            line.abandon();
        }
    }
}

/// One line: when, which trigger, whom, how likely, and why.
fn describe(firing: &v1::Firing) -> String {
    let at = time(firing.as_of.as_ref().and_then(|as_of| as_of.time.as_ref())).to_string();
    let at = at.get(..16).unwrap_or(&at).replace('T', " ");
    let score = firing.score.map_or_else(|| "    ".to_owned(), |score| format!("{score:.2}"));
    let reasons: Vec<String> = firing
        .reasons
        .iter()
        .map(|reason| match reason.value {
            Some(value) => format!("{} = {} ({:+.2})", reason.feature, short(value), reason.contribution),
            None => format!("{} missing ({:+.2})", reason.feature, reason.contribution),
        })
        .collect();
    let key = if firing.key.is_empty() { String::new() } else { format!("{}  ", firing.key) };
    format!(
        "{at}  {:<20} {:<12} {score}  {key}{}",
        firing.trigger,
        user_text(firing.user.as_ref()),
        reasons.join(", ")
    )
}

/// A number short enough for a line.
fn short(number: f64) -> String {
    if number == number.trunc() || number.abs() >= 1_000.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    }
}
