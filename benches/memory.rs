//! Bytes a user costs in memory: hot, and packed as an idle one is; and what
//! packing costs.

#[expect(dead_code, reason = "it takes some of the workloads")]
mod workload;

use std::alloc::System;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use cpu_time::ThreadTime;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tipoff::definitions;
use tipoff::engine::codec::{decode_profile, encode_profile};
use tipoff::engine::event::UserId;
use tipoff::engine::model::Models;
use tipoff::engine::plan::Plan;
use tipoff::engine::profile::Profile;
use tipoff::engine::time::Millis;
use tipoff::engine::{Engine, Sequence};
use tipoff::event_file::{self, Mapping, OnBadLine};
use tipoff::pipeline::Profiles;
use workload::Users;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HOUR: i64 = Millis::HOUR.as_millis();

fn main() {
    let entry = map_entry();
    println!("a user's place in the map of profiles, with an id of eight bytes: {entry} bytes");
    println!("{:<50} {:>7} {:>7} {:>7} {:>7} {:>7}", "bytes per user", "users", "p50", "p90", "p99", "max");
    six_events(entry);
    heaviest(entry);
    shop_of_the_demo(entry);
}

/// What the server's map takes of a packed user beside the record.
fn map_entry() -> usize {
    let n_users = 100_000;
    let plan = Arc::new(workload::four_types());
    let record = encode_profile(&plan, &Profile::new(&plan));
    let region = Region::new(ALLOCATOR);
    let profiles = Profiles::new(plan);
    for user in 0..n_users {
        profiles.insert_packed(UserId::known(&format!("{user:08}")), &record).expect("it decodes");
    }
    let change = region.change();
    let records = profiles.count().packed_bytes;
    (change.bytes_allocated - change.bytes_deallocated - records) / n_users
}

/// The smaller job: users with six events of the last day.
fn six_events(entry: usize) {
    let (plan, models) = (workload::small(), Models::default());
    let n_users = 10_000;
    let mut users = Users::new(&plan, &models, n_users);
    for (index, mut arriving) in
        workload::purchases(6 * n_users, 1, Millis::new(24 * HOUR)).into_iter().enumerate()
    {
        arriving.user = index % n_users;
        users.apply(arriving, false);
    }
    report("10 features, 6 events", &plan, entry, users.profiles.iter().flatten());
}

/// One user with many events of four types over 90 days.
fn heaviest(entry: usize) {
    let models = Models::default();
    for n_events in [1_000, 10_000, 1_000_000, 10_000_000] {
        let plan = workload::four_types();
        let mut users = Users::new(&plan, &models, 1);
        for arriving in workload::arrivals(n_events, 1, Millis::new(90 * 24 * HOUR), |_| Millis::ZERO) {
            users.apply(arriving, false);
        }
        report(
            &format!("4 event types, {n_events} events in 90 days"),
            &plan,
            entry,
            users.profiles.iter().flatten(),
        );
    }
}

/// The year of the demo's shop, under its definitions.
fn shop_of_the_demo(entry: usize) {
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
    report("the demo's shop", &plan, entry, profiles.values());
}

/// What a copy of each profile allocates, itself included, and what it takes packed.
fn report<'p>(name: &str, plan: &Plan, entry: usize, profiles: impl Iterator<Item = &'p Profile>) {
    let (mut hot, mut records) = (Vec::new(), Vec::new());
    for profile in profiles {
        let region = Region::new(ALLOCATOR);
        let copy = Box::new(profile.clone());
        let change = region.change();
        hot.push(change.bytes_allocated - change.bytes_deallocated + entry);
        records.push(encode_profile(plan, &copy));
    }
    let start = ThreadTime::now();
    let unpacked: Vec<_> = records.iter().map(|record| decode_profile(plan, record)).collect();
    let unpacking = start.elapsed() / records.len() as u32;
    let start = ThreadTime::now();
    for profile in unpacked.iter().flatten() {
        std::hint::black_box(encode_profile(plan, profile));
    }
    let packing = start.elapsed() / records.len() as u32;
    let packed = records.iter().map(|record| record.len() + entry).collect();
    let records = records.iter().map(Vec::len).collect();
    for (what, mut sizes) in [("hot", hot), ("packed", packed), ("its record", records)] {
        sizes.sort_unstable();
        let at = |share: f64| sizes[((sizes.len() - 1) as f64 * share) as usize];
        println!(
            "{:<50} {:>7} {:>7} {:>7} {:>7} {:>7}",
            format!("{name}, {what}"),
            sizes.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        );
    }
    println!("  packed in {packing:.1?} of CPU time, unpacked in {unpacking:.1?}, on average");
}
