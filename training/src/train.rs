//! `tipoff-training train`: from history to a verified artifact.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use tipoff::cli::outcome::usage;
use tipoff::engine::calibration::Calibration;
use tipoff::engine::forest::Forest;
use tipoff::engine::model::Link;
use tipoff::engine::plan::Plan;
use tipoff::engine::time::Timestamp;
use tipoff::registry::{self, Content, Draft, Golden, Manifest};

use crate::dataset::{self, Dataset, Holdout, Parts, Shares};
use crate::history::Source;
use crate::report::{self, Report};
use crate::trainer::{self, Forust, Gbdt, Settings, Trainer};
use crate::{calibrate, evaluate};

/// Golden cases of an artifact, beside the one of missing inputs and the one of zeros.
const N_GOLDEN: usize = 62;

/// Train a model on history and write it as an artifact that the server loads
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Definitions: a TOML file, or a folder of them
    #[arg(long, value_name = "FILE")]
    pub definitions: PathBuf,
    #[command(flatten)]
    pub source: Source,
    /// The model to train, by its name in the definitions
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// Folder of artifacts; the new one is `<out>/<model>/<version>`
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub out: PathBuf,
    #[arg(long, value_enum, default_value_t = TrainerName::Forust)]
    pub trainer: TrainerName,
    /// The most trees; fewer are kept if they do better on the calibration part
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    pub trees: u16,
    /// Splits on the longest way to a leaf
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub depth: u8,
    #[arg(long, value_name = "RATE", default_value_t = 0.05)]
    pub learning_rate: f64,
    /// Share of the time that is held out for evaluation: the last
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    pub holdout_share: f64,
    /// Hold out the decisions from this time on instead (RFC 3339); the labels
    /// of what is trained and calibrated on end before it
    #[arg(long, value_name = "TIME", conflicts_with = "holdout_share")]
    pub holdout_from: Option<Timestamp>,
    /// Share of the time that the calibration is fitted to, before the hold-out
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    pub calibration_share: f64,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The artifact's created time (RFC 3339), for artifacts that are the same
    /// byte for byte; else SOURCE_DATE_EPOCH (seconds) if set, else now
    #[arg(long, value_name = "TIME")]
    pub created: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrainerName {
    /// Histograms, fast, missing values native
    Forust,
    /// Exact greedy splits, slow
    Gbdt,
}

/// An artifact on disk, and what it is worth.
#[derive(Debug)]
pub struct Trained {
    pub dir: PathBuf,
    pub manifest: Manifest,
    pub report: Report,
}

/// Trains and publishes `options.model` of `plan`.
pub fn train(plan: &Plan, options: &Options, progress: &ProgressBar) -> Result<Trained> {
    options.check().map_err(usage)?;
    let model = plan.models.iter().position(|model| *model.name == *options.model).ok_or_else(|| {
        let names: Vec<&str> = plan.models.iter().map(|model| &*model.name).collect();
        usage(anyhow!("the definitions have no model {:?}; they have: {}", options.model, names.join(", ")))
    })?;
    let created = options.created()?;
    let history = options.source.load(progress).map_err(usage)?;
    let n_skipped = history.n_skipped;
    let (dataset, counts) = dataset::build(plan, model, history, progress).map_err(usage)?;
    let label = registry::Label::of(&plan.labels[plan.models[model].label.context("no label")?]);
    let parts = dataset.split(label.horizon, options.shares()).map_err(usage)?;
    drop(dataset);

    progress.set_message("training");
    let settings = options.settings();
    let trainer: &dyn Trainer = match options.trainer {
        TrainerName::Forust => &Forust(settings),
        TrainerName::Gbdt => &Gbdt(settings),
    };
    let train = (parts.train.x.view(), parts.train.y.as_slice());
    let valid = (parts.calibration.x.view(), parts.calibration.y.as_slice());
    let forest = trainer::fit(trainer, train, valid)?;

    progress.set_message("evaluating");
    let probabilities = |part: &Dataset| -> Vec<f64> {
        part.rows().map(|row| Link::Logistic.apply(forest.raw(row))).collect()
    };
    let chosen =
        calibrate::choose(&probabilities(&parts.calibration), &parts.calibration.y, &parts.calibration.users);
    let calibrated = |part: &Dataset| -> Vec<f64> {
        probabilities(part).into_iter().map(|p| chosen.calibration.apply(p)).collect()
    };
    let measure = |part: &Dataset| evaluate::measure(&calibrated(part), &part.y, &part.users, options.seed);
    let calibration = calibrated(&parts.calibration);
    let holdout = calibrated(&parts.holdout);
    let metrics = registry::Metrics {
        train: measure(&parts.train),
        calibration: evaluate::measure(
            &calibration,
            &parts.calibration.y,
            &parts.calibration.users,
            options.seed,
        ),
        holdout: evaluate::measure(&holdout, &parts.holdout.y, &parts.holdout.users, options.seed),
    };
    let mut parameters = settings.parameters();
    parameters.insert("trees_kept".to_owned(), forest.trees().len() as f64);
    let training = registry::Training {
        trainer: trainer.name().to_owned(),
        parameters,
        train: parts.train.part(),
        gap_after_train: parts.gap_after_train,
        calibration: parts.calibration.part(),
        gap_after_calibration: parts.gap_after_calibration,
        holdout: parts.holdout.part(),
    };
    let features = &plan.models[model].features;
    let names: Vec<&str> = features.iter().map(|&feature| &*plan.features[feature].name).collect();
    let report = Report {
        model: options.model.clone(),
        label: label.clone(),
        counts: report::Counts::new(&counts, n_skipped),
        training: training.clone(),
        metrics: metrics.clone(),
        calibrations: chosen.candidates.iter().map(|(kind, loss)| ((*kind).to_owned(), *loss)).collect(),
        reliability: evaluate::reliability(&holdout, &parts.holdout.y),
        calibration_thresholds: evaluate::thresholds(&calibration, &parts.calibration.y),
        thresholds: evaluate::thresholds(&holdout, &parts.holdout.y),
        importances: report::importances(&forest, &parts.holdout, &names),
    };

    let manifest = Manifest {
        created,
        calibration: chosen.calibration.clone(),
        training: Some(training),
        metrics: Some(metrics),
        thresholds: report.thresholds.clone(),
        ..Manifest::of_binary(plan, &plan.models[model], features)
    };
    let golden = golden(&forest, &chosen.calibration, &parts);
    let extra = BTreeMap::from([
        ("report.json".to_owned(), report.to_json()?),
        ("report.txt".to_owned(), report.to_string().into_bytes()),
    ]);
    // Written, loaded as a server would, and its golden cases verified; only then published.
    let published = registry::publish(
        &options.out,
        Draft { manifest, model: Content::Forest(&forest), golden: &golden, extra },
        plan,
    )?;
    let manifest = (*published.loaded.manifest).clone();
    Ok(Trained { dir: published.dir, manifest, report })
}

