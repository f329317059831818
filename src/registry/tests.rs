use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::engine::calibration::Calibration;
use crate::engine::forest::{Condition, Forest, Frame, Leaf, Node, Side, Split, SumOrder, Tree};
use crate::engine::model::{Link, OutputKind};
use crate::engine::plan::{
    Aggregate, EXACT_ROWS, EventSelector, FeatureKind, FeaturePlan, LabelPlan, ModelPlan, SessionPlan,
    TimeBounds, Window,
};
use crate::engine::time::{Millis, Timestamp};
use crate::engine::vector::{Slot, Vector};
use crate::model_file::Format;

fn feature(name: &str, digest: &str, slot: Slot) -> FeaturePlan {
    FeaturePlan {
        name: name.into(),
        digest: digest.into(),
        slot,
        is_bool: false,
        reads: Vec::new(),
        kind: FeatureKind::Aggregate { series: 0, aggregate: Aggregate::Count, window: Window::Lifetime },
    }
}

/// Features `a` (slot 0), `t` (a text), `b` (slot 1); models `buy` and `churn`.
fn plan() -> Arc<Plan> {
    let model = |name: &str, label| ModelPlan {
        name: name.into(),
        label,
        features: vec![0, 2],
        score_on: vec![EventSelector::Any],
        score_on_session_end: false,
        rescore_every: None,
    };
    Arc::new(Plan {
        digest: "plan".into(),
        source: "".into(),
        event_types: Default::default(),
        properties: Default::default(),
        traits: Default::default(),
        series: Vec::new(),
        features: vec![
            feature("a", "digest of a", Slot::Number(0)),
            feature("t", "digest of t", Slot::Text(0)),
            feature("b", "digest of b", Slot::Number(1)),
        ],
        n_numbers: 2,
        n_texts: 1,
        labels: vec![LabelPlan {
            name: "purchase".into(),
            digest: "digest of purchase".into(),
            event: EventSelector::Any,
            filter: None,
            happens: true,
            horizon: Millis::DAY,
        }],
        models: vec![model("buy", Some(0)), model("churn", None)],
        triggers: Vec::new(),
        caps: Vec::new(),
        lookups: Vec::new(),
        bounds: TimeBounds { lateness: Millis::DAY, skew: Millis::MINUTE, session_gap: Millis::HOUR },
        sessions: SessionPlan { longest_window: Millis::ZERO, max_kept: EXACT_ROWS },
    })
}

/// `base + (b < 0.5 ? -0.1 : 0.2)`, and another split on a below it.
fn forest(base: f64) -> Forest {
    let split = |input, threshold, left, right, cover| {
        let (condition, missing) = (Condition::Less(threshold), Side::Left);
        Node::Split(Split { input, condition, missing, zero_is_missing: false, left, right, cover })
    };
    let leaf = |value, cover| Node::Leaf(Leaf { value, cover });
    let nodes = vec![
        split(0, 0.5, 1, 2, 10.0),
        leaf(-0.1, 4.0),
        split(1, 1.0 / 3.0, 3, 4, 6.0),
        leaf(0.2, 2.0),
        leaf(0.7, 4.0),
    ];
    Forest::new(Frame::single(2, base), vec![Tree::of(nodes)]).expect("valid")
}

fn draft<'a>(name: &str, forest: &'a Forest, golden: &'a [Golden]) -> Draft<'a> {
    let features = [("b", "digest of b"), ("a", "digest of a")];
    let manifest = Manifest {
        format: String::new(),
        format_version: 0,
        name: name.to_owned(),
        version: 0,
        created: Timestamp::from_millis(1_300_000_000_000),
        scorer: String::new(),
        features: features.map(|(name, digest)| Feature { name: name.into(), digest: digest.into() }).into(),
        features_digest: plan().features_digest(&[2, 0]),
        label: Some(Label {
            name: "purchase".into(),
            digest: "digest of purchase".into(),
            happens: true,
            horizon: Millis::DAY,
        }),
        missing: Missing::Native,
        link: Link::Logistic,
        outputs: vec![Output { name: "probability".into(), kind: OutputKind::Probability }],
        calibration: Calibration::Isotonic { x: vec![0.2, 0.8], y: vec![0.1, 0.6] },
        network: None,
        sum_order: SumOrder::default(),
        training: None,
        metrics: None,
        thresholds: Vec::new(),
        files: Default::default(),
    };
    Draft {
        manifest,
        model: Content::Forest(forest),
        golden,
        extra: [("notes.txt".to_owned(), b"n".to_vec())].into(),
    }
}

