//! The smaller job as the engine does it, for `baseline/run.py` to compare
//! with what else does the same job; without it, the engine's figures alone.

#[expect(dead_code, reason = "it takes one of the workloads")]
mod workload;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use cpu_time::ProcessTime;
use mimalloc::MiMalloc;
use serde::Serialize;
use tipoff::engine::event::Value;
use tipoff::engine::model::Models;
use tipoff::engine::plan::Plan;
use tipoff::engine::time::Millis;
use tipoff::engine::vector::{Slot, Vector};
use workload::{Arriving, N_EVENTS, N_USERS, Users};

/// The server's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
struct Args {
    /// Where to write the events that the others shall take.
    #[arg(long)]
    export: Option<PathBuf>,
    /// Report after so many events.
    #[arg(long, value_delimiter = ',', default_values_t = [N_EVENTS])]
    report_at: Vec<usize>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the engine has done up to an event of the stream.
#[derive(Serialize)]
struct Report {
    events: usize,
    cpu_seconds: f64,
    checksums: Checksums,
}

/// For each feature, the sum over all events of the event's number by the
/// feature's value: it tells which value stood where, and is an integer, the
/// same in any language and any order.
type Checksums = BTreeMap<String, u64>;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut events = workload::purchases(N_EVENTS, N_USERS, Millis::new(14 * Millis::DAY.as_millis()));
    events.truncate(args.report_at.iter().copied().max().unwrap_or(N_EVENTS));
    if let Some(path) = &args.export {
        export(&events, path)?;
    }
    for report in run(events, &args.report_at) {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

fn export(events: &[Arriving], path: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "user,time,item,value")?;
    for Arriving { user, event, .. } in events {
        let [(_, Value::Text(item)), (_, Value::Number(value))] = event.properties.as_slice() else {
            anyhow::bail!("an event of another job: {event:?}");
        };
        writeln!(file, "{user},{},{item},{value}", event.time.as_millis())?;
    }
    Ok(file.flush()?)
}

fn run(events: Vec<Arriving>, report_at: &[usize]) -> Vec<Report> {
    let (plan, models) = (workload::small(), Models::default());
    let mut users = Users::new(&plan, &models, N_USERS);
    let integers = Integers::new(&plan);
    let mut sums = vec![0; plan.features.len()];
    let mut reports = Vec::new();
    let start = ProcessTime::now();
    for (event, number) in events.into_iter().zip(1..) {
        let (user, arrival) = (event.user, event.arrival);
        users.apply(event, false);
        let profile = users.profiles[user].as_ref().expect("its event has been taken in");
        integers.add(&mut sums, number, &profile.read(&plan, arrival));
        if report_at.contains(&(number as usize)) {
            reports.push(Report {
                events: number as usize,
                cpu_seconds: start.elapsed().as_secs_f64(),
                checksums: plan.features.iter().map(|it| it.name.to_string()).zip(sums.clone()).collect(),
            });
        }
    }
    reports
}

/// How each feature's value becomes an integer: the purchases' values are
/// multiples of a quarter.
struct Integers(Vec<(usize, f64)>);

impl Integers {
    fn new(plan: &Plan) -> Self {
        let units = plan.features.iter().map(|feature| {
            let Slot::Number(slot) = feature.slot else { unreachable!("the job has numbers only") };
            let per_unit = match feature.name.split('_').next() {
                Some("sum") => 4.0,
                Some("since") => 1_000.0,
                _ => 1.0,
            };
            (slot, per_unit)
        });
        Self(units.collect())
    }

    fn add(&self, sums: &mut [u64], number: u64, vector: &Vector) {
        for (sum, (slot, per_unit)) in sums.iter_mut().zip(&self.0) {
            let value = vector.numbers[*slot] * per_unit;
            assert!(value.fract() == 0.0, "{value} is no integer");
            *sum += number * value as u64;
        }
    }
}
