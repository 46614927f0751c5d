//! Payments of a wallet: each nonce claimed once, for one request; and what has to be settled, or found out, after the call.
//!
//! ```text
//! Open ──▶ Used         charged; what upfront payments have beyond it is balance
//!      ──▶ Credited     settled, and its call came to nothing: the money is balance, the same payment may try again
//!      ──▶ Due ──▶ Used charged; to be settled now
//!      ──▶ Unknown      asked to be settled, nobody knows: settled again and looked up on chain, until it is Credited or Dead
//!      ──▶ Dead         never settled; what it owes stays owed
//! ```
//!
//! A payment that only was looked at, and whose call came to nothing, is forgotten: nothing moved.
use super::{
    Account, Booking, Hold, Write, alerts,
    channels::{self, Channel},
    letter::{Claim, Refusal, Unfit},
    record, sight, topups,
};
use crate::{
    id::Scope,
    json::{self, json},
    ledger::{EntryKind, Leg, transfer},
    money::Nanos,
    payment::{
        Payment, Scheme,
        batch::OnChain,
        evm::Address,
        facilitator::{Outcome, UNKNOWN, Verb, outcome},
        nanos_of, node_of, units_of,
    },
    table::{Queue, Table},
    time::Millis,
};
use serde::Serialize;
use serde_json::Value;

/// What a wallet may owe at most that is settled after the work.
const EXPOSURE_MAX: Nanos = Nanos(2_000_000_000);
/// A payment is remembered for so long after it could be settled last; a sign-in, after it could be shown last.
const KEPT_MS: u64 = 3_600_000;
const SIGN_IN_KEPT_MS: u64 = 60_000;
/// After its end, a payment that was not seen on chain for so long will not be.
pub(super) const LATE_MS: u64 = 120_000;
/// A transaction that was told of and is not on chain after so many looks, twice as far apart each, was none.
const LOOKS: u32 = 8;
/// Where looking for a transfer begins, in blocks before the head at the first look.
const BLOCKS_BACK: u64 = 60;
/// After an answer that was none.
const NO_ANSWER_MS: u64 = 60_000;
/// A payment that was refused is looked for so often, over some seconds.
const REFUSED_LOOKS: u32 = 3;
/// Payments that are remembered at once: a kilobyte or three each.
const CLAIMS_MAX: usize = 10_000;
/// Asked at once.
const AT_ONCE: usize = 20;

/// How long a network takes for a block.
fn block_ms(network: &str) -> u64 {
    match network {
        "eip155:42161" | "eip155:421614" => 250,
        "eip155:1" | "eip155:11155111" => 12_000,
        _ => 2_000,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    #[default]
    Open,
    Unknown,
    Due,
    Credited,
    Used,
    Dead,
}

json::words!(State {
    Open = "open", Unknown = "unknown", Due = "due", Credited = "credited", Used = "used", Dead = "dead",
});

/// A payment that was claimed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Claimed {
    pub(super) request_id: String,
    pub(super) request_hash: String,
    pub(super) state: State,
    pub(super) payment: Payment,
    /// What is to be settled, or was, in atomic units.
    pub(super) units: u64,
    /// What moved it; empty where nothing has.
    pub(super) transaction: String,
    /// Why it is dead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    /// The transaction was seen on chain.
    pub(super) seen: bool,
    pub(super) tries: u32,
    /// How often a settlement was told of that was none.
    pub(super) rounds: u32,
    /// It goes the other way: the payer gets its balance back.
    pub(super) refunds: bool,
    /// The block from which its transfer is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from_block: Option<u64>,
    /// When it was claimed: nothing moved before that.
    pub(super) since: Millis,
    /// How often a facilitator was asked from here to settle it, whether or not it answered.
    pub(super) asked: u32,
    /// Its call was served.
    pub(super) worked: bool,
    /// The chain can be asked about it.
    pub(super) looks: bool,
    /// When something has to be done about it.
    pub(super) next_at: Millis,
}

json::members!(default Claimed {
    request_id, request_hash, state, payment, units, transaction, reason, seen, tries, rounds, refunds, from_block, since,
    asked, worked, looks, next_at,
});