fn golden(base: f64) -> Vec<Golden> {
    [[0.0, 1.0], [1.0, 1.0], [f64::NAN, f64::NAN]]
        .map(|inputs: [f64; 2]| {
            let raw = forest(base).raw(&inputs);
            let calibration = Calibration::Isotonic { x: vec![0.2, 0.8], y: vec![0.1, 0.6] };
            let outputs = vec![calibration.apply(Link::Logistic.apply(raw))];
            Golden { inputs: inputs.into(), raw, outputs }
        })
        .into()
}

fn publish_good(models: &Path, base: f64) -> Published {
    publish(models, draft("buy", &forest(base), &golden(base)), &plan()).expect("a good artifact")
}

/// Artifacts on disk outlive the code that wrote them: version 1 stays readable,
/// and what is written is version 1 as long as it says so.
#[test]
fn format_version_1_is_read_and_written() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let loaded =
        load(&fixture.join("buy/1"), "buy", 1, &plan(), &Networks::default()).expect("version 1 is readable");
    assert_eq!(loaded.model.score_row(&[1.0, 1.0]).expect("a score").0, 0.7);
    assert!(loaded.manifest.training.is_some() && loaded.manifest.metrics.is_some());

    let models = tempfile::tempdir().expect("folder");
    let (forest, golden) = (forest(0.0), golden(0.0));
    let mut draft = draft("buy", &forest, &golden);
    draft.manifest.training = loaded.manifest.training.clone();
    draft.manifest.metrics = loaded.manifest.metrics.clone();
    draft.manifest.thresholds = loaded.manifest.thresholds.clone();
    let written = publish(models.path(), draft, &plan()).expect("a good artifact").dir;
    for file in ["manifest.json", "forest.json", "golden.jsonl", "notes.txt"] {
        let [written, fixture] =
            [&written, &fixture.join("buy/1")].map(|dir| fs::read_to_string(dir.join(file)).expect("file"));
        assert_eq!(written, fixture, "{file}");
    }
}

/// Rewrites a JSON file in place.
fn edit(dir: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let content = fs::read(dir.join(file)).expect("file");
    let mut value = serde_json::from_slice(&content).expect("json");
    change(&mut value);
    fs::write(dir.join(file), value.to_string()).expect("write");
}

fn edit_manifest(dir: &Path, change: impl FnOnce(&mut Value)) {
    edit(dir, Manifest::FILE, change);
}

/// Overwrites a file, and its checksum in the manifest.
fn replace(dir: &Path, file: &str, content: &[u8]) {
    fs::write(dir.join(file), content).expect("write");
    let sum = FileSum::of(content);
    edit_manifest(dir, |manifest| {
        manifest["files"][file] = json!({ "sha256": sum.sha256, "bytes": sum.bytes });
    });
}

fn edit_forest(dir: &Path, change: impl FnOnce(&mut Value)) {
    edit(dir, "forest.json", change);
    let content = fs::read(dir.join("forest.json")).expect("file");
    replace(dir, "forest.json", &content);
}

fn edit_node(dir: &Path, node: usize, change: impl FnOnce(&mut Value)) {
    edit_forest(dir, |forest| change(&mut forest["trees"][0]["nodes"][node]));
}

fn edit_golden(dir: &Path, case: Value) {
    replace(dir, "golden.jsonl", case.to_string().as_bytes());
}

