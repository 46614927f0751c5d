//! A wallet's account, driven by letters, by what facilitators answer and by what stands on chain. After each step its counters are
//! computed again from its bookings, and the account is made again from its rows.
use super::{
    letter::{Bid, Claim, HoldLetter, OtherAttempt, PostLetter, PostOutcome, Unfit},
    payments::{Inquiry, Settlers, State},
    *,
};
use crate::payment::Payment;
use crate::{
    json::json,
    ledger::Leg,
    payment::{
        RUN_OUT, Scheme,
        evm::{self, Address},
        facilitator::{Outcome, Verb, outcome},
    },
};
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeMap};

mod channels;

const TERMS: Terms =
    Terms { hold_settle_ms: 1_200_000, outbox_flush_ms: 100, private_upstreams: false, claim_after_ms: 86_400_000 };
const START: Millis = Millis(1_795_562_448_000);
const FACILITATOR: &str = "https://facilitator.test";
const RPC: &str = "https://rpc.test";
/// An atomic unit in nano-dollars.
const UNIT: i64 = 1_000;

fn address(byte: u8) -> Address {
    Address([byte; 20])
}

fn settlers() -> Settlers {
    let facilitators = vec![FACILITATOR.to_owned(), "https://second.test".to_owned()];
    Settlers { facilitators, rpc_urls: vec![("eip155:84532".to_owned(), RPC.to_owned())], pay_to: address(9) }
}

fn payment(scheme: Scheme, units: u64, nonce: &str) -> Payment {
    Payment {
        scheme,
        network: "eip155:84532".into(),
        asset: address(3),
        payer: address(1),
        units,
        nonce: nonce.into(),
        valid_before: START.seconds() + if scheme == Scheme::Exact { 120 } else { 900 },
        version: 2,
        payload: "{}".into(),
        requirements: json!({"scheme": scheme.word(), "amount": units.to_string(), "payTo": address(9)}).to_string(),
        facilitators: if scheme == Scheme::Upto { vec![FACILITATOR.into()] } else { Vec::new() },
        ..Payment::default()
    }
}

fn exact(units: u64, nonce: &str) -> Payment {
    payment(Scheme::Exact, units, nonce)
}

/// By the token's own authorization, as the worker reads it.
fn authorized(units: u64, nonce: &str) -> Payment {
    exact(units, &format!("{}:{nonce}", address(3)))
}

fn upto(units: u64, nonce: &str) -> Payment {
    payment(Scheme::Upto, units, nonce)
}

fn settled(transaction: &str) -> Value {
    json!({"success": true, "transaction": transaction, "network": "eip155:84532", "payer": address(1)})
}

fn failed(reason: &str) -> Value {
    json!({"success": false, "errorReason": reason, "transaction": "", "network": "eip155:84532"})
}

fn done(transaction: &str) -> Option<Outcome> {
    Some(outcome(Verb::Settle, 200, settled(transaction).to_string().as_bytes()))
}

/// What a transaction of a payment looks like to who asks the chain for it.
fn receipt(payment: &Payment, units: u64, transaction: &str) -> Value {
    json!({"status": "0x1", "transactionHash": transaction, "logs": [log(payment, units, transaction)]})
}

fn log(payment: &Payment, units: u64, transaction: &str) -> Value {
    let topic = |address: Address| evm::hex(&address.word());
    json!({
        "address": payment.asset,
        "topics": [
            "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef", topic(payment.payer), topic(address(9)),
        ],
        "data": evm::hex(&evm::number(units.into())),
        "transactionHash": transaction,
    })
}

/// That the authorization of that nonce was used.
fn used(nonce: &str, transaction: &str) -> Value {
    let topics = json!([super::sight::AUTHORIZED, evm::hex(&address(1).word()), nonce]);
    json!({"address": address(3), "topics": topics, "data": "0x", "transactionHash": transaction})
}

fn rpc(result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": result})
}

/// The account of a wallet beside the rows it wrote.
struct Purse {
    account: Account,
    records: BTreeMap<(String, String), String>,
    bookings: BTreeMap<String, String>,
    now: Millis,
    /// All that was booked.
    entries: BTreeMap<u64, Entry>,
    /// The ids of calls by their names here.
    ids: RefCell<BTreeMap<String, String>>,
}

impl Purse {
    fn new() -> Self {
        let account = Account::load(TERMS, Vec::new(), Vec::new()).expect("empty");
        let (records, bookings, entries, ids) = Default::default();
        Self { account, records, bookings, now: START, entries, ids }
    }

    fn keep(&mut self, writes: Vec<Write>) {
        tests::keep(&mut self.records, &mut self.bookings, writes);
        self.check();
    }

    /// The id of a call, made when it is first spoken of.
    fn id(&self, name: &str) -> String {
        let (name, number) =
            name.split_once('#').map_or((name, String::new()), |(name, number)| (name, format!("#{number}")));
        let mut ids = self.ids.borrow_mut();
        let fresh = ids.len() as u128;
        let id = ids.entry(name.to_owned()).or_insert_with(|| crate::id::mint("req", self.now, fresh));
        format!("{id}{number}")
    }

    /// What a payment brought goes on to an organisation.
    fn give(&mut self, paid: &Payment, seen: bool) -> Answer {
        self.send(Letter::Give { nonce: paid.nonce.clone(), to: "org_1".into(), seen })
    }

    fn reloaded(&self) -> Account {
        let row = |kind: &str, id: &str, body: &str| Row { kind: kind.into(), id: id.into(), body: body.into() };
        let records = self.records.iter().map(|((kind, id), body)| row(kind, id, body)).collect();
        let bookings = self.bookings.iter().map(|(id, body)| row("booking", id, body)).collect();
        Account::load(TERMS, records, bookings).expect("readable")
    }

    /// What counts: restarts must not change it.
    fn state(account: &Account) -> Value {
        let mut claims: Vec<Value> =
            account.payments.claims.iter().map(|(nonce, claim)| json!([nonce, claim])).collect();
        claims.sort_by_key(ToString::to_string);
        let wallet = (account.wallet.credits, account.wallet.posted, account.wallet.held);
        let dues: Vec<_> = account.payments.dues.iter().collect();
        json!({"wallet": wallet, "claims": claims, "dues": dues, "seq": account.seq, "head": account.head,
            "outbox": account.outbox.iter().collect::<Vec<_>>(), "id": account.organization.id})
    }

