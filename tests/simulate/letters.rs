//! The one place that knows how letters to an account are written and its answers read.
use megarouter::{
    access::{Key, KeyKind, Member},
    account::letter::{
        AdminAsk, Answer, Caller, ExtendLetter, HoldLetter, KeySpec, Letter, MadeKey, NewCredit, NewKey, NewRefund,
        Organization, Summary,
    },
    budget::RateLimits,
    id::{Scope, mint},
    money::Nanos,
    time::{Millis, Window, Zone},
};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

pub const PEPPER: &[u8] = b"pepper";
pub const ORG: &str = "org_01kayz0000000000000000000a";
pub const OWNER: &str = "mem_owner";
/// Inference keys an account of the simulator has at most.
pub const KEYS: usize = 4;

/// A key beside what the account is told of it.
pub struct Made {
    pub id: String,
    pub text: String,
    pub digest: String,
    pub kind: KeyKind,
}

fn made(kind: KeyKind, id: &str) -> Made {
    let key = Key::mint(kind, ORG, id, [7; 20], PEPPER);
    let digest = key.digest(PEPPER).expect("one of ours");
    Made { id: key.id(), text: key.reveal().to_owned(), digest, kind }
}

pub static ADMIN: LazyLock<Made> = LazyLock::new(|| made(KeyKind::Admin, "key_01kayz0000000000000000000c"));
static INFERENCE: LazyLock<[Made; KEYS]> = LazyLock::new(|| {
    ["d", "e", "f", "g"].map(|end| made(KeyKind::Inference, &format!("key_01kayz0000000000000000000{end}")))
});

/// One of the inference keys.
pub fn key(place: usize) -> &'static Made {
    &INFERENCE[place]
}

impl Made {
    pub fn caller(&self) -> Caller {
        Caller { key_id: self.id.clone(), digest: self.digest.clone(), kind: self.kind }
    }
}

/// What admins and the operator do.
#[derive(Clone, Debug)]
pub enum Deed {
    Found {
        credit: Nanos,
        zone: Zone,
        owned: bool,
    },
    /// Credit, or what sets it right, which may be below 0.
    Credit {
        id: String,
        amount: Nanos,
        adjusts: bool,
    },
    /// A charge, or a part of it, is given back.
    Refund {
        id: String,
        of: String,
        amount: Nanos,
    },
    /// Makes a key, or puts another in its place.
    PutKey {
        place: usize,
        spec: KeySpec,
    },
    RevokeKey(usize),
    PutBudget {
        scope: Scope,
        window: Window,
        limit: Nanos,
        soft: bool,
    },
    DeleteBudget {
        scope: Scope,
        window: Window,
    },
    PutOverride {
        scope: Scope,
        window: Window,
        extra: Nanos,
        until: Millis,
    },
    DeleteOverride {
        scope: Scope,
        window: Window,
    },
    PutRates {
        scope: Scope,
        limits: RateLimits,
    },
    MakeGroup {
        id: String,
        parent: Option<String>,
    },
    MakeMember {
        id: String,
        group: Option<String>,
    },
    MoveMember {
        id: String,
        group: String,
    },
    DisableMember(String),
    /// A change of the organisation's rows: bids made before it are stale.
    PutRoute,
    /// A routing policy that denies this, or none any more.
    SetPolicy {
        scope: Scope,
        deny: Option<String>,
    },
}

