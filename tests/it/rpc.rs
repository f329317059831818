//! The services, their errors and their streams.

mod access;
mod deploy;
mod events;
mod explain;
mod inference;
mod scoring;
mod shadow;
mod triggers;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The code and the reason of a failed call.
fn failure(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?} carries no ErrorInfo"));
    assert_eq!(info.domain, "tipoff");
    (status.code(), info.reason.clone())
}
