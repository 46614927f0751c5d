//! The stores of the platform: an object's own database, the journal in D1, snapshots in KV.
//!
//! Numbers that may be large cross as text: both databases carry them as doubles.
use super::error::{Error, Result};
use crate::time::Millis;
use serde_json::Value;
use wasm_bindgen::prelude::*;
use worker::Env;

#[wasm_bindgen(module = "/src/edge/storage.js")]
extern "C" {
    #[wasm_bindgen(js_name = Storage)]
    type JsStorage;
    #[wasm_bindgen(static_method_of = JsStorage, js_class = Storage, catch)]
    fn exec(state: &JsValue, statement: &str, values: &str) -> std::result::Result<String, JsValue>;
    #[wasm_bindgen(static_method_of = JsStorage, js_class = Storage, catch)]
    fn run(
        state: &JsValue,
        statement: &str,
        first: &str,
        second: &str,
        third: &str,
        count: u8,
    ) -> std::result::Result<(), JsValue>;
    #[wasm_bindgen(static_method_of = JsStorage, js_class = Storage, catch)]
    async fn rows(env: &JsValue, statement: &str, values: &str) -> std::result::Result<JsValue, JsValue>;
    #[wasm_bindgen(static_method_of = JsStorage, js_class = Storage, catch)]
    async fn get(env: &JsValue, key: &str) -> std::result::Result<JsValue, JsValue>;
    #[wasm_bindgen(static_method_of = JsStorage, js_class = Storage, catch)]
    async fn put(env: &JsValue, key: &str, text: &str) -> std::result::Result<JsValue, JsValue>;
    #[wasm_bindgen(static_method_of = JsStorage, js_class = Storage, catch)]
    fn zone(name: &str, from: f64) -> std::result::Result<String, JsValue>;
}

/// Runs a statement of an object's own database, inside its turn's transaction; `state` is what the object was made with.
pub fn exec(state: &JsValue, statement: &str, values: &[&str]) -> Result<Vec<Value>> {
    let told = JsStorage::exec(state, statement, &json(values))?;
    Ok(serde_json::from_str(&told)?)
}

/// Runs a statement of an object's own database that answers nothing, with at most three values.
pub fn run(state: &JsValue, statement: &str, values: &[&str]) -> Result<()> {
    let value = |place| values.get(place).copied().unwrap_or_default();
    let count = u8::try_from(values.len()).unwrap_or(u8::MAX);
    Ok(JsStorage::run(state, statement, value(0), value(1), value(2), count)?)
}

/// Runs a statement of the journal.
pub async fn rows(env: &Env, statement: &str, values: &[&str]) -> Result<Vec<Value>> {
    let told = JsStorage::rows(env, statement, &json(values)).await?;
    Ok(serde_json::from_str(&told.as_string().unwrap_or_default())?)
}

/// A key's text in KV; `None` where it is absent.
pub async fn get(env: &Env, key: &str) -> Result<Option<String>> {
    Ok(JsStorage::get(env, key).await?.as_string())
}

/// Sets a key in KV.
pub async fn put(env: &Env, key: &str, text: &str) -> Result<()> {
    JsStorage::put(env, key, text).await?;
    Ok(())
}

/// The offsets of a time zone for twenty years, as JSON; `None` for a name the platform does not know.
pub fn zone(name: &str, from: Millis) -> Option<String> {
    JsStorage::zone(name, super::js_time(from)).ok()
}

/// A column that is text.
pub fn text(row: &Value, column: &str) -> Result<String> {
    let found = row.get(column).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| Error::from(format!("a row has no text in {column}")))
}

fn json(values: &[&str]) -> String {
    crate::json::write(values)
}