/// What is known of a wallet's payments, and when something has to be done about one.
#[derive(Debug, Default)]
pub(super) struct Payments {
    /// By nonce.
    pub(super) claims: Table<String, Claimed>,
    /// By id.
    pub(super) channels: Table<String, Channel>,
    pub(super) dues: Queue<(Millis, String)>,
}

impl Payments {
    /// What was read is looked at when it is time.
    pub(super) fn take_up(&mut self) {
        for (nonce, claimed) in self.claims.iter() {
            self.dues.insert((claimed.next_at, nonce.clone()));
        }
        for (id, channel) in self.channels.iter() {
            if let Some(at) = channel.next_at() {
                self.dues.insert((at, channels::due_name(id)));
            }
        }
    }
}

/// Who is asked: of the shell, which knows the worker's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlers {
    pub facilitators: Vec<String>,
    /// Networks, and where each can be looked at; empty where nobody can be asked.
    pub rpc_urls: Vec<(String, String)>,
    pub pay_to: Address,
}

impl Settlers {
    /// Where a network can be looked at; empty for nowhere.
    fn rpc_of(&self, network: &str) -> &str {
        node_of(&self.rpc_urls, network)
    }
}

/// A request about a payment: its nonce and the step come back with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    pub nonce: String,
    pub step: &'static str,
    pub url: String,
    pub body: String,
    /// Whose signatures belong in the body, where the digests stand.
    pub signer: Option<Address>,
}

impl Inquiry {
    /// As a request for the plumbing, which signs it by the key of that place among ours, or by none.
    #[must_use]
    pub fn request(&self, ours: &dyn Fn() -> Vec<Address>) -> Value {
        let headers = json!({"content-type": "application/json"});
        let place = self.signer.and_then(|signer| ours().iter().position(|ours| *ours == signer));
        json!({"nonce": self.nonce, "step": self.step, "url": self.url, "headers": headers, "body": self.body, "key": place})
    }
}

impl Claimed {
    fn is_exposed(&self) -> bool {
        self.payment.scheme == Scheme::Upto && matches!(self.state, State::Open | State::Due)
    }

    /// Whether an answer to this step is still of use: it may be late.
    fn waits_for(&self, step: &str) -> bool {
        match self.state {
            State::Unknown | State::Due => step != "receipt",
            State::Used | State::Credited => step == "receipt" && !self.seen && !self.transaction.is_empty(),
            State::Open | State::Dead => false,
        }
    }

    /// A while until the next try, twice as long each time, up to four minutes.
    fn later(&self, now: Millis) -> Millis {
        now.after(1_000 << self.tries.min(8))
    }

    fn ends(&self) -> Millis {
        Millis(self.payment.valid_before.saturating_mul(1_000))
    }

    /// Until when it has to be known.
    fn kept_until(&self) -> Millis {
        self.ends().after(if self.payment.scheme == Scheme::Balance { SIGN_IN_KEPT_MS } else { KEPT_MS })
    }

    /// What is to be asked next, if anything.
    fn inquiry(&self, nonce: &str, to: Address, settlers: &Settlers) -> Option<Inquiry> {
        let url = settlers.rpc_of(&self.payment.network);
        let looks = !url.is_empty();
        // What a facilitator refused is only looked for: its payer was told that it is not charged.
        let refused = self.state == State::Unknown && !self.reason.is_empty();
        let rpc = |step, method: &str, params: Value| {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            Some(Inquiry {
                nonce: nonce.to_owned(),
                step,
                url: url.to_owned(),
                body: json::written(&body),
                signer: None,
            })
        };
        match self.state {
            State::Used | State::Credited if looks && !self.seen && !self.transaction.is_empty() => {
                rpc("receipt", "eth_getTransactionReceipt", json!([self.transaction]))
            }
            State::Unknown | State::Due if looks && (refused || self.tries % 2 == 1) => match self.from_block {
                None => rpc("height", "eth_blockNumber", json!([])),
                Some(block) => {
                    let topics = sight::topics(&self.payment, to);
                    let block = format!("{block:#x}");
                    rpc(
                        "logs",
                        "eth_getLogs",
                        json!([{"address": self.payment.asset, "topics": topics, "fromBlock": block}]),
                    )
                }
            },
            State::Unknown if refused => None,
            State::Unknown | State::Due => {
                let carriers = self.payment.carriers(&settlers.facilitators);
                let url = carriers.get((self.tries as usize / 2).checked_rem(carriers.len())?)?;
                let call = self.payment.call(Verb::Settle, url, self.units);
                Some(Inquiry { nonce: nonce.to_owned(), step: "settle", url: call.url, body: call.body, signer: None })
            }
            _ => None,
        }
    }
}

