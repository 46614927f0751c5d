//! Calls that are paid for one by one: the price that is asked, and what has to happen between the hold and the work.
use super::{
    Case, Effect, Event, Exchange, Phase,
    event::{Reply, ReplyBody},
};
use crate::{
    access::Knock,
    account::channels::channel_told,
    endpoint::Overrides,
    fault::Fault,
    json::{json, put, written},
    mode::Mode,
    money::Nanos,
    payment::{
        self, ModePrice, Payment, Scheme, Terms,
        facilitator::{Outcome, Tries, Verb, outcome},
        units_of,
    },
    route::{Allowed, Plan},
    time::Millis,
};
use serde_json::Value;
use std::rc::Rc;

/// What a call may cost that names no ceiling of its own: stock clients refuse to pay more.
const CEILING: Nanos = Nanos(1_000_000_000);
/// An answer that is settled after the work ends so long before its payment does.
const SETTLE_MS: u64 = 30_000;
/// Tokens by which an answer is tried to be longer, to see whether its price is what cuts it short.
const TOKENS_MORE: u64 = 64;

impl Case {
    /// What payments are taken by, where this call is to be paid for.
    pub(super) fn payment_terms(&self) -> Option<Rc<Terms>> {
        self.world.settings.x402.clone().filter(|_| matches!(self.knock, Knock::Stranger))
    }

    /// Keeps a call within what was paid, or within what may be asked for.
    pub(super) fn bound_by_payment(&mut self) {
        if self.payment_terms().is_none() {
            return;
        }
        let paid = self.purse.payment.as_ref();
        // A balance has no bound of its own, and whether version 1 paid enough is seen once it is known what that is.
        let paid = paid.filter(|paid| paid.scheme != Scheme::Balance && paid.version > 1);
        let most = paid.map_or(CEILING, Payment::amount);
        let asked = self.overrides.max_cost_usd;
        self.overrides.max_cost_usd =
            Some(asked.map_or(most, |asked| if paid.is_some() { asked.min(most) } else { asked }));
        let Some(paid) = paid else { return };
        self.overrides.mode = paid.mode.or(self.overrides.mode);
        if paid.scheme == Scheme::Upto {
            let left =
                Millis(paid.valid_before.saturating_mul(1_000)).since(self.arrived).saturating_sub(SETTLE_MS).max(1);
            self.overrides.deadline_ms = Some(self.overrides.deadline_ms.map_or(left, |asked| asked.min(left)));
        }
    }

    /// What the call would cost by the mode that was asked for, then by the others.
    fn menu(&self, plan: &Plan) -> Vec<ModePrice> {
        let mut menu = vec![price(plan)];
        if plan.is_a_choice {
            for mode in Mode::ALL.into_iter().filter(|mode| *mode != plan.terms.mode) {
                let overrides = Overrides { mode: Some(mode), ..self.overrides.clone() };
                let other =
                    crate::route::plan(&self.question(&overrides, self.arrived), &self.world, &mut self.dice.clone());
                menu.extend(other.ok().map(|plan| price(&plan)));
            }
        }
        menu
    }

    /// The output bound that the ceiling leaves, where it is what cuts the answers short.
    fn cut_by_ceiling(&self, plan: &Plan) -> Option<u64> {
        let ceiling = self.overrides.max_cost_usd?;
        let dear = plan.candidates.iter().filter(|candidate| {
            let longer = candidate.output_tokens_max.saturating_add(TOKENS_MORE);
            candidate.quote_of(longer, self.signals.choices).is_none_or(|quote| quote > ceiling)
        });
        let asked = self.request.max_output_tokens;
        dear.map(|candidate| candidate.output_tokens_max).filter(|bound| asked.is_none_or(|asked| *bound < asked)).min()
    }
}

/// The most that whoever may be asked can cost.
fn most(plan: &Plan) -> Nanos {
    plan.candidates.iter().map(|candidate| candidate.quote).max().unwrap_or_default()
}

