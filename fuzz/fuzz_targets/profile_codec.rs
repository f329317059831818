//! Any bytes: an error, or a profile that reads without a panic and is written
//! as bytes that read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tipoff::engine::codec::{decode_profile, encode_profile};
use tipoff::engine::time::Timestamp;
use tipoff_fuzz::{PLAN, Record, read};

fuzz_target!(|record: Record| {
    let Ok(profile) = decode_profile(&PLAN, &record.bytes()) else { return };
    let now = profile.last_arrival.map_or(Timestamp::default(), |last| last.time);
    for now in [now, Timestamp::MAX] {
        let vector = read(&profile, now);
        let written = encode_profile(&PLAN, &profile);
        let again = decode_profile(&PLAN, &written).expect("what was written reads back");
        assert!(read(&again, now).same_bits(&vector));
        for feature in &PLAN.features {
            profile.explain(&PLAN, feature, now);
        }
    }
});
