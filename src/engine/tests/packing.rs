//! Packing leaves no trace: a profile that was encoded and decoded, whenever
//! and however often, decides as one that never was.

use super::*;

/// Events over a few days, some of them late, with gaps that windows and sessions pass.
fn stream() -> impl Strategy<Value = Vec<(Event, Timestamp, bool)>> {
    let wait_ms = prop_oneof![0..1_000_i64, 0..600_000_i64, 0..30_000_000_i64];
    let late_ms = prop_oneof![3 => Just(0), 1 => 0..80_000_000_i64];
    let x = prop_oneof![
        Just(None),
        (-16..16_i32).prop_map(|x| Some(f64::from(x) / 8.0)),
        any::<f64>().prop_map(Some)
    ];
    let y = prop::option::of(prop::sample::select(vec!["red", "green", "blue", "grey"]));
    let one = (wait_ms, late_ms, any::<bool>(), any::<bool>(), x, y, prop::bool::weighted(0.1));
    prop::collection::vec(one, 0..300).prop_map(|drawn| {
        let mut now = at(0);
        let stream = drawn.into_iter().enumerate().map(|(id, (wait, late, is_a, named, x, y, packs))| {
            now = now.after(Millis::new(wait));
            let kind = if is_a { "a" } else { "b" };
            let x = x.filter(|x| x.is_finite());
            let mut event = with_y(event(kind, id as u32, now.before(Millis::new(late)), x), y);
            if !named {
                (event.id, event.uid) = (None, EventUid::UNMINTED);
            }
            (event, now, packs)
        });
        stream.collect()
    })
}

fn pack(rig: &mut Rig) {
    let record = encode_profile(&rig.plan, &rig.profile);
    rig.profile = decode_profile(&rig.plan, &record).expect("it was encoded here");
    assert_eq!(encode_profile(&rig.plan, &rig.profile), record);
}

/// Every window, triggers of both kinds, and a model that is scored on events,
/// on the ends of sessions and in between.
fn rig(exact_rows: usize, keyed: bool) -> Rig {
    let crossing = crossing(minutes(30), false);
    let mut plan = wide_plan();
    plan.traits.intern("tier");
    plan.models = crossing.plan.models;
    plan.models[0].score_on_session_end = true;
    plan.models[0].rescore_every = Some(minutes(400));
    plan.triggers = crossing.plan.triggers;
    plan.triggers.push(absence(minutes(45), keyed.then_some(1), OnRepeat::Keep));
    plan.triggers
        .push(TriggerPlan { name: text("absent for long"), ..absence(minutes(200), None, OnRepeat::Reset) });
    plan.caps.push(CapPlan { name: text("all"), at_most: 3, per: minutes(600), triggers: vec![0, 1, 2] });
    plan.series.iter_mut().for_each(|series| series.exact_rows = exact_rows);
    let rig = Rig::new(plan);
    Rig { models: crossing.models, ..rig }
}

fn identify(rig: &mut Rig, tier: &str, now: Timestamp) {
    let engine = Engine { plan: &rig.plan, models: &rig.models };
    let input =
        Input::Traits(vec![("tier".into(), Value::Text(tier.into())), (tier.into(), Value::Bool(true))]);
    engine.identify(&rig.user, &mut rig.profile, input, now, &mut rig.sequence, &mut rig.steps);
}

fn recorded(rig: &Rig) -> Vec<u8> {
    let mut bytes = Vec::new();
    rig.steps.iter().for_each(|step| encode_step(&rig.plan, &rig.user, step, &mut bytes));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn packing_leaves_no_trace(stream in stream(), exact_rows in 64..300_usize, keyed in any::<bool>()) {
        let (mut never, mut packed) = (rig(exact_rows, keyed), rig(exact_rows, keyed));
        for (index, (event, now, packs)) in stream.into_iter().enumerate() {
            if packs {
                pack(&mut packed);
            }
            if index % 40 == 7 {
                let tier = ["gold", "silver"][index / 40 % 2];
                identify(&mut never, tier, now);
                identify(&mut packed, tier, now);
            }
            prop_assert_eq!(never.accept(event.clone(), now), packed.accept(event, now));
            let vector = never.profile.read(&never.plan, now);
            prop_assert!(packed.profile.read(&packed.plan, now).same_bits(&vector));
            prop_assert_eq!(never.profile.next_due(), packed.profile.next_due());
        }
        prop_assert_eq!(recorded(&never), recorded(&packed));
        prop_assert_eq!(
            encode_profile(&never.plan, &never.profile),
            encode_profile(&packed.plan, &packed.profile)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A damaged record is read or refused; nothing panics.
    #[test]
    fn damaged_records_are_read_or_refused(
        stream in stream(),
        exact_rows in 64..300_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut rig = rig(exact_rows, true);
        for (event, now, _) in stream {
            rig.accept(event, now);
        }
        let record = encode_profile(&rig.plan, &rig.profile);
        prop_assert!(decode_profile(&rig.plan, &record[..cut.index(record.len())]).is_err());
        for (place, byte) in damage {
            let mut damaged = record.clone();
            *place.get_mut(&mut damaged) = byte;
            if let Ok(profile) = decode_profile(&rig.plan, &damaged) {
                let now = profile.last_arrival.map_or(Timestamp::MIN, |last| last.time);
                let vector = profile.read(&rig.plan, now);
                let again = decode_profile(&rig.plan, &encode_profile(&rig.plan, &profile));
                prop_assert!(again.expect("it was encoded here").read(&rig.plan, now).same_bits(&vector));
            }
        }
    }
}

/// Long histories, beyond the exact rows, packed at many of their lengths: now
/// and then rows leave the windows one by one, and tiles begin anew.
#[test]
fn packing_a_user_with_tiles_leaves_no_trace() {
    let (mut never, mut packed) = (rig(64, false), rig(64, false));
    let mut now = at(0);
    for n in 0..4_000_u32 {
        let is_quiet = n % 1_000 < 20;
        now = now.after(if is_quiet { minutes(300) } else { Millis::new(40_000) });
        let event = event("a", n, now, Some(f64::from(n * 7_919 % 5_000) / 8.0));
        if n % 97 == 0 {
            pack(&mut packed);
        }
        never.accept(event.clone(), now);
        packed.accept(event, now);
        if n % 37 == 0 {
            let vector = never.profile.read(&never.plan, now);
            assert!(packed.profile.read(&packed.plan, now).same_bits(&vector), "after {n} events");
        }
    }
    assert_eq!(encode_profile(&never.plan, &never.profile), encode_profile(&packed.plan, &packed.profile));
}
