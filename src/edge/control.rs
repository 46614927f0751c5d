//! The control plane: what admins and the operator do. Plain handlers that call pure functions; no exchange, no hot path.
use super::{
    account_object::{account_of, ask},
    complain,
    error::Error,
    journal,
    journal::Filter,
    keys::Mint,
    now, payer, random, receipts, reconcile, secrets, snapshot,
    snapshot::Source,
    storage, stripe, vault,
};
use crate::json::{json, list_of, put, put_text, put_told};
use crate::{
    access::{KeyKind, Knock, Member, NamedRoute, knock},
    account::{
        ask as asks,
        letter::{
            AdminAsk, Answer, Caller, Conflict, KeySpec, Letter, MadeKey, NewCredit, NewKey, NewRefund, Organization,
            Refusal,
        },
    },
    audit,
    catalog::{Catalog, sha256_hex},
    endpoint::{Admin, Headers, Platform, percent_decoded},
    fault::Fault,
    id::mint,
    ledger::{self, CallRecord, Entry, EntryKind, spend::Question},
    money::Nanos,
    time::{Millis, Zone},
};
use serde_json::Value;
use worker::Env;

/// A control-plane answer: status and JSON.
pub type Told = Result<(u16, Value), Fault>;

/// Characters of a header that are looked at: an idempotency key has at most 255.
const HEADER_MAX: usize = 255;
/// A credential's length at most: some are whole JSON web tokens.
const CREDENTIAL_BYTES_MAX: usize = 8_192;
/// Where the last figures are kept, in KV, and for how long they are told.
const METRICS: &str = "metrics/last";
const METRICS_MS: u64 = 60_000;
/// Entries of one page at most.
const PAGE_MAX: usize = 100;

#[cold]
#[inline(never)]
pub(super) fn unavailable(what: &str, error: Error) -> Fault {
    complain(format!("{what}: {error}"));
    Fault::unavailable("unavailable", format!("{what} could not be reached. Try again in a moment."))
}

/// Answers an admin: entries from the journal, everything else from the account, which is handed the request as it is.
pub async fn admin(act: &Admin, mut ask: AdminAsk, headers: &Headers, query: &str, env: &Env) -> Told {
    let (organization, caller) = admin_of(act, headers, env)?;
    let header = |name| headers.get(name).unwrap_or_default().chars().take(HEADER_MAX).collect();
    ask.once = once_of(headers)?;
    query.clone_into(&mut ask.query);
    ask.if_match = header("if-match");
    (ask.ip, ask.user_agent) = (header("cf-connecting-ip"), header("user-agent"));
    let account = account_of(&organization);
    match act {
        Admin::LedgerEntries | Admin::Requests => {
            send(&account, Letter::Prove(caller), env).await?;
            let filter = Filter { requests: matches!(act, Admin::Requests), ..Filter::default() };
            entries(&account, query, filter, false, env).await
        }
        Admin::Spend | Admin::AuditLogs => {
            let scopes = send(&account, Letter::Admin { caller, ask }, env).await?.1;
            let all = scopes.as_array().is_some_and(|scopes| scopes.iter().any(|scope| scope == "organization"));
            let scopes = (!all).then_some(scopes);
            if matches!(act, Admin::Spend) {
                return spend(&account, scopes, query, headers, env).await;
            }
            let conditions = scopes.iter().map(audit::seen).collect();
            let filter = Filter { conditions, ..Filter::default() };
            entries(&audit::account_of(&account), query, filter, true, env).await
        }
        Admin::AuditCheckpoints => {
            let payload = send(&account, Letter::Admin { caller, ask }, env).await?.1;
            let mut row = receipts::signed_payload(payload, env).await?;
            if let Some(members) = row.as_object_mut() {
                put_text(members, "object", "audit_checkpoint");
                let hash = members.get("payload").and_then(|payload| payload.get("hash")).cloned();
                put(members, "id", hash.unwrap_or_default());
            }
            Ok((200, list_of(vec![row], false)))
        }
        Admin::LedgerEntry(id) => {
            let entry = entry_of(&account, caller, id, env).await?;
            Ok((200, entry_told(&entry, false)))
        }
        Admin::Recompute(id) => Ok((200, recomputed(&entry_of(&account, caller, id, env).await?))),
        _ => hand_over(act, ask, &organization, caller, headers, env).await,
    }
}

