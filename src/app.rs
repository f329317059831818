//! The composition root: the only place that knows everyone.
//!
//! Built in the order of the data's way, stopped in the same order: first no
//! calls, then no inputs, then no writes.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::connections::Connections;
use crate::definitions::{self, Diagnostics};
use crate::delivery::{self, Cursors, Outbox};
use crate::deploy::Deployer;
use crate::engine::lookup::Lookup;
use crate::engine::plan::Plan;
use crate::lookups;
use crate::metrics::Metrics;
use crate::onnx::{self, Library, Networks, Places};
use crate::pipeline::{self, Parts, Pipeline, PipelineHandle, Recovered};
use crate::record::{CONTROL_SHARD, CommittedEnd, Control, VIRTUAL_SHARDS};
use crate::registry::{self, Alias, Move, Refused, Registry, Rollout};
use crate::rpc::{self, Services};
use crate::shutdown::{Shutdown, Token};
use crate::store::{self, Health, LogPosition, LogReader, Recovery, Store};
use crate::web::{self, Probe};

use store_observer::StoreObserver;

mod store_observer;

/// A running server.
pub struct App {
    grpc: SocketAddr,
    http: SocketAddr,
    shutdown: Shutdown,
    drain_deadline: Duration,
    pipeline: Pipeline,
    outbox: delivery::Writer,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    servers: Vec<JoinHandle<Result<(), Error>>>,
}

