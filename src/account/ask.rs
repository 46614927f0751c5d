//! The bodies admins and the operator send, read and checked: what is wrong is said before any account is woken.
use crate::{
    access::{MemberKind, NamedRoute, OwnProvider, Secret, Written, role::RoleGrant},
    account::letter::Standing,
    budget::{Extra, Limit, RateLimits},
    catalog::{Ability, AbortStopsBilling, Dialect, Modality, ModelRow, Prices, Provider, deployment},
    endpoint::{DEADLINE_MS_MAX, WEIGHTS, Weights},
    fault::Fault,
    json,
    money::{Nanos, Pico},
    payment::evm::Address,
    quality::Check,
    time::Millis,
};
use serde_json::Value;
use std::rc::Rc;

mod alert;
mod key;

pub use alert::{AutoTopUpAsk, TopUpAsk, WalletAsk, WebhookAsk};
pub use key::{InviteAsk, KeyAsk, NameAsk, OrganizationAsk, RotateAsk, changed_key};

const NAME_MAX: usize = 200;
const ROLES_MAX: usize = 32;

/// Reads a body into its form.
///
/// # Errors
/// 400 that says which member is wrong.
pub fn read<T: json::Read>(bytes: &[u8]) -> Result<T, Fault> {
    json::read_bytes(bytes).map_err(unreadable)
}

#[cold]
#[inline(never)]
fn unreadable(error: serde_json::Error) -> Fault {
    if error.is_data() {
        Fault::invalid("invalid_parameter", format!("The body cannot be read: {error}."))
    } else {
        Fault::invalid("malformed_json", format!("The body is not valid JSON: {error}."))
    }
}

/// `POST /platform/v1/organizations`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrganization {
    pub name: String,
    pub timezone: String,
    pub credit_usd: Option<Nanos>,
}

json::members!(strict NewOrganization { name, timezone = "UTC".to_owned(), credit_usd });

impl NewOrganization {
    /// # Errors
    /// 400 for a name or credit out of bounds.
    pub fn check(self) -> Result<Self, Fault> {
        named(&self.name)?;
        if self.credit_usd.is_some_and(|credit| credit.0 < 0) {
            return Err(Fault::parameter("credit_usd", "Credit must not be negative."));
        }
        Ok(self)
    }
}

/// `PATCH /platform/v1/organizations/{id}`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingAsk {
    pub status: Standing,
}

json::members!(strict StandingAsk { status });

/// `POST /platform/v1/organizations/{id}/credits`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditAsk {
    pub amount_usd: Nanos,
    pub reason: String,
}

json::members!(strict CreditAsk { amount_usd, reason });

impl CreditAsk {
    /// # Errors
    /// 400 for an amount that is not above 0 (of an adjustment: that is 0) or a missing reason.
    pub fn check(self, adjusts: bool) -> Result<Self, Fault> {
        if self.amount_usd.0 == 0 || self.amount_usd.0 < 0 && !adjusts {
            return Err(Fault::parameter("amount_usd", "The amount must be above 0; an adjustment may be below it."));
        }
        reasoned(&self.reason)?;
        Ok(self)
    }
}

/// `POST /platform/v1/organizations/{id}/refunds`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundAsk {
    pub entry_id: String,
    /// All of the charge where it is left out.
    pub amount_usd: Option<Nanos>,
    pub reason: String,
}

json::members!(strict RefundAsk { entry_id, amount_usd, reason });

impl RefundAsk {
    /// What is given back of a charge.
    ///
    /// # Errors
    /// 400 for an amount that is not above 0 and within the charge, or a missing reason.
    pub fn amount(&self, charge: Nanos) -> Result<Nanos, Fault> {
        reasoned(&self.reason)?;
        let amount = self.amount_usd.unwrap_or(charge);
        if amount.0 <= 0 || amount > charge {
            let text = format!("The amount must be above 0 and at most the charge, {charge} USD.");
            return Err(Fault::parameter("amount_usd", text));
        }
        Ok(amount)
    }
}

fn reasoned(reason: &str) -> Result<(), Fault> {
    if reason.trim().is_empty() || reason.chars().count() > 1_000 {
        return Err(Fault::parameter("reason", "Give a reason of 1 to 1000 characters: it stands in the ledger."));
    }
    Ok(())
}

