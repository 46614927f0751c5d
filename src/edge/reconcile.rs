//! The reconciler: every account is held against the journal, and what providers can tell of unknown charges is asked for.
use super::{
    account_object::{account_of, ask},
    error::{Error, Result},
    journal, now, snapshot,
    upstream::Upstream,
};
use crate::json::json;
use crate::{
    account::letter::{Answer, Letter, PostLetter, PostOutcome, Summary, Suspended},
    catalog::{Rates, When},
    chat::ServiceTier,
    dialect::generation_usage,
    exchange::event::{Event, Head, UpstreamCall},
    ledger::{CallRecord, Entry, EntryKind, GENESIS},
    money::Nanos,
    usage::Usage,
};
use serde_json::Value;
use worker::Env;

/// Entries read at once, and at most in one go: `read_through` says where to go on.
const PAGE: usize = 500;
const ENTRIES_MAX: usize = 20_000;

/// Entries may wait so long for the journal.
const WAITING_MS: u64 = 600_000;
/// Entries whose chain is read where nobody says from where on.
const RECENT: u64 = 2_000;

/// Holds an account against the journal. `from` is the entry to begin with, of the last ones if it is left out; the chain
/// before it is believed, but its sums are not. What cannot be reached is told as what is wrong.
pub async fn account(env: &Env, organization: &str, from: Option<u64>) -> Value {
    match compared(env, organization, from).await {
        Ok(told) => told,
        Err(error) => {
            let wrong = [format!("it could not be compared: {error}")];
            json!({"object": "reconciliation", "id": organization, "agrees": false, "wrong": wrong, "resolved": []})
        }
    }
}

/// First the account: what it says the journal has, the journal has for ever.
async fn summary(env: &Env, name: &str) -> Result<Summary> {
    let (catalog, _) = snapshot::catalog();
    let tells = catalog.providers.iter().filter(|provider| provider.generation_path.is_some());
    let letter = Letter::Summary { providers: tells.map(|provider| provider.id.clone()).collect() };
    match ask(env, name, &letter).await? {
        Answer::Summary(summary) => Ok(*summary),
        Answer::Refused(_) => Err(Error::from("there is no account of that organisation")),
        _ => Err(Error::from("the account gave no summary")),
    }
}

async fn compared(env: &Env, organization: &str, from: Option<u64>) -> Result<Value> {
    let name = account_of(organization);
    let summary = summary(env, &name).await?;
    let from = from.unwrap_or_else(|| summary.seq.saturating_sub(RECENT)).max(1);
    let resolved = resolve(env, &name, &summary.unresolved).await;
    let mut wrong = Vec::new();
    let (entries, credits, posted, fees) = journal::totals(env, &name, summary.seq).await?;
    for (what, told, found) in [
        ("entries", summary.seq.to_string(), entries.to_string()),
        ("credits_usd", summary.wallet.credits.to_string(), credits.to_string()),
        ("posted_usd", summary.wallet.posted.to_string(), posted.to_string()),
        ("fees_usd", Nanos::ZERO.to_string(), fees.to_string()),
    ] {
        if told != found {
            wrong.push(format!("{what}: the account says {told}, the journal {found}"));
        }
    }
    if summary.overdue > 0 {
        wrong.push(format!("{} holds are open past their time", summary.overdue));
    }
    let last = journal::last(env, &name).await?;
    if last > summary.seq + summary.waiting && last > self::summary(env, &name).await?.seq {
        wrong.push(format!("the journal has entries up to {last}, which the account does not know"));
    }
    if summary.waiting > 0 && now().since(summary.waiting_since) > WAITING_MS {
        wrong.push(format!(
            "{} entries wait for the journal since {}",
            summary.waiting,
            summary.waiting_since.rfc3339()
        ));
    }
    let read = chain(env, &name, &summary, from, &mut wrong).await?;
    Ok(json!({
        "object": "reconciliation",
        "id": organization,
        "agrees": wrong.is_empty(),
        "wrong": wrong,
        "entries": entries,
        "read_from": from,
        "read_through": read,
        "waiting": summary.waiting,
        "open": summary.open,
        "suspended": summary.suspended,
        "resolved": resolved,
        "credits_usd": credits,
        "posted_usd": posted,
        "fees_usd": fees,
    }))
}

