use std::collections::BTreeMap;

use prost_types::Timestamp;
use tipoff::proto::v1;
use tipoff::proto::v1::explanation::Source;
use tipoff::proto::v1::value::Kind;
use tipoff::proto::v1::window_events::Bounds;
use tonic::Code;
use tonic_types::StatusExt;

use super::failure;
use crate::harness::{DEFINITIONS, TestServer, event, publish_model, user, with_property};
use crate::metrics::{sample, scrape};

const MORE: &str = r#"
[features.spent_in_session]
aggregate = "sum"
of        = "purchase.value"
window    = "session"

[features.interest]
aggregate = "decayed"
of        = "page_view"
half_life = "90m"

[features.sessions_30d]
aggregate = "sessions"
window    = "30d"

[features.spent_a_view]
expression = "spent / views_7d"
"#;

async fn server() -> TestServer {
    let directory = tempfile::tempdir().expect("a directory");
    let definitions = format!("{DEFINITIONS}{MORE}");
    std::fs::write(directory.path().join("definitions.toml"), definitions).expect("written");
    publish_model(directory.path());
    TestServer::start_in(directory, &[]).await
}

fn request(names: &[&str]) -> v1::GetProfileRequest {
    v1::GetProfileRequest {
        user: user("ada"),
        explain: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn number(number: f64) -> v1::FeatureValue {
    v1::FeatureValue {
        value: Some(v1::feature_value::Value::Number(number)),
        missing: false,
        approximate: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn features_are_explained_in_the_order_in_which_they_are_named() {
    use v1::occurrence::Value::{Number, Text};

    let server = server().await;
    let view = |page: &str, seconds| {
        with_property(event("ada", "page_view", seconds), "page", Kind::StringValue(page.into()))
    };
    let purchase =
        |value, seconds| with_property(event("ada", "purchase", seconds), "value", Kind::DoubleValue(value));
    server
        .accept([
            view("/", 1_000_000),
            purchase(8.0, 1_000_010),
            view("/shoes", 1_100_000),
            purchase(12.5, 1_100_020),
        ])
        .await;
    let names =
        ["last_page", "spent_in_session", "spent", "interest", "sessions_30d", "spent_a_view", "spent"];
    let profile = server.profiles().get_profile(request(&names)).await.expect("known").into_inner();

    let occurrence = |seconds, value| v1::Occurrence { time: at(seconds), value };
    let interval = v1::Interval { after_time: at(1_100_020 - 7 * 86_400), until_time: at(1_100_020) };
    let expected = [
        (
            "last_page",
            "last",
            Source::Window(v1::WindowEvents {
                bounds: Some(Bounds::Interval(interval)),
                event_count: 2,
                events: vec![
                    occurrence(1_100_000, Some(Text("/shoes".into()))),
                    occurrence(1_000_000, Some(Text("/".into()))),
                ],
            }),
        ),
        (
            "spent_in_session",
            "sum",
            Source::Window(v1::WindowEvents {
                bounds: Some(Bounds::Session(profile.sessions[0])),
                event_count: 1,
                events: vec![occurrence(1_100_020, Some(Number(12.5)))],
            }),
        ),
        (
            "spent",
            "sum",
            Source::Lifetime(v1::LifetimeTotals {
                event_count: 2,
                first: Some(occurrence(1_000_010, Some(Number(8.0)))),
                last: Some(occurrence(1_100_020, Some(Number(12.5)))),
                sum: Some(20.5),
                min: Some(8.0),
                max: Some(12.5),
                distinct_count: None,
            }),
        ),
        (
            "interest",
            "decayed",
            Source::Decayed(v1::Decay {
                half_life: Some(prost_types::Duration { seconds: 5_400, nanos: 0 }),
            }),
        ),
        (
            "sessions_30d",
            "sessions",
            Source::Sessions(v1::CountedSessions {
                interval: Some(v1::Interval {
                    after_time: at(1_100_020 - 30 * 86_400),
                    until_time: at(1_100_020),
                }),
                session_count: 2,
                sessions: profile.sessions.clone(),
            }),
        ),
        (
            "spent_a_view",
            "",
            Source::Expression(v1::ExpressionReads {
                features: [("spent", 20.5), ("views_7d", 2.0)]
                    .map(|(name, value)| (name.to_owned(), number(value)))
                    .into(),
            }),
        ),
    ];
    let expected = expected.map(|(name, aggregate, source)| v1::Explanation {
        feature: name.to_owned(),
        value: Some(profile.features[name].clone()),
        aggregate: aggregate.to_owned(),
        source: Some(source),
    });
    assert_eq!(profile.explanations, expected);
    assert_eq!(profile.features["spent_a_view"], number(10.25));
    assert_eq!(profile.features["sessions_30d"], number(2.0));

    let profile = server.profiles().get_profile(request(&[])).await.expect("known").into_inner();
    assert_eq!(profile.explanations, []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_explained_is_refused_by_name() {
    let server = server().await;
    let mut profiles = server.profiles();
    let status = profiles.get_profile(request(&["spent", "veiws_7d"])).await.expect_err("unknown");
    assert_eq!(failure(&status), (Code::InvalidArgument, "FEATURE_UNKNOWN".into()));
    let violations = status.get_details_bad_request().expect("a field is at fault").field_violations;
    assert_eq!(violations[0].field, "explain[1]");
    assert_eq!(violations[0].description, "no definition names this feature; did you mean `views_7d`?");

    let status = profiles.get_profile(request(&["spent"; 9])).await.expect_err("too many");
    assert_eq!(failure(&status), (Code::InvalidArgument, "TOO_MANY_FEATURES".into()));
    let status = profiles.get_profile(request(&["spent"; 8])).await.expect_err("nobody knows the user");
    assert_eq!(failure(&status), (Code::NotFound, "USER_UNKNOWN".into()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_beyond_the_exact_rows_says_that_it_is_approximate() {
    let directory = tempfile::tempdir().expect("a directory");
    let definitions = format!("{DEFINITIONS}{MORE}\n[series]\nexact_rows = 256\n");
    std::fs::write(directory.path().join("definitions.toml"), definitions).expect("written");
    publish_model(directory.path());
    let server = TestServer::start_in(directory, &[]).await;
    server.accept((0..300).map(|n| event("ada", "page_view", 1_000_000 + n))).await;
    server.accept([event("bob", "page_view", 1_000_300)]).await;
    let profile = server.profiles().get_profile(request(&["views_7d"])).await.expect("known").into_inner();
    let is_told = |features: &BTreeMap<String, v1::FeatureValue>| {
        let approximate = |name: &str| features[name].approximate;
        approximate("views_7d") && approximate("spent_a_view") && !approximate("interest")
    };
    assert!(is_told(&profile.features));
    assert!(profile.explanations[0].value.as_ref().expect("explained").approximate);
    // The window holds all tiles, so nothing has to be shared out.
    assert_eq!(profile.features["views_7d"].value, Some(v1::feature_value::Value::Number(300.0)));

    // Scores and results tell it too, of what is only supposed as well.
    let options = v1::ScoreOptions { include_features: true, ..v1::ScoreOptions::default() };
    let supposed = v1::HypotheticalEvent { r#type: "page_view".into(), properties: BTreeMap::new() };
    let score = |user, hypothetical| v1::ScoreRequest { user, options: Some(options.clone()), hypothetical };
    let mut scoring = server.scoring();
    for hypothetical in [None, Some(supposed)] {
        let scored = scoring.score(score(user("ada"), hypothetical)).await.expect("scored").into_inner();
        assert!(is_told(&scored.features));
    }
    let scored = scoring.score(score(user("bob"), None)).await.expect("scored").into_inner();
    assert!(scored.features.values().all(|feature| !feature.approximate));
    let page = scrape(server.app().http());
    let readings =
        |feature: &str| sample(&page, &format!("tipoff_approximate_readings_total{{feature=\"{feature}\"}}"));
    let before = readings("views_7d");
    assert!(before > 2.0, "decisions since the first tile, and two scores: {before}");
    assert_eq!(readings("interest"), 0.0);

    let events = vec![event("ada", "page_view", 1_000_301)];
    let request = v1::IngestRequest { events, score: Some(options.clone()), clock_time: None };
    let results = server.events().ingest(request).await.expect("taken in").into_inner().results;
    assert!(is_told(&results[0].features));
    server.stop().await;
}