    fn check(&mut self) {
        let mut held = Nanos::ZERO;
        for booking in self.account.bookings.values() {
            match booking {
                Booking::Held(hold) | Booking::Suspense { hold, .. } => {
                    assert!(hold.promised <= hold.grant.amount && hold.promised >= Nanos::ZERO, "{hold:?}");
                    held = held.plus(hold.grant.amount).minus(hold.promised);
                }
                Booking::Posted { entry, .. } => {
                    let known = self.entries.insert(entry.seq, entry.clone());
                    assert!(known.is_none_or(|known| known == *entry), "an entry never changes");
                }
            }
        }
        assert_eq!(self.account.wallet.held, held, "what is held is what the holds come to, less what is promised");
        let sum = |pays_in: bool| {
            let of = self.entries.values().filter(|entry| entry.kind.pays_in() == pays_in);
            of.map(|entry| entry.amount_usd).fold(Nanos::ZERO, Nanos::plus)
        };
        assert_eq!(self.account.wallet.credits, sum(true), "credits are their entries");
        assert_eq!(self.account.wallet.posted, Nanos(-sum(false).0), "charges are their entries");
        let mut head = GENESIS.to_owned();
        for (place, (seq, entry)) in self.entries.iter().enumerate() {
            assert_eq!((*seq, &entry.prev_hash), (place as u64 + 1, &head), "the chain has no gap: {}", entry.id);
            let legs = entry.legs.iter().map(|leg| leg.amount_usd).fold(Nanos::ZERO, Nanos::plus);
            assert_eq!(legs, Nanos::ZERO, "the legs of {} sum to nothing", entry.id);
            head.clone_from(&entry.hash);
        }
        assert_eq!(Self::state(&self.reloaded()), Self::state(&self.account), "a restart changes nothing");
    }

    fn send(&mut self, letter: Letter) -> Answer {
        let Led { answer, writes } = self.account.turn(letter, self.now).into_inner();
        self.keep(writes);
        answer
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.after(ms);
        self
    }

    fn letter(&self, id: &str, nanos: i64, payment: &Payment, body: &str) -> HoldLetter {
        let bid = Bid { provider: "acme".into(), model: "m".into(), amount: Nanos(nanos), least: Nanos::ZERO };
        HoldLetter {
            request_id: self.id(id),
            caller: Caller::of_payer(&payment.payer, ""),
            tenant_version: self.account.tenant.version,
            bids: vec![bid],
            tokens: 100,
            dry: false,
            session: String::new(),
            policies_version: 0,
            taught: String::new(),
            draws: String::new(),
            claim: Some(Box::new(Claim { payment: payment.clone(), request_hash: body.to_owned() })),
        }
    }

    /// Asks for a call that may cost so many units.
    fn hold(&mut self, id: &str, units: i64, payment: &Payment, body: &str) -> Answer {
        let letter = self.letter(id, units * UNIT, payment, body);
        self.send(Letter::Hold(letter))
    }

    fn granted(&mut self, id: &str, units: i64, payment: &Payment) -> Grant {
        match self.hold(id, units, payment, "body") {
            Answer::Held(grant) => grant,
            other => panic!("{other:?}"),
        }
    }

    fn unfit(&mut self, id: &str, payment: &Payment, body: &str) -> Unfit {
        match self.hold(id, i64::try_from(payment.units).expect("small"), payment, body) {
            Answer::Refused(Refusal::Payment(unfit)) => unfit,
            other => panic!("{other:?}"),
        }
    }

    fn post_with(&mut self, id: &str, outcome: PostOutcome, paid: Option<Outcome>, others: Vec<OtherAttempt>) {
        let call = CallRecord { provider: "acme".into(), status: 200, ..CallRecord::default() };
        let letter = PostLetter {
            request_id: self.id(id),
            held_at: None,
            outcome,
            call,
            tokens: 10,
            others,
            observed: String::new(),
            paid,
        };
        for _ in 0..2 {
            assert_eq!(self.send(Letter::Post(letter.clone())), Answer::Posted);
        }
    }

    fn charge(&mut self, id: &str, nanos: i64, paid: Option<Outcome>) {
        self.post_with(id, PostOutcome::Charge(Nanos(nanos)), paid, Vec::new());
    }

    fn void(&mut self, id: &str, paid: Option<Outcome>) {
        self.post_with(id, PostOutcome::Void, paid, Vec::new());
    }

    /// The alarm: what is asked now.
    fn asks(&mut self) -> Vec<Inquiry> {
        let writes = self.account.expire(self.now);
        self.keep(writes);
        let (due, writes) = self.account.inquiries(self.now, &settlers());
        self.keep(writes);
        due
    }

    fn answer(&mut self, inquiry: &Inquiry, status: u16, body: &Value) {
        let body = if status == 0 { String::new() } else { body.to_string() };
        let writes = self.account.answered(&inquiry.nonce, inquiry.step, status, body.as_bytes(), self.now);
        self.keep(writes);
    }

    /// Lets the alarm ring until a step is asked for.
    fn until(&mut self, step: &str) -> Inquiry {
        for _ in 0..400 {
            for inquiry in self.asks() {
                if inquiry.step == step {
                    return inquiry;
                }
                self.answer(&inquiry, 0, &Value::Null);
            }
            self.rest();
        }
        panic!("{step} is never asked: {:?}", self.account.payments.claims);
    }

    /// Until the alarm rings next.
    fn rest(&mut self) {
        let next = self.account.payments.dues.first().map_or(self.now, |(at, _)| *at);
        self.now = self.now.after(1).max(next);
    }

    /// Lets the alarm ring for so long, with these answers.
    fn live(&mut self, ms: u64, answer: &dyn Fn(&Inquiry) -> (u16, Value)) -> Vec<&'static str> {
        let end = self.now.after(ms);
        let mut steps = Vec::new();
        while self.account.payments.dues.first().is_some_and(|(at, _)| *at <= end) {
            self.rest();
            for inquiry in self.asks() {
                let (status, body) = answer(&inquiry);
                steps.push(inquiry.step);
                self.answer(&inquiry, status, &body);
            }
        }
        self.now = self.now.max(end);
        steps
    }

    fn flush(&mut self) {
        self.now = self.now.after(TERMS.outbox_flush_ms);
        if let Some(last) = self.account.due(self.now).last().map(|entry| entry.seq) {
            let writes = self.account.journaled(last, self.now);
            self.keep(writes);
        }
    }

    fn state_of(&self, nonce: &str) -> Option<State> {
        self.account.payments.claims.get(nonce).map(|claim| claim.state)
    }

    /// What is there to spend, in nano-dollars.
    fn available(&self) -> i64 {
        self.account.wallet.available().0
    }

    fn credits(&self) -> i64 {
        self.account.wallet.credits.0
    }
}

