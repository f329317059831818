//! A model is swapped for one that scores otherwise.

use super::*;

fn swap(rig: &mut Rig, version: u32, shift: f64) {
    rig.models.serving[0] = Some(echo(version, shift));
}

#[test]
fn a_shift_of_scores_fires_nobody_and_a_later_crossing_fires() {
    let mut rig = crossing(Millis::ZERO, false);
    assert_eq!(actions(&mut rig, &[0.4, 0.6]), ["-", "-"]);
    swap(&mut rig, 4, 0.3);
    assert_eq!(
        actions(&mut rig, &[0.6, 0.65, 0.1, 0.6]),
        ["baselined", "-", "rearmed", "fired"],
        "0.9, 0.95, 0.4, 0.9"
    );
    // Back to the version before: its scores are lower again.
    swap(&mut rig, 3, 0.0);
    assert_eq!(actions(&mut rig, &[0.6, 0.4, 0.8]), ["-", "rearmed", "fired"]);
}

#[test]
fn what_had_fired_stays_so_and_what_falls_is_rearmed() {
    let mut rig = crossing(Millis::ZERO, false);
    assert_eq!(actions(&mut rig, &[0.8]), ["fired"]);
    swap(&mut rig, 4, 0.1);
    assert_eq!(actions(&mut rig, &[0.8]), ["-"]);
    swap(&mut rig, 5, -0.4);
    assert_eq!(actions(&mut rig, &[0.8]), ["rearmed"]);
    let mut rig = crossing(Millis::ZERO, true);
    assert_eq!(actions(&mut rig, &[0.4]), ["-"]);
    swap(&mut rig, 4, -0.2);
    assert_eq!(actions(&mut rig, &[0.4, 0.9, 0.4]), ["baselined", "rearmed", "fired"]);
}

#[test]
fn who_waits_at_a_gate_goes_on_waiting_and_whom_the_shift_brings_there_does_not() {
    let mut rig = crossing(minutes(4), false);
    assert_eq!(actions(&mut rig, &[0.8, 0.2, 0.8]), ["fired", "rearmed", "cooldown"]);
    swap(&mut rig, 4, 0.1);
    assert_eq!(actions(&mut rig, &[0.8, 0.8]), ["-", "fired"], "the second is after the cooldown");

    let mut rig = crossing(minutes(4), false);
    assert_eq!(actions(&mut rig, &[0.8, 0.2, 0.8, 0.6]), ["fired", "rearmed", "cooldown", "-"]);
    swap(&mut rig, 4, 0.3);
    assert_eq!(actions(&mut rig, &[0.6, 0.6, 0.6]), ["baselined", "-", "-"]);
}

proptest! {
    /// Whatever a user's scores were, the first by another version fires
    /// nobody, and the recorded steps fold to the same bytes.
    #[test]
    fn no_swap_fires(
        scores in prop::collection::vec(0.0..0.7_f64, 1..12),
        shifts in prop::collection::vec(-0.3..0.3_f64, 1..4),
        cooldown in 0..5_i64,
        falling: bool,
    ) {
        let mut rig = crossing(minutes(cooldown), falling);
        actions(&mut rig, &scores);
        for (version, shift) in (4..).zip(shifts) {
            swap(&mut rig, version, shift.max(-scores.iter().copied().fold(1.0, f64::min)));
            let first = actions(&mut rig, &scores[..1])[0];
            prop_assert!(first != "fired" && first != "held out", "{first}");
            actions(&mut rig, &scores[1..]);
        }
        let mut folded = Profile::new(&rig.plan);
        for step in &rig.steps {
            let mut bytes = Vec::new();
            encode_step(&rig.plan, &rig.user, step, &mut bytes);
            let (user, step) = decode_step(&rig.plan, &bytes).expect("just encoded");
            fold(&rig.plan, &user, &mut folded, &step);
        }
        prop_assert_eq!(encode_profile(&rig.plan, &folded), encode_profile(&rig.plan, &rig.profile));
    }
}
