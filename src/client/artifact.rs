//! An artifact's folder, on its way to a server.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Models;
use crate::proto::v1;
use crate::proto::v1::load_model_request::Part;
use crate::registry::Manifest;

/// Bytes of one message.
const CHUNK: usize = 256 << 10;
/// Messages read ahead of the connection.
const AHEAD: usize = 4;

/// What the manifest in a folder says of it.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub name: String,
    pub version: u32,
    folder: PathBuf,
    /// The manifest first, with their sizes in bytes.
    files: Vec<(String, u64)>,
}

#[derive(Deserialize)]
struct Identity {
    name: String,
    version: u32,
    files: BTreeMap<String, IgnoredAny>,
}

impl Artifact {
    /// Reads what the folder holds.
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = folder.join(Manifest::FILE);
        let content = fs::read(&manifest).with_context(|| {
            format!(
                "{}: no artifact; name the folder of one version, such as models/NAME/1",
                manifest.display()
            )
        })?;
        let identity: Identity =
            serde_json::from_slice(&content).with_context(|| manifest.display().to_string())?;
        let mut files = vec![(Manifest::FILE.to_owned(), content.len() as u64)];
        for (file, _) in identity.files {
            let path = folder.join(&file);
            let metadata =
                path.metadata().with_context(|| format!("{}: the manifest lists it", path.display()))?;
            files.push((file, metadata.len()));
        }
        let Identity { name, version, .. } = identity;
        Ok(Self { name, version, folder: folder.to_owned(), files })
    }

    pub fn n_bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Sends it; `progress` is told the bytes of each part. Gives what the
    /// server made of it.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn send(
        &self,
        client: &mut Models,
        header: v1::ArtifactHeader,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<Result<v1::Model, Status>> {
        let (requests, to_send) = mpsc::channel(AHEAD);
        let artifact = self.clone();
        let reading = tokio::task::spawn_blocking(move || artifact.read(header, &requests, progress));
        let answer = client.load_model(ReceiverStream::new(to_send)).await;
        // What the server says is the cause, if it ended the reading.
        match (reading.await?, answer) {
            (Err(error), Err(_)) => Err(error),
            (_, Err(status)) => Ok(Err(status)),
            (_, Ok(answer)) => {
                let model = answer.into_inner().model;
                model.map(Ok).ok_or_else(|| anyhow!("the server did not say what it loaded"))
            }
        }
    }

    fn read(
        &self,
        header: v1::ArtifactHeader,
        requests: &mpsc::Sender<v1::LoadModelRequest>,
        progress: impl Fn(u64),
    ) -> Result<()> {
        // An error means that the server reads no more, which the call tells.
        let send = |part| requests.blocking_send(v1::LoadModelRequest { part: Some(part) }).is_ok();
        if !send(Part::Artifact(header)) {
            return Ok(());
        }
        for (file, _) in &self.files {
            let path = self.folder.join(file);
            let mut open = File::open(&path).with_context(|| path.display().to_string())?;
            let mut is_begun = false;
            loop {
                let mut data = vec![0; CHUNK];
                let n = open.read(&mut data).with_context(|| path.display().to_string())?;
                if n == 0 && is_begun {
                    break;
                }
                // An empty file begins, too.
                is_begun = true;
                data.truncate(n);
                if !send(Part::Chunk(v1::FileChunk { file: file.clone(), data })) {
                    return Ok(());
                }
                progress(n as u64);
            }
        }
        Ok(())
    }
}
