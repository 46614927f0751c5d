//! What makes a receipt good. What the worker computes is computed here by its own functions.
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use megarouter::{
    catalog::sha256_hex,
    receipt::{canonical, check_charge},
};
use serde_json::Value;

/// What `GET /v1/receipts/{request_id}` answers.
pub struct Receipt {
    payload: Value,
    signature: String,
    pub key_id: String,
}

impl Receipt {
    pub fn read(file: &[u8]) -> Result<Self, String> {
        let whole = json(file)?;
        let [Some(payload), Some(signature), Some(key_id)] =
            ["payload", "signature", "key_id"].map(|name| whole.get(name))
        else {
            return Err(match whole.pointer("/error/message").and_then(Value::as_str) {
                Some(message) => format!("is an error, not a receipt: {message}"),
                None => "is not a receipt: it needs payload, signature and key_id".into(),
            });
        };
        let [Some(signature), Some(key_id)] = [signature, key_id].map(Value::as_str) else {
            return Err("is not a receipt: signature and key_id must be text".into());
        };
        if payload.get("object").and_then(Value::as_str) != Some("receipt") {
            return Err("is not a receipt: its payload does not say so in `object`".into());
        }
        // Another version may mean something else by the same names.
        if payload.get("version").and_then(Value::as_u64) != Some(1) {
            return Err("is a receipt of a version that is not known here; this program knows version 1".into());
        }
        Ok(Self { payload: payload.clone(), signature: signature.to_owned(), key_id: key_id.to_owned() })
    }
}

/// What `/.well-known/megarouter-keys.json` says.
pub struct Keys(Vec<Value>);

impl Keys {
    pub fn read(file: &[u8]) -> Result<Self, String> {
        match json(file)?.get("keys") {
            Some(Value::Array(keys)) => Ok(Self(keys.clone())),
            _ => Err("is not a list of keys: it needs an array `keys`".into()),
        }
    }

    /// The key of that name.
    pub fn find(&self, key_id: &str) -> Result<VerifyingKey, String> {
        let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
        let key = self.0.iter().find(|key| text(key, "key_id").as_deref() == Some(key_id));
        let key = key.ok_or_else(|| format!("{key_id} is not among the keys"))?;
        if (text(key, "kty").as_deref(), text(key, "crv").as_deref()) != (Some("OKP"), Some("Ed25519")) {
            return Err(format!("{key_id} is not a key for Ed25519"));
        }
        let bytes = text(key, "x").and_then(|x| BASE64_URL_SAFE_NO_PAD.decode(x).ok());
        let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
        let key = bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
        key.ok_or_else(|| format!("the `x` of {key_id} is not a public key in base64url"))
    }
}

/// Whether the payload is what was signed.
pub fn signature(receipt: &Receipt, key: &VerifyingKey) -> Result<String, String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(&receipt.signature).ok();
    let signature = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok());
    let signature = signature.ok_or("it is not 64 bytes in base64url")?;
    // Strict: some keys and signatures off the curve's main group would fit more than one text.
    key.verify_strict(canonical(&receipt.payload).as_bytes(), &signature)
        .map(|()| "the payload is what was signed".into())
        .map_err(|_| "the payload was changed, or another key signed it".into())
}

/// Whether the charge is what the payload's own counts and prices come to.
pub fn charge(receipt: &Receipt) -> Result<String, String> {
    check_charge(&receipt.payload)?;
    let told = receipt.payload.get("charge_usd").and_then(Value::as_str).unwrap_or_default();
    Ok(format!("{told} USD is what its counts and prices come to"))
}

/// Whether the receipt is for this body.
pub fn request(receipt: &Receipt, body: &[u8]) -> Result<String, String> {
    let hash = sha256_hex(body);
    match receipt.payload.get("request_hash").and_then(Value::as_str) {
        Some(told) if told == hash => Ok("the receipt is for this body".into()),
        Some(told) => Err(format!("the receipt is for a body with SHA-256 {told}, this one has {hash}")),
        None => Err("the receipt does not say which body it is for".into()),
    }
}

fn json(file: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(file).map_err(|error| format!("is not JSON: {error}"))
}