/// The call of what was only looked at has ended.
fn end_looked_at(mut claimed: Claimed, spent: Option<Nanos>, paid: Option<Outcome>, now: Millis) -> Option<Claimed> {
    claimed.next_at = now;
    match (spent, paid) {
        (Some(spent), _) => {
            // What it costs beyond what may be settled is the balance's.
            claimed.units = units_of(spent).min(claimed.payment.units);
            let settles = claimed.units > 0 && claimed.payment.scheme == Scheme::Upto;
            claimed.state = if settles { State::Due } else { State::Used };
            claimed.reason.clear();
        }
        (None, Some(Outcome::Failed { reason })) => (claimed.state, claimed.reason) = (State::Dead, reason),
        (None, _) => return None,
    }
    Some(claimed)
}

impl Account {
    /// Whether a payment may begin a call, and what it promises beside the balance.
    pub(super) fn admits_payment(&self, claim: Option<&Claim>, now: Millis) -> Result<Nanos, Refusal> {
        let Some(Claim { payment, request_hash }) = claim else { return Ok(Nanos::ZERO) };
        if let Some(voucher) = &payment.voucher {
            return self.admits_voucher(payment, voucher, now);
        }
        let unfit = |unfit| Err(Refusal::Payment(unfit));
        if self.payments.claims.len() >= CLAIMS_MAX && !self.payments.claims.contains_key(&payment.nonce) {
            return Err(Refusal::Overloaded);
        }
        if let Some(known) = self.payments.claims.get(&payment.nonce) {
            if known.request_hash != *request_hash {
                return unfit(Unfit::Other);
            }
            return match known.state {
                State::Open => unfit(Unfit::Busy),
                State::Unknown if known.reason.is_empty() => unfit(Unfit::Pending),
                State::Unknown | State::Dead => unfit(Unfit::Dead { reason: known.reason.clone() }),
                State::Due | State::Used => {
                    let (request_id, transaction) = (known.request_id.clone(), known.transaction.clone());
                    unfit(Unfit::Used { request_id, transaction })
                }
                // Its money is in the balance.
                State::Credited => Ok(Nanos::ZERO),
            };
        }
        match payment.doubt.as_str() {
            "" => {}
            UNKNOWN => return unfit(Unfit::Pending),
            reason => return unfit(Unfit::Dead { reason: reason.to_owned() }),
        }
        if payment.scheme == Scheme::Upto {
            let exposed: Vec<&Claimed> = self.payments.claims.values().filter(|claimed| claimed.is_exposed()).collect();
            // Who must allow Permit2 first signs with a number that counts up: a second payment would not fit any more.
            if payment.sponsored && exposed.iter().any(|claimed| claimed.payment.sponsored) {
                return unfit(Unfit::Busy);
            }
            let owed: Nanos = exposed.iter().map(|claimed| claimed.payment.amount()).sum();
            if owed.plus(payment.amount()) > EXPOSURE_MAX {
                return unfit(Unfit::Exposed);
            }
        }
        Ok(payment.amount())
    }

    /// The call of a payment begins. Tells whether it has still to be settled or looked at, and how its channel is.
    pub(super) fn begin_payment(
        &mut self,
        claim: Claim,
        request_id: &str,
        until: Millis,
        now: Millis,
    ) -> (bool, Option<(u64, OnChain)>) {
        self.begin_wallet(&claim.payment, now);
        if claim.payment.voucher.is_none() {
            return (self.claim(claim, request_id, until, now), None);
        }
        let (pays, channel) = self.open_channel(claim, request_id, until, now);
        (pays, Some(channel))
    }