impl Deed {
    pub fn letter(&self) -> Letter {
        match self {
            Self::Found { credit, zone, owned } => found(*credit, zone, *owned),
            Self::Credit { id, amount, adjusts } => {
                let (id, amount, reason, adjusts) = (id.clone(), *amount, "more".to_owned(), *adjusts);
                Letter::Credit(NewCredit { id, amount, reason, adjusts, ..NewCredit::default() })
            }
            Self::Refund { id, of, amount } => {
                let (id, of, amount, reason) = (id.clone(), of.clone(), *amount, "sorry".to_owned());
                Letter::Refund(NewRefund { id, of, amount, reason, call: None })
            }
            Self::PutKey { place, spec } => put_key(key(*place), spec),
            Self::RevokeKey(place) => admin("DELETE", &format!("api_keys/{}", key(*place).id), &Value::Null),
            Self::PutBudget { scope, window, limit, soft } => {
                let mode = if *soft { "soft" } else { "hard" };
                let body = json!({"limit_usd": limit.to_string(), "mode": mode, "thresholds": []});
                admin("PUT", &budget_path(scope, *window), &body)
            }
            Self::DeleteBudget { scope, window } => admin("DELETE", &budget_path(scope, *window), &Value::Null),
            Self::PutOverride { scope, window, extra, until } => {
                let body = json!({"extra_usd": extra.to_string(), "until": until.rfc3339()});
                admin("PUT", &format!("{}/override", budget_path(scope, *window)), &body)
            }
            Self::DeleteOverride { scope, window } => {
                admin("DELETE", &format!("{}/override", budget_path(scope, *window)), &Value::Null)
            }
            Self::PutRates { scope, limits } => {
                let RateLimits { rpm, tpm, concurrency } = limits;
                let body = present(&[("rpm", *rpm), ("tpm", *tpm), ("concurrency", *concurrency)]);
                admin("PUT", &format!("{}/rate_limits", scope_path(scope)), &body)
            }
            Self::MakeGroup { id, parent } => {
                let mut body = json!({"name": id});
                if let Some(parent) = parent {
                    body["parent_id"] = parent.as_str().into();
                }
                make("groups", id, &body)
            }
            Self::MakeMember { id, group } => {
                let mut body = json!({"name": id});
                if let Some(group) = group {
                    body["group_id"] = group.as_str().into();
                }
                make("members", id, &body)
            }
            Self::MoveMember { id, group } => admin("PATCH", &format!("members/{id}"), &json!({"group_id": group})),
            Self::DisableMember(id) => admin("POST", &format!("members/{id}/disable"), &json!({})),
            Self::SetPolicy { scope, deny } => {
                let path = format!("{}/routing_policy", scope_path(scope));
                match deny {
                    Some(name) => admin("PUT", &path, &json!({"deny": [name]})),
                    None => admin("DELETE", &path, &Value::Null),
                }
            }
            Self::PutRoute => admin("PUT", "routes/fast", &json!({"targets": [{"provider": "alpha", "model": "m"}]})),
        }
    }
}

/// The id of the credit an organisation begins with.
pub fn first_credit() -> String {
    mint("crd", Millis(1), 0)
}

fn found(credit: Nanos, zone: &Zone, owned: bool) -> Letter {
    let organization =
        Organization { id: ORG.to_owned(), name: "A".to_owned(), zone: zone.clone(), ..Organization::default() };
    let credit = NewCredit {
        id: first_credit(),
        amount: credit,
        reason: "start".to_owned(),
        adjusts: false,
        once: String::new(),
        source: String::new(),
        ..NewCredit::default()
    };
    let owner = owned.then(|| (OWNER.to_owned(), Member { owner: true, ..Member::default() }));
    let Made { id, digest, kind, .. } = &*ADMIN;
    let (redacted, spec) = ("mr_…".to_owned(), KeySpec::default());
    let admin_key = NewKey { id: id.clone(), digest: digest.clone(), redacted, kind: *kind, spec };
    Letter::Found { organization, admin_key, credit: Some(credit), owner }
}

fn admin(method: &str, path: &str, body: &Value) -> Letter {
    let ask = AdminAsk {
        method: method.to_owned(),
        path: format!("/admin/v1/{path}"),
        body: if body.is_null() { String::new() } else { body.to_string() },
        ..AdminAsk::default()
    };
    Letter::Admin { caller: ADMIN.caller(), ask }
}

/// Makes a row with an id of our choice, `grp_x` or `mem_x`.
fn make(rows: &str, id: &str, body: &Value) -> Letter {
    let mut letter = admin("POST", rows, body);
    if let Letter::Admin { ask, .. } = &mut letter {
        id[4..].clone_into(&mut ask.fresh);
    }
    letter
}

fn put_key(made: &Made, spec: &KeySpec) -> Letter {
    let KeySpec { name, model_allowlist, provider_allowlist, rpm, tpm, concurrency, owner_member_id, .. } = spec;
    let mut body = present(&[("rpm", *rpm), ("tpm", *tpm), ("concurrency", *concurrency)]);
    body["name"] = name.as_str().into();
    for (member, list) in [("model_allowlist", model_allowlist), ("provider_allowlist", provider_allowlist)] {
        if let Some(list) = list {
            body[member] = list.clone().into();
        }
    }
    if let Some(owner) = owner_member_id {
        body["owner_member_id"] = owner.as_str().into();
    }
    let mut letter = admin("POST", "api_keys", &body);
    if let Letter::Admin { ask, .. } = &mut letter {
        let Made { id, digest, .. } = made;
        ask.keys = vec![MadeKey {
            id: id.clone(),
            kind: KeyKind::Inference,
            digest: digest.clone(),
            redacted: "mr_…".to_owned(),
        }];
    }
    letter
}