fn price(plan: &Plan) -> ModePrice {
    let first = plan.candidates.first();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds, above 0")]
    let ttft_ms = first.map_or(0.0, |first| first.ttft_ms) as u64;
    ModePrice {
        mode: plan.terms.mode,
        units: units_of(most(plan)).max(1),
        models: plan.candidates.iter().take(2).map(|candidate| candidate.deployment.id.clone()).collect(),
        ttft_ms,
    }
}

impl Exchange {
    /// Tells the price of a call, and why there is one, unless the call cannot be served anyway.
    pub(super) fn ask_for_payment(&mut self, why: Option<Fault>, effects: &mut Vec<Effect>) {
        let plan = match &self.case.plan {
            Ok(plan) => plan,
            Err(fault) => {
                let fault = fault.clone();
                return self.refuse(&fault, effects);
            }
        };
        let Some(terms) = self.case.payment_terms() else {
            let fault = Fault::credential("missing_key", "Send a MegaRouter key: Authorization: Bearer mr_sk_….");
            return self.refuse(&fault, effects);
        };
        let fault = why.unwrap_or_else(|| {
            let cut = self.case.cut_by_ceiling(plan).map_or_else(String::new, |tokens| {
                format!(" Its answer is held to {tokens} tokens; a higher megarouter.max_cost_usd makes room for more.")
            });
            let text = format!(
                "This call needs a MegaRouter key (Authorization: Bearer mr_sk_…; a key of another service is none) or a \
                 payment of at most {} USD by x402: the offers are in the header PAYMENT-REQUIRED.{cut}",
                payment::nanos_of(units_of(most(plan)))
            );
            Fault::new(402, "payment_required", "x402_payment_required", text)
        });
        let asked = payment::Asked {
            terms: &terms,
            resource: plain_url(&self.case.url),
            bound: self.case.purse.bound(),
            network: &self.case.purse.network,
            catalog_id: &self.case.world.catalog.id,
            menu: &self.case.menu(plan),
            // The sentence stands in the body.
            error: if self.mismatch.is_some() { &fault.message } else { fault.code },
            channel: self.case.purse.payment.as_ref().map(|paid| paid.asset).zip(self.mismatch.as_ref()),
            now: self.now,
            salt: self.case.seed,
        };
        let challenge = payment::challenge(&asked);
        self.refuse(&fault, effects);
        if let (Some(challenge), Some(Effect::Reply(reply))) = (challenge, effects.last_mut()) {
            super::reply::add_challenge(reply, challenge);
        }
    }

    /// Whether a call that an organisation does not pay for may be paid for by its caller.
    pub(super) fn may_pay_itself(&self) -> bool {
        match self.case.knock {
            Knock::Known(..) => self.case.world.challenges() == Some(true) && !self.case.purse.target.is_empty(),
            _ => !self.case.purse.organization.is_empty(),
        }
    }

    /// Tells the price of a call, as if no organisation stood behind it; where a stranger could not make it, its own fault.
    pub(super) fn pay_itself(&mut self, mut fault: Fault, now: Millis, effects: &mut Vec<Effect>) {
        let case = &mut self.case;
        case.knock = Knock::Stranger;
        (case.purse.payment, case.allowed) = (None, Allowed::default());
        case.purse.organization.clear();
        (case.world.tenant, case.world.policies) = (None, None);
        case.bound_by_payment();
        case.replan(now);
        if case.plan.is_err() || case.payment_terms().is_none() {
            return self.refuse(&fault, effects);
        }
        (fault.status, fault.kind) = (402, "payment_required");
        fault.message.push_str(" Or pay for this call by a wallet of your own, by x402.");
        self.ask_for_payment(Some(fault), effects);
    }

    /// Whether what was paid does not pay for the call. A client of version 1 was bound by no quote.
    pub(super) fn underpaid(&self) -> bool {
        let (Some(paid), Ok(plan)) = (&self.case.purse.payment, &self.case.plan) else { return false };
        paid.version == 1 && paid.units < units_of(most(plan))
    }

    /// Does what a payment needs before the work. `false` where nothing is to be done.
    pub(super) fn pay(&mut self, effects: &mut Vec<Effect>) -> bool {
        let needs = self.grant.as_ref().is_some_and(|grant| grant.pays) && self.case.purse.payment.is_some();
        if needs {
            self.ask_facilitator(Tries::default(), effects);
        }
        needs
    }

