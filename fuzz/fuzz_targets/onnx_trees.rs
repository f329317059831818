//! Any bytes as ONNX: refused, or a model that scores.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tipoff::model_file::onnx;
use tipoff_fuzz::check_model;

fuzz_target!(|content: &[u8]| check_model(onnx::read, content));
