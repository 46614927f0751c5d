//! The only room that names Cloudflare: requests in, answers out, and the objects, stores and clocks between.
mod account_object;
mod control;
mod downstream;
mod drive;
mod error;
mod feedback;
mod health_object;
mod journal;
mod keys;
mod models;
mod payer;
mod random;
mod receipts;
mod reconcile;
mod secrets;
mod snapshot;
mod storage;
mod stripe;
mod upstream;
mod vault;

use crate::{
    access::{Knock, knock},
    account::letter::AdminAsk,
    audit, dialect,
    endpoint::{Endpoint, Headers, Surface},
    exchange::{Exchange, Inbound, event::Event},
    fault::Fault,
    id::mint,
    time::Millis,
};
use drive::Drive;
use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, LocalBoxFuture, select},
};
use std::panic::AssertUnwindSafe;
use wasm_bindgen::prelude::*;
use web_sys::{Request, Response};
use worker::{Context, Env, worker_sys};

/// The longest request body: what the largest provider takes.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

#[wasm_bindgen(module = "/src/edge/inbound.js")]
extern "C" {
    #[wasm_bindgen(js_name = Inbound)]
    type JsInbound;
    #[wasm_bindgen(static_method_of = JsInbound, js_class = Inbound)]
    fn head(request: &Request) -> String;
    #[wasm_bindgen(static_method_of = JsInbound, js_class = Inbound, catch)]
    async fn body(request: &Request, most: usize) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(static_method_of = JsInbound, js_class = Inbound, catch)]
    async fn gone(request: Request) -> Result<JsValue, JsValue>;
}

/// Tells the operator, in the log.
#[cold]
#[inline(never)]
fn complain(text: String) {
    worker::console_error!("{text}");
}

/// The platform's clock. It stands still between two turns of I/O.
fn now() -> Millis {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
    Millis(js_sys::Date::now() as u64)
}

/// A moment as JavaScript counts it.
fn js_time(at: Millis) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds are exact far beyond our time")]
    let at = at.0 as f64;
    at
}

/// A request, answered. Not by `worker`'s macro, which can answer with an error that we never have.
#[wasm_bindgen]
pub async fn fetch(request: Request, env: Env, ctx: worker_sys::Context) -> Response {
    AssertUnwindSafe(fetched(request, env, Context::new(ctx))).await
}

async fn fetched(request: Request, env: Env, ctx: Context) -> Response {
    let chance = match random::chance() {
        Ok(chance) => chance,
        Err(fault) => return fault_response(Surface::ChatCompletions, &fault, ""),
    };
    let id = mint("req", now(), chance);
    let (method, url, headers) = head_of(&JsInbound::head(&request));
    let surface = surface_of(&url, &headers);
    let allowed = headers.get("origin").and_then(|origin| secrets::cors_origin(&env, origin));
    let answered = if method == "OPTIONS" {
        Ok(preflight(headers.get("access-control-request-headers")))
    } else {
        answer(&method, url, headers, request, &env, ctx, &id, chance).await
    };
    let response = answered.unwrap_or_else(|fault| fault_response(surface, &fault, &id));
    if let Some(origin) = allowed {
        downstream::allow_origin(&response, &origin);
    }
    response
}