/// Checks rate limits.
///
/// # Errors
/// 400 naming the member out of bounds.
pub fn rates(limits: RateLimits) -> Result<RateLimits, Fault> {
    for (value, member) in [(limits.rpm, "rpm"), (limits.tpm, "tpm"), (limits.concurrency, "concurrency")] {
        if value.is_some_and(|value| value == 0 || value > 1_000_000_000) {
            let text = format!("{member} is a number from 1 to 1000000000, or left out for no limit.");
            return Err(Fault::parameter(member, text));
        }
    }
    Ok(limits)
}

/// What an admin says of a group. Absent members stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupAsk {
    pub name: Option<String>,
    pub parent_id: Option<String>,
    pub cost_center: Option<String>,
    pub gone: Vec<String>,
}

json::members!(strict default GroupAsk { name, parent_id, cost_center });

/// The members of a body that are null.
pub fn nulls(body: &[u8]) -> Vec<String> {
    let told: Value = json::read_bytes(body).unwrap_or_default();
    let members = told.as_object().into_iter().flatten();
    members.filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect()
}

/// What an admin says of a member. Absent members stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberAsk {
    pub name: Option<String>,
    pub kind: Option<MemberKind>,
    pub email: Option<String>,
    pub group_id: Option<String>,
    /// The address of the wallet that may call in its name.
    pub wallet: Option<String>,
    /// All it is to have from now on, but what follows from its kind.
    pub roles: Option<Vec<RoleGrant>>,
    /// The members that are null: what they say is taken away.
    pub gone: Vec<String>,
}

json::members!(strict default MemberAsk { name, kind, email, group_id, wallet, roles });

/// `POST /groups/{id}/move`: under which group, or to the top.
#[derive(Debug, Default)]
pub struct MoveAsk {
    pub parent_id: Option<String>,
}

json::members!(strict default MoveAsk { parent_id });

/// Checks what is said of a group.
///
/// # Errors
/// 400 naming the member out of bounds.
pub fn group(ask: GroupAsk, new: bool) -> Result<GroupAsk, Fault> {
    if !new && ask.parent_id.is_some() {
        return Err(Fault::parameter("parent_id", "A group is moved by POST /admin/v1/groups/{id}/move."));
    }
    names(new, ask.name.as_deref(), ("cost_center", ask.cost_center.as_deref()))?;
    Ok(ask)
}

/// Checks what is said of a member.
///
/// # Errors
/// 400 naming the member out of bounds.
pub fn member(mut ask: MemberAsk, new: bool) -> Result<MemberAsk, Fault> {
    names(new, ask.name.as_deref(), ("email", ask.email.as_deref()))?;
    if let Some(wallet) = &ask.wallet {
        let address = Address::parse(wallet);
        ask.wallet = Some(
            address.ok_or_else(|| Fault::parameter("wallet", "wallet is an address: 0x and 40 digits."))?.to_string(),
        );
    }
    if ask.roles.as_ref().is_some_and(|roles| roles.len() > ROLES_MAX) {
        return Err(Fault::parameter("roles", format!("A member has at most {ROLES_MAX} roles.")));
    }
    if let Some(odd) = ask.roles.iter().flatten().find(|grant| !grant.is_grantable()) {
        let text = format!(
            "{} cannot be granted at the {}: owner, admin and billing are roles of the organization, group_admin of a group, auditor of \
             either; member and service_account follow from kind.",
            odd.role.word(),
            odd.scope().plain()
        );
        return Err(Fault::parameter("roles", text));
    }
    Ok(ask)
}

/// A new row needs a name; no text is empty or long.
fn names(new: bool, name: Option<&str>, (member, other): (&str, Option<&str>)) -> Result<(), Fault> {
    if let Some(name) = name.or(new.then_some("")) {
        named(name)?;
    }
    if other.is_some_and(|text| text.is_empty() || text.chars().count() > NAME_MAX) {
        return Err(Fault::parameter(member, format!("{member} is a text of 1 to {NAME_MAX} characters.")));
    }
    Ok(())
}

/// `PUT …/budgets/{window}/override`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideAsk {
    extra_usd: Nanos,
    until: String,
}

json::members!(strict OverrideAsk { extra_usd, until });

impl OverrideAsk {
    /// # Errors
    /// 400 naming the member out of bounds.
    pub fn extra(self, now: Millis) -> Result<Extra, Fault> {
        if self.extra_usd.0 <= 0 {
            return Err(Fault::parameter("extra_usd", "extra_usd is an amount above 0."));
        }
        let until = Millis::of_rfc3339(&self.until)
            .filter(|until| *until > now)
            .ok_or_else(|| Fault::parameter("until", "until is a moment to come, like \"2026-12-01T00:00:00Z\"."))?;
        Ok(Extra { extra_usd: self.extra_usd, until })
    }
}

