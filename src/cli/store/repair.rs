//! `tipoff store repair`: makes a damaged store one that a server starts on.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::records::Records;
use super::{check_is_store, entries, progress_bar};
use crate::cli::print::count;
use crate::store::repair::{Loss, Mode, Repair};
use crate::store::verify::verify;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The `store.directory` of a server that is stopped
    directory: PathBuf,
    /// Tell what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also cut the log at its first damage: entries from there on, which were
    /// acknowledged, are moved into quarantine
    #[arg(long)]
    accept_loss: bool,
}

/// Tells what it does and what is lost. Fails if the store is still damaged then.
pub fn run(args: &Args) -> Result<()> {
    check_is_store(&args.directory)?;
    let mode = if args.dry_run { Mode::Look } else { Mode::Repair };
    let mut records = Records::new(progress_bar())?;
    let repair = Repair::plan(&args.directory, mode, args.accept_loss, &mut records);
    records.finish();
    let repair = repair?;
    if repair.steps.is_empty() && repair.left.is_empty() {
        println!("nothing to repair");
        return Ok(());
    }
    for step in &repair.steps {
        println!("{}{step}", if args.dry_run { "would " } else { "" });
    }
    if let Some(loss) = &repair.loss {
        print_loss(loss, &records);
    }
    if !args.dry_run {
        repair.carry_out()?;
    }
    if repair.quarantine().exists() {
        println!("quarantine: {}", repair.quarantine().display());
    }
    for damage in &repair.left {
        println!("damaged: {damage}");
    }
    if !repair.left.is_empty() {
        bail!(
            "{} is damaged in {}, and mending that loses what was acknowledged: restore a backup, or see with \
             --accept-loss --dry-run what would be lost",
            args.directory.display(),
            count(repair.left.len() as u64, "place"),
        );
    }
    drop(repair);
    if !args.dry_run {
        check_repaired(&args.directory)?;
        println!("repaired");
    }
    Ok(())
}

/// Verifies once more: a start must find nothing to refuse.
fn check_repaired(directory: &Path) -> Result<()> {
    let mut records = Records::new(progress_bar())?;
    let verified = verify(directory, &mut records);
    records.finish();
    let verified = verified?;
    // With no log left at all, a start begins a new one.
    match verified.damage.first().filter(|_| !verified.log.segments.is_empty()) {
        Some(damage) => bail!("still damaged: {damage}"),
        None => Ok(()),
    }
}

fn print_loss(loss: &Loss, records: &Records) {
    if loss.views_were_ahead {
        println!("lost: the end of the log, which the views had included; what it held is not known");
        return;
    }
    let times = match records.after_damage() {
        Some((first, last)) => format!(", which arrived from {first} to {last}"),
        None => String::new(),
    };
    println!(
        "lost: {} bytes of the log, {} of which can still be read{times}",
        loss.bytes,
        entries(loss.n_readable)
    );
}
