use super::*;
use crate::json::json;
use letter::{Act, Bid};
use serde_json::Value;

const TERMS: Terms = Terms { hold_settle_ms: 1_000, outbox_flush_ms: 100 };
const START: Millis = Millis(1_795_562_448_000);
const ADMIN: &str = "key_admin";
const KEY: &str = "key_a";

/// An account beside the rows it wrote, so that it can be loaded again at any time.
struct Kept {
    account: Account,
    records: BTreeMap<(String, String), String>,
    bookings: BTreeMap<String, String>,
    now: Millis,
}

impl Kept {
    fn new(credit: &str) -> Self {
        let account = Account::load(TERMS, Vec::new(), Vec::new()).expect("empty");
        let mut kept = Self { account, records: BTreeMap::new(), bookings: BTreeMap::new(), now: START };
        let organization = Organization { id: "org_a".into(), name: "A".into(), ..Organization::default() };
        let amount = Nanos::parse_usd(credit).expect("an amount");
        let credit = NewCredit { id: "crd_a".into(), amount, reason: "start".into() };
        kept.send(Letter::Found { organization, admin_key: new_key(ADMIN, KeyKind::Admin), credit: Some(credit) });
        kept.act(Act::CreateKey(new_key(KEY, KeyKind::Inference)));
        kept
    }

    fn send(&mut self, letter: Letter) -> Answer {
        let Turn { answer, writes } = self.account.turn(letter, self.now);
        self.write(writes);
        answer
    }

    fn write(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Record { kind, id, body: Some(body) } => drop(self.records.insert((kind.into(), id), body)),
                Write::Record { kind, id, body: None } => drop(self.records.remove(&(kind.into(), id))),
                Write::Booking { id, body: Some(body) } => drop(self.bookings.insert(id, body)),
                Write::Booking { id, body: None } => drop(self.bookings.remove(&id)),
            }
        }
    }

    fn act(&mut self, act: Act) -> Answer {
        self.send(Letter::Admin { caller: caller(ADMIN, KeyKind::Admin), act })
    }

    fn hold(&mut self, id: &str, nanos: i64) -> Answer {
        let letter = hold_letter(id, &[nanos], self.account.tenant.version);
        self.send(Letter::Hold(letter))
    }

    fn post(&mut self, id: &str, outcome: PostOutcome) -> Answer {
        let call = CallRecord { provider: "acme".into(), ..CallRecord::default() };
        self.send(Letter::Post(PostLetter { request_id: id.into(), outcome, call, tokens: 10 }))
    }

    /// The same account, made again from its rows.
    fn reloaded(&self) -> Account {
        let row = |kind: &str, id: &str, body: &str| Row { kind: kind.into(), id: id.into(), body: body.into() };
        let records = self.records.iter().map(|((kind, id), body)| row(kind, id, body)).collect();
        let bookings = self.bookings.iter().map(|(id, body)| row("booking", id, body)).collect();
        Account::load(TERMS, records, bookings).expect("readable")
    }

    /// What counts: restarts must not change it.
    fn state(account: &Account, now: Millis) -> Value {
        let budget = account.budgets.state(&Scope::ApiKey(KEY.into()), Window::Day, now);
        json!({"wallet": account.wallet, "held": account.wallet.held, "seq": account.seq, "head": account.head, "budget": budget,
            "outbox": account.outbox, "open": account.rates.get(KEY).map_or(0, |rates| rates.open),
            "tenant": account.tenant.version})
    }

    fn flush(&mut self) -> Vec<Entry> {
        self.now = self.now.after(TERMS.outbox_flush_ms);
        let due: Vec<Entry> = self.account.due(self.now).into_iter().cloned().collect();
        if let Some(last) = due.last() {
            let writes = self.account.journaled(last.seq, self.now);
            self.write(writes);
        }
        due
    }
}

fn new_key(id: &str, kind: KeyKind) -> NewKey {
    let spec = KeySpec { name: id.into(), ..KeySpec::default() };
    NewKey { id: id.into(), digest: format!("digest of {id}"), redacted: "mr_…".into(), kind, spec }
}

