use super::*;
use crate::client::Answer;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::json;
use std::cell::Cell;

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

/// A row as the worker seals and tells it.
fn row(seq: u64, before: &str) -> Value {
    let note = json!({"type": "api_key.created", "decision": "allowed", "actor": {"member_id": "mem_1", "ip": "10.0.0.1"},
        "resource": {"type": "api_key", "id": "key_1"}, "scopes": ["organization"], "before": null,
        "after": {"name": "a \"b\"\n€", "rpm": 5, "explore": 0.1, "whole": 1.0}});
    let entry = Entry {
        seq,
        id: format!("aud_{seq}"),
        kind: EntryKind::Audit,
        at: Millis(SECOND + seq * 1_000 + 23),
        amount_usd: Nanos::ZERO,
        legs: Vec::new(),
        call: None,
        note: Some(note.to_string()),
        prev_hash: before.to_owned(),
        hash: String::new(),
    };
    audit::told(&entry.sealed())
}

/// Rows 1 to `count`.
fn rows(count: u64) -> Vec<Value> {
    let mut rows: Vec<Value> = Vec::new();
    for seq in 1..=count {
        rows.push(row(seq, rows.last().map_or(GENESIS, |row| text(row, "hash"))));
    }
    rows
}

fn checkpoint(row: &Value) -> Value {
    let (seq, hash) = (number(row, "seq"), text(row, "hash"));
    let payload = json!({"object": "audit_checkpoint", "organization_id": "org_1", "seq": seq, "hash": hash,
        "at": "2026-11-28T00:00:00Z"});
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signer().sign(canonical(&payload).as_bytes()).to_bytes());
    json!({"payload": payload, "signature": signature, "key_id": "k1", "object": "audit_checkpoint", "id": hash})
}

