//! `schema/openapi.json` beside the code: what it documents is served, what is served is documented, and bodies are read as it says.
#![allow(clippy::tests_outside_test_module, reason = "all of this is test code")]
use megarouter::{
    access::{NamedRoute, Written},
    account::{ask, letter::KeySpec},
    alert::{self, Webhook},
    body::Body,
    budget::{Limit, RateLimits},
    catalog::Catalog,
    endpoint::{Admin, Endpoint, Headers, Overrides, Platform, Surface},
    money::Nanos,
    time::Millis,
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Documented, but not served yet. Delete an operation here when the router serves it: the tests fail until then.
const NOT_SERVED_YET: &[(&str, &str)] = &[];

/// Bodies whose reader is private.
const NO_READER: &[&str] = &["MemberDefaults", "Feedback", "CountTokens"];

/// The names of all variants, and of one: a variant that is missing here does not compile.
macro_rules! names {
    ($all:ident, $name:ident, $type:ident { $($variant:ident $(($hole:tt))?),* $(,)? }) => {
        const $all: &[&str] = &[$(stringify!($variant)),*];

        fn $name(one: &$type) -> &'static str {
            match one {
                $($type::$variant $(($hole))? => stringify!($variant)),*
            }
        }
    };
}

names!(ENDPOINTS, endpoint_name, Endpoint {
    Chat(..), CountTokens, Models, Model(..), Healthz, Key, Feedback, PaymentOptions, Balance, Refund, Leave, Receipt(..),
    ReceiptKeys,
    Admin(..), Platform(..),
});
names!(SURFACES, surface_name, Surface { ChatCompletions, Responses, Messages, Completions, Embeddings });
names!(ADMIN, admin_name, Admin {
    CreateKey, ListKeys, GetKey(..), UpdateKey(..), RotateKey(..), RevokeKey(..), CreateInvite, ListInvites, GetInvite(..),
    RevokeInvite(..), AcceptInvite, GetOrganization, UpdateOrganization, Defaults(..), PutBudget(..), GetBudget(..),
    DeleteBudget(..), ListBudgets(..), PutOverride(..), DeleteOverride(..), PutRates(..), GetRates(..), Policy(..), CreateGroup,
    ListGroups, GetGroup(..), UpdateGroup(..), ArchiveGroup(..), MoveGroup(..), CreateMember, ListMembers, CreateServiceAccount,
    ListServiceAccounts, GetMember(..), UpdateMember(..), DisableMember(..), GetWallet, GetLift, Spend, PutProvider(..),
    GetProvider(..), ListProviders, DeleteProvider(..), PutRoute(..), GetRoute(..), ListRoutes, DeleteRoute(..), LedgerEntries,
    LedgerEntry(..), Recompute(..), Requests, AuditLogs, AuditCheckpoints, CreateWebhook, ListWebhooks, GetWebhook(..),
    UpdateWebhook(..), DeleteWebhook(..), TestWebhook(..), RotateWebhook(..), ListAlerts, ResendAlert(..), UpdateWallet,
    TopUp,
});
names!(PLATFORM, platform_name, Platform {
    CreateOrganization, GetOrganization(..), UpdateOrganization(..), Credit(..), Adjust(..), Refund(..), Reseal(..), Reconcile, Metrics, StripeWebhook, GetCatalog, PutCatalog, ValidateCatalog,
});

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

struct Operation {
    method: &'static str,
    path: String,
    /// The path with samples for its ids.
    concrete: String,
    told: Value,
}

impl Operation {
    fn served(&self) -> Result<Endpoint, u16> {
        Endpoint::of(&self.method.to_uppercase(), &self.concrete).map_err(|fault| fault.status)
    }

    fn is_promised(&self) -> bool {
        NOT_SERVED_YET.contains(&(self.method, self.path.as_str()))
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the document")).expect("JSON")
}

/// What a `$ref` leads to; everything else is itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(place) = value.get("$ref").and_then(Value::as_str) else { return value };
    let place = place.strip_prefix('#').expect("a place in this document");
    resolved(document, document.pointer(place).unwrap_or_else(|| panic!("{place} leads nowhere")))
}

