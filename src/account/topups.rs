//! Top-ups by themselves: where the wallet runs low, the card that was saved is charged.
//!
//! One charge is under way at a time, and has three ends. *Paid* is booked like any deposit, by whoever tells it first. *Declined* is
//! tried again an hour later, by another charge, and pauses after the third in a row. *Unknown* is asked again under the same
//! idempotency key, and in between looked for among the customer's payments, because the processor repeats an error of its own as long
//! as it keeps a key. It forgets keys after a day: from then on, and once it is switched off, the charge is only looked for.
use super::{Account, Write, alerts, ask::AutoTopUpAsk, letter::NewCredit, payments::Inquiry, record};
use crate::{
    id::{Scope, mint},
    json::{self, json},
    money::Nanos,
    payment::stripe,
    time::Millis,
};
use serde::Serialize;
use serde_json::Value;

/// The steps of inquiries about a charge: it is asked for, or only looked for.
pub const ASK: &str = "charge";
pub const LOOK: &str = "charge-look";

const DECLINES_MAX: u64 = 3;
const DECLINED_MS: u64 = 3_600_000;
/// How long a try may take before it counts as lost.
const LEASE_MS: u64 = 60_000;
/// The processor keeps an idempotency key for at least a day: <https://docs.stripe.com/api/idempotent_requests>.
const KEPT_MS: u64 = 23 * 3_600_000;
/// After so many tries, each twice as long after the one before, nothing that was asked is on its way any more.
const TRIES: u64 = 6;
const DAY_MS: u64 = 86_400_000;
/// Where charges are made and looked for.
const PLACE: &str = "/v1/payment_intents";

/// How a wallet is topped up by itself. In one row, as flat as it is small.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct AutoTopUp {
    /// Below this the card is charged.
    threshold: Nanos,
    /// By this; 0 while it is off.
    amount: Nanos,
    daily_limit: Nanos,
    /// The card that was saved; empty for none.
    card: String,
    /// The top-up whose charge is under way; empty for none.
    topup: String,
    /// What is asked for it, the same each time.
    form: String,
    /// When it was made, and how often it was asked about.
    at: Millis,
    tries: u64,
    /// Charges there were: no two have one id.
    made: u64,
    /// What was charged on the day of UTC that began at that time.
    charged: Nanos,
    since: Millis,
    /// In a row.
    declines: u64,
    /// Why the last charge failed; empty where it did not.
    failure: String,
    /// When something is to be done, if it is.
    next_at: Millis,
}

json::members!(default AutoTopUp {
    threshold, amount, daily_limit, card, topup, form, at, tries, made, charged, since, declines, failure, next_at,
});

impl AutoTopUp {
    fn is_on(&self) -> bool {
        self.amount > Nanos::ZERO
    }

    fn status(&self) -> &'static str {
        if !self.is_on() {
            "off"
        } else if !self.topup.is_empty() {
            "charging"
        } else if self.card.is_empty() {
            "no_card"
        } else if self.declines >= DECLINES_MAX {
            "paused"
        } else {
            "active"
        }
    }

    pub(super) fn terms_told(&self) -> Option<Value> {
        let Self { threshold, amount, daily_limit, .. } = self;
        self.is_on().then(|| json!({"threshold_usd": threshold, "amount_usd": amount, "daily_limit_usd": daily_limit}))
    }

    pub(super) fn told(&self) -> Value {
        let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        json!({
            "status": self.status(),
            "card": said(self.card.splitn(3, ' ').nth(2).unwrap_or_default()),
            "charged_usd": self.charged,
            "charged_since": said(&self.since.rfc3339()).filter(|_| !self.since.is_zero()),
            "failure": said(&self.failure),
        })
    }

    /// What failed before does not count any more.
    fn go_on(&mut self) {
        self.declines = 0;
        self.failure.clear();
        if self.topup.is_empty() {
            self.next_at = Millis(0);
        }
    }

    /// The charge under way has come to its end.
    fn end(&mut self) {
        self.topup.clear();
        self.form.clear();
    }

    /// Counts the days anew.
    fn turn_day(&mut self, now: Millis) {
        let today = Millis(now.0 / DAY_MS * DAY_MS);
        if today > self.since {
            (self.since, self.charged) = (today, Nanos::ZERO);
        }
    }
}

