mod range;

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use prost_types::Timestamp as ProtoTime;

use super::*;
use crate::clock::Clock;
use crate::config::{ClockMode, Config};
use crate::engine::event::{Event, EventUid, UserId, Value};
use crate::engine::plan::{FeatureKind, FeaturePlan};
use crate::engine::profile::Profile;
use crate::engine::time::{Arrival, Millis, Timestamp};
use crate::engine::trigger::Arming;
use crate::engine::vector::{Slot, Vector};
use crate::metrics::tests::plan;
use crate::pipeline::{Incoming, Submission};
use crate::proto::v1;
use crate::proto::v1::value::Kind;

/// 2026-01-01T00:00:00Z
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn intake(mode: ClockMode) -> Intake {
    let limits = Config::from_layers(None, [], &[]).expect("the defaults are valid").limits;
    let clock = Clock::new(mode);
    clock.advance(NOW);
    Intake::new(limits, Arc::new(clock))
}

fn property(name: &str, kind: Kind) -> BTreeMap<String, v1::Value> {
    BTreeMap::from([(name.to_owned(), v1::Value { kind: Some(kind) })])
}

fn event() -> v1::Event {
    v1::Event { user_id: "ada".into(), r#type: "purchase".into(), ..v1::Event::default() }
}

fn event_of(submission: Submission) -> Event {
    match submission.input {
        Incoming::Event(event) => event,
        other => panic!("{other:?} is no event"),
    }
}

/// Checks what each event is refused for, one line an event.
fn check(mode: ClockMode, events: impl IntoIterator<Item = v1::Event>, refusals: Expect) {
    let intake = intake(mode);
    let lines: Vec<String> = events
        .into_iter()
        .map(|event| match intake.event(event) {
            Ok(submission) => format!("accepted {submission:?}"),
            Err(refusal) => format!("{} {} | {}", refusal.reason.name(), refusal.field, refusal.message),
        })
        .collect();
    refusals.assert_eq(&lines.join("\n"));
}

#[test]
fn an_event_becomes_the_engines() {
    let intake = intake(ClockMode::Replay);
    let submission = intake
        .event(v1::Event {
            user_id: "ada".into(),
            anonymous_id: "cookie-1".into(),
            event_id: "e1".into(),
            r#type: "purchase".into(),
            time: Some(ProtoTime { seconds: 1_700_000_000, nanos: 1_999_999 }),
            arrival_time: Some(ProtoTime { seconds: 1_700_000_060, nanos: 0 }),
            properties: [
                ("value", Kind::DoubleValue(-1e100)),
                ("items", Kind::IntValue(i64::MIN)),
                ("country", Kind::StringValue(String::new())),
                ("gift", Kind::BoolValue(true)),
                ("born", Kind::TimestampValue(ProtoTime { seconds: -1, nanos: 1_000_000 })),
            ]
            .into_iter()
            .map(|(name, kind)| (name.to_owned(), v1::Value { kind: Some(kind) }))
            .collect(),
        })
        .expect("it is within all limits");
    assert_eq!(submission.user, UserId::known("ada"));
    assert_eq!(submission.arrival_time, Some(Timestamp::from_millis(1_700_000_060_000)));
    let event = event_of(submission);
    assert_eq!(event.uid, EventUid::of_id("e1"));
    assert_eq!(event.id.as_deref(), Some("e1"));
    assert_eq!(event.anonymous_id.as_deref(), Some("cookie-1"));
    assert_eq!(event.time, Timestamp::from_millis(1_700_000_000_001));
    let expected = [
        ("born", Value::Time(Timestamp::from_millis(-999))),
        ("country", Value::Text("".into())),
        ("gift", Value::Bool(true)),
        ("items", Value::Integer(i64::MIN)),
        ("value", Value::Number(-1e100)),
    ];
    let properties: Vec<_> = event.properties.iter().map(|(name, value)| (&**name, value.clone())).collect();
    assert_eq!(properties, expected, "sorted by name");
}

#[test]
fn a_visitor_alone_is_a_user_of_their_own() {
    let event = v1::Event { user_id: String::new(), anonymous_id: "ada".into(), ..event() };
    let submission = intake(ClockMode::Wall).event(event).expect("valid");
    assert_eq!(submission.user, UserId::anonymous("ada"));
    let event = event_of(submission);
    assert_eq!(event.anonymous_id, None);
    assert_eq!(event.uid, EventUid::UNMINTED);
}

#[test]
fn an_event_without_a_time_happened_when_it_arrived() {
    let intake = intake(ClockMode::Replay);
    assert_eq!(event_of(intake.event(event()).expect("valid")).time, NOW);
    let arrival_time = Some(ProtoTime { seconds: 5, nanos: 0 });
    let submission = intake.event(v1::Event { arrival_time, ..event() }).expect("valid");
    assert_eq!(event_of(submission).time, Timestamp::from_millis(5_000));
}

#[test]
fn bad_ids_and_types_are_refused_by_field() {
    let id = |length: usize| "é".repeat(length / 2);
    check(
        ClockMode::Wall,
        [
            v1::Event { user_id: String::new(), ..event() },
            v1::Event { user_id: id(258), ..event() },
            v1::Event { user_id: "a\u{7}".into(), ..event() },
            v1::Event { anonymous_id: id(258), ..event() },
            v1::Event { anonymous_id: "\u{85}".into(), ..event() },
            v1::Event { event_id: id(258), ..event() },
            v1::Event { event_id: "a\nb".into(), ..event() },
            v1::Event { r#type: String::new(), ..event() },
            v1::Event { r#type: id(130), ..event() },
            v1::Event { r#type: "\0".into(), ..event() },
        ],
        expect![[r#"
            USER_ID_MISSING user_id | either `user_id` or `anonymous_id` is required
            ID_TOO_LONG user_id | 258 bytes, at most 256 are permitted
            ID_CONTROL_CHARACTER user_id | control character U+0007 at byte 1
            ID_TOO_LONG anonymous_id | 258 bytes, at most 256 are permitted
            ID_CONTROL_CHARACTER anonymous_id | control character U+0085 at byte 0
            ID_TOO_LONG event_id | 258 bytes, at most 256 are permitted
            ID_CONTROL_CHARACTER event_id | control character U+000A at byte 1
            EVENT_TYPE_MISSING type | an event needs a type
            EVENT_TYPE_TOO_LONG type | 130 bytes, at most 128 are permitted
            EVENT_TYPE_CONTROL_CHARACTER type | control character U+0000 at byte 0"#]],
    );
    let longest = v1::Event { user_id: id(256), event_id: id(256), r#type: id(128), ..event() };
    intake(ClockMode::Wall).event(longest).expect("the limits are inclusive");
}

#[test]
fn bad_properties_are_refused_by_name() {
    let with = |properties| v1::Event { properties, ..event() };
    let many =
        |n: usize| (0..n).map(|i| (i.to_string(), v1::Value { kind: Some(Kind::BoolValue(true)) })).collect();
    check(
        ClockMode::Wall,
        [
            with(many(65)),
            with(property("", Kind::BoolValue(true))),
            with(property(&"n".repeat(65), Kind::BoolValue(true))),
            with(property("a\"\r", Kind::BoolValue(true))),
            with(BTreeMap::from([("p".into(), v1::Value { kind: None })])),
            with(property("p", Kind::StringValue("x".repeat(4_097)))),
            with(property("p", Kind::DoubleValue(f64::NAN))),
            with(property("p", Kind::DoubleValue(f64::NEG_INFINITY))),
            with(property("p", Kind::DoubleValue(-1.1e100))),
            with(property("p", Kind::TimestampValue(ProtoTime { seconds: 0, nanos: -1 }))),
            with(property("p", Kind::TimestampValue(ProtoTime { seconds: i64::MAX, nanos: 0 }))),
            with(property("p", Kind::TimestampValue(ProtoTime { seconds: -62_135_596_801, nanos: 0 }))),
        ],
        expect![[r#"
            TOO_MANY_PROPERTIES properties | 65 are given, at most 64 are permitted
            PROPERTY_NAME_MISSING properties[""] | the name is empty
            PROPERTY_NAME_TOO_LONG properties["nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"] | 65 bytes, at most 64 are permitted
            PROPERTY_NAME_CONTROL_CHARACTER properties["a\"\r"] | control character U+000D at byte 2
            VALUE_MISSING properties["p"] | the value is unset; leave the property out instead
            VALUE_TOO_LONG properties["p"] | 4097 bytes, at most 4096 are permitted
            NUMBER_NOT_FINITE properties["p"] | NaN is not a finite number
            NUMBER_NOT_FINITE properties["p"] | -inf is not a finite number
            NUMBER_OUT_OF_RANGE properties["p"] | -1.1e100 is beyond the magnitude 1e100
            TIME_INVALID properties["p"] | -1 nanoseconds are not within a second
            TIME_OUT_OF_RANGE properties["p"] | 9223372036854775807 s is not within 0001-01-01T00:00:00Z to 9999-01-01T00:00:00Z
            TIME_OUT_OF_RANGE properties["p"] | -62135596801 s is not within 0001-01-01T00:00:00Z to 9999-01-01T00:00:00Z"#]],
    );
    intake(ClockMode::Wall).event(with(many(64))).expect("the limit is inclusive");
}

#[test]
fn bad_times_are_refused() {
    let at = |seconds, nanos| v1::Event { time: Some(ProtoTime { seconds, nanos }), ..event() };
    let arriving = |seconds, nanos| v1::Event { arrival_time: Some(ProtoTime { seconds, nanos }), ..event() };
    check(
        ClockMode::Replay,
        [
            at(0, 1_000_000_000),
            at(-1, 999_999_999),
            at(253_370_764_800, 1_000_000),
            at(i64::MIN, 0),
            at(i64::MAX, 999_999_999),
            arriving(0, -1),
            arriving(-1, 0),
        ],
        expect![[r#"
            TIME_INVALID time | 1000000000 nanoseconds are not within a second
            TIME_OUT_OF_RANGE time | -1 s is not within 1970-01-01T00:00:00Z to 9999-01-01T00:00:00Z
            TIME_OUT_OF_RANGE time | 253370764800 s is not within 1970-01-01T00:00:00Z to 9999-01-01T00:00:00Z
            TIME_OUT_OF_RANGE time | -9223372036854775808 s is not within 1970-01-01T00:00:00Z to 9999-01-01T00:00:00Z
            TIME_OUT_OF_RANGE time | 9223372036854775807 s is not within 1970-01-01T00:00:00Z to 9999-01-01T00:00:00Z
            TIME_INVALID arrival_time | -1 nanoseconds are not within a second
            TIME_OUT_OF_RANGE arrival_time | -1 s is not within 1970-01-01T00:00:00Z to 9999-01-01T00:00:00Z"#]],
    );
    check(
        ClockMode::Wall,
        [arriving(1, 0)],
        expect![[
            r#"ARRIVAL_TIME_REFUSED arrival_time | this server goes by the wall clock; arrival times need `clock = "replay"`"#
        ]],
    );
}

#[test]
fn the_user_of_a_request_is_checked_under_its_own_path() {
    let intake = intake(ClockMode::Wall);
    let user = |id| Some(v1::UserRef { id: Some(id) });
    use v1::user_ref::Id;
    assert_eq!(intake.user(user(Id::UserId("ada".into()))), Ok(UserId::known("ada")));
    assert_eq!(intake.user(user(Id::AnonymousId("ada".into()))), Ok(UserId::anonymous("ada")));
    for (bad, field) in [
        (None, "user.user_id"),
        (user(Id::UserId(String::new())), "user.user_id"),
        (user(Id::AnonymousId("x".repeat(257))), "user.anonymous_id"),
    ] {
        assert_eq!(intake.user(bad).expect_err("it is bad").field, field);
    }
}

#[test]
fn a_supposed_event_happens_now() {
    let intake = intake(ClockMode::Replay);
    let properties = property("value", Kind::IntValue(3));
    let supposed = v1::HypotheticalEvent { r#type: "purchase".into(), properties };
    assert_eq!(intake.hypothetical(supposed).expect("valid").time, NOW);
    let refusal = intake.hypothetical(v1::HypotheticalEvent::default()).expect_err("it has no type");
    assert_eq!(refusal.field, "hypothetical.type");
}

#[test]
fn times_before_1970_keep_their_nanoseconds_positive() {
    assert_eq!(timestamp(Timestamp::from_millis(-1)), ProtoTime { seconds: -1, nanos: 999_000_000 });
    assert_eq!(timestamp(Timestamp::from_millis(1_001)), ProtoTime { seconds: 1, nanos: 1_000_000 });
}

#[test]
fn features_carry_their_type_and_say_what_is_missing() {
    let mut plan = plan();
    let feature = |name: &str, slot, is_bool| FeaturePlan {
        name: name.into(),
        digest: "".into(),
        slot,
        is_bool,
        reads: Vec::new(),
        kind: FeatureKind::Expression(crate::engine::expression::Expression::Number(
            crate::engine::expression::NumberExpr::Literal(0.0),
        )),
    };
    plan.features = vec![
        feature("count", Slot::Number(0), false),
        feature("is_new", Slot::Number(1), true),
        feature("mean", Slot::Number(2), false),
        feature("country", Slot::Text(0), false),
        feature("city", Slot::Text(1), false),
    ];
    let vector = Vector { numbers: vec![3.0, 1.0, f64::NAN], texts: vec![Some("DE".into()), None] };
    use v1::feature_value::Value as Feature;
    let known = |value| v1::FeatureValue { value: Some(value), missing: false, approximate: false };
    let missing = v1::FeatureValue { value: None, missing: true, approximate: false };
    let expected = [
        ("city", missing.clone()),
        ("count", known(Feature::Number(3.0))),
        ("country", known(Feature::Text("DE".into()))),
        ("is_new", known(Feature::Bool(true))),
        ("mean", missing),
    ];
    assert_eq!(
        features(&plan, &vector, &[false; 5]),
        expected.map(|(name, value)| (name.to_owned(), value)).into()
    );
}

#[test]
fn a_profile_shows_each_waiting_key() {
    let plan = plan();
    let user = UserId::known("ada");
    let now = Arrival { time: NOW, sequence: 9 };
    let mut state = Profile::new(&plan);
    state.n_events = 4;
    state.last_arrival = Some(now);
    state.models[0].last_score = 0.25;
    let reply = profile(&plan, &user, &state, &Vector::default(), now);
    assert_eq!((reply.event_count, reply.models[0].last_score), (4, Some(0.25)));
    assert_eq!(phases(&reply), [("", v1::TriggerPhase::Idle)]);

    state.triggers[0].last_fired = Some(NOW.before(Millis::HOUR));
    assert_eq!(
        phases(&profile(&plan, &user, &state, &Vector::default(), now)),
        [("", v1::TriggerPhase::Cooling)]
    );

    let arming = |key: &str, due| Arming {
        key: Some(key.into()),
        waiting: vec![(NOW, EventUid(1))],
        answered: None,
        due,
    };
    state.triggers[0].armings =
        vec![arming("cart-1", Some(NOW)), arming("cart-2", None), arming("cart-3", Some(NOW))];
    let reply = profile(&plan, &user, &state, &Vector::default(), now);
    assert_eq!(phases(&reply), [("cart-1", v1::TriggerPhase::Armed), ("cart-3", v1::TriggerPhase::Armed)]);
    assert_eq!(reply.triggers[0].due_time, Some(timestamp(NOW)));
    assert!(reply.triggers[0].cooling_until.is_some());
}

fn phases(reply: &v1::GetProfileResponse) -> Vec<(&str, v1::TriggerPhase)> {
    reply.triggers.iter().map(|state| (state.key.as_str(), state.phase())).collect()
}
