//! Credentials and what they allow: the grammar of keys, and an organisation's own providers and routes.
//!
//! A key carries its organisation and its own id, so no lookup finds the account, and a short code that only we can make,
//! so a forged one is refused before an account is woken. Only a digest is kept.
use crate::{
    catalog::{Deployment, ModelRow, Provider},
    endpoint::Rescue,
    id::{ULID_LEN, is_base32, push_base32},
    json,
    mode::Mode,
    quality::Check,
    table::Table,
    time::Millis,
};
use hmac::{Hmac, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;
use std::{fmt, rc::Rc};

mod policy;
pub mod role;

pub use policy::{
    ANY_QUALITY, BELOW_MIN_QUALITY, DataPolicy, Layer, OVER_MAX_COST, Policies, RULED_OUT, Retention, RoutingPolicy,
    Training, Written,
};

/// What a key opens. Each kind works only on its own surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    Inference,
    Admin,
    /// Good for one act: to become a member.
    Invite,
    /// No key at all: a wallet that has signed.
    Payer,
}

json::words!(KeyKind { Inference = "inference", Admin = "admin", Invite = "invite", Payer = "payer" });

impl KeyKind {
    /// Those that a text can be of.
    pub const ALL: [Self; 3] = [Self::Inference, Self::Admin, Self::Invite];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Admin => "admin",
            Self::Invite => "invite",
            Self::Payer => "payer",
        }
    }

    /// The kind's mark in a key.
    #[must_use]
    pub fn mark(self) -> &'static str {
        match self {
            Self::Inference => "mr_sk_",
            Self::Admin => "mr_ak_",
            Self::Invite => "mr_in_",
            Self::Payer => "",
        }
    }
}

const SECRET_LEN: usize = 32;
const CODE_LEN: usize = 8;
const KEY_LEN: usize = 6 + ULID_LEN + ULID_LEN + SECRET_LEN + CODE_LEN;

/// A well-formed key: `mr_sk_`, `mr_ak_` or `mr_in_`, then the organisation's and the key's ULID, 160 bits of secret and the code.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub kind: KeyKind,
    text: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl Key {
    /// Reads a key's grammar, nothing more.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let kind = KeyKind::ALL.into_iter().find(|kind| text.starts_with(kind.mark()))?;
        let rest = text.get(kind.mark().len()..)?;
        (text.len() == KEY_LEN && is_base32(rest)).then(|| Self { kind, text: text.to_owned() })
    }

    /// A new key. `secret` is 160 random bits.
    #[must_use]
    pub fn mint(kind: KeyKind, organization: &str, key: &str, secret: [u8; 20], pepper: &[u8]) -> Self {
        let mut text = kind.mark().to_owned();
        for id in [organization, key] {
            text.push_str(id.split_once('_').map_or(id, |(_, ulid)| ulid));
        }
        let (high, low) = secret.split_at(10);
        for half in [high, low] {
            push_base32(&mut text, half.iter().fold(0, |bits, byte| (bits << 8) | u128::from(*byte)), SECRET_LEN / 2);
        }
        let code = seal(&text, pepper).code;
        text.push_str(&code);
        Self { kind, text }
    }

    /// The organisation's id.
    #[must_use]
    pub fn organization(&self) -> String {
        format!("org_{}", self.text.get(6..6 + ULID_LEN).unwrap_or_default())
    }

    /// The key's own id.
    #[must_use]
    pub fn id(&self) -> String {
        let prefix = if self.kind == KeyKind::Invite { "inv" } else { "key" };
        format!("{prefix}_{}", self.text.get(6 + ULID_LEN..6 + 2 * ULID_LEN).unwrap_or_default())
    }

    /// The digest to compare with what was kept, or `None` for a key we never made.
    #[must_use]
    pub fn digest(&self, pepper: &[u8]) -> Option<String> {
        let (body, code) = self.text.split_at_checked(KEY_LEN - CODE_LEN)?;
        let sealed = seal(body, pepper);
        same(sealed.code.as_bytes(), code.as_bytes()).then_some(sealed.digest)
    }

    /// The whole key, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Its mark and its last four characters.
    #[must_use]
    pub fn redacted(&self) -> String {
        format!("{}…{}", self.kind.mark(), self.text.get(KEY_LEN - 4..).unwrap_or_default())
    }
}

struct Seal {
    code: String,
    digest: String,
}

