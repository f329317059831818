//! Any bytes as JSON of CatBoost: refused, or a model that scores.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tipoff::model_file::catboost;
use tipoff_fuzz::check_model;

fuzz_target!(|content: &[u8]| check_model(catboost::read, content));
