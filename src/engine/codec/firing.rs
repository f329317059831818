//! A firing's bytes: what the outbox holds.

use super::bytes::{Error, Reader, Writer};
use super::step::{read_reasons, write_reasons};
use crate::engine::decision::FiringId;
use crate::engine::event::UserId;
use crate::engine::firing::Firing;
use crate::engine::time::Arrival;

const VERSION: u8 = 1;

pub fn encode_firing(firing: &Firing) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(VERSION);
    out.u128(firing.id.0);
    out.str(&firing.trigger);
    out.str(firing.user.key());
    out.option(firing.key.as_deref(), Writer::str);
    out.time(firing.as_of.time);
    out.varint(firing.as_of.sequence);
    out.option(firing.score, Writer::f64);
    out.option(firing.model.as_ref(), |out, (name, version)| {
        out.str(name);
        out.varint(u64::from(*version));
    });
    write_reasons(&mut out, &firing.reasons);
    out.option(firing.variant.as_deref(), Writer::str);
    out.bool(firing.held_out);
    out.time(firing.expires_at);
    out.bytes
}

pub fn decode_firing(bytes: &[u8]) -> Result<Firing, Error> {
    let mut from = Reader::versioned(bytes, 1..=VERSION)?;
    let firing = Firing {
        id: FiringId(from.u128("firing id")?),
        trigger: from.arc_str("trigger")?,
        user: {
            let key = from.str("user")?;
            UserId::from_key(key).ok_or_else(|| from.invalid("user"))?
        },
        key: from.option("key", |from| from.arc_str("key"))?,
        as_of: Arrival { time: from.time("as-of")?, sequence: from.varint("as-of")? },
        score: from.option("score", |from| from.f64("score"))?,
        model: from.option("model", |from| {
            let name = from.arc_str("model")?;
            let version = u32::try_from(from.varint("model version")?);
            Ok((name, version.map_err(|_| from.invalid("model version"))?))
        })?,
        reasons: read_reasons(&mut from)?,
        variant: from.option("variant", |from| from.arc_str("variant"))?,
        held_out: from.bool("holdout")?,
        expires_at: from.time("expiry")?,
    };
    from.finish()?;
    Ok(firing)
}