impl Account {
    /// Whether the wallet is below its mark, and the card may be charged.
    fn runs_low(&self) -> bool {
        let auto = &self.auto_topup;
        let able = auto.is_on() && !auto.card.is_empty() && auto.declines < DECLINES_MAX && self.is_active();
        able && self.wallet.available() < auto.threshold
    }

    /// When something has to be done about it.
    pub(super) fn topup_at(&self) -> Option<Millis> {
        let auto = &self.auto_topup;
        (!auto.topup.is_empty() || self.runs_low()).then_some(auto.next_at)
    }

    /// From now on it is topped up by these; by none, the card is forgotten. What is under way comes to its end.
    pub(super) fn set_auto_topup(&mut self, terms: Option<AutoTopUpAsk>) {
        let auto = &mut self.auto_topup;
        if terms.is_none() {
            auto.card.clear();
            // What is under way with it is never asked for again, only looked for.
            auto.at = Millis(0);
        }
        let AutoTopUpAsk { threshold_usd, amount_usd, daily_limit_usd } = terms.unwrap_or_default();
        (auto.threshold, auto.amount, auto.daily_limit) = (threshold_usd, amount_usd, daily_limit_usd);
        auto.go_on();
        self.keep_auto_topup();
    }

    fn keep_auto_topup(&mut self) {
        self.news.push(record("auto_topup", "", Some(&self.auto_topup)));
    }

    /// What has to be asked of the processor now, if anything.
    pub(super) fn charge_due(&mut self, now: Millis) -> Option<Inquiry> {
        self.topup_at().filter(|at| *at <= now)?;
        if self.auto_topup.topup.is_empty() {
            self.begin_charge(now);
        }
        let asks = self.may_ask(now);
        let auto = &mut self.auto_topup;
        let inquiry = (!auto.topup.is_empty()).then(|| {
            auto.next_at = now.after(LEASE_MS);
            let (mut url, mut body) = (PLACE.to_owned(), auto.form.clone());
            if !asks || auto.tries % 2 == 1 {
                // Its customer stands in the form.
                let customer = body.split('&').find(|field| field.starts_with("customer=")).unwrap_or_default();
                url = [PLACE, "?limit=100&", customer].concat();
                body.clear();
            }
            let step = if body.is_empty() { LOOK } else { ASK };
            Inquiry { nonce: auto.topup.clone(), step, url, body, signer: None }
        });
        self.keep_auto_topup();
        inquiry
    }

    /// Makes a charge, where the day has room for it.
    fn begin_charge(&mut self, now: Millis) {
        let auto = &mut self.auto_topup;
        auto.turn_day(now);
        if self.wallet.credits.checked_add(auto.amount).is_none() {
            auto.next_at = now.after(DECLINED_MS);
            return self.charge_failed("", "wallet_full", DECLINES_MAX, now);
        }
        if auto.charged.plus(auto.amount) > auto.daily_limit {
            auto.next_at = auto.since.after(DAY_MS);
            let declines = auto.declines;
            return self.charge_failed("", "daily_limit", declines, now);
        }
        auto.made += 1;
        let made = u128::from(auto.made);
        // The processor tells charges apart by it. Were another organisation's the same, it would be refused for its other members.
        let topup = mint("top", now, self.own_bits() | made);
        let (organization, auto) = (&self.organization.id, &mut self.auto_topup);
        auto.topup = topup;
        let cents = stripe::cents(auto.amount).unwrap_or_default();
        auto.form = stripe::charge_form(organization, &auto.topup, cents, &auto.card);
        (auto.at, auto.tries) = (now, 0);
    }

