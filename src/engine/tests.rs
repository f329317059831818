//! The engine against a naive model, at its boundary.

mod bounds;
mod packing;
mod provenance;
mod sessions;
mod shadows;
mod swaps;

use std::sync::Arc;

use proptest::prelude::*;

use super::codec::{decode_profile, decode_step, encode_profile, encode_step};
use super::decision::Gate;
use super::event::Value;
use super::plan::*;
use super::session::{KEPT_SESSIONS, Session};
use super::vector::Slot;
use super::*;

const USER: &str = "ada";

fn text(text: &str) -> Arc<str> {
    text.into()
}

fn no_models() -> Models {
    Models::default()
}

/// What a feature reads: of a series, a property of it, over a window.
#[derive(Clone, Copy, Debug)]
struct Spec {
    series: usize,
    property: Option<usize>,
    aggregate: Aggregate,
    window: Window,
    is_text: bool,
}

/// The half-life of every decayed feature.
const HALF_LIFE: Millis = minutes(150);
const DECAYED: Aggregate = Aggregate::Decayed { decay: usize::MAX };

/// A plan over event types `a` and `b` with a number `x` and a text `y`.
fn plan(series: &[EventSelector], specs: &[Spec], triggers: Vec<TriggerPlan>) -> Plan {
    let (mut event_types, mut properties) = (Names::default(), Names::default());
    event_types.intern("a");
    event_types.intern("b");
    properties.intern("x");
    properties.intern("y");
    let mut series: Vec<SeriesPlan> =
        series.iter().map(|selector| SeriesPlan::new(text(""), *selector, None)).collect();
    let (mut n_numbers, mut n_texts) = (0, 0);
    let mut features = Vec::new();
    for spec in specs {
        let slot = if spec.is_text { Slot::Text(n_texts) } else { Slot::Number(n_numbers) };
        *if spec.is_text { &mut n_texts } else { &mut n_numbers } += 1;
        let of = &mut series[spec.series];
        let aggregate = match spec.aggregate {
            Aggregate::Decayed { .. } => of.add_decay(slot, spec.property, HALF_LIFE),
            aggregate => {
                of.add(slot, aggregate, spec.property, spec.window);
                aggregate
            }
        };
        features.push(FeaturePlan {
            name: format!("{spec:?}").into(),
            digest: text(""),
            slot,
            is_bool: false,
            reads: Vec::new(),
            kind: FeatureKind::Aggregate { series: spec.series, aggregate, window: spec.window },
        });
    }
    Plan {
        digest: text("test"),
        source: text(""),
        event_types,
        properties,
        traits: Names::default(),
        n_numbers,
        n_texts,
        series,
        features,
        labels: Vec::new(),
        models: Vec::new(),
        triggers,
        caps: Vec::new(),
        lookups: Vec::new(),
        bounds: TimeBounds { lateness: Millis::DAY, skew: minutes(5), session_gap: minutes(30) },
        sessions: SessionPlan { longest_window: Millis::ZERO, max_kept: EXACT_ROWS },
    }
}

fn absence(wait: Millis, key: Option<usize>, on_repeat: OnRepeat) -> TriggerPlan {
    TriggerPlan {
        name: text("absent"),
        digest: text(""),
        enabled: true,
        kind: TriggerKind::Absence {
            after: EventSelector::Type(0),
            filter: None,
            without: vec![EventSelector::Type(1)],
            wait,
            key,
            on_repeat,
        },
        when: None,
        unless: None,
        cooldown: Millis::ZERO,
        holdout: 0.0,
        variants: Vec::new(),
        time_to_live: Millis::DAY,
    }
}

fn event(kind: &str, id: u32, time: Timestamp, x: Option<f64>) -> Event {
    let id = format!("event-{id}");
    Event {
        uid: EventUid::of_id(&id),
        id: Some(id.into()),
        kind: kind.into(),
        time,
        anonymous_id: None,
        properties: x.map(|x| ("x".into(), Value::Number(x))).into_iter().collect(),
    }
}

fn with_y(mut event: Event, y: Option<&str>) -> Event {
    event.properties.extend(y.map(|y| ("y".into(), Value::Text(y.into()))));
    event
}

/// One user's state under one plan, driven by hand.
struct Rig {
    plan: Plan,
    models: Models,
    user: UserId,
    profile: Profile,
    sequence: Sequence,
    steps: Vec<Step>,
}

impl Rig {
    fn new(plan: Plan) -> Self {
        let profile = Profile::new(&plan);
        let sequence = Sequence { virtual_shard: 7, next: 0 };
        Self { plan, models: no_models(), user: UserId::known(USER), profile, sequence, steps: Vec::new() }
    }

