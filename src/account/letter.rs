//! The letters an account answers: one version byte, then JSON. Members may be added; what is there keeps its meaning,
//! because during a deploy a new worker writes to an old object and the other way round.
use crate::{
    access::{KeyKind, NamedRoute, OwnProvider, Tenant, allows_model, allows_provider},
    budget::{Blocked, Limit},
    fault::Fault,
    id::Scope,
    json,
    ledger::CallRecord,
    money::Nanos,
    time::Window,
};
use serde::Serialize;
use serde_json::Value;

const VERSION: u8 = 1;

/// Writes a letter or an answer.
#[must_use]
pub fn write(letter: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    // Serialising plain data cannot fail; a bare version byte is refused by the reader.
    if let Ok(json) = serde_json::to_vec(letter) {
        bytes.extend_from_slice(&json);
    }
    bytes
}

/// Reads a letter or an answer.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read<T: json::Read>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, text)) => json::read_bytes(text).map_err(|error| error.to_string()),
        Some((version, _)) => Err(format!("letter version {version} is not known")),
        None => Err("an empty letter".into()),
    }
}

/// Who knocks: a key that proved to be one of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    pub key_id: String,
    pub digest: String,
    pub kind: KeyKind,
}

json::members!(Caller { key_id, digest, kind });

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Letter {
    /// Makes the account of an organisation, with its first admin key. Idempotent by the organisation's id.
    Found {
        organization: Organization,
        admin_key: NewKey,
        credit: Option<NewCredit>,
    },
    /// The operator grants credit.
    Credit(NewCredit),
    Hold(HoldLetter),
    Post(PostLetter),
    /// What this caller may see of itself: for `GET /v1/models`.
    Whoami(Caller),
    Admin {
        caller: Caller,
        act: Act,
    },
    /// Wakes the account, so that its alarm is set again should it have been lost.
    Nudge,
}

json::variants!(Letter, Self::Nudge, {
    Found { organization, admin_key, credit } = "found",
    Credit(inner) = "credit",
    Hold(inner) = "hold",
    Post(inner) = "post",
    Whoami(inner) = "whoami",
    Admin { caller, act } = "admin",
    Nudge = "nudge",
});

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Organization {
    pub id: String,
    pub name: String,
    pub timezone: String,
    pub created_at: u64,
}

json::members!(Organization { id, name, timezone, created_at });

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewCredit {
    /// Makes the grant idempotent.
    pub id: String,
    pub amount: Nanos,
    pub reason: String,
}

json::members!(NewCredit { id, amount, reason });

/// A key about to be kept: everything but its text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewKey {
    pub id: String,
    pub digest: String,
    pub redacted: String,
    pub kind: KeyKind,
    pub spec: KeySpec,
}

json::members!(NewKey { id, digest, redacted, kind, spec });

/// What an admin says of a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KeySpec {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_allowlist: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_allowlist: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

json::members!(default KeySpec { name, model_allowlist, provider_allowlist, rpm, tpm, concurrency, expires_at });

impl KeySpec {
    /// Whether a key of this spec may use a model at a provider. Absent lists allow everything.
    #[must_use]
    pub fn allows(&self, provider: &str, model: &str) -> bool {
        self.model_allowlist.as_ref().is_none_or(|list| allows_model(list, provider, model))
            && self.provider_allowlist.as_ref().is_none_or(|list| allows_provider(list, provider))
    }
}

/// Asks for money before a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HoldLetter {
    pub request_id: String,
    pub caller: Caller,
    /// The version of the organisation's rows the bids were made with.
    pub tenant_version: u64,
    pub bids: Vec<Bid>,
    /// Prompt and output bound, for the token rate.
    pub tokens: u64,
    /// Check everything, hold nothing.
    pub dry: bool,
}

json::members!(HoldLetter { request_id, caller, tenant_version, bids, tokens, dry = Default::default() });

/// A candidate and the most it can cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bid {
    pub provider: String,
    pub model: String,
    pub amount: Nanos,
}

json::members!(Bid { provider, model, amount });

/// Closes a hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PostLetter {
    pub request_id: String,
    pub outcome: PostOutcome,
    pub call: CallRecord,
    /// Tokens really used, so that the token rate gets the rest back.
    pub tokens: u64,
}

json::members!(PostLetter { request_id, outcome, call, tokens });

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PostOutcome {
    /// Nothing was sent to a provider: the hold goes, no entry stays.
    Void,
    /// The charge is known.
    Charge(Nanos),
    /// A provider may have billed more than we saw. The budget stays held; what was metered is posted after a day.
    Suspense { metered: Nanos },
}

json::variants!(PostOutcome, Self::Void, {
    Void = "void",
    Charge(inner) = "charge",
    Suspense { metered } = "suspense",
});

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Held(Grant),
    Posted,
    Whoami {
        spec: KeySpec,
        tenant: Tenant,
    },
    /// The body of a control-plane answer.
    Told {
        status: u16,
        body: Value,
    },
    Refused(Refusal),
}

json::variants!(Answer, Self::Posted, {
    Held(inner) = "held",
    Posted = "posted",
    Whoami { spec, tenant } = "whoami",
    Told { status, body } = "told",
    Refused(inner) = "refused",
});

/// A granted hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// 0 when the hold was dry.
    pub amount: Nanos,
    /// The places of the bids that are allowed and affordable.
    pub allowed: Vec<usize>,
}

json::members!(Grant { amount, allowed });

