//! Sign-In-With-X: a wallet proves that it is itself by a message that a person can read (EIP-4361), to draw on its balance.
//! <https://github.com/x402-foundation/x402/blob/main/specs/extensions/sign-in-with-x.md>
use super::{Payment, Proof, Scheme, Shown, Terms, address, evm, member, text};
use crate::{
    access::{mac, same},
    fault::Fault,
    json::json,
    time::Millis,
};
use serde_json::Value;

/// A sign-in holds for so long: what the extension recommends.
const VALID_S: u64 = 300;
const NONCE_LEN: usize = 32;

/// What a wallet is asked to sign: a nonce that only we can make, for one address of ours. No two are to have one `salt`.
#[must_use]
pub fn asked(terms: &Terms, uri: &str, now: Millis, salt: u64) -> Value {
    let chains: Vec<Value> =
        terms.networks.iter().map(|network| json!({"chainId": network.id, "type": "eip191"})).collect();
    let head = format!("{:08x}{:08x}", now.seconds(), salt & 0xffff_ffff);
    json!({
        "info": {
            "domain": host(uri), "uri": uri, "version": "1", "nonce": nonce(terms, uri, &head), "issuedAt": now.rfc3339_ms(),
        },
        "supportedChains": chains,
    })
}

fn host(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// When it was made and its salt, eight digits each, and a code over them and the address.
fn nonce(terms: &Terms, uri: &str, head: &str) -> String {
    let code = mac(format!("sign in\n{head}\n{uri}").as_bytes(), &terms.secret);
    let mut told = format!("{head}{}", evm::hex(&code).split_off(2));
    told.truncate(NONCE_LEN);
    told
}

/// The wallet that a `SIGN-IN-WITH-X` header shows, as a payment of nothing: what is drawn is its balance.
///
/// # Errors
/// 400 for what is no sign-in; 401 for one that is not for here, not of now, or not whole.
pub fn shown(header: &str, terms: &Terms, uri: &str, now: Millis) -> Result<Shown, Fault> {
    let told: Option<Value> =
        crate::base64::of_padded(header.trim()).and_then(|text| crate::json::read_bytes(&text).ok());
    let told = told.filter(Value::is_object).ok_or_else(|| {
        let text = "SIGN-IN-WITH-X is not a JSON object in base64. Send what a client of x402 signs.";
        Fault::invalid("x402_malformed", text)
    })?;
    let refused =
        |why: &str| Fault::credential("sign_in_invalid", format!("The sign-in {why}. Sign the one of a new answer."));
    let network = terms.networks.iter().find(|network| Some(network.id) == told.get("chainId").and_then(Value::as_str));
    let network = network.ok_or_else(|| refused("is on a network that is not served here"))?;
    if text(&told, "domain")? != host(uri) || text(&told, "uri")? != uri {
        return Err(refused("is for another address"));
    }
    let given = text(&told, "nonce")?;
    let seconds = given.get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default();
    if !same(nonce(terms, uri, given.get(..16).unwrap_or_default()).as_bytes(), given.as_bytes()) {
        return Err(refused("has a nonce that is not ours"));
    }
    let ends = seconds.saturating_add(VALID_S);
    if ends < now.seconds() {
        return Err(refused("has run out"));
    }
    let moment =
        |name: &str| told.get(name).and_then(Value::as_str).map(|text| Millis::of_rfc3339(text).unwrap_or_default());
    if moment("expirationTime").is_some_and(|at| at < now) || moment("notBefore").is_some_and(|at| at > now) {
        return Err(refused("is not good at this time, by its own words"));
    }
    if (text(&told, "version")?, text(&told, "type")?) != ("1", "eip191") {
        return Err(refused("is of another version or type than was asked for"));
    }
    let payer = address(&told, "address")?;
    let proof = Proof::of(evm::message(&message(&told, network.chain_id)?), text(&told, "signature")?, payer)?;
    let payment = Payment {
        scheme: Scheme::Balance,
        network: network.id.to_owned(),
        payer,
        nonce: format!("sign-in:{given}"),
        valid_before: ends,
        version: 2,
        ..Payment::default()
    };
    Ok(Shown { payment, proofs: vec![proof] })
}

/// The text that was signed. Where there is no statement, both empty lines stay.
fn message(told: &Value, chain_id: u64) -> Result<String, Fault> {
    let maybe = |name: &str| told.get(name).and_then(Value::as_str);
    let statement = maybe("statement").map_or_else(String::new, |statement| format!("{statement}\n"));
    let mut lines = format!(
        "{} wants you to sign in with your Ethereum account:\n{}\n\n{statement}\nURI: {}\nVersion: {}\nChain ID: {chain_id}\n\
         Nonce: {}\nIssued At: {}",
        text(told, "domain")?,
        text(told, "address")?,
        text(told, "uri")?,
        text(told, "version")?,
        text(told, "nonce")?,
        text(told, "issuedAt")?,
    );
    for (title, name) in
        [("Expiration Time", "expirationTime"), ("Not Before", "notBefore"), ("Request ID", "requestId")]
    {
        if let Some(value) = maybe(name) {
            lines.extend(["\n", title, ": ", value]);
        }
    }
    if told.get("resources").is_some() {
        lines.push_str("\nResources:");
        for resource in member(told, "resources")?.as_array().into_iter().flatten() {
            lines.extend(["\n- ", resource.as_str().unwrap_or_default()]);
        }
    }
    Ok(lines)
}
