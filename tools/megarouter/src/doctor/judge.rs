//! What answers tell of a deployment. Pure: the same answers, the same judgement.
use super::Gathered;
use crate::{client::Answer, config::is_open};
use megarouter::{money::Nanos, time::Millis};
use serde_json::Value;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Good,
    Warn,
    Fail,
}

impl Level {
    /// The word a line begins with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// A line of the doctor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub what: String,
    /// What to do about it; empty where nothing is wrong.
    pub todo: String,
}

fn good(what: impl Into<String>) -> Finding {
    Finding { level: Level::Good, what: what.into(), todo: String::new() }
}

fn warn(what: impl Into<String>, todo: impl Into<String>) -> Finding {
    Finding { level: Level::Warn, what: what.into(), todo: todo.into() }
}

fn fail(what: impl Into<String>, todo: impl Into<String>) -> Finding {
    Finding { level: Level::Fail, what: what.into(), todo: todo.into() }
}

type Check = fn(&Gathered) -> Vec<Finding>;

/// What needs an admin key, what does not, and what other keys tell.
const OPEN: [Check; 5] = [reached, clock, models, strangers, receipts];
const WITH_KEY: [Check; 4] = [money, events, keys, owners];
const OTHERS: [Check; 2] = [decision, operator];

/// The judgement, a finding a check.
pub fn judge(gathered: &Gathered) -> Vec<Finding> {
    let up = gathered.answers.get("healthz").is_some_and(|answer| answer.as_ref().is_ok_and(Answer::is_good));
    if !up {
        return reached(gathered);
    }
    let mut found: Vec<Finding> = OPEN.iter().flat_map(|check| check(gathered)).collect();
    match refused(gathered) {
        Some(finding) => found.push(finding),
        None => found.extend(std::iter::once(&(admin as Check)).chain(&WITH_KEY).flat_map(|check| check(gathered))),
    }
    found.extend(OTHERS.iter().flat_map(|check| check(gathered)));
    found
}

/// A look at one answer. `None` where it was not asked for.
fn answer<'a>(gathered: &'a Gathered, probe: &str, what: &str) -> Option<Result<&'a Answer, Finding>> {
    Some(match gathered.answers.get(probe)? {
        Ok(answer) => Ok(answer),
        Err(why) => Err(fail(format!("{what}: {why}"), "try again; look at the worker's log")),
    })
}

/// The JSON of an answer that should be 200, or what is found instead.
fn body(gathered: &Gathered, probe: &str, what: &str) -> Option<Result<Value, Finding>> {
    let answer = match answer(gathered, probe, what)? {
        Ok(answer) => answer,
        Err(finding) => return Some(Err(finding)),
    };
    let told = answer.json();
    let code = told.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
    Some(match (answer.status, code) {
        (200, _) => Ok(told),
        (403, _) => Err(warn(
            format!("{what}: not for this key to see"),
            "use the key of an owner, or of an auditor of the organisation",
        )),
        (404, "unknown_endpoint") => Err(warn(format!("{what}: not served by this version"), "deploy a newer one")),
        _ => Err(fail(format!("{what}: {}", answer.error()), "look up the request's id in the worker's log")),
    })
}

/// Findings of an answer's JSON.
fn of_body(gathered: &Gathered, probe: &str, what: &str, check: impl FnOnce(&Value) -> Vec<Finding>) -> Vec<Finding> {
    match body(gathered, probe, what) {
        None => Vec::new(),
        Some(Ok(told)) => check(&told),
        Some(Err(finding)) => vec![finding],
    }
}