/// One HMAC gives both: 40 bits are public as the key's code, the other 216 are the digest that is kept.
fn seal(body: &str, pepper: &[u8]) -> Seal {
    let mut code = String::with_capacity(CODE_LEN);
    let mut digest = String::with_capacity(64);
    let bytes = mac(body.as_bytes(), pepper);
    let (public, kept) = bytes.split_at(5);
    push_base32(&mut code, public.iter().fold(0, |bits, byte| (bits << 8) | u128::from(*byte)), CODE_LEN);
    for byte in kept {
        push_base32(&mut digest, u128::from(*byte), 2);
    }
    Seal { code, digest }
}

/// HMAC-SHA-256.
#[must_use]
pub fn mac(content: &[u8], key: &[u8]) -> [u8; 32] {
    // It takes a key of any length: the error cannot happen.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(content);
    mac.finalize().into_bytes().into()
}

/// A secret that is not kept: made again from what it is for, and from the pepper.
#[must_use]
pub fn derived(purpose: &str, pepper: &[u8]) -> [u8; 32] {
    mac(format!("secret\n{purpose}").as_bytes(), pepper)
}

/// Equality that takes the same time wherever two texts of one length differ.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

/// Who stands at the door, as far as it can be told without waking an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knock {
    /// A key we made. Whether it is still good, only the account knows.
    Known(Key, Digest),
    /// No credential, or one that is not ours.
    Stranger,
    /// It begins like one of ours and is none.
    Forged,
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(pub String);

/// Reads a credential.
#[must_use]
pub fn knock(credential: Option<&str>, pepper: &[u8]) -> Knock {
    let Some(text) = credential else { return Knock::Stranger };
    let known = Key::parse(text).and_then(|key| Some((key.digest(pepper)?, key)));
    known.map_or(Knock::Forged, |(digest, key)| Knock::Known(key, Digest(digest)))
}

/// A secret that no log and no answer shows.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secret(pub String);

json::inside!(Secret);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The deepest a group may lie: four levels under the organisation.
pub const GROUP_DEPTH_MAX: usize = 4;

/// A group of an organisation: a department, a team.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_center: Option<String>,
    pub created_at: Millis,
    pub archived: bool,
}

json::members!(default Group { name, parent_id, cost_center, created_at, archived });

/// Who owns keys: a person, or a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberKind {
    #[default]
    User,
    ServiceAccount,
}

json::words!(MemberKind { User = "user", ServiceAccount = "service_account" });

/// A member of an organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Member {
    pub name: String,
    pub kind: MemberKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// May not be disabled while it is the only one.
    pub owner: bool,
    /// The wallet that may call in its name: an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wallet: Option<String>,
    /// The roles it was granted beside.
    #[serde(skip_serializing_if = "role::Grants::is_empty")]
    pub roles: role::Grants,
    pub created_at: Millis,
    pub disabled: bool,
}

json::members!(default Member { name, kind, email, group_id, owner, wallet, roles, created_at, disabled });

/// What an organisation brings along to every decision: its own providers and its named routes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tenant {
    pub organization: String,
    /// Rises with every change; an isolate with an older one is told the new one when it asks for a hold.
    pub version: u64,
    pub providers: Table<String, OwnProvider>,
    pub routes: Table<String, NamedRoute>,
    /// Beside what is the organisation's: the list of [`Layer`]s that the key that asked stands under; null for none.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub policies: Value,
    /// Who calls is told the price where the organisation does not pay.
    pub payment_challenge: bool,
}

json::members!(Tenant {
    organization, version, providers, routes, policies = Value::Null, payment_challenge = false,
});

/// A provider of one organisation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OwnProvider {
    pub provider: Provider,
    pub models: Vec<ModelRow>,
    /// Its credentials, a line each, as the worker has sealed them.
    pub secret: Option<Secret>,
}

json::members!(OwnProvider { provider, models, secret });

impl OwnProvider {
    /// Its credentials, one by one.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secret.iter().flat_map(|secret| secret.0.lines())
    }

    /// Its models, ready to be routed to. Rows were validated when they were put.
    #[must_use]
    pub fn deployments(&self) -> Vec<Rc<Deployment>> {
        let provider = Rc::new(self.provider.clone());
        let rows = self.models.iter().cloned();
        rows.filter_map(|row| crate::catalog::deployment(&provider, row).ok()).map(Rc::new).collect()
    }
}

