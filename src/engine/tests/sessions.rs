//! Sessions that are counted, and sessions that end.

use super::*;
use crate::definitions;
use crate::engine::provenance::Explanation;

const COUNTED: [Option<Millis>; 5] =
    [Some(minutes(1)), Some(minutes(45)), Some(minutes(300)), Some(Millis::DAY), None];

/// A plan with a session count over each of [`COUNTED`].
fn counting(gap: Millis, max_kept: usize) -> Plan {
    let mut plan = plan(&[], &[], Vec::new());
    for window in COUNTED {
        let slot = Slot::Number(plan.n_numbers);
        plan.n_numbers += 1;
        plan.features.push(FeaturePlan {
            name: format!("{window:?}").into(),
            digest: text(""),
            slot,
            is_bool: false,
            reads: Vec::new(),
            kind: FeatureKind::Sessions { window },
        });
    }
    plan.bounds.session_gap = gap;
    plan.sessions = SessionPlan { longest_window: Millis::DAY, max_kept };
    plan
}

/// What each count, its explanation and its flag are, against the definition.
fn check_counts(rig: &Rig, times: &[Timestamp], now: Timestamp) -> Result<(), TestCaseError> {
    let sessions = naive_sessions(times, rig.plan.bounds.session_gap);
    let vector = rig.profile.read(&rig.plan, now);
    for (index, (feature, window)) in rig.plan.features.iter().zip(COUNTED).enumerate() {
        let is_within = |time: &Timestamp| window.is_none_or(|window| *time > now.before(window));
        let exact: Vec<&Session> = sessions.iter().filter(|session| is_within(&session.end)).collect();
        let (value, n) = (vector.numbers[index], exact.len() as f64);
        let Explanation::Sessions { after, n_sessions, latest } =
            rig.profile.explain(&rig.plan, feature, now)
        else {
            panic!("sessions are counted")
        };
        prop_assert_eq!(after, window.map(|window| now.before(window)));
        prop_assert_eq!(n_sessions as f64, value);
        prop_assert!(latest.iter().all(|session| is_within(&session.end)));
        if !rig.profile.approximate(&rig.plan, now)[index] {
            prop_assert_eq!(value, n, "{} as of {}", feature.name, now);
            let is_same = |(told, exact): (&Session, &&Session)| {
                let is_cut = rig.profile.sessions.is_cut(told, rig.plan.bounds);
                told == *exact || is_cut && told.end == exact.end
            };
            prop_assert!(latest.iter().zip(exact.iter().rev()).all(is_same));
            prop_assert!(window.is_none() || latest.len() == exact.len());
        } else if window.is_some() {
            prop_assert!(value <= n, "{} sessions of {}", value, n);
        } else {
            let n_strays = rig.profile.sessions.forgotten().n_strays as f64;
            prop_assert!((value - n).abs() <= n_strays, "{} sessions of {}", value, n);
        }
    }
    Ok(())
}

