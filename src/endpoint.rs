//! Method and path to one closed [`Endpoint`], and the vocabulary of our headers.
//!
//! What is authorised is the typed endpoint that is then dispatched: no second reading of the path exists.
use crate::{fault::Fault, id::Scope, time::Window};

mod overrides;

pub use overrides::{DEADLINE_MS_MAX, Explain, MaxPrice, Overrides, Priority, Providers, Rescue, WEIGHTS, Weights};

/// Everything the worker serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An answer of a model, asked for in the caller's dialect.
    Chat(Surface),
    /// How many tokens a request of Messages has, by our estimate. Free.
    CountTokens,
    Models,
    Model(String),
    /// Whether the worker is up. Touches nothing.
    Healthz,
    /// `GET /v1/key`: what the key's holder may know of its limits.
    Key,
    /// `POST /v1/feedback`: how good an answer was.
    Feedback,
    /// `GET /v1/receipts/{request_id}`
    Receipt(String),
    /// The public keys of receipts.
    ReceiptKeys,
    Admin(Admin),
    Platform(Platform),
}

/// The dialects callers may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
}

impl Surface {
    pub const ALL: &[Self] =
        &[Self::ChatCompletions, Self::Messages, Self::Completions, Self::Embeddings, Self::Responses];

    /// Whether its answers are turns of a conversation: read while they pass, and of one prompt each.
    pub fn is_chat(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Messages | Self::Responses)
    }
}

/// The organisation's own plane, with an admin key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    CreateKey,
    ListKeys,
    GetKey(String),
    UpdateKey(String),
    RotateKey(String),
    RevokeKey(String),
    CreateInvite,
    ListInvites,
    GetInvite(String),
    RevokeInvite(String),
    /// With an invite in place of an admin key.
    AcceptInvite,
    GetOrganization,
    UpdateOrganization,
    /// PUT, GET or DELETE of what new members get.
    Defaults(&'static str, Scope),
    PutBudget(Scope, Window),
    GetBudget(Scope, Window),
    DeleteBudget(Scope, Window),
    ListBudgets(Scope),
    PutOverride(Scope, Window),
    DeleteOverride(Scope, Window),
    PutRates(Scope),
    GetRates(Scope),
    /// PUT, GET or DELETE of a routing policy.
    Policy(&'static str, Scope),
    CreateGroup,
    ListGroups,
    GetGroup(String),
    UpdateGroup(String),
    ArchiveGroup(String),
    MoveGroup(String),
    CreateMember,
    ListMembers,
    CreateServiceAccount,
    ListServiceAccounts,
    GetMember(String),
    UpdateMember(String),
    DisableMember(String),
    GetWallet,
    UpdateWallet,
    TopUp,
    GetLift,
    /// What was used and spent: the same under both names.
    Spend,
    PutProvider(String),
    GetProvider(String),
    ListProviders,
    DeleteProvider(String),
    PutRoute(String),
    GetRoute(String),
    ListRoutes,
    DeleteRoute(String),
    LedgerEntries,
    LedgerEntry(String),
    Recompute(String),
    Requests,
    /// The trail of what admins did, and where it ends.
    AuditLogs,
    AuditCheckpoints,
    CreateWebhook,
    ListWebhooks,
    GetWebhook(String),
    UpdateWebhook(String),
    DeleteWebhook(String),
    TestWebhook(String),
    RotateWebhook(String),
    ListAlerts,
    ResendAlert(String),
}

/// The operator's plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platform {
    CreateOrganization,
    Credit(String),
    Adjust(String),
    Refund(String),
    /// Stored credentials under the master key that seals now.
    Reseal(String),
    /// Holds the accounts against the journal: one, or a page of them.
    Reconcile,
    Metrics,
    /// Signed by Stripe, in place of the operator's token.
    StripeWebhook,
    GetCatalog,
    PutCatalog,
    ValidateCatalog,
}

