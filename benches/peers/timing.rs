//! How long rows take, and how that compares.

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};
use std::{array, thread};

use tipoff::engine::forest::Path;

use super::engine::{Contestant, Engine, Rows};
use super::goals;

/// Rows that one contestant scores before the next one does: so many that the first,
/// which find the caches full of the others' models, are less than one in a hundred.
/// What those take is the figure of cold rows.
const BLOCK: usize = 2_000;
const BATCH: usize = 1_024;
const COLD_ROWS: usize = 200;
/// More than the caches of most machines hold.
const EVICTING_BYTES: usize = 96 << 20;

/// What single rows take, in nanoseconds.
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
}

/// What a contestant's every figure is.
pub struct Figures {
    pub single: Quantiles,
    /// All rows one after the other, with nobody's turn between.
    pub alone: Quantiles,
    /// By two threads at once.
    pub of_two: Quantiles,
    /// After other memory has been through the caches.
    pub cold: Quantiles,
    pub batch_rows_per_second: f64,
    /// CPU time of loading the model once more.
    pub load_ms: f64,
}

/// A reading of the clock.
pub fn clock_ns() -> f64 {
    let start = Instant::now();
    (0..100_000).for_each(|_| {
        black_box(Instant::now());
    });
    start.elapsed().as_nanos() as f64 / 1e5
}

/// Times all, and prints a table; the first is whom the others are compared with.
pub fn report(model: &str, contestants: &[Contestant], rows: &Rows) {
    let mut engines: Vec<Box<dyn Engine>> =
        contestants.iter().map(|it| (it.open)().expect("it has been opened before")).collect();
    let single = singles(&mut engines, rows, 0..rows.n());
    let cold = cold(&mut engines, rows);
    let batches = batches(&mut engines, rows);
    drop(engines);
    let alone: Vec<Quantiles> = contestants.iter().map(|it| of_one(it, rows, 0..rows.n())).collect();
    let two = of_two_threads(contestants, rows);
    let figures: Vec<Figures> = contestants
        .iter()
        .zip(single.into_iter().zip(alone).zip(two))
        .zip(cold.into_iter().zip(batches))
        .map(|((contestant, ((single, alone), of_two)), (cold, batch_rows_per_second))| Figures {
            single,
            alone,
            of_two,
            cold,
            batch_rows_per_second,
            load_ms: contestant.load_ms[1],
        })
        .collect();
    let first = &figures[0];
    println!(
        "{:<20}{:>9}{:>8}{:>9}{:>9}{:>10}{:>8}{:>13}{:>8}{:>9}{:>9}",
        "",
        "p50 ns",
        "ratio",
        "p99/p50",
        "2 thr.",
        "cold ns",
        "ratio",
        "batch rows/s",
        "times",
        "load ms",
        "again"
    );
    for (contestant, it) in contestants.iter().zip(&figures) {
        println!(
            "{:<20}{:>9.0}{:>8.3}{:>9.2}{:>9.2}{:>10.0}{:>8.3}{:>13.0}{:>8.2}{:>9.1}{:>9.1}",
            contestant.name,
            it.single.p50,
            it.single.p50 / first.single.p50,
            it.alone.p99 / it.alone.p50,
            it.of_two.p50 / it.alone.p50,
            it.cold.p50,
            it.cold.p50 / first.cold.p50,
            it.batch_rows_per_second,
            it.batch_rows_per_second / first.batch_rows_per_second,
            contestant.load_ms[0],
            contestant.load_ms[1],
        );
    }
    let best = format!("tipoff {:?}", Path::available().last().expect("there is always one"));
    println!("goals of {best}:");
    goals::print(model, &best, |name| {
        contestants.iter().position(|it| it.name == name).map(|at| &figures[at])
    });
}

/// Each row by each, in blocks by turns.
fn singles(engines: &mut [Box<dyn Engine>], rows: &Rows, range: Range<usize>) -> Vec<Quantiles> {
    let mut times: Vec<Vec<Duration>> = engines.iter().map(|_| Vec::with_capacity(range.len())).collect();
    // The block before the first is not counted: it warms up.
    for engine in engines.iter_mut() {
        range.clone().take(BLOCK).for_each(|at| {
            black_box(engine.score(rows, at));
        });
    }
    for start in range.clone().step_by(BLOCK) {
        for (engine, times) in engines.iter_mut().zip(&mut times) {
            for at in start..range.end.min(start + BLOCK) {
                let began = Instant::now();
                black_box(engine.score(rows, black_box(at)));
                times.push(began.elapsed());
            }
        }
    }
    times.into_iter().map(Quantiles::of).collect()
}

fn cold(engines: &mut [Box<dyn Engine>], rows: &Rows) -> Vec<Quantiles> {
    let mut evicting = vec![1_u8; EVICTING_BYTES];
    let mut times: Vec<Vec<Duration>> = engines.iter().map(|_| Vec::new()).collect();
    for row in 0..COLD_ROWS.min(rows.n()) {
        for (engine, times) in engines.iter_mut().zip(&mut times) {
            for line in evicting.chunks_mut(64) {
                line[0] = line[0].wrapping_add(1);
            }
            black_box(&evicting);
            let began = Instant::now();
            black_box(engine.score(rows, row));
            times.push(began.elapsed());
        }
    }
    times.into_iter().map(Quantiles::of).collect()
}

/// Rows per second of the median batch.
fn batches(engines: &mut [Box<dyn Engine>], rows: &Rows) -> Vec<f64> {
    let mut scores = vec![0.0; BATCH];
    let mut times: Vec<Vec<Duration>> = engines.iter().map(|_| Vec::new()).collect();
    for start in (0..rows.n().saturating_sub(BATCH - 1)).step_by(BATCH) {
        for (engine, times) in engines.iter_mut().zip(&mut times) {
            let began = Instant::now();
            engine.score_batch(rows, start, &mut scores);
            times.push(began.elapsed());
            black_box(&scores);
        }
    }
    times.into_iter().map(|times| BATCH as f64 / (Quantiles::of(times).p50 / 1e9)).collect()
}

fn of_one(contestant: &Contestant, rows: &Rows, range: Range<usize>) -> Quantiles {
    let mut engines = [(contestant.open)().expect("it has been opened before")];
    singles(&mut engines, rows, range).pop().expect("there is one")
}

/// Each contestant by two threads at once, which share out the rows.
fn of_two_threads(contestants: &[Contestant], rows: &Rows) -> Vec<Quantiles> {
    let half = rows.n() / 2;
    contestants
        .iter()
        .map(|contestant| {
            let [a, b] = thread::scope(|scope| {
                let halves = [0..half, half..2 * half];
                let threads = halves.map(|range| scope.spawn(move || of_one(contestant, rows, range)));
                threads.map(|thread| thread.join().expect("it does not panic"))
            });
            Quantiles { p50: (a.p50 + b.p50) / 2.0, p99: (a.p99 + b.p99) / 2.0 }
        })
        .collect()
}

impl Quantiles {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let [p50, p99] = array::from_fn(|at| {
            let quantile = [0.5, 0.99][at];
            let index = (times.len().saturating_sub(1) as f64 * quantile) as usize;
            times.get(index).map_or(f64::NAN, |time| time.as_nanos() as f64)
        });
        Self { p50, p99 }
    }
}
