//! From the wire inwards: every limit is checked here, once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;

use crate::clock::Clock;
use crate::config::{ClockMode, Limits};
use crate::engine::event::{Event, EventUid, UserId, Value};
use crate::engine::time::Timestamp;
use crate::pipeline::{Incoming, Submission};
use crate::proto::v1;
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

/// Names from outside are cut to so many characters where a message repeats them.
const SHOWN_NAME_CHARS: usize = 64;

/// 0001-01-01, the first instant the wire format knows.
const YEAR_1: Timestamp = Timestamp::from_millis(-62_135_596_800_000);
/// 1970-01-01, before which no event is taken to have happened.
const YEAR_1970: Timestamp = Timestamp::from_millis(0);
/// 9999-01-01, short of the last instant that RFC 3339 and the wire format know.
const YEAR_9999: Timestamp = Timestamp::from_millis(253_370_764_800_000);

/// Turns messages into the engine's types, or refuses them by field and reason.
#[derive(Clone, Debug)]
pub struct Intake {
    limits: Limits,
    clock: Arc<Clock>,
}

impl Intake {
    pub fn new(limits: Limits, clock: Arc<Clock>) -> Self {
        Self { limits, clock }
    }

    /// Decodes an event and checks it.
    pub fn encoded_event(&self, event: Bytes) -> Result<Submission, Refusal> {
        let event = v1::Event::decode(event).map_err(|error| Refusal::new(Reason::Malformed, error))?;
        self.event(event)
    }