/// What kept the server from starting, or from going on.
///
/// A message holds its causes, so none of them is a `source`: whoever prints
/// the chain would print it twice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("wrong definitions:\n{0}")]
    Definitions(Diagnostics),
    #[error("models that do not load:{}", listed(.0))]
    Models(Vec<Refused>),
    #[error("store {directory}: {error}", directory = .directory.display())]
    Store { directory: PathBuf, error: store::Error },
    #[error("onnx.library: {0}")]
    Onnx(onnx::Error),
    #[error("store {directory}: {error}", directory = .directory.display())]
    Recovery { directory: PathBuf, error: pipeline::RecoveryError },
    #[error(
        "store {directory} goes by the {stored} clock, the configuration says {configured}: set \
         `pipeline.clock = {stored:?}`, or name another `store.directory`",
        directory = .directory.display()
    )]
    Clock { directory: PathBuf, stored: String, configured: &'static str },
    #[error("control log: {0}")]
    Control(delivery::CursorError),
    #[error("outbox: {0}")]
    Outbox(delivery::Error),
    #[error("metrics: {0}")]
    Metrics(prometheus::Error),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Rpc(#[from] rpc::ServeError),
    #[error("HTTP: {0}")]
    Http(std::io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

impl Error {
    /// Whether what was given is wrong, rather than the machine or the store.
    pub const fn is_of_what_was_given(&self) -> bool {
        matches!(
            self,
            Self::Definitions(_)
                | Self::Models(_)
                | Self::Onnx(_)
                | Self::Clock { .. }
                | Self::Rpc(rpc::ServeError::Tls { .. } | rpc::ServeError::TlsMaterial { .. })
        )
    }
}

/// What the web pages and the readiness check look at.
struct Overview {
    started: Instant,
    config: Config,
    grpc: SocketAddr,
    http: SocketAddr,
    pipeline: PipelineHandle,
    registry: Arc<Registry>,
    store: Arc<Store>,
    shutdown: Token,
}

impl App {
    /// Checks what the configuration names, and the versions of models that a
    /// start would serve. Opens no port, and changes nothing: the log of a store
    /// is read through, also while a server has it open.
    pub fn check(config: &Config) -> Result<(), Error> {
        let plan = Arc::new(load_definitions(config)?);
        rpc::Transport::build(config)?;
        let directory = &config.store.directory;
        let rollouts = if Store::is_in(directory) {
            let log = LogReader::open(directory, LogPosition::START)
                .map_err(|error| Error::Store { directory: directory.clone(), error })?;
            pipeline::recorded_rollouts(&plan, log)
                .map_err(|error| Error::Recovery { directory: directory.clone(), error })?
        } else {
            HashMap::new()
        };
        open_registry(config, &plan, &rollouts).map(drop)
    }

    /// Checks what the configuration names, opens the store, recovers and
    /// serves. Whatever is wrong is found before a call is taken, and leaves
    /// the store closed.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let mut plan = load_definitions(&config)?;
        let metrics = Metrics::new(&plan, config.pipeline.workers, config.pipeline.clock);
        let metrics = Arc::new(metrics.map_err(Error::Metrics)?);
        // Out of the plan, which would keep tables that have been replaced.
        let lookups = Arc::new(ArcSwap::from_pointee(std::mem::take(&mut plan.lookups)));
        let reload =
            lookups::keep_current(lookups.clone(), config.definitions.lookup_interval, metrics.clone());
        let plan = Arc::new(plan);
        let transport = rpc::Transport::build(&config)?;
        metrics.store.opened(config.store.durability.name());

        // A store that is there may say what is to serve; if none is, broken models leave none.
        let is_new = !config.store.directory.exists();
        let models = is_new.then(|| open_registry(&config, &plan, &HashMap::new())).transpose()?;
        let (store, recovery) = open_store(&config, &metrics)?;
        let parts = Start { config, plan, lookups, transport, models, metrics, store };
        let store = parts.store.clone();
        let started = parts.start(recovery).await;
        match &started {
            Ok(app) => {
                let draining = app.draining();
                tokio::spawn(async move {
                    tokio::select! {
                        () = reload => {}
                        () = draining.draining() => {}
                    }
                });
            }
            Err(_) => {
                // What kept it from starting is the error to tell.
                let _ = tokio::task::spawn_blocking(move || store.close()).await;
            }
        }
        started
    }

    /// The gRPC address, with its actual port.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// The HTTP address, with its actual port.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The definitions that are served.
    pub fn plan(&self) -> Arc<Plan> {
        self.pipeline.handle().plan().clone()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Resolves when the server drains.
    pub fn draining(&self) -> Token {
        self.shutdown.token()
    }

    /// A switch that others, such as signals, can drain the server with.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Takes no further calls, finishes those under way within the deadline,
    /// commits what is queued, writes the views and closes the store.
    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.drain();
        let deadline = tokio::time::Instant::now() + self.drain_deadline;
        let mut outcome = Ok(());
        for mut server in self.servers {
            match tokio::time::timeout_at(deadline, &mut server).await {
                Ok(Ok(result)) => outcome = outcome.and(result),
                // A panic has been reported by the panic hook.
                Ok(Err(_)) => {}
                Err(_) => {
                    tracing::warn!("calls still under way at the drain deadline are cut off");
                    server.abort();
                }
            }
        }
        let (pipeline, outbox, store) = (self.pipeline, self.outbox, self.store);
        let closed = tokio::task::spawn_blocking(move || {
            store.give_up_waiting();
            pipeline.drain();
            outbox.stop();
            store.close()
        });
        match closed.await {
            Ok(Ok(())) => tracing::info!("stopped; everything acknowledged is stored"),
            Ok(Err(error)) => tracing::error!(%error, "the store had stopped before the server did"),
            Err(_) => {}
        }
        outcome
    }
}

/// What is there once the store is open.
struct Start {
    config: Config,
    plan: Arc<Plan>,
    lookups: Arc<ArcSwap<Vec<Lookup>>>,
    transport: rpc::Transport,
    /// What serves, if the store is new.
    models: Option<(Registry, Vec<Move>)>,
    metrics: Arc<Metrics>,
    store: Arc<Store>,
}

impl Start {
    async fn start(self, recovery: Recovery) -> Result<App, Error> {
        let Self { config, plan, lookups, transport, models, metrics, store } = self;
        let (mut recovered, recovery) = recover(&config, &plan, &store, recovery)?;
        check_clock(&config, recovered.clock.take())?;
        let mut rollouts = std::mem::take(&mut recovered.rollouts);
        let (registry, moves) = match models {
            Some(models) => models,
            None => open_registry(&config, &plan, &rollouts)?,
        };
        registry.remove_leftovers();
        let registry = Arc::new(registry);
        let committed = Arc::new(CommittedEnd::new(recovery.log_end()));
        let outbox_worker = config.pipeline.workers as u16;
        let outbox =
            Outbox::open(store.clone(), committed.clone(), outbox_worker, config.delivery.max_firings);
        let outbox = Arc::new(outbox.map_err(Error::Outbox)?);
        outbox.push(std::mem::take(&mut recovered.firings));
        let cursors = Arc::new(Cursors::new(
            store.clone(),
            recovered.sequences.remove(&CONTROL_SHARD).unwrap_or(0),
            std::mem::take(&mut recovered.cursors),
            config.limits.subscriptions,
        ));
        let clock = Arc::new(Clock::new(config.pipeline.clock));
        if let Some(last) = recovered.last_arrival {
            clock.advance(last);
        }
        // Only now: a caller is refused rather than kept waiting by a long recovery.
        let grpc = bind(config.server.listen, config.limits.connections).await?;
        let http = bind(config.server.http_listen, config.limits.connections).await?;
        let (grpc_address, http_address) = (local(&grpc)?, local(&http)?);

        for entry in registry.list() {
            rollouts.insert(entry.name.to_string(), (*entry.rollout).clone());
        }
        record_start(&config, &plan, &registry, moves, &cursors, &rollouts).await?;
        let deployer =
            Deployer::new(registry.clone(), cursors.clone(), metrics.clone(), config.limits.artifact_bytes);

        let pipeline = Pipeline::start(
            Parts {
                plan,
                models: registry.current(),
                lookups,
                store: store.clone(),
                clock: clock.clone(),
                outbox: outbox.clone(),
                metrics: metrics.clone(),
                committed,
                workers: config.pipeline.workers,
                queue_events: config.pipeline.queue_events,
                snapshot_lag_bytes: config.pipeline.snapshot_lag_bytes,
                pack_after: config.pipeline.pack_after,
                max_traits: config.limits.traits_per_profile,
                replay_step: config.limits.replay_step,
                shadow_queue: config.models.shadow_queue,
                shadow_users: config.models.shadow_users,
            },
            recovered,
        )
        .map_err(Error::Thread)?;
        let outbox_writer = outbox.start_writer().map_err(Error::Thread)?;

        let shutdown = Shutdown::new();
        let guard = rpc::auth::Guard::new(config.server.token.clone(), metrics.clone());
        let overview = Arc::new(Overview {
            started: Instant::now(),
            config: config.clone(),
            grpc: grpc_address,
            http: http_address,
            pipeline: pipeline.handle(),
            registry: registry.clone(),
            store: store.clone(),
            shutdown: shutdown.token(),
        });
        let pages = web::router(overview, metrics.clone(), guard.clone());
        let services = Services {
            pipeline: pipeline.handle(),
            outbox,
            cursors,
            deployer: Arc::new(deployer),
            registry,
            clock,
            metrics: metrics.clone(),
            guard,
            shutdown: shutdown.token(),
        };
        let rpc = rpc::Server::build(transport, services, &config)?;
        let http_shutdown = shutdown.token();
        let servers = vec![
            tokio::spawn(async move { Ok(rpc.serve(grpc).await?) }),
            tokio::spawn(async move { web::serve(http, pages, http_shutdown).await.map_err(Error::Http) }),
        ];
        Ok(App {
            grpc: grpc_address,
            http: http_address,
            shutdown,
            drain_deadline: config.shutdown.drain_deadline,
            pipeline,
            outbox: outbox_writer,
            store,
            metrics,
            servers,
        })
    }
}

impl Probe for Overview {
    fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.shutdown.is_draining() {
            reasons.push("draining".to_owned());
        }
        match self.store.health() {
            Health::Healthy => {}
            Health::NoSpace => reasons.push("no space left on the disk; scores go on".to_owned()),
            Health::FailStop { reason } => reasons.push(format!("the store has stopped: {reason}")),
        }
        reasons
    }

    fn status(&self) -> web::Status {
        let plan = self.pipeline.plan();
        web::Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            unready: self.unready(),
            clock: web::ClockStatus {
                mode: self.config.pipeline.clock.name(),
                now: self.pipeline.clock().now().to_string(),
            },
            store: web::StoreStatus {
                directory: self.config.store.directory.display().to_string(),
                durability: self.config.store.durability.name(),
                health: match self.store.health() {
                    Health::Healthy => "healthy".to_owned(),
                    Health::NoSpace => "no space left on the disk".to_owned(),
                    Health::FailStop { reason } => reason.to_string(),
                },
                profiles: self.pipeline.count_profiles().all,
            },
            definitions: web::DefinitionsStatus {
                file: self.config.definitions.file.as_ref().map(|file| file.display().to_string()),
                digest: plan.digest.to_string(),
            },
            models: self
                .registry
                .list()
                .into_iter()
                .map(|entry| web::ModelStatus {
                    name: entry.name.to_string(),
                    version: entry.stable().map(|stable| stable.model.version),
                    runtime: entry.stable().map(|stable| stable.model.scorer.runtime().to_owned()),
                    aliases: aliases(&entry.rollout),
                    refused: entry.refused.iter().map(|refused| refused.reason.to_string()).collect(),
                })
                .collect(),
            onnx: web::OnnxStatus {
                library: Library::loaded().map(|library| library.path().display().to_string()),
                version: Library::loaded().map(|library| library.version().to_owned()),
            },
            listen: web::ListenStatus {
                grpc: self.grpc,
                http: self.http,
                tls: self.config.server.tls.is_some(),
            },
        }
    }

    fn refresh(&self, metrics: &Metrics) {
        if let Some(library) = Library::loaded() {
            metrics.server.onnx_runtime(&library.path().display().to_string(), library.version());
        }
        let profiles = self.pipeline.count_profiles();
        metrics.pipeline.profiles.set(profiles.all as i64);
        metrics.pipeline.packed_profiles.set(profiles.packed as i64);
        metrics.pipeline.packed_profile_bytes.set(profiles.packed_bytes as i64);
        metrics.server.clock_seconds.set(self.pipeline.clock().now().as_millis() as f64 / 1_000.0);
        for (gauge, waiting) in metrics.pipeline.queue_events.iter().zip(self.pipeline.queued_events()) {
            gauge.set(waiting as i64);
        }
    }
}

