//! Top-ups by card, through Stripe Checkout, and charges of a card that was saved there. Shapes are from Stripe's public API
//! reference: <https://docs.stripe.com/api/checkout/sessions>, <https://docs.stripe.com/api/payment_intents>,
//! <https://docs.stripe.com/api/refunds>, <https://docs.stripe.com/api/disputes>, <https://docs.stripe.com/api/errors>,
//! signatures from <https://docs.stripe.com/webhooks/signature>.
use crate::{access, id::made_at, money::Nanos, time::Millis};
use serde_json::Value;

/// A signature is good for so long: Stripe's own libraries take five minutes.
const TOLERANCE_MS: u64 = 300_000;
const NANOS_PER_CENT: i64 = 10_000_000;
const REFUNDED: &str = "refunded to the card";
const DISPUTED: &str = "disputed by the card's holder";
/// A session that saves its card: with a customer, which it is attached to, and no other means of payment.
const SAVES: [(&str, &str); 3] = [
    ("customer_creation", "always"),
    ("payment_intent_data[setup_future_usage]", "off_session"),
    ("payment_method_types[0]", "card"),
];

/// The body that makes a session at which somebody pays `cents`, and saves the card if `saves`.
#[must_use]
pub fn session_form(organization: &str, topup: &str, cents: i64, return_url: &str, saves: bool) -> String {
    let cents = cents.to_string();
    let fields = [
        ("mode", "payment"),
        ("client_reference_id", organization),
        ("metadata[organization]", organization),
        ("metadata[topup]", topup),
        ("payment_intent_data[metadata][organization]", organization),
        ("payment_intent_data[metadata][topup]", topup),
        ("line_items[0][quantity]", "1"),
        ("line_items[0][price_data][currency]", "usd"),
        ("line_items[0][price_data][unit_amount]", &cents),
        ("line_items[0][price_data][product_data][name]", "Credit for model calls"),
        ("success_url", return_url),
        ("cancel_url", return_url),
    ];
    form(&[&fields[..], if saves { &SAVES } else { &[] }].concat())
}

/// The body that charges a saved card while its holder is away. What makes it another charge than a session's is its mark.
#[must_use]
pub fn charge_form(organization: &str, topup: &str, cents: i64, card: &str) -> String {
    let mut names = card.split(' ');
    let mut name = || names.next().unwrap_or_default();
    form(&[
        ("amount", &cents.to_string()),
        ("currency", "usd"),
        ("customer", name()),
        ("payment_method", name()),
        ("payment_method_types[0]", "card"),
        ("off_session", "true"),
        ("confirm", "true"),
        ("metadata[organization]", organization),
        ("metadata[topup]", topup),
        ("metadata[auto_topup]", "true"),
    ])
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    fields.join("&")
}

/// Everything but letters, digits and `-._~` as `%XX`.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// Whether a message is from Stripe, and of now: `Stripe-Signature: t=…,v1=…` over time and body.
#[must_use]
pub fn is_signed(header: &str, body: &[u8], secret: &str, now: Millis) -> bool {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let Some((_, time)) = parts().find(|(name, _)| *name == "t") else { return false };
    let fresh = time.parse::<u64>().is_ok_and(|at| now.0.abs_diff(at.saturating_mul(1_000)) <= TOLERANCE_MS);
    let content = [time.as_bytes(), b".", body].concat();
    let wanted = access::mac(&content, secret.as_bytes()).map(|byte| format!("{byte:02x}")).concat();
    let good = |(name, given): (&str, &str)| name == "v1" && access::same(given.as_bytes(), wanted.as_bytes());
    // Every signature is looked at: how long it takes tells nothing.
    fresh && parts().filter(|part| good(*part)).count() > 0
}

/// What an event is about: the path of the object to be asked for at Stripe, which is believed, not the event.
#[must_use]
pub fn object_of(event: &Value) -> Option<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let id = text(event.get("data")?.get("object")?.get("id")).filter(|id| is_plain(id))?;
    let rows = match event.get("type")?.as_str()? {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => "checkout/sessions",
        "refund.created" | "refund.updated" | "refund.failed" => "refunds",
        "charge.dispute.funds_withdrawn" | "charge.dispute.funds_reinstated" | "charge.dispute.closed" => "disputes",
        "payment_intent.succeeded" => return Some(format!("/v1/payment_intents/{id}")),
        _ => return None,
    };
    Some(format!("/v1/{rows}/{id}?expand[]=payment_intent.payment_method"))
}