    /// Whether the charge under way may still be asked for, and not only be looked for.
    fn may_ask(&self, now: Millis) -> bool {
        let auto = &self.auto_topup;
        auto.is_on() && auto.declines < DECLINES_MAX && now.since(auto.at) < KEPT_MS && self.is_active()
    }

    fn charge_failed(&mut self, topup: &str, why: &str, declines: u64, now: Millis) {
        let auto = &mut self.auto_topup;
        auto.declines = declines;
        why.clone_into(&mut auto.failure);
        let data = json!({
            "topup_id": Some(topup).filter(|id| !id.is_empty()),
            "reason": why,
            "status": auto.status(),
            "available_usd": self.wallet.available(),
        });
        self.raise("wallet.auto_topup_failed", vec![Scope::Organization], data, alerts::To::All, now);
    }

    /// Takes in what the processor said of a charge; a status of 0 is no answer.
    pub(super) fn charge_answered(
        &mut self,
        id: &str,
        step: &str,
        status: u16,
        told: &Value,
        now: Millis,
    ) -> Vec<Write> {
        // It may have come to its end meanwhile.
        if self.auto_topup.topup != id {
            return Vec::new();
        }
        let asks = self.may_ask(now);
        let auto = &mut self.auto_topup;
        let forgotten = now.since(auto.at) >= KEPT_MS;
        let (why, declines) = match stripe::charged(status, told, id, step == LOOK) {
            Some(Ok(deposit)) => {
                let credit = NewCredit::of_deposit(id.replacen("top", "crd", 1), deposit);
                return self.credit(credit, now).into_inner().writes;
            }
            Some(Err(why)) if !why.is_empty() => (why, auto.declines + 1),
            // The processor knows nothing of it, or tells nobody, and is not asked for it any more. Should it be paid all the same, a
            // message will say so.
            None if !asks && auto.tries >= TRIES && (status == 200 || forgotten) => {
                ("unknown".to_owned(), DECLINES_MAX)
            }
            _ => {
                auto.tries += 1;
                auto.next_at = now.after(1_000 << auto.tries.min(11));
                if auto.tries == TRIES {
                    // Somebody has to know: nothing else is charged meanwhile.
                    let declines = auto.declines;
                    self.charge_failed(id, "no_answer", declines, now);
                }
                self.keep_auto_topup();
                return Vec::new();
            }
        };
        auto.end();
        auto.next_at = now.after(DECLINED_MS);
        self.charge_failed(id, &why, declines, now);
        self.keep_auto_topup();
        Vec::new()
    }

    /// A processor's money was booked, for the first time: of a top-up, with the card that was saved; or it was taken back.
    pub(super) fn deposited(&mut self, topup: &str, card: String, amount: Nanos, now: Millis) {
        let auto = &mut self.auto_topup;
        let ended = !topup.is_empty() && auto.topup == topup;
        if ended {
            auto.end();
        }
        // Also what is known late was charged.
        if !topup.is_empty() {
            auto.turn_day(now);
            auto.charged = auto.charged.plus(amount);
        }
        let saved = !card.is_empty();
        if saved {
            auto.card = card;
        }
        if saved || ended && auto.declines < DECLINES_MAX {
            auto.go_on();
        }
        if amount < Nanos::ZERO && auto.is_on() {
            // What its holder took back is not taken from the card again.
            self.charge_failed("", "taken_back", DECLINES_MAX, now);
        }
        self.keep_auto_topup();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        letter::{Answer, Letter, PostOutcome, Standing},
        payments::Settlers,
        tests::{ADMIN, Kept, req, staffed, told_body},
    };
    use super::*;
    use crate::payment::stripe::Deposit;

    const ORG: &str = "org_01kayz0000000000000000000a";

    fn terms() -> Value {
        json!({"auto_topup": {"threshold_usd": "0.5", "amount_usd": "5", "daily_limit_usd": "10"}})
    }

    fn deposit(once: &str, usd: i64) -> Deposit {
        let (organization, once) = (ORG.to_owned(), format!("stripe:{once}"));
        Deposit { organization, once, amount: Nanos(usd * 1_000_000_000), ..Deposit::default() }
    }