    /// Checks an event. One without a time happened when it arrived.
    pub fn event(&self, event: v1::Event) -> Result<Submission, Refusal> {
        let (user, anonymous_id) = self.ids(&event.user_id, &event.anonymous_id)?;
        self.id("event_id", &event.event_id)?;
        let arrival_time = self.replay_time("arrival_time", event.arrival_time)?;
        let id = Some(event.event_id).filter(|id| !id.is_empty());
        let event = Event {
            uid: id.as_deref().map_or(EventUid::UNMINTED, EventUid::of_id),
            id: id.map(Into::into),
            kind: self.kind("type", event.r#type)?,
            time: self.time(event.time, arrival_time)?,
            anonymous_id,
            properties: self.properties("properties", event.properties)?,
        };
        Ok(Submission { user, input: Incoming::Event(event), arrival_time })
    }

    /// Checks an identification: the traits to set, and the link if it names two ids.
    pub fn identification(&self, request: v1::IdentifyRequest) -> Result<Vec<Submission>, Refusal> {
        let (user, anonymous_id) = self.ids(&request.user_id, &request.anonymous_id)?;
        let arrival_time = self.replay_time("arrival_time", request.arrival_time)?;
        let traits = Incoming::Traits(self.properties("traits", request.traits)?);
        let link = anonymous_id.map(|anonymous_id| Incoming::Link { anonymous_id });
        let inputs = std::iter::once(traits).chain(link);
        Ok(inputs.map(|input| Submission { user: user.clone(), input, arrival_time }).collect())
    }

    /// Checks an event that is only supposed, and happens now.
    pub fn hypothetical(&self, event: v1::HypotheticalEvent) -> Result<Event, Refusal> {
        Ok(Event {
            uid: EventUid::UNMINTED,
            id: None,
            kind: self.kind("hypothetical.type", event.r#type)?,
            time: self.clock.now(),
            anonymous_id: None,
            properties: self.properties("hypothetical.properties", event.properties)?,
        })
    }

    /// Checks the user a request is about.
    pub fn user(&self, user: Option<v1::UserRef>) -> Result<UserId, Refusal> {
        let (user_id, anonymous_id) = match user.and_then(|user| user.id) {
            None => Default::default(),
            Some(v1::user_ref::Id::UserId(id)) => (id, String::new()),
            Some(v1::user_ref::Id::AnonymousId(id)) => (String::new(), id),
        };
        let (user, _) = self.ids(&user_id, &anonymous_id).map_err(|refusal| refusal.within("user"))?;
        Ok(user)
    }

    /// Checks a user id.
    pub fn known_user(&self, id: &str) -> Result<UserId, Refusal> {
        if id.is_empty() {
            return Err(Refusal::new(Reason::UserIdMissing, "the id is empty"));
        }
        self.ids(id, "").map(|(user, _)| user)
    }

    /// Checks the ids of an event: whose profile it belongs to, and the
    /// visitor id that came along with a known user.
    fn ids(&self, user_id: &str, anonymous_id: &str) -> Result<(UserId, Option<Box<str>>), Refusal> {
        self.id("user_id", user_id)?;
        self.id("anonymous_id", anonymous_id)?;
        match (user_id, anonymous_id) {
            ("", "") => Err(Refusal::of_field(
                Reason::UserIdMissing,
                "user_id",
                "either `user_id` or `anonymous_id` is required",
            )),
            ("", anonymous_id) => Ok((UserId::anonymous(anonymous_id), None)),
            (user_id, "") => Ok((UserId::known(user_id), None)),
            (user_id, anonymous_id) => Ok((UserId::known(user_id), Some(anonymous_id.into()))),
        }
    }

    /// Checks a time that moves the clock, such as an arrival; only a replay clock takes one.
    pub fn replay_time(
        &self,
        field: &str,
        time: Option<prost_types::Timestamp>,
    ) -> Result<Option<Timestamp>, Refusal> {
        let Some(time) = time else { return Ok(None) };
        if self.clock.mode() == ClockMode::Wall {
            let message = "this server goes by the wall clock; arrival times need `clock = \"replay\"`";
            return Err(Refusal::of_field(Reason::ArrivalTimeRefused, field, message));
        }
        checked_time(field, time, YEAR_1970).map(Some)
    }

    /// Checks an event time; none is that of its arrival.
    fn time(
        &self,
        time: Option<prost_types::Timestamp>,
        arrival_time: Option<Timestamp>,
    ) -> Result<Timestamp, Refusal> {
        match time {
            Some(time) => checked_time("time", time, YEAR_1970),
            None => Ok(arrival_time.unwrap_or_else(|| self.clock.now())),
        }
    }

    /// Checks properties or traits; they come sorted by name, each name once.
    fn properties(
        &self,
        field: &str,
        properties: BTreeMap<String, v1::Value>,
    ) -> Result<Vec<(Box<str>, Value)>, Refusal> {
        let max = self.limits.properties_per_event;
        if properties.len() > max {
            let message = format_args!("{} are given, at most {max} are permitted", properties.len());
            return Err(Refusal::of_field(Reason::TooManyProperties, field, message));
        }
        let checked = properties.into_iter().map(|(name, value)| match self.property(&name, value) {
            Ok(value) => Ok((name.into(), value)),
            Err((reason, message)) => {
                let shown: String = name.chars().take(SHOWN_NAME_CHARS).collect();
                Err(Refusal::of_field(reason, format_args!("{field}[{shown:?}]"), message))
            }
        });
        checked.collect()
    }

    fn property(&self, name: &str, value: v1::Value) -> Result<Value, (Reason, String)> {
        use v1::value::Kind;

        let limits = &self.limits;
        if name.is_empty() {
            return Err((Reason::PropertyNameMissing, "the name is empty".to_owned()));
        }
        if let Some(message) = too_long(name, limits.property_name_bytes) {
            return Err((Reason::PropertyNameTooLong, message));
        }
        if let Some(message) = control_character(name) {
            return Err((Reason::PropertyNameControlCharacter, message));
        }
        match value.kind {
            None => {
                Err((Reason::ValueMissing, "the value is unset; leave the property out instead".to_owned()))
            }
            Some(Kind::StringValue(text)) => match too_long(&text, limits.property_text_bytes) {
                Some(message) => Err((Reason::ValueTooLong, message)),
                None => Ok(Value::Text(text.into())),
            },
            Some(Kind::DoubleValue(number)) if !number.is_finite() => {
                Err((Reason::NumberNotFinite, format!("{number} is not a finite number")))
            }
            Some(Kind::DoubleValue(number)) if number.abs() > limits.number_magnitude => {
                let max = limits.number_magnitude;
                Err((Reason::NumberOutOfRange, format!("{number:e} is beyond the magnitude {max:e}")))
            }
            Some(Kind::DoubleValue(number)) => Ok(Value::Number(number)),
            Some(Kind::IntValue(integer)) => Ok(Value::Integer(integer)),
            Some(Kind::BoolValue(bool)) => Ok(Value::Bool(bool)),
            Some(Kind::TimestampValue(time)) => checked_time("", time, YEAR_1)
                .map(Value::Time)
                .map_err(|refusal| (refusal.reason, refusal.message)),
        }
    }

    /// An optional id: not too long, no control characters.
    fn id(&self, field: &str, id: &str) -> Result<(), Refusal> {
        let max = if field == "event_id" { self.limits.event_id_bytes } else { self.limits.user_id_bytes };
        if let Some(message) = too_long(id, max) {
            return Err(Refusal::of_field(Reason::IdTooLong, field, message));
        }
        match control_character(id) {
            Some(message) => Err(Refusal::of_field(Reason::IdControlCharacter, field, message)),
            None => Ok(()),
        }
    }

    fn kind(&self, field: &str, kind: String) -> Result<Box<str>, Refusal> {
        if kind.is_empty() {
            return Err(Refusal::of_field(Reason::EventTypeMissing, field, "an event needs a type"));
        }
        if let Some(message) = too_long(&kind, self.limits.event_type_bytes) {
            return Err(Refusal::of_field(Reason::EventTypeTooLong, field, message));
        }
        match control_character(&kind) {
            Some(message) => Err(Refusal::of_field(Reason::EventTypeControlCharacter, field, message)),
            None => Ok(kind.into()),
        }
    }
}

fn too_long(text: &str, max_bytes: usize) -> Option<String> {
    (text.len() > max_bytes).then(|| format!("{} bytes, at most {max_bytes} are permitted", text.len()))
}

fn control_character(text: &str) -> Option<String> {
    let (at, control) = text.char_indices().find(|(_, character)| character.is_control())?;
    Some(format!("control character U+{:04X} at byte {at}", u32::from(control)))
}

/// To the millisecond, rounded down.
fn checked_time(
    field: impl fmt::Display,
    time: prost_types::Timestamp,
    earliest: Timestamp,
) -> Result<Timestamp, Refusal> {
    if !(0..1_000_000_000).contains(&time.nanos) {
        let message = format_args!("{} nanoseconds are not within a second", time.nanos);
        return Err(Refusal::of_field(Reason::TimeInvalid, field, message));
    }
    let ms = time.seconds.checked_mul(1_000).and_then(|ms| ms.checked_add(i64::from(time.nanos / 1_000_000)));
    match ms.map(Timestamp::from_millis) {
        Some(instant) if (earliest..=YEAR_9999).contains(&instant) => Ok(instant),
        _ => {
            let message = format_args!("{} s is not within {earliest} to {YEAR_9999}", time.seconds);
            Err(Refusal::of_field(Reason::TimeOutOfRange, field, message))
        }
    }
}
