//! The real binary as a child process, on a store and ports of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};

/// Longest wait for a server to start.
const START: Duration = Duration::from_secs(30);

/// What takes half of a small disk.
pub const FILLER: &str = "filler";

/// What of a store lies on a small disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSmallDisk {
    Everything,
    AllButTheLog,
}

/// A running `tipoff serve`; killed when dropped.
pub struct Process {
    child: Child,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

impl Process {
    /// Starts a server on what is in `directory` and waits until it serves.
    pub fn start(directory: &Path, flags: &[(&str, &str)]) -> Self {
        Self::start_and_read(serve(directory, flags), true)
    }

    /// The same, with the store, or all of it but the log, on a disk of its own, of so many
    /// bytes, half of which a file called [`FILLER`] takes. None where this process may not
    /// mount one.
    pub fn start_on_small_disk(
        directory: &Path,
        (on_it, bytes): (OnSmallDisk, usize),
        flags: &[(&str, &str)],
    ) -> Option<Self> {
        let store = directory.join("store");
        std::fs::create_dir_all(&store).expect("created");
        let path = store.display();
        let mut mount = format!("mount -t tmpfs -o size={bytes} tmpfs '{path}'");
        if on_it == OnSmallDisk::AllButTheLog {
            mount += &format!(" && mkdir '{path}/log' && mount -t tmpfs tmpfs '{path}/log'");
        }
        let in_namespace = ["--user", "--map-root-user", "--mount", "sh", "-c"];
        match Command::new("unshare").args(in_namespace).arg(&mount).output() {
            Ok(output) if output.status.success() => {}
            refused => {
                println!("skipped: no disk can be mounted here ({refused:?})");
                return None;
            }
        }
        let fill = format!("{mount} && head -c {} /dev/zero > '{path}/{FILLER}'", bytes / 2);
        let served = serve(directory, flags);
        let mut command = Command::new("unshare");
        command.args(in_namespace).arg(format!(r#"{fill} && exec "$0" "$@""#));
        command.arg(served.get_program()).args(served.get_args());
        command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null());
        command.env_remove("ORT_DYLIB_PATH").env_remove("VIRTUAL_ENV");
        Some(Self::start_and_read(command, true))
    }

    /// Starts a server and kills it after a while, whatever it does then.
    pub fn kill_while_starting(directory: &Path, flags: &[(&str, &str)], after: Duration) {
        // The server itself, as it takes the place of its shell.
        let mut child = serve(directory, flags).stderr(Stdio::null()).spawn().expect("the binary runs");
        std::thread::sleep(after);
        child.kill().expect("it runs, or has ended");
        child.wait().expect("it has ended");
    }

    /// A path as the server sees it, for others.
    pub fn path(&self, path: &Path) -> PathBuf {
        let rooted = path.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.pid().to_string()).join("root").join(rooted)
    }

    /// The same, but nobody reads its log once it serves.
    pub fn start_unread(directory: &Path) -> Self {
        Self::start_and_read(serve(directory, &[]), false)
    }

    fn start_and_read(mut command: Command, reads_on: bool) -> Self {
        let mut child = command.spawn().expect("the binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (served, serving) = mpsc::channel();
        // Reads on for as long as the server lives, or its pipe would fill.
        std::thread::spawn(move || {
            let mut lines = stderr.lines().map_while(Result::ok);
            while let Some(line) = lines.next() {
                match serde_json::from_str::<serde_json::Value>(&line) {
                    Ok(log) if log["message"] == "serving" => {
                        let addresses = (address(&log["grpc"]), address(&log["http"]));
                        if !reads_on {
                            // Closes the pipe, before anyone goes on.
                            drop(lines);
                            let _ = served.send(addresses);
                            return;
                        }
                        let _ = served.send(addresses);
                    }
                    Ok(log) if log["level"] == "INFO" => {}
                    _ => eprintln!("server: {line}"),
                }
            }
        });
        let (grpc, http) = serving.recv_timeout(START).expect("the server serves");
        Self { child, grpc, http }
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).expect("an address").connect_lazy()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; returns once the process is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }

    /// Sends SIGTERM or SIGKILL, by its short name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(sent.success(), "{pid} was running");
    }

    /// The exit status, which must come within the time.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < within, "the server still runs after {within:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that is expected not to start: its exit and what it said.
pub fn refused(directory: &Path, flags: &[(&str, &str)]) -> Output {
    serve(directory, flags).output().expect("the binary runs")
}

fn serve(directory: &Path, flags: &[(&str, &str)]) -> Command {
    let path = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new("sh");
    // A file that may not grow then is a failed write, not the end of the process.
    command.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#, env!("CARGO_BIN_EXE_tipoff")]);
    command.arg("serve").stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null());
    // A library that is found by chance must not decide what a test sees.
    command.env_remove("ORT_DYLIB_PATH").env_remove("VIRTUAL_ENV");
    let mut set = |key: &str, value: &str| {
        command.args(["--set", &format!("{key}={value}")]);
    };
    set("server.listen", "127.0.0.1:0");
    set("server.http_listen", "127.0.0.1:0");
    set("store.directory", &path("store"));
    set("definitions.file", &path("definitions.toml"));
    set("models.directory", &path("models"));
    set("pipeline.workers", "2");
    set("log.format", "json");
    for (key, value) in flags {
        set(key, value);
    }
    command
}

fn address(value: &serde_json::Value) -> SocketAddr {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no address"))
}