    /// The call of a payment begins. Tells whether the payment has still to be settled or looked at.
    pub(super) fn claim(&mut self, claim: Claim, request_id: &str, until: Millis, now: Millis) -> bool {
        let Claim { payment, request_hash } = claim;
        let nonce = payment.nonce.clone();
        let units = payment.units;
        let fresh = Claimed { request_hash, payment, units, since: now, ..Claimed::default() };
        // What has arrived stays what it was.
        let known = self.payments.claims.get(&nonce).cloned().unwrap_or(fresh);
        let pays = known.transaction.is_empty() && known.payment.scheme != Scheme::Balance;
        let request_id = request_id.to_owned();
        self.keep_claim(nonce, Claimed { request_id, state: State::Open, next_at: until, ..known });
        pays
    }

    pub(super) fn keep_claim(&mut self, nonce: String, claimed: Claimed) {
        self.news.push(record("payment", &nonce, Some(&claimed)));
        self.take_claim(&nonce);
        self.payments.dues.insert((claimed.next_at, nonce.clone()));
        self.payments.claims.insert(nonce, claimed);
    }

    fn take_claim(&mut self, nonce: &str) {
        if let Some(known) = self.payments.claims.remove(nonce) {
            self.payments.dues.remove(&(known.next_at, nonce.to_owned()));
        }
    }

    fn drop_claim(&mut self, nonce: &str) {
        self.take_claim(nonce);
        self.news.push(Write::Record { kind: "payment", id: nonce.to_owned(), body: None });
    }

    /// What upto payments are about to bring: it covers the charges that are owed for them.
    pub(super) fn owed(&self) -> Nanos {
        let due = self.payments.claims.values().filter(|claimed| claimed.state == State::Due && !claimed.refunds);
        // What was refused once is a debt.
        let due = due.filter(|claimed| claimed.reason.is_empty());
        due.map(|claimed| nanos_of(claimed.units)).sum()
    }

    /// Whether it is looked for a payment on chain, or may be.
    fn is_searching(&self) -> bool {
        self.payments.claims.values().any(|claimed| match claimed.state {
            State::Open | State::Unknown | State::Due => true,
            // What was told of may be taken back.
            State::Used | State::Credited => claimed.looks && !claimed.seen && !claimed.transaction.is_empty(),
            State::Dead => false,
        })
    }

    /// Whether another payment was moved by a transaction.
    fn moved_another(&self, transaction: &str, nonce: &str) -> bool {
        self.payments.claims.iter().any(|(other, claimed)| other != nonce && claimed.transaction == transaction)
    }

    /// The call of a payment has ended, and has cost so much with all its attempts; none where it came to nothing. What was paid is
    /// booked, what is to be settled is remembered.
    pub(super) fn end_payment(
        &mut self,
        request_id: &str,
        hold: &mut Hold,
        spent: Option<Nanos>,
        paid: Option<Outcome>,
        now: Millis,
    ) -> Vec<Write> {
        if hold.claim.starts_with(channels::NONCE) {
            return self.end_voucher(request_id, hold, spent, paid, now);
        }
        // It may have begun another call since.
        let known = self.payments.claims.get(&hold.claim).filter(|claimed| claimed.request_id == request_id);
        let Some(claimed) = known.cloned() else { return Vec::new() };
        let mut writes = Vec::new();
        let ended = if claimed.payment.is_upfront() {
            self.end_upfront(claimed, spent.is_some(), paid, now, &mut writes)
        } else {
            end_looked_at(claimed, spent, paid, now)
        };
        match ended {
            Some(claimed) => {
                if claimed.payment.is_upfront() && !claimed.transaction.is_empty() {
                    // What was promised is there: what is still held rests on the balance.
                    self.wallet.held = self.wallet.held.plus(hold.promised);
                    hold.promised = Nanos::ZERO;
                }
                self.keep_claim(hold.claim.clone(), claimed);
            }
            None => self.drop_claim(&hold.claim),
        }
        writes
    }

