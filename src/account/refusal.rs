//! Why an account refuses a letter, and what the caller is told of it.
use super::funds::SPENT;
use crate::{
    access::Tenant,
    budget::Blocked,
    fault::{Fault, Refused},
    id::Scope,
    json,
    money::Nanos,
    payment::{RUN_OUT, UNDERPAID},
    time::Window,
};
use serde::Serialize;
use serde_json::Value;

/// Why not.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    UnknownKey,
    RevokedKey,
    ExpiredKey,
    WrongKind,
    /// The bids were made with old rows, or under other routing policies; here are the new ones.
    Stale(Box<Tenant>),
    /// Nothing that was bid for is on the key's lists.
    NotAllowed {
        models: Option<Vec<String>>,
        providers: Option<Vec<String>>,
    },
    Budget(Box<Blocked>),
    Credits {
        available: Nanos,
        estimate: Nanos,
    },
    /// The member whose key it is was disabled.
    MemberDisabled,
    /// The key itself was, for a while.
    KeyDisabled,
    /// The operator lets the organisation do nothing but read.
    Suspended,
    /// A policy has nothing kept that this would keep.
    NoRetention {
        message: String,
    },
    /// The roles of who asks do not open it.
    Role {
        message: String,
    },
    /// As many sessions are counted as may be.
    Sessions,
    /// There is no open hold to extend, or it is too late to make one.
    Closed,
    /// Would pass once calls in flight have ended.
    InFlight,
    Rpm {
        scope: Scope,
        retry_after_s: u64,
    },
    Tpm {
        scope: Scope,
        retry_after_s: u64,
    },
    Concurrency(Scope),
    Backpressure,
    /// It has too much to do to take the letter: nothing was done. The platform says so in its place.
    Overloaded,
    NotFound {
        what: String,
    },
    /// It goes against what is there.
    Conflict(Conflict),
    /// Its payment cannot be taken for it.
    Payment(Unfit),
    /// A body that cannot be taken; `param` is empty where no one member is at fault.
    Invalid {
        param: String,
        message: String,
    },
    Malformed(String),
    /// Nothing is served there, or not with this method.
    NotServed(String),
}

json::variants!(Refusal, Self::UnknownKey, {
    UnknownKey = "unknown_key",
    RevokedKey = "revoked_key",
    ExpiredKey = "expired_key",
    WrongKind = "wrong_kind",
    Stale(inner) = "stale",
    NotAllowed { models, providers } = "not_allowed",
    Budget(inner) = "budget",
    Credits { available, estimate } = "credits",
    MemberDisabled = "member_disabled",
    KeyDisabled = "key_disabled",
    Suspended = "suspended",
    NoRetention { message } = "no_retention",
    Role { message } = "role",
    Sessions = "sessions",
    Closed = "closed",
    InFlight = "in_flight",
    Rpm { scope, retry_after_s } = "rpm",
    Tpm { scope, retry_after_s } = "tpm",
    Concurrency(inner) = "concurrency",
    Backpressure = "backpressure",
    Overloaded = "overloaded",
    NotFound { what } = "not_found",
    Conflict(inner) = "conflict",
    Payment(inner) = "payment",
    Invalid { param, message } = "invalid",
    Malformed(inner) = "malformed",
    NotServed(inner) = "not_served",
});

/// Why a payment is not taken for a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    /// Its call is under way.
    Busy,
    /// It was asked to be settled, and nobody knows yet whether it was.
    Pending,
    /// It has paid for this request before.
    Used { request_id: String, transaction: String },
    /// It was claimed for another request.
    Other,
    /// It will not be settled.
    Dead { reason: String },
    /// So much of the payer's is to be settled after the work that no more may be.
    Exposed,
    /// Its voucher does not go on where its channel is: what the payer's client has to know to sign another.
    Channel { error: String, told: Value },
}

json::variants!(Unfit, Self::Busy, {
    Busy = "busy",
    Pending = "pending",
    Used { request_id, transaction } = "used",
    Other = "other",
    Dead { reason } = "dead",
    Exposed = "exposed",
    Channel { error, told } = "channel",
});

