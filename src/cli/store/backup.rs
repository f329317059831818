//! `tipoff store backup`: a verified copy of a store, also under a running server.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, anyhow};
use indicatif::HumanBytes;

use super::records::Records;
use super::{check_is_store, entries, progress_bar};
use crate::cli::outcome::usage;
use crate::cli::print::count;
use crate::store::backup::{BackupError, back_up};

/// Copied along if they lie in the data directory.
const BESIDE: &[&str] = &["models"];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The `store.directory` of a server, stopped or running
    directory: PathBuf,
    /// Where the copy goes: a directory that is not there yet, or empty
    destination: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    check_is_store(&args.directory)?;
    let started = Instant::now();
    let mut records = Records::new(progress_bar())?;
    let backup = back_up(&args.directory, &args.destination, BESIDE, &mut records);
    records.finish();
    let backup = backup.map_err(|error| match error {
        BackupError::Occupied(_) => usage(error),
        error => anyhow!("{}: {error}", args.directory.display()),
    })?;
    let log = &backup.verified.log;
    println!(
        "{}: {} in {}, {}, up to position {}; verified",
        args.destination.display(),
        entries(log.n_entries),
        count(backup.n_segments as u64, "segment"),
        HumanBytes(backup.bytes),
        backup.end,
    );
    if backup.n_beside > 0 {
        println!("models: {}", count(backup.n_beside, "file"));
    }
    eprintln!("{:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
