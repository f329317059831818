//! An ordinary gRPC client of the server: what the client commands, the demo
//! and the load generator use.

pub mod artifact;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use tonic_types::StatusExt;

use crate::cli::outcome::{usage, with_causes};
use crate::engine::event::UserId;
use crate::engine::time::Timestamp;
use crate::event_file::Record;
use crate::proto::v1;
use crate::rpc::convert::{timestamp, value};
use v1::event_service_client::EventServiceClient;
use v1::model_service_client::ModelServiceClient;
use v1::profile_service_client::ProfileServiceClient;
use v1::scoring_service_client::ScoringServiceClient;
use v1::trigger_service_client::TriggerServiceClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Firings are acknowledged when so many were taken, …
const ACKNOWLEDGE_EVERY: u32 = 256;
/// … or when none came for so long.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(100);
/// Answers may be larger than requests: a batch's scores with their features.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Where the server is, and how to be let in.
#[derive(Clone, Debug, clap::Args)]
pub struct Connect {
    /// The server's gRPC address, with https:// for TLS; without a scheme, TLS
    /// is used if there is a --ca-file
    #[arg(long, env = "TIPOFF_ADDRESS", default_value = "127.0.0.1:7600")]
    pub address: String,
    /// File that holds the bearer token; TIPOFF_TOKEN holds the token itself
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the certificate authority to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

pub type Transport = InterceptedService<Channel, Bearer>;
pub type Events = EventServiceClient<Transport>;
pub type Models = ModelServiceClient<Transport>;

/// Connected clients of every service.
#[derive(Clone, Debug)]
pub struct Client {
    pub events: Events,
    pub scoring: ScoringServiceClient<Transport>,
    pub profiles: ProfileServiceClient<Transport>,
    pub triggers: TriggerServiceClient<Transport>,
    pub models: Models,
}

/// A named subscription. Firings are acknowledged in bunches, once the next
/// one is asked for: what was taken and not acknowledged comes again.
pub struct Firings {
    stream: tonic::Streaming<v1::SubscribeResponse>,
    triggers: TriggerServiceClient<Transport>,
    subscription: String,
    /// Token of the last one taken, with how many are unacknowledged.
    taken: Option<(String, u32)>,
}

/// Sets the authorization of every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Bearer(..)" } else { "Bearer(none)" })
    }
}

impl Connect {
    /// To a server on this machine without a token.
    pub fn to(address: std::net::SocketAddr) -> Self {
        Self { address: format!("http://{address}"), token_file: None, ca_file: None }
    }

