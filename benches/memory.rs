//! Bytes a user costs: in memory, and as the record that is stored of an idle one.

#[expect(dead_code, reason = "it takes some of the workloads")]
mod workload;

use std::alloc::System;
use std::collections::HashMap;
use std::path::Path;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tipoff::definitions;
use tipoff::engine::codec::encode_profile;
use tipoff::engine::event::UserId;
use tipoff::engine::model::Models;
use tipoff::engine::plan::Plan;
use tipoff::engine::profile::Profile;
use tipoff::engine::time::Millis;
use tipoff::engine::{Engine, Sequence};
use tipoff::event_file::{self, Mapping, OnBadLine};
use workload::Users;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HOUR: i64 = Millis::HOUR.as_millis();

fn main() {
    println!("{:<44} {:>9} {:>9} {:>9} {:>9} {:>9}", "bytes per user", "users", "p50", "p90", "p99", "max");
    six_events();
    heaviest();
    shop_of_the_demo();
}

/// The smaller job: users with six events of the last day.
fn six_events() {
    let (plan, models) = (workload::small(), Models::default());
    let n_users = 10_000;
    let mut users = Users::new(&plan, &models, n_users);
    for (index, mut arriving) in
        workload::purchases(6 * n_users, 1, Millis::new(24 * HOUR)).into_iter().enumerate()
    {
        arriving.user = index % n_users;
        users.apply(arriving, false);
    }
    report("10 features, 6 events", &plan, users.profiles.iter().flatten());
}

/// One user with many events of four types over 90 days.
fn heaviest() {
    let models = Models::default();
    for n_events in [1_000, 10_000, 1_000_000] {
        let plan = workload::four_types();
        let mut users = Users::new(&plan, &models, 1);
        for arriving in workload::events(n_events, 1, Millis::new(90 * 24 * HOUR), |_| Millis::ZERO) {
            users.apply(arriving, false);
        }
        report(
            &format!("4 event types, {n_events} events in 90 days"),
            &plan,
            users.profiles.iter().flatten(),
        );
    }
}

/// The year of the demo's shop, under its definitions.
fn shop_of_the_demo() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plan = definitions::load(&root.join("examples/online-retail.toml")).expect("valid definitions");
    let events = root.join("data/online-retail/events.csv.zst");
    let events = event_file::load(&events, &Mapping::default(), OnBadLine::Refuse).expect("events");
    let models = Models::default();
    let engine = Engine { plan: &plan, models: &models };
    let mut sequence = Sequence { virtual_shard: 0, next: 0 };
    let mut profiles: HashMap<UserId, Profile> = HashMap::new();
    let mut steps = Vec::new();
    for record in events.records {
        let now = record.arrival_or_time();
        let profile = profiles.entry(record.user.clone()).or_insert_with(|| Profile::new(&plan));
        engine.accept(&record.user, profile, record.event, now, &mut sequence, &mut steps);
        steps.clear();
    }
    report("the demo's shop", &plan, profiles.values());
}

/// What a copy of each profile allocates, itself included, and its stored record.
fn report<'p>(name: &str, plan: &Plan, profiles: impl Iterator<Item = &'p Profile>) {
    let (mut in_memory, mut stored) = (Vec::new(), Vec::new());
    for profile in profiles {
        let region = Region::new(ALLOCATOR);
        let copy = Box::new(profile.clone());
        let change = region.change();
        in_memory.push(change.bytes_allocated - change.bytes_deallocated);
        stored.push(encode_profile(plan, &copy).len());
    }
    for (what, mut sizes) in [("in memory", in_memory), ("stored", stored)] {
        sizes.sort_unstable();
        let at = |share: f64| sizes[((sizes.len() - 1) as f64 * share) as usize];
        println!(
            "{:<44} {:>9} {:>9} {:>9} {:>9} {:>9}",
            format!("{name}, {what}"),
            sizes.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        );
    }
}
