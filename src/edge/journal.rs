//! The ledger's journal in D1: entries are appended by the accounts' outboxes and read by admins.
//!
//! Amounts cross the binding as text: it carries numbers as doubles.
use super::{
    error::{Error, Result},
    storage::{rows, text},
};
use crate::{
    id::made_at,
    json,
    ledger::{Entry, spend::Question},
    money::{NANOS_MAX, Nanos},
    time::Millis,
};
use serde_json::Value;
use std::str::FromStr;
use worker::Env;

const APPEND: &str = "INSERT INTO entry(account, seq, id, kind, at, amount, legs, call, note, prev_hash, hash)
SELECT ?1, value ->> 'seq', value ->> 'id', value ->> 'kind', value ->> 'at', CAST(value ->> 'amount' AS INTEGER),
  value -> 'legs', value -> 'call', value ->> 'note', value ->> 'prev_hash', value ->> 'hash'
FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING";

const READ_ALL: &str =
    "SELECT seq, id, kind, at, CAST(amount AS TEXT) AS amount, legs, call, note, prev_hash, hash FROM entry
WHERE account = ?1";

/// Appends entries. Those that are there already are left as they are: the same statement may come twice.
pub async fn append(env: &Env, account: &str, entries: &[Entry]) -> Result<()> {
    let row = |entry: &Entry| {
        json::json!({
            "seq": entry.seq,
            "id": entry.id,
            "kind": entry.kind,
            "at": entry.at,
            "amount": entry.amount_usd.0.to_string(),
            "legs": json::told_by_text(&entry.legs),
            "call": json::told_by_text(&entry.call),
            "note": entry.note,
            "prev_hash": entry.prev_hash,
            "hash": entry.hash,
        })
    };
    let told = json::written(&Value::from(entries.iter().map(row).collect::<Vec<_>>()));
    rows(env, APPEND, &[account, &told]).await?;
    // What was there already must be the same: an account set back in time would book other entries under old numbers.
    let hashes: Vec<_> = entries.iter().map(|entry| json::json!([entry.seq, entry.hash])).collect();
    let same = "SELECT count(*) AS same FROM json_each(?2) AS told CROSS JOIN entry
WHERE entry.account = ?1 AND entry.seq = told.value ->> 0 AND entry.hash = told.value ->> 1";
    let found = rows(env, same, &[account, &json::written(&Value::from(hashes))]).await?;
    if found.first().is_some_and(|row| count(row, "same") == entries.len() as u64) {
        return Ok(());
    }
    let (first, last) = (entries.first().map_or(0, |entry| entry.seq), entries.last().map_or(0, |entry| entry.seq));
    Err(Error::from(format!("entries {first} to {last} in the journal are others than the account's")))
}

/// Finds where the entries of a moment begin, by halving: ids have no index, because every entry would pay for it, but they
/// tell their time, and entries lie in the order of theirs.
const BEGIN: &str = "WITH RECURSIVE span(low, high) AS (
  SELECT 1, coalesce((SELECT max(seq) FROM entry WHERE account = ?1), 0) + 1
  UNION ALL
  SELECT
    iif(coalesce((SELECT at FROM entry WHERE account = ?1 AND seq = (low + high) / 2), 0) < ?2 + 0, (low + high) / 2 + 1, low),
    iif(coalesce((SELECT at FROM entry WHERE account = ?1 AND seq = (low + high) / 2), 0) < ?2 + 0, high, (low + high) / 2)
  FROM span WHERE low < high)
SELECT CAST(max(low) AS TEXT) AS begin FROM span";

/// Entries that are looked through at once.
const PAGE: u64 = 5_000;
/// When the entry of an id may have been booked, after the id was made, and how many pages are looked through from there: at
/// once, after an answer of some minutes, when its provider told, and a day later, perhaps after the time of a hold that nobody
/// closed.
const BOOKED: [(u64, u64); 6] =
    [(0, 10), (240_000, 4), (600_000, 4), (1_200_000, 4), (86_400_000, 4), (86_400_000 + 1_200_000, 4)];

