//! Why a network is refused, or a run of it fails.

use std::path::PathBuf;

use crate::protobuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no ONNX Runtime library, which scores networks, was found ({searched}); \
         get one with `pip install onnxruntime`, for example, and name the file `libonnxruntime.so…` of it \
         as `onnx.library` or in ORT_DYLIB_PATH: see docs/onnx.md"
    )]
    NoLibrary { searched: String },
    #[error("{}: not an ONNX Runtime library that can be used: {reason}", path.display())]
    Library { path: PathBuf, reason: String },
    #[error(
        "{} is to be used, but {} has been loaded, and a process can have one only",
        wanted.display(), loaded.display()
    )]
    OtherLibrary { wanted: PathBuf, loaded: PathBuf },
    #[error("{at}: {reason}")]
    Malformed { at: String, reason: String },
    /// Well-formed, but nothing that is run here.
    #[error("{what} is not supported")]
    Unsupported { what: String },
    #[error("{at}: the data of the tensor {tensor:?} is outside the file{place}")]
    ExternalData { at: String, tensor: String, place: String },
    #[error("inputs: {reason}")]
    Inputs { reason: String },
    #[error("outputs: {reason}")]
    Outputs { reason: String },
    #[error("the feature {feature:?} is {value}, and the input takes whole numbers")]
    NotWhole { feature: String, value: f64 },
    #[error("ONNX Runtime: {0}")]
    Runtime(String),
    #[error("ONNX Runtime panicked: {0}")]
    Panicked(String),
}

impl Error {
    pub(super) fn malformed(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { at: at.into(), reason: reason.into() }
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

impl From<protobuf::Error> for Error {
    fn from(protobuf::Error { offset, reason }: protobuf::Error) -> Self {
        Self::malformed(format!("byte {offset}"), reason)
    }
}

impl<R> From<ort::Error<R>> for Error {
    fn from(error: ort::Error<R>) -> Self {
        Self::Runtime(error.message().trim().to_owned())
    }
}
