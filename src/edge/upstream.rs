//! Calls to providers. The secret is put in here, at the last moment.
use super::{downstream::Downstream, secrets};
use crate::{
    exchange::{
        PIPED_BYTES_MAX,
        event::{Event, Head, Pipe, PipeEnd, UpstreamCall},
    },
    json,
};
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use worker::Env;

#[wasm_bindgen(module = "/src/edge/upstream.js")]
extern "C" {
    #[wasm_bindgen(js_name = Upstream)]
    #[derive(Clone)]
    type JsUpstream;
    #[wasm_bindgen(constructor, js_class = Upstream)]
    fn new(url: &str, body: Uint8Array) -> JsUpstream;
    #[wasm_bindgen(method, catch)]
    async fn head(this: &JsUpstream, headers: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn read(this: &JsUpstream) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn whole(this: &JsUpstream, most: u32) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method)]
    fn abort(this: &JsUpstream);
    #[wasm_bindgen(method, catch)]
    async fn pipe(
        this: &JsUpstream,
        downstream: &super::downstream::JsDownstream,
        prefix: Uint8Array,
        drain_ms: u32,
        stall_ms: u32,
        most: u32,
    ) -> Result<JsValue, JsValue>;
}

/// The longest whole answer: four images of the largest kind.
const ANSWER_BYTES_MAX: u32 = 32 * 1024 * 1024;
/// The longest copy of a pipe: twice what an answer of the promised length takes. An isolate has 128 MB for all its requests.
const COPY_BYTES_MAX: u32 = 2 * PIPED_BYTES_MAX;

/// One attempt's connection.
#[derive(Clone)]
pub struct Upstream(JsUpstream);

impl Upstream {
    /// Prepares a call; nothing is sent before [`Upstream::head`].
    pub fn new(call: &UpstreamCall) -> Self {
        Self(JsUpstream::new(&call.url, Uint8Array::from(call.body.as_slice())))
    }

    /// Sends, and waits for the head.
    pub async fn head(self, attempt: usize, call: UpstreamCall, env: Env) -> Event {
        let UpstreamCall { headers: more, credential_header: (name, before), credential, .. } = call;
        let mut headers: Vec<(&str, String)> = vec![
            ("accept", "application/json, text/event-stream".to_owned()),
            ("user-agent", concat!("megarouter/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        if more.iter().all(|(name, _)| *name != "content-type") {
            headers.push(("content-type", "application/json".to_owned()));
        }
        headers.extend(more.into_iter().filter(|(_, value)| !value.is_empty()));
        let secret = secrets::reveal(&credential, &env).await;
        headers.extend(secret.map(|secret| (name, format!("{before}{secret}"))));
        let told = self.0.head(&json::object(&headers)).await.ok().and_then(|told| told.as_string());
        let Some(told) = told else { return Event::Broke { attempt } };
        let mut lines = told.split('\n');
        let mut line = || lines.next().unwrap_or_default().to_owned();
        let status = line().parse().unwrap_or(502);
        let content_type = line();
        let retry_after = Some(line()).filter(|text| !text.is_empty());
        let simulated = line() == "true";
        Event::Head { attempt, head: Head { status, content_type, retry_after, simulated } }
    }

    /// The next bytes.
    pub async fn read(self, attempt: usize) -> Event {
        match self.0.read().await {
            Ok(value) if value.is_undefined() => Event::End { attempt },
            Ok(value) => Event::Bytes { attempt, bytes: value.unchecked_into::<Uint8Array>().to_vec() },
            Err(_) => Event::Broke { attempt },
        }
    }

    /// The whole body.
    pub async fn whole(self, attempt: usize) -> Event {
        match self.0.whole(ANSWER_BYTES_MAX).await {
            Ok(value) => Event::Whole { attempt, bytes: value.unchecked_into::<Uint8Array>().to_vec() },
            Err(_) => Event::Broke { attempt },
        }
    }

    /// Lets go.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Hands the rest to the caller natively and keeps a copy.
    pub async fn pipe(self, attempt: usize, downstream: Downstream, pipe: Pipe) -> Event {
        let Pipe { prefix: mut bytes, drain_ms, stall_ms } = pipe;
        let ms = |ms| u32::try_from(ms).unwrap_or(u32::MAX);
        let (drain_ms, stall_ms, prefix) = (ms(drain_ms), ms(stall_ms), Uint8Array::from(bytes.as_slice()));
        let copied = self.0.pipe(&downstream.0, prefix, drain_ms, stall_ms, COPY_BYTES_MAX).await;
        let Ok(rest) = copied else { return Event::Piped { attempt, bytes, end: PipeEnd::Broke } };
        bytes.extend(rest.unchecked_into::<Uint8Array>().to_vec());
        let end = match downstream.end().as_str() {
            "whole" => PipeEnd::Whole,
            "gone" => PipeEnd::Gone { drained: false },
            "stalled" => PipeEnd::Stalled,
            "drained" => PipeEnd::Gone { drained: true },
            _ => PipeEnd::Broke,
        };
        Event::Piped { attempt, bytes, end }
    }
}
