//! From an event file to rows, labels and artifacts, against naive recomputation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::ProgressBar;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tipoff::definitions;
use tipoff::engine::plan::Plan;
use tipoff::engine::time::{Millis, Timestamp};
use tipoff::onnx::Networks;
use tipoff::registry::Registry;
use tipoff_training::dataset::{self, Dataset};
use tipoff_training::history::Source;
use tipoff_training::rows::{self, At};
use tipoff_training::train::{self, Options, TrainerName};

const DEFINITIONS: &str = r#"
[features.buys_7d]
aggregate = "count"
of = "buy"
window = "7d"

[features.spent_30d]
aggregate = "sum"
of = "buy.value"
window = "30d"

[features.since_buy]
aggregate = "time_since_last"
of = "buy"

[features.last_page]
aggregate = "last"
of = "view.page"
type = "text"

[labels.large_buy_3d]
event = "buy"
where = "value > 20"
within = "3d"

[labels.quiet_5d]
no_event = "buy"
for = "5d"

[models.large_buy]
label = "large_buy_3d"
score_on = ["view"]
rescore_every = "1d"

[models.quiet]
label = "quiet_5d"
rescore_every = "2d"
"#;

const DAY: i64 = Millis::DAY.as_millis();
const START: i64 = 1_600_000_000_000;
const DAYS: i64 = 100;

/// One event of the made history.
#[derive(Clone, Debug)]
struct Fact {
    user: usize,
    /// The event's own time, some before its arrival.
    time: i64,
    arrival: i64,
    /// Its value if it is a buy, else it is a view.
    value: Option<f64>,
    id: Option<usize>,
}

/// Users whose appetite drives how often and how much they buy; some events
/// are late, some come twice.
fn facts(n_users: usize) -> Vec<Fact> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut uniform = move || f64::from(rng.next_u32()) / 4_294_967_296.0;
    let mut facts = Vec::new();
    for user in 0..n_users {
        let appetite = uniform();
        let mut arrival = START;
        loop {
            arrival += 1 + (uniform() * 1.2 * DAY as f64) as i64;
            if arrival >= START + DAYS * DAY {
                break;
            }
            let lateness = if uniform() < 0.1 { (uniform() * 1.05 * DAY as f64) as i64 } else { 0 };
            let value =
                (uniform() < 0.1 + 0.5 * appetite).then(|| (uniform() * 240.0 * appetite).round() / 4.0);
            let id = (uniform() < 0.5).then_some(facts.len());
            facts.push(Fact { user, time: arrival - lateness, arrival, value, id });
            if id.is_some() && uniform() < 0.1 {
                facts.push(Fact { arrival: arrival + 1_000, ..facts[facts.len() - 1].clone() });
                arrival += 1_000;
            }
        }
    }
    facts.sort_by_key(|fact| fact.arrival);
    facts
}

