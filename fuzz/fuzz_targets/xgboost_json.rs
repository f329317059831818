//! Any bytes as JSON of XGBoost: refused, or a model that scores.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tipoff::model_file::xgboost;
use tipoff_fuzz::check_model;

fuzz_target!(|content: &[u8]| check_model(xgboost::read_json, content));