/// Why not.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    UnknownKey,
    RevokedKey,
    ExpiredKey,
    WrongKind,
    /// The bids were made with old rows; here are the new ones.
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
    /// Would pass once calls in flight have ended.
    InFlight,
    Rpm {
        retry_after_s: u64,
    },
    Tpm {
        retry_after_s: u64,
    },
    Concurrency,
    Backpressure,
    NotFound {
        what: String,
    },
    Invalid {
        param: String,
        message: String,
    },
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
    InFlight = "in_flight",
    Rpm { retry_after_s } = "rpm",
    Tpm { retry_after_s } = "tpm",
    Concurrency = "concurrency",
    Backpressure = "backpressure",
    NotFound { what } = "not_found",
    Invalid { param, message } = "invalid",
});

/// What an admin does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Proves the key, nothing else: before the journal is read.
    Prove,
    CreateKey(NewKey),
    ListKeys,
    GetKey(String),
    RevokeKey(String),
    PutBudget {
        scope: Scope,
        window: Window,
        limit: Limit,
    },
    GetBudget {
        scope: Scope,
        window: Window,
    },
    DeleteBudget {
        scope: Scope,
        window: Window,
    },
    GetWallet,
    PutProvider {
        id: String,
        own: OwnProvider,
    },
    GetProvider(String),
    ListProviders,
    DeleteProvider(String),
    PutRoute {
        alias: String,
        route: NamedRoute,
    },
    GetRoute(String),
    ListRoutes,
    DeleteRoute(String),
}

json::variants!(Act, Self::Prove, {
    Prove = "prove",
    CreateKey(inner) = "create_key",
    ListKeys = "list_keys",
    GetKey(inner) = "get_key",
    RevokeKey(inner) = "revoke_key",
    PutBudget { scope, window, limit } = "put_budget",
    GetBudget { scope, window } = "get_budget",
    DeleteBudget { scope, window } = "delete_budget",
    GetWallet = "get_wallet",
    PutProvider { id, own } = "put_provider",
    GetProvider(inner) = "get_provider",
    ListProviders = "list_providers",
    DeleteProvider(inner) = "delete_provider",
    PutRoute { alias, route } = "put_route",
    GetRoute(inner) = "get_route",
    ListRoutes = "list_routes",
    DeleteRoute(inner) = "delete_route",
});

impl Refusal {
    /// What the caller sees.
    #[must_use]
    pub fn to_fault(&self) -> Fault {
        match self {
            Self::UnknownKey => {
                Fault::credential("invalid_key", "This key does not exist. Ask your admin for a new one.")
            }
            Self::RevokedKey => Fault::credential("revoked_key", "This key was revoked. Ask your admin for a new one."),
            Self::ExpiredKey => Fault::credential("expired_key", "This key has expired. Ask your admin for a new one."),
            Self::WrongKind => wrong_kind(),
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
                "What is left is held by calls in flight. Try again in a moment.",
            )
            .retry_after(1),
            Self::Rpm { retry_after_s } => rate("rpm_exceeded", "requests per minute", *retry_after_s),
            Self::Tpm { retry_after_s } => rate("tpm_exceeded", "tokens per minute", *retry_after_s),
            Self::Concurrency => rate("concurrency_exceeded", "calls at once", 1),
            Self::Backpressure => {
                Fault::unavailable("ledger_backpressure", "Too many entries wait for the journal. Try again later.")
                    .retry_after(30)
            }
            Self::NotFound { what } => Fault::not_found("not_found", format!("There is no {what} of that name.")),
            Self::Invalid { param, message } => Fault::parameter(param, message.clone()),
        }
    }
}

/// 401 for a key used on the other plane.
#[must_use]
pub fn wrong_kind() -> Fault {
    Fault::credential("wrong_key_kind", "Inference takes a key that begins mr_sk_, /admin/v1 one that begins mr_ak_.")
}

fn rate(code: &'static str, of: &str, seconds: u64) -> Fault {
    Fault::new(429, "rate_limit_error", code, format!("This key's limit of {of} is reached. Try again in {seconds} s."))
        .retry_after(seconds)
}

fn budget_fault(blocked: &Blocked) -> Fault {
    let Blocked { scope, window, limit_usd, posted_usd, held_usd, estimate_usd, resets_at } = blocked;
    let until = resets_at.as_ref().map_or("does not reset".to_owned(), |at| format!("resets at {at}"));
    let whose = scope.word().replace('_', " ");
    let (code, text) = if blocked.never_fits() {
        let text = format!(
            "This call may cost {estimate_usd} USD, more than the whole {} budget of this {whose} ({limit_usd} USD). Lower max_tokens.",
            window.word()
        );
        ("request_exceeds_budget", text)
    } else {
        let code = match scope {
            Scope::Organization => "organization_budget_exceeded",
            Scope::ApiKey(_) => "api_key_budget_exceeded",
        };
        let left = limit_usd.minus(*posted_usd).minus(*held_usd);
        let text = format!(
            "The {} budget of this {whose} has {left} USD left of {limit_usd} ({posted_usd} posted, {held_usd} held), \
             and this call may cost {estimate_usd}. It {until}. Lower max_tokens, or ask an admin for more.",
            window.word()
        );
        (code, text)
    };
    let id = match scope {
        Scope::Organization => Value::Null,
        Scope::ApiKey(id) => id.as_str().into(),
    };
    Fault::new(403, "budget_error", code, text)
        .with("scope_type", scope.word())
        .with("scope_id", id)
        .with("window", window.word())
        .with("limit_usd", limit_usd.to_string())
        .with("posted_usd", posted_usd.to_string())
        .with("held_usd", held_usd.to_string())
        .with("estimate_usd", estimate_usd.to_string())
        .with("resets_at", resets_at.clone().map_or(Value::Null, Value::from))
}
