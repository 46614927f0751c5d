//! The account of an organisation: keys, budgets, wallet, holds and the entries that wait for the journal.
//!
//! A pure machine. The object behind it loads rows, hands over one [`Letter`], writes what [`Turn::writes`] says in the
//! same transaction, and answers. Every turn is one atomic step over all layers: all of them hold, or none.
//!
//! A *booking* is one row: a hold until it is posted, then its entry until the journal has it, then gone. Counters live in
//! memory and are made again from the last checkpoint and the bookings after it.
use crate::{
    access::{Group, KeyKind, Member, Tenant, Written},
    budget::{Budgets, Counted, Extra, Gcra, Limit, Posted, RateLimits, Wallet},
    id::Scope,
    json,
    ledger::{CallRecord, Entry, EntryKind, GENESIS},
    money::Nanos,
    table::{Queue, Table},
    time::{Millis, Window},
};
use serde::Serialize;
use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
};

mod act;
mod alerts;
mod arms;
pub mod ask;
mod books;
pub mod channels;
mod defaults;
mod ended;
mod funds;
mod gate;
mod hold;
mod keys;
pub mod lessons;
pub mod letter;
pub mod payments;
mod policy;
mod refusal;
mod rows;
mod sight;
mod standing;
mod told;
pub mod topups;
mod trail;
mod tree;

use crate::alert::Webhook;
use alerts::{Alert, WalletTerms};
use arms::Arms;
use defaults::Defaults;
use ended::Ended;
use keys::Previous;
use lessons::Lessons;
use letter::{Answer, Caller, Grant, KeySpec, Letter, Organization, Refusal};
use payments::Payments;
use topups::AutoTopUp;
use trail::{Once, Trail};

/// Counters of one row, some 150 bytes each.
const COUNTERS_PER_ROW: usize = 5_000;
/// Entries written to the journal in one statement.
pub const JOURNAL_BATCH: usize = 200;

/// Times an installation sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A hold nobody closed goes to suspense after this.
    pub hold_settle_ms: u64,
    /// How long entries are gathered for the journal.
    pub outbox_flush_ms: u64,
    /// What was charged to a payment channel is claimed on chain after this.
    pub claim_after_ms: u64,
    /// Own providers may have private addresses: on a development machine.
    pub private_upstreams: bool,
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

/// What a letter led to. One word, so that handing it on costs little.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn(Box<Led>);

/// What a [`Turn`] holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Led {
    pub answer: Answer,
    pub writes: Vec<Write>,
}

impl Deref for Turn {
    type Target = Led;

    fn deref(&self) -> &Led {
        &self.0
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Led {
        &mut self.0
    }
}

impl Turn {
    #[inline(never)]
    fn told(answer: Answer) -> Self {
        Self(Box::new(Led { answer, writes: Vec::new() }))
    }

    #[inline(never)]
    fn refused(refusal: Refusal) -> Self {
        Self::told(Answer::Refused(refusal))
    }

    /// The same with these writes.
    #[inline(never)]
    fn with(mut self, writes: Vec<Write>) -> Self {
        self.writes = writes;
        self
    }

