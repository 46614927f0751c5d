//! The Rust half of the Durable Object `AccountObject`.
use std::panic::RefUnwindSafe;
use wasm_bindgen::prelude::*;
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

#[durable_object(alarm)]
pub struct AccountObject {
    sql: SqlStorage,
}

impl RefUnwindSafe for AccountObject {}

#[wasm_bindgen]
impl AccountObject {
    /// One turn: letter in, answer out, synchronous.
    pub fn call(&self, letter: Vec<u8>) -> std::result::Result<Vec<u8>, JsValue> {
        Ok(letter)
    }

    /// When the alarm must ring next, in milliseconds since the epoch; 0 when it is armed well already.
    pub fn wake(&self) -> f64 {
        0.0
    }
}

impl DurableObject for AccountObject {
    fn new(state: State, _env: Env) -> Self {
        Self { sql: state.storage().sql() }
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        Response::error("no fetch here", 404)
    }

    async fn alarm(&self) -> Result<Response> {
        let _ = &self.sql;
        Response::empty()
    }
}