/// The `Idempotency-Key` of a request; empty for none.
fn once_of(headers: &Headers) -> Result<String, Fault> {
    let once = headers.get("idempotency-key").unwrap_or_default();
    if once.chars().count() > HEADER_MAX {
        let text = format!("An Idempotency-Key has at most {HEADER_MAX} characters.");
        return Err(Fault::parameter("Idempotency-Key", text));
    }
    Ok(once.to_owned())
}

/// What was used and spent, as a list of buckets or as a table.
async fn spend(account: &str, scopes: Option<Value>, query: &str, headers: &Headers, env: &Env) -> Told {
    let question = Question::of_query(query, now())?;
    let scopes = scopes.map(|scopes| crate::json::written(&scopes));
    let rows = journal::spend(env, account, &question, scopes).await;
    let rows = rows.map_err(|error| unavailable("The journal", error))?.ok_or_else(|| {
        let text = format!("There are more than {} calls in that time. Ask for a shorter one.", journal::SPAN_MAX);
        Fault::parameter("start_time", text)
    })?;
    if headers.get("accept").is_some_and(|types| types.contains("text/csv")) {
        return Ok((200, question.csv(&rows)?.into()));
    }
    Ok((200, question.told(&rows)?))
}

/// A ULID: what stands after the prefix of an id.
pub(super) fn fresh(at: Millis) -> Result<String, Fault> {
    Ok(mint("", at, random::chance()?).split_off(1))
}

/// Hands a request to the account.
async fn hand_over(
    act: &Admin,
    ask: AdminAsk,
    organization: &str,
    caller: Caller,
    headers: &Headers,
    env: &Env,
) -> Told {
    let asked = matches!(act, Admin::TopUp).then(|| (headers, ask.body.clone()));
    fits_catalog(act, &ask.body)?;
    let ask = sealed(act, ask, organization, env).await?;
    let fresh = fresh(now())?;
    // A key that is made anew keeps its id.
    let ulid = if let Admin::RotateKey(id) = act { id.clone() } else { fresh.clone() };
    let mint = Mint::of_act(act, &ask, &caller, organization, &fresh, env)?;
    let keys = mint.as_ref().map_or_else(Vec::new, |mint| mint.kept(&ulid));
    let letter = Letter::Admin { caller, ask: AdminAsk { fresh, keys, ..ask } };
    let (status, mut told) = send(&account_of(organization), letter, env).await?;
    let made = told.as_object_mut().and_then(|members| members.remove("made"));
    if matches!(act, Admin::TopUp) {
        return match asked {
            Some(asked) if told.get("method").and_then(Value::as_str) == Some("stablecoin") => {
                payer::topup(organization, told, asked, env).await
            }
            _ => stripe::session(organization, told, env).await,
        };
    }
    if let Some(mint) = mint {
        mint.reveal(made.as_ref(), &mut told);
    }
    Ok((status, told))
}

/// An entry by its id.
async fn entry_of(account: &str, caller: Caller, id: &str, env: &Env) -> Result<Entry, Fault> {
    let found = receipts::entry(account, caller, id, env).await?;
    found.ok_or_else(|| Fault::not_found("not_found", format!("There is no ledger entry {id:.60}.")))
}

/// A charge computed again from its entry, and whether the catalog that is in force has the same prices.
fn recomputed(entry: &Entry) -> Value {
    let call = entry.call.as_ref().filter(|_| entry.kind == EntryKind::Usage);
    let amount = call.map_or(entry.amount_usd, |call| Nanos(-call.recomputed().0));
    let listed = call.and_then(|call| Some(call.rates? == reconcile::listed(call)?.0));
    json!({
        "object": "ledger_recomputation",
        "id": entry.id,
        "amount_usd": entry.amount_usd,
        "recomputed_usd": amount,
        "equal": amount == entry.amount_usd,
        "sound": entry.is_sound(),
        "catalog_id": call.map(|call| &call.catalog_id),
        "usage": crate::json::told_by_text(&call.map(|call| call.usage)),
        "rates": crate::json::told_by_text(&call.and_then(|call| call.rates)),
        "rates_are_listed": listed,
        "formula": "tokens of each class x its rate, and the fee of a call, rounded once, half to even; \
                    an estimate at most what was held; nothing for an answer of no tokens",
    })
}

