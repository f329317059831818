use std::collections::HashMap;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::config::ClockMode;
use crate::definitions;
use crate::engine::calibration::Calibration;
use crate::engine::event::{Event, EventUid, Value};
use crate::engine::model::{Canary, Link, Model, Output, OutputKind, Scorer, Shadow};
use crate::engine::time::Millis;
use crate::engine::{Engine, Sequence};

const DEFINITIONS: &str = r#"
[features.x]
aggregate = "last"
of        = "a.x"
window    = "lifetime"

[labels.buys]
event  = "purchase"
within = "24h"

[models.echo]
label         = "buys"
features      = ["x"]
score_on      = ["a"]
rescore_every = "1h"

[triggers.likely]
score    = "echo"
fire_at  = 0.75
rearm_at = 0.5
"#;

/// Says what it is told to of its one input.
struct Scripted(Box<dyn Fn(f64) -> f64 + Send + Sync>);

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scorer for Scripted {
    fn n_inputs(&self) -> usize {
        1
    }

    fn n_outputs(&self) -> usize {
        1
    }

    fn score(&self, row: &[f64], raw: &mut [f64]) {
        raw[0] = (self.0)(row[0]);
    }

    fn contributions(&self, _row: &[f64], _output: usize) -> Option<Vec<f64>> {
        None
    }
}