fn write(dir: &Path, facts: &[Fact]) -> PathBuf {
    let mut text = String::new();
    for fact in facts {
        let Fact { user, time, arrival, .. } = fact;
        let kind = if fact.value.is_some() { "buy" } else { "view" };
        let _ = write!(
            text,
            r#"{{"user_id": "user {user}", "type": "{kind}", "time": {time}, "arrival_time": {arrival}"#
        );
        if let Some(id) = fact.id {
            let _ = write!(text, r#", "event_id": "e{id}""#);
        }
        let properties = match fact.value {
            Some(value) => format!(r#"{{"value": {value:?}}}"#),
            None => format!(r#"{{"page": "p{}"}}"#, time % 3),
        };
        let _ = writeln!(text, r#", "properties": {properties}}}"#);
    }
    let path = dir.join("events.jsonl");
    fs::write(&path, text).expect("write");
    path
}

fn source(events: PathBuf, until: Option<i64>) -> Source {
    let until = until.map(Timestamp::from_millis);
    Source { events, mapping: String::new(), skip_bad_lines: false, until }
}

fn plan() -> Plan {
    definitions::compile(DEFINITIONS).expect("valid definitions")
}

fn dataset_of(plan: &Plan, model: &str, source: &Source) -> (Dataset, dataset::Counts) {
    let model = plan.models.iter().position(|other| &*other.name == model).expect("a model");
    let history = source.load(&ProgressBar::hidden()).expect("history");
    dataset::build(plan, model, history, &ProgressBar::hidden()).expect("rows")
}

/// What the engine must have accepted: not late by more than a day, each id once.
fn accepted(facts: &[Fact]) -> BTreeMap<usize, Vec<Fact>> {
    let mut seen = std::collections::HashSet::new();
    let mut accepted: BTreeMap<usize, Vec<Fact>> = BTreeMap::new();
    for fact in facts {
        if fact.time >= fact.arrival - DAY && fact.id.is_none_or(|id| seen.insert(id)) {
            accepted.entry(fact.user).or_default().push(fact.clone());
        }
    }
    accepted
}

/// The features by name as of `as_of`, from what had arrived.
fn naive(facts: &[Fact], as_of: i64) -> BTreeMap<&'static str, f64> {
    let buys = || facts.iter().filter(|fact| fact.arrival <= as_of && fact.value.is_some());
    let within = |window: i64| buys().filter(move |fact| fact.time > as_of - window && fact.time <= as_of);
    // Quarters: exact in any order.
    let spent: f64 = within(30 * DAY).fold(0.0, |sum, fact| sum + fact.value.unwrap_or(0.0));
    let since = buys().map(|fact| fact.time).max().map_or(f64::NAN, |last| (as_of - last) as f64 / 1_000.0);
    [("buys_7d", within(7 * DAY).count() as f64), ("spent_30d", spent), ("since_buy", since)].into()
}

#[test]
fn rows_and_labels_equal_a_naive_recomputation() {
    let dir = tempfile::tempdir().expect("folder");
    let facts = facts(40);
    let events = write(dir.path(), &facts);
    let plan = plan();
    let accepted = accepted(&facts);
    // Users are counted in the order of their keys, which are texts.
    let mut users: Vec<usize> = accepted.keys().copied().collect();
    users.sort_by_key(|user| format!("user {user}"));
    let end = facts.iter().map(|fact| fact.arrival).max().expect("facts");

    for (model, scores_views, every, happens, horizon) in
        [("large_buy", true, DAY, true, 3 * DAY), ("quiet", false, 2 * DAY, false, 5 * DAY)]
    {
        let (dataset, counts) = dataset_of(&plan, model, &source(events.clone(), None));
        let refused = counts.refused;
        assert!(refused.late > 0 && refused.duplicate > 0, "{refused:?}");
        let n_accepted: usize = accepted.values().map(Vec::len).sum();
        assert_eq!(n_accepted as u64, counts.events - refused.late - refused.duplicate - refused.future);
        assert_eq!(counts.decisions - counts.undecided, dataset.len() as u64);

        let inputs = &plan.models.iter().find(|other| &*other.name == model).expect("a model").features;
        let names: Vec<&str> = inputs.iter().map(|&feature| &*plan.features[feature].name).collect();
        let mut rows_of: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        let mut positives = 0;
        for (row, inputs) in dataset.rows().enumerate() {
            let user = users[dataset.users[row]];
            let as_of = dataset.as_of[row].as_millis();
            rows_of.entry(user).or_default().push(as_of);
            let expected = naive(&accepted[&user], as_of);
            for (name, value) in names.iter().zip(inputs) {
                let expected = expected[name];
                let same = value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan();
                assert!(same, "{model}, user {user} at {as_of}: {name} is {value}, not {expected}");
            }
            let hit = accepted[&user].iter().any(|fact| {
                let counts =
                    if happens { fact.value.is_some_and(|value| value > 20.0) } else { fact.value.is_some() };
                counts && fact.time > as_of && fact.time <= as_of + horizon
            });
            assert_eq!(dataset.y[row], f64::from(hit == happens), "{model}, user {user} at {as_of}");
            positives += usize::from(dataset.y[row] == 1.0);
        }
        assert!(positives > 50 && dataset.len() - positives > 50, "{positives} of {}", dataset.len());

        // A row at every view, if it is scored, and at every period from some phase on.
        for (user, facts) in &accepted {
            let views: Vec<i64> =
                facts.iter().filter(|fact| fact.value.is_none()).map(|fact| fact.arrival).collect();
            let decided = |at: &&i64| **at + horizon <= end;
            let rows = &rows_of[user];
            if scores_views {
                assert!(views.iter().filter(decided).all(|view| rows.contains(view)), "user {user}");
            }
            let timers: Vec<i64> =
                rows.iter().copied().filter(|row| !(scores_views && views.contains(row))).collect();
            assert!(timers.windows(2).all(|pair| pair[1] - pair[0] == every), "user {user}: {timers:?}");
            let (first, last) = (timers[0], timers[timers.len() - 1]);
            assert!(first > facts[0].arrival && first <= facts[0].arrival + every);
            assert!(last + every + horizon > end);
        }
    }
}

#[test]
fn a_model_of_session_ends_has_a_row_at_each() {
    let dir = tempfile::tempdir().expect("folder");
    let facts = facts(40);
    let events = write(dir.path(), &facts);
    let model =
        "[models.ends]\nlabel = \"large_buy_3d\"\nfeatures = [\"buys_7d\"]\nscore_on = [\"session_end\"]\n";
    let plan = definitions::compile(&format!("{DEFINITIONS}{model}")).expect("valid definitions");
    let gap = plan.bounds.session_gap.as_millis();
    let (dataset, _) = dataset_of(&plan, "ends", &source(events, None));
    let end = facts.iter().map(|fact| fact.arrival).max().expect("facts");

    let accepted = accepted(&facts);
    let mut users: Vec<usize> = accepted.keys().copied().collect();
    users.sort_by_key(|user| format!("user {user}"));
    let mut expected = Vec::new();
    for (index, user) in users.iter().enumerate() {
        let (mut latest, mut due) = (i64::MIN, None::<i64>);
        let mut ends = Vec::new();
        for fact in &accepted[user] {
            ends.extend(due.take_if(|due| *due <= fact.arrival));
            if fact.time > latest {
                latest = fact.time;
                due = Some((latest + gap).max(fact.arrival));
            }
        }
        ends.extend(due);
        expected.extend(ends.into_iter().filter(|at| at + 3 * DAY <= end).map(|at| (index, at)));
    }
    assert!(expected.len() > 1_000, "{} session ends", expected.len());
    let as_of = dataset.as_of.iter().map(|as_of| as_of.as_millis());
    assert_eq!(dataset.users.iter().copied().zip(as_of).collect::<Vec<_>>(), expected);
}

#[test]
fn rows_do_not_know_what_comes_after_them() {
    let dir = tempfile::tempdir().expect("folder");
    let events = write(dir.path(), &facts(20));
    let plan = plan();
    let cut = START + 60 * DAY;
    let (whole, _) = dataset_of(&plan, "large_buy", &source(events.clone(), None));
    let (before, counts) = dataset_of(&plan, "large_buy", &source(events, Some(cut)));
    assert!(counts.undecided > 0);
    assert!(before.as_of.iter().all(|as_of| as_of.as_millis() + 3 * DAY <= cut));
    // Each earlier row is one of the whole history, with the same inputs and the same label.
    let key = |dataset: &Dataset, row: usize| (dataset.users[row], dataset.as_of[row]);
    let index: BTreeMap<_, _> = (0..whole.len()).map(|row| (key(&whole, row), row)).collect();
    for row in 0..before.len() {
        let same = index[&key(&before, row)];
        let bits = |dataset: &Dataset, row: usize| dataset.x.row(row).mapv(f64::to_bits);
        assert_eq!(bits(&before, row), bits(&whole, same));
        assert_eq!(before.y[row], whole.y[same]);
    }
    let decided = whole.as_of.iter().filter(|as_of| as_of.as_millis() + 3 * DAY <= cut).count();
    assert!(decided - before.len() <= 20, "at most the last timer of a user is missing");
}

fn options(events: PathBuf, out: PathBuf, trainer: TrainerName) -> Options {
    Options {
        definitions: PathBuf::new(),
        source: source(events, None),
        model: "large_buy".to_owned(),
        out,
        trainer,
        trees: 40,
        depth: 3,
        learning_rate: 0.1,
        holdout_share: 0.25,
        holdout_from: None,
        calibration_share: 0.2,
        seed: 7,
        created: Some(Timestamp::from_millis(START)),
    }
}

#[test]
fn both_trainers_write_artifacts_that_serve_and_come_out_the_same_again() {
    let dir = tempfile::tempdir().expect("folder");
    let events = write(dir.path(), &facts(150));
    let plan = Arc::new(plan());
    for trainer in [TrainerName::Forust, TrainerName::Gbdt] {
        let out = |run: &str| dir.path().join(format!("{trainer:?}")).join(run);
        let [first, second] = ["first", "second"].map(|run| {
            let options = options(events.clone(), out(run), trainer);
            train::train(&plan, &options, &ProgressBar::hidden()).expect("trains")
        });
        for file in fs::read_dir(&first.dir).expect("folder") {
            let file = file.expect("entry").file_name();
            let [a, b] = [&first, &second].map(|run| fs::read(run.dir.join(&file)).expect("file"));
            assert!(a == b, "{trainer:?}: {file:?} is not the same again");
        }

        let training = first.manifest.training.expect("training");
        let metrics = first.manifest.metrics.expect("metrics").holdout;
        let gap = Millis::new(3 * DAY);
        assert_eq!((training.gap_after_train, training.gap_after_calibration), (gap, gap));
        assert!(training.train.to.after(gap) < training.calibration.from);
        assert!(training.calibration.to.after(gap) < training.holdout.from);
        assert!(metrics.auc.expect("both classes") > 0.7, "{metrics:?}");
        assert!(metrics.ece < 0.05, "{metrics:?}");
        let [low, high] = metrics.auc_interval.expect("both classes");
        assert!(low < metrics.auc.expect("both classes") && high < 1.0);

        let (registry, refused) = Registry::open(&out("first"), plan.clone(), Networks::default());
        assert!(refused.iter().all(|refused| &*refused.model == "quiet"), "{refused:?}");
        let serving = registry.models();
        let model = serving.get(0).expect("serves");
        let row = vec![f64::NAN; model.inputs.len()];
        let (_, outputs) = model.score_row(&row).expect("a forest always scores");
        assert!(outputs[0] > 0.0 && outputs[0] < 1.0);
    }
}

#[test]
fn what_cannot_be_trained_is_said() {
    let dir = tempfile::tempdir().expect("folder");
    let events = write(dir.path(), &facts(20));
    let plan = plan();
    let out = dir.path().join("models");
    let refused = |change: &dyn Fn(&mut Options), expected: &str| {
        let mut options = options(events.clone(), out.clone(), TrainerName::Forust);
        change(&mut options);
        let error = train::train(&plan, &options, &ProgressBar::hidden()).expect_err("refused");
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        assert!(!out.exists(), "nothing is left behind");
    };
    refused(
        &|options| options.model = "larg_buy".to_owned(),
        "no model \"larg_buy\"; they have: large_buy, quiet",
    );
    refused(&|options| options.learning_rate = f64::NAN, "--learning-rate NaN");
    refused(&|options| options.holdout_share = 0.9, "leave nothing to train on");
    let early = |days: i64| Some(Timestamp::from_millis(START + days * DAY));
    refused(&|options| options.source.until = early(0), "no event to replay");
    refused(&|options| options.source.until = early(2), "no decision has a known outcome");
    refused(&|options| options.source.until = early(5), "more history, or a shorter horizon");
    refused(&|options| options.source.events = dir.path().join("none.csv"), "none.csv");
}

#[test]
fn tables_hold_the_vector_after_every_event() {
    let dir = tempfile::tempdir().expect("folder");
    let facts = facts(12);
    let events = write(dir.path(), &facts);
    let plan = plan();
    let write = |at, name: &str| {
        let history = source(events.clone(), None).load(&ProgressBar::hidden()).expect("history");
        let out = dir.path().join(name);
        let written = rows::write(&plan, history, at, &out, &ProgressBar::hidden()).expect("writes");
        (out, written.rows)
    };
    let (csv, n_rows) = write(At::EachEvent, "rows.csv");
    let mut reader = csv::Reader::from_path(csv).expect("csv");
    let header: Vec<String> = reader.headers().expect("header").iter().map(str::to_owned).collect();
    let features: Vec<&str> = plan.features.iter().map(|feature| &*feature.name).collect();
    assert_eq!(header[..2], ["user_id", "as_of"]);
    assert_eq!(header[2..], features);
    let accepted = accepted(&facts);
    let mut expected: Vec<(String, i64)> = accepted
        .iter()
        .flat_map(|(user, facts)| facts.iter().map(move |fact| (format!("user {user}"), fact.arrival)))
        .collect();
    expected.sort();
    let mut found = Vec::new();
    let mut table = Vec::new();
    for record in reader.records() {
        let record = record.expect("record");
        let as_of: Timestamp = record[1].parse().expect("RFC 3339");
        assert!(record[1].ends_with('Z'));
        let user: usize = record[0].strip_prefix("user ").and_then(|user| user.parse().ok()).expect("a user");
        let naive = naive(&accepted[&user], as_of.as_millis());
        for (name, cell) in header.iter().zip(&record).skip(2) {
            let Some(expected) = naive.get(name.as_str()) else { continue };
            match cell {
                "" => assert!(expected.is_nan(), "{name} at {as_of}"),
                cell => assert_eq!(cell.parse(), Ok(*expected), "{name} at {as_of}"),
            }
        }
        found.push((record[0].to_owned(), as_of.as_millis()));
        table.push(record.iter().map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(found.len() as u64, n_rows);
    found.sort();
    assert_eq!(found, expected);
    assert!(table.iter().any(|row| row.contains(&"p1".to_owned())), "texts are written");

    let (parquet, _) = write(At::EachEvent, "rows.parquet");
    assert_eq!(read_parquet(&parquet), table);
    let (decisions, n_decisions) = write(At::Decisions, "decisions.parquet");
    assert!(n_decisions > n_rows, "timers are decisions, too");
    assert_eq!(read_parquet(&decisions).len() as u64, n_decisions);
}

/// The cells as the CSV has them.
fn read_parquet(path: &Path) -> Vec<Vec<String>> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    let reader = SerializedFileReader::new(fs::File::open(path).expect("file")).expect("parquet");
    let rows = reader.get_row_iter(None).expect("rows");
    rows.map(|row| {
        let row = row.expect("row");
        let cell = |(_, field): (&String, &Field)| match field {
            Field::Null => String::new(),
            Field::Str(text) => text.clone(),
            Field::Double(number) => number.to_string(),
            Field::TimestampMillis(ms) => Timestamp::from_millis(*ms).to_string(),
            other => panic!("{other:?}"),
        };
        row.get_column_iter().map(cell).collect()
    })
    .collect()
}

#[test]
fn wrong_definitions_are_told_once_and_exit_2() {
    let dir = tempfile::tempdir().expect("folder");
    let definitions = dir.path().join("bad.toml");
    std::fs::write(&definitions, "[feature.n]").expect("written");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tipoff-training"))
        .args(["rows", "--events", "none.jsonl", "--out", "rows.csv", "--definitions"])
        .arg(&definitions)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(
        talk.starts_with("tipoff-training: ") && talk.contains("bad.toml is wrong:\nerror: unknown"),
        "{talk}"
    );
    assert_eq!(talk.matches("error:").count(), 1, "{talk}");
}

#[test]
fn history_is_joined_to_the_tables_as_they_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    fs::write(path("products.csv"), "sku,price\n7,2.5\n8,4\n").expect("written");
    let text = r#"
[lookups.products]
file = "products.csv"
key = "sku"
on = "product"

[features.spent]
aggregate = "sum"
of = "buy.products.price"
window = "lifetime"
"#;
    fs::write(path("definitions.toml"), text).expect("written");
    let events = "user_id,type,time,product,products.price\n\
                  ada,buy,1600000000000,7,100\n\
                  ada,buy,1600000001000,9,100\n\
                  ada,buy,1600000002000,8,\n";
    fs::write(path("events.csv"), events).expect("written");

    let plan = definitions::load(&path("definitions.toml")).expect("valid definitions");
    let history = source(path("events.csv"), None).load(&ProgressBar::hidden()).expect("history");
    let out = path("rows.csv");
    rows::write(&plan, history, At::EachEvent, &out, &ProgressBar::hidden()).expect("written");
    let rows = fs::read_to_string(&out).expect("rows");
    let spent: Vec<&str> = rows.lines().skip(1).filter_map(|line| line.rsplit(',').next()).collect();
    assert_eq!(spent, ["2.5", "2.5", "6.5"]);
}