fn nobody(_: &Inquiry) -> (u16, Value) {
    (0, Value::Null)
}

// One payment, one call.

/// What goes on to an organisation goes in two letters, and the worker may die between them.
#[test]
fn a_topup_that_comes_again_is_given_on_once() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    let fund = |purse: &mut Purse, hash: &str| {
        let claim = Box::new(Claim { payment: paid.clone(), request_hash: hash.into() });
        purse.send(Letter::Fund { id: "top_1".into(), claim })
    };
    let give = |purse: &mut Purse| purse.give(&paid, false);
    assert!(matches!(fund(&mut purse, "org_1:body"), Answer::Held(grant) if grant.pays));
    let outcome = Outcome::Done { transaction: "0xa".into(), channel: None };
    purse.send(Letter::Funded { nonce: paid.nonce.clone(), outcome });
    for _ in 0..2 {
        assert_eq!((give(&mut purse), purse.available()), (Answer::Posted, 0));
        assert!(matches!(fund(&mut purse, "org_1:body"), Answer::Held(grant) if !grant.pays));
    }
    assert_eq!(fund(&mut purse, "org_2:body"), Answer::Refused(Refusal::Payment(Unfit::Other)));
}

/// It is the wallet's balance until it is given on, and may have been told of by a facilitator alone.
#[test]
fn what_was_not_seen_or_was_spent_otherwise_is_not_given_on() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    let fund = |purse: &mut Purse| {
        let claim = Box::new(Claim { payment: paid.clone(), request_hash: "org_1:body".into() });
        purse.send(Letter::Fund { id: "top_1".into(), claim })
    };
    assert!(matches!(fund(&mut purse), Answer::Held(grant) if grant.pays));
    let outcome = Outcome::Done { transaction: "0xa".into(), channel: None };
    purse.send(Letter::Funded { nonce: paid.nonce.clone(), outcome });
    let refused = |unfit| Answer::Refused(Refusal::Payment(unfit));
    assert_eq!(purse.give(&paid, true), refused(Unfit::Pending));
    // Whoever asks once more holds nothing up.
    let look = purse.until("receipt");
    assert!(matches!(fund(&mut purse), Answer::Held(grant) if !grant.pays));
    assert_eq!(purse.state_of("n"), Some(State::Credited));
    purse.answer(&look, 200, &rpc(&receipt(&paid, 500, "0xa")));
    // Its payer has it sent back in the meantime.
    let back = Payment { payer: address(8), ..exact(400, "back") };
    purse.send(Letter::Withdraw { id: "rfd_1".into(), payment: Box::new(back) });
    assert!(matches!(fund(&mut purse), Answer::Held(grant) if !grant.pays));
    assert_eq!(purse.give(&paid, true), refused(Unfit::Dead { reason: "spent_otherwise".into() }));
    assert_eq!(purse.available(), 100 * UNIT, "and nothing was taken from nothing");
    // What was only told of makes up for nothing yet.
    purse.granted("b", 450, &exact(450, "k"));
    purse.void("b", done("0xc"));
    assert_eq!((purse.available(), purse.give(&paid, true)), (550 * UNIT, refused(Unfit::Pending)));
    let look = purse.until("receipt");
    purse.answer(&look, 200, &rpc(&receipt(&exact(450, "k"), 450, "0xc")));
    assert_eq!((purse.give(&paid, true), purse.available()), (Answer::Posted, 50 * UNIT));
}

/// A payment that has run out may have been served: that is told, and no price.
#[test]
fn what_has_run_out_is_known_all_the_same() {
    let mut purse = Purse::new();
    let late = Payment { doubt: RUN_OUT.into(), ..exact(500, "n") };
    purse.granted("a", 500, &exact(500, "n"));
    assert_eq!(purse.unfit("b", &late, "body"), Unfit::Busy);
    purse.charge("a", 200 * UNIT, Some(Outcome::Unknown));
    assert_eq!(purse.unfit("b", &late, "body"), Unfit::Pending);
    let other = Payment { doubt: RUN_OUT.into(), ..exact(500, "m") };
    let unfit = purse.unfit("c", &other, "body");
    assert_eq!(Refusal::Payment(unfit).to_fault().code, "x402_invalid");
}

/// A sign-in cannot be shown once it has run out, and makes room.
#[test]
fn a_sign_in_is_forgotten_before_a_payment() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    purse.charge("a", 200 * UNIT, done("0xa"));
    let look = purse.until("receipt");
    purse.answer(&look, 200, &rpc(&receipt(&exact(500, "n"), 500, "0xa")));
    let signed_in = Payment { valid_before: purse.now.seconds() + 300, ..payment(Scheme::Balance, 0, "sign-in:1") };
    purse.granted("b", 100, &signed_in);
    purse.charge("b", 100 * UNIT, None);
    assert!(matches!(purse.unfit("c", &signed_in, "body"), Unfit::Used { .. }));
    purse.live(370_000, &nobody);
    assert_eq!((purse.state_of("sign-in:1"), purse.state_of("n")), (None, Some(State::Used)));
}

/// Once a nonce is on chain nobody can check a contract's signature of it: the account knows the payment, and takes no other for it.
#[test]
fn what_nobody_vouches_for_pays_for_nothing_new() {
    let mut purse = Purse::new();
    let doubted = |nonce: &str, doubt: &str| Payment { doubt: doubt.into(), ..exact(500, nonce) };
    assert_eq!(purse.unfit("a", &doubted("n", "bad"), "body"), Unfit::Dead { reason: "bad".into() });
    assert_eq!(purse.unfit("a", &doubted("n", "unknown"), "body"), Unfit::Pending);
    assert_eq!(purse.state_of("n"), None, "nothing was claimed");
    purse.granted("a", 500, &exact(500, "n"));
    purse.charge("a", 100, done("0xa"));
    let (request_id, transaction) = (purse.id("a"), "0xa".to_owned());
    let again = doubted("n", "nonce used");
    assert_eq!(purse.unfit("b", &again, "body"), Unfit::Used { request_id, transaction }, "what became of it is told");
    assert_eq!(purse.unfit("b", &again, "body and another signature"), Unfit::Other);
    // Settled, and its call came to nothing: it may begin another.
    purse.granted("c", 500, &exact(500, "m"));
    purse.void("c", done("0xc"));
    assert!(!purse.granted("d", 500, &doubted("m", "nonce used")).pays);
}

