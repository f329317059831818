//! How a command ends: what it says, and its exit code.

use std::error::Error;
use std::process::ExitCode;

/// What was given is wrong: flags, files, definitions, models, configuration, address.
const EXIT_USAGE: u8 = 2;

/// Marks an error as one of what was given, and is told as that error.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Usage(#[from] anyhow::Error);

/// The same error, now one of what was given: the command exits 2, not 1.
pub fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    Usage(error.into()).into()
}

/// Tells the error, if there is one; the exit code.
pub fn end(program: &str, outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("{program}: {}", with_causes(error.as_ref()).trim_end());
    if error.is::<Usage>() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
}

/// The error and its causes, each told once: other crates' errors may repeat theirs.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_mark_is_found_below_context_and_not_told() {
        let error = usage(anyhow!("no such file").context("a.toml")).context("definitions");
        assert!(error.is::<Usage>());
        assert_eq!(with_causes(error.as_ref()), "definitions: a.toml: no such file");
        assert!(!anyhow!("no such file").is::<Usage>());
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let error = anyhow!("refused").context("connect: refused").context("cannot reach it");
        assert_eq!(with_causes(error.as_ref()), "cannot reach it: connect: refused");
    }
}
