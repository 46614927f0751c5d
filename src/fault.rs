//! What can go wrong, in the two directions: [`Fault`] is what a caller may see, [`UpstreamFault`] is what a provider said.
//!
//! The catalogue of codes is closed: a caller can branch on `code`. Text of a provider's 5xx never reaches a caller.
use crate::id::Scope;
use crate::json::put;
use serde_json::{Map, Value};
use std::ops::{Deref, DerefMut};

/// A refusal with everything the caller needs to act on it. Dialects turn it into their own error shape. One word, so that
/// handing it on costs little.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault(Box<Refused>);

impl Deref for Fault {
    type Target = Refused;

    fn deref(&self) -> &Refused {
        &self.0
    }
}

impl DerefMut for Fault {
    fn deref_mut(&mut self) -> &mut Refused {
        &mut self.0
    }
}

/// What a [`Fault`] says.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub status: u16,
    /// The `type` of OpenAI's error object.
    pub kind: &'static str,
    pub code: &'static str,
    /// A full sentence that says what to do next.
    pub message: String,
    pub param: Option<String>,
    pub metadata: Map<String, Value>,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u64>,
    /// `x-should-retry`, which the OpenAI and Anthropic clients obey above the status.
    pub should_retry: bool,
    /// How it can be paid: the `PAYMENT-REQUIRED` header.
    pub payment_required: Option<String>,
}

impl Fault {
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn new(status: u16, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let metadata = Map::new();
        Self(Box::new(Refused {
            status,
            kind,
            code,
            message,
            param: None,
            metadata,
            retry_after_s: None,
            should_retry: false,
            payment_required: None,
        }))
    }

    /// 400: the caller's own request cannot be served as it stands.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", code, message)
    }

    /// 400 naming the parameter at fault.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn parameter(param: &str, message: impl Into<String>) -> Self {
        Self::invalid("invalid_parameter", message).with_param(param)
    }

    /// 401, only for a credential that is proven bad.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn credential(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(401, "authentication_error", code, message)
    }

    /// 403: the credential is good, the act is not allowed.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(403, "permission_error", code, message)
    }

    /// 404.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(404, "not_found_error", code, message)
    }

    /// 503: we cannot know or cannot reach what we need; worth another try.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(503, "unavailable", code, message).retry_after(1)
    }

    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn with_param(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        put(&mut self.metadata, name, value.into());
        self
    }

    /// Whose rule or limit it is.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn set_by(self, scope: &Scope, name: &str) -> Self {
        let id = scope.id().map_or(Value::Null, Value::from);
        self.with("scope_type", scope.word()).with("scope_id", id).with("scope_name", name)
    }

    /// What it says.
    pub fn into_inner(self) -> Refused {
        *self.0
    }

    /// Worth another try after `seconds`.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self.should_retry = true;
        self
    }
}

/// What a failed attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The request itself: another provider would refuse it too.
    Invalid,
    /// Too long for this model; a larger context may do.
    ContextLength,
    /// The body is too large for this provider.
    TooLarge,
    /// Our credential at the provider is bad. Never a caller's 401.
    Credential,
    /// Our account at the provider is empty or capped.
    OutOfFunds,
    /// The provider does not serve this model to us.
    UnknownModel,
    RateLimited,
    Overloaded,
    /// 5xx, or an answer that is no answer.
    Server,
    /// A stream that cannot be read, or does not end where it has to.
    Malformed,
    /// An answer that does not join the one it was to go on with.
    Diverged,
    /// No connection, or it broke.
    Connection,
    /// A deadline of ours passed.
    Timeout,
}

impl Cause {
    /// Whether another deployment may answer what this one did not.
    #[must_use]
    pub fn may_fall_back(self) -> bool {
        !matches!(self, Self::Invalid)
    }

    /// Whether the deployment's health should suffer: a bad request says nothing about it.
    #[must_use]
    pub fn blames_deployment(self) -> bool {
        !matches!(self, Self::Invalid | Self::ContextLength | Self::TooLarge | Self::Diverged)
    }

