//! What deploying a model costs those who are being scored meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::load::{Ingested, Scored};
use super::{Percentiles, print_percentiles};
use crate::client::artifact::Artifact;
use crate::client::{Models, explain};
use crate::proto::v1;

/// Between one deployment and the next.
const PAUSE: Duration = Duration::from_millis(500);

/// The load of the open loop, while a model is sent, verified and swapped in
/// again and again.
#[derive(Debug, Serialize)]
pub struct Swaps {
    n_swaps: usize,
    /// From the first byte sent until it serves, on average.
    seconds_each: f64,
    ingest_acknowledgement_ms: Option<Percentiles>,
    score_ms: Option<Percentiles>,
    /// The score queries' 99th percentile while swapping, by that without.
    score_p99_ratio: Option<f64>,
}

/// Runs the load while the artifact in `folder` is deployed; `steady_ms` is the
/// score queries' 99th percentile without that.
pub async fn measure(
    client: Models,
    folder: &Path,
    load: impl Future<Output = Result<(Ingested, Scored)>>,
    steady_ms: Option<f64>,
) -> Result<Swaps> {
    let artifact = Artifact::open(folder)?;
    let ended = Arc::new(AtomicBool::new(false));
    let deploying = tokio::spawn(deploy_until(ended.clone(), client, artifact));
    let loaded = load.await;
    ended.store(true, Ordering::Relaxed);
    let times = deploying.await??;
    let (ingested, scored) = loaded?;
    let score_ms = Percentiles::of(&scored.latency);
    let ratio = |score: &Percentiles| Some(score.p99 / steady_ms?);
    Ok(Swaps {
        n_swaps: times.len(),
        seconds_each: times.iter().sum::<Duration>().as_secs_f64() / times.len().max(1) as f64,
        ingest_acknowledgement_ms: Percentiles::of(&ingested.latency),
        score_p99_ratio: score_ms.as_ref().and_then(ratio),
        score_ms,
    })
}

/// Deploys one version after the other; how long each took.
async fn deploy_until(
    ended: Arc<AtomicBool>,
    mut client: Models,
    artifact: Artifact,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let started = Instant::now();
        let header = v1::ArtifactHeader {
            name: artifact.name.clone(),
            version: 0,
            who: "tipoff bench".to_owned(),
            why: String::new(),
        };
        let model = artifact.send(&mut client, header, |_| {}).await?.map_err(explain)?;
        let request = v1::SetAliasRequest {
            name: artifact.name.clone(),
            alias: v1::ModelAlias::Stable.into(),
            version: model.version,
            who: "tipoff bench".to_owned(),
            ..v1::SetAliasRequest::default()
        };
        client.set_alias(request).await.map_err(explain)?;
        times.push(started.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}

impl Swaps {
    pub fn print(&self) {
        println!(
            "\nthe same, while a model was deployed {} times, {:.1} s each",
            self.n_swaps, self.seconds_each
        );
        println!("                    p50 ms    p99 ms  p99.9 ms    max ms");
        print_percentiles("acknowledgement", self.ingest_acknowledgement_ms.as_ref());
        print_percentiles("score", self.score_ms.as_ref());
        if let Some(ratio) = self.score_p99_ratio {
            println!("  score p99         {ratio:.2} times as long");
        }
    }
}
