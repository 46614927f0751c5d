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
    /// `GET /v1/payment-options`: how calls can be paid for one by one.
    PaymentOptions,
    /// `GET /v1/balance`: what a wallet that has signed in has here.
    Balance,
    /// `POST /v1/refund`: a wallet that has signed in gets its balance back.
    Refund,
    /// `GET` of what calls are paid at: clients of channels have theirs given back there.
    Leave,
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
    GetOrganization(String),
    /// Suspends it, resumes it, closes it.
    UpdateOrganization(String),
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
        let segments = path.split_once('/').map_or("", |(_, segments)| segments);
        // The methods of the first form that the path has.
        let (mut known, mut verbs) = (None, Vec::new());
        for (route, make) in SERVED {
            let Some((verb, form)) = route.split_once(' ') else { continue };
            if known.is_some_and(|known| known != form) {
                continue;
            }
            let Some(taken) = Taken::of(form, segments) else { continue };
            if verb == method {
                return Ok(make.endpoint(verb, taken));
            }
            known = Some(form);
            verbs.push(verb);
        }
        if verbs.is_empty() {
            return Err(unknown(path));
        }
        let text = format!("This path does not take {method}. It takes {}.", verbs.join(" and "));
        Err(Fault::new(405, "invalid_request_error", "method_not_allowed", text).with("allow", verbs.join(", ")))
    }
}

