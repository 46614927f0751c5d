//! Quotes: an offer says of itself, in a way only we can, which request it was made for.
use super::{Terms, evm::Word, unpaid};
use crate::{access, base64, fault::Fault, json::put_text, mode::Mode, receipt, time::Millis};
use serde_json::Value;

/// How long an offer holds.
const QUOTE_S: u64 = 300;

/// What a quote is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Method and path.
    pub target: &'a str,
    /// The URL, which is no part of the quote: hosts have several names.
    pub resource: &'a str,
    /// SHA-256 of the body, in hexadecimal.
    pub body_hash: &'a str,
}

fn code(requirements: &Value, head: &str, bound: &Bound<'_>, secret: &Word) -> String {
    let content = format!("{}\n{}\n{head}\n{}", bound.target, bound.body_hash, receipt::canonical(requirements));
    let mac = access::mac(content.as_bytes(), secret);
    base64::url_safe(mac.split_at(16).0)
}

/// Adds the quote to an offer: `{expiry}.{mode}.{catalog}.{code}` in its `extra`.
pub fn seal(requirements: &mut Value, mode: Mode, catalog: &str, bound: &Bound<'_>, secret: &Word, now: Millis) {
    let expires = now.seconds().saturating_add(QUOTE_S);
    let head = format!("{expires}.{}.{}", mode.word(), catalog.get(..8).unwrap_or(catalog));
    let code = code(requirements, &head, bound, secret);
    if let Some(extra) = requirements.get_mut("extra").and_then(Value::as_object_mut) {
        put_text(extra, "quote", &format!("{head}.{code}"));
    }
}

/// The mode of an offer that is ours and for this request, and until when it holds, in seconds since 1970.
///
/// # Errors
/// 402: it is not.
pub fn check(accepted: &Value, bound: &Bound<'_>, terms: &Terms) -> Result<(Mode, u64), Fault> {
    let mut bare = accepted.clone();
    let quote = bare.get_mut("extra").and_then(Value::as_object_mut).and_then(|extra| extra.shift_remove("quote"));
    let quote = quote.as_ref().and_then(Value::as_str).and_then(|quote| quote.rsplit_once('.'));
    let (head, told) = quote.ok_or_else(|| unpaid("The payment takes no offer of ours."))?;
    let code = code(&bare, head, bound, &terms.secret);
    if !access::same(code.as_bytes(), told.as_bytes()) {
        return Err(unpaid("The payment takes an offer that was made for another request, or that was changed."));
    }
    let mut parts = head.split('.');
    let expires = parts.next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let mode = parts.next().and_then(Mode::of_word).ok_or_else(|| unpaid("The payment takes no offer of ours."))?;
    Ok((mode, expires))
}
