//! The audit log as a file: exported as JSON lines with its signed checkpoint, and verified without asking anybody.
use crate::{
    arg::escaped,
    client::{Ask, Server},
    show::plain,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use megarouter::{catalog::sha256_hex, json, ledger::GENESIS, receipt::canonical, time::Millis};
use serde_json::{Map, Value};

const PATH: &str = "/admin/v1/audit_logs";

/// The public keys to check a signature by, or why there are none.
pub enum Keys {
    Known(Value),
    Unknown(String),
}

/// Reads the log through: the rows up to the checkpoint, oldest first, and the checkpoint as the last line.
///
/// # Errors
/// What could not be read, or a log that does not reach its checkpoint.
pub fn export(server: Server<'_>, token: &str, from: Option<&str>) -> Result<Vec<String>, String> {
    let get = |path: &str| {
        let answer = server(&Ask { method: "GET", path, token: Some(token), ..Ask::default() })?;
        if answer.is_good() { Ok(answer.json()) } else { Err(answer.error()) }
    };
    // First: what is written meanwhile is above it, and left out.
    let checkpoints = get(&format!("{PATH}/checkpoints"))?;
    let checkpoint = checkpoints.pointer("/data/0").ok_or("There is no checkpoint yet: nothing was done.")?;
    let last = number(checkpoint, "number").ok_or("The checkpoint has no number.")?;
    let from = from.map_or_default(|from| format!("&from={}", escaped(from)));
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&format!("{PATH}?limit=100{from}{after}"))?;
        let data = page.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        let next = data.last().map(|row| format!("&after={}", escaped(text(row, "id"))));
        rows.extend(data.into_iter().filter(|row| number(row, "number").is_some_and(|number| number <= last)));
        match next {
            Some(next) if page.get("has_more") == Some(&Value::Bool(true)) && next != after => after = next,
            _ => break,
        }
    }
    rows.reverse();
    let reached = rows.last().and_then(|row| number(row, "number")).unwrap_or_default();
    if reached != last {
        return Err(format!(
            "The checkpoint is at row {last}, the log was told up to row {reached}. Try again in a moment."
        ));
    }
    Ok(rows.iter().chain([checkpoint]).map(json::write).collect())
}

/// Verifies what was exported: `first` is the number it must begin with. Returns what held, a line each.
///
/// # Errors
/// Which row is wrong, and what is wrong with it.
pub fn verify(file: &str, first: u64, keys: &Keys) -> Result<Vec<String>, String> {
    let lines: Vec<&str> = file.lines().filter(|line| !line.trim().is_empty()).collect();
    let (end, rows) = lines.split_last().ok_or("The file is empty.")?;
    let checkpoint = object(end).map_err(|why| format!("line {}: {why}", lines.len()))?;
    if text(&checkpoint, "object") != "audit_checkpoint" {
        return Err("The last line is no checkpoint: the end of the file was cut.".to_owned());
    }
    let mut last = Last { number: first.saturating_sub(1), hash: (first == 1).then(|| GENESIS.to_owned()), seq: 0 };
    for (place, line) in rows.iter().enumerate() {
        let named = |why: String| format!("line {}: {why}", place + 1);
        let row = object(line).map_err(named)?;
        last = follows(&last, &row).map_err(|why| named(format!("row {}: {why}", told(&row))))?;
    }
    let reached = number(&checkpoint, "number").ok_or("The checkpoint has no number.")?;
    if rows.is_empty() && reached != 0 {
        return Err(format!("There are no rows, and the checkpoint is at row {reached}."));
    }
    if reached != last.number {
        return Err(format!(
            "The file ends at row {}, the checkpoint is at row {reached}: rows are missing at the end.",
            last.number
        ));
    }
    if last.hash.as_deref() != Some(text(&checkpoint, "hash")) {
        return Err(format!("The checkpoint is for another row {reached}: its hash is not that of the last row."));
    }
    let held = match rows.len() {
        0 => "rows: none".to_owned(),
        count => {
            format!("rows: ok, {count}, numbers {first} to {reached}; each seal fits, and each follows the one before")
        }
    };
    let payload = checkpoint.get("payload").unwrap_or(&Value::Null);
    if number(payload, "number") != Some(reached) || text(payload, "hash") != text(&checkpoint, "hash") {
        return Err(
            "The checkpoint's payload, which is what was signed, names another row than the checkpoint.".to_owned()
        );
    }
    let of = format!("row {reached} of {}, at {}", text(payload, "organization_id"), text(payload, "at"));
    let signed = match keys {
        Keys::Unknown(why) => format!("signature: NOT CHECKED, {why}; whoever wrote the file may have made all of it"),
        Keys::Known(keys) => {
            let key_id = text(&checkpoint, "key_id");
            signature(payload, text(&checkpoint, "signature"), &key(keys, key_id)?)?;
            format!("signature: ok, {key_id} signed it")
        }
    };
    Ok([held, format!("checkpoint: ok, {of}"), signed].iter().map(|line| plain(line)).collect())
}