fn caller(id: &str, kind: KeyKind) -> Caller {
    Caller { key_id: id.into(), digest: format!("digest of {id}"), kind }
}

fn hold_letter(id: &str, amounts: &[i64], tenant_version: u64) -> HoldLetter {
    let bid = |(place, amount): (usize, &i64)| Bid {
        provider: "acme".into(),
        model: format!("m{place}"),
        amount: Nanos(*amount),
    };
    HoldLetter {
        request_id: id.into(),
        caller: caller(KEY, KeyKind::Inference),
        tenant_version,
        bids: amounts.iter().enumerate().map(bid).collect(),
        tokens: 100,
        dry: false,
    }
}

fn limit(usd: &str) -> Limit {
    crate::json::from_value(json!({"limit_usd": usd})).expect("a limit")
}

fn refused(answer: &Answer) -> &'static str {
    match answer {
        Answer::Refused(refusal) => refusal.to_fault().code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn money_goes_from_hold_to_entry() {
    let mut kept = Kept::new("1");
    assert_eq!(kept.hold("req_1", 300), Answer::Held(Grant { amount: Nanos(300), allowed: vec![0] }));
    assert_eq!(kept.account.wallet.available(), Nanos(999_999_700));
    assert_eq!(kept.post("req_1", PostOutcome::Charge(Nanos(120))), Answer::Posted);
    assert_eq!(kept.account.wallet.available(), Nanos(999_999_880));
    let entries = kept.flush();
    assert_eq!(entries.len(), 2, "the credit and the call");
    assert!(entries.iter().all(Entry::is_sound));
    assert_eq!(entries[1].prev_hash, entries[0].hash);
    assert!(kept.bookings.is_empty(), "the journal has them");
}

#[test]
fn every_letter_may_come_twice() {
    let mut kept = Kept::new("1");
    let first = kept.hold("req_1", 300);
    assert_eq!(kept.hold("req_1", 300), first);
    assert_eq!(kept.account.wallet.held, Nanos(300));
    for _ in 0..3 {
        kept.post("req_1", PostOutcome::Charge(Nanos(100)));
    }
    kept.flush();
    kept.post("req_1", PostOutcome::Charge(Nanos(100)));
    assert_eq!((kept.account.wallet.posted, kept.account.wallet.held), (Nanos(100), Nanos(0)));
}

#[test]
fn a_restart_at_any_point_changes_nothing() {
    let mut kept = Kept::new("1");
    kept.act(Act::PutBudget { scope: Scope::ApiKey(KEY.into()), window: Window::Day, limit: limit("0.5") });
    let steps: [fn(&mut Kept); 9] = [
        |kept| drop(kept.hold("req_1", 1_000)),
        |kept| drop(kept.hold("req_2", 2_000)),
        |kept| drop(kept.post("req_1", PostOutcome::Charge(Nanos(700)))),
        |kept| drop(kept.flush()),
        |kept| drop(kept.hold("req_3", 3_000)),
        |kept| drop(kept.post("req_3", PostOutcome::Void)),
        |kept| drop(kept.post("req_2", PostOutcome::Suspense { metered: Nanos(5) })),
        |kept| drop(kept.act(Act::RevokeKey(KEY.into()))),
        |kept| drop(kept.flush()),
    ];
    for (place, step) in steps.iter().enumerate() {
        step(&mut kept);
        let again = kept.reloaded();
        assert_eq!(Kept::state(&again, kept.now), Kept::state(&kept.account, kept.now), "after step {place}");
        kept.account = again;
    }
}

#[test]
fn a_budget_stops_the_next_call_and_says_so() {
    let mut kept = Kept::new("1");
    kept.act(Act::PutBudget { scope: Scope::ApiKey(KEY.into()), window: Window::Day, limit: limit("0.000001") });
    assert_eq!(refused(&kept.hold("req_0", 1_001)), "request_exceeds_budget");
    kept.hold("req_1", 1_000);
    assert_eq!(refused(&kept.hold("req_2", 1)), "inflight_holds_exhausted");
    kept.post("req_1", PostOutcome::Charge(Nanos(1_000)));
    let answer = kept.hold("req_2", 1);
    let Answer::Refused(refusal) = &answer else { panic!("{answer:?}") };
    let fault = refusal.to_fault();
    assert_eq!((fault.status, fault.code), (403, "api_key_budget_exceeded"));
    assert_eq!(fault.metadata["posted_usd"], "0.000001");
    assert!(fault.message.contains("resets at 2026-11-25T00:00:00Z"), "{}", fault.message);
}

#[test]
fn an_empty_wallet_is_402_and_a_held_one_429() {
    let mut kept = Kept::new("0.000001");
    kept.hold("req_1", 900);
    assert_eq!(refused(&kept.hold("req_2", 200)), "inflight_holds_exhausted");
    kept.post("req_1", PostOutcome::Charge(Nanos(900)));
    assert_eq!(refused(&kept.hold("req_2", 200)), "insufficient_credits");
    kept.send(Letter::Credit(NewCredit { id: "crd_b".into(), amount: Nanos(100), reason: "more".into() }));
    assert!(matches!(kept.hold("req_2", 200), Answer::Held(_)));
}

#[test]
fn the_dearest_affordable_bid_is_held() {
    let mut kept = Kept::new("0.000001");
    let answer = kept.send(Letter::Hold(hold_letter("req_1", &[500, 2_000, 800], 0)));
    assert_eq!(answer, Answer::Held(Grant { amount: Nanos(800), allowed: vec![0, 2] }));
}

#[test]
fn only_good_keys_pass() {
    let mut kept = Kept::new("1");
    let mut letter = hold_letter("req_1", &[1], 0);
    letter.caller.digest = "another".into();
    assert_eq!(refused(&kept.send(Letter::Hold(letter.clone()))), "invalid_key");
    letter.caller = caller(ADMIN, KeyKind::Admin);
    assert_eq!(refused(&kept.send(Letter::Hold(letter.clone()))), "wrong_key_kind");
    letter.caller = caller("key_none", KeyKind::Inference);
    assert_eq!(refused(&kept.send(Letter::Hold(letter))), "invalid_key");
    assert_eq!(
        refused(&kept.send(Letter::Admin { caller: caller(KEY, KeyKind::Inference), act: Act::GetWallet })),
        "wrong_key_kind"
    );
    kept.act(Act::RevokeKey(KEY.into()));
    assert_eq!(refused(&kept.hold("req_2", 1)), "revoked_key");
    assert_eq!(refused(&kept.act(Act::RevokeKey(ADMIN.into()))), "invalid_parameter", "the last admin key stays");
}

#[test]
fn rules_of_a_key_are_kept() {
    let mut kept = Kept::new("1");
    let mut key = new_key(KEY, KeyKind::Inference);
    key.spec.model_allowlist = Some(vec!["acme/m1".into()]);
    key.spec.concurrency = Some(1);
    key.spec.rpm = Some(2);
    kept.act(Act::CreateKey(key));
    assert_eq!(refused(&kept.hold("req_0", 1)), "model_not_allowed");
    let two = |id: &str| Letter::Hold(hold_letter(id, &[1, 1], 0));
    assert_eq!(kept.send(two("req_1")), Answer::Held(Grant { amount: Nanos(1), allowed: vec![1] }));
    assert_eq!(refused(&kept.send(two("req_2"))), "concurrency_exceeded");
    kept.post("req_1", PostOutcome::Void);
    assert!(matches!(kept.send(two("req_2")), Answer::Held(_)));
    kept.post("req_2", PostOutcome::Void);
    assert_eq!(refused(&kept.send(two("req_3"))), "rpm_exceeded");
}

#[test]
fn old_rows_are_told_the_new_ones() {
    let mut kept = Kept::new("1");
    let route: NamedRoute =
        crate::json::from_value(json!({"targets": [{"provider": "acme", "model": "m"}]})).expect("a route");
    kept.act(Act::PutRoute { alias: "fast".into(), route });
    let answer = kept.send(Letter::Hold(hold_letter("req_1", &[1], 0)));
    let Answer::Refused(Refusal::Stale(tenant)) = answer else { panic!("{answer:?}") };
    assert!(tenant.version == 1 && tenant.routes.contains_key("fast"));
}

#[test]
fn a_hold_nobody_closes_goes_to_suspense_and_then_posts_what_was_metered() {
    let mut kept = Kept::new("1");
    kept.hold("req_1", 1_000);
    kept.hold("req_2", 500);
    kept.post("req_2", PostOutcome::Suspense { metered: Nanos(40) });
    assert_eq!(kept.account.wake().map(|at| at.since(START)), Some(TERMS.outbox_flush_ms));
    kept.flush();
    assert_eq!(kept.account.wake(), Some(START.after(TERMS.hold_settle_ms)));
    kept.now = START.after(TERMS.hold_settle_ms);
    let writes = kept.account.expire(kept.now);
    kept.write(writes);
    assert_eq!(kept.account.wallet.held, Nanos(1_500), "the budget stays pessimistic");
    kept.now = kept.now.after(SUSPENSE_MS);
    let writes = kept.account.expire(kept.now);
    kept.write(writes);
    assert_eq!((kept.account.wallet.held, kept.account.wallet.posted), (Nanos(0), Nanos(40)));
    assert_eq!(kept.account.rates[KEY].open, 0);
}

#[test]
fn a_late_posting_resolves_a_suspense() {
    let mut kept = Kept::new("1");
    kept.hold("req_1", 1_000);
    kept.now = START.after(TERMS.hold_settle_ms);
    let writes = kept.account.expire(kept.now);
    kept.write(writes);
    kept.post("req_1", PostOutcome::Charge(Nanos(300)));
    assert_eq!((kept.account.wallet.held, kept.account.wallet.posted), (Nanos(0), Nanos(300)));
    assert!(kept.account.deadlines.is_empty());
}

#[test]
fn a_journal_that_fails_is_tried_later_and_later() {
    let mut kept = Kept::new("1");
    kept.now = kept.now.after(TERMS.outbox_flush_ms);
    assert_eq!(kept.account.due(kept.now).len(), 1);
    kept.account.journal_failed(kept.now);
    assert_eq!(kept.account.due(kept.now).len(), 0);
    assert_eq!(kept.account.wake(), Some(kept.now.after(2_000)));
    kept.account.journal_failed(kept.now);
    assert_eq!(kept.account.wake(), Some(kept.now.after(4_000)));
}

#[test]
fn a_repeated_suspense_gives_tokens_back_once() {
    let mut kept = Kept::new("1");
    let mut key = new_key(KEY, KeyKind::Inference);
    key.spec.tpm = Some(100);
    kept.act(Act::CreateKey(key));
    kept.hold("req_1", 10);
    assert_eq!(refused(&kept.hold("req_2", 10)), "tpm_exceeded", "the first call took all of it");
    for _ in 0..3 {
        kept.post("req_1", PostOutcome::Suspense { metered: Nanos(1) });
    }
    kept.post("req_1", PostOutcome::Charge(Nanos(1)));
    assert_eq!(refused(&kept.hold("req_2", 10)), "tpm_exceeded", "ten of a hundred were used, ninety are free");
}

#[test]
fn an_overrun_is_posted_in_full_and_marked() {
    let mut kept = Kept::new("1");
    kept.hold("req_1", 10);
    kept.post("req_1", PostOutcome::Charge(Nanos(25)));
    let entries = kept.flush();
    assert_eq!(entries[1].amount_usd, Nanos(-25));
    assert!(entries[1].call.as_ref().is_some_and(|call| call.overrun));
}
