//! A step's bytes: the user, the input and the decision it caused.

use super::bytes::{Error, Reader, Writer};
use crate::engine::decision::{Action, Cause, Decision, FiringId, Gate, Outcome};
use crate::engine::event::{Event, UserId};
use crate::engine::input::{Input, Step};
use crate::engine::model::{Reason, Score};
use crate::engine::plan::Plan;
use crate::engine::time::Arrival;
use crate::engine::vector::Vector;

/// 2: triggers may be baselined.
const VERSION: u8 = 2;

/// Appends the bytes of one step of `user`, decided under `plan`.
pub fn encode_step(plan: &Plan, user: &UserId, step: &Step, bytes: &mut Vec<u8>) {
    let mut out = Writer { bytes: std::mem::take(bytes) };
    out.u8(VERSION);
    out.str(user.key());
    out.time(step.arrival.time);
    out.varint(step.arrival.sequence);
    match &step.input {
        Input::Event(event) => {
            out.u8(0);
            write_event(&mut out, event);
        }
        Input::Timers => out.u8(1),
        Input::Traits(traits) => {
            out.u8(2);
            out.list(traits.iter(), |out, (name, value)| {
                out.str(name);
                out.value(value);
            });
        }
        Input::Link { anonymous_id } => {
            out.u8(3);
            out.str(anonymous_id);
        }
    }
    out.option(step.decision.as_ref(), |out, decision| write_decision(out, plan, decision));
    *bytes = out.bytes;
}

/// Reads a step. Models that `plan` does not have keep their score under an
/// index that no plan has.
pub fn decode_step(plan: &Plan, bytes: &[u8]) -> Result<(UserId, Step), Error> {
    let mut from = Reader::versioned(bytes, 1..=VERSION)?;
    let key = from.str("user")?;
    let user = UserId::from_key(key).ok_or_else(|| from.invalid("user"))?;
    let arrival = Arrival { time: from.time("arrival")?, sequence: from.varint("sequence")? };
    let input = match from.u8("input")? {
        0 => Input::Event(read_event(&mut from)?),
        1 => Input::Timers,
        2 => {
            Input::Traits(from.list("traits", |from| Ok((from.str("trait")?.into(), from.value("trait")?)))?)
        }
        3 => Input::Link { anonymous_id: from.str("anonymous id")?.into() },
        _ => return Err(from.invalid("input")),
    };
    let decision = from.option("decision", |from| read_decision(from, plan, arrival))?;
    from.finish()?;
    Ok((user, Step { arrival, input, decision }))
}

fn write_event(out: &mut Writer, event: &Event) {
    out.uid(event.uid);
    out.option(event.id.as_deref(), Writer::str);
    out.str(&event.kind);
    out.time(event.time);
    out.option(event.anonymous_id.as_deref(), Writer::str);
    out.list(event.properties.iter(), |out, (name, value)| {
        out.str(name);
        out.value(value);
    });
}

fn read_event(from: &mut Reader<'_>) -> Result<Event, Error> {
    Ok(Event {
        uid: from.uid("event uid")?,
        id: from.option("event id", |from| from.str("event id").map(Into::into))?,
        kind: from.str("event type")?.into(),
        time: from.time("event time")?,
        anonymous_id: from.option("anonymous id", |from| from.str("anonymous id").map(Into::into))?,
        properties: from
            .list("properties", |from| Ok((from.str("property")?.into(), from.value("property")?)))?,
    })
}

fn write_decision(out: &mut Writer, plan: &Plan, decision: &Decision) {
    out.option(
        match decision.cause {
            Cause::Event(uid) => Some(uid),
            Cause::Timers => None,
        },
        Writer::uid,
    );
    out.list(decision.vector.numbers.iter(), |out, number| out.f64(*number));
    out.list(decision.vector.texts.iter(), |out, text| out.option(text.as_deref(), Writer::str));
    out.list(decision.scores.iter(), |out, score| {
        out.str(plan.models.get(score.model).map_or("", |model| &model.name));
        out.varint(u64::from(score.version));
        out.f64(score.raw);
        out.list(score.outputs.iter(), |out, output| out.f64(*output));
    });
    out.list(decision.outcomes.iter(), write_outcome);
}

