//! Why a model file is refused.

use std::io;

use super::Format;
use crate::engine::forest;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(io::Error),
    #[error("not a regular file")]
    NotAFile,
    #[error("more than {max} bytes", max = super::MAX_BYTES)]
    TooLarge,
    #[error("no format that is known: LightGBM text, XGBoost JSON or UBJSON, CatBoost JSON, gbdt or ONNX")]
    UnknownFormat,
    /// `at`: the path, line or byte.
    #[error("{}: {at}: {reason}", format.name())]
    Malformed { format: Format, at: String, reason: String },
    /// Well-formed, but nothing that can be scored exactly.
    #[error("{}: {what} is not supported", format.name())]
    Unsupported { format: Format, what: String },
    /// An ONNX graph that is more than trees: one for a runtime of networks.
    #[error("ONNX: no tree model alone, by its operators: {operator}")]
    NotTrees { operator: String },
    #[error("{}: {source}", format.name())]
    Forest { format: Format, source: forest::Error },
}

impl Error {
    pub(super) fn malformed(format: Format, at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { format, at: at.into(), reason: reason.into() }
    }

    pub(super) fn unsupported(format: Format, what: impl Into<String>) -> Self {
        Self::Unsupported { format, what: what.into() }
    }
}
