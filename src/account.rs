//! The account of an organisation: keys, budgets, wallet, holds and the entries that wait for the journal.
//!
//! A pure machine. The object behind it loads rows, hands over one [`Letter`], writes what [`Turn::writes`] says in the
//! same transaction, and answers. Every turn is one atomic step over all layers: all of them hold, or none.
//!
//! A *booking* is one row: a hold until it is posted, then its entry until the journal has it, then gone. Counters live in
//! memory and are made again from the last checkpoint and the bookings after it.
use crate::{
    access::{KeyKind, NamedRoute, OwnProvider, Tenant, same},
    budget::{Budgets, Counted, Gcra, Limit, Posted, Wallet},
    id::Scope,
    json,
    ledger::{CallRecord, Entry, EntryKind, GENESIS, transfer},
    money::Nanos,
    time::{Millis, Window},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod act;
pub mod ask;
pub mod letter;

use letter::{
    Answer, Caller, Grant, HoldLetter, KeySpec, Letter, NewCredit, NewKey, Organization, PostLetter, PostOutcome,
    Refusal,
};

/// How long a suspense keeps its budget before what was metered is posted.
const SUSPENSE_MS: u64 = 86_400_000;
/// Entries the journal may lag behind before new holds are refused.
const OUTBOX_MAX: usize = 100_000;
/// Entries written to the journal in one statement.
pub const JOURNAL_BATCH: usize = 200;

/// Times an installation sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A hold nobody closed goes to suspense after this.
    pub hold_settle_ms: u64,
    /// How long entries are gathered for the journal.
    pub outbox_flush_ms: u64,
}

/// A change of the account's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A row of what admins set, or the checkpoint; `None` deletes it.
    Record { kind: &'static str, id: String, body: Option<String> },
    /// A booking's row; `None` deletes it.
    Booking { id: String, body: Option<String> },
}

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub kind: String,
    pub id: String,
    pub body: String,
}

/// What a letter led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub answer: Answer,
    pub writes: Vec<Write>,
}

impl Turn {
    fn told(answer: Answer) -> Self {
        Self { answer, writes: Vec::new() }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::told(Answer::Refused(refusal))
    }
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct StoredKey {
    digest: String,
    redacted: String,
    kind: KeyKind,
    created_at: Millis,
    revoked: bool,
    spec: KeySpec,
}

json::members!(StoredKey { digest, redacted, kind, created_at, revoked = false, spec });

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Hold {
    key_id: String,
    grant: Grant,
    counted: Vec<Counted>,
    at: Millis,
    settle_by: Millis,
    tokens: u64,
}

json::members!(Hold { key_id, grant, counted, at, settle_by, tokens });

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Booking {
    Held(Hold),
    Suspense { hold: Hold, metered: Nanos, call: CallRecord, until: Millis },
    Posted { entry: Entry, counted: Vec<Counted> },
}

json::variants!(Booking, Self::Held(json::Read::blank()), {
    Held(inner) = "held",
    Suspense { hold, metered, call, until } = "suspense",
    Posted { entry, counted } = "posted",
});

#[derive(Clone, Debug, PartialEq, Serialize)]
struct StoredBudget {
    scope: Scope,
    window: Window,
    limit: Limit,
}

json::members!(StoredBudget { scope, window, limit });

/// The counters as of an entry; everything after it is still a booking.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Checkpoint {
    seq: u64,
    head: String,
    wallet: Wallet,
    counters: Vec<Posted>,
}

json::members!(Checkpoint { seq, head, wallet, counters });

#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    requests: Gcra,
    tokens: Gcra,
    open: u64,
}

/// See the head of this room.
#[derive(Debug)]
pub struct Account {
    terms: Terms,
    organization: Organization,
    keys: BTreeMap<String, StoredKey>,
    tenant: Tenant,
    budgets: Budgets,
    wallet: Wallet,
    bookings: HashMap<String, Booking>,
    /// Entries that wait for the journal, by sequence.
    outbox: BTreeMap<u64, String>,
    /// When holds and suspenses run out.
    deadlines: BTreeSet<(Millis, String)>,
    rates: HashMap<String, Rates>,
    seq: u64,
    head: String,
    flush_at: Option<Millis>,
    flush_failures: u32,
}

