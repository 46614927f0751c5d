//! Answers to callers.
use crate::{exchange::event::Event, json};
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/src/edge/downstream.js")]
extern "C" {
    #[wasm_bindgen(js_name = Downstream)]
    #[derive(Clone)]
    pub type JsDownstream;
    #[wasm_bindgen(constructor, js_class = Downstream)]
    fn new() -> JsDownstream;
    #[wasm_bindgen(static_method_of = JsDownstream, js_class = Downstream)]
    fn whole(status: u16, headers: &str, body: Uint8Array) -> web_sys::Response;
    #[wasm_bindgen(static_method_of = JsDownstream, js_class = Downstream)]
    fn allow(response: &web_sys::Response, origin: &str, vary: &str, exposed: &str);
    #[wasm_bindgen(method)]
    fn response(this: &JsDownstream, status: u16, headers: &str) -> web_sys::Response;
    #[wasm_bindgen(method, catch)]
    async fn write(this: &JsDownstream, bytes: Uint8Array) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn close(this: &JsDownstream) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, getter)]
    fn end(this: &JsDownstream) -> String;
}

/// The caller's side of a streamed answer.
#[derive(Clone)]
pub struct Downstream(pub JsDownstream);

impl Downstream {
    pub fn new() -> Self {
        Self(JsDownstream::new())
    }

    /// The head, with a body that is still to come.
    pub fn response(&self, status: u16, headers: &[(&'static str, String)]) -> web_sys::Response {
        self.0.response(status, &json::object(headers))
    }

    /// Resolves when the caller's side has taken the bytes.
    pub async fn write(self, bytes: Vec<u8>) -> Event {
        match self.0.write(Uint8Array::from(bytes.as_slice())).await {
            Ok(_) => Event::Written,
            Err(_) => Event::Gone,
        }
    }

    /// Ends the body after what was written. A caller that hung up meanwhile is no fault.
    pub async fn close(self) {
        drop(self.0.close().await);
    }

    /// How a pipe ended.
    pub fn end(&self) -> String {
        self.0.end()
    }
}

/// A whole answer.
pub fn whole(status: u16, headers: &[(&'static str, String)], body: &[u8]) -> web_sys::Response {
    JsDownstream::whole(status, &json::object(headers), Uint8Array::from(body))
}

/// Lets a page of that origin read an answer, and the headers of ours it may want.
pub fn allow_origin(response: &web_sys::Response, origin: &str) {
    const EXPOSED: &str = "x-request-id, request-id, etag, retry-after, x-should-retry, payment-required, server-timing, \
        x-megarouter-provider, x-megarouter-model, x-megarouter-mode, x-megarouter-reason, x-megarouter-attempts, \
        x-megarouter-cost-usd, payment-response, x-payment-response, x-megarouter-simulated, x-megarouter-dropped-tools";
    let vary = if origin == "*" { "" } else { "Origin" };
    JsDownstream::allow(response, origin, vary, EXPOSED);
}
