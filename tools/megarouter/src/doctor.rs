//! Looks a deployment over: `gather` asks, `judge` says what is wrong and what to do.
use crate::{
    client::{Answer, Ask, Server},
    config::{Config, is_open},
};
use megarouter::access::{Key, KeyKind};
use serde_json::Value;
use std::collections::BTreeMap;

mod judge;
pub use judge::{Finding, Level, judge};

/// Whose credential a probe shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Nobody,
    /// In the form of a key, made here.
    Forged,
    Admin,
    Inference,
    Operator,
}

/// A request that is made to learn something by its answer.
struct Probe {
    name: &'static str,
    whose: Whose,
    method: &'static str,
    path: &'static str,
    body: &'static str,
}

const fn probe(
    name: &'static str,
    whose: Whose,
    method: &'static str,
    path: &'static str,
    body: &'static str,
) -> Probe {
    Probe { name, whose, method, path, body }
}

const CHAT: &str = "/v1/chat/completions";
const HELLO: &str = r#"{"model":"auto","max_tokens":1,"messages":[{"role":"user","content":"Hello!"}]}"#;
/// Decides and asks nobody: it costs nothing, also where a key opens what it should not.
const DECIDE: &str =
    r#"{"model":"auto","messages":[{"role":"user","content":"Hello!"}],"megarouter":{"explain":"only"}}"#;

#[rustfmt::skip]
const PROBES: &[Probe] = &[
    probe("healthz", Whose::Nobody, "GET", "/healthz", ""),
    probe("models", Whose::Nobody, "GET", "/v1/models", ""),
    probe("stranger", Whose::Nobody, "POST", CHAT, HELLO),
    probe("forged", Whose::Forged, "POST", CHAT, HELLO),
    probe("receipt_keys", Whose::Nobody, "GET", "/.well-known/megarouter-keys.json", ""),
    probe("admin_calls", Whose::Admin, "POST", CHAT, DECIDE),
    probe("own_key", Whose::Admin, "GET", "/admin/v1/api_keys/{key}", ""),
    probe("own_member", Whose::Admin, "GET", "/admin/v1/members/{member}", ""),
    probe("wallet", Whose::Admin, "GET", "/admin/v1/wallet", ""),
    probe("budgets", Whose::Admin, "GET", "/admin/v1/organization/budgets", ""),
    probe("webhooks", Whose::Admin, "GET", "/admin/v1/webhook_endpoints", ""),
    probe("dead_letters", Whose::Admin, "GET", "/admin/v1/alerts?status=failed", ""),
    probe("keys", Whose::Admin, "GET", "/admin/v1/api_keys", ""),
    probe("members", Whose::Admin, "GET", "/admin/v1/members", ""),
    probe("decision", Whose::Inference, "POST", CHAT, DECIDE),
    probe("catalog", Whose::Operator, "GET", "/platform/v1/catalog", ""),
    probe("metrics", Whose::Operator, "GET", "/platform/v1/metrics", ""),
    probe("reconciliation", Whose::Operator, "POST", "/platform/v1/reconcile{of}", ""),
];

/// What came back, by the names of the probes.
#[derive(Debug, Default)]
pub struct Gathered {
    pub base_url: String,
    /// What this machine's clock showed when the first answer came, in milliseconds since 1970.
    pub now_ms: u64,
    pub has_admin_key: bool,
    /// `make run` said that a sandbox answers.
    pub sandbox: bool,
    pub answers: BTreeMap<&'static str, Result<Answer, String>>,
}

/// Asks what there is to ask with the credentials there are. Ends with the first
/// request if no worker answers it: keys are not for others.
pub fn gather(server: Server<'_>, config: &Config, clock: &dyn Fn() -> u64) -> Gathered {
    let admin = config.admin_key.as_deref();
    let key = admin.and_then(Key::parse);
    let (own, of) = key.map_or_default(|key| (key.id(), format!("?organization={}", key.organization())));
    let forged = forged();
    let mut gathered = Gathered {
        base_url: config.base_url.clone(),
        has_admin_key: admin.is_some(),
        sandbox: config.sandbox,
        ..Gathered::default()
    };
    for probe in PROBES {
        let token = match probe.whose {
            Whose::Nobody => None,
            Whose::Forged => Some(forged.as_str()),
            Whose::Admin => admin,
            Whose::Inference => config.inference_key.as_deref(),
            Whose::Operator => config.operator_token.as_deref(),
        };
        // No key goes where others can read it.
        let unsafe_to_send = token.is_some() && is_open(&config.base_url);
        if probe.whose != Whose::Nobody && token.is_none() || unsafe_to_send {
            continue;
        }
        let member = gathered.text("own_key", "owner_member_id");
        let path = probe.path.replace("{key}", &own).replace("{member}", &member).replace("{of}", &of);
        if path.ends_with('/') {
            continue;
        }
        let body = (!probe.body.is_empty() || probe.method == "POST").then_some(probe.body);
        let answer = server(&Ask { method: probe.method, path: &path, token, headers: &[], body });
        if gathered.answers.is_empty() {
            gathered.now_ms = clock();
        }
        let no_worker = gathered.answers.is_empty() && !answer.as_ref().is_ok_and(Answer::is_good);
        gathered.answers.insert(probe.name, answer.map_err(|why| config.redacted(&why)));
        if no_worker {
            break;
        }
    }
    gathered
}

/// A key of ours in everything but its code.
fn forged() -> String {
    let id = |prefix: &str| format!("{prefix}_{}", "0".repeat(26));
    Key::mint(KeyKind::Inference, &id("org"), &id("key"), [7; 20], b"nobody's pepper").reveal().to_owned()
}

impl Gathered {
    fn text(&self, probe: &str, member: &str) -> String {
        let body = self.answers.get(probe).and_then(|answer| answer.as_ref().ok()).map_or_default(Answer::json);
        body.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
