//! Triton's own Python client, unchanged, against a real server.

use std::process::Command;

use crate::harness::{TestServer, event};

/// Names the Python that has `tests/tritonclient/requirements.txt`.
const PYTHON: &str = "TIPOFF_TRITONCLIENT_PYTHON";

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_triton_is_served() {
    let Ok(python) = std::env::var(PYTHON) else {
        return println!("skipped: {PYTHON} names no Python with tritonclient");
    };
    let server = TestServer::start(&[]).await;
    server.accept((0..3).map(|i| event("ada", "page_view", 1_000_000 + i))).await;
    let address = server.app().grpc().to_string();
    let drive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tritonclient/drive.py");
    let driven = tokio::task::spawn_blocking(move || Command::new(python).args([drive, &address]).output());
    let output = driven.await.expect("it runs").expect("the Python is there");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("aio holds"), "{said}");
    server.stop().await;
}
