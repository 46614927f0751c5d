use super::*;
use crate::budget::{Budget, Place};
use crate::id::mint;
use crate::json::json;
use crate::ledger::{Arm, Comparison};
use letter::{
    AdminAsk, Bid, ExtendLetter, HoldLetter, MadeKey, NewCredit, NewKey, OtherAttempt, PostLetter, PostOutcome,
};
use serde_json::Value;
use std::collections::BTreeMap;

const TERMS: Terms =
    Terms { hold_settle_ms: 1_000, outbox_flush_ms: 100, claim_after_ms: 1_000_000, private_upstreams: false };
const START: Millis = Millis(1_795_562_448_000);
pub(super) const ADMIN: &str = "key_admin";
pub(super) const KEY: &str = "key_a";

pub(super) fn req(number: u128) -> String {
    mint("req", START, number)
}

/// Rows as storage has them after these writes.
pub(super) fn keep(
    records: &mut BTreeMap<(String, String), String>,
    bookings: &mut BTreeMap<String, String>,
    writes: Vec<Write>,
) {
    for write in writes {
        match write {
            Write::Record { kind, id, body: Some(body) } => drop(records.insert((kind.into(), id), body)),
            Write::Record { kind, id, body: None } => drop(records.remove(&(kind.into(), id))),
            Write::Booking { id, body: Some(body) } => drop(bookings.insert(id, body)),
            Write::Booking { id, body: None } => drop(bookings.remove(&id)),
        }
    }
}

/// An account beside the rows it wrote, so that it can be loaded again at any time.
pub(super) struct Kept {
    pub(super) account: Account,
    records: BTreeMap<(String, String), String>,
    bookings: BTreeMap<String, String>,
    pub(super) now: Millis,
}

impl Kept {
    pub(super) fn new(credit: &str) -> Self {
        let account = Account::load(TERMS, Vec::new(), Vec::new()).expect("empty");
        let mut kept = Self { account, records: BTreeMap::new(), bookings: BTreeMap::new(), now: START };
        let organization = Organization { id: "org_a".into(), name: "A".into(), ..Organization::default() };
        let amount = Nanos::parse_usd(credit).expect("an amount");
        let credit = NewCredit {
            id: mint("crd", START, 1),
            amount,
            reason: "start".into(),
            adjusts: false,
            once: String::new(),
            source: String::new(),
            ..NewCredit::default()
        };
        let owner = Some(("mem_owner".to_owned(), Member { owner: true, ..Member::default() }));
        kept.send(Letter::Found {
            organization,
            admin_key: new_key(ADMIN, KeyKind::Admin),
            credit: Some(credit),
            owner,
        });
        kept.make("api_keys", "a", &json!({"name": "a"}));
        kept
    }

    pub(super) fn send(&mut self, letter: Letter) -> Answer {
        let Led { answer, writes } = self.account.turn(letter, self.now).into_inner();
        self.write(writes);
        answer
    }

    pub(super) fn write(&mut self, writes: Vec<Write>) {
        keep(&mut self.records, &mut self.bookings, writes);
    }

    pub(super) fn admin(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let (method, path) = (method.to_owned(), format!("/admin/v1/{path}"));
        let ask = AdminAsk { method, path, body: body.to_string(), ..AdminAsk::default() };
        self.send(Letter::Admin { caller: caller(ADMIN, KeyKind::Admin), ask })
    }

    pub(super) fn put(&mut self, scope: &Scope, what: &str, body: &Value) -> Answer {
        let whose = match scope {
            Scope::Organization => "organization".to_owned(),
            Scope::Group(id) => format!("groups/{id}"),
            Scope::Member(id) => format!("members/{id}"),
            Scope::ApiKey(id) => format!("api_keys/{id}"),
        };
        self.admin("PUT", &format!("{whose}/{what}"), body)
    }

    fn budget(&mut self, scope: &Scope, window: Window, usd: &str) {
        let answer = self.put(scope, &format!("budgets/{}", window.word()), &json!({"limit_usd": usd}));
        assert!(matches!(answer, Answer::Told { status: 200, .. }), "{answer:?}");
    }

    /// Makes a row with an id of our choice.
    pub(super) fn make(&mut self, rows: &str, fresh: &str, body: &Value) -> Answer {
        let keys = made_keys(fresh);
        let (method, path) = ("POST".to_owned(), format!("/admin/v1/{rows}"));
        let ask = AdminAsk { method, path, body: body.to_string(), fresh: fresh.into(), keys, ..AdminAsk::default() };
        self.send(Letter::Admin { caller: caller(ADMIN, KeyKind::Admin), ask })
    }

    /// What the holder of an admin key asks for, with what else stands in its request.
    pub(super) fn ask(
        &mut self,
        key: &str,
        method: &str,
        path: &str,
        body: &Value,
        more: impl FnOnce(&mut AdminAsk),
    ) -> Answer {
        let (method, path) = (method.to_owned(), format!("/admin/v1/{path}"));
        let mut ask = AdminAsk { method, path, body: body.to_string(), ..AdminAsk::default() };
        more(&mut ask);
        self.send(Letter::Admin { caller: caller(key, KeyKind::Admin), ask })
    }

    fn revoke(&mut self, id: &str) -> Answer {
        self.admin("DELETE", &format!("api_keys/{id}"), &Value::Null)
    }

    pub(super) fn hold(&mut self, id: &str, nanos: i64) -> Answer {
        let letter = hold_letter(id, &[nanos], self.account.tenant.version);
        self.send(Letter::Hold(letter))
    }

