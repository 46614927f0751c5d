//! The control plane: what admins and the operator do. Plain handlers that call pure functions; no exchange, no hot path.
use super::{
    account_object::{account_of, ask},
    journal, now, random, secrets, snapshot,
    snapshot::Source,
    storage,
};
use crate::json::{json, list_of};
use crate::{
    access::{Key, KeyKind, Knock, NamedRoute, knock},
    account::{
        ask as asks,
        letter::{Act, Answer, Caller, Letter, NewCredit, NewKey, Organization},
    },
    budget::Limit,
    catalog::{Catalog, sha256_hex},
    endpoint::{Admin, Headers, Platform, percent_decoded},
    fault::Fault,
    id::mint,
    ledger::{Entry, EntryKind},
};
use serde_json::Value;
use worker::Env;

/// A control-plane answer: status and JSON.
pub type Told = Result<(u16, Value), Fault>;

/// Entries of one page at most.
const PAGE_MAX: usize = 100;
/// The longest catalog: five times what six hundred models need.
const CATALOG_BYTES_MAX: usize = 4 * 1024 * 1024;

fn unavailable(what: &str, error: &worker::Error) -> Fault {
    worker::console_error!("{what}: {error}");
    Fault::unavailable("unavailable", format!("{what} could not be reached. Try again in a moment."))
}

/// Answers an admin.
pub async fn admin(act: Admin, headers: &Headers, body: &[u8], query: &str, env: &Env) -> Told {
    let caller = admin_of(headers, env)?;
    let account = account_of(&caller.0);
    match act {
        Admin::CreateKey => create_key(&account, &caller, body, env).await,
        Admin::LedgerEntries => {
            prove(&account, caller.1, env).await?;
            entries(&account, query, None, env).await
        }
        Admin::Requests => {
            prove(&account, caller.1, env).await?;
            entries(&account, query, Some(EntryKind::Usage), env).await
        }
        other => match act_of(other, body, env) {
            Ok(act) => send(&account, Letter::Admin { caller: caller.1, act }, env).await,
            Err(fault) => prove(&account, caller.1, env).await.and(Err(fault)),
        },
    }
}

/// The organisation and the caller of an admin key.
fn admin_of(headers: &Headers, env: &Env) -> Result<(String, Caller), Fault> {
    let pepper = secrets::pepper(env).ok_or_else(secrets::no_pepper)?;
    match knock(headers.credential(), &pepper) {
        Knock::Known(key, digest) if key.kind == KeyKind::Admin => {
            Ok((key.organization(), Caller { key_id: key.id(), digest: digest.0, kind: key.kind }))
        }
        Knock::Known(..) => Err(crate::account::letter::wrong_kind()),
        Knock::Forged => {
            Err(Fault::credential("invalid_key", "This admin key is not one of ours: it was changed or cut."))
        }
        Knock::Stranger => Err(Fault::credential("missing_key", "Send an admin key: Authorization: Bearer mr_ak_….")),
    }
}

async fn prove(account: &str, caller: Caller, env: &Env) -> Result<(), Fault> {
    send(account, Letter::Admin { caller, act: Act::Prove }, env).await.map(|_| ())
}

async fn send(account: &str, letter: Letter, env: &Env) -> Told {
    match ask(env, account, &letter).await {
        Ok(Answer::Told { status, body }) => Ok((status, body)),
        Ok(Answer::Refused(refusal)) => Err(refusal.to_fault()),
        Ok(_) => Ok((200, Value::Null)),
        Err(error) => Err(unavailable("The account", &error)),
    }
}

fn act_of(admin: Admin, body: &[u8], env: &Env) -> Result<Act, Fault> {
    Ok(match admin {
        Admin::ListKeys => Act::ListKeys,
        Admin::GetKey(id) => Act::GetKey(id),
        Admin::RevokeKey(id) => Act::RevokeKey(id),
        Admin::PutBudget(scope, window) => {
            Act::PutBudget { scope, window, limit: asks::limit(asks::read::<Limit>(body)?)? }
        }
        Admin::GetBudget(scope, window) => Act::GetBudget { scope, window },
        Admin::DeleteBudget(scope, window) => Act::DeleteBudget { scope, window },
        Admin::GetWallet => Act::GetWallet,
        Admin::PutProvider(id) => {
            let ask: asks::ProviderAsk = asks::read(body)?;
            let own = ask.own(&id, &snapshot::catalog().0, secrets::private_upstreams(env))?;
            Act::PutProvider { id, own }
        }
        Admin::GetProvider(id) => Act::GetProvider(id),
        Admin::ListProviders => Act::ListProviders,
        Admin::DeleteProvider(id) => Act::DeleteProvider(id),
        Admin::PutRoute(alias) => {
            let route = asks::route(&alias, asks::read::<NamedRoute>(body)?)?;
            known_targets(&route)?;
            Act::PutRoute { alias, route }
        }
        Admin::GetRoute(alias) => Act::GetRoute(alias),
        Admin::ListRoutes => Act::ListRoutes,
        Admin::DeleteRoute(alias) => Act::DeleteRoute(alias),
        Admin::CreateKey | Admin::LedgerEntries | Admin::Requests => Act::Prove,
    })
}