/// Checks a budget's limit.
///
/// # Errors
/// 400 naming the member out of bounds.
pub fn limit(mut limit: Limit) -> Result<Limit, Fault> {
    if limit.limit_usd.0 < 0 {
        return Err(Fault::parameter("limit_usd", "A limit must not be negative; 0 stops every paid call."));
    }
    if limit.thresholds.len() > 10 || limit.thresholds.iter().any(|percent| *percent == 0 || *percent > 100) {
        return Err(Fault::parameter("thresholds", "thresholds are at most 10 percentages from 1 to 100."));
    }
    limit.thresholds.sort_unstable();
    limit.thresholds.dedup();
    Ok(limit)
}

/// `PUT /admin/v1/providers/{id}`
#[derive(Clone, Debug)]
pub struct ProviderAsk {
    dialect: Dialect,
    base_url: String,
    credential: Option<Secret>,
    abort_stops_billing: Option<BillingWord>,
    models: Vec<ModelAsk>,
}

json::members!(strict ProviderAsk { dialect, base_url, credential, abort_stops_billing, models });

/// `abort_stops_billing` as a word or as a plain yes or no.
#[derive(Clone, Copy, Debug)]
struct BillingWord(AbortStopsBilling);

impl json::Read for BillingWord {
    fn blank() -> Self {
        Self(AbortStopsBilling::Unknown)
    }