impl Endpoint {
    /// The endpoint of a request.
    ///
    /// # Errors
    /// 404 for a path nobody serves, with a hint at the likely one; 405 for a method a path does not have.
    pub fn of(method: &str, path: &str) -> Result<Self, Fault> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            ["healthz"] => only(method, &[("GET", Self::Healthz)]),
            ["v1", "chat", "completions"] => only(method, &[("POST", Self::Chat(Surface::ChatCompletions))]),
            ["v1", "completions"] => only(method, &[("POST", Self::Chat(Surface::Completions))]),
            ["v1", "embeddings"] => only(method, &[("POST", Self::Chat(Surface::Embeddings))]),
            ["v1", "responses"] => only(method, &[("POST", Self::Chat(Surface::Responses))]),
            ["v1", "messages"] => only(method, &[("POST", Self::Chat(Surface::Messages))]),
            ["v1", "messages", "count_tokens"] => only(method, &[("POST", Self::CountTokens)]),
            ["v1", "key"] => only(method, &[("GET", Self::Key)]),
            ["v1", "feedback"] => only(method, &[("POST", Self::Feedback)]),
            ["v1", "receipts", id] => only(method, &[("GET", Self::Receipt(percent_decoded(id)))]),
            [".well-known", "megarouter-keys.json"] => only(method, &[("GET", Self::ReceiptKeys)]),
            ["v1", "models"] => only(method, &[("GET", Self::Models)]),
            ["v1", "models", id @ ..] if !id.is_empty() => {
                only(method, &[("GET", Self::Model(percent_decoded(&id.join("/"))))])
            }
            ["admin", "v1", rest @ ..] => admin(method, rest).unwrap_or_else(|| Err(unknown(path))),
            ["platform", "v1", rest @ ..] => platform(method, rest).unwrap_or_else(|| Err(unknown(path))),
            _ => Err(unknown(path)),
        }
    }
}

fn admin(method: &str, segments: &[&str]) -> Option<Result<Endpoint, Fault>> {
    let id = |text: &&str| (*text).to_owned();
    let served: Vec<(&str, Admin)> = match segments {
        ["api_keys"] => vec![("POST", Admin::CreateKey), ("GET", Admin::ListKeys)],
        ["api_keys", key] => vec![
            ("GET", Admin::GetKey(id(key))),
            ("PATCH", Admin::UpdateKey(id(key))),
            ("DELETE", Admin::RevokeKey(id(key))),
        ],
        ["api_keys", key, "rotate"] => vec![("POST", Admin::RotateKey(id(key)))],
        ["invites"] => vec![("POST", Admin::CreateInvite), ("GET", Admin::ListInvites)],
        ["invites", "accept"] => vec![("POST", Admin::AcceptInvite)],
        ["invites", invite] => vec![("GET", Admin::GetInvite(id(invite))), ("DELETE", Admin::RevokeInvite(id(invite)))],
        ["organization"] => vec![("GET", Admin::GetOrganization), ("PATCH", Admin::UpdateOrganization)],
        ["groups"] => vec![("POST", Admin::CreateGroup), ("GET", Admin::ListGroups)],
        ["groups", group] => vec![("GET", Admin::GetGroup(id(group))), ("PATCH", Admin::UpdateGroup(id(group)))],
        ["groups", group, "archive"] => vec![("POST", Admin::ArchiveGroup(id(group)))],
        ["groups", group, "move"] => vec![("POST", Admin::MoveGroup(id(group)))],
        ["service_accounts"] => vec![("POST", Admin::CreateServiceAccount), ("GET", Admin::ListServiceAccounts)],
        ["members"] => vec![("POST", Admin::CreateMember), ("GET", Admin::ListMembers)],
        ["members", member] => vec![("GET", Admin::GetMember(id(member))), ("PATCH", Admin::UpdateMember(id(member)))],
        ["members", member, "disable" | "archive"] => vec![("POST", Admin::DisableMember(id(member)))],
        ["organization", rest @ ..] => limits(&Scope::Organization, rest)?,
        ["groups", group, rest @ ..] => limits(&Scope::Group(id(group)), rest)?,
        ["members", member, rest @ ..] => limits(&Scope::Member(id(member)), rest)?,
        ["api_keys", key, rest @ ..] => limits(&Scope::ApiKey(id(key)), rest)?,
        ["wallet"] => vec![("GET", Admin::GetWallet), ("PATCH", Admin::UpdateWallet)],
        ["wallet", "topups"] => vec![("POST", Admin::TopUp)],
        ["webhook_endpoints"] => vec![("POST", Admin::CreateWebhook), ("GET", Admin::ListWebhooks)],
        ["webhook_endpoints", hook] => vec![
            ("GET", Admin::GetWebhook(id(hook))),
            ("PATCH", Admin::UpdateWebhook(id(hook))),
            ("DELETE", Admin::DeleteWebhook(id(hook))),
        ],
        ["webhook_endpoints", hook, "test"] => vec![("POST", Admin::TestWebhook(id(hook)))],
        ["webhook_endpoints", hook, "rotate_secret"] => vec![("POST", Admin::RotateWebhook(id(hook)))],
        ["alerts"] => vec![("GET", Admin::ListAlerts)],
        ["alerts", alert, "resend"] => vec![("POST", Admin::ResendAlert(id(alert)))],
        ["usage" | "costs"] => vec![("GET", Admin::Spend)],
        ["router_lift"] => vec![("GET", Admin::GetLift)],
        ["providers"] => vec![("GET", Admin::ListProviders)],
        ["providers", name] => vec![
            ("PUT", Admin::PutProvider(id(name))),
            ("GET", Admin::GetProvider(id(name))),
            ("DELETE", Admin::DeleteProvider(id(name))),
        ],
        ["routes"] => vec![("GET", Admin::ListRoutes)],
        ["routes", alias] => vec![
            ("PUT", Admin::PutRoute(id(alias))),
            ("GET", Admin::GetRoute(id(alias))),
            ("DELETE", Admin::DeleteRoute(id(alias))),
        ],
        ["ledger", "entries", entry] => vec![("GET", Admin::LedgerEntry(percent_decoded(entry)))],
        ["ledger", "entries", entry, "recompute"] => vec![("GET", Admin::Recompute(percent_decoded(entry)))],
        ["ledger", "entries"] => vec![("GET", Admin::LedgerEntries)],
        ["requests"] => vec![("GET", Admin::Requests)],
        ["audit_logs"] => vec![("GET", Admin::AuditLogs)],
        ["audit_logs", "checkpoints"] => vec![("GET", Admin::AuditCheckpoints)],
        _ => return None,
    };
    let served: Vec<(&str, Endpoint)> = served.into_iter().map(|(verb, act)| (verb, Endpoint::Admin(act))).collect();
    Some(only(method, &served))
}

