//! Names: which are valid, and which one was probably meant.

/// Names of features, labels, models, triggers, variants and caps.
pub(super) const MAX_NAME_BYTES: usize = 64;
/// Event types and properties, which their senders name.
pub(super) const MAX_FOREIGN_NAME_BYTES: usize = 256;

/// Words that conditions give another meaning to, and CEL's own.
const RESERVED: [&str; 28] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "event",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "math",
    "namespace",
    "now",
    "null",
    "package",
    "return",
    "scores",
    "traits",
    "true",
    "type",
    "user",
    "var",
    "void",
    "while",
];

/// What is wrong with a name, if anything is.
pub(super) fn mistake_in(name: &str) -> Option<String> {
    let pattern_holds = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if name.len() > MAX_NAME_BYTES {
        return Some(format!("a name has at most {MAX_NAME_BYTES} bytes, this one has {}", name.len()));
    }
    if !pattern_holds {
        return Some(format!(
            "{name:?} is not a name: a lower-case letter, then lower-case letters, digits and `_`"
        ));
    }
    RESERVED.contains(&name).then(|| format!("`{name}` is a reserved word"))
}

/// The candidate nearest to `name`, if it is near enough to be a slip.
pub fn nearest<S: AsRef<str>>(name: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    // Comparing costs the product of the lengths; a long name is no slip of a short one.
    if name.len() > MAX_FOREIGN_NAME_BYTES {
        return None;
    }
    let mut nearest: Option<(usize, String)> = None;
    for candidate in candidates {
        let candidate = candidate.as_ref();
        let bound = (name.len().max(candidate.len()) / 3).max(1);
        if name.len().abs_diff(candidate.len()) > bound {
            continue;
        }
        let distance = strsim::damerau_levenshtein(name, candidate);
        if distance <= bound && nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
            nearest = Some((distance, candidate.to_owned()));
        }
    }
    nearest.map(|(_, name)| name)
}