#[expect(clippy::too_many_arguments, reason = "one request and its surroundings, handed on once")]
async fn answer(
    method: &str,
    url: String,
    headers: Headers,
    request: Request,
    env: &Env,
    ctx: Context,
    id: &str,
    chance: u128,
) -> Result<Response, Fault> {
    let (path, query) = path_of(&url);
    let endpoint = Endpoint::of(method, path)?;
    // Each wait stands once, whoever waits: every place that waits weighs.
    let wallets = matches!(
        endpoint,
        Endpoint::PaymentOptions | Endpoint::Balance | Endpoint::Refund | Endpoint::Leave | Endpoint::Receipt(_)
    );
    if wallets || matches!(endpoint, Endpoint::Feedback | Endpoint::Admin(_) | Endpoint::Platform(_)) {
        snapshot::world(env, &ctx, None).await;
    }
    if matches!(endpoint, Endpoint::PaymentOptions | Endpoint::Leave) {
        snapshot::facilitators(env, &ctx).await;
    }
    if matches!(endpoint, Endpoint::CountTokens) {
        // Where nothing is spent, nobody asks whether the key was revoked since.
        control::inference_of(&headers, env)?;
    }
    let body = match endpoint {
        Endpoint::Chat(_) | Endpoint::CountTokens | Endpoint::Feedback | Endpoint::Admin(_) | Endpoint::Platform(_) => {
            body_of(&request, &headers).await
        }
        _ => Ok(Vec::new()),
    };
    let body = match (body, &endpoint) {
        (Err(fault), Endpoint::Chat(surface)) => return Ok(fault_response(*surface, &fault, id)),
        (body, _) => body?,
    };
    let found = |body| (200, body);
    // What can be changed by one who has seen it says what was seen.
    let plain = if matches!(endpoint, Endpoint::Platform(_)) {
        "text/plain; version=0.0.4; charset=utf-8"
    } else {
        "text/csv; charset=utf-8"
    };
    let tagged = matches!(endpoint, Endpoint::Admin(_)) && matches!(method, "GET" | "PUT" | "PATCH");
    let (status, body) = match &endpoint {
        Endpoint::Chat(surface) => return chat(*surface, url, headers, body, chance, request, env, ctx).await,
        Endpoint::Receipt(request) => receipts::get(request, &url, &headers, env).await.map(found),
        Endpoint::PaymentOptions => Ok(found(payer::options())),
        Endpoint::Balance => payer::balance(&url, &headers, env).await,
        Endpoint::Refund => payer::refund(&url, &headers, env).await,
        Endpoint::Leave => return payer::leave(&url, path, &headers, env).await.map(|told| left(&told, id)),
        Endpoint::ReceiptKeys => receipts::keys(env).await.map(found),
        Endpoint::Feedback => feedback::take(&headers, &body, env).await,
        Endpoint::Key => control::key(&headers, env).await,
        Endpoint::Healthz => Ok(found(crate::json::json!({"status": "ok"}))),
        Endpoint::CountTokens => crate::exchange::count_tokens(&headers, body).map(found),
        Endpoint::Models => models::list(&headers, env, &ctx).await.map(found),
        Endpoint::Model(model) => models::get(model, &headers, env, &ctx).await.map(found),
        Endpoint::Admin(act) => {
            let body =
                String::from_utf8(body).map_err(|_| Fault::invalid("malformed_json", "The body is not UTF-8."))?;
            let ask = AdminAsk { method: method.to_owned(), path: path.to_owned(), body, ..AdminAsk::default() };
            control::admin(act, ask, &headers, query, env).await
        }
        Endpoint::Platform(act) => control::platform(act, &headers, &body, query, env).await,
    }?;
    Ok(json_response(status, &body, id, tagged, plain))
}

/// A channel is to be given back: what its payer's client hears of it stands in the head too.
fn left(settlement: &serde_json::Value, id: &str) -> Response {
    let text = crate::json::written(settlement);
    let mut headers = crate::exchange::base_headers(Surface::ChatCompletions, id, "application/json");
    headers.push(("payment-response", crate::base64::padded(text.as_bytes())));
    downstream::whole(202, &headers, text.as_bytes())
}

#[expect(clippy::too_many_arguments, reason = "one request and its surroundings, handed on once")]
async fn chat(
    surface: Surface,
    url: String,
    headers: Headers,
    body: Vec<u8>,
    chance: u128,
    request: Request,
    env: &Env,
    ctx: Context,
) -> Result<Response, Fault> {
    let knock = match (headers.credential(), secrets::pepper(env)) {
        (credential, Some(pepper)) => knock(credential, &pepper),
        (None, None) => Knock::Stranger,
        // Without the pepper no key can be told from a forged one: not the caller's fault.
        (Some(_), None) => {
            return Err(secrets::no_pepper());
        }
    };
    let knock = match payer::as_who(knock, &headers, env, &ctx).await {
        Ok(knock) => knock,
        Err(fault) => return Ok(fault_response(surface, &fault, &mint("req", now(), chance))),
    };
    let key = match &knock {
        Knock::Known(key, _) => Some(key),
        Knock::Stranger | Knock::Forged => None,
    };
    let mut world = snapshot::world(env, &ctx, key).await;
    if world.settings.x402.is_some() && (knock == Knock::Stranger || world.challenges() == Some(true)) {
        snapshot::facilitators(env, &ctx).await;
        world.settings = snapshot::settings();
    }
    let purse = payer::purse(&world, &knock, &url, path_of(&url).0, &headers, &body).await;
    let account = match (&purse.payment, key) {
        (Some(payment), _) => payer::account(&purse, payment),
        (None, key) => key.map_or_default(|key| account_object::account_of(&key.organization())),
    };
    // Of this moment, however long the body took: an old id holds nothing. It is made of the low 80 bits; the seed has the
    // other 48.
    let (request_id, seed) = (mint("req", now(), chance), (chance >> 80) as u64);
    let inbound = Inbound { surface, url, headers, knock, body, request_id, purse };
    let (exchange, effects) = Exchange::open(inbound, world, now(), seed);
    let (sender, receiver) = oneshot::channel();
    let drive = Drive::new(env.clone(), account, sender);
    let after = env.clone();
    let (broken, breaks) = oneshot::channel();
    aside(
        &ctx,
        Box::pin(async move {
            let gone = async move {
                drop(JsInbound::gone(request).await);
                Event::Gone
            };
            // A panic drops nothing, not even the sender: it has to be told.
            if AssertUnwindSafe(drive.run(exchange, effects, gone)).catch_unwind().await.is_err() {
                let _ = broken.send(());
                return;
            }
            snapshot::send_samples(&after).await;
        }),
    );
    match select(receiver, breaks).await {
        Either::Left((Ok(response), _)) => Ok(response),
        _ => Err(Fault::unavailable("unavailable", "The request ended without an answer. Try again.")),
    }
}