    fn send(kept: &mut Kept, deposit: Deposit) -> Answer {
        let id = mint("crd", kept.now, u128::from(kept.now.0));
        kept.send(Letter::Credit(NewCredit::of_deposit(id, deposit)))
    }

    fn save_card(kept: &mut Kept, session: &str, customer: &str) {
        send(kept, Deposit { card: format!("{customer} pm_1 visa 4242"), ..deposit(session, 0) });
    }

    /// An account of a dollar with a card and terms.
    fn ready() -> Kept {
        let mut kept = Kept::new("1");
        save_card(&mut kept, "cs_1", "cus_1");
        kept.admin("PATCH", "wallet", &terms());
        kept
    }

    fn spend(kept: &mut Kept, number: u128, nanos: i64) {
        let id = mint("req", kept.now, number);
        kept.hold(&id, nanos);
        kept.post(&id, PostOutcome::Charge(Nanos(nanos)));
    }

    /// What the alarm hands out about the card, after a restart.
    fn due(kept: &mut Kept) -> Option<Inquiry> {
        kept.account = kept.reloaded();
        if kept.account.wake().is_none_or(|at| at > kept.now) {
            return None;
        }
        let (mut due, writes) = kept.account.inquiries(kept.now, &Settlers::default());
        kept.write(writes);
        due.pop()
    }

    fn answer(kept: &mut Kept, id: &str, status: u16, told: &Value) {
        let now = kept.now;
        let writes = kept.account.answered(id, ASK, status, json::written(told).as_bytes(), now);
        kept.write(writes);
    }

    fn paid(id: &str, intent: &str) -> Value {
        json!({"object": "payment_intent", "id": intent, "status": "succeeded", "amount_received": 500, "currency": "usd",
            "metadata": {"organization": ORG, "topup": id, "auto_topup": "true"}})
    }

    fn state(kept: &mut Kept) -> Value {
        kept.account = kept.reloaded();
        told_body(&kept.admin("GET", "wallet", &Value::Null))["auto_topup_state"].clone()
    }

    fn failures(kept: &mut Kept) -> Vec<String> {
        let told = kept.admin("GET", "alerts", &Value::Null);
        let rows = told_body(&told)["data"].as_array().expect("a list").clone();
        let failed = rows.iter().rev().filter(|row| row["type"] == "wallet.auto_topup_failed");
        failed.filter_map(|row| row["data"]["reason"].as_str().map(str::to_owned)).collect()
    }

    #[test]
    fn a_wallet_that_runs_low_is_topped_up_once() {
        let mut kept = ready();
        spend(&mut kept, 1, 400_000_000);
        assert_eq!(due(&mut kept), None, "there is enough");
        kept.hold(&req(2), 200_000_000);
        let charge = due(&mut kept).expect("a hold counts");
        assert_eq!(charge.url, "/v1/payment_intents");
        for field in ["amount=500", "customer=cus_1", "payment_method=pm_1", "off_session=true", "confirm=true"] {
            assert!(charge.body.split('&').any(|one| one == field), "{field}: {}", charge.body);
        }
        assert_eq!(due(&mut kept), None, "one at a time");
        assert_eq!(state(&mut kept)["status"], "charging");
        let id = charge.nonce;
        answer(&mut kept, &id, 200, &paid(&id, "pi_1"));
        assert_eq!(kept.account.wallet.credits, Nanos(6_000_000_000));
        // The message comes as well, twice, and so does the answer.
        for _ in 0..2 {
            send(&mut kept, Deposit { topup: id.clone(), ..deposit("pi_1", 5) });
            answer(&mut kept, &id, 200, &paid(&id, "pi_1"));
        }
        assert_eq!(kept.account.wallet.credits, Nanos(6_000_000_000), "once");
        let told = state(&mut kept);
        assert_eq!(
            (&told["status"], &told["charged_usd"], &told["card"]),
            (&json!("active"), &json!("5"), &json!("visa 4242"))
        );
        assert_eq!(due(&mut kept), None);
    }

