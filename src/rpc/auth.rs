//! The bearer token that calls must carry, where one is configured.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::error::Refusal;
use super::reason::Reason;
use crate::config::Token;
use crate::metrics::Metrics;

/// Lets calls through that carry the server's token; every call where there is none.
#[derive(Clone, Debug)]
pub struct Guard {
    token: Option<Token>,
    metrics: Arc<Metrics>,
}

impl Guard {
    pub fn new(token: Option<Token>, metrics: Arc<Metrics>) -> Self {
        Self { token, metrics }
    }

    /// Checks the value of an `authorization` header, in a time that does not
    /// depend on how much of the token is right.
    pub fn check(&self, authorization: Option<&[u8]>) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let refusal = match authorization.and_then(bearer) {
            None => Refusal::new(Reason::TokenMissing, "this server wants `authorization: Bearer <token>`"),
            Some(given) if bool::from(given.ct_eq(token.reveal().as_bytes())) => return Ok(()),
            Some(_) => Refusal::new(Reason::TokenWrong, "this is not the server's token"),
        };
        self.metrics.server.fail(refusal.reason);
        Err(refusal)
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let authorization = request.metadata().get("authorization").map(|value| value.as_bytes());
        self.check(authorization)?;
        Ok(request)
    }
}

/// The token of a `Bearer` authorization; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::metrics;

    const TOKEN: &str = "0123456789abcdef";

    fn guard(token: &str) -> Guard {
        let flags = [("server.token".to_owned(), token.to_owned())];
        let config = crate::config::Config::from_layers(None, [], &flags).expect("valid");
        Guard::new(config.server.token, Arc::new(metrics()))
    }

    #[test]
    fn only_the_right_token_passes() {
        let guard = guard(TOKEN);
        for (authorization, expected) in [
            (None, Err(Reason::TokenMissing)),
            (Some(""), Err(Reason::TokenMissing)),
            (Some("Basic 0123456789abcdef"), Err(Reason::TokenMissing)),
            (Some(TOKEN), Err(Reason::TokenMissing)),
            (Some("Bearer "), Err(Reason::TokenWrong)),
            (Some("Bearer 0123456789abcdeg"), Err(Reason::TokenWrong)),
            (Some("Bearer 0123456789abcde"), Err(Reason::TokenWrong)),
            (Some("Bearer 0123456789abcdef0"), Err(Reason::TokenWrong)),
            (Some("Bearer 0123456789abcdef"), Ok(())),
            (Some("bearer 0123456789abcdef"), Ok(())),
        ] {
            let result = guard.check(authorization.map(str::as_bytes)).map_err(|refusal| refusal.reason);
            assert_eq!(result, expected, "{authorization:?}");
        }
        let rendered = guard.metrics.render().expect("it renders");
        assert!(rendered.contains("tipoff_call_failures_total{reason=\"TOKEN_WRONG\"} 4"), "{rendered}");
    }

    #[test]
    fn without_a_token_every_call_passes() {
        assert_eq!(guard("").check(None), Ok(()));
    }

    #[test]
    fn calls_are_refused_as_unauthenticated() {
        let status = guard(TOKEN).call(Request::new(())).expect_err("it carries no token");
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    }
}
