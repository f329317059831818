//! What there is to watch: progress, counts and the latest firings.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::print::firing_line;
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
        latest.push_back(firing_line(firing));
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
