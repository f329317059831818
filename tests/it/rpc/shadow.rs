//! A version beside the one that serves: scored, compared, and never acted on.

use tipoff::proto::v1;
use tonic::{Code, Status};

use super::deploy::{alias, load, second, stable};
use super::failure;
use crate::harness::{TestServer, event, publish_saying};
use crate::metrics::{sample, scrape};

fn shadow(version: u32) -> v1::SetAliasRequest {
    alias(v1::ModelAlias::Shadow, version)
}

async fn report(server: &TestServer, name: &str) -> Result<v1::ShadowReport, Status> {
    let request = v1::GetShadowReportRequest { name: name.into() };
    Ok(server.models().get_shadow_report(request).await?.into_inner().report.expect("it is there"))
}

/// The report once so many scores are compared.
async fn compared(server: &TestServer, n_compared: u64) -> v1::ShadowReport {
    for _ in 0..1_000 {
        let report = report_of(server).await.expect("there is a shadow");
        if report.n_compared == n_compared {
            return report;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{n_compared} scores were never compared: {:?}", report_of(server).await)
}

async fn views(server: &TestServer, user: &str, seconds: std::ops::Range<i64>) {
    server.accept(seconds.map(|second| event(user, "page_view", second))).await;
}

/// By whom `likely_to_buy` fired: both, stable only, shadow only.
fn fired(report: &v1::ShadowReport) -> [u64; 3] {
    assert_eq!(report.triggers.len(), 1, "of its triggers on scores: {report:?}");
    let of = &report.triggers[0];
    assert_eq!(of.trigger, "likely_to_buy");
    [of.n_both, of.n_serving_only, of.n_shadow_only]
}

async fn aliases(server: &TestServer, version: u32) -> Vec<String> {
    let request = v1::GetModelRequest { name: "buys".into(), version };
    server.models().get_model(request).await.expect("loaded").into_inner().model.expect("there").aliases
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_over_a_restart_and_acted_on_by_nobody() {
    let server = TestServer::start(&[]).await;
    // Below three views stable says 0.12, version 2 says 0.27 and version 3 says 0.62.
    publish_saying(&server.directory.path().join("models"), -1.0);
    publish_saying(&server.directory.path().join("models"), 0.5);
    let mut models = server.models();
    let moved = models.set_alias(shadow(2)).await.expect("set").into_inner().r#move.expect("it moved");
    assert_eq!((moved.alias(), moved.from_version, moved.to_version), (v1::ModelAlias::Shadow, 0, 2));
    assert_eq!(models.set_alias(shadow(2)).await.expect("set").into_inner().r#move, None);
    assert_eq!(aliases(&server, 2).await, ["shadow"]);

    views(&server, "ada", 1_000_000..1_000_003).await;
    let report = compared(&server, 3).await;
    assert_eq!((&*report.name, report.serving_version, report.shadow_version), ("buys", 1, 2));
    assert_eq!((report.n_users, report.n_failed, report.n_dropped, report.panicked), (1, 0, 0, false));
    assert_eq!(fired(&report), [1, 0, 0]);
    let differences = report.differences.expect("there are scores");
    let low = |log_odds: f64| 1.0 / (1.0 + (-log_odds).exp());
    let shift = low(-1.0) - low(-2.0);
    assert!((differences.mean - shift * 2.0 / 3.0).abs() < 1e-6, "{differences:?}");
    assert!((differences.max_absolute - shift).abs() < 1e-6, "{differences:?}");
    assert!((0.0..=1.0 / 32.0).contains(&(differences.p50_absolute / shift - 1.0)), "{differences:?}");

    // Another version begins from nothing. By it bob is beyond the threshold from the first.
    models.set_alias(shadow(3)).await.expect("set");
    assert_eq!(report_of_nothing(&server).await, (1, 3));
    views(&server, "bob", 1_000_003..1_000_006).await;
    assert_eq!(fired(&compared(&server, 3).await), [0, 1, 0]);
    let page = scrape(server.app().http());
    for (name, expected) in [
        (r#"tipoff_firings_total{trigger="likely_to_buy"}"#, 2.0),
        (r#"tipoff_shadow_scores_total{model="buys",result="compared"}"#, 6.0),
        (r#"tipoff_shadow_scores_total{model="buys",result="dropped"}"#, 0.0),
        (r#"tipoff_shadow_firings_total{by="both",trigger="likely_to_buy"}"#, 1.0),
        (r#"tipoff_shadow_firings_total{by="serving",trigger="likely_to_buy"}"#, 1.0),
        (r#"tipoff_shadow_profiles{model="buys"}"#, 1.0),
    ] {
        assert_eq!(sample(&page, name), expected, "{name}");
    }

    // The alias is kept, the figures begin anew.
    let server = TestServer::start_in(server.stop().await, &[]).await;
    assert_eq!(report_of_nothing(&server).await, (1, 3));
    views(&server, "carol", 1_000_006..1_000_008).await;
    assert_eq!(compared(&server, 2).await.n_users, 1);

    let mut models = server.models();
    models.set_alias(shadow(0)).await.expect("ended");
    let status = report_of(&server).await.expect_err("it has ended");
    assert_eq!(failure(&status), (Code::FailedPrecondition, "NO_SHADOW".into()));
    assert_eq!(aliases(&server, 1).await, ["stable"]);
    let request = v1::ModelHistoryRequest { name: "buys".into(), ..Default::default() };
    let moves = models.model_history(request).await.expect("known").into_inner().moves;
    let told: Vec<_> = moves.iter().map(|made| (made.alias(), made.from_version, made.to_version)).collect();
    let expected = [(3, 0), (2, 3), (0, 2)].map(|(from, to)| (v1::ModelAlias::Shadow, from, to));
    assert_eq!(told[..3], expected);
    server.stop().await;
}

async fn report_of(server: &TestServer) -> Result<v1::ShadowReport, Status> {
    report(server, "buys").await
}

/// The versions of a report without a figure.
async fn report_of_nothing(server: &TestServer) -> (u32, u32) {
    let report = report_of(server).await.expect("there is a shadow");
    assert_eq!((report.n_compared, report.n_users, report.differences), (0, 0, None));
    assert_eq!(fired(&report), [0, 0, 0]);
    assert!(report.since.is_some());
    (report.serving_version, report.shadow_version)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_serves_nobody_and_one_that_comes_to_serve_is_none() {
    let server = TestServer::start(&[]).await;
    let (_elsewhere, artifact) = second();
    load(&server, &artifact).await.expect("loaded");
    let mut models = server.models();
    let status = report_of(&server).await.expect_err("there is none");
    assert_eq!(failure(&status), (Code::FailedPrecondition, "NO_SHADOW".into()));
    let status = report(&server, "byus").await.expect_err("no such model");
    assert_eq!(failure(&status), (Code::NotFound, "MODEL_UNKNOWN".into()));
    let of_canary = |percent| v1::SetAliasRequest { percent, ..alias(v1::ModelAlias::Canary, 2) };
    for (request, code, reason, message) in [
        (shadow(1), Code::InvalidArgument, "ALIAS_INVALID", "it serves"),
        (shadow(7), Code::NotFound, "MODEL_UNKNOWN", "version 7"),
        (
            v1::SetAliasRequest { percent: Some(5.0), ..shadow(2) },
            Code::InvalidArgument,
            "ALIAS_INVALID",
            "only a canary has a percentage",
        ),
        (
            v1::SetAliasRequest { expected_version: Some(1), ..shadow(2) },
            Code::Aborted,
            "ALIAS_MOVED",
            "shadow points to no version",
        ),
        (
            v1::SetAliasRequest { name: "never_trained".into(), ..shadow(1) },
            Code::InvalidArgument,
            "ALIAS_INVALID",
            "nothing is decided on this model's scores",
        ),
    ] {
        let status = models.set_alias(request.clone()).await.expect_err(message);
        assert_eq!(failure(&status), (code, reason.to_owned()), "{request:?}");
        assert!(status.message().contains(message), "{status:?}");
    }

    models.set_alias(shadow(2)).await.expect("set");
    let unload =
        v1::UnloadModelRequest { name: "buys".into(), version: 2, who: "ada".into(), why: String::new() };
    let status = models.unload_model(unload).await.expect_err("it is the shadow");
    assert_eq!(failure(&status), (Code::FailedPrecondition, "MODEL_IN_USE".into()));
    assert!(status.message().contains("shadow points to version 2"), "{status:?}");
    models.set_alias(of_canary(Some(5.0))).await.expect("set");
    assert_eq!(aliases(&server, 2).await, ["canary"]);
    let status = models.set_alias(shadow(2)).await.expect_err("a canary");
    assert_eq!(failure(&status), (Code::InvalidArgument, "ALIAS_INVALID".into()));
    models.set_alias(alias(v1::ModelAlias::Canary, 0)).await.expect("ended");
    models.set_alias(shadow(2)).await.expect("set");
    models.set_alias(stable(2)).await.expect("set");
    assert_eq!(aliases(&server, 2).await, ["stable"]);
    models.set_alias(shadow(1)).await.expect("set");
    let back = v1::RollbackRequest { name: "buys".into(), who: "bob".into(), ..Default::default() };
    models.rollback(back).await.expect("rolled back");
    assert_eq!(aliases(&server, 1).await, ["stable"]);

    // A shadow that does not load keeps no server from starting.
    models.set_alias(shadow(2)).await.expect("set");
    let directory = server.stop().await;
    std::fs::write(directory.path().join("models/buys/2/forest.json"), "{}").expect("written");
    let server = TestServer::start_in(directory, &[]).await;
    let status = report_of(&server).await.expect_err("it does not load");
    assert_eq!(failure(&status), (Code::Unavailable, "MODEL_NOT_LOADED".into()));
    assert!(status.message().contains("version 2"), "{status:?}");
    views(&server, "ada", 1_000_000..1_000_003).await;
    server.models().set_alias(shadow(0)).await.expect("ended");
    server.stop().await;
}
