//! The engine alone, in CPU time of one core: events taken in, and the whole
//! vector read after each.

#[expect(dead_code, reason = "it takes some of the workloads")]
mod workload;

use std::time::Duration;

use cpu_time::ThreadTime;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use rand::RngExt;
use tipoff::engine::model::Models;
use tipoff::engine::plan::{EXACT_ROWS, Plan};
use tipoff::engine::time::Millis;
use workload::{Arriving, N_EVENTS, N_USERS, Users};

/// The server's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const DAY: i64 = Millis::DAY.as_millis();

fn run(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, plan: &Plan, events: &[Arriving], reads: bool) {
    let models = Models::default();
    let n_users = events.iter().map(|arriving| arriving.user + 1).max().unwrap_or(0);
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function(name, |bench| {
        bench.iter_custom(|n| {
            (0..n)
                .map(|_| {
                    let (mut users, events) = (Users::new(plan, &models, n_users), events.to_vec());
                    let start = ThreadTime::now();
                    for event in events {
                        users.apply(event, reads);
                    }
                    start.elapsed()
                })
                .sum()
        });
    });
}

fn group<'c>(c: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(10).measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_secs(1));
    group
}

/// Forty features of twelve streams over up to 90 days; and a smaller job.
fn throughput(c: &mut Criterion) {
    let wide = workload::events(N_EVENTS, N_USERS, Millis::new(90 * DAY), |_| Millis::ZERO);
    let small = workload::purchases(N_EVENTS, N_USERS, Millis::new(14 * DAY));
    let mut group = group(c, "engine");
    run(&mut group, "40 features, taken in", &workload::wide(), &wide, false);
    run(&mut group, "40 features, read after each event", &workload::wide(), &wide, true);
    run(&mut group, "10 features, read after each event", &workload::small(), &small, true);
}

/// The same events, the longest window from an hour to 90 days: of one user
/// whose events are all kept, of one beyond the budget, of many at once, and
/// forty features of more than fit a cache. With many users a longer window
/// also keeps more rows than the caches hold; so there is the same again with
/// the rows of 90 days kept throughout, where only what is read gets longer.
fn window_length(c: &mut Criterion) {
    const HOUR: i64 = Millis::HOUR.as_millis();
    let lengths = [("1h", HOUR), ("24h", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY), ("90d", 90 * DAY)];
    let events = |n, n_users| workload::events(n, n_users, Millis::new(90 * DAY), |_| Millis::ZERO);
    let (views_kept, all_kept) = (workload::views_kept(), workload::all_kept());
    for (what, n_events, n_users, exact_rows, others) in [
        ("one user, 28 events an hour, exact", 60_000, 1, 65_536, ""),
        ("one user, 463 events an hour", N_EVENTS, 1, EXACT_ROWS, ""),
        ("2,000 users", N_EVENTS, 2_000, EXACT_ROWS, ""),
        ("2,000 users, 90 days kept", N_EVENTS, 2_000, EXACT_ROWS, &views_kept),
    ] {
        let events = events(n_events, n_users);
        let mut eight = group(c, &format!("longest window, 8 features, {what}"));
        for (name, length) in lengths {
            let plan = workload::one_stream(Millis::new(length), exact_rows, others);
            run(&mut eight, name, &plan, &events, true);
        }
    }
    let events = events(N_EVENTS, N_USERS);
    for (what, others) in [("", ""), (", 90 days kept", &all_kept)] {
        let mut forty = group(c, &format!("longest window, 40 features{what}"));
        for (name, length) in lengths {
            run(&mut forty, name, &workload::wide_up_to(Millis::new(length), others), &events, true);
        }
    }
}

/// Out of order, late, and half of the events by one user.
fn disorder(c: &mut Criterion) {
    let plan = workload::wide();
    let span = Millis::new(90 * DAY);
    let sorted = workload::events(N_EVENTS, N_USERS, span, |_| Millis::ZERO);
    let seconds_late =
        workload::events(N_EVENTS, N_USERS, span, |dice| Millis::new(dice.random_range(0..60_000)));
    let hours_late = workload::events(N_EVENTS, N_USERS, span, |dice| Millis::new(dice.random_range(0..DAY)));
    let mut hot = sorted.clone();
    hot.iter_mut().step_by(2).for_each(|arriving| arriving.user = 0);
    let mut hot_late = hours_late.clone();
    hot_late.iter_mut().step_by(2).for_each(|arriving| arriving.user = 0);
    let mut group = group(c, "disorder");
    run(&mut group, "sorted", &plan, &sorted, true);
    run(&mut group, "up to a minute late", &plan, &seconds_late, true);
    run(&mut group, "up to a day late", &plan, &hours_late, true);
    run(&mut group, "half by one user", &plan, &hot, true);
    run(&mut group, "half by one user, up to a day late", &plan, &hot_late, true);
}

criterion_group!(benches, throughput, window_length, disorder);
criterion_main!(benches);
