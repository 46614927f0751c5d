//! Books of our own: what was held, served and charged, from the letters that arrived; and what the account booked, held against
//! them and against the chain. No figure here comes from the account.
use super::chain::{Chain, bare};
use megarouter::{
    account::{
        Write,
        letter::{ExtendLetter, Grant, HoldLetter, PostLetter, PostOutcome},
    },
    ledger::{Entry, EntryKind, GENESIS},
    money::Nanos,
    payment::{Payment, Scheme},
    time::Millis,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use crate::seen::Seen;

pub const SETTLE_MS: u64 = 1_200_000;
/// What a wallet may owe at most that is settled after the work.
const EXPOSURE: i64 = 2_000_000_000;
const UNIT: i64 = 1_000;
/// Alarms that are late, and facilitators that are down, are no longer so.
const LATE_MS: u64 = 4 * 3_600_000;

/// A call, as far as letters told of it.
#[derive(Clone, Debug)]
pub struct Call {
    pub payment: Payment,
    pub held: i64,
    pub until: Millis,
    pub began: bool,
    /// Nothing came of it.
    nothing: bool,
    closed: bool,
    /// Another call took its channel over.
    taken_over: bool,
    /// What it is charged, by the ids of its entries.
    charges: BTreeMap<String, i64>,
    /// What it is worth to its channel.
    credit: i64,
}

#[derive(Clone, Debug, Default)]
struct Channel {
    charged: u64,
    last: String,
    /// When it was charged to last, or begun.
    at: Millis,
}

/// A payment's row, as it was written last.
#[derive(Clone, Debug)]
pub struct Claim {
    pub state: String,
    refunds: bool,
    upto: bool,
    units: u64,
}

#[derive(Default)]
pub struct Books {
    pub calls: BTreeMap<String, Call>,
    /// Ids that were closed before they were held.
    early: BTreeSet<String>,
    channels: BTreeMap<String, Channel>,
    pub claims: BTreeMap<String, Claim>,
    /// How those ended whose rows are gone.
    pub ended: BTreeMap<String, Claim>,
    entries: BTreeMap<String, Entry>,
    by_seq: BTreeMap<u64, String>,
    /// How often each transaction is credited.
    pub paid: BTreeMap<String, i64>,
    /// Transactions that a facilitator told of and that are not what it said.
    pub lies: BTreeSet<String>,
    /// What lies, overruns and letters that came too late may cost.
    pub excused: i64,
    /// What was to be paid out: by the nonce, its id and units.
    pub refunds: BTreeMap<String, (String, u64)>,
    pub seen: Seen,
    pub journal: Vec<Entry>,
    /// There is a node to ask.
    looks: bool,
}

pub fn must(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn units_of(nanos: i64) -> u64 {
    u64::try_from(nanos.max(0)).expect("not below 0").div_ceil(1_000)
}

impl Books {
    pub fn new(looks: bool) -> Self {
        Self { looks, ..Self::default() }
    }

    // Letters.

    pub fn held(&mut self, letter: &HoldLetter, grant: &Grant, now: Millis) -> Result<(), String> {
        let id = &letter.request_id;
        must(!self.early.contains(id), || format!("{id} is held after it was closed"))?;
        if let Some(known) = self.calls.get(id) {
            return must(!known.closed, || format!("{id} is held again after it was closed"));
        }
        let payment = letter.claim.as_ref().expect("a payer pays").payment.clone();
        must(grant.amount <= letter.bids[0].amount, || format!("{id} is granted more than it asked for"))?;
        self.one_call_a_payment(id, &payment, now)?;
        if let Some(voucher) = &payment.voucher {
            // What a channel says of itself first is believed.
            let base = voucher.most - payment.units;
            let channel = self.channels.entry(voucher.channel.clone()).or_insert_with(|| Channel {
                charged: base,
                last: String::new(),
                at: now,
            });
            must(channel.charged == base, || format!("{id} begins at {base} of {channel:?}"))?;
            let last = std::mem::replace(&mut channel.last, id.clone());
            if let Some(last) = self.calls.get_mut(&last) {
                last.taken_over = !last.closed;
            }
        }
        let call = Call {
            payment,
            held: grant.amount.0,
            until: now.after(SETTLE_MS),
            began: false,
            nothing: false,
            closed: false,
            taken_over: false,
            charges: BTreeMap::new(),
            credit: 0,
        };
        self.calls.insert(id.clone(), call);
        self.exposure(now)
    }

    /// While a payment's call is under way it begins no other, and once it was served none at all.
    fn one_call_a_payment(&self, id: &str, payment: &Payment, now: Millis) -> Result<(), String> {
        let same = |call: &&Call| match &payment.voucher {
            Some(voucher) => call.payment.voucher.as_ref().is_some_and(|other| other.channel == voucher.channel),
            None => call.payment.nonce == payment.nonce,
        };
        self.calls.iter().filter(|(_, call)| same(call)).try_for_each(|(other, call)| {
            must(call.closed || call.until <= now, || {
                format!("{id} begins while {other} is under way by the same payment")
            })?;
            let served = call.closed && !call.nothing && payment.voucher.is_none();
            must(!served, || format!("{id} begins by a payment that has paid for {other}"))
        })
    }

    /// What is promised and not settled, of calls whose holds have not run out.
    fn exposure(&self, now: Millis) -> Result<(), String> {
        let open =
            self.calls.values().filter(|call| call.payment.scheme == Scheme::Upto && !call.closed && call.until > now);
        let owed: i64 = open.map(|call| call.payment.amount().0).sum();
        must(owed <= EXPOSURE, || format!("{owed} may be owed"))
    }

    pub fn extended(&mut self, letter: &ExtendLetter, grant: &Grant, now: Millis) -> Result<(), String> {
        let call = self.calls.get_mut(&letter.request_id).ok_or("a hold is made larger that is none")?;
        must(!call.closed && grant.amount.0 >= call.held, || format!("a hold becomes smaller: {call:?} {grant:?}"))?;
        if grant.amount.0 > call.held {
            (call.held, call.until) = (grant.amount.0, now.after(SETTLE_MS));
        }
        Ok(())
    }

    pub fn posted(&mut self, letter: &PostLetter, now: Millis) -> Result<(), String> {
        let id = &letter.request_id;
        let Some(mut call) = self.calls.get(id).cloned() else {
            self.early.insert(id.clone());
            return Ok(());
        };
        // Nothing was told of it in time.
        let over = self.entries.contains_key(id) && !call.charges.contains_key(id);
        if call.closed || over {
            return Ok(());
        }
        let used = |outcome: &PostOutcome| match outcome {
            PostOutcome::Charge(amount) | PostOutcome::Suspense { metered: amount } => amount.0,
            PostOutcome::Void => 0,
        };
        let mut spent = used(&letter.outcome);
        for other in &letter.others {
            spent += used(&other.outcome);
            call.charges.insert(format!("{id}#{}", other.number), used(&other.outcome));
        }
        let failed = letter.outcome == PostOutcome::Charge(Nanos::ZERO) && letter.call.status >= 400 && spent == 0;
        (call.closed, call.nothing) = (true, letter.outcome == PostOutcome::Void || failed);
        if letter.outcome != PostOutcome::Void {
            call.charges.insert(id.clone(), used(&letter.outcome));
        }
        if now > call.until || call.taken_over {
            self.seen.count("posted late");
            self.excused += spent;
        }
        self.excused += (spent - call.held).max(0);
        if !call.nothing
            && !call.taken_over
            && let Some(voucher) = &call.payment.voucher
        {
            let units = units_of(spent).min(call.payment.units);
            call.credit = i64::try_from(units).expect("small") * UNIT;
            let channel = self.channels.get_mut(&voucher.channel).expect("it was opened");
            channel.charged += units;
            channel.at = now;
            must(channel.charged <= voucher.most, || format!("{id} charges beyond its voucher: {channel:?}"))?;
        }
        self.calls.insert(id.clone(), call);
        Ok(())
    }

    /// A call's work begins.
    pub fn begins(&mut self, id: &str, told: bool, grant: &Grant, chain: &Chain) -> Result<(), String> {
        let call = self.calls.get_mut(id).ok_or("a call begins without a hold")?;
        call.began = true;
        let nonce = bare(&call.payment.nonce);
        let paid = call.payment.is_upfront() && grant.pays;
        let arrived = chain.used.get(nonce).is_some_and(|hash| chain.transfers.contains_key(hash));
        must(!paid || told || arrived, || format!("{id} begins before its money came"))
    }

    /// Whether something was charged to a channel a short while ago and is not claimed yet.
    pub fn charged_lately(&self, id: &str, now: Millis, chain: &Chain) -> bool {
        let claimed = chain.channels.get(id).map_or(0, |channel| channel.claimed);
        self.channels.get(id).is_some_and(|channel| channel.charged > claimed && now.since(channel.at) < LATE_MS)
    }

    // Rows.

    pub fn written(&mut self, writes: &[Write], chain: &Chain) -> Result<(), String> {
        for write in writes {
            match write {
                Write::Record { kind: "payment", id, body } => self.claim_written(id, body.as_deref())?,
                Write::Record { kind: "channel", id, body } => self.channel_written(id, body.as_deref(), chain)?,
                Write::Booking { body: Some(body), .. } if body.starts_with("{\"posted\"") => {
                    let booking: Value = serde_json::from_str(body).expect("JSON");
                    let entry: Entry =
                        megarouter::json::read(&booking["posted"]["entry"].to_string()).expect("an entry");
                    self.booked(entry, chain)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn claim_written(&mut self, id: &str, body: Option<&str>) -> Result<(), String> {
        let Some(body) = body else {
            if let Some(claim) = self.claims.remove(id) {
                self.ended.insert(id.to_owned(), claim);
            }
            return Ok(());
        };
        let row: Value = serde_json::from_str(body).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let claim = Claim {
            state: text(&row["state"]),
            refunds: row["refunds"] == true,
            upto: row["payment"]["scheme"] == "upto",
            units: row["payment"]["units"].as_u64().unwrap_or_default(),
        };
        self.claims.insert(id.to_owned(), claim);
        let exposed =
            self.claims.values().filter(|claim| claim.upto && ["open", "due"].contains(&claim.state.as_str()));
        let exposed: u64 = exposed.map(|claim| claim.units).sum();
        must(units_of(EXPOSURE) >= exposed, || format!("{exposed} units are exposed"))
    }

    fn channel_written(&mut self, id: &str, body: Option<&str>, chain: &Chain) -> Result<(), String> {
        let Some(body) = body else {
            let known = self.channels.remove(id).unwrap_or_default();
            let charged = self.calls.values().any(|call| {
                call.credit > 0 && call.payment.voucher.as_ref().is_some_and(|voucher| voucher.channel == id)
            });
            return must(!charged, || format!("a channel is forgotten that was charged to: {id} {known:?}"));
        };
        let row: Value = serde_json::from_str(body).expect("JSON");
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let (charged, most) = (number(&row["charged"]), number(&row["voucher"]["most"]));
        let own = self.channels.get(id).cloned().unwrap_or_default();
        must(charged == own.charged, || format!("{id} has {charged} charged, not {own:?}"))?;
        let signed = row["voucher"]["signature"] != "";
        must(!signed || charged <= most, || format!("{id} has {charged} charged by a voucher of {most}"))?;
        let claimed = chain.channels.get(id).copied().unwrap_or_default().claimed;
        let told = number(&row["on_chain"]["claimed"]);
        must(told <= claimed, || format!("{id} has {claimed} claimed on chain, {told} in its row"))
    }

    fn booked(&mut self, entry: Entry, chain: &Chain) -> Result<(), String> {
        if let Some(known) = self.entries.get(&entry.id) {
            return must(*known == entry, || format!("an entry is booked as another one: {entry:?} {known:?}"));
        }
        must(self.by_seq.insert(entry.seq, entry.id.clone()).is_none(), || format!("a number is taken: {entry:?}"))?;
        let legs: Nanos = entry.legs.iter().map(|leg| leg.amount_usd).sum();
        must(legs == Nanos::ZERO && entry.is_sound(), || format!("an entry is whole: {entry:?}"))?;
        let (request, what) = entry.id.split_once('#').unwrap_or((&entry.id, ""));
        let what = what.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        match (entry.kind, what.as_str()) {
            (EntryKind::Usage, _) => self.charged(&entry, request)?,
            (EntryKind::Credit, "paid")
                if self.calls.get(request).is_some_and(|call| call.payment.voucher.is_some()) =>
            {
                let call = &self.calls[request];
                must(entry.amount_usd.0 == call.credit, || format!("a channel is credited {entry:?} for {call:?}"))?;
            }
            (EntryKind::Credit, "paid" | "unpaid") => self.credited(&entry, &what, chain)?,
            (EntryKind::Credit, "refund" | "returned") => {
                let known = self.refunds.values().find(|(id, _)| id == request).map(|(_, units)| *units);
                let amount = entry.amount_usd.0 * if what == "refund" { -1 } else { 1 };
                must(
                    known.is_some_and(|units| i64::try_from(units).is_ok_and(|units| amount == units * UNIT)),
                    || format!("{entry:?} for {known:?}"),
                )?;
                self.seen.count(if what == "refund" { "refund" } else { "refund returned" });
            }
            (EntryKind::Credit, "claimed") => {
                must(entry.amount_usd == Nanos::ZERO, || format!("a claim is none of the payer's: {entry:?}"))?;
            }
            _ => return Err(format!("nobody asked for {entry:?}")),
        }
        self.entries.insert(entry.id.clone(), entry);
        Ok(())
    }

    fn charged(&mut self, entry: &Entry, request: &str) -> Result<(), String> {
        let call = self.calls.get(request).ok_or_else(|| format!("{entry:?} is of no call"))?;
        let amount = -entry.amount_usd.0;
        let by_deadline = entry.call.as_ref().is_some_and(|call| call.resolved_by == "deadline");
        let expected = call.charges.get(&entry.id).copied();
        match expected {
            Some(expected) => must(amount == expected, || format!("{amount} is charged, not {expected}: {entry:?}")),
            None => {
                must(by_deadline && amount == 0, || format!("{amount} is charged for what nobody told of: {entry:?}"))
            }
        }
    }

    /// Money is booked by what moved it: a transfer on chain, once, or a lie.
    fn credited(&mut self, entry: &Entry, what: &str, chain: &Chain) -> Result<(), String> {
        let note = entry.note.clone().unwrap_or_default();
        let hash = note.rsplit(' ').next().unwrap_or_default().to_owned();
        let units = entry.amount_usd.0 / UNIT;
        let real = chain.transfers.get(&hash).filter(|transfer| {
            transfer.by_payer && !transfer.in_channel && i64::try_from(transfer.units) == Ok(units.abs())
        });
        let lied = self.lies.contains(&hash);
        must(real.is_some() || lied, || format!("{entry:?} was moved by nothing"))?;
        let paid = self.paid.entry(hash.clone()).or_default();
        *paid += if what == "paid" { 1 } else { -1 };
        must((0..=1).contains(paid), || format!("{hash} is credited {paid} times: {entry:?}"))?;
        if what == "unpaid" {
            self.seen.count("taken back");
        }
        if real.is_none() && what == "paid" {
            self.seen.count("a lie is believed");
            self.excused += entry.amount_usd.0;
        }
        Ok(())
    }

    // Sums.

    /// What the account tells is what its entries come to, and no more is owed than may be.
    pub fn check(&self, balance: &Value) -> Result<(), String> {
        let usd = |name: &str| Nanos::parse_usd(balance[name].as_str().unwrap_or_default()).expect("an amount").0;
        let sum = |pays_in: bool| -> i64 {
            self.entries.values().filter(|entry| entry.kind.pays_in() == pays_in).map(|entry| entry.amount_usd.0).sum()
        };
        let (credits, posted) = (sum(true), -sum(false));
        let told = (usd("paid_usd"), usd("spent_usd"), usd("held_usd"), usd("available_usd"));
        must((told.0, told.1) == (credits, posted), || format!("{told:?} are not the entries': {credits} {posted}"))?;
        must(told.3 == credits - posted - told.2, || format!("{told:?} do not add up"))?;
        must(told.2 >= 0, || format!("{} is held", told.2))?;
        let least = -EXPOSURE - self.excused;
        must(told.3 >= least, || format!("{} is owed, {least} may be", told.3))
    }

    /// The journal takes what is due; a gap or another entry under a number that is taken is a loss.
    pub fn journaled(&mut self, entries: &[Entry]) -> Result<(), String> {
        for entry in entries {
            let place = usize::try_from(entry.seq).expect("few");
            if let Some(row) = self.journal.get(place.wrapping_sub(1)) {
                must(row == entry, || format!("an entry is in the journal as another one: {entry:?}"))?;
                continue;
            }
            let head = self.journal.last().map_or(GENESIS, |last| last.hash.as_str());
            must(place == self.journal.len() + 1 && entry.prev_hash == head, || format!("a gap before {entry:?}"))?;
            self.journal.push(entry.clone());
        }
        Ok(())
    }

    // The end.

    pub fn check_end(&self, chain: &Chain, balance: &Value) -> Result<(), String> {
        must(self.journal.len() == self.entries.len(), || {
            format!("{} of {} entries are in the journal", self.journal.len(), self.entries.len())
        })?;
        must(balance["held_usd"] == "0", || format!("something is still held: {balance}"))?;
        must(self.claims.is_empty(), || format!("rows of payments are left: {:?}", self.claims))?;
        for (id, call) in &self.calls {
            let missing = call.charges.iter().find(|(entry, _)| !self.entries.contains_key(*entry));
            must(missing.is_none(), || format!("{missing:?} of {id} was never charged"))?;
            let paid = self.entries.contains_key(&format!("{id}#paid"));
            must(call.credit == 0 || paid, || format!("{id} charged its channel, and that is no credit"))?;
        }
        self.check_money(chain)?;
        self.check_refunds(chain)?;
        self.check_channels(chain)
    }

    /// What arrived is credit, and nothing else is.
    fn check_money(&self, chain: &Chain) -> Result<(), String> {
        for transfer in chain.transfers.values().filter(|transfer| transfer.by_payer && !transfer.in_channel) {
            let paid = self.paid.get(&transfer.hash).copied().unwrap_or_default();
            let claim = self.ended.get(&transfer.nonce);
            must(paid == 1, || format!("{transfer:?} is credited {paid} times; {claim:?}"))?;
        }
        for (hash, paid) in &self.paid {
            let real = chain.transfers.contains_key(hash);
            must(real || *paid == 0, || format!("{hash} is credited and never came"))?;
        }
        // What was refused where nobody can look stays unknown, and is forgotten.
        let over: &[&str] = if self.looks {
            &["used", "credited", "dead", "open"]
        } else {
            &["used", "credited", "dead", "open", "unknown"]
        };
        for (nonce, claim) in self.ended.iter().filter(|(_, claim)| !claim.refunds) {
            must(over.contains(&claim.state.as_str()), || format!("{nonce} is not over: {claim:?}"))?;
        }
        Ok(())
    }

    fn check_refunds(&self, chain: &Chain) -> Result<(), String> {
        for (nonce, (id, units)) in &self.refunds {
            let booked = self.entries.contains_key(&format!("{id}#refund"));
            let sent = chain.transfers.values().filter(|transfer| transfer.nonce == *nonce).count();
            let returned = self.entries.keys().filter(|entry| entry.starts_with(&format!("{id}#returned"))).count();
            must(booked && sent + returned == 1, || {
                format!("a refund {id} of {units} was sent {sent} times and returned {returned} times")
            })?;
        }
        Ok(())
    }

    /// All that was charged to channels was claimed, and booked as claimed once.
    fn check_channels(&self, chain: &Chain) -> Result<(), String> {
        for (id, channel) in &self.channels {
            let on_chain = chain.channels.get(id).copied().unwrap_or_default();
            let base = self.calls.values().any(|call| {
                call.credit > 0 && call.payment.voucher.as_ref().is_some_and(|voucher| voucher.channel == *id)
            });
            must(!base || on_chain.claimed == channel.charged, || {
                format!("{id} was charged {channel:?}, and is {on_chain:?}")
            })?;
            let escrow = format!("asset:x402-channel:{}:{id}", super::chain::NETWORK);
            let legs = self.entries.values().flat_map(|entry| &entry.legs).filter(|leg| leg.account == escrow);
            let left: i64 = legs.map(|leg| leg.amount_usd.0).sum();
            must(!base || left == 0, || format!("{left} of {id} is left in escrow"))?;
        }
        Ok(())
    }
}