/// What lies under a scope: its budgets, its rates and its routing policy.
fn limits(scope: &Scope, segments: &[&str]) -> Option<Vec<(&'static str, Admin)>> {
    let scope = scope.clone();
    Some(match segments {
        ["budgets"] => vec![("GET", Admin::ListBudgets(scope))],
        ["budgets", window] => {
            let window = Window::of_word(window)?;
            vec![
                ("PUT", Admin::PutBudget(scope.clone(), window)),
                ("GET", Admin::GetBudget(scope.clone(), window)),
                ("DELETE", Admin::DeleteBudget(scope, window)),
            ]
        }
        ["budgets", window, "override"] => {
            let window = Window::of_word(window)?;
            vec![("PUT", Admin::PutOverride(scope.clone(), window)), ("DELETE", Admin::DeleteOverride(scope, window))]
        }
        ["rate_limits"] => vec![("PUT", Admin::PutRates(scope.clone())), ("GET", Admin::GetRates(scope))],
        ["member_defaults"] if matches!(scope, Scope::Organization | Scope::Group(_)) => {
            ["PUT", "GET", "DELETE"].map(|verb| (verb, Admin::Defaults(verb, scope.clone()))).into()
        }
        ["routing_policy"] => ["PUT", "GET", "DELETE"].map(|verb| (verb, Admin::Policy(verb, scope.clone()))).into(),
        _ => return None,
    })
}

fn platform(method: &str, segments: &[&str]) -> Option<Result<Endpoint, Fault>> {
    let served = match segments {
        ["organizations"] => vec![("POST", Platform::CreateOrganization)],
        ["organizations", id, "credits"] => vec![("POST", Platform::Credit((*id).to_owned()))],
        ["organizations", id, "adjustments"] => vec![("POST", Platform::Adjust((*id).to_owned()))],
        ["organizations", id, "refunds"] => vec![("POST", Platform::Refund((*id).to_owned()))],
        ["organizations", id, "reseal"] => vec![("POST", Platform::Reseal((*id).to_owned()))],
        ["stripe", "webhook"] => vec![("POST", Platform::StripeWebhook)],
        ["metrics"] => vec![("GET", Platform::Metrics)],
        ["reconcile"] => vec![("POST", Platform::Reconcile)],
        ["catalog"] => vec![("GET", Platform::GetCatalog), ("PUT", Platform::PutCatalog)],
        ["catalog", "validate"] => vec![("POST", Platform::ValidateCatalog)],
        _ => return None,
    };
    let served: Vec<(&str, Endpoint)> = served.into_iter().map(|(verb, act)| (verb, Endpoint::Platform(act))).collect();
    Some(only(method, &served))
}