    fn accept(&mut self, event: Event, now: Timestamp) -> Acceptance {
        let engine = Engine { plan: &self.plan, models: &self.models };
        engine.accept(&self.user, &mut self.profile, event, now, &mut self.sequence, &mut self.steps)
    }

    fn run_due(&mut self, until: Timestamp) {
        let engine = Engine { plan: &self.plan, models: &self.models };
        engine.run_due(&self.user, &mut self.profile, until, &mut self.sequence, &mut self.steps);
    }

    /// Trigger, key and instant of every firing so far.
    fn firings(&self) -> Vec<(Option<Arc<str>>, i64)> {
        let decisions = self.steps.iter().filter_map(|step| step.decision.as_ref());
        decisions
            .flat_map(|decision| {
                decision
                    .outcomes
                    .iter()
                    .filter(|outcome| outcome.action.is_firing())
                    .map(|outcome| (outcome.key.clone(), decision.as_of.time.as_millis()))
            })
            .collect()
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

const fn minutes(n: i64) -> Millis {
    Millis::new(n * 60_000)
}

#[derive(Clone, Debug)]
struct Arriving {
    event: Event,
    /// Before the arrival, within the lateness; negative is ahead of it, within the skew.
    arrival: Timestamp,
}

/// Of the events themselves.
const OF_EVENTS: [Aggregate; 5] = [
    Aggregate::Count,
    Aggregate::TimeSinceFirst,
    Aggregate::TimeSinceLast,
    Aggregate::MeanGap,
    Aggregate::Duration,
];

/// Of a property.
const OF_PROPERTY: [Aggregate; 9] = [
    Aggregate::Sum,
    Aggregate::Mean,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::Std,
    Aggregate::Distinct,
    Aggregate::First,
    Aggregate::Last,
    Aggregate::MostFrequent,
];

const WINDOWS: [Window; 6] = [
    Window::Sliding(minutes(5)),
    Window::Sliding(minutes(90)),
    Window::Sliding(Millis::DAY),
    Window::Session,
    Window::PreviousSession,
    Window::Lifetime,
];

const SERIES: [EventSelector; 3] = [EventSelector::Any, EventSelector::Type(0), EventSelector::Type(1)];

/// Every aggregate over every window of three series.
fn specs() -> Vec<Spec> {
    let mut specs = Vec::new();
    for series in 0..SERIES.len() {
        let properties = [None, Some(0), Some(1)];
        for (window, property) in WINDOWS.into_iter().flat_map(|window| properties.map(|p| (window, p))) {
            let spec = |aggregate| Spec { series, property, aggregate, window, is_text: false };
            specs.extend(OF_EVENTS.map(spec));
            if property == Some(0) {
                specs.extend(OF_PROPERTY.map(spec));
            }
            if property == Some(1) {
                specs.push(spec(Aggregate::Distinct));
                let texts = [Aggregate::First, Aggregate::Last, Aggregate::MostFrequent];
                specs.extend(texts.map(|aggregate| Spec { is_text: true, ..spec(aggregate) }));
            }
            if matches!(window, Window::Sliding(_)) && property != Some(1) {
                specs.extend([Aggregate::Rate, Aggregate::Trend].map(spec));
            }
            if window == Window::Lifetime && property != Some(1) {
                specs.push(spec(DECAYED));
            }
        }
    }
    specs.retain(|spec| spec.aggregate != Aggregate::MostFrequent || spec.window != Window::Lifetime);
    specs
}

fn wide_plan() -> Plan {
    plan(&SERIES, &specs(), Vec::new())
}

/// The sessions of some events, by the definition, as (start, end, events).
fn naive_sessions(times: &[Timestamp], gap: Millis) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    for &time in times {
        match sessions.last_mut() {
            Some(last) if time.since(last.end) < gap => {
                last.end = time;
                last.n_events += 1;
            }
            _ => sessions.push(Session { start: time, end: time, n_events: 1 }),
        }
    }
    sessions
}

#[derive(Debug, PartialEq)]
enum Naive {
    Number(f64),
    Text(Option<Arc<str>>),
}

/// The definition, word for word: filter, sort canonically, aggregate.
fn naive(plan: &Plan, spec: &Spec, accepted: &[Event], now: Timestamp) -> Naive {
    let series = &plan.series[spec.series];
    let gap = plan.bounds.session_gap;
    let mut accepted: Vec<&Event> = accepted.iter().collect();
    accepted.sort_by_key(|event| (event.time, event.uid));
    let times: Vec<Timestamp> = accepted.iter().map(|event| event.time).collect();
    let sessions = naive_sessions(&times, gap);
    let is_open = |session: &&Session| now.since(session.end) < gap;
    let within = |session: Option<&Session>, time: Timestamp| {
        session.is_some_and(|session| (session.start..=session.end).contains(&time))
    };
    let name = spec.property.map(|property| &**plan.properties.name(property));
    let value = |event: &Event| {
        let mut properties = event.properties.iter();
        Some(properties.find(|(property, _)| Some(&**property) == name)?.1.clone())
    };
    let events: Vec<&Event> = accepted
        .into_iter()
        .filter(|event| match series.event {
            EventSelector::Any => true,
            EventSelector::Type(index) => **plan.event_types.name(index) == *event.kind,
        })
        .filter(|event| spec.property.is_none() || value(event).is_some())
        .filter(|event| match spec.window {
            Window::Lifetime => true,
            Window::Sliding(length) => event.time > now.before(length) && event.time <= now,
            Window::Session => within(sessions.last().filter(is_open), event.time),
            Window::PreviousSession => {
                within(sessions.iter().rev().find(|session| !is_open(session)), event.time)
            }
        })
        .collect();
    let numbers: Vec<f64> = events.iter().filter_map(|event| value(event)?.as_number()).collect();
    let texts: Vec<Arc<str>> = events.iter().filter_map(|event| value(event)?.as_text().cloned()).collect();
    let bits: Vec<u64> = numbers.iter().map(|number| (number + 0.0).to_bits()).collect();
    if spec.is_text {
        return Naive::Text(match spec.aggregate {
            Aggregate::First => texts.first().cloned(),
            Aggregate::Last => texts.last().cloned(),
            _ => most_frequent(&texts).cloned(),
        });
    }
    let nan = f64::NAN;
    let seconds = |from: Option<&&Event>, to: Option<&&Event>| match (from, to) {
        (Some(from), Some(to)) => to.time.since(from.time).as_seconds(),
        _ => nan,
    };
    let since = |event: Option<&&Event>| event.map_or(nan, |event| now.since(event.time).as_seconds());
    let n = events.len() as f64;
    // The values are multiples of 1/8: a plain sum is exact.
    let amount = |from: Timestamp, to: Timestamp| {
        let among = events.iter().filter(|event| event.time > from && event.time <= to);
        match name {
            None => among.count() as f64,
            Some(_) => among.filter_map(|event| value(event)?.as_number()).sum(),
        }
    };
    Naive::Number(match spec.aggregate {
        Aggregate::Count => n,
        Aggregate::Sum => numbers.iter().sum(),
        Aggregate::Mean => numbers.iter().sum::<f64>() / numbers.len() as f64,
        Aggregate::Min => numbers.iter().copied().fold(nan, f64::min),
        Aggregate::Max => numbers.iter().copied().fold(nan, f64::max),
        Aggregate::Std if numbers.len() < 2 => nan,
        Aggregate::Std => {
            let eighths: Vec<i128> = numbers.iter().map(|number| (number * 8.0) as i128).collect();
            let sum: i128 = eighths.iter().sum();
            let spread = n as i128 * eighths.iter().map(|x| x * x).sum::<i128>() - sum * sum;
            (spread as f64 / 64.0 / (n * (n - 1.0))).sqrt()
        }
        Aggregate::Distinct => {
            let keys = bits.iter().map(u64::to_string).chain(texts.iter().map(|text| text.to_string()));
            keys.collect::<std::collections::BTreeSet<_>>().len() as f64
        }
        Aggregate::First => numbers.first().copied().unwrap_or(nan),
        Aggregate::Last => numbers.last().copied().unwrap_or(nan),
        Aggregate::MostFrequent => most_frequent(&bits).map_or(nan, |bits| f64::from_bits(*bits)),
        Aggregate::TimeSinceFirst => since(events.first()),
        Aggregate::TimeSinceLast => since(events.last()),
        Aggregate::MeanGap if events.len() < 2 => nan,
        Aggregate::MeanGap => seconds(events.first(), events.last()) / (n - 1.0),
        Aggregate::Duration => seconds(events.first(), events.last()),
        Aggregate::Rate | Aggregate::Trend => {
            let Window::Sliding(length) = spec.window else { unreachable!() };
            if spec.aggregate == Aggregate::Rate {
                amount(now.before(length), now) / length.as_seconds()
            } else {
                let middle = now.before(Millis::new(length.as_millis() / 2));
                let before = amount(now.before(length), middle);
                if before == 0.0 { nan } else { amount(middle, now) / before }
            }
        }
        Aggregate::Decayed { .. } => {
            let weigh = |event: &&Event| {
                let term = if name.is_some() { value(event)?.as_number()? } else { 1.0 };
                Some(term * (-now.since(event.time).as_seconds() / HALF_LIFE.as_seconds()).exp2())
            };
            events.iter().filter_map(weigh).sum()
        }
    })
}

/// The item that most are; of several, the one whose last comes latest.
fn most_frequent<T: PartialEq>(items: &[T]) -> Option<&T> {
    let score = |&at: &usize| (items.iter().filter(|item| **item == items[at]).count(), at);
    (0..items.len())
        .filter(|&at| !items[at + 1..].contains(&items[at]))
        .max_by_key(score)
        .map(|at| &items[at])
}

/// Events over two days, each arriving up to a day late or five minutes early, in arrival order.
fn arrivals(max: usize) -> impl Strategy<Value = Vec<Arriving>> {
    let y = prop::option::of(prop::sample::select(vec!["red", "green", "blue"]));
    let x = prop::option::of(-16..16_i32);
    let one = (0..2_i64 * 1_440, -5..1_440_i64, prop::bool::ANY, x, y);
    prop::collection::vec(one, 0..max).prop_map(|drawn| {
        let mut arriving: Vec<Arriving> = drawn
            .into_iter()
            .enumerate()
            .map(|(id, (minute, late, is_a, x, y))| {
                let time = at(minute * 60_000);
                let kind = if is_a { "a" } else { "b" };
                let event = with_y(event(kind, id as u32, time, x.map(|x| f64::from(x) / 8.0)), y);
                Arriving { event, arrival: time.after(minutes(late)) }
            })
            .collect();
        arriving.sort_by_key(|arriving| arriving.arrival);
        arriving
    })
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a == 0.0 && b == 0.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// At every arrival, and later, every feature is what the definition says
    /// of the events accepted so far.
    #[test]
    fn features_equal_a_naive_recomputation(arrivals in arrivals(60), later in 0..3_000_i64) {
        agrees_with_naive(arrivals, later, 1)?;
    }

    /// The same events in any order within the lateness give the same bits.
    #[test]
    fn arrival_order_leaves_no_trace(
        (drawn, shuffled) in arrivals(150).prop_flat_map(|arrivals| (Just(arrivals.clone()), Just(arrivals).prop_shuffle())),
    ) {
        // All arrive in one minute after the last; none is more than a day late.
        let now = at(2 * 86_400_000);
        let within = |arriving: &&Arriving| arriving.event.time > now.before(minutes(1_430));
        let mut vectors = Vec::new();
        for order in [&drawn, &shuffled] {
            let mut rig = Rig::new(wide_plan());
            for (index, arriving) in order.iter().filter(within).enumerate() {
                let arrival = now.after(Millis::new(index as i64));
                prop_assert!(matches!(rig.accept(arriving.event.clone(), arrival), Acceptance::Accepted(_)));
            }
            vectors.push(rig.profile.read(&rig.plan, now.after(minutes(5))));
        }
        prop_assert!(vectors[0].same_bits(&vectors[1]));
    }

    /// Sessions are what the definition says of the events accepted so far,
    /// however late one comes to bridge two of them.
    #[test]
    fn sessions_equal_a_naive_recomputation(arrivals in arrivals(60), gap in 1..120_i64) {
        let mut plan = wide_plan();
        plan.bounds.session_gap = minutes(gap);
        let mut rig = Rig::new(plan);
        let mut times = Vec::new();
        for Arriving { event, arrival } in arrivals {
            times.push(event.time.min(arrival));
            times.sort_unstable();
            rig.accept(event, arrival);
            let expected = naive_sessions(&times, minutes(gap));
            let latest: Vec<Session> = expected.into_iter().rev().take(KEPT_SESSIONS).collect();
            prop_assert_eq!(rig.profile.sessions.latest().copied().collect::<Vec<_>>(), latest);
        }
    }

    /// An absence trigger's armings depend on the set of events only, and a
    /// fold of the recorded steps gives the state that deciding gave.
    #[test]
    fn folding_recorded_steps_rebuilds_the_state(arrivals in arrivals(60), keyed in prop::bool::ANY, keep in prop::bool::ANY) {
        let on_repeat = if keep { OnRepeat::Keep } else { OnRepeat::Reset };
        let trigger = absence(minutes(45), keyed.then_some(0), on_repeat);
        let mut rig = Rig::new(Plan { triggers: vec![trigger], ..wide_plan() });
        let mut last = at(0);
        for Arriving { event, arrival } in arrivals {
            last = arrival;
            rig.accept(event, arrival);
        }
        rig.run_due(last.after(Millis::DAY));
        prop_assert_eq!(rig.profile.next_due(), None);
        let mut rebuilt = Profile::new(&rig.plan);
        for step in &rig.steps {
            let mut bytes = Vec::new();
            encode_step(&rig.plan, &rig.user, step, &mut bytes);
            let (user, step) = decode_step(&rig.plan, &bytes).expect("reads back");
            fold(&rig.plan, &user, &mut rebuilt, &step);
        }
        prop_assert_eq!(encode_profile(&rig.plan, &rebuilt), encode_profile(&rig.plan, &rig.profile));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The same of more events than are read one by one.
    #[test]
    fn many_events_equal_a_naive_recomputation(arrivals in arrivals(400), later in 0..3_000_i64) {
        agrees_with_naive(arrivals, later, 37)?;
    }
}

/// Nothing that a sender may give leaves anything but finite numbers behind.
#[test]
fn numbers_of_any_size_leave_finite_sums() {
    let extremes =
        [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -0.0, 1e140, -1e140, 9_007_199_254_740_993.0, 1e-300];
    let mut rig = Rig::new(wide_plan());
    for n in 0..500 {
        let x = extremes[n as usize * 7 % extremes.len()];
        rig.accept(event("a", n, at(i64::from(n) * 1_000), Some(x)), at(i64::from(n) * 1_000));
    }
    let bytes = encode_profile(&rig.plan, &rig.profile);
    let stored = decode_profile(&rig.plan, &bytes).expect("only finite sums are read back");
    let now = at(500_000);
    let vector = rig.profile.read(&rig.plan, now);
    assert!(stored.read(&rig.plan, now).same_bits(&vector));
    for (feature, spec) in rig.plan.features.iter().zip(specs()) {
        let Slot::Number(slot) = feature.slot else { continue };
        let is_of_x = spec.series == 1 && spec.property == Some(0);
        // There was nothing before that a trend could compare with.
        if is_of_x && spec.window == Window::Sliding(Millis::DAY) && spec.aggregate != Aggregate::Trend {
            assert!(vector.numbers[slot].is_finite(), "{}", feature.name);
        }
    }
}

/// A lifetime's last text is one text, however many there were and without a row.
#[test]
fn texts_that_nothing_reads_any_more_are_forgotten() {
    let last = Spec {
        series: 0,
        property: Some(1),
        aggregate: Aggregate::Last,
        window: Window::Lifetime,
        is_text: true,
    };
    let mut rig = Rig::new(plan(&[EventSelector::Any], &[last], Vec::new()));
    for n in 0..1_000 {
        let now = at(i64::from(n));
        rig.accept(with_y(event("a", n, now, None), Some(&format!("page-{n}"))), now);
    }
    let series = rig.profile.series[0].as_deref().expect("events came");
    assert!(series.texts().len() < 10, "{}", series.texts().len());
    assert_eq!(rig.profile.read(&rig.plan, at(1_000)).texts[0].as_deref(), Some("page-999"));
}

/// A user whom no budget holds: short windows stay exact, long ones are within
/// the stated error, and what is kept is bounded.
#[test]
fn beyond_the_budget_windows_are_approximate_and_small() {
    const N: i64 = 60_000;
    let mut plan = wide_plan();
    plan.series.iter_mut().for_each(|series| series.exact_rows = 256);
    let mut rig = Rig::new(plan);
    let mut accepted = Vec::new();
    let start = at(0);
    for n in 0..N {
        // A burst every hour, and every tenth event late by up to two hours.
        let now = start.after(Millis::new(n * 2_000));
        let time = if n % 10 == 0 { now.before(Millis::new(n * 7_919 % 7_200_000)) } else { now };
        let x = (n % 7 != 0).then(|| (n * 7_919 % 5_000) as f64 / 8.0);
        let event = Event { id: None, uid: EventUid::UNMINTED, ..event("a", 0, time, x) };
        assert!(matches!(rig.accept(event.clone(), now), Acceptance::Accepted(_)));
        accepted.push(Event { uid: EventUid::minted(7, n as u64), ..event });
        rig.steps.clear();
    }
    let now = start.after(Millis::new((N - 1) * 2_000));
    let vector = rig.profile.read(&rig.plan, now);
    let mut n_approximate = 0;
    for (feature, spec) in rig.plan.features.iter().zip(specs()) {
        let Slot::Number(slot) = feature.slot else { continue };
        if spec.series != 1 || spec.window != Window::Sliding(Millis::DAY) && spec.window != WINDOWS[0] {
            continue;
        }
        let Naive::Number(exact) = naive(&rig.plan, &spec, &accepted, now) else { unreachable!() };
        let value = vector.numbers[slot];
        if spec.window == WINDOWS[0] {
            assert!(same(value, exact), "{}: {value}, exactly {exact}", feature.name);
            continue;
        }
        // A seventh of what is later at most, and three standard errors of a sketch.
        let permitted = match spec.aggregate {
            Aggregate::Distinct => 3.0 * 0.065,
            Aggregate::First | Aggregate::MostFrequent => continue,
            _ => 1.0 / 7.0,
        };
        let error = value / exact - 1.0;
        assert!(error.abs() <= permitted || same(value, exact), "{}: {value}, exactly {exact}", feature.name);
        n_approximate += usize::from(!same(value, exact));
    }
    assert!(n_approximate > 3);
    let bytes = encode_profile(&rig.plan, &rig.profile);
    assert!(bytes.len() < 256 << 10, "{}", bytes.len());
    let stored = decode_profile(&rig.plan, &bytes).expect("reads back");
    assert!(stored.read(&rig.plan, now).same_bits(&vector));
    assert_eq!(encode_profile(&rig.plan, &stored), bytes);
    // As time passes, all of it goes.
    let later = now.after(Millis::DAY).after(Millis::new(1));
    rig.accept(event("a", 1, later, None), later);
    let vector = rig.profile.read(&rig.plan, later);
    for (feature, spec) in rig.plan.features.iter().zip(specs()) {
        if let (Slot::Number(slot), Aggregate::Count, Window::Sliding(_), None, 1) =
            (feature.slot, spec.aggregate, spec.window, spec.property, spec.series)
        {
            assert_eq!(vector.numbers[slot], 1.0);
        }
    }
}

fn agrees_with_naive(arrivals: Vec<Arriving>, later: i64, every: usize) -> Result<(), TestCaseError> {
    let mut rig = Rig::new(wide_plan());
    let mut accepted: Vec<Event> = Vec::new();
    let mut now = at(0);
    for (index, Arriving { event, arrival }) in arrivals.into_iter().enumerate() {
        now = arrival;
        prop_assert!(matches!(rig.accept(event.clone(), now), Acceptance::Accepted(_)));
        accepted.push(Event { time: event.time.min(now), ..event });
        if index % every == 0 {
            check(&rig, &accepted, now)?;
        }
    }
    check(&rig, &accepted, now)?;
    check(&rig, &accepted, now.after(minutes(later)))?;
    let bytes = encode_profile(&rig.plan, &rig.profile);
    let stored = decode_profile(&rig.plan, &bytes).expect("reads back");
    prop_assert!(stored.read(&rig.plan, now).same_bits(&rig.profile.read(&rig.plan, now)));
    prop_assert_eq!(encode_profile(&rig.plan, &stored), bytes);
    Ok(())
}

fn check(rig: &Rig, accepted: &[Event], now: Timestamp) -> Result<(), TestCaseError> {
    let vector = rig.profile.read(&rig.plan, now);
    for (feature, spec) in rig.plan.features.iter().zip(specs()) {
        agrees(feature, &spec, &vector, &naive(&rig.plan, &spec, accepted, now))?;
    }
    Ok(())
}

fn agrees(
    feature: &FeaturePlan,
    spec: &Spec,
    vector: &vector::Vector,
    expected: &Naive,
) -> Result<(), TestCaseError> {
    let is_equal = match (feature.slot, expected) {
        (Slot::Number(slot), Naive::Number(expected)) => {
            let number = vector.numbers[slot];
            match spec.aggregate {
                // A naive sum of weights is not exact.
                Aggregate::Decayed { .. } => (number - expected).abs() <= 1e-9,
                _ => same(number, *expected),
            }
        }
        (Slot::Text(slot), Naive::Text(expected)) => vector.texts[slot] == *expected,
        _ => false,
    };
    prop_assert!(
        is_equal,
        "{} is {:?}, by the definition {expected:?}",
        feature.name,
        match feature.slot {
            Slot::Number(slot) => Naive::Number(vector.numbers[slot]),
            Slot::Text(slot) => Naive::Text(vector.texts[slot].clone()),
        }
    );
    Ok(())
}

#[test]
fn bounds_and_duplicates() {
    let mut rig = Rig::new(wide_plan());
    let now = at(10 * 86_400_000);
    assert!(matches!(rig.accept(event("a", 1, now, None), now), Acceptance::Accepted(_)));
    assert_eq!(rig.accept(event("a", 1, now, None), now), Acceptance::Duplicate);
    let late = now.before(Millis::DAY).before(Millis::new(1));
    assert_eq!(rig.accept(event("a", 2, late, None), now), Acceptance::Late { by: Millis::new(1) });
    let future = now.after(minutes(5)).after(Millis::new(1));
    assert_eq!(rig.accept(event("a", 3, future, None), now), Acceptance::Future { by: Millis::new(1) });
    assert_eq!(rig.profile.n_events, 1, "refused events leave no trace");
    // A stamp ahead within the skew is clamped, so it is in every window now.
    assert!(matches!(rig.accept(event("a", 4, now.after(minutes(4)), None), now), Acceptance::Accepted(_)));
    assert_eq!(rig.profile.sessions.latest().next().map(|session| session.end), Some(now));
    // Beyond the horizon a uid is forgotten.
    let again = now.after(minutes(5)).after(Millis::DAY).after(Millis::new(1));
    assert!(matches!(rig.accept(event("a", 1, again, None), again), Acceptance::Accepted(_)));
}

#[test]
fn absence_fires_at_its_instant_without_traffic() {
    let mut rig = Rig::new(plan(&[], &[], vec![absence(minutes(30), None, OnRepeat::Reset)]));
    rig.accept(event("a", 1, at(0), None), at(0));
    rig.accept(event("a", 2, at(600_000), None), at(600_000));
    rig.run_due(at(600_000 + 30 * 60_000 - 1));
    assert_eq!(rig.firings(), []);
    // Reached an hour late, it still decides as of its due instant.
    rig.run_due(at(600_000 + 90 * 60_000));
    assert_eq!(rig.firings(), [(None, at(600_000 + 30 * 60_000).as_millis())]);
    rig.run_due(at(86_400_000));
    assert_eq!(rig.firings().len(), 1);
}

#[test]
fn absence_is_answered_per_key_and_by_late_events() {
    let trigger = absence(minutes(30), Some(0), OnRepeat::Reset);
    let mut rig = Rig::new(plan(&[], &[], vec![trigger]));
    rig.accept(event("a", 1, at(0), Some(1.0)), at(0));
    rig.accept(event("a", 2, at(0), Some(2.0)), at(0));
    rig.accept(event("b", 3, at(60_000), Some(1.0)), at(120_000));
    // An arming event that comes after its answer does not arm.
    rig.accept(event("b", 4, at(60_000), Some(3.0)), at(180_000));
    rig.accept(event("a", 5, at(30_000), Some(3.0)), at(240_000));
    // Nor does one without the key.
    rig.accept(event("a", 6, at(240_000), None), at(240_000));
    rig.run_due(at(86_400_000));
    assert_eq!(rig.firings(), [(Some(text("2")), at(30 * 60_000).as_millis())]);
}

#[test]
fn an_answer_at_the_same_instant_is_one_whatever_the_uids_and_the_order() {
    for (arming, answer) in [(1, 2), (2, 1)] {
        let events = [event("a", arming, at(0), None), event("b", answer, at(0), None)];
        for order in [[0, 1], [1, 0]] {
            let trigger = absence(minutes(30), None, OnRepeat::Reset);
            let mut rig = Rig::new(plan(&[], &[], vec![trigger]));
            for index in order {
                rig.accept(events[index].clone(), at(0));
            }
            rig.run_due(at(86_400_000));
            assert_eq!(rig.firings(), []);
        }
    }
}

#[test]
fn timers_due_by_an_arrival_run_before_it() {
    let mut rig = Rig::new(plan(&[], &[], vec![absence(minutes(30), None, OnRepeat::Reset)]));
    rig.accept(event("a", 1, at(0), None), at(0));
    // The answer arrives exactly when the wait ends: too late.
    rig.accept(event("b", 2, at(30 * 60_000), None), at(30 * 60_000));
    assert_eq!(rig.firings(), [(None, at(30 * 60_000).as_millis())]);
    let times: Vec<_> =
        rig.steps.iter().map(|step| (step.arrival.time.as_millis(), step.arrival.sequence)).collect();
    assert_eq!(
        times,
        [(at(0).as_millis(), 0), (at(1_800_000).as_millis(), 1), (at(1_800_000).as_millis(), 2)]
    );
}

/// A scorer that reads its score from the first feature.
#[derive(Debug)]
struct Echo {
    /// Added to it.
    shift: f64,
}

impl model::Scorer for Echo {
    fn n_inputs(&self) -> usize {
        1
    }

    fn n_outputs(&self) -> usize {
        1
    }

    fn score(&self, row: &[f64], raw: &mut [f64]) {
        raw[0] = row[0] + self.shift;
    }

    fn contributions(&self, row: &[f64], _output: usize) -> Option<Vec<f64>> {
        Some(vec![row[0], 0.0])
    }
}

fn echo(version: u32, shift: f64) -> Arc<model::Model> {
    Arc::new(model::Model {
        name: text("echo"),
        version,
        inputs: vec![0],
        input_names: vec![text("last")],
        outputs: vec![model::Output { name: text("p"), kind: model::OutputKind::Value }],
        link: model::Link::Identity,
        calibration: calibration::Calibration::None,
        scorer: Box::new(Echo { shift }),
    })
}

fn crossing(cooldown: Millis, falling: bool) -> Rig {
    let trigger = TriggerPlan {
        name: text("likely"),
        kind: TriggerKind::Score {
            model: 0,
            fire_at: if falling { 0.25 } else { 0.75 },
            rearm_at: 0.5,
            falling,
        },
        cooldown,
        ..absence(Millis::ZERO, None, OnRepeat::Reset)
    };
    let mut plan = plan(
        &[EventSelector::Type(0)],
        &[Spec {
            series: 0,
            property: Some(0),
            aggregate: Aggregate::Last,
            window: Window::Lifetime,
            is_text: false,
        }],
        vec![trigger],
    );
    plan.models.push(ModelPlan {
        name: text("echo"),
        label: None,
        features: vec![0],
        score_on: vec![EventSelector::Type(0)],
        score_on_session_end: false,
        rescore_every: None,
    });
    let mut rig = Rig::new(plan);
    rig.models.serving.push(Some(echo(3, 0.0)));
    rig.profile = Profile::new(&rig.plan);
    rig
}

fn actions(rig: &mut Rig, scores: &[f64]) -> Vec<&'static str> {
    let start = rig.steps.len() as u32;
    for (index, score) in scores.iter().enumerate() {
        let index = start + index as u32;
        let now = at(i64::from(index) * 60_000);
        rig.accept(event("a", index, now, Some(*score)), now);
    }
    let decided = rig.steps[start as usize..].iter().filter_map(|step| step.decision.as_ref());
    decided
        .map(|decision| match decision.outcomes.as_slice() {
            [] => "-",
            [outcome] => match &outcome.action {
                Action::Fired { .. } => "fired",
                Action::HeldOut { .. } => "held out",
                Action::Suppressed { gate } => gate.name(),
                Action::Rearmed => "rearmed",
                Action::Baselined => "baselined",
            },
            _ => "several",
        })
        .collect()
}

#[test]
fn crossings_fire_once_until_rearmed() {
    let mut rig = crossing(Millis::ZERO, false);
    assert_eq!(
        actions(&mut rig, &[0.2, 0.75, 0.9, 0.6, 0.8, 0.49, 0.7, 0.8]),
        ["-", "fired", "-", "-", "-", "rearmed", "-", "fired"]
    );
    let mut rig = crossing(Millis::ZERO, true);
    assert_eq!(
        actions(&mut rig, &[0.9, 0.2, 0.1, 0.4, 0.6, 0.25]),
        ["-", "fired", "-", "-", "rearmed", "fired"]
    );
    let decision = rig.steps[1].decision.as_ref().expect("decided");
    assert_eq!((decision.scores[0].version, decision.scores[0].raw), (3, 0.2));
    assert_eq!(decision.outcomes[0].reasons[0].contribution, 0.2);
}

#[test]
fn nothing_is_decided_on_a_model_that_gives_no_score() {
    let of_probability = |falling| {
        let mut rig = crossing(Millis::ZERO, falling);
        let model = rig.models.serving[0].as_mut().and_then(Arc::get_mut).expect("not shared yet");
        model.outputs[0].kind = model::OutputKind::Probability;
        rig
    };
    // -3 and 1.5 are no probabilities: neither crosses, rearms or replaces the last score.
    let mut rig = of_probability(true);
    assert_eq!(actions(&mut rig, &[0.9, -3.0, 0.2, 1.5, 0.6]), ["-", "-", "fired", "-", "rearmed"]);
    let decided: Vec<_> = rig.steps.iter().filter_map(|step| step.decision.as_ref()).collect();
    assert_eq!((decided[1].scores.len(), &decided[1].unscored[..]), (0, &[0][..]));
    assert_eq!((decided[2].scores.len(), &decided[2].unscored[..]), (1, &[][..]));
    let mut rig = of_probability(false);
    actions(&mut rig, &[0.3, 7.0]);
    assert_eq!(rig.profile.last_scores(), [0.3]);
}

#[test]
fn a_standing_suppression_is_recorded_once() {
    let mut rig = crossing(minutes(4), false);
    // Fired at minute 1; crosses again within the cooldown, and fires once it is over.
    assert_eq!(
        actions(&mut rig, &[0.2, 0.8, 0.2, 0.8, 0.8, 0.8]),
        ["-", "fired", "rearmed", "cooldown", "-", "fired"]
    );
}

#[test]
fn gates_close_in_order_and_the_holdout_consumes_them() {
    let mut rig = crossing(minutes(2), false);
    rig.plan.triggers[0].holdout = 1.0;
    assert_eq!(actions(&mut rig, &[0.8, 0.2, 0.8]), ["held out", "rearmed", "held out"]);
    rig.plan.triggers[0].enabled = false;
    assert_eq!(actions(&mut rig, &[0.2, 0.8]), ["rearmed", Gate::Disabled.name()]);
}

#[test]
fn a_cap_counts_firings_of_all_its_triggers() {
    let mut rig = crossing(Millis::ZERO, false);
    rig.plan.caps.push(CapPlan { name: text("all"), at_most: 2, per: minutes(60), triggers: vec![0] });
    assert_eq!(
        actions(&mut rig, &[0.8, 0.2, 0.8, 0.2, 0.8]),
        ["fired", "rearmed", "fired", "rearmed", Gate::Cap.name()]
    );
}