/// Refuses a target that names a provider of the catalog and a model it does not have.
fn known_targets(route: &NamedRoute) -> Result<(), Fault> {
    let (catalog, _) = snapshot::catalog();
    for target in &route.targets {
        let ours = catalog.provider(&target.provider).is_some();
        if ours && catalog.deployment(&format!("{}/{}", target.provider, target.model)).is_none() {
            let text = format!(
                "{} has no model {:?} in the catalog. GET /v1/models lists them.",
                target.provider, target.model
            );
            return Err(Fault::parameter("targets", text));
        }
    }
    Ok(())
}

/// A key for an organisation, whole and as it will be kept.
fn new_key(
    kind: KeyKind,
    organization: &str,
    spec: crate::account::letter::KeySpec,
    env: &Env,
) -> Result<(Key, NewKey), Fault> {
    let pepper = secrets::pepper(env).ok_or_else(secrets::no_pepper)?;
    let mut secret = [0; 20];
    random::fill(&mut secret)?;
    let id = mint("key", now(), random::chance()?);
    let key = Key::mint(kind, organization, &id, secret, &pepper);
    let digest = key.digest(&pepper).unwrap_or_default();
    let kept = NewKey { id, digest, redacted: key.redacted(), kind, spec };
    Ok((key, kept))
}

async fn create_key(account: &str, caller: &(String, Caller), body: &[u8], env: &Env) -> Told {
    let (kind, spec) = match asks::read::<asks::KeyAsk>(body).and_then(|ask| ask.spec(now())) {
        Ok(asked) => asked,
        // Only a good key is told what is wrong with its body.
        Err(fault) => return prove(account, caller.1.clone(), env).await.and(Err(fault)),
    };
    let (key, kept) = new_key(kind, &caller.0, spec, env)?;
    let letter = Letter::Admin { caller: caller.1.clone(), act: Act::CreateKey(kept) };
    let (status, mut told) = send(account, letter, env).await?;
    if let Some(members) = told.as_object_mut() {
        members.insert("secret".into(), key.reveal().into());
    }
    Ok((status, told))
}

async fn entries(account: &str, query: &str, kind: Option<EntryKind>, env: &Env) -> Told {
    let mut filter = journal::Filter { limit: 20, kind, ..journal::Filter::default() };
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = percent_decoded(&value.replace('+', " "));
        if value.is_empty() {
            continue;
        }
        match name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                filter.limit = limit
                    .ok_or_else(|| Fault::parameter("limit", format!("limit is a number from 1 to {PAGE_MAX}.")))?;
            }
            "after" => filter.after = Some(value),
            "model" => filter.model = Some(value),
            "key" => filter.key = Some(value),
            "reason" => filter.reason = Some(value),
            _ => {
                let text = "The query takes limit, after, model, key and reason.";
                return Err(Fault::parameter(name, text));
            }
        }
    }
    let (entries, more) =
        journal::read(env, account, &filter).await.map_err(|error| unavailable("The journal", &error))?;
    let told: Vec<Value> = entries.iter().map(|entry| entry_told(entry, kind.is_some())).collect();
    Ok((200, list_of(told, more)))
}

fn entry_told(entry: &Entry, as_request: bool) -> Value {
    let mut told = json!({
        "object": if as_request { "request" } else { "ledger_entry" },
        "id": entry.id,
        "at": entry.at.rfc3339(),
        "amount_usd": entry.amount_usd,
    });
    let Some(members) = told.as_object_mut() else { return told };
    if !as_request {
        for (name, value) in [
            ("seq", json!(entry.seq)),
            ("kind", json!(entry.kind)),
            ("legs", json!(entry.legs)),
            ("note", json!(entry.note)),
            ("prev_hash", json!(entry.prev_hash)),
            ("hash", json!(entry.hash)),
            ("sound", json!(entry.is_sound())),
        ] {
            members.insert(name.into(), value);
        }
        members.insert("call".into(), json!(entry.call));
    } else if let Value::Object(call) = crate::json::told_by_text(&entry.call) {
        members.extend(call);
    }
    told
}

