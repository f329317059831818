//! The HTTP edge: /livez, /readyz, /status, /metrics. Everything here reads.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::connections::Connections;
use crate::metrics::Metrics;
use crate::rpc::auth::Guard;
use crate::shutdown::Token;

/// What the pages read; the composition root knows.
pub trait Probe: Send + Sync {
    /// Why the server cannot serve now; empty if it can.
    fn unready(&self) -> Vec<String>;

    fn status(&self) -> Status;

    /// Brings the gauges that nobody sets as they change up to date.
    fn refresh(&self, metrics: &Metrics);
}

/// `/status`. Fields are added, never changed.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub uptime_seconds: u64,
    /// Why the server cannot serve now; empty if it can.
    pub unready: Vec<String>,
    pub clock: ClockStatus,
    pub store: StoreStatus,
    pub definitions: DefinitionsStatus,
    pub models: Vec<ModelStatus>,
    pub onnx: OnnxStatus,
    pub listen: ListenStatus,
}

#[derive(Clone, Debug, Serialize)]
pub struct ClockStatus {
    /// `wall` or `replay`.
    pub mode: &'static str,
    /// RFC 3339.
    pub now: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct StoreStatus {
    pub directory: String,
    /// What an acknowledged event survives.
    pub durability: &'static str,
    /// `healthy`, or why nothing is committed until a restart.
    pub health: String,
    /// Profiles in memory.
    pub profiles: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct DefinitionsStatus {
    pub file: Option<String>,
    pub digest: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct ModelStatus {
    pub name: String,
    /// The version that serves; none yet if null.
    pub version: Option<u32>,
    /// What runs it.
    pub runtime: Option<String>,
    /// What the aliases point to, of those that point somewhere: `stable`, `canary` and `shadow`.
    pub aliases: BTreeMap<&'static str, AliasStatus>,
    /// Versions that do not serve, and why.
    pub refused: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AliasStatus {
    pub version: u32,
    /// Of the users whom a canary serves; others have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
}

/// The library that runs networks; null as long as no model has needed it.
#[derive(Clone, Debug, Serialize)]
pub struct OnnxStatus {
    pub library: Option<String>,
    pub version: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ListenStatus {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub tls: bool,
}

#[derive(Clone)]
struct Pages {
    probe: Arc<dyn Probe>,
    metrics: Arc<Metrics>,
    guard: Guard,
}

/// The pages. Without the server's token only /livez and /readyz answer.
pub fn router(probe: Arc<dyn Probe>, metrics: Arc<Metrics>, guard: Guard) -> Router {
    let pages = Pages { probe, metrics, guard };
    Router::new()
        .route("/status", get(status))
        .route("/metrics", get(render_metrics))
        .route_layer(middleware::from_fn_with_state(pages.clone(), require_token))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(pages)
}

/// Serves the pages until the server drains.
pub async fn serve(connections: Connections, router: Router, shutdown: Token) -> io::Result<()> {
    axum::serve(connections, router).with_graceful_shutdown(shutdown.draining()).await
}

async fn ready(State(pages): State<Pages>) -> Response {
    let reasons = pages.probe.unready();
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    let body = reasons.iter().fold(String::new(), |body, reason| body + reason + "\n");
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn status(State(pages): State<Pages>) -> Json<Status> {
    Json(pages.probe.status())
}

async fn render_metrics(State(pages): State<Pages>) -> Response {
    pages.probe.refresh(&pages.metrics);
    match pages.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics do not render");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn require_token(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    match pages.guard.check(authorization) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, challenge, format!("{refusal}\n")).into_response()
        }
    }
}