/// A named route: a model name of one organisation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedRoute {
    pub targets: Vec<Target>,
    /// Absent: the order of the targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether a failed attempt may go on to the next target.
    pub fallback: bool,
    /// How often a target is asked again that failed in passing: 0 to 2.
    pub retries: u32,
    pub deadlines: Deadlines,
    /// A stream that is slower for a while counts as broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens_per_s: Option<u32>,
    /// What happens when a stream breaks, where the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Rescue>,
    /// Whether the next target is asked as well when the first content is late, where the request does not say.
    pub hedge: bool,
    /// What an answer is checked for, where the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalation>,
}

json::members!(strict NamedRoute {
    targets, mode, fallback = true, retries = 1, deadlines = Deadlines::default(), min_tokens_per_s, rescue, hedge = false,
    escalation,
});

/// When an answer is not good enough, so that the next target is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Escalation {
    pub checks: Vec<Check>,
}

json::members!(strict Escalation { checks });

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    pub provider: String,
    pub model: String,
    /// Share of first attempts among the targets that have a weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

json::members!(strict Target { provider, model, weight });

impl Target {
    /// The id of its deployment.
    #[must_use]
    pub fn deployment(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }
}

/// How long to wait, in milliseconds. Absent members keep their defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deadlines {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
}

json::members!(strict Deadlines { head_ms, first_token_ms, stall_ms, total_ms });

/// Whether an allowlist names a model: `*`, `provider/*`, `provider/model` or a bare model without a slash. With one it is
/// read as a provider's: a reseller's `openai/gpt-x` is not what an admin means by it.
#[must_use]
pub fn allows_model(list: &[String], provider: &str, model: &str) -> bool {
    list.iter().any(|pattern| {
        pattern == "*"
            || (pattern == model && !model.contains('/'))
            || pattern
                .strip_prefix(provider)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|rest| rest == "*" || rest == model)
    })
}

/// Whether an allowlist names a provider: `*` or its id.
#[must_use]
pub fn allows_provider(list: &[String], provider: &str) -> bool {
    list.iter().any(|pattern| pattern == "*" || pattern == provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORG: &str = "org_01kayz0000000000000000000a";
    const KEY: &str = "key_01kayz0000000000000000000b";

    #[test]
    fn a_key_tells_its_account_and_proves_itself() {
        let key = Key::mint(KeyKind::Inference, ORG, KEY, [7; 20], b"pepper");
        let read = Key::parse(key.reveal()).expect("well formed");
        assert_eq!((read.organization().as_str(), read.id().as_str(), read.kind), (ORG, KEY, KeyKind::Inference));
        assert_eq!(read.digest(b"pepper"), key.digest(b"pepper"));
        assert!(read.digest(b"pepper").is_some() && read.digest(b"other").is_none());
        assert!(!format!("{key:?}").contains(key.reveal().get(10..60).expect("long")));
    }

    #[test]
    fn lists_name_models_and_providers() {
        let model = |pattern: &str| allows_model(&[pattern.to_owned()], "acme", "m/1");
        assert!(["*", "acme/*", "acme/m/1"].into_iter().all(model));
        assert!(!["", "acme", "acme/", "acme/m", "acm/*", "acme2/*", "m", "m/1", "other/m/1"].into_iter().any(model));
        assert!(allows_model(&["m".to_owned()], "acme", "m"));
        let provider = |pattern: &str| allows_provider(&[pattern.to_owned()], "acme");
        assert!(provider("*") && provider("acme") && !provider("acme/*") && !provider(""));
    }

    #[test]
    fn a_changed_character_is_no_key_of_ours() {
        let key = Key::mint(KeyKind::Admin, ORG, KEY, [1; 20], b"pepper");
        for place in 6..KEY_LEN {
            let mut text = key.reveal().as_bytes().to_vec();
            text[place] = if text[place] == b'0' { b'1' } else { b'0' };
            let read = Key::parse(std::str::from_utf8(&text).expect("ascii")).expect("still the grammar");
            assert_eq!(read.digest(b"pepper"), None, "at {place}");
        }
        for text in ["", "mr_sk_", "mr_sk_short", "sk-other", &key.reveal().to_uppercase()] {
            assert!(Key::parse(text).is_none(), "{text}");
        }
    }
}
