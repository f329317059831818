//! What a restart makes of what is on disk.

use std::path::Path;

use tipoff::app::{App, Error};
use tipoff::proto::v1;
use tipoff::record::VIRTUAL_SHARDS;
use tipoff::store::{Commit, Options, Store, View, ViewWrite};

use crate::harness::{DEFINITIONS, TestServer, config, event, profile_of};

#[tokio::test(flavor = "multi_thread")]
async fn views_that_do_not_read_back_are_made_anew_from_the_log() {
    let server = TestServer::start(&[]).await;
    server.accept((0..3).map(|i| event("ada", "page_view", 1_000_000 + i))).await;
    let directory = server.stop().await;

    let options = Options { n_virtual_shards: VIRTUAL_SHARDS + 1, ..Options::default() };
    let (store, _) = Store::open(&directory.path().join("store"), options).expect("it opens");
    let nonsense =
        ViewWrite { view: View::Profiles, key: b"k\0ada".to_vec(), value: Some(b"\xffnonsense".to_vec()) };
    let commit = Commit {
        entries: Vec::new(),
        views: vec![nonsense],
        replay_from: None,
        done: Box::new(|result| assert!(result.is_ok())),
    };
    store.commit(commit).expect("it is queued");
    store.close().expect("it closes");

    let server = TestServer::start_in(directory, &[]).await;
    let request = profile_of("ada");
    let profile = server.profiles().get_profile(request).await.expect("known").into_inner();
    assert_eq!(profile.event_count, 3);
    let mut triggers = server.triggers();
    let firings = triggers.list_firings(v1::ListFiringsRequest::default()).await.expect("listed");
    assert_eq!(firings.into_inner().firings.len(), 1, "the firing is listed once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_stays_with_the_clock_it_was_made_under() {
    let directory = TestServer::start(&[]).await.stop().await;
    refuse_clock(directory.path(), "wall").await;
    // Also when the views are made anew from the log.
    let more = format!(
        "{DEFINITIONS}[features.views_1d]\naggregate = \"count\"\nof = \"page_view\"\nwindow = \"1d\""
    );
    std::fs::write(directory.path().join("definitions.toml"), more).expect("written");
    refuse_clock(directory.path(), "wall").await;
    let directory = TestServer::start_in(directory, &[]).await.stop().await;
    refuse_clock(directory.path(), "wall").await;

    let directory = TestServer::start(&[("pipeline.clock", "wall")]).await.stop().await;
    refuse_clock(directory.path(), "replay").await;
    TestServer::start_in(directory, &[("pipeline.clock", "wall")]).await.stop().await;
}

async fn refuse_clock(directory: &Path, clock: &str) {
    let Err(error) = App::start(config(directory, &[("pipeline.clock", clock)])).await else {
        panic!("a store of the other clock opens under {clock}");
    };
    assert!(matches!(error, Error::Clock { .. }) && error.is_of_what_was_given(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_server_from_starting_is_told_once() {
    let directory = TestServer::start(&[]).await.stop().await;
    std::fs::remove_dir_all(directory.path().join("store")).expect("removed");
    std::fs::write(directory.path().join("store"), "a file").expect("written");
    let Err(error) = App::start(config(directory.path(), &[])).await else { panic!("a file is no store") };
    let (alone, chain) = (error.to_string(), format!("{:#}", anyhow::Error::new(error)));
    assert_eq!(alone, chain);
    assert!(alone.contains("os error"), "{alone}");
}