    #[test]
    fn a_message_that_is_faster_than_the_answer_ends_the_charge() {
        let mut kept = ready();
        spend(&mut kept, 1, 600_000_000);
        let id = due(&mut kept).expect("a charge").nonce;
        send(&mut kept, Deposit { topup: id.clone(), ..deposit("pi_1", 5) });
        let told = state(&mut kept);
        assert_eq!((&told["status"], &told["charged_usd"]), (&json!("active"), &json!("5")));
        answer(&mut kept, &id, 200, &paid(&id, "pi_1"));
        assert_eq!(kept.account.wallet.credits, Nanos(6_000_000_000));
    }

    #[test]
    fn what_nobody_knows_is_asked_again_under_its_own_name() {
        let mut kept = ready();
        spend(&mut kept, 1, 600_000_000);
        let first = due(&mut kept).expect("a charge");
        answer(&mut kept, &first.nonce, 0, &Value::Null);
        assert_eq!(due(&mut kept), None, "not at once");
        kept.now = kept.now.after(2_000);
        let look = due(&mut kept).expect("it is looked for");
        assert_eq!(
            (look.nonce.as_str(), look.url.as_str()),
            (first.nonce.as_str(), "/v1/payment_intents?limit=100&customer=cus_1")
        );
        assert_eq!(look.body, "");
        answer(&mut kept, &first.nonce, 200, &json!({"object": "list", "data": []}));
        kept.now = kept.now.after(4_000);
        // Neither other terms nor another card change what is under way.
        kept.admin(
            "PATCH",
            "wallet",
            &json!({"auto_topup": {"threshold_usd": "1", "amount_usd": "7", "daily_limit_usd": "9"}}),
        );
        save_card(&mut kept, "cs_2", "cus_2");
        assert_eq!(due(&mut kept), Some(first.clone()), "the same again");
        kept.now = kept.now.after(60_000);
        assert_eq!(due(&mut kept), Some(first.clone()), "an answer that never came");
        answer(&mut kept, &first.nonce, 500, &json!({"error": {"type": "api_error"}}));
        kept.now = kept.now.after(8_000);
        due(&mut kept).expect("it is looked for");
        answer(&mut kept, &first.nonce, 200, &json!({"object": "list", "data": [paid(&first.nonce, "pi_1")]}));
        assert_eq!(kept.account.wallet.credits, Nanos(6_000_000_000));
        assert_eq!(failures(&mut kept), [] as [&str; 0]);
    }

    /// A charge that may never have reached the processor.
    fn lost(kept: &mut Kept) -> String {
        spend(kept, 1, 600_000_000);
        let id = due(kept).expect("a charge").nonce;
        answer(kept, &id, 0, &Value::Null);
        id
    }

    /// Whether it is asked for again within a while, and not only looked for.
    fn asks_again(kept: &mut Kept, id: &str) -> bool {
        for _ in 0..8 {
            kept.now = kept.now.after(600_000);
            match due(kept) {
                Some(next) if !next.body.is_empty() => return true,
                Some(_) => answer(kept, id, 200, &json!({"object": "list", "data": []})),
                None => {}
            }
        }
        false
    }

    #[test]
    fn a_card_that_was_forgotten_or_disputed_is_not_asked_again() {
        let mut kept = ready();
        let id = lost(&mut kept);
        kept.admin("PATCH", "wallet", &json!({"auto_topup": null}));
        kept.admin("PATCH", "wallet", &terms());
        assert!(!asks_again(&mut kept, &id), "switched off and on again");
        assert_eq!(state(&mut kept)["status"], "no_card");

        let mut kept = ready();
        let id = lost(&mut kept);
        send(&mut kept, deposit("dp_1", -1));
        assert!(!asks_again(&mut kept, &id), "paused");
        let mut kept = ready();
        let id = lost(&mut kept);
        assert!(asks_again(&mut kept, &id), "else it is");
    }