impl Unfit {
    fn to_fault(&self) -> Fault {
        let unavailable = |code, text: &str| Fault::unavailable(code, text).retry_after(2);
        let paid = |code, text: String| Fault::new(402, "payment_required", code, text);
        match self {
            Self::Busy => {
                let text = "The call of this payment, or another that has to be settled first, is under way. Send it again in a moment.";
                unavailable("x402_payment_in_progress", text)
            }
            Self::Pending => {
                let text = "It is not known yet whether this payment was settled. Send the same one again in a moment: it is taken once.";
                unavailable("x402_settlement_unknown", text)
            }
            Self::Used { request_id, .. } => Fault::new(
                409,
                "conflict_error",
                "x402_payment_used",
                format!("This payment has paid for {request_id}."),
            ),
            Self::Other => {
                let text = "This payment was made for another request. Ask without it for the price of this one.";
                Fault::new(409, "conflict_error", "x402_payment_reused", text)
            }
            Self::Dead { reason } if reason == RUN_OUT => paid(
                "x402_invalid",
                "The payment or its offer has run out. Pay by one of the offers of this answer.".to_owned(),
            ),
            Self::Dead { reason } if reason == UNDERPAID => paid(
                "x402_invalid",
                "The payment is of less than the call may cost. Pay by one of the offers of this answer.".to_owned(),
            ),
            Self::Dead { reason } if reason == SPENT => paid(
                "x402_settlement_failed",
                "This payment became the wallet's own balance, and was spent there. Pay by a new one.".to_owned(),
            ),
            Self::Dead { reason } => paid(
                "x402_settlement_failed",
                format!(
                    "This payment could not be taken: whoever settles it says {reason}. It will not be. Pay by a new one."
                ),
            ),
            Self::Channel { error, .. } => paid("x402_voucher_mismatch", error.clone()),
            Self::Exposed => paid(
                "x402_exposure_exceeded",
                "Too much of this wallet's is still to be settled. Pay by the scheme exact, or wait a moment."
                    .to_owned(),
            ),
        }
    }
}

/// What an act would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    GroupDepth,
    GroupCycle,
    GroupArchived,
    GroupNotEmpty,
    LastOwner,
    /// The key is gone for good.
    KeyRevoked,
    /// It is not as `If-Match` has it.
    Changed,
    /// The `Idempotency-Key` came with another request before.
    OtherRequest,
    /// The organisation is closed for good.
    Closed,
}

json::words!(Conflict {
    GroupDepth = "group_depth", GroupCycle = "group_cycle", GroupArchived = "group_archived", GroupNotEmpty = "group_not_empty",
    LastOwner = "last_owner", KeyRevoked = "key_revoked", Changed = "changed", OtherRequest = "other_request",
    Closed = "closed",
});

impl Conflict {
    fn to_fault(self) -> Fault {
        let (code, text) = match self {
            Self::GroupDepth => ("group_depth_exceeded", "Groups lie at most four levels deep."),
            Self::GroupCycle => ("group_cycle", "A group cannot lie in itself or in one of its own."),
            Self::GroupArchived => ("group_archived", "The group was archived. Choose another."),
            Self::GroupNotEmpty => {
                ("group_not_empty", "The group still has groups or members. Archive, move or disable them first.")
            }
            Self::LastOwner => ("last_owner", "This is the organisation's last owner, who stays one."),
            Self::Changed => {
                let text = "It was changed since you read it. Read it again, and send the new ETag.";
                return Fault::new(412, "conflict_error", "etag_mismatch", text).with_param("If-Match");
            }
            Self::Closed => ("organization_closed", "The organisation was closed, for good. Make a new one."),
            Self::KeyRevoked => ("key_revoked", "This key was revoked, for good. Make a new one."),
            Self::OtherRequest => {
                ("idempotency_key_reused", "This Idempotency-Key came with another request before. Use a new one.")
            }
        };
        Fault::new(409, "conflict_error", code, text)
    }
}

impl From<Fault> for Refusal {
    /// What is wrong with a body.
    fn from(fault: Fault) -> Self {
        let Refused { status, code, message, param, .. } = fault.into_inner();
        match code {
            "malformed_json" => Self::Malformed(message),
            _ if status == 400 => Self::Invalid { param: param.unwrap_or_default(), message },
            _ => Self::NotServed(message),
        }
    }
}