    fn ask_facilitator(&mut self, tries: Tries, effects: &mut Vec<Effect>) {
        let (Some(terms), Some(paid)) = (self.case.payment_terms(), &self.case.purse.payment) else { return };
        match tries.asks(paid, &terms.known.ordered(&terms.facilitators)) {
            Some(url) => {
                effects.push(Effect::Pay(paid.call(verb(paid), url, paid.units)));
                self.phase = Phase::Paying(tries);
            }
            None => self.not_settled(tries.nobody(), effects),
        }
    }

    pub(super) fn paying(&mut self, mut tries: Tries, event: Event, now: Millis, effects: &mut Vec<Effect>) {
        let Event::Paid { status, body } = event else {
            self.gone |= matches!(event, Event::Gone);
            self.phase = Phase::Paying(tries);
            return;
        };
        let verb = self.case.purse.payment.as_ref().map_or(Verb::Verify, verb);
        match tries.hears(verb, outcome(verb, status, &body)) {
            None => self.ask_facilitator(tries, effects),
            Some(done @ Outcome::Done { .. }) => {
                let tells = verb == Verb::Settle || matches!(done, Outcome::Done { channel: Some(_), .. });
                // Who leaves a channel may be gone with it before this call is claimed.
                let most = self
                    .case
                    .purse
                    .payment
                    .as_ref()
                    .and_then(|paid| Some(paid.voucher.as_ref()?.most))
                    .unwrap_or_default();
                let leaves = matches!(&done, Outcome::Done { channel: Some(channel), .. }
                    if channel.leaving > 0 || verb == Verb::Settle && channel.balance < most);
                self.paid = tells.then_some(done);
                if leaves {
                    let text = "The channel holds too little, or its withdrawal was requested. Nothing was charged. Pay otherwise.";
                    self.ask_for_payment(
                        Some(Fault::new(402, "payment_required", "x402_channel_leaving", text)),
                        effects,
                    );
                    self.void(effects);
                } else if self.gone {
                    self.void(effects);
                } else {
                    self.begin(now, effects);
                }
            }
            Some(other) => self.not_settled(other, effects),
        }
    }

    /// The payment did not come through, or nobody knows: no work is done for it.
    fn not_settled(&mut self, outcome: Outcome, effects: &mut Vec<Effect>) {
        let upfront = self.case.purse.payment.as_ref().is_some_and(|paid| verb(paid) == Verb::Settle);
        if let Outcome::Failed { reason } = &outcome {
            let text = format!("The payment could not be taken ({reason}). Nothing was charged.");
            let fault = Fault::new(402, "payment_required", "x402_settlement_failed", text);
            self.ask_for_payment(Some(fault), effects);
            if let Some(Effect::Reply(reply)) = effects.last_mut() {
                self.add_settlement(&outcome, reply);
            }
        } else {
            let text = if upfront {
                "It is not known yet whether the payment was settled. Send the same payment again in a moment: it is taken once."
            } else {
                "The payment could not be checked. Nothing was charged. Send it again in a moment."
            };
            self.refuse(&Fault::unavailable("x402_settlement_unknown", text).retry_after(2), effects);
        }
        // Of a payment that was only looked at, nothing is open.
        self.paid = (upfront || outcome != Outcome::Unknown).then_some(outcome);
        self.void(effects);
    }

    /// The payment came before, with this very request: what became of it is told, no work is done twice.
    pub(super) fn tell_receipt(&mut self, request_id: &str, transaction: String, effects: &mut Vec<Effect>) {
        let told = json!({
            "object": "payment.used", "request_id": request_id, "receipt": format!("/v1/receipts/{request_id}"), "transaction": transaction,
        });
        let headers = super::base_headers(self.case.surface, &self.case.request_id, "application/json");
        let mut reply = Reply { status: 200, headers, body: ReplyBody::Whole(written(&told).into_bytes()) };
        self.add_settlement(&Outcome::Done { transaction, channel: None }, &mut reply);
        (self.phase, self.replied) = (Phase::Done, true);
        if !self.gone {
            effects.push(Effect::Reply(reply));
        }
    }

