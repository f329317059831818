//! Model files of other trainers in an artifact, as they are.

use super::error::Error;
use crate::engine::forest::Forest;
use crate::model_file::{self, Format};

/// The formats that an artifact can hold, with the manifest's `scorer` and the file's name.
const FORMATS: [(Format, &str, &str); 6] = [
    (Format::Lightgbm, "lightgbm", "model.txt"),
    (Format::XgboostJson, "xgboost-json", "model.json"),
    (Format::XgboostUbjson, "xgboost-ubjson", "model.ubj"),
    (Format::CatboostJson, "catboost-json", "model.json"),
    (Format::Gbdt, "gbdt", "model.json"),
    (Format::Onnx, "onnx-trees", "model.onnx"),
];

/// The format and the file's name by the manifest's `scorer`.
pub fn of_scorer(scorer: &str) -> Option<(Format, &'static str)> {
    let found = FORMATS.iter().find(|(_, of_format, _)| *of_format == scorer);
    found.map(|(format, _, file)| (*format, *file))
}

/// The manifest's `scorer` and the file's name.
///
/// # Errors
/// Our own format is not a trainer's.
pub fn of_format(format: Format) -> Result<(&'static str, &'static str), Error> {
    let found = FORMATS.iter().find(|(of_scorer, ..)| *of_scorer == format);
    found
        .map(|(_, scorer, file)| (*scorer, *file))
        .ok_or_else(|| Error::UnknownScorer { scorer: format.name().to_owned() })
}

/// Reads and checks the trees of a file that is of this format.
pub fn read(file: &str, format: Format, content: &[u8]) -> Result<Forest, Error> {
    let refuse = |error| Error::ForeignModel { file: file.to_owned(), error };
    let model = model_file::read(content).map_err(refuse)?;
    if model.format != format {
        let (found, expected) = (model.format.name().to_owned(), format.name().to_owned());
        return Err(Error::WrongFormat { file: file.to_owned(), found, expected });
    }
    Ok(model.forest)
}
