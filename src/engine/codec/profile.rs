//! A profile's bytes: what views hold of a user.

use super::bytes::{Error, Reader, Writer};
use super::series::{read_series, write_series};
use super::step::{read_gate, write_gate};
use crate::engine::event::EventUid;
use crate::engine::plan::Plan;
use crate::engine::profile::{ModelState, Profile, Traits};
use crate::engine::session::{Forgotten, Session, Sessions};
use crate::engine::time::{Arrival, Timestamp};
use crate::engine::trigger::{Arming, TriggerState};

/// 6: the version of each model's last score. Views of another
/// version are rebuilt from the log.
const VERSION: u8 = 6;

/// What a trigger's state has, by bit.
mod has {
    pub const FIRED: u8 = 1;
    pub const SUPPRESSED_BY: u8 = 1 << 1;
    pub const LAST_FIRED: u8 = 1 << 2;
    pub const ASSIGNED: u8 = 1 << 3;
    pub const HELD_OUT: u8 = 1 << 4;
    pub const ARMINGS: u8 = 1 << 5;
    pub const ALL: u8 = (1 << 6) - 1;
}

/// The bytes of a profile laid out by the plan it was folded under.
pub fn encode_profile(plan: &Plan, profile: &Profile) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(VERSION);
    out.option(profile.last_arrival, |out, arrival| {
        out.time_after(Timestamp::default(), arrival.time);
        out.varint(arrival.sequence);
    });
    let last = last_time(profile);
    out.option(profile.first_arrival, |out, first| out.time_before(last, first));
    out.varint(profile.n_events);
    out.list(profile.traits.by_name().iter(), |out, (name, value)| {
        out.str(name);
        out.value(value);
    });
    out.varint(profile.series.len() as u64);
    for (series, series_plan) in profile.series.iter().zip(&plan.series) {
        out.option(series.as_deref(), |out, series| write_series(out, series_plan, series, last));
    }
    write_sessions(&mut out, &profile.sessions, last);
    out.option(profile.session_due, |out, due| out.time_after(last, due));
    out.list(profile.models.iter(), |out, model| {
        out.compact_f64(model.last_score);
        out.varint(u64::from(model.version));
        out.option(model.next_rescore, |out, due| out.time_after(last, due));
    });
    out.list(profile.triggers.iter(), |out, trigger| write_trigger(out, trigger, last));
    out.list(profile.firings.iter(), |out, (trigger, time)| {
        out.varint(*trigger as u64);
        out.time_before(last, *time);
    });
    out.list(profile.seen.iter(), |out, (arrival, uid)| {
        out.time_before(last, *arrival);
        out.uid(*uid);
    });
    out.bytes
}

/// Reads a profile folded under `plan`; another shape is refused.
pub fn decode_profile(plan: &Plan, bytes: &[u8]) -> Result<Profile, Error> {
    let mut from = Reader::versioned(bytes, VERSION..=VERSION)?;
    let mut profile = Profile::new(plan);
    profile.last_arrival = from.option("last arrival", |from| {
        let time = from.time_after(Timestamp::default(), "last arrival")?;
        Ok(Arrival { time, sequence: from.varint("last sequence")? })
    })?;
    let last = last_time(&profile);
    profile.first_arrival = from.option("first arrival", |from| from.time_before(last, "first arrival"))?;
    profile.n_events = from.varint("number of events")?;
    let traits = from.list("traits", |from| Ok((from.str("trait")?.into(), from.value("trait")?)))?;
    profile.traits = Traits::new(plan, traits);
    let found = from.length("series")?;
    if found != plan.series.len() {
        return Err(Error::Shape { what: "series", found, expected: plan.series.len() });
    }
    for (series, series_plan) in profile.series.iter_mut().zip(&plan.series) {
        *series = from.option("series", |from| read_series(from, series_plan, last).map(Box::new))?;
    }
    profile.sessions = read_sessions(&mut from, last)?;
    profile.session_due = from.option("session end", |from| from.time_after(last, "session end"))?;
    profile.models = shaped(
        "models",
        plan.models.len(),
        from.list("models", |from| {
            Ok(ModelState {
                last_score: from.compact_f64("last score")?,
                version: u32::try_from(from.varint("model version")?)
                    .map_err(|_| from.invalid("model version"))?,
                next_rescore: from.option("re-score", |from| from.time_after(last, "re-score"))?,
            })
        })?,
    )?;
    let triggers = from.list("triggers", |from| read_trigger(from, last))?;
    profile.triggers = shaped("triggers", plan.triggers.len(), triggers)?;
    profile.firings = from
        .list("firings", |from| Ok((from.varint("trigger")? as usize, from.time_before(last, "firing")?)))?;
    let seen: Vec<_> = from.list("seen", |from| Ok((from.time_before(last, "seen")?, from.uid("seen")?)))?;
    profile.seen = seen.into_iter().collect();
    from.finish()?;
    Ok(profile)
}

