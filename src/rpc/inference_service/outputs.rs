//! From scores to the tensors of an answer.

use super::{parameters, shown};
use crate::engine::model::Model;
use crate::proto::inference::model_infer_request::InferRequestedOutputTensor;
use crate::proto::inference::model_infer_response::InferOutputTensor;
use crate::proto::inference::{InferTensorContents, ModelInferResponse};
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

/// The tensor of what the model says before link and calibration, `[n_rows, n_outputs]`.
pub const RAW: &str = "raw";

/// What a tensor of an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// One of [`Model::outputs`], by its index.
    Named(usize),
    Raw,
}

/// The scores of a batch, by row: shape `[n_rows, n_outputs]`.
#[derive(Debug)]
pub struct Scores {
    pub n_rows: usize,
    pub raw: Vec<f64>,
    pub outputs: Vec<f64>,
}

/// Every output of a model with its name and width, in the order of an answer.
pub fn all(model: &Model) -> Vec<(&str, usize, Output)> {
    let named =
        model.outputs.iter().enumerate().map(|(index, output)| (&*output.name, 1, Output::Named(index)));
    let mut all: Vec<_> = named.collect();
    // An output that is called so hides it.
    if all.iter().all(|(name, ..)| *name != RAW) {
        all.push((RAW, model.outputs.len(), Output::Raw));
    }
    all
}

/// The outputs that a request asks for; all if it names none.
pub fn requested<'m>(
    model: &'m Model,
    requested: &[InferRequestedOutputTensor],
) -> Result<Vec<(&'m str, usize, Output)>, Refusal> {
    let all = all(model);
    if requested.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for tensor in requested {
        let blame = |refusal: Refusal| refusal.within(format_args!("outputs[{:?}]", shown(&tensor.name)));
        let unknown = |message| blame(Refusal::new(Reason::TensorUnknown, message));
        parameters::check_tensor(&tensor.parameters).map_err(blame)?;
        match all.iter().find(|(name, ..)| *name == tensor.name) {
            None => {
                let names: Vec<&str> = all.iter().take(8).map(|(name, ..)| *name).collect();
                return Err(unknown(format!("the model has no such output: {}", names.join(", "))));
            }
            Some(output) if chosen.contains(output) => {
                return Err(unknown("it is asked for twice".to_owned()));
            }
            Some(output) => chosen.push(*output),
        }
    }
    Ok(chosen)
}

/// Adds the outputs to an answer, raw or typed.
pub fn write(
    scores: &Scores,
    outputs: &[(&str, usize, Output)],
    is_raw: bool,
    response: &mut ModelInferResponse,
) {
    let n_rows = scores.n_rows;
    for &(name, width, output) in outputs {
        let values: Vec<f64> = match output {
            Output::Raw => scores.raw.clone(),
            Output::Named(index) => {
                let stride = scores.outputs.len().checked_div(n_rows).unwrap_or(1);
                scores.outputs.iter().skip(index).step_by(stride).copied().collect()
            }
        };
        let mut tensor = InferOutputTensor {
            name: name.to_owned(),
            datatype: "FP64".to_owned(),
            shape: vec![n_rows as i64, width as i64],
            ..InferOutputTensor::default()
        };
        if is_raw {
            response.raw_output_contents.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
        } else {
            tensor.contents =
                Some(InferTensorContents { fp64_contents: values, ..InferTensorContents::default() });
        }
        response.outputs.push(tensor);
    }
}
