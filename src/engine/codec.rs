//! Bytes of steps and profiles, versioned: what the log and the views hold.
//!
//! Integers are LEB128 where small ones are likely, else fixed little-endian;
//! floats keep their bits. Steps name triggers and models, so that they can be
//! folded under later definitions; profiles are laid out by slot and are valid
//! for the definitions of one digest, which the views record.

mod bytes;
mod firing;
mod profile;
mod series;
mod step;

pub use bytes::Error;
pub use firing::{decode_firing, encode_firing};
pub use profile::{decode_profile, encode_profile};
pub use step::{decode_step, encode_step};