#[test]
fn a_payment_is_claimed_once_and_for_one_request() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    let grant = purse.granted("a", 500, &paid);
    assert!(grant.pays && grant.amount == Nanos(500 * UNIT));
    assert_eq!(purse.account.organization.id, format!("eip155:84532:{}", address(1)));
    assert_eq!(purse.unfit("b", &paid, "body"), Unfit::Busy);
    assert_eq!(purse.unfit("b", &paid, "another"), Unfit::Other);
    purse.charge("a", 120_500, done("0xa"));
    assert_eq!((purse.credits(), purse.available()), (500 * UNIT, 379_500), "what is left is balance");
    let (request_id, transaction) = (purse.id("a"), "0xa".to_owned());
    assert_eq!(purse.unfit("b", &paid, "body"), Unfit::Used { request_id, transaction });
    assert_eq!(purse.unfit("b", &paid, "another"), Unfit::Other);
}

#[test]
fn a_thousand_replays_make_one_hold() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    let letters: Vec<_> =
        (0..1_000).map(|number| purse.letter(&format!("r{number}"), 500 * UNIT, &paid, "body")).collect();
    let held = letters.into_iter().filter(|letter| {
        let turn = purse.account.turn(Letter::Hold(letter.clone()), purse.now);
        matches!(turn.answer, Answer::Held(_))
    });
    assert_eq!(held.count(), 1);
    assert_eq!((purse.account.bookings.len(), purse.account.payments.claims.len()), (1, 1));
}

/// Its answer was lost on the way: who asks again must hear the same.
#[test]
fn a_hold_that_is_asked_for_again_still_has_to_be_paid() {
    for paid in [exact(500, "n"), upto(500, "n")] {
        let mut purse = Purse::new();
        let first = purse.granted("a", 500, &paid);
        let again = purse.granted("a", 500, &paid);
        assert!(first.pays && again.pays, "{:?}", paid.scheme);
    }
}

#[test]
fn a_promise_covers_its_own_call_and_nothing_else() {
    let mut purse = Purse::new();
    let dear = purse.hold("a", 501, &exact(500, "n"), "body");
    assert!(matches!(dear, Answer::Refused(Refusal::Credits { .. })), "{dear:?}");
    assert!(purse.account.payments.claims.iter().next().is_none(), "what is refused claims nothing");
    purse.granted("a", 500, &exact(500, "n"));
    assert_eq!((purse.account.wallet.held, purse.available()), (Nanos::ZERO, 0));
    let other = purse.hold("b", 600, &exact(100, "m"), "other");
    assert!(matches!(other, Answer::Refused(_)), "{other:?}");
    let extend = letter::ExtendLetter { request_id: purse.id("a"), to: Nanos(501 * UNIT), least: Nanos(501 * UNIT) };
    let Answer::Held(grant) = purse.send(Letter::Extend(extend)) else { panic!("not held") };
    assert_eq!(grant.amount, Nanos(500 * UNIT));
}

#[test]
fn a_balance_and_a_promise_are_held_together() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    purse.charge("a", 0, done("0xa"));
    assert_eq!(purse.available(), 500 * UNIT);
    purse.granted("b", 700, &exact(300, "m"));
    assert_eq!((purse.account.wallet.held, purse.available()), (Nanos(400 * UNIT), 100 * UNIT));
    purse.charge("b", 650 * UNIT, done("0xb"));
    assert_eq!(purse.available(), 150 * UNIT);
}

// Exact.

#[test]
fn nothing_that_was_not_asked_to_be_settled_is_settled_by_itself() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    // Its caller left, or the account's answer came too late.
    purse.void("a", None);
    assert_eq!(purse.account.wallet.held, Nanos::ZERO);
    let asked = purse.live(30_000, &nobody);
    assert!(!asked.contains(&"settle"), "{asked:?}");
    assert_eq!(purse.credits(), 0);
    assert!(purse.granted("b", 500, &exact(500, "n")).pays, "the same payment may begin again");
}

#[test]
fn what_arrived_for_a_call_that_came_to_nothing_is_balance_and_begins_it_again() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    purse.granted("a", 500, &paid);
    purse.void("a", done("0xa"));
    assert_eq!((purse.available(), purse.state_of("n")), (500 * UNIT, Some(State::Credited)));
    let grant = purse.granted("b", 500, &paid);
    assert!(!grant.pays, "it has arrived");
    assert_eq!(purse.available(), 0, "the balance is held, no promise");
    purse.charge("b", 200 * UNIT, None);
    assert_eq!((purse.credits(), purse.available()), (500 * UNIT, 300 * UNIT));
    assert!(matches!(purse.unfit("c", &paid, "body"), Unfit::Used { .. }));
}

