//! Books of our own, kept beside the account from the letters it took in and what it answered. They share no code with it
//! that counts: every sum is made again from the list of calls, so that a wrong counter shows.
use crate::{
    buckets::{Buckets, Limited},
    letters::{ADMIN, BudgetTold, Deed, OWNER, WalletTold, first_credit, key, tail},
    seen::Seen,
};
use megarouter::{
    account::letter::{Answer, KeySpec, Letter, OtherAttempt, PostLetter, PostOutcome, Summary},
    budget::RateLimits,
    id::{Scope, made_at, mint},
    ledger::{CallRecord, Entry, EntryKind, GENESIS},
    money::Nanos,
    time::{Millis, Window, Zone},
};
use std::collections::{BTreeMap, BTreeSet};

/// What a suspense waits for proof.
const SUSPENSE_MS: u64 = 86_400_000;
/// How long an account remembers at least what ended, by its own clock.
const KEPT_MS: u64 = 120_000;
/// An id that is older begins nothing.
const LATE_MS: u64 = 900_000;

#[derive(Default)]
pub struct Books {
    settle_ms: u64,
    pub zone: Zone,
    pub version: u64,
    pub keys: BTreeMap<String, KeyBook>,
    pub groups: BTreeMap<String, Option<String>>,
    pub members: BTreeMap<String, MemberBook>,
    pub budgets: BTreeMap<(Scope, Window), BudgetBook>,
    pub rates: BTreeMap<Scope, RateLimits>,
    /// What routing policies deny.
    pub denied: BTreeMap<Scope, String>,
    pub buckets: Buckets,
    pub calls: BTreeMap<String, Call>,
    /// Requests that were closed before they were held.
    pub closed_before: BTreeSet<String>,
    credits: BTreeMap<String, Nanos>,
    /// Charges that were given back, with what was.
    refunds: BTreeMap<String, (String, Nanos)>,
    pub entries: Vec<Booked>,
    /// Entries of which the account's rows have nothing any more.
    journaled: usize,
    /// When calls ended, and those that were closed before they were held.
    ended: BTreeMap<String, Millis>,
    /// The latest that the account's clock has shown.
    latest: Millis,
    pub seen: Seen,
}

pub struct KeyBook {
    pub digest: String,
    pub spec: KeySpec,
    pub revoked: bool,
}

pub struct MemberBook {
    pub group: Option<String>,
    pub disabled: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct BudgetBook {
    limit: Nanos,
    soft: bool,
    extra: Option<(Nanos, Millis)>,
}

/// Where something is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub scope: Scope,
    pub window: Window,
    pub window_id: String,
}

pub struct Call {
    pub held_at: Millis,
    pub key_id: String,
    pub path: Vec<Scope>,
    pub session: String,
    pub amount: Nanos,
    pub allowed: Vec<usize>,
    pub tokens: u64,
    pub cells: Vec<Cell>,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Open { settle_by: Millis },
    Suspense { metered: Nanos, until: Millis, call: Box<CallRecord> },
    Posted(Nanos),
    Released,
}

impl Call {
    pub fn held(&self) -> i64 {
        match self.state {
            State::Open { .. } | State::Suspense { .. } => self.amount.0,
            State::Posted(_) | State::Released => 0,
        }
    }

    pub fn posted(&self) -> i64 {
        match self.state {
            State::Posted(amount) => amount.0,
            _ => 0,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Posted(_) | State::Released)
    }
}

/// An entry that must stand in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Booked {
    pub id: String,
    pub kind: EntryKind,
    pub amount: Nanos,
    pub at: Millis,
    pub call: Option<CallRecord>,
}

impl Booked {
    fn matches(&self, entry: &Entry) -> bool {
        let Self { id, kind, amount, at, call } = self;
        (id, *kind, *amount, *at, call) == (&entry.id, entry.kind, entry.amount_usd, entry.at, &entry.call)
    }
}

pub fn must(kept: bool, promise: impl FnOnce() -> String) -> Result<(), String> {
    if kept { Ok(()) } else { Err(promise()) }
}

