//! The server is killed at random moments, and nothing that it acknowledged is lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tipoff::proto::v1;
use tipoff::proto::v1::event_service_client::EventServiceClient;
use tipoff::proto::v1::profile_service_client::ProfileServiceClient;
use tipoff::proto::v1::scoring_service_client::ScoringServiceClient;
use tipoff::proto::v1::subscribe_response::Message;
use tipoff::proto::v1::trigger_service_client::TriggerServiceClient;
use tipoff::proto::v1::value::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::{DEFINITIONS, profile_of, publish_model, user};
use crate::process::Process;

const SEED: u64 = 11;
/// Unless [`KILLS`] says otherwise.
const N_KILLS: usize = 30;
const KILLS: &str = "TIPOFF_KILLS";
/// So many that nobody comes to the bound on carts of one user, however many kills there are.
const N_USERS: usize = 300;
/// How long carts wait; see [`definitions`].
const WAIT: Duration = Duration::from_secs(2);

fn definitions() -> String {
    DEFINITIONS.replace(r#""30m""#, r#""2s""#)
        + r#"
[features.n_events]
aggregate = "count"
of        = "*"
window    = "lifetime"
"#
}

/// What the client knows of what it sent.
#[derive(Default)]
struct Ledger {
    /// By event id.
    sent: BTreeMap<String, v1::Event>,
    accepted: BTreeSet<String>,
    /// Accepted, or answered as a duplicate.
    acknowledged: BTreeSet<String>,
    /// Sent once more after a restart.
    late: BTreeSet<String>,
}

/// Firings as a subscriber saw them.
#[derive(Default)]
struct Seen {
    resume_token: String,
    /// Ids by what was decided.
    ids: HashMap<Decided, BTreeSet<String>>,
}

type Decided = (String, String, String);

fn decided(firing: &v1::Firing) -> Decided {
    (firing.trigger.clone(), user_name(firing.user.as_ref()), firing.key.clone())
}

fn user_name(user: Option<&v1::UserRef>) -> String {
    match user.and_then(|user| user.id.clone()) {
        Some(v1::user_ref::Id::UserId(id)) => id,
        other => panic!("{other:?}"),
    }
}

/// Draws events with ids of their own.
struct Shop {
    dice: ChaCha8Rng,
    n_events: usize,
}

impl Shop {
    fn batch(&mut self) -> Vec<v1::Event> {
        let n = self.dice.random_range(1..16);
        (0..n).flat_map(|_| self.visit()).collect()
    }

    fn visit(&mut self) -> Vec<v1::Event> {
        self.n_events += 1;
        let (id, user) = (format!("e{}", self.n_events), format!("u{}", self.dice.random_range(0..N_USERS)));
        // Bulk, so that the log outgrows its segments and the views' lag.
        let note = Kind::StringValue("x".repeat(self.dice.random_range(0..4_000)));
        let note = v1::Value { kind: Some(note) };
        let event = |id: &str, user: &str, kind: &str| v1::Event {
            event_id: id.to_owned(),
            user_id: user.to_owned(),
            r#type: kind.to_owned(),
            properties: [("note".to_owned(), note.clone())].into(),
            ..v1::Event::default()
        };
        let cart = |mut event: v1::Event, value: Option<f64>| {
            let cart = Kind::StringValue(format!("cart-{id}"));
            event.properties.insert("cart_id".to_owned(), v1::Value { kind: Some(cart) });
            if let Some(value) = value {
                let value = v1::Value { kind: Some(Kind::DoubleValue(value)) };
                event.properties.insert("value".to_owned(), value);
            }
            event
        };
        match self.dice.random_range(0..20) {
            // Abandoned, or bought with the very next event.
            0 => vec![cart(event(&id, &user, "add_to_cart"), None)],
            1 => {
                let value = f64::from(self.dice.random_range(1..1_000_u32)) / 8.0;
                let added = v1::Event { time: Some(ago(2)), ..event(&id, &user, "add_to_cart") };
                let bought = v1::Event { time: Some(ago(1)), ..event(&bought(&id), &user, "purchase") };
                vec![cart(added, None), cart(bought, Some(value))]
            }
            2..10 => vec![event(&id, &user, "page_view")],
            _ => vec![event(&id, &user, "search")],
        }
    }
}

/// Sends batches, a few under way at a time, until the server goes away or the time is over.
async fn stream(server: &Process, ledger: &mut Ledger, shop: &mut Shop, until: Instant) {
    let (requests, receiver) = mpsc::channel(4);
    let mut events = EventServiceClient::new(server.channel());
    let mut answers =
        events.ingest_stream(ReceiverStream::new(receiver)).await.expect("it opens").into_inner();

    // What was not answered comes again first, with some that was.
    let open = ledger.sent.iter().filter(|(id, _)| !ledger.acknowledged.contains(*id));
    let again = ledger.sent.iter().filter(|(id, _)| ledger.accepted.contains(*id)).step_by(7).take(300);
    ledger.late.extend(open.clone().map(|(id, _)| id.clone()));
    let resent: Vec<v1::Event> = open.chain(again).map(|(_, event)| event.clone()).collect();
    let mut waiting: std::collections::VecDeque<Vec<v1::Event>> =
        resent.chunks(100).map(<[_]>::to_vec).collect();

    let mut under_way: HashMap<u64, Vec<String>> = HashMap::new();
    let mut batch_id = 0;
    loop {
        let is_over = Instant::now() >= until;
        if is_over && waiting.is_empty() && under_way.is_empty() {
            return;
        }
        let may_send = under_way.len() < 8 && !(is_over && waiting.is_empty());
        tokio::select! {
            answer = answers.message() => {
                let Ok(Some(answer)) = answer else { return };
                let ids = under_way.remove(&answer.batch_id).expect("a batch of ours");
                assert_eq!(ids.len(), answer.results.len());
                for (id, result) in ids.into_iter().zip(answer.results) {
                    ledger.answer(id, &result);
                }
            }
            () = std::future::ready(()), if may_send => {
                let batch = waiting.pop_front().unwrap_or_else(|| shop.batch());
                batch_id += 1;
                under_way.insert(batch_id, batch.iter().map(|event| event.event_id.clone()).collect());
                ledger.sent.extend(batch.iter().map(|event| (event.event_id.clone(), event.clone())));
                let request = v1::IngestStreamRequest { batch_id, events: batch, ..v1::IngestStreamRequest::default() };
                if requests.send(request).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
}

impl Ledger {
    fn answer(&mut self, id: String, result: &v1::EventResult) {
        match result.status() {
            v1::EventStatus::Accepted => {
                assert!(
                    !self.acknowledged.contains(&id),
                    "{id} was acknowledged before, and is accepted again"
                );
                self.accepted.insert(id.clone());
            }
            v1::EventStatus::Duplicate => {}
            _ => panic!("{id}: {result:?}"),
        }
        self.acknowledged.insert(id);
    }

    fn of_user<'a>(&'a self, user: &'a str) -> impl Iterator<Item = (&'a str, &'a v1::Event)> {
        self.sent.iter().filter(move |(_, event)| event.user_id == user).map(|(id, event)| (&**id, event))
    }
}

/// Takes firings, and acknowledges some, until the server goes away.
async fn subscribe(server: &Process, seen: Arc<Mutex<Seen>>) {
    let mut triggers = TriggerServiceClient::new(server.channel());
    let resume_token = seen.lock().expect("whole").resume_token.clone();
    let request = v1::SubscribeRequest {
        subscription: "crm".to_owned(),
        resume_token,
        ..v1::SubscribeRequest::default()
    };
    let Ok(firings) = triggers.subscribe(request).await else { return };
    let mut firings = firings.into_inner();
    let mut n_seen = 0;
    while let Ok(Some(message)) = firings.message().await {
        let Some(Message::Firing(firing)) = message.message else { continue };
        n_seen += 1;
        {
            let mut seen = seen.lock().expect("whole");
            seen.ids.entry(decided(&firing)).or_default().insert(firing.firing_id);
            seen.resume_token.clone_from(&firing.resume_token);
        }
        if n_seen % 5 == 0 {
            let request =
                v1::AcknowledgeRequest { subscription: "crm".to_owned(), resume_token: firing.resume_token };
            // A server that goes away acknowledges nothing; it all comes again.
            let _ = triggers.acknowledge(request).await;
        }
    }
}

/// Asks for scores until the server goes away.
async fn score(server: &Process) {
    let mut scoring = ScoringServiceClient::new(server.channel());
    for n in 0.. {
        let options = v1::ScoreOptions { models: vec!["buys".into()], ..v1::ScoreOptions::default() };
        let user = user(&format!("u{}", n % N_USERS));
        let request = v1::ScoreRequest { user, options: Some(options), hypothetical: None };
        match scoring.score(request).await {
            Err(status) if status.code() != tonic::Code::NotFound => return,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn profile(server: &Process, id: &str) -> Option<v1::GetProfileResponse> {
    let request = profile_of(id);
    match ProfileServiceClient::new(server.channel()).get_profile(request).await {
        Ok(profile) => Some(profile.into_inner()),
        Err(status) if status.code() == tonic::Code::NotFound => None,
        Err(status) => panic!("{status:?}"),
    }
}

fn number(profile: &v1::GetProfileResponse, feature: &str) -> Option<f64> {
    use v1::feature_value::Value;
    match profile.features.get(feature)?.value {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    }
}

/// Every acknowledged event is counted once; one that is not may be.
async fn check_profiles(server: &Process, ledger: &Ledger) {
    for user in (0..N_USERS).map(|n| format!("u{n}")) {
        let (sent, acknowledged) = ledger.of_user(&user).fold((0, 0), |(sent, acknowledged), (id, _)| {
            (sent + 1, acknowledged + usize::from(ledger.acknowledged.contains(id)))
        });
        let profile = profile(server, &user).await;
        let n_events = profile.as_ref().map_or(0, |profile| profile.event_count as usize);
        assert!((acknowledged..=sent).contains(&n_events), "{user}: {acknowledged} <= {n_events} <= {sent}");
        if let Some(profile) = profile {
            assert_eq!(number(&profile, "n_events"), Some(n_events as f64), "{user}");
        }
    }
}

/// What can be told of every user without regard to the time of day.
async fn states(
    server: &Process,
) -> Vec<Option<(u64, Vec<(String, v1::FeatureValue)>, Vec<v1::TriggerState>)>> {
    let mut states = Vec::new();
    for user in (0..N_USERS).map(|n| format!("u{n}")) {
        states.push(profile(server, &user).await.map(|profile| {
            let mut features: Vec<_> = profile.features.into_iter().collect();
            features.sort_by(|(one, _), (other, _)| one.cmp(other));
            (profile.event_count, features, profile.triggers)
        }));
    }
    states
}

async fn all_firings(server: &Process) -> Vec<v1::Firing> {
    let mut triggers = TriggerServiceClient::new(server.channel());
    let mut request = v1::ListFiringsRequest { page_size: 50, ..v1::ListFiringsRequest::default() };
    let mut all = Vec::new();
    loop {
        let page = triggers.list_firings(request.clone()).await.expect("listed").into_inner();
        all.extend(page.firings);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// What the events sent must fire: carts without a purchase, and users with
/// three views. And what may: carts whose events came after the wait.
fn expected(ledger: &Ledger) -> (BTreeSet<Decided>, BTreeSet<Decided>) {
    let mut views: HashMap<&str, usize> = HashMap::new();
    let (mut must, mut may) = (BTreeSet::new(), BTreeSet::new());
    for (id, event) in &ledger.sent {
        let cart = || ("cart_abandoned".to_owned(), event.user_id.clone(), format!("cart-{id}"));
        match event.r#type.as_str() {
            "page_view" => *views.entry(&event.user_id).or_default() += 1,
            "add_to_cart" if !ledger.sent.contains_key(&bought(id)) => {
                must.insert(cart());
            }
            "add_to_cart" if ledger.late.contains(id) || ledger.late.contains(&bought(id)) => {
                may.insert(cart());
            }
            _ => {}
        }
    }
    let likely = views.into_iter().filter(|(_, views)| *views >= 3);
    must.extend(likely.map(|(user, _)| ("likely_to_buy".to_owned(), user.to_owned(), String::new())));
    (must, may)
}

/// The id of the purchase of the cart that was begun by the event of an id.
fn bought(id: &str) -> String {
    format!("{id}-bought")
}

/// Milliseconds before now, by the clock that the server goes by too.
fn ago(ms: i64) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let now_ms = now.as_millis() as i64 - ms;
    Timestamp { seconds: now_ms / 1_000, nanos: (now_ms % 1_000) as i32 * 1_000_000 }
}

fn prepare(directory: &Path) {
    std::fs::write(directory.join("definitions.toml"), definitions()).expect("written");
    publish_model(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kills_at_any_moment() {
    let directory = tempfile::tempdir().expect("a directory");
    prepare(directory.path());
    let (mut ledger, seen) = (Ledger::default(), Arc::new(Mutex::new(Seen::default())));
    let mut shop = Shop { dice: ChaCha8Rng::seed_from_u64(SEED), n_events: 0 };
    // Small, so that the views are written at moments of all kinds.
    let flags = [("pipeline.snapshot_lag_bytes", "1MiB"), ("store.segment_bytes", "1MiB")];

    // A new subscription begins when it is first opened.
    let server = Process::start(directory.path(), &flags);
    let opened = tokio::time::timeout(Duration::from_millis(500), subscribe(&server, seen.clone()));
    assert!(opened.await.is_err(), "the subscription stays open");
    server.kill();

    let n_kills = std::env::var(KILLS).map_or(N_KILLS, |n| n.parse().expect("a number"));
    let mut n_while_starting = 0;
    for _ in 0..n_kills {
        // Some while they recover what the last one left.
        while shop.dice.random_bool(0.3) {
            let after = Duration::from_millis(shop.dice.random_range(0..150));
            Process::kill_while_starting(directory.path(), &flags, after);
            n_while_starting += 1;
        }
        let server = Process::start(directory.path(), &flags);
        check_profiles(&server, &ledger).await;
        let run_ms = shop.dice.random_range(50..1_200);
        let killed = async {
            tokio::time::sleep(Duration::from_millis(run_ms)).await;
            server.signal("KILL");
        };
        let never = Instant::now() + Duration::from_secs(60);
        tokio::join!(
            stream(&server, &mut ledger, &mut shop, never),
            subscribe(&server, seen.clone()),
            score(&server),
            killed
        );
    }
    assert!(ledger.accepted.len() > 500, "{} events are no load", ledger.accepted.len());

    // Without a kill, to its end: all that was sent is in, once.
    let server = Process::start(directory.path(), &flags);
    check_profiles(&server, &ledger).await;
    stream(&server, &mut ledger, &mut shop, Instant::now() + Duration::from_millis(300)).await;
    assert_eq!(ledger.acknowledged.len(), ledger.sent.len());
    check_profiles(&server, &ledger).await;
    server.kill();

    // The last carts were armed before that kill; they fire without any traffic.
    let server = Process::start(directory.path(), &flags);
    let started = Instant::now();
    let (must, may) = expected(&ledger);
    let all_seen = async {
        // What should not fire has the time to, and a slow machine the time for all that should.
        let has_all = || must.iter().all(|decided| seen.lock().expect("whole").ids.contains_key(decided));
        while started.elapsed() < WAIT + Duration::from_secs(3) || !has_all() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = subscribe(&server, seen.clone()) => panic!("the subscription stays open"),
        _ = tokio::time::timeout(Duration::from_secs(60), all_seen) => {}
    }
    println!("all firings were seen {:.1} s after the last start", started.elapsed().as_secs_f64());
    {
        let seen = seen.lock().expect("whole");
        let fired: BTreeSet<Decided> = seen.ids.keys().cloned().collect();
        let (missing, surplus) = (must.difference(&fired), fired.difference(&must));
        let (missing, surplus): (Vec<_>, Vec<_>) =
            (missing.collect(), surplus.filter(|fired| !may.contains(*fired)).collect());
        assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");
        for (decided, ids) in &seen.ids {
            assert_eq!(ids.len(), 1, "{decided:?} came under several ids: {ids:?}");
        }
    }
    let firings = all_firings(&server).await;
    let stored: BTreeSet<Decided> = firings.iter().map(decided).collect();
    assert_eq!(firings.len(), stored.len(), "each is stored once");
    let before = states(&server).await;
    server.kill();

    // Without the views everything is folded from the log, to the same state.
    std::fs::remove_dir_all(directory.path().join("store/views")).expect("removed");
    let server = Process::start(directory.path(), &flags);
    assert_eq!(states(&server).await, before);
    let ids = |firings: &[v1::Firing]| -> Vec<String> {
        firings.iter().map(|firing| firing.firing_id.clone()).collect()
    };
    assert_eq!(ids(&all_firings(&server).await), ids(&firings));
    server.kill();

    // A feature defined today counts the events of yesterday.
    let with_feature =
        definitions() + "\n[features.carts]\naggregate = 'count'\nof = 'add_to_cart'\nwindow = 'lifetime'\n";
    std::fs::write(directory.path().join("definitions.toml"), with_feature).expect("written");
    let server = Process::start(directory.path(), &flags);
    for user in (0..N_USERS).map(|n| format!("u{n}")) {
        let carts = ledger.of_user(&user).filter(|(_, event)| event.r#type == "add_to_cart").count();
        let profile = profile(&server, &user).await.expect("everyone came");
        assert_eq!(number(&profile, "carts"), Some(carts as f64), "{user}");
    }
    assert_eq!(ids(&all_firings(&server).await), ids(&firings));
    let (n_events, n_firings) = (ledger.acknowledged.len(), firings.len());
    println!(
        "{n_kills} kills under load and {n_while_starting} while starting: {n_events} events acknowledged, \
         {n_firings} firings; none lost, none twice"
    );
}