#[test]
fn a_published_artifact_serves_what_it_was_trained_to_say() {
    let models = tempfile::tempdir().expect("folder");
    let published = publish_good(models.path(), 0.0);
    assert_eq!(published.dir, models.path().join("buy/1"));
    let (registry, refused) = Registry::open(models.path(), plan(), Networks::default());
    assert_eq!(
        refused.iter().map(Refused::to_string).collect::<Vec<_>>(),
        ["model churn: no artifact of this model"]
    );
    let serving = registry.models();
    let model = serving.get(0).expect("buy is served");
    assert!(serving.get(1).is_none());
    assert_eq!(model.inputs, [1, 0]);
    let vector = Vector { numbers: vec![1.0, 2.0], texts: vec![None] };
    let score = model.score(0, &vector).expect("a score");
    assert_eq!(score.raw, 0.7);
    assert_eq!(score.version, 1);
    let reasons = model.reasons(&vector, 5);
    assert_eq!(
        reasons.iter().map(|reason| (&*reason.feature, reason.value)).collect::<Vec<_>>(),
        [("b", 2.0), ("a", 1.0)]
    );
    let entry = registry.get("buy").expect("a model of the plan");
    assert_eq!(*entry.stable().expect("served").manifest, *published.loaded.manifest);
    assert!(registry.get("other").is_none());
}

/// The next move of `buy`, by a call.
fn next(registry: &Registry, change: Change) -> Move {
    Move {
        model: "buy".into(),
        number: registry.get("buy").expect("a model of the plan").rollout.n_moves + 1,
        at: Timestamp::from_millis(0),
        who: "ada".into(),
        why: String::new(),
        change,
    }
}

fn aliased(alias: Alias, to: u32) -> Change {
    let percent = (alias == Alias::Canary).then_some(50.0);
    Change::Aliased { alias, from: None, to: Some(to), percent }
}

#[test]
fn a_move_swaps_and_is_restored_whatever_is_newer() {
    let models = tempfile::tempdir().expect("folder");
    publish_good(models.path(), 0.0);
    let (registry, _, started) =
        Registry::restore(models.path(), plan(), Networks::default(), &HashMap::new());
    assert_eq!(started.len(), 1);
    let before = registry.models();
    assert!(before.shadows.is_empty());
    publish_good(models.path(), 0.5);
    publish_good(models.path(), 1.0);
    for change in [aliased(Alias::Stable, 2), aliased(Alias::Canary, 3), aliased(Alias::Shadow, 1)] {
        let brought = registry.version("buy", change.versions().1.expect("one")).expect("valid");
        registry.apply(next(&registry, change), Some(brought));
    }
    assert_eq!(before.get(0).expect("still held").version, 1);
    let versions = |registry: &Registry| {
        let models = registry.models();
        let canary = models.canaries[0].as_ref().map(|canary| (canary.model.version, canary.share));
        let entry = registry.get("buy").expect("a model of the plan");
        let mut loaded: Vec<u32> = entry.loaded.iter().map(|loaded| loaded.model.version).collect();
        loaded.sort_unstable();
        let shadow = models.shadow(0).map(|shadow| shadow.model.version);
        (models.get(0).map(|model| model.version), canary, shadow, loaded)
    };
    let expected = (Some(2), Some((3, 0.5)), Some(1), vec![1, 2, 3]);
    assert_eq!(versions(&registry), expected);

    publish_good(models.path(), 1.5);
    let recorded =
        HashMap::from([("buy".to_owned(), (*registry.get("buy").expect("known").rollout).clone())]);
    let (restored, refused, started) =
        Registry::restore(models.path(), plan(), Networks::default(), &recorded);
    assert_eq!((versions(&restored), started.len()), (expected, 0));
    assert_eq!(refused.len(), 1, "churn has no artifact: {refused:?}");

    // One that should serve and does not load is told, and served by no other.
    fs::write(models.path().join("buy/2/forest.json"), "{}").expect("write");
    let (restored, ..) = Registry::restore(models.path(), plan(), Networks::default(), &recorded);
    assert_eq!(versions(&restored).0, None);
    assert!(restored.get("buy").expect("known").is_broken());
}