/// Hold-out rows from the lowest to the highest raw output, and two corners.
fn golden(forest: &Forest, calibration: &Calibration, parts: &Parts) -> Vec<Golden> {
    let mut rows: Vec<(f64, &[f64])> = parts.holdout.rows().map(|row| (forest.raw(row), row)).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = rows.len().min(N_GOLDEN);
    let picked = (0..n).map(|index| rows[index * (rows.len() - 1) / (n - 1).max(1)].1.to_vec());
    let corners = [f64::NAN, 0.0].map(|value| vec![value; forest.n_inputs()]);
    picked
        .chain(corners)
        .map(|inputs| {
            let raw = forest.raw(&inputs);
            Golden { inputs, raw, outputs: vec![calibration.apply(Link::Logistic.apply(raw))] }
        })
        .collect()
}

impl Options {
    fn check(&self) -> Result<()> {
        let rate = self.learning_rate;
        ensure!(rate > 0.0 && rate <= 1.0, "--learning-rate {rate} is not in (0, 1]");
        for (name, share) in
            [("--holdout-share", self.holdout_share), ("--calibration-share", self.calibration_share)]
        {
            ensure!(share > 0.0 && share < 1.0, "{name} {share} is not in (0, 1)");
        }
        let holdout_share = if self.holdout_from.is_some() { 0.0 } else { self.holdout_share };
        let train = 1.0 - holdout_share - self.calibration_share;
        ensure!(train > 0.0, "--holdout-share and --calibration-share leave nothing to train on");
        Ok(())
    }

    fn shares(&self) -> Shares {
        let holdout = self.holdout_from.map_or(Holdout::Share(self.holdout_share), Holdout::From);
        Shares { calibration: self.calibration_share, holdout }
    }

    fn settings(&self) -> Settings {
        Settings {
            n_trees: usize::from(self.trees),
            depth: usize::from(self.depth),
            learning_rate: self.learning_rate,
            seed: self.seed,
        }
    }

    fn created(&self) -> Result<Timestamp> {
        if let Some(created) = self.created {
            return Ok(created);
        }
        if let Some(seconds) = std::env::var_os("SOURCE_DATE_EPOCH") {
            let seconds = seconds.to_str().and_then(|text| text.parse::<i64>().ok());
            let ms = seconds.and_then(|seconds| seconds.checked_mul(1_000));
            return Ok(Timestamp::from_millis(ms.context("SOURCE_DATE_EPOCH is not whole seconds")?));
        }
        let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else {
            bail!("the system's clock is before 1970");
        };
        Ok(Timestamp::from_millis(i64::try_from(now.as_millis())?))
    }
}