    fn end_upfront(
        &mut self,
        mut claimed: Claimed,
        worked: bool,
        paid: Option<Outcome>,
        now: Millis,
        writes: &mut Vec<Write>,
    ) -> Option<Claimed> {
        claimed.worked = worked;
        claimed.next_at = now.after(1_000);
        match paid {
            _ if !claimed.transaction.is_empty() => {}
            Some(Outcome::Done { transaction, .. }) if !self.moved_another(&transaction, &claimed.payment.nonce) => {
                claimed.transaction = transaction;
                writes.push(self.book_payment(&claimed, now));
            }
            // Where the alarm has asked too, it goes on.
            // Somebody else may have brought it to the chain: that is looked for, and nothing is settled any more.
            Some(Outcome::Failed { reason }) if claimed.state == State::Open => {
                return Some(Claimed { state: State::Unknown, reason, ..claimed });
            }
            // Nobody was asked to settle it.
            None if !worked && claimed.state == State::Open => return None,
            _ => {
                let state = if claimed.state == State::Dead { State::Dead } else { State::Unknown };
                return Some(Claimed { state, ..claimed });
            }
        }
        claimed.state = if worked { State::Used } else { State::Credited };
        Some(claimed)
    }

    /// What a payment brought is credit. There is no fee: its leg says so.
    fn book_payment(&mut self, claimed: &Claimed, now: Millis) -> Write {
        let amount = nanos_of(claimed.units);
        self.book_claim(claimed, "paid", amount, now)
    }

    pub(super) fn book_claim(&mut self, claimed: &Claimed, what: &str, amount: Nanos, now: Millis) -> Write {
        let mut legs = transfer(claimed.payment.source(), self.wallet_account(), amount);
        legs.push(Leg { account: "income:fees".to_owned(), amount_usd: Nanos::ZERO });
        let note = format!("x402 {} {}", claimed.payment.scheme.word(), claimed.transaction);
        let round = if claimed.rounds == 0 { String::new() } else { claimed.rounds.to_string() };
        let id = format!("{}#{what}{round}", claimed.request_id);
        let entry = self.entry(id, EntryKind::Credit, amount, legs, None, Some(note), now);
        let write = self.book(entry, Vec::new(), Nanos::ZERO, now);
        if amount > Nanos::ZERO && self.is_organization() {
            let data = json!({"amount_usd": amount, "available_usd": self.wallet.available()});
            self.raise("wallet.topped_up", vec![Scope::Organization], data, alerts::To::All, now);
        }
        write
    }

    /// What has to be asked about payments now. What is over is forgotten.
    pub fn inquiries(&mut self, now: Millis, settlers: &Settlers) -> (Vec<Inquiry>, Vec<Write>) {
        let mut due = Vec::from_iter(self.charge_due(now));
        while let Some((at, nonce)) = self.payments.dues.first().cloned() {
            if at > now || due.len() >= AT_ONCE {
                break;
            }
            if nonce.starts_with(channels::NONCE) {
                self.payments.dues.take_first(|_| true);
                due.extend(self.channel_inquiry(&nonce, now, settlers));
                continue;
            }
            let Some(mut claimed) = self.payments.claims.get(&nonce).cloned() else {
                self.payments.dues.take_first(|_| true);
                continue;
            };
            if claimed.state == State::Open {
                if let Some(Booking::Held(hold)) = self.bookings.get(&claimed.request_id) {
                    // Its call was made larger, and is under way.
                    claimed.next_at = hold.settle_by.max(now.after(1_000));
                    self.keep_claim(nonce, claimed);
                    continue;
                }
                // Whoever had its call is gone.
                claimed.state = match claimed.payment.scheme {
                    Scheme::Balance => {
                        self.drop_claim(&nonce);
                        continue;
                    }
                    // Nobody said what it cost: it begins no other call.
                    Scheme::Upto => State::Dead,
                    _ if claimed.transaction.is_empty() => State::Unknown,
                    _ => State::Credited,
                };
                if claimed.state == State::Dead {
                    "abandoned".clone_into(&mut claimed.reason);
                }
            }
            claimed.looks = !settlers.rpc_of(&claimed.payment.network).is_empty();
            let to = if claimed.refunds { self.payer() } else { settlers.pay_to };
            match claimed.inquiry(&nonce, to, settlers) {
                Some(inquiry) => {
                    claimed.asked += u32::from(inquiry.step == "settle");
                    claimed.next_at = now.after(60_000);
                    due.push(inquiry);
                }
                // Its transaction must not be found for another payment.
                None if !claimed.transaction.is_empty() && self.is_searching() => claimed.next_at = now.after(KEPT_MS),
                None if now > claimed.kept_until() => {
                    self.drop_claim(&nonce);
                    continue;
                }
                None => claimed.next_at = claimed.kept_until().after(1).max(now.after(1_000)),
            }
            self.keep_claim(nonce, claimed);
        }
        (due, std::mem::take(&mut self.news))
    }