#[test]
fn versions_that_nothing_needs_are_let_go_but_for_the_latest() {
    let models = tempfile::tempdir().expect("folder");
    publish_good(models.path(), 0.0);
    let (registry, _) = Registry::open(models.path(), plan(), Networks::default());
    let mut weak = Vec::new();
    for version in 2..=6 {
        let loaded = publish_good(models.path(), f64::from(version)).loaded;
        weak.push(Arc::downgrade(&loaded.model));
        registry.apply(next(&registry, Change::Loaded { version }), Some(loaded));
    }
    let alive: Vec<bool> = weak.iter().map(|model| model.strong_count() > 0).collect();
    assert_eq!(alive, [false, false, false, true, true]);
    registry.apply(next(&registry, Change::Unloaded { version: 6 }), None);
    assert_eq!(weak[4].strong_count(), 0);
    assert_eq!(registry.models().get(0).expect("served").version, 1);
}

/// As a trainer does in the same folder: who makes a version's directory has it.
#[test]
fn a_version_is_of_one_alone_of_those_who_publish_at_once() {
    let elsewhere = tempfile::tempdir().expect("folder");
    let artifact = publish_good(elsewhere.path(), 0.0).dir;
    for round in 0..50 {
        let models = tempfile::tempdir().expect("folder");
        let (registry, _) = Registry::open(models.path(), plan(), Networks::default());
        let mut upload = registry.begin_upload("buy", Some(1), 1 << 20).expect("it is awaited");
        for entry in fs::read_dir(&artifact).expect("folder") {
            let entry = entry.expect("an entry");
            let content = fs::read(entry.path()).expect("file");
            upload.write(&entry.file_name().to_string_lossy(), &content).expect("within limits");
        }
        let verified = registry.verify(upload).expect("a good artifact");
        let there = models.path().join("buy/1");
        let (claimed, published) = thread::scope(|scope| {
            let claim = scope.spawn(|| {
                thread::sleep(Duration::from_micros(20 * round));
                fs::create_dir(&there)
            });
            let published = verified.publish().map(|published| published.model.version);
            (claim.join().expect("no panic"), published)
        });
        match (claimed, published) {
            (Ok(()), Err(Error::VersionTaken { version: 1 })) => {
                assert_eq!(fs::read_dir(&there).expect("folder").count(), 0);
            }
            (Err(_), Ok(_)) => assert!(there.join(Manifest::FILE).exists()),
            both => panic!("round {round}: {both:?}"),
        }
    }
}

#[test]
fn what_does_not_verify_is_not_published() {
    let models = tempfile::tempdir().expect("folder");
    let wrong = [Golden { raw: 9.0, ..golden(0.0)[0].clone() }];
    let result = publish(models.path(), draft("buy", &forest(0.0), &wrong), &plan());
    assert!(matches!(result, Err(Error::GoldenMismatch { case: 1, .. })));
    assert_eq!(fs::read_dir(models.path().join("buy")).expect("folder").count(), 0);
    let result = publish(models.path(), draft("../buy", &forest(0.0), &golden(0.0)), &plan());
    assert!(matches!(result, Err(Error::BadName { .. })));
}

#[test]
fn directories_that_are_no_version_are_named() {
    let models = tempfile::tempdir().expect("folder");
    publish_good(models.path(), 0.0);
    for name in ["latest", "01", "-1", "0", "4294967296", ".hidden"] {
        fs::create_dir(models.path().join("buy").join(name)).expect("folder");
    }
    let (_, refused) = Registry::open(models.path(), plan(), Networks::default());
    let of_buy = refused.iter().filter(|refused| &*refused.model == "buy");
    let strays: Vec<_> = of_buy.map(|refused| refused.reason.to_string()).collect();
    assert_eq!(strays.len(), 5, "{strays:?}");
    assert!(strays[0].contains("\"-1\" is not a version"), "{strays:?}");
}

/// What is wrong, how it comes about, and what must be said of it.
type Specimen = (&'static str, fn(&Path), &'static str);