fn shaped<T>(what: &'static str, expected: usize, list: Box<[T]>) -> Result<Box<[T]>, Error> {
    if list.len() == expected { Ok(list) } else { Err(Error::Shape { what, found: list.len(), expected }) }
}

/// What times are told from.
fn last_time(profile: &Profile) -> Timestamp {
    profile.last_arrival.map_or(Timestamp::default(), |arrival| arrival.time)
}

/// Latest first.
fn write_sessions(out: &mut Writer, sessions: &Sessions, last: Timestamp) {
    let mut later = last;
    out.list(sessions.iter().rev(), |out, session| {
        out.time_before(later, session.end);
        out.time_before(session.end, session.start);
        out.varint(session.n_events);
        later = session.start;
    });
    let Forgotten { n_sessions, until, n_strays } = sessions.forgotten();
    out.varint(n_sessions);
    if n_sessions > 0 {
        out.time_before(later, until);
        out.varint(n_strays);
    }
}

fn read_sessions(from: &mut Reader<'_>, last: Timestamp) -> Result<Sessions, Error> {
    let mut later = last;
    let mut sessions: Vec<Session> = from.list("sessions", |from| {
        let end = from.time_before(later, "session")?;
        let start = from.time_before(end, "session")?;
        if end > later || start > end {
            return Err(from.invalid("session before the next"));
        }
        later = start;
        Ok(Session { start, end, n_events: from.varint("session")? })
    })?;
    sessions.reverse();
    let mut forgotten = Forgotten { n_sessions: from.varint("sessions")?, ..Forgotten::default() };
    if forgotten.n_sessions > 0 {
        forgotten.until = from.time_before(later, "sessions")?;
        forgotten.n_strays = from.varint("sessions")?;
    }
    Ok(Sessions::from_parts(sessions, forgotten))
}

fn write_trigger(out: &mut Writer, trigger: &TriggerState, last: Timestamp) {
    let TriggerState { fired, suppressed_by, last_fired, held_out, armings } = trigger;
    let head = [
        (has::FIRED, *fired),
        (has::SUPPRESSED_BY, suppressed_by.is_some()),
        (has::LAST_FIRED, last_fired.is_some()),
        (has::ASSIGNED, held_out.is_some()),
        (has::HELD_OUT, *held_out == Some(true)),
        (has::ARMINGS, !armings.is_empty()),
    ];
    out.u8(head.into_iter().filter(|(_, is_set)| *is_set).map(|(bit, _)| bit).sum());
    suppressed_by.iter().for_each(|gate| write_gate(out, *gate));
    last_fired.iter().for_each(|fired| out.time_before(last, *fired));
    if armings.is_empty() {
        return;
    }
    out.list(armings.iter(), |out, arming| {
        out.option(arming.key.as_deref(), Writer::str);
        let event = |out: &mut Writer, (time, uid): (Timestamp, EventUid)| {
            out.time_before(last, time);
            out.compact(uid.0);
        };
        out.list(arming.waiting.iter(), |out, waiting| event(out, *waiting));
        out.option(arming.answered, event);
        out.option(arming.due, |out, due| out.time_after(last, due));
    });
}

fn read_trigger(from: &mut Reader<'_>, last: Timestamp) -> Result<TriggerState, Error> {
    let head = from.u8("trigger")?;
    if head & !has::ALL != 0 {
        return Err(from.invalid("trigger"));
    }
    let has = |bit| head & bit != 0;
    let event = |from: &mut Reader<'_>| {
        Ok((from.time_before(last, "arming event")?, EventUid(from.compact("arming event")?)))
    };
    Ok(TriggerState {
        fired: has(has::FIRED),
        suppressed_by: has(has::SUPPRESSED_BY).then(|| read_gate(from)).transpose()?,
        last_fired: has(has::LAST_FIRED).then(|| from.time_before(last, "last firing")).transpose()?,
        held_out: has(has::ASSIGNED).then_some(has(has::HELD_OUT)),
        armings: if has(has::ARMINGS) {
            from.list("armings", |from| {
                Ok(Arming {
                    key: from.option("key", |from| from.arc_str("key"))?,
                    waiting: from.list("waiting", event)?,
                    answered: from.option("answered", event)?,
                    due: from.option("due", |from| from.time_after(last, "due"))?,
                })
            })?
        } else {
            Vec::new()
        },
    })
}