impl Books {
    pub fn new(settle_ms: u64) -> Self {
        Self { settle_ms, ..Self::default() }
    }

    /// Takes a turn in that was committed, and judges what the account answered.
    pub fn take_in(
        &mut self,
        letter: &Letter,
        deed: Option<&Deed>,
        now: Millis,
        answer: &Answer,
    ) -> Result<(), String> {
        self.latest = self.latest.max(now);
        match (letter, deed, answer) {
            (Letter::Hold(hold), _, _) => self.judge_hold(hold, now, answer),
            (Letter::Extend(extend), _, _) => self.judge_extension(extend, now, answer),
            (Letter::Post(post), _, Answer::Posted) => self.post(post, now),
            (_, Some(deed), Answer::Posted | Answer::Told { status: 200 | 201, .. }) => {
                let before = self.wallet().available;
                self.done(deed, now);
                if matches!(letter, Letter::Admin { .. }) {
                    self.audit(now);
                }
                let after = self.wallet().available;
                must(after >= Nanos::ZERO || after >= before, || {
                    format!("the wallet is overspent by {deed:?}: {after}")
                })
            }
            (_, Some(Deed::DeleteBudget { scope, window }), Answer::Refused(_)) => {
                must(!self.budgets.contains_key(&(scope.clone(), *window)), || "a budget that is there is found".into())
            }
            (_, Some(Deed::Credit { amount, adjusts: true, .. }), Answer::Refused(_)) => {
                let left = self.wallet().available.0 + amount.0;
                must(left < 0, || format!("an adjustment leaves {left} in the wallet"))
            }
            (_, Some(Deed::Refund { of, .. }), Answer::Refused(_)) => {
                must(self.refunds.contains_key(of), || "a charge is given back once".into())
            }
            // A scope that was never made, because its letter was lost.
            (Letter::Admin { .. }, Some(_), Answer::Refused(_)) | (Letter::Nudge, None, Answer::Posted) => Ok(()),
            _ => Err(format!("an answer nobody expects: {answer:?}")),
        }
    }

    /// What an admin did leaves a row of its own.
    fn audit(&mut self, at: Millis) {
        let id = mint("aud", at, self.entries.len() as u128 + 1);
        self.entries.push(Booked { id, kind: EntryKind::Audit, amount: Nanos::ZERO, at, call: None });
    }

    fn credit(&mut self, id: &str, amount: Nanos, kind: EntryKind, at: Millis) {
        if self.credits.insert(id.to_owned(), amount).is_none() {
            self.entries.push(Booked { id: id.to_owned(), kind, amount, at, call: None });
        }
    }

    fn refund(&mut self, id: String, of: &str, amount: Nanos, at: Millis) {
        if !self.refunds.contains_key(of) {
            self.seen.count("refund");
            self.refunds.insert(of.to_owned(), (id.clone(), amount));
            self.entries.push(Booked { id, kind: EntryKind::Refund, amount, at, call: None });
        }
    }

