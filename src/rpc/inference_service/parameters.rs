//! Parameters that would change the answer, and that this server does not know;
//! any other is a hint, and has no effect.

use std::collections::BTreeMap;

use crate::proto::inference::InferParameter;
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

const OF_REQUESTS: [&str; 3] = ["sequence_id", "sequence_start", "sequence_end"];
const OF_TENSORS: [&str; 4] =
    ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "classification"];

/// Checks the parameters of a request.
pub fn check_request(parameters: &BTreeMap<String, InferParameter>) -> Result<(), Refusal> {
    check(parameters, &OF_REQUESTS)
}

/// Checks the parameters of an input or output.
pub fn check_tensor(parameters: &BTreeMap<String, InferParameter>) -> Result<(), Refusal> {
    check(parameters, &OF_TENSORS)
}

fn check(parameters: &BTreeMap<String, InferParameter>, refused: &[&str]) -> Result<(), Refusal> {
    match refused.iter().find(|name| parameters.contains_key(**name)) {
        None => Ok(()),
        Some(name) => Err(Refusal::of_field(
            Reason::NotSupported,
            format_args!("parameters[{name:?}]"),
            "this server has no such parameter",
        )),
    }
}
