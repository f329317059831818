//! Any bytes as what the `gbdt` crate saves: refused, or a model that scores.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tipoff::model_file::gbdt;
use tipoff_fuzz::check_model;

fuzz_target!(|content: &[u8]| check_model(gbdt::read, content));
