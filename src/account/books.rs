//! Money beside calls: credit, refunds and adjustments; and what the books say, for those who hold them against the journal.
use super::{
    Account, Booking, Turn,
    letter::{Answer, Caller, Conflict, NewCredit, NewRefund, Refusal, Summary, Suspended},
    record,
};
use crate::{
    access::KeyKind,
    budget::Wallet,
    id::Scope,
    json::json,
    ledger::{EntryKind, transfer},
    money::Nanos,
    time::Millis,
};

/// An alarm may be so late.
const ALARM_LATE_MS: u64 = 60_000;
/// Suspenses that are told at once: each is a call to its provider. Every ten minutes others have their turn.
const SUSPENDED_MAX: usize = 50;
const TURN_MS: u64 = 600_000;

impl Account {
    /// Credit, or an adjustment, which may also take away.
    pub(super) fn credit(&mut self, credit: NewCredit, now: Millis) -> Turn {
        if self.organization.id.is_empty() {
            return Turn::refused(Refusal::NotFound { what: "organization".into() });
        }
        let once = !credit.once.is_empty();
        let name = if once { format!("once:{}", credit.once) } else { credit.id.clone() };
        // What was given under a name: another amount under it is another request.
        let what = format!("{} {}", credit.amount, credit.adjusts);
        if let Some(given) = self.given.get(&name) {
            return if once && !given.ends_with(&format!(" {what}")) {
                Turn::refused(Refusal::Conflict(Conflict::OtherRequest))
            } else {
                Turn::told(self.wallet_told(200))
            };
        }
        let refused =
            |message: &str| Turn::refused(Refusal::Invalid { param: "amount_usd".into(), message: message.to_owned() });
        if self.wallet.credits.checked_add(credit.amount).is_none() {
            return refused("The wallet cannot hold that much.");
        }
        // What a processor took back is gone, even where it was spent: nothing more is held until it is paid.
        let ours = credit.source.is_empty();
        if ours && credit.amount.0 < 0 && self.wallet.available().plus(credit.amount) < Nanos::ZERO {
            return refused("The wallet has not that much left.");
        }
        let kind = if credit.adjusts { EntryKind::Adjustment } else { EntryKind::Credit };
        let from = if ours { "equity:operator".to_owned() } else { format!("asset:processor:{}", credit.source) };
        let legs = transfer(from, self.wallet_account(), credit.amount);
        let (topup, card) = (credit.topup, credit.card);
        let given = if once { format!("{} {what}", credit.id) } else { credit.id.clone() };
        let once = record("credit", &name, Some(&given));
        self.given.insert(name, given);
        let act = json!({"entry_id": credit.id, "amount_usd": credit.amount, "reason": credit.reason});
        let entry = self.entry(credit.id, kind, credit.amount, legs, None, Some(credit.reason), now);
        let amount = entry.amount_usd;
        let mut writes = vec![once, self.book(entry, Vec::new(), Nanos::ZERO, now)];
        if ours {
            writes.push(self.by_operator("wallet.updated", serde_json::Value::Null, act, now));
        }
        if amount > Nanos::ZERO && kind == EntryKind::Credit {
            let data = json!({"amount_usd": amount, "available_usd": self.wallet.available()});
            self.raise("wallet.topped_up", vec![Scope::Organization], data, super::alerts::To::All, now);
        }
        if !ours {
            self.deposited(&topup, card, amount, now);
        }
        Turn::told(self.wallet_told(200)).with(writes)
    }

    /// Gives a charge back, or a part of it, once. The operator bears it: what is owed to the provider stays.
    pub(super) fn refund(&mut self, refund: NewRefund, now: Millis) -> Turn {
        let NewRefund { id, of, amount, reason, call } = refund;
        if let Some(earlier) = self.given.get(&of) {
            if *earlier == id {
                return Turn::told(self.wallet_told(200));
            }
            let message = format!("{of} was given back before, by {earlier}.");
            return Turn::refused(Refusal::Invalid { param: "entry_id".into(), message });
        }
        let write = record("refund", &of, Some(&id));
        self.given.insert(of.clone(), id.clone());
        let legs = transfer("expense:absorbed".into(), self.wallet_account(), amount);
        let act = json!({"entry_id": id, "amount_usd": amount, "reason": reason, "of": of});
        let entry = self.entry(id, EntryKind::Refund, amount, legs, call, Some(format!("{of}: {reason}")), now);
        let booked = self.book(entry, Vec::new(), Nanos::ZERO, now);
        let trail = self.by_operator("wallet.updated", serde_json::Value::Null, act, now);
        Turn::told(self.wallet_told(200)).with(vec![write, booked, trail])
    }

    /// An entry that the journal may not have yet, or that a call is still open. A key for calls sees only its own.
    pub(super) fn find(&self, caller: &Caller, id: &str, now: Millis) -> Turn {
        // A wallet has signed for itself: the account is its own.
        let own = caller.kind == KeyKind::Payer;
        if !own {
            if let Err(refusal) = self.prove(caller, caller.kind, now) {
                return Turn::refused(refusal);
            }
            if let Err(turn) = self.may_read_books(caller) {
                return turn;
            }
        }
        let (entry, open) = match self.bookings.get(id) {
            Some(Booking::Posted { entry, .. }) => {
                let key = entry.call.as_ref().map_or("", |call| call.api_key_id.as_str());
                ((own || caller.sees(key)).then(|| entry.clone()), false)
            }
            Some(Booking::Held(hold) | Booking::Suspense { hold, .. }) => (None, own || caller.sees(&hold.key_id)),
            None => (None, false),
        };
        Turn::told(Answer::Found { entry: entry.map(Box::new), open })
    }

    /// What the books say of everything the journal has to have by now.
    pub(super) fn summary(&self, providers: &[String], now: Millis) -> Summary {
        let mut wallet = Wallet { held: Nanos::ZERO, ..self.wallet };
        let (mut head, mut seq, mut waiting_since) = (self.head.clone(), self.seq, Millis(0));
        for (_, id) in self.outbox.iter().rev() {
            let Some(Booking::Posted { entry, .. }) = self.bookings.get(id) else { continue };
            (head, seq, waiting_since) = (entry.prev_hash.clone(), entry.seq - 1, entry.at);
            if entry.kind.pays_in() {
                wallet.credits = wallet.credits.minus(entry.amount_usd);
            } else {
                wallet.posted = wallet.posted.plus(entry.amount_usd);
            }
        }
        let mut summary =
            Summary { seq, head, wallet, waiting: self.outbox.len() as u64, waiting_since, ..Summary::default() };
        let mut askable = Vec::new();
        for (at, id) in self.deadlines.iter() {
            match self.bookings.get(id) {
                Some(Booking::Held(_)) => {
                    summary.open += 1;
                    summary.overdue += u64::from(at.after(ALARM_LATE_MS) < now);
                }
                Some(Booking::Suspense { hold, call, .. }) => {
                    summary.suspended += 1;
                    if call.is_askable() && providers.contains(&call.provider) {
                        askable.push((id, hold.grant.at, call));
                    }
                }
                _ => {}
            }
        }
        let turn = (now.0 / TURN_MS) as usize * SUSPENDED_MAX % askable.len().max(1);
        let told = askable.iter().cycle().skip(turn).take(askable.len().min(SUSPENDED_MAX));
        let suspended = told.map(|(id, at, call)| Suspended { id: (*id).clone(), at: *at, call: (*call).clone() });
        summary.unresolved = suspended.collect();
        summary
    }
}
