//! Why a model file is refused.

use super::Format;
use crate::engine::forest;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{bytes} bytes, of at most {max}", max = super::MAX_BYTES)]
    TooLarge { bytes: usize },
    #[error(
        "no format that is known: LightGBM text, XGBoost JSON or UBJSON, CatBoost JSON, gbdt, ONNX or tipoff's own"
    )]
    UnknownFormat,
    /// `at`: the path, line or byte.
    #[error("{}: {at}: {reason}", format.name())]
    Malformed { format: Format, at: String, reason: String },
    /// Well-formed, but nothing that can be scored exactly.
    #[error("{}: {what} is not supported", format.name())]
    Unsupported { format: Format, what: String },
    #[error("{}: {source}", format.name())]
    Forest { format: Format, source: forest::Error },
}