/// Every way to break an artifact.
const ZOO: &[Specimen] = &[
    ("no manifest", |dir| fs::remove_file(dir.join("manifest.json")).expect("remove"), "not published"),
    ("empty manifest", |dir| fs::write(dir.join("manifest.json"), "").expect("write"), "manifest.json: EOF"),
    (
        "manifest cut off",
        |dir| {
            let content = fs::read(dir.join("manifest.json")).expect("file");
            fs::write(dir.join("manifest.json"), &content[..content.len() / 2]).expect("write");
        },
        "manifest.json: EOF",
    ),
    (
        "manifest of brackets",
        |dir| fs::write(dir.join("manifest.json"), "[".repeat(1 << 20)).expect("write"),
        "manifest.json: ",
    ),
    (
        "huge manifest",
        |dir| {
            File::create(dir.join("manifest.json")).and_then(|file| file.set_len(1 << 40)).expect("sparse");
        },
        "manifest.json has more than 16777216 bytes",
    ),
    (
        "a directory as manifest",
        |dir| {
            fs::remove_file(dir.join("manifest.json")).expect("remove");
            fs::create_dir(dir.join("manifest.json")).expect("folder");
        },
        "manifest.json is not a regular file",
    ),
    (
        "unknown key",
        |dir| edit_manifest(dir, |manifest| manifest["shadow"] = json!(true)),
        "unknown field `shadow`",
    ),
    (
        "missing key",
        |dir| {
            edit_manifest(dir, |manifest| {
                manifest.as_object_mut().expect("object").remove("link");
            });
        },
        "missing field `link`",
    ),
    (
        "other format",
        |dir| edit_manifest(dir, |manifest| manifest["format"] = json!("onnx")),
        "format \"onnx\"",
    ),
    (
        "newer format",
        |dir| {
            edit_manifest(dir, |manifest| {
                manifest["format_version"] = json!(2);
                manifest["new"] = json!(1);
            });
        },
        "format version 2, newer than 1",
    ),
    (
        "other model",
        |dir| edit_manifest(dir, |manifest| manifest["name"] = json!("churn")),
        "of \"churn\" version 2, which is not where it stands",
    ),
    ("other version", |dir| edit_manifest(dir, |manifest| manifest["version"] = json!(7)), "version 7"),
    (
        "unknown scorer",
        |dir| edit_manifest(dir, |manifest| manifest["scorer"] = json!("pickle")),
        "scorer \"pickle\"",
    ),
    (
        "a path out of the directory",
        |dir| {
            edit_manifest(dir, |manifest| manifest["files"]["../../etc"] = json!({"sha256": "", "bytes": 0}))
        },
        "\"../../etc\", which is not a plain file name",
    ),
    (
        "forest not listed",
        |dir| {
            edit_manifest(dir, |manifest| {
                manifest["files"].as_object_mut().expect("object").remove("forest.json");
            });
        },
        "lists no forest.json",
    ),
    (
        "golden file gone",
        |dir| fs::remove_file(dir.join("golden.jsonl")).expect("remove"),
        "golden.jsonl: No such file",
    ),
    (
        "forest one byte longer",
        |dir| {
            let content = fs::read(dir.join("forest.json")).expect("file");
            fs::write(dir.join("forest.json"), [content, b" ".to_vec()].concat()).expect("write");
        },
        "forest.json has",
    ),
    (
        "one bit flipped",
        |dir| {
            let mut content = fs::read(dir.join("forest.json")).expect("file");
            let last = content.len() - 10;
            content[last] ^= 1;
            fs::write(dir.join("forest.json"), content).expect("write");
        },
        "forest.json does not have the SHA-256",
    ),
    (
        "a further file changed",
        |dir| fs::write(dir.join("notes.txt"), "m").expect("write"),
        "notes.txt does not have the SHA-256",
    ),
    (
        "unknown feature",
        |dir| edit_manifest(dir, |manifest| manifest["features"][1]["name"] = json!("c")),
        "no feature \"c\"",
    ),
    (
        "feature defined otherwise",
        |dir| edit_manifest(dir, |manifest| manifest["features"][1]["digest"] = json!("older")),
        "feature \"a\" is defined otherwise",
    ),
    (
        "feature twice",
        |dir| edit_manifest(dir, |manifest| manifest["features"][1] = manifest["features"][0].clone()),
        "\"b\" is listed twice",
    ),
    (
        "text feature",
        |dir| {
            edit_manifest(dir, |manifest| {
                manifest["features"][0] = json!({"name": "t", "digest": "digest of t"});
            });
        },
        "\"t\" is a text",
    ),
    (
        "features swapped",
        |dir| edit_manifest(dir, |manifest| manifest["features"].as_array_mut().expect("array").swap(0, 1)),
        "digest over all features",
    ),
    (
        "label of another horizon",
        |dir| edit_manifest(dir, |manifest| manifest["label"]["horizon"] = json!("7d")),
        "event within 7d), but the definitions have",
    ),
    (
        "label defined otherwise",
        |dir| edit_manifest(dir, |manifest| manifest["label"]["digest"] = json!("older")),
        "the label \"purchase\" is defined otherwise",
    ),
    (
        "no output",
        |dir| edit_manifest(dir, |manifest| manifest["outputs"] = json!([])),
        "outputs: there is none",
    ),
    (
        "an output too many",
        |dir| {
            edit_manifest(dir, |manifest| {
                let output = manifest["outputs"][0].clone();
                manifest["outputs"] = json!([output, {"name": "other", "kind": "probability"}]);
            });
        },
        "outputs: the manifest names 2, but the forest has 1",
    ),
    (
        "two outputs of one name",
        |dir| {
            edit_manifest(dir, |manifest| {
                let output = manifest["outputs"][0].clone();
                manifest["outputs"] = json!([output, output]);
            });
        },
        "outputs: two have the same name",
    ),
    (
        "class probabilities of one class",
        |dir| edit_manifest(dir, |manifest| manifest["outputs"][0]["kind"] = json!("class_probability")),
        "outputs: class probabilities need several",
    ),
    (
        "a link without scale",
        |dir| edit_manifest(dir, |manifest| manifest["link"] = json!({"scaled_logistic": {"scale": 0.0}})),
        "outputs: the scale of the link",
    ),
    (
        "probability without link",
        |dir| edit_manifest(dir, |manifest| manifest["link"] = json!("identity")),
        "needs the logistic link",
    ),
    (
        "falling calibration",
        |dir| edit_manifest(dir, |manifest| manifest["calibration"]["y"] = json!([0.6, 0.1])),
        "calibration: y must not decrease",
    ),
    (
        "calibration beyond 1",
        |dir| edit_manifest(dir, |manifest| manifest["calibration"]["y"] = json!([0.6, 1.1])),
        "calibration: y must be probabilities",
    ),
    (
        "knots without a partner",
        |dir| edit_manifest(dir, |manifest| manifest["calibration"]["y"] = json!([0.6])),
        "2 x and 1 y",
    ),
    (
        "calibration upside down",
        |dir| {
            edit_manifest(dir, |manifest| {
                manifest["calibration"] = json!({"method": "platt", "slope": -1.0, "intercept": 0.0});
            });
        },
        "turns the order around",
    ),
    ("not a forest", |dir| replace(dir, "forest.json", b"\x80\x04\x95"), "forest.json: expected value"),
    (
        "newer forest",
        |dir| edit_forest(dir, |forest| forest["format_version"] = json!(9)),
        "format version 9",
    ),
    (
        "forest of three inputs",
        |dir| edit_forest(dir, |forest| forest["n_inputs"] = json!(3)),
        "reads 3 inputs",
    ),
    ("a cycle", |dir| edit_node(dir, 2, |node| node["left"] = json!(0)), "child 0 has been reached before"),
    ("child out of range", |dir| edit_node(dir, 0, |node| node["right"] = json!(99)), "child 99"),
    ("input out of range", |dir| edit_node(dir, 0, |node| node["input"] = json!(2)), "node 0: input 2"),
    (
        "half a split",
        |dir| edit_node(dir, 0, |node| node["missing"] = Value::Null),
        "node 0: neither a split",
    ),
    ("split and leaf", |dir| edit_node(dir, 0, |node| node["leaf"] = json!(1.0)), "node 0: neither a split"),
    (
        "an overflowing threshold",
        |dir| {
            let content = fs::read_to_string(dir.join("forest.json")).expect("file");
            replace(dir, "forest.json", content.replace("\"lt\":0.5", "\"lt\":1e999").as_bytes());
        },
        "forest.json: number out of range",
    ),
    ("NaN leaf", |dir| edit_node(dir, 1, |node| node["leaf"] = json!("NaN")), "forest.json: invalid type"),
    ("negative cover", |dir| edit_node(dir, 1, |node| node["cover"] = json!(-4.0)), "node 1: the cover -4"),
    (
        "a million empty nodes",
        |dir| {
            let nodes = "{},".repeat(3 << 20);
            replace(dir, "forest.json", format!("{{\"trees\":[{{\"nodes\":[{nodes}]}}]}}").as_bytes());
        },
        "forest.json: too many nodes",
    ),
    ("another leaf", |dir| edit_node(dir, 1, |node| node["leaf"] = json!(-0.100_01)), "golden case 1: raw"),
    (
        "another calibration",
        |dir| edit_manifest(dir, |manifest| manifest["calibration"] = json!({"method": "none"})),
        "golden case 1: probability",
    ),
    ("no golden case", |dir| replace(dir, "golden.jsonl", b"\n"), "golden.jsonl: no case"),
    (
        "golden case too wide",
        |dir| edit_golden(dir, json!({"inputs": [1, 2, 3], "raw": 0, "outputs": [0]})),
        "case 1 has 3 inputs",
    ),
    (
        "golden case of text",
        |dir| edit_golden(dir, json!({"inputs": ["1", 2], "raw": 0, "outputs": [0]})),
        "golden.jsonl: line 1: invalid type",
    ),
];

