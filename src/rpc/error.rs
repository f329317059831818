//! Refusals, as results of single items and as failures of whole calls.

use std::collections::HashMap;
use std::fmt;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use super::reason::Reason;
use crate::proto::v1;

/// The `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "tipoff";

/// Something was refused: one item of a request, or the whole of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub reason: Reason,
    /// The path of the offending field; empty if no single field is at fault.
    pub field: String,
    /// For people: lower case, no full stop.
    pub message: String,
}

impl Refusal {
    pub fn new(reason: Reason, message: impl fmt::Display) -> Self {
        Self { reason, field: String::new(), message: message.to_string() }
    }

    pub fn of_field(reason: Reason, field: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { reason, field: field.to_string(), message: message.to_string() }
    }

    /// The same, with `field` at fault.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        self.field = field.to_owned();
        self
    }

    /// The same, with the field as a part of `outer`.
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        self.field =
            if self.field.is_empty() { outer.to_string() } else { format!("{outer}.{}", self.field) };
        self
    }

    /// As the result of one item.
    pub fn into_rejection(self) -> v1::Rejection {
        v1::Rejection {
            field: self.field,
            reason: self.reason.name().to_owned(),
            message: self.message,
            retryable: self.reason.retry_after().is_some(),
        }
    }
}

/// As the failure of a call, with `ErrorInfo` always, `BadRequest` where a
/// field is at fault and `RetryInfo` where trying again can help.
impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.reason;
        let mut details = ErrorDetails::with_error_info(reason.name(), DOMAIN, HashMap::new());
        if !refusal.field.is_empty() {
            details.add_bad_request_violation(refusal.field.as_str(), refusal.message.as_str());
        }
        if let Some(delay) = reason.retry_after() {
            details.set_retry_info(Some(delay));
        }
        let message = if refusal.field.is_empty() {
            refusal.message
        } else {
            format!("{}: {}", refusal.field, refusal.message)
        };
        Self::with_error_details(reason.code(), message, details)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_bad_field_names_itself_in_the_details() {
        let status: Status = Refusal::of_field(Reason::IdTooLong, "user.user_id", "300 bytes").into();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "user.user_id: 300 bytes");
        let details = status.get_error_details();
        let info = details.error_info().expect("always there");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("ID_TOO_LONG", "tipoff"));
        let violations = &details.bad_request().expect("a field is at fault").field_violations;
        assert_eq!(violations[0].field, "user.user_id");
        assert!(details.retry_info().is_none());
    }

    #[test]
    fn overload_says_when_to_come_back() {
        let status: Status = Refusal::new(Reason::Overloaded, "queue 3 is full").into();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let details = status.get_error_details();
        assert_eq!(details.retry_info().and_then(|info| info.retry_delay), Reason::Overloaded.retry_after());
        assert!(details.bad_request().is_none());
    }
}