    /// Its answer and its writes.
    #[must_use]
    pub fn into_inner(self) -> Led {
        *self.0
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
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Previous>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    /// Of an invite: what its holder becomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    preset: Option<Box<Member>>,
}

json::members!(StoredKey { digest, redacted, kind, created_at, revoked = false, spec, previous, disabled = false, preset });

impl Default for StoredKey {
    fn default() -> Self {
        json::Read::blank()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Hold {
    key_id: String,
    /// The scopes it counts in, narrowest first.
    path: Vec<Scope>,
    session: String,
    grant: Grant,
    counted: Vec<Counted>,
    at: Millis,
    settle_by: Millis,
    tokens: u64,
    /// The nonce of the payment it rests on, and what of it that promises.
    #[serde(skip_serializing_if = "String::is_empty")]
    claim: String,
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    promised: Nanos,
}

json::members!(Hold {
    key_id, path = Vec::new(), session = String::new(), grant, counted, at, settle_by, tokens, claim = String::new(),
    promised = Nanos::ZERO,
});

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
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Extra>,
}

json::members!(StoredBudget { scope, window, limit, extra });

/// Limits of a scope that is no key: a key's stand in its spec.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct StoredRates {
    scope: Scope,
    limits: RateLimits,
}

json::members!(StoredRates { scope, limits });

/// The counters as of an entry; everything after it is still a booking.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Checkpoint {
    seq: u64,
    head: String,
    wallet: Wallet,
    counters: Vec<Posted>,
    /// The last entry that the journal had: rows up to here only tell what ended.
    journaled: u64,
    /// Rates that are not at rest: when the next request and the next token are due, in nanoseconds since 1970.
    rates: Vec<(Scope, (u64, u64))>,
    #[serde(skip_serializing_if = "String::is_empty")]
    arms: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    seen: String,
}

json::members!(Checkpoint {
    seq, head, wallet, counters, journaled = 0, rates = Vec::new(), arms = String::new(), seen = String::new(),
});

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
    keys: Table<String, StoredKey>,
    groups: Table<String, Group>,
    members: Table<String, Member>,
    tenant: Tenant,
    budgets: Budgets,
    rate_limits: Table<Scope, RateLimits>,
    policies: Table<Scope, Box<Written>>,
    wallet: Wallet,
    bookings: HashMap<String, Booking>,
    ended: Ended,
    lessons: Lessons,
    arms: Arms,
    /// Where the trail ends, and what of it waits for the journal.
    trail: Trail,
    audits: Vec<Entry>,
    /// What new members of a scope get.
    defaults: Table<Scope, Defaults>,
    /// When keys were used last, and when that was kept last; and which of them are to be kept.
    used: Table<String, (Millis, Millis)>,
    touched: Vec<String>,
    webhooks: Table<String, Webhook>,
    alerts: Table<String, Alert>,
    wallet_terms: WalletTerms,
    auto_topup: AutoTopUp,
    /// What was told of: under its name, when or how far.
    fired: Table<String, String>,
    /// Failures of providers in a row.
    failures: Table<String, u32>,
    /// Alerts of this instance: no two of them have one id.
    raised: u32,
    /// Rows that come along with the turn.
    news: Vec<Write>,
    /// When the next alert has to be sent.
    deliver_at: Option<Millis>,
    payments: Payments,
    /// Answers to requests that may come again, by key and `Idempotency-Key`.
    once: Table<String, Once>,
    /// Refusals kept in this hour, by key.
    denied: (u64, HashMap<String, u32>),
    /// Where each session's prompt was read last, and when.
    warm: Table<String, (String, Millis)>,
    /// What is given only once, with the entry that did: refunds by what was given back, credits by their own id.
    given: Table<String, String>,
    /// Entries that wait for the journal, by sequence.
    outbox: Queue<(u64, String)>,
    /// When holds and suspenses run out.
    deadlines: Queue<(Millis, String)>,
    rates: Table<Scope, Rates>,
    seq: u64,
    head: String,
    flush_at: Option<Millis>,
    flush_failures: u32,
    checkpointed: Millis,
    /// Rows of counters beside the checkpoint's own.
    counter_rows: usize,
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
            keys: Table::default(),
            groups: Table::default(),
            members: Table::default(),
            tenant: Tenant::default(),
            budgets: Budgets::default(),
            rate_limits: Table::default(),
            policies: Table::default(),
            wallet: Wallet::default(),
            bookings: HashMap::new(),
            ended: Ended::default(),
            lessons: Lessons::default(),
            arms: Arms::default(),
            trail: Trail::default(),
            audits: Vec::new(),
            defaults: Table::default(),
            used: Table::default(),
            touched: Vec::new(),
            webhooks: Table::default(),
            alerts: Table::default(),
            wallet_terms: WalletTerms::default(),
            auto_topup: AutoTopUp::default(),
            fired: Table::default(),
            failures: Table::default(),
            raised: 0,
            news: Vec::new(),
            deliver_at: None,
            payments: Payments::default(),
            once: Table::default(),
            denied: (0, HashMap::new()),
            warm: Table::default(),
            given: Table::default(),
            outbox: Queue::default(),
            deadlines: Queue::default(),
            rates: Table::default(),
            seq: 0,
            head: GENESIS.to_owned(),
            flush_at: None,
            flush_failures: 0,
            checkpointed: Millis(0),
            counter_rows: 0,
        };
        let (mut checkpoint, mut journaled, mut arms_at) = (None, 0, None);
        for row in records {
            account.restore(&row, &mut checkpoint).map_err(|error| format!("{} {}: {error}", row.kind, row.id))?;
        }
        account.take_up_trail();
        account.deliver_at = account.next_delivery();
        account.payments.take_up();
        if let Some(Checkpoint { seq, head, wallet, counters, rates, journaled: through, arms, seen }) = checkpoint {
            arms_at = account.arms.restore(&arms);
            account.lessons.seen.restore(&seen);
            account.budgets.restore(&counters);
            for (scope, (requests, tokens)) in rates {
                let rates = Rates { requests: Gcra::at(requests), tokens: Gcra::at(tokens), open: 0 };
                account.rates.insert(scope, rates);
            }
            (account.seq, account.head, account.wallet) = (seq, head, wallet);
            journaled = through;
        }
        account.replay(bookings, journaled)?;
        let judged = account.lessons.learn_stored(arms_at.unwrap_or_default());
        for (comparison, score, at) in judged {
            account.arms.judge(&comparison, score, at);
        }
        Ok(account)
    }

    fn count_hold(&mut self, hold: &Hold) {
        self.budgets.hold(&hold.counted, hold.grant.amount, hold.at);
        self.wallet.held = self.wallet.held.plus(hold.of_wallet());
    }

    /// Counts calls in flight, up or down.
    fn count_open(&mut self, scopes: &[Scope], change: i64) {
        for scope in scopes {
            if let Some(rates) = self.rates.get_mut(scope) {
                rates.open = rates.open.saturating_add_signed(change);
            } else {
                let open = u64::try_from(change).unwrap_or_default();
                self.rates.insert(scope.clone(), Rates { open, ..Rates::default() });
            }
        }
    }

    /// Answers one letter.
    pub fn turn(&mut self, letter: Letter, now: Millis) -> Turn {
        let mut turn = self.answer(letter, now);
        turn.writes.append(&mut self.news);
        turn
    }

    fn answer(&mut self, letter: Letter, now: Millis) -> Turn {
        match letter {
            Letter::Found { organization, admin_key, credit, owner } => {
                self.found(organization, admin_key, credit, owner, now)
            }
            Letter::Credit(credit) => self.credit(credit, now),
            Letter::Refund(refund) => self.refund(refund, now),
            Letter::Find { caller, id } => self.find(&caller, &id, now),
            Letter::Summary { .. } if self.organization.id.is_empty() => {
                Turn::refused(Refusal::NotFound { what: "organization".into() })
            }
            Letter::Summary { providers } => Turn::told(Answer::Summary(Box::new(self.summary(&providers, now)))),
            Letter::Hold(hold) => self.hold(hold, now),
            Letter::Extend(extend) => self.extend(extend, now),
            Letter::Post(post) => self.post(post, now),
            Letter::Key { caller, session } => match self.prove(&caller, KeyKind::Inference, now) {
                Ok(key) => Turn::told(self.holder_told(&caller.key_id, key, &session, now)),
                Err(refusal) => Turn::refused(refusal),
            },
            Letter::Fund { id, claim } => self.fund(&id, *claim, now),
            Letter::Give { nonce, to, seen } => self.give(&nonce, &to, seen, now),
            Letter::Funded { nonce, outcome } => self.funded(&nonce, outcome, now),
            Letter::Refundable(_) => self.refundable(now),
            Letter::Leave(payment) => self.leave_channel(&payment, now),
            Letter::Withdraw { id, payment } => self.withdraw(&id, *payment, now),
            Letter::Balance(_) => Turn::told(Answer::Told { status: 200, body: self.balance_told() }),
            Letter::Whoami(caller) => match self.prove(&caller, KeyKind::Inference, now) {
                Ok(key) => {
                    let tenant = Box::new(self.tenant_of(&self.path(&caller.key_id, &key.spec)));
                    Turn::told(Answer::Whoami { spec: Box::new(key.spec.clone()), tenant })
                }
                Err(refusal) => Turn::refused(refusal),
            },
            Letter::Admin { caller, ask } => {
                // An invite opens one act of this plane.
                let plane = if caller.kind == KeyKind::Invite { KeyKind::Invite } else { KeyKind::Admin };
                match self.prove(&caller, plane, now).map(|_| ()) {
                    Ok(()) => self.admin(&caller, ask, now),
                    // Accepted before, by this very request: its answer was lost.
                    Err(Refusal::RevokedKey) if plane == KeyKind::Invite => match self.repeated(&caller, &ask, now) {
                        Err(turn) => turn,
                        Ok(_) => Turn::refused(Refusal::RevokedKey),
                    },
                    Err(refusal) => Turn::refused(refusal),
                }
            }
            Letter::Prove(caller) => match self.prove(&caller, KeyKind::Admin, now) {
                Ok(_) => self.may_read_books(&caller).map_or_else(|turn| turn, |()| Turn::told(Answer::Posted)),
                Err(refusal) => Turn::refused(refusal),
            },
            Letter::Learn { caller, id, lesson } => match self.admits_lesson(&caller, now) {
                Ok(()) => self.learn(&caller, &id, lesson, now),
                Err(refusal) => Turn::refused(refusal),
            },
            Letter::Reseal { swaps } => self.reseal(&swaps),
            Letter::Standing(wanted) => self.standing(wanted, now),
            Letter::Nudge => Turn::told(Answer::Posted),
        }
    }

    /// The key of a caller, if it is good for this plane.
    fn prove(&self, caller: &Caller, plane: KeyKind, now: Millis) -> Result<&StoredKey, Refusal> {
        let key = self.keys.get(&caller.key_id).ok_or(Refusal::UnknownKey)?;
        if !key.is(&caller.digest, now) || key.kind != caller.kind {
            return Err(Refusal::UnknownKey);
        }
        if key.kind != plane {
            return Err(Refusal::WrongKind);
        }
        if key.revoked {
            return Err(Refusal::RevokedKey);
        }
        if key.spec.has_expired(now) {
            return Err(Refusal::ExpiredKey);
        }
        if key.disabled {
            return Err(Refusal::KeyDisabled);
        }
        let owner = key.spec.owner_member_id.as_ref().and_then(|id| self.members.get(id));
        if owner.is_some_and(|owner| owner.disabled) {
            return Err(Refusal::MemberDisabled);
        }
        if plane == KeyKind::Inference {
            self.stands()?;
        }
        Ok(key)
    }

    fn wallet_account(&self) -> String {
        format!("liability:wallet:{}", self.organization.id)
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
        self.watch_money(&counted, now);
        self.outbox.insert((entry.seq, entry.id.clone()));
        self.flush_at.get_or_insert(now.after(self.terms.outbox_flush_ms));
        self.put(entry.id.clone(), Booking::Posted { entry, counted })
    }

    fn put(&mut self, id: String, booking: Booking) -> Write {
        self.take(&id);
        if !matches!(booking, Booking::Posted { .. }) {
            self.deadlines.insert((deadline(&booking), id.clone()));
        }
        if let Booking::Held(hold) = &booking {
            self.count_open(&hold.scopes(), 1);
        }
        let body = Some(json::write(&booking));
        self.bookings.insert(id.clone(), booking);
        Write::Booking { id, body }
    }

    fn take(&mut self, id: &str) -> Option<Booking> {
        let booking = self.bookings.remove(id)?;
        self.deadlines.remove(&(deadline(&booking), id.to_owned()));
        if let Booking::Held(hold) = &booking {
            self.count_open(&hold.scopes(), -1);
        }
        Some(booking)
    }

    /// An id is done with, without an entry. While a letter of it may still come, its row stays and tells when that was.
    fn end(&mut self, id: String, now: Millis) -> Write {
        self.take(&id);
        self.ended.insert(id.clone(), now);
        Write::Booking { id, body: Some(now.0.to_string()) }
    }

    /// The entries the journal needs next, if it is time.
    #[must_use]
    pub fn due(&self, now: Millis) -> Vec<&Entry> {
        if self.flush_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let entry = |(_, id): &(u64, String)| match self.bookings.get(id) {
            Some(Booking::Posted { entry, .. }) => Some(entry),
            _ => None,
        };
        self.outbox.iter().take(JOURNAL_BATCH).filter_map(entry).collect()
    }

    /// The journal has everything up to an entry: its bookings go, and the counters are kept as a checkpoint.
    pub fn journaled(&mut self, through: u64, now: Millis) -> Vec<Write> {
        let mut writes = Vec::new();
        while let Some((_, id)) = self.outbox.take_first(|(seq, _)| *seq <= through) {
            // The row of an entry tells the same.
            if let Some(Booking::Posted { entry, .. }) = self.take(&id) {
                self.ended.insert(id, entry.at);
            }
        }
        self.flush_failures = 0;
        self.flush_at = self.waits().then_some(now);
        self.checkpoint(now, &mut writes);
        writes
    }

    /// The journal did not take the entries: later, and later each time, up to a minute.
    pub fn journal_failed(&mut self, now: Millis) {
        self.flush_failures = (self.flush_failures + 1).min(6);
        self.flush_at = Some(now.after(1_000 << self.flush_failures));
    }

    fn checkpoint(&mut self, now: Millis, writes: &mut Vec<Write>) {
        let mut kept = self.budgets.checkpoint(now, &self.organization.zone);
        self.checkpointed = now;
        writes.extend(self.ended.forget(now).into_iter().map(|id| Write::Booking { id, body: None }));
        // A row holds two megabytes; most accounts need one row.
        let others = kept.counters.split_off(kept.counters.len().min(COUNTERS_PER_ROW));
        let rows = others.chunks(COUNTERS_PER_ROW).len();
        for (place, counters) in others.chunks(COUNTERS_PER_ROW).enumerate() {
            writes.push(record("counters", &place.to_string(), Some(&counters)));
        }
        for place in rows..self.counter_rows {
            writes.push(Write::Record { kind: "counters", id: place.to_string(), body: None });
        }
        self.counter_rows = rows;
        for (counted, row) in kept.sessions {
            let id = format!("{}|{}", String::from(counted.scope), counted.window_id);
            writes.push(record("session", &id, row.as_ref()));
        }
        self.rates.retain(|_, rates| rates.open > 0 || rates.requests.due(now).or(rates.tokens.due(now)).is_some());
        let due = |rates: &Rates| {
            let due = (rates.requests.due(now), rates.tokens.due(now));
            (due != (None, None)).then(|| (due.0.unwrap_or_default(), due.1.unwrap_or_default()))
        };
        let checkpoint = Checkpoint {
            seq: self.seq,
            head: self.head.clone(),
            wallet: self.wallet,
            counters: kept.counters,
            journaled: self.outbox.first().map_or(self.seq, |(seq, _)| seq - 1),
            // Hints of what is left of a minute: those of more keys than a row holds are not missed.
            rates: self
                .rates
                .iter()
                .filter_map(|(scope, rates)| Some((scope.clone(), due(rates)?)))
                .take(COUNTERS_PER_ROW)
                .collect(),
            arms: self.arms.to_text(now),
            seen: self.lessons.seen.to_text(),
        };
        writes.push(record("checkpoint", "", Some(&checkpoint)));
        writes.extend(self.uses_kept());
    }

    /// When the alarm has to ring next.
    #[must_use]
    pub fn wake(&self) -> Option<Millis> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let due = self.payments.dues.first().map(|(at, _)| *at);
        [self.flush_at, deadline, self.deliver_at, due, self.topup_at()].into_iter().flatten().min()
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
    if entry.kind.pays_in() {
        wallet.credits = wallet.credits.plus(entry.amount_usd);
    } else {
        let paid = Nanos(-entry.amount_usd.0);
        wallet.posted = wallet.posted.plus(paid);
        budgets.post(counted, held, paid, entry.at);
    }
}

fn record(kind: &'static str, id: &str, body: Option<&impl Serialize>) -> Write {
    row(kind, id, body.map(json::write))
}

#[inline(never)]
fn row(kind: &'static str, id: &str, body: Option<String>) -> Write {
    Write::Record { kind, id: id.to_owned(), body }
}

#[cfg(test)]
mod payment_tests;
#[cfg(test)]
mod tests;