fn rows(list: &Value) -> &[Value] {
    list.get("data").and_then(Value::as_array).map_or_default(Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn reached(gathered: &Gathered) -> Vec<Finding> {
    let url = &gathered.base_url;
    let healthy = match gathered.answers.get("healthz") {
        Some(Ok(answer)) if answer.is_good() => good(format!("{url} is up")),
        Some(Ok(answer)) => fail(
            format!("{url}/healthz answers {}", answer.status),
            "check that the URL is that of a MegaRouter, without /v1",
        ),
        Some(Err(why)) => fail(why.as_str(), "check the URL, the name and the certificate; is the worker deployed?"),
        None => fail("/healthz was not asked", "try again"),
    };
    let way = if is_open(url) {
        fail(
            "plain http on a public host: keys can be read on the way; none was sent",
            "serve it by https, and give an https URL",
        )
    } else if url.starts_with("http:") {
        good("plain http, but the host is private")
    } else {
        good("https")
    };
    vec![healthy, way]
}

fn clock(gathered: &Gathered) -> Vec<Finding> {
    const SKEW_MS: u64 = 30_000;
    let date = gathered.answers.get("healthz").and_then(|answer| answer.as_ref().ok()?.header("date"));
    let Some(server) = date.and_then(Millis::of_http_date) else {
        return vec![warn(
            "the answers tell no time: clocks were not compared",
            "compare them by hand if signatures or windows look odd",
        )];
    };
    // The header tells whole seconds.
    let skew = gathered.now_ms.abs_diff(server.0 + 500);
    if skew < SKEW_MS {
        return vec![good("the clocks agree")];
    }
    let what = format!("the clocks here and there are {} s apart", skew / 1_000);
    vec![fail(what, "set this machine's clock (NTP); signatures of webhooks and budgets' windows go by it")]
}

fn models(gathered: &Gathered) -> Vec<Finding> {
    of_body(gathered, "models", "/v1/models", |list| match rows(list).len() {
        0 => vec![fail("/v1/models lists no model", "put a catalog in force: `megarouter catalog put FILE`")],
        count => vec![good(format!("{count} models"))],
    })
}

/// Who shows no key, a forged one, or one of the other plane gets nothing.
fn strangers(gathered: &Gathered) -> Vec<Finding> {
    let cases = [
        ("stranger", "a call without a key", [401, 402]),
        ("forged", "a call with a forged key", [401; 2]),
        ("admin_calls", "a call with the admin key", [401; 2]),
    ];
    let judged = cases.into_iter().filter_map(|(probe, what, due)| {
        Some(match answer(gathered, probe, what)? {
            Ok(answer) if due.contains(&answer.status) => good(format!("{what} gets {}", answer.status)),
            Ok(answer) if answer.is_good() => fail(
                format!("{what} is ANSWERED ({})", answer.status),
                "take the worker off the net: it spends for strangers",
            ),
            Ok(answer) => {
                let expected = if due == [401; 2] { "401" } else { "401 or 402" };
                let level = if answer.status >= 500 { fail } else { warn };
                level(
                    format!("{what} gets {}", answer.error()),
                    format!("{expected} was expected; look at the worker's log, and at KEY_PEPPER"),
                )
            }
            Err(finding) => finding,
        })
    });
    judged.collect()
}

fn receipts(gathered: &Gathered) -> Vec<Finding> {
    if let Some(Ok(answer)) = gathered.answers.get("receipt_keys")
        && answer.status == 503
    {
        return vec![fail("receipts cannot be signed", "set the secret RECEIPT_KEY: 64 random hexadecimal digits")];
    }
    of_body(gathered, "receipt_keys", "the public keys of receipts", |told| {
        match told.get("keys").and_then(Value::as_array).map_or(0, Vec::len) {
            0 => vec![fail(
                "no public key of receipts is published",
                "set the secret RECEIPT_KEY: 64 random hexadecimal digits",
            )],
            _ => vec![good("receipts are signed, their public key is published")],
        }
    })
}

/// Why nothing can be learned with the admin key: one line for all that would fail by it.
fn refused(gathered: &Gathered) -> Option<Finding> {
    if is_open(&gathered.base_url) {
        return Some(warn(
            "the admin key was not sent: most checks were left out",
            "serve it by https, and give an https URL",
        ));
    }
    if !gathered.has_admin_key {
        return Some(warn("no admin key: most checks were left out", "set MEGAROUTER_ADMIN_KEY, or give --state"));
    }
    let todo = "make another, `megarouter key create NAME --kind admin`, or set the right one: it begins with mr_ak_";
    match gathered.answers.get("own_key") {
        None => Some(fail("MEGAROUTER_ADMIN_KEY is no admin key", todo)),
        Some(Ok(answer)) if answer.status == 401 => {
            Some(fail(format!("the admin key is refused: {}", answer.error()), todo))
        }
        Some(_) => None,
    }
}

/// The admin key and what its owner may do.
fn admin(gathered: &Gathered) -> Vec<Finding> {
    let mut found = of_body(gathered, "own_key", "the admin key", |_| Vec::new());
    found.extend(of_body(gathered, "own_member", "the admin key's owner", |member| {
        let roles: Vec<String> =
            member.get("roles").and_then(Value::as_array).into_iter().flatten().map(role).collect();
        let what = format!("the admin key works; its owner {} is {}", text(member, "id"), roles.join(", "));
        vec![if roles.is_empty() { good("the admin key works; its owner has no role") } else { good(what) }]
    }));
    found
}

fn role(grant: &Value) -> String {
    match (text(grant, "role"), text(grant, "scope")) {
        (role, "organization" | "") => role.to_owned(),
        (role, scope) => format!("{role} of {scope}"),
    }
}

fn money(gathered: &Gathered) -> Vec<Finding> {
    let mut found = of_body(gathered, "wallet", "the wallet", |wallet| {
        let available = text(wallet, "available_usd");
        let more = Nanos::parse_usd(available).is_ok_and(|amount| amount.0 > 0);
        let balance = if more {
            good(format!("the wallet has {available} USD"))
        } else {
            fail(format!("the wallet has {available} USD: calls get 402"), "ask the operator for credit")
        };
        let alert = match wallet.get("low_balance_alert_usd") {
            Some(Value::Null) => warn("nobody is told when the wallet runs low", "`megarouter wallet alert USD`"),
            Some(amount) => good(format!("an alert is sent below {} USD", amount.as_str().unwrap_or_default())),
            None => warn("alerts of a low balance: not served by this version", "deploy a newer one"),
        };
        vec![balance, alert]
    });
    found.extend(of_body(gathered, "budgets", "budgets of the organisation", |list| {
        let hard = rows(list).iter().filter(|budget| text(budget, "mode") == "hard").count();
        vec![match (rows(list).len(), hard) {
            (0, _) => warn(
                "the organisation has no budget: only the wallet stops it",
                "`megarouter budget set organization month USD`",
            ),
            (count, 0) => warn(
                format!("the organisation's budgets ({count}) are all soft: they stop nothing"),
                "set one with --mode hard",
            ),
            (count, _) => good(format!("the organisation has budgets: {count}")),
        }]
    }));
    found
}

fn events(gathered: &Gathered) -> Vec<Finding> {
    let mut found = of_body(gathered, "webhooks", "webhook endpoints", |list| {
        let active = rows(list).iter().filter(|endpoint| text(endpoint, "status") == "active").count();
        vec![match active {
            0 => warn("no webhook endpoint is active: alerts go nowhere", "`megarouter webhook create URL`"),
            count => good(format!("webhook endpoints: {count}")),
        }]
    });
    let failed = |alert: &&Value| {
        let deliveries = alert.get("deliveries").and_then(Value::as_array);
        deliveries.into_iter().flatten().any(|delivery| text(delivery, "status") == "failed")
    };
    found.extend(of_body(gathered, "dead_letters", "undelivered alerts", |list| {
        match rows(list).iter().filter(failed).count() {
            0 => vec![good("every alert was delivered")],
            count => {
                let what = format!("alerts that could not be delivered: {count}");
                vec![fail(what, "`megarouter alerts --failed`; mend the endpoint, then `megarouter alert resend ID`")]
            }
        }
    }));
    found
}

fn keys(gathered: &Gathered) -> Vec<Finding> {
    const OLD_MS: u64 = 90 * 86_400_000;
    of_body(gathered, "keys", "keys", |list| {
        let active: Vec<&Value> = rows(list).iter().filter(|key| text(key, "status") == "active").collect();
        let named = |keys: &[&Value]| {
            let shown: Vec<&str> = keys.iter().take(3).map(|key| text(key, "id")).collect();
            format!("{} ({}{})", keys.len(), shown.join(", "), if keys.len() > shown.len() { ", …" } else { "" })
        };
        let endless: Vec<&Value> =
            active.iter().copied().filter(|key| key.get("expires_at").is_none_or(Value::is_null)).collect();
        let old = |key: &&Value| {
            let made = Millis::of_rfc3339(text(key, "created_at"));
            text(key, "kind") == "admin" && made.is_some_and(|made| Millis(gathered.now_ms).since(made) > OLD_MS)
        };
        let old: Vec<&Value> = active.iter().copied().filter(old).collect();
        let ends = if endless.is_empty() {
            good("every key expires")
        } else {
            warn(format!("keys that never expire: {}", named(&endless)), "`megarouter key update ID --expires 90d`")
        };
        let ages = if old.is_empty() {
            good("no admin key is older than 90 days")
        } else {
            warn(format!("admin keys older than 90 days: {}", named(&old)), "`megarouter key rotate ID --grace 1d`")
        };
        vec![ends, ages]
    })
}

fn owners(gathered: &Gathered) -> Vec<Finding> {
    of_body(gathered, "members", "members", |list| {
        let is_owner = |member: &&Value| {
            let roles = member.get("roles").and_then(Value::as_array);
            text(member, "status") == "active"
                && roles.into_iter().flatten().any(|grant| text(grant, "role") == "owner")
        };
        vec![match rows(list).iter().filter(is_owner).count() {
            0 => {
                warn("owners: not for this key to see", "use the key of an owner, or of an auditor of the organisation")
            }
            1 => warn(
                "there is one owner: whoever loses that key has lost the organisation",
                "`megarouter member invite NAME --roles owner`",
            ),
            count => good(format!("owners: {count}")),
        }]
    })
}

/// Who would be asked for an answer.
fn decision(gathered: &Gathered) -> Vec<Finding> {
    let simulated = gathered.sandbox
        || gathered.answers.get("decision").is_some_and(|answer| {
            answer.as_ref().is_ok_and(|answer| answer.header("x-megarouter-simulated") == Some("true"))
        });
    let mut found = of_body(gathered, "decision", "a decision with the inference key", |told| {
        let told = told.pointer("/megarouter/candidates").and_then(Value::as_array);
        let eligible = told.into_iter().flatten().filter(|one| one.get("eligible") == Some(&Value::Bool(true)));
        let mut providers: Vec<&str> = eligible.map(|one| text(one, "provider")).collect();
        providers.sort_unstable();
        providers.dedup();
        vec![match providers.as_slice() {
            [] => fail("no provider can be asked for `auto`", "set the providers' keys as secrets, or an own provider"),
            [only] => warn(
                format!("one provider only can be asked for `auto`: {only}"),
                "set the key of another: nobody takes over when it fails",
            ),
            several => good(format!("providers that would be asked: {}", several.join(", "))),
        }]
    });
    if simulated {
        found.push(warn(
            "a sandbox answers in place of the providers",
            "put their keys into .dev.vars, or run with SANDBOX=off",
        ));
    }
    found
}

fn operator(gathered: &Gathered) -> Vec<Finding> {
    if let Some(Ok(answer)) = gathered.answers.get("catalog")
        && [401, 503].contains(&answer.status)
    {
        return vec![fail(
            format!("the operator's token is refused: {}", answer.error()),
            "set MEGAROUTER_OPERATOR_TOKEN to the secret OPERATOR_TOKEN",
        )];
    }
    let mut found = of_body(gathered, "catalog", "the catalog", |catalog| {
        let what = format!("the catalog {} is from {}", text(catalog, "id"), text(catalog, "source"));
        vec![if text(catalog, "source") == "kv" {
            good(what)
        } else {
            warn(what, "`megarouter catalog put schema/catalog.json`")
        }]
    });
    match answer(gathered, "metrics", "metrics") {
        Some(Ok(answer)) if answer.status == 200 => found.push(good("metrics are served")),
        _ => found.extend(of_body(gathered, "metrics", "metrics", |_| Vec::new())),
    }
    found.extend(of_body(gathered, "reconciliation", "reconciliation", |list| {
        let wrong: Vec<String> =
            rows(list).iter().filter(|one| one.get("agrees") != Some(&Value::Bool(true))).map(disagreement).collect();
        if wrong.is_empty() {
            return vec![good("the account agrees with the ledger")];
        }
        vec![fail(
            format!("the account and the ledger do not agree: {}", wrong.join("; ")),
            "`make reconcile`, and docs/money.md",
        )]
    }));
    found
}

fn disagreement(told: &Value) -> String {
    let wrong = told.get("wrong").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    format!("{} ({})", text(told, "id"), wrong.collect::<Vec<_>>().join(", "))
}