    #[test]
    fn what_was_given_back_does_not_end_a_charge() {
        let mut kept = ready();
        let id = lost(&mut kept);
        // A refund is heard of before the charge it is of.
        send(&mut kept, deposit("re_1", -5));
        assert_eq!(state(&mut kept)["status"], "charging");
        kept.now = kept.now.after(60_000);
        due(&mut kept).expect("it is looked for");
        answer(&mut kept, &id, 200, &json!({"object": "list", "data": [paid(&id, "pi_1")]}));
        assert_eq!(kept.account.wallet.credits, Nanos(1_000_000_000), "in and out again");
        assert_eq!(state(&mut kept)["charged_usd"], "5");
    }

    #[test]
    fn a_wallet_that_can_hold_no_more_is_not_topped_up() {
        let mut kept = ready();
        kept.account.wallet.credits = Nanos(crate::money::NANOS_MAX - 1);
        kept.account.wallet.posted = Nanos(crate::money::NANOS_MAX - 2);
        let (due, _) = kept.account.inquiries(kept.now, &Settlers::default());
        assert_eq!((due, kept.account.auto_topup.status()), (Vec::new(), "paused"));
    }

    #[test]
    fn what_stays_unknown_is_never_asked_for_under_a_forgotten_key() {
        let mut kept = ready();
        spend(&mut kept, 1, 600_000_000);
        let id = due(&mut kept).expect("a charge").nonce;
        let begun = kept.now;
        let mut asked = 0;
        while !kept.account.auto_topup.topup.is_empty() {
            answer(&mut kept, &id, 0, &json!({"object": "list", "data": []}));
            kept.now = kept.account.topup_at().map_or(kept.now, |at| at.max(kept.now));
            let Some(next) = due(&mut kept) else { break };
            let posts = !next.body.is_empty();
            assert!(!posts || kept.now.since(begun) < KEPT_MS, "a second charge");
            asked += u32::from(posts);
        }
        assert!((10..60).contains(&asked), "{asked}");
        assert_eq!(
            (state(&mut kept)["status"].clone(), failures(&mut kept)),
            (json!("paused"), vec!["no_answer".to_owned(), "unknown".to_owned()])
        );
        send(&mut kept, Deposit { topup: id, ..deposit("pi_1", 5) });
        assert_eq!(kept.account.wallet.credits, Nanos(6_000_000_000), "a message comes late");
    }

