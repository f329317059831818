//! How long one event and one read of the whole vector take on users that are
//! in use: percentiles of wall time, on one thread.

#[expect(dead_code, reason = "it takes some of the workloads")]
mod workload;

use std::hint::black_box;
use std::time::Instant;

use hdrhistogram::Histogram;
use mimalloc::MiMalloc;
use tipoff::engine::model::Models;
use tipoff::engine::plan::Plan;
use tipoff::engine::time::Millis;
use workload::{Arriving, Users};

/// The server's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const N_HOT_USERS: usize = 1_000;
const N_HOT_EVENTS: usize = 500_000;
/// A bot, in 90 days.
const N_EVENTS_OF_ONE: usize = 10_000_000;
const DAY: i64 = Millis::DAY.as_millis();

fn main() {
    println!("{:<30} {:>10} {:>9} {:>9} {:>9} {:>9}", "ns", "calls", "p50", "p90", "p99", "p99.9");
    let mut clock = histogram();
    (0..N_HOT_EVENTS).for_each(|_| time(&mut clock, || ()));
    report("the clock alone", &clock);
    let small = workload::purchases(N_HOT_EVENTS, N_HOT_USERS, Millis::new(14 * DAY));
    measure("10 features", &workload::small(), small.into_iter());
    let wide =
        |n_events, n_users| workload::arrivals(n_events, n_users, Millis::new(90 * DAY), |_| Millis::ZERO);
    measure("40 features", &workload::wide(), wide(N_HOT_EVENTS, N_HOT_USERS));
    measure("40 features, one user", &workload::wide(), wide(N_EVENTS_OF_ONE, 1));
}

/// Times the last events, and a read after each.
fn measure(name: &str, plan: &Plan, events: impl ExactSizeIterator<Item = Arriving>) {
    let models = Models::default();
    let mut users = Users::new(plan, &models, N_HOT_USERS);
    let (mut updates, mut reads) = (histogram(), histogram());
    let n_warming = events.len() - N_HOT_EVENTS / 2;
    for (index, arriving) in events.enumerate() {
        let (user, arrival) = (arriving.user, arriving.arrival);
        if index < n_warming {
            users.apply(arriving, false);
            continue;
        }
        time(&mut updates, || users.apply(arriving, false));
        if let Some(profile) = &users.profiles[user] {
            time(&mut reads, || drop(black_box(profile.read(plan, arrival))));
        }
    }
    report(&format!("{name}, update"), &updates);
    report(&format!("{name}, read"), &reads);
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are permitted")
}

fn time(histogram: &mut Histogram<u64>, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    histogram.saturating_record(start.elapsed().as_nanos() as u64);
}

fn report(name: &str, histogram: &Histogram<u64>) {
    let at = |quantile| histogram.value_at_quantile(quantile);
    let [p50, p90, p99, p999] = [at(0.5), at(0.9), at(0.99), at(0.999)];
    println!("{name:<30} {:>10} {p50:>9} {p90:>9} {p99:>9} {p999:>9}", histogram.len());
}
