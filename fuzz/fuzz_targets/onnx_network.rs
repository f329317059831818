//! Any bytes, or a network with bytes changed: an error, or a graph whose inputs
//! and outputs bind or do not, and whose `ZipMap` comes off.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tipoff::engine::model::{Output, OutputKind};
use tipoff::onnx::{Binding, Declared, Graph, without_zip_maps};

const NETWORKS: [&[u8]; 5] = [
    include_bytes!("../../tests/networks/branches/network.onnx"),
    include_bytes!("../../tests/networks/mlp_softmax/network.onnx"),
    include_bytes!("../../tests/networks/per_feature/network.onnx"),
    include_bytes!("../../tests/networks/sklearn_classes/network.onnx"),
    include_bytes!("../../tests/networks/two_heads/network.onnx"),
];

#[derive(Arbitrary, Debug)]
enum File {
    Any(Vec<u8>),
    Changed { network: u8, bytes: Vec<(u16, u8)>, inserted: Vec<(u16, Vec<u8>)>, cut: Option<u16> },
}

impl File {
    fn content(self) -> Vec<u8> {
        match self {
            Self::Any(content) => content,
            Self::Changed { network, bytes, inserted, cut } => {
                let mut content = NETWORKS[usize::from(network) % NETWORKS.len()].to_vec();
                for (at, byte) in bytes {
                    let at = usize::from(at) % content.len();
                    content[at] = byte;
                }
                for (at, more) in inserted {
                    let at = usize::from(at) % content.len();
                    content.splice(at..at, more);
                }
                content.truncate(cut.map_or(usize::MAX, usize::from));
                content
            }
        }
    }
}

fuzz_target!(|file: File| {
    let content = file.content();
    let Ok(graph) = Graph::read(&content) else { return };
    let features: Vec<&str> = graph.inputs.iter().map(|input| input.name).collect();
    let outputs: Vec<Output> = graph
        .outputs
        .iter()
        .map(|output| Output { name: output.name.into(), kind: OutputKind::Value })
        .collect();
    let _ = Binding::of(&graph, &features, &outputs, &Declared::default());
    if let Some(without) = without_zip_maps(&content, &graph).expect("it has been read") {
        let read = Graph::read(&without).expect("what is left is a graph");
        assert!(read.zip_maps.is_empty());
        assert_eq!(read.inputs, graph.inputs);
    }
});
