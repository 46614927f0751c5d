//! The audit trail as a file: exported as JSON lines with its signed checkpoint, and verified without asking anybody.
use crate::{
    arg::escaped,
    client::{Ask, Server},
    show::plain,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use megarouter::{
    audit, json,
    ledger::{Entry, EntryKind, GENESIS},
    money::Nanos,
    receipt::canonical,
    time::Millis,
};
use serde_json::{Map, Value};
use std::{thread::sleep, time::Duration};

const PATH: &str = "/admin/v1/audit_logs";
/// A row reaches the log within a second of its act; we look so often, and wait so long between.
const LOOKS: u32 = 15;
const WAIT: Duration = Duration::from_millis(300);
/// Gaps that are told one by one.
const GAPS_TOLD: usize = 10;

/// The public keys to check a signature by, or why there are none.
pub enum Keys {
    Known(Value),
    Unknown(String),
}

/// What was read of a log, ready to be written.
#[derive(Debug, PartialEq)]
pub struct Exported {
    pub lines: Vec<String>,
    /// How many of them are rows; the checkpoint is one more.
    pub rows: usize,
    /// What whoever asked should know of it.
    pub notes: Vec<&'static str>,
}

/// Reads the log through: the rows up to the checkpoint, oldest first, and the checkpoint as the last line. Who sees some rows
/// only gets those, without a checkpoint where it may not see that.
///
/// # Errors
/// What could not be read, or a log that does not reach its checkpoint.
pub fn export(server: Server<'_>, token: &str, from: Option<&str>) -> Result<Exported, String> {
    let ask = |path: &str| server(&Ask { method: "GET", path, token: Some(token), ..Ask::default() });
    let get = |path: &str| {
        let answer = ask(path)?;
        if answer.is_good() { Ok(answer.json()) } else { Err(answer.error()) }
    };
    let mut notes = Vec::new();
    // First: what is written meanwhile is above it, and left out.
    let answer = ask(&format!("{PATH}/checkpoints"))?;
    let checkpoint = match answer.status {
        403 => None,
        _ if !answer.is_good() => return Err(answer.error()),
        _ => Some(answer.json().pointer("/data/0").cloned().ok_or("There is no checkpoint.")?),
    };
    let last = checkpoint.as_ref().map(|row| number(&row["payload"], "seq").ok_or("The checkpoint has no seq."));
    let last = last.transpose()?.unwrap_or(u64::MAX);
    if checkpoint.is_some() {
        reaches(&get, last)?;
    } else {
        notes.push("No checkpoint is in it: that is for roles of the whole organisation.");
    }
    let rows = rows_of(&get, from, last)?;
    let seq = |row: Option<&Value>| row.and_then(|row| number(row, "seq")).unwrap_or_default();
    if usize::try_from(seq(rows.last())).is_ok_and(|last| last != rows.len()) {
        notes.push("Rows are left out, by --from or because your roles do not reach them: verify it with --partial.");
    }
    Ok(Exported { lines: rows.iter().chain(&checkpoint).map(json::write).collect(), rows: rows.len(), notes })
}

/// Waits until the log has a row.
fn reaches(get: &dyn Fn(&str) -> Result<Value, String>, last: u64) -> Result<(), String> {
    for look in 0..=LOOKS {
        if look > 0 {
            sleep(WAIT);
        }
        let page = get(&format!("{PATH}?limit=1"))?;
        if page.pointer("/data/0").and_then(|row| number(row, "seq")).is_some_and(|seq| seq >= last) {
            return Ok(());
        }
    }
    Err(format!("The log does not reach row {last} yet, where the checkpoint is. Try again in a moment."))
}

/// All rows of the log up to one, oldest first, page by page.
fn rows_of(get: &dyn Fn(&str) -> Result<Value, String>, from: Option<&str>, last: u64) -> Result<Vec<Value>, String> {
    let from = from.map_or_default(|from| format!("&from={}", escaped(from)));
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&format!("{PATH}?limit=100{from}{after}"))?;
        let data = page.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        let next = data.last().map(|row| format!("&after={}", escaped(text(row, "id"))));
        rows.extend(data.into_iter().filter(|row| number(row, "seq").is_some_and(|seq| seq <= last)));
        match next {
            Some(next) if page.get("has_more") == Some(&Value::Bool(true)) && next != after => after = next,
            _ => break,
        }
    }
    rows.reverse();
    Ok(rows)
}

