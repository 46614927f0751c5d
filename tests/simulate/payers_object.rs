//! The object behind a wallet's account: rows that are written with a turn or not at all, memory that goes at any time, one alarm.
use megarouter::{
    account::{
        Account, Led, Terms, Write,
        letter::{Answer, Caller, Letter, Summary},
        payments::{Inquiry, Settlers},
    },
    ledger::Entry,
    time::Millis,
};
use serde_json::Value;

use super::chain::PAYER;
use crate::object::Rows;

/// After a turn that failed, the alarm rings so much later.
const RETRY_MS: u64 = 60_000;

pub struct Object {
    terms: Terms,
    pub rows: Rows,
    account: Option<Account>,
    armed: Option<Millis>,
    pub alarm: Option<Millis>,
}

/// What the account says of itself.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub balance: Value,
    pub summary: Box<Summary>,
}

fn told(account: &mut Account, now: Millis) -> Result<Told, String> {
    let Led { answer, writes } = account.turn(Letter::Balance(Caller::of_payer(&PAYER, "")), now).into_inner();
    let Answer::Told { body: balance, .. } = answer else { return Err(format!("no balance: {answer:?}")) };
    if !writes.is_empty() {
        return Err(format!("rows were left behind by the step before: {writes:?}"));
    }
    let summary = match account.turn(Letter::Summary { providers: Vec::new() }, now).into_inner().answer {
        Answer::Summary(summary) => summary,
        _ => Box::default(),
    };
    Ok(Told { balance, summary })
}

impl Object {
    pub fn new(terms: Terms) -> Self {
        Self { terms, rows: Rows::default(), account: None, armed: None, alarm: None }
    }

    fn account(&mut self) -> &mut Account {
        if self.account.is_none() {
            self.account = Some(self.rows.load(self.terms));
        }
        self.account.as_mut().expect("loaded")
    }

    /// One step of the machine with its writes, or nothing of it.
    fn step<T>(&mut self, throws: bool, step: impl FnOnce(&mut Account) -> (T, Vec<Write>)) -> Option<(T, Vec<Write>)> {
        let (told, writes) = step(self.account());
        if throws {
            self.restart();
            return None;
        }
        writes.iter().cloned().for_each(|write| self.rows.write(write));
        Some((told, writes))
    }

    pub fn call(&mut self, letter: Letter, now: Millis, throws: bool) -> Option<(Answer, Vec<Write>)> {
        self.step(throws, |account| {
            let Led { answer, writes } = account.turn(letter, now).into_inner();
            (answer, writes)
        })
    }

    pub fn ring(&mut self, now: Millis, settlers: &Settlers, throws: bool) -> Option<(Vec<Inquiry>, Vec<Write>)> {
        self.armed = None;
        self.step(throws, |account| {
            let mut writes = account.expire(now);
            let (due, more) = account.inquiries(now, settlers);
            writes.extend(more);
            (due, writes)
        })
    }

    pub fn answered(&mut self, asked: &Inquiry, answer: (u16, &[u8]), now: Millis, throws: bool) -> Option<Vec<Write>> {
        let (status, body) = answer;
        let step = |account: &mut Account| ((), account.answered(&asked.nonce, asked.step, status, body, now));
        self.step(throws, step).map(|((), writes)| writes)
    }

    pub fn due(&mut self, now: Millis) -> Vec<Entry> {
        self.account.as_ref().map_or_else(Vec::new, |account| account.due(now).into_iter().cloned().collect())
    }

    pub fn sent(&mut self, through: Option<u64>, now: Millis, throws: bool) -> Option<Vec<Write>> {
        let sent = self.step(throws, |account| {
            let Some(through) = through else {
                account.journal_failed(now);
                return ((), Vec::new());
            };
            ((), if through > 0 { account.journaled(through, now) } else { Vec::new() })
        });
        sent.map(|((), writes)| writes)
    }

    /// Sets the alarm where it would ring too late.
    pub fn arm(&mut self, now: Millis) {
        let wanted = self.account.as_ref().map_or(Some(now.after(RETRY_MS)), Account::wake);
        let Some(wanted) = wanted else { return };
        if self.armed.is_none_or(|armed| wanted < armed) {
            (self.armed, self.alarm) = (Some(wanted), Some(wanted));
        }
    }

    pub fn restart(&mut self) {
        (self.account, self.armed) = (None, None);
    }

    pub fn told(&mut self, now: Millis) -> Result<Told, String> {
        told(self.account(), now)
    }

    /// The same of an account that is made from the rows.
    pub fn told_by_rows(&self, now: Millis) -> Result<Told, String> {
        told(&mut self.rows.load(self.terms), now)
    }
}
