//! Payment channels of a wallet: vouchers of one channel follow each other, so one call is under way at a time; what was charged is
//! claimed on chain from time to time, and swept to us.
use super::{
    Account, Booking, Hold, Turn, Write,
    letter::{Answer, Claim, Refusal, Unfit},
    payments::{Inquiry, Settlers},
    record,
};
use crate::{
    json::{self, json},
    ledger::{EntryKind, Leg, transfer},
    money::Nanos,
    payment::{
        Payment,
        batch::{self, OnChain, Voucher},
        evm::Address,
        facilitator::{Outcome, Verb, outcome},
        nanos_of, units_of,
    },
    time::Millis,
};
use serde::Serialize;
use serde_json::Value;

/// So much that was charged is claimed at once, where it may be given back without us.
const CLAIM_FROM: Nanos = Nanos(1_000_000_000);
/// How long what is on chain is believed: a payer takes a day to leave.
const FRESH_MS: u64 = 300_000;
/// What may be charged to a channel and not claimed without a look at the chain.
const UNSEEN_MAX: Nanos = Nanos(100_000_000);
/// A channel is given back at most so many times in vain, or refused by so many facilitators.
const LEAVE_TRIES: u32 = 9;
const LEAVE_REFUSALS: u32 = 2;
/// What failed is tried again, later each time, up to an hour; after a day and a half of that, once a day.
const HOURLY_FROM: u32 = 12;
const DAILY_FROM: u32 = 48;

pub(super) fn pause_ms(tries: u32) -> u64 {
    if tries < DAILY_FROM { 1_000 << tries.min(HOURLY_FROM) } else { 86_400_000 }
}

/// A channel, as far as it was used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Channel {
    network: String,
    asset: Address,
    payer: Address,
    /// Who settles it, in the order they are asked.
    facilitators: Vec<String>,
    /// The last voucher that was charged by.
    voucher: Voucher,
    /// All that was charged, in atomic units.
    pub(super) charged: u64,
    pub(super) on_chain: OnChain,
    /// What is on chain has to be asked before the next call; and when it was asked last.
    pub(super) stale: bool,
    seen_at: Millis,
    /// The call under way and its payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<Box<Claim>>,
    /// When whoever has that call must have ended it.
    open_until: Millis,
    request_id: String,
    /// What a claim under way is for.
    claiming: u64,
    claims: u64,
    /// What was claimed has still to be sent to us.
    sweeps: bool,
    /// Its payer wants back what is left, or only so much of it.
    leaves: bool,
    gives: u64,
    /// We have signed that it is given back, as the refund of that number: until it is, whoever has that can do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<u64>,
    tries: u32,
    /// When what was charged has to be claimed, or swept.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim_at: Option<Millis>,
}

json::members!(default Channel {
    network, asset, payer, facilitators, voucher, charged, on_chain, stale, seen_at, open, open_until, request_id, claiming, claims, sweeps,
    leaves, gives, released, tries, claim_at,
});

impl Channel {
    /// When something has to be done about it.
    pub(super) fn next_at(&self) -> Option<Millis> {
        self.claim_at
    }

    /// What was charged and is not claimed yet: nothing before a voucher was charged by.
    fn owes(&self) -> u64 {
        if self.voucher.signature.is_empty() { 0 } else { self.charged.saturating_sub(self.on_chain.claimed) }
    }

    /// Whether only we can give it back before the payer's delay is over.
    fn is_ours(&self, own: bool) -> bool {
        own && self.released != Some(self.on_chain.refunds)
    }

    /// Whether it may have been given back since it was looked at: what was signed for that may be used, or not.
    fn is_unsure(&self) -> bool {
        self.stale && !self.leaves && self.released == Some(self.on_chain.refunds)
    }

    /// What of it is whose.
    pub(super) fn balance_told(&self, id: &str) -> Value {
        let usd = nanos_of;
        json!({
            "id": id,
            "deposited_usd": usd(self.on_chain.balance),
            "charged_usd": usd(self.charged),
            "claimed_usd": usd(self.on_chain.claimed),
            "open": self.open.is_some(),
        })
    }

    /// What its payer's client has to know to sign the next voucher.
    fn told(&self, id: &str) -> Value {
        json!({
            "channelState": channel_told(id, self.on_chain, self.charged),
            "voucherState": {"signedMaxClaimable": self.voucher.most.to_string(), "signature": self.voucher.signature},
        })
    }
}