fn is_plain(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Money that came in, or went back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deposit {
    pub organization: String,
    /// Of this it is booked once.
    pub once: String,
    pub amount: Nanos,
    pub reason: String,
    /// The top-up that was charged by itself; empty for any other.
    pub topup: String,
    /// The card that was saved with it, as [`card_of`] tells it; empty for none.
    pub card: String,
}

/// The text that stands at a place; empty where there is none.
#[inline(never)]
fn text_at<'a>(value: &'a Value, place: &[&str]) -> &'a str {
    let found = place.iter().try_fold(value, |value, name| value.get(*name));
    found.and_then(Value::as_str).unwrap_or_default()
}

/// What an object of Stripe's comes to. Nothing for one that moved no money (yet), or is not ours.
#[must_use]
pub fn deposits(object: &Value) -> Vec<Deposit> {
    let text = |name: &str| text_at(object, &[name]);
    let id = text("id");
    let metadata = object.get("metadata").filter(|metadata| metadata.get("organization").is_some());
    let metadata = metadata.or_else(|| object.get("payment_intent")?.get("metadata")).unwrap_or(&Value::Null);
    let noted = |name: &str| text_at(metadata, &[name]);
    let (member, moves): (&str, &[(i64, &str, &str)]) = match (text("object"), text("payment_status"), text("status")) {
        ("checkout.session", "paid", _) => ("amount_total", &[(1, "", "paid by card")]),
        // A session's own payment is booked with the session.
        ("payment_intent", _, "succeeded") if !noted("auto_topup").is_empty() => {
            ("amount_received", &[(1, "", "topped up by card")])
        }
        ("refund", _, "succeeded") => ("amount", &[(-1, "", REFUNDED)]),
        // The bank sent it back: whether it had left before or not, nothing is gone.
        ("refund", _, "failed" | "canceled") => ("amount", &[(-1, "", REFUNDED), (1, ":failed", "refund failed")]),
        // Messages come in any order: what was given back was taken before.
        ("dispute", _, "won") => ("amount", &[(-1, "", DISPUTED), (1, ":won", "dispute won")]),
        // An inquiry takes nothing yet, and one that was prevented was settled by a refund.
        ("dispute", _, "needs_response" | "under_review" | "lost") => ("amount", &[(-1, "", DISPUTED)]),
        _ => return Vec::new(),
    };
    let organization = noted("organization");
    let cents = object.get(member).and_then(Value::as_i64).filter(|cents| *cents > 0 && text("currency") == "usd");
    let nanos = cents.and_then(|cents| cents.checked_mul(NANOS_PER_CENT));
    let (Some(nanos), Some(_), true) = (nanos, made_at(organization), organization.starts_with("org_")) else {
        return Vec::new();
    };
    let deposit = |(sign, mark, what): &(i64, &str, &str)| Deposit {
        organization: organization.to_owned(),
        once: format!("stripe:{id}{mark}"),
        amount: Nanos(nanos * sign),
        reason: format!("{what}: {id}"),
        topup: if text("object") == "payment_intent" { noted("topup").to_owned() } else { String::new() },
        card: card_of(object),
    };
    moves.iter().map(deposit).collect()
}

/// The card that a session saved, where its holder agreed to more charges: customer and payment method, by their names at the
/// processor, and what is shown of it. Empty for none.
fn card_of(session: &Value) -> String {
    let (customer, method) =
        (text_at(session, &["customer"]), text_at(session, &["payment_intent", "payment_method", "id"]));
    let kept = text_at(session, &["payment_intent", "setup_future_usage"]) == "off_session";
    if !kept || customer.is_empty() || method.is_empty() || !is_plain(customer) || !is_plain(method) {
        return String::new();
    }
    let shown = |name| text_at(session, &["payment_intent", "payment_method", "card", name]);
    [customer, method, shown("brand"), shown("last4")].join(" ")
}

/// What an answer says of a charge, made or looked for among others: what it paid, or why it did not, which is empty while it is under
/// way. `None` where nothing is known: only a refusal of the card, or of the request for it as it is, says that nothing was taken.
#[must_use]
pub fn charged(status: u16, told: &Value, topup: &str, looked: bool) -> Option<Result<Deposit, String>> {
    let of_it = |row: &&Value| text_at(row, &["metadata", "topup"]) == topup;
    let error = match (status, told.get("data").and_then(Value::as_array)) {
        (200, rows) => {
            let intent = rows.map_or(Some(told), |rows| rows.iter().find(of_it))?;
            if let Some(deposit) = deposits(intent).pop() {
                return of_it(&intent).then_some(Ok(deposit));
            }
            match text_at(intent, &["status"]) {
                "requires_payment_method" => intent.get("last_payment_error"),
                "canceled" => return Some(Err("canceled".to_owned())),
                _ => return of_it(&intent).then(|| Err(String::new())),
            }
        }
        // A key of the worker's that is not good is a 401 or 403. That something was not found by a look says nothing of the charge.
        (400 | 402 | 404, _) if !looked => told.get("error"),
        _ => None,
    }?;
    let refused = matches!(text_at(error, &["type"]), "card_error" | "invalid_request_error");
    let why =
        ["decline_code", "code", "type"].map(|name| text_at(error, &[name])).into_iter().find(|why| !why.is_empty());
    why.filter(|_| refused).map(|why| Err(why.to_owned()))
}