    fn fill(&mut self, value: Value) -> json::Filled {
        match value {
            Value::Bool(true) => self.0 = AbortStopsBilling::Yes,
            Value::Bool(false) => self.0 = AbortStopsBilling::No,
            word => self.0.fill(word).map_err(|_| {
                json::wrong("abort_stops_billing is \"yes\", \"no\", \"unknown\", true or false".to_owned())
            })?,
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct ModelAsk {
    id: String,
    input_usd_per_mtok: Pico,
    output_usd_per_mtok: Pico,
    cache_read_usd_per_mtok: Option<Pico>,
    cache_write_usd_per_mtok: Option<Pico>,
    context_length: Option<u64>,
    max_output_tokens: Option<u64>,
    supports: Option<Vec<Ability>>,
}

json::members!(strict ModelAsk {
    id, input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, cache_write_usd_per_mtok, context_length,
    max_output_tokens, supports,
});

/// What an own model is taken to do when its row does not say.
const ABILITIES: [Ability; 4] = [Ability::Tools, Ability::ParallelTools, Ability::JsonSchema, Ability::Vision];

impl ProviderAsk {
    /// The provider with its models.
    ///
    /// # Errors
    /// 400 naming the member out of bounds.
    pub fn own(self, id: &str, private_allowed: bool) -> Result<OwnProvider, Fault> {
        word("id", id)?;
        safe_base_url(&self.base_url, private_allowed).map_err(|why| Fault::parameter("base_url", why))?;
        if self.models.is_empty() || self.models.len() > 1_000 {
            return Err(Fault::parameter("models", "models is a list of 1 to 1000 models."));
        }
        let provider = Provider {
            id: id.to_owned(),
            name: id.to_owned(),
            dialect: self.dialect,
            also: Vec::new(),
            base_url: self.base_url.trim_end_matches('/').to_owned(),
            credential: None,
            abort_stops_billing: self.abort_stops_billing.map_or(AbortStopsBilling::Unknown, |word| word.0),
            quirks: Vec::new(),
            generation_path: None,
            trains_on_data: None,
            retains_data: None,
            regions: Vec::new(),
        };
        let models: Vec<ModelRow> = self.models.into_iter().map(ModelAsk::row).collect();
        let shared = Rc::new(provider.clone());
        for row in &models {
            deployment(&shared, row.clone()).map_err(|why| Fault::parameter("models", why))?;
        }
        Ok(OwnProvider { provider, models, secret: self.credential })
    }
}

impl ModelAsk {
    fn row(self) -> ModelRow {
        let supports = self.supports.unwrap_or_else(|| ABILITIES.to_vec());
        let mut input = vec![Modality::Text];
        if supports.contains(&Ability::Vision) {
            input.extend([Modality::Image, Modality::File]);
        }
        ModelRow {
            id: self.id,
            context_length: self.context_length.unwrap_or(128_000),
            max_output_tokens: self.max_output_tokens,
            prices: Prices {
                input_usd_per_mtok: self.input_usd_per_mtok,
                output_usd_per_mtok: Some(self.output_usd_per_mtok),
                cache_read_usd_per_mtok: self.cache_read_usd_per_mtok,
                cache_write_usd_per_mtok: self.cache_write_usd_per_mtok,
                ..Prices::default()
            },
            input,
            supports,
            ..ModelRow::default()
        }
    }
}

/// Checks a named route.
///
/// # Errors
/// 400 naming the member out of bounds.
pub fn route(alias: &str, route: NamedRoute) -> Result<NamedRoute, Fault> {
    word("alias", alias)?;
    if alias == "auto" {
        return Err(Fault::parameter("alias", "\"auto\" is taken. Choose another name."));
    }
    if route.targets.is_empty() || route.targets.len() > 32 {
        return Err(Fault::parameter("targets", "targets is a list of 1 to 32 deployments."));
    }
    let deadlines = route.deadlines;
    let times = [deadlines.head_ms, deadlines.first_token_ms, deadlines.stall_ms, deadlines.total_ms];
    if times.into_iter().flatten().any(|ms| ms == 0 || ms > DEADLINE_MS_MAX) {
        return Err(Fault::parameter(
            "deadlines",
            format!("Deadlines are milliseconds from 1 to {DEADLINE_MS_MAX}: a hold is kept for twenty minutes."),
        ));
    }
    if route.retries > 2 {
        return Err(Fault::parameter("retries", "retries is 0, 1 or 2."));
    }
    if route.min_tokens_per_s.is_some_and(|most| most == 0 || most > 1_000) {
        return Err(Fault::parameter("min_tokens_per_s", "min_tokens_per_s is 1 to 1000."));
    }
    let checks = route.escalation.as_ref().map_or(&[][..], |escalation| &escalation.checks);
    if !route.fallback && checks.contains(&Check::Agreement) {
        return Err(Fault::parameter("escalation.checks", "agreement asks a second target: it takes fallback."));
    }
    if route.escalation.as_ref().is_some_and(|escalation| escalation.checks.is_empty()) {
        return Err(Fault::parameter("escalation.checks", "Name at least one check, or leave escalation out."));
    }
    Ok(route)
}

/// Names of one list of a routing policy: all on a path come along with an answer.
const POLICY_NAMES_MAX: usize = 100;

/// Checks a routing policy.
///
/// # Errors
/// 400 naming the member out of bounds, or for a policy that says nothing.
pub fn policy(Written { text, policy }: &Written) -> Result<(), Fault> {
    if says_nothing(text) {
        let text = "Say at least one of mode, weights, allow, deny, data_policy, max_price, max_cost_usd, min_quality, explore \
             and control.";
        return Err(Fault::invalid("invalid_parameter", text));
    }
    // A star elsewhere would name nothing, and what was to be denied would pass.
    let good = |name: &String| name == "*" || !name.strip_suffix("/*").unwrap_or(name).contains('*');
    let fits = |list: &[String]| names_fit(list, POLICY_NAMES_MAX) && list.iter().all(good);
    let (allow, regions) = (policy.allow.as_deref(), policy.data_policy.regions.as_deref());
    let names = "at most 100 names: \"*\", \"provider/*\", \"provider/model\" or \"model\"";
    let checks = [
        (policy.weights.is_none_or(Weights::weigh), "weights", WEIGHTS),
        (fits(allow.unwrap_or_default()), "allow", names),
        (fits(&policy.deny), "deny", names),
        (fits(regions.unwrap_or_default()), "data_policy.regions", "at most 100 names of regions"),
        (policy.max_cost_usd.is_none_or(|cap| cap.0 > 0), "max_cost_usd", "an amount above 0"),
        ((0.0..=1.0).contains(&policy.min_quality), "min_quality", "a number from 0 to 1"),
        (is_share(policy.explore), "explore", SHARE),
        (is_share(policy.control), "control", SHARE),
    ];
    match checks.into_iter().find(|(good, ..)| !good) {
        Some((_, member, bounds)) => Err(Fault::parameter(member, format!("{member}: {bounds}."))),
        None => Ok(()),
    }
}

const SHARE: &str = "a number from 0 to 0.2";

fn is_share(share: Option<f64>) -> bool {
    share.is_none_or(|share| (0.0..=0.2).contains(&share))
}

/// An empty list may say something: that nothing is allowed.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(|members| members.values().all(says_nothing))
}

fn names_fit(list: &[String], most: usize) -> bool {
    list.len() <= most && list.iter().all(|name| !name.is_empty() && name.len() <= 200)
}

fn named(name: &str) -> Result<(), Fault> {
    if name.trim().is_empty() || name.chars().count() > NAME_MAX {
        return Err(Fault::parameter("name", format!("name is a text of 1 to {NAME_MAX} characters.")));
    }
    Ok(())
}

fn word(member: &str, text: &str) -> Result<(), Fault> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
        return Err(Fault::parameter(member, format!("{member} is 1 to 64 lower-case letters, digits or - _ .")));
    }
    Ok(())
}