impl Account {
    /// The account its rows tell of.
    ///
    /// # Errors
    /// A row that cannot be read: then nothing of the account may be believed.
    pub fn load(terms: Terms, records: Vec<Row>, bookings: Vec<Row>) -> Result<Self, String> {
        let mut account = Self {
            terms,
            organization: Organization::default(),
            keys: BTreeMap::new(),
            tenant: Tenant::default(),
            budgets: Budgets::default(),
            wallet: Wallet::default(),
            bookings: HashMap::new(),
            outbox: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            rates: HashMap::new(),
            seq: 0,
            head: GENESIS.to_owned(),
            flush_at: None,
            flush_failures: 0,
        };
        let mut checkpoint = None;
        for row in records {
            account.restore(&row, &mut checkpoint).map_err(|error| format!("{} {}: {error}", row.kind, row.id))?;
        }
        if let Some(Checkpoint { seq, head, wallet, counters }) = checkpoint {
            account.budgets.restore(&counters);
            (account.seq, account.head, account.wallet) = (seq, head, wallet);
        }
        account.replay(bookings)?;
        Ok(account)
    }

    fn restore(&mut self, row: &Row, checkpoint: &mut Option<Checkpoint>) -> serde_json::Result<()> {
        match row.kind.as_str() {
            "organization" => self.organization = json::read(&row.body)?,
            "key" => drop(self.keys.insert(row.id.clone(), json::read(&row.body)?)),
            "budget" => {
                let StoredBudget { scope, window, limit } = json::read(&row.body)?;
                self.budgets.put(scope, window, limit);
            }
            "tenant" => self.tenant.version = json::read(&row.body)?,
            "provider" => {
                self.tenant.providers.insert(row.id.clone(), json::read::<OwnProvider>(&row.body)?);
            }
            "route" => self.tenant.routes.insert(row.id.clone(), json::read::<NamedRoute>(&row.body)?),
            "checkpoint" => *checkpoint = Some(json::read(&row.body)?),
            // A newer version's row: it knows what to do with it, we leave it alone.
            _ => {}
        }
        self.tenant.organization.clone_from(&self.organization.id);
        Ok(())
    }

    fn replay(&mut self, rows: Vec<Row>) -> Result<(), String> {
        let mut entries = BTreeMap::new();
        for Row { id, body, .. } in rows {
            let booking: Booking = json::read(&body).map_err(|error| format!("booking {id}: {error}"))?;
            match &booking {
                Booking::Held(hold) | Booking::Suspense { hold, .. } => {
                    self.count_hold(&hold.counted, hold.grant.amount);
                    if let Booking::Held(hold) = &booking {
                        self.rates.entry(hold.key_id.clone()).or_default().open += 1;
                    }
                    self.deadlines.insert((deadline(&booking), id.clone()));
                }
                Booking::Posted { entry, .. } => drop(entries.insert(entry.seq, id.clone())),
            }
            self.bookings.insert(id, booking);
        }
        for (seq, id) in entries {
            self.outbox.insert(seq, id.clone());
            self.flush_at = Some(Millis(0));
            let Some(Booking::Posted { entry, counted }) = self.bookings.get(&id) else { continue };
            if seq > self.seq {
                apply(&mut self.wallet, &mut self.budgets, entry, counted, Nanos::ZERO);
                self.seq = seq;
                self.head.clone_from(&entry.hash);
            }
        }
        Ok(())
    }

    fn count_hold(&mut self, counted: &[Counted], amount: Nanos) {
        self.budgets.hold(counted, amount);
        self.wallet.held = self.wallet.held.plus(amount);
    }