/// The entry of that id.
pub async fn find(env: &Env, account: &str, id: &str) -> Result<Option<Entry>> {
    let Some(made) = made_at(id) else { return Ok(None) };
    let end = last(env, account).await?;
    for (after, pages) in BOOKED {
        // The clock of the worker that made the id may be ahead.
        let since = made.0.saturating_add(after).saturating_sub(5_000).to_string();
        let found = rows(env, BEGIN, &[account, &since]).await?;
        let begin = found.first().and_then(|row| parsed(row, "begin").ok()).unwrap_or(1_u64);
        for page in 0..pages {
            let from = begin + page * PAGE;
            if from > end {
                break;
            }
            let statement =
                format!("{READ_ALL} AND seq >= CAST(?2 AS INTEGER) AND seq < CAST(?3 AS INTEGER) AND id = ?4");
            let found = rows(env, &statement, &[account, &from.to_string(), &(from + PAGE).to_string(), id]).await?;
            if let Some(row) = found.first() {
                return entry(row).map(Some);
            }
        }
    }
    Ok(None)
}

/// The number of an account's last entry; 0 for none.
pub async fn last(env: &Env, account: &str) -> Result<u64> {
    let statement = "SELECT CAST(coalesce(max(seq), 0) AS TEXT) AS last FROM entry WHERE account = ?1";
    let found = rows(env, statement, &[account]).await?;
    Ok(found.first().and_then(|row| parsed(row, "last").ok()).unwrap_or_default())
}

/// A number that crosses as text.
fn parsed<T: FromStr>(row: &Value, column: &str) -> Result<T> {
    text(row, column)?.parse().map_err(|_| Error::from(format!("a row has no number in {column}")))
}

/// A number that is small; 0 where it is missing.
fn count(row: &Value, column: &str) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or_default()
}

/// What the journal has of an account up to an entry: how many, paid in, spent, and what legs of fees come to.
pub async fn totals(env: &Env, account: &str, through: u64) -> Result<(u64, Nanos, Nanos, Nanos)> {
    let statement = "SELECT count(*) AS entries,
  CAST(coalesce(sum(iif(kind IN ('credit', 'adjustment'), amount, 0)), 0) AS TEXT) AS credits,
  CAST(coalesce(sum(iif(kind IN ('credit', 'adjustment'), 0, -amount)), 0) AS TEXT) AS posted,
  (SELECT group_concat(leg.value ->> 'amount_usd', ' ') FROM entry AS one, json_each(one.legs) AS leg
    WHERE one.account = ?1 AND one.seq <= CAST(?2 AS INTEGER) AND one.legs LIKE '%income:fees%'
      AND leg.value ->> 'account' LIKE 'income:fees%') AS fees
FROM entry WHERE account = ?1 AND seq <= CAST(?2 AS INTEGER)";
    let found = rows(env, statement, &[account, &through.to_string()]).await?;
    let row = found.first().ok_or_else(|| Error::from("the journal gave no totals"))?;
    let fees = row.get("fees").and_then(Value::as_str).unwrap_or_default();
    let fees = fees.split_whitespace().map(|leg| Nanos::parse_usd(leg).unwrap_or(Nanos(NANOS_MAX)));
    let fees = fees.fold(Nanos::ZERO, Nanos::plus);
    Ok((count(row, "entries"), Nanos(parsed(row, "credits")?), Nanos(parsed(row, "posted")?), fees))
}

/// What was used and spent, by the scopes that may be seen, as a JSON list; all of it without. `None` where that is too much to look at.
pub async fn spend(
    env: &Env,
    account: &str,
    question: &Question,
    scopes: Option<String>,
) -> Result<Option<Vec<Value>>> {
    // The clock that booked an entry may have been behind: entries lie in the order of their numbers, nearly in that of times.
    let place = |at: u64| async move {
        let found = rows(env, BEGIN, &[account, &at.to_string()]).await?;
        Ok::<u64, Error>(found.first().and_then(|row| parsed(row, "begin").ok()).unwrap_or(1))
    };
    let (start, end) = (question.start.0, question.end.0);
    let (from, to) = (place(start.saturating_sub(CLOCKS_MS)).await?, place(end.saturating_add(CLOCKS_MS)).await?);
    if to.saturating_sub(from) > SPAN_MAX {
        return Ok(None);
    }
    let (from, to, start, end) = (from.to_string(), to.to_string(), start.to_string(), end.to_string());
    let mut values = vec![account, from.as_str(), to.as_str(), start.as_str(), end.as_str()];
    values.extend(scopes.as_deref());
    rows(env, &question.statement(scopes.is_some()), &values).await.map(Some)
}

