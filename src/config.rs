//! The server's configuration: read in layers, checked as a whole, typed.
//!
//! `config/default.toml` documents every key and is the only list of them.
//! Everything that is wrong is reported at once, each mistake with its place.

mod mistake;
mod settings;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use mistake::{Error, Mistake, Origin, Position};
pub use value::Size;

use crate::engine::time::Millis;
use settings::Settings;

/// The embedded defaults, with a comment on every key.
pub const DEFAULTS: &str = include_str!("config/default.toml");

/// Configuration files and secrets are not larger than this.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A checked configuration. See `config/default.toml` for what each key means.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub pipeline: Pipeline,
    pub definitions: Definitions,
    pub models: Models,
    pub onnx: Onnx,
    pub delivery: Delivery,
    pub limits: Limits,
    pub shutdown: Shutdown,
    pub log: Log,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub listen: SocketAddr,
    pub http_listen: SocketAddr,
    /// What callers must present; none only on loopback, or if `insecure`.
    pub token: Option<Token>,
    pub tls: Option<Tls>,
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
}

/// A bearer token; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// PEM files that exist.
#[derive(Clone, Debug)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Store {
    pub directory: PathBuf,
    pub durability: Durability,
    pub segment_bytes: u64,
    pub compress: bool,
    pub group_window: Duration,
    pub group_bytes: usize,
    pub view_interval: Duration,
    pub view_cache_bytes: u64,
}

/// What an acknowledged event survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A loss of power.
    Fsync,
    /// A loss of power, but for what was acknowledged in the last interval.
    Interval(Duration),
    /// The death of the process.
    Memory,
}

#[derive(Clone, Debug)]
pub struct Pipeline {
    /// At least 1.
    pub workers: usize,
    /// Events that may wait for one worker.
    pub queue_events: usize,
    /// How far in log bytes a stored profile may lag behind.
    pub snapshot_lag_bytes: u64,
    /// How long a profile goes unused before it is packed.
    pub pack_after: Duration,
    pub clock: ClockMode,
}

/// What time the server goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMode {
    /// The time of day.
    Wall,
    /// The arrival times that clients send, never backwards.
    Replay,
}

#[derive(Clone, Debug)]
pub struct Definitions {
    pub file: Option<PathBuf>,
    /// How often the files of lookups are looked at.
    pub lookup_interval: Duration,
}

#[derive(Clone, Debug)]
pub struct Models {
    pub directory: PathBuf,
    /// Whether to serve without scores by a model all of whose artifacts are broken.
    pub allow_broken: bool,
    /// Decisions that may wait to be compared with those of a shadow.
    pub shadow_queue: usize,
    /// Users whose decisions are compared, of each model.
    pub shadow_users: usize,
}

/// How networks in ONNX are run.
#[derive(Clone, Debug)]
pub struct Onnx {
    /// The file of ONNX Runtime; none: it is looked for.
    pub library: Option<PathBuf>,
    /// How long a call that scores one user waits for others to be scored with.
    pub batch_wait: Duration,
}

#[derive(Clone, Debug)]
pub struct Delivery {
    pub heartbeat_interval: Duration,
    /// Firings kept for subscriptions and lists.
    pub max_firings: usize,
}

/// Bounds on what comes from outside.
#[derive(Clone, Debug)]
pub struct Limits {
    pub batch_events: usize,
    /// Rows of one request to score.
    pub inference_rows: usize,
    pub message_bytes: usize,
    pub user_id_bytes: usize,
    pub event_id_bytes: usize,
    pub event_type_bytes: usize,
    pub properties_per_event: usize,
    /// Traits of one profile.
    pub traits_per_profile: usize,
    pub property_name_bytes: usize,
    pub property_text_bytes: usize,
    pub number_magnitude: f64,
    pub connections: usize,
    pub streams_per_connection: u32,
    pub header_bytes: u32,
    pub subscriptions: usize,
    /// An artifact that is sent.
    pub artifact_bytes: u64,
    /// How far one request may move a replay clock on.
    pub replay_step: Millis,
}

#[derive(Clone, Debug)]
pub struct Shutdown {
    pub drain_deadline: Duration,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    /// `tracing-subscriber` filter directives.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

impl Config {
    /// The defaults, then the file at `path`, then the process's environment,
    /// then `flags` (key and value).
    pub fn load(path: Option<&Path>, flags: &[(String, String)]) -> Result<Self, Error> {
        let file = path.map(|path| Ok((path, read_text(path)?))).transpose()?;
        // A name that is not Unicode is not ours; a value that is not fails as its key's type,
        // or as a file that does not exist.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self::from_layers(file.as_ref().map(|(path, text)| (*path, text.as_str())), variables, flags)
    }

