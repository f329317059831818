//! What was served equals what is replayed, bit for bit, on a year of a real shop.
//!
//! A real server in replay mode takes the events over the wire, is stopped,
//! and its log is read back: every vector must be the one that training sees
//! for the same event or timer, every score and every trigger's outcome the
//! one that the engine gives offline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tipoff::app::App;
use tipoff::client::{self, Connect};
use tipoff::config::Config;
use tipoff::definitions;
use tipoff::engine::decision::{Cause, Decision, Outcome};
use tipoff::engine::event::{Event, UserId};
use tipoff::engine::model::{Models, Score};
use tipoff::engine::plan::Plan;
use tipoff::engine::profile::Profile;
use tipoff::engine::time::{Arrival, Timestamp};
use tipoff::engine::vector::Vector;
use tipoff::engine::{Acceptance, Engine, Sequence};
use tipoff::event_file::{self, Mapping, OnBadLine, Record};
use tipoff::onnx::Networks;
use tipoff::proto::v1;
use tipoff::record::{self, Record as LogRecord, VIRTUAL_SHARDS};
use tipoff::registry::Registry;
use tipoff::rpc::convert::timestamp;
use tipoff::store::{LogPosition, LogReader};
use tipoff_training::replay::replay;

const BATCH_EVENTS: usize = 512;

/// The vectors of each user's decisions, in order.
type Vectors = BTreeMap<UserId, Vec<(Timestamp, Cause, Vector)>>;
/// What was decided on them.
type Decisions = BTreeMap<UserId, Vec<(Arrival, Vec<Score>, Vec<Outcome>)>>;

