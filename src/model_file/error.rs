//! Why a model file is refused.

use std::io;

use super::Format;
use crate::engine::forest;

/// The longest text that an error repeats, in characters.
const MAX_CHARS: usize = 200;

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
        Self::Malformed { format, at: shown(at.into()), reason: shown(reason.into()) }
    }

    pub(super) fn unsupported(format: Format, what: impl Into<String>) -> Self {
        Self::Unsupported { format, what: shown(what.into()) }
    }

    pub(super) fn not_trees(operator: impl Into<String>) -> Self {
        Self::NotTrees { operator: shown(operator.into()) }
    }
}

/// Without what is too long for a line: the parsers repeat texts of the file.
fn shown(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_CHARS) {
        text.replace_range(end.., "…");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::read;

    #[test]
    fn a_long_text_of_the_file_is_not_repeated_whole() {
        let long = "é".repeat(5_000);
        let file = format!(r#"{{"learner":"{long}","version":[3,2,0]}}"#);
        let error = read(file.as_bytes()).expect_err("no learner").to_string();
        assert!(error.starts_with("XGBoost JSON: line 1, column ") && error.len() < 600, "{error}");
    }
}