/// Answers the operator.
pub async fn platform(act: Platform, headers: &Headers, body: &[u8], query: &str, env: &Env) -> Told {
    let token = secrets::variable(env, "OPERATOR_TOKEN");
    let shown = headers.bearer().unwrap_or_default();
    match token {
        None => {
            return Err(Fault::unavailable(
                "unavailable",
                "This installation has no OPERATOR_TOKEN. Set it to use this plane.",
            ));
        }
        Some(token) if crate::access::same(token.as_bytes(), shown.as_bytes()) => {}
        Some(_) => return Err(Fault::credential("invalid_key", "Send the operator's token: Authorization: Bearer ….")),
    }
    match act {
        Platform::CreateOrganization => create_organization(body, env).await,
        Platform::Credit(organization) => credit(&organization, body, env).await,
        Platform::GetCatalog => {
            let (catalog, source) = snapshot::catalog();
            Ok((200, catalog_told(&catalog, source)))
        }
        Platform::ValidateCatalog => {
            validated(body, true).map(|(catalog, _)| (200, catalog_told(&catalog, Source::Kv)))
        }
        Platform::PutCatalog => put_catalog(body, query.split('&').any(|pair| pair == "force=true"), env).await,
    }
}

async fn create_organization(body: &[u8], env: &Env) -> Told {
    let ask = asks::read::<asks::NewOrganization>(body)?.check()?;
    let at = now();
    let id = mint("org", at, random::chance()?);
    let organization =
        Organization { id: id.clone(), name: ask.name, timezone: ask.timezone, created_at: at.seconds() };
    let spec = crate::account::letter::KeySpec { name: "first admin key".into(), ..Default::default() };
    let (key, admin_key) = new_key(KeyKind::Admin, &id, spec, env)?;
    let key_id = admin_key.id.clone();
    let credit = match ask.credit_usd.filter(|amount| amount.0 > 0) {
        Some(amount) => {
            Some(NewCredit { id: mint("crd", at, random::chance()?), amount, reason: "operator credit".into() })
        }
        None => None,
    };
    let told = json!({
        "organization": {
            "object": "organization",
            "id": id,
            "name": organization.name,
            "timezone": organization.timezone,
            "created_at": at.rfc3339(),
        },
        "admin_key": {"id": key_id, "secret": key.reveal()},
    });
    let name = organization.name.clone();
    send(&account_of(&id), Letter::Found { organization, admin_key, credit }, env).await?;
    if let Err(error) = journal::add_organization(env, &id, &name, at).await {
        // The account is there and works; only the watchdog does not know it yet.
        worker::console_error!("organisation {id} is not in the journal's list: {error}");
    }
    Ok((201, told))
}

async fn credit(organization: &str, body: &[u8], env: &Env) -> Told {
    let ask = asks::read::<asks::CreditAsk>(body)?.check()?;
    let id = mint("crd", now(), random::chance()?);
    let letter = Letter::Credit(NewCredit { id, amount: ask.amount_usd, reason: ask.reason });
    send(&account_of(organization), letter, env).await
}

fn catalog_told(catalog: &Catalog, source: Source) -> Value {
    let providers: Vec<&str> = catalog.providers.iter().map(|provider| provider.id.as_str()).collect();
    let source = match source {
        Source::Bundled => "bundled",
        Source::Kv => "kv",
    };
    json!({"object": "catalog", "id": catalog.id, "source": source, "models": catalog.len(), "providers": providers})
}

fn validated(body: &[u8], force: bool) -> Result<(Catalog, String), Fault> {
    if body.len() > CATALOG_BYTES_MAX {
        return Err(Fault::new(413, "request_too_large", "body_too_large", "A catalog has at most 4 MiB."));
    }
    let text =
        String::from_utf8(body.to_vec()).map_err(|_| Fault::invalid("malformed_json", "The catalog is not UTF-8."))?;
    let catalog = Catalog::parse(&text).map_err(|error| Fault::invalid("invalid_catalog", format!("{error}.")))?;
    let jumps = snapshot::catalog().0.price_jumps(&catalog);
    if !force && !jumps.is_empty() {
        let told = jumps.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
        let text = format!(
            "{} prices change by more than a factor of five: {told}. If that is meant, put it with ?force=true.",
            jumps.len()
        );
        return Err(Fault::invalid("price_jump", text));
    }
    Ok((catalog, text))
}

async fn put_catalog(body: &[u8], force: bool, env: &Env) -> Told {
    let (catalog, text) = validated(body, force)?;
    let id = sha256_hex(text.as_bytes());
    // The document first: a pointer must never lead nowhere.
    for (key, value) in [(format!("catalog/{id}").as_str(), &text), (snapshot::CATALOG_CURRENT, &id)] {
        storage::put(env, key, value).await.map_err(|error| unavailable("KV", &error))?;
    }
    snapshot::forget();
    Ok((200, catalog_told(&catalog, Source::Kv)))
}
