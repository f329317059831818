//! Rows of callers who ask at the same time, scored in one run.
//!
//! The first to come leads: it waits for others, but not for long, runs all rows
//! and tells what came out. Threads wait here, so no caller is on an async thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Rows of one run.
pub const MAX_ROWS: usize = 64;

#[derive(Debug)]
pub struct Batches {
    wait: Duration,
    /// The batch that rows can still be added to.
    open: Mutex<Option<Arc<Batch>>>,
}

#[derive(Debug, Default)]
struct Batch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    n: usize,
    /// Shape `[n, n_inputs]`.
    rows: Vec<f64>,
    /// Shape `[n, n_outputs]`, once they are scored.
    scored: Option<Vec<f64>>,
}

impl Batches {
    pub fn new(wait: Duration) -> Self {
        Self { wait, open: Mutex::new(None) }
    }

    /// Scores `row` into `raw` with whoever else comes within the wait. One of
    /// them has `run` score all of them: rows of the shape `[n, n_inputs]` into
    /// `[n, n_outputs]`, NaN where it cannot.
    pub fn score(&self, row: &[f64], raw: &mut [f64], run: impl FnOnce(usize, &[f64], &mut [f64])) {
        let (batch, place) = self.join(row);
        if place == 0 {
            self.lead(&batch, raw.len(), run);
        }
        let state = batch.changed.wait_while(lock(&batch.state), |state| state.scored.is_none());
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let start = place * raw.len();
        match state.scored.as_ref().and_then(|scored| scored.get(start..start + raw.len())) {
            Some(scored) => raw.copy_from_slice(scored),
            None => raw.fill(f64::NAN),
        }
    }

    /// Adds a row to the open batch, or opens one with it.
    fn join(&self, row: &[f64]) -> (Arc<Batch>, usize) {
        let mut open = lock(&self.open);
        let batch = open.get_or_insert_with(Arc::default).clone();
        let mut state = lock(&batch.state);
        let place = state.n;
        state.n += 1;
        state.rows.extend_from_slice(row);
        if state.n == MAX_ROWS {
            *open = None;
            batch.changed.notify_all();
        }
        drop(state);
        (batch, place)
    }

    fn lead(&self, batch: &Arc<Batch>, n_outputs: usize, run: impl FnOnce(usize, &[f64], &mut [f64])) {
        let state = lock(&batch.state);
        drop(batch.changed.wait_timeout_while(state, self.wait, |state| state.n < MAX_ROWS));
        // Rows are added under the lock of `open`: from here on there are no more.
        let mut open = lock(&self.open);
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, batch)) {
            *open = None;
        }
        drop(open);
        let (n, rows) = {
            let mut state = lock(&batch.state);
            (state.n, std::mem::take(&mut state.rows))
        };
        let mut scored = vec![f64::NAN; n * n_outputs];
        run(n, &rows, &mut scored);
        lock(&batch.state).scored = Some(scored);
        batch.changed.notify_all();
    }
}

/// A panic elsewhere leaves nothing half-way that the next one would trip over.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    /// Twice each number, and its negative.
    fn run(n: usize, rows: &[f64], scored: &mut [f64]) {
        assert_eq!((rows.len(), scored.len()), (n, 2 * n));
        for (row, outputs) in rows.iter().zip(scored.chunks_mut(2)) {
            outputs.copy_from_slice(&[2.0 * row, -row]);
        }
    }

    fn score(batches: &Batches, row: f64, n_runs: &AtomicUsize, n_most: &AtomicUsize) {
        let mut raw = [0.0; 2];
        batches.score(&[row], &mut raw, |n, rows, scored| {
            n_runs.fetch_add(1, Ordering::Relaxed);
            n_most.fetch_max(n, Ordering::Relaxed);
            run(n, rows, scored);
        });
        assert_eq!(raw, [2.0 * row, -row]);
    }

    #[test]
    fn each_caller_gets_its_own_row_of_few_runs() {
        const N_CALLERS: usize = 3 * MAX_ROWS;
        let batches = Batches::new(Duration::from_secs(60));
        let (n_runs, n_most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let barrier = Barrier::new(N_CALLERS);
        std::thread::scope(|scope| {
            for caller in 0..N_CALLERS {
                let (batches, n_runs, n_most, barrier) = (&batches, &n_runs, &n_most, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    score(batches, caller as f64, n_runs, n_most);
                });
            }
        });
        // A full batch waits no longer.
        assert_eq!((n_runs.into_inner(), n_most.into_inner()), (3, MAX_ROWS));
    }

    #[test]
    fn one_alone_waits_no_longer_than_it_may() {
        let batches = Batches::new(Duration::from_millis(20));
        let (n_runs, n_most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let start = Instant::now();
        for row in 0..3 {
            score(&batches, f64::from(row), &n_runs, &n_most);
        }
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(60) && waited < Duration::from_secs(5), "{waited:?}");
        assert_eq!((n_runs.into_inner(), n_most.into_inner()), (3, 1));
    }

    #[test]
    fn a_run_that_gives_nothing_is_no_score_for_any() {
        let batches = Batches::new(Duration::ZERO);
        let mut raw = [0.0; 2];
        batches.score(&[1.0], &mut raw, |_, _, _| ());
        assert!(raw.iter().all(|raw| raw.is_nan()));
    }
}
