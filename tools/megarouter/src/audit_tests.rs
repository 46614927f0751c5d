use super::*;
use crate::client::Answer;
use ed25519_dalek::{Signer, SigningKey};
use megarouter::{
    ledger::{Entry, EntryKind},
    money::Nanos,
};
use serde_json::json;

const SECOND: u64 = 1_795_824_000_000;

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn known() -> Keys {
    let x = BASE64_URL_SAFE_NO_PAD.encode(signer().verifying_key().to_bytes());
    Keys::Known(json!({"keys": [{"key_id": "k1", "kty": "OKP", "crv": "Ed25519", "x": x}]}))
}

fn put(row: &mut Value, name: &str, value: impl Into<Value>) {
    row.as_object_mut().expect("a row").insert(name.to_owned(), value.into());
}

/// A row as the API tells it, sealed the way the ledger seals: by its own type, with the word of the kind put in its place.
fn row(number: u64, seq: u64, before: (&str, &str)) -> Value {
    let at = Millis(SECOND + number * 1_000 + 123);
    let told = json!({"type": "api_key.created", "decision": "allowed", "actor": {"member_id": "mem_1", "ip": "10.0.0.1"},
        "resource": {"type": "api_key", "id": "key_1"}, "scopes": ["organization"], "before": null,
        "after": {"name": "a \"b\"\n€", "rpm": 5}, "number": number, "previous": before.0});
    let entry = Entry {
        seq,
        id: format!("aud_{number}"),
        kind: EntryKind::Credit,
        at,
        amount_usd: Nanos::ZERO,
        legs: Vec::new(),
        call: None,
        note: Some(told.to_string()),
        prev_hash: before.1.to_owned(),
        hash: String::new(),
    };
    let hash = sha256_hex(json::write(&entry).replace(r#""kind":"credit""#, r#""kind":"audit""#).as_bytes());
    let mut row = json!({"object": "audit_log", "id": entry.id, "seq": seq, "at": at.rfc3339()});
    for (name, value) in told.as_object().expect("an object") {
        put(&mut row, name, value.clone());
    }
    put(&mut row, "prev_hash", before.1);
    put(&mut row, "hash", hash);
    row
}

/// Rows 1 to `count`; between the second and the third stand entries of money.
fn rows(count: u64) -> Vec<Value> {
    let mut rows: Vec<Value> = Vec::new();
    for number in 1..=count {
        let last = rows.last().map_or(GENESIS, |row| text(row, "hash")).to_owned();
        let gap = if number > 2 { 5 } else { 0 };
        let prev = if number == 3 { "ab".repeat(32) } else { last.clone() };
        rows.push(row(number, number + gap, (&last, &prev)));
    }
    rows
}

fn checkpoint(row: Option<&Value>) -> Value {
    let (number, hash) = row.map_or((0, GENESIS), |row| (number(row, "number").expect("one"), text(row, "hash")));
    let at = "2026-11-28T00:00:00Z";
    let payload =
        json!({"object": "audit_checkpoint", "organization_id": "org_1", "number": number, "hash": hash, "at": at});
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signer().sign(canonical(&payload).as_bytes()).to_bytes());
    json!({"object": "audit_checkpoint", "id": "acp_1", "number": number, "hash": hash, "at": at,
        "payload": payload, "signature": signature, "key_id": "k1"})
}

fn file(rows: &[Value], end: &Value) -> String {
    rows.iter().chain([end]).map(Value::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_good_file_is_good() {
    let rows = rows(4);
    let end = checkpoint(rows.last());
    let told = verify(&file(&rows, &end), 1, &known()).expect("good");
    assert!(
        told[0].contains("4, numbers 1 to 4") && told[1].contains("org_1") && told[2].contains("signature: ok, k1"),
        "{told:?}"
    );
    let unsigned = verify(&file(&rows, &end), 1, &Keys::Unknown("nobody has them".into())).expect("good");
    assert!(unsigned[2].contains("NOT CHECKED"));
    let later = verify(&file(&rows[2..], &end), 3, &known()).expect("good from there on");
    assert!(later[0].contains("numbers 3 to 4"));
    assert!(verify(&file(&[], &checkpoint(None)), 1, &known()).expect("nothing was done")[0].contains("none"));
}

#[test]
fn a_moment_with_milliseconds_is_that_one() {
    let mut row = row(1, 1, (GENESIS, GENESIS));
    let told = text(&row, "at").replace('Z', ".123Z");
    put(&mut row, "at", told.clone());
    assert_eq!(is_sealed(&row, 1, text(&row, "hash")), Ok(true));
    put(&mut row, "at", told.replace(".123", ".124"));
    assert_eq!(is_sealed(&row, 1, text(&row, "hash")), Ok(false));
}

/// Every way to forge a file, and what is said of it.
#[test]
fn a_forged_file_is_seen() {
    let good = rows(4);
    let end = checkpoint(good.last());
    let forged = |change: &dyn Fn(&mut Vec<Value>, &mut Value)| {
        let (mut rows, mut end) = (good.clone(), end.clone());
        change(&mut rows, &mut end);
        verify(&file(&rows, &end), 1, &known()).expect_err("forged")
    };
    let edited: &dyn Fn(&mut Vec<Value>, &mut Value) = &|rows, _| put(&mut rows[1], "decision", "denied");
    let resealed: &dyn Fn(&mut Vec<Value>, &mut Value) = &|rows, _| {
        let last = text(&rows[0], "hash").to_owned();
        rows[1] = row(2, 2, (&"cd".repeat(32), &last));
    };
    for (what, change, line, why) in [
        ("edited", edited, "line 2", "row 2 (aud_2): the seal does not fit"),
        ("another actor", &|rows, _| put(&mut rows[2], "actor", json!({"member_id": "mem_2"})), "line 3", "the seal"),
        ("moved in time", &|rows, _| put(&mut rows[0], "at", "2026-11-28T10:00:00Z"), "line 1", "the seal"),
        ("a gap", &|rows, _| drop(rows.remove(1)), "line 2", "row 3 (aud_3): there is a gap: row 2"),
        ("cut beginning", &|rows, _| drop(rows.remove(0)), "line 1", "--from 2"),
        ("twice", &|rows, _| rows.insert(1, rows[0].clone()), "line 2", "out of order"),
        ("wrong previous", resealed, "line 2", "`previous`"),
        ("cut end", &|rows, _| drop(rows.pop()), "", "ends at row 3, the checkpoint is at row 4"),
        ("all cut", &|rows, _| rows.clear(), "", "no rows"),
        ("other end", &|_, end| put(end, "hash", "ef".repeat(32)), "", "another row 4"),
        ("other payload", &|_, end| put(&mut end["payload"], "number", 3), "", "payload"),
        ("bad signature", &|_, end| put(&mut end["payload"], "organization_id", "org_2"), "", "signature is wrong"),
        ("no signature", &|_, end| put(end, "signature", ""), "", "not 64 bytes"),
        ("other key", &|_, end| put(end, "key_id", "k2"), "", "not among the keys"),
        ("no checkpoint", &|rows, end| *end = rows.pop().expect("a row"), "", "the end of the file was cut"),
    ] as [(&str, &dyn Fn(&mut Vec<Value>, &mut Value), &str, &str); 15]
    {
        let told = forged(change);
        assert!(told.starts_with(line) && told.contains(why), "{what}: {told}");
    }
    assert!(verify("", 1, &known()).is_err() && verify("[1]\n", 1, &known()).is_err());
}

/// The API as far as an export goes: pages of two, newest first.
fn served(rows: &[Value], end: &Value, ask: &Ask<'_>) -> Answer {
    assert_eq!(ask.token, Some("mr_ak_x"));
    let body = if ask.path.ends_with("/checkpoints") {
        json!({"object": "list", "data": [end]})
    } else {
        let after = ask.path.split_once("&after=").map(|(_, id)| id.to_owned());
        let newest: Vec<&Value> = rows.iter().rev().collect();
        let start = after.map_or(0, |id| newest.iter().position(|row| text(row, "id") == id).expect("known") + 1);
        let page: Vec<&&Value> = newest.iter().skip(start).take(2).collect();
        json!({"object": "list", "data": page, "has_more": start + 2 < newest.len()})
    };
    Answer { status: 200, text: body.to_string(), headers: Vec::new() }
}

#[test]
fn an_export_ends_at_its_checkpoint_and_is_good() {
    let rows = rows(5);
    let end = checkpoint(rows.get(3));
    let lines = export(&|ask| Ok(served(&rows, &end, ask)), "mr_ak_x", None).expect("whole");
    assert_eq!(lines.len(), 5);
    verify(&lines.join("\n"), 1, &known()).expect("good");
    let late = export(&|ask| Ok(served(&rows[..3], &end, ask)), "mr_ak_x", None).expect_err("rows are missing");
    assert!(late.contains("at row 4") && late.contains("up to row 3"), "{late}");
    let refused = |_: &Ask<'_>| {
        Ok(Answer {
            status: 403,
            text: r#"{"error":{"code":"role_required","message":"no"}}"#.into(),
            headers: Vec::new(),
        })
    };
    assert_eq!(export(&refused, "mr_ak_x", None), Err("403 role_required: no".to_owned()));
}
