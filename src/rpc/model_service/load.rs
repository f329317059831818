//! An artifact from a stream: the messages are handed to a thread that may
//! wait for the disk.

use std::time::Duration;

use tokio::sync::mpsc;
use tonic::Streaming;

use super::{Models, note};
use crate::deploy::{Deployer, Note};
use crate::proto::v1;
use crate::proto::v1::load_model_request::Part;
use crate::registry::Loaded;
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

/// Messages that may wait for the disk.
const WAITING: usize = 2;
/// Longest wait for the next message: no other artifact comes in meanwhile.
const IDLE: Duration = Duration::from_secs(30);
/// Longest time for a whole artifact, however busily it comes.
const WHOLE: Duration = Duration::from_mins(10);

/// What the thread is told; that nothing more comes is not the end of an artifact.
enum Told {
    Chunk(v1::FileChunk),
    End,
}

impl Models {
    pub(super) async fn receive(
        &self,
        mut stream: Streaming<v1::LoadModelRequest>,
    ) -> Result<Loaded, Refusal> {
        let header = match next(&mut stream).await? {
            Some(Part::Artifact(header)) => header,
            Some(Part::Chunk(_)) | None => return Err(invalid("the first message is not `artifact`")),
        };
        let v1::ArtifactHeader { name, version, who, why } = header;
        let version = Some(version).filter(|version| *version > 0);
        let (tell, told) = mpsc::channel(WAITING);
        let change = move |deployer: &Deployer, note| Ok(take_in(deployer, (&name, version), note, told));
        let taken_in = self.change(note(who, why), change);
        let forward = async move {
            loop {
                let part = tokio::select! {
                    part = next(&mut stream) => part?,
                    // It was refused, which the thread tells.
                    () = tell.closed() => return Ok(()),
                };
                let (told, is_end) = match part {
                    Some(Part::Chunk(chunk)) => (Told::Chunk(chunk), false),
                    Some(Part::Artifact(_)) => return Err(invalid("a second message is `artifact`")),
                    None => (Told::End, true),
                };
                // As above.
                if tell.send(told).await.is_err() || is_end {
                    return Ok(());
                }
            }
        };
        let draining = self.context.parts.shutdown.clone().draining();
        let forwarded = async move {
            tokio::select! {
                forwarded = tokio::time::timeout(WHOLE, forward) => forwarded.unwrap_or_else(|_| {
                    Err(Refusal::new(Reason::UploadStalled, format_args!("it was not over after {WHOLE:?}")))
                }),
                () = draining => Err(Refusal::new(Reason::Draining, "the server is about to stop")),
            }
        };
        match tokio::join!(taken_in, forwarded) {
            (Ok(None), forwarded) => forwarded.and_then(|()| Err(invalid("the artifact ended early"))),
            (taken_in, _) => taken_in?.unwrap_or_else(|| Err(invalid("the artifact ended early"))),
        }
    }
}

/// None if the sender has gone.
fn take_in(
    deployer: &Deployer,
    (model, version): (&str, Option<u32>),
    note: Note,
    mut told: mpsc::Receiver<Told>,
) -> Option<Result<Loaded, Refusal>> {
    let mut incoming = match deployer.receive(model, version, note) {
        Ok(incoming) => incoming,
        Err(error) => return Some(Err(error.into())),
    };
    loop {
        match told.blocking_recv()? {
            Told::Chunk(chunk) => {
                if let Err(error) = incoming.write(&chunk.file, &chunk.data) {
                    return Some(Err(error.into()));
                }
            }
            Told::End => return Some(incoming.finish().map_err(Refusal::from)),
        }
    }
}

async fn next(stream: &mut Streaming<v1::LoadModelRequest>) -> Result<Option<Part>, Refusal> {
    match tokio::time::timeout(IDLE, stream.message()).await {
        Ok(Ok(None)) => Ok(None),
        Ok(Ok(Some(v1::LoadModelRequest { part: Some(part) }))) => Ok(Some(part)),
        Ok(Ok(Some(_))) => Err(invalid("a message is neither `artifact` nor `chunk`")),
        // The sender has gone, or what it sends is no message.
        Ok(Err(status)) => Err(Refusal::new(Reason::Malformed, status.message())),
        Err(_) => Err(Refusal::new(Reason::UploadStalled, format_args!("nothing came for {IDLE:?}"))),
    }
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(Reason::UploadInvalid, message)
}
