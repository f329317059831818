//! `network.onnx`: a network as its exporter wrote it.

use super::error::Error;
use super::manifest::{Manifest, Network};
use crate::engine::model::Output;
use crate::onnx::{self, Declared, Networks};

pub const FILE: &str = "network.onnx";
pub const FORMAT: &str = "onnx-network";

/// Opens the network that a manifest describes.
pub fn open(
    content: &[u8],
    manifest: &Manifest,
    outputs: &[Output],
    networks: &Networks,
) -> Result<onnx::Network, Error> {
    let features: Vec<&str> = manifest.features.iter().map(|feature| feature.name.as_str()).collect();
    let Network { inputs, scores, columns } = manifest.network.clone().unwrap_or_default();
    let declared = Declared { inputs, scores, columns };
    networks.open(content, &features, outputs, &declared).map_err(Error::Network)
}
