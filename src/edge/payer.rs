//! Wallets at the door: what they show as payment, and who settles it.
use super::{
    account_object::{self, account_of, account_of_payer},
    control::{self, Told},
    models, now, receipts, secrets, snapshot,
};
use crate::{
    access::Knock,
    account::letter::{Answer, Caller, Claim, Letter, NewCredit},
    endpoint::Headers,
    exchange::{event::Event, plain_url},
    fault::Fault,
    id::{ULID_LEN, is_base32, mint},
    json::{self, put_text},
    money::Nanos,
    payment::{
        self, Payment, Purse, Scheme, Shown, Terms,
        asset::network_of,
        contract::{self, Looks},
        evm::{Address, bytes, number},
        exact,
        facilitator::{Call, Known, Outcome, Tries, Verb, is_failing, outcome},
        nanos_of, node_of, offers_by, signin, units_of,
    },
    world::World,
};
use js_sys::Uint8Array;
use serde_json::Value;
use std::{cell::Cell, time::Duration};
use wasm_bindgen::prelude::*;
use worker::{Context, Delay, Env};

thread_local! {
    /// Of payments, and of sign-ins.
    static LOOKS: [Cell<Looks>; 2] = Default::default();
}

#[wasm_bindgen(module = "/src/edge/payer.js")]
extern "C" {
    #[wasm_bindgen(js_name = Payer)]
    type JsPayer;
    #[wasm_bindgen(static_method_of = JsPayer, js_class = Payer)]
    fn signer(digest: &[u8], signature: &[u8]) -> Vec<u8>;
    #[wasm_bindgen(static_method_of = JsPayer, js_class = Payer)]
    fn point(key: &[u8]) -> Vec<u8>;
    #[wasm_bindgen(static_method_of = JsPayer, js_class = Payer, catch)]
    async fn sign(digest: &[u8], key: &[u8]) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(static_method_of = JsPayer, js_class = Payer, catch)]
    async fn post(url: &str, body: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(static_method_of = JsPayer, js_class = Payer, catch)]
    async fn supported(url: &str) -> Result<JsValue, JsValue>;
}

/// As whom a call is made: who shows a payment beside a key pays for it, where the key's organisation has its callers told the price.
///
/// # Errors
/// 401 for a key that is none any more.
pub async fn as_who(knock: Knock, headers: &Headers, env: &Env, ctx: &Context) -> Result<Knock, Fault> {
    let pays = headers.get("payment-signature").or_else(|| headers.get("x-payment")).is_some();
    if let (Knock::Known(key, digest), true) = (&knock, pays) {
        snapshot::world(env, ctx, None).await;
        if serves() && models::challenges(key, digest, env).await? {
            return Ok(Knock::Stranger);
        }
    }
    Ok(knock)
}

/// What a caller brings along to pay with; nothing where nothing can be paid with.
pub async fn purse(world: &World, knock: &Knock, url: &str, path: &str, headers: &Headers, body: &[u8]) -> Purse {
    let asks = match knock {
        Knock::Stranger => true,
        // Whether its organisation wants it is known once the account was asked.
        Knock::Known(..) => world.challenges() != Some(false),
        Knock::Forged => false,
    };
    let Some(terms) = world.settings.x402.clone().filter(|_| asks) else { return Purse::default() };
    let url = plain_url(url);
    let (target, body_hash) = (format!("POST {path}"), receipts::hash(body).await);
    let network = headers.get("payment-network").unwrap_or_default().to_owned();
    let mut purse = Purse { target, resource: url.to_owned(), body_hash, network, ..Purse::default() };
    if purse.body_hash.is_empty() {
        purse.refused = Some(Fault::unavailable("unavailable", "The request could not be hashed. Try again."));
        return purse;
    }
    if *knock != Knock::Stranger {
        return purse;
    }
    let told = match unfit(headers, &terms) {
        Some(fault) => Err(fault),
        None => shown(headers, &terms, &purse, url).await,
    };
    match told {
        Ok(payment) => {
            let sponsor = headers.get("sign-in-organization");
            let signs_in = payment.as_ref().is_some_and(|payment| payment.scheme == Scheme::Balance);
            sponsor.filter(|_| signs_in).unwrap_or_default().clone_into(&mut purse.organization);
            purse.payment = payment;
        }
        Err(mut fault) => {
            // Who cannot sign in may pay.
            if fault.status == 401 {
                (fault.status, fault.kind) = (402, "payment_required");
            }
            purse.refused = Some(fault);
        }
    }
    purse
}