/// A provider's credentials, sealed before they go anywhere: one, or a list of several.
async fn sealed(act: &Admin, ask: AdminAsk, organization: &str, env: &Env) -> Result<AdminAsk, Fault> {
    let Admin::PutProvider(provider) = act else { return Ok(ask) };
    // What cannot be read, the account says.
    let Ok(Value::Object(mut body)) = crate::json::read::<Value>(&ask.body) else { return Ok(ask) };
    let told = match body.get("credential") {
        None | Some(Value::Null) => return Ok(ask),
        Some(Value::Array(several)) => several.clone(),
        Some(one) => vec![one.clone()],
    };
    let text = "credential is a text of visible ASCII characters, or a list of 1 to 9 of them.";
    if told.is_empty() || told.len() > 9 {
        return Err(Fault::parameter("credential", text));
    }
    let mut lines = Vec::with_capacity(told.len());
    for one in &told {
        let plain = one.as_str().filter(|plain| !plain.is_empty() && plain.len() <= CREDENTIAL_BYTES_MAX);
        let plain = plain.filter(|plain| plain.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        let plain = plain.ok_or_else(|| Fault::parameter("credential", text))?;
        lines.push(vault::seal(plain, organization, provider, env).await?);
    }
    put(&mut body, "credential", lines.join("\n").into());
    Ok(AdminAsk { body: crate::json::written(&Value::Object(body)), ..ask })
}

/// Seals what is stored of an organisation's credentials with the master key that seals now.
async fn reseal(organization: &str, env: &Env) -> Told {
    let account = account_of(organization);
    let letter = |swaps| Letter::Reseal { swaps };
    let (_, stored) = send(&account, letter(Vec::new()), env).await?;
    let mut swaps = Vec::new();
    for row in stored.as_array().into_iter().flatten() {
        let part = |place: usize| row.get(place).and_then(Value::as_str).unwrap_or_default();
        let (provider, old) = (part(0), part(1));
        if vault::is_current(old, env) {
            continue;
        }
        let Some(plain) = vault::open(old, organization, provider, env).await else {
            let text =
                format!("A credential of {provider} cannot be opened: its master key is not among CREDENTIAL_KEYS.");
            return Err(Fault::unavailable("unavailable", text));
        };
        swaps.push((old.to_owned(), vault::seal(&plain, organization, provider, env).await?));
    }
    let count = swaps.len();
    send(&account, letter(swaps), env).await?;
    Ok((200, json!({"object": "resealed", "id": organization, "credentials": count})))
}

/// Refuses an own provider by the name of one of the catalog, and a target that names a provider of the catalog and a model
/// it does not have. What else is wrong with a body, the account says.
fn fits_catalog(act: &Admin, body: &str) -> Result<(), Fault> {
    let (catalog, _) = snapshot::catalog();
    match act {
        Admin::PutProvider(id) if catalog.provider(id).is_some() => {
            let text =
                format!("{} is a provider of the catalog. Choose another name for yours.", crate::body::quoted(id));
            Err(Fault::parameter("id", text))
        }
        Admin::PutRoute(_) => {
            let targets = crate::json::read::<NamedRoute>(body).map_or_default(|route| route.targets);
            let stray = targets.iter().find(|target| {
                let ours = catalog.provider(&target.provider).is_some();
                ours && catalog.deployment(&target.deployment()).is_none()
            });
            stray.map_or(Ok(()), |target| {
                let (provider, model) = (&target.provider, crate::body::quoted(&target.model));
                let text = format!("{provider} has no model {model} in the catalog. GET /v1/models lists them.");
                Err(Fault::parameter("targets", text))
            })
        }
        _ => Ok(()),
    }
}

/// The organisation and the caller of an admin key.
fn admin_of(act: &Admin, headers: &Headers, env: &Env) -> Result<(String, Caller), Fault> {
    let pepper = secrets::pepper(env).ok_or_else(secrets::no_pepper)?;
    let opens = if *act == Admin::AcceptInvite { KeyKind::Invite } else { KeyKind::Admin };
    match knock(headers.credential(), &pepper) {
        Knock::Known(key, digest) if key.kind == opens => Ok((key.organization(), Caller::of(&key, &digest))),
        Knock::Known(..) => Err(crate::account::letter::wrong_kind()),
        Knock::Forged => Err(Fault::credential("invalid_key", "This key is not one of ours: it was changed or cut.")),
        Knock::Stranger => Err(Fault::credential("missing_key", "Send an admin key: Authorization: Bearer mr_ak_….")),
    }
}

pub(super) async fn send(account: &str, letter: Letter, env: &Env) -> Told {
    match ask(env, account, &letter).await {
        Ok(Answer::Told { status, body }) => Ok((status, body)),
        Ok(Answer::Refused(refusal)) => Err(refusal.to_fault()),
        Ok(_) => Ok((200, Value::Null)),
        Err(error) => Err(unavailable("The account", error)),
    }
}

/// `GET /v1/key`
pub async fn key(headers: &Headers, env: &Env) -> Told {
    let (organization, caller) = caller_of(headers, env)?;
    let session = headers.get("x-megarouter-session").unwrap_or_default().to_owned();
    send(&account_of(&organization), Letter::Key { caller, session }, env).await
}

/// Who shows a key of ours, of either kind, and its organisation. Whether it was revoked since, its account says.
pub(super) fn caller_of(headers: &Headers, env: &Env) -> Result<(String, Caller), Fault> {
    let pepper = secrets::pepper(env).ok_or_else(secrets::no_pepper)?;
    match knock(headers.credential(), &pepper) {
        Knock::Known(key, digest) if key.kind != KeyKind::Invite => Ok((key.organization(), Caller::of(&key, &digest))),
        knock => Err(not_a_key_of_ours(&knock)),
    }
}

/// As [`caller_of`], for what a key for calls opens alone.
pub(super) fn inference_of(headers: &Headers, env: &Env) -> Result<(String, Caller), Fault> {
    let known = caller_of(headers, env)?;
    if known.1.kind == KeyKind::Inference { Ok(known) } else { Err(crate::account::letter::wrong_kind()) }
}

/// 401 for a credential that does not open the plane of inference.
pub(super) fn not_a_key_of_ours(knock: &Knock) -> Fault {
    match knock {
        Knock::Known(..) => crate::account::letter::wrong_kind(),
        Knock::Forged => Fault::credential("invalid_key", "This key is not one of ours: it was changed or cut."),
        Knock::Stranger => Fault::credential("missing_key", "Send a MegaRouter key: Authorization: Bearer mr_sk_…."),
    }
}

/// A page of the journal, newest first.
async fn entries(account: &str, query: &str, mut filter: Filter, of_trail: bool, env: &Env) -> Told {
    filter.limit = 20;
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
            _ if of_trail => filter.conditions.push(audit::condition(name, &value)?),
            _ => {
                let text = "The query takes limit, after, model, key and reason.";
                filter.conditions.push(journal::of_calls(name, &value).ok_or_else(|| Fault::parameter(name, text))?);
            }
        }
    }
    let page = journal::read(env, account, &filter).await.map_err(|error| unavailable("The journal", error))?;
    let (entries, more) =
        page.ok_or_else(|| Fault::parameter("after", "after is the id of an entry, the last of the page before."))?;
    let tell = |entry: &Entry| if of_trail { audit::told(entry) } else { entry_told(entry, filter.requests) };
    let told: Vec<Value> = entries.iter().map(tell).collect();
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
        put_told(members, "seq", &entry.seq);
        put_told(members, "kind", &entry.kind);
        put(members, "legs", crate::json::told_by_text(&entry.legs));
        put_told(members, "note", &entry.note);
        put_text(members, "prev_hash", &entry.prev_hash);
        put_text(members, "hash", &entry.hash);
        put_told(members, "sound", &entry.is_sound());
        put(members, "call", crate::json::told_by_text(&entry.call));
    } else if let Value::Object(call) = crate::json::told_by_text(&entry.call) {
        // What a verdict teaches by, and a decision is made again from, is of no use to a reader.
        members.extend(call.into_iter().filter(|(name, _)| name != "case" && name != "decision"));
    }
    told
}