impl Refusal {
    /// What the caller sees.
    #[must_use]
    pub fn to_fault(&self) -> Fault {
        match self {
            Self::UnknownKey | Self::RevokedKey | Self::ExpiredKey | Self::KeyDisabled | Self::WrongKind => self.of_key(),
            Self::Stale(_) => {
                Fault::unavailable("budget_unavailable", "The organisation changed while the call was admitted.")
            }
            Self::NotAllowed { models, .. } => {
                let code = if models.is_some() { "model_not_allowed" } else { "provider_not_allowed" };
                let text =
                    "This key may not use any model that could serve the request. Ask an admin to widen its allowlist.";
                Fault::forbidden(code, text)
            }
            Self::Budget(blocked) => budget_fault(blocked),
            Self::Credits { available, estimate } => {
                let text = format!(
                    "The organisation's wallet has {available} USD left and this call may cost {estimate} USD. Top up, or lower max_tokens."
                );
                Fault::new(402, "payment_required", "insufficient_credits", text)
                    .with("available_usd", available.to_string())
                    .with("estimate_usd", estimate.to_string())
            }
            Self::InFlight => Fault::new(
                429,
                "budget_error",
                "inflight_holds_exhausted",
                "What is left is held by calls in flight, or by calls whose charge is not known yet. Try again in a moment; \
                 GET /v1/key shows what is held.",
            )
            .retry_after(1),
            Self::NoRetention { message } => Fault::forbidden("routing_policy_denied", message.clone()),
            Self::Role { message } => Fault::forbidden("role_required", message.clone()),
            Self::MemberDisabled => {
                Fault::forbidden("member_disabled", "The member whose key this is was disabled. Ask your admin.")
            }
            Self::Suspended => Fault::forbidden(
                "org_suspended",
                "This organisation is suspended or closed: admins may read, nothing else is done. Ask the operator of this installation.",
            ),
            Self::Sessions => Fault::new(
                429,
                "rate_limit_error",
                "sessions_exceeded",
                "The organisation has as many sessions as it may have. They end a day after their last call.",
            )
            .retry_after(60),
            Self::Closed => {
                Fault::unavailable("budget_unavailable", "This call has run out of time at its account. Try again.")
            }
            Self::Rpm { scope, retry_after_s } => rate("rpm_exceeded", scope, "requests per minute", *retry_after_s),
            Self::Tpm { scope, retry_after_s } => rate("tpm_exceeded", scope, "tokens per minute", *retry_after_s),
            Self::Concurrency(scope) => rate("concurrency_exceeded", scope, "calls at once", 1),
            Self::Overloaded => Fault::unavailable(
                "budget_unavailable",
                "The account has too much to do at the moment. Nothing was charged. Try again in a moment.",
            ),
            Self::Backpressure => {
                Fault::unavailable("ledger_backpressure", "Too many entries wait for the journal. Try again later.")
                    .retry_after(30)
            }
            Self::Conflict(conflict) => conflict.to_fault(),
            Self::Payment(unfit) => unfit.to_fault(),
            Self::NotFound { what } => Fault::not_found("not_found", format!("There is no {what} of that name.")),
            Self::Invalid { param, message } if param.is_empty() => {
                Fault::invalid("invalid_parameter", message.as_str())
            }
            Self::Invalid { param, message } => Fault::parameter(param, message.as_str()),
            Self::Malformed(message) => Fault::invalid("malformed_json", message.as_str()),
            Self::NotServed(message) => Fault::not_found("unknown_endpoint", message.as_str()),
        }
    }
}

impl Refusal {
    /// What is wrong with the key itself.
    fn of_key(&self) -> Fault {
        let (code, what) = match self {
            Self::RevokedKey => ("revoked_key", "was revoked"),
            Self::ExpiredKey => ("expired_key", "has expired"),
            Self::KeyDisabled => {
                let text = "This key was disabled. Ask your admin to enable it.";
                return Fault::forbidden("key_disabled", text);
            }
            Self::WrongKind => return wrong_kind(),
            _ => ("invalid_key", "does not exist"),
        };
        Fault::credential(code, format!("This key {what}. Ask your admin for a new one."))
    }
}

/// 401 for a key used on the other plane.
#[must_use]
pub fn wrong_kind() -> Fault {
    Fault::credential(
        "wrong_key_kind",
        "Inference takes a key that begins mr_sk_, /admin/v1 one that begins mr_ak_; one that begins mr_in_ accepts its invite.",
    )
}

fn rate(code: &'static str, scope: &Scope, of: &str, seconds: u64) -> Fault {
    let text = format!("The {}'s limit of {of} is reached. Try again in {seconds} s.", scope.plain());
    Fault::new(429, "rate_limit_error", code, text).with("scope_type", scope.word()).retry_after(seconds)
}

fn budget_fault(blocked: &Blocked) -> Fault {
    let Blocked { scope, scope_name, window, limit_usd, posted_usd, held_usd, estimate_usd, resets_at } = blocked;
    let until = resets_at.as_ref().map_or("does not reset".to_owned(), |at| format!("resets at {at}"));
    let whose = scope.plain();
    let (code, text) = if blocked.never_fits() {
        let text = format!(
            "This call may cost {estimate_usd} USD, more than the whole {} budget of this {whose} ({limit_usd} USD). Lower max_tokens.",
            window.word()
        );
        ("request_exceeds_budget", text)
    } else {
        let code = match (window, scope) {
            (Window::Session, _) => "session_budget_exceeded",
            (_, Scope::Organization) => "organization_budget_exceeded",
            (_, Scope::Group(_)) => "group_budget_exceeded",
            (_, Scope::Member(_)) => "member_budget_exceeded",
            (_, Scope::ApiKey(_)) => "api_key_budget_exceeded",
        };
        let left = limit_usd.minus(*posted_usd).minus(*held_usd);
        let text = format!(
            "The {} budget of this {whose} has {left} USD left of {limit_usd} ({posted_usd} posted, {held_usd} held), \
             and this call may cost {estimate_usd}. It {until}. Lower max_tokens, or ask an admin for more.",
            window.word()
        );
        (code, text)
    };
    Fault::new(403, "budget_error", code, text)
        .set_by(scope, scope_name)
        .with("window", window.word())
        .with("limit_usd", limit_usd.to_string())
        .with("posted_usd", posted_usd.to_string())
        .with("held_usd", held_usd.to_string())
        .with("estimate_usd", estimate_usd.to_string())
        .with("resets_at", resets_at.clone().map_or(Value::Null, Value::from))
}