#[test]
fn a_refused_payment_is_looked_for_and_never_settled() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    purse.granted("a", 500, &paid);
    purse.void("a", Some(outcome(Verb::Settle, 200, failed("insufficient_funds").to_string().as_bytes())));
    assert_eq!(purse.unfit("b", &paid, "body"), Unfit::Dead { reason: "insufficient_funds".into() });
    // Somebody else may have brought it to the chain.
    let asked = purse.live(30_000, &nobody);
    assert!(!asked.is_empty() && asked.iter().all(|step| *step == "height" || *step == "logs"), "{asked:?}");
    // One that is refused without a reason is refused all the same.
    purse.granted("c", 500, &exact(500, "m"));
    purse.void("c", Some(outcome(Verb::Settle, 200, br#"{"success":false,"transaction":""}"#)));
    assert!(matches!(purse.unfit("d", &exact(500, "m"), "body"), Unfit::Dead { .. }));
}

#[test]
fn an_unknown_settlement_is_asked_for_until_it_is_known() {
    let mut purse = Purse::new();
    let nonce = evm::hex(&[7; 32]);
    let paid = authorized(500, &nonce);
    purse.granted("a", 500, &paid);
    purse.void("a", Some(Outcome::Unknown));
    assert_eq!(purse.unfit("b", &paid, "body"), Unfit::Pending);
    let settle = purse.until("settle");
    assert_eq!(settle.url, format!("{FACILITATOR}/settle"));
    purse.answer(&settle, 200, &failed("invalid_exact_evm_nonce_already_used"));
    assert_eq!(purse.state_of(&paid.nonce), Some(State::Unknown), "somebody has used it: perhaps we did");
    let height = purse.until("height");
    purse.answer(&height, 200, &rpc(&json!("0x1000")));
    let logs = purse.until("logs");
    assert!(logs.body.contains(&evm::hex(&address(9).word())) && logs.body.contains(&nonce), "{}", logs.body);
    purse.answer(&logs, 200, &rpc(&json!([log(&paid, 499, "0xb"), log(&paid, 500, "0xa"), used(&nonce, "0xa")])));
    assert_eq!((purse.available(), purse.state_of(&paid.nonce)), (500 * UNIT, Some(State::Credited)));
    assert!(!purse.granted("b", 500, &paid).pays);
}

#[test]
fn an_unknown_settlement_that_succeeds_later_is_balance() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    purse.void("a", Some(Outcome::Unknown));
    let settle = purse.until("settle");
    purse.answer(&settle, 200, &settled("0xa"));
    assert_eq!(purse.available(), 500 * UNIT);
    // The answer of an inquiry that was asked before, and came late.
    purse.answer(&settle, 200, &settled("0xa"));
    assert_eq!((purse.available(), purse.entries.len()), (500 * UNIT, 1), "booked once");
}

#[test]
fn what_never_arrived_is_dead_once_it_cannot_any_more() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    purse.granted("a", 500, &paid);
    purse.void("a", Some(Outcome::Unknown));
    let chain = |inquiry: &Inquiry| match inquiry.step {
        "height" => (200, rpc(&json!("0x1000"))),
        "logs" => (200, rpc(&json!([]))),
        _ => (200, failed("settlement_pending")),
    };
    purse.live(115_000, &chain);
    assert_eq!(purse.state_of("n"), Some(State::Unknown), "it can still arrive");
    purse.live(600_000, &chain);
    assert_eq!(purse.unfit("b", &paid, "body"), Unfit::Dead { reason: "expired".into() });
    assert_eq!(purse.credits(), 0);
}

/// Nobody told is not the same as nothing is there.
#[test]
fn while_the_chain_cannot_be_asked_nothing_unknown_is_given_up() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    purse.granted("a", 500, &paid);
    purse.void("a", Some(Outcome::Unknown));
    purse.live(900_000, &nobody);
    assert_eq!(purse.state_of("n"), Some(State::Unknown));
    purse.live(900_000, &|inquiry| match inquiry.step {
        "settle" => (200, failed("invalid_exact_evm_nonce_already_used")),
        _ => (0, Value::Null),
    });
    assert_eq!(purse.state_of("n"), Some(State::Unknown), "it was used: only the chain can tell by whom");
}

// Upto.

#[test]
fn what_was_used_is_settled_after_the_work() {
    let mut purse = Purse::new();
    let paid = upto(500, "n");
    assert!(purse.granted("a", 500, &paid).pays);
    purse.charge("a", 120_500, None);
    assert_eq!((purse.credits(), purse.available()), (0, -120_500), "it is owed");
    let settle = purse.until("settle");
    assert!(
        settle.body.contains(r#""amount":"121""#) && settle.url.starts_with(FACILITATOR),
        "rounded up: {}",
        settle.body
    );
    purse.answer(&settle, 0, &Value::Null);
    let settle = purse.until("settle");
    purse.answer(&settle, 200, &settled("0xa"));
    assert_eq!((purse.credits(), purse.available()), (121 * UNIT, 500), "what was rounded up is balance");
    let transaction = "0xa".to_owned();
    let request_id = purse.id("a");
    assert_eq!(purse.unfit("b", &paid, "body"), Unfit::Used { request_id, transaction });
}

#[test]
fn a_call_that_cost_nothing_settles_nothing_and_uses_its_payment_up() {
    let mut purse = Purse::new();
    let paid = upto(500, "n");
    purse.granted("a", 500, &paid);
    purse.charge("a", 0, None);
    assert_eq!(purse.live(60_000, &nobody), [""; 0]);
    assert!(matches!(purse.unfit("b", &paid, "body"), Unfit::Used { .. }), "its nonce is still good on chain");
}

#[test]
fn a_payment_that_was_only_looked_at_may_come_again() {
    let mut purse = Purse::new();
    let paid = upto(500, "n");
    purse.granted("a", 500, &paid);
    purse.void("a", None);
    assert_eq!(purse.state_of("n"), None);
    assert!(purse.granted("b", 500, &paid).pays);
}

/// While what was used is on its way, the wallet owes it: the next promise is for the next call.
#[test]
fn calls_follow_each_other_while_the_last_one_is_being_settled() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &upto(500, "n"));
    purse.charge("a", 120_500, None);
    let second = purse.hold("b", 500, &upto(500, "m"), "second");
    assert!(matches!(second, Answer::Held(_)), "{second:?}");
    let mut purse = Purse::new();
    purse.granted("a", 500, &upto(500, "n"));
    purse.charge("a", 120_500, None);
    let second = purse.hold("b", 500, &exact(500, "m"), "second");
    assert!(matches!(second, Answer::Held(_)), "{second:?}");
}

