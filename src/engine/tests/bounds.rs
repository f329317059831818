//! Whatever a sender gives, and whenever: nothing overflows, nothing that is
//! not a number is kept for one, and what is kept is bounded.

use super::*;
use crate::engine::provenance::Explanation;

const EXTREMES: [f64; 16] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    -f64::MIN_POSITIVE,
    5e-324,
    -5e-324,
    0.0,
    -0.0,
    series::MAX_MAGNITUDE,
    -series::MAX_MAGNITUDE,
    9_007_199_254_740_993.0,
    1e-300,
    0.1,
];

fn any_number() -> impl Strategy<Value = f64> {
    let bits = any::<u64>().prop_map(f64::from_bits);
    let near = (-64..64_i32).prop_map(|eighths| f64::from(eighths) / 8.0);
    prop_oneof![bits, prop::sample::select(EXTREMES.to_vec()), near]
}

fn any_instant() -> impl Strategy<Value = i64> {
    let near = |instant: i64| (-1_000..1_000_i64).prop_map(move |ms| instant.saturating_add(ms));
    let now = at(0).as_millis();
    prop_oneof![
        any::<i64>(),
        near(i64::MIN),
        near(i64::MAX),
        near(0),
        near(now),
        Just(i64::MIN),
        Just(i64::MAX)
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => any_number().prop_map(Value::Number),
        1 => any::<i64>().prop_map(Value::Integer),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => any_instant().prop_map(|ms| Value::Time(Timestamp::from_millis(ms))),
        2 => prop::sample::select(vec!["", "red", "12", "NaN", "-0"]).prop_map(|text| Value::Text(text.into())),
        1 => any::<String>().prop_map(|text| Value::Text(text.into())),
    ]
}

/// What an event's time is, beside its arrival.
#[derive(Clone, Debug)]
enum Drawn {
    Before(i64),
    At(i64),
}

fn any_event() -> impl Strategy<Value = (Event, Drawn)> {
    let time = prop_oneof![
        3 => (-400_000..90_000_000_i64).prop_map(Drawn::Before),
        1 => any_instant().prop_map(Drawn::At),
    ];
    let value = || prop::option::weighted(0.8, any_value());
    (any::<bool>(), prop::option::of(0..8_u32), time, value(), value()).prop_map(|(is_a, id, time, x, y)| {
        let kind = if is_a { "a" } else { "b" };
        let mut event = event(kind, id.unwrap_or(0), at(0), None);
        if id.is_none() {
            (event.id, event.uid) = (None, EventUid::UNMINTED);
        }
        let properties = [("x", x), ("y", y)].into_iter();
        event.properties = properties.filter_map(|(name, value)| Some((name.into(), value?))).collect();
        (event, time)
    })
}

/// Few exact rows, an absence trigger of each kind, caps, and a model that session ends ask for.
fn hostile_plan() -> Plan {
    let mut plan = wide_plan();
    plan.series.iter_mut().for_each(|series| series.exact_rows = 64);
    let keyed = absence(minutes(45), Some(1), OnRepeat::Keep);
    let plain = absence(Millis::DAY, None, OnRepeat::Reset);
    plan.triggers = vec![
        TriggerPlan { name: text("keyed"), cooldown: Millis::HOUR, ..keyed },
        TriggerPlan { name: text("plain"), holdout: 0.5, ..plain },
    ];
    plan.models.push(ModelPlan {
        name: text("unserved"),
        label: None,
        features: Vec::new(),
        score_on: Vec::new(),
        score_on_session_end: true,
        rescore_every: None,
    });
    plan.caps.push(CapPlan { name: text("all"), at_most: 2, per: Millis::DAY, triggers: vec![0, 1] });
    plan
}