#[test]
fn bad_artifacts_are_refused_with_their_reason() {
    for (what, break_it, expected) in ZOO {
        let models = tempfile::tempdir().expect("folder");
        let good = publish_good(models.path(), 0.0).dir;
        // The broken one is newer: the good one must still be served.
        let broken = models.path().join("buy/2");
        fs::create_dir(&broken).expect("folder");
        for file in ["forest.json", "golden.jsonl", "notes.txt", "manifest.json"] {
            fs::copy(good.join(file), broken.join(file)).expect("copy");
        }
        edit_manifest(&broken, |manifest| manifest["version"] = json!(2));
        let (registry, refused) = Registry::open(models.path(), plan(), Networks::default());
        assert_eq!(refused.len(), 1, "the copy is as good as the original: {refused:?}");
        assert_eq!(registry.models().get(0).expect("served").version, 2);

        break_it(&broken);
        let (registry, refused) = Registry::open(models.path(), plan(), Networks::default());
        assert_eq!(registry.models().get(0).expect("served").version, 1, "{what}");
        let refused = refused.iter().find(|refused| refused.version == Some(2)).expect("refused");
        let reason = refused.to_string();
        assert!(reason.contains(expected), "{what}: {reason:?} does not say {expected:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_file_is_not_waited_for() {
    let models = tempfile::tempdir().expect("folder");
    let dir = publish_good(models.path(), 0.0).dir;
    fs::remove_file(dir.join("golden.jsonl")).expect("remove");
    let made = std::process::Command::new("mkfifo").arg(dir.join("golden.jsonl")).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    assert!(matches!(load(&dir, "buy", 1, &plan(), &Networks::default()), Err(Error::NotAFile { .. })));
}

/// A network of `tests/networks`, of the features `b` and `a`, as an artifact;
/// none where there is no library to run it.
fn publish_network(models: &Path, change: impl FnOnce(&mut Manifest)) -> Option<Result<Published, Error>> {
    use crate::onnx::{Library, Places};
    if let Err(error) = Library::load(&Places::of_process(None)) {
        eprintln!("skipped: {error}");
        return None;
    }
    let network = network();
    let (forest, cases) = (forest(0.0), [(0.0, 0.0, 0.5), (2.0, 4.0, 0.5), (4.0, 0.0, 0.880_797_1)]);
    let golden = cases
        .map(|(b, a, output)| Golden { inputs: vec![b, a], raw: output, outputs: vec![output] })
        .to_vec();
    let networks = Networks::default();
    let mut draft = draft("buy", &forest, &golden);
    draft.model = Content::Network(&network, &networks);
    (draft.manifest.link, draft.manifest.calibration) = (Link::Identity, Calibration::None);
    change(&mut draft.manifest);
    Some(publish(models, draft, &plan()))
}

/// `sigmoid(0.5 b - 0.25 a)`
fn network() -> Vec<u8> {
    crate::onnx::tests::made::Made::small().bytes()
}

#[test]
fn a_network_serves_as_a_forest_does() {
    let models = tempfile::tempdir().expect("folder");
    let Some(published) = publish_network(models.path(), |_| ()) else { return };
    assert!(published.expect("a good artifact").dir.join("network.onnx").exists());
    let (registry, _) = Registry::open(models.path(), plan(), Networks::default());
    let serving = registry.models();
    let model = serving.get(0).expect("served");
    let score = model.score(0, &Vector { numbers: vec![0.0, 4.0], texts: vec![None] }).expect("a score");
    assert!((score.value() - 0.880_797_1).abs() < 1e-6, "{score:?}");
    assert!(model.scorer.runtime().starts_with("ONNX Runtime 1."));
    assert!(model.reasons(&Vector { numbers: vec![0.0, 4.0], texts: vec![None] }, 3).is_empty());
}

#[test]
fn bad_networks_are_refused_with_their_reason() {
    type Change = fn(&mut Manifest);
    let zoo: [(&str, Change, &str); 6] = [
        (
            "a link too many",
            |manifest| manifest.link = Link::Logistic,
            "golden case 1: probability should be 0.5",
        ),
        (
            "outputs too many",
            |manifest| {
                let output = Output { name: "q".into(), kind: OutputKind::Probability };
                manifest.outputs.push(output);
            },
            "network.onnx: outputs: the scores have 1 columns, the model has 2 outputs",
        ),
        (
            "scores of another name",
            |manifest| {
                manifest.network = Some(Network { scores: Some("label".into()), ..Network::default() })
            },
            "network.onnx: outputs: none called \"label\"",
        ),
        (
            "a feature too few",
            |manifest| {
                manifest.features.truncate(1);
                manifest.features_digest = plan().features_digest(&[2]);
            },
            "network.onnx: inputs: \"rows\" takes 2 columns, the model has 1 features",
        ),
        (
            "an input of another name",
            |manifest| {
                let inputs = [("rows".to_owned(), "a".to_owned())].into();
                manifest.network = Some(Network { inputs, ..Network::default() });
            },
            "\"rows\" has neither the shape [n] nor [n, 1]",
        ),
        (
            "a class of one",
            |manifest| manifest.outputs[0].kind = OutputKind::ClassProbability,
            "outputs: class probabilities need several",
        ),
    ];
    for (what, change, expected) in zoo {
        let models = tempfile::tempdir().expect("folder");
        let Some(published) = publish_network(models.path(), change) else { return };
        let reason = published.expect_err(what).to_string();
        assert!(reason.contains(expected), "{what}: {reason:?} does not say {expected:?}");
    }
    let models = tempfile::tempdir().expect("folder");
    let in_parts = |manifest: &mut Manifest| manifest.sum_order = SumOrder::InParts;
    if let Some(published) = publish_network(models.path(), in_parts) {
        assert!(matches!(published, Err(Error::PartsOfNetwork)), "{published:?}");
    }
    let (forest, golden) = (forest(0.0), golden(0.0));
    let mut draft = draft("buy", &forest, &golden);
    draft.manifest.network = Some(Network::default());
    let reason = publish(models.path(), draft, &plan()).expect_err("a forest has none").to_string();
    assert!(
        reason.contains("`network` is for the scorer \"onnx-network\", not \"tipoff-forest\""),
        "{reason}"
    );
}

#[test]
fn a_file_of_another_trainer_is_of_the_format_that_the_manifest_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/lightgbm/binary/model.txt");
    let content = fs::read(file).expect("a model");
    let models = tempfile::tempdir().expect("folder");
    for (format, expected) in [
        (Format::XgboostJson, "model.json is of format \"LightGBM text\", not \"XGBoost JSON\""),
        (Format::Lightgbm, "the model reads 6 inputs, the manifest lists 2 features"),
        (Format::Tipoff, "the scorer \"tipoff forest\" is not known here"),
    ] {
        let (forest, golden) = (forest(0.0), golden(0.0));
        let draft = Draft { model: Content::Foreign(format, &content), ..draft("buy", &forest, &golden) };
        let refusal = publish(models.path(), draft, &plan()).expect_err("it is wrong");
        assert_eq!(refusal.to_string(), expected);
    }
}
