//! Receipts: found in the account or the journal, signed by the platform, with the public key beside.
use super::{
    account_object::{account_of, ask},
    control, journal, payer, secrets,
};
use crate::json::json;
use crate::{
    access::KeyKind,
    account::letter::{Answer, Caller, Letter},
    catalog::sha256_hex,
    endpoint::Headers,
    fault::Fault,
    ledger::Entry,
    receipt,
};
use serde_json::Value;
use wasm_bindgen::prelude::*;
use worker::Env;

#[wasm_bindgen(module = "/src/edge/receipts.js")]
extern "C" {
    #[wasm_bindgen(js_name = Receipts)]
    type JsReceipts;
    #[wasm_bindgen(static_method_of = JsReceipts, js_class = Receipts, catch)]
    async fn sign(seed: &str, text: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(static_method_of = JsReceipts, js_class = Receipts, catch)]
    async fn hash(bytes: &[u8]) -> Result<JsValue, JsValue>;
}

/// `GET /v1/receipts/{request_id}`: of the key's own calls; an admin's key sees all of its organisation's.
pub async fn get(id: &str, url: &str, headers: &Headers, env: &Env) -> Result<Value, Fault> {
    let wallet = headers.get("sign-in-with-x").is_some() || headers.credential().is_none() && payer::serves();
    let (account, organization, caller) = if wallet {
        let (account, caller) = payer::signed_in(url, headers).await.map_err(|mut fault| {
            // Who shows nothing may have forgotten its key.
            if headers.get("sign-in-with-x").is_none() {
                fault.code = "missing_key";
                fault
                    .message
                    .insert_str(0, "Send a MegaRouter key: Authorization: Bearer mr_sk_…. A wallet signs in: ");
            }
            fault
        })?;
        let payer = account.trim_start_matches("payer:").to_owned();
        (account, payer, caller)
    } else {
        let (organization, caller) = control::caller_of(headers, env)?;
        (account_of(&organization), organization, caller)
    };
    let entry = entry(&account, caller.clone(), id, env).await?;
    let mine = |entry: &Entry| entry.call.as_ref().is_some_and(|call| caller.sees(&call.api_key_id));
    let entry = entry.filter(mine);
    let paid = if caller.kind == KeyKind::Payer && entry.is_some() {
        self::entry(&account, caller.clone(), &format!("{id}#paid"), env).await.ok().flatten()
    } else {
        None
    };
    let payload = entry.and_then(|entry| receipt::payload(&organization, &entry, paid.as_ref()));
    let payload = payload.ok_or_else(|| {
        let text =
            format!("There is no receipt of {id:.60} that is yours to see. Calls that cost nothing because nothing was sent have none.");
        Fault::not_found("not_found", text)
    })?;
    signed_payload(payload, env).await
}

/// Anything signed by the platform, as receipts are.
pub async fn signed_payload(payload: Value, env: &Env) -> Result<Value, Fault> {
    let (signature, key_id, _) = signed(&receipt::canonical(&payload), env).await?;
    Ok(json!({"payload": payload, "signature": signature, "key_id": key_id}))
}

/// An entry, wherever it is by now.
///
/// # Errors
/// 404 while a call's charge is not known; 401 for a bad key; 503 where nobody can be asked.
pub async fn entry(account: &str, caller: Caller, id: &str, env: &Env) -> Result<Option<Entry>, Fault> {
    let letter = Letter::Find { caller, id: id.to_owned() };
    match ask(env, account, &letter).await {
        Ok(Answer::Found { entry: Some(entry), .. }) => return Ok(Some(*entry)),
        Ok(Answer::Found { open: true, .. }) => {
            let text = "The charge of this call is not known yet. Ask again when it has ended.";
            return Err(Fault::not_found("receipt_pending", text).retry_after(5));
        }
        Ok(Answer::Found { .. }) => {}
        Ok(Answer::Refused(refusal)) => return Err(refusal.to_fault()),
        Ok(_) => return Ok(None),
        Err(error) => return Err(control::unavailable("The account", error)),
    }
    journal::find(env, account, id).await.map_err(|error| control::unavailable("The journal", error))
}

/// `GET /.well-known/megarouter-keys.json`: the public key in the form of RFC 8037.
pub async fn keys(env: &Env) -> Result<Value, Fault> {
    let (_, key_id, x) = signed("", env).await?;
    Ok(json!({"keys": [{"key_id": key_id, "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "x": x}]}))
}

/// The SHA-256 of a request, in hexadecimal; empty where the platform makes none.
pub async fn hash(request: &[u8]) -> String {
    JsReceipts::hash(request).await.ok().and_then(|hash| hash.as_string()).unwrap_or_default()
}

/// Signature, the key's name and the public key.
async fn signed(text: &str, env: &Env) -> Result<(String, String, String), Fault> {
    let none =
        || Fault::unavailable("unavailable", "This installation has no RECEIPT_KEY. Its operator has to set it.");
    let seed = secrets::variable(env, "RECEIPT_KEY").ok_or_else(none)?;
    let told = JsReceipts::sign(&seed, text).await.ok().and_then(|told| told.as_string()).ok_or_else(none)?;
    let (signature, x) = told.split_once('\n').ok_or_else(none)?;
    let key_id = sha256_hex(x.as_bytes()).chars().take(16).collect();
    Ok((signature.to_owned(), key_id, x.to_owned()))
}