/// Where the aliases of a model point.
fn aliases(rollout: &Rollout) -> BTreeMap<&'static str, web::AliasStatus> {
    let status = |alias: Alias| {
        let canary = rollout.canary.filter(|_| alias == Alias::Canary);
        let percent = canary.map(|canary| canary.percent);
        Some((alias.name(), web::AliasStatus { version: rollout.version_of(alias)?, percent }))
    };
    Alias::ALL.into_iter().filter_map(status).collect()
}

fn load_definitions(config: &Config) -> Result<Plan, Error> {
    match &config.definitions.file {
        Some(file) => definitions::load(file),
        None => definitions::compile(""),
    }
    .map_err(Error::Definitions)
}

/// Loads the models. One without an artifact is served without scores; one
/// whose artifacts are all broken keeps the server from starting.
fn open_registry(
    config: &Config,
    plan: &Arc<Plan>,
    rollouts: &HashMap<String, Rollout>,
) -> Result<(Registry, Vec<Move>), Error> {
    if let Some(library) = &config.onnx.library {
        // Whoever names one wants to know at once that it is not there.
        Library::load(&Places::of_process(Some(library.clone()))).map_err(Error::Onnx)?;
    }
    let (registry, refused, moves) =
        Registry::restore(&config.models.directory, plan.clone(), networks(config), rollouts);
    for Refused { model, version, reason } in &refused {
        match **reason {
            registry::Error::NoArtifact => {
                let directory = config.models.directory.display();
                tracing::info!(%model, %directory, "model not trained yet: it gives no scores");
            }
            _ => tracing::warn!(%model, version, %reason, "model refused"),
        }
    }
    let broken = registry.list().into_iter().filter(registry::Entry::is_broken);
    let broken: Vec<Refused> = broken.flat_map(|entry| entry.refused).collect();
    if broken.is_empty() || config.models.allow_broken {
        Ok((registry, moves))
    } else {
        Err(Error::Models(broken))
    }
}

