//! Stripe's API: a session for a top-up, and what its messages lead to.
use super::{
    account_object::account_of,
    complain,
    control::{self, Told},
    now, secrets,
    upstream::Upstream,
};
use crate::json::put;
use crate::{
    account::{
        letter::{Letter, NewCredit},
        payments::Inquiry,
    },
    exchange::event::{Event, Head, UpstreamCall},
    fault::Fault,
    id::mint,
    json::{self, json},
    payment::stripe,
    world::Credential,
};
use serde_json::Value;
use worker::Env;

const KEY: &str = "STRIPE_SECRET_KEY";
const FORM: &str = "application/x-www-form-urlencoded";

fn place(path: &str, env: &Env) -> String {
    secrets::variable(env, "STRIPE_API_BASE").unwrap_or_else(|| "https://api.stripe.com".to_owned()) + path
}

/// What is to be asked about a charge, as a request for the plumbing. Without a key it is refused there, and asked later.
pub fn request(inquiry: &Inquiry, env: &Env) -> Value {
    let mut request = inquiry.request(&Vec::new);
    if let Some(members) = request.as_object_mut() {
        let key = secrets::variable(env, KEY).unwrap_or_default();
        put(members, "url", place(&inquiry.url, env).into());
        let headers =
            json!({"authorization": format!("Bearer {key}"), "content-type": FORM, "idempotency-key": inquiry.nonce});
        put(members, "headers", headers);
    }
    request
}

/// Asks Stripe: a form makes a `POST`, none a `GET`.
async fn ask(path: &str, form: String, once: &str, env: &Env) -> Result<Value, Fault> {
    if secrets::variable(env, KEY).is_none() {
        let text =
            format!("This installation takes no cards: its operator has not set {KEY}. Ask the operator for credit.");
        return Err(Fault::unavailable("unavailable", text));
    }
    let call = UpstreamCall {
        url: place(path, env),
        headers: vec![("content-type", FORM.to_owned()), ("idempotency-key", once.to_owned())],
        credential_header: ("authorization", "Bearer "),
        credential: Credential::Named(KEY.to_owned()),
        body: form.into_bytes(),
    };
    let upstream = Upstream::new(&call);
    let head = upstream.clone().head(0, call, env.clone()).await;
    let whole = match &head {
        Event::Head { .. } => upstream.whole(0).await,
        _ => head.clone(),
    };
    let answer = match &whole {
        Event::Whole { bytes, .. } => json::read_bytes::<Value>(bytes).ok(),
        _ => None,
    };
    match (head, answer) {
        (Event::Head { head: Head { status: 200, .. }, .. }, Some(answer)) => Ok(answer),
        (head, _) => {
            let status = if let Event::Head { head, .. } = head { head.status } else { 0 };
            complain(format!("Stripe answered {status} to {path:.80}"));
            Err(Fault::unavailable(
                "unavailable",
                "The card processor did not answer as it should. Try again in a moment.",
            ))
        }
    }
}

/// Adds the page at which somebody pays to what the account has taken as a top-up.
pub async fn session(organization: &str, mut topup: Value, env: &Env) -> Told {
    let text = |name: &str| topup.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (id, return_url) = (text("id"), text("return_url"));
    let cents = topup.get("cents").and_then(Value::as_i64).unwrap_or_default();
    let saves = topup.get("save_card").and_then(Value::as_bool).unwrap_or_default();
    let form = stripe::session_form(organization, &id, cents, &return_url, saves);
    let session = ask("/v1/checkout/sessions", form, &id, env).await?;
    if let Some(members) = topup.as_object_mut() {
        members.remove("cents");
        put(members, "url", session.get("url").cloned().unwrap_or_default());
        put(members, "processor_id", session.get("id").cloned().unwrap_or_default());
    }
    Ok((201, topup))
}

/// A message from Stripe. It is believed that something happened; what, Stripe is asked.
pub async fn webhook(signature: &str, body: &[u8], env: &Env) -> Told {
    let secret = secrets::variable(env, "STRIPE_WEBHOOK_SECRET").ok_or_else(|| {
        Fault::unavailable("unavailable", "This installation has no STRIPE_WEBHOOK_SECRET. Its operator has to set it.")
    })?;
    if !stripe::is_signed(signature, body, &secret, now()) {
        return Err(Fault::credential(
            "invalid_signature",
            "The Stripe-Signature does not fit this body, or is too old.",
        ));
    }
    let event: Value =
        json::read_bytes(body).map_err(|_| Fault::invalid("malformed_json", "The event is not JSON."))?;
    let mut booked = 0;
    if let Some(path) = stripe::object_of(&event) {
        let object = ask(&path, String::new(), "", env).await?;
        for deposit in stripe::deposits(&object) {
            let (id, account) = (mint("crd", now(), super::random::chance()?), account_of(&deposit.organization));
            control::send(&account, Letter::Credit(NewCredit::of_deposit(id, deposit)), env).await?;
            booked += 1;
        }
    }
    Ok((200, json!({"object": "event.taken", "booked": booked})))
}