    /// Asks for a hold that is granted.
    fn granted(&mut self, letter: HoldLetter) -> Grant {
        match self.send(Letter::Hold(letter)) {
            Answer::Held(grant) => grant,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn post(&mut self, id: &str, outcome: PostOutcome) -> Answer {
        let call = CallRecord { provider: "acme".into(), ..CallRecord::default() };
        self.send(Letter::Post(PostLetter {
            request_id: id.into(),
            held_at: None,
            outcome,
            call,
            tokens: 10,
            others: Vec::new(),
            observed: String::new(),
            paid: None,
        }))
    }

    /// The same account, made again from its rows.
    pub(super) fn reloaded(&self) -> Account {
        let row = |kind: &str, id: &str, body: &str| Row { kind: kind.into(), id: id.into(), body: body.into() };
        let records = self.records.iter().map(|((kind, id), body)| row(kind, id, body)).collect();
        let bookings = self.bookings.iter().map(|(id, body)| row("booking", id, body)).collect();
        Account::load(TERMS, records, bookings).expect("readable")
    }

    /// What counts: restarts must not change it.
    fn state(account: &Account, now: Millis) -> Value {
        let place = Place { path: &[], session: "", at: now, zone: &account.organization.zone };
        let budget = account.budgets.state(&Scope::ApiKey(KEY.into()), Window::Day, place);
        json!({"wallet": account.wallet, "held": account.wallet.held, "seq": account.seq, "head": account.head, "budget": budget,
            "outbox": account.outbox.iter().collect::<Vec<_>>(), "open": account.rates.get(&Scope::ApiKey(KEY.into())).map_or(0, |rates| rates.open),
            "tenant": account.tenant.version})
    }

    pub(super) fn flush(&mut self) -> Vec<Entry> {
        self.now = self.now.after(TERMS.outbox_flush_ms);
        let trail = self.account.trail_due(self.now).last().map_or(0, |entry| entry.seq);
        let due: Vec<Entry> = self.account.due(self.now).into_iter().cloned().collect();
        if let Some(last) = due.last() {
            let writes = self.account.journaled(last.seq, self.now);
            self.write(writes);
        }
        let writes = self.account.trail_journaled(trail, self.now);
        self.write(writes);
        due
    }
}

/// Keys of every kind, as the worker makes them.
pub(super) fn made_keys(fresh: &str) -> Vec<MadeKey> {
    let made = |kind: KeyKind| {
        let id = format!("{}_{fresh}", if kind == KeyKind::Invite { "inv" } else { "key" });
        MadeKey { kind, digest: format!("digest of {id}"), redacted: "mr_…".into(), id }
    };
    KeyKind::ALL.map(made).into()
}

/// The body of an answer.
pub(super) fn told_body(answer: &Answer) -> &Value {
    match answer {
        Answer::Told { body, .. } => body,
        other => panic!("{other:?}"),
    }
}

fn new_key(id: &str, kind: KeyKind) -> NewKey {
    let spec = KeySpec { name: id.into(), ..KeySpec::default() };
    NewKey { id: id.into(), digest: format!("digest of {id}"), redacted: "mr_…".into(), kind, spec }
}

pub(super) fn caller(id: &str, kind: KeyKind) -> Caller {
    Caller { key_id: id.into(), digest: format!("digest of {id}"), kind }
}

fn hold_letter(id: &str, amounts: &[i64], tenant_version: u64) -> HoldLetter {
    let bid = |(place, amount): (usize, &i64)| Bid {
        provider: "acme".into(),
        model: format!("m{place}"),
        amount: Nanos(*amount),
        least: Nanos::ZERO,
    };
    HoldLetter {
        request_id: id.into(),
        caller: caller(KEY, KeyKind::Inference),
        tenant_version,
        bids: amounts.iter().enumerate().map(bid).collect(),
        tokens: 100,
        dry: false,
        session: String::new(),
        policies_version: 0,
        taught: String::new(),
        draws: String::new(),
        claim: None,
    }
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
    assert_eq!(
        kept.hold(&req(1), 300),
        Answer::Held(Grant { amount: Nanos(300), allowed: vec![0], at: kept.now, ..Grant::default() })
    );
    assert_eq!(kept.account.wallet.available(), Nanos(999_999_700));
    assert_eq!(kept.post(&req(1), PostOutcome::Charge(Nanos(120))), Answer::Posted);
    assert_eq!(kept.account.wallet.available(), Nanos(999_999_880));
    let entries = kept.flush();
    assert_eq!(entries.len(), 2, "the credit and the call");
    assert!(entries.iter().all(Entry::is_sound));
    assert_eq!(entries[1].prev_hash, entries[0].hash);
    kept.account = kept.reloaded();
    assert_eq!(kept.flush(), [], "the journal has them");
}

#[test]
fn every_letter_may_come_twice() {
    let mut kept = Kept::new("1");
    let first = kept.hold(&req(1), 300);
    assert_eq!(kept.hold(&req(1), 300), first);
    assert_eq!(kept.account.wallet.held, Nanos(300));
    for _ in 0..3 {
        kept.post(&req(1), PostOutcome::Charge(Nanos(100)));
    }
    kept.flush();
    kept.post(&req(1), PostOutcome::Charge(Nanos(100)));
    assert_eq!((kept.account.wallet.posted, kept.account.wallet.held), (Nanos(100), Nanos(0)));
}

#[test]
fn a_restart_at_any_point_changes_nothing() {
    let mut kept = Kept::new("1");
    kept.budget(&Scope::ApiKey(KEY.into()), Window::Day, "0.5");
    let steps: [fn(&mut Kept); 9] = [
        |kept| drop(kept.hold(&req(1), 1_000)),
        |kept| drop(kept.hold(&req(2), 2_000)),
        |kept| drop(kept.post(&req(1), PostOutcome::Charge(Nanos(700)))),
        |kept| drop(kept.flush()),
        |kept| drop(kept.hold(&req(3), 3_000)),
        |kept| drop(kept.post(&req(3), PostOutcome::Void)),
        |kept| drop(kept.post(&req(2), PostOutcome::Suspense { metered: Nanos(5) })),
        |kept| drop(kept.revoke(KEY)),
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
    kept.budget(&Scope::ApiKey(KEY.into()), Window::Day, "0.000001");
    assert_eq!(refused(&kept.hold(&req(0), 1_001)), "request_exceeds_budget");
    kept.hold(&req(1), 1_000);
    assert_eq!(refused(&kept.hold(&req(2), 1)), "inflight_holds_exhausted");
    kept.post(&req(1), PostOutcome::Charge(Nanos(1_000)));
    let answer = kept.hold(&req(2), 1);
    let Answer::Refused(refusal) = &answer else { panic!("{answer:?}") };
    let fault = refusal.to_fault();
    assert_eq!((fault.status, fault.code), (403, "api_key_budget_exceeded"));
    assert_eq!(fault.metadata["posted_usd"], "0.000001");
    assert!(fault.message.contains("resets at 2026-11-25T00:00:00Z"), "{}", fault.message);
}

#[test]
fn an_empty_wallet_is_402_and_a_held_one_429() {
    let mut kept = Kept::new("0.000001");
    kept.hold(&req(1), 900);
    assert_eq!(refused(&kept.hold(&req(2), 200)), "inflight_holds_exhausted");
    kept.post(&req(1), PostOutcome::Charge(Nanos(900)));
    assert_eq!(refused(&kept.hold(&req(2), 200)), "insufficient_credits");
    kept.send(Letter::Credit(NewCredit {
        id: mint("crd", START, 2),
        amount: Nanos(100),
        reason: "more".into(),
        adjusts: false,
        once: String::new(),
        source: String::new(),
        ..NewCredit::default()
    }));
    assert!(matches!(kept.hold(&req(2), 200), Answer::Held(_)));
}

#[test]
fn the_dearest_affordable_bid_is_held() {
    let mut kept = Kept::new("0.000001");
    let answer = kept.send(Letter::Hold(hold_letter(&req(1), &[500, 2_000, 800], 0)));
    assert_eq!(
        answer,
        Answer::Held(Grant { amount: Nanos(800), allowed: vec![0, 2], at: kept.now, ..Grant::default() })
    );
}

#[test]
fn only_good_keys_pass() {
    let mut kept = Kept::new("1");
    let mut letter = hold_letter(&req(1), &[1], 0);
    letter.caller.digest = "another".into();
    assert_eq!(refused(&kept.send(Letter::Hold(letter.clone()))), "invalid_key");
    letter.caller = caller(ADMIN, KeyKind::Admin);
    assert_eq!(refused(&kept.send(Letter::Hold(letter.clone()))), "wrong_key_kind");
    letter.caller = caller("key_none", KeyKind::Inference);
    assert_eq!(refused(&kept.send(Letter::Hold(letter))), "invalid_key");
    assert_eq!(refused(&kept.send(Letter::Prove(caller(KEY, KeyKind::Inference)))), "wrong_key_kind");
    kept.revoke(KEY);
    assert_eq!(refused(&kept.hold(&req(2), 1)), "revoked_key");
    assert_eq!(refused(&kept.revoke(ADMIN)), "invalid_parameter", "the last admin key stays");
}

#[test]
fn rules_of_a_key_are_kept() {
    let mut kept = Kept::new("1");
    kept.make("api_keys", "a", &json!({"name": "a", "model_allowlist": ["acme/m1"], "concurrency": 1, "rpm": 2}));
    assert_eq!(refused(&kept.hold(&req(0), 1)), "model_not_allowed");
    let two = |id: &str| Letter::Hold(hold_letter(id, &[1, 1], 0));
    assert_eq!(
        kept.send(two(&req(1))),
        Answer::Held(Grant { amount: Nanos(1), allowed: vec![1], at: kept.now, ..Grant::default() })
    );
    assert_eq!(refused(&kept.send(two(&req(2)))), "concurrency_exceeded");
    kept.post(&req(1), PostOutcome::Void);
    assert!(matches!(kept.send(two(&req(2))), Answer::Held(_)));
    kept.post(&req(2), PostOutcome::Void);
    assert_eq!(refused(&kept.send(two(&req(3)))), "rpm_exceeded");
}

#[test]
fn old_rows_are_told_the_new_ones() {
    let mut kept = Kept::new("1");
    kept.admin("PUT", "routes/fast", &json!({"targets": [{"provider": "acme", "model": "m"}]}));
    let answer = kept.send(Letter::Hold(hold_letter(&req(1), &[1], 0)));
    let Answer::Refused(Refusal::Stale(tenant)) = answer else { panic!("{answer:?}") };
    assert!(tenant.version == 1 && tenant.routes.contains_key("fast"));
}

#[test]
fn a_hold_nobody_closes_goes_to_suspense_and_then_posts_what_was_metered() {
    let mut kept = Kept::new("1");
    kept.hold(&req(1), 1_000);
    kept.hold(&req(2), 500);
    kept.post(&req(2), PostOutcome::Suspense { metered: Nanos(40) });
    assert_eq!(kept.account.wake().map(|at| at.since(START)), Some(TERMS.outbox_flush_ms));
    kept.flush();
    assert_eq!(kept.account.wake(), Some(START.after(TERMS.hold_settle_ms)));
    kept.now = START.after(TERMS.hold_settle_ms);
    let writes = kept.account.expire(kept.now);
    kept.write(writes);
    assert_eq!(kept.account.wallet.held, Nanos(1_500), "the budget stays pessimistic");
    kept.now = kept.now.after(86_400_000);
    let writes = kept.account.expire(kept.now);
    kept.write(writes);
    assert_eq!((kept.account.wallet.held, kept.account.wallet.posted), (Nanos(0), Nanos(40)));
    assert_eq!(kept.account.rates.get(&Scope::ApiKey(KEY.into())).map_or(9, |rates| rates.open), 0);
}

#[test]
fn a_late_posting_resolves_a_suspense() {
    let mut kept = Kept::new("1");
    kept.hold(&req(1), 1_000);
    kept.now = START.after(TERMS.hold_settle_ms);
    let writes = kept.account.expire(kept.now);
    kept.write(writes);
    kept.post(&req(1), PostOutcome::Charge(Nanos(300)));
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
    kept.make("api_keys", "a", &json!({"name": "a", "tpm": 100}));
    kept.hold(&req(1), 10);
    assert_eq!(refused(&kept.hold(&req(2), 10)), "tpm_exceeded", "the first call took all of it");
    for _ in 0..3 {
        kept.post(&req(1), PostOutcome::Suspense { metered: Nanos(1) });
    }
    kept.post(&req(1), PostOutcome::Charge(Nanos(1)));
    assert_eq!(refused(&kept.hold(&req(2), 10)), "tpm_exceeded", "ten of a hundred were used, ninety are free");
}

#[test]
fn an_overrun_is_posted_in_full_and_marked() {
    let mut kept = Kept::new("1");
    kept.hold(&req(1), 10);
    kept.post(&req(1), PostOutcome::Charge(Nanos(25)));
    let entries = kept.flush();
    assert_eq!(entries[1].amount_usd, Nanos(-25));
    assert!(entries[1].call.as_ref().is_some_and(|call| call.overrun));
}

/// An account with a tree: two groups, one in the other, a member in the inner one, and the member's key.
fn with_tree(credit: &str) -> Kept {
    let mut kept = Kept::new(credit);
    kept.make("groups", "outer", &json!({"name": "outer"}));
    kept.make("groups", "inner", &json!({"name": "inner", "parent_id": "grp_outer"}));
    kept.make("members", "a", &json!({"name": "Ada", "group_id": "grp_inner"}));
    kept.make("api_keys", "a", &json!({"name": "a", "owner_member_id": "mem_a"}));
    kept
}

fn layers() -> [Scope; 5] {
    [
        Scope::ApiKey(KEY.into()),
        Scope::Member("mem_a".into()),
        Scope::Group("grp_inner".into()),
        Scope::Group("grp_outer".into()),
        Scope::Organization,
    ]
}

#[test]
fn every_layer_of_the_path_counts() {
    for scope in layers() {
        let mut kept = with_tree("1");
        kept.budget(&scope.clone(), Window::Month, "0.000001");
        kept.hold(&req(1), 600);
        assert_eq!(refused(&kept.hold(&req(2), 600)), "inflight_holds_exhausted", "{scope:?}");
        kept.post(&req(1), PostOutcome::Charge(Nanos(600)));
        let code = format!("{}_budget_exceeded", scope.word());
        assert_eq!(refused(&kept.hold(&req(2), 600)), code);
        assert!(matches!(kept.hold(&req(2), 400), Answer::Held(_)), "to the nano");
        let entry = kept.flush().pop().expect("the call");
        assert_eq!(entry.call.expect("a call").path, layers()[..4], "the path is frozen into the entry");
    }
}

#[test]
fn all_layers_are_held_or_none() {
    let mut kept = with_tree("1");
    for scope in layers() {
        kept.budget(&scope, Window::Day, "0.000001");
    }
    let scope = Scope::Organization;
    kept.budget(&scope, Window::Day, "0.0000005");
    assert_eq!(refused(&kept.hold(&req(1), 600)), "request_exceeds_budget");
    let held = |kept: &Kept| {
        layers().map(|scope| {
            let place = Place { path: &[], session: "", at: kept.now, zone: &kept.account.organization.zone };
            kept.account.budgets.state(&scope, Window::Day, place).held_usd.0
        })
    };
    assert_eq!((held(&kept), kept.account.wallet.held), ([0; 5], Nanos(0)));
    kept.hold(&req(1), 400);
    assert_eq!((held(&kept), kept.account.wallet.held), ([400; 5], Nanos(400)));
}

#[test]
fn rates_of_every_layer_are_taken_or_none() {
    let rpm = |most: u64| json!({"rpm": most});
    let mut kept = with_tree("1");
    kept.put(&Scope::ApiKey(KEY.into()), "rate_limits", &rpm(2));
    kept.put(&Scope::Group("grp_outer".into()), "rate_limits", &rpm(1));
    assert!(matches!(kept.hold(&req(1), 1), Answer::Held(_)));
    assert_eq!(refused(&kept.hold(&req(2), 1)), "rpm_exceeded");
    kept.put(&Scope::Group("grp_outer".into()), "rate_limits", &json!({}));
    assert!(matches!(kept.hold(&req(3), 1), Answer::Held(_)), "the refused call gave the key's turn back");
    assert_eq!(refused(&kept.hold(&req(4), 1)), "rpm_exceeded");
    kept.flush();
    kept.account = kept.reloaded();
    assert_eq!(refused(&kept.hold(&req(4), 1)), "rpm_exceeded", "a restart gives nothing back");
    kept.put(&Scope::ApiKey(KEY.into()), "rate_limits", &json!({}));
    kept.put(&Scope::Member("mem_a".into()), "rate_limits", &json!({"concurrency": 2}));
    assert_eq!(refused(&kept.hold(&req(4), 1)), "concurrency_exceeded", "two are open");
    kept.post(&req(1), PostOutcome::Void);
    assert!(matches!(kept.hold(&req(4), 1), Answer::Held(_)));
}

#[test]
fn the_tree_keeps_its_rules() {
    let mut kept = with_tree("1");
    let group = |parent: &str| json!({"name": "g", "parent_id": parent});
    for (fresh, parent) in [("3", "grp_inner"), ("4", "grp_3")] {
        kept.make("groups", fresh, &group(parent));
    }
    let code = |answer: Answer| refused(&answer);
    assert_eq!(code(kept.make("groups", "5", &group("grp_4"))), "group_depth_exceeded");
    assert_eq!(code(kept.make("groups", "5", &group("grp_x"))), "not_found");
    assert_eq!(code(kept.make("groups", "5", &json!({"parent_id": "grp_3"}))), "invalid_parameter");
    assert_eq!(code(kept.make("groups", "5", &json!("a text"))), "invalid_parameter");
    assert_eq!(code(kept.admin("POST", "groups/grp_3/archive", &Value::Null)), "group_not_empty");
    assert_eq!(code(kept.admin("POST", "members/mem_owner/disable", &Value::Null)), "last_owner");
    kept.admin("POST", "groups/grp_4/archive", &Value::Null);
    assert_eq!(code(kept.make("groups", "5", &group("grp_4"))), "group_archived");
    assert_eq!(code(kept.admin("PATCH", "members/mem_a", &json!({"group_id": "grp_4"}))), "group_archived");
    kept.admin("POST", "members/mem_a/disable", &Value::Null);
    assert_eq!(code(kept.hold(&req(1), 1)), "member_disabled");
}

#[test]
fn a_session_has_a_budget_of_its_own() {
    let mut kept = Kept::new("1");
    let scope = Scope::ApiKey(KEY.into());
    kept.budget(&scope, Window::Session, "0.000001");
    let hold = |kept: &mut Kept, id: &str, session: &str, amount| {
        kept.send(Letter::Hold(HoldLetter { session: session.into(), ..hold_letter(id, &[amount], 0) }))
    };
    hold(&mut kept, &req(1), "s1", 900);
    kept.post(&req(1), PostOutcome::Charge(Nanos(900)));
    assert_eq!(refused(&hold(&mut kept, &req(2), "s1", 200)), "session_budget_exceeded");
    assert!(matches!(hold(&mut kept, &req(2), "s2", 200), Answer::Held(_)), "another session");
    assert!(matches!(hold(&mut kept, &req(3), "", 2_000), Answer::Held(_)), "no session");
    kept.flush();
    kept.account = kept.reloaded();
    assert_eq!(refused(&hold(&mut kept, &req(4), "s1", 200)), "session_budget_exceeded", "after a restart");
}

#[test]
fn a_late_letter_opens_nothing_again() {
    let mut kept = Kept::new("1");
    let posting = |id: &str, outcome| {
        let (request_id, call) = (id.to_owned(), CallRecord { provider: "acme".into(), ..CallRecord::default() });
        Letter::Post(PostLetter {
            request_id,
            held_at: Some(START),
            outcome,
            call,
            tokens: 10,
            others: Vec::new(),
            observed: String::new(),
            paid: None,
        })
    };
    let charge = PostOutcome::Charge(Nanos(5));
    kept.send(posting(&req(0), PostOutcome::Void));
    kept.hold(&req(1), 10);
    kept.send(posting(&req(1), PostOutcome::Void));
    kept.hold(&req(2), 10);
    kept.send(posting(&req(2), charge));
    kept.flush();
    let again = NewCredit {
        id: mint("crd", START, 1),
        amount: Nanos(7),
        reason: String::new(),
        adjusts: false,
        once: String::new(),
        source: String::new(),
        ..NewCredit::default()
    };
    // From memory, and from the rows that are left.
    for later in [0, 60_000, 50_000] {
        kept.now = kept.now.after(later);
        for restart in [false, true] {
            if restart {
                kept.account = kept.reloaded();
            }
            for id in [req(0), req(1), req(2)] {
                assert_eq!(refused(&kept.hold(&id, 10)), "budget_unavailable", "{id} after {later}");
                kept.send(posting(&id, charge));
            }
            kept.send(Letter::Credit(again.clone()));
            let wallet = kept.account.wallet;
            assert_eq!((wallet.held, wallet.posted, wallet.credits), (Nanos(0), Nanos(5), Nanos(1_000_000_000)));
        }
    }
    assert!(!kept.bookings.is_empty(), "rows tell of them");
    // What is forgotten may hold once more, but what is said of the hold before is not said of this one.
    kept.now = kept.now.after(20_000);
    let next = mint("req", kept.now, 9);
    kept.hold(&next, 10);
    kept.post(&next, charge);
    kept.flush();
    assert_eq!(kept.bookings.keys().collect::<Vec<_>>(), [&next], "for a while");
    kept.hold(&req(2), 10);
    kept.send(posting(&req(2), charge));
    kept.send(Letter::Credit(again));
    let wallet = kept.account.wallet;
    assert_eq!((wallet.held, wallet.posted, wallet.credits), (Nanos(10), Nanos(10), Nanos(1_000_000_000)));
    kept.post(&req(2), PostOutcome::Void);
    kept.now = kept.now.after(900_000);
    assert_eq!(refused(&kept.hold(&req(3), 10)), "budget_unavailable", "it is too old");
}

#[test]
fn a_hold_grows_with_its_answer_as_far_as_there_is_room() {
    let mut kept = Kept::new("1");
    let scope = Scope::Organization;
    kept.budget(&scope, Window::Day, "0.000001");
    let mut letter = hold_letter(&req(1), &[5_000], 0);
    letter.bids[0].least = Nanos(400);
    assert_eq!(
        kept.send(Letter::Hold(letter)),
        Answer::Held(Grant { amount: Nanos(400), allowed: vec![0], at: kept.now, ..Grant::default() })
    );
    let mut extend = |to, least| {
        let letter = ExtendLetter { request_id: req(1), to: Nanos(to), least: Nanos(least) };
        match kept.send(Letter::Extend(letter)) {
            Answer::Held(grant) => grant.amount.0,
            answer => panic!("not held: {answer:?}"),
        }
    };
    assert_eq!(extend(800, 800), 800);
    assert_eq!(extend(800, 800), 800, "it may come twice");
    assert_eq!(extend(600, 600), 800, "a hold never shrinks");
    assert_eq!(extend(1_100, 1_050), 800, "not by too little");
    assert_eq!(extend(1_200, 900), 1_000, "what there is");
    assert_eq!(extend(1_400, 1_200), 1_000, "and no more");
    assert_eq!(kept.account.wallet.held, Nanos(1_000));
    kept.account = kept.reloaded();
    assert_eq!(kept.account.wallet.held, Nanos(1_000));
    kept.post(&req(1), PostOutcome::Charge(Nanos(950)));
    let letter = ExtendLetter { request_id: req(1), to: Nanos(2_000), least: Nanos(2_000) };
    assert_eq!(refused(&kept.send(Letter::Extend(letter))), "budget_unavailable", "it was closed");
    assert_eq!((kept.account.wallet.held, kept.account.wallet.posted), (Nanos(0), Nanos(950)));
}

#[test]
fn other_attempts_are_booked_by_themselves() {
    let mut kept = Kept::new("1");
    kept.hold(&req(1), 1_000);
    let call = |provider: &str| CallRecord { provider: provider.into(), ..CallRecord::default() };
    let other = |number, amount, outcome| OtherAttempt { number, amount: Nanos(amount), outcome, call: call("slow") };
    let letter = PostLetter {
        held_at: None,
        request_id: req(1),
        outcome: PostOutcome::Charge(Nanos(300)),
        call: call("acme"),
        tokens: 10,
        others: vec![
            other(1, 500, PostOutcome::Suspense { metered: Nanos(20) }),
            other(2, 500, PostOutcome::Charge(Nanos(30))),
        ],
        observed: String::new(),
        paid: None,
    };
    for _ in 0..2 {
        kept.send(Letter::Post(letter.clone()));
        assert_eq!((kept.account.wallet.posted, kept.account.wallet.held), (Nanos(330), Nanos(500)));
    }
    let ids: Vec<String> = kept.flush().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [mint("crd", START, 1), format!("{}#2", req(1)), req(1)]);
    kept.now = kept.now.after(86_400_000);
    let writes = kept.account.expire(kept.now);
    kept.write(writes);
    assert_eq!((kept.account.wallet.posted, kept.account.wallet.held), (Nanos(350), Nanos(0)));
}

#[test]
fn an_unknown_charge_and_other_attempts_share_one_hold() {
    let mut kept = Kept::new("1");
    kept.hold(&req(1), 1_000);
    let call = CallRecord { provider: "acme".into(), ..CallRecord::default() };
    let outcome = PostOutcome::Suspense { metered: Nanos(20) };
    let others = vec![OtherAttempt { number: 1, amount: Nanos(500), outcome, call: call.clone() }];
    let letter = PostLetter {
        request_id: req(1),
        held_at: None,
        outcome,
        call,
        tokens: 10,
        others,
        observed: String::new(),
        paid: None,
    };
    for _ in 0..2 {
        kept.send(Letter::Post(letter.clone()));
        assert_eq!(kept.account.wallet.held, Nanos(1_000));
    }
    kept.now = kept.now.after(86_400_000);
    let writes = kept.account.expire(kept.now);
    kept.write(writes);
    assert_eq!((kept.account.wallet.posted, kept.account.wallet.held), (Nanos(40), Nanos(0)));
}

#[test]
fn what_is_told_after_a_hold_ran_out_still_counts() {
    let outcomes = [(PostOutcome::Suspense { metered: Nanos(20) }, 20), (PostOutcome::Charge(Nanos(30)), 30)];
    for (outcome, posted) in outcomes {
        let mut kept = Kept::new("1");
        kept.hold(&req(1), 1_000);
        kept.now = START.after(TERMS.hold_settle_ms);
        let writes = kept.account.expire(kept.now);
        kept.write(writes);
        let call = CallRecord { provider: "acme".into(), ..CallRecord::default() };
        let other =
            OtherAttempt { number: 1, amount: Nanos(500), outcome: PostOutcome::Charge(Nanos(7)), call: call.clone() };
        let letter = PostLetter {
            request_id: req(1),
            held_at: None,
            outcome,
            call,
            tokens: 10,
            others: vec![other],
            observed: String::new(),
            paid: None,
        };
        for _ in 0..2 {
            kept.send(Letter::Post(letter.clone()));
        }
        kept.now = kept.now.after(86_400_000);
        let writes = kept.account.expire(kept.now);
        kept.write(writes);
        assert_eq!((kept.account.wallet.posted, kept.account.wallet.held), (Nanos(posted + 7), Nanos(0)));
    }
}

#[test]
fn a_budget_that_is_put_anew_counts_from_then_on() {
    let mut kept = Kept::new("1");
    kept.budget(&Scope::Organization, Window::Lifetime, "0.000001");
    kept.hold(&req(1), 1_000);
    kept.post(&req(1), PostOutcome::Charge(Nanos(1_000)));
    kept.flush();
    assert_eq!(refused(&kept.hold(&req(2), 500)), "organization_budget_exceeded");
    kept.admin("DELETE", "organization/budgets/lifetime", &Value::Null);
    kept.budget(&Scope::Organization, Window::Lifetime, "0.000001");
    kept.account = kept.reloaded();
    assert!(matches!(kept.hold(&req(2), 500), Answer::Held(_)), "also after a restart");
}

#[test]
fn more_counters_than_a_row_holds_are_kept_in_several() {
    let mut kept = Kept::new("1");
    for key in 0..COUNTERS_PER_ROW + 10 {
        let counted =
            Counted { scope: Scope::ApiKey(format!("k{key}")), window: Window::Lifetime, window_id: "life".into() };
        let limit = crate::json::from_value(json!({"limit_usd": "1"})).expect("a limit");
        kept.account.budgets.put(counted.scope.clone(), Window::Lifetime, Budget { limit, extra: None });
        kept.account.budgets.hold(&[counted], Nanos(1), kept.now);
    }
    let rows = |kept: &Kept| kept.records.keys().filter(|(kind, _)| kind == "counters").count();
    kept.flush();
    assert_eq!(rows(&kept), 1);
    for key in 0..COUNTERS_PER_ROW {
        kept.account.budgets.remove(&Scope::ApiKey(format!("k{key}")), Window::Lifetime);
        let counted =
            Counted { scope: Scope::ApiKey(format!("k{key}")), window: Window::Lifetime, window_id: "life".into() };
        kept.account.budgets.post(&[counted], Nanos(1), Nanos::ZERO, kept.now);
    }
    kept.send(Letter::Credit(NewCredit {
        id: mint("crd", START, 2),
        amount: Nanos(1),
        reason: "more".into(),
        adjusts: false,
        once: String::new(),
        source: String::new(),
        ..NewCredit::default()
    }));
    kept.flush();
    assert_eq!(rows(&kept), 0, "a row that is not needed goes");
}

#[test]
fn a_routing_policy_is_put_read_and_deleted() {
    let mut kept = Kept::new("1");
    kept.make("groups", "g", &json!({"name": "Research"}));
    for (scope, id) in [
        (Scope::Organization, "org_a"),
        (Scope::Group("grp_g".into()), "grp_g"),
        (Scope::Member("mem_owner".into()), "mem_owner"),
        (Scope::ApiKey(KEY.into()), KEY),
    ] {
        let path = match &scope {
            Scope::Organization => "organization/routing_policy".to_owned(),
            Scope::Group(id) => format!("groups/{id}/routing_policy"),
            Scope::Member(id) => format!("members/{id}/routing_policy"),
            Scope::ApiKey(id) => format!("api_keys/{id}/routing_policy"),
        };
        assert_eq!(refused(&kept.admin("GET", &path, &Value::Null)), "not_found");
        let answer = kept.put(&scope, "routing_policy", &json!({"mode": "cost-first", "deny": ["acme/m0"]}));
        let Answer::Told { status: 200, body } = answer else { panic!("{answer:?}") };
        assert_eq!((&body["object"], &body["scope"]["id"]), (&"routing_policy".into(), &id.into()));
        assert_eq!((&body["mode"], &body["deny"][0]), (&"cost-first".into(), &"acme/m0".into()));
        assert_eq!(kept.admin("GET", &path, &Value::Null), Answer::Told { status: 200, body });
        kept.account = kept.reloaded();
        let answer = kept.admin("DELETE", &path, &Value::Null);
        assert!(matches!(answer, Answer::Told { status: 200, .. }), "{answer:?}");
        assert_eq!(refused(&kept.admin("DELETE", &path, &Value::Null)), "not_found");
    }
    let absent = Scope::Group("grp_none".into());
    assert_eq!(refused(&kept.put(&absent, "routing_policy", &json!({"mode": "balanced"}))), "not_found");
}

#[test]
fn a_routing_policy_out_of_bounds_is_refused() {
    let mut kept = Kept::new("1");
    for (body, word) in [
        (json!({}), "at least one of"),
        (json!({"mode": null, "data_policy": {}, "max_price": {}}), "at least one of"),
        (json!({"modes": "balanced"}), "modes"),
        (json!({"mode": "fast"}), "fast"),
        (json!({"weights": {"quality": 0, "cost": 0, "latency": 0}}), "weights"),
        (json!({"deny": ["openai/gpt-*"]}), "deny"),
        (json!({"allow": ["*", "a/*", "a/b", ""]}), "allow"),
        (json!({"data_policy": {"training": "no"}}), "training"),
        (json!({"data_policy": {"regions": [""]}}), "data_policy.regions"),
        (json!({"max_cost_usd": "0"}), "max_cost_usd"),
        (json!({"max_price": {"input": "-1"}}), "max_price"),
        (json!({"min_quality": 1.5}), "min_quality"),
    ] {
        let answer = kept.put(&Scope::Organization, "routing_policy", &body);
        let Answer::Refused(refusal) = answer else { panic!("{body}: {answer:?}") };
        let fault = refusal.to_fault();
        assert!(fault.status == 400 && fault.message.contains(word), "{body}: {fault:?}");
    }
    assert_eq!(kept.account.tenant.version, 0);
}

/// What the account answers to bids that were made under policies of this version.
fn under(kept: &mut Kept, id: &str, policies_version: u64) -> Answer {
    let letter = HoldLetter { policies_version, ..hold_letter(id, &[1, 1], kept.account.tenant.version) };
    kept.send(Letter::Hold(letter))
}

#[test]
fn bids_under_other_policies_are_told_the_new_ones() {
    let mut kept = Kept::new("1");
    kept.make("groups", "g", &json!({"name": "Research"}));
    kept.make("members", "m", &json!({"name": "Ada", "group_id": "grp_g"}));
    kept.make("api_keys", "b", &json!({"name": "b", "owner_member_id": "mem_m"}));
    kept.put(&Scope::Group("grp_g".into()), "routing_policy", &json!({"deny": ["acme/m0"]}));
    assert!(
        matches!(under(&mut kept, &req(1), 0), Answer::Held(_)),
        "a key that stands under none needs no second turn"
    );
    let of_ada = |kept: &mut Kept, id: &str, policies_version: u64| {
        let letter = HoldLetter {
            policies_version,
            caller: caller("key_b", KeyKind::Inference),
            ..hold_letter(id, &[1, 1], kept.account.tenant.version)
        };
        kept.send(Letter::Hold(letter))
    };
    let answer = of_ada(&mut kept, &req(2), 0);
    let Answer::Refused(Refusal::Stale(told)) = answer else { panic!("{answer:?}") };
    let layer = json!({"scope": "group:grp_g", "name": "Research", "written": {"deny": ["acme/m0"]}});
    assert_eq!((told.version, told.policies), (1, json!([layer])));
    let answer = of_ada(&mut kept, &req(2), 1);
    let Answer::Held(grant) = answer else { panic!("{answer:?}") };
    assert_eq!(grant.allowed, [1], "what is denied is held for by nobody");
    // Whoever moves stands under other policies with the next call.
    kept.make("groups", "h", &json!({"name": "Other"}));
    kept.admin("PATCH", "members/mem_m", &json!({"group_id": "grp_h"}));
    let answer = of_ada(&mut kept, &req(3), 1);
    let Answer::Refused(Refusal::Stale(told)) = answer else { panic!("{answer:?}") };
    assert_eq!((told.version, told.policies), (2, Value::Null));
    assert!(matches!(of_ada(&mut kept, &req(3), 0), Answer::Held(_)));
    let whoami = kept.send(Letter::Whoami(caller(KEY, KeyKind::Inference)));
    assert!(matches!(whoami, Answer::Whoami { tenant, .. } if tenant.policies.is_null()));
}

/// A verdict: the small model failed, the large one did not.
fn verdict(text: &str) -> lessons::Lesson {
    use crate::{chat, endpoint::Overrides, quality::Prior};
    let parts = vec![chat::Part::text(text)];
    let message = chat::Message { role: chat::Role::User, parts, name: None };
    let request = chat::Request { messages: vec![message], ..chat::Request::default() };
    let case = crate::analysis::analyse(&request, &Overrides::default(), &Prior::shipped()).case.to_text();
    let judged = |model: &str, score| lessons::Judged { model: model.into(), ability: 0.4, score };
    lessons::Lesson {
        at: Millis(0),
        case,
        outcomes: vec![judged("small", 0.0), judged("large", 1.0)],
        comparison: None,
    }
}

#[test]
fn what_outcomes_teach_comes_with_the_next_hold_and_stays() {
    let mut kept = Kept::new("1");
    let held = |kept: &mut Kept, number: u128, taught: &str| {
        let letter = hold_letter(&req(number), &[1], kept.account.tenant.version);
        kept.granted(HoldLetter { taught: taught.into(), ..letter }).taught
    };
    assert_eq!(held(&mut kept, 1, ""), "", "nothing was learned");
    for number in 0..60 {
        let (id, lesson) = (req(1_000 + number), verdict(&format!("Fold the paper {number}.")));
        kept.now = kept.now.after(1);
        let learn = Letter::Learn { caller: caller(KEY, KeyKind::Inference), id, lesson };
        assert_eq!(kept.send(learn), Answer::Posted);
    }
    let told = held(&mut kept, 2, "");
    let (version, _) = told.split_once('.').expect("a version");
    assert_eq!(held(&mut kept, 3, version), "", "who knows is not told again");
    assert_eq!(held(&mut kept, 4, "older"), told);
    assert!(kept.bookings.values().all(|row| !row.contains("taught")), "a hold does not keep it");
    let taught = crate::quality::taught::Taught::of_text(&told).expect("readable");
    let case = crate::quality::case::Case::of_text(&verdict("Fold the paper 99.").case).expect("readable");
    assert!(taught.estimate(&case, "large", 0.4) > taught.estimate(&case, "small", 0.4) + 0.5);
    // Made again from its rows, the account knows the same.
    kept.account = kept.reloaded();
    let again = crate::quality::taught::Taught::of_text(&held(&mut kept, 5, "")).expect("readable");
    assert!(again.estimate(&case, "large", 0.4) > again.estimate(&case, "small", 0.4) + 0.5);
}

#[test]
fn lessons_are_bounded_and_need_a_key() {
    let mut kept = Kept::new("1");
    let stranger = Letter::Learn { caller: caller("key_none", KeyKind::Inference), id: req(1), lesson: verdict("x") };
    assert_eq!(kept.send(stranger), Answer::Refused(Refusal::UnknownKey));
    for number in 0..crate::quality::learner::EXAMPLES_MAX as u128 + 20 {
        kept.now = kept.now.after(1);
        let learn = Letter::Learn { caller: caller(KEY, KeyKind::Inference), id: req(number), lesson: verdict("x") };
        assert_eq!(kept.send(learn), Answer::Posted);
    }
    let rows = kept.records.keys().filter(|(kind, _)| kind == "lesson").count();
    assert_eq!(rows, crate::quality::learner::EXAMPLES_MAX);
    let junk = lessons::Lesson { case: "junk".into(), ..verdict("x") };
    let learn = Letter::Learn { caller: caller(KEY, KeyKind::Inference), id: req(9_999), lesson: junk };
    assert_eq!(kept.send(learn), Answer::Posted, "what cannot be read teaches nothing");
    let mut long = verdict("x");
    long.outcomes[0].model = "m".repeat(201);
    let learn = Letter::Learn { caller: caller(KEY, KeyKind::Inference), id: req(10_000), lesson: long };
    assert!(matches!(kept.send(learn), Answer::Refused(Refusal::Invalid { .. })), "a name that fills a row");
}

#[test]
fn a_verdict_counts_as_a_request_of_the_keys_rates() {
    let mut kept = Kept::new("1");
    kept.put(&Scope::ApiKey(KEY.into()), "rate_limits", &json!({"rpm": 1}));
    let learn =
        |number| Letter::Learn { caller: caller(KEY, KeyKind::Inference), id: req(number), lesson: verdict("x") };
    assert_eq!(kept.send(learn(1)), Answer::Posted);
    assert!(matches!(kept.send(learn(2)), Answer::Refused(Refusal::Rpm { .. })));
}

#[test]
fn a_session_is_told_where_its_prompt_was_read_for_five_minutes() {
    let mut kept = Kept::new("1");
    let held = |kept: &mut Kept, number: u128, session: &str| {
        let letter = hold_letter(&req(number), &[1], kept.account.tenant.version);
        kept.granted(HoldLetter { session: session.into(), ..letter }).warm
    };
    assert_eq!(held(&mut kept, 1, "chat"), "");
    let usage = crate::usage::Usage { input: 10, ..crate::usage::Usage::default() };
    let call = CallRecord { provider: "acme".into(), model: "m".into(), usage, ..CallRecord::default() };
    let outcome = PostOutcome::Charge(Nanos(1));
    kept.send(Letter::Post(PostLetter {
        request_id: req(1),
        held_at: None,
        outcome,
        call,
        tokens: 10,
        others: Vec::new(),
        observed: String::new(),
        paid: None,
    }));
    assert_eq!(held(&mut kept, 2, "chat"), "acme/m");
    assert_eq!((held(&mut kept, 3, "another"), held(&mut kept, 4, "")), (String::new(), String::new()));
    kept.now = kept.now.after(300_001);
    let late = mint("req", kept.now, 5);
    let letter = HoldLetter { session: "chat".into(), ..hold_letter(&late, &[1], kept.account.tenant.version) };
    assert!(matches!(kept.send(Letter::Hold(letter)), Answer::Held(grant) if grant.warm.is_empty()));
}

/// A call that the router chose a deployment for, or drew one, as it was answered.
fn arm_call(model: &str, arm: Arm, passed: bool) -> CallRecord {
    let comparison = Comparison {
        arm,
        deployment: format!("acme/{model}"),
        weight: 2_000,
        own_weight: 4_000,
        cost_usd: Nanos(5),
        passed: Some(passed),
        own_passed: Some(passed),
    };
    let comparison = Some(Box::new(comparison));
    // Another may have answered in the end.
    CallRecord {
        provider: "other".into(),
        model: "m".into(),
        mode: "balanced".into(),
        comparison,
        ..CallRecord::default()
    }
}

#[test]
fn what_was_chosen_lately_may_be_drawn_and_both_sides_are_counted() {
    let mut kept = Kept::new("100");
    let asked = |kept: &mut Kept, number: u128, draws: &str| {
        let letter = hold_letter(&req(number), &[10], kept.account.tenant.version);
        kept.granted(HoldLetter { draws: draws.into(), ..letter }).pool
    };
    let closed = |kept: &mut Kept, number: u128, call: CallRecord| {
        kept.send(Letter::Post(PostLetter {
            request_id: req(number),
            held_at: None,
            outcome: PostOutcome::Charge(Nanos(5)),
            call,
            tokens: 10,
            others: Vec::new(),
            observed: String::new(),
            paid: None,
        }));
    };
    assert_eq!(asked(&mut kept, 1, "balanced"), [], "nothing was chosen yet");
    closed(&mut kept, 1, arm_call("small", Arm::Alone, true));
    for number in 2..5 {
        asked(&mut kept, number, "balanced");
        closed(&mut kept, number, arm_call("large", if number == 4 { Arm::Control } else { Arm::Routed }, false));
    }
    let pool = |told: &[(&str, u64)]| told.iter().map(|(id, times)| ((*id).to_owned(), *times)).collect::<Vec<_>>();
    let chosen = pool(&[("acme/large", 2), ("acme/small", 1)]);
    assert_eq!(asked(&mut kept, 6, "balanced"), chosen, "what was drawn is no choice");
    assert_eq!((asked(&mut kept, 7, "cost-first"), asked(&mut kept, 8, "")), (pool(&[]), pool(&[])));
    let lift = |kept: &mut Kept| match kept.admin("GET", "router_lift", &Value::Null) {
        Answer::Told { status: 200, body } => body,
        other => panic!("{other:?}"),
    };
    let told = lift(&mut kept);
    assert_eq!((told["routed"]["requests"].as_u64(), told["control"]["requests"].as_u64()), (Some(2), Some(1)));
    for flushed in [false, true] {
        if flushed {
            kept.flush();
        }
        kept.account = kept.reloaded();
        assert_eq!(lift(&mut kept), told, "flushed: {flushed}");
    }
    assert_eq!(asked(&mut kept, 9, "balanced"), chosen, "it outlives a restart");
    // A verdict counts once, also where the account forgets before the next checkpoint.
    let call = arm_call("large", Arm::Routed, false);
    let lesson = lessons::Lesson { comparison: call.comparison, ..verdict("Fold the paper.") };
    kept.now = kept.now.after(1);
    for _ in 0..2 {
        let learn = Letter::Learn { caller: caller(KEY, KeyKind::Inference), id: req(3), lesson: lesson.clone() };
        assert_eq!(kept.send(learn), Answer::Posted);
        assert_eq!(judged(&lift(&mut kept)), 1);
        kept.account = kept.reloaded();
        assert_eq!(judged(&lift(&mut kept)), 1);
    }
    // What is long ago is not shown any more.
    kept.now = kept.now.after(3 * 28 * 86_400_000);
    assert_eq!(lift(&mut kept)["routed"]["requests"].as_u64(), Some(0));
}

/// The verdicts on the routed side, which says them where there are enough or nothing else.
fn judged(lift: &Value) -> u64 {
    lift["routed"]["judged"].as_u64().expect("a number")
}

#[test]
fn what_answers_tell_by_themselves_is_told_and_stays() {
    use crate::quality::{seen, taught::Taught};
    let mut kept = Kept::new("100");
    let observed = seen::Observed { cluster: 7, model: "m", gain: Some(-0.5), stretch: Some(2.0_f32.ln()) };
    for number in 0..40 {
        kept.hold(&req(number), 10);
        for _ in 0..2 {
            // What comes twice counts once.
            kept.send(Letter::Post(PostLetter {
                request_id: req(number),
                held_at: None,
                outcome: PostOutcome::Charge(Nanos(5)),
                call: CallRecord { provider: "acme".into(), ..CallRecord::default() },
                tokens: 10,
                others: Vec::new(),
                observed: seen::told(&[observed]),
                paid: None,
            }));
        }
    }
    let told = |kept: &mut Kept, number| {
        let taught = kept.granted(hold_letter(&req(number), &[1], kept.account.tenant.version)).taught;
        Taught::of_text(&taught).expect("something was learned")
    };
    let taught = told(&mut kept, 100);
    assert!((1.5..1.95).contains(&taught.stretch(7, "m")) && taught.stretch(9, "m") > 1.5, "{taught:?}");
    assert!((taught.stretch(7, "other") - 1.0).abs() < 1e-6);
    let weight = kept.account.lessons.seen.weight(7, "m");
    assert!((38.0..=40.0).contains(&weight), "{weight}");
    kept.flush();
    kept.account = kept.reloaded();
    let again = told(&mut kept, 101);
    assert!((again.stretch(7, "m") - taught.stretch(7, "m")).abs() < 0.1);
}

#[test]
fn where_nothing_is_to_be_kept_no_verdict_is() {
    let mut kept = Kept::new("1");
    kept.put(&Scope::Organization, "routing_policy", &json!({"data_policy": {"retention": "zero"}}));
    let learn = Letter::Learn { caller: caller(KEY, KeyKind::Inference), id: req(1), lesson: verdict("A secret.") };
    assert_eq!(refused(&kept.send(learn)), "routing_policy_denied");
    assert!(kept.records.keys().all(|(kind, _)| kind != "lesson"));
}

#[test]
fn who_asks_the_same_again_was_not_content() {
    use crate::quality::seen;
    let mut kept = Kept::new("100");
    let ask = |kept: &mut Kept, number: u128, hash: &str, cluster: u32| {
        kept.now = kept.now.after(1_000);
        kept.hold(&req(number), 10);
        let observed = seen::Observed { cluster, model: "m", gain: None, stretch: Some(0.0) };
        kept.send(Letter::Post(PostLetter {
            request_id: req(number),
            held_at: None,
            outcome: PostOutcome::Charge(Nanos(5)),
            call: CallRecord { request_hash: hash.into(), ..CallRecord::default() },
            tokens: 10,
            others: Vec::new(),
            observed: seen::told(&[observed]),
            paid: None,
        }));
    };
    for number in 0..20 {
        ask(&mut kept, number, if number % 2 == 0 { "the same" } else { "" }, 7);
        ask(&mut kept, 100 + number, &number.to_string(), 8);
    }
    let gain = |cluster| kept.account.lessons.seen.gain(cluster, "m");
    assert!(gain(7) < gain(8) - 0.01 && gain(7) > -0.06, "{} {}", gain(7), gain(8));
    kept.now = kept.now.after(600_000);
    let before = kept.account.lessons.seen.weight(7, "m");
    ask(&mut kept, 200, "the same", 7);
    let after = kept.account.lessons.seen.weight(7, "m");
    assert!((before - after).abs() < 1e-6, "that was long ago");
}

/// An organisation of two groups with a lead, a member and an auditor, each with an admin key of its own: `key_<name>`.
pub(super) fn staffed() -> Kept {
    let mut kept = Kept::new("100");
    kept.make("groups", "research", &json!({"name": "Research"}));
    kept.make("groups", "labs", &json!({"name": "Labs", "parent_id": "grp_research"}));
    kept.make("groups", "sales", &json!({"name": "Sales"}));
    let lead = json!([{"role": "group_admin", "scope": "grp_research"}]);
    for (name, group, roles) in [
        ("lead", "grp_research", lead),
        ("ada", "grp_labs", json!([])),
        ("bob", "grp_sales", json!([])),
        ("boss", "grp_sales", json!([{"role": "admin"}])),
        ("purse", "grp_sales", json!([{"role": "billing", "scope": "organization"}])),
        ("eye", "grp_sales", json!([{"role": "auditor"}])),
    ] {
        let made = kept.make("members", name, &json!({"name": name, "group_id": group, "roles": roles}));
        assert!(matches!(made, Answer::Told { status: 201, .. }), "{made:?}");
        let key = json!({"name": name, "kind": "admin", "owner_member_id": format!("mem_{name}")});
        assert!(matches!(kept.make("api_keys", name, &key), Answer::Told { status: 201, .. }));
    }
    kept.make("api_keys", "ada1", &json!({"name": "ada's", "owner_member_id": "mem_ada"}));
    kept.make("api_keys", "bob1", &json!({"name": "bob's", "owner_member_id": "mem_bob"}));
    kept
}

impl Kept {
    /// What an act by the holder of an admin key comes to: `ok`, or the code of the refusal.
    fn acts(&mut self, name: &str, method: &str, path: &str, body: &Value) -> String {
        let keys = made_keys("new");
        let (method, path) = (method.to_owned(), format!("/admin/v1/{path}"));
        let ask = AdminAsk { method, path, body: body.to_string(), fresh: "new".into(), keys, ..AdminAsk::default() };
        match self.send(Letter::Admin { caller: caller(&format!("key_{name}"), KeyKind::Admin), ask }) {
            Answer::Told { status, .. } if status < 300 => "ok".to_owned(),
            other => refused(&other).to_owned(),
        }
    }

    fn sees(&mut self, name: &str, rows: &str) -> Vec<String> {
        let (method, path) = ("GET".to_owned(), format!("/admin/v1/{rows}"));
        let ask = AdminAsk { method, path, ..AdminAsk::default() };
        match self.send(Letter::Admin { caller: caller(&format!("key_{name}"), KeyKind::Admin), ask }) {
            Answer::Told { status: 200, body } => {
                let id = |row: &Value| row["id"].as_str().expect("an id").to_owned();
                body["data"].as_array().expect("a list").iter().map(id).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn roles_open_what_the_table_says_on_the_object_that_was_loaded() {
    let (limit, nothing, no, gone) = (json!({"limit_usd": "5"}), Value::Null, "role_required", "not_found");
    let policy = json!({"deny": ["acme/m"]});
    let provider = json!({"dialect": "openai_chat", "base_url": "https://llm.acme.com", "models": [{"id": "m", "input_usd_per_mtok": "1",
        "output_usd_per_mtok": "1"}]});
    // For each act what becomes of it: by owner, admin, billing, group admin, auditor, member.
    let cases: &[(&str, &str, &Value, [&str; 6])] = &[
        ("PUT", "organization/budgets/day", &limit, ["ok", "ok", no, no, no, no]),
        ("PUT", "groups/grp_research/budgets/day", &limit, ["ok", "ok", no, no, no, gone]),
        ("PUT", "groups/grp_labs/budgets/day", &limit, ["ok", "ok", no, "ok", no, gone]),
        ("PUT", "groups/grp_sales/budgets/day", &limit, ["ok", "ok", no, gone, no, gone]),
        ("PUT", "members/mem_ada/budgets/day", &limit, ["ok", "ok", no, "ok", no, no]),
        ("PUT", "api_keys/key_ada1/budgets/day", &limit, ["ok", "ok", no, "ok", no, no]),
        ("PUT", "api_keys/key_bob1/budgets/day", &limit, ["ok", "ok", no, gone, no, gone]),
        ("GET", "groups/grp_labs/budgets/day", &nothing, ["ok", "ok", "ok", "ok", "ok", gone]),
        ("GET", "members/mem_ada/budgets/day", &nothing, ["ok", "ok", "ok", "ok", "ok", "ok"]),
        ("GET", "members/mem_bob/budgets", &nothing, ["ok", "ok", "ok", gone, "ok", gone]),
        ("PUT", "api_keys/key_ada1/rate_limits", &json!({"rpm": 9}), ["ok", "ok", no, "ok", no, no]),
        ("PUT", "api_keys/key_ada1/routing_policy", &policy, ["ok", "ok", no, "ok", no, "ok"]),
        ("PUT", "members/mem_ada/routing_policy", &policy, ["ok", "ok", no, "ok", no, no]),
        ("PUT", "groups/grp_research/routing_policy", &policy, ["ok", "ok", no, no, no, gone]),
        ("PUT", "organization/routing_policy", &policy, ["ok", "ok", no, no, no, no]),
        ("GET", "api_keys/key_ada1", &nothing, ["ok", "ok", no, "ok", "ok", "ok"]),
        ("GET", "api_keys/key_bob1", &nothing, ["ok", "ok", no, gone, "ok", gone]),
        ("POST", "api_keys", &json!({"name": "x", "owner_member_id": "mem_ada"}), ["ok", "ok", no, "ok", no, "ok"]),
        ("POST", "api_keys", &json!({"name": "x", "owner_member_id": "mem_bob"}), ["ok", "ok", no, no, no, no]),
        (
            "POST",
            "api_keys",
            &json!({"name": "x", "kind": "admin", "owner_member_id": "mem_ada"}),
            ["ok", "ok", no, no, no, no],
        ),
        ("POST", "groups", &json!({"name": "x"}), ["ok", "ok", no, no, no, no]),
        ("POST", "groups", &json!({"name": "x", "parent_id": "grp_research"}), ["ok", "ok", no, "ok", no, no]),
        ("POST", "groups", &json!({"name": "x", "parent_id": "grp_sales"}), ["ok", "ok", no, no, no, no]),
        ("PATCH", "groups/grp_labs", &json!({"name": "x"}), ["ok", "ok", no, "ok", no, gone]),
        ("PATCH", "groups/grp_research", &json!({"name": "x"}), ["ok", "ok", no, no, no, gone]),
        ("POST", "members", &json!({"name": "x", "group_id": "grp_labs"}), ["ok", "ok", no, "ok", no, no]),
        ("POST", "members", &json!({"name": "x", "group_id": "grp_sales"}), ["ok", "ok", no, no, no, no]),
        ("PATCH", "members/mem_ada", &json!({"name": "x"}), ["ok", "ok", no, "ok", no, no]),
        ("PATCH", "members/mem_bob", &json!({"name": "x"}), ["ok", "ok", no, gone, no, gone]),
        ("PATCH", "members/mem_ada", &json!({"group_id": "grp_sales"}), ["ok", "ok", no, no, no, no]),
        ("GET", "wallet", &nothing, ["ok", "ok", "ok", no, "ok", no]),
        ("GET", "router_lift", &nothing, ["ok", "ok", "ok", no, "ok", no]),
        ("PUT", "providers/acme", &provider, ["ok", "ok", no, no, no, no]),
        ("GET", "providers", &nothing, ["ok"; 6]),
        ("POST", "members/mem_ada/disable", &nothing, ["ok", "ok", no, "ok", no, no]),
        ("DELETE", "api_keys/key_ada1", &nothing, ["ok", "ok", no, "ok", no, "ok"]),
    ];
    for (method, path, body, meant) in cases {
        for (name, meant) in ["admin", "boss", "purse", "lead", "eye", "ada"].into_iter().zip(meant) {
            // What is read has to be there.
            let mut kept = staffed();
            if *method == "GET" && path.ends_with("budgets/day") {
                kept.admin("PUT", path, &limit);
            }
            assert_eq!(kept.acts(name, method, path, body), *meant, "{name}: {method} {path} {body}");
        }
    }
}

#[test]
fn lists_show_what_may_be_read_and_nobody_rises_by_itself() {
    let mut kept = staffed();
    assert_eq!(kept.sees("lead", "groups"), ["grp_labs", "grp_research"]);
    assert_eq!(kept.sees("lead", "members"), ["mem_ada", "mem_lead"]);
    assert_eq!(kept.sees("lead", "api_keys"), ["key_ada", "key_ada1", "key_lead"]);
    assert_eq!((kept.sees("ada", "members"), kept.sees("ada", "groups").len()), (vec!["mem_ada".to_owned()], 0));
    assert_eq!((kept.sees("eye", "members").len(), kept.sees("purse", "api_keys")), (7, vec!["key_purse".to_owned()]));
    let roles = |grants: Value| json!({"roles": grants});
    for (name, member, grants, meant) in [
        ("lead", "mem_ada", json!([{"role": "group_admin", "scope": "grp_labs"}]), "ok"),
        ("lead", "mem_ada", json!([{"role": "auditor", "scope": "grp_research"}]), "ok"),
        ("lead", "mem_ada", json!([{"role": "group_admin", "scope": "grp_sales"}]), "not_found"),
        ("lead", "mem_ada", json!([{"role": "admin"}]), "role_required"),
        ("lead", "mem_ada", json!([{"role": "auditor"}]), "role_required"),
        ("boss", "mem_ada", json!([{"role": "owner"}]), "role_required"),
        ("boss", "mem_boss", json!([{"role": "owner"}]), "role_required"),
        ("boss", "mem_owner", json!([]), "role_required"),
        ("boss", "mem_ada", json!([{"role": "admin"}]), "ok"),
    ] {
        let path = format!("members/{member}");
        assert_eq!(kept.acts(name, "PATCH", &path, &roles(grants.clone())), meant, "{name} {member} {grants}");
    }
    // Whoever rises needs a new key: who made the old one could not give what it is now. And an owner with a key stays.
    for (key, name, member, grants, meant) in [
        ("ada2", "ada", "mem_ada", json!([{"role": "admin"}]), "revoked_key"),
        ("ada3", "ada2", "mem_ada", json!([{"role": "admin"}]), "ok"),
        ("", "admin", "mem_owner", json!([{"role": "admin"}]), "last_owner"),
        ("", "admin", "mem_ada", json!([{"role": "owner"}]), "ok"),
        ("", "admin", "mem_owner", json!([]), "last_owner"),
        ("ada4", "admin", "mem_owner", json!([]), "ok"),
        ("", "ada4", "mem_owner", json!([{"role": "billing"}]), "ok"),
        ("", "admin", "mem_owner", json!([{"role": "owner"}]), "revoked_key"),
    ] {
        if !key.is_empty() {
            kept.make("api_keys", key, &json!({"name": key, "kind": "admin", "owner_member_id": "mem_ada"}));
        }
        let path = format!("members/{member}");
        assert_eq!(kept.acts(name, "PATCH", &path, &roles(grants.clone())), meant, "{name} {member} {grants}");
    }
    kept.account = kept.reloaded();
    assert_eq!(kept.acts("ada", "GET", "groups", &Value::Null), "revoked_key", "for good");
    for grants in
        [json!([{"role": "admin", "scope": "grp_labs"}]), json!([{"role": "group_admin"}]), json!([{"role": "member"}])]
    {
        assert_eq!(kept.acts("ada4", "PATCH", "members/mem_bob", &roles(grants)), "invalid_parameter");
    }
    assert_eq!(
        kept.acts("ada4", "PATCH", "members/mem_bob", &roles(json!([{"role": "auditor", "scope": "grp_none"}]))),
        "not_found"
    );
    // A credential of this plane is worth what its owner is: none is made for who has more.
    let key = json!({"name": "x", "kind": "admin", "owner_member_id": "mem_ada"});
    assert_eq!(
        (kept.acts("boss", "POST", "api_keys", &key), kept.acts("ada4", "POST", "api_keys", &key)),
        ("role_required".into(), "ok".into())
    );
}

#[test]
fn a_group_moves_with_all_that_is_in_it() {
    let mut kept = staffed();
    let moved = |kept: &mut Kept, name: &str, id: &str, parent: Option<&str>| {
        kept.acts(name, "POST", &format!("groups/{id}/move"), &json!({"parent_id": parent}))
    };
    assert_eq!(moved(&mut kept, "admin", "grp_labs", Some("grp_sales")), "ok");
    let spec = kept.account.keys.get("key_ada1").expect("a key").spec.clone();
    let path = kept.account.path("key_ada1", &spec);
    let group = |id: &str| Scope::Group(id.into());
    let stands_under =
        [Scope::ApiKey("key_ada1".into()), Scope::Member("mem_ada".into()), group("grp_labs"), group("grp_sales")];
    assert_eq!(path, [&stands_under[..], &[Scope::Organization]].concat());
    assert_eq!(moved(&mut kept, "lead", "grp_labs", Some("grp_research")), "not_found", "it is no longer the lead's");
    assert_eq!(moved(&mut kept, "admin", "grp_sales", Some("grp_labs")), "group_cycle");
    assert_eq!(moved(&mut kept, "admin", "grp_sales", Some("grp_sales")), "group_cycle");
    assert_eq!(moved(&mut kept, "admin", "grp_labs", Some("grp_none")), "not_found");
    assert_eq!(moved(&mut kept, "admin", "grp_labs", None), "ok");
    for (name, parent) in [("one", "grp_research"), ("two", "grp_one"), ("three", "grp_two")] {
        kept.make("groups", name, &json!({"name": name, "parent_id": parent}));
    }
    assert_eq!(moved(&mut kept, "lead", "grp_two", Some("grp_research")), "ok");
    assert_eq!(moved(&mut kept, "lead", "grp_two", None), "role_required");
    kept.make("groups", "four", &json!({"name": "four", "parent_id": "grp_three"}));
    assert_eq!(moved(&mut kept, "admin", "grp_two", Some("grp_one")), "group_depth_exceeded", "three levels under two");
    let before = kept.account.groups.clone();
    kept.account = kept.reloaded();
    assert_eq!(kept.account.groups, before);
}

#[test]
fn nobody_acts_on_who_has_more_or_on_its_own_limits() {
    let mut kept = staffed();
    let (limit, nothing, no) = (json!({"limit_usd": "5"}), Value::Null, "role_required");
    // An owner's key is not an admin's to revoke, and the last one is nobody's.
    assert_eq!(kept.acts("boss", "DELETE", "api_keys/key_admin", &nothing), no);
    assert_eq!(kept.acts("admin", "DELETE", "api_keys/key_admin", &nothing), "invalid_parameter");
    assert_eq!(kept.acts("boss", "DELETE", "api_keys/key_lead", &nothing), "ok");
    kept.make("api_keys", "lead2", &json!({"name": "lead", "kind": "admin", "owner_member_id": "mem_lead"}));
    for path in ["members/mem_lead/budgets/day", "api_keys/key_lead2/budgets/day", "groups/grp_research/budgets/day"] {
        assert_eq!(kept.acts("lead2", "PUT", path, &limit), no, "{path}");
    }
    assert_eq!(kept.acts("lead2", "PATCH", "members/mem_lead", &json!({"group_id": "grp_labs"})), no);
    // An admin who sits in a group is not under its lead.
    assert_eq!(kept.acts("admin", "PATCH", "members/mem_boss", &json!({"group_id": "grp_labs"})), "ok");
    for (method, path, body) in [
        ("PUT", "members/mem_boss/budgets/day", &limit),
        ("POST", "members/mem_boss/disable", &nothing),
        ("POST", "api_keys", &json!({"name": "x", "owner_member_id": "mem_boss"})),
    ] {
        assert_eq!(kept.acts("lead2", method, path, body), no, "{path}");
    }
    // What is held for the whole organisation is not passed on by who leads a group.
    let both = json!([{"role": "group_admin", "scope": "grp_research"}, {"role": "auditor"}, {"role": "auditor"}]);
    assert_eq!(kept.acts("admin", "PATCH", "members/mem_lead", &json!({"roles": both})), "ok");
    assert_eq!(kept.account.members.get("mem_lead").map(|member| member.roles.0.len()), Some(2), "twice is once");
    kept.make("api_keys", "lead3", &json!({"name": "lead", "kind": "admin", "owner_member_id": "mem_lead"}));
    let auditor = json!({"roles": [{"role": "auditor"}]});
    assert_eq!(kept.acts("lead3", "PATCH", "members/mem_ada", &auditor), no);
    let many = vec![json!({"role": "auditor"}); 33];
    assert_eq!(kept.acts("admin", "PATCH", "members/mem_ada", &json!({"roles": many})), "invalid_parameter");
    // Keys without an owner are their maker's, unless that is an owner.
    let told = |kept: &mut Kept, name: &str| {
        kept.acts(name, "POST", "api_keys", &json!({"name": "x"}));
        kept.account.keys.get("key_new").and_then(|key| key.spec.owner_member_id.clone()).unwrap_or_default()
    };
    assert_eq!((told(&mut kept, "boss"), told(&mut kept, "admin")), ("mem_boss".to_owned(), "mem_owner".to_owned()));
    for number in 0..100 {
        kept.make("api_keys", &format!("n{number}"), &json!({"name": "n", "owner_member_id": "mem_ada"}));
    }
    assert_eq!(kept.acts("ada", "POST", "api_keys", &json!({"name": "one more"})), "invalid_parameter");
}

#[test]
fn a_role_that_is_not_known_here_opens_nothing_and_breaks_nothing() {
    let mut kept = staffed();
    let row = kept.records.get_mut(&("member".to_owned(), "mem_lead".to_owned())).expect("a row");
    *row = row.replace("group_admin", "emperor");
    kept.account = kept.reloaded();
    assert_eq!(kept.acts("lead", "GET", "groups/grp_labs", &Value::Null), "not_found");
}