    /// Takes in what an inquiry came to; a status of 0 is no answer.
    pub fn answered(&mut self, nonce: &str, step: &str, status: u16, body: &[u8], now: Millis) -> Vec<Write> {
        let mut writes = Vec::new();
        if nonce.starts_with(channels::NONCE) {
            writes = self.channel_answered(nonce, step, status, body, now);
        } else if [topups::ASK, topups::LOOK].contains(&step) {
            writes = self.charge_answered(nonce, step, status, &json::read_bytes(body).unwrap_or_default(), now);
        } else if let Some(claimed) = self.payments.claims.get(nonce).filter(|claimed| claimed.waits_for(step)).cloned()
        {
            let told: Value = json::read_bytes(body).unwrap_or_default();
            // What is no answer says nothing: not that nothing is there.
            let result = told.get("result").filter(|_| status < 300);
            let claimed = match step {
                "settle" => self.settled(claimed, outcome(Verb::Settle, status, body), now, &mut writes),
                "receipt" => self.looked(claimed, result, now, &mut writes),
                "height" => {
                    let height = result.and_then(Value::as_str).and_then(|text| text.strip_prefix("0x"));
                    let height = height.and_then(|text| u64::from_str_radix(text, 16).ok());
                    let tries = claimed.tries + u32::from(height.is_none());
                    let back = now.since(claimed.since) / block_ms(&claimed.payment.network) + BLOCKS_BACK;
                    let from_block = height.map(|height| height.saturating_sub(back));
                    let next_at = if height.is_some() { now } else { claimed.later(now) };
                    Claimed { tries, from_block, next_at, ..claimed }
                }
                _ => self.searched(claimed, result, now, &mut writes),
            };
            if claimed.refunds && claimed.state == State::Dead {
                // It never left: it is the payer's again.
                writes.push(self.book_claim(&claimed, "returned", nanos_of(claimed.units), now));
            }
            self.keep_claim(nonce.to_owned(), claimed);
        }
        writes.append(&mut self.news);
        writes
    }

    fn settled(&mut self, mut claimed: Claimed, outcome: Outcome, now: Millis, writes: &mut Vec<Write>) -> Claimed {
        claimed.tries += 1;
        claimed.next_at = claimed.later(now);
        match outcome {
            Outcome::Done { transaction, .. } => self.arrived(claimed, transaction, now, writes),
            // It may have the money later: until its end it is asked again.
            Outcome::Failed { reason } if claimed.state == State::Due => {
                let claimed = Claimed { reason, ..claimed };
                match claimed.looks {
                    // Nobody else can have settled it.
                    _ if claimed.asked == 1 && now > claimed.ends() => Claimed { state: State::Dead, ..claimed },
                    true => claimed,
                    false => self.given_up(claimed, now),
                }
            }
            // Where the chain can be asked, it has the last word.
            _ if claimed.looks => claimed,
            Outcome::Failed { .. } | Outcome::Unknown => self.given_up(claimed, now),
        }
    }

