//! The engine against a naive model, at its boundary.

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

/// A plan over event types `a` and `b` with property `x`.
fn plan(
    series: Vec<SeriesPlan>,
    features: Vec<(Aggregate, usize, Window)>,
    triggers: Vec<TriggerPlan>,
) -> Plan {
    let (mut event_types, mut properties) = (Names::default(), Names::default());
    event_types.intern("a");
    event_types.intern("b");
    properties.intern("x");
    let features: Vec<FeaturePlan> = features
        .into_iter()
        .enumerate()
        .map(|(slot, (aggregate, series, window))| FeaturePlan {
            name: format!("{aggregate:?}_{series}_{window:?}").into(),
            digest: text(""),
            slot: Slot::Number(slot),
            is_bool: false,
            kind: FeatureKind::Aggregate { series, aggregate, window },
        })
        .collect();
    Plan {
        digest: text("test"),
        source: text(""),
        event_types,
        properties,
        traits: Names::default(),
        n_numbers: features.len(),
        n_texts: 0,
        series,
        features,
        labels: Vec::new(),
        models: Vec::new(),
        triggers,
        caps: Vec::new(),
        bounds: TimeBounds { lateness: Millis::DAY, skew: minutes(5), session_gap: minutes(30) },
    }
}

fn series(event: EventSelector, property: Option<usize>, longest_window: Millis) -> SeriesPlan {
    SeriesPlan {
        digest: text(""),
        event,
        filter: None,
        property,
        longest_window,
        lifetime: true,
        lifetime_distinct: true,
    }
}

