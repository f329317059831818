//! What the fuzz targets share: definitions with everything in them, a user who
//! is put through any sequence of inputs, and what must hold of a model file.

mod model;
mod record;
mod scenario;

use std::sync::{Arc, LazyLock};

use tipoff::definitions;
use tipoff::engine::calibration::Calibration;
use tipoff::engine::codec::{decode_profile, encode_profile};
use tipoff::engine::model::{Link, Model, Models, Output, OutputKind, Scorer};
use tipoff::engine::plan::Plan;
use tipoff::engine::profile::Profile;
use tipoff::engine::time::Timestamp;
use tipoff::engine::vector::{Slot, Vector};

pub use model::check as check_model;
pub use record::Record;
pub use scenario::{Move, Scenario};

/// Rows kept one by one: few, so that short inputs make tiles.
const EXACT_ROWS: usize = 64;

pub static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let mut plan = definitions::compile(include_str!("definitions.toml")).expect("valid definitions");
    plan.series.iter_mut().for_each(|series| series.exact_rows = EXACT_ROWS);
    plan
});

pub static MODELS: LazyLock<Models> = LazyLock::new(|| {
    let feature = &PLAN.features[PLAN.models[0].features[0]];
    let Slot::Number(slot) = feature.slot else { panic!("{} is a text", feature.name) };
    let echo = Model {
        name: PLAN.models[0].name.clone(),
        version: 1,
        inputs: vec![slot],
        input_names: vec![feature.name.clone()],
        outputs: vec![Output { name: "value".into(), kind: OutputKind::Value }],
        link: Link::Identity,
        calibration: Calibration::None,
        scorer: Box::new(Echo),
    };
    Models { serving: vec![Some(Arc::new(echo))], ..Models::default() }
});

/// A model that says what its only feature is, so that scores cross thresholds.
#[derive(Debug)]
struct Echo;

impl Scorer for Echo {
    fn n_inputs(&self) -> usize {
        1
    }

    fn n_outputs(&self) -> usize {
        1
    }

    fn score(&self, row: &[f64], raw: &mut [f64]) {
        raw[0] = row[0];
    }

    fn contributions(&self, row: &[f64], _output: usize) -> Option<Vec<f64>> {
        Some(vec![row[0], 0.0])
    }
}

/// Every feature as of `now`.
///
/// # Panics
/// One is infinite, or not the one NaN or the one zero that there is.
pub fn read(profile: &Profile, now: Timestamp) -> Vector {
    let vector = profile.read(&PLAN, now);
    for feature in &PLAN.features {
        let Slot::Number(slot) = feature.slot else { continue };
        let number = vector.numbers[slot];
        assert!(number.is_finite() || number.to_bits() == f64::NAN.to_bits(), "{}: {number}", feature.name);
    }
    vector
}

/// The profile as it comes back from a view.
///
/// # Panics
/// It does not, or its bytes or its features are others.
pub fn stored(profile: &Profile, now: Timestamp) -> Profile {
    let bytes = encode_profile(&PLAN, profile);
    let stored = decode_profile(&PLAN, &bytes).expect("what was written reads back");
    assert_eq!(encode_profile(&PLAN, &stored), bytes);
    assert!(read(&stored, now).same_bits(&read(profile, now)));
    stored
}