/// A channel's state as x402 tells it.
#[must_use]
pub fn channel_told(id: &str, on_chain: OnChain, charged: u64) -> Value {
    json!({
        "channelId": id,
        "balance": on_chain.balance.to_string(),
        "totalClaimed": on_chain.claimed.to_string(),
        "withdrawRequestedAt": on_chain.leaving,
        "refundNonce": on_chain.refunds.to_string(),
        "chargedCumulativeAmount": charged.to_string(),
    })
}

impl Account {
    /// Whether a voucher goes on where the channel is.
    pub(super) fn admits_voucher(&self, payment: &Payment, voucher: &Voucher, now: Millis) -> Result<Nanos, Refusal> {
        let known = self.payments.channels.get(&voucher.channel);
        // What is being given back cannot be used.
        if known.is_some_and(|channel| channel.leaves || self.is_open(channel, now)) {
            return Err(Refusal::Payment(Unfit::Busy));
        }
        let unfit = |error: &str, channel: &Channel| {
            let error = format!("invalid_batch_settlement_evm_{error}");
            Err(Refusal::Payment(Unfit::Channel { error, told: channel.told(&voucher.channel) }))
        };
        if let Some(channel) = known {
            if channel.on_chain.leaving > 0 && now.since(channel.seen_at) <= FRESH_MS {
                return unfit("channel_withdrawal_pending", channel);
            }
            if voucher.most != channel.charged.saturating_add(payment.units) {
                return unfit("cumulative_amount_mismatch", channel);
            }
            if !channel.stale && voucher.most > channel.on_chain.balance.saturating_add(voucher.deposit) {
                return unfit("cumulative_exceeds_balance", channel);
            }
        }
        Ok(payment.amount())
    }

    /// Whether a call of a channel is under way, and may still end by itself: its hold may have been made larger since.
    fn is_open(&self, channel: &Channel, now: Millis) -> bool {
        let is_held = || matches!(self.bookings.get(&channel.request_id), Some(Booking::Held(_)));
        channel.open.is_some() && (channel.open_until > now || is_held())
    }

    /// Whether a call may still charge a channel: also one whose time is over, and of which nobody knows what became.
    fn may_charge(&self, channel: &Channel, now: Millis) -> bool {
        let is_unknown = || matches!(self.bookings.get(&channel.request_id), Some(Booking::Suspense { .. }));
        self.is_open(channel, now) || channel.open.is_some() && is_unknown()
    }

    /// A call of a channel begins. Tells whether the chain has to be asked first, and how the channel is.
    pub(super) fn open_channel(
        &mut self,
        claim: Claim,
        request_id: &str,
        until: Millis,
        now: Millis,
    ) -> (bool, (u64, OnChain)) {
        let Claim { payment, request_hash } = claim;
        let Some(voucher) = payment.voucher.clone() else { return (false, (0, OnChain::default())) };
        let known = self.payments.channels.get(&voucher.channel).cloned();
        // Of a call that nobody ended, nobody knows what became of it.
        let unsure = |channel: &Channel| {
            channel.stale || channel.open.is_some() || now.since(channel.seen_at) > FRESH_MS
            // Who has more at stake looks each time: a facilitator may give a channel back to whoever asks.
            || !channel.is_ours(voucher.own) && nanos_of(channel.owes().saturating_add(payment.units)) > UNSEEN_MAX
        };
        let pays = voucher.deposit > 0 || known.as_ref().is_none_or(unsure);
        let id = voucher.channel.clone();
        let mut channel = known.unwrap_or_else(|| Channel {
            network: payment.network.clone(),
            asset: payment.asset,
            payer: payment.payer,
            charged: voucher.most.saturating_sub(payment.units),
            stale: true,
            ..Channel::default()
        });
        // Whoever settled it before may have moved.
        channel.facilitators = payment.facilitators;
        let (payload, requirements, facilitators) = Default::default();
        let payment = Payment { payload, requirements, facilitators, ..payment };
        channel.open = Some(Box::new(Claim { payment, request_hash }));
        request_id.clone_into(&mut channel.request_id);
        channel.open_until = until;
        let told = (channel.charged, channel.on_chain);
        self.keep_channel(id, channel);
        (pays, told)
    }