/// The account that pays for a request.
pub fn account(purse: &Purse, payment: &Payment) -> String {
    if purse.organization.is_empty() { account_of_payer(&payment.caip10()) } else { account_of(&purse.organization) }
}

/// What is wrong with the headers that say how a call is to be paid for: who mistypes one shall not pay otherwise than it meant.
fn unfit(headers: &Headers, terms: &Terms) -> Option<Fault> {
    if headers.get("payment-network").is_some_and(|id| terms.networks.iter().all(|network| network.id != id)) {
        let served: Vec<&str> = terms.networks.iter().map(|network| network.id).collect();
        let text = format!("This network is not served here. Served are: {}.", served.join(", "));
        return Some(Fault::parameter("payment-network", text));
    }
    if headers.get("sign-in-organization").is_some_and(|id| !is_organization(id)) {
        let text =
            "This is no organization's id: org_ and 26 characters. Leave the header out to pay by the wallet itself.";
        return Some(Fault::parameter("sign-in-organization", text));
    }
    None
}

fn is_organization(id: &str) -> bool {
    id.strip_prefix("org_").is_some_and(|ulid| ulid.len() == ULID_LEN && is_base32(ulid))
}

/// The wallet that has signed in, and its account's name.
///
/// # Errors
/// 401 with what is to be signed, where nobody has; 404 where nothing can be paid with.
pub async fn signed_in(url: &str, headers: &Headers) -> Result<(String, Caller), Fault> {
    let terms = snapshot::payment_terms().ok_or_else(|| Fault::not_found("not_found", "No wallet can pay here."))?;
    let url = plain_url(url);
    let Some(header) = headers.get("sign-in-with-x") else {
        #[expect(clippy::cast_possible_truncation, reason = "some of it will do")]
        let salt = super::random::chance()? as u64;
        let text = "Sign in with your wallet: SIGN-IN-WITH-X takes what metadata.sign_in asks for.";
        return Err(
            Fault::credential("sign_in_required", text).with("sign_in", signin::asked(&terms, url, now(), salt))
        );
    };
    let shown = signin::shown(header, &terms, url, now())?;
    let payment = proven(shown, headers, &terms).await.map_err(|fault| match fault.status {
        402 => {
            let text = "The sign-in is not signed by its wallet, or another text was signed. A wallet that is a contract and signs \
                        in 65 bytes says so: `payment-wallet: contract`.";
            Fault::credential("sign_in_invalid", text)
        }
        _ => fault,
    })?;
    Ok((account_of_payer(&payment.caip10()), Caller::of_payer(&payment.payer, "")))
}

/// Whether wallets can pay here.
pub fn serves() -> bool {
    snapshot::payment_terms().is_some()
}

/// `GET /v1/balance`: what a wallet has here.
pub async fn balance(url: &str, headers: &Headers, env: &Env) -> Told {
    let (account, caller) = signed_in(url, headers).await?;
    control::send(&account, Letter::Balance(caller), env).await
}

/// `POST /v1/refund`: what a wallet has left goes back to it, by a payment that the operator's key signs and a facilitator settles.
pub async fn refund(url: &str, headers: &Headers, env: &Env) -> Told {
    let (account, caller) = signed_in(url, headers).await?;
    let (_, mut told) = control::send(&account, Letter::Refundable(caller), env).await?;
    // Its channels are left in any case.
    let key = refund_key(env)?;
    let units = told.get("units").and_then(Value::as_u64).unwrap_or_default();
    let id = mint("rfd", now(), super::random::chance()?);
    if units > 0 {
        let payment = repaid(&account, units, &key).await?;
        control::send(&account, Letter::Withdraw { id: id.clone(), payment: Box::new(payment) }, env).await?;
    }
    if let Some(members) = told.as_object_mut() {
        members.remove("units");
        put_text(members, "id", &id);
        put_text(members, "status", "pending");
        put_text(members, "amount_usd", &nanos_of(units).to_string());
    }
    Ok((202, told))
}

fn no_refunds() -> Fault {
    let text = "This installation sends nothing back by itself: its operator has not set X402_REFUND_KEY. The balance stays yours.";
    Fault::unavailable("refund_unavailable", text)
}

/// The key that refunds are paid from.
fn refund_key(env: &Env) -> Result<[u8; 32], Fault> {
    secrets::variable(env, "X402_REFUND_KEY").and_then(|text| bytes(&text)).ok_or_else(no_refunds)
}

