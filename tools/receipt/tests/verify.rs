//! The program from outside: a good receipt, and each thing that can be wrong with one.
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use ed25519_dalek::{Signer, SigningKey};
use megarouter::{catalog::sha256_hex, receipt::canonical};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command};

const SEED: [u8; 32] = [7; 32];
const BODY: &str = r#"{"model":"openai/gpt-5-mini","messages":[{"role":"user","content":"Grüezi"}]}"#;
const KEY_ID: &str = "ffb62a4a89a4e5c3";

/// A payload as version 1 writes it, members in its order. Receipts are kept: what this says must be good in every later version.
fn payload() -> Value {
    let text = r#"{
        "object": "receipt", "version": 1, "request_id": "req_01m8914affcmf21ezbpvdm6e3b",
        "organization_id": "org_01m8910dpj4c7q1nw8khye73k9", "posted_at": "2026-11-25T09:38:30Z", "charge_usd": "0.00028",
        "payment": null, "entry": {"seq": 2, "prev_hash": "b491", "hash": "4f5e"},
        "api_key_id": "key_01m8910dsdj4myn8p5vnqyf9ev", "path": ["api_key:key_01m8910dsdj4myn8p5vnqyf9ev"],
        "model_requested": "auto", "provider": "openai", "model": "gpt-5-mini", "mode": "balanced", "reason": "mode",
        "task": "chat", "catalog_id": "c6e6",
        "usage": {"input": 100, "cache_read": 0, "cache_write": 0, "cache_write_1h": 0, "output": 10, "reasoning": 0},
        "priced_at": 1795599510000, "estimated": false,
        "rates": {"input": "2", "output": "8", "cache_read": "0.2", "cache_write": "2", "cache_write_1h": "2", "audio_input": "2"},
        "held_usd": "0.0126541", "request_hash": "", "attempts": [{"provider": "openai", "model": "gpt-5-mini",
        "outcome": "answered", "status": 200, "cost_usd": "0.00028"}], "status": 200, "ttft_ms": 13, "duration_ms": 26
    }"#;
    let mut payload: Value = serde_json::from_str(text).expect("JSON");
    payload["request_hash"] = sha256_hex(BODY.as_bytes()).into();
    payload
}

fn signed(payload: &Value) -> Value {
    let signature = SigningKey::from_bytes(&SEED).sign(canonical(payload).as_bytes());
    json!({"payload": payload, "signature": BASE64URL.encode(signature.to_bytes()), "key_id": KEY_ID})
}