/// Reads, and checks that each number is finite, or the one NaN, and no other zero than the one.
fn checked(rig: &Rig, profile: &Profile, now: Timestamp) -> Result<vector::Vector, TestCaseError> {
    let vector = profile.read(&rig.plan, now);
    for feature in &rig.plan.features {
        let Slot::Number(slot) = feature.slot else { continue };
        let number = vector.numbers[slot];
        prop_assert!(
            number.is_finite() && number.to_bits() != (-0.0_f64).to_bits()
                || number.to_bits() == f64::NAN.to_bits(),
            "{}: {number:?}",
            feature.name
        );
    }
    Ok(vector)
}

/// What is stored reads back with the same bits, and the recorded steps fold to it.
fn is_kept(rig: &Rig, now: Timestamp) -> Result<(), TestCaseError> {
    let bytes = encode_profile(&rig.plan, &rig.profile);
    let stored = decode_profile(&rig.plan, &bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(encode_profile(&rig.plan, &stored), &bytes[..]);
    prop_assert!(checked(rig, &stored, now)?.same_bits(&checked(rig, &rig.profile, now)?));
    let mut folded = Profile::new(&rig.plan);
    for step in &rig.steps {
        let mut bytes = Vec::new();
        encode_step(&rig.plan, &rig.user, step, &mut bytes);
        let (user, step) = decode_step(&rig.plan, &bytes).expect("reads back");
        fold(&rig.plan, &user, &mut folded, &step);
    }
    prop_assert_eq!(encode_profile(&rig.plan, &folded), bytes);
    for feature in &rig.plan.features {
        rig.profile.explain(&rig.plan, feature, now);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any values at any times, arriving at any times.
    #[test]
    fn any_event_at_any_time_leaves_numbers_and_reads_back(
        drawn in prop::collection::vec((any_instant(), any_event()), 1..40),
    ) {
        let mut arrivals: Vec<i64> = drawn.iter().map(|(arrival, _)| *arrival).collect();
        arrivals.sort_unstable();
        let mut rig = Rig::new(hostile_plan());
        let mut now = Timestamp::MIN;
        for (arrival, (_, (event, time))) in arrivals.into_iter().zip(drawn) {
            now = Timestamp::from_millis(arrival);
            let time = match time {
                Drawn::Before(ms) => now.before(Millis::new(ms)),
                Drawn::At(ms) => Timestamp::from_millis(ms),
            };
            let (is_late, is_early) = (time < now.before(Millis::DAY), time > now.after(minutes(5)));
            let n_steps = rig.steps.len();
            let acceptance = rig.accept(Event { time, ..event }, now);
            match acceptance {
                Acceptance::Late { by } => prop_assert!(is_late && by > Millis::ZERO),
                Acceptance::Future { by } => prop_assert!(is_early && by > Millis::ZERO),
                Acceptance::Accepted(_) | Acceptance::Duplicate => prop_assert!(!is_late && !is_early),
            }
            prop_assert_eq!(rig.steps.len() > n_steps, matches!(acceptance, Acceptance::Accepted(_)));
            checked(&rig, &rig.profile, now)?;
        }
        is_kept(&rig, now)?;
        is_kept(&rig, Timestamp::MAX)?;
        rig.run_due(Timestamp::MAX);
        prop_assert_eq!(rig.profile.next_due(), None);
    }

    /// The same from one instant on, of which there are enough for tiles.
    #[test]
    fn many_events_anywhere_in_time_leave_numbers_and_read_back(
        start in any_instant(),
        drawn in prop::collection::vec((0..4_000_000_i64, any_event()), 100..250),
    ) {
        let mut rig = Rig::new(hostile_plan());
        let mut now = Timestamp::from_millis(start);
        for (after, (event, time)) in drawn {
            now = now.after(Millis::new(after));
            let Drawn::Before(ms) = time else { continue };
            rig.accept(Event { time: now.before(Millis::new(ms)), ..event }, now);
        }
        is_kept(&rig, now)?;
        is_kept(&rig, now.after(Millis::HOUR))?;
    }

    /// Numbers of any size leave no trace of the order in which they came.
    #[test]
    fn any_numbers_in_any_order_leave_the_same_bits(
        (numbers, order) in prop::collection::vec((any_number(), 0..86_000_000_i64), 1..150)
            .prop_flat_map(|numbers| (Just(numbers.clone()), Just((0..numbers.len()).collect::<Vec<_>>()).prop_shuffle())),
    ) {
        let now = at(0);
        let mut vectors = Vec::new();
        for order in [(0..numbers.len()).collect::<Vec<_>>(), order] {
            let mut rig = Rig::new(wide_plan());
            for index in order {
                let (x, ago_ms) = numbers[index];
                rig.accept(event("a", index as u32, now.before(Millis::new(ago_ms)), Some(x)), now);
            }
            vectors.push(checked(&rig, &rig.profile, now.after(Millis::HOUR))?);
        }
        for (feature, slot) in rig_slots(&wide_plan()) {
            let bits = |vector: &vector::Vector| vector.numbers[slot].to_bits();
            prop_assert_eq!(bits(&vectors[0]), bits(&vectors[1]), "{}", feature);
        }
    }
}

fn rig_slots(plan: &Plan) -> Vec<(Arc<str>, usize)> {
    let numbers = plan.features.iter().filter_map(|feature| match feature.slot {
        Slot::Number(slot) => Some((feature.name.clone(), slot)),
        Slot::Text(_) => None,
    });
    numbers.collect()
}

/// Re-scores go on for as long as there is time, and no longer.
#[test]
fn re_scores_end_with_time() {
    let mut rig = crossing(Millis::ZERO, false);
    rig.plan.models[0].rescore_every = Some(Millis::DAY);
    let start = Timestamp::MAX.before(minutes(3 * 1_440));
    rig.accept(event("a", 0, start, Some(0.5)), start);
    rig.run_due(Timestamp::MAX);
    assert_eq!(rig.profile.next_due(), None);
    assert!(rig.steps.len() <= 5, "{}", rig.steps.len());
    rig.accept(event("a", 1, Timestamp::MAX, Some(0.5)), Timestamp::MAX);
    assert_eq!(rig.profile.next_due(), None);
}

/// A key of a megabyte is one key; the edge refuses it, the engine is not hurt by it.
#[test]
fn long_keys_and_empty_ones_are_keys() {
    let mut rig = Rig::new(hostile_plan());
    let long = "k".repeat(1 << 20);
    for (id, key) in ["", &long, "", &long].into_iter().enumerate() {
        let now = at(id as i64);
        rig.accept(with_y(event("a", id as u32, now, Some(1.0)), Some(key)), now);
    }
    is_kept(&rig, at(10)).expect("it is kept");
    let vector = rig.profile.read(&rig.plan, at(10));
    for (feature, spec) in rig.plan.features.iter().zip(specs()) {
        if let (Slot::Number(slot), 1, Some(1), Aggregate::Distinct) =
            (feature.slot, spec.series, spec.property, spec.aggregate)
            && spec.window != Window::PreviousSession
        {
            assert_eq!(vector.numbers[slot], 2.0, "{}", feature.name);
        }
    }
    assert_eq!(rig.profile.triggers[0].armings.len(), 2);
}

/// What is not of the type that a definition reads is missing, never a number.
#[test]
fn what_is_no_number_is_missing() {
    let of = |aggregate| Spec {
        series: 0,
        property: Some(0),
        aggregate,
        window: Window::Lifetime,
        is_text: false,
    };
    let specs = [of(Aggregate::Sum), of(Aggregate::Last), of(Aggregate::Count)];
    let table = [
        (Value::Text("12".into()), [0.0, f64::NAN, 1.0]),
        (Value::Number(f64::NAN), [0.0, f64::NAN, 1.0]),
        (Value::Number(f64::NEG_INFINITY), [0.0, f64::NAN, 1.0]),
        (Value::Number(1.1e140), [0.0, f64::NAN, 1.0]),
        (Value::Number(-0.0), [0.0, 0.0, 1.0]),
        (Value::Number(5e-324), [0.0, 0.0, 1.0]),
        (Value::Number(-1e-140), [-1e-140, -1e-140, 1.0]),
        // The nearest that there is.
        (Value::Integer(9_007_199_254_740_993), [9_007_199_254_740_992.0, 9_007_199_254_740_992.0, 1.0]),
        (Value::Integer(i64::MIN), [-9_223_372_036_854_775_808.0, -9_223_372_036_854_775_808.0, 1.0]),
        (Value::Bool(true), [1.0, 1.0, 1.0]),
        (Value::Time(Timestamp::MAX), [9_223_372_036_854_775_807.0, 9_223_372_036_854_775_807.0, 1.0]),
    ];
    for (value, expected) in table {
        let mut rig = Rig::new(plan(&[EventSelector::Any], &specs, Vec::new()));
        rig.accept(
            Event { properties: vec![("x".into(), value.clone())], ..event("a", 0, at(0), None) },
            at(0),
        );
        let vector = rig.profile.read(&rig.plan, at(0));
        let bits = |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&vector.numbers), bits(&expected), "{value:?}: {:?}", vector.numbers);
    }
}