fn absence(wait: Millis, key: Option<usize>, on_repeat: OnRepeat) -> TriggerPlan {
    TriggerPlan {
        name: text("absent"),
        digest: text(""),
        enabled: true,
        kind: TriggerKind::Absence {
            after: EventSelector::Type(0),
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

fn minutes(n: i64) -> Millis {
    Millis::new(n * 60_000)
}

#[derive(Clone, Debug)]
struct Arriving {
    event: Event,
    /// Before the arrival, within the lateness; negative is ahead of it, within the skew.
    arrival: Timestamp,
}

const AGGREGATES: [Aggregate; 10] = [
    Aggregate::Count,
    Aggregate::Sum,
    Aggregate::Mean,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::Distinct,
    Aggregate::First,
    Aggregate::Last,
    Aggregate::TimeSinceFirst,
    Aggregate::TimeSinceLast,
];

fn windows() -> [Window; 4] {
    [
        Window::Sliding(minutes(5)),
        Window::Sliding(minutes(90)),
        Window::Sliding(Millis::DAY),
        Window::Lifetime,
    ]
}

/// Every aggregate over every window of three series.
fn wide_plan() -> Plan {
    let all = vec![
        series(EventSelector::Any, None, Millis::DAY),
        series(EventSelector::Type(0), Some(0), Millis::DAY),
        series(EventSelector::Type(1), Some(0), Millis::DAY),
    ];
    let features = (0..all.len())
        .flat_map(|series| AGGREGATES.into_iter().map(move |aggregate| (series, aggregate)))
        .flat_map(|(series, aggregate)| windows().into_iter().map(move |window| (aggregate, series, window)))
        .collect();
    plan(all, features, Vec::new())
}

/// The definition, word for word: filter, sort canonically, aggregate.
fn naive(plan: &Plan, feature: &FeaturePlan, accepted: &[Event], now: Timestamp) -> f64 {
    let FeatureKind::Aggregate { series, aggregate, window } = &feature.kind else { unreachable!() };
    let series = &plan.series[*series];
    let mut events: Vec<&Event> = accepted
        .iter()
        .filter(|event| match series.event {
            EventSelector::Any => true,
            EventSelector::Type(index) => **plan.event_types.name(index) == *event.kind,
        })
        .filter(|event| series.property.is_none() || !event.properties.is_empty())
        .filter(|event| match window {
            Window::Lifetime => true,
            Window::Sliding(length) => event.time > now.before(*length) && event.time <= now,
        })
        .collect();
    events.sort_by_key(|event| (event.time, event.uid));
    let numbers: Vec<f64> = match series.property {
        None => Vec::new(),
        Some(_) => events.iter().filter_map(|event| event.properties[0].1.as_number()).collect(),
    };
    let nan = f64::NAN;
    let since = |event: Option<&&Event>| event.map_or(nan, |event| now.since(event.time).as_seconds());
    match aggregate {
        Aggregate::Count => events.len() as f64,
        // The values are multiples of 1/8: a plain sum is exact.
        Aggregate::Sum => numbers.iter().sum(),
        Aggregate::Mean => numbers.iter().sum::<f64>() / numbers.len() as f64,
        Aggregate::Min => numbers.iter().copied().fold(nan, f64::min),
        Aggregate::Max => numbers.iter().copied().fold(nan, f64::max),
        Aggregate::Distinct if series.property.is_none() => f64::from(u8::from(!events.is_empty())),
        Aggregate::Distinct => {
            let mut bits: Vec<u64> = numbers.iter().map(|number| (number + 0.0).to_bits()).collect();
            bits.sort_unstable();
            bits.dedup();
            bits.len() as f64
        }
        Aggregate::First => numbers.first().copied().unwrap_or(nan),
        Aggregate::Last => numbers.last().copied().unwrap_or(nan),
        Aggregate::TimeSinceFirst => since(events.first()),
        Aggregate::TimeSinceLast => since(events.last()),
    }
}

/// Events over two days, each arriving up to a day late or five minutes early, in arrival order.
fn arrivals() -> impl Strategy<Value = Vec<Arriving>> {
    let one = (0..2_i64 * 1_440, -5..1_440_i64, prop::bool::ANY, prop::option::of(-16..16_i32));
    prop::collection::vec(one, 0..60).prop_map(|drawn| {
        let mut arriving: Vec<Arriving> = drawn
            .into_iter()
            .enumerate()
            .map(|(id, (minute, late, is_a, x))| {
                let time = at(minute * 60_000);
                let kind = if is_a { "a" } else { "b" };
                let event = event(kind, id as u32, time, x.map(|x| f64::from(x) / 8.0));
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
    fn features_equal_a_naive_recomputation(arrivals in arrivals(), later in 0..3_000_i64) {
        let mut rig = Rig::new(wide_plan());
        let mut accepted: Vec<Event> = Vec::new();
        let mut now = at(0);
        for Arriving { event, arrival } in arrivals {
            now = arrival;
            prop_assert!(matches!(rig.accept(event.clone(), now), Acceptance::Accepted(_)));
            accepted.push(Event { time: event.time.min(now), ..event });
            check(&rig, &accepted, now)?;
        }
        check(&rig, &accepted, now.after(minutes(later)))?;
        let stored = decode_profile(&rig.plan, &encode_profile(&rig.profile)).expect("reads back");
        prop_assert!(stored.read(&rig.plan, now).same_bits(&rig.profile.read(&rig.plan, now)));
    }

    /// Sessions are what the definition says of the events accepted so far,
    /// however late one comes to bridge two of them.
    #[test]
    fn sessions_equal_a_naive_recomputation(arrivals in arrivals(), gap in 1..120_i64) {
        let mut plan = wide_plan();
        plan.bounds.session_gap = minutes(gap);
        let mut rig = Rig::new(plan);
        let mut times = Vec::new();
        for Arriving { event, arrival } in arrivals {
            times.push(event.time.min(arrival));
            times.sort_unstable();
            rig.accept(event, arrival);
            let mut expected: Vec<Session> = Vec::new();
            for &time in &times {
                match expected.last_mut() {
                    Some(last) if time.since(last.end) < minutes(gap) => {
                        last.end = time;
                        last.n_events += 1;
                    }
                    _ => expected.push(Session { start: time, end: time, n_events: 1 }),
                }
            }
            let latest: Vec<Session> = expected.into_iter().rev().take(KEPT_SESSIONS).collect();
            prop_assert_eq!(rig.profile.sessions.latest().copied().collect::<Vec<_>>(), latest);
        }
    }

    /// The same events in any order within the lateness give the same bits.
    #[test]
    fn arrival_order_leaves_no_trace(
        (drawn, shuffled) in arrivals().prop_flat_map(|arrivals| (Just(arrivals.clone()), Just(arrivals).prop_shuffle())),
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

    /// An absence trigger's armings depend on the set of events only, and a
    /// fold of the recorded steps gives the state that deciding gave.
    #[test]
    fn folding_recorded_steps_rebuilds_the_state(arrivals in arrivals(), keyed in prop::bool::ANY, keep in prop::bool::ANY) {
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
        prop_assert_eq!(encode_profile(&rebuilt), encode_profile(&rig.profile));
    }
}

fn check(rig: &Rig, accepted: &[Event], now: Timestamp) -> Result<(), TestCaseError> {
    let vector = rig.profile.read(&rig.plan, now);
    for (slot, feature) in rig.plan.features.iter().enumerate() {
        let expected = naive(&rig.plan, feature, accepted, now);
        prop_assert!(
            same(vector.numbers[slot], expected),
            "{} is {}, by the definition {expected}",
            feature.name,
            vector.numbers[slot]
        );
    }
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
    assert_eq!(rig.profile.series[0].entries().last().map(|entry| entry.time), Some(now));
    // Beyond the horizon a uid is forgotten.
    let again = now.after(minutes(5)).after(Millis::DAY).after(Millis::new(1));
    assert!(matches!(rig.accept(event("a", 1, again, None), again), Acceptance::Accepted(_)));
}

#[test]
fn absence_fires_at_its_instant_without_traffic() {
    let mut rig = Rig::new(plan(Vec::new(), Vec::new(), vec![absence(minutes(30), None, OnRepeat::Reset)]));
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
    let mut rig = Rig::new(plan(Vec::new(), Vec::new(), vec![trigger]));
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
            let mut rig = Rig::new(plan(Vec::new(), Vec::new(), vec![trigger]));
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
    let mut rig = Rig::new(plan(Vec::new(), Vec::new(), vec![absence(minutes(30), None, OnRepeat::Reset)]));
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
struct Echo;

impl model::Scorer for Echo {
    fn n_inputs(&self) -> usize {
        1
    }

    fn n_outputs(&self) -> usize {
        1
    }

    fn score(&self, row: &[f64], raw: &mut [f64]) {
        raw[0] = row[0];
    }

    fn contributions(&self, row: &[f64]) -> Option<Vec<f64>> {
        Some(vec![row[0], 0.0])
    }
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
        vec![series(EventSelector::Type(0), Some(0), Millis::DAY)],
        vec![(Aggregate::Last, 0, Window::Lifetime)],
        vec![trigger],
    );
    plan.models.push(ModelPlan {
        name: text("echo"),
        label: None,
        features: vec![0],
        score_on: vec![EventSelector::Type(0)],
        rescore_every: None,
    });
    let mut rig = Rig::new(plan);
    rig.models.serving.push(Some(Arc::new(model::Model {
        name: text("echo"),
        version: 3,
        inputs: vec![0],
        input_names: vec![text("last")],
        outputs: vec![model::Output { name: text("p"), kind: model::OutputKind::Probability }],
        link: model::Link::Identity,
        calibration: calibration::Calibration::None,
        scorer: Box::new(Echo),
    })));
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