/// Whether an organisation's base URL may be called from here: https on a public name. On a development machine also
/// plain http and addresses of the machine itself.
///
/// # Errors
/// What to change.
pub fn safe_base_url(url: &str, private_allowed: bool) -> Result<(), &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("base_url is a full URL: https://host/path.")?;
    if scheme != "https" && !(private_allowed && scheme == "http") {
        return Err("base_url must begin with https://.");
    }
    if url.len() > 500 || rest.contains(['?', '#', '@', '\\', ' ', '\r', '\n', '\t']) {
        return Err("base_url has a host and a path, no credential, query or fragment.");
    }
    if private_allowed {
        // Names, and addresses that can be read: not even on a development machine a link-local one, where a cloud keeps its
        // machines' credentials.
        let host = rest.split('/').next().unwrap_or_default();
        let bare = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let bare = bare.map_or(host, |(bare, _)| bare);
        let last = bare.rsplit('.').next().unwrap_or_default();
        let quad = bare.split('.').count() == 4
            && bare.split('.').all(|part| part.parse::<u8>().is_ok_and(|byte| byte.to_string() == part));
        let address = bare.starts_with('[') || last.starts_with(|c: char| c.is_ascii_digit());
        if address && bare != "[::1]" && (!quad || bare.starts_with("169.254.")) {
            return Err("base_url is a link-local address, or one in a form that is not read here.");
        }
        return if rest.is_empty() { Err("base_url needs a host.") } else { Ok(()) };
    }
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase();
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') {
        return Err("base_url needs a plain host name on port 443.");
    }
    let top = host.rsplit('.').next().unwrap_or_default();
    let private = ["localhost", "local", "internal", "svc", "lan", "home", "corp", "arpa"];
    // An address in any notation (dotted, decimal, 0x…) has a last label that begins with a digit.
    if !host.contains('.') || top.is_empty() || top.starts_with(|c: char| c.is_ascii_digit()) || private.contains(&top)
    {
        return Err("base_url must name a public host, not an address or a private name.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_stay_public_unless_allowed() {
        for good in ["https://api.acme.com/v1", "https://api.acme.com:443"] {
            assert_eq!(safe_base_url(good, false), Ok(()), "{good}");
        }
        for bad in [
            "api.acme.com",
            "http://api.acme.com",
            "https://127.0.0.1/v1",
            "https://2130706433",
            "https://0x7f.1",
            "https://[::1]",
            "https://localhost",
            "https://a.internal/",
            "https://user@acme.com",
            "https://acme.com:8080",
            "https://acme.com.",
            "https://acme.com/?x",
        ] {
            assert!(safe_base_url(bad, false).is_err(), "{bad}");
        }
        assert_eq!(safe_base_url("http://127.0.0.1:9000/acme", true), Ok(()));
        assert!(
            safe_base_url("http://169.254.169.254/v1", true).is_err()
                && safe_base_url("http://[FE80::1]/v1", true).is_err()
        );
        assert_eq!(safe_base_url("http://127.0.0.1:9/v1", true), Ok(()));
    }

    #[test]
    fn an_own_provider_is_checked() {
        let own = |text: &str, id: &str| read::<ProviderAsk>(text.as_bytes()).and_then(|ask| ask.own(id, false));
        let good = r#"{"dialect":"openai_chat","base_url":"https://llm.acme.com/v1/","credential":"s3cret","abort_stops_billing":true,
            "models":[{"id":"m","input_usd_per_mtok":"1","output_usd_per_mtok":2.5}]}"#;
        let provider = own(good, "acme").expect("good");
        assert_eq!(provider.provider.base_url, "https://llm.acme.com/v1");
        assert!(!format!("{provider:?}").contains("s3cret"));
        assert_eq!(own(good, "Acme").expect_err("no word").param.as_deref(), Some("id"));
        assert_eq!(own(&good.replace("\"m\"", "\"\""), "acme").expect_err("no id").param.as_deref(), Some("models"));
        assert!(own(&good.replace("\"models\"", "\"x\":1,\"models\""), "acme").is_err());
        assert!(own(&good.replace("\"1\"", "\"-1\""), "acme").is_err());
    }
}