    /// The money is there.
    pub(super) fn arrived(
        &mut self,
        claimed: Claimed,
        transaction: String,
        now: Millis,
        writes: &mut Vec<Write>,
    ) -> Claimed {
        if self.moved_another(&transaction, &claimed.payment.nonce) {
            return claimed;
        }
        // What came for no call has done what it was for.
        let done = claimed.state == State::Due || claimed.worked || self.is_organization();
        let state = if done { State::Used } else { State::Credited };
        let claimed =
            Claimed { transaction, state, tries: 0, reason: String::new(), next_at: now.after(1_000), ..claimed };
        if !claimed.refunds {
            writes.push(self.book_payment(&claimed, now));
        }
        claimed
    }

    /// What could have been settled until long ago, and was not seen, is dead.
    fn given_up(&self, claimed: Claimed, now: Millis) -> Claimed {
        // What we send is never given up unseen: it would be paid twice.
        let blind = claimed.refunds && !claimed.looks;
        if blind || now <= claimed.ends().after(LATE_MS) || claimed.tries < 2 {
            return claimed;
        }
        Claimed { state: State::Dead, reason: "expired".to_owned(), ..claimed }
    }

    fn searched(
        &mut self,
        mut claimed: Claimed,
        result: Option<&Value>,
        now: Millis,
        writes: &mut Vec<Write>,
    ) -> Claimed {
        claimed.tries += 1;
        claimed.next_at = claimed.later(now);
        let known = |hash: &str| self.payments.claims.values().any(|claimed| claimed.transaction == hash);
        let logs = result.and_then(Value::as_array);
        // One that another payment was said to be moved by, and that was not looked at yet, may turn out to be this one's.
        let is_seen = |hash: &str| {
            let moved = self.payments.claims.values().find(|claimed| claimed.transaction == hash);
            moved.is_some_and(|claimed| claimed.seen)
        };
        let is_disputed =
            logs.is_some_and(|logs| sight::transfer(&claimed.payment, claimed.units, logs, &is_seen).is_some());
        match logs.map(|logs| sight::transfer(&claimed.payment, claimed.units, logs, &known)) {
            Some(Some(transaction)) => self.arrived(claimed, transaction, now, writes),
            Some(None) if is_disputed => claimed,
            // Refused, and twice not there.
            Some(None)
                if !claimed.reason.is_empty() && claimed.state == State::Unknown && claimed.tries >= REFUSED_LOOKS =>
            {
                Claimed { state: State::Dead, ..claimed }
            }
            Some(None) => self.given_up(claimed, now),
            // Nobody told: that is no sign that it was not settled.
            None => claimed,
        }
    }

    /// Whether a transaction we were told of is on chain. One that never comes was none: what was booked for it is taken back, and
    /// the payment is settled once more.
    fn looked(
        &mut self,
        mut claimed: Claimed,
        result: Option<&Value>,
        now: Millis,
        writes: &mut Vec<Write>,
    ) -> Claimed {
        let Some(result) = result else { return Claimed { next_at: now.after(NO_ANSWER_MS), ..claimed } };
        claimed.tries += 1;
        claimed.next_at = claimed.later(now);
        let logs = result
            .get("logs")
            .and_then(Value::as_array)
            .filter(|_| result.get("status").and_then(Value::as_str) == Some("0x1"));
        let other = |hash: &str| self.moved_another(hash, &claimed.payment.nonce);
        if logs.and_then(|logs| sight::transfer(&claimed.payment, claimed.units, logs, &other)).is_some() {
            // It is never sent again.
            claimed.payment.payload.clear();
            return Claimed { seen: true, next_at: now, ..claimed };
        }
        if claimed.tries < LOOKS {
            return claimed;
        }
        let amount = Nanos(-nanos_of(claimed.units).0);
        if !claimed.refunds {
            writes.push(self.book_claim(&claimed, "unpaid", amount, now));
        }
        let state = if claimed.payment.is_upfront() && !claimed.refunds { State::Unknown } else { State::Due };
        let rounds = claimed.rounds + 1;
        Claimed { state, transaction: String::new(), tries: 0, rounds, next_at: now, ..claimed }
    }
}