fn networks(config: &Config) -> Networks {
    Networks {
        library: config.onnx.library.clone(),
        n_sessions: config.pipeline.workers,
        batch_wait: config.onnx.batch_wait,
    }
}

fn listed(refused: &[Refused]) -> String {
    refused.iter().map(|refused| format!("\n  {refused}")).collect()
}

fn open_store(config: &Config, metrics: &Arc<Metrics>) -> Result<(Arc<Store>, Recovery), Error> {
    let options = store::Options {
        n_virtual_shards: VIRTUAL_SHARDS + 1,
        // The outbox is one more.
        n_workers: config.pipeline.workers as u16 + 1,
        durability: match config.store.durability {
            Durability::Fsync => store::Durability::Fsync,
            Durability::Interval(interval) => store::Durability::Interval(interval),
            Durability::Memory => store::Durability::Memory,
        },
        segment_bytes: config.store.segment_bytes,
        compress: config.store.compress,
        group_bytes: config.store.group_bytes,
        group_window: config.store.group_window,
        view_interval: config.store.view_interval,
        view_cache_bytes: config.store.view_cache_bytes,
        observer: Arc::new(StoreObserver(metrics.clone())),
        ..store::Options::default()
    };
    if !matches!(config.store.durability, Durability::Fsync) {
        tracing::warn!(
            durability = config.store.durability.name(),
            "acknowledged events may be lost with the power"
        );
    }
    let (store, recovery) = Store::open(&config.store.directory, options)
        .map_err(|error| Error::Store { directory: config.store.directory.clone(), error })?;
    if let Some(reason) = recovery.views_dropped() {
        tracing::warn!(reason, "the views are made anew from the log");
    }
    if let Some(torn) = recovery.torn_tail() {
        tracing::warn!(?torn, "cut a group that was never committed from the log's end");
    }
    Ok((Arc::new(store), recovery))
}