fn objects<'a>(value: &'a Value, member: &str) -> &'a Map<String, Value> {
    value[member].as_object().unwrap_or_else(|| panic!("no {member}"))
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in objects(document, "paths") {
        let mut concrete = path.clone();
        for parameter in item["parameters"].as_array().into_iter().flatten() {
            let parameter = resolved(document, parameter);
            let name = parameter["name"].as_str().expect("a name");
            let sample = parameter["example"].as_str().unwrap_or_else(|| panic!("{name} has no example"));
            concrete = concrete.replace(&format!("{{{name}}}"), sample);
        }
        assert!(!concrete.contains('{'), "{path}: an id without a parameter");
        for method in METHODS {
            if let Some(told) = item.get(method) {
                let (path, concrete) = (path.clone(), concrete.clone());
                all.push(Operation { method, path, concrete, told: told.clone() });
            }
        }
    }
    all
}

#[test]
fn what_is_documented_is_served_and_nothing_else() {
    let document = document();
    let all = operations(&document);
    let mut wrong = Vec::new();
    for one in &all {
        match (one.served(), one.is_promised()) {
            (Ok(_), true) => wrong.push(format!("{} is served: delete it from NOT_SERVED_YET", one.name())),
            (Err(status), false) => wrong.push(format!("{} is documented and answers {status}", one.name())),
            (Ok(_), false) | (Err(_), true) => {}
        }
    }
    for one in &all {
        for method in METHODS {
            let documented = all.iter().any(|other| other.path == one.path && other.method == method);
            let served = Endpoint::of(&method.to_uppercase(), &one.concrete).map_err(|fault| fault.status);
            if !documented && !matches!(served, Err(404 | 405)) {
                wrong.push(format!("{method} {} is served and not documented", one.path));
            }
            if !documented && one.served().is_ok() && served != Err(405) {
                wrong.push(format!("{method} {} should be a 405", one.path));
            }
        }
    }
    for (method, path) in NOT_SERVED_YET {
        if !all.iter().any(|one| (one.method, one.path.as_str()) == (*method, *path)) {
            wrong.push(format!("{method} {path} of NOT_SERVED_YET is not documented"));
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_operation_is_of_its_plane_and_has_a_name() {
    let document = document();
    let mut names = BTreeSet::new();
    for one in operations(&document) {
        let id = one.told["operationId"].as_str().unwrap_or_default().to_owned();
        assert!(!id.is_empty() && names.insert(id), "{}: an operationId of its own", one.name());
        assert!(one.told["summary"].is_string() && one.told["tags"].is_array(), "{}", one.name());
        let security = one.told.get("security").unwrap_or(&document["security"]);
        let schemes: Vec<&str> = security
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect();
        let admin = one.path.starts_with("/admin/v1/");
        let platform = one.path.starts_with("/platform/v1/");
        assert!(!admin || matches!(schemes[..], ["admin" | "invite"]), "{}: {schemes:?}", one.name());
        assert!(!platform || matches!(schemes[..], ["operator"] | []), "{}: {schemes:?}", one.name());
        let plane = one.served().map(|served| match served {
            Endpoint::Admin(_) => (true, false),
            Endpoint::Platform(_) => (false, true),
            _ => (false, false),
        });
        assert!(plane.is_err() || plane == Ok((admin, platform)), "{}", one.name());
    }
}

#[test]
fn every_endpoint_there_is_is_documented() {
    let served: Vec<Endpoint> = operations(&document()).iter().filter_map(|one| one.served().ok()).collect();
    let reached = |names: Vec<&'static str>, all: &[&'static str], what: &str| {
        let missing: Vec<_> = all.iter().filter(|name| !names.contains(name)).collect();
        assert!(missing.is_empty(), "{what} that no documented operation reaches: {missing:?}");
    };
    reached(served.iter().map(endpoint_name).collect(), ENDPOINTS, "endpoints");
    let pick = |pick: fn(&Endpoint) -> Option<&'static str>| served.iter().filter_map(pick).collect();
    reached(pick(|one| if let Endpoint::Admin(act) = one { Some(admin_name(act)) } else { None }), ADMIN, "admin acts");
    let platform = pick(|one| if let Endpoint::Platform(act) = one { Some(platform_name(act)) } else { None });
    reached(platform, PLATFORM, "platform acts");
    let surfaces = pick(|one| if let Endpoint::Chat(surface) = one { Some(surface_name(surface)) } else { None });
    reached(surfaces, SURFACES, "surfaces");
}

/// Now, for bodies that name a moment to come.
const NOW: Millis = Millis(1_795_824_000_000);

/// What a reader says: nothing, or why not.
type Read = Result<(), String>;

fn refusal<T>(read: Result<T, megarouter::fault::Fault>) -> Read {
    read.map(drop).map_err(|fault| fault.into_inner().message)
}

/// Reads a body as the worker does; `None` where nobody is here to read it.
fn read(name: &str, bytes: &[u8]) -> Option<Read> {
    let overrides = || {
        let body = Body::parse(bytes.to_vec()).expect("an object");
        Overrides::read(&body, &Headers::default())
    };
    Some(match name {
        "ApiKey" => refusal(ask::read::<ask::KeyAsk>(bytes).and_then(|ask| ask.spec(NOW))),
        "ApiKeyPatch" => refusal(ask::changed_key(&KeySpec { name: "old".into(), ..KeySpec::default() }, bytes, NOW)),
        "Rotate" => refusal(ask::read::<ask::RotateAsk>(bytes).and_then(|ask| ask.grace(NOW))),
        "Invite" => refusal(ask::read::<ask::InviteAsk>(bytes).and_then(|ask| ask.member(NOW))),
        "Accept" => refusal(ask::read::<ask::NameAsk>(bytes).and_then(ask::NameAsk::check)),
        "OrganizationPatch" => refusal(ask::read::<ask::OrganizationAsk>(bytes).and_then(ask::OrganizationAsk::check)),
        "Group" => refusal(ask::read(bytes).and_then(|ask| ask::group(ask, true))),
        "GroupPatch" => refusal(ask::read(bytes).and_then(|ask| ask::group(ask, false))),
        "Move" => refusal(ask::read::<ask::MoveAsk>(bytes)),
        "Member" | "ServiceAccount" => refusal(ask::read(bytes).and_then(|ask| ask::member(ask, true))),
        "MemberPatch" => refusal(ask::read(bytes).and_then(|ask| ask::member(ask, false))),
        "Limit" => refusal(ask::read::<Limit>(bytes).and_then(ask::limit)),
        "Override" => refusal(ask::read::<ask::OverrideAsk>(bytes).and_then(|ask| ask.extra(NOW))),
        "RateLimits" => refusal(ask::read::<RateLimits>(bytes).and_then(ask::rates)),
        "RoutingPolicy" => refusal(ask::read::<Written>(bytes).and_then(|written| ask::policy(&written))),
        "Topup" => refusal(ask::read::<ask::TopUpAsk>(bytes).and_then(|ask| ask.told("top_x"))),
        "WalletPatch" => refusal(ask::read::<ask::WalletAsk>(bytes).and_then(ask::WalletAsk::check)),
        "WebhookEndpoint" => refusal(ask::read::<ask::WebhookAsk>(bytes).and_then(|ask| ask.first(false, NOW))),
        "WebhookEndpointPatch" => {
            refusal(ask::read::<ask::WebhookAsk>(bytes).and_then(|ask| ask.over(Webhook::default(), false)))
        }
        "Provider" => refusal(ask::read::<ask::ProviderAsk>(bytes).and_then(|ask| ask.own("acme", false))),
        "Route" => refusal(ask::read::<NamedRoute>(bytes).and_then(|route| ask::route("fast", route))),
        "NewOrganization" => refusal(ask::read::<ask::NewOrganization>(bytes).and_then(ask::NewOrganization::check)),
        "Standing" => refusal(ask::read::<ask::StandingAsk>(bytes)),
        "Credit" => refusal(ask::read::<ask::CreditAsk>(bytes).and_then(|ask| ask.check(false))),
        "Adjustment" => refusal(ask::read::<ask::CreditAsk>(bytes).and_then(|ask| ask.check(true))),
        "Refund" => refusal(ask::read::<ask::RefundAsk>(bytes).and_then(|ask| ask.amount(Nanos(1_000_000_000)))),
        "Catalog" => Catalog::parse(std::str::from_utf8(bytes).expect("text")).map(drop),
        "Chat" | "Responses" | "Messages" | "Completions" | "Embeddings" => refusal(overrides()),
        _ => return None,
    })
}

/// A schema's members and those it requires, through references and `allOf`.
fn members(document: &Value, schema: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    let schema = resolved(document, schema);
    let names =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut known: BTreeSet<String> =
        schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
    let mut required: BTreeSet<String> = names(&schema["required"]);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, needed) = members(document, part);
        known.extend(more);
        required.extend(needed);
    }
    (known, required)
}

