//! The double-entry ledger: what was booked, for good. Entries are only ever added, in sequence, each sealed over the one
//! before it, so that a gap or an edit shows.
use crate::{
    catalog::{Rates, sha256_hex},
    id::Scope,
    json,
    money::Nanos,
    price,
    time::Millis,
    usage::Usage,
};
use serde::Serialize;

pub mod metrics;
pub mod spend;

/// The seal of the first entry's predecessor.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Why money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Credit the operator granted.
    Credit,
    /// A call's charge: from the wallet to what is owed to the provider.
    Usage,
    /// A charge given back: a new entry, the old one stays.
    Refund,
    /// What the operator sets right, up or down.
    Adjustment,
    /// What an admin did, in a chain of its own: see [`crate::audit`].
    Audit,
}

json::words!(EntryKind {
    Credit = "credit", Usage = "usage", Refund = "refund", Adjustment = "adjustment", Audit = "audit",
});

impl EntryKind {
    /// Whether it changes what was paid in; else it changes what was spent.
    #[must_use]
    pub fn pays_in(self) -> bool {
        matches!(self, Self::Credit | Self::Adjustment)
    }
}

/// One side of an entry. Amounts of an entry's legs sum to zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leg {
    pub account: String,
    pub amount_usd: Nanos,
}

json::members!(Leg { account, amount_usd });

/// On which side a request stands where choosing is compared with drawing at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// On neither: the router chose, and nothing could have been drawn in its place.
    #[default]
    Alone,
    /// The router's own choice.
    Routed,
    /// Drawn from what was chosen for other requests.
    Control,
}

json::words!(Arm { Alone = "alone", Routed = "routed", Control = "control" });

/// A request of which the deployment might have been drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    pub arm: Arm,
    /// `provider/model` that was chosen or drawn, whoever answered in the end.
    pub deployment: String,
    /// A thousand over the chance of standing on its side, and over that of being drawn for this deployment.
    pub weight: u64,
    pub own_weight: u64,
    /// What all attempts came to.
    pub cost_usd: Nanos,
    /// Whether the answer held that was given, and that of the deployment; absent where it was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_passed: Option<bool>,
}

json::members!(default Comparison { arm, deployment, weight, own_weight, cost_usd, passed, own_passed });

/// What a call was: enough to compute its charge again. Holds no content.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallRecord {
    pub api_key_id: String,
    /// What the key stood under when the hold was made, its own scope first; without the organisation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Scope>,
    /// The caller's name for what belongs together.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// The name the caller asked for.
    pub model_requested: String,
    pub provider: String,
    pub model: String,
    pub mode: String,
    pub reason: String,
    pub task: String,
    pub catalog_id: String,
    pub usage: Usage,
    /// The moment whose prices count.
    #[serde(skip_serializing_if = "Millis::is_zero")]
    pub priced_at: Millis,
    /// Empty for the standard tier.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_tier: String,
    /// The provider told no usage; the counts are ours.
    pub estimated: bool,
    /// The prices that counted; absent where nobody was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// What the call costs beside its tokens.
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub request_fee_usd: Nanos,
    /// What was held for it: an estimate is never charged beyond.
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub held_usd: Nanos,
    /// What the provider takes and the caller does not pay: for an answer that was none, and above the caller's own ceiling.
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub absorbed_usd: Nanos,
    /// The answer was ended because no more could be held for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub budget_cut: bool,
    /// How a charge that was not known at the end came to be: `generation`, as the provider told it later, or `deadline`, what
    /// was metered when a day had passed. Empty for all others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resolved_by: String,
    /// The provider's own name for the answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generation_id: String,
    /// SHA-256 of the request's body as it came.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_hash: String,
    /// The charge was above the hold.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overrun: bool,
    pub attempts: Vec<AttemptRecord>,
    /// The request as it was judged, in numbers: what a verdict on it teaches by.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub case: String,
    /// What the choice of the deployment rested on, where the router chose.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub decision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Box<Comparison>>,
    pub status: u16,
    pub ttft_ms: Option<u64>,
    pub duration_ms: u64,
}

json::members!(default CallRecord {
    api_key_id, path, session, model_requested, provider, model, mode, reason, task, catalog_id, usage, priced_at, service_tier,
    estimated, rates, request_fee_usd, held_usd, absorbed_usd, budget_cut, resolved_by, generation_id, request_hash, overrun,
    attempts, case, decision, comparison, status, ttft_ms, duration_ms,
});

impl CallRecord {
    /// Whether its provider can be asked what it used: by a name that can stand in a path, and at prices that are known.
    #[must_use]
    pub fn is_askable(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !self.generation_id.is_empty() && self.generation_id.bytes().all(plain) && self.rates.is_some()
    }

