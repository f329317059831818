use tipoff::proto::v1;
use tipoff::proto::v1::value::Kind;
use tonic::Code;

use super::failure;
use crate::harness::{TestServer, event, profile_of, user, with_property};

fn score_of(response: &v1::ScoreResponse) -> f64 {
    (response.scores[0].outputs[0].value * 100.0).round()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_scored_with_reasons_and_a_stranger_too() {
    let server = TestServer::start(&[]).await;
    server.accept((0..3).map(|i| event("ada", "page_view", 1_000_000 + i))).await;
    let options = v1::ScoreOptions { models: vec!["buys".into()], include_features: true, max_reasons: 3 };
    let request =
        |id| v1::ScoreRequest { user: user(id), options: Some(options.clone()), hypothetical: None };
    let mut scoring = server.scoring();

    let known = scoring.score(request("ada")).await.expect("scored").into_inner();
    assert!(known.known);
    assert_eq!(score_of(&known), 88.0);
    let score = &known.scores[0];
    assert_eq!((score.model.as_str(), score.version, score.raw_score), ("buys", 1, 2.0));
    assert_eq!(score.outputs[0].name, "probability");
    assert_eq!(score.outputs[0].kind(), v1::OutputKind::Probability);
    assert_eq!(score.reasons.len(), 1);
    assert_eq!((score.reasons[0].feature.as_str(), score.reasons[0].value), ("views_7d", Some(3.0)));
    assert!(known.features["last_page"].missing);
    assert_eq!(known.as_of.expect("always there").time.expect("too").seconds, 1_000_002);

    let stranger = scoring.score(request("nobody")).await.expect("scored").into_inner();
    assert!(!stranger.known);
    assert_eq!(score_of(&stranger), 12.0);
    let status = server.profiles().get_profile(profile_of("nobody")).await;
    let status = status.expect_err("scoring makes nobody known");
    assert_eq!(failure(&status), (Code::NotFound, "USER_UNKNOWN".into()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supposed_event_counts_and_is_not_stored() {
    let server = TestServer::start(&[]).await;
    server.accept((0..2).map(|i| event("ada", "page_view", 1_000_000 + i))).await;
    let supposed = v1::HypotheticalEvent { r#type: "page_view".into(), properties: Default::default() };
    let mut request = v1::ScoreRequest { user: user("ada"), options: None, hypothetical: Some(supposed) };
    let mut scoring = server.scoring();
    let supposed = scoring.score(request.clone()).await.expect("scored").into_inner();
    assert_eq!(score_of(&supposed), 88.0);
    request.hypothetical = None;
    assert_eq!(score_of(&scoring.score(request).await.expect("scored").into_inner()), 12.0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_say_what_is_wrong() {
    let server = TestServer::start(&[]).await;
    let mut scoring = server.scoring();
    let request = |user, models: &[&str], max_reasons| v1::ScoreRequest {
        user,
        options: Some(v1::ScoreOptions {
            models: models.iter().map(|name| (*name).to_owned()).collect(),
            include_features: false,
            max_reasons,
        }),
        hypothetical: None,
    };
    for (request, code, reason) in [
        (request(None, &[], 0), Code::InvalidArgument, "USER_ID_MISSING"),
        (request(user("ada"), &["buys", "byus"], 0), Code::NotFound, "MODEL_UNKNOWN"),
        (request(user("ada"), &["never_trained"], 0), Code::Unavailable, "MODEL_NOT_LOADED"),
        (request(user("ada"), &[], 33), Code::InvalidArgument, "TOO_MANY_REASONS"),
    ] {
        let status = scoring.score(request).await.expect_err(reason);
        assert_eq!(failure(&status), (code, reason.to_owned()));
    }

    let batch = v1::ScoreBatchRequest {
        requests: vec![request(user("ada"), &[], 0), request(None, &[], 0)],
        options: None,
    };
    let results = scoring.score_batch(batch).await.expect("answered").into_inner().results;
    use v1::score_batch_result::Result::{Rejection, Response};
    match &results[..] {
        [
            v1::ScoreBatchResult { result: Some(Response(first)) },
            v1::ScoreBatchResult { result: Some(Rejection(second)) },
        ] => {
            assert_eq!(score_of(first), 12.0);
            assert_eq!((second.reason.as_str(), second.field.as_str()), ("USER_ID_MISSING", "user.user_id"));
        }
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_shows_all_that_is_known() {
    let server = TestServer::start(&[]).await;
    let page = Kind::StringValue("/shoes".into());
    server
        .accept([
            with_property(event("ada", "page_view", 1_000_000), "page", page),
            with_property(event("ada", "purchase", 1_000_001), "value", Kind::DoubleValue(12.5)),
            with_property(event("ada", "add_to_cart", 1_000_002), "cart_id", Kind::IntValue(7)),
        ])
        .await;
    let profile = server.profiles().get_profile(profile_of("ada")).await;
    let profile = profile.expect("known").into_inner();
    assert_eq!(profile.user, user("ada"));
    assert_eq!(profile.event_count, 3);
    assert_eq!(profile.first_seen_time.expect("seen").seconds, 1_000_000);
    assert_eq!(profile.last_seen_time.expect("seen").seconds, 1_000_002);
    use v1::feature_value::Value::{Number, Text};
    let feature = |name: &str| profile.features[name].value.clone();
    assert_eq!(feature("spent"), Some(Number(12.5)));
    assert_eq!(feature("last_page"), Some(Text("/shoes".into())));
    let cart = profile.triggers.iter().find(|state| state.trigger == "cart_abandoned").expect("shown");
    assert_eq!((cart.key.as_str(), cart.phase()), ("7", v1::TriggerPhase::Armed));
    assert_eq!(cart.due_time.expect("it waits").seconds, 1_000_002 + 30 * 60);
    let [session] = profile.sessions.as_slice() else { panic!("one session, not {:?}", profile.sessions) };
    let seconds = |time: Option<prost_types::Timestamp>| time.expect("known").seconds;
    assert_eq!((seconds(session.start_time), seconds(session.end_time)), (1_000_000, 1_000_002));
    assert_eq!((session.event_count, session.open), (3, true));
    let model = profile.models.iter().find(|model| model.model == "buys").expect("shown");
    assert!((model.last_score.expect("scored") - 0.12).abs() < 0.01);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loaded_models_are_listed_and_others_say_why_not() {
    let server = TestServer::start(&[]).await;
    let mut models = server.models();
    let list = models.list_models(v1::ListModelsRequest::default()).await.expect("listed").into_inner();
    assert_eq!((list.models.len(), list.next_page_token.as_str()), (1, ""));
    let model = &list.models[0];
    assert_eq!((model.name.as_str(), model.version, model.label.as_str()), ("buys", 1, "buys"));
    assert_eq!(model.features[0].name, "views_7d");
    assert_eq!(model.aliases, ["stable"]);
    let get = |name: &str, version| v1::GetModelRequest { name: name.to_owned(), version };
    let got = models.get_model(get("buys", 1)).await.expect("loaded").into_inner();
    assert_eq!(got.model.as_ref(), Some(model));
    for (request, code, reason) in [
        (get("buys", 2), Code::NotFound, "MODEL_UNKNOWN"),
        (get("byus", 0), Code::NotFound, "MODEL_UNKNOWN"),
        (get("never_trained", 0), Code::Unavailable, "MODEL_NOT_LOADED"),
    ] {
        let status = models.get_model(request).await.expect_err(reason);
        assert_eq!(failure(&status), (code, reason.to_owned()));
    }
    let request = v1::ListModelsRequest { page_size: 1_001, ..v1::ListModelsRequest::default() };
    let status = models.list_models(request).await.expect_err("too large a page");
    assert_eq!(failure(&status), (Code::InvalidArgument, "PAGE_TOO_LARGE".into()));
    server.stop().await;
}