    /// Whether the provider has not ended its answer: it was let go, or lost, and may write on.
    #[must_use]
    pub fn leaves_open(self) -> bool {
        matches!(self, Self::Timeout | Self::Connection | Self::Malformed | Self::Diverged)
    }

    /// Whether it is our credential there that would not do: another may. Rates are limited by the credential.
    #[must_use]
    pub fn blames_credential(self) -> bool {
        matches!(self, Self::Credential | Self::OutOfFunds | Self::RateLimited)
    }

    /// The word in `attempts[].outcome` and in health samples.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_request",
            Self::ContextLength => "context_length",
            Self::TooLarge => "too_large",
            Self::Credential => "credential",
            Self::OutOfFunds => "out_of_funds",
            Self::UnknownModel => "unknown_model",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Server => "server_error",
            Self::Malformed => "malformed",
            Self::Diverged => "diverged",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
        }
    }
}

/// A provider's failure, classified. One word, as [`Fault`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFault(Box<Failed>);

impl Deref for UpstreamFault {
    type Target = Failed;

    fn deref(&self) -> &Failed {
        &self.0
    }
}

impl DerefMut for UpstreamFault {
    fn deref_mut(&mut self) -> &mut Failed {
        &mut self.0
    }
}

/// What an [`UpstreamFault`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The HTTP status; 0 where there was none.
    pub status: u16,
    pub cause: Cause,
    /// The provider's text. Shown to callers only for [`Cause::Invalid`] and [`Cause::ContextLength`].
    pub message: String,
    pub param: Option<String>,
    pub retry_after_ms: Option<u64>,
}

impl UpstreamFault {
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn new(status: u16, cause: Cause, message: impl Into<String>) -> Self {
        Self(Box::new(Failed { status, cause, message: message.into(), param: None, retry_after_ms: None }))
    }

    /// What the caller sees when this was the last attempt that could be made.
    #[must_use]
    pub fn to_fault(&self) -> Fault {
        let mut fault = match self.cause {
            Cause::Invalid => Fault::invalid("invalid_request", self.message.clone()),
            Cause::ContextLength => Fault::invalid("context_length_exceeded", self.message.clone()),
            Cause::TooLarge => Fault::new(
                413,
                "request_too_large",
                "body_too_large",
                "The request is too large for every model it may go to.",
            ),
            Cause::Credential | Cause::OutOfFunds => Fault::new(
                502,
                "upstream_error",
                "upstream_auth_failed",
                "The provider refused our credential for it. Nothing is wrong with your key: whoever set up the provider's has to mend it.",
            ),
            Cause::UnknownModel => Fault::not_found(
                "model_not_found",
                "The provider does not serve this model at the moment. Choose another.",
            ),
            Cause::RateLimited => Fault::new(
                429,
                "rate_limit_error",
                "upstream_rate_limited",
                "Every provider this request may go to is limiting our rate. Try again later, or allow more models.",
            )
            .retry_after(self.retry_after_ms.unwrap_or(1_000).div_ceil(1_000)),
            Cause::Overloaded => Fault::new(
                503,
                "unavailable",
                "upstream_overloaded",
                "Every provider this request may go to is overloaded.",
            )
            .retry_after(2),
            Cause::Server | Cause::Malformed | Cause::Diverged => Fault::new(
                502,
                "upstream_error",
                "upstream_invalid_response",
                "Every provider this request may go to failed to answer. Allow more models, or try again later.",
            ),
            Cause::Connection => Fault::new(
                503,
                "unavailable",
                "upstream_unreachable",
                "No provider this request may go to could be reached. Allow more models, or try again later.",
            ),
            Cause::Timeout => Fault::new(
                504,
                "timeout",
                "upstream_timeout",
                "No provider answered in time. Raise deadline_ms, max_ttft_ms or the route's deadlines, or allow more models.",
            ),
        };
        fault.param.clone_from(&self.param);
        fault.should_retry = false;
        fault
    }
}