fn read_decision(from: &mut Reader<'_>, plan: &Plan, as_of: Arrival) -> Result<Decision, Error> {
    let cause = from.option("cause", |from| from.uid("cause"))?.map_or(Cause::Timers, Cause::Event);
    let vector = Vector {
        numbers: from.list("numbers", |from| from.f64("number"))?,
        texts: from.list("texts", |from| from.option("text", |from| from.arc_str("text")))?,
    };
    let scores = from.list("scores", |from| {
        let name = from.str("model")?;
        let model = plan.models.iter().position(|model| &*model.name == name);
        let version =
            u32::try_from(from.varint("model version")?).map_err(|_| from.invalid("model version"))?;
        let raw = from.f64("raw score")?;
        let outputs: Vec<f64> = from.list("outputs", |from| from.f64("output"))?;
        if outputs.is_empty() {
            return Err(from.invalid("list of outputs"));
        }
        Ok(Score { model: model.unwrap_or(usize::MAX), version, raw, outputs })
    })?;
    let outcomes = from.list("outcomes", read_outcome)?;
    Ok(Decision { as_of, cause, vector, scores, unscored: Vec::new(), outcomes })
}

fn write_outcome(out: &mut Writer, outcome: &Outcome) {
    out.str(&outcome.trigger);
    out.option(outcome.key.as_deref(), Writer::str);
    match &outcome.action {
        Action::Fired { id, variant } => {
            out.u8(0);
            out.u128(id.0);
            out.option(variant.as_deref(), Writer::str);
        }
        Action::HeldOut { id } => {
            out.u8(1);
            out.u128(id.0);
        }
        Action::Suppressed { gate } => {
            out.u8(2);
            write_gate(out, *gate);
        }
        Action::Rearmed => out.u8(3),
        Action::Baselined => out.u8(4),
    }
    out.option(outcome.score, Writer::f64);
    write_reasons(out, &outcome.reasons);
}

fn read_outcome(from: &mut Reader<'_>) -> Result<Outcome, Error> {
    Ok(Outcome {
        trigger: from.arc_str("trigger")?,
        key: from.option("key", |from| from.arc_str("key"))?,
        action: match from.u8("action")? {
            0 => Action::Fired {
                id: FiringId(from.u128("firing id")?),
                variant: from.option("variant", |from| from.arc_str("variant"))?,
            },
            1 => Action::HeldOut { id: FiringId(from.u128("firing id")?) },
            2 => Action::Suppressed { gate: read_gate(from)? },
            3 => Action::Rearmed,
            4 => Action::Baselined,
            _ => return Err(from.invalid("action")),
        },
        score: from.option("score", |from| from.f64("score"))?,
        reasons: read_reasons(from)?,
    })
}

/// A gate's stored number is its place in [`Gate::ALL`], which only grows at its end.
pub(super) fn write_gate(out: &mut Writer, gate: Gate) {
    out.u8(Gate::ALL.iter().position(|other| *other == gate).unwrap_or_default() as u8);
}

pub(super) fn read_gate(from: &mut Reader<'_>) -> Result<Gate, Error> {
    let number = from.u8("gate")?;
    Gate::ALL.get(usize::from(number)).copied().ok_or_else(|| from.invalid("gate"))
}

pub(super) fn write_reasons(out: &mut Writer, reasons: &[Reason]) {
    out.list(reasons.iter(), |out, reason| {
        out.str(&reason.feature);
        out.f64(reason.value);
        out.f64(reason.contribution);
    });
}

pub(super) fn read_reasons(from: &mut Reader<'_>) -> Result<Vec<Reason>, Error> {
    from.list("reasons", |from| {
        Ok(Reason {
            feature: from.arc_str("reason")?,
            value: from.f64("reason")?,
            contribution: from.f64("reason")?,
        })
    })
}