fn present(members: &[(&str, Option<u64>)]) -> Value {
    let there: Map<String, Value> =
        members.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.into()))).collect();
    Value::Object(there)
}

fn scope_path(scope: &Scope) -> String {
    match scope {
        Scope::Organization => "organization".to_owned(),
        Scope::Group(id) => format!("groups/{id}"),
        Scope::Member(id) => format!("members/{id}"),
        Scope::ApiKey(id) => format!("api_keys/{id}"),
    }
}

fn budget_path(scope: &Scope, window: Window) -> String {
    format!("{}/budgets/{}", scope_path(scope), window.word())
}

pub fn get_wallet() -> Letter {
    admin("GET", "wallet", &Value::Null)
}

pub fn get_budget(scope: &Scope, window: Window) -> Letter {
    admin("GET", &budget_path(scope, window), &Value::Null)
}

pub fn find(id: &str) -> Letter {
    Letter::Find { caller: ADMIN.caller(), id: id.to_owned() }
}

/// What the books say of everything the journal has.
pub fn summary_told(answer: Answer) -> Summary {
    match answer {
        Answer::Summary(summary) => *summary,
        other => panic!("no summary: {other:?}"),
    }
}

/// A letter in a few words.
pub fn brief(letter: &Letter) -> String {
    match letter {
        Letter::Found { .. } => "Found".to_owned(),
        Letter::Credit(credit) => format!("Credit {} {}", credit.id, credit.amount),
        Letter::Hold(HoldLetter { request_id, caller, bids, tokens, dry, session, .. }) => {
            let bid = |bid: &megarouter::account::letter::Bid| format!("{}/{}", bid.amount.0, bid.least.0);
            let bids: Vec<String> = bids.iter().map(bid).collect();
            let dry = if *dry { " dry" } else { "" };
            let (id, key) = (tail(request_id), tail(&caller.key_id));
            format!("Hold{dry} {id} key {key} {session} bids {} tokens {tokens}", bids.join(" "))
        }
        Letter::Extend(ExtendLetter { request_id, to, least }) => {
            format!("Extend {} to {} or {}", tail(request_id), to.0, least.0)
        }
        Letter::Post(post) => {
            let other = |other: &megarouter::account::letter::OtherAttempt| {
                format!("#{} {} {:?}", other.number, other.amount.0, other.outcome)
            };
            let others: Vec<String> = post.others.iter().map(other).collect();
            let (id, tokens) = (tail(&post.request_id), post.tokens);
            format!("Post {id} {:?} tokens {tokens} {}", post.outcome, others.join(" "))
        }
        Letter::Admin { ask, .. } => format!("{} {} {}", ask.method, ask.path, ask.body),
        other => format!("{other:?}"),
    }
}

/// What of an id tells one from another.
pub fn tail(id: &str) -> &str {
    let name = id.split('#').next().unwrap_or_default();
    &id[name.len().saturating_sub(4)..]
}

/// What the account tells of its wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalletTold {
    pub credits: Nanos,
    pub posted: Nanos,
    pub held: Nanos,
    pub available: Nanos,
}

/// What it tells of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetTold {
    pub window_id: String,
    pub posted: Nanos,
    pub held: Nanos,
}

fn amount(body: &Value, member: &str) -> Nanos {
    let text = body[member].as_str().unwrap_or_else(|| panic!("no {member} in {body}"));
    Nanos::parse_usd(text).expect("an amount")
}

pub fn wallet_told(answer: &Answer) -> WalletTold {
    let Answer::Told { status: 200, body } = answer else { panic!("no wallet: {answer:?}") };
    let of = |member| amount(body, member);
    WalletTold {
        credits: of("credits_usd"),
        posted: of("posted_usd"),
        held: of("held_usd"),
        available: of("available_usd"),
    }
}

pub fn budget_told(answer: &Answer) -> BudgetTold {
    let Answer::Told { status: 200, body } = answer else { panic!("no budget: {answer:?}") };
    let state = &body["state"];
    let window_id = state["window_id"].as_str().expect("a window").to_owned();
    BudgetTold { window_id, posted: amount(state, "posted_usd"), held: amount(state, "held_usd") }
}