/// Recovers under the plan. Views made under other definitions are dropped,
/// and so are damaged ones: everything is then folded anew from the log.
fn recover(
    config: &Config,
    plan: &Arc<Plan>,
    store: &Store,
    recovery: Recovery,
) -> Result<(Recovered, Recovery), Error> {
    let started = Instant::now();
    let of_store = |error| Error::Store { directory: config.store.directory.clone(), error };
    let of_recovery = |error| Error::Recovery { directory: config.store.directory.clone(), error };
    let known = match delivery::stored_definitions(store) {
        Err(store::Error::ViewDamaged { .. }) => None,
        known => known.map_err(of_store)?,
    };
    let mut recovery = if known.as_deref().is_some_and(|digest| digest != &*plan.digest) {
        tracing::info!("the definitions have changed: features are folded anew from the log");
        store.reset_views("the definitions have changed").map_err(of_store)?
    } else {
        recovery
    };
    let recovered = match pipeline::recover(plan, &recovery) {
        Err(error) if error.is_of_the_views() => {
            tracing::warn!(%error, "the views are made anew from the log");
            recovery = store.reset_views("the views are damaged").map_err(of_store)?;
            pipeline::recover(plan, &recovery).map_err(of_recovery)?
        }
        recovered => recovered.map_err(of_recovery)?,
    };
    tracing::info!(
        profiles = recovered.profiles.count().all,
        entries = recovered.n_replayed,
        seconds = started.elapsed().as_secs_f64(),
        "recovered"
    );
    Ok((recovered, recovery))
}

/// On the wall clock, every re-score since a replayed past would be due at once.
fn check_clock(config: &Config, stored: Option<String>) -> Result<(), Error> {
    let configured = config.pipeline.clock.name();
    match stored {
        Some(stored) if stored != configured => {
            Err(Error::Clock { directory: config.store.directory.clone(), stored, configured })
        }
        _ => Ok(()),
    }
}

/// Logs what decisions are made with from here on.
async fn record_start(
    config: &Config,
    plan: &Plan,
    registry: &Registry,
    moves: Vec<Move>,
    cursors: &Cursors,
    rollouts: &HashMap<String, Rollout>,
) -> Result<(), Error> {
    let version = |entry: &registry::Entry| Some((entry.name.to_string(), entry.stable()?.model.version));
    let mut controls = vec![
        Control::Clock { mode: config.pipeline.clock.name().to_owned() },
        Control::Definitions { digest: plan.digest.to_string(), source: plan.source.to_string() },
        Control::Models { serving: registry.list().iter().filter_map(version).collect() },
    ];
    controls.extend(moves.into_iter().map(Control::Moved));
    cursors.record(&controls, rollouts).await.map_err(Error::Control)
}

async fn bind(address: SocketAddr, max_connections: usize) -> Result<Connections, Error> {
    Connections::bind(address, max_connections).await.map_err(|error| Error::Listen { address, error })
}

fn local(connections: &Connections) -> Result<SocketAddr, Error> {
    connections.local_addr().map_err(Error::Http)
}