/// A payment to a wallet, signed by that key.
async fn repaid(account: &str, units: u64, key: &[u8; 32]) -> Result<Payment, Fault> {
    let none = no_refunds;
    let from = Address::of_key(&JsPayer::point(key)).ok_or_else(none)?;
    let (network, payer) = account.trim_start_matches("payer:").rsplit_once(':').unwrap_or_default();
    let to = Address::parse(payer).ok_or_else(none)?;
    let network = network_of(network).ok_or_else(none)?;
    let (high, low) = (super::random::chance()?, super::random::chance()?);
    let mut nonce = number(low);
    if let Some(first) = nonce.first_chunk_mut() {
        *first = high.to_be_bytes();
    }
    let before = now().seconds() + exact::REFUND_S;
    let ours = exact::ours(network, from, to, units, nonce, before).ok_or_else(none)?;
    let signature = JsPayer::sign(&ours.digest, key).await.map_err(|_| none())?;
    Ok(ours.signed(&signature.unchecked_into::<Uint8Array>().to_vec()))
}

/// The addresses of the keys that channels are claimed and given back by: the first for new channels, the others for those that they
/// opened. What is no key has the address 0, which opens none.
pub fn authorizers(env: &Env) -> Vec<Address> {
    let list = secrets::variable(env, "X402_AUTHORIZER_KEY").unwrap_or_default();
    let mut all = Vec::new();
    for text in list.split(',').filter(|_| !list.is_empty()) {
        let key: [u8; 32] = bytes(text.trim()).unwrap_or_default();
        all.push(Address::of_key(&JsPayer::point(&key)).unwrap_or_default());
    }
    all
}

/// `GET` of what calls are paid at: a client of channels asks there in whose name they are, and shows a voucher of its own to have
/// what is left of it given back, which is done within seconds. Tells what a client hears of it.
///
/// # Errors
/// 402 with the offer of a channel, and how its own is; 405 where there are none.
pub async fn leave(url: &str, path: &str, headers: &Headers, env: &Env) -> Result<Value, Fault> {
    let (target, resource) = (format!("GET {path}"), plain_url(url).to_owned());
    let network = headers.get("payment-network").unwrap_or_default().to_owned();
    let purse = Purse { target, resource, network, ..Purse::default() };
    let post = || {
        let text = "This path does not take GET. It takes POST.";
        Fault::new(405, "invalid_request_error", "method_not_allowed", text).with("allow", "POST")
    };
    // A key never sees an offer here, and of other payments than a channel's there is nothing to be given back.
    let terms = snapshot::payment_terms().filter(|_| headers.credential().is_none()).ok_or_else(post)?;
    let shows = headers.get("payment-signature").is_some();
    let mut channel = Value::Null;
    let told = if shows { shown(headers, &terms, &purse, &purse.resource).await } else { Ok(None) };
    let (mut fault, asset) = match told {
        Ok(Some(payment)) if payment.voucher.is_some() => {
            let (account, asset) = (account_of_payer(&payment.caip10()), payment.asset);
            let settlement = payment.settlement(&Outcome::Done { transaction: String::new(), channel: None });
            let (status, told) = control::send(&account, Letter::Leave(Box::new(payment)), env).await?;
            if status < 300 {
                return Ok(settlement);
            }
            let error = told.get("error").and_then(Value::as_str).unwrap_or_default().to_owned();
            channel = told.get("channel").cloned().unwrap_or_default();
            (Fault::new(402, "payment_required", "x402_voucher_mismatch", error), asset)
        }
        Ok(_) => {
            let text =
                "Pay a call by POST, or show a voucher for what was charged to your channel to have it given back.";
            (Fault::new(402, "payment_required", "x402_payment_required", text), Address::default())
        }
        Err(fault) if fault.status != 402 => return Err(fault),
        Err(fault) => (fault, Address::default()),
    };
    let header = offers_by(Scheme::Batch, &terms, &purse, 0, &fault.message, Some((asset, &channel)), now());
    fault.payment_required = Some(header.ok_or_else(post)?);
    if !channel.is_null() {
        // Clients go by the code in the header; people read this.
        fault
            .message
            .push_str(": the channel is not given back. Make a call by it, or sign again by its state in the offer.");
    }
    Err(fault)
}