    /// Answers one letter.
    pub fn turn(&mut self, letter: Letter, now: Millis) -> Turn {
        match letter {
            Letter::Found { organization, admin_key, credit } => self.found(organization, admin_key, credit, now),
            Letter::Credit(credit) => self.credit(credit, now),
            Letter::Hold(hold) => self.hold(hold, now),
            Letter::Post(post) => self.post(post, now),
            Letter::Whoami(caller) => match self.prove(&caller, KeyKind::Inference, now) {
                Ok(key) => Turn::told(Answer::Whoami { spec: key.spec.clone(), tenant: self.tenant.clone() }),
                Err(refusal) => Turn::refused(refusal),
            },
            Letter::Admin { caller, act } => match self.prove(&caller, KeyKind::Admin, now).map(|_| ()) {
                Ok(()) => self.act(act, now),
                Err(refusal) => Turn::refused(refusal),
            },
            Letter::Nudge => Turn::told(Answer::Posted),
        }
    }

    /// The key of a caller, if it is good for this plane.
    fn prove(&self, caller: &Caller, plane: KeyKind, now: Millis) -> Result<&StoredKey, Refusal> {
        let key = self.keys.get(&caller.key_id).ok_or(Refusal::UnknownKey)?;
        if !same(key.digest.as_bytes(), caller.digest.as_bytes()) || key.kind != caller.kind {
            return Err(Refusal::UnknownKey);
        }
        if key.kind != plane {
            return Err(Refusal::WrongKind);
        }
        if key.revoked {
            return Err(Refusal::RevokedKey);
        }
        if key.spec.expires_at.is_some_and(|at| at <= now.seconds()) {
            return Err(Refusal::ExpiredKey);
        }
        Ok(key)
    }

    fn found(&mut self, organization: Organization, admin: NewKey, credit: Option<NewCredit>, now: Millis) -> Turn {
        if self.organization.id == organization.id {
            return Turn::told(Answer::Posted);
        }
        self.organization = organization;
        self.tenant.organization.clone_from(&self.organization.id);
        let mut writes = vec![record("organization", "", Some(&self.organization))];
        writes.push(self.keep_key(admin, now));
        if let Some(credit) = credit {
            writes.extend(self.credit(credit, now).writes);
        }
        Turn { answer: Answer::Posted, writes }
    }

    fn credit(&mut self, credit: NewCredit, now: Millis) -> Turn {
        if self.organization.id.is_empty() {
            return Turn::refused(Refusal::NotFound { what: "organization".into() });
        }
        if self.bookings.contains_key(&credit.id) {
            return Turn::told(self.wallet_told(200));
        }
        if self.wallet.credits.checked_add(credit.amount).is_none() {
            let message = "The wallet cannot hold that much.".to_owned();
            return Turn::refused(Refusal::Invalid { param: "amount_usd".into(), message });
        }
        let legs = transfer("equity:operator".into(), self.wallet_account(), credit.amount);
        let entry = self.entry(credit.id, EntryKind::Credit, credit.amount, legs, None, Some(credit.reason), now);
        let write = self.book(entry, Vec::new(), Nanos::ZERO, now);
        Turn { answer: self.wallet_told(200), writes: vec![write] }
    }

    fn wallet_account(&self) -> String {
        format!("liability:wallet:{}", self.organization.id)
    }

    fn hold(&mut self, letter: HoldLetter, now: Millis) -> Turn {
        let key = match self.prove(&letter.caller, KeyKind::Inference, now) {
            Ok(key) => key.clone(),
            Err(refusal) => return Turn::refused(refusal),
        };
        match self.bookings.get(&letter.request_id) {
            Some(Booking::Held(hold) | Booking::Suspense { hold, .. }) => {
                return Turn::told(Answer::Held(hold.grant.clone()));
            }
            // A letter that was long on its way: its call has ended.
            Some(Booking::Posted { .. }) => return Turn::refused(Refusal::InFlight),
            None => {}
        }
        if letter.tenant_version != self.tenant.version {
            return Turn::refused(Refusal::Stale(Box::new(self.tenant.clone())));
        }
        let path = [Scope::ApiKey(letter.caller.key_id.clone()), Scope::Organization];
        let grant = match self.affordable(&letter, &key.spec, &path, now) {
            Ok(grant) => grant,
            Err(refusal) => return Turn::refused(refusal),
        };
        if letter.dry {
            return Turn::told(Answer::Held(Grant { amount: Nanos::ZERO, ..grant }));
        }
        if let Err(refusal) = self.take_rates(&letter, &key.spec, now) {
            return Turn::refused(refusal);
        }
        let counted = self.budgets.counted(&path, now);
        self.count_hold(&counted, grant.amount);
        let settle_by = now.after(self.terms.hold_settle_ms);
        let key_id = letter.caller.key_id;
        let hold = Hold { key_id, grant: grant.clone(), counted, at: now, settle_by, tokens: letter.tokens };
        let write = self.put(letter.request_id, Booking::Held(hold));
        Turn { answer: Answer::Held(grant), writes: vec![write] }
    }