    #[test]
    fn a_card_that_is_declined_is_left_alone_after_the_third_time() {
        let mut kept = ready();
        spend(&mut kept, 1, 600_000_000);
        let refusal =
            json!({"error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}});
        let mut ids = Vec::new();
        for _ in 0..3 {
            let id = due(&mut kept).expect("a charge").nonce;
            answer(&mut kept, &id, 402, &refusal);
            assert_eq!(due(&mut kept), None, "not at once");
            ids.push(id);
            kept.now = kept.now.after(DECLINED_MS);
        }
        ids.dedup();
        assert_eq!((ids.len(), due(&mut kept)), (3, None));
        let told = state(&mut kept);
        assert_eq!(
            (&told["status"], &told["failure"], &told["charged_usd"]),
            (&json!("paused"), &json!("insufficient_funds"), &json!("0"))
        );
        assert_eq!(failures(&mut kept), ["insufficient_funds"; 3]);
        kept.admin("PATCH", "wallet", &terms());
        assert!(due(&mut kept).is_some(), "said once more, it goes on");
    }

    #[test]
    fn a_day_has_a_limit() {
        let mut kept = ready();
        let mut number = 0;
        let mut drained = |kept: &mut Kept| {
            number += 1;
            let all = kept.account.wallet.available().0;
            spend(kept, number, all);
            due(kept).map(|charge| charge.nonce)
        };
        for intent in ["pi_1", "pi_2"] {
            let id = drained(&mut kept).expect("a charge");
            answer(&mut kept, &id, 200, &paid(&id, intent));
        }
        assert_eq!(drained(&mut kept), None, "ten dollars are spent");
        assert_eq!((due(&mut kept), failures(&mut kept)), (None, vec!["daily_limit".to_owned()]), "told once");
        let wake = kept.account.auto_topup.next_at;
        assert_eq!((wake.0 % DAY_MS, kept.account.topup_at()), (0, Some(wake)), "at midnight");
        kept.now = wake;
        let id = due(&mut kept).expect("another day").nonce;
        answer(&mut kept, &id, 200, &paid(&id, "pi_3"));
        let told = state(&mut kept);
        assert_eq!((&told["charged_usd"], &told["failure"]), (&json!("5"), &Value::Null));
    }

    #[test]
    fn switched_off_it_charges_nothing_and_what_is_under_way_is_only_looked_for() {
        let mut kept = ready();
        spend(&mut kept, 1, 600_000_000);
        let id = due(&mut kept).expect("a charge").nonce;
        answer(&mut kept, &id, 0, &Value::Null);
        kept.admin("PATCH", "wallet", &json!({"auto_topup": null}));
        assert_eq!(state(&mut kept)["card"], Value::Null, "the card is forgotten");
        for _ in 0..9 {
            kept.now = kept.now.after(4_000_000);
            let Some(next) = due(&mut kept) else { break };
            assert_eq!(next.body, "");
            answer(&mut kept, &id, 200, &json!({"object": "list", "data": []}));
        }
        assert_eq!((due(&mut kept), state(&mut kept)["status"].clone()), (None, json!("off")));
        save_card(&mut kept, "cs_1", "cus_1");
        kept.admin("PATCH", "wallet", &terms());
        assert_eq!(state(&mut kept)["status"], "no_card", "an old message brings no card back");
        assert_eq!(due(&mut kept), None);
    }

    #[test]
    fn neither_a_suspended_organisation_s_card_nor_one_whose_holder_took_back_is_charged() {
        let mut kept = ready();
        kept.send(Letter::Standing(Some(Standing::Suspended)));
        send(&mut kept, deposit("re_1", -3));
        assert_eq!(due(&mut kept), None);
        kept.send(Letter::Standing(Some(Standing::Active)));
        assert_eq!((due(&mut kept), failures(&mut kept)), (None, vec!["taken_back".to_owned()]));
        kept.admin("PATCH", "wallet", &terms());
        kept.send(Letter::Standing(Some(Standing::Suspended)));
        assert_eq!(due(&mut kept), None);
        kept.send(Letter::Standing(Some(Standing::Active)));
        assert!(due(&mut kept).is_some());
    }

    #[test]
    fn who_may_pay_may_let_the_wallet_pay() {
        let mut kept = staffed();
        for (who, may) in
            [("key_boss", false), ("key_purse", true), ("key_lead", false), ("key_ada", false), (ADMIN, true)]
        {
            let answer = kept.ask(who, "PATCH", "wallet", &terms(), |_| ());
            assert_eq!(matches!(answer, Answer::Told { .. }), may, "{who}");
        }
        for bad in [
            json!({"threshold_usd": "0", "amount_usd": "5", "daily_limit_usd": "5"}),
            json!({"threshold_usd": "1", "amount_usd": "0.5", "daily_limit_usd": "5"}),
            json!({"threshold_usd": "1", "amount_usd": "5.001", "daily_limit_usd": "50"}),
            json!({"threshold_usd": "1", "amount_usd": "5", "daily_limit_usd": "4.99"}),
            json!({"threshold_usd": "1", "amount_usd": "5"}),
        ] {
            let answer = kept.admin("PATCH", "wallet", &json!({"auto_topup": bad}));
            assert!(matches!(answer, Answer::Refused(_)), "{bad}");
        }
        let told = kept.admin("PATCH", "wallet", &json!({"low_balance_alert_usd": "2"}));
        assert_eq!(told_body(&told)["auto_topup"]["amount_usd"], "5", "what is left out stays");
    }
}