    fn keep_channel(&mut self, id: String, channel: Channel) {
        self.news.push(record("channel", &id, Some(&channel)));
        self.take_channel(&id);
        if let Some(at) = channel.next_at() {
            self.payments.dues.insert((at, due_name(&id)));
        }
        self.payments.channels.insert(id, channel);
    }

    fn take_channel(&mut self, id: &str) {
        if let Some(at) = self.payments.channels.remove(id).and_then(|known| known.next_at()) {
            self.payments.dues.remove(&(at, due_name(id)));
        }
    }

    /// The call of a channel has ended: what it used is charged to the channel, and is credit that covers it.
    pub(super) fn end_voucher(
        &mut self,
        request_id: &str,
        hold: &Hold,
        spent: Option<Nanos>,
        paid: Option<Outcome>,
        now: Millis,
    ) -> Vec<Write> {
        let id = hold.claim.trim_start_matches(NONCE).to_owned();
        // Another call may have begun since.
        let known = self.payments.channels.get(&id).filter(|channel| channel.request_id == request_id);
        let Some(mut channel) = known.cloned() else { return Vec::new() };
        let Some(claim) = channel.open.take() else { return Vec::new() };
        let (payment, mut writes) = (claim.payment, Vec::new());
        let voucher = payment.voucher.clone().unwrap_or_default();
        match paid {
            Some(Outcome::Done { channel: Some(on_chain), .. }) => {
                writes.extend(self.look_at_channel(&mut channel, on_chain, now));
                if channel.charged == on_chain.claimed {
                    // Deposited, and nothing of it is owed: its payer can have it back by this voucher.
                    channel.voucher = voucher.clone();
                }
            }
            Some(Outcome::Done { .. } | Outcome::Unknown) => channel.stale = true,
            Some(Outcome::Failed { .. }) | None => {}
        }
        if let Some(charge) = spent {
            let units = units_of(charge).min(payment.units);
            channel.charged = channel.charged.saturating_add(units);
            channel.voucher = voucher;
            writes.extend((units > 0).then(|| self.book_charge(&channel, &payment.network, units, now)));
        }
        self.plan_claim(&mut channel, now);
        if channel.voucher.signature.is_empty() {
            // Nothing came of it, and what it said of itself is believed no further.
            self.take_channel(&id);
            self.news.push(Write::Record { kind: "channel", id, body: None });
        } else {
            self.keep_channel(id, channel);
        }
        writes
    }

    /// Takes in how a channel is on chain, as it was when a call began: what became of it since is not taken back. A claim that
    /// nobody told of is booked now.
    fn look_at_channel(&mut self, channel: &mut Channel, told: OnChain, now: Millis) -> Option<Write> {
        let known = channel.on_chain;
        channel.seen_at = now;
        channel.stale = told.claimed < known.claimed || told.refunds < known.refunds;
        let newer = if told.refunds < known.refunds { known } else { told };
        channel.on_chain = OnChain { claimed: told.claimed.max(known.claimed), ..newer };
        let units = told.claimed.saturating_sub(known.claimed);
        if units == 0 || channel.voucher.signature.is_empty() {
            return None;
        }
        channel.claims += 1;
        Some(self.book_claimed(channel, units, "", now))
    }

    /// A channel's charges are claimed once there are many, else after a while.
    fn plan_claim(&self, channel: &mut Channel, now: Millis) {
        channel.claim_at = match nanos_of(channel.owes()) {
            // What its payer waits for is not put off.
            _ if channel.leaves && channel.claiming == 0 => Some(now.after(1_000)),
            _ if channel.leaves => channel.claim_at,
            Nanos(0) => None,
            // Who leaves can take it all with it. A claim that was asked for has its answer first: it is for what was charged then.
            owed if channel.claiming == 0
                && (channel.on_chain.leaving > 0 || owed >= CLAIM_FROM && !channel.is_ours(channel.voucher.own)) =>
            {
                Some(now.after(1_000))
            }
            _ => channel.claim_at.or(Some(now.after(self.terms.claim_after_ms))),
        };
    }