fn model(version: u32, says: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Arc<Model> {
    Arc::new(Model {
        name: "echo".into(),
        version,
        inputs: vec![0],
        input_names: vec!["x".into()],
        outputs: vec![Output { name: "p".into(), kind: OutputKind::Value }],
        link: Link::Identity,
        calibration: Calibration::None,
        scorer: Box::new(Scripted(Box::new(says))),
    })
}

fn beside(shadow: Arc<Model>) -> Models {
    let since = Timestamp::from_millis(i64::from(shadow.version));
    let shadows = vec![Some(Shadow { model: shadow, since })];
    Models { serving: vec![Some(model(1, |x| x))], shadows, ..Models::default() }
}

/// A shard with users, and the thread that compares, driven by hand.
struct Rig {
    shadows: Arc<Shadows>,
    handover: Handover,
    worker: Option<Worker>,
    profiles: HashMap<&'static str, Profile>,
    sequence: Sequence,
    now: Timestamp,
}

impl Rig {
    fn new(models: Models, max_waiting: usize, max_users: usize) -> Self {
        let plan = Arc::new(definitions::compile(DEFINITIONS).expect("valid definitions"));
        let metrics = Metrics::new(&plan, 1, ClockMode::Replay).expect("the names are unique and valid");
        let models = Arc::new(ArcSwap::from_pointee(models));
        let (shadows, handover, worker) =
            Shadows::new(plan, models, Arc::new(metrics), max_waiting, max_users);
        Self {
            shadows,
            handover,
            worker: Some(worker),
            profiles: HashMap::new(),
            sequence: Sequence { virtual_shard: 7, next: 0 },
            now: Timestamp::from_millis(1_700_000_000_000),
        }
    }

    /// A user's event a second after the last one; what it makes is handed over.
    fn event(&mut self, user: &'static str, x: f64) {
        self.now = self.now.after(Millis::new(1_000));
        let event = Event {
            uid: EventUid::UNMINTED,
            id: None,
            kind: "a".into(),
            time: self.now,
            anonymous_id: None,
            properties: vec![("x".into(), Value::Number(x))],
        };
        let models = self.shadows.models.load_full();
        let engine = Engine { plan: &self.shadows.plan, models: &models };
        let profile = self.profiles.entry(user).or_insert_with(|| Profile::new(&self.shadows.plan));
        let (id, mut steps) = (UserId::known(user), Vec::new());
        engine.accept(&id, profile, event, self.now, &mut self.sequence, &mut steps);
        if let Some(standing) = Handover::standing(&models, &steps, profile) {
            self.handover.give(&models, &id, steps, standing);
        }
    }

    /// Compares what waits.
    fn work(&mut self) {
        let worker = self.worker.as_mut().expect("driven by hand");
        while let Ok(case) = worker.receiver.try_recv() {
            worker.take(&case, &self.shadows.models.load_full());
        }
    }

    /// The events, each compared at once.
    fn events(&mut self, user: &'static str, xs: &[f64]) {
        for x in xs {
            self.event(user, *x);
            self.work();
        }
    }

    fn report(&self) -> ShadowReport {
        self.shadows.report(0).expect("there is a shadow")
    }

    /// Compared, failed, dropped, of users beyond, by another version; then by
    /// whom the trigger fired.
    fn counts(&self) -> ([u64; 5], [u64; 3]) {
        let counts = self.report().counts;
        (counts.scores, counts.firings[0])
    }
}

#[test]
fn scores_and_firings_are_compared() {
    let mut rig = Rig::new(beside(model(2, |x| x + 0.25)), 100, 100);
    rig.events("ada", &[0.25, 0.625, 0.75, 0.125, 0.875]);
    rig.events("bob", &[0.625, 0.25, 0.25]);
    assert_eq!(rig.counts(), ([8, 0, 0, 0, 0], [1, 1, 1]));
    let report = rig.report();
    assert_eq!((report.serving, report.shadow, report.n_users), (1, 2, 2));
    assert_eq!(report.since, rig.shadows.started, "figures begin with the process");
    let differences = report.differences.expect("some");
    assert_eq!((differences.mean, differences.mean_absolute, differences.max_absolute), (0.25, 0.25, 0.25));
    assert_eq!(rig.shadows.waiting.load(Ordering::Acquire), 0);
}

#[test]
fn without_a_shadow_nothing_is_handed_over_and_what_was_known_is_forgotten() {
    let mut rig = Rig::new(beside(model(2, |x| x)), 100, 100);
    rig.events("ada", &[0.25, 0.5]);
    assert_eq!(rig.report().n_users, 1);
    rig.shadows.models.store(Arc::new(Models { shadows: Vec::new(), ..beside(model(2, |x| x)) }));
    rig.event("ada", 0.5);
    assert_eq!(rig.shadows.waiting.load(Ordering::Acquire), 0);
    assert!(rig.shadows.report(0).is_none());
    let models = rig.shadows.models.load_full();
    rig.worker.as_mut().expect("driven by hand").follow_moves(&models);
    assert_eq!(rig.shadows.metrics.shadows.users[0].get(), 0);
    // Another one begins from nothing.
    rig.shadows.models.store(Arc::new(beside(model(3, |x| x))));
    rig.events("ada", &[0.25]);
    assert_eq!((rig.report().shadow, rig.counts().0), (3, [1, 0, 0, 0, 0]));
}

#[test]
fn what_has_no_room_is_dropped_and_whom_it_was_of_begins_anew() {
    let mut rig = Rig::new(beside(model(2, |x| x)), 2, 100);
    rig.events("cleo", &[0.25]);
    rig.events("ada", &[0.25]);
    rig.event("bob", 0.25);
    rig.event("bob", 0.25);
    // Ada crosses, and the shadow never hears of it.
    rig.event("ada", 0.875);
    assert_eq!(rig.counts().0, [2, 0, 1, 0, 0]);
    rig.work();
    rig.events("ada", &[0.875, 0.25, 0.875]);
    assert_eq!(rig.counts(), ([7, 0, 1, 0, 0], [1, 0, 0]));
    // Nobody else does.
    rig.events("cleo", &[0.875]);
    assert_eq!(rig.counts(), ([8, 0, 1, 0, 0], [2, 0, 0]));
    assert_eq!(rig.shadows.waiting.load(Ordering::Acquire), 0);
}

#[test]
fn users_beyond_the_bound_are_counted() {
    let mut rig = Rig::new(beside(model(2, |x| x)), 100, 1);
    rig.events("ada", &[0.25]);
    rig.events("bob", &[0.25, 0.875]);
    rig.events("ada", &[0.875]);
    assert_eq!(rig.counts(), ([2, 0, 0, 2, 0], [1, 0, 0]));
    assert_eq!(rig.report().n_users, 1);
}

#[test]
fn who_comes_with_several_steps_begins_at_the_last() {
    let mut rig = Rig::new(beside(model(2, |x| x)), 100, 100);
    rig.shadows.models.store(Arc::new(Models { shadows: Vec::new(), ..beside(model(2, |x| x)) }));
    rig.event("ada", 0.25);
    rig.shadows.models.store(Arc::new(beside(model(2, |x| x))));
    // Two rescores are due before the event, and are handed over with it.
    rig.now = rig.now.after(Millis::new(2 * 3_600_000));
    rig.events("ada", &[0.875]);
    assert_eq!(rig.counts(), ([3, 0, 0, 0, 0], [0, 0, 0]));
    rig.events("ada", &[0.25, 0.875]);
    assert_eq!(rig.counts(), ([5, 0, 0, 0, 0], [1, 0, 0]));
}

#[test]
fn a_shadow_without_numbers_is_counted_and_one_that_panics_is_asked_no_more() {
    let mut rig = Rig::new(beside(model(2, |x| if x > 0.8 { f64::NAN } else { x })), 100, 100);
    rig.events("ada", &[0.875, 0.25, 0.875, 0.25, 0.75]);
    assert_eq!(rig.counts(), ([3, 2, 0, 0, 0], [1, 1, 0]));

    let panics = |x: f64| {
        assert!(x < 0.8, "a panic on purpose");
        x
    };
    rig.shadows.models.store(Arc::new(beside(model(3, panics))));
    rig.events("ada", &[0.25, 0.875, 0.25]);
    let report = rig.report();
    assert_eq!((report.n_users, report.is_panicked), (0, true));
    assert_eq!(rig.counts(), ([1, 2, 0, 0, 0], [0, 0, 0]));
    // Until another is compared.
    rig.shadows.models.store(Arc::new(beside(model(4, |x| x))));
    rig.events("ada", &[0.25, 0.875]);
    assert_eq!((rig.report().is_panicked, rig.counts()), (false, ([2, 0, 0, 0, 0], [1, 0, 0])));
}

#[test]
fn scores_by_a_canary_are_not_compared() {
    let mut rig = Rig::new(beside(model(2, |x| x)), 100, 100);
    rig.events("ada", &[0.25]);
    let canary = |share| Some(Canary { model: model(3, |x| x), share });
    for (share, x) in [(1.0, 0.875), (0.0, 0.875), (0.0, 0.25), (0.0, 0.875)] {
        let models = Models { canaries: vec![canary(share)], ..beside(model(2, |x| x)) };
        rig.shadows.models.store(Arc::new(models));
        rig.events("ada", &[x]);
    }
    assert_eq!(rig.counts(), ([4, 0, 0, 0, 1], [1, 0, 0]), "the first after the canary fires nobody");
}

#[test]
fn a_shadow_that_hangs_is_waited_for_by_nobody() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let hangs = move |x| {
        // Until the test ends.
        let _ = wait.lock().expect("nobody panics").recv();
        x
    };
    let mut rig = Rig::new(beside(model(2, hangs)), 4, 100);
    let worker = rig.worker.take().expect("not taken yet");
    let thread = std::thread::spawn(move || worker.run());
    rig.event("ada", 0.25);
    while rig.shadows.waiting.load(Ordering::Acquire) > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..10 {
        rig.event("ada", 0.875);
    }
    assert_eq!(rig.counts().0, [0, 0, 6, 0, 0]);
    rig.shadows.close();
    drop(go);
    thread.join().expect("it ends");
    assert_eq!(rig.counts(), ([1, 0, 6, 0, 0], [0, 0, 0]), "what waits behind is not compared");
}