/// Answers the operator.
pub async fn platform(act: &Platform, headers: &Headers, body: &[u8], query: &str, env: &Env) -> Told {
    // Stripe signs what it sends instead.
    if !matches!(act, Platform::StripeWebhook) {
        operator(headers, env)?;
    }
    match act {
        Platform::CreateOrganization => create_organization(body, once_of(headers)?, env).await,
        Platform::GetOrganization(organization) => send(&account_of(organization), Letter::Standing(None), env).await,
        Platform::UpdateOrganization(organization) => {
            let asks::StandingAsk { status } = asks::read(body)?;
            send(&account_of(organization), Letter::Standing(Some(status)), env).await
        }
        Platform::Credit(organization) | Platform::Adjust(organization) => {
            credit(organization, body, matches!(act, Platform::Adjust(_)), headers, env).await
        }
        Platform::Refund(organization) => refund(organization, body, env).await,
        Platform::Reseal(organization) => reseal(organization, env).await,
        Platform::StripeWebhook => {
            stripe::webhook(headers.get("stripe-signature").unwrap_or_default(), body, env).await
        }
        Platform::Metrics => metrics(env).await,
        Platform::Reconcile => reconcile(query, env).await,
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

/// Whether the operator asks.
fn operator(headers: &Headers, env: &Env) -> Result<(), Fault> {
    let shown = headers.bearer().unwrap_or_default();
    match secrets::variable(env, "OPERATOR_TOKEN") {
        None => {
            Err(Fault::unavailable("unavailable", "This installation has no OPERATOR_TOKEN. Set it to use this plane."))
        }
        Some(token) if crate::access::same(token.as_bytes(), shown.as_bytes()) => Ok(()),
        Some(_) => Err(Fault::credential("invalid_key", "Send the operator's token: Authorization: Bearer ….")),
    }
}

/// What an organisation and all that comes with it are named by: under an `Idempotency-Key` the same each time, with a time that is no
/// moment.
fn founding_name(once: &str, at: Millis, env: &Env) -> Result<String, Fault> {
    if once.is_empty() {
        return fresh(at);
    }
    let pepper = secrets::pepper(env).ok_or_else(secrets::no_pepper)?;
    let code = crate::access::mac(format!("organization\n{once}").as_bytes(), &pepper);
    let chance = code.first_chunk().map_or_default(|first| u128::from_be_bytes(*first));
    Ok(mint("", Millis(1), chance).split_off(1))
}

async fn create_organization(body: &[u8], once: String, env: &Env) -> Told {
    let ask = asks::read::<asks::NewOrganization>(body)?.check()?;
    let at = now();
    let ulid = founding_name(&once, at, env)?;
    let id = format!("org_{ulid}");
    let zone = zone_of(&ask.timezone, at)?;
    let organization = Organization {
        id: id.clone(),
        name: ask.name,
        timezone: ask.timezone,
        zone,
        created_at: at.seconds(),
        ..Organization::default()
    };
    let member = Member { name: "first owner".into(), owner: true, created_at: at, ..Member::default() };
    let owner = Some((format!("mem_{ulid}"), member));
    let keys = Mint::of_founding(&id, &once, env)?;
    let spec = KeySpec { name: "first admin key".into(), ..KeySpec::default() };
    let made = keys.kept(&ulid).into_iter().find(|made| made.kind == KeyKind::Admin);
    let MadeKey { id: key_id, digest, redacted, kind } = made.ok_or_else(secrets::no_pepper)?;
    let admin_key = NewKey { id: key_id.clone(), digest, redacted, kind, spec };
    let credit = match ask.credit_usd.filter(|amount| amount.0 > 0) {
        Some(amount) => Some(NewCredit {
            id: mint("crd", at, random::chance()?),
            amount,
            reason: "operator credit".into(),
            ..NewCredit::default()
        }),
        None => None,
    };
    let mut told = json!({
        "organization": {
            "object": "organization",
            "id": id,
            "name": organization.name,
            "timezone": organization.timezone,
            "created_at": at.rfc3339(),
            "owner_member_id": owner.as_ref().map(|(id, _)| id),
        },
        "admin_key": {"id": key_id, "kind": "admin"},
    });
    keys.reveal(None, &mut told);
    let name = organization.name.clone();
    let timezone = organization.timezone.clone();
    send(&account_of(&id), Letter::Found { organization, admin_key, credit, owner }, env).await?;
    if !once.is_empty() {
        // It may be there since long.
        let (_, there) = send(&account_of(&id), Letter::Standing(None), env).await?;
        let text = |name: &str| there.get(name).and_then(Value::as_str).unwrap_or_default();
        if (text("name"), text("timezone")) != (&name, &timezone) {
            return Err(Refusal::Conflict(Conflict::OtherRequest).to_fault());
        }
        if let Some(members) = told.get_mut("organization").and_then(Value::as_object_mut) {
            put_text(members, "created_at", text("created_at"));
        }
    }
    if let Err(error) = journal::add_organization(env, &id, &name, at).await {
        // The account is there and works; only the watchdog does not know it yet.
        complain(format!("organisation {id} is not in the journal's list: {error}"));
    }
    Ok((201, told))
}

/// What an IANA time zone means from a moment on, as the platform's tables have it.
fn zone_of(timezone: &str, from: Millis) -> Result<Zone, Fault> {
    let told = storage::zone(timezone, from);
    told.and_then(|told| crate::json::read(&told).ok()).ok_or_else(|| {
        Fault::parameter("timezone", "timezone is a name of the IANA database, like \"UTC\" or \"Europe/Berlin\".")
    })
}

async fn credit(organization: &str, body: &[u8], adjusts: bool, headers: &Headers, env: &Env) -> Told {
    let ask = asks::read::<asks::CreditAsk>(body)?.check(adjusts)?;
    let id = mint(if adjusts { "adj" } else { "crd" }, now(), random::chance()?);
    let once = once_of(headers)?;
    let asks::CreditAsk { amount_usd: amount, reason } = ask;
    let credit = NewCredit { id, amount, reason, adjusts, once, ..NewCredit::default() };
    send(&account_of(organization), Letter::Credit(credit), env).await
}

async fn refund(organization: &str, body: &[u8], env: &Env) -> Told {
    let ask = asks::read::<asks::RefundAsk>(body)?;
    let account = account_of(organization);
    let found = journal::find(env, &account, &ask.entry_id).await.map_err(|error| unavailable("The journal", error))?;
    let charge = found.filter(|entry| entry.kind == EntryKind::Usage).ok_or_else(|| {
        let text = "There is no charge of that id in the journal. One that was just made is there a moment later.";
        Fault::not_found("not_found", text).with_param("entry_id")
    })?;
    let amount = ask.amount(Nanos(-charge.amount_usd.0))?;
    let id = mint("rfd", now(), random::chance()?);
    let call = charge.call.map(|call| CallRecord {
        api_key_id: call.api_key_id,
        path: call.path,
        provider: call.provider,
        model: call.model,
        ..CallRecord::default()
    });
    let letter = Letter::Refund(NewRefund { id, of: ask.entry_id, amount, reason: ask.reason, call });
    send(&account, letter, env).await
}

/// What the installation did, for Prometheus.
async fn metrics(env: &Env) -> Told {
    // The journal is read from its beginning: at most once a minute, however often somebody asks.
    let kept = storage::get(env, METRICS).await.ok().flatten().unwrap_or_default();
    if let Some((at, text)) = kept.split_once('\n')
        && now().since(Millis(at.parse().unwrap_or_default())) < METRICS_MS
    {
        return Ok((200, text.into()));
    }
    let rows = storage::rows(env, &ledger::metrics::statement(), &[]).await;
    let mut rows = rows.map_err(|error| unavailable("The journal", error))?;
    // What organisations call their own is nobody else's business.
    let (catalog, _) = snapshot::catalog();
    rows.retain(|row| {
        let provider = row.get("provider").and_then(Value::as_str);
        provider.is_some_and(|provider| catalog.provider(provider).is_some())
    });
    let payments = storage::rows(env, ledger::metrics::PAYMENTS, &[]).await;
    let payments = payments.map_err(|error| unavailable("The journal", error))?;
    let text = ledger::metrics::told(&rows, &payments, &snapshot::health());
    // Without it the next one reads again.
    drop(storage::put(env, METRICS, &format!("{}\n{text}", now().0)).await);
    Ok((200, text.into()))
}

/// Organisations of one reconciliation: each costs a letter and a few statements.
const RECONCILED_MAX: usize = 20;

/// Holds accounts against the journal: one with `organization`, else a page of all of them after `after`.
async fn reconcile(query: &str, env: &Env) -> Told {
    let (mut one, mut after, mut from) = (None, String::new(), Some(1));
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let number = || value.parse().map_err(|_| Fault::parameter("from", "from is the number of an entry."));
        match name {
            "organization" => one = Some(percent_decoded(value)),
            "after" => after = percent_decoded(value),
            "from" => from = Some(number()?),
            _ => return Err(Fault::parameter(name, "The query takes organization, after and from.")),
        }
    }
    let all = match one {
        Some(one) => vec![one],
        None => journal::organizations(env, &after, RECONCILED_MAX)
            .await
            .map_err(|error| unavailable("The journal", error))?,
    };
    let more = all.len() == RECONCILED_MAX;
    let mut told = Vec::with_capacity(all.len());
    for id in &all {
        told.push(reconcile::account(env, id, from).await);
    }
    Ok((200, list_of(told, more)))
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
    if body.len() > Catalog::BYTES_MAX {
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
        storage::put(env, key, value).await.map_err(|error| unavailable("KV", error))?;
    }
    snapshot::forget();
    Ok((200, catalog_told(&catalog, Source::Kv)))
}