    /// What an admin or the operator did.
    fn done(&mut self, deed: &Deed, now: Millis) {
        match deed.clone() {
            Deed::Found { credit, zone, owned } => {
                if owned {
                    self.members.insert(OWNER.to_owned(), MemberBook { group: None, disabled: false });
                }
                self.zone = zone;
                let admin = KeyBook { digest: ADMIN.digest.clone(), spec: KeySpec::default(), revoked: false };
                if self.keys.insert(ADMIN.id.clone(), admin).is_none() {
                    self.audit(now);
                }
                self.credit(&first_credit(), credit, EntryKind::Credit, now);
            }
            Deed::Credit { id, amount, adjusts } => {
                let kind = if adjusts { EntryKind::Adjustment } else { EntryKind::Credit };
                self.credit(&id, amount, kind, now);
            }
            Deed::Refund { id, of, amount } => self.refund(id, &of, amount, now),
            Deed::PutKey { place, mut spec } => {
                if spec.owner_member_id.is_none() && self.members.contains_key(OWNER) {
                    spec.owner_member_id = Some(OWNER.to_owned());
                }
                let made = key(place);
                self.keys.insert(made.id.clone(), KeyBook { digest: made.digest.clone(), spec, revoked: false });
            }
            Deed::RevokeKey(place) => self.keys.get_mut(&key(place).id).into_iter().for_each(|key| key.revoked = true),
            Deed::PutBudget { scope, window, limit, soft } => {
                let extra = self.budgets.get(&(scope.clone(), window)).and_then(|old| old.extra);
                self.budgets.insert((scope, window), BudgetBook { limit, soft, extra });
            }
            Deed::DeleteBudget { scope, window } => {
                self.budgets.remove(&(scope.clone(), window));
                // Another budget begins with what is held, not with what was spent.
                for call in self.calls.values_mut().filter(|call| call.is_closed()) {
                    call.cells.retain(|cell| (&cell.scope, cell.window) != (&scope, window));
                }
                self.checkpoint(now);
            }
            Deed::PutOverride { scope, window, extra, until } => {
                // The moment is told to the second.
                let until = Millis(until.seconds() * 1_000);
                if let Some(budget) = self.budgets.get_mut(&(scope, window)) {
                    budget.extra = Some((extra, until));
                }
            }
            Deed::DeleteOverride { scope, window } => {
                self.budgets.get_mut(&(scope, window)).into_iter().for_each(|budget| budget.extra = None);
            }
            Deed::PutRates { scope, limits } => {
                if let Scope::ApiKey(id) = &scope {
                    let RateLimits { rpm, tpm, concurrency } = limits;
                    let key = self.keys.get_mut(id).into_iter();
                    key.for_each(|key| (key.spec.rpm, key.spec.tpm, key.spec.concurrency) = (rpm, tpm, concurrency));
                } else {
                    self.rates.insert(scope, limits);
                }
            }
            Deed::MakeGroup { id, parent } => drop(self.groups.insert(id, parent)),
            Deed::MakeMember { id, group } => drop(self.members.insert(id, MemberBook { group, disabled: false })),
            Deed::MoveMember { id, group } => {
                self.members.get_mut(&id).into_iter().for_each(|member| member.group = Some(group.clone()));
                self.version += u64::from(!self.denied.is_empty());
            }
            Deed::DisableMember(id) => {
                self.members.get_mut(&id).into_iter().for_each(|member| member.disabled = true);
                self.version += u64::from(!self.denied.is_empty());
            }
            Deed::PutRoute => self.version += 1,
            Deed::SetPolicy { scope, deny } => {
                match deny {
                    Some(name) => self.denied.insert(scope, name),
                    None => self.denied.remove(&scope),
                };
                self.version += 1;
            }
        }
    }

    /// What the account writes down for a restart. A window without a budget that no open call counts in is forgotten.
    fn checkpoint(&mut self, now: Millis) {
        self.buckets.save(now);
        let mut idle: Vec<Cell> = Vec::new();
        for cell in self.calls.values().flat_map(|call| &call.cells) {
            let limited = self.budgets.contains_key(&(cell.scope.clone(), cell.window));
            if !limited && !idle.contains(cell) && self.counted(cell).1 == 0 {
                idle.push(cell.clone());
            }
        }
        for call in self.calls.values_mut() {
            call.cells.retain(|cell| !idle.contains(cell));
        }
    }

    // The tree.

    /// The scopes that a call with a key counts in, narrowest first.
    pub fn path(&self, key_id: &str) -> Vec<Scope> {
        let mut path = vec![Scope::ApiKey(key_id.to_owned())];
        if let Some(owner) = self.keys.get(key_id).and_then(|key| key.spec.owner_member_id.clone()) {
            let mut group = self.members.get(&owner).and_then(|member| member.group.clone());
            path.push(Scope::Member(owner));
            while let Some(id) = group {
                group = self.groups.get(&id).cloned().flatten();
                path.push(Scope::Group(id));
            }
        }
        path.push(Scope::Organization);
        path
    }

