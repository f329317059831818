//! The order in which expressions can be compiled: after what they read.

use std::collections::{BTreeMap, BTreeSet};

use crate::definitions::condition::Source;
use crate::definitions::report::Report;

/// The expressions' names, each after those it reads, ties by name. Cycles are
/// reported; their members come in no sensible order.
pub(super) fn by_dependency<'a>(
    expressions: &BTreeMap<&'a str, Source<'_>>,
    report: &mut Report,
) -> Vec<&'a str> {
    let mut waits_for: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut readers: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
    for (&name, source) in expressions {
        let reads: BTreeSet<&str> = source
            .bare_names()
            .into_iter()
            .filter_map(|read| expressions.get_key_value(read).map(|(read, _)| *read))
            .collect();
        for read in &reads {
            readers.entry(read).or_default().push(name);
        }
        waits_for.insert(name, reads);
    }

    let mut order = Vec::with_capacity(expressions.len());
    let mut ready: BTreeSet<&'a str> =
        expressions.keys().copied().filter(|name| waits_for[name].is_empty()).collect();
    while order.len() < expressions.len() {
        let Some(name) = ready.pop_first() else {
            // Nothing is ready, so what is left holds a cycle: report it and go on as if it were done.
            let cycle = find_cycle(&waits_for);
            let [first, ..] = cycle.as_slice() else { break };
            let source = &expressions[first];
            let shown = cycle.iter().chain([first]).copied().collect::<Vec<_>>().join(" -> ");
            report.error(
                source.span(),
                source.path(),
                format!("features read each other in a cycle: {shown}"),
            );
            ready.extend(expressions.keys().copied().filter(|name| cycle.contains(name)));
            for name in cycle {
                waits_for.remove(name);
            }
            continue;
        };
        waits_for.remove(name);
        order.push(name);
        for reader in readers.get(name).into_iter().flatten() {
            if let Some(reads) = waits_for.get_mut(reader) {
                reads.remove(name);
                if reads.is_empty() {
                    ready.insert(reader);
                }
            }
        }
    }
    order
}

/// A cycle among names of which each waits for another one of them, from its first name on.
fn find_cycle<'a>(waits_for: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    let mut path: Vec<&str> = waits_for.keys().next().copied().into_iter().collect();
    while let Some(name) = path.last() {
        let Some(next) = waits_for.get(name).and_then(BTreeSet::first).copied() else { return Vec::new() };
        if let Some(start) = path.iter().position(|seen| *seen == next) {
            let mut cycle = path.split_off(start);
            let least = cycle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(at, _)| at);
            cycle.rotate_left(least);
            return cycle;
        }
        path.push(next);
    }
    Vec::new()
}
