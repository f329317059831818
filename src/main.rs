//! The `tipoff` binary: see [`tipoff::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tipoff::cli::run()
}