    fn book_charge(&mut self, channel: &Channel, network: &str, units: u64, now: Millis) -> Write {
        let escrow = format!("asset:x402-channel:{network}:{}", channel.voucher.channel);
        let mut legs = transfer(escrow, self.wallet_account(), nanos_of(units));
        legs.push(Leg { account: "income:fees".to_owned(), amount_usd: Nanos::ZERO });
        let (id, note) = (format!("{}#paid", channel.request_id), Some("x402 batch-settlement".to_owned()));
        let entry = self.entry(id, EntryKind::Credit, nanos_of(units), legs, None, note, now);
        self.book(entry, Vec::new(), Nanos::ZERO, now)
    }

    /// The payer wants back what its channels hold beyond what was charged: they are closed as far as that, one by one.
    pub(super) fn leave_channels(&mut self, now: Millis) -> u64 {
        let mut left = 0;
        let channels: Vec<(String, Channel)> =
            self.payments.channels.iter().map(|(id, channel)| (id.clone(), channel.clone())).collect();
        for (id, channel) in channels {
            let rest = channel.on_chain.balance.saturating_sub(channel.charged);
            if rest > 0 && !channel.is_unsure() {
                left += rest;
                self.return_channel(id, channel, 0, now);
            }
        }
        left
    }

    /// A claim that was asked for has its answer first, and a call that is under way its end.
    fn return_channel(&mut self, id: String, channel: Channel, gives: u64, now: Millis) {
        let claim_at = if channel.claiming > 0 { channel.claim_at } else { Some(now) };
        self.keep_channel(id, Channel { leaves: true, gives, claim_at, ..channel });
    }

    /// The payer wants back what a channel holds, or so much of it, and shows by a voucher that it knows what was charged.
    #[inline(never)]
    pub(super) fn leave_channel(&mut self, payment: &Payment, now: Millis) -> Turn {
        let voucher = payment.voucher.clone().unwrap_or_default();
        let id = voucher.channel;
        let Some(channel) = self.payments.channels.get(&id).cloned() else {
            return Turn::refused(Refusal::NotFound { what: "channel".into() });
        };
        let error = match channel.on_chain.balance.saturating_sub(channel.charged).min(payment.units) {
            _ if voucher.most != channel.charged => "cumulative_amount_mismatch",
            // Until a call has seen the channel, what is signed now may be no good.
            _ if channel.is_unsure() => "refund_pending",
            // What was deposited for it is known once its call has ended.
            0 if self.is_open(&channel, now) => return Turn::refused(Refusal::Payment(Unfit::Busy)),
            0 => "refund_no_balance",
            _ => "",
        };
        if !error.is_empty() {
            let error = format!("invalid_batch_settlement_evm_{error}");
            let body = json!({"error": error, "channel": channel.told(&id)});
            return Turn::told(Answer::Told { status: 402, body });
        }
        self.return_channel(id, channel, payment.units, now);
        Turn::told(Answer::Told { status: 202, body: Value::Null })
    }

    /// What has to be done about a channel now.
    pub(super) fn channel_inquiry(&mut self, name: &str, now: Millis, settlers: &Settlers) -> Option<Inquiry> {
        let id = name.trim_start_matches(NONCE).to_owned();
        let mut channel = self.payments.channels.get(&id).cloned()?;
        if channel.claim_at.is_none_or(|at| at > now) {
            self.keep_channel(id, channel);
            return None;
        }
        let waits = channel.leaves && self.may_charge(&channel, now);
        if waits && channel.owes() == 0 && !channel.sweeps {
            // It is given back once its call has ended.
            channel.claim_at = Some(now.after(60_000));
            self.keep_channel(id, channel);
            return None;
        }
        let (step, payload) = if channel.leaves && !waits {
            channel.released = Some(channel.on_chain.refunds);
            ("leave", channel.voucher.leave(&channel.network, channel.charged, channel.on_chain, channel.gives))
        } else if channel.sweeps && (channel.tries == 0 || channel.owes() == 0) {
            // One that fails holds up no claim.
            ("sweep", json!({"type": "settle", "receiver": settlers.pay_to, "token": channel.asset}))
        } else {
            ("claim", channel.voucher.claim(&channel.network, channel.charged))
        };
        if step != "sweep" {
            channel.claiming = channel.charged;
        }
        channel.claim_at = Some(now.after(60_000));
        let body = batch::errand(&channel.network, channel.asset, settlers.pay_to, payload);
        // What is signed by us, anybody can carry, also who has come since; of older channels nobody is known.
        let known = &channel.facilitators;
        let anybody = channel.voucher.own || known.is_empty();
        let others = settlers.facilitators.iter().filter(|url| anybody && !known.contains(url));
        let carriers: Vec<&String> = known.iter().chain(others).collect();
        let carrier = carriers.get(channel.tries as usize % carriers.len().max(1));
        let url = carrier.map_or_default(|url| format!("{url}/settle"));
        let signer = channel.voucher.authorizer().filter(|_| step != "sweep");
        self.keep_channel(id, channel);
        Some(Inquiry { nonce: name.to_owned(), step, url, body: json::written(&body), signer })
    }

