//! Credentials of organisations, sealed: what is stored and what travels between worker and account opens nothing.
//!
//! `sealed:<name of the master key>:<base64url of nonce, text and tag>`, AES-256-GCM under a key of the organisation's own, which is
//! derived from the master key; bound to organisation and provider, so that it opens nowhere else.
use super::secrets;
use crate::{access, base64, fault::Fault, table::Table};
use std::cell::Cell;
use wasm_bindgen::prelude::*;
use worker::Env;

#[wasm_bindgen(module = "/src/edge/vault.js")]
extern "C" {
    #[wasm_bindgen(js_name = Vault)]
    type JsVault;
    #[wasm_bindgen(static_method_of = JsVault, js_class = Vault, catch)]
    async fn seal(key: &str, aad: &str, plain: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(static_method_of = JsVault, js_class = Vault, catch)]
    async fn open(key: &str, aad: &str, sealed: &str) -> Result<JsValue, JsValue>;
}

const MARK: &str = "sealed:";
/// The name of the key that is made from the pepper, where no other is set.
const OF_PEPPER: &str = "pepper";

/// The master keys by name, the one that seals first: `CREDENTIAL_KEYS=name:secret,older:secret`. The pepper is always the last.
fn masters(env: &Env) -> Vec<(String, Vec<u8>)> {
    let set = secrets::variable(env, "CREDENTIAL_KEYS").unwrap_or_default();
    let named = set.split(',').filter_map(|one| one.trim().split_once(':'));
    let mut masters: Vec<(String, Vec<u8>)> =
        named.map(|(name, secret)| (name.to_owned(), secret.as_bytes().to_vec())).collect();
    masters.extend(secrets::pepper(env).map(|pepper| (OF_PEPPER.to_owned(), pepper)));
    masters
}

/// The key of an organisation under a master key.
fn key_of(master: &[u8], organization: &str) -> String {
    base64::url_safe(&access::derived(&format!("credentials\n{organization}"), master))
}

/// Whether a stored text is sealed with the key that seals now.
pub fn is_current(text: &str, env: &Env) -> bool {
    let master = masters(env).first().map(|(name, _)| format!("{MARK}{name}:"));
    master.is_some_and(|begins| text.starts_with(&begins))
}

/// Seals a credential of a provider of an organisation.
///
/// # Errors
/// 503 where no master key is set, or the platform does not seal.
pub async fn seal(plain: &str, organization: &str, provider: &str, env: &Env) -> Result<String, Fault> {
    let masters = masters(env);
    let (name, master) = masters.first().ok_or_else(secrets::no_pepper)?;
    let sealed = JsVault::seal(&key_of(master, organization), &format!("{organization}/{provider}"), plain).await;
    let sealed = sealed.ok().and_then(|sealed| sealed.as_string()).ok_or_else(secrets::no_pepper)?;
    Ok(format!("{MARK}{name}:{sealed}"))
}

thread_local! {
    /// What was opened, by what it is for and what was sealed: while its master key is set.
    static OPENED: Cell<Table<String, String>> = Cell::default();
}

/// So many are kept.
const OPENED_MAX: usize = 1_000;

fn opened<T>(work: impl FnOnce(&mut Table<String, String>) -> T) -> T {
    let mut known = OPENED.take();
    let result = work(&mut known);
    OPENED.set(known);
    result
}

/// The text of a credential. `None` where its master key is not set any more, or it was sealed for another provider.
pub async fn open(text: &str, organization: &str, provider: &str, env: &Env) -> Option<String> {
    let Some(rest) = text.strip_prefix(MARK) else { return Some(text.to_owned()) };
    let (master, sealed) = rest.split_once(':')?;
    let masters = masters(env);
    let (_, master) = masters.iter().find(|(known, _)| known == master)?;
    let name = format!("{organization}/{provider}\n{text}");
    if let Some(known) = opened(|known| known.get(&name).cloned()) {
        return Some(known);
    }
    let plain = JsVault::open(&key_of(master, organization), &format!("{organization}/{provider}"), sealed).await;
    let plain = plain.ok()?.as_string()?;
    opened(|known| known.remember(name, plain.clone(), OPENED_MAX));
    Some(plain)
}