fn counts_agree(
    arrivals: Vec<Arriving>,
    plan: Plan,
    later: i64,
    each: impl Fn(&Rig, Timestamp) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut rig = Rig::new(plan);
    let (mut times, mut now) = (Vec::new(), at(0));
    for Arriving { event, arrival } in arrivals {
        now = arrival;
        times.push(event.time.min(now));
        times.sort_unstable();
        rig.accept(event, now);
        check_counts(&rig, &times, now)?;
        each(&rig, now)?;
    }
    let later = now.after(minutes(later));
    check_counts(&rig, &times, later)?;
    let bytes = encode_profile(&rig.plan, &rig.profile);
    let stored = decode_profile(&rig.plan, &bytes).expect("reads back");
    prop_assert_eq!(&stored.sessions, &rig.profile.sessions);
    prop_assert_eq!(encode_profile(&rig.plan, &stored), bytes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// At every arrival, and later, a session count is what the definition says
    /// of the events accepted so far, in whatever order they came.
    #[test]
    fn session_counts_equal_a_naive_recomputation(
        arrivals in arrivals(80),
        gap in 1..120_i64,
        later in 0..3_000_i64,
    ) {
        counts_agree(arrivals, counting(minutes(gap), EXACT_ROWS), later, |rig, now| {
            prop_assert!(!rig.profile.approximate(&rig.plan, now).contains(&true));
            Ok(())
        })?;
    }

    /// Beyond the bound a count is exact or says that it is not, and is no
    /// greater than the exact one; nothing more is kept.
    #[test]
    fn session_counts_beyond_the_bound_are_lower_bounds(
        arrivals in arrivals(80),
        gap in 1..120_i64,
        max_kept in 1..12_usize,
        later in 0..3_000_i64,
    ) {
        counts_agree(arrivals, counting(minutes(gap), max_kept), later, |rig, _| {
            prop_assert!(rig.profile.sessions.iter().len() <= max_kept);
            Ok(())
        })?;
    }

    /// A model that asks for it is scored when the latest session ends, once
    /// unless a late event makes it end later, however the timers are reached.
    #[test]
    fn session_ends_equal_a_naive_model(
        arrivals in arrivals(60),
        gap in 1..120_i64,
        reached in prop::collection::vec(0..4_320_i64, 0..20),
        in_order in prop::bool::ANY,
    ) {
        let mut arrivals = arrivals;
        if in_order {
            arrivals.iter_mut().for_each(|arriving| arriving.arrival = arriving.event.time);
            arrivals.sort_by_key(|arriving| arriving.arrival);
        }
        let gap = minutes(gap);
        let end = at(3 * Millis::DAY.as_millis());
        let (mut times, mut due, mut expected) = (Vec::new(), None::<Timestamp>, Vec::new());
        let mut last = at(0);
        for Arriving { event, arrival } in &arrivals {
            expected.extend(due.take_if(|due| *due <= *arrival).map(|due| due.max(last)));
            let before = times.last().copied();
            times.push(event.time.min(*arrival));
            times.sort_unstable();
            if times.last().copied() != before {
                due = times.last().map(|end| end.after(gap).max(*arrival));
            }
            last = *arrival;
        }
        expected.extend(due);
        if in_order {
            let ends: Vec<Timestamp> =
                naive_sessions(&times, gap).iter().map(|session| session.end.after(gap)).collect();
            prop_assert_eq!(&expected, &ends, "each session ends once");
        }

        for reached in [Vec::new(), reached] {
            let mut rig = ending(gap);
            let mut reached: Vec<Timestamp> = reached.into_iter().map(|minute| at(minute * 60_000)).collect();
            reached.sort_unstable();
            for Arriving { event, arrival } in arrivals.clone() {
                reached.retain(|at| *at > arrival || { rig.run_due(*at); false });
                rig.accept(event, arrival);
            }
            rig.run_due(end);
            prop_assert_eq!(ends_scored(&rig), expected.clone());
            prop_assert_eq!(rig.profile.next_due(), None);
            let mut rebuilt = Profile::new(&rig.plan);
            for (n, step) in rig.steps.iter().enumerate() {
                let mut bytes = Vec::new();
                encode_step(&rig.plan, &rig.user, step, &mut bytes);
                let (user, step) = decode_step(&rig.plan, &bytes).expect("reads back");
                fold(&rig.plan, &user, &mut rebuilt, &step);
                if n == rig.steps.len() / 2 {
                    // A restart from what is stored leaves the same timer.
                    let stored = encode_profile(&rig.plan, &rebuilt);
                    rebuilt = decode_profile(&rig.plan, &stored).expect("reads back");
                }
            }
            prop_assert_eq!(encode_profile(&rig.plan, &rebuilt), encode_profile(&rig.plan, &rig.profile));
        }
    }
}

/// A rig whose one model echoes the number of events of the previous session,
/// at each session's end.
fn ending(gap: Millis) -> Rig {
    let previous = Spec {
        series: 0,
        property: None,
        aggregate: Aggregate::Count,
        window: Window::PreviousSession,
        is_text: false,
    };
    let mut rig = crossing(Millis::ZERO, false);
    let model = ModelPlan { score_on: Vec::new(), score_on_session_end: true, ..rig.plan.models.remove(0) };
    let triggers = std::mem::take(&mut rig.plan.triggers);
    rig.plan = plan(&[EventSelector::Any], &[previous], triggers);
    rig.plan.models.push(model);
    rig.plan.bounds.session_gap = gap;
    rig.profile = Profile::new(&rig.plan);
    rig
}

/// When the model was scored. Each time the session had ended, and was read as the previous one.
fn ends_scored(rig: &Rig) -> Vec<Timestamp> {
    let mut events: Vec<Timestamp> = Vec::new();
    let mut ends = Vec::new();
    for step in &rig.steps {
        match (&step.input, &step.decision) {
            (Input::Event(event), decision) => {
                assert!(decision.is_none(), "no event makes the model score");
                events.push(event.time);
                events.sort_unstable();
            }
            (_, Some(decision)) => {
                let sessions = naive_sessions(&events, rig.plan.bounds.session_gap);
                let last = sessions.last().expect("a session ended");
                assert_eq!(decision.scores[0].value(), last.n_events as f64);
                ends.push(step.arrival.time);
            }
            (_, None) => panic!("timers are decided on"),
        }
    }
    ends
}

#[test]
fn no_session_end_is_awaited_unless_a_model_asks() {
    let mut rig = crossing(Millis::ZERO, false);
    rig.accept(event("a", 1, at(0), None), at(0));
    assert_eq!((rig.profile.session_due, rig.profile.next_due()), (None, None));
}

/// Sessions that are told late end at one instant: each firing has its own id.
#[test]
fn sessions_that_end_at_one_instant_fire_for_themselves() {
    let mut rig = ending(minutes(30));
    if let TriggerKind::Score { fire_at, rearm_at, .. } = &mut rig.plan.triggers[0].kind {
        (*fire_at, *rearm_at) = (2.0, 2.0);
    }
    let now = at(12 * 3_600_000);
    // Sessions of two events, one, and two: the score goes back in between.
    for (n, minute) in [0, 1, 100, 200, 201].into_iter().enumerate() {
        rig.accept(event("a", n as u32, at(minute * 60_000), None), now);
        if minute != 0 && minute != 200 {
            rig.run_due(now);
        }
    }
    let decisions: Vec<&Decision> = rig.steps.iter().filter_map(|step| step.decision.as_ref()).collect();
    assert!(decisions.iter().all(|decision| decision.as_of.time == now));
    let ids: std::collections::BTreeSet<_> = decisions
        .iter()
        .flat_map(|decision| decision.firings(&rig.user, &rig.plan))
        .map(|firing| firing.id)
        .collect();
    assert_eq!(ids.len(), 2);
}

proptest! {
    /// Where every event answers, the last one waits if it arms, whatever the
    /// order of arrival and whatever repeats do.
    #[test]
    fn an_event_that_answers_and_arms_waits_if_it_is_the_last(
        (events, order) in arrivals(30).prop_flat_map(|arrivals| {
            let order: Vec<usize> = (0..arrivals.len()).collect();
            (Just(arrivals), Just(order).prop_shuffle())
        }),
        keep in prop::bool::ANY,
    ) {
        let definitions = format!(
            "[triggers.t]\nafter = \"a\"\nwhere = \"x > 0\"\nwithout = [\"*\"]\nfor = \"7d\"\non_repeat = {:?}\n",
            if keep { "keep" } else { "reset" },
        );
        let mut plan = definitions::compile(&definitions).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        plan.bounds.lateness = minutes(3 * 1_440);
        let mut rig = Rig::new(plan);
        let now = at(2 * Millis::DAY.as_millis());
        for index in order {
            rig.accept(events[index].event.clone(), now);
        }
        let last = events.iter().map(|arriving| &arriving.event).max_by_key(|event| (event.time, event.uid));
        let arms = |event: &&Event| {
            let x = event.properties.iter().find(|(name, _)| &**name == "x").and_then(|(_, x)| x.as_number());
            &*event.kind == "a" && x.is_some_and(|x| x > 0.0)
        };
        let expected: Vec<_> = last.filter(arms).map(|event| (event.time, event.uid)).into_iter().collect();
        let waiting = rig.profile.triggers[0].armings.iter().flat_map(|arming| arming.waiting.clone());
        prop_assert_eq!(waiting.collect::<Vec<_>>(), expected);
    }
}

const UNDECIDED: &str = r#"
[features.products_in_session]
aggregate = "distinct"
of        = "page_view.product_id"
window    = "session"

[features.seconds_on_page]
aggregate = "time_since_last"
of        = "page_view"
window    = "session"

[triggers.undecided]
after   = "page_view"
where   = 'page_type == "product"'
without = ["*"]
for     = "5m"
when    = "products_in_session >= 3"
"#;

const NONE: [i64; 0] = [];

/// Pages at seconds, then what fired, in seconds.
fn fired(definitions: &str, pages: &[(i64, &str)]) -> Vec<i64> {
    let plan = definitions::compile(definitions).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mut rig = Rig::new(plan);
    for (n, (second, page)) in pages.iter().enumerate() {
        let mut view = event("page_view", n as u32, at(second * 1_000), None);
        let (kind, product) = match page.strip_prefix("product ") {
            Some(product) => ("product", Some(product)),
            None => ("other", None),
        };
        if *page == "click" {
            view.kind = "click".into();
        }
        view.properties.push(("page_type".into(), Value::Text(kind.into())));
        view.properties.extend(product.map(|product| ("product_id".into(), Value::Text(product.into()))));
        rig.accept(view, at(second * 1_000));
    }
    rig.run_due(at(Millis::DAY.as_millis()));
    rig.firings().iter().map(|(_, ms)| (ms - at(0).as_millis()) / 1_000).collect()
}

#[test]
fn five_minutes_on_a_product_page_with_three_products_fire_in_mid_session() {
    for on_repeat in ["reset", "keep"] {
        let definitions = format!("{UNDECIDED}on_repeat = {on_repeat:?}\n");
        let fired = |pages: &[(i64, &str)]| fired(&definitions, pages);
        let three = [(0, "product a"), (60, "home"), (100, "product b"), (200, "product c")];
        // Once, five minutes after the page, although she goes on later.
        assert_eq!(fired(&three), [500]);
        assert_eq!(fired(&[&three[..], &[(900, "home")]].concat()), [500]);
        // Two products, the same twice, or the third beyond the session: nothing.
        assert_eq!(fired(&three[..3]), NONE);
        assert_eq!(fired(&[&three[..3], &[(200, "product a")]].concat()), NONE);
        assert_eq!(fired(&[&three[..3], &[(2_000, "product c")]].concat()), NONE);
        // She moved on before, by whatever event, if only to a page that is no product.
        for next in ["home", "click"] {
            assert_eq!(fired(&[&three[..], &[(499, next)]].concat()), NONE);
        }
        // To another product: five minutes on that one.
        assert_eq!(fired(&[&three[..], &[(499, "product d")]].concat()), [799]);
        // No product page.
        assert_eq!(fired(&[&three[..], &[(210, "home")]].concat()), NONE);
    }
}

#[test]
fn time_on_the_current_page_runs_until_the_session_ends() {
    let plan = definitions::compile(UNDECIDED).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let Slot::Number(slot) = plan.feature("seconds_on_page").expect("defined").slot else {
        panic!("a number")
    };
    let mut rig = Rig::new(plan);
    rig.accept(event("page_view", 1, at(0), None), at(0));
    rig.accept(event("click", 2, at(90_000), None), at(90_000));
    let on_page = |rig: &Rig, second: i64| rig.profile.read(&rig.plan, at(second * 1_000)).numbers[slot];
    assert_eq!(on_page(&rig, 90), 90.0);
    assert_eq!(on_page(&rig, 240), 240.0);
    assert!(on_page(&rig, 90 + 1_800).is_nan(), "the session has ended");
    rig.accept(event("page_view", 3, at(300_000), None), at(300_000));
    assert_eq!(on_page(&rig, 310), 10.0);
}

/// Bounce, and what is taken by session, are expressions.
#[test]
fn bounces_and_means_by_session_are_expressions() {
    let plan = definitions::compile(
        r#"
        [features.sessions_7d]
        aggregate = "sessions"
        window = "7d"
        [features.events_7d]
        aggregate = "count"
        of = "*"
        window = "7d"
        [features.previous_events]
        aggregate = "count"
        of = "*"
        window = "previous_session"
        [features.bounced]
        expression = "previous_events == 1"
        [features.events_a_session]
        expression = "events_7d / sessions_7d"
        "#,
    );
    let mut rig = Rig::new(plan.unwrap_or_else(|mistakes| panic!("{mistakes}")));
    let read = |rig: &Rig, feature: &str, minute: i64| {
        let Slot::Number(slot) = rig.plan.feature(feature).expect("defined").slot else { panic!("a number") };
        rig.profile.read(&rig.plan, at(minute * 60_000)).numbers[slot]
    };
    assert!(read(&rig, "events_a_session", 0).is_nan(), "no session, no mean");
    for (n, minute) in [0, 10, 100].into_iter().enumerate() {
        rig.accept(event("a", n as u32, at(minute * 60_000), None), at(minute * 60_000));
    }
    assert_eq!(read(&rig, "bounced", 110), 0.0);
    assert_eq!(read(&rig, "bounced", 130), 1.0);
    assert_eq!(read(&rig, "events_a_session", 130), 1.5);
}
