//! Any sequence of inputs: features stay finite, what is stored reads back, and
//! the recorded steps fold to the same state.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tipoff::engine::codec::{decode_step, encode_profile, encode_step};
use tipoff::engine::fold;
use tipoff::engine::profile::Profile;
use tipoff::engine::time::Millis;
use tipoff_fuzz::{PLAN, Scenario, read, stored};

fuzz_target!(|scenario: Scenario| {
    let user = scenario.play();
    let later = [Millis::ZERO, Millis::HOUR, Millis::new(100 * Millis::DAY.as_millis())];
    for now in later.map(|later| user.now.after(later)) {
        stored(&user.profile, now);
        for feature in &PLAN.features {
            user.profile.explain(&PLAN, feature, now);
        }
    }
    let mut folded = Profile::new(&PLAN);
    for step in &user.steps {
        let mut bytes = Vec::new();
        encode_step(&PLAN, &user.id, step, &mut bytes);
        let (id, step) = decode_step(&PLAN, &bytes).expect("what was written reads back");
        fold(&PLAN, &id, &mut folded, &step);
    }
    assert_eq!(encode_profile(&PLAN, &folded), encode_profile(&PLAN, &user.profile));
    assert!(read(&folded, user.now).same_bits(&read(&user.profile, user.now)));
});