struct Shop {
    plan: Arc<Plan>,
    models: Arc<Models>,
    records: Vec<Record>,
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_equals_the_replay_of_training() {
    let shop = Shop::load();
    let store = tempfile::tempdir().expect("a folder");
    shop.serve(store.path(), &shop.records).await;
    shop.check(store.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_when_the_server_was_restarted_half_way() {
    let shop = Shop::load();
    let store = tempfile::tempdir().expect("a folder");
    let (first, second) = shop.records.split_at(shop.records.len() / 2);
    shop.serve(store.path(), first).await;
    shop.serve(store.path(), second).await;
    shop.check(store.path());
}

/// A comparison that sees nothing would pass as well.
#[test]
fn one_bit_or_one_event_makes_a_difference() {
    let mut shop = Shop::load();
    shop.records.truncate(2_000);
    let vectors = shop.replayed();
    assert_eq!(difference(&vectors, &shop.replayed()), None);

    let mut other = vectors.clone();
    let (user, rows) = other.iter_mut().next_back().expect("a user");
    let row = rows.len() / 2;
    let number = rows[row].2.numbers.iter_mut().find(|number| **number > 0.0).expect("a number");
    *number = number.next_up();
    let expected = format!("{user}: decision {row}");
    let found = difference(&vectors, &other).expect("the bit is seen");
    assert!(found.starts_with(&expected), "{found} is not about {expected}");

    shop.records.remove(1_000);
    assert!(difference(&vectors, &shop.replayed()).is_some(), "the event is not missed");
}

impl Shop {
    fn load() -> Self {
        let plan = Arc::new(definitions::load(&root("examples/online-retail.toml")).expect("definitions"));
        let (registry, refused) = Registry::open(&root("models"), plan.clone(), Networks::default());
        assert!(refused.is_empty(), "train the models again: {refused:?}");
        let events = root("data/online-retail/events.csv.zst");
        let loaded = event_file::load(&events, &Mapping::default(), OnBadLine::Refuse).expect("events");
        Self { plan, models: registry.models(), records: loaded.records }
    }

    /// A server from its start to its stop, on what one before it may have left.
    async fn serve(&self, store: &Path, records: &[Record]) {
        let setting = |key: &str, value: String| (key.to_owned(), value);
        let path = |key: &str, path: PathBuf| setting(key, path.display().to_string());
        let config = Config::from_layers(
            None,
            [],
            &[
                setting("server.listen", "127.0.0.1:0".to_owned()),
                setting("server.http_listen", "127.0.0.1:0".to_owned()),
                setting("pipeline.clock", "replay".to_owned()),
                setting("pipeline.workers", "2".to_owned()),
                path("store.directory", store.to_owned()),
                path("definitions.file", root("examples/online-retail.toml")),
                path("models.directory", root("models")),
            ],
        );
        let app = App::start(config.expect("a valid configuration")).await.expect("the server starts");
        let mut events = Connect::to(app.grpc()).connect().await.expect("a connection").events;
        let batches: Vec<_> = records
            .chunks(BATCH_EVENTS)
            .zip(0..)
            .map(|(batch, batch_id)| v1::IngestStreamRequest {
                batch_id,
                events: batch.iter().cloned().map(client::event).collect(),
                score: None,
                clock_time: batch.last().map(|last| timestamp(last.arrival_or_time())),
            })
            .collect();
        let mut answers =
            events.ingest_stream(tokio_stream::iter(batches)).await.expect("a stream").into_inner();
        let mut n_accepted = 0;
        while let Some(answer) = answers.message().await.expect("an acknowledgement") {
            for result in &answer.results {
                assert_eq!(result.status(), v1::EventStatus::Accepted, "{result:?}");
                n_accepted += 1;
            }
        }
        assert_eq!(n_accepted, records.len());
        drop((events, answers));
        app.stop().await.expect("it stops in order");
    }

    /// Compares what the log in `store` holds with the two replays.
    fn check(&self, store: &Path) {
        let (mut vectors, mut decisions) = (Vectors::new(), Decisions::new());
        for entry in LogReader::open(store, LogPosition::START).expect("a log") {
            let (_, entry) = entry.expect("an entry");
            let record = record::decode(&self.plan, &entry.payload).expect("a record");
            let LogRecord::Step(user, step) = record else { continue };
            let Some(Decision { as_of, cause, vector, scores, outcomes, .. }) = step.decision else {
                continue;
            };
            assert_eq!((as_of, entry.sequence), (step.arrival, as_of.sequence));
            vectors.entry(user.clone()).or_default().push((as_of.time, cause, vector));
            decisions.entry(user).or_default().push((as_of, scores, outcomes));
        }
        let n: usize = vectors.values().map(Vec::len).sum();
        let with_texts = vectors.values().flatten().filter(|(.., vector)| vector.texts[0].is_some()).count();
        assert!(n > 250_000 && with_texts > 200_000, "{n} vectors, {with_texts} with a country");
        assert_eq!(difference(&vectors, &self.replayed()), None);

        let offline = self.decided();
        assert_eq!(decisions.len(), offline.len());
        let mut n_fired: BTreeMap<Arc<str>, usize> =
            self.plan.triggers.iter().map(|trigger| (trigger.name.clone(), 0)).collect();
        for (user, served) in &decisions {
            let offline = &offline[user];
            assert_eq!(served.len(), offline.len(), "decisions of {user}");
            for (served, offline) in served.iter().zip(offline) {
                // Sequences number a virtual shard's inputs, and offline a user has one alone.
                assert_eq!(served.0.time, offline.0.time, "{user}");
                // As texts, in which numbers keep their bits and missing equals missing.
                let [said, would_say] =
                    [served, offline].map(|(_, scores, outcomes)| format!("{scores:?} {outcomes:?}"));
                assert_eq!(said, would_say, "{user} at {}", served.0.time);
                for outcome in served.2.iter().filter(|outcome| outcome.action.is_firing()) {
                    *n_fired.entry(outcome.trigger.clone()).or_default() += 1;
                }
            }
        }
        assert!(n_fired.values().all(|n| *n > 50), "{n_fired:?}");
    }

    /// The vectors that training sees.
    fn replayed(&self) -> Vectors {
        let mut vectors = Vectors::new();
        self.each_user(|user, events, end| {
            let rows = vectors.entry(user.clone()).or_default();
            let refused = replay(&self.plan, user, events, end, |moment| {
                if let Some(decision) = &moment.step.decision {
                    rows.push((decision.as_of.time, decision.cause, decision.vector.clone()));
                }
                Ok(())
            });
            assert_eq!(refused.expect("a replay"), Default::default());
        });
        vectors
    }

    /// What the engine decides with the models at hand.
    fn decided(&self) -> Decisions {
        let mut decisions = Decisions::new();
        let engine = Engine { plan: &self.plan, models: &self.models };
        self.each_user(|user, events, end| {
            let mut profile = Profile::new(&self.plan);
            let mut sequence = Sequence { virtual_shard: user.virtual_shard(VIRTUAL_SHARDS), next: 0 };
            let mut steps = Vec::new();
            for (arrival, event) in events {
                let acceptance = engine.accept(user, &mut profile, event, arrival, &mut sequence, &mut steps);
                assert!(matches!(acceptance, Acceptance::Accepted(_)), "{acceptance:?}");
            }
            engine.run_due(user, &mut profile, end, &mut sequence, &mut steps);
            let decided = steps.into_iter().filter_map(|step| step.decision);
            decisions
                .entry(user.clone())
                .or_default()
                .extend(decided.map(|decision| (decision.as_of, decision.scores, decision.outcomes)));
        });
        decisions
    }

    /// Each user's events with their arrivals, and the end of history.
    fn each_user(&self, mut visit: impl FnMut(&UserId, Vec<(Timestamp, Event)>, Timestamp)) {
        let mut users: BTreeMap<&UserId, Vec<(Timestamp, Event)>> = BTreeMap::new();
        for record in &self.records {
            let events = users.entry(&record.user).or_default();
            events.push((record.arrival_or_time(), record.event.clone()));
        }
        let end = self.records.last().map(Record::arrival_or_time).expect("events");
        for (user, events) in users {
            visit(user, events, end);
        }
    }
}

/// The first difference, in words.
fn difference(served: &Vectors, replayed: &Vectors) -> Option<String> {
    if !served.keys().eq(replayed.keys()) {
        return Some(format!("{} users are not the same {}", served.len(), replayed.len()));
    }
    for (user, served) in served {
        let replayed = &replayed[user];
        for (index, ((time, cause, vector), (time_b, cause_b, vector_b))) in
            served.iter().zip(replayed).enumerate()
        {
            if (time, cause) != (time_b, cause_b) || !vector.same_bits(vector_b) {
                return Some(format!(
                    "{user}: decision {index} at {time} by {cause:?} on {vector:?} is not the one at {time_b} by \
                     {cause_b:?} on {vector_b:?}"
                ));
            }
        }
        if served.len() != replayed.len() {
            return Some(format!("{user}: {} decisions, not {}", served.len(), replayed.len()));
        }
    }
    None
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