    /// The bids the key may use and the money reaches for, with the dearest of them as the amount to hold.
    fn affordable(&self, letter: &HoldLetter, spec: &KeySpec, path: &[Scope], now: Millis) -> Result<Grant, Refusal> {
        if self.outbox.len() >= OUTBOX_MAX {
            return Err(Refusal::Backpressure);
        }
        let mut allowed =
            letter.bids.iter().enumerate().filter(|(_, bid)| spec.allows(&bid.provider, &bid.model)).peekable();
        if allowed.peek().is_none() {
            let (models, providers) = (spec.model_allowlist.clone(), spec.provider_allowlist.clone());
            return Err(Refusal::NotAllowed { models, providers });
        }
        let mut grant = Grant::default();
        let mut refused: Option<(Nanos, Refusal)> = None;
        for (place, bid) in allowed {
            match self.affords(path, bid.amount, now) {
                Ok(()) => {
                    grant.amount = grant.amount.max(bid.amount);
                    grant.allowed.push(place);
                }
                // The refusal of the cheapest bid says the most.
                Err(refusal) if refused.as_ref().is_none_or(|(amount, _)| bid.amount < *amount) => {
                    refused = Some((bid.amount, refusal));
                }
                Err(_) => {}
            }
        }
        match refused {
            Some((_, refusal)) if grant.allowed.is_empty() => Err(refusal),
            _ => Ok(grant),
        }
    }

    fn affords(&self, path: &[Scope], amount: Nanos, now: Millis) -> Result<(), Refusal> {
        self.budgets
            .admit(path, amount, now)
            .map_err(|blocked| if blocked.only_by_holds() { Refusal::InFlight } else { Refusal::Budget(blocked) })?;
        let available = self.wallet.available();
        if amount <= available {
            return Ok(());
        }
        if amount <= available.plus(self.wallet.held) {
            return Err(Refusal::InFlight);
        }
        Err(Refusal::Credits { available, estimate: amount })
    }

    fn take_rates(&mut self, letter: &HoldLetter, spec: &KeySpec, now: Millis) -> Result<(), Refusal> {
        let rates = self.rates.entry(letter.caller.key_id.clone()).or_default();
        if spec.concurrency.is_some_and(|most| rates.open >= most) {
            return Err(Refusal::Concurrency);
        }
        if let Some(rpm) = spec.rpm {
            rates.requests.take(1, rpm, now).map_err(|retry_after_s| Refusal::Rpm { retry_after_s })?;
        }
        if let Some(tpm) = spec.tpm.filter(|tpm| letter.tokens > *tpm) {
            let message = format!(
                "This call may use {} tokens, more than the {tpm} a minute of this key. Lower max_tokens.",
                letter.tokens
            );
            return Err(Refusal::Invalid { param: "max_tokens".into(), message });
        }
        if let Some(tpm) = spec.tpm
            && let Err(retry_after_s) = rates.tokens.take(letter.tokens, tpm, now)
        {
            if let Some(rpm) = spec.rpm {
                rates.requests.refund(1, rpm);
            }
            return Err(Refusal::Tpm { retry_after_s });
        }
        Ok(())
    }

