//! What models and the server say of themselves.

use std::collections::BTreeMap;

use super::inputs::MATRIX;
use super::outputs;
use crate::proto::inference::model_metadata_response::TensorMetadata;
use crate::proto::inference::{
    DataType, ModelConfig, ModelInput, ModelMetadataResponse, ModelOutput, ModelParameter,
    ServerMetadataResponse,
};
use crate::registry::Loaded;

/// Extensions of the protocol by Triton's names, then those of this server's own.
const EXTENSIONS: [&str; 6] = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "statistics",
    "user_id",
    "feature_tensors",
];

pub fn server() -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: "tipoff".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

pub fn metadata(stable: &Loaded) -> ModelMetadataResponse {
    let model = &*stable.model;
    let tensor = |name: &str, width: usize| TensorMetadata {
        name: name.to_owned(),
        datatype: "FP64".to_owned(),
        shape: vec![-1, width as i64],
    };
    ModelMetadataResponse {
        name: model.name.to_string(),
        versions: vec![model.version.to_string()],
        platform: stable.manifest.scorer.clone(),
        inputs: vec![tensor(MATRIX, model.inputs.len())],
        outputs: outputs::all(model).into_iter().map(|(name, width, _)| tensor(name, width)).collect(),
    }
}

/// As Triton describes a model that batches: shapes without the rows.
pub fn config(stable: &Loaded, max_rows: usize) -> ModelConfig {
    let model = &*stable.model;
    let output = |(name, width, _): (&str, usize, _)| ModelOutput {
        name: name.to_owned(),
        data_type: DataType::TypeFp64.into(),
        dims: vec![width as i64],
    };
    let parameter = |name: &str, value: String| (name.to_owned(), ModelParameter { string_value: value });
    ModelConfig {
        name: model.name.to_string(),
        platform: stable.manifest.scorer.clone(),
        backend: "tipoff".to_owned(),
        max_batch_size: i32::try_from(max_rows).unwrap_or(i32::MAX),
        input: vec![ModelInput {
            name: MATRIX.to_owned(),
            data_type: DataType::TypeFp64.into(),
            dims: vec![model.inputs.len() as i64],
        }],
        output: outputs::all(model).into_iter().map(output).collect(),
        parameters: BTreeMap::from([
            parameter("features", model.input_names.join(",")),
            parameter("version", model.version.to_string()),
        ]),
    }
}