    /// Takes in what a claim, or a sweep, came to.
    pub(super) fn channel_answered(
        &mut self,
        name: &str,
        step: &str,
        status: u16,
        body: &[u8],
        now: Millis,
    ) -> Vec<Write> {
        let id = name.trim_start_matches(NONCE).to_owned();
        let Some(mut channel) = self.payments.channels.get(&id).cloned() else { return Vec::new() };
        let (mut writes, outcome) = (Vec::new(), outcome(Verb::Settle, status, body));
        match (step, outcome) {
            ("claim" | "leave", Outcome::Done { transaction, channel: told }) => {
                let left = (step == "leave").then_some(told).flatten();
                (channel.leaves, channel.stale) = (channel.leaves && step != "leave", channel.stale || step == "leave");
                channel.on_chain.balance = left.map_or(channel.on_chain.balance, |left| left.balance);
                channel.on_chain.refunds = left.map_or(channel.on_chain.refunds, |left| left.refunds);
                let claimed = channel.claiming.max(channel.on_chain.claimed);
                let units = claimed - channel.on_chain.claimed;
                // An answer that comes again says nothing of what was charged since.
                channel.claiming = 0;
                (channel.on_chain.claimed, channel.sweeps, channel.tries) = (claimed, true, 0);
                channel.claims += 1;
                channel.claim_at = Some(now);
                if units > 0 {
                    writes.push(self.book_claimed(&channel, units, &transaction, now));
                }
            }
            ("sweep", outcome) if is_swept(&outcome) => {
                (channel.sweeps, channel.tries) = (false, 0);
                channel.claim_at = channel.claim_at.filter(|_| channel.leaves);
                self.plan_claim(&mut channel, now);
            }
            // It was left before, without an answer, or its payer was faster: it is asked again before the next call. Another facilitator
            // may see it otherwise.
            ("leave", Outcome::Failed { .. }) if !channel.voucher.own || channel.tries >= LEAVE_REFUSALS => {
                (channel.leaves, channel.stale, channel.tries) = (false, true, 0);
                (channel.claiming, channel.claim_at) = (0, None);
                self.plan_claim(&mut channel, now);
            }
            _ => {
                channel.stale = true;
                channel.claiming = 0;
                channel.tries += 1;
                // One that nobody can give back is to be of use again.
                channel.leaves &= step != "leave" || channel.tries < LEAVE_TRIES;
                channel.claim_at = Some(now.after(pause_ms(channel.tries)));
            }
        }
        self.keep_channel(id, channel);
        writes
    }

    /// What was claimed is ours now; the payer's balance does not move.
    fn book_claimed(&mut self, channel: &Channel, units: u64, transaction: &str, now: Millis) -> Write {
        let escrow = format!("asset:x402-channel:{}:{}", channel.network, channel.voucher.channel);
        let ours = format!("asset:x402:{}:{}", channel.network, channel.asset);
        // What we have stands below zero, as everywhere: what came in to us went out of the channel.
        let legs = transfer(ours, escrow, nanos_of(units));
        let id = format!("{}#claimed{}", channel.request_id, channel.claims);
        let note = Some(format!("x402 batch-settlement claim {transaction}"));
        let entry = self.entry(id, EntryKind::Credit, Nanos::ZERO, legs, None, note, now);
        self.book(entry, Vec::new(), Nanos::ZERO, now)
    }
}

/// Whether there is nothing left to sweep: another channel's sweep may have taken it along.
fn is_swept(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done { .. } => true,
        Outcome::Failed { reason } => reason.ends_with("nothing_to_settle"),
        Outcome::Unknown => false,
    }
}

/// What the nonces of channels begin with.
pub(super) const NONCE: &str = "channel:";

pub(super) fn due_name(id: &str) -> String {
    format!("{NONCE}{id}")
}