/// An amount in cents, if it is one to top up by: whole cents, from a dollar to a hundred thousand.
#[must_use]
pub fn cents(amount: Nanos) -> Option<i64> {
    let whole = amount.0 % NANOS_PER_CENT == 0;
    Some(amount.0 / NANOS_PER_CENT).filter(|cents| whole && (100..=10_000_000).contains(cents))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    const ORG: &str = "org_01kayz0000000000000000000a";

    #[test]
    fn a_session_is_asked_for_as_a_form() {
        let form = session_form(ORG, "top_1", 2_500, "https://acme.com/billing?x=1", false);
        for field in [
            "line_items%5B0%5D%5Bprice_data%5D%5Bunit_amount%5D=2500",
            "success_url=https%3A%2F%2Facme.com%2Fbilling%3Fx%3D1",
            "payment_intent_data%5Bmetadata%5D%5Borganization%5D=org_01kayz0000000000000000000a",
        ] {
            assert!(form.split('&').any(|one| one == field), "{field}: {form}");
        }
        let saving = session_form(ORG, "top_1", 2_500, "https://acme.com/billing?x=1", true);
        let more = "&customer_creation=always&payment_intent_data%5Bsetup_future_usage%5D=off_session&payment_method_types%5B0%5D=card";
        assert_eq!(saving, form + more);
    }

    #[test]
    fn only_stripe_s_own_message_of_now_is_believed() {
        let (body, at) = (br#"{"id":"evt_1"}"#, Millis(1_795_562_448_000));
        let signature = access::mac(&[b"1795562448.", body.as_slice()].concat(), b"whsec_x");
        let hex = signature.map(|byte| format!("{byte:02x}")).concat();
        let good = format!("t=1795562448,v0=00,v1={hex}");
        assert!(is_signed(&good, body, "whsec_x", at));
        assert!(is_signed(&format!("{good},v1=00"), body, "whsec_x", at), "one of several");
        assert!(!is_signed(&good, body, "whsec_y", at) && !is_signed(&good, b"{}", "whsec_x", at));
        assert!(!is_signed(&good, body, "whsec_x", at.after(TOLERANCE_MS + 1_000)), "too old");
        assert!(!is_signed("", body, "whsec_x", at) && !is_signed("t=1795562448", body, "whsec_x", at));
    }

    #[test]
    fn objects_come_to_money_once() {
        let paid = json!({"object": "checkout.session", "id": "cs_1", "payment_status": "paid", "amount_total": 2500,
            "currency": "usd", "metadata": {"organization": ORG}});
        let told = |object: &Value| -> Vec<(i64, String)> {
            deposits(object).into_iter().map(|told| (told.amount.0 / NANOS_PER_CENT, told.once)).collect()
        };
        assert_eq!(told(&paid), [(2_500, "stripe:cs_1".to_owned())]);
        let intent = json!({"metadata": {"organization": ORG}});
        let refund = json!({"object": "refund", "id": "re_1", "status": "succeeded", "amount": 500, "currency": "usd",
            "metadata": {}, "payment_intent": intent});
        assert_eq!(told(&refund), [(-500, "stripe:re_1".to_owned())]);
        let dispute = |status: &str| {
            told(&json!({"object": "dispute", "id": "dp_1", "status": status, "amount": 2500, "currency": "usd",
                "payment_intent": intent}))
        };
        let taken = (-2_500, "stripe:dp_1".to_owned());
        assert_eq!((dispute("needs_response"), dispute("lost")), (vec![taken.clone()], vec![taken.clone()]), "once");
        assert_eq!(dispute("won"), [taken, (2_500, "stripe:dp_1:won".to_owned())]);
        assert_eq!((dispute("warning_under_review"), dispute("prevented")), (vec![], vec![]));
        let mut failed = refund.clone();
        failed["status"] = json!("failed");
        assert_eq!(told(&failed), [(-500, "stripe:re_1".to_owned()), (500, "stripe:re_1:failed".to_owned())]);
        for (member, value) in [
            ("payment_status", json!("unpaid")),
            ("currency", json!("eur")),
            ("amount_total", json!(-5)),
            ("metadata", json!({"organization": "x"})),
            ("metadata", Value::Null),
            ("amount_total", json!(i64::MAX)),
        ] {
            let mut odd = paid.clone();
            odd[member] = value;
            assert_eq!(deposits(&odd), [], "{member}");
        }
    }

    fn intent(status: &str) -> Value {
        json!({"object": "payment_intent", "id": "pi_1", "status": status, "amount_received": 2500, "currency": "usd",
            "metadata": {"organization": ORG, "topup": "top_1", "auto_topup": "true"}})
    }

    #[test]
    fn a_session_s_own_payment_is_booked_with_the_session_alone() {
        let mut paid = intent("succeeded");
        assert_eq!(deposits(&paid).iter().map(|told| told.once.as_str()).collect::<Vec<_>>(), ["stripe:pi_1"]);
        paid["metadata"] = json!({"organization": ORG, "topup": "top_1"});
        assert_eq!(deposits(&paid), []);
        assert_eq!(deposits(&intent("processing")), []);
    }

    #[test]
    fn a_card_is_known_where_its_session_saved_it() {
        let method = json!({"id": "pm_1", "card": {"brand": "visa", "last4": "4242"}});
        let mut paid = json!({"object": "checkout.session", "id": "cs_1", "payment_status": "paid", "amount_total": 2500,
            "currency": "usd", "metadata": {"organization": ORG}, "customer": "cus_1",
            "payment_intent": {"setup_future_usage": "off_session", "payment_method": method}});
        let card = |session: &Value| deposits(session).pop().map_or_default(|deposit| deposit.card);
        assert_eq!(card(&paid), "cus_1 pm_1 visa 4242");
        for (member, value) in
            [("customer", Value::Null), ("customer", json!("cus_1&x=1")), ("payment_intent", json!("pi_1"))]
        {
            let mut odd = paid.clone();
            odd[member] = value;
            assert_eq!(card(&odd), "", "{member}");
        }
        paid["payment_intent"]["setup_future_usage"] = Value::Null;
        assert_eq!(card(&paid), "", "it was not to be kept");
    }

    #[test]
    fn an_answer_says_paid_or_declined_or_nothing() {
        let came = |status: u16, told: Value| match charged(status, &told, "top_1", false) {
            Some(Ok(deposit)) => deposit.once,
            Some(Err(reason)) => reason,
            None => "unknown".to_owned(),
        };
        let error = |kind: &str, code: &str| json!({"error": {"type": kind, "code": code, "message": "…"}});
        let declined =
            json!({"error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}});
        let mut other = intent("succeeded");
        other["metadata"]["topup"] = json!("top_2");
        let mut ended = intent("requires_payment_method");
        ended["last_payment_error"] = json!({"type": "card_error", "code": "expired_card"});
        for (status, told, expected) in [
            (200, intent("succeeded"), "stripe:pi_1"),
            (200, intent("processing"), ""),
            (200, intent("canceled"), "canceled"),
            (200, other.clone(), "unknown"),
            (200, json!({"object": "list", "data": [other.clone(), intent("succeeded")]}), "stripe:pi_1"),
            (200, json!({"object": "list", "data": [other]}), "unknown"),
            (200, json!({"object": "list", "data": [ended.clone()]}), "expired_card"),
            (402, declined, "insufficient_funds"),
            (402, error("card_error", "authentication_required"), "authentication_required"),
            (400, error("invalid_request_error", "resource_missing"), "resource_missing"),
            (400, error("idempotency_error", "x"), "unknown"),
            (401, error("invalid_request_error", "x"), "unknown"),
            (409, error("invalid_request_error", "idempotency_key_in_use"), "unknown"),
            (429, error("invalid_request_error", "rate_limit"), "unknown"),
            (500, error("api_error", "x"), "unknown"),
            (500, intent("succeeded"), "unknown"),
            (0, Value::Null, "unknown"),
        ] {
            assert_eq!(came(status, told.clone()), expected, "{status} {told}");
        }
        ended["status"] = json!("processing");
        assert_eq!(came(200, ended), "", "it was tried again");
        let missing = error("invalid_request_error", "resource_missing");
        assert_eq!(charged(404, &missing, "top_1", true), None, "a look that failed is no end of the charge");
    }

    #[test]
    fn events_name_the_object_to_ask_for() {
        let event = |kind: &str, id: &str| object_of(&json!({"type": kind, "data": {"object": {"id": id}}}));
        assert_eq!(event("payment_intent.succeeded", "pi_1").as_deref(), Some("/v1/payment_intents/pi_1"));
        let path = event("refund.created", "re_1");
        assert_eq!(path.as_deref(), Some("/v1/refunds/re_1?expand[]=payment_intent.payment_method"));
        assert!(event("customer.created", "cus_1").is_none() && event("refund.created", "re/../x").is_none());
        assert_eq!(cents(Nanos(1_000_000_000)), Some(100));
        assert!(cents(Nanos(999_999_999)).is_none() && cents(Nanos(1_005_000_000)).is_none());
    }
}