/// What of a row the next one refers to.
struct Last {
    number: u64,
    /// Unknown before a file that begins later.
    hash: Option<String>,
    /// Its number among all entries of the ledger.
    seq: u64,
}

/// Whether a row is sealed and comes after the one before.
fn follows(last: &Last, row: &Value) -> Result<Last, String> {
    let (Some(number), Some(seq)) = (number(row, "number"), number(row, "seq")) else {
        return Err("it has no number, or no seq".to_owned());
    };
    let due = last.number + 1;
    if number > due {
        let hint = if last.seq == 0 {
            format!(" If it was exported from a moment on, say --from {number}.")
        } else {
            String::new()
        };
        return Err(format!("there is a gap: row {due} should come here.{hint}"));
    }
    if number < due {
        return Err(format!("rows are out of order: row {due} should come here"));
    }
    if seq <= last.seq {
        return Err("its seq is not above that of the row before".to_owned());
    }
    let hash = text(row, "hash");
    if !is_sealed(row, seq, hash)? {
        return Err("the seal does not fit: the row was changed".to_owned());
    }
    let adjacent = last.seq + 1 == seq && last.number > 0;
    if last
        .hash
        .as_ref()
        .is_some_and(|last| last != text(row, "previous") || adjacent && last != text(row, "prev_hash"))
    {
        return Err("its `previous` is not the hash of the row before".to_owned());
    }
    Ok(Last { number, hash: Some(hash.to_owned()), seq })
}

/// Whether a hash is that of the row's ledger entry.
fn is_sealed(row: &Value, seq: u64, hash: &str) -> Result<bool, String> {
    let members = row.as_object().ok_or("it is no object")?;
    let between =
        members.iter().skip_while(|(name, _)| *name != "at").skip(1).take_while(|(name, _)| *name != "prev_hash");
    let note: Map<String, Value> = between.map(|(name, value)| (name.clone(), value.clone())).collect();
    let (from, to) = moments(text(row, "at")).ok_or("its `at` is no moment")?;
    // As `megarouter::ledger::Entry` is written.
    let head = format!(r#"{{"seq":{seq},"id":{},"kind":"audit","at":"#, json::write(text(row, "id")));
    let note = json::write(&json::write(&note));
    let tail = format!(
        r#","amount_usd":"0","legs":[],"note":{note},"prev_hash":{},"hash":""}}"#,
        json::write(text(row, "prev_hash"))
    );
    Ok((from..=to).any(|at| sha256_hex(format!("{head}{at}{tail}").as_bytes()) == hash))
}

/// The milliseconds a moment may mean: one, or where it is told to the second all of that second.
fn moments(at: &str) -> Option<(u64, u64)> {
    let second = Millis::of_rfc3339(at)?.0;
    let Some((_, fraction)) = at.split_once('.') else { return Some((second, second + 999)) };
    let digits: String = fraction.chars().take_while(char::is_ascii_digit).chain("000".chars()).take(3).collect();
    let at = second + digits.parse::<u64>().ok()?;
    Some((at, at))
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

fn told(row: &Value) -> String {
    format!(
        "{} ({})",
        number(row, "number").map_or_else(|| "?".to_owned(), |number| number.to_string()),
        plain(text(row, "id"))
    )
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
