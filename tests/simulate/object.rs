//! The object behind the account, as the shell and the platform make it: rows that are committed with a turn or not at all,
//! memory that is dropped with a throw or at any other time, and one alarm.
use crate::letters::{BudgetTold, WalletTold, budget_told, find, get_budget, get_wallet, summary_told, wallet_told};
use megarouter::{
    account::{
        Account, Led, Row, Terms, Write,
        letter::{Answer, Letter, Summary},
    },
    id::Scope,
    ledger::{Entry, GENESIS},
    time::{Millis, Window},
};
use std::collections::BTreeMap;

#[derive(Clone, Default)]
pub struct Rows {
    pub records: BTreeMap<(String, String), String>,
    pub bookings: BTreeMap<String, String>,
}

impl Rows {
    pub fn write(&mut self, write: Write) {
        match write {
            Write::Record { kind, id, body: Some(body) } => drop(self.records.insert((kind.to_owned(), id), body)),
            Write::Record { kind, id, body: None } => drop(self.records.remove(&(kind.to_owned(), id))),
            Write::Booking { id, body: Some(body) } => drop(self.bookings.insert(id, body)),
            Write::Booking { id, body: None } => drop(self.bookings.remove(&id)),
        }
    }

    pub fn load(&self, terms: Terms) -> Account {
        let row = |kind: &str, id: &str, body: &str| Row { kind: kind.into(), id: id.into(), body: body.into() };
        let records = self.records.iter().map(|((kind, id), body)| row(kind, id, body)).collect();
        let bookings = self.bookings.iter().map(|(id, body)| row("booking", id, body)).collect();
        Account::load(terms, records, bookings).expect("rows of our own are readable")
    }
}

/// After a turn that failed, the alarm rings so much later.
const RETRY_MS: u64 = 60_000;

pub struct Object {
    terms: Terms,
    pub rows: Rows,
    account: Option<Account>,
    /// What this instance believes the alarm is set to.
    armed: Option<Millis>,
    /// What it is set to.
    pub alarm: Option<Millis>,
    /// What the journal has of the trail of admins, by number, and how far this instance knows of it.
    pub trail: BTreeMap<u64, Entry>,
    trailed: u64,
}

impl Object {
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            rows: Rows::default(),
            account: None,
            armed: None,
            alarm: None,
            trail: BTreeMap::new(),
            trailed: 0,
        }
    }

    fn account(&mut self) -> &mut Account {
        let (rows, terms) = (&self.rows, self.terms);
        self.account.get_or_insert_with(|| rows.load(terms))
    }

    /// One step of the machine and its writes, or nothing of it: a throw takes the writes back and memory goes.
    fn step(&mut self, throws: bool, step: impl FnOnce(&mut Account) -> Vec<Write>) -> bool {
        let writes = step(self.account());
        if throws {
            self.restart();
            return false;
        }
        for write in writes {
            self.rows.write(write);
        }
        true
    }

    /// Whether the turn was committed, and what it came to.
    pub fn call(&mut self, letter: Letter, now: Millis, throws: bool) -> Option<Answer> {
        let mut told = None;
        let kept = self.step(throws, |account| {
            let Led { answer, writes } = account.turn(letter, now).into_inner();
            told = Some(answer);
            writes
        });
        told.filter(|_| kept)
    }

    pub fn ring(&mut self, now: Millis, throws: bool) -> bool {
        self.armed = None;
        self.step(throws, |account| account.expire(now))
    }

    /// The entries that are due for the journal, if the account is in memory.
    pub fn due(&mut self, now: Millis) -> Vec<Entry> {
        let Some(account) = &self.account else { return Vec::new() };
        for entry in account.trail_due(now) {
            self.trailed = entry.seq;
            let known = self.trail.entry(entry.seq).or_insert_with(|| entry.clone());
            assert_eq!(*known, entry, "an entry of the trail is always the same");
        }
        account.due(now).into_iter().cloned().collect()
    }

    /// Every entry of the trail is there, sealed over the one before it.
    pub fn trail_is_whole(&self) -> bool {
        let mut before = GENESIS.to_owned();
        (1..).zip(&self.trail).all(|(seq, (_, entry))| {
            let follows = entry.seq == seq && entry.prev_hash == before && entry.is_sound();
            before.clone_from(&entry.hash);
            follows
        })
    }

    /// What sending them came to: the last that the journal has, or that it failed.
    pub fn sent(&mut self, through: Option<u64>, now: Millis, throws: bool) -> bool {
        let trailed = self.trailed;
        self.step(throws, |account| {
            let Some(through) = through else {
                account.journal_failed(now);
                return Vec::new();
            };
            let mut writes = account.trail_journaled(trailed, now);
            writes.extend(if through > 0 { account.journaled(through, now) } else { Vec::new() });
            writes
        })
    }

    /// Sets the alarm where it would ring too late.
    pub fn arm(&mut self, now: Millis) {
        let wanted = match &self.account {
            Some(account) => account.wake(),
            // A turn threw: what waits is looked for again.
            None => Some(now.after(RETRY_MS)),
        };
        let Some(wanted) = wanted else { return };
        if self.armed.is_none_or(|armed| wanted < armed) {
            self.armed = Some(wanted);
            self.alarm = Some(wanted);
        }
    }

    /// The instance is gone; rows and alarm stay.
    pub fn restart(&mut self) {
        self.trailed = 0;
        self.account = None;
        self.armed = None;
    }

    pub fn is_loaded(&self) -> bool {
        self.account.is_some()
    }

    /// What the account tells of its money, without a trace.
    pub fn wallet(&mut self, now: Millis) -> WalletTold {
        wallet_told(&self.account().turn(get_wallet(), now).into_inner().answer)
    }

    pub fn summary(&mut self, now: Millis) -> Summary {
        summary_told(self.account().turn(Letter::Summary { providers: Vec::new() }, now).into_inner().answer)
    }

    pub fn find(&mut self, id: &str, now: Millis) -> Answer {
        self.account().turn(find(id), now).into_inner().answer
    }

    pub fn budget(&mut self, scope: &Scope, window: Window, now: Millis) -> BudgetTold {
        budget_told(&self.account().turn(get_budget(scope, window), now).into_inner().answer)
    }
}
