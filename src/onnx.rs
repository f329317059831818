//! Networks in ONNX, run by ONNX Runtime.
//!
//! The runtime is a library that is found and loaded at run time
//! ([`Library`]), the first time that a model needs it: nothing else does.
//! Files come from outside: [`Graph::read`] reads one within bounds, and refuses
//! what reaches out of it, before the runtime sees it. [`Binding`] tells which
//! input is which feature; a [`Network`] is a scorer like any other.

mod batch;
mod binding;
mod error;
mod graph;
mod library;
mod network;
mod session;
mod tensor;
#[cfg(test)]
pub(crate) mod tests;
mod zip_map;

pub use binding::{Binding, Declared};
pub use error::Error;
pub use graph::Graph;
pub use library::{Library, Places};
pub use network::Network;
pub use zip_map::without_zip_maps;

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::model::Output;

/// The largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 256 << 20;

/// How networks are run.
#[derive(Clone, Debug)]
pub struct Networks {
    /// The file of ONNX Runtime; none: it is looked for.
    pub library: Option<PathBuf>,
    /// Sessions of a network: so many rows are scored at a time.
    pub n_sessions: usize,
    /// How long a row that may wait does so for others; zero: not at all.
    pub batch_wait: Duration,
}

impl Default for Networks {
    fn default() -> Self {
        let n_sessions = std::thread::available_parallelism().map_or(1, usize::from);
        Self { library: None, n_sessions, batch_wait: Duration::ZERO }
    }
}

impl Networks {
    /// Reads, checks and binds a network, and opens its sessions.
    ///
    /// # Errors
    /// The file is refused, its inputs or outputs are not those of the model, or there is no runtime.
    pub fn open(
        &self,
        content: &[u8],
        features: &[&str],
        outputs: &[Output],
        declared: &Declared,
    ) -> Result<Network, Error> {
        let graph = Graph::read(content)?;
        let binding = Binding::of(&graph, features, outputs, declared)?;
        let rewritten = without_zip_maps(content, &graph)?;
        let library = Library::load(&Places::of_process(self.library.clone()))?;
        let content = rewritten.as_deref().unwrap_or(content);
        let mut network = Network::open(library, content, binding, self.n_sessions)?;
        network.settle(features, outputs, declared)?;
        network.batch(self.batch_wait);
        Ok(network)
    }
}
