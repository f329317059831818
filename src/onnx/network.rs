//! A network as a scorer: sessions for as many rows at a time as there are
//! threads that score.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::batch::Batches;
use super::binding::{Binding, Declared, Scores, columns};
use super::session::Runner;
use super::{Error, Library};
use crate::engine::model::{Output, Scorer};

/// A network with its sessions.
pub struct Network {
    runners: Vec<Mutex<Runner>>,
    binding: Binding,
    features: Vec<String>,
    n_outputs: usize,
    /// Whether several rows can go in at once.
    is_batched: bool,
    batches: Option<Batches>,
    runtime: String,
    n_failures: AtomicU64,
}

impl Network {
    pub(super) fn open(
        library: &Library,
        content: &[u8],
        binding: Binding,
        n_sessions: usize,
    ) -> Result<Self, Error> {
        let open = |_| Ok(Mutex::new(caught(|| Runner::open(library, content, &binding))?));
        let runners = (0..n_sessions.max(1)).map(open).collect::<Result<Vec<_>, Error>>()?;
        Ok(Self {
            runners,
            binding,
            features: Vec::new(),
            n_outputs: 0,
            is_batched: false,
            batches: None,
            runtime: library.to_string(),
            n_failures: AtomicU64::new(0),
        })
    }

    /// Finds out what only a run tells: how wide the scores are, and whether
    /// several rows can go in at once.
    pub(super) fn settle(
        &mut self,
        features: &[&str],
        outputs: &[Output],
        declared: &Declared,
    ) -> Result<(), Error> {
        self.features = features.iter().map(|&feature| feature.to_owned()).collect();
        self.n_outputs = outputs.len();
        let width = self.probe(1)?;
        if let Scores::Columns { columns: settled, .. } = &mut self.binding.scores {
            *settled = Some(columns(width, outputs, declared)?);
        }
        // A file may say so and yet be made for one row.
        self.is_batched =
            self.binding.is_of_any_length && matches!(self.probe(2), Ok(of_two) if of_two == width);
        Ok(())
    }

    /// Has rows that may wait for others do so, if several can go in at once.
    pub(super) fn batch(&mut self, wait: Duration) {
        self.batches = (self.is_batched && !wait.is_zero()).then(|| Batches::new(wait));
    }

    fn probe(&self, n: usize) -> Result<usize, Error> {
        let mut runner = self.runner();
        caught(|| runner.probe(&self.binding, n))
    }

    /// Whether several rows can be scored in one run.
    pub fn is_batched(&self) -> bool {
        self.is_batched
    }

    /// Scores `n` rows (shape `[n, n_inputs]`) into `raw` (shape `[n, n_outputs]`).
    ///
    /// # Errors
    /// The run failed, or a feature cannot be what its input takes; `raw` is then
    /// as it was, or has been written to.
    pub fn run(&self, n: usize, rows: &[f64], raw: &mut [f64]) -> Result<(), Error> {
        let mut runner = self.runner();
        caught(|| runner.run(&self.binding, n, rows, &self.features, raw))
    }

    /// The session of this thread, or another one that is free, or this thread's once it is.
    fn runner(&self) -> MutexGuard<'_, Runner> {
        let n = self.runners.len();
        let home = home() % n;
        for place in (home..n).chain(0..home) {
            match self.runners[place].try_lock() {
                Ok(runner) => return runner,
                // Each run writes all of its inputs: there is nothing half-way.
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.runners[home].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why the first runs fail, and then ever fewer.
    fn fail(&self, error: &Error) {
        let n = self.n_failures.fetch_add(1, Ordering::Relaxed) + 1;
        if n.is_power_of_two() {
            tracing::warn!(%error, failures = n, "a network gives no score");
        }
    }
}

/// A number of this thread, so that threads keep to their sessions.
fn home() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: Cell<Option<usize>> = const { Cell::new(None) };
    }
    HOME.with(|home| {
        let place = home.get().unwrap_or_else(|| THREADS.fetch_add(1, Ordering::Relaxed));
        home.set(Some(place));
        place
    })
}

/// The binding panics where it takes the runtime's word for granted.
fn caught<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(Error::Panicked(said.to_owned()))
    })
}

impl Scorer for Network {
    fn n_inputs(&self) -> usize {
        self.binding.n_features
    }

    fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    fn score(&self, row: &[f64], raw: &mut [f64]) {
        if let Err(error) = self.run(1, row, raw) {
            self.fail(&error);
            raw.fill(f64::NAN);
        }
    }

    fn score_in_company(&self, row: &[f64], raw: &mut [f64]) {
        let Some(batches) = &self.batches else { return self.score(row, raw) };
        batches.score(row, raw, |n, rows, scored| {
            if n > 1 && self.run(n, rows, scored).is_ok() {
                return;
            }
            // One row that cannot be scored must not take the others along.
            let (n_inputs, n_outputs) = (rows.len() / n, scored.len() / n);
            for (row, raw) in rows.chunks(n_inputs).zip(scored.chunks_mut(n_outputs)) {
                self.score(row, raw);
            }
        });
    }

    fn contributions(&self, _row: &[f64], _output: usize) -> Option<Vec<f64>> {
        None
    }

    fn runtime(&self) -> &str {
        &self.runtime
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_sessions = self.runners.len();
        f.debug_struct("Network")
            .field("binding", &self.binding)
            .field("n_sessions", &n_sessions)
            .finish_non_exhaustive()
    }
}
