//! `tipoff model score`: the rows of a file through a model.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;

use super::opened::Opened;
use super::rows::{Inputs, Rows};
use crate::cli::outcome::usage;
use crate::cli::print::count;

/// Rows scored at a time: what is held of a file of any length.
const BLOCK_ROWS: usize = 1_024;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An artifact's directory, or a model file as its trainer writes it
    model: PathBuf,
    /// Rows to score: .csv (also .gz or .zst) with a header, or .parquet; empty is missing
    #[arg(long, value_name = "ROWS")]
    input: PathBuf,
    /// The CSV to write: a row each, `raw` and `output`, numbered for several outputs
    #[arg(long, value_name = "OUT")]
    output: PathBuf,
    /// Take the columns in the order of the model's inputs, whatever they are called
    #[arg(long)]
    by_position: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let opened = Opened::open(&args.model).map_err(usage)?;
    let model = &opened.model;
    let inputs = match opened.has_names && !args.by_position {
        true => Inputs::ByName(&model.input_names),
        false => Inputs::ByPosition(model.inputs.len()),
    };
    let mut rows = Rows::open(&args.input, inputs).map_err(usage)?;
    let mut sink = Sink::create(&args.output)
        .with_context(|| format!("cannot write {}", args.output.display()))
        .map_err(usage)?;
    let bar = progress_bar(rows.progress().1);
    let started = Instant::now();
    let scored = score(&opened, &mut rows, &args.input, &mut sink, &bar);
    bar.finish_and_clear();
    let n_rows = scored?;
    sink.finish(&args.output).with_context(|| format!("cannot write {}", args.output.display()))?;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{} in {seconds:.1} s ({:.0}/s)", count(n_rows, "row"), n_rows as f64 / seconds);
    Ok(())
}

/// Scores every row; gives how many there were.
fn score(
    opened: &Opened,
    rows: &mut Rows,
    path: &Path,
    out: &mut impl Write,
    bar: &ProgressBar,
) -> Result<u64> {
    let (model, n_outputs) = (&opened.model, opened.model.outputs.len());
    let n_answers = if opened.says_class { 1 } else { n_outputs };
    writeln!(out, "{}", header(n_outputs, n_answers))?;
    let (mut n_scored, mut values) = (0, Vec::new());
    loop {
        values.clear();
        let n_rows = rows.read(BLOCK_ROWS, &mut values).map_err(usage)?;
        if n_rows == 0 {
            return Ok(n_scored);
        }
        let (mut raw, mut outputs) = (vec![0.0; n_rows * n_outputs], vec![0.0; n_rows * n_outputs]);
        model.score_rows(&values, &mut raw, &mut outputs).map_err(|(row, unscored)| {
            let row = n_scored + row as u64 + 1;
            usage(anyhow!("{}: row {row}: no score: {unscored}", path.display()))
        })?;
        if opened.says_class {
            outputs = raw.chunks(n_outputs).map(likeliest).collect();
        }
        for (raw, outputs) in raw.chunks(n_outputs).zip(outputs.chunks(n_answers)) {
            for (index, value) in raw.iter().chain(outputs).enumerate() {
                let comma = if index == 0 { "" } else { "," };
                // The shortest that reads back as the same bits.
                write!(out, "{comma}{value:?}")?;
            }
            writeln!(out)?;
        }
        n_scored += n_rows as u64;
        bar.set_position(rows.progress().0);
    }
}

/// The first class of the largest raw output.
fn likeliest(raw: &[f64]) -> f64 {
    let greatest = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    raw.iter().take_while(|value| **value < greatest).count() as f64
}

fn header(n_raw: usize, n_outputs: usize) -> String {
    let named = |name: &str, n: usize| -> Vec<String> {
        if n == 1 { vec![name.to_owned()] } else { (0..n).map(|index| format!("{name}_{index}")).collect() }
    };
    [named("raw", n_raw), named("output", n_outputs)].concat().join(",")
}

/// Where the scores go: a file that gets its name once it is whole, or
/// whatever else there is by that name, such as a pipe.
enum Sink {
    File(BufWriter<NamedTempFile>),
    Other(BufWriter<File>),
}

impl Sink {
    fn create(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Ok(Self::Other(BufWriter::new(File::options().write(true).open(path)?)));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        // As any file that is created: by the process's mask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.prefix(".tipoff-").tempfile_in(folder.unwrap_or(Path::new(".")))?;
        Ok(Self::File(BufWriter::new(file)))
    }

    fn finish(self, path: &Path) -> Result<()> {
        match self {
            Self::File(file) => {
                file.into_inner().map_err(|error| error.into_error())?.persist(path)?;
            }
            Self::Other(mut file) => file.flush()?,
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Other(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Other(file) => file.flush(),
        }
    }
}

fn progress_bar(total: u64) -> ProgressBar {
    let template = "{bar:40.cyan/blue} {percent:>3} %  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}
