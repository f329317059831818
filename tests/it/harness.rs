//! A server under test, and the words tests say to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost_types::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tipoff::app::App;
use tipoff::config::Config;
use tipoff::definitions;
use tipoff::engine::forest::{Condition, Forest, Frame, Leaf, Node, Side, Split, Tree};
use tipoff::engine::model::Link;
use tipoff::engine::plan::Plan;
use tipoff::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use tipoff::proto::v1;
use tipoff::registry::{Content, Draft, FileSum, Golden, Manifest, publish};
use tonic::transport::{Channel, Endpoint};

use v1::event_service_client::EventServiceClient;
use v1::model_service_client::ModelServiceClient;
use v1::profile_service_client::ProfileServiceClient;
use v1::scoring_service_client::ScoringServiceClient;
use v1::trigger_service_client::TriggerServiceClient;

/// A visitor who has seen three pages within a week is likely to buy.
pub const DEFINITIONS: &str = r#"
[features.views_7d]
aggregate = "count"
of        = "page_view"
window    = "7d"

[features.spent]
aggregate = "sum"
of        = "purchase.value"
window    = "lifetime"

[features.last_page]
aggregate = "last"
of        = "page_view.page"
type      = "text"
window    = "7d"

[features.sessions_7d]
aggregate = "sessions"
window    = "7d"

[labels.buys]
event  = "purchase"
within = "24h"

[models.buys]
label    = "buys"
features = ["views_7d"]
score_on = ["page_view"]

[models.never_trained]
label    = "buys"
features = ["views_7d"]

[triggers.likely_to_buy]
score    = "buys"
fire_at  = 0.5
rearm_at = 0.3

[triggers.cart_abandoned]
after    = "add_to_cart"
without  = ["purchase"]
for      = "30m"
key      = "cart_id"
"#;

pub struct TestServer {
    app: App,
    pub directory: TempDir,
    pub channel: Channel,
}

impl TestServer {
    /// A server in replay mode with [`DEFINITIONS`] and a model for `buys`; `flags` win.
    pub async fn start(flags: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("definitions.toml"), DEFINITIONS).expect("written");
        publish_model(directory.path());
        Self::start_in(directory, flags).await
    }

    /// The same on what a server before has left.
    pub async fn start_in(directory: TempDir, flags: &[(&str, &str)]) -> Self {
        let app = App::start(config(directory.path(), flags)).await.expect("the server starts");
        let channel =
            Endpoint::from_shared(format!("http://{}", app.grpc())).expect("an address").connect_lazy();
        Self { app, directory, channel }
    }

    pub async fn stop(self) -> TempDir {
        drop(self.channel);
        self.app.stop().await.expect("it stops in order");
        self.directory
    }

    pub fn app(&self) -> &App {
        &self.app
    }

    pub fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone())
    }

    pub fn scoring(&self) -> ScoringServiceClient<Channel> {
        ScoringServiceClient::new(self.channel.clone())
    }

    pub fn profiles(&self) -> ProfileServiceClient<Channel> {
        ProfileServiceClient::new(self.channel.clone())
    }

    pub fn triggers(&self) -> TriggerServiceClient<Channel> {
        TriggerServiceClient::new(self.channel.clone())
    }

    pub fn models(&self) -> ModelServiceClient<Channel> {
        ModelServiceClient::new(self.channel.clone())
    }

    pub fn inference(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::new(self.channel.clone())
    }

    /// Ingests events, all of which must be accepted.
    pub async fn accept(&self, events: impl IntoIterator<Item = v1::Event>) -> Vec<v1::EventResult> {
        let request =
            v1::IngestRequest { events: events.into_iter().collect(), ..v1::IngestRequest::default() };
        let results = self.events().ingest(request).await.expect("the batch is taken").into_inner().results;
        for result in &results {
            assert_eq!(result.status(), v1::EventStatus::Accepted, "{result:?}");
        }
        results
    }
}