/// How an endpoint is made of what its path holds.
enum Make {
    Call(fn() -> Endpoint),
    CallOf(fn(String) -> Endpoint),
    Act(fn() -> Admin),
    ActOf(fn(String) -> Admin),
    /// On what stands under a scope.
    Limit(fn(Scope) -> Admin),
    LimitIn(fn(Scope, Window) -> Admin),
    LimitBy(fn(&'static str, Scope) -> Admin),
    Operate(fn() -> Platform),
    OperateOf(fn(String) -> Platform),
}

impl Make {
    fn endpoint(&self, verb: &'static str, taken: Taken) -> Endpoint {
        let Taken { text, scope, window } = taken;
        let act = match self {
            Self::Call(make) => return make(),
            Self::CallOf(make) => return make(text),
            Self::Operate(make) => return Endpoint::Platform(make()),
            Self::OperateOf(make) => return Endpoint::Platform(make(text)),
            Self::Act(make) => make(),
            Self::ActOf(make) => make(text),
            Self::Limit(make) => make(scope),
            Self::LimitIn(make) => make(scope, window),
            Self::LimitBy(make) => make(verb, scope),
        };
        Endpoint::Admin(act)
    }
}

/// All that is served: method, form of the path, endpoint. Of two forms that a path may have, the first is meant. In a form
/// stands `{id}` for a segment, `{text}` for one whose escapes are undone, `{rest}` for all that comes; `{scope}` for the
/// organisation, a group, a member or a key, `{holder}` for one of these that has members; and `{window}` for a budget's.
/// What is asked for most comes first.
const SERVED: &[(&str, Make)] = &[
    ("POST v1/chat/completions", Make::Call(|| Endpoint::Chat(Surface::ChatCompletions))),
    ("POST v1/messages", Make::Call(|| Endpoint::Chat(Surface::Messages))),
    ("POST v1/responses", Make::Call(|| Endpoint::Chat(Surface::Responses))),
    ("POST v1/completions", Make::Call(|| Endpoint::Chat(Surface::Completions))),
    ("POST v1/embeddings", Make::Call(|| Endpoint::Chat(Surface::Embeddings))),
    ("GET v1/chat/completions", Make::Call(|| Endpoint::Leave)),
    ("GET v1/messages", Make::Call(|| Endpoint::Leave)),
    ("GET v1/responses", Make::Call(|| Endpoint::Leave)),
    ("GET v1/completions", Make::Call(|| Endpoint::Leave)),
    ("GET v1/embeddings", Make::Call(|| Endpoint::Leave)),
    ("POST v1/messages/count_tokens", Make::Call(|| Endpoint::CountTokens)),
    ("GET healthz", Make::Call(|| Endpoint::Healthz)),
    ("GET v1/key", Make::Call(|| Endpoint::Key)),
    ("POST v1/feedback", Make::Call(|| Endpoint::Feedback)),
    ("GET v1/payment-options", Make::Call(|| Endpoint::PaymentOptions)),
    ("GET v1/balance", Make::Call(|| Endpoint::Balance)),
    ("POST v1/refund", Make::Call(|| Endpoint::Refund)),
    ("GET v1/receipts/{text}", Make::CallOf(Endpoint::Receipt)),
    ("GET .well-known/megarouter-keys.json", Make::Call(|| Endpoint::ReceiptKeys)),
    ("GET v1/models", Make::Call(|| Endpoint::Models)),
    ("GET v1/models/{rest}", Make::CallOf(Endpoint::Model)),
    ("POST admin/v1/api_keys", Make::Act(|| Admin::CreateKey)),
    ("GET admin/v1/api_keys", Make::Act(|| Admin::ListKeys)),
    ("GET admin/v1/api_keys/{id}", Make::ActOf(Admin::GetKey)),
    ("PATCH admin/v1/api_keys/{id}", Make::ActOf(Admin::UpdateKey)),
    ("DELETE admin/v1/api_keys/{id}", Make::ActOf(Admin::RevokeKey)),
    ("POST admin/v1/api_keys/{id}/rotate", Make::ActOf(Admin::RotateKey)),
    ("POST admin/v1/invites", Make::Act(|| Admin::CreateInvite)),
    ("GET admin/v1/invites", Make::Act(|| Admin::ListInvites)),
    ("POST admin/v1/invites/accept", Make::Act(|| Admin::AcceptInvite)),
    ("GET admin/v1/invites/{id}", Make::ActOf(Admin::GetInvite)),
    ("DELETE admin/v1/invites/{id}", Make::ActOf(Admin::RevokeInvite)),
    ("GET admin/v1/organization", Make::Act(|| Admin::GetOrganization)),
    ("PATCH admin/v1/organization", Make::Act(|| Admin::UpdateOrganization)),
    ("POST admin/v1/groups", Make::Act(|| Admin::CreateGroup)),
    ("GET admin/v1/groups", Make::Act(|| Admin::ListGroups)),
    ("GET admin/v1/groups/{id}", Make::ActOf(Admin::GetGroup)),
    ("PATCH admin/v1/groups/{id}", Make::ActOf(Admin::UpdateGroup)),
    ("POST admin/v1/groups/{id}/archive", Make::ActOf(Admin::ArchiveGroup)),
    ("POST admin/v1/groups/{id}/move", Make::ActOf(Admin::MoveGroup)),
    ("POST admin/v1/service_accounts", Make::Act(|| Admin::CreateServiceAccount)),
    ("GET admin/v1/service_accounts", Make::Act(|| Admin::ListServiceAccounts)),
    ("POST admin/v1/members", Make::Act(|| Admin::CreateMember)),
    ("GET admin/v1/members", Make::Act(|| Admin::ListMembers)),
    ("GET admin/v1/members/{id}", Make::ActOf(Admin::GetMember)),
    ("PATCH admin/v1/members/{id}", Make::ActOf(Admin::UpdateMember)),
    ("POST admin/v1/members/{id}/disable", Make::ActOf(Admin::DisableMember)),
    ("POST admin/v1/members/{id}/archive", Make::ActOf(Admin::DisableMember)),
    ("GET admin/v1/wallet", Make::Act(|| Admin::GetWallet)),
    ("PATCH admin/v1/wallet", Make::Act(|| Admin::UpdateWallet)),
    ("POST admin/v1/wallet/topups", Make::Act(|| Admin::TopUp)),
    ("POST admin/v1/webhook_endpoints", Make::Act(|| Admin::CreateWebhook)),
    ("GET admin/v1/webhook_endpoints", Make::Act(|| Admin::ListWebhooks)),
    ("GET admin/v1/webhook_endpoints/{id}", Make::ActOf(Admin::GetWebhook)),
    ("PATCH admin/v1/webhook_endpoints/{id}", Make::ActOf(Admin::UpdateWebhook)),
    ("DELETE admin/v1/webhook_endpoints/{id}", Make::ActOf(Admin::DeleteWebhook)),
    ("POST admin/v1/webhook_endpoints/{id}/test", Make::ActOf(Admin::TestWebhook)),
    ("POST admin/v1/webhook_endpoints/{id}/rotate_secret", Make::ActOf(Admin::RotateWebhook)),
    ("GET admin/v1/alerts", Make::Act(|| Admin::ListAlerts)),
    ("POST admin/v1/alerts/{id}/resend", Make::ActOf(Admin::ResendAlert)),
    ("GET admin/v1/usage", Make::Act(|| Admin::Spend)),
    ("GET admin/v1/costs", Make::Act(|| Admin::Spend)),
    ("GET admin/v1/router_lift", Make::Act(|| Admin::GetLift)),
    ("GET admin/v1/providers", Make::Act(|| Admin::ListProviders)),
    ("PUT admin/v1/providers/{id}", Make::ActOf(Admin::PutProvider)),
    ("GET admin/v1/providers/{id}", Make::ActOf(Admin::GetProvider)),
    ("DELETE admin/v1/providers/{id}", Make::ActOf(Admin::DeleteProvider)),
    ("GET admin/v1/routes", Make::Act(|| Admin::ListRoutes)),
    ("PUT admin/v1/routes/{id}", Make::ActOf(Admin::PutRoute)),
    ("GET admin/v1/routes/{id}", Make::ActOf(Admin::GetRoute)),
    ("DELETE admin/v1/routes/{id}", Make::ActOf(Admin::DeleteRoute)),
    ("GET admin/v1/ledger/entries", Make::Act(|| Admin::LedgerEntries)),
    ("GET admin/v1/ledger/entries/{text}", Make::ActOf(Admin::LedgerEntry)),
    ("GET admin/v1/ledger/entries/{text}/recompute", Make::ActOf(Admin::Recompute)),
    ("GET admin/v1/requests", Make::Act(|| Admin::Requests)),
    ("GET admin/v1/audit_logs", Make::Act(|| Admin::AuditLogs)),
    ("GET admin/v1/audit_logs/checkpoints", Make::Act(|| Admin::AuditCheckpoints)),
    ("GET admin/v1/{scope}/budgets", Make::Limit(Admin::ListBudgets)),
    ("PUT admin/v1/{scope}/budgets/{window}", Make::LimitIn(Admin::PutBudget)),
    ("GET admin/v1/{scope}/budgets/{window}", Make::LimitIn(Admin::GetBudget)),
    ("DELETE admin/v1/{scope}/budgets/{window}", Make::LimitIn(Admin::DeleteBudget)),
    ("PUT admin/v1/{scope}/budgets/{window}/override", Make::LimitIn(Admin::PutOverride)),
    ("DELETE admin/v1/{scope}/budgets/{window}/override", Make::LimitIn(Admin::DeleteOverride)),
    ("PUT admin/v1/{scope}/rate_limits", Make::Limit(Admin::PutRates)),
    ("GET admin/v1/{scope}/rate_limits", Make::Limit(Admin::GetRates)),
    ("PUT admin/v1/{holder}/member_defaults", Make::LimitBy(Admin::Defaults)),
    ("GET admin/v1/{holder}/member_defaults", Make::LimitBy(Admin::Defaults)),
    ("DELETE admin/v1/{holder}/member_defaults", Make::LimitBy(Admin::Defaults)),
    ("PUT admin/v1/{scope}/routing_policy", Make::LimitBy(Admin::Policy)),
    ("GET admin/v1/{scope}/routing_policy", Make::LimitBy(Admin::Policy)),
    ("DELETE admin/v1/{scope}/routing_policy", Make::LimitBy(Admin::Policy)),
    ("POST platform/v1/organizations", Make::Operate(|| Platform::CreateOrganization)),
    ("GET platform/v1/organizations/{id}", Make::OperateOf(Platform::GetOrganization)),
    ("PATCH platform/v1/organizations/{id}", Make::OperateOf(Platform::UpdateOrganization)),
    ("POST platform/v1/organizations/{id}/credits", Make::OperateOf(Platform::Credit)),
    ("POST platform/v1/organizations/{id}/adjustments", Make::OperateOf(Platform::Adjust)),
    ("POST platform/v1/organizations/{id}/refunds", Make::OperateOf(Platform::Refund)),
    ("POST platform/v1/organizations/{id}/reseal", Make::OperateOf(Platform::Reseal)),
    ("POST platform/v1/stripe/webhook", Make::Operate(|| Platform::StripeWebhook)),
    ("GET platform/v1/metrics", Make::Operate(|| Platform::Metrics)),
    ("POST platform/v1/reconcile", Make::Operate(|| Platform::Reconcile)),
    ("GET platform/v1/catalog", Make::Operate(|| Platform::GetCatalog)),
    ("PUT platform/v1/catalog", Make::Operate(|| Platform::PutCatalog)),
    ("POST platform/v1/catalog/validate", Make::Operate(|| Platform::ValidateCatalog)),
];

/// What a path holds.
struct Taken {
    text: String,
    scope: Scope,
    window: Window,
}

impl Taken {
    /// Reads a path without the slash in front; `None` if it has not this form.
    fn of(form: &str, path: &str) -> Option<Self> {
        let mut taken = Self { text: String::new(), scope: Scope::Organization, window: Window::Day };
        let mut rest = Some(path);
        for piece in form.split('/') {
            let all = rest?;
            let segment = next(&mut rest)?;
            match piece {
                "{id}" => segment.clone_into(&mut taken.text),
                "{text}" => taken.text = percent_decoded(segment),
                "{rest}" => (taken.text, rest) = (percent_decoded(all), None),
                "{window}" => taken.window = Window::of_word(segment)?,
                "{scope}" | "{holder}" => {
                    taken.scope = match segment {
                        "organization" => Scope::Organization,
                        "groups" => Scope::Group(next(&mut rest)?.to_owned()),
                        "members" if piece == "{scope}" => Scope::Member(next(&mut rest)?.to_owned()),
                        "api_keys" if piece == "{scope}" => Scope::ApiKey(next(&mut rest)?.to_owned()),
                        _ => return None,
                    };
                }
                word if word == segment => {}
                _ => return None,
            }
        }
        rest.is_none().then_some(taken)
    }
}

/// The next segment of what is left of a path.
fn next<'a>(rest: &mut Option<&'a str>) -> Option<&'a str> {
    let path = rest.take()?;
    let Some((segment, after)) = path.split_once('/') else { return Some(path) };
    *rest = Some(after);
    Some(segment)
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
        "Served are /v1/chat/completions, /v1/responses, /v1/messages, /v1/embeddings, /v1/completions, /v1/models, /v1/key, \
         /v1/feedback, /v1/receipts, /v1/balance, /v1/refund, /v1/payment-options, /admin/v1 and /platform/v1.".to_owned()
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
        let told =
            |method, path| Endpoint::of(method, path).map_err(|fault| (fault.status, fault.into_inner().message));
        assert!(
            told("PUT", "/v1/chat/completions").is_err_and(|(status, text)| status == 405 && text.contains("POST"))
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
