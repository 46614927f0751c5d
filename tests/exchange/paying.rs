//! Calls that are paid for one by one: the menu a stranger gets, and what happens between the hold and the work.
use crate::stage::{
    Ask, CHAT, CHAT_WHOLE, COST, FACILITATORS, JSON, MORNING, Story, bytes, chat, head, messages, whole, world,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use megarouter::{
    account::letter::{Grant, PostOutcome, Refusal, Unfit},
    budget::Blocked,
    catalog::Catalog,
    exchange::event::{Effect, Event, Timer},
    fault::Fault,
    id::Scope,
    money::Nanos,
    payment::{Payment, Scheme, facilitator::Outcome},
    time::Window,
    world::World,
};
use serde_json::{Value, json};
use std::rc::Rc;

/// 50 cents.
const UNITS: u64 = 500_000;

fn decoded(header: Option<&str>) -> Value {
    let text = STANDARD.decode(header.expect("a header")).expect("base64, padded");
    serde_json::from_slice(&text).expect("JSON")
}

fn required(story: &Story) -> Value {
    decoded(story.header("payment-required"))
}

fn auto() -> Ask {
    Ask { model: "auto".into(), wishes: json!({}), ..chat(&[]) }.keyed(None)
}

fn granted() -> Event {
    Event::Held(Grant { amount: Nanos(10_000_000), allowed: vec![0], pays: true, ..Grant::default() })
}

fn told(status: u16, body: &Value) -> Event {
    Event::Paid { status, body: if status == 0 { Vec::new() } else { body.to_string().into_bytes() } }
}

fn settled() -> Event {
    told(200, &json!({"success": true, "transaction": "0xfeed", "network": "eip155:84532"}))
}

fn verified() -> Event {
    told(200, &json!({"isValid": true}))
}

fn paid_with(story: &Story) -> Option<Outcome> {
    story.posted().paid.clone()
}

// The menu.

#[test]
fn a_stranger_without_a_mode_gets_a_menu_of_modes() {
    let story = Story::opens(&auto()).does(&["Reply 402"]).is("Done");
    let header = story.header("payment-required").expect("the header");
    assert!(header.len() <= 4_096, "{} bytes", header.len());
    let required = required(&story);
    let accepts = required["accepts"].as_array().expect("offers");
    assert!((3..=8).contains(&accepts.len()), "{}", accepts.len());
    assert_eq!(required["x402Version"], 2);
    assert_eq!(required["resource"]["url"], "https://edge.test/v1/chat/completions");
    // Who would answer is told of the other modes alone: the header has four kilobytes.
    let mode = |accept: &Value| accept["extra"]["mode"].as_str().unwrap_or_default().to_owned();
    let first = mode(&accepts[0]);
    assert_eq!(first, "");
    let mut others: Vec<_> = accepts.iter().map(mode).filter(|mode| *mode != first).collect();
    assert!(!others.is_empty(), "{accepts:?}");
    let told = others.len();
    others.dedup();
    assert_eq!(others.len(), told, "each other mode once");
    for accept in accepts {
        let units: u64 = accept["amount"].as_str().and_then(|units| units.parse().ok()).expect("whole units");
        assert!(units > 0 && units <= 1_000_000);
        assert!(accept["extra"]["quote"].as_str().is_some_and(|quote| quote.matches('.').count() == 3), "{accept}");
        if mode(accept) != first {
            assert_ne!(accept["extra"]["models"].as_array().expect("models").len(), 0);
            assert_eq!(accept["scheme"], "upto", "another mode is paid by what it used");
        }
        if accept["scheme"] == "upto" {
            assert!(
                accept["extra"]["facilitatorAddress"].is_string()
                    && accept["extra"]["assetTransferMethod"] == "permit2"
            );
        } else {
            assert_eq!(accept["extra"]["paymentFlow"], "upfront");
        }
    }
    let schemes: Vec<_> =
        accepts.iter().filter(|accept| mode(accept) == first).map(|accept| &accept["scheme"]).collect();
    assert!(schemes.contains(&&json!("upto")) && schemes.contains(&&json!("exact")), "{schemes:?}");
    assert_eq!(story.header("x-should-retry"), Some("false"));
    // The body has room for all of them.
    let body = story.body();
    let modes = body["modes"].as_array().expect("modes");
    let words: Vec<_> = modes.iter().filter_map(|mode| mode["mode"].as_str()).collect();
    assert_eq!(words, ["balanced", "cost-first", "latency-first", "availability-first"]);
    let told =
        |mode: &Value| mode["amount_usd"].is_string() && mode["ttft_ms"].is_u64() && !mode["models"][0].is_null();
    assert!(modes.iter().all(told), "{modes:?}");
}

#[test]
fn a_call_of_one_model_has_no_menu_of_modes() {
    let required = required(&Story::opens(&chat(&["alpha"]).keyed(None)));
    for accept in required["accepts"].as_array().expect("offers") {
        assert!(accept["extra"]["mode"].is_null() && accept["extra"]["models"].is_null(), "{accept}");
    }
}

#[test]
fn the_header_fits_whatever_models_are_called() {
    let name = "a-model-with-a-name-of-many-words-as-some-providers-give-them-to-theirs";
    let rows = crate::stage::CATALOG.replace(r#""id":"m""#, &format!(r#""id":"{name}""#));
    let world = World { catalog: Rc::new(Catalog::parse(&rows).expect("valid")), ..world() };
    let story = Story::opens_in(&auto(), world);
    let header = story.header("payment-required").expect("the header");
    assert!(header.len() <= 4_096, "{} bytes", header.len());
    assert!(required(&story)["accepts"].as_array().expect("offers").len() >= 2);
}

/// A world in which an answer may cost more than a dollar.
fn dear() -> World {
    let rows = crate::stage::CATALOG.replace(r#""output_usd_per_mtok":"2""#, r#""output_usd_per_mtok":"50""#);
    World { catalog: Rc::new(Catalog::parse(&rows).expect("valid")), ..world() }
}

#[test]
fn a_call_without_a_ceiling_is_held_to_a_dollar_and_says_so() {
    let ask = Ask { output_tokens: 90_000, ..chat(&["alpha"]).keyed(None) };
    let most = |story: &Story| -> u64 {
        let accepts = required(story)["accepts"].clone();
        let units = |accept: &Value| accept["amount"].as_str().and_then(|units| units.parse().ok()).expect("units");
        accepts.as_array().expect("offers").iter().map(units).max().expect("an offer")
    };
    let story = Story::opens_in(&ask, dear());
    assert!((990_000..=1_000_000).contains(&most(&story)), "{}", most(&story));
    let text = story.body()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(text.contains("held to") && text.contains("max_cost_usd"), "{text}");
    assert_eq!(
        required(&story)["error"],
        "x402_payment_required",
        "the header is short: the sentence stands in the body"
    );
    assert_eq!(story.body()["accepts"][0]["maxAmountRequired"], most(&story).to_string());
    let story = Story::opens_in(&ask.clone().wishing("max_cost_usd", "10".into()), dear());
    assert!(most(&story) > 4_000_000, "{}", most(&story));
    assert!(!story.body()["error"]["message"].as_str().expect("a message").contains("held to"));
    let story = Story::opens(&ask);
    assert!(most(&story) < 990_000);
    assert!(!story.body()["error"]["message"].as_str().expect("a message").contains("held to"), "nothing is cut");
}

#[test]
fn what_cannot_be_served_is_told_before_any_price() {
    let story = Story::opens(&chat(&["nobody"]).keyed(None)).is("Done");
    assert!([400, 404].contains(&story.reply().status), "{}", story.reply().status);
    assert_eq!(story.header("payment-required"), None);
}

// What a payment came to.

#[test]
fn exact_is_settled_before_the_work() {
    let story = Story::opens(&chat(&["alpha"]).paid(Scheme::Exact, UNITS))
        .does(&["Hold for 1"])
        .hears(granted())
        .does(&["Pay settle"])
        .is("Paying")
        .hears(settled())
        .does(&["Wait Total", "Send 0 to alpha", "Wait Head(0)"])
        .hears(head(0, 200, JSON))
        .hears(whole(0, CHAT_WHOLE))
        .does(&["Note alpha/m good", "Reply 200", "Post 0.000017"]);
    let told = decoded(story.header("payment-response"));
    assert_eq!((&told["success"], &told["transaction"]), (&json!(true), &json!("0xfeed")));
    assert_eq!(told["network"], "eip155:84532");
    assert!(matches!(paid_with(&story), Some(Outcome::Done { transaction, .. }) if transaction == "0xfeed"));
}

#[test]
fn upto_is_looked_at_before_the_work_and_settled_after_it() {
    let story = Story::opens(&chat(&["alpha"]).paid(Scheme::Upto, UNITS))
        .hears(granted())
        .does(&["Pay verify"])
        .hears(verified())
        .does(&["Wait Total", "Send 0 to alpha", "Wait Head(0)"])
        .hears(head(0, 200, JSON))
        .hears(whole(0, CHAT_WHOLE))
        .does(&["Note alpha/m good", "Reply 200", "Post 0.000017"]);
    assert_eq!((story.header("payment-response"), paid_with(&story)), (None, None));
}

#[test]
fn a_grant_that_has_nothing_to_pay_begins_at_once() {
    let grant = Grant { amount: Nanos(10_000_000), allowed: vec![0], ..Grant::default() };
    Story::opens(&chat(&["alpha"]).paid(Scheme::Exact, UNITS)).hears(Event::Held(grant)).does(&[
        "Wait Total",
        "Send 0 to alpha",
        "Wait Head(0)",
    ]);
}

#[test]
fn a_stream_says_at_its_end_what_became_of_the_payment() {
    let streamed = |scheme, answer: Event| {
        let story = Story::opens(&chat(&["alpha"]).streamed().paid(scheme, UNITS)).hears(granted()).hears(answer);
        let story = story.hears(head(0, 200, crate::stage::SSE)).hears(bytes(0, CHAT.opening));
        let story = story.hears(bytes(0, CHAT.hello)).hears(Event::Written).hears(bytes(0, CHAT.rest()));
        let text = story.text();
        let comment = text.rsplit(": megarouter ").next().expect("a comment").trim();
        serde_json::from_str::<Value>(comment).expect("JSON")["payment"].clone()
    };
    let told = streamed(Scheme::Exact, settled());
    assert_eq!((&told["transaction"], &told["amount_usd"]), (&json!("0xfeed"), &json!("0.5")));
    assert_eq!(told["credited_usd"], "0.499983");
    let told = streamed(Scheme::Upto, verified());
    assert_eq!((&told["settles_usd"], &told["transaction"]), (&json!(COST), &Value::Null));
}

#[test]
fn a_refused_payment_is_told_the_price_again() {
    let refused = told(400, &json!({"success": false, "errorReason": "insufficient_funds"}));
    let story = Story::opens(&chat(&["alpha"]).paid(Scheme::Exact, UNITS)).hears(granted()).hears(refused);
    let story = story.does(&["Reply 402", "Post void"]);
    assert_eq!(story.body()["error"]["code"], "x402_settlement_failed");
    assert_ne!(required(&story)["accepts"].as_array().expect("offers").len(), 0);
    let response = decoded(story.header("payment-response"));
    assert_eq!((&response["success"], &response["errorReason"]), (&json!(false), &json!("insufficient_funds")));
    assert_eq!(paid_with(&story), Some(Outcome::Failed { reason: "insufficient_funds".into() }));
}

#[test]
fn what_nobody_knows_is_asked_of_the_next_and_believed_only_as_a_success() {
    let opened = || Story::opens(&chat(&["alpha"]).paid(Scheme::Exact, UNITS)).hears(granted());
    let unknown = || told(0, &Value::Null);
    let refused = || told(200, &json!({"success": false, "errorReason": "nonce_already_used"}));
    let story = opened().hears(unknown()).does(&["Pay settle"]);
    assert_eq!(story.pays(), [format!("{}/settle", FACILITATORS[0]), format!("{}/settle", FACILITATORS[1])]);
    story.hears(settled()).is("Attempting");
    for last in [unknown(), refused()] {
        let story = opened().hears(unknown()).hears(last).does(&["Reply 503", "Post void"]);
        assert_eq!(story.header("payment-required"), None, "no second price");
        assert_eq!((story.header("x-should-retry"), story.header("retry-after")), (Some("false"), Some("2")));
        assert_eq!(paid_with(&story), Some(Outcome::Unknown));
    }
    // Of an `upto` only its own facilitator can tell.
    let story = Story::opens(&chat(&["alpha"]).paid(Scheme::Upto, UNITS)).hears(granted()).hears(unknown());
    let story = story.does(&["Reply 503", "Post void"]);
    assert_eq!((story.pays().len(), paid_with(&story)), (1, None));
}

#[test]
fn a_caller_who_leaves_while_he_pays_has_paid() {
    let story = Story::opens(&chat(&["alpha"]).paid(Scheme::Exact, UNITS)).hears(granted());
    let story = story.hears(Event::Gone).does(&[]).is("Paying").hears(settled()).does(&["Post void"]);
    assert!(matches!(paid_with(&story), Some(Outcome::Done { .. })));
    let story = Story::opens(&chat(&["alpha"]).paid(Scheme::Exact, UNITS)).hears(Event::Gone).hears(granted());
    let story = story.does(&["Post void"]);
    assert_eq!(paid_with(&story), None, "nobody was asked");
}

#[test]
fn a_payment_that_came_before_gets_its_receipt() {
    let used = Unfit::Used { request_id: "req_earlier".into(), transaction: "0xfeed".into() };
    let story = Story::opens(&chat(&["alpha"]).paid(Scheme::Exact, UNITS))
        .hears(Event::Refused(Refusal::Payment(used)))
        .does(&["Reply 200"])
        .is("Done");
    assert_eq!((&story.body()["object"], &story.body()["request_id"]), (&json!("payment.used"), &json!("req_earlier")));
    assert_eq!(story.body()["receipt"], "/v1/receipts/req_earlier");
    assert_eq!(decoded(story.header("payment-response"))["transaction"], "0xfeed");
}

#[test]
fn what_another_payment_would_cure_is_told_with_the_price() {
    let estimate = Nanos(10_000_000);
    for (refusal, status) in [
        (Refusal::Credits { available: Nanos(0), estimate }, 402),
        (Refusal::Payment(Unfit::Dead { reason: "expired".into() }), 402),
        (Refusal::Payment(Unfit::Exposed), 402),
        (Refusal::Payment(Unfit::Busy), 503),
        (Refusal::Payment(Unfit::Pending), 503),
        (Refusal::Payment(Unfit::Other), 409),
    ] {
        let story = Story::opens(&chat(&["alpha"]).paid(Scheme::Upto, UNITS)).hears(Event::Refused(refusal.clone()));
        assert_eq!(story.reply().status, status, "{refusal:?}");
        assert_eq!(story.header("payment-required").is_some(), status == 402, "{refusal:?}");
        assert_eq!(story.header("x-should-retry"), Some("false"), "{refusal:?}");
    }
}

/// A world in which a key's organisation says whether its callers may pay by themselves.
fn known(payment_challenge: bool) -> World {
    let rows = json!({"organization": "org_1", "version": 3, "providers": {},
        "routes": {"fast": {"targets": [{"provider": "alpha", "model": "m"}]}}, "payment_challenge": payment_challenge});
    let mut known = world();
    assert!(known.learn(&megarouter::json::from_value(rows).expect("rows of an organisation")));
    known
}

#[test]
fn a_keyed_call_is_told_a_price_only_where_its_organisation_wants_it() {
    let estimate = Nanos(10_000_000);
    let blocked = Blocked {
        scope: Scope::Organization,
        scope_name: String::new(),
        window: Window::Day,
        limit_usd: estimate,
        posted_usd: estimate,
        held_usd: Nanos(0),
        estimate_usd: estimate,
        resets_at: None,
    };
    for (refusal, alone, code) in [
        (Refusal::Credits { available: Nanos(0), estimate }, 402, "insufficient_credits"),
        (Refusal::Budget(Box::new(blocked)), 403, "organization_budget_exceeded"),
    ] {
        let opened = |challenge| Story::opens_in(&chat(&["alpha"]), known(challenge)).does(&["Hold for 1"]);
        let story = opened(false).hears(Event::Refused(refusal.clone())).does(&[&format!("Reply {alone}")]).is("Done");
        assert_eq!(story.header("payment-required"), None);
        let story = opened(true).hears(Event::Refused(refusal.clone())).does(&["Reply 402"]).is("Done");
        assert!(required(&story)["accepts"].as_array().is_some_and(|offers| !offers.is_empty()), "{code}");
        let error = &story.body()["error"];
        assert_eq!((&error["code"], &error["type"]), (&json!(code), &json!("payment_required")));
        // What only the organisation knows is nothing a stranger can buy.
        let named = Ask { model: "fast".into(), wishes: json!({}), ..chat(&["alpha"]) };
        let story = Story::opens_in(&named, known(true)).hears(Event::Refused(refusal));
        assert_eq!((story.reply().status, story.header("payment-required")), (alone, None));
    }
    let story = Story::opens_in(&chat(&["alpha"]), known(true)).hears(Event::Refused(Refusal::InFlight));
    assert_eq!(story.header("payment-required"), None, "no payment cures it");
}

#[test]
fn a_call_costs_no_more_than_what_was_paid() {
    let ask = Ask { output_tokens: 90_000, ..chat(&["alpha"]) };
    let story = Story::opens_in(&ask.paid(Scheme::Exact, UNITS), dear());
    let bid = story.held_for()[0].amount;
    assert!(bid <= Nanos(500_000_000) && bid > Nanos(490_000_000), "{bid}");
}

#[test]
fn what_is_settled_after_the_work_ends_before_its_payment_does() {
    let mut ask = chat(&["alpha"]).paid(Scheme::Upto, UNITS);
    if let Some(paid) = &mut ask.pays {
        paid.valid_before = MORNING.seconds() + 100;
    }
    let story = Story::opens(&ask).hears(granted()).hears(verified());
    assert!(story.waits(Timer::Total).is_some_and(|ms| ms <= 70_000), "{:?}", story.waits(Timer::Total));
}

/// Who has paid must hear of it, whatever came of the call: the money is in the balance.
#[test]
fn a_fault_after_a_settlement_tells_of_the_settlement() {
    let story = Story::opens(&chat(&["alpha"]).paid(Scheme::Exact, UNITS)).hears(granted()).hears(settled());
    let refusal = r#"{"error":{"message":"temperature is too high","type":"invalid_request_error"}}"#;
    let story = story.hears(head(0, 400, JSON)).hears(whole(0, refusal));
    assert_eq!((story.reply().status, story.posted().outcome), (400, PostOutcome::Charge(Nanos(0))));
    assert_eq!(decoded(story.header("payment-response"))["transaction"], "0xfeed");
}

// The first generation, and what is no payment.

#[test]
fn clients_of_the_first_generation_hear_in_its_words() {
    let mut ask = chat(&["alpha"]).paid(Scheme::Exact, UNITS);
    ask.pays = ask.pays.map(|paid| Payment { version: 1, ..paid });
    let story = Story::opens(&ask).hears(granted()).hears(settled()).hears(head(0, 200, JSON));
    let story = story.hears(whole(0, CHAT_WHOLE));
    assert_eq!(decoded(story.header("x-payment-response"))["network"], "base-sepolia");
    assert_eq!(story.header("payment-response"), None);
}

#[test]
fn what_is_wrong_with_a_payment_is_told() {
    let refused = |fault: Fault| {
        let mut inbound = chat(&["alpha"]).keyed(None).inbound();
        inbound.purse.refused = Some(fault);
        let (_, effects) = megarouter::exchange::Exchange::open(inbound, world(), MORNING, 1);
        match effects.as_slice() {
            [Effect::Reply(reply)] => reply.clone(),
            other => panic!("{other:?}"),
        }
    };
    let reply = refused(Fault::invalid("x402_malformed", "It is none."));
    assert_eq!(reply.status, 400);
    assert!(reply.headers.iter().all(|(name, _)| *name != "payment-required"));
    let reply = refused(Fault::new(402, "payment_required", "x402_invalid", "The payment has run out."));
    let header = reply.headers.iter().find(|(name, _)| *name == "payment-required");
    let told = decoded(header.map(|(_, value)| value.as_str()));
    assert_eq!((reply.status, &told["error"]), (402, &json!("x402_invalid")));
}

#[test]
fn every_dialect_gets_its_own_402() {
    let story = Story::opens(&messages(&["gamma"]).keyed(None)).does(&["Reply 402"]);
    assert_eq!((&story.body()["type"], &story.body()["x402Version"]), (&json!("error"), &json!(1)));
    assert_ne!(required(&story)["accepts"].as_array().expect("offers").len(), 0);
}