#[test]
fn no_more_is_settled_than_was_allowed() {
    let mut purse = Purse::new();
    purse.granted("x", 900, &exact(900, "x"));
    purse.charge("x", 0, done("0xx"));
    purse.granted("a", 700, &upto(500, "n"));
    purse.charge("a", 650 * UNIT, None);
    let settle = purse.until("settle");
    assert!(settle.body.contains(r#""amount":"500""#), "the rest is the balance's: {}", settle.body);
    purse.answer(&settle, 200, &settled("0xa"));
    assert_eq!(purse.available(), 750 * UNIT);
}

fn other(number: u64, units: i64, outcome: PostOutcome) -> OtherAttempt {
    let call = CallRecord { provider: "acme".into(), ..CallRecord::default() };
    OtherAttempt { number, amount: Nanos(units * UNIT), outcome, call }
}

#[test]
fn what_other_attempts_cost_is_settled_with_the_call() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &upto(500, "n"));
    let others = vec![
        other(1, 100, PostOutcome::Charge(Nanos(30 * UNIT))),
        other(2, 100, PostOutcome::Suspense { metered: Nanos(20 * UNIT) }),
    ];
    purse.post_with("a", PostOutcome::Charge(Nanos(120 * UNIT)), None, others);
    let settle = purse.until("settle");
    assert!(settle.body.contains(r#""amount":"170""#), "{}", settle.body);
    purse.answer(&settle, 200, &settled("0xa"));
    // What a provider tells of one of them a day later is no second settlement.
    purse.post_with("a#2", PostOutcome::Charge(Nanos(20 * UNIT)), None, Vec::new());
    assert_eq!(purse.state_of("n"), Some(State::Used));
    assert_eq!(purse.live(60_000, &|inquiry| (200, rpc(&receipt(&upto(500, "n"), 170, &inquiry.nonce)))), ["receipt"]);
}

#[test]
fn an_unknown_charge_is_settled_as_it_was_metered() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &upto(500, "n"));
    purse.post_with("a", PostOutcome::Suspense { metered: Nanos(77 * UNIT) }, None, Vec::new());
    let settle = purse.until("settle");
    assert!(settle.body.contains(r#""amount":"77""#), "{}", settle.body);
    assert_eq!(purse.account.wallet.posted, Nanos(77 * UNIT));
}

#[test]
fn exposure_is_bounded() {
    let mut purse = Purse::new();
    for number in 0..4 {
        purse.granted(&format!("a{number}"), 500_000, &upto(500_000, &format!("n{number}")));
    }
    assert_eq!(purse.unfit("b", &upto(1, "m"), "body"), Unfit::Exposed);
    assert!(purse.granted("c", 100, &exact(100, "e")).pays, "what is settled first is no exposure");
    purse.void("a0", None);
    assert!(matches!(purse.hold("b", 1, &upto(1, "m"), "body"), Answer::Held(_)));
}

#[test]
fn one_sponsored_payment_is_under_way_at_a_time() {
    let mut purse = Purse::new();
    let sponsored = |nonce: &str| Payment { sponsored: true, ..upto(500, nonce) };
    purse.granted("a", 500, &sponsored("n"));
    assert_eq!(purse.unfit("b", &sponsored("m"), "body"), Unfit::Busy);
    purse.granted("c", 500, &upto(500, "k"));
    purse.charge("a", 10 * UNIT, None);
    assert_eq!(purse.unfit("b", &sponsored("m"), "body"), Unfit::Busy, "it is not settled yet");
    let settle = purse.until("settle");
    purse.answer(&settle, 200, &settled("0xa"));
    assert!(matches!(purse.hold("b", 500, &sponsored("m"), "body"), Answer::Held(_)));
}

/// The object was restarted between the question and its answer: that the second one fails may be the first one's doing.
#[test]
fn a_settlement_whose_answer_was_lost_is_not_taken_for_failed() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &upto(500, "n"));
    purse.charge("a", 120 * UNIT, None);
    let lost = purse.until("settle");
    purse.account = purse.reloaded();
    purse.rest();
    let again = purse.until("settle");
    assert_eq!(again.body, lost.body);
    purse.answer(&again, 200, &failed("invalid_upto_evm_nonce_already_used"));
    assert_ne!(purse.state_of("n"), Some(State::Dead));
    let height = purse.until("height");
    purse.answer(&height, 200, &rpc(&json!("0x1000")));
    let logs = purse.until("logs");
    purse.answer(&logs, 200, &rpc(&json!([log(&upto(500, "n"), 120, "0xa")])));
    assert_eq!((purse.state_of("n"), purse.available()), (Some(State::Used), 0));
}

// Facilitators that lie, and a chain that cannot be asked.

#[test]
fn a_settlement_that_is_not_on_chain_is_taken_back_and_made_again() {
    for paid in [exact(500, "n"), upto(500, "n")] {
        let mut purse = Purse::new();
        purse.granted("a", 500, &paid);
        if paid.is_upfront() {
            purse.charge("a", 500 * UNIT, done("0xa"));
        } else {
            purse.charge("a", 500 * UNIT, None);
            let settle = purse.until("settle");
            purse.answer(&settle, 200, &settled("0xa"));
        }
        assert_eq!(purse.available(), 0);
        for _ in 0..8 {
            let receipt = purse.until("receipt");
            assert!(receipt.body.contains("0xa"));
            purse.answer(&receipt, 200, &rpc(&Value::Null));
        }
        assert_eq!(purse.available(), -500 * UNIT, "{:?}", paid.scheme);
        let settle = purse.until("settle");
        purse.answer(&settle, 200, &settled("0xb"));
        assert_eq!(purse.available(), 0);
        let seen = purse.until("receipt");
        purse.answer(&seen, 200, &rpc(&receipt(&paid, 500, "0xb")));
        assert_eq!((purse.live(60_000, &nobody), purse.available()), (vec![], 0));
        assert!(
            matches!(purse.unfit("b", &paid, "body"), Unfit::Used { .. }),
            "{:?}: its call was served",
            paid.scheme
        );
    }
}

#[test]
fn while_the_chain_cannot_be_asked_nothing_is_taken_back() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    purse.charge("a", 100 * UNIT, done("0xa"));
    purse.live(3_000_000, &nobody);
    assert_eq!(purse.available(), 400 * UNIT);
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    purse.charge("a", 100 * UNIT, done("0xa"));
    let busy = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "rate limited"}});
    purse.live(3_000_000, &|_| (429, busy.clone()));
    assert_eq!(purse.available(), 400 * UNIT);
}

#[test]
fn a_transaction_of_somebody_else_s_is_no_payment() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    purse.granted("a", 500, &paid);
    purse.charge("a", 500 * UNIT, done("0xa"));
    for (number, told) in [
        json!({"status": "0x1", "transactionHash": "0xa", "logs": []}),
        receipt(&paid, 1, "0xa"),
        receipt(&Payment { payer: address(2), ..paid.clone() }, 500, "0xa"),
        receipt(&Payment { asset: address(2), ..paid.clone() }, 500, "0xa"),
        json!({"status": "0x0", "transactionHash": "0xa", "logs": []}),
    ]
    .iter()
    .cycle()
    .take(8)
    .enumerate()
    {
        let receipt = purse.until("receipt");
        assert!(receipt.body.contains("0xa"), "{number}");
        purse.answer(&receipt, 200, &rpc(told));
    }
    assert_eq!(purse.available(), -500 * UNIT);
}

