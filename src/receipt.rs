//! Signed receipts: what a call was and cost, so that anybody can check it later and elsewhere.
//!
//! The payload is signed with Ed25519 over its canonical JSON (RFC 8785): members in order, no space. Its members are those of
//! the call's record beside what names the entry, so that the charge can be computed again from it.
use crate::{
    json::written,
    json::{self, json},
    ledger::{CallRecord, Entry, EntryKind},
};
use serde_json::Value;

/// The payload of a charge's receipt, with the entry of its own payment where a wallet paid; `None` for an entry that is no charge.
#[must_use]
pub fn payload(organization: &str, entry: &Entry, paid: Option<&Entry>) -> Option<Value> {
    let call = entry.call.as_ref().filter(|_| entry.kind == EntryKind::Usage)?;
    let mut payload = json!({
        "object": "receipt",
        "version": 1,
        "request_id": entry.id,
        "organization_id": organization,
        "posted_at": entry.at.rfc3339(),
        "charge_usd": crate::money::Nanos(-entry.amount_usd.0),
        "payment": paid.map(payment),
        "entry": {"seq": entry.seq, "prev_hash": entry.prev_hash, "hash": entry.hash},
    });
    if let (Some(members), Value::Object(call)) = (payload.as_object_mut(), json::told_by_text(call)) {
        members.extend(call);
    }
    Some(payload)
}

/// What paid for a call, from the entry that booked it.
fn payment(paid: &Entry) -> Value {
    let from = paid.legs.first().map_or("", |leg| leg.account.as_str());
    let (network, asset) = from.splitn(3, ':').nth(2).and_then(|place| place.rsplit_once(':')).unwrap_or_default();
    let mut words = paid.note.as_deref().unwrap_or_default().split(' ').skip(1);
    json!({
        "amount_usd": paid.amount_usd,
        "network": network,
        "from": asset,
        "scheme": words.next(),
        "transaction": words.next().filter(|hash| !hash.is_empty()),
        "settled_at": paid.at.rfc3339(),
    })
}

/// The text that is signed.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            // RFC 8785, section 3.2.3: by UTF-16 code units.
            names.sort_unstable_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (place, name) in names.into_iter().enumerate() {
                text.push_str(if place == 0 { "" } else { "," });
                text.push_str(&crate::body::quoted(name));
                text.push(':');
                write(members.get(name).unwrap_or(&Value::Null), text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { "," });
                write(item, text);
            }
            text.push(']');
        }
        // A payload has no fractions: whole numbers, texts and words are written by everybody alike.
        plain => text.push_str(&written(plain)),
    }
}

/// Whether the charge of a payload is what its own counts and prices come to.
///
/// # Errors
/// What does not fit.
pub fn check_charge(payload: &Value) -> Result<(), String> {
    let call: CallRecord = json::from_value(payload.clone()).map_err(|error| error.to_string())?;
    let told = payload.get("charge_usd").and_then(Value::as_str).unwrap_or_default();
    let computed = call.recomputed().to_string();
    if told == computed {
        Ok(())
    } else {
        Err(format!("{told} USD was charged, its counts and prices come to {computed}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Rates,
        ledger::{GENESIS, transfer},
        money::{Nanos, Pico},
        time::Millis,
        usage::Usage,
    };

    fn entry() -> Entry {
        let rates = Rates { input: Pico(2_000_000), output: Pico(8_000_000), ..Rates::default() };
        let usage = Usage { input: 100, output: 10, ..Usage::default() };
        let call = CallRecord { provider: "acme".into(), rates: Some(rates), usage, ..CallRecord::default() };
        let legs = transfer("a".into(), "b".into(), Nanos(280_000));
        Entry {
            seq: 1,
            id: "req_a".into(),
            kind: EntryKind::Usage,
            at: Millis(7),
            amount_usd: Nanos(-280_000),
            legs,
            call: Some(call),
            note: None,
            prev_hash: GENESIS.into(),
            hash: String::new(),
        }
    }

    #[test]
    fn a_receipt_computes_its_own_charge() {
        let payload = payload("org_a", &entry(), None).expect("a charge");
        assert_eq!(payload["charge_usd"], "0.00028");
        assert_eq!(check_charge(&payload), Ok(()));
        for (member, other) in [("charge_usd", "0.00027".into()), ("usage", json!({"input": 101, "output": 10}))] {
            let mut forged = payload.clone();
            forged[member] = other;
            assert!(check_charge(&forged).is_err(), "{member}");
        }
    }

    #[test]
    fn json_is_canonical() {
        // RFC 8785, section 3.2.3 and appendix B, as far as a payload goes.
        let value: Value =
            serde_json::from_str(r#"{"\u20ac":1,"\r":2,"1":[true,null],"\u0080":{"b":"x\u000f\n","a":0}}"#)
                .expect("JSON");
        let expected = "{\"\\r\":2,\"1\":[true,null],\"\u{80}\":{\"a\":0,\"b\":\"x\\u000f\\n\"},\"\u{20ac}\":1}";
        assert_eq!(canonical(&value), expected);
    }
}