/// Takes a payment into an organisation's wallet, or says what is to be paid.
///
/// # Errors
/// 402 with the offers; 503 while nobody knows whether it was settled.
pub async fn topup(organization: &str, mut topup: Value, asked: (&Headers, String), env: &Env) -> Told {
    const TARGET: &str = "POST /admin/v1/wallet/topups";
    let (headers, body) = asked;
    let terms = snapshot::payment_terms().ok_or_else(|| {
        Fault::unavailable(
            "unavailable",
            "This installation takes no stablecoins: its operator has not set X402_PAY_TO.",
        )
    })?;
    let amount = topup.get("amount_usd").and_then(Value::as_str).and_then(|text| Nanos::parse_usd(text).ok());
    let units = units_of(amount.unwrap_or_default());
    let network = headers.get("payment-network").unwrap_or_default().to_owned();
    let (target, body_hash) = (TARGET.to_owned(), receipts::hash(body.as_bytes()).await);
    let resource = topup_resource(headers);
    let purse = Purse { target, resource, body_hash, network, ..Purse::default() };
    let offers = |mut fault: Fault| {
        if fault.status == 402 {
            fault.payment_required = offers_by(Scheme::Exact, &terms, &purse, units, &fault.message, None, now());
        }
        fault
    };
    let shown = payment::shown(headers, &terms, &purse.bound(), now()).map_err(offers)?;
    let shown = shown.ok_or_else(|| {
        offers(Fault::new(402, "payment_required", "x402_payment_required", "Pay this amount by one of the offers."))
    })?;
    let payment = proven(shown, headers, &terms).await.map_err(offers)?;
    if payment.units != units {
        return Err(offers(Fault::new(402, "payment_required", "x402_invalid", "The payment is of another amount.")));
    }
    let id = topup.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let request_hash = format!("{organization}:{}", purse.claimed_for(&payment));
    let claim = Claim { payment, request_hash };
    let outcome = paid_in(organization, &id, claim, &terms, env).await.map_err(offers)?;
    match outcome {
        Outcome::Done { transaction, .. } => {
            if let Some(members) = topup.as_object_mut() {
                members.remove("cents");
                put_text(members, "status", "paid");
                put_text(members, "transaction", &transaction);
            }
            Ok((201, topup))
        }
        Outcome::Failed { reason } => {
            let text = format!("The payment could not be taken ({reason}).");
            Err(offers(Fault::new(402, "payment_required", "x402_settlement_failed", text)))
        }
        Outcome::Unknown => {
            let text = "It is not known yet whether the payment was settled. Send the same one again in a moment: it is taken once.";
            Err(Fault::unavailable("x402_settlement_unknown", text))
        }
    }
}

/// Settles a payment, and passes what it brought on to an organisation.
async fn paid_in(organization: &str, id: &str, claim: Claim, terms: &Terms, env: &Env) -> Result<Outcome, Fault> {
    // It is the wallet's balance first: there each payment is claimed once, whatever it is for.
    let payment = claim.payment.clone();
    let (account, nonce) = (account_of_payer(&payment.caip10()), payment.nonce.clone());
    let pays =
        match account_object::ask(env, &account, &Letter::Fund { id: id.to_owned(), claim: Box::new(claim) }).await {
            Ok(Answer::Held(grant)) => grant.pays,
            Ok(Answer::Refused(refusal)) => return Err(refusal.to_fault()),
            Ok(_) => return Err(Fault::unavailable("unavailable", "The account did not answer as it should.")),
            Err(error) => return Err(control::unavailable("The account", error)),
        };
    let outcome = if pays {
        let outcome = ask(Verb::Settle, &payment, terms).await;
        control::send(&account, Letter::Funded { nonce: nonce.clone(), outcome: outcome.clone() }, env).await?;
        outcome
    } else {
        Outcome::Done { transaction: String::new(), channel: None }
    };
    if matches!(outcome, Outcome::Done { .. }) {
        give(&account, &nonce, organization, !node_of(&terms.rpc_urls, &payment.network).is_empty(), env).await?;
        let credit = NewCredit {
            id: mint("crd", now(), super::random::chance()?),
            amount: payment.amount(),
            reason: format!("paid in by stablecoin, {id}"),
            once: format!("x402:{}:{nonce}", payment.caip10()),
            source: format!("wallet:{}", payment.caip10()),
            ..NewCredit::default()
        };
        control::send(&account_of(organization), Letter::Credit(credit), env).await?;
    }
    Ok(outcome)
}