#[test]
fn one_transaction_pays_once() {
    let mut purse = Purse::new();
    for name in ["a", "b"] {
        purse.granted(name, 500, &exact(500, name));
        purse.charge(name, 500 * UNIT, done("0xa"));
    }
    purse.live(3_000_000, &|inquiry| match inquiry.step {
        "receipt" => (200, rpc(&receipt(&exact(500, "a"), 500, "0xa"))),
        "height" => (200, rpc(&json!("0x1000"))),
        "logs" => (200, rpc(&json!([log(&exact(500, "a"), 500, "0xa")]))),
        _ => (200, failed("invalid_exact_evm_nonce_already_used")),
    });
    assert_eq!(purse.credits(), 500 * UNIT, "two were told of, one came");
}

#[test]
fn a_settlement_without_a_transaction_is_none() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    purse.void("a", done(""));
    assert_eq!((purse.credits(), purse.state_of("n")), (0, Some(State::Unknown)));
}

// Workers that die, and letters that are late.

/// The worker settled and died: nobody posts. What it took is found on chain, whenever its hold runs out.
#[test]
fn a_worker_that_died_loses_nothing() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    purse.granted("a", 500, &paid);
    purse.flush();
    purse.after(TERMS.hold_settle_ms);
    let settle = purse.until("settle");
    assert_eq!(purse.state_of("n"), Some(State::Unknown));
    assert!(matches!(purse.account.bookings.get(&purse.id("a")), Some(Booking::Suspense { .. })));
    purse.answer(&settle, 200, &failed("invalid_exact_evm_nonce_already_used"));
    let height = purse.until("height");
    // Two seconds a block: it was settled 600 blocks ago.
    purse.answer(&height, 200, &rpc(&json!("0x10000")));
    let logs = purse.until("logs");
    let body: Value = serde_json::from_str(&logs.body).expect("JSON");
    let from = body["params"][0]["fromBlock"].as_str().and_then(|text| text.strip_prefix("0x")).expect("a block");
    let from = u64::from_str_radix(from, 16).expect("a number");
    assert!(from <= 0x10000 - 605, "looked for from {from} on");
    purse.answer(&logs, 200, &rpc(&json!([log(&paid, 500, "0xa")])));
    assert_eq!((purse.available(), purse.state_of("n")), (500 * UNIT, Some(State::Credited)));
    purse.after(86_400_001);
    purse.asks();
    assert_eq!((purse.available(), purse.account.wallet.held), (500 * UNIT, Nanos::ZERO));
}

#[test]
fn a_posting_that_is_late_books_no_payment_twice() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    purse.granted("a", 500, &paid);
    purse.after(TERMS.hold_settle_ms);
    let settle = purse.until("settle");
    purse.answer(&settle, 200, &settled("0xa"));
    assert_eq!(purse.credits(), 500 * UNIT);
    purse.charge("a", 100 * UNIT, done("0xa"));
    assert_eq!((purse.credits(), purse.available()), (500 * UNIT, 400 * UNIT));
    assert!(matches!(purse.unfit("b", &paid, "body"), Unfit::Used { .. }));
}

#[test]
fn a_late_posting_of_an_earlier_call_leaves_the_next_one_alone() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    purse.granted("a", 500, &paid);
    purse.after(TERMS.hold_settle_ms);
    let settle = purse.until("settle");
    purse.answer(&settle, 200, &settled("0xa"));
    purse.granted("b", 500, &paid);
    purse.void("a", done("0xa"));
    assert_eq!(purse.credits(), 500 * UNIT);
    assert_eq!(purse.unfit("c", &paid, "body"), Unfit::Busy, "the call of b is under way");
    purse.charge("b", 500 * UNIT, None);
    assert_eq!((purse.credits(), purse.available()), (500 * UNIT, 0));
}

#[test]
fn a_late_answer_leaves_the_next_call_alone() {
    let mut purse = Purse::new();
    let paid = exact(500, "n");
    purse.granted("a", 500, &paid);
    purse.void("a", Some(Outcome::Unknown));
    let (first, _) = (purse.until("settle"), purse.after(61_000));
    purse.account = purse.reloaded();
    let second = purse.until("settle");
    purse.answer(&second, 200, &settled("0xa"));
    purse.granted("b", 500, &paid);
    purse.answer(&first, 200, &failed("invalid_exact_evm_nonce_already_used"));
    purse.live(60_000, &nobody);
    assert_eq!(purse.state_of("n"), Some(State::Open), "its call is under way");
    purse.charge("b", 500 * UNIT, None);
    assert_eq!((purse.credits(), purse.available()), (500 * UNIT, 0));
}

