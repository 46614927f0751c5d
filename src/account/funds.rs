//! Wallets as accounts: how one begins, what it has, what goes into an organisation's by stablecoin, and what goes back.
use super::{
    Account, Turn,
    letter::{Answer, Claim, Grant, Organization, Refusal, Unfit},
    payments::{Claimed, LATE_MS, State},
    record,
};
use crate::{
    json::json,
    ledger::{EntryKind, transfer},
    money::Nanos,
    payment::{NANOS_PER_UNIT, Payment, evm::Address, facilitator::Outcome, nanos_of},
    time::Millis,
};
use serde_json::Value;

/// Why a payment that is the wallet's balance cannot go on to somebody else.
pub(super) const SPENT: &str = "spent_otherwise";

impl Account {
    /// A wallet's account begins with its first payment.
    pub(super) fn begin_wallet(&mut self, payment: &Payment, now: Millis) {
        if self.organization.id.is_empty() {
            let (id, timezone) = (payment.caip10(), "UTC".to_owned());
            let name = payment.payer.to_string();
            let created_at = now.seconds();
            self.organization = Organization { id, name, timezone, created_at, ..Organization::default() };
            self.tenant.organization.clone_from(&self.organization.id);
            self.news.push(record("organization", "", Some(&self.organization)));
        }
    }

    /// What a wallet has here, and what of its payments is still open.
    pub(super) fn balance_told(&self) -> Value {
        let open = self
            .payments
            .claims
            .values()
            .filter(|claimed| matches!(claimed.state, State::Open | State::Due | State::Unknown));
        let open: Nanos = open.map(|claimed| nanos_of(claimed.units)).sum();
        let (network, payer) = self.organization.id.rsplit_once(':').unwrap_or_default();
        json!({
            "object": "balance",
            "network": network,
            "payer": payer,
            "available_usd": self.wallet.available(),
            "held_usd": self.wallet.held,
            "paid_usd": self.wallet.credits,
            "spent_usd": self.wallet.posted,
            "unsettled_usd": open,
            "channels": self.payments.channels.iter().map(|(id, channel)| channel.balance_told(id)).collect::<Vec<_>>(),
        })
    }

    pub(super) fn is_organization(&self) -> bool {
        self.organization.id.starts_with("org_")
    }

    /// Whose wallet it is.
    pub(super) fn payer(&self) -> Address {
        let (_, payer) = self.organization.id.rsplit_once(':').unwrap_or_default();
        Address::parse(payer).unwrap_or_default()
    }

    /// What was only told of, and not seen on chain yet: it may be taken back.
    fn only_told_of(&self) -> Nanos {
        let unseen = self.payments.claims.values().filter(|claimed| !claimed.seen && !claimed.refunds);
        unseen.filter(|claimed| !claimed.transaction.is_empty()).map(|claimed| nanos_of(claimed.units)).sum()
    }

    /// What could be given back now, in atomic units: whole ones of the balance. What channels hold goes back by itself.
    pub(super) fn refundable(&mut self, now: Millis) -> Turn {
        let unseen = self.only_told_of();
        let units = self.wallet.available().minus(unseen).0.max(0) / NANOS_PER_UNIT;
        let channels = self.leave_channels(now);
        let body =
            json!({"object": "refund", "units": units, "channels_usd": nanos_of(channels), "unseen_usd": unseen});
        Turn::told(Answer::Told { status: 200, body })
    }

    /// The balance, or a part of it, goes back: by a payment that the operator has signed, and that is settled like any other.
    pub(super) fn withdraw(&mut self, id: &str, payment: Payment, now: Millis) -> Turn {
        if self.payments.claims.contains_key(&payment.nonce) {
            // The letter came twice.
            return Turn::told(self.wallet_told(200));
        }
        let amount = payment.amount();
        if amount > self.wallet.available() {
            return Turn::refused(Refusal::InFlight);
        }
        let (units, nonce) = (payment.units, payment.nonce.clone());
        let claimed = Claimed {
            request_id: id.to_owned(),
            state: State::Due,
            payment,
            units,
            refunds: true,
            since: now,
            ..Claimed::default()
        };
        let claimed = Claimed { next_at: now, ..claimed };
        let write = self.book_claim(&claimed, "refund", Nanos(-amount.0), now);
        self.keep_claim(nonce, claimed);
        Turn::told(self.wallet_told(200)).with(vec![write])
    }

