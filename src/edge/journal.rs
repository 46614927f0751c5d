//! The ledger's journal in D1: entries are appended by the accounts' outboxes and read by admins.
//!
//! Amounts cross the binding as text: it carries numbers as doubles.
use super::storage::{rows, text};
use crate::{
    json,
    ledger::{Entry, EntryKind},
    money::Nanos,
    time::Millis,
};
use serde_json::Value;
use worker::{Env, Error, Result};

const APPEND: &str = "INSERT INTO entry(account, seq, id, kind, at, amount, legs, call, note, prev_hash, hash)
SELECT ?1, value ->> 'seq', value ->> 'id', value ->> 'kind', value ->> 'at', CAST(value ->> 'amount' AS INTEGER),
  value -> 'legs', value -> 'call', value ->> 'note', value ->> 'prev_hash', value ->> 'hash'
FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING";

const READ: &str =
    "SELECT seq, id, kind, at, CAST(amount AS TEXT) AS amount, legs, call, note, prev_hash, hash FROM entry
WHERE account = ?1 AND seq < CAST(?2 AS INTEGER)";

/// Appends entries. Those that are there already are left as they are: the same statement may come twice.
pub async fn append(env: &Env, account: &str, entries: &[Entry]) -> Result<()> {
    let row = |entry: &Entry| {
        json::json!({
            "seq": entry.seq,
            "id": entry.id,
            "kind": entry.kind,
            "at": entry.at,
            "amount": entry.amount_usd.0.to_string(),
            "legs": entry.legs,
            "call": json::told_by_text(&entry.call),
            "note": entry.note,
            "prev_hash": entry.prev_hash,
            "hash": entry.hash,
        })
    };
    let rows = Value::from(entries.iter().map(row).collect::<Vec<_>>()).to_string();
    super::storage::rows(env, APPEND, &[account, &rows]).await?;
    // What was there already must be the same: an account set back in time would book other entries under old numbers.
    let Some(last) = entries.last() else { return Ok(()) };
    let find = "SELECT hash FROM entry WHERE account = ?1 AND seq = CAST(?2 AS INTEGER)";
    let found = super::storage::rows(env, find, &[account, &last.seq.to_string()]).await?;
    if found.first().and_then(|row| row.get("hash")?.as_str()) == Some(&last.hash) {
        return Ok(());
    }
    Err(Error::from(format!("entry {} in the journal is another one than the account's", last.seq)))
}

/// Which entries to read.
#[derive(Debug, Default)]
pub struct Filter {
    pub limit: usize,
    /// Entries before this one: an id of the page before.
    pub after: Option<String>,
    pub kind: Option<EntryKind>,
    pub model: Option<String>,
    pub key: Option<String>,
    pub reason: Option<String>,
}

/// Reads entries, newest first, and whether there are more.
pub async fn read(env: &Env, account: &str, filter: &Filter) -> Result<(Vec<Entry>, bool)> {
    let before = match &filter.after {
        Some(id) => {
            let find = "SELECT CAST(seq AS TEXT) AS seq FROM entry WHERE account = ?1 AND id = ?2";
            let found = rows(env, find, &[account, id]).await?;
            found.first().map_or_else(|| Ok("0".to_owned()), |row| text(row, "seq"))?
        }
        None => u64::from(u32::MAX).to_string(),
    };
    let mut clauses = vec![READ.to_owned()];
    let mut values = vec![account, before.as_str()];
    let kind = filter.kind.map(|kind| match kind {
        EntryKind::Credit => "credit".to_owned(),
        EntryKind::Usage => "usage".to_owned(),
    });
    let conditions = [
        ("kind = ?", &kind),
        // By its own name, or with its provider's before it.
        ("? IN (call ->> 'model', (call ->> 'provider') || '/' || (call ->> 'model'))", &filter.model),
        ("call ->> 'api_key_id' = ?", &filter.key),
        ("call ->> 'reason' = ?", &filter.reason),
    ];
    for (condition, wanted) in conditions {
        if let Some(wanted) = wanted {
            values.push(wanted);
            clauses.push(format!("AND {}", condition.replace('?', &format!("?{}", values.len()))));
        }
    }
    clauses.push(format!("ORDER BY seq DESC LIMIT {}", filter.limit + 1));
    let mut found = rows(env, &clauses.join(" "), &values).await?;
    let more = found.len() > filter.limit;
    found.truncate(filter.limit);
    let mut entries = Vec::with_capacity(found.len());
    for row in &found {
        entries.push(entry(row)?);
    }
    Ok((entries, more))
}

/// An entry from its row.
fn entry(row: &Value) -> Result<Entry> {
    let number = |column: &str| row.get(column).and_then(Value::as_u64).unwrap_or_default();
    let nanos: i64 = text(row, "amount")?.parse().map_err(|_| Error::from("an amount in the journal is no number"))?;
    let call = row.get("call").and_then(Value::as_str).filter(|call| *call != "null");
    Ok(Entry {
        seq: number("seq"),
        id: text(row, "id")?,
        kind: json::from_value(row.get("kind").cloned().unwrap_or_default())?,
        at: Millis(number("at")),
        amount_usd: Nanos(nanos),
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

/// The organisations there are.
pub async fn organizations(env: &Env) -> Result<Vec<String>> {
    let found = rows(env, "SELECT id FROM organization", &[]).await?;
    Ok(found.iter().filter_map(|row| text(row, "id").ok()).collect())
}
