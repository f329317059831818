//! The gRPC server: services, their guard and every limit in one place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use futures_util::stream;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Router;
use tonic::transport::{self, Identity, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::context::{Context, Services};
use super::event_service::Events;
use super::inference_service::Inference;
use super::model_service::Models;
use super::profile_service::Profiles;
use super::scoring_service::Scoring;
use super::trigger_service::Triggers;
use crate::config::{self, Config};
use crate::connections::Connections;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::proto::v1::event_service_server::EventServiceServer;
use crate::proto::v1::model_service_server::ModelServiceServer;
use crate::proto::v1::profile_service_server::ProfileServiceServer;
use crate::proto::v1::scoring_service_server::ScoringServiceServer;
use crate::proto::v1::trigger_service_server::TriggerServiceServer;
use crate::shutdown::Token;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a client may send on one stream, and on one connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Streams that a client reset and the server has not dealt with: more close the connection.
const MAX_PENDING_RESETS: usize = 32;

/// The connection's side of a server: its limits and its certificate, without services.
pub struct Transport(transport::Server);

/// A gRPC server, built and not yet listening.
pub struct Server {
    router: Router,
    health: HealthReporter,
    shutdown: Token,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {error}", path.display())]
    Tls { path: PathBuf, error: io::Error },
    #[error("{}, {}: no certificate and its key: {}", cert_file.display(), key_file.display(), chain(error))]
    TlsMaterial { cert_file: PathBuf, key_file: PathBuf, error: transport::Error },
    #[error("reflection: {0}")]
    Reflection(tonic_reflection::server::Error),
    #[error("gRPC: {}", chain(.0))]
    Serve(transport::Error),
}

impl Transport {
    /// Reads and checks the TLS files.
    pub fn build(config: &Config) -> Result<Self, Error> {
        let (settings, limits) = (&config.server, &config.limits);
        let mut server = transport::Server::builder()
            .max_concurrent_streams(limits.streams_per_connection)
            .http2_max_header_list_size(limits.header_bytes)
            .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(settings.keepalive_interval))
            .http2_keepalive_timeout(Some(settings.keepalive_timeout));
        if let Some(tls) = &settings.tls {
            server = server.tls_config(tls_config(tls)?).map_err(|error| Error::TlsMaterial {
                cert_file: tls.cert_file.clone(),
                key_file: tls.key_file.clone(),
                error,
            })?;
        }
        Ok(Self(server))
    }
}

impl Server {
    pub fn build(transport: Transport, services: Services, config: &Config) -> Result<Self, Error> {
        let limits = &config.limits;
        let Transport(mut server) = transport;
        let shutdown = services.shutdown.clone();
        let guard = services.guard.clone();
        let context = Arc::new(Context::new(services, config));
        let (health, health_service) = tonic_health::server::health_reporter();

        macro_rules! guarded {
            ($server:ident, $service:expr) => {
                InterceptedService::new(
                    $server::new($service)
                        .max_decoding_message_size(limits.message_bytes)
                        .accept_compressed(CompressionEncoding::Gzip)
                        .accept_compressed(CompressionEncoding::Zstd)
                        .send_compressed(CompressionEncoding::Gzip)
                        .send_compressed(CompressionEncoding::Zstd),
                    guard.clone(),
                )
            };
        }
        let router = server
            .add_service(health_service)
            .add_service(guarded!(EventServiceServer, Events::new(context.clone())))
            .add_service(guarded!(ScoringServiceServer, Scoring::new(context.clone())))
            .add_service(guarded!(ProfileServiceServer, Profiles::new(context.clone())))
            .add_service(guarded!(TriggerServiceServer, Triggers::new(context.clone())))
            .add_service(guarded!(ModelServiceServer, Models::new(context.clone())))
            .add_service(guarded!(GrpcInferenceServiceServer, Inference::new(context)));

        // Both: older tools ask for v1alpha only.
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let router = router
            .add_service(InterceptedService::new(
                reflection().build_v1().map_err(Error::Reflection)?,
                guard.clone(),
            ))
            .add_service(InterceptedService::new(
                reflection().build_v1alpha().map_err(Error::Reflection)?,
                guard,
            ));
        Ok(Self { router, health, shutdown })
    }

    /// Serves until the server drains and every call under way is finished;
    /// how long that may take is for the caller to bound.
    pub async fn serve(self, connections: Connections) -> Result<(), Error> {
        let Self { router, health, shutdown } = self;
        report(&health, ServingStatus::Serving).await;
        let incoming = stream::unfold(connections, |connections| async {
            let (connection, _) = connections.accept().await;
            Some((Ok::<_, io::Error>(connection), connections))
        });
        let drained = async move {
            shutdown.draining().await;
            report(&health, ServingStatus::NotServing).await;
        };
        router.serve_with_incoming_shutdown(incoming, drained).await.map_err(Error::Serve)
    }
}

/// The names the health service knows; the empty one is the server as a whole.
const SERVICES: [&str; 7] = [
    "",
    EventServiceServer::<Events>::NAME,
    ScoringServiceServer::<Scoring>::NAME,
    ProfileServiceServer::<Profiles>::NAME,
    TriggerServiceServer::<Triggers>::NAME,
    ModelServiceServer::<Models>::NAME,
    GrpcInferenceServiceServer::<Inference>::NAME,
];

async fn report(health: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}

fn tls_config(tls: &config::Tls) -> Result<ServerTlsConfig, Error> {
    let read = |path: &PathBuf| fs::read(path).map_err(|error| Error::Tls { path: path.clone(), error });
    let identity = Identity::from_pem(read(&tls.cert_file)?, read(&tls.key_file)?);
    Ok(ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE_TIMEOUT))
}

/// An error with its causes: the transport's own says little.
fn chain(error: &transport::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
