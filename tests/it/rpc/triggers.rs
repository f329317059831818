use std::time::Duration;

use tipoff::proto::v1;
use tipoff::proto::v1::subscribe_response::Message;
use tipoff::proto::v1::value::Kind;
use tonic::{Code, Streaming};

use super::failure;
use crate::harness::{DEFINITIONS, TestServer, event, profile_of, user, with_property};

type Firings = Streaming<v1::SubscribeResponse>;

async fn subscribe(server: &TestServer, name: &str, resume_token: &str, triggers: &[&str]) -> Firings {
    let request = v1::SubscribeRequest {
        subscription: name.to_owned(),
        resume_token: resume_token.to_owned(),
        triggers: triggers.iter().map(|trigger| (*trigger).to_owned()).collect(),
    };
    server.triggers().subscribe(request).await.expect("it opens").into_inner()
}

/// The next firing, past any heartbeat.
async fn next(firings: &mut Firings) -> v1::Firing {
    let next = async {
        loop {
            match firings.message().await.expect("no failure").expect("it goes on").message {
                Some(Message::Firing(firing)) => return firing,
                Some(Message::Heartbeat(_)) => {}
                None => panic!("an empty message"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("a firing comes")
}

/// Three views, which make the user likely to buy.
async fn browse(server: &TestServer, id: &str, seconds: i64) {
    server.accept((0..3).map(|i| event(id, "page_view", seconds + i))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firings_reach_a_subscription_with_their_reasons() {
    let server = TestServer::start(&[]).await;
    let mut firings = subscribe(&server, "crm", "", &[]).await;
    browse(&server, "ada", 1_000_000).await;
    let firing = next(&mut firings).await;
    assert_eq!(
        (firing.trigger.as_str(), firing.model.as_str(), firing.model_version),
        ("likely_to_buy", "buys", 1)
    );
    assert_eq!(firing.user, user("ada"));
    assert!((firing.score.expect("a score crossed") - 0.88).abs() < 0.01);
    assert_eq!(firing.reasons[0].feature, "views_7d");
    assert_eq!(firing.as_of.expect("always there").time.expect("too").seconds, 1_000_002);
    assert_eq!(firing.firing_id.len(), 32);
    assert!(!firing.resume_token.is_empty() && !firing.held_out);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_fires_by_the_clock_alone() {
    let server = TestServer::start(&[]).await;
    let mut firings = subscribe(&server, "crm", "", &["cart_abandoned"]).await;
    let cart = |id| Kind::StringValue(id);
    server
        .accept([
            with_property(event("ada", "add_to_cart", 1_000_000), "cart_id", cart("left".into())),
            with_property(event("grace", "add_to_cart", 1_000_000), "cart_id", cart("bought".into())),
            with_property(event("grace", "purchase", 1_000_900), "cart_id", cart("bought".into())),
        ])
        .await;
    // Somebody else's event moves the clock; a second cart shows that the first fired alone.
    server.accept([event("alan", "page_view", 1_010_000)]).await;
    let firing = next(&mut firings).await;
    assert_eq!((firing.user, firing.key.as_str()), (user("ada"), "left"));
    assert_eq!(firing.as_of.expect("always there").time.expect("too").seconds, 1_000_000 + 30 * 60);
    server
        .accept([with_property(event("alan", "add_to_cart", 1_010_000), "cart_id", cart("later".into()))])
        .await;
    server.accept([event("ada", "page_view", 1_020_000)]).await;
    assert_eq!(next(&mut firings).await.key, "later");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_end_is_scored_by_the_clock_alone_also_on_a_restarted_server() {
    let directory = TestServer::start(&[]).await.stop().await;
    let at_the_end = DEFINITIONS.replace(r#"score_on = ["page_view"]"#, r#"score_on = ["session_end"]"#);
    std::fs::write(directory.path().join("definitions.toml"), at_the_end).expect("written");
    let server = TestServer::start_in(directory, &[]).await;
    browse(&server, "ada", 1_000_000).await;
    let server = TestServer::start_in(server.stop().await, &[]).await;
    let end = Some(prost_types::Timestamp { seconds: 1_000_002 + 30 * 60, nanos: 0 });
    let profile = server.profiles().get_profile(profile_of("ada")).await.expect("known").into_inner();
    assert_eq!(profile.models[0].next_rescore_time, end);
    let mut firings = subscribe(&server, "crm", "", &[]).await;
    // Somebody else's event moves the clock.
    server.accept([event("alan", "page_view", 1_010_000)]).await;
    let firing = next(&mut firings).await;
    assert_eq!((firing.user, firing.trigger.as_str()), (user("ada"), "likely_to_buy"));
    assert_eq!(firing.as_of.expect("always there").time, end);
    let profile = server.profiles().get_profile(profile_of("ada")).await.expect("known").into_inner();
    assert_eq!(profile.models[0].next_rescore_time, None, "once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_resumes_after_what_it_acknowledged_also_on_a_restarted_server() {
    let server = TestServer::start(&[]).await;
    let mut firings = subscribe(&server, "crm", "", &[]).await;
    for (id, seconds) in [("ada", 1_000_000), ("grace", 1_000_100), ("alan", 1_000_200)] {
        browse(&server, id, seconds).await;
    }
    let first = next(&mut firings).await;
    let second = next(&mut firings).await;
    let third = next(&mut firings).await;
    drop(firings);

    // Nothing acknowledged: all of it again.
    let mut firings = subscribe(&server, "crm", "", &[]).await;
    assert_eq!(next(&mut firings).await, first);
    // A token given goes before what was acknowledged.
    let mut firings = subscribe(&server, "crm", &second.resume_token, &[]).await;
    assert_eq!(next(&mut firings).await, third);

    let acknowledge = |token: &str| v1::AcknowledgeRequest {
        subscription: "crm".to_owned(),
        resume_token: token.to_owned(),
    };
    let mut triggers = server.triggers();
    let answer = triggers.acknowledge(acknowledge(&second.resume_token)).await.expect("acknowledged");
    assert_eq!(answer.get_ref().resume_token, second.resume_token);
    let answer = triggers.acknowledge(acknowledge(&first.resume_token)).await.expect("acknowledged");
    assert_eq!(answer.get_ref().resume_token, second.resume_token, "never backwards");
    drop((firings, triggers));

    let mut directory = server.stop().await;
    // The same definitions, others, for which the views are made anew, and those again.
    let others = DEFINITIONS.replace("30m", "31m");
    for definitions in [DEFINITIONS, &others, &others] {
        std::fs::write(directory.path().join("definitions.toml"), definitions).expect("written");
        let server = TestServer::start_in(directory, &[]).await;
        let mut firings = subscribe(&server, "crm", "", &[]).await;
        assert_eq!(next(&mut firings).await, third);
        drop(firings);
        directory = server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_subscription_shows_that_it_is_alive() {
    let server = TestServer::start(&[("delivery.heartbeat_interval", "100ms")]).await;
    let mut firings = subscribe(&server, "crm", "", &[]).await;
    let message = firings.message().await.expect("no failure").expect("it goes on");
    assert!(matches!(message.message, Some(Message::Heartbeat(_))), "{message:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_subscriber_takes_the_first_ones_place() {
    let server = TestServer::start(&[]).await;
    let mut first = subscribe(&server, "crm", "", &[]).await;
    let mut second = subscribe(&server, "crm", "", &[]).await;
    let status = first.message().await.expect_err("it is told");
    assert_eq!(failure(&status), (Code::Aborted, "SUBSCRIPTION_TAKEN".into()));
    browse(&server, "ada", 1_000_000).await;
    assert_eq!(next(&mut second).await.user, user("ada"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_firings_are_listed_by_pages_and_filters() {
    let server = TestServer::start(&[]).await;
    for (id, seconds) in [("ada", 1_000_000), ("grace", 1_000_100), ("alan", 1_000_200)] {
        browse(&server, id, seconds).await;
    }
    let all = v1::ListFiringsRequest { page_size: 2, ..v1::ListFiringsRequest::default() };
    let seen = firings(&server, all).await.into_iter().map(|firing| firing.user).collect::<Vec<_>>();
    assert_eq!(seen, [user("ada"), user("grace"), user("alan")]);

    let only = |user, trigger: &str| v1::ListFiringsRequest {
        user,
        trigger: trigger.to_owned(),
        ..v1::ListFiringsRequest::default()
    };
    for (request, n_expected) in [
        (only(user("grace"), ""), 1),
        (only(None, "likely_to_buy"), 3),
        (only(user("grace"), "cart_abandoned"), 0),
    ] {
        assert_eq!(firings(&server, request).await.len(), n_expected);
    }
    server.stop().await;
}

/// The firings of all pages; a page may be short, or empty, before the last.
async fn firings(server: &TestServer, mut request: v1::ListFiringsRequest) -> Vec<v1::Firing> {
    let mut triggers = server.triggers();
    let mut firings = Vec::new();
    loop {
        let page = triggers.list_firings(request.clone()).await.expect("listed").into_inner();
        if request.page_size > 0 {
            assert!(page.firings.len() <= request.page_size as usize);
        }
        firings.extend(page.firings);
        if page.next_page_token.is_empty() {
            return firings;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_and_tokens_are_refused() {
    let server = TestServer::start(&[("limits.subscriptions", "1")]).await;
    let _open = subscribe(&server, "crm", "", &[]).await;
    let mut triggers = server.triggers();
    let request = |subscription: &str, resume_token: &str, trigger: &[&str]| v1::SubscribeRequest {
        subscription: subscription.to_owned(),
        resume_token: resume_token.to_owned(),
        triggers: trigger.iter().map(|name| (*name).to_owned()).collect(),
    };
    for (request, code, reason) in [
        (request("", "", &[]), Code::InvalidArgument, "SUBSCRIPTION_INVALID"),
        (request("a b", "", &[]), Code::InvalidArgument, "SUBSCRIPTION_INVALID"),
        (request("crm", "never", &[]), Code::InvalidArgument, "RESUME_TOKEN_INVALID"),
        (request("crm", "ffffffffffff.1", &[]), Code::InvalidArgument, "RESUME_TOKEN_INVALID"),
        (request("crm", "", &["likely_to_by"]), Code::NotFound, "TRIGGER_UNKNOWN"),
        (request("mail", "", &[]), Code::ResourceExhausted, "TOO_MANY_SUBSCRIPTIONS"),
    ] {
        let status = triggers.subscribe(request).await.expect_err(reason);
        assert_eq!(failure(&status), (code, reason.to_owned()));
    }
    let request = v1::AcknowledgeRequest { subscription: "mail".to_owned(), resume_token: "0.0".to_owned() };
    let status = triggers.acknowledge(request).await.expect_err("never opened");
    assert_eq!(failure(&status), (Code::NotFound, "SUBSCRIPTION_UNKNOWN".into()));
    server.stop().await;
}