/// Beyond the exact rows the distinct values of a lifetime are a sketch: small,
/// within the stated error, told, and the same in whatever order they came.
#[test]
fn a_lifetime_of_many_values_is_small_and_says_that_it_is_approximate() {
    const N: u32 = 5_000;
    let spec = Spec {
        series: 0,
        property: Some(1),
        aggregate: Aggregate::Distinct,
        window: Window::Lifetime,
        is_text: false,
    };
    let of_numbers = |order: &mut dyn Iterator<Item = u32>| {
        let mut rig = Rig::new(plan(&[EventSelector::Any], &[spec], Vec::new()));
        for (n, id) in order.enumerate() {
            let now = at(n as i64);
            // Each value comes twice.
            for id in [id, id + N] {
                let value = format!("page-{}", id % N);
                rig.accept(with_y(event("a", id, at(-i64::from(id)), None), Some(&value)), now);
            }
            rig.profile.seen = Default::default();
        }
        rig
    };
    let exact = of_numbers(&mut (0..EXACT_ROWS as u32));
    assert_eq!(exact.profile.read(&exact.plan, at(9_999)).numbers, [EXACT_ROWS as f64]);
    assert_eq!(exact.profile.approximate(&exact.plan, at(9_999)), [false]);
    assert!(!exact.profile.may_be_approximate(&exact.plan, at(9_999)));

    let rig = of_numbers(&mut (0..N));
    assert_eq!(rig.profile.approximate(&rig.plan, at(9_999)), [true]);
    assert!(rig.profile.may_be_approximate(&rig.plan, at(9_999)));
    let n = rig.profile.read(&rig.plan, at(9_999)).numbers[0];
    assert!((n / f64::from(N) - 1.0).abs() < 3.0 * 0.016_25, "{n}");
    let Explanation::Lifetime(totals) = rig.profile.explain(&rig.plan, &rig.plan.features[0], at(9_999))
    else {
        panic!("a lifetime")
    };
    assert_eq!((totals.n_distinct, totals.n_events), (Some(n as u64), 2 * u64::from(N)));

    let lifetimes = |rig: &Rig| rig.profile.series[0].as_deref().expect("events came").lifetimes()[0].clone();
    let reversed = of_numbers(&mut (0..N).rev());
    assert_eq!(lifetimes(&rig).distinct, lifetimes(&reversed).distinct);
    let bytes = encode_profile(&rig.plan, &rig.profile);
    assert!(bytes.len() < 5_000, "{}", bytes.len());
    let stored = decode_profile(&rig.plan, &bytes).expect("reads back");
    assert_eq!(stored.read(&rig.plan, at(9_999)).numbers, [n]);
    assert_eq!(encode_profile(&rig.plan, &stored), bytes);
}
