//! JSON of a size that is known before any of it is built.

use serde::de::DeserializeOwned;

use super::{Error, Format};
use crate::engine::forest::Forest;

/// Every node is an object, and its split may be another.
const MAX_OBJECTS: usize = 2 * (Forest::MAX_NODES + Forest::MAX_TREES);

/// How many values a file may hold: XGBoost writes ten a node, others fewer.
pub fn max_values(format: Format) -> usize {
    match format {
        Format::XgboostJson | Format::XgboostUbjson => 12 * Forest::MAX_NODES,
        _ => 8 * Forest::MAX_NODES,
    }
}

/// Reads a whole file. What can be built of it is bounded by its braces and
/// commas, which are counted first; nesting is bounded by the parser.
pub fn read<T: DeserializeOwned>(format: Format, content: &[u8]) -> Result<T, Error> {
    // Every element of a list or an object but its first follows a comma.
    for (byte, max, things) in [(b'{', MAX_OBJECTS, "objects"), (b',', max_values(format), "values")] {
        if content.iter().filter(|&&found| found == byte).count() > max {
            return Err(Error::malformed(format, "the file", format!("more than {max} {things}")));
        }
    }
    serde_json::from_slice(content).map_err(|error| {
        let at = format!("line {}, column {}", error.line(), error.column());
        let message = error.to_string();
        // The place is said already.
        let reason = message.rsplit_once(" at line ").map_or(&*message, |(reason, _)| reason);
        Error::malformed(format, at, reason)
    })
}
