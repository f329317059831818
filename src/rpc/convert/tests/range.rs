//! Every number, time and length there is: taken as it came, or refused by field and reason.

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

/// Of `property("x", …)`: the value taken in, or what is said against it.
fn taken(kind: Kind) -> Result<Value, Refusal> {
    let event = v1::Event { properties: property("x", kind), ..event() };
    let event = event_of(intake(ClockMode::Replay).event(event)?);
    let [(_, value)] = event.properties.as_slice() else { panic!("{event:?} has one property") };
    Ok(value.clone())
}

fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>) -> (Reason, String) {
    let refusal = result.expect_err("it is refused");
    assert!(refusal.message.len() < 300, "{} bytes of message", refusal.message.len());
    (refusal.reason, refusal.field)
}

/// The instant that a time in the message is, to the millisecond, if there is one.
fn instant(seconds: i64, nanos: i32, earliest: i64) -> Option<Timestamp> {
    let is_in_range = (earliest..=253_370_764_800).contains(&seconds)
        && (0..1_000_000_000).contains(&nanos)
        && (seconds < 253_370_764_800 || nanos < 1_000_000);
    is_in_range.then(|| Timestamp::from_millis(seconds * 1_000 + i64::from(nanos / 1_000_000)))
}

fn seconds() -> impl Strategy<Value = i64> {
    let near = |edge: i64| (-2..=2_i64).prop_map(move |by| edge.saturating_add(by));
    let edges = [i64::MIN, -62_135_596_800, 0, 253_370_764_800, i64::MAX].map(near);
    let [a, b, c, d, e] = edges;
    prop_oneof![any::<i64>(), a, b, c, d, e, -62_135_596_800..253_370_764_800_i64]
}

fn nanos() -> impl Strategy<Value = i32> {
    prop_oneof![
        any::<i32>(),
        0..1_000_000_000_i32,
        prop::sample::select(vec![-1, 0, 999_999, 1_000_000, 999_999_999, 1_000_000_000]),
    ]
}

