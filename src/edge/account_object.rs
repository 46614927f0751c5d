//! The object behind an account: loads rows, hands letters to the machine, writes what it says. Decides nothing.
use super::{
    complain,
    error::{Error, Result},
    journal, js_time, now, payer, secrets, storage, stripe,
};
use crate::{
    account::{
        Account, Row, Terms, Write,
        letter::{self, Answer, Letter, Refusal},
        payments::Inquiry,
        topups::{ASK, LOOK},
    },
    audit, json,
    ledger::Entry,
    time::Millis,
};
use js_sys::Uint8Array;
use serde_json::Value;
use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, RefUnwindSafe},
};
use wasm_bindgen::prelude::*;
use worker::Env;

#[wasm_bindgen(module = "/src/edge/objects.js")]
extern "C" {
    /// Hands a letter to the account of that name.
    #[wasm_bindgen(js_name = askAccount, catch)]
    async fn ask_account(env: &JsValue, account: &str, letter: Uint8Array) -> std::result::Result<JsValue, JsValue>;
}

/// Sends a letter to an account (`org:<id>`) and waits for the answer. An object that has too much to do does not take it; the
/// platform marks that: <https://developers.cloudflare.com/durable-objects/best-practices/error-handling/>.
pub async fn ask(env: &Env, account: &str, letter: &Letter) -> Result<Answer> {
    match ask_account(env, account, Uint8Array::from(letter::write(letter).as_slice())).await {
        Ok(answer) => letter::read(&answer.unchecked_into::<Uint8Array>().to_vec()).map_err(Error::from),
        Err(error) if is_overloaded(&error) && !matches!(letter, Letter::Post(_)) => {
            Ok(Answer::Refused(Refusal::Overloaded))
        }
        Err(error) => Err(error.into()),
    }
}

fn is_overloaded(error: &JsValue) -> bool {
    js_sys::Reflect::get(error, &"overloaded".into()).is_ok_and(|overloaded| overloaded.is_truthy())
}

/// The name of an organisation's account.
pub fn account_of(organization: &str) -> String {
    // Wallets stand in the same list under their accounts' names.
    if organization.starts_with(PAYER) { organization.to_owned() } else { format!("org:{organization}") }
}

/// The name of a wallet's account.
pub fn account_of_payer(caip10: &str) -> String {
    format!("{PAYER}{caip10}")
}

const PAYER: &str = "payer:";

#[wasm_bindgen]
pub struct AccountObject {
    state: JsValue,
    env: Env,
    name: String,
    terms: Terms,
    account: RefCell<Option<Account>>,
    /// What the alarm is set to, as far as this instance knows.
    armed: Cell<Millis>,
    /// The last entry of the trail that was sent; none where that failed.
    trailed: Cell<Option<u64>>,
    /// What is to be asked about payments.
    inquiries: Cell<Vec<Value>>,
}

// What a panic may leave half changed is dropped with the instance: the class in `entry.js` makes a new one after a throw.
impl RefUnwindSafe for AccountObject {}

/// After a turn that failed, the alarm rings so much later.
const RETRY_MS: u64 = 60_000;

