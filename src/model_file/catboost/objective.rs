//! What a model was trained for, and what CatBoost makes of its raw outputs.

use serde_json::Value;

use super::{FORMAT, malformed};
use crate::engine::link::Link;
use crate::model_file::Error;

/// The loss's name, from `model_info`.
pub fn name(model_info: &Value) -> Result<String, Error> {
    let as_json = |value: &Value| match value {
        // Written as a text within the JSON by some versions.
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    };
    let of_params = as_json(&model_info["params"])["loss_function"].clone();
    let loss = match of_params {
        // Sums of models have no parameters.
        Value::Null => as_json(&model_info["loss_function"]),
        loss => loss,
    };
    match &loss["type"] {
        Value::String(name) => Ok(name.clone()),
        _ => Err(malformed("model_info", "neither params.loss_function nor loss_function names a loss")),
    }
}

pub fn link(objective: &str, n_outputs: usize) -> Result<Link, Error> {
    let link = match objective {
        "Logloss" | "CrossEntropy" | "Focal" => Link::Logistic,
        "MultiClassOneVsAll" | "MultiLogloss" | "MultiCrossEntropy" => Link::Logistic,
        "MultiClass" => Link::Softmax,
        "Poisson" | "Tweedie" => Link::Exp,
        // Its second output is half a logarithm of a variance.
        "RMSEWithUncertainty" => return Err(Error::unsupported(FORMAT, "the loss RMSEWithUncertainty")),
        _ => Link::Identity,
    };
    match (objective, n_outputs) {
        ("Logloss" | "CrossEntropy" | "Focal" | "Poisson" | "Tweedie", 2..) | ("MultiClass", 1) => {
            Err(malformed("the trees", format!("{n_outputs} outputs, of the loss {objective}")))
        }
        _ => Ok(link),
    }
}
