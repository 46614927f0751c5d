//! Top-ups by card, through Stripe Checkout. Shapes are from Stripe's public API reference:
//! <https://docs.stripe.com/api/checkout/sessions>, <https://docs.stripe.com/api/refunds>, <https://docs.stripe.com/api/disputes>,
//! signatures from <https://docs.stripe.com/webhooks/signature>.
use crate::{access, id::made_at, money::Nanos, time::Millis};
use serde_json::Value;

/// A signature is good for so long: Stripe's own libraries take five minutes.
const TOLERANCE_MS: u64 = 300_000;
const NANOS_PER_CENT: i64 = 10_000_000;
const REFUNDED: &str = "refunded to the card";
const DISPUTED: &str = "disputed by the card's holder";

/// The body that makes a session at which somebody pays `cents`.
#[must_use]
pub fn session_form(organization: &str, topup: &str, cents: i64, return_url: &str) -> String {
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
    fields.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).join("&")
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
    let id = text(event.get("data")?.get("object")?.get("id"))?;
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let rows = match event.get("type")?.as_str()? {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => "checkout/sessions",
        "refund.created" | "refund.updated" | "refund.failed" => "refunds",
        "charge.dispute.funds_withdrawn" | "charge.dispute.funds_reinstated" | "charge.dispute.closed" => "disputes",
        _ => return None,
    };
    Some(format!("/v1/{rows}/{id}?expand[]=payment_intent"))
}

/// Money that came in, or went back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    pub organization: String,
    /// Of this it is booked once.
    pub once: String,
    pub amount: Nanos,
    pub reason: String,
}

/// What an object of Stripe's comes to. Nothing for one that moved no money (yet), or is not ours.
#[must_use]
pub fn deposits(object: &Value) -> Vec<Deposit> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let id = text("id");
    let (member, moves): (&str, &[(i64, &str, &str)]) = match (text("object"), text("payment_status"), text("status")) {
        ("checkout.session", "paid", _) => ("amount_total", &[(1, "", "paid by card")]),
        ("refund", _, "succeeded") => ("amount", &[(-1, "", REFUNDED)]),
        // The bank sent it back: whether it had left before or not, nothing is gone.
        ("refund", _, "failed" | "canceled") => ("amount", &[(-1, "", REFUNDED), (1, ":failed", "refund failed")]),
        // Messages come in any order: what was given back was taken before.
        ("dispute", _, "won") => ("amount", &[(-1, "", DISPUTED), (1, ":won", "dispute won")]),
        // An inquiry takes nothing yet, and one that was prevented was settled by a refund.
        ("dispute", _, "needs_response" | "under_review" | "lost") => ("amount", &[(-1, "", DISPUTED)]),
        _ => return Vec::new(),
    };
    let metadata = object.get("metadata").filter(|metadata| metadata.get("organization").is_some());
    let metadata = metadata.or_else(|| object.get("payment_intent")?.get("metadata"));
    let organization = metadata.and_then(|metadata| metadata.get("organization")?.as_str()).unwrap_or_default();
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
    };
    moves.iter().map(deposit).collect()
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
        let form = session_form(ORG, "top_1", 2_500, "https://acme.com/billing?x=1");
        for field in [
            "line_items%5B0%5D%5Bprice_data%5D%5Bunit_amount%5D=2500",
            "success_url=https%3A%2F%2Facme.com%2Fbilling%3Fx%3D1",
            "payment_intent_data%5Bmetadata%5D%5Borganization%5D=org_01kayz0000000000000000000a",
        ] {
            assert!(form.split('&').any(|one| one == field), "{field}: {form}");
        }
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

    #[test]
    fn events_name_the_object_to_ask_for() {
        let event = |kind: &str, id: &str| object_of(&json!({"type": kind, "data": {"object": {"id": id}}}));
        let path = event("refund.created", "re_1");
        assert_eq!(path.as_deref(), Some("/v1/refunds/re_1?expand[]=payment_intent"));
        assert!(event("customer.created", "cus_1").is_none() && event("refund.created", "re/../x").is_none());
        assert_eq!(cents(Nanos(1_000_000_000)), Some(100));
        assert!(cents(Nanos(999_999_999)).is_none() && cents(Nanos(1_005_000_000)).is_none());
    }
}