proptest! {
    #[test]
    fn a_number_is_taken_bit_for_bit_or_refused(number in any::<u64>().prop_map(f64::from_bits)) {
        let result = taken(Kind::DoubleValue(number));
        if number.abs() <= 1e100 {
            let Ok(Value::Number(taken)) = result else { panic!("{number:e}: {result:?}") };
            prop_assert_eq!(taken.to_bits(), number.to_bits());
        } else {
            let reason = if number.is_finite() { Reason::NumberOutOfRange } else { Reason::NumberNotFinite };
            prop_assert_eq!(refused(result), (reason, r#"properties["x"]"#.to_owned()));
        }
    }

    #[test]
    fn a_whole_number_is_taken_as_it_is(integer in any::<i64>()) {
        prop_assert_eq!(taken(Kind::IntValue(integer)), Ok(Value::Integer(integer)));
    }

    #[test]
    fn a_time_is_an_instant_or_refused(seconds in seconds(), nanos in nanos()) {
        let time = ProtoTime { seconds, nanos };
        let valid_nanos = (0..1_000_000_000).contains(&nanos);
        let reason = if valid_nanos { Reason::TimeOutOfRange } else { Reason::TimeInvalid };
        let intake = intake(ClockMode::Replay);

        let of_event = intake.event(v1::Event { time: Some(time), ..event() });
        match instant(seconds, nanos, 0) {
            Some(instant) => prop_assert_eq!(event_of(of_event.expect("in range")).time, instant),
            None => prop_assert_eq!(refused(of_event), (reason, "time".to_owned())),
        }
        let arriving = intake.event(v1::Event { arrival_time: Some(time), ..event() });
        match instant(seconds, nanos, 0) {
            Some(instant) => prop_assert_eq!(arriving.expect("in range").arrival_time, Some(instant)),
            None => prop_assert_eq!(refused(arriving), (reason, "arrival_time".to_owned())),
        }
        let clock_time = intake.replay_time("clock_time", Some(time));
        match instant(seconds, nanos, 0) {
            Some(instant) => prop_assert_eq!(clock_time, Ok(Some(instant))),
            None => prop_assert_eq!(refused(clock_time), (reason, "clock_time".to_owned())),
        }
        match instant(seconds, nanos, -62_135_596_800) {
            Some(instant) => prop_assert_eq!(taken(Kind::TimestampValue(time)), Ok(Value::Time(instant))),
            None => {
                let refused = refused(taken(Kind::TimestampValue(time)));
                prop_assert_eq!(refused, (reason, r#"properties["x"]"#.to_owned()));
            }
        }
    }

    /// What goes out can be read by whoever gets it: nanoseconds within a second.
    #[test]
    fn any_instant_is_a_valid_time(ms in any::<i64>()) {
        let time = timestamp(Timestamp::from_millis(ms));
        prop_assert!((0..1_000_000_000).contains(&time.nanos));
        prop_assert_eq!(i128::from(time.seconds) * 1_000 + i128::from(time.nanos / 1_000_000), i128::from(ms));
    }

    /// Bytes are an event or a refusal; nothing panics.
    #[test]
    fn any_bytes_are_an_event_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(refusal) = intake(ClockMode::Replay).encoded_event(bytes.into()) {
            prop_assert!(Reason::OF_EVENTS.contains(&refusal.reason), "{refusal:?}");
        }
    }

    /// So are those of an event with some of its bytes changed.
    #[test]
    fn a_damaged_event_is_an_event_or_refused(at in any::<usize>(), byte in any::<u8>(), number in any::<f64>()) {
        let properties = property("x", Kind::DoubleValue(number));
        let time = Some(ProtoTime { seconds: 1_767_225_600, nanos: 5 });
        let mut bytes = v1::Event { time, properties, event_id: "e1".into(), ..event() }.encode_to_vec();
        let length = bytes.len();
        bytes[at % length] = byte;
        if let Err(refusal) = intake(ClockMode::Replay).encoded_event(bytes.into()) {
            prop_assert!(Reason::OF_EVENTS.contains(&refusal.reason), "{refusal:?}");
        }
    }
}

/// A megabyte is refused wherever it stands, and not repeated in the refusal.
#[test]
fn a_megabyte_is_refused_by_field() {
    let long = "k".repeat(1 << 20);
    let intake = intake(ClockMode::Wall);
    let refused = |event| refused(intake.event(event));
    let named = |reason, field: &str| (reason, field.to_owned());
    assert_eq!(refused(v1::Event { user_id: long.clone(), ..event() }), named(Reason::IdTooLong, "user_id"));
    assert_eq!(
        refused(v1::Event { anonymous_id: long.clone(), ..event() }),
        named(Reason::IdTooLong, "anonymous_id")
    );
    assert_eq!(
        refused(v1::Event { event_id: long.clone(), ..event() }),
        named(Reason::IdTooLong, "event_id")
    );
    assert_eq!(
        refused(v1::Event { r#type: long.clone(), ..event() }),
        named(Reason::EventTypeTooLong, "type")
    );
    let with = |properties| v1::Event { properties, ..event() };
    assert_eq!(
        refused(with(property("cart_id", Kind::StringValue(long.clone())))),
        named(Reason::ValueTooLong, r#"properties["cart_id"]"#)
    );
    let shown = "k".repeat(64);
    assert_eq!(
        refused(with(property(&long, Kind::BoolValue(true)))),
        named(Reason::PropertyNameTooLong, &format!("properties[{shown:?}]"))
    );
}

/// An empty text is a value, and a key like any other; an empty name is none.
#[test]
fn an_empty_text_is_a_value() {
    assert_eq!(taken(Kind::StringValue(String::new())), Ok(Value::Text("".into())));
}