    fn post(&mut self, letter: PostLetter, now: Millis) -> Turn {
        let PostLetter { request_id, outcome, call, tokens } = letter;
        let hold = match self.bookings.get(&request_id) {
            Some(Booking::Held(hold) | Booking::Suspense { hold, .. }) => hold.clone(),
            // Posted before, or never held: a repeated letter changes nothing.
            Some(Booking::Posted { .. }) | None => return Turn::told(Answer::Posted),
        };
        let in_suspense = matches!(self.bookings.get(&request_id), Some(Booking::Suspense { .. }));
        if in_suspense && matches!(outcome, PostOutcome::Suspense { .. }) {
            return Turn::told(Answer::Posted);
        }
        // Tokens not used go back to the rate once, when the hold is left.
        let tpm = self.keys.get(&hold.key_id).and_then(|key| key.spec.tpm).filter(|_| !in_suspense);
        if let (Some(tpm), Some(rates)) = (tpm, self.rates.get_mut(&hold.key_id)) {
            rates.tokens.refund(hold.tokens.saturating_sub(tokens), tpm);
        }
        let write = match outcome {
            PostOutcome::Void => {
                self.take(&request_id);
                self.budgets.post(&hold.counted, hold.grant.amount, Nanos::ZERO);
                self.wallet.held = self.wallet.held.minus(hold.grant.amount);
                Write::Booking { id: request_id, body: None }
            }
            PostOutcome::Charge(charge) => self.post_usage(request_id, hold, charge, call, now),
            PostOutcome::Suspense { metered } => {
                let until = now.after(SUSPENSE_MS);
                self.put(request_id, Booking::Suspense { hold, metered, call, until })
            }
        };
        Turn { answer: Answer::Posted, writes: vec![write] }
    }

    fn post_usage(
        &mut self,
        request_id: String,
        hold: Hold,
        charge: Nanos,
        mut call: CallRecord,
        now: Millis,
    ) -> Write {
        call.api_key_id.clone_from(&hold.key_id);
        call.overrun = charge > hold.grant.amount;
        let legs = transfer(self.wallet_account(), format!("payable:provider:{}", call.provider), charge);
        let amount = Nanos(-charge.0);
        self.take(&request_id);
        let entry = self.entry(request_id, EntryKind::Usage, amount, legs, Some(call), None, now);
        self.book(entry, hold.counted, hold.grant.amount, now)
    }

    #[expect(clippy::too_many_arguments, reason = "the members of one entry, each from another place")]
    fn entry(
        &self,
        id: String,
        kind: EntryKind,
        amount_usd: Nanos,
        legs: Vec<crate::ledger::Leg>,
        call: Option<CallRecord>,
        note: Option<String>,
        at: Millis,
    ) -> Entry {
        let (seq, prev_hash, hash) = (self.seq + 1, self.head.clone(), String::new());
        Entry { seq, id, kind, at, amount_usd, legs, call, note, prev_hash, hash }.sealed()
    }

    /// Posts an entry: counts it, and leaves it for the journal.
    fn book(&mut self, entry: Entry, counted: Vec<Counted>, held: Nanos, now: Millis) -> Write {
        self.seq = entry.seq;
        self.head.clone_from(&entry.hash);
        self.wallet.held = self.wallet.held.minus(held);
        apply(&mut self.wallet, &mut self.budgets, &entry, &counted, held);
        self.outbox.insert(entry.seq, entry.id.clone());
        self.flush_at.get_or_insert(now.after(self.terms.outbox_flush_ms));
        self.put(entry.id.clone(), Booking::Posted { entry, counted })
    }

    fn put(&mut self, id: String, booking: Booking) -> Write {
        self.take(&id);
        if !matches!(booking, Booking::Posted { .. }) {
            self.deadlines.insert((deadline(&booking), id.clone()));
        }
        if let Booking::Held(hold) = &booking {
            self.rates.entry(hold.key_id.clone()).or_default().open += 1;
        }
        let body = serde_json::to_string(&booking).ok();
        self.bookings.insert(id.clone(), booking);
        Write::Booking { id, body }
    }

    fn take(&mut self, id: &str) {
        let Some(booking) = self.bookings.remove(id) else { return };
        self.deadlines.remove(&(deadline(&booking), id.to_owned()));
        if let Booking::Held(hold) = &booking
            && let Some(rates) = self.rates.get_mut(&hold.key_id)
        {
            rates.open = rates.open.saturating_sub(1);
        }
    }