/// Has a payment go on to an organisation. What has to be seen on chain before is waited for: a block or two.
///
/// # Errors
/// 503 while it was not seen; 402 where the wallet has spent it.
async fn give(account: &str, nonce: &str, to: &str, seen: bool, env: &Env) -> Result<(), Fault> {
    let mut tries = 0;
    loop {
        let letter = Letter::Give { nonce: nonce.to_owned(), to: to.to_owned(), seen };
        match control::send(account, letter, env).await {
            Err(fault) if fault.status == 503 && tries < GIVE_TRIES => tries += 1,
            told => return told.map(drop),
        }
        Delay::from(Duration::from_millis(GIVE_EVERY_MS)).await;
    }
}

/// For so long a top-up waits for its transfer to be seen.
const GIVE_EVERY_MS: u64 = 1_000;
const GIVE_TRIES: u32 = 15;

/// The address of the top-up, as its caller sees it.
fn topup_resource(headers: &Headers) -> String {
    format!("https://{}/admin/v1/wallet/topups", headers.get("host").unwrap_or_default())
}

/// Asks one facilitator after the other, until one of them knows.
async fn ask(verb: Verb, payment: &Payment, terms: &Terms) -> Outcome {
    let mut tries = Tries::default();
    let facilitators = terms.known.ordered(&terms.facilitators);
    while let Some(url) = tries.asks(payment, &facilitators) {
        let (status, body) = answered(payment.call(verb, url, payment.units)).await;
        if let Some(outcome) = tries.hears(verb, outcome(verb, status, &body)) {
            return outcome;
        }
    }
    tries.nobody()
}

/// `GET /v1/payment-options`: where and how calls can be paid for one by one.
pub fn options() -> Value {
    let terms = snapshot::payment_terms();
    json::list_of(terms.as_deref().map_or_default(payment::options), false)
}

async fn shown(headers: &Headers, terms: &Terms, purse: &Purse, url: &str) -> Result<Option<Payment>, Fault> {
    let shown = match (payment::shown(headers, terms, &purse.bound(), now())?, headers.get("sign-in-with-x")) {
        (Some(shown), _) => shown,
        (None, Some(header)) => signin::shown(header, terms, url, now())?,
        (None, None) => return Ok(None),
    };
    proven(shown, headers, terms).await.map(Some)
}

/// What was shown, if it is signed as it has to be. Of what a contract has signed, somebody is asked who can tell.
async fn proven(shown: Shown, headers: &Headers, terms: &Terms) -> Result<Payment, Fault> {
    let (mut payment, sealed) = shown.signed(headers, &|digest, signature| JsPayer::signer(digest, signature))?;
    if sealed.is_some() {
        // Who floods the one shall not shut the other out.
        let place = usize::from(payment.scheme == Scheme::Balance);
        LOOKS.with(|looks| {
            let Some(looks) = looks.get(place) else { return Ok(()) };
            looks.get().one_more(now()).map(|more| looks.set(more))
        })?;
    }
    match sealed {
        Some(sealed) if payment.scheme == Scheme::Balance => {
            let (status, body) = asked(sealed.call(&payment, terms)?).await;
            contract::signed_in(status, &body)?;
        }
        Some(_) if payment.doubt.is_empty() => payment.doubt = ask(Verb::Verify, &payment, terms).await.doubt(),
        _ => {}
    }
    Ok(payment)
}

/// Asks a facilitator, for an exchange.
pub async fn pay(call: Call) -> Event {
    let (status, body) = answered(call).await;
    Event::Paid { status, body }
}

/// What a facilitator answers; one that does not is remembered.
async fn answered(call: Call) -> (u16, Vec<u8>) {
    let facilitator = call.url.rsplit_once('/').map_or_default(|(base, _)| base.to_owned());
    let told = asked(call).await;
    if is_failing(told.0, &told.1) {
        snapshot::facilitator_fails(&facilitator);
    }
    told
}

/// Posts, and tells status and body; a status of 0 is no answer.
async fn asked(call: Call) -> (u16, Vec<u8>) {
    let told = JsPayer::post(&call.url, &call.body).await.ok().map(|told| told.unchecked_into::<Uint8Array>().to_vec());
    match told.as_deref() {
        Some([high, low, body @ ..]) => (u16::from_be_bytes([*high, *low]), body.to_vec()),
        _ => (0, Vec::new()),
    }
}

/// Asks the facilitators what they settle, each of which may take a second.
pub async fn learn(env: &Env) {
    let mut known = Known::default();
    for url in secrets::settlers(env).facilitators {
        let told = JsPayer::supported(&url).await.ok().and_then(|told| told.as_string()).unwrap_or_default();
        known.learn(&url, &json::read(&told).unwrap_or_default());
    }
    snapshot::remember_facilitators(known);
}