/// Verifies what was exported; `partial` lets rows be missing. Returns what held, a line each.
///
/// # Errors
/// Which row is wrong, and what is wrong with it.
pub fn verify(file: &str, partial: bool, keys: &Keys) -> Result<Vec<String>, String> {
    let lines = file.lines().filter(|line| !line.trim().is_empty()).enumerate();
    let rows = lines.map(|(place, line)| object(line).map_err(|why| format!("line {}: {why}", place + 1)));
    let mut rows = rows.collect::<Result<Vec<Value>, String>>()?;
    let is_checkpoint = |row: &mut Value| text(row, "object") == "audit_checkpoint";
    let checkpoint = rows.pop_if(is_checkpoint);
    let mut read = Read { seq: 0, hash: GENESIS.to_owned(), run: 1, gaps: Vec::new() };
    for (place, row) in rows.iter().enumerate() {
        let at = |why: String| format!("line {}: {}: {why}", place + 1, named(row));
        read.take(row, partial).map_err(at)?;
    }
    if checkpoint.is_none() && (!partial || rows.is_empty()) {
        return Err("The last line is no checkpoint: the end of the file was cut.".to_owned());
    }
    let mut told = Vec::new();
    let ends = checkpoint.as_ref().map(|checkpoint| read.ends(checkpoint, partial)).transpose()?;
    let first = rows.first().and_then(|row| number(row, "seq")).unwrap_or_default();
    told.push(match (rows.len(), read.gaps.is_empty()) {
        (0, _) => "rows: none".to_owned(),
        (count, true) => format!(
            "rows: ok, {count}, numbers {first} to {}; each seal fits, and each follows the one before",
            read.seq
        ),
        (count, false) => format!("rows: ok, {count} of numbers {first} to {}; each seal fits", read.seq),
    });
    told.extend(read.gaps.iter().take(GAPS_TOLD).map(gap));
    if let Some(more) = read.gaps.len().checked_sub(GAPS_TOLD).filter(|more| *more > 0) {
        told.push(format!("gap: and {more} more"));
    }
    match (checkpoint, ends) {
        (Some(checkpoint), Some(ends)) => {
            told.extend([ends, signed(&checkpoint, keys)?]);
        }
        _ => {
            told.push(
                "checkpoint: NONE; nothing here is signed, whoever wrote the file may have made all of it".into(),
            );
        }
    }
    Ok(told.iter().map(|line| plain(line)).collect())
}

/// How far a file was read.
struct Read {
    /// The last row, and its seal.
    seq: u64,
    hash: String,
    /// Where the rows begin that follow one another up to that one.
    run: u64,
    gaps: Vec<(u64, u64)>,
}

impl Read {
    /// Takes in a row, which must be sealed and come after the one before.
    fn take(&mut self, row: &Value, partial: bool) -> Result<(), String> {
        let entry = entry(row)?;
        let due = self.seq + 1;
        if entry.seq < due {
            return Err(format!("rows are out of order: row {due} should come here"));
        }
        if entry.seq > due {
            self.skips(entry.seq - 1, partial)?;
            self.run = entry.seq;
        }
        if !entry.is_sound() {
            return Err("the seal does not fit: the row was changed".to_owned());
        }
        if audit::told(&entry) != *row {
            return Err("it has members that no seal covers: the row was changed".to_owned());
        }
        if entry.seq == due && entry.prev_hash != self.hash {
            return Err("its prev_hash is not the hash of the row before".to_owned());
        }
        (self.seq, self.hash) = (entry.seq, entry.hash);
        Ok(())
    }

    /// Rows up to one are missing.
    fn skips(&mut self, last: u64, partial: bool) -> Result<(), String> {
        let missing = (self.seq + 1, last);
        if !partial {
            return Err(format!("{}. Where that is meant, say --partial.", gap(&missing)));
        }
        self.gaps.push(missing);
        Ok(())
    }