pub fn config(directory: &Path, flags: &[(&str, &str)]) -> Config {
    let path = |name: &str| directory.join(name).display().to_string();
    let mut all = vec![
        ("server.listen".to_owned(), "127.0.0.1:0".to_owned()),
        ("server.http_listen".to_owned(), "127.0.0.1:0".to_owned()),
        ("store.directory".to_owned(), path("store")),
        ("definitions.file".to_owned(), path("definitions.toml")),
        ("models.directory".to_owned(), path("models")),
        ("pipeline.workers".to_owned(), "2".to_owned()),
        ("pipeline.clock".to_owned(), "replay".to_owned()),
    ];
    all.extend(flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Config::from_layers(None, [], &all).expect("a valid configuration")
}

/// An event of `user` at `seconds`, which is also when it arrives.
pub fn event(user: &str, kind: &str, seconds: i64) -> v1::Event {
    let time = Some(Timestamp { seconds, nanos: 0 });
    v1::Event {
        user_id: user.to_owned(),
        r#type: kind.to_owned(),
        time,
        arrival_time: time,
        ..v1::Event::default()
    }
}

pub fn with_property(mut event: v1::Event, name: &str, kind: v1::value::Kind) -> v1::Event {
    event.properties.insert(name.to_owned(), v1::Value { kind: Some(kind) });
    event
}

pub fn user(id: &str) -> Option<v1::UserRef> {
    Some(v1::UserRef { id: Some(v1::user_ref::Id::UserId(id.to_owned())) })
}

/// Asks for a user's profile, with nothing explained.
pub fn profile_of(id: &str) -> v1::GetProfileRequest {
    v1::GetProfileRequest { user: user(id), explain: Vec::new() }
}

/// A model of `buys` that says 0.12 below three views and 0.88 from there on.
pub fn publish_model(directory: &Path) {
    publish_saying(&directory.join("models"), -2.0);
}

/// The next version of a model of `buys` under `models`, whose log-odds are
/// `low` below three views and 2 from there on.
pub fn publish_saying(models: &Path, low: f64) -> PathBuf {
    let plan = definitions::compile(DEFINITIONS).expect("valid definitions");
    let split = Split {
        input: 0,
        condition: Condition::Less(2.5),
        missing: Side::Left,
        zero_is_missing: false,
        left: 1,
        right: 2,
        cover: 4.0,
    };
    let leaf = |value| Node::Leaf(Leaf { value, cover: 2.0 });
    let tree = Tree::of(vec![Node::Split(split), leaf(low), leaf(2.0)]);
    let forest = Forest::new(Frame::single(1, 0.0), vec![tree]).expect("a valid forest");
    let golden = [0.0, 3.0].map(|views: f64| {
        let raw = forest.raw(&[views]);
        Golden { inputs: vec![views], raw, outputs: vec![Link::Logistic.apply(raw)] }
    });
    let draft = Draft {
        manifest: manifest(&plan),
        model: Content::Forest(&forest),
        golden: &golden,
        extra: BTreeMap::new(),
    };
    publish(models, draft, &plan).expect("a good artifact").dir
}

/// An artifact may have files of its own, `notes.txt` here.
pub fn add_empty_file(artifact: &Path) {
    std::fs::write(artifact.join("notes.txt"), "").expect("written");
    let manifest = artifact.join("manifest.json");
    let content = std::fs::read(&manifest).expect("read");
    let mut json: Value = serde_json::from_slice(&content).expect("JSON");
    json["files"]["notes.txt"] = serde_json::to_value(FileSum::of(b"")).expect("it serialises");
    std::fs::write(manifest, json.to_string()).expect("written");
}

fn manifest(plan: &Plan) -> Manifest {
    let index = plan.features.iter().position(|feature| &*feature.name == "views_7d").expect("defined");
    let model = plan.models.iter().find(|model| &*model.name == "buys").expect("defined");
    Manifest::of_binary(plan, model, &[index])
}