    /// Says in the head what became of the payment.
    pub(super) fn add_settlement(&self, outcome: &Outcome, reply: &mut Reply) {
        reply.headers.extend(self.settlement(outcome));
    }

    /// The header that says what became of the payment, for its generation of clients.
    pub(super) fn settlement(&self, outcome: &Outcome) -> Option<(&'static str, String)> {
        let paid = self.case.purse.payment.as_ref()?;
        let name = if paid.version > 1 { "payment-response" } else { "x-payment-response" };
        Some((name, crate::base64::padded(written(&paid.settlement(outcome)).as_bytes())))
    }

    /// The header for a payment that was settled before the work.
    pub(super) fn upfront_settlement(&self) -> Option<(&'static str, String)> {
        let paid = self.case.purse.payment.as_ref().filter(|paid| paid.is_upfront());
        self.settlement(self.paid.as_ref().filter(|_| paid.is_some())?)
    }

    /// The same, or of a deposit, where the work came to nothing.
    pub(super) fn settled_before_work(&self, cost: Nanos) -> Option<(&'static str, String)> {
        let deposited = || matches!(self.paid, Some(Outcome::Done { .. }));
        self.upfront_settlement().or_else(|| deposited().then(|| self.channel_settlement(cost))?)
    }

    /// The same for a call of a channel, whose client goes on from there: once its cost is known.
    pub(super) fn channel_settlement(&self, cost: Nanos) -> Option<(&'static str, String)> {
        let told = self.channel_after(cost)?;
        Some(("payment-response", crate::base64::padded(written(&told).as_bytes())))
    }

    /// How a channel is after a call of this cost.
    fn channel_after(&self, cost: Nanos) -> Option<Value> {
        let paid = self.case.purse.payment.as_ref()?;
        let (voucher, grant) = (paid.voucher.as_ref()?, self.grant.as_ref()?);
        let (charged, known) = grant.channel?;
        let (transaction, told) = match &self.paid {
            Some(Outcome::Done { transaction, channel }) => (transaction.as_str(), channel.unwrap_or(known)),
            _ => ("", known),
        };
        let units = units_of(cost).min(paid.units);
        let state = channel_told(&voucher.channel, told, charged.saturating_add(units));
        let amount = if voucher.deposit > 0 { voucher.deposit.to_string() } else { String::new() };
        Some(json!({
            "success": true, "transaction": transaction, "network": paid.network, "payer": paid.payer, "amount": amount,
            "extra": {"channelState": state, "chargedAmount": units.to_string()},
        }))
    }

    /// What of the payment is known once the charge is: for the comment a stream ends with.
    pub(super) fn payment_told(&self, cost: Nanos) -> Option<Value> {
        let paid = self.case.purse.payment.as_ref()?;
        let mut told = json!({
            "scheme": paid.scheme, "network": paid.network, "asset": paid.asset, "payer": paid.payer, "amount_usd": paid.amount(),
        });
        let members = told.as_object_mut()?;
        match &self.paid {
            Some(Outcome::Done { transaction, .. }) if paid.is_upfront() => {
                put(members, "transaction", transaction.as_str().into());
                put(members, "credited_usd", json!(paid.amount().minus(cost)));
            }
            _ if paid.scheme == Scheme::Upto => put(members, "settles_usd", json!(payment::nanos_of(units_of(cost)))),
            _ => {}
        }
        if let Some(channel) = self.channel_after(cost) {
            put(members, "settlement", channel);
        }
        Some(told)
    }
}

fn verb(paid: &Payment) -> Verb {
    let deposits = paid.voucher.as_ref().is_some_and(|voucher| voucher.deposit > 0);
    if paid.is_upfront() || deposits { Verb::Settle } else { Verb::Verify }
}

/// A URL without its query, where some clients put a key.
pub fn plain_url(url: &str) -> &str {
    url.split_once('?').map_or(url, |(plain, _)| plain)
}