/// Reads the chain: no gap, every seal and every sum right, every charge what its counts come to. Answers the last entry read.
async fn chain(env: &Env, name: &str, summary: &Summary, from: u64, wrong: &mut Vec<String>) -> Result<u64> {
    let mut seq = from - 1;
    let mut head = if seq == 0 { Some(GENESIS.to_owned()) } else { None };
    let first = seq;
    while seq < summary.seq && (seq - first) < ENTRIES_MAX as u64 {
        let page = journal::following(env, name, seq, summary.seq, PAGE).await?;
        for entry in &page {
            wrong.extend(
                faults(entry, seq + 1, head.as_deref()).into_iter().map(|what| format!("{}: {what}", entry.id)),
            );
            (seq, head) = (entry.seq, Some(entry.hash.clone()));
        }
        if page.is_empty() {
            wrong.push(format!("entries from {} on are missing", seq + 1));
            break;
        }
    }
    if seq == summary.seq && head.is_some_and(|head| head != summary.head) {
        wrong.push("the last seal is not the account's".to_owned());
    }
    Ok(seq)
}

fn faults(entry: &Entry, seq: u64, head: Option<&str>) -> Vec<&'static str> {
    let call = entry.call.as_ref().filter(|_| entry.kind == EntryKind::Usage);
    let charge = call.map(|call| Nanos(-call.recomputed().0));
    [
        (entry.seq != seq, "there is a gap before it"),
        (head.is_some_and(|head| head != entry.prev_hash), "it does not follow the one before"),
        (!entry.is_sound(), "it was changed, or its legs do not balance"),
        (charge.is_some_and(|charge| charge != entry.amount_usd), "its charge is not what its counts come to"),
    ]
    .into_iter()
    .filter_map(|(wrong, what)| wrong.then_some(what))
    .collect()
}

/// Asks providers what calls used whose end was not seen, and posts it.
async fn resolve(env: &Env, account: &str, unresolved: &[Suspended]) -> Vec<Value> {
    let mut resolved = Vec::new();
    for one in unresolved {
        let Some(usage) = generation(env, one).await else { continue };
        let mut call = one.call.clone();
        (call.usage, call.estimated, call.resolved_by) = (usage, false, "generation".to_owned());
        call.absorbed_usd = Nanos::ZERO;
        if let Some((rates, request_fee)) = listed(&call) {
            (call.rates, call.request_fee_usd) = (Some(rates), request_fee);
        }
        // Nobody pays more for a call whose end was not seen than was held for it.
        call.absorbed_usd = call.recomputed().minus(call.held_usd).max(Nanos::ZERO);
        let charge = call.recomputed();
        let tokens = usage.prompt().saturating_add(usage.output);
        let (request_id, outcome) = (one.id.clone(), PostOutcome::Charge(charge));
        let letter = PostLetter {
            request_id,
            held_at: Some(one.at),
            outcome,
            call,
            tokens,
            others: Vec::new(),
            observed: String::new(),
            paid: None,
        };
        if matches!(ask(env, account, &Letter::Post(letter)).await, Ok(Answer::Posted)) {
            resolved.push(json!({"id": one.id, "by": "generation", "charge_usd": charge}));
        }
    }
    resolved
}

/// The prices of a call, and its fee, by the catalog in force, if it was made by that: a longer prompt may meet others.
pub fn listed(call: &CallRecord) -> Option<(Rates, Nanos)> {
    let (catalog, _) = snapshot::catalog();
    let deployment =
        catalog.deployment(&format!("{}/{}", call.provider, call.model)).filter(|_| catalog.id == call.catalog_id)?;
    let when = When { at: call.priced_at, tier: ServiceTier::of_word(&call.service_tier) };
    Some((*deployment.rates.at(call.usage.prompt(), when), deployment.rates.request))
}

/// What a provider says that an answer used; `None` where it does not say.
async fn generation(env: &Env, one: &Suspended) -> Option<Usage> {
    let (catalog, _) = snapshot::catalog();
    let path = catalog.provider(&one.call.provider)?.generation_path.as_ref()?;
    let id = one.call.generation_id.as_str();
    let reach = snapshot::reach(&one.call.provider)?;
    // Only the credential it was made with knows it.
    for credential in reach.credentials {
        let call = UpstreamCall {
            url: format!("{}{}", reach.base_url, path.replace("{id}", id)),
            headers: Vec::new(),
            credential_header: ("authorization", "Bearer "),
            credential,
            body: Vec::new(),
        };
        let upstream = Upstream::new(&call);
        if let Event::Head { head: Head { status: 200, .. }, .. } = upstream.clone().head(0, call, env.clone()).await
            && let Event::Whole { bytes, .. } = upstream.whole(0).await
        {
            return generation_usage(&bytes);
        }
    }
    None
}