/// Entries that one question looks at: all accounts share one database, which answers one at a time.
pub const SPAN_MAX: u64 = 200_000;

/// By how much clocks may differ.
const CLOCKS_MS: u64 = 5_000;

/// Entries after one, oldest first.
pub async fn following(env: &Env, account: &str, after: u64, through: u64, most: usize) -> Result<Vec<Entry>> {
    let statement =
        format!("{READ_ALL} AND seq > CAST(?2 AS INTEGER) AND seq <= CAST(?3 AS INTEGER) ORDER BY seq LIMIT {most}");
    let found = rows(env, &statement, &[account, &after.to_string(), &through.to_string()]).await?;
    found.iter().map(entry).collect()
}

/// Which entries to read.
#[derive(Debug, Default)]
pub struct Filter {
    pub limit: usize,
    /// Entries before this one: an id of the page before.
    pub after: Option<String>,
    /// Only requests, one row each.
    pub requests: bool,
    /// More conditions, in SQL: `?` stands for the value of each.
    pub conditions: Vec<(&'static str, String)>,
}

/// The condition of a parameter that asks for some calls.
pub fn of_calls(name: &str, value: &str) -> Option<(&'static str, String)> {
    let condition = match name {
        // By its own name, or with its provider's before it.
        "model" => "? IN (call ->> 'model', (call ->> 'provider') || '/' || (call ->> 'model'))",
        "key" => "call ->> 'api_key_id' = ?",
        "reason" => "call ->> 'reason' = ?",
        _ => return None,
    };
    Some((condition, value.to_owned()))
}

/// Reads entries, newest first, and whether there are more. `None` if there is no entry to go on after.
pub async fn read(env: &Env, account: &str, filter: &Filter) -> Result<Option<(Vec<Entry>, bool)>> {
    let before = match &filter.after {
        Some(id) => match find(env, account, id).await? {
            Some(entry) => entry.seq,
            None => return Ok(None),
        },
        None => 1 << 53,
    };
    let before = before.to_string();
    let mut clauses = vec![format!("{READ_ALL} AND seq < CAST(?2 AS INTEGER)")];
    if filter.requests {
        // Another attempt of a request is no request.
        clauses.push("AND kind = 'usage' AND id NOT LIKE '%#%'".to_owned());
    }
    let mut values = vec![account, before.as_str()];
    for (condition, wanted) in &filter.conditions {
        values.push(wanted);
        clauses.push(format!("AND {}", condition.replace('?', &format!("?{}", values.len()))));
    }
    clauses.push(format!("ORDER BY seq DESC LIMIT {}", filter.limit + 1));
    let mut found = rows(env, &clauses.join(" "), &values).await?;
    let more = found.len() > filter.limit;
    found.truncate(filter.limit);
    let mut entries = Vec::with_capacity(found.len());
    for row in &found {
        entries.push(entry(row)?);
    }
    Ok(Some((entries, more)))
}

/// An entry from its row.
fn entry(row: &Value) -> Result<Entry> {
    let call = row.get("call").and_then(Value::as_str).filter(|call| *call != "null");
    Ok(Entry {
        seq: count(row, "seq"),
        id: text(row, "id")?,
        kind: json::from_value(row.get("kind").cloned().unwrap_or_default())?,
        at: Millis(count(row, "at")),
        amount_usd: Nanos(parsed(row, "amount")?),
        legs: json::read(&text(row, "legs")?)?,
        call: call.map(json::read).transpose()?,
        note: text(row, "note").ok(),
        prev_hash: text(row, "prev_hash")?,
        hash: text(row, "hash")?,
    })
}

/// Notes a new organisation, for the watchdog.
pub async fn add_organization(env: &Env, id: &str, name: &str, at: Millis) -> Result<()> {
    let statement = "INSERT INTO organization VALUES(?1, ?2, CAST(?3 AS INTEGER)) ON CONFLICT DO NOTHING";
    rows(env, statement, &[id, name, &at.0.to_string()]).await?;
    Ok(())
}

/// The organisations after one, in order.
pub async fn organizations(env: &Env, after: &str, most: usize) -> Result<Vec<String>> {
    let statement = format!("SELECT id FROM organization WHERE id > ?1 ORDER BY id LIMIT {most}");
    let found = rows(env, &statement, &[after]).await?;
    Ok(found.iter().filter_map(|row| text(row, "id").ok()).collect())
}
