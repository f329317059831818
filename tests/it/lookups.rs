//! Tables that are joined to events, and what stays when they change.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tipoff::proto::v1;
use v1::value::Kind;

use crate::harness::{TestServer, event, user, with_property};
use crate::metrics;
use crate::process::refused;

const DEFINITIONS: &str = r#"
[lookups.products]
file = "products.csv"
key  = "sku"
on   = "product_id"

[features.spent]
aggregate = "sum"
of        = "purchase.products.price"
window    = "lifetime"

[features.shoes]
aggregate = "count"
of        = "purchase"
window    = "lifetime"
where     = "products.category == 'shoes'"
"#;

fn prepared(products: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("definitions.toml"), DEFINITIONS).expect("written");
    write(directory.path(), products);
    directory
}

fn write(directory: &Path, products: &str) {
    // As the documentation advises: nobody sees half of it.
    std::fs::write(directory.join("products.new"), products).expect("written");
    std::fs::rename(directory.join("products.new"), directory.join("products.csv")).expect("renamed");
}

fn purchase(seconds: i64, product: &str) -> v1::Event {
    with_property(event("ada", "purchase", seconds), "product_id", Kind::StringValue(product.to_owned()))
}

/// `spent` and `shoes` of a user.
async fn features(server: &TestServer) -> (f64, f64) {
    let request = v1::GetProfileRequest { user: user("ada"), ..Default::default() };
    let profile = server.profiles().get_profile(request).await.expect("known").into_inner();
    number(&profile.features)
}

fn number(features: &BTreeMap<String, v1::FeatureValue>) -> (f64, f64) {
    let of = |name: &str| match &features[name].value {
        Some(v1::feature_value::Value::Number(number)) => *number,
        other => panic!("{name} is {other:?}"),
    };
    (of("spent"), of("shoes"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_keeps_what_was_joined_when_it_arrived() {
    let directory = prepared("sku,category,price\np1,shoes,10\np2,hats,5\n");
    let server = TestServer::start_in(directory, &[]).await;
    let forged = with_property(purchase(1_000_002, "p3"), "products.price", Kind::DoubleValue(1e6));
    server.accept([purchase(1_000_000, "p1"), purchase(1_000_001, "p2"), forged]).await;
    assert_eq!(features(&server).await, (15.0, 1.0));

    let hypothetical =
        v1::HypotheticalEvent { r#type: "purchase".to_owned(), properties: purchase(0, "p1").properties };
    let request = v1::ScoreRequest {
        user: user("ada"),
        hypothetical: Some(hypothetical),
        options: Some(v1::ScoreOptions { include_features: true, ..v1::ScoreOptions::default() }),
    };
    let scored = server.scoring().score(request).await.expect("scored").into_inner();
    assert_eq!(number(&scored.features), (25.0, 2.0));

    let page = metrics::scrape(server.app().http());
    assert_eq!(metrics::sample(&page, r#"tipoff_lookup_misses_total{lookup="products"}"#), 1.0);
    assert_eq!(metrics::sample(&page, r#"tipoff_lookup_rows{lookup="products"}"#), 2.0);

    let directory = server.stop().await;
    // Other values, and other definitions, under which all of the log is folded anew.
    write(directory.path(), "sku,category,price\np1,hats,100\np3,hats,1\n");
    let more = format!("{DEFINITIONS}[features.n]\naggregate = 'count'\nof = '*'\nwindow = 'lifetime'\n");
    std::fs::write(directory.path().join("definitions.toml"), more).expect("written");
    let server = TestServer::start_in(directory, &[]).await;
    assert_eq!(features(&server).await, (15.0, 1.0));
    server.accept([purchase(1_000_003, "p1")]).await;
    assert_eq!(features(&server).await, (115.0, 1.0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_table_is_read_again_and_a_broken_one_is_not_served() {
    let directory = prepared("sku,category,price\np1,shoes,10\n");
    let server = TestServer::start_in(directory, &[("definitions.lookup_interval", "10ms")]).await;
    server.accept([purchase(1_000_000, "p1")]).await;

    let rows = r#"tipoff_lookup_rows{lookup="products"}"#;
    write(server.directory.path(), "sku,category,price\np1,shoes,20\np2,hats,5\n");
    wait_for(&server, rows, 2.0).await;
    server.accept([purchase(1_000_001, "p1")]).await;
    assert_eq!(features(&server).await, (30.0, 2.0));

    let failures = r#"tipoff_lookup_reload_failures_total{lookup="products"}"#;
    write(server.directory.path(), "sku,category\np1,shoes\n");
    wait_for(&server, failures, 1.0).await;
    server.accept([purchase(1_000_002, "p1")]).await;
    assert_eq!(features(&server).await, (50.0, 3.0));
    std::fs::remove_file(server.directory.path().join("products.csv")).expect("removed");
    wait_for(&server, failures, 2.0).await;

    write(server.directory.path(), "sku,category,price\np1,shoes,1\n");
    wait_for(&server, rows, 1.0).await;
    server.accept([purchase(1_000_003, "p1")]).await;
    assert_eq!(features(&server).await, (51.0, 4.0));
    server.stop().await;
}

async fn wait_for(server: &TestServer, name: &str, expected: f64) {
    let start = Instant::now();
    loop {
        let found = metrics::sample(&metrics::scrape(server.app().http()), name);
        if found == expected {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{name} is {found}, not {expected}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_server_without_its_table_does_not_start() {
    let directory = prepared("");
    std::fs::remove_file(directory.path().join("products.csv")).expect("removed");
    let output = refused(directory.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("definitions.toml:3:8 (lookups.products.file)"), "{said}");
    assert!(!directory.path().join("store").exists(), "the store is not opened");
}