    /// What this call costs its caller, from what stands here alone: the charge of the tokens, not beyond what was held where they
    /// are an estimate, less what the caller does not pay.
    #[must_use]
    pub fn recomputed(&self) -> Nanos {
        let Some(rates) = &self.rates else { return Nanos::ZERO };
        let charge = match price::charge_at(rates, self.request_fee_usd, &self.usage) {
            Some(charge) if self.estimated => charge.min(self.held_usd),
            Some(charge) => charge,
            None => self.held_usd,
        };
        charge.minus(self.absorbed_usd)
    }
}

/// One attempt of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AttemptRecord {
    pub provider: String,
    pub model: String,
    /// `answered`, `rejected` for an answer that failed its check, or the cause of the failure.
    pub outcome: String,
    pub status: u16,
    pub cost_usd: Nanos,
    /// Of an answer that was checked: `passed`, or the word of the check it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verdict: String,
}

json::members!(default AttemptRecord { provider, model, outcome, status, cost_usd, verdict });

/// A booked transaction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// From 1, without gaps, per account.
    pub seq: u64,
    /// Deterministic: the request's id, or the credit's.
    pub id: String,
    pub kind: EntryKind,
    pub at: Millis,
    /// What the wallet gained (positive) or paid (negative).
    pub amount_usd: Nanos,
    pub legs: Vec<Leg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub prev_hash: String,
    /// SHA-256 over the JSON of everything above.
    pub hash: String,
}

json::members!(Entry { seq, id, kind, at, amount_usd, legs, call, note, prev_hash, hash = String::new() });

impl Entry {
    /// The entry with its seal.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.hash.clear();
        self.hash = digest(&self);
        self
    }

    /// The seal this entry's content should carry.
    #[must_use]
    pub fn seal(&self) -> String {
        digest(&Self { hash: String::new(), ..self.clone() })
    }

    /// Whether the legs balance and the seal fits.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.legs.iter().map(|leg| leg.amount_usd).sum::<Nanos>() == Nanos::ZERO && self.hash == self.seal()
    }
}

/// The digest of an entry that has no seal yet.
fn digest(bare: &Entry) -> String {
    sha256_hex(&json::write_bytes(bare))
}

/// From one ledger account to another.
#[must_use]
pub fn transfer(from: String, to: String, amount: Nanos) -> Vec<Leg> {
    vec![Leg { account: from, amount_usd: Nanos(-amount.0) }, Leg { account: to, amount_usd: amount }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_breaks_the_seal() {
        let legs = transfer("liability:wallet:org_a".into(), "payable:provider:acme".into(), Nanos(5));
        let call = CallRecord { model: "m".into(), ..CallRecord::default() };
        let entry = Entry {
            seq: 1,
            id: "req_a".into(),
            kind: EntryKind::Usage,
            at: Millis(7),
            amount_usd: Nanos(-5),
            legs,
            call: Some(call),
            note: None,
            prev_hash: GENESIS.into(),
            hash: String::new(),
        }
        .sealed();
        assert!(entry.is_sound());
        assert!(!Entry { amount_usd: Nanos(-4), ..entry.clone() }.is_sound());
        let text = serde_json::to_string(&entry).expect("plain data");
        assert_eq!(json::read::<Entry>(&text).expect("reads back"), entry);
    }

    /// A seal is over the stored text: a member that is added later must be skipped where it has its default, or every older
    /// entry would look forged.
    #[test]
    fn an_older_entry_keeps_its_seal() {
        let call = CallRecord { provider: "acme".into(), model: "m".into(), ..CallRecord::default() };
        let entry = Entry {
            seq: 1,
            id: "req_a".into(),
            kind: EntryKind::Usage,
            at: Millis(7),
            amount_usd: Nanos(-5),
            legs: transfer("a".into(), "b".into(), Nanos(5)),
            call: Some(call),
            note: None,
            prev_hash: GENESIS.into(),
            hash: String::new(),
        };
        assert_eq!(entry.seal(), "bbbed0664d45e36cc817364497bd7196deebc4940c797cf9736da1ef28fe67fe");
    }

    /// What is stored must be read by every later version: this text may gain members, never lose or change one.
    #[test]
    fn the_stored_form_is_pinned() {
        let text = r#"{"seq":1,"id":"crd_a","kind":"credit","at":7,"amount_usd":"5","legs":[{"account":"equity:operator","amount_usd":"-5"},{"account":"liability:wallet:org_a","amount_usd":"5"}],"note":"hello","prev_hash":"00","hash":"11"}"#;
        let entry: Entry = json::read(text).expect("readable");
        assert_eq!(serde_json::to_string(&entry).expect("plain data"), text);
    }
}
