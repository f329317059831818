//! Who gets in, and what answers without being asked who.

use tipoff::proto::v1;
use tipoff::proto::v1::model_service_client::ModelServiceClient;
use tokio_stream::StreamExt;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::failure;
use crate::harness::TestServer;

const TOKEN: &str = "0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_only_health_checks_are_open() {
    let server = TestServer::start(&[("server.token", TOKEN)]).await;
    let mut models = server.models();
    let status = models.list_models(v1::ListModelsRequest::default()).await.expect_err("no token");
    assert_eq!(failure(&status), (Code::Unauthenticated, "TOKEN_MISSING".into()));
    let with = |authorization: &str| {
        let mut request = Request::new(v1::ListModelsRequest::default());
        request.metadata_mut().insert("authorization", authorization.parse().expect("a header"));
        request
    };
    let status = models.list_models(with("Bearer 0123456789abcdeF")).await.expect_err("a wrong token");
    assert_eq!(failure(&status), (Code::Unauthenticated, "TOKEN_WRONG".into()));
    models.list_models(with(&format!("Bearer {TOKEN}"))).await.expect("the right token");
    let status = listed_services_v1(server.channel.clone()).await.expect_err("reflection is not open");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(health(&server, "tipoff.v1.EventService").await, ServingStatus::Serving);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_knows_the_server_and_each_service() {
    let server = TestServer::start(&[]).await;
    for service in [
        "",
        "tipoff.v1.EventService",
        "tipoff.v1.ScoringService",
        "tipoff.v1.ProfileService",
        "tipoff.v1.TriggerService",
        "tipoff.v1.ModelService",
        "inference.GRPCInferenceService",
    ] {
        assert_eq!(health(&server, service).await, ServingStatus::Serving, "{service:?}");
    }
    let mut client = HealthClient::new(server.channel.clone());
    let mut watch = client
        .watch(HealthCheckRequest { service: String::new() })
        .await
        .expect("it can be watched")
        .into_inner();
    let first = watch.message().await.expect("no failure").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);
    server.app().shutdown().drain();
    let second = watch.message().await.expect("no failure").expect("a status");
    assert_eq!(second.status(), ServingStatus::NotServing);
    drop((watch, client));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_services_in_both_versions() {
    let server = TestServer::start(&[]).await;
    let v1 = listed_services_v1(server.channel.clone()).await.expect("listed");
    for service in ["EventService", "ScoringService", "ProfileService", "TriggerService", "ModelService"] {
        let name = format!("tipoff.v1.{service}");
        assert!(v1.contains(&name), "{name} is not among {v1:?}");
    }
    for name in ["grpc.health.v1.Health", "inference.GRPCInferenceService"] {
        assert!(v1.contains(&name.to_owned()), "{name} is not among {v1:?}");
    }
    let v1alpha = listed_services_v1alpha(server.channel.clone()).await.expect("listed");
    assert_eq!(v1, v1alpha);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_serves_with_the_certificate_given() {
    let files = tempfile::tempdir().expect("a directory");
    let path = |name| files.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let server = TestServer::start(&[("server.tls.cert_file", &cert), ("server.tls.key_file", &key)]).await;
    let authority = Certificate::from_pem(made.cert.pem());
    let channel = Endpoint::from_shared(format!("https://{}", server.app().grpc()))
        .expect("an address")
        .tls_config(ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost"))
        .expect("a certificate")
        .connect()
        .await
        .expect("the handshake");
    ModelServiceClient::new(channel).list_models(v1::ListModelsRequest::default()).await.expect("served");
    let plain = server.models().list_models(v1::ListModelsRequest::default()).await;
    assert!(plain.is_err(), "plain text is not answered");
    server.stop().await;
}

async fn health(server: &TestServer, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(server.channel.clone()).check(request).await.expect("known").get_ref().status()
}

macro_rules! listed_services {
    ($name:ident, $version:ident) => {
        async fn $name(channel: Channel) -> Result<Vec<String>, tonic::Status> {
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut answers = ServerReflectionClient::new(channel)
                .server_reflection_info(tokio_stream::once(request))
                .await?
                .into_inner();
            let answer = answers.next().await.expect("an answer")?;
            match answer.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
                    names.sort();
                    names.retain(|name| !name.starts_with("grpc.reflection."));
                    Ok(names)
                }
                other => panic!("{other:?}"),
            }
        }
    };
}

listed_services!(listed_services_v1, v1);
listed_services!(listed_services_v1alpha, v1alpha);
