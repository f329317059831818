//! A profile's bytes: what views hold of a user.

use super::bytes::{Error, Reader, Writer};
use super::series::{read_series, write_series};
use super::step::{read_gate, write_gate};
use crate::engine::plan::Plan;
use crate::engine::profile::{ModelState, Profile};
use crate::engine::session::{Forgotten, Session, Sessions};
use crate::engine::time::Arrival;
use crate::engine::trigger::{Arming, TriggerState};

/// 4: with sketches of lifetimes' keys. Views of another version are rebuilt from the log.
const VERSION: u8 = 4;

/// The bytes of a profile laid out by the plan it was folded under.
pub fn encode_profile(plan: &Plan, profile: &Profile) -> Vec<u8> {
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
    out.varint(profile.series.len() as u64);
    for (series, series_plan) in profile.series.iter().zip(&plan.series) {
        out.option(series.as_deref(), |out, series| write_series(out, series_plan, series));
    }
    out.list(profile.sessions.iter(), |out, session| {
        out.time(session.start);
        out.time(session.end);
        out.varint(session.n_events);
    });
    let forgotten = profile.sessions.forgotten();
    out.varint(forgotten.n_sessions);
    if forgotten.n_sessions > 0 {
        out.time(forgotten.until);
        out.varint(forgotten.n_strays);
    }
    out.option(profile.session_due, Writer::time);
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
    let found = from.length("series")?;
    if found != plan.series.len() {
        return Err(Error::Shape { what: "series", found, expected: plan.series.len() });
    }
    for (series, series_plan) in profile.series.iter_mut().zip(&plan.series) {
        *series = from.option("series", |from| read_series(from, series_plan).map(Box::new))?;
    }
    let sessions = from.list("sessions", |from| {
        Ok(Session {
            start: from.time("session")?,
            end: from.time("session")?,
            n_events: from.varint("session")?,
        })
    })?;
    let mut forgotten = Forgotten { n_sessions: from.varint("sessions")?, ..Forgotten::default() };
    if forgotten.n_sessions > 0 {
        forgotten.until = from.time("sessions")?;
        forgotten.n_strays = from.varint("sessions")?;
    }
    profile.sessions = Sessions::from_parts(sessions, forgotten);
    profile.session_due = from.option("session end", |from| from.time("session end"))?;
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