    /// The version of the routing policies over a key; 0 for none.
    pub fn policies_version(&self, key_id: &str) -> u64 {
        if self.path(key_id).iter().any(|scope| self.denied.contains_key(scope)) { self.version } else { 0 }
    }

    /// Whether a routing policy on a path denies a model.
    pub fn denies(&self, path: &[Scope], provider: &str, model: &str) -> bool {
        path.iter().filter_map(|scope| self.denied.get(scope)).any(|name| {
            name == "*"
                || name == provider
                || name == model
                || name.split_once('/').is_some_and(|(of, rest)| of == provider && (rest == "*" || rest == model))
        })
    }

    pub fn is_disabled(&self, key: &KeyBook) -> bool {
        let owner = key.spec.owner_member_id.as_ref().and_then(|id| self.members.get(id));
        owner.is_some_and(|member| member.disabled)
    }

    /// The rates of a path, with the calls that each scope has in flight.
    pub fn limited(&self, path: &[Scope], key_id: &str) -> Vec<Limited> {
        let limits = |scope: &Scope| match scope {
            Scope::ApiKey(_) => {
                let spec = &self.keys.get(key_id)?.spec;
                Some(RateLimits { rpm: spec.rpm, tpm: spec.tpm, concurrency: spec.concurrency })
            }
            _ => self.rates.get(scope).copied(),
        };
        let open = |scope: &Scope| {
            let inside = |call: &&Call| call.is_open() && call.path.contains(scope);
            self.calls.values().filter(inside).count() as u64
        };
        path.iter().filter_map(|scope| Some((scope.clone(), limits(scope)?, open(scope)))).collect()
    }

    // What counts where.

    fn cell(&self, scope: &Scope, window: Window, session: &str, at: Millis) -> Cell {
        let window_id = if window == Window::Session { session.to_owned() } else { window.id(at, &self.zone) };
        Cell { scope: scope.clone(), window, window_id }
    }

    /// The windows of a path that have a budget.
    pub fn cells(&self, path: &[Scope], session: &str, at: Millis) -> Vec<Cell> {
        let on_path = self
            .budgets
            .keys()
            .filter(|(scope, window)| path.contains(scope) && (*window != Window::Session || !session.is_empty()));
        on_path.map(|(scope, window)| self.cell(scope, *window, session, at)).collect()
    }

    /// What a hard budget lets be spent in a cell.
    pub fn ceiling(&self, cell: &Cell, at: Millis) -> Option<Nanos> {
        let budget = self.budgets.get(&(cell.scope.clone(), cell.window)).filter(|budget| !budget.soft)?;
        let extra = budget.extra.filter(|(_, until)| at < *until).map_or(0, |(extra, _)| extra.0);
        Some(Nanos(budget.limit.0 + extra))
    }

    /// Posted and held in a cell.
    pub fn counted(&self, cell: &Cell) -> (i64, i64) {
        let calls = self.calls.values().filter(|call| call.cells.contains(cell));
        calls.fold((0, 0), |(posted, held), call| (posted + call.posted(), held + call.held()))
    }

    /// The most that a call can hold: the next nano-dollar is too much.
    pub fn room(&self, cells: &[Cell], now: Millis) -> Nanos {
        let left = cells.iter().filter_map(|cell| {
            let (posted, held) = self.counted(cell);
            Some(self.ceiling(cell, now)?.0 - posted - held)
        });
        Nanos(left.min().unwrap_or(i64::MAX).min(self.wallet().available.0))
    }

    pub fn wallet(&self) -> WalletTold {
        let credits = self.credits.values().map(|amount| amount.0).sum::<i64>();
        let refunds = self.refunds.values().map(|(_, amount)| amount.0).sum::<i64>();
        let posted = self.calls.values().map(Call::posted).sum::<i64>() - refunds;
        let held = self.calls.values().map(Call::held).sum::<i64>();
        let [credits, posted, held, available] = [credits, posted, held, credits - posted - held].map(Nanos);
        WalletTold { credits, posted, held, available }
    }

