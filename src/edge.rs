//! The only room that names Cloudflare.
mod account_object;
mod health_object;

use worker::{Context, Env, Request, Response, Result, event};

#[event(fetch)]
async fn fetch(_request: Request, _env: Env, _ctx: Context) -> Result<Response> {
    Response::ok("{\"ok\":true}")
}
