//! Idle profiles are packed in memory, and nobody can tell.

use std::time::{Duration, Instant};

use prost_types::Timestamp;
use tipoff::proto::v1;
use tipoff::proto::v1::value::Kind;

use crate::harness::{TestServer, event, profile_of, user, with_property};
use crate::metrics::{sample, scrape};

const USERS: [&str; 3] = ["ada", "grace", "alan"];

/// Everything that a server said about some history.
#[derive(Debug, PartialEq)]
struct Said {
    results: Vec<v1::EventResult>,
    scored: Vec<v1::ScoreResponse>,
    profiles: Vec<v1::GetProfileResponse>,
    firings: Vec<v1::Firing>,
}

/// Waits until all profiles are packed.
async fn all_packed(server: &TestServer) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let page = scrape(server.app().http());
        if sample(&page, "tipoff_packed_profiles") == sample(&page, "tipoff_profiles") {
            assert!(sample(&page, "tipoff_packed_profile_bytes") > 0.0);
            return;
        }
        assert!(Instant::now() < until, "profiles stay hot:\n{page}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A day of three users, one of whom leaves a cart, and a restart at noon;
/// between any two batches profiles may go idle.
async fn day(pack_after: &str) -> Said {
    let packs = pack_after == "1ms";
    let flags = [("pipeline.pack_after", pack_after)];
    let mut server = TestServer::start(&flags).await;
    let mut said =
        Said { results: Vec::new(), scored: Vec::new(), profiles: Vec::new(), firings: Vec::new() };
    let options = || {
        let models = vec!["buys".to_owned()];
        Some(v1::ScoreOptions { models, include_features: true, ..v1::ScoreOptions::default() })
    };
    for hour in 0..24 {
        if hour == 12 {
            server = TestServer::start_in(server.stop().await, &flags).await;
            let page = scrape(server.app().http());
            assert_eq!(sample(&page, "tipoff_profiles"), 3.0);
        }
        if packs && hour > 0 {
            all_packed(&server).await;
        }
        let seconds = 1_000_000 + hour * 3_600;
        let cart = |user| {
            let cart = event(user, "add_to_cart", seconds + 60);
            with_property(cart, "cart_id", Kind::StringValue(format!("cart-{hour}")))
        };
        let mut events = vec![event(USERS[hour as usize % 3], "page_view", seconds)];
        match hour % 4 {
            0 => events.push(cart("ada")),
            1 => events.push(with_property(
                event("grace", "purchase", seconds),
                "value",
                Kind::DoubleValue(0.1),
            )),
            _ => {}
        }
        // The cart of the hour is abandoned before the next.
        let clock_time = Some(Timestamp { seconds: seconds + 3_000, nanos: 0 });
        let request = v1::IngestRequest { events, score: options(), clock_time };
        let response = server.events().ingest(request).await.expect("taken").into_inner();
        said.results.extend(response.results);
        if packs {
            all_packed(&server).await;
        }
        for id in &USERS[..USERS.len().min(hour as usize + 1)] {
            let request = v1::ScoreRequest { user: user(id), options: options(), hypothetical: None };
            said.scored.push(server.scoring().score(request).await.expect("scored").into_inner());
            said.profiles
                .push(server.profiles().get_profile(profile_of(id)).await.expect("known").into_inner());
        }
        if packs {
            let page = scrape(server.app().http());
            let packed = sample(&page, "tipoff_packed_profiles");
            assert_eq!(packed, sample(&page, "tipoff_profiles"), "reading leaves profiles packed");
        }
    }
    if packs {
        assert!(sample(&scrape(server.app().http()), "tipoff_profiles_unpacked_total") > 10.0);
    }
    let mut request = v1::ListFiringsRequest::default();
    loop {
        let page = server.triggers().list_firings(request.clone()).await.expect("listed").into_inner();
        // Tokens are places in the log, where the workers' groups come in any order.
        let without_token = |firing| v1::Firing { resume_token: String::new(), ..firing };
        said.firings.extend(page.firings.into_iter().map(without_token));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    server.stop().await;
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_profiles_score_and_fire_as_others() {
    let (packed, hot) = (day("1ms").await, day("1h").await);
    assert!(packed.firings.len() >= 9, "{:?}", packed.firings);
    assert_eq!(packed, hot);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_profiles_packed_and_their_timers_armed() {
    let server = TestServer::start(&[]).await;
    let cart = |id, seconds| {
        let cart = event(id, "add_to_cart", seconds);
        with_property(cart, "cart_id", Kind::StringValue("left".into()))
    };
    server.accept([event("ada", "page_view", 1_000_000), cart("grace", 1_000_000)]).await;
    let server = TestServer::start_in(server.stop().await, &[]).await;
    let page = scrape(server.app().http());
    assert_eq!(sample(&page, "tipoff_packed_profiles"), 2.0);
    assert_eq!(sample(&page, "tipoff_profiles"), 2.0);
    server.accept([event("ada", "page_view", 1_010_000)]).await;
    // Of the two only the timer's and the event's profiles were decoded.
    let page = scrape(server.app().http());
    assert_eq!(sample(&page, "tipoff_profiles_unpacked_total"), 2.0);
    assert_eq!(sample(&page, r#"tipoff_firings_total{trigger="cart_abandoned"}"#), 1.0);
    assert_eq!(sample(&page, "tipoff_packed_profiles"), 0.0);
    assert_eq!(sample(&page, "tipoff_packed_profile_bytes"), 0.0);
    server.stop().await;
}