fn only(method: &str, served: &[(&str, Endpoint)]) -> Result<Endpoint, Fault> {
    served.iter().find(|(verb, _)| *verb == method).map(|(_, endpoint)| endpoint.clone()).ok_or_else(|| {
        let verbs: Vec<&str> = served.iter().map(|(verb, _)| *verb).collect();
        Fault::new(
            405,
            "invalid_request_error",
            "method_not_allowed",
            format!("This path does not take {method}. It takes {}.", verbs.join(" and ")),
        )
        .with("allow", verbs.join(", "))
    })
}

fn unknown(path: &str) -> Fault {
    let hint = if path.starts_with("/v1/v1/") {
        "Your base URL ends in /v1 and the client appends it once more: leave one of them out.".to_owned()
    } else if ["/chat/completions", "/responses", "/models", "/messages", "/embeddings", "/completions"]
        .iter()
        .any(|end| path.ends_with(end))
    {
        "Set the client's base URL to this host followed by /v1.".to_owned()
    } else {
        "Served are /v1/chat/completions, /v1/responses, /v1/messages, /v1/embeddings, /v1/completions, /v1/models, /admin/v1 and \
         /platform/v1.".to_owned()
    };
    Fault::not_found("unknown_endpoint", format!("Nothing is served at {path:.200}. {hint}"))
}

/// `%2F` and the like in a path or a query's value, undone. What is no escape stays.
#[must_use]
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let escaped = after.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(b'%');
            rest = after;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A request's headers, names in lower case.
#[derive(Clone, Debug, Default)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Takes in a credential from the query, as Google's SDKs can send one.
    pub fn add_query_key(&mut self, query: &str) {
        let found = query.split('&').find_map(|pair| pair.strip_prefix("key=")).filter(|key| key.starts_with("mr_"));
        if let Some(key) = found {
            self.0.push(("x-goog-api-key".to_owned(), percent_decoded(key)));
        }
    }

    /// Whether an Anthropic client asks.
    #[must_use]
    pub fn of_anthropic(&self) -> bool {
        self.get("anthropic-version").is_some()
    }

    /// The caller's credential, in any of the four ways clients send one. `None` also for one that is not ours.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        let bearer = self.get("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let plain = ["x-api-key", "api-key", "x-goog-api-key"].into_iter().filter_map(|name| self.get(name));
        bearer.into_iter().chain(plain).find(|token| token.starts_with("mr_"))
    }

    /// The bearer token, whoever made it: the operator's is not one of ours.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.get("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_endpoints() {
        assert_eq!(Endpoint::of("POST", "/v1/chat/completions/"), Ok(Endpoint::Chat(Surface::ChatCompletions)));
        assert_eq!(Endpoint::of("GET", "/v1/models/openai/gpt-x"), Ok(Endpoint::Model("openai/gpt-x".into())));
        assert_eq!(
            Endpoint::of("PUT", "/admin/v1/api_keys/key_x/budgets/day"),
            Ok(Endpoint::Admin(Admin::PutBudget(Scope::ApiKey("key_x".into()), Window::Day)))
        );
        let told = |method, path| Endpoint::of(method, path).map_err(|fault| (fault.status, fault.message));
        assert!(
            told("GET", "/v1/chat/completions").is_err_and(|(status, text)| status == 405 && text.contains("POST"))
        );
        assert!(
            told("POST", "/v1/v1/messages").is_err_and(|(status, text)| status == 404 && text.contains("once more"))
        );
        assert!(told("PUT", "/admin/v1/organization/budgets/year").is_err_and(|(status, _)| status == 404));
    }

    #[test]
    fn escapes_are_undone_and_the_rest_stays() {
        for (text, plain) in [("a%2Fb", "a/b"), ("%C3%A9", "é"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("%+1", "%+1")]
        {
            assert_eq!(percent_decoded(text), plain);
        }
        assert_eq!(Endpoint::of("GET", "/v1/models/openai%2Fgpt-x"), Ok(Endpoint::Model("openai/gpt-x".into())));
    }

    #[test]
    fn a_credential_comes_in_four_ways() {
        for (name, value) in [
            ("authorization", "bearer mr_sk_1"),
            ("x-api-key", "mr_sk_1"),
            ("api-key", "mr_sk_1"),
            ("x-goog-api-key", "mr_sk_1"),
        ] {
            assert_eq!(Headers(vec![(name.into(), value.into())]).credential(), Some("mr_sk_1"), "{name}");
        }
        assert_eq!(Headers(vec![("authorization".into(), "Bearer sk-other".into())]).credential(), None);
    }
}