    pub fn budget(&self, scope: &Scope, window: Window, now: Millis) -> BudgetTold {
        let cell = self.cell(scope, window, "", now);
        let (posted, held) = self.counted(&cell);
        BudgetTold { window_id: cell.window_id, posted: Nanos(posted), held: Nanos(held) }
    }

    pub fn settle_by(&self, now: Millis) -> Millis {
        now.after(self.settle_ms)
    }

    // How calls end.

    fn post(&mut self, letter: &PostLetter, now: Millis) -> Result<(), String> {
        let id = &letter.request_id;
        let Some(call) = self.calls.get(id) else {
            if self.closed_before.insert(id.clone()) {
                self.ended.insert(id.clone(), now);
            }
            return Ok(());
        };
        if call.is_closed() {
            self.seen.count("posted again");
            return Ok(());
        }
        if letter.held_at.is_some_and(|at| at != call.held_at) {
            self.seen.count("posted to an earlier hold");
            return Ok(());
        }
        let was_open = call.is_open();
        let (told, until) = match &call.state {
            // Nobody had said anything of it when it ran out.
            State::Suspense { call, until, .. } => (!call.provider.is_empty(), *until),
            _ => (false, now.after(SUSPENSE_MS)),
        };
        if told && matches!(letter.outcome, PostOutcome::Suspense { .. }) {
            return Ok(());
        }
        let (key_id, path) = (call.key_id.clone(), call.path.clone());
        let unused = call.tokens.saturating_sub(letter.tokens);
        let beyond = letter.tokens.saturating_sub(call.tokens);
        let before = self.parts(id);
        self.note_post(id, was_open, now);
        if was_open {
            let limited = self.limited(&path, &key_id);
            self.buckets.give_back(&limited, unused);
            self.buckets.spend(&limited, beyond, now);
        }
        let used = match letter.outcome {
            PostOutcome::Charge(amount) | PostOutcome::Suspense { metered: amount } => amount,
            PostOutcome::Void => Nanos::ZERO,
        };
        for other in letter.others.iter().filter(|_| !told) {
            self.close_other(id, other, used, until, now);
        }
        self.close(id, letter.outcome, &letter.call, until, now);
        self.check_parts(id, before)
    }

    fn note_post(&mut self, id: &str, was_open: bool, now: Millis) {
        let Some(call) = self.calls.get(id) else { return };
        let old = call
            .cells
            .iter()
            .any(|cell| cell.window != Window::Session && cell.window_id != cell.window.id(now, &self.zone));
        if !was_open {
            self.seen.count("suspense resolved");
        }
        if old {
            self.seen.count("posted to a window that ended");
        }
    }

    /// What a call's parts hold and have posted, together.
    fn parts(&self, id: &str) -> i64 {
        let parts = self.calls.iter().filter(|(part, _)| part.split('#').next() == Some(id));
        parts.map(|(_, call)| call.held() + call.posted()).sum()
    }

    /// A posting never makes more of a hold than it was, unless one of its parts is marked as above its own.
    fn check_parts(&self, id: &str, before: i64) -> Result<(), String> {
        let (after, mut parts) =
            (self.parts(id), self.calls.iter().filter(|(part, _)| part.split('#').next() == Some(id)));
        let overrun = parts.any(|(_, call)| call.posted() > call.amount.0);
        must(after <= before || overrun, || {
            format!("a posting makes more of a hold: {after} of {before}, {}", tail(id))
        })
    }

    fn close(&mut self, id: &str, outcome: PostOutcome, record: &CallRecord, until: Millis, now: Millis) {
        let Some(call) = self.calls.get_mut(id) else { return };
        match outcome {
            PostOutcome::Void => {
                call.state = State::Released;
                self.ended.insert(id.to_owned(), now);
            }
            PostOutcome::Charge(amount) => {
                self.book(id, amount, record.clone(), now);
            }
            PostOutcome::Suspense { metered } => {
                call.state = State::Suspense { metered, until, call: Box::new(record.clone()) };
            }
        }
    }

