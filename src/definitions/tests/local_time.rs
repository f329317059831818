//! Conditions on the user's local time, through the engine.

use super::*;
use crate::engine::decision::{Action, Gate};
use crate::engine::event::UserId;
use crate::engine::input::Input;
use crate::engine::model::Models;
use crate::engine::profile::Profile;
use crate::engine::time::Millis;
use crate::engine::vector::{Slot, Vector};
use crate::engine::{Engine, Sequence, fold};

/// Half an hour after it a cart is abandoned, which by day may be said.
const DEFINITIONS: &str = r#"
[features.hour]
expression = "now.getHours(traits.time_zone)"
[features.carts_at_night]
aggregate = "count"
of = "add_to_cart"
window = "lifetime"
where = "event.time.getHours('Europe/Berlin') < 8"
[triggers.cart_abandoned]
after = "add_to_cart"
without = ["purchase"]
for = "30m"
when = "hour >= 8 && now.getHours(traits.time_zone) < 20"
"#;

fn number(plan: &Plan, vector: &Vector, feature: &str) -> f64 {
    match plan.feature(feature).unwrap().slot {
        Slot::Number(slot) => vector.numbers[slot],
        Slot::Text(_) => unreachable!("{feature} is a number"),
    }
}

/// What became of a cart filled at `time` by a user in `zone`, if the timer is reached `late_ms` late.
fn outcome(zone: &str, time: &str, late_ms: i64) -> (Vector, Action) {
    let (plan, models) = (compiled(DEFINITIONS), Models::default());
    let engine = Engine { plan: &plan, models: &models };
    let (user, mut profile) = (UserId::known("ada"), Profile::new(&plan));
    let mut sequence = Sequence { virtual_shard: 0, next: 0 };
    let mut steps = Vec::new();

    let time: Timestamp = time.parse().unwrap();
    let traits = Input::Traits(vec![("time_zone".into(), Value::Text(zone.into()))]);
    engine.identify(&user, &mut profile, traits, time, &mut sequence, &mut steps);
    let cart = Event { time, ..event("add_to_cart", &[]) };
    engine.accept(&user, &mut profile, cart, time, &mut sequence, &mut steps);
    let reached = time.after(Millis::new(30 * 60_000 + late_ms));
    engine.run_due(&user, &mut profile, reached, &mut sequence, &mut steps);

    let mut folded = Profile::new(&plan);
    steps.iter().for_each(|step| fold(&plan, &user, &mut folded, step));
    assert!(folded.read(&plan, reached).same_bits(&profile.read(&plan, reached)));

    let decision = steps.pop().and_then(|step| step.decision).expect("the wait has ended");
    let [outcome] = decision.outcomes.as_slice() else { panic!("{decision:?}") };
    (decision.vector.clone(), outcome.action.clone())
}

#[test]
fn a_condition_sees_the_local_time_of_the_decision() {
    let plan = compiled(DEFINITIONS);
    let table = [
        // Summer time in Berlin is two hours ahead of UTC, standard time one.
        ("Europe/Berlin", "2024-07-01T05:30:00Z", 8.0, 1.0, true),
        ("Europe/Berlin", "2024-01-01T06:29:59Z", 7.0, 1.0, false),
        ("Europe/Berlin", "2024-01-01T18:29:59Z", 19.0, 0.0, true),
        ("Europe/Berlin", "2024-01-01T18:30:00Z", 20.0, 0.0, false),
        ("Asia/Kolkata", "2024-01-01T02:00:00Z", 8.0, 1.0, true),
        ("America/New_York", "2024-01-01T02:00:00Z", 21.0, 1.0, false),
        ("Mars/Olympus", "2024-01-01T12:00:00Z", f64::NAN, 0.0, false),
    ];
    for (zone, time, hour, n_at_night, fires) in table {
        // A timer that is reached hours late decides as one reached in time.
        for late_ms in [0, 7 * 3_600_000] {
            let (vector, action) = outcome(zone, time, late_ms);
            let read = number(&plan, &vector, "hour");
            assert!(read == hour || read.is_nan() && hour.is_nan(), "{zone} {time}: {read}");
            assert_eq!(number(&plan, &vector, "carts_at_night"), n_at_night, "{zone} {time}");
            let is_stopped = action == Action::Suppressed { gate: Gate::When };
            assert_eq!((action.is_firing(), is_stopped), (fires, !fires), "{zone} {time}: {action:?}");
        }
    }
}