/// A body, its example, and the part of both that is ours: all of it, or the `megarouter` member of a provider's body.
struct Told {
    name: String,
    example: Value,
    schema: Value,
    ours: Option<&'static str>,
}

impl Told {
    /// What is said of the example with its own part changed.
    fn changed(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Read {
        let mut body = self.example.clone();
        let part = match self.ours {
            Some(member) => &mut body[member],
            None => &mut body,
        };
        change(part.as_object_mut().expect("an object"));
        read(&self.name, body.to_string().as_bytes()).expect("it has a reader")
    }
}

fn bodies(document: &Value) -> Vec<Told> {
    let mut all = Vec::new();
    for (name, body) in objects(&document["components"], "requestBodies") {
        let content = &body["content"]["application/json"];
        let examples = content["examples"].as_object().into_iter().flat_map(Map::values).map(|one| &one["value"]);
        let examples: Vec<&Value> = content.get("example").into_iter().chain(examples).collect();
        assert!(!examples.is_empty(), "{name} has no example");
        assert_eq!(read(name, b"{}").is_none(), NO_READER.contains(&name.as_str()), "{name}: NO_READER is out of date");
        if NO_READER.contains(&name.as_str()) {
            continue;
        }
        for example in examples {
            let ours = example.get("megarouter").map(|_| "megarouter");
            let schema = resolved(document, &content["schema"]);
            let schema = ours.map_or(schema, |member| &schema["properties"][member]).clone();
            all.push(Told { name: name.clone(), example: example.clone(), schema, ours });
        }
    }
    all
}

#[test]
fn bodies_are_read_as_they_are_documented() {
    let document = document();
    for told in bodies(&document) {
        let name = &told.name;
        assert_eq!(told.changed(|_| {}), Ok(()), "{name}: its example");
        if name == "Embeddings" {
            continue; // nothing of its example is ours
        }
        let (known, required) = members(&document, &told.schema);
        let why = told.changed(|body| drop(body.insert("nme".into(), 1.into()))).expect_err(name);
        assert!(why.contains("unknown field `nme`") || why.starts_with("nme cannot be changed"), "{name}: {why}");
        // The reader says what it knows: the document has to know the same.
        if let Some((_, list)) = why.split_once("expected one of ") {
            let reads: BTreeSet<String> = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            assert_eq!(reads, known, "{name}: what is read, and what is documented");
        }
        for member in &known {
            let there = told.ours.map_or(&told.example, |ours| &told.example[ours]).get(member).is_some();
            let without = told.changed(|body| drop(body.shift_remove(member)));
            if there || required.contains(member) {
                assert_eq!(without.is_err(), required.contains(member), "{name}: {member} left out: {without:?}");
            }
        }
    }
}

#[test]
fn an_endpoint_hears_by_default_what_is_documented() {
    let document = document();
    let default = &document["components"]["schemas"]["EventTypes"]["default"];
    assert_eq!(default, &Value::from(alert::USUAL.to_vec()));
}

#[test]
fn references_lead_somewhere_and_nothing_is_spare() {
    fn walk<'a>(value: &'a Value, seen: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                seen.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|inner| walk(inner, seen));
            }
            Value::Array(items) => items.iter().for_each(|inner| walk(inner, seen)),
            _ => {}
        }
    }
    let document = document();
    let mut seen = BTreeSet::new();
    walk(&document, &mut seen);
    for place in &seen {
        assert!(
            place.strip_prefix('#').is_some_and(|place| document.pointer(place).is_some()),
            "{place} leads nowhere"
        );
    }
    for (kind, components) in objects(&document, "components") {
        for name in components.as_object().expect("components").keys() {
            let used = seen.contains(format!("#/components/{kind}/{name}").as_str());
            assert!(used || kind == "securitySchemes", "nobody uses {kind}/{name}");
        }
    }
}