/// Rows of what admins set, and bookings. `WITHOUT ROWID`: a row written is a row billed, an index would be another.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS record(kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, \
  PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS booking(id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID";

impl AccountObject {
    /// Runs a step of the machine and writes what it says, inside the turn's transaction.
    fn step(&self, step: &mut dyn FnMut(&mut Account) -> Vec<Write>) -> std::result::Result<(), JsValue> {
        let mut slot = self.account.try_borrow_mut().map_err(|_| JsValue::from_str("two turns at once"))?;
        let account = match &mut *slot {
            Some(account) => account,
            empty => empty.insert(self.load()?),
        };
        for write in step(account) {
            self.write(write)?;
        }
        Ok(())
    }

    fn load(&self) -> Result<Account> {
        for statement in TABLES.split(';') {
            storage::run(&self.state, statement, &[])?;
        }
        let records = self.rows("SELECT kind, id, body FROM record", &[])?;
        // In pages: a row is copied several times on its way in.
        let mut bookings: Vec<Row> = Vec::new();
        loop {
            let after = bookings.last().map_or("", |row| row.id.as_str());
            let page = "SELECT 'booking' AS kind, id, body FROM booking WHERE id > ?1 ORDER BY id LIMIT 500";
            let page = self.rows(page, &[after])?;
            if page.is_empty() {
                return Account::load(self.terms, records, bookings).map_err(Error::from);
            }
            bookings.extend(page);
        }
    }

    fn rows(&self, statement: &str, values: &[&str]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for row in storage::exec(&self.state, statement, values)? {
            let text = |column| storage::text(&row, column);
            rows.push(Row { kind: text("kind")?, id: text("id")?, body: text("body")? });
        }
        Ok(rows)
    }

    fn write(&self, write: Write) -> Result<()> {
        let run = |statement, values: &[&str]| storage::run(&self.state, statement, values);
        match write {
            Write::Record { kind, id, body: Some(body) } => {
                run("INSERT OR REPLACE INTO record VALUES(?1, ?2, ?3)", &[kind, &id, &body])
            }
            Write::Record { kind, id, body: None } => {
                run("DELETE FROM record WHERE kind = ?1 AND id = ?2", &[kind, &id])
            }
            Write::Booking { id, body: Some(body) } => {
                run("INSERT OR REPLACE INTO booking VALUES(?1, ?2)", &[&id, &body])
            }
            Write::Booking { id, body: None } => run("DELETE FROM booking WHERE id = ?1", &[&id]),
        }
    }

    /// Writes entries to the journal: the last one's number, 0 for none, `None` where it failed.
    async fn append(&self, name: &str, entries: &[Entry]) -> Option<u64> {
        let Some(last) = entries.last() else { return Some(0) };
        let first = entries.first().is_some_and(|entry| entry.seq == 1) && name.starts_with(PAYER);
        // Nothing of ours is borrowed while the journal is awaited.
        match AssertUnwindSafe(journal::append(&self.env, name, entries)).await {
            Ok(()) if first => {
                // Whoever holds the books against the journal has to know of it. Where that fails, the entries are sent once more.
                let known = AssertUnwindSafe(journal::add_organization(&self.env, name, "wallet", now())).await;
                known.ok().map(|()| last.seq)
            }
            Ok(()) => Some(last.seq),
            Err(error) => {
                complain(format!("{name}: the journal did not take {} entries: {error}", entries.len()));
                None
            }
        }
    }

    /// Entries of the ledger, and of the trail.
    fn due(&self) -> (Vec<Entry>, Vec<Entry>) {
        let (slot, at) = (self.account.borrow(), now());
        let due = |account: &Account| (account.due(at).into_iter().cloned().collect(), account.trail_due(at));
        slot.as_ref().map_or_default(due)
    }
}

#[wasm_bindgen]
impl AccountObject {
    /// The half of the account of that name.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env, name: String) -> Self {
        let terms = secrets::terms(&env);
        let armed = Cell::new(Millis(u64::MAX));
        Self {
            state,
            env,
            name,
            terms,
            account: RefCell::new(None),
            armed,
            trailed: Cell::new(Some(0)),
            inquiries: Cell::default(),
        }
    }

    /// One turn: a letter in, its answer out.
    pub fn call(&self, bytes: Vec<u8>) -> std::result::Result<Vec<u8>, JsValue> {
        let letter: Letter = letter::read(&bytes).map_err(|error| JsValue::from_str(&error))?;
        let (mut letter, mut answer) = (Some(letter), Vec::new());
        self.step(&mut |account| {
            let Some(letter) = letter.take() else { return Vec::new() };
            let turn = account.turn(letter, now());
            answer = letter::write(&turn.answer);
            turn.into_inner().writes
        })?;
        Ok(answer)
    }

    /// When the alarm has to be set to, in milliseconds since 1970; 0 when it already rings in time.
    pub fn wake(&self) -> f64 {
        let wanted = match self.account.try_borrow().as_deref() {
            Ok(Some(account)) => account.wake(),
            // A turn that failed took the account out of memory: what waits is looked for again, however often that fails.
            _ => Some(now().after(RETRY_MS)),
        };
        match wanted {
            Some(at) if at < self.armed.get() => {
                self.armed.set(at);
                js_time(at.max(Millis(1)))
            }
            _ => 0.0,
        }
    }

    /// The alarm rings: holds that ran out are moved on.
    pub fn ring(&self) -> std::result::Result<(), JsValue> {
        self.armed.set(Millis(u64::MAX));
        let settlers = secrets::settlers(&self.env);
        self.step(&mut |account| {
            let mut writes = account.expire(now());
            let (due, more) = account.inquiries(now(), &settlers);
            writes.extend(more);
            let ours = || payer::authorizers(&self.env);
            let request = |inquiry: &Inquiry| match inquiry.step {
                ASK | LOOK => stripe::request(inquiry, &self.env),
                _ => inquiry.request(&ours),
            };
            self.inquiries.set(due.iter().map(request).collect());
            writes
        })
    }

    /// Writes due entries to the journal. Resolves to the last one it has, 0 if none was due, -1 if it failed.
    pub async fn send(&self) -> f64 {
        let (due, trail) = self.due();
        let Some(seq) = self.append(&self.name, &due).await else { return -1.0 };
        // Money first: a trail that cannot be written holds up no call.
        let trailed = self.append(&audit::account_of(&self.name), &trail).await;
        self.trailed.set(trailed);
        #[expect(clippy::cast_precision_loss, reason = "2^53 entries are never reached")]
        let seq = seq as f64;
        seq
    }

    /// Alerts to be sent now, as requests for the plumbing: a JSON list.
    pub fn outgoing(&self) -> String {
        let mut slot = self.account.borrow_mut();
        // Asked first: what cannot be signed now is looked at again later, not at once.
        let due = slot.as_mut().map_or_default(|account| account.sendings(now()));
        let pepper = secrets::pepper(&self.env).filter(|_| !due.is_empty());
        let organization = self.name.strip_prefix("org:").unwrap_or(&self.name);
        let sent =
            |pepper: Vec<u8>| due.iter().map(|sending| sending.request(organization, &pepper)).collect::<Vec<_>>();
        let mut requests = pepper.map_or_default(sent);
        requests.append(&mut self.inquiries.take());
        json::written(&requests.into())
    }

    /// Takes in what the endpoint of an alert answered; 0 for nothing.
    pub fn delivered(&self, alert: &str, endpoint: &str, status: u16) -> std::result::Result<(), JsValue> {
        self.step(&mut |account| account.delivered(alert, endpoint, status.into(), now()))
    }

    /// Takes in what was answered about a payment; a status of 0 is no answer.
    pub fn answered(&self, nonce: &str, step: &str, status: u16, body: &[u8]) -> std::result::Result<(), JsValue> {
        self.step(&mut |account| account.answered(nonce, step, status, body, now()))
    }

    /// Takes in what [`AccountObject::send`] came to.
    pub fn sent(&self, through: f64) -> std::result::Result<(), JsValue> {
        self.step(&mut |account| {
            if through < 0.0 {
                account.journal_failed(now());
                return Vec::new();
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a sequence number, given by us"
            )]
            let through = through as u64;
            let mut writes = if through > 0 { account.journaled(through, now()) } else { Vec::new() };
            match self.trailed.get() {
                Some(trailed) => writes.extend(account.trail_journaled(trailed, now())),
                None => account.journal_failed(now()),
            }
            writes
        })
    }
}
