//! The server under measurement: `tipoff serve` in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::{Args, model};
use crate::cli::outcome::usage;
use crate::definitions;

const DEFINITIONS: &str = include_str!("../../examples/shop.toml");
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Linux reports CPU time in this unit, whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// It ends with this process, however that ends: its standard input does.
pub struct BenchServer {
    child: Child,
    grpc: String,
    /// The first model of the definitions.
    swapped: Option<String>,
    directory: TempDir,
}

impl BenchServer {
    pub fn start(args: &Args) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("tipoff-bench-").tempdir()?;
        let path = |name: &str| directory.path().join(name);
        let definitions_file = match &args.definitions {
            Some(file) => file.clone(),
            None => {
                std::fs::write(path("definitions.toml"), DEFINITIONS)?;
                path("definitions.toml")
            }
        };
        let plan = definitions::load(&definitions_file).map_err(usage)?;
        let first = if args.swap { model::LARGE } else { model::ORDINARY };
        model::publish_all(&path("models"), &plan, first, args.seed)?;
        let swapped = plan.models.first().map(|model| model.name.to_string());
        let setting = |key: &str, value: PathBuf| format!("{key}={}", value.display());
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--drain-on-stdin-eof"])
            .args(["--set", "server.listen=127.0.0.1:0", "--set", "server.http_listen=127.0.0.1:0"])
            .args(["--set", &setting("store.directory", path("store"))])
            .args(["--set", &setting("definitions.file", definitions_file)])
            .args(["--set", &setting("models.directory", path("models"))])
            .args(["--set", &format!("store.durability={}", args.durability)])
            .args(["--set", "log.format=json", "--set", "log.level=warn,tipoff=info"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let lines = BufReader::new(child.stderr.take().context("the server has no log")?).lines();
        match grpc_address(lines) {
            Ok(grpc) => Ok(Self { child, grpc, swapped, directory }),
            Err(error) => {
                // It is on its way out, or of no use.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// The folder of the first model's artifact.
    pub fn artifact(&self) -> Result<PathBuf> {
        let name = self.swapped.as_ref().context("the definitions have no model to swap")?;
        Ok(self.directory.path().join("models").join(name).join("1"))
    }

    /// CPU time of the process so far; none where the system does not tell.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The name may hold spaces; what follows its bracket does not.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }

    pub fn resident_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1_024.0)
    }

    /// Ends the server in order.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the server ended with {status}"),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        bail!("the server did not stop in order")
    }
}

impl Drop for BenchServer {
    fn drop(&mut self) {
        // After `stop` it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the line that says where the server listens, and keeps reading behind it.
fn grpc_address<L>(mut lines: L) -> Result<String>
where
    L: Iterator<Item = std::io::Result<String>> + Send + 'static,
{
    let mut said = Vec::new();
    while let Some(line) = lines.next() {
        let line = line?;
        let entry: Option<Value> = serde_json::from_str(&line).ok();
        let grpc = entry.as_ref().and_then(|entry| entry.get("grpc")).and_then(Value::as_str);
        if let Some(grpc) = grpc {
            let grpc = grpc.to_owned();
            // A log that nobody reads would block the server.
            std::thread::spawn(move || for _ in lines {});
            return Ok(grpc);
        }
        said.push(line);
    }
    bail!("the server did not start:\n{}", said.join("\n"))
}
