//! Between the wire's types and the engine's: the only place that knows both.

mod explanation;
mod intake;
mod reply;

pub use explanation::explanation;
pub use intake::Intake;
pub use reply::{
    as_of, features, firing, model_score, output_kind, profile, reason, timestamp, user_ref, value,
};

#[cfg(test)]
mod tests;