fn keys(seed: [u8; 32]) -> Value {
    let x = BASE64URL.encode(SigningKey::from_bytes(&seed).verifying_key().to_bytes());
    let other = json!({"key_id": "an older one", "kty": "OKP", "crv": "Ed25519", "x": "AA"});
    json!({"keys": [other, {"key_id": KEY_ID, "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "x": x}]})
}

/// Writes a file for a test and says where.
fn file(test: &str, name: &str, content: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    fs::write(&path, content).expect("a file");
    path
}

/// Exit code, and all that was printed.
fn run(arguments: &[PathBuf]) -> (i32, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_verify-receipt")).args(arguments).output().expect("it runs");
    let text = [done.stdout, done.stderr].concat();
    (done.status.code().expect("it ended by itself"), String::from_utf8(text).expect("text"))
}

fn verify(test: &str, receipt: &Value, keys: &Value, body: Option<&str>) -> (i32, String) {
    let mut files = vec![
        file(test, "receipt.json", receipt.to_string().as_bytes()),
        file(test, "keys.json", keys.to_string().as_bytes()),
    ];
    files.extend(body.map(|body| file(test, "body.json", body.as_bytes())));
    run(&files)
}

/// The checks that failed.
fn wrong(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains(": WRONG, ")).filter_map(|line| line.split(':').next()).collect()
}

#[test]
fn a_good_receipt_passes_with_and_without_its_body() {
    let (code, text) = verify("good", &signed(&payload()), &keys(SEED), Some(BODY));
    assert_eq!((code, text.lines().count(), wrong(&text)), (0, 4, vec![]), "{text}");
    let (code, text) = verify("bare", &signed(&payload()), &keys(SEED), None);
    assert_eq!((code, wrong(&text)), (0, vec![]), "{text}");
    assert!(text.contains("request: not checked"), "{text}");
}

#[test]
fn the_order_and_the_spelling_of_members_do_not_matter() {
    let mut turned = signed(&payload());
    let members: Vec<(String, Value)> =
        turned["payload"].as_object().expect("members").clone().into_iter().rev().collect();
    turned["payload"] = Value::Object(members.into_iter().collect());
    let text = serde_json::to_string_pretty(&turned).expect("JSON").replace("gpt", r"\u0067pt");
    let files = [
        file("turned", "receipt.json", text.as_bytes()),
        file("turned", "keys.json", keys(SEED).to_string().as_bytes()),
    ];
    let (code, text) = run(&files);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_changed_payload_is_refused() {
    let good = signed(&payload());
    for (member, other, expected) in [
        ("model", json!("gpt-5"), &["signature"] as &[_]),
        ("charge_usd", json!("0.00027"), &["signature", "charge"]),
        ("usage", json!({"input": 99, "output": 10}), &["signature", "charge"]),
        ("rates", json!({"input": "2", "output": "8.1"}), &["signature", "charge"]),
        ("usage", json!("nonsense"), &["signature", "charge"]),
        ("request_hash", json!("00"), &["signature", "request"]),
        ("added", json!(1), &["signature"]),
    ] {
        let mut forged = good.clone();
        forged["payload"][member] = other;
        let (code, text) = verify("changed", &forged, &keys(SEED), Some(BODY));
        assert_eq!((code, wrong(&text).as_slice()), (1, expected), "{member}: {text}");
    }
}

/// A signature proves who wrote a charge, not that it was computed well.
#[test]
fn a_signed_charge_that_does_not_follow_from_its_counts_is_refused() {
    let mut payload = payload();
    payload["charge_usd"] = "0.28".into();
    let (code, text) = verify("dear", &signed(&payload), &keys(SEED), Some(BODY));
    assert_eq!((code, wrong(&text)), (1, vec!["charge"]), "{text}");
    assert!(text.contains("0.28 USD was charged, its counts and prices come to 0.00028"), "{text}");
}

#[test]
fn a_wrong_key_is_refused() {
    let receipt = signed(&payload());
    let (code, text) = verify("other_key", &receipt, &keys([8; 32]), Some(BODY));
    assert_eq!((code, wrong(&text)), (1, vec!["signature"]), "{text}");
    let without = json!({"keys": []});
    let unlike = |member: &str, value: &str| {
        let mut keys = keys(SEED);
        keys["keys"][1][member] = value.into();
        keys
    };
    for keys in [without, unlike("kty", "RSA"), unlike("crv", "X25519"), unlike("x", "AAAA"), unlike("x", "#")] {
        let (code, text) = verify("no_key", &receipt, &keys, Some(BODY));
        assert_eq!((code, wrong(&text)), (1, vec!["key", "signature"]), "{keys}: {text}");
    }
}

#[test]
fn a_key_that_fits_every_text_is_refused() {
    // The neutral point as key and as the signature's first half: the plain equation of Ed25519 holds for any text.
    let mut point = [0; 32];
    point[0] = 1;
    let mut receipt = signed(&payload());
    receipt["signature"] = BASE64URL.encode([point, [0; 32]].concat()).into();
    let mut keys = keys(SEED);
    keys["keys"][1]["x"] = BASE64URL.encode(point).into();
    let (code, text) = verify("neutral", &receipt, &keys, None);
    assert_eq!((code, wrong(&text)), (1, vec!["signature"]), "{text}");
}

#[test]
fn a_changed_body_is_refused() {
    for body in ["", "{}", &format!("{BODY}\n"), &BODY.replace("Grüezi", "Hello")] {
        let (code, text) = verify("body", &signed(&payload()), &keys(SEED), Some(body));
        assert_eq!((code, wrong(&text)), (1, vec!["request"]), "{text}");
    }
    let mut silent = payload();
    silent.as_object_mut().expect("members").remove("request_hash");
    let (code, text) = verify("silent", &signed(&silent), &keys(SEED), Some(BODY));
    assert_eq!((code, wrong(&text)), (1, vec!["request"]), "{text}");
}

#[test]
fn a_bad_signature_is_refused() {
    for signature in ["", "AAAA", "not base64!", &BASE64URL.encode([0; 64]), &BASE64URL.encode([255; 64])] {
        let mut receipt = signed(&payload());
        receipt["signature"] = signature.into();
        let (code, text) = verify("signature", &receipt, &keys(SEED), None);
        assert_eq!((code, wrong(&text)), (1, vec!["signature"]), "{signature}: {text}");
    }
}

#[test]
fn what_is_no_receipt_is_said_to_be_none() {
    let good = signed(&payload());
    let with = |pointer: &str, value: Value| {
        let mut receipt = good.clone();
        *receipt.pointer_mut(pointer).expect("it is there") = value;
        receipt
    };
    for (receipt, why) in [
        (json!(null), "is not a receipt"),
        (json!({"payload": payload()}), "it needs payload, signature and key_id"),
        (keys(SEED), "it needs payload, signature and key_id"),
        (
            json!({"error": {"message": "There is no receipt of req_x."}}),
            "is an error, not a receipt: There is no receipt of",
        ),
        (with("/key_id", json!(1)), "must be text"),
        (with("/payload", json!([])), "its payload does not say so"),
        (with("/payload/object", json!("invoice")), "its payload does not say so"),
        (with("/payload/version", json!(2)), "this program knows version 1"),
    ] {
        let (code, text) = verify("none", &receipt, &keys(SEED), None);
        assert_eq!((code, text.lines().count()), (2, 1), "{text}");
        assert!(text.contains("receipt.json: ") && text.contains(why), "{text}");
    }
    let (code, text) = verify("swapped", &good, &good, None);
    assert!(code == 2 && text.contains("keys.json: is not a list of keys"), "{text}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let receipt = file("files", "receipt.json", signed(&payload()).to_string().as_bytes());
    let noise = file("files", "noise.json", b"\x00\xffnonsense");
    let nowhere = receipt.with_file_name("nowhere.json");
    let (code, text) = run(&[noise.clone(), noise.clone()]);
    assert!(code == 2 && text.contains("noise.json: is not JSON"), "{text}");
    let keys = file("files", "keys.json", keys(SEED).to_string().as_bytes());
    for files in [[&nowhere, &keys, &noise], [&receipt, &nowhere, &noise], [&receipt, &keys, &nowhere]] {
        let (code, text) = run(&files.map(PathBuf::clone));
        assert!(code == 2 && text.contains("nowhere.json: cannot be read"), "{text}");
    }
    for count in [0, 1, 4] {
        let (code, text) = run(&vec![receipt.clone(); count]);
        assert!(code == 2 && text.starts_with("usage: verify-receipt"), "{text}");
    }
}

#[test]
fn a_receipt_cannot_write_lines_of_its_own() {
    let mut receipt = signed(&payload());
    receipt["key_id"] = format!("x\r\nsignature: ok\u{1b}[2K{}", "y".repeat(1_000)).into();
    let (code, text) = verify("lines", &receipt, &keys(SEED), None);
    assert_eq!((code, text.lines().count(), wrong(&text)), (1, 4, vec!["key", "signature"]), "{text}");
    assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.len() <= 300), "{text}");
}
