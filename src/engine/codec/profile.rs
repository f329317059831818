//! A profile's bytes: what views hold of a user.

use super::bytes::{Error, Reader, Writer};
use super::step::{read_gate, write_gate};
use crate::engine::exact_sum::ExactSum;
use crate::engine::plan::Plan;
use crate::engine::profile::{ModelState, Profile};
use crate::engine::series::{Entry, Item, Lifetime, Series};
use crate::engine::session::Session;
use crate::engine::time::Arrival;
use crate::engine::trigger::{Arming, TriggerState};

/// 2: with sessions. Views of another version are rebuilt from the log.
const VERSION: u8 = 2;

/// The bytes of a profile laid out by the plan it was folded under.
pub fn encode_profile(profile: &Profile) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(VERSION);
    out.option(profile.first_arrival, Writer::time);
    out.option(profile.last_arrival, |out, arrival| {
        out.time(arrival.time);
        out.varint(arrival.sequence);
    });
    out.varint(profile.n_events);
    out.list(profile.traits.iter(), |out, (name, value)| {
        out.str(name);
        out.value(value);
    });
    out.list(profile.series.iter(), write_series);
    out.list(profile.sessions.iter(), |out, session| {
        out.time(session.start);
        out.time(session.end);
        out.varint(session.n_events);
    });
    out.list(profile.models.iter(), |out, model| {
        out.f64(model.last_score);
        out.option(model.next_rescore, Writer::time);
    });
    out.list(profile.triggers.iter(), write_trigger);
    out.list(profile.firings.iter(), |out, (trigger, time)| {
        out.varint(*trigger as u64);
        out.time(*time);
    });
    out.list(profile.seen.iter(), |out, (arrival, uid)| {
        out.time(*arrival);
        out.uid(*uid);
    });
    out.bytes
}

/// Reads a profile folded under `plan`; another shape is refused.
pub fn decode_profile(plan: &Plan, bytes: &[u8]) -> Result<Profile, Error> {
    let mut from = Reader::versioned(bytes, VERSION..=VERSION)?;
    let mut profile = Profile::new(plan);
    profile.first_arrival = from.option("first arrival", |from| from.time("first arrival"))?;
    profile.last_arrival = from.option("last arrival", |from| {
        Ok(Arrival { time: from.time("last arrival")?, sequence: from.varint("last sequence")? })
    })?;
    profile.n_events = from.varint("number of events")?;
    profile.traits = from.list("traits", |from| Ok((from.str("trait")?.into(), from.value("trait")?)))?;
    profile.bind_traits(plan);
    profile.series = shaped("series", plan.series.len(), from.list("series", read_series)?)?;
    profile.sessions = from.list("sessions", |from| {
        Ok(Session {
            start: from.time("session")?,
            end: from.time("session")?,
            n_events: from.varint("session")?,
        })
    })?;
    profile.models = shaped(
        "models",
        plan.models.len(),
        from.list("models", |from| {
            Ok(ModelState {
                last_score: from.f64("last score")?,
                next_rescore: from.option("re-score", |from| from.time("re-score"))?,
            })
        })?,
    )?;
    profile.triggers = shaped("triggers", plan.triggers.len(), from.list("triggers", read_trigger)?)?;
    profile.firings =
        from.list("firings", |from| Ok((from.varint("trigger")? as usize, from.time("firing")?)))?;
    let seen: Vec<_> = from.list("seen", |from| Ok((from.time("seen")?, from.uid("seen")?)))?;
    profile.seen = seen.into_iter().collect();
    from.finish()?;
    Ok(profile)
}

fn shaped<T>(what: &'static str, expected: usize, list: Vec<T>) -> Result<Vec<T>, Error> {
    if list.len() == expected { Ok(list) } else { Err(Error::Shape { what, found: list.len(), expected }) }
}

fn write_series(out: &mut Writer, series: &Series) {
    out.list(series.entries(), write_entry);
    let lifetime = series.lifetime();
    out.varint(lifetime.count);
    if lifetime.count == 0 {
        return;
    }
    out.varint(lifetime.n_numbers);
    out.list(lifetime.sum.partials().iter(), |out, partial| out.f64(*partial));
    out.option(lifetime.min, Writer::f64);
    out.option(lifetime.max, Writer::f64);
    out.option(lifetime.first.as_ref(), write_entry);
    out.option(lifetime.last.as_ref(), write_entry);
    out.list(lifetime.distinct.iter(), |out, hash| out.u64(*hash));
}

fn read_series(from: &mut Reader<'_>) -> Result<Series, Error> {
    let entries = from.list("entries", read_entry)?;
    let mut lifetime = Lifetime { count: from.varint("lifetime count")?, ..Lifetime::default() };
    if lifetime.count > 0 {
        lifetime.n_numbers = from.varint("lifetime numbers")?;
        lifetime.sum = ExactSum::from_partials(from.list("lifetime sum", |from| from.f64("lifetime sum"))?);
        lifetime.min = from.option("lifetime min", |from| from.f64("lifetime min"))?;
        lifetime.max = from.option("lifetime max", |from| from.f64("lifetime max"))?;
        lifetime.first = from.option("lifetime first", read_entry)?;
        lifetime.last = from.option("lifetime last", read_entry)?;
        lifetime.distinct = from.list("lifetime distinct", |from| from.u64("lifetime distinct"))?;
    }
    Ok(Series::from_parts(entries, lifetime))
}

fn write_entry(out: &mut Writer, entry: &Entry) {
    out.time(entry.time);
    out.uid(entry.uid);
    match &entry.item {
        Item::None => out.u8(0),
        Item::Number(number) => {
            out.u8(1);
            out.f64(*number);
        }
        Item::Text(text) => {
            out.u8(2);
            out.str(text);
        }
    }
}

fn read_entry(from: &mut Reader<'_>) -> Result<Entry, Error> {
    Ok(Entry {
        time: from.time("entry")?,
        uid: from.uid("entry")?,
        item: match from.u8("entry")? {
            0 => Item::None,
            1 => Item::Number(from.f64("entry")?),
            2 => Item::Text(from.arc_str("entry")?),
            _ => return Err(from.invalid("entry")),
        },
    })
}

fn write_trigger(out: &mut Writer, trigger: &TriggerState) {
    out.bool(trigger.fired);
    out.option(trigger.suppressed_by, write_gate);
    out.option(trigger.last_fired, Writer::time);
    out.option(trigger.held_out, Writer::bool);
    out.list(trigger.armings.iter(), |out, arming| {
        out.option(arming.key.as_deref(), Writer::str);
        out.list(arming.waiting.iter(), |out, (time, uid)| {
            out.time(*time);
            out.uid(*uid);
        });
        out.option(arming.answered, |out, (time, uid)| {
            out.time(time);
            out.uid(uid);
        });
        out.option(arming.due, Writer::time);
    });
}

fn read_trigger(from: &mut Reader<'_>) -> Result<TriggerState, Error> {
    Ok(TriggerState {
        fired: from.bool("trigger")?,
        suppressed_by: from.option("gate", read_gate)?,
        last_fired: from.option("last firing", |from| from.time("last firing"))?,
        held_out: from.option("holdout", |from| from.bool("holdout"))?,
        armings: from.list("armings", |from| {
            Ok(Arming {
                key: from.option("key", |from| from.arc_str("key"))?,
                waiting: from.list("waiting", |from| Ok((from.time("waiting")?, from.uid("waiting")?)))?,
                answered: from
                    .option("answered", |from| Ok((from.time("answered")?, from.uid("answered")?)))?,
                due: from.option("due", |from| from.time("due"))?,
            })
        })?,
    })
}
