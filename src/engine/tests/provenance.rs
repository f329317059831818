//! What is told of a value is what it is made of.

use super::*;
use crate::engine::provenance::{Bounds, Explanation, MAX_EVENTS, Occurrence, Totals};

/// Of the events told, the feature over all of them.
fn recomputed(plan: &Plan, spec: &Spec, told: &[Occurrence], now: Timestamp) -> Naive {
    let kind = if SERIES[spec.series] == EventSelector::Type(1) { "b" } else { "a" };
    // Told are the latest first; those of one instant keep their order by their ids.
    let events: Vec<Event> = told
        .iter()
        .rev()
        .enumerate()
        .map(|(index, told)| {
            let name = spec.property.map(|property| plan.properties.name(property));
            // Of a hash no more is known than that there is a value.
            let value = told.value.clone().unwrap_or(Value::Bool(true));
            Event {
                uid: EventUid(index as u128),
                properties: name.into_iter().map(|name| ((&**name).into(), value.clone())).collect(),
                ..event(kind, 0, told.time, None)
            }
        })
        .collect();
    let window = match spec.window {
        Window::Session | Window::PreviousSession => Window::Lifetime,
        sliding => sliding,
    };
    naive(plan, &Spec { window, ..*spec }, &events, now)
}

proptest! {
    /// The events told of a window are all of those that count, and give the value again.
    #[test]
    fn the_events_told_recompute_to_the_value(arrivals in arrivals(60), later in 0..3_000_i64) {
        let mut rig = Rig::new(wide_plan());
        let (mut accepted, mut now) = (Vec::new(), at(0));
        for Arriving { event, arrival } in arrivals {
            now = arrival;
            rig.accept(event.clone(), now);
            accepted.push(Event { time: event.time.min(now), ..event });
        }
        for now in [now, now.after(minutes(later))] {
            let vector = rig.profile.read(&rig.plan, now);
            for (feature, spec) in rig.plan.features.iter().zip(specs()) {
                match rig.profile.explain(&rig.plan, feature, now) {
                    Explanation::Window { bounds, n_events, latest } => {
                        prop_assert_eq!(n_events, latest.len() as u64, "{}", feature.name);
                        prop_assert!(latest.is_sorted_by(|a, b| a.time >= b.time));
                        prop_assert!(latest.iter().all(|told| is_within(bounds, told.time)), "{}", feature.name);
                        let is_hashed = latest.iter().any(|told| told.value.is_none());
                        if !(is_hashed && spec.aggregate == Aggregate::Distinct) {
                            agrees(feature, &spec, &vector, &recomputed(&rig.plan, &spec, &latest, now))?;
                        }
                    }
                    Explanation::Lifetime(totals) => agrees_with_totals(&rig.plan, &spec, &totals, &accepted, now)?,
                    Explanation::Decayed { half_life } => prop_assert_eq!(half_life, HALF_LIFE),
                    Explanation::Sessions { .. } | Explanation::Expression { .. } => {
                        prop_assert!(false, "{} is of events", feature.name);
                    }
                }
            }
        }
    }
}

fn is_within(bounds: Option<Bounds>, time: Timestamp) -> bool {
    match bounds {
        Some(Bounds::Sliding { after, until }) => after < time && time <= until,
        Some(Bounds::Session(session)) => (session.start..=session.end).contains(&time),
        None => false,
    }
}

fn agrees_with_totals(
    plan: &Plan,
    spec: &Spec,
    totals: &Totals,
    accepted: &[Event],
    now: Timestamp,
) -> Result<(), TestCaseError> {
    let number = |aggregate| match naive(plan, &Spec { aggregate, is_text: false, ..*spec }, accepted, now) {
        Naive::Number(number) => number,
        Naive::Text(_) => f64::NAN,
    };
    let since =
        |edge: &Option<Occurrence>| edge.as_ref().map_or(f64::NAN, |edge| now.since(edge.time).as_seconds());
    prop_assert_eq!(totals.n_events as f64, number(Aggregate::Count));
    prop_assert!(same(since(&totals.first), number(Aggregate::TimeSinceFirst)));
    prop_assert!(same(since(&totals.last), number(Aggregate::TimeSinceLast)));
    let kept = [
        (totals.sum, Aggregate::Sum),
        (totals.least, Aggregate::Min),
        (totals.greatest, Aggregate::Max),
        (totals.n_distinct.map(|n| n as f64), Aggregate::Distinct),
    ];
    for (kept, aggregate) in kept {
        prop_assert!(kept.is_none_or(|kept| same(kept, number(aggregate))), "{aggregate:?} {kept:?}");
    }
    Ok(())
}