    /// Another attempt of a call: it takes from the hold what the answer has not used.
    fn close_other(&mut self, id: &str, other: &OtherAttempt, used: Nanos, until: Millis, now: Millis) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let amount = other.amount.min(Nanos(call.amount.0 - used.0)).max(Nanos::ZERO);
        call.amount = Nanos(call.amount.0 - amount.0);
        let part = Call {
            held_at: call.held_at,
            key_id: call.key_id.clone(),
            path: call.path.clone(),
            session: call.session.clone(),
            amount,
            allowed: Vec::new(),
            tokens: 0,
            cells: call.cells.clone(),
            state: State::Released,
        };
        let id = format!("{id}#{}", other.number);
        self.calls.insert(id.clone(), part);
        self.close(&id, other.outcome, &other.call, until, now);
        self.seen.count("another attempt");
    }

    fn book(&mut self, id: &str, mut amount: Nanos, mut record: CallRecord, at: Millis) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if record.estimated {
            // An estimate is not charged beyond what is held for it.
            amount = amount.min(call.amount);
            record.held_usd = record.held_usd.min(call.amount);
        }
        call.state = State::Posted(amount);
        self.ended.insert(id.to_owned(), at);
        let path = call.path.iter().filter(|scope| **scope != Scope::Organization).cloned().collect();
        let (api_key_id, session, overrun) = (call.key_id.clone(), call.session.clone(), amount > call.amount);
        let record = CallRecord { api_key_id, path, session, overrun, ..record };
        let amount = Nanos(-amount.0);
        self.entries.push(Booked { id: id.to_owned(), kind: EntryKind::Usage, amount, at, call: Some(record) });
    }

    /// What the account's alarm does: holds nobody closed become suspenses, suspenses that ran out are posted.
    pub fn expire(&mut self, now: Millis) {
        let mut out: Vec<(Millis, String)> = Vec::new();
        for (id, call) in &mut self.calls {
            match &call.state {
                State::Open { settle_by } if *settle_by <= now => {
                    let record = CallRecord { estimated: true, ..CallRecord::default() };
                    let until = now.after(SUSPENSE_MS);
                    call.state = State::Suspense { metered: Nanos::ZERO, until, call: Box::new(record) };
                    self.seen.count("hold ran out");
                }
                State::Suspense { until, .. } if *until <= now => out.push((*until, id.clone())),
                _ => {}
            }
        }
        out.sort();
        for (_, id) in out {
            let Some(call) = self.calls.get(&id) else { continue };
            let State::Suspense { metered, call: record, .. } = call.state.clone() else { continue };
            self.seen.count("suspense ran out");
            let record = CallRecord { estimated: true, resolved_by: "deadline".to_owned(), ..*record };
            self.book(&id, metered, record, now);
        }
    }

    // The account's memory.

    /// The account dropped the bookings of these entries and wrote a checkpoint.
    pub fn journaled(&mut self, through: u64, now: Millis) {
        let through = usize::try_from(through).expect("few entries");
        self.latest = self.latest.max(now);
        self.journaled = self.journaled.max(through);
        self.checkpoint(now);
    }

    /// Memory is gone.
    pub fn restarted(&mut self) {
        self.buckets.restart();
    }

    pub fn has_ended(&self, id: &str) -> bool {
        self.calls.get(id).is_some_and(Call::is_closed) || self.closed_before.contains(id)
    }

    /// Whether the account's rows have nothing any more of what was booked last under an id.
    fn is_journaled(&self, id: &str) -> bool {
        let last = self.entries.iter().rposition(|booked| booked.id == id);
        last.is_some_and(|place| place < self.journaled)
    }

    /// What was held for a charge of a call, which may have begun again since.
    pub fn held_for(&self, id: &str, charge: Nanos) -> Option<Nanos> {
        let named = self.calls.iter().filter(|(name, _)| name.split('~').next() == Some(id));
        let mut charged = named.filter(|(_, call)| call.state == State::Posted(charge));
        charged.next().map(|(_, call)| call.amount)
    }

    /// Whether nothing more is to be done about an id.
    pub fn is_done(&self, id: &str) -> bool {
        self.has_ended(id) || self.is_journaled(id)
    }

    /// Whether an id is too old to begin anything.
    pub fn is_late(id: &str, now: Millis) -> bool {
        made_at(id).is_none_or(|at| now.since(at) >= LATE_MS)
    }

    /// Whether the account may have forgotten that an id ended.
    pub fn is_forgotten(&self, id: &str) -> bool {
        self.ended.get(id).is_some_and(|at| at.after(KEPT_MS) <= self.latest)
    }

    /// A call begins once more under an id whose end was forgotten: what it was before is kept under another name.
    pub fn shelve(&mut self, id: &str) {
        self.closed_before.remove(id);
        self.ended.remove(id);
        if let Some(call) = self.calls.remove(id) {
            self.seen.count("begun again");
            self.calls.insert(format!("{id}~{}", self.calls.len()), call);
        }
    }

    /// An entry about to be journaled is the one these books expect under its number.
    pub fn check_entry(&self, entry: &Entry) -> Result<(), String> {
        let place = usize::try_from(entry.seq).expect("few entries") - 1;
        let booked = self.entries.get(place);
        must(booked.is_some_and(|booked| booked.matches(entry)), || {
            format!("an entry is not the one that was booked: {}\n  {entry:?}\n  {booked:?}", entry.seq)
        })?;
        must(entry.is_sound(), || format!("an entry is sound: {entry:?}"))
    }

    /// What the account says to the reconciler agrees with these books and with the journal.
    pub fn check_summary(&self, summary: &Summary, journal: &[Entry], now: Millis) -> Result<(), String> {
        let seq = usize::try_from(summary.seq).expect("few entries");
        let head = seq.checked_sub(1).map_or(Some(GENESIS), |last| journal.get(last).map(|entry| entry.hash.as_str()));
        must(head == Some(summary.head.as_str()), || {
            format!("the journal has the entry that the account ends with: {seq}")
        })?;
        let sum = |paid_in: bool| {
            let entries = self.entries.iter().take(seq).filter(move |entry| entry.kind.pays_in() == paid_in);
            entries.map(|entry| entry.amount.0).sum::<i64>()
        };
        let (credits, posted) = (Nanos(sum(true)), Nanos(-sum(false)));
        must((summary.wallet.credits, summary.wallet.posted) == (credits, posted), || {
            format!("up to entry {seq} {credits} were paid in and {posted} spent: {summary:?}")
        })?;
        let count =
            |which: fn(&Call, Millis) -> bool| self.calls.values().filter(|call| which(call, now)).count() as u64;
        let open = count(|call, _| call.is_open());
        let overdue =
            count(|call, now| matches!(call.state, State::Open { settle_by } if settle_by.after(60_000) < now));
        let suspended = count(|call, _| matches!(call.state, State::Suspense { .. }));
        let waiting = (self.entries.len() - seq) as u64;
        must(
            (summary.open, summary.overdue, summary.suspended, summary.waiting) == (open, overdue, suspended, waiting),
            || format!("{open} open, {overdue} overdue, {suspended} suspended, {waiting} waiting: {summary:?}"),
        )
    }

    /// An entry is found until the journal has it, and so is a call that is open.
    pub fn check_found(&self, id: &str, answer: &Answer) -> Result<(), String> {
        let call = self.calls.get(id);
        let open = call.is_some_and(|call| !call.is_closed());
        let waits = call.is_some_and(|call| matches!(call.state, State::Posted(_))) && !self.is_journaled(id);
        let told = match answer {
            Answer::Found { entry, open: told } => *told == open && entry.is_some() == waits,
            _ => false,
        };
        must(told, || format!("open {open}, waiting {waits}: {} {answer:?}", tail(id)))
    }

    /// At the end of all time nothing is open.
    pub fn check_quiet(&self) -> Result<(), String> {
        for (id, call) in &self.calls {
            must(call.is_closed(), || format!("a call is open at the end: {} {:?}", tail(id), call.state))?;
        }
        Ok(())
    }
}