    /// A payment that is for no call is claimed: it is the wallet's balance first, whoever gets it then.
    pub(super) fn fund(&mut self, id: &str, claim: Claim, now: Millis) -> Turn {
        let known = self.payments.claims.get(&claim.payment.nonce);
        let is_there =
            |known: &Claimed| known.worked || known.state == State::Credited && !known.transaction.is_empty();
        if known.is_some_and(|known| is_there(known) && known.request_hash == claim.request_hash) {
            // It is to be given on, or was and whoever asks may not have heard so: what follows is done once all the same.
            return Turn::told(Answer::Held(Grant::default()));
        }
        if let Err(refusal) = self.admits_payment(Some(&claim), now) {
            return Turn::refused(refusal);
        }
        let (pays, _) = self.begin_payment(claim, id, now.after(LATE_MS), now);
        Turn::told(Answer::Held(Grant { pays, ..Grant::default() }))
    }

    /// What a payment brought goes on to somebody else, once: where the chain can be asked, what was `seen` there alone.
    pub(super) fn give(&mut self, nonce: &str, to: &str, seen: bool, now: Millis) -> Turn {
        let Some(mut claimed) = self.payments.claims.get(nonce).cloned() else {
            return Turn::refused(Refusal::NotFound { what: "payment".into() });
        };
        if claimed.worked {
            return Turn::told(Answer::Posted);
        }
        if claimed.transaction.is_empty() || seen && !claimed.seen {
            return Turn::refused(Refusal::Payment(Unfit::Pending));
        }
        let amount = nanos_of(claimed.units);
        // It was the wallet's meanwhile, which may have spent it or had it sent back.
        let unseen = if seen { self.only_told_of() } else { Nanos::ZERO };
        let there = self.wallet.available().plus(self.owed());
        if amount > there.minus(unseen) {
            let may_come = amount <= there.plus(self.wallet.held);
            let gone = Unfit::Dead { reason: SPENT.to_owned() };
            return Turn::refused(Refusal::Payment(if may_come { Unfit::Pending } else { gone }));
        }
        let legs = transfer(self.wallet_account(), format!("asset:processor:wallet:{}", self.organization.id), amount);
        let (id, note) = (format!("{}#given", claimed.request_id), Some(format!("given to {to}")));
        let entry = self.entry(id, EntryKind::Adjustment, Nanos(-amount.0), legs, None, note, now);
        let write = self.book(entry, Vec::new(), Nanos::ZERO, now);
        (claimed.worked, claimed.state) = (true, State::Used);
        self.keep_claim(nonce.to_owned(), claimed);
        Turn::told(Answer::Posted).with(vec![write])
    }

    /// A payment into the wallet came through, or did not, or nobody knows.
    pub(super) fn funded(&mut self, nonce: &str, outcome: Outcome, now: Millis) -> Turn {
        let Some(claimed) = self.payments.claims.get(nonce).filter(|claimed| claimed.state == State::Open).cloned()
        else {
            return Turn::told(self.wallet_told(200));
        };
        let mut writes = Vec::new();
        let next_at = now.after(1_000);
        let claimed = match outcome {
            Outcome::Done { transaction, .. } => self.arrived(claimed, transaction, now, &mut writes),
            // Somebody else may have brought it to the chain.
            Outcome::Failed { reason } => Claimed { state: State::Unknown, reason, next_at, ..claimed },
            Outcome::Unknown => Claimed { state: State::Unknown, next_at, ..claimed },
        };
        self.keep_claim(nonce.to_owned(), claimed);
        Turn::told(self.wallet_told(200)).with(writes)
    }
}
