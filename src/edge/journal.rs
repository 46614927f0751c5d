//! The ledger's journal in D1: entries are appended by the accounts' outboxes and read by admins.
//!
//! Amounts cross the binding as text: it carries numbers as doubles.
use crate::{
    json,
    ledger::{Entry, EntryKind},
    money::Nanos,
    time::Millis,
};
use serde::Deserialize;
use serde_json::{Value, json as object};
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
        object!({
            "seq": entry.seq,
            "id": entry.id,
            "kind": entry.kind,
            "at": entry.at,
            "amount": entry.amount_usd.0.to_string(),
            "legs": entry.legs,
            "call": entry.call,
            "note": entry.note,
            "prev_hash": entry.prev_hash,
            "hash": entry.hash,
        })
    };
    let rows = Value::from(entries.iter().map(row).collect::<Vec<_>>()).to_string();
    let outcome = env.d1("DB")?.prepare(APPEND).bind(&[account.into(), rows.into()])?.run().await?;
    if !outcome.success() {
        return Err(Error::from(outcome.error().unwrap_or_default()));
    }
    // What was there already must be the same: an account set back in time would book other entries under old numbers.
    let Some(last) = entries.last() else { return Ok(()) };
    let find = "SELECT hash FROM entry WHERE account = ?1 AND seq = CAST(?2 AS INTEGER)";
    let values = [account.into(), last.seq.to_string().into()];
    let hash = env.d1("DB")?.prepare(find).bind(&values)?.first::<String>(Some("hash")).await?;
    if hash.as_deref() == Some(&last.hash) {
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
    let db = env.d1("DB")?;
    let before = match &filter.after {
        Some(id) => {
            let find = "SELECT CAST(seq AS TEXT) AS seq FROM entry WHERE account = ?1 AND id = ?2";
            let found =
                db.prepare(find).bind(&[account.into(), id.as_str().into()])?.first::<String>(Some("seq")).await?;
            found.unwrap_or_else(|| "0".to_owned())
        }
        None => u64::from(u32::MAX).to_string(),
    };
    let mut clauses = vec![READ.to_owned()];
    let mut values = vec![account.into(), before.into()];
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
            values.push(wanted.as_str().into());
            clauses.push(format!("AND {}", condition.replace('?', &format!("?{}", values.len()))));
        }
    }
    clauses.push(format!("ORDER BY seq DESC LIMIT {}", filter.limit + 1));
    let rows: Vec<Stored> = db.prepare(clauses.join(" ")).bind(&values)?.all().await?.results()?;
    let more = rows.len() > filter.limit;
    let entries = rows.into_iter().take(filter.limit).map(Stored::entry).collect::<Result<Vec<_>>>()?;
    Ok((entries, more))
}

/// A row as D1 gives it.
#[derive(Deserialize)]
struct Stored {
    seq: u64,
    id: String,
    kind: EntryKind,
    at: u64,
    amount: String,
    legs: String,
    call: Option<String>,
    note: Option<String>,
    prev_hash: String,
    hash: String,
}

impl Stored {
    fn entry(self) -> Result<Entry> {
        let nanos: i64 = self.amount.parse().map_err(|_| Error::from("an amount in the journal is no number"))?;
        let call = match self.call.as_deref() {
            None | Some("null") => None,
            Some(text) => Some(json::read(text)?),
        };
        Ok(Entry {
            seq: self.seq,
            id: self.id,
            kind: self.kind,
            at: Millis(self.at),
            amount_usd: Nanos(nanos),
            legs: json::read(&self.legs)?,
            call,
            note: self.note,
            prev_hash: self.prev_hash,
            hash: self.hash,
        })
    }
}

/// Notes a new organisation, for the watchdog.
pub async fn add_organization(env: &Env, id: &str, name: &str, at: Millis) -> Result<()> {
    let statement = "INSERT INTO organization VALUES(?1, ?2, CAST(?3 AS INTEGER)) ON CONFLICT DO NOTHING";
    let values = [id.into(), name.into(), at.0.to_string().into()];
    env.d1("DB")?.prepare(statement).bind(&values)?.run().await?;
    Ok(())
}

/// The organisations there are.
pub async fn organizations(env: &Env) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
    }
    let rows: Vec<Row> = env.d1("DB")?.prepare("SELECT id FROM organization").all().await?.results()?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}