/// Work that goes on after the answer. In a box: every kind of future would bring its own way to a promise.
fn aside(ctx: &Context, work: LocalBoxFuture<'static, ()>) {
    ctx.wait_until(work);
}

/// Method, URL and headers, as [`JsInbound::head`] tells them.
fn head_of(told: &str) -> (String, String, Headers) {
    let mut lines = told.split('\n').map(str::to_owned);
    let (method, url) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    snapshot::locate(&lines.next().unwrap_or_default());
    let mut headers = Headers::default();
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        headers.0.push((name, value));
    }
    headers.add_query_key(path_of(&url).1);
    (method, url, headers)
}

/// Who speaks Messages is refused in Messages, also where no endpoint is known.
fn surface_of(url: &str, headers: &Headers) -> Surface {
    let path = path_of(url).0;
    if headers.of_anthropic() || path.ends_with("/messages") || path.ends_with("/messages/count_tokens") {
        Surface::Messages
    } else {
        Surface::ChatCompletions
    }
}

/// Path and query of a full URL.
fn path_of(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
    rest.split_once('?').unwrap_or((rest, ""))
}

async fn body_of(request: &Request, headers: &Headers) -> Result<Vec<u8>, Fault> {
    let too_large = || {
        Fault::new(
            413,
            "request_too_large",
            "body_too_large",
            "The body has more than 32 MiB. Send less, or send URLs instead of files.",
        )
    };
    if headers
        .get("content-length")
        .and_then(|length| length.parse::<usize>().ok())
        .is_some_and(|length| length > BODY_BYTES_MAX)
    {
        return Err(too_large());
    }
    let body = JsInbound::body(request, BODY_BYTES_MAX)
        .await
        .map_err(|_| Fault::invalid("malformed_json", "The body could not be read."))?;
    if body.is_undefined() {
        return Err(too_large());
    }
    Ok(body.unchecked_into::<js_sys::Uint8Array>().to_vec())
}

fn json_response(status: u16, body: &serde_json::Value, id: &str, tagged: bool, plain: &'static str) -> Response {
    let (kind, text) = match body {
        // A table, or figures for Prometheus.
        serde_json::Value::String(text) => (plain, text.clone()),
        body => ("application/json", crate::json::written(body)),
    };
    let mut headers = crate::exchange::base_headers(Surface::ChatCompletions, id, kind);
    if tagged && body.get("object").is_some_and(|object| object != "list") {
        headers.push(("etag", audit::tag(body)));
    }
    downstream::whole(status, &headers, text.as_bytes())
}

fn fault_response(surface: Surface, fault: &Fault, id: &str) -> Response {
    let headers = crate::exchange::fault_headers(surface, fault, id);
    downstream::whole(fault.status, &headers, &dialect::downstream(surface).encode_fault(fault, id))
}

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";

/// What a browser asks before it sends. Without an allowed origin beside it, it tells a page nothing.
fn preflight(asked: Option<&str>) -> Response {
    let headers = [
        ("allow", METHODS.to_owned()),
        ("access-control-allow-methods", METHODS.to_owned()),
        ("access-control-allow-headers", asked.unwrap_or("authorization, content-type").to_owned()),
        ("access-control-max-age", "86400".to_owned()),
    ];
    downstream::whole(204, &headers, b"")
}

/// Some accounts are held against the journal, all of them in turn. That wakes them, so that an alarm that was lost is set
/// again.
#[wasm_bindgen]
pub async fn scheduled(_event: JsValue, env: Env) {
    AssertUnwindSafe(reconciled(env)).await;
}

async fn reconciled(env: Env) {
    snapshot::read_first(&env).await;
    // One run has so many statements and so much time: the next goes on where this one ends, and then from the beginning.
    let after = storage::get(&env, RECONCILED).await.ok().flatten().unwrap_or_default();
    let page = match journal::organizations(&env, &after, ACCOUNTS_PER_RUN).await {
        Ok(page) => page,
        Err(error) => return complain(format!("the list of organisations could not be read: {error}")),
    };
    for id in &page {
        let report = reconcile::account(&env, id, None).await;
        if report.get("agrees").and_then(serde_json::Value::as_bool) != Some(true) {
            complain(format!("{id} and the journal do not agree: {}", crate::json::written(&report)));
        }
    }
    let next = if page.len() == ACCOUNTS_PER_RUN { page.last().cloned().unwrap_or_default() } else { String::new() };
    if let Err(error) = storage::put(&env, RECONCILED, &next).await {
        complain(format!("{RECONCILED} was not kept: {error}"));
    }
}

/// Where the reconciler goes on, in KV.
const RECONCILED: &str = "reconcile/after";
/// Each takes some eight statements, of a thousand that a run may make.
const ACCOUNTS_PER_RUN: usize = 80;