    /// Moves holds nobody closed to suspense, and posts the metered part of suspenses that ran out.
    pub fn expire(&mut self, now: Millis) -> Vec<Write> {
        let mut writes = Vec::new();
        while let Some((at, id)) = self.deadlines.first().cloned() {
            if at > now {
                break;
            }
            match self.bookings.get(&id).cloned() {
                Some(Booking::Held(hold)) => {
                    let (metered, until) = (Nanos::ZERO, now.after(SUSPENSE_MS));
                    let call = CallRecord { estimated: true, ..CallRecord::default() };
                    writes.push(self.put(id, Booking::Suspense { hold, metered, call, until }));
                }
                Some(Booking::Suspense { hold, metered, call, .. }) => {
                    let call = CallRecord { estimated: true, ..call };
                    writes.push(self.post_usage(id, hold, metered, call, now));
                }
                Some(Booking::Posted { .. }) | None => drop(self.deadlines.pop_first()),
            }
        }
        writes
    }

    /// The entries the journal needs next, if it is time.
    #[must_use]
    pub fn due(&self, now: Millis) -> Vec<&Entry> {
        if self.flush_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let entry = |id: &String| match self.bookings.get(id) {
            Some(Booking::Posted { entry, .. }) => Some(entry),
            _ => None,
        };
        self.outbox.values().take(JOURNAL_BATCH).filter_map(entry).collect()
    }

    /// The journal has everything up to an entry: its bookings go, and the counters are kept as a checkpoint.
    pub fn journaled(&mut self, through: u64, now: Millis) -> Vec<Write> {
        let rest = self.outbox.split_off(&(through + 1));
        let done = std::mem::replace(&mut self.outbox, rest);
        let mut writes = Vec::with_capacity(done.len() + 1);
        for id in done.into_values() {
            self.bookings.remove(&id);
            writes.push(Write::Booking { id, body: None });
        }
        self.flush_failures = 0;
        self.flush_at = (!self.outbox.is_empty()).then_some(now);
        writes.push(self.checkpoint());
        writes
    }

    /// The journal did not take the entries: later, and later each time, up to a minute.
    pub fn journal_failed(&mut self, now: Millis) {
        self.flush_failures = (self.flush_failures + 1).min(6);
        self.flush_at = Some(now.after(1_000 << self.flush_failures));
    }

    fn checkpoint(&self) -> Write {
        let checkpoint = Checkpoint {
            seq: self.seq,
            head: self.head.clone(),
            wallet: self.wallet,
            counters: self.budgets.checkpoint(),
        };
        record("checkpoint", "", Some(&checkpoint))
    }

    /// When the alarm has to ring next.
    #[must_use]
    pub fn wake(&self) -> Option<Millis> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        [self.flush_at, deadline].into_iter().flatten().min()
    }
}

fn deadline(booking: &Booking) -> Millis {
    match booking {
        Booking::Held(hold) => hold.settle_by,
        Booking::Suspense { until, .. } => *until,
        Booking::Posted { .. } => Millis(u64::MAX),
    }
}

/// Counts an entry: what the wallet gained or paid, and what is posted on its path in place of a hold.
fn apply(wallet: &mut Wallet, budgets: &mut Budgets, entry: &Entry, counted: &[Counted], held: Nanos) {
    match entry.kind {
        EntryKind::Credit => wallet.credits = wallet.credits.plus(entry.amount_usd),
        EntryKind::Usage => {
            let paid = Nanos(-entry.amount_usd.0);
            wallet.posted = wallet.posted.plus(paid);
            budgets.post(counted, held, paid);
        }
    }
}

fn record(kind: &'static str, id: &str, body: Option<&impl Serialize>) -> Write {
    // Serialising plain data cannot fail.
    let body = body.and_then(|body| serde_json::to_string(body).ok());
    Write::Record { kind, id: id.to_owned(), body }
}

#[cfg(test)]
mod tests;