    /// Whether a checkpoint is where the rows end. Returns what it holds.
    fn ends(&mut self, checkpoint: &Value, partial: bool) -> Result<String, String> {
        let payload = checkpoint.get("payload").unwrap_or(&Value::Null);
        let reached = number(payload, "seq").ok_or("The checkpoint has no seq.")?;
        if reached < self.seq {
            return Err(format!("The file goes on to row {}, the checkpoint is at row {reached}.", self.seq));
        }
        let of = format!("row {reached} of {}, at {}", text(payload, "organization_id"), text(payload, "at"));
        if reached > self.seq {
            self.skips(reached, partial).map_err(|why| format!("the end: {why}"))?;
            return Ok(format!("checkpoint: for {of}, WHICH IS NOT HERE; it says nothing of the rows above"));
        }
        if self.hash != text(payload, "hash") {
            return Err(format!("The checkpoint is for another row {reached}: its hash is not that of the last row."));
        }
        Ok(if self.run == 1 {
            format!("checkpoint: ok, {of}")
        } else {
            format!("checkpoint: ok, {of}; it covers the rows from {} on, and no row before", self.run)
        })
    }
}

fn gap((first, last): &(u64, u64)) -> String {
    if first == last {
        format!("gap: row {first} is not in this file")
    } else {
        format!("gap: rows {first}..{last} are not in this file")
    }
}

fn signed(checkpoint: &Value, keys: &Keys) -> Result<String, String> {
    let payload = checkpoint.get("payload").unwrap_or(&Value::Null);
    Ok(match keys {
        Keys::Unknown(why) => format!("signature: NOT CHECKED, {why}; whoever wrote the file may have made all of it"),
        Keys::Known(keys) => {
            let key_id = text(checkpoint, "key_id");
            signature(payload, text(checkpoint, "signature"), &key(keys, key_id)?)?;
            format!("signature: ok, {key_id} signed it")
        }
    })
}

/// The entry of the ledger that a row tells: its note is what stands between `at` and `prev_hash`.
fn entry(row: &Value) -> Result<Entry, String> {
    let members = row.as_object().ok_or("it is no object")?;
    let between =
        members.iter().skip_while(|(name, _)| *name != "at").skip(1).take_while(|(name, _)| *name != "prev_hash");
    let note: Map<String, Value> = between.map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(Entry {
        seq: number(row, "seq").ok_or("it has no seq")?,
        id: text(row, "id").to_owned(),
        kind: EntryKind::Audit,
        at: moment(text(row, "at")).ok_or("its `at` is no moment with milliseconds")?,
        amount_usd: Nanos::ZERO,
        legs: Vec::new(),
        call: None,
        note: Some(json::write(&note)),
        prev_hash: text(row, "prev_hash").to_owned(),
        hash: text(row, "hash").to_owned(),
    })
}

/// A moment as rows tell it.
fn moment(at: &str) -> Option<Millis> {
    let (_, fraction) = at.split_once('.')?;
    let moment = Millis::of_rfc3339(at)?.after(fraction.strip_suffix('Z')?.parse().ok()?);
    (moment.rfc3339_ms() == at).then_some(moment)
}

/// The key of that name, as `/.well-known/megarouter-keys.json` lists it.
fn key(keys: &Value, key_id: &str) -> Result<VerifyingKey, String> {
    let list =
        keys.get("keys").and_then(Value::as_array).ok_or("The keys are no list of keys: they need an array `keys`.")?;
    let found = list.iter().find(|key| text(key, "key_id") == key_id && !key_id.is_empty());
    let found =
        found.ok_or_else(|| plain(&format!("{key_id:?}, which is to have signed it, is not among the keys.")))?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text(found, "x")).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = bytes.filter(|_| text(found, "crv") == "Ed25519").and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
    key.ok_or_else(|| plain(&format!("{key_id} is no public key for Ed25519.")))
}

fn signature(payload: &Value, signature: &str, key: &VerifyingKey) -> Result<(), String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).ok();
    let signature = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok());
    let signature = signature.ok_or("The checkpoint's signature is not 64 bytes in base64url.")?;
    // Strict: some keys and signatures off the curve's main group would fit more than one text.
    key.verify_strict(canonical(payload).as_bytes(), &signature)
        .map_err(|_| "The checkpoint's signature is wrong: it was changed, or another key signed it.".to_owned())
}

fn object(line: &str) -> Result<Value, String> {
    match serde_json::from_str::<Value>(line) {
        Ok(value) if value.is_object() => Ok(value),
        _ => Err("it is no JSON object".to_owned()),
    }
}

fn named(row: &Value) -> String {
    let seq = number(row, "seq").map_or_else(|| "?".to_owned(), |seq| seq.to_string());
    format!("row {seq} ({})", plain(text(row, "id")))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
