//! Canonical texts of definitions and their digests.

use crate::engine::plan::sha256_hex;

/// What a definition says, one line a fact, whatever way it was written.
#[derive(Clone, Debug)]
pub(super) struct Canonical(String);

impl Canonical {
    pub(super) fn new(kind: &str, name: &str) -> Self {
        let mut canonical = Self(String::new());
        canonical.line(kind, name);
        canonical
    }

    /// Adds a fact. Values are quoted, so that none can pass for another line.
    pub(super) fn line(&mut self, key: &str, value: impl std::fmt::Display) -> &mut Self {
        self.0.push_str(&format!("{key} {:?}\n", value.to_string()));
        self
    }

    pub(super) fn optional(&mut self, key: &str, value: Option<impl std::fmt::Display>) -> &mut Self {
        if let Some(value) = value {
            self.line(key, value);
        }
        self
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// SHA-256 in lower-case hex.
    pub(super) fn digest(&self) -> String {
        sha256_hex(self.0.as_bytes())
    }
}