/// A rig with one feature, and the explanation of it.
fn explained(spec: Spec, events: impl IntoIterator<Item = Event>, now: Timestamp) -> Explanation {
    let mut rig = Rig::new(plan(&SERIES, &[spec], Vec::new()));
    for event in events {
        let time = event.time;
        rig.accept(event, time);
    }
    rig.profile.explain(&rig.plan, &rig.plan.features[0], now)
}

fn told(time: Timestamp, value: impl Into<Option<Value>>) -> Occurrence {
    Occurrence { time, value: value.into() }
}

const SUM: Spec = Spec {
    series: 1,
    property: Some(0),
    aggregate: Aggregate::Sum,
    window: Window::Sliding(minutes(5)),
    is_text: false,
};

#[test]
fn a_window_tells_its_bounds_and_its_events_latest_first() {
    let events = || {
        let of = |kind: &str, minute: i64, x| event(kind, minute as u32, at(minute * 60_000), x);
        [
            of("a", 0, Some(1.0)),
            of("a", 1, Some(2.5)),
            of("b", 2, Some(8.0)),
            of("a", 3, None),
            of("a", 5, Some(-1.0)),
        ]
    };
    let now = at(5 * 60_000);
    let expected = vec![told(now, Value::Number(-1.0)), told(at(60_000), Value::Number(2.5))];
    let bounds = Some(Bounds::Sliding { after: at(0), until: now });
    assert_eq!(explained(SUM, events(), now), Explanation::Window { bounds, n_events: 2, latest: expected });

    let session = Session { start: at(0), end: now, n_events: 5 };
    let count = Spec { property: None, aggregate: Aggregate::Count, window: Window::Session, ..SUM };
    let minutes_told = [5, 3, 1, 0].map(|minute| told(at(minute * 60_000), None));
    assert_eq!(
        explained(count, events(), now),
        Explanation::Window {
            bounds: Some(Bounds::Session(session)),
            n_events: 4,
            latest: minutes_told.to_vec()
        }
    );
    // Once the session has ended there is none, and nobody has had one before any event.
    let none = Explanation::Window { bounds: None, n_events: 0, latest: Vec::new() };
    assert_eq!(explained(count, events(), now.after(minutes(30))), none);
    assert_eq!(explained(count, [], now), none);
}

#[test]
fn of_many_events_the_latest_are_told() {
    let spec = Spec { window: Window::Sliding(Millis::DAY), ..SUM };
    let events = (0..250).map(|second| event("a", second, at(i64::from(second) * 1_000), Some(1.0)));
    let Explanation::Window { n_events, latest, .. } = explained(spec, events, at(300_000)) else {
        panic!("a window")
    };
    assert_eq!((n_events, latest.len()), (250, MAX_EVENTS));
    assert_eq!((latest[0].time, latest[MAX_EVENTS - 1].time), (at(249_000), at(150_000)));
}

#[test]
fn a_property_is_told_as_it_is_kept() {
    let events = || {
        let colour = |id, y| with_y(event("a", id, at(i64::from(id)), None), Some(y));
        [colour(0, "red"), colour(1, "blue")]
    };
    let spec = Spec { property: Some(1), aggregate: Aggregate::Distinct, ..SUM };
    let hashed = vec![told(at(1), None), told(at(0), None)];
    let Explanation::Window { latest, .. } = explained(spec, events(), at(2)) else { panic!("a window") };
    assert_eq!(latest, hashed);

    let spec = Spec { aggregate: Aggregate::Last, is_text: true, ..spec };
    let text = |text: &str| Value::Text(text.into());
    let Explanation::Window { latest, .. } = explained(spec, events(), at(2)) else { panic!("a window") };
    assert_eq!(latest, [told(at(1), text("blue")), told(at(0), text("red"))]);

    let spec = Spec { window: Window::Lifetime, ..spec };
    let totals = Totals {
        n_events: 2,
        first: Some(told(at(0), text("red"))),
        last: Some(told(at(1), text("blue"))),
        ..Totals::default()
    };
    assert_eq!(explained(spec, events(), at(2)), Explanation::Lifetime(totals));
    assert_eq!(explained(spec, [], at(2)), Explanation::Lifetime(Totals::default()));
}
