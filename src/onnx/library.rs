//! Where ONNX Runtime is: a shared library that is found and loaded at run
//! time, once in a process.

use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::Error;

static LOADED: OnceLock<Library> = OnceLock::new();

/// Names that are looked at in one directory.
const MAX_ENTRIES: usize = 10_000;
/// The oldest minor version of 1 whose interface is enough.
const MIN_MINOR_VERSION: u32 = 17;

/// The loaded library.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    version: String,
    environment: Environment,
}

/// Where a library is looked for, in this order; the first two must have it if they are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// `onnx.library`
    pub configured: Option<PathBuf>,
    /// `ORT_DYLIB_PATH`
    pub named: Option<PathBuf>,
    /// The directory of the running binary.
    pub beside: Option<PathBuf>,
    /// `VIRTUAL_ENV`: an active environment of Python.
    pub python: Option<PathBuf>,
}

impl Library {
    /// The library that this process has loaded.
    pub fn loaded() -> Option<&'static Self> {
        LOADED.get()
    }

    /// The library that this process has loaded, else the one at the first of `places`.
    pub fn load(places: &Places) -> Result<&'static Self, Error> {
        static LOADING: Mutex<()> = Mutex::new(());
        // It guards no data that a panic could leave half-way.
        let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = Self::loaded() {
            return match places.configured.as_deref().map(|wanted| (wanted, canonical(wanted))) {
                Some((_, Ok(wanted))) if wanted != loaded.path => {
                    Err(Error::OtherLibrary { wanted, loaded: loaded.path.clone() })
                }
                Some((_, Err(error))) => Err(error),
                _ => Ok(loaded),
            };
        }
        let path = places.find()?;
        let refuse = |reason: String| Error::Library { path: path.clone(), reason };
        let version = version(&path).map_err(refuse)?;
        check_version(&version).map_err(refuse)?;
        let environment = ort::init_from(&path)
            .map_err(|error| refuse(error.to_string()))?
            .with_name("tipoff")
            .with_telemetry(false)
            .with_logger(Arc::new(log))
            .build()
            .map_err(|error| refuse(error.message().to_owned()))?;
        environment.set_log_level(LogLevel::Warning);
        tracing::info!(library = %path.display(), version, "ONNX Runtime loaded");
        Ok(LOADED.get_or_init(|| Self { path: path.clone(), version, environment }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ONNX Runtime {} ({})", self.version, self.path.display())
    }
}

impl Places {
    /// Those of this process.
    pub fn of_process(configured: Option<PathBuf>) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let binary = std::env::current_exe().and_then(fs::canonicalize).ok();
        Self {
            configured,
            named: variable("ORT_DYLIB_PATH"),
            beside: binary.and_then(|binary| binary.parent().map(Path::to_owned)),
            python: variable("VIRTUAL_ENV"),
        }
    }

    /// The library's file.
    pub fn find(&self) -> Result<PathBuf, Error> {
        if let Some(named) = self.configured.as_deref().or(self.named.as_deref()) {
            return canonical(named);
        }
        let beside = self.beside.as_deref().and_then(newest_in);
        let found = beside.or_else(|| self.python.as_deref().and_then(in_python));
        found.map_or_else(|| Err(self.nothing()), |found| canonical(&found))
    }

    fn nothing(&self) -> Error {
        let said = |path: &Option<PathBuf>, unset: &str| {
            path.as_ref().map_or_else(|| unset.to_owned(), |path| path.display().to_string())
        };
        let searched = format!(
            "`onnx.library` and ORT_DYLIB_PATH are not set; beside the binary: {}; VIRTUAL_ENV: {}",
            said(&self.beside, "unknown"),
            said(&self.python, "not set")
        );
        Error::NoLibrary { searched }
    }
}

fn canonical(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path)
        .map_err(|error| Error::Library { path: path.to_owned(), reason: error.to_string() })
}

/// `lib/python3.*/site-packages/onnxruntime/capi`, or `Lib/site-packages/…` on Windows.
fn in_python(environment: &Path) -> Option<PathBuf> {
    let lib = environment.join("lib");
    let pythons = entries(&lib).filter(|(name, _)| name.starts_with("python"));
    let libs = pythons.map(|(_, path)| path).chain([environment.join("Lib")]);
    libs.filter_map(|lib| newest_in(&lib.join("site-packages/onnxruntime/capi"))).next()
}

fn newest_in(dir: &Path) -> Option<PathBuf> {
    let libraries = entries(dir).filter(|(name, path)| is_library(name) && path.is_file());
    libraries.max_by_key(|(name, _)| numbers(name)).map(|(_, path)| path)
}

fn entries(dir: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(MAX_ENTRIES);
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
}

fn is_library(name: &str) -> bool {
    let is_numbered = |rest: &str| rest.chars().all(|c| c == '.' || c.is_ascii_digit());
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix("onnxruntime")) else {
        return false;
    };
    // `.so.1.24.2` on Linux, `.1.24.2.dylib` on macOS, `.dll` on Windows.
    rest.strip_prefix(suffix).or_else(|| rest.strip_suffix(suffix)).is_some_and(is_numbered)
}

/// Versions in their order: 1.9 before 1.10.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn check_version(version: &str) -> Result<(), String> {
    match numbers(version)[..] {
        [1, minor, ..] if minor >= u64::from(MIN_MINOR_VERSION) => Ok(()),
        _ => Err(format!("its version is {version}; 1.{MIN_MINOR_VERSION} or a later 1 is needed")),
    }
}

/// What the library at `path` says that it is.
#[expect(unsafe_code, reason = "`ort` has no call that gives the version")]
fn version(path: &Path) -> Result<String, String> {
    type Base = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: loading runs the library's initialisers: it is the one that the
    // operator chose, and is loaded right after by `ort` anyway. The symbol has this
    // type in every version of ONNX Runtime; what it points to is static.
    unsafe {
        let library = libloading::Library::new(path).map_err(|error| cause(&error))?;
        // Never unloaded: it may have threads.
        let library = std::mem::ManuallyDrop::new(library);
        let base = library
            .get::<Base>(b"OrtGetApiBase\0")
            .map_err(|_| "it has no `OrtGetApiBase`, as ONNX Runtime does".to_owned())?;
        let base = base().as_ref().ok_or("it gives no interface")?;
        let version = CStr::from_ptr((base.GetVersionString)());
        Ok(version.to_string_lossy().into_owned())
    }
}

/// What lies behind an error, which alone says no more than that `dlopen` failed.
fn cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map_or_else(String::new, ToString::to_string)
}

fn log(level: LogLevel, category: &str, _id: &str, _place: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info => tracing::debug!(category, "ONNX Runtime: {message}"),
        LogLevel::Warning => tracing::warn!(category, "ONNX Runtime: {message}"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(category, "ONNX Runtime: {message}"),
    }
}