/// What was used up without a word is not free: the payment is not good for another call.
#[test]
fn a_payment_whose_worker_died_begins_no_second_call() {
    let mut purse = Purse::new();
    let paid = upto(500, "n");
    purse.granted("a", 500, &paid);
    purse.after(TERMS.hold_settle_ms);
    purse.asks();
    let again = purse.hold("b", 500, &Payment { valid_before: purse.now.seconds() + 900, ..paid.clone() }, "body");
    assert!(matches!(again, Answer::Refused(_)), "{again:?}");
    // Should its worker live after all, what it used is settled.
    purse.charge("a", 120 * UNIT, None);
    assert!(purse.until("settle").body.contains(r#""amount":"120""#));
}

#[test]
fn a_call_that_is_still_made_larger_is_under_way() {
    let mut purse = Purse::new();
    for (name, paid) in [("a", exact(500, "n")), ("b", upto(500, "m"))] {
        purse.granted("x", 900, &exact(900, "x"));
        purse.charge("x", 0, done("0xx"));
        purse.granted(name, 500, &paid);
        purse.after(TERMS.hold_settle_ms - 1_000);
        let extend =
            letter::ExtendLetter { request_id: purse.id(name), to: Nanos(600 * UNIT), least: Nanos(600 * UNIT) };
        assert!(matches!(purse.send(Letter::Extend(extend)), Answer::Held(_)));
        purse.live(2_000, &nobody);
        assert_eq!(purse.state_of(&paid.nonce), Some(State::Open), "{:?}", paid.scheme);
        purse = Purse::new();
    }
}

/// A call whose charge is not known yet may still cost all that is held for it: what it was paid with is not free meanwhile.
#[test]
fn a_wallet_does_not_wait_for_a_charge_that_is_unknown() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    purse.post_with("a", PostOutcome::Suspense { metered: Nanos(10 * UNIT) }, done("0xa"), Vec::new());
    assert_eq!((purse.credits(), purse.available()), (500 * UNIT, 490 * UNIT));
    purse.charge("a", 480 * UNIT, None);
    assert_eq!((purse.credits(), purse.available()), (500 * UNIT, 490 * UNIT));
}

#[test]
fn a_call_that_failed_at_every_provider_may_be_tried_again() {
    let mut purse = Purse::new();
    for (name, paid) in [("a", exact(500, "n")), ("b", upto(500, "m"))] {
        purse.granted(name, 500, &paid);
        let call = CallRecord { provider: "acme".into(), status: 503, ..CallRecord::default() };
        let request_id = purse.id(name);
        purse.send(Letter::Post(PostLetter {
            request_id,
            held_at: None,
            outcome: PostOutcome::Charge(Nanos::ZERO),
            call,
            tokens: 0,
            others: Vec::new(),
            observed: String::new(),
            paid: if paid.is_upfront() { done("0xa") } else { None },
        }));
        let again = purse.hold(&format!("{name}2"), 500, &paid, "body");
        assert!(matches!(again, Answer::Held(_)), "{:?} {again:?}", paid.scheme);
        purse = Purse::new();
    }
}

// Books and rows.

#[test]
fn there_are_no_fees_and_no_leg_without_its_other() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    purse.charge("a", 120 * UNIT, done("0xa"));
    purse.granted("b", 500, &upto(500, "m"));
    purse.charge("b", 120 * UNIT, None);
    let settle = purse.until("settle");
    purse.answer(&settle, 200, &settled("0xb"));
    let legs: Vec<&Leg> = purse.entries.values().flat_map(|entry| &entry.legs).collect();
    let fees = legs.iter().filter(|leg| leg.account == "income:fees");
    assert!(fees.clone().count() == 2 && fees.into_iter().all(|leg| leg.amount_usd == Nanos::ZERO), "{legs:?}");
    let mut sums: BTreeMap<&str, Nanos> = BTreeMap::new();
    for leg in legs {
        let sum = sums.entry(leg.account.split(':').next().unwrap_or_default()).or_default();
        *sum = sum.plus(leg.amount_usd);
    }
    let wallet = Nanos(-purse.available());
    assert_eq!(sums["asset"], Nanos(-620 * UNIT));
    assert_eq!((sums["payable"], sums["liability"]), (Nanos(240 * UNIT), Nanos(-wallet.0)));
    purse.flush();
    assert!(purse.entries.values().all(Entry::is_sound));
}

#[test]
fn rows_are_deleted_an_hour_after_a_payment_could_be_settled_last() {
    let mut purse = Purse::new();
    purse.granted("a", 500, &exact(500, "n"));
    purse.charge("a", 120 * UNIT, done("0xa"));
    purse.granted("b", 500, &upto(500, "m"));
    purse.void("b", Some(outcome(Verb::Verify, 200, br#"{"isValid":false,"invalidReason":"no_funds"}"#)));
    let chain = |inquiry: &Inquiry| match inquiry.step {
        "receipt" => (200, rpc(&receipt(&exact(500, "n"), 500, "0xa"))),
        _ => (0, Value::Null),
    };
    let rows = |purse: &Purse| purse.records.keys().filter(|(kind, _)| kind == "payment").count();
    purse.live(3_700_000, &chain);
    assert_eq!(rows(&purse), 2, "an hour is not over");
    purse.live(1_000_000, &chain);
    assert_eq!((rows(&purse), purse.account.payments.dues.len()), (0, 0));
    assert_eq!(purse.available(), 380 * UNIT);
}

#[test]
fn nothing_is_claimed_by_who_only_asks() {
    let mut purse = Purse::new();
    let mut letter = purse.letter("a", 500 * UNIT, &exact(500, "n"), "body");
    letter.dry = true;
    let Answer::Held(grant) = purse.send(Letter::Hold(letter)) else { panic!("refused") };
    assert!(!grant.pays && purse.state_of("n").is_none());
    assert!(purse.records.is_empty() && purse.bookings.is_empty());
}

#[test]
fn transfers_are_looked_for_by_the_hash_of_their_signature() {
    let topic = crate::payment::evm::keccak(b"Transfer(address,address,uint256)");
    assert_eq!(super::sight::TRANSFER, evm::hex(&topic));
    let topic = crate::payment::evm::keccak(b"AuthorizationUsed(address,bytes32)");
    assert_eq!(super::sight::AUTHORIZED, evm::hex(&topic));
}

#[test]
fn a_transfer_is_its_payments_by_the_authorization_that_was_used() {
    let nonce = |byte: u8| evm::hex(&[byte; 32]);
    let paid = authorized(500, &nonce(7));
    let found = |logs: &[Value]| super::sight::transfer(&paid, 500, logs, &|_| false);
    let both = [log(&paid, 500, "0xa"), used(&nonce(8), "0xa"), log(&paid, 500, "0xb"), used(&nonce(7), "0xb")];
    assert_eq!(found(&both).as_deref(), Some("0xb"), "an equal payment of the same wallet is not this one");
    assert_eq!(found(&both[..3]), None, "nobody says that it was by its authorization");
    assert_eq!(found(&[log(&paid, 400, "0xb"), used(&nonce(7), "0xb")]), None, "the nonce was used for something else");
    let elsewhere =
        json!({"address": address(4), "topics": used(&nonce(7), "0xb")["topics"], "transactionHash": "0xb"});
    assert_eq!(found(&[log(&paid, 500, "0xb"), elsewhere]), None, "another contract says so");
    let drawn = upto(500, "permit2:0x07");
    let found = |logs: &[Value]| super::sight::transfer(&drawn, 500, logs, &|_| false);
    assert_eq!(found(&both), None, "what an authorization moved was not drawn through Permit2");
    assert_eq!(found(&[log(&drawn, 500, "0xc")]).as_deref(), Some("0xc"));
    let topics = super::sight::topics(&paid, address(9));
    assert_eq!(topics[2], json!([evm::hex(&address(9).word()), nonce(7)]));
}

#[test]
fn what_is_never_claimed_is_tried_often_for_a_day_and_then_once_a_day() {
    let until = |end: u64| {
        let mut at = 0;
        (1..).map(super::channels::pause_ms).take_while(move |pause| {
            at += pause;
            at <= end
        })
    };
    assert!(until(3_600_000).count() >= 10 && until(86_400_000).count() > 30);
    assert!(until(86_400_000).all(|pause| pause < 4_200_000), "the payer can leave within a day");
    assert!(until(30 * 86_400_000).count() < 80);
}
