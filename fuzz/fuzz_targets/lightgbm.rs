//! Any bytes as text of LightGBM: refused, or a model that scores.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tipoff::model_file::lightgbm;
use tipoff_fuzz::check_model;

fuzz_target!(|content: &[u8]| check_model(lightgbm::read, content));
