//! The wire format, generated from `proto/` at build time.
//!
//! These types stop at `rpc/`: inside, the engine's own are used.

/// Package `tipoff.v1`: messages, clients and services.
#[expect(clippy::large_enum_variant, reason = "a stream message is built once and sent")]
pub mod v1 {
    tonic::include_proto!("tipoff.v1");
    include!(concat!(env!("OUT_DIR"), "/services/tipoff.v1.rs"));
}

/// Package `inference`, the Open Inference Protocol: messages, clients and services.
pub mod inference {
    tonic::include_proto!("inference");
    include!(concat!(env!("OUT_DIR"), "/services/inference.rs"));
}

/// The compiled protos with their comments, a `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/protos.bin"));

#[cfg(test)]
mod tests;