    /// As [`Config::load`], with the sources given.
    pub fn from_layers(
        file: Option<(&Path, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, Error> {
        let mut settings = Settings::with_defaults(DEFAULTS);
        if let Some((path, text)) = file {
            settings.lay_file(path, text);
        }
        settings.lay_environment(environment);
        settings.lay_flags(flags);
        let config = Self {
            server: Server::read(&mut settings),
            store: Store::read(&mut settings),
            pipeline: Pipeline::read(&mut settings),
            definitions: Definitions {
                file: settings.take_path("definitions.file"),
                lookup_interval: settings
                    .take_within("definitions.lookup_interval", Duration::from_millis(10)..=HOUR),
            },
            models: Models {
                directory: required_path(&mut settings, "models.directory"),
                allow_broken: settings.take("models.allow_broken"),
                shadow_queue: settings.take_within("models.shadow_queue", 1..=1 << 20),
                shadow_users: settings.take_within("models.shadow_users", 1..=1 << 30),
            },
            onnx: Onnx::read(&mut settings),
            delivery: Delivery {
                heartbeat_interval: settings
                    .take_within("delivery.heartbeat_interval", Duration::from_millis(100)..=HOUR),
                max_firings: settings.take_within("delivery.max_firings", 1..=1 << 30),
            },
            limits: Limits::read(&mut settings),
            shutdown: Shutdown {
                drain_deadline: settings.take_within("shutdown.drain_deadline", Duration::ZERO..=HOUR),
            },
            log: Log::read(&mut settings),
        };
        settings.finish()?;
        Ok(config)
    }
}

impl Onnx {
    fn read(settings: &mut Settings) -> Self {
        let batch_wait_us: usize = settings.take_within("onnx.batch_wait_us", 0..=100_000);
        Self {
            library: settings.take_path("onnx.library"),
            batch_wait: Duration::from_micros(batch_wait_us as u64),
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

impl Server {
    fn read(settings: &mut Settings) -> Self {
        let server = Self {
            listen: settings.take("server.listen"),
            http_listen: settings.take("server.http_listen"),
            token: Token::read(settings),
            tls: Tls::read(settings),
            keepalive_interval: settings
                .take_within("server.keepalive_interval", Duration::from_secs(1)..=HOUR),
            keepalive_timeout: settings
                .take_within("server.keepalive_timeout", Duration::from_secs(1)..=HOUR),
        };
        let insecure: bool = settings.take("server.insecure");
        // A token that will not do has its own mistake.
        let guarded =
            ["server.token", "server.token_file"].iter().any(|key| settings.take_optional(key).is_some());
        for (key, address) in [("server.listen", server.listen), ("server.http_listen", server.http_listen)] {
            if !address.ip().to_canonical().is_loopback() && !guarded && !insecure {
                settings.refuse(
                    key,
                    format_args!(
                        "{address} is beyond loopback and anyone could call: \
                         set `server.token_file`, or `server.insecure = true` if that is meant"
                    ),
                );
            }
        }
        server
    }
}

impl Token {
    /// The secret itself, for comparison.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn read(settings: &mut Settings) -> Option<Self> {
        let inline = settings.take_optional("server.token");
        let file = settings.take_path("server.token_file");
        let (key, token) = match (inline, file) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                settings.refuse("server.token_file", "`server.token` is set too; choose one");
                return None;
            }
            (Some(token), None) => ("server.token", token),
            (None, Some(path)) => match read_limited(&path) {
                Ok(text) => ("server.token_file", text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    settings.refuse("server.token_file", format_args!("{}: {error}", path.display()));
                    return None;
                }
            },
        };
        if (16..=1_024).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(Self(token));
        }
        settings.refuse(key, "a token is 16 to 1,024 visible ASCII characters");
        None
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Tls {
    fn read(settings: &mut Settings) -> Option<Self> {
        const KEYS: [&str; 2] = ["server.tls.cert_file", "server.tls.key_file"];
        let files = KEYS.map(|key| (key, settings.take_path(key)));
        for (key, path) in &files {
            let Some(path) = path else { continue };
            if let Err(error) = std::fs::File::open(path) {
                settings.refuse(key, format_args!("{}: {error}", path.display()));
            }
        }
        match files {
            [(_, Some(cert_file)), (_, Some(key_file))] => Some(Self { cert_file, key_file }),
            [(_, None), (_, None)] => None,
            [(cert, _), (key, None)] => {
                settings.refuse(cert, format_args!("`{key}` is missing"));
                None
            }
            [(cert, None), (key, _)] => {
                settings.refuse(key, format_args!("`{cert}` is missing"));
                None
            }
        }
    }
}

impl Store {
    fn read(settings: &mut Settings) -> Self {
        let sync_interval = settings.take_within("store.sync_interval", Duration::from_millis(1)..=MINUTE);
        let durabilities = [
            ("fsync", Durability::Fsync),
            ("interval", Durability::Interval(sync_interval)),
            ("memory", Durability::Memory),
        ];
        Self {
            directory: required_path(settings, "store.directory"),
            durability: settings.take_choice("store.durability", &durabilities),
            segment_bytes: settings.take_within("store.segment_bytes", MIB..=Size::new(4 << 30)).bytes(),
            compress: settings.take("store.compress"),
            group_window: settings
                .take_within("store.group_window", Duration::ZERO..=Duration::from_millis(100)),
            group_bytes: settings.take_within("store.group_bytes", KIB..=Size::new(64 << 20)).as_usize(),
            view_interval: settings.take_within("store.view_interval", Duration::from_millis(1)..=MINUTE),
            view_cache_bytes: settings
                .take_within("store.view_cache_bytes", MIB..=Size::new(1 << 40))
                .bytes(),
        }
    }
}

const CENTURY: Duration = Duration::from_secs(36_525 * 86_400);
const MINUTE: Duration = Duration::from_secs(60);
const KIB: Size = Size::new(1 << 10);
const MIB: Size = Size::new(1 << 20);

impl Pipeline {
    fn read(settings: &mut Settings) -> Self {
        let workers = match settings.take_within("pipeline.workers", 0..=1_024) {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        Self {
            workers,
            queue_events: settings.take_within("pipeline.queue_events", 1..=1 << 24),
            snapshot_lag_bytes: settings
                .take_within("pipeline.snapshot_lag_bytes", MIB..=Size::new(1 << 40))
                .bytes(),
            pack_after: settings.take_within("pipeline.pack_after", Duration::from_millis(1)..=CENTURY),
            clock: settings
                .take_choice("pipeline.clock", &[("wall", ClockMode::Wall), ("replay", ClockMode::Replay)]),
        }
    }
}

impl ClockMode {
    /// The mode's name in the configuration, `/status` and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Replay => "replay",
        }
    }
}

impl Durability {
    /// The durability's name in the configuration and `/status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Interval(_) => "interval",
            Self::Memory => "memory",
        }
    }
}

impl Limits {
    fn read(settings: &mut Settings) -> Self {
        // What fits the length fields of records and protocols, with room to spare.
        const TEXT: std::ops::RangeInclusive<usize> = 1..=65_535;
        let narrow = |wide: usize| u32::try_from(wide).unwrap_or(u32::MAX);
        let message = settings.take_within("limits.message_bytes", KIB..=Size::new(256 << 20));
        let replay_step = settings.take_within("limits.replay_step", Duration::from_millis(1)..=CENTURY);
        let header = settings.take_within("limits.header_bytes", KIB..=MIB).bytes();
        Self {
            batch_events: settings.take_within("limits.batch_events", 1..=65_536),
            inference_rows: settings.take_within("limits.inference_rows", 1..=1 << 20),
            message_bytes: message.as_usize(),
            user_id_bytes: settings.take_within("limits.user_id_bytes", TEXT),
            event_id_bytes: settings.take_within("limits.event_id_bytes", TEXT),
            event_type_bytes: settings.take_within("limits.event_type_bytes", TEXT),
            properties_per_event: settings.take_within("limits.properties_per_event", 0..=4_096),
            traits_per_profile: settings.take_within("limits.traits_per_profile", 0..=65_536),
            property_name_bytes: settings.take_within("limits.property_name_bytes", TEXT),
            property_text_bytes: settings.take_within("limits.property_text_bytes", 1..=1 << 20),
            number_magnitude: settings.take_within("limits.number_magnitude", 1.0..=1e100),
            connections: settings.take_within("limits.connections", 1..=1 << 20),
            streams_per_connection: narrow(settings.take_within("limits.streams_per_connection", 1..=65_536)),
            header_bytes: u32::try_from(header).unwrap_or(u32::MAX),
            subscriptions: settings.take_within("limits.subscriptions", 1..=65_536),
            artifact_bytes: settings.take_within("limits.artifact_bytes", KIB..=Size::new(16 << 30)).bytes(),
            replay_step: Millis::new(replay_step.as_millis() as i64),
        }
    }
}

impl Log {
    fn read(settings: &mut Settings) -> Self {
        let format =
            settings.take_choice("log.format", &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)]);
        let level: String = settings.take("log.level");
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&level) {
            settings.refuse("log.level", error);
        }
        Self { format, level }
    }
}

fn required_path(settings: &mut Settings, key: &str) -> PathBuf {
    settings.take_path(key).unwrap_or_else(|| {
        settings.refuse(key, "must not be empty");
        PathBuf::new()
    })
}

fn read_text(path: &Path) -> Result<String, Error> {
    read_limited(path).map_err(|error| Error {
        mistakes: vec![Mistake {
            origin: Origin::File { path: path.into(), position: None },
            message: error.to_string(),
        }],
    })
}

fn read_limited(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let n_bytes = std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if n_bytes as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}