    pub async fn connect(&self) -> anyhow::Result<Client> {
        let endpoint = self.endpoint().map_err(usage)?;
        let bearer = Bearer(self.authorization().map_err(usage)?);
        let channel = endpoint.connect().await.with_context(|| {
            let trust = self.ca_file.as_ref();
            let trust = trust.map_or(String::new(), |path| format!(" trusting {}", path.display()));
            format!("cannot reach a server at {}{trust} (is `tipoff serve` running?)", endpoint.uri())
        })?;
        Ok(Client {
            events: EventServiceClient::with_interceptor(channel.clone(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            scoring: ScoringServiceClient::with_interceptor(channel.clone(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            profiles: ProfileServiceClient::with_interceptor(channel.clone(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            triggers: TriggerServiceClient::with_interceptor(channel.clone(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            models: ModelServiceClient::with_interceptor(channel, bearer)
                .max_decoding_message_size(MAX_ANSWER_BYTES),
        })
    }

    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let address = &self.address;
        let url = match (address.contains("://"), &self.ca_file) {
            (true, _) => address.clone(),
            (false, None) => format!("http://{address}"),
            (false, Some(_)) => format!("https://{address}"),
        };
        let endpoint = Endpoint::from_shared(url)
            .with_context(|| format!("--address {address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        match (endpoint.uri().scheme_str(), &self.ca_file) {
            (Some("http"), None) => Ok(endpoint),
            (Some("http"), Some(_)) => bail!("--address {address}: --ca-file is for https://"),
            (Some("https"), None) => endpoint
                .tls_config(ClientTlsConfig::new().with_native_roots())
                .context("no certificate authority is known here; name one by --ca-file"),
            (Some("https"), Some(path)) => {
                let trust = || {
                    let pem = std::fs::read(path)?;
                    // Without one, nothing would be trusted, and nothing said.
                    let is_pem = String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----");
                    ensure!(is_pem, "no certificate in PEM form");
                    let authority = Certificate::from_pem(pem);
                    Ok(endpoint.tls_config(ClientTlsConfig::new().ca_certificate(authority))?)
                };
                trust().with_context(|| format!("--ca-file {}", path.display()))
            }
            _ => bail!("--address {address}: neither http:// nor https://"),
        }
    }

    fn authorization(&self) -> anyhow::Result<Option<MetadataValue<Ascii>>> {
        let token = match &self.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                Some(text.with_context(|| format!("--token-file {}", path.display()))?.trim().to_owned())
            }
            None => std::env::var("TIPOFF_TOKEN").ok(),
        };
        let Some(token) = token else { return Ok(None) };
        let Ok(mut value) = format!("Bearer {token}").parse::<MetadataValue<Ascii>>() else {
            bail!("the token is not visible ASCII");
        };
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Firings {
    /// Subscribes; no triggers are all.
    pub async fn open(client: &Client, subscription: &str, triggers: Vec<String>) -> anyhow::Result<Self> {
        let mut service = client.triggers.clone();
        let subscription = subscription.to_owned();
        let request = v1::SubscribeRequest {
            subscription: subscription.clone(),
            resume_token: String::new(),
            triggers,
        };
        let stream = service.subscribe(request).await.map_err(explain)?.into_inner();
        Ok(Self { stream, triggers: service, subscription, taken: None })
    }

    /// The next firing; none when the server ends the stream.
    pub async fn next(&mut self) -> anyhow::Result<Option<v1::Firing>> {
        loop {
            if self.taken.as_ref().is_some_and(|(_, n)| *n >= ACKNOWLEDGE_EVERY) {
                self.acknowledge().await?;
            }
            let response = tokio::select! {
                response = self.stream.message() => response,
                () = tokio::time::sleep(ACKNOWLEDGE_AFTER), if self.taken.is_some() => {
                    self.acknowledge().await?;
                    continue;
                }
            };
            let response = match response {
                Ok(Some(response)) => response,
                // A server that stops may take it no more; then they come again.
                ended => {
                    let acknowledged = self.acknowledge().await;
                    ended.map_err(explain)?;
                    return acknowledged.map(|()| None);
                }
            };
            let Some(v1::subscribe_response::Message::Firing(firing)) = response.message else { continue };
            let n = self.taken.take().map_or(0, |(_, n)| n);
            self.taken = Some((firing.resume_token.clone(), n + 1));
            return Ok(Some(firing));
        }
    }

    /// Acknowledges what was taken.
    pub async fn acknowledge(&mut self) -> anyhow::Result<()> {
        let Some((resume_token, _)) = self.taken.clone() else { return Ok(()) };
        let request = v1::AcknowledgeRequest { subscription: self.subscription.clone(), resume_token };
        self.triggers.acknowledge(request).await.map_err(explain)?;
        self.taken = None;
        Ok(())
    }
}

/// A failed call as a person reads it: what the server said, and its reason.
pub fn explain(status: tonic::Status) -> anyhow::Error {
    let details = status.get_error_details();
    let mut text = status.message().to_owned();
    if let Some(bad) = details.bad_request() {
        for violation in &bad.field_violations {
            if !violation.field.is_empty() && !text.contains(&violation.field) {
                text = format!("{}: {text}", violation.field);
            }
        }
    }
    // Without a reason it is no answer of the server: what broke the call says more.
    match (details.error_info(), status.source()) {
        (Some(info), _) => anyhow!("{text} ({})", info.reason),
        (None, Some(cause)) => anyhow!(with_causes(cause)),
        (None, None) => anyhow!("{text} ({:?})", status.code()),
    }
}

/// An event as it goes over the wire.
pub fn event(record: Record) -> v1::Event {
    let (user_id, anonymous_id) = match &record.user {
        user if user.is_anonymous() => (String::new(), user.id().to_owned()),
        user => (user.id().to_owned(), record.event.anonymous_id.as_deref().unwrap_or_default().to_owned()),
    };
    let properties =
        record.event.properties.iter().map(|(name, property)| (name.to_string(), value(property)));
    v1::Event {
        user_id,
        anonymous_id,
        event_id: record.event.id.map(String::from).unwrap_or_default(),
        r#type: record.event.kind.into(),
        time: Some(timestamp(record.event.time)),
        arrival_time: record.arrival.map(timestamp),
        properties: properties.collect(),
    }
}

/// A time of a reply, in milliseconds; the epoch where it is missing.
pub fn time(time: Option<&prost_types::Timestamp>) -> Timestamp {
    time.map_or(Timestamp::from_millis(0), |time| {
        Timestamp::from_millis(
            time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos / 1_000_000)),
        )
    })
}

/// The user of a command line: an id, or `anonymous:ID`.
pub fn user(text: &str) -> v1::UserRef {
    use v1::user_ref::Id;
    let id = match text.strip_prefix("anonymous:") {
        Some(id) => Id::AnonymousId(id.to_owned()),
        None => Id::UserId(text.to_owned()),
    };
    v1::UserRef { id: Some(id) }
}

/// A user of a reply as the commands print it.
pub fn user_text(user: Option<&v1::UserRef>) -> String {
    use v1::user_ref::Id;
    match user.and_then(|user| user.id.as_ref()) {
        Some(Id::UserId(id)) => UserId::known(id).to_string(),
        Some(Id::AnonymousId(id)) => UserId::anonymous(id).to_string(),
        None => String::new(),
    }
}