fn file(rows: &[Value], end: &Value) -> String {
    rows.iter().chain([end]).map(Value::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_good_file_is_good() {
    let rows = rows(4);
    let end = checkpoint(&rows[3]);
    let told = verify(&file(&rows, &end), false, &known()).expect("good");
    assert!(told[0].contains("4, numbers 1 to 4") && told[1].contains("ok, row 4 of org_1"), "{told:?}");
    assert!(told[2].contains("signature: ok, k1"), "{told:?}");
    let unsigned = verify(&file(&rows, &end), false, &Keys::Unknown("nobody has them".into())).expect("good");
    assert!(unsigned[2].contains("NOT CHECKED"));
}

/// What is missing is said, and so is what the signature does not cover then.
#[test]
fn a_part_is_good_where_it_is_meant() {
    let all = rows(9);
    let end = checkpoint(&all[8]);
    let part: Vec<Value> =
        all.iter().filter(|row| [3, 4, 8, 9].contains(&row["seq"].as_u64().unwrap_or(0))).cloned().collect();
    let refused = verify(&file(&part, &end), false, &known()).expect_err("not whole");
    assert!(
        refused.starts_with("line 1: row 3 (aud_3): gap: rows 1..2 are not in this file")
            && refused.contains("--partial")
    );
    let told = verify(&file(&part, &end), true, &known()).expect("good as a part");
    assert_eq!(
        told[..3],
        [
            "rows: ok, 4 of numbers 3 to 9; each seal fits",
            "gap: rows 1..2 are not in this file",
            "gap: rows 5..7 are not in this file",
        ]
    );
    assert!(told[3].ends_with("it covers the rows from 8 on, and no row before") && told[4].contains("ok"), "{told:?}");
    let told = verify(&file(&part[..3], &end), true, &known()).expect("good as a part");
    assert!(told[3].contains("row 9") && told[4].contains("WHICH IS NOT HERE"), "{told:?}");
    let told = verify(&part[0].to_string(), true, &known()).expect("without a checkpoint");
    assert!(told[2].contains("checkpoint: NONE"), "{told:?}");
    assert!(verify(&part[0].to_string(), false, &known()).is_err() && verify("", true, &known()).is_err());
    let mut forged = part.clone();
    put(&mut forged[1], "decision", "denied");
    let why = verify(&file(&forged, &end), true, &known()).expect_err("forged");
    assert!(why.contains("the seal does not fit"), "{why}");
}

/// Every way to forge a file, and what is said of it.
#[test]
fn a_forged_file_is_seen() {
    let good = rows(4);
    let end = checkpoint(&good[3]);
    let forged = |change: &dyn Fn(&mut Vec<Value>, &mut Value)| {
        let (mut rows, mut end) = (good.clone(), end.clone());
        change(&mut rows, &mut end);
        verify(&file(&rows, &end), false, &known()).expect_err("forged")
    };
    let edited: &dyn Fn(&mut Vec<Value>, &mut Value) = &|rows, _| put(&mut rows[1], "decision", "denied");
    for (what, change, line, why) in [
        ("edited", edited, "line 2", "row 2 (aud_2): the seal does not fit"),
        ("another actor", &|rows, _| put(&mut rows[2], "actor", json!({"member_id": "mem_2"})), "line 3", "the seal"),
        ("moved in time", &|rows, _| put(&mut rows[0], "at", "2026-11-28T10:00:00.000Z"), "line 1", "the seal"),
        ("no milliseconds", &|rows, _| put(&mut rows[0], "at", "2026-11-28T10:00:00Z"), "line 1", "no moment"),
        ("a millisecond", &|rows, _| put(&mut rows[0], "at", "2026-11-28T00:00:01.024Z"), "line 1", "the seal"),
        ("more said", &|rows, _| put(&mut rows[1], "reason", "none"), "line 2", "no seal covers"),
        ("a gap", &|rows, _| drop(rows.remove(1)), "line 2", "row 3 (aud_3): gap: row 2 is not in this file"),
        ("cut beginning", &|rows, _| drop(rows.drain(..2)), "line 1", "gap: rows 1..2 are not"),
        ("twice", &|rows, _| rows.insert(1, rows[0].clone()), "line 2", "out of order"),
        ("another chain", &|rows, _| rows[1] = row(2, &"cd".repeat(32)), "line 2", "prev_hash"),
        ("cut end", &|rows, _| drop(rows.pop()), "the end", "gap: row 4"),
        ("all cut", &|rows, _| rows.clear(), "the end", "gap: rows 1..4"),
        ("longer", &|rows, _| rows.push(row(5, text(&rows[3], "hash"))), "", "goes on to row 5"),
        ("other end", &|_, end| put(&mut end["payload"], "hash", "ef".repeat(32)), "", "another row 4"),
        ("bad signature", &|_, end| put(&mut end["payload"], "organization_id", "org_2"), "", "signature is wrong"),
        ("no signature", &|_, end| put(end, "signature", ""), "", "not 64 bytes"),
        ("other key", &|_, end| put(end, "key_id", "k2"), "", "not among the keys"),
        ("no checkpoint", &|rows, end| *end = rows.pop().expect("a row"), "", "the end of the file was cut"),
    ] as [(&str, &dyn Fn(&mut Vec<Value>, &mut Value), &str, &str); 18]
    {
        let told = forged(change);
        assert!(told.starts_with(line) && told.contains(why), "{what}: {told}");
    }
    assert!(verify("", false, &known()).is_err() && verify("[1]\n", false, &known()).is_err());
}

/// The API as far as an export goes: pages of two, newest first.
fn served(rows: &[Value], end: Option<&Value>, ask: &Ask<'_>) -> Answer {
    assert_eq!(ask.token, Some("mr_ak_x"));
    let refused = json!({"error": {"code": "role_required", "message": "no"}});
    let (status, body) = if ask.path.ends_with("/checkpoints") {
        end.map_or((403, refused), |end| (200, json!({"object": "list", "data": [end]})))
    } else {
        let after = ask.path.split_once("&after=").map(|(_, id)| id.to_owned());
        let newest: Vec<&Value> = rows.iter().rev().collect();
        let start = after.map_or(0, |id| newest.iter().position(|row| text(row, "id") == id).expect("known") + 1);
        let page: Vec<&&Value> = newest.iter().skip(start).take(2).collect();
        (200, json!({"object": "list", "data": page, "has_more": start + 2 < newest.len()}))
    };
    Answer { status, text: body.to_string(), headers: Vec::new() }
}

#[test]
fn an_export_ends_at_its_checkpoint_and_is_good() {
    let rows = rows(5);
    let end = checkpoint(&rows[3]);
    let told = export(&|ask| Ok(served(&rows, Some(&end), ask)), "mr_ak_x", None).expect("whole");
    assert_eq!((told.lines.len(), told.rows, told.notes.len()), (5, 4, 0));
    verify(&told.lines.join("\n"), false, &known()).expect("good");
    // The log reaches the checkpoint a moment later.
    let looks = Cell::new(0);
    let late = |ask: &Ask<'_>| {
        looks.set(looks.get() + 1);
        Ok(served(if looks.get() < 4 { &rows[..3] } else { &rows }, Some(&end), ask))
    };
    assert_eq!(export(&late, "mr_ak_x", None).expect("whole in the end").rows, 4);
    let none = |_: &Ask<'_>| {
        Ok(Answer { status: 404, text: r#"{"error":{"code":"not_found","message":"no"}}"#.into(), headers: Vec::new() })
    };
    assert_eq!(export(&none, "mr_ak_x", None), Err("404 not_found: no".to_owned()));
}

#[test]
fn who_sees_some_rows_exports_those() {
    let all = rows(6);
    let seen = [all[1].clone(), all[2].clone(), all[5].clone()];
    let told = export(&|ask| Ok(served(&seen, None, ask)), "mr_ak_x", None).expect("some");
    assert_eq!((told.lines.len(), told.rows, told.notes.len()), (3, 3, 2));
    let text = told.lines.join("\n");
    assert!(verify(&text, false, &known()).is_err());
    let told = verify(&text, true, &known()).expect("good as a part");
    assert!(told.iter().any(|line| line == "gap: rows 4..5 are not in this file"), "{told:?}");
}
