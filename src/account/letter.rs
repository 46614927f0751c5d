//! The letters an account answers: one version byte, then JSON. Members may be added; what is there keeps its meaning,
//! because during a deploy a new worker writes to an old object and the other way round.
use super::lessons::Lesson;
pub use super::refusal::{Conflict, Refusal, Unfit, wrong_kind};
use crate::{
    access::{Digest, Key, KeyKind, Member, Tenant, allows_model, allows_provider},
    budget::Wallet,
    json,
    ledger::{CallRecord, Entry},
    money::Nanos,
    payment::{Payment, batch::OnChain, evm::Address, facilitator::Outcome, stripe::Deposit},
    time::{Millis, Zone},
};
use serde::Serialize;
use serde_json::Value;

const VERSION: u8 = 1;

/// Writes a letter or an answer.
#[must_use]
pub fn write(letter: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(json::write_bytes(letter));
    bytes
}

/// Reads a letter or an answer.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read<T: json::Read>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, text)) => json::read_bytes(text).map_err(|error| error.to_string()),
        Some((version, _)) => Err(format!("letter version {version} is not known")),
        None => Err("an empty letter".into()),
    }
}

/// Who knocks: a key that proved to be one of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    pub key_id: String,
    pub digest: String,
    pub kind: KeyKind,
}

json::members!(Caller { key_id, digest, kind });

impl Caller {
    /// Whoever shows that key.
    #[must_use]
    pub fn of(key: &Key, digest: &Digest) -> Self {
        Self { key_id: key.id(), digest: digest.0.clone(), kind: key.kind }
    }

    /// A wallet that has signed, for itself or in the name of an organisation's member.
    #[must_use]
    pub fn of_payer(payer: &Address, organization: &str) -> Self {
        Self { key_id: payer.to_string(), digest: organization.to_owned(), kind: KeyKind::Payer }
    }

    /// Whether it may see what a key has used: a key for calls sees only its own.
    #[must_use]
    pub fn sees(&self, key_id: &str) -> bool {
        self.kind == KeyKind::Admin || self.key_id == key_id
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Letter {
    /// Makes the account of an organisation, with its first admin key. Idempotent by the organisation's id.
    Found {
        organization: Organization,
        admin_key: NewKey,
        credit: Option<NewCredit>,
        /// The first owner, by its id.
        owner: Option<(String, Member)>,
    },
    /// The operator grants credit, or sets it right.
    Credit(NewCredit),
    /// The operator gives a charge back.
    Refund(NewRefund),
    /// Looks for an entry that may not be in the journal yet.
    Find {
        caller: Caller,
        id: String,
    },
    /// What the books say, for the reconciler, with the unknown charges that one of these providers can tell.
    Summary {
        providers: Vec<String>,
    },
    Hold(HoldLetter),
    /// Makes a hold larger.
    Extend(ExtendLetter),
    Post(PostLetter),
    /// What a key's holder may know of its limits: for `GET /v1/key`.
    Key {
        caller: Caller,
        /// The session to tell about; empty for none.
        session: String,
    },
    /// A payment that is for no call is claimed, before it is settled.
    Fund {
        id: String,
        claim: Box<Claim>,
    },
    /// What its settlement came to.
    Funded {
        nonce: String,
        outcome: Outcome,
    },
    /// What it brought goes on to somebody else's account: where its chain can be asked, only once it was seen there.
    Give {
        nonce: String,
        to: String,
        seen: bool,
    },
    /// What a wallet can have back, and that its channels are to be left.
    Refundable(Caller),
    /// A channel is to be given back, or a part of it, by whoever signs its vouchers.
    Leave(Box<Payment>),
    /// A wallet gets this back, by a payment of the operator's.
    Withdraw {
        id: String,
        payment: Box<Payment>,
    },
    /// What a wallet has: for `GET /v1/balance`.
    Balance(Caller),
    /// What this caller may see of itself: for `GET /v1/models`.
    Whoami(Caller),
    Admin {
        caller: Caller,
        ask: AdminAsk,
    },
    /// Proves an admin's key, nothing else: before the journal is read.
    Prove(Caller),
    /// How models did on a request.
    Learn {
        caller: Caller,
        id: String,
        lesson: Lesson,
    },
    /// Stored credentials put in place of others; tells those that are stored.
    Reseal {
        swaps: Vec<(String, String)>,
    },
    /// Tells the operator of the organisation, which from now on stands as said.
    Standing(Option<Standing>),
    /// Wakes the account, so that its alarm is set again should it have been lost.
    Nudge,
}

json::variants!(Letter, Self::Nudge, {
    Found { organization, admin_key, credit, owner } = "found",
    Credit(inner) = "credit",
    Refund(inner) = "refund",
    Find { caller, id } = "find",
    Summary { providers } = "summary",
    Hold(inner) = "hold",
    Extend(inner) = "extend",
    Key { caller, session } = "key",
    Balance(inner) = "balance",
    Fund { id, claim } = "fund",
    Give { nonce, to, seen } = "give",
    Refundable(inner) = "refundable",
    Leave(inner) = "leave",
    Withdraw { id, payment } = "withdraw",
    Funded { nonce, outcome } = "funded",
    Post(inner) = "post",
    Whoami(inner) = "whoami",
    Admin { caller, ask } = "admin",
    Prove(inner) = "prove",
    Learn { caller, id, lesson } = "learn",
    Reseal { swaps } = "reseal",
    Standing(inner) = "standing",
    Nudge = "nudge",
});

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Organization {
    pub id: String,
    pub name: String,
    pub timezone: String,
    /// What the time zone means, as the platform knew it when it was set.
    pub zone: Zone,
    pub created_at: u64,
    /// Its callers are told what a call costs where it does not pay for it: they may pay by a wallet of their own.
    pub payment_challenge: bool,
    pub status: Standing,
}

json::members!(Organization {
    id, name, timezone, zone = Zone::default(), created_at, payment_challenge = false, status = Standing::Active,
});

/// Whether an organisation may do anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    #[default]
    Active,
    /// Nothing but reading, until it is resumed.
    Suspended,
    /// As suspended, for good.
    Closed,
}

json::words!(Standing { Active = "active", Suspended = "suspended", Closed = "closed" });

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NewCredit {
    /// Makes the grant idempotent.
    pub id: String,
    pub amount: Nanos,
    pub reason: String,
    /// It sets right what was wrong, and may be below 0.
    pub adjusts: bool,
    /// The name under which it is given once, where that is another than its id: an `Idempotency-Key`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub once: String,
    /// The processor that has the money; empty where the operator gives it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The top-up that was paid, and the card that was saved with it, of a processor of cards.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub topup: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub card: String,
}

json::members!(default NewCredit { id, amount, reason, adjusts, once, source, topup, card });

impl NewCredit {
    /// What a processor of cards says.
    #[must_use]
    pub fn of_deposit(id: String, deposit: Deposit) -> Self {
        let Deposit { once, amount, reason, topup, card, .. } = deposit;
        Self { id, amount, reason, adjusts: amount < Nanos::ZERO, once, source: "stripe".to_owned(), topup, card }
    }
}

/// A charge, or a part of it, to be given back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewRefund {
    pub id: String,
    /// The entry of the charge.
    pub of: String,
    pub amount: Nanos,
    pub reason: String,
    /// Whose charge it was, and for which model: costs are less by it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallRecord>,
}

json::members!(NewRefund { id, of, amount, reason, call });

/// What the books say of everything the journal has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The last entry the journal told that it has.
    pub seq: u64,
    /// Its seal.
    pub head: String,
    /// What was paid in and spent up to there.
    pub wallet: Wallet,
    /// Entries that wait for the journal, and since when.
    pub waiting: u64,
    pub waiting_since: Millis,
    /// Holds of calls under way, and those of them whose time is over.
    pub open: u64,
    pub overdue: u64,
    /// Holds whose charge is not known, and those that may be asked for at their provider.
    pub suspended: u64,
    pub unresolved: Vec<Suspended>,
}

json::members!(default Summary { seq, head, wallet, waiting, waiting_since, open, overdue, suspended, unresolved });

/// A hold whose charge is not known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspended {
    pub id: String,
    /// When the hold was made: [`Grant::at`].
    pub at: Millis,
    pub call: CallRecord,
}

json::members!(Suspended { id, at = Millis(0), call });

/// A key about to be kept: everything but its text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewKey {
    pub id: String,
    pub digest: String,
    pub redacted: String,
    pub kind: KeyKind,
    pub spec: KeySpec,
}

json::members!(NewKey { id, digest, redacted, kind, spec });

impl NewKey {
    /// A made key with its rules.
    #[must_use]
    pub fn of(made: MadeKey, spec: KeySpec) -> Self {
        let MadeKey { id, kind, digest, redacted } = made;
        Self { id, digest, redacted, kind, spec }
    }
}

/// What an admin says of a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KeySpec {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_allowlist: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_allowlist: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Whose key it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_member_id: Option<String>,
}

json::members!(default KeySpec {
    name, model_allowlist, provider_allowlist, rpm, tpm, concurrency, expires_at, owner_member_id,
});

impl KeySpec {
    /// Whether the time of a key of this spec is over.
    #[must_use]
    pub fn has_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now.seconds())
    }

    /// Whether a key of this spec may use a model at a provider. Absent lists allow everything.
    #[must_use]
    pub fn allows(&self, provider: &str, model: &str) -> bool {
        self.model_allowlist.as_ref().is_none_or(|list| allows_model(list, provider, model))
            && self.provider_allowlist.as_ref().is_none_or(|list| allows_provider(list, provider))
    }
}

/// Asks for money before a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HoldLetter {
    pub request_id: String,
    pub caller: Caller,
    /// The version of the organisation's rows the bids were made with.
    pub tenant_version: u64,
    pub bids: Vec<Bid>,
    /// Prompt and output bound, for the token rate.
    pub tokens: u64,
    /// Check everything, hold nothing.
    pub dry: bool,
    /// The caller's name for what belongs together; empty for none.
    pub session: String,
    /// The version of the routing policies the bids were made with; 0 for none, or none that is known.
    pub policies_version: u64,
    /// The version of what was learned that the bids were made with; empty for nothing.
    pub taught: String,
    /// The mode whose recent choices may be drawn from; empty for none.
    pub draws: String,
    /// What pays for it, where no key does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Box<Claim>>,
}

/// A payment, and the request it is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Claim {
    pub payment: Payment,
    /// SHA-256 of the body, in hexadecimal.
    pub request_hash: String,
}

json::members!(default Claim { payment, request_hash });

json::members!(HoldLetter {
    request_id, caller, tenant_version, bids, tokens, dry = Default::default(), session = String::new(),
    policies_version = 0, taught = String::new(), draws = String::new(), claim,
});

/// A candidate and the most it can cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bid {
    pub provider: String,
    pub model: String,
    pub amount: Nanos,
    /// What is enough to begin with, where the hold can grow with the answer; 0 where it cannot.
    pub least: Nanos,
}

json::members!(Bid { provider, model, amount, least = Nanos::ZERO });

impl Bid {
    /// What is enough to begin with.
    #[must_use]
    pub fn enough(&self) -> Nanos {
        if self.least > Nanos::ZERO { self.least } else { self.amount }
    }

    /// What to hold for it where there is only so much room.
    #[must_use]
    pub fn within(&self, room: Nanos) -> Option<Nanos> {
        [self.amount, self.enough()].into_iter().find(|amount| *amount <= room)
    }
}

/// Makes a hold as large as there is room for, up to `to`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExtendLetter {
    pub request_id: String,
    /// What the whole hold should become: the letter may come twice.
    pub to: Nanos,
    /// Less than this is of no use: then it stays as it is.
    pub least: Nanos,
}

json::members!(ExtendLetter { request_id, to, least });

/// Closes a hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PostLetter {
    pub request_id: String,
    /// Which hold is meant, by [`Grant::at`]; whichever there is where the grant was not heard.
    pub held_at: Option<Millis>,
    pub outcome: PostOutcome,
    pub call: CallRecord,
    /// Tokens really used, so that the token rate gets the rest back.
    pub tokens: u64,
    /// Attempts beside the one that answered, whose cost is a matter of its own.
    pub others: Vec<OtherAttempt>,
    /// What the answers told by themselves, as [`crate::quality::seen::told`] writes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub observed: String,
    /// What became of its payment; none where nothing had to be settled before the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid: Option<Outcome>,
}

impl PostLetter {
    /// Every record of the letter tells of the request with this hash: SHA-256 in hexadecimal.
    pub fn hashed(&mut self, request: &str) {
        let others = self.others.iter_mut().map(|other| &mut other.call);
        for call in others.chain([&mut self.call]) {
            request.clone_into(&mut call.request_hash);
        }
    }
}

json::members!(PostLetter {
    request_id, held_at, outcome, call, tokens, others = Vec::new(), observed = String::new(), paid,
});

/// An attempt that came to nothing, but may be billed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OtherAttempt {
    /// From 1, in the order of the attempts: it is booked as `{request_id}#{number}`.
    pub number: u64,
    /// What of the hold covers it.
    pub amount: Nanos,
    pub outcome: PostOutcome,
    pub call: CallRecord,
}

json::members!(OtherAttempt { number, amount, outcome, call });

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PostOutcome {
    /// Nothing was sent to a provider: the hold goes, no entry stays.
    Void,
    /// The charge is known.
    Charge(Nanos),
    /// A provider may have billed more than we saw. The budget stays held; what was metered is posted after a day.
    Suspense { metered: Nanos },
}

json::variants!(PostOutcome, Self::Void, {
    Void = "void",
    Charge(inner) = "charge",
    Suspense { metered } = "suspense",
});

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Held(Grant),
    Posted,
    Whoami {
        spec: Box<KeySpec>,
        tenant: Box<Tenant>,
    },
    /// An entry, if it is still here; or whether its call is.
    Found {
        entry: Option<Box<Entry>>,
        open: bool,
    },
    Summary(Box<Summary>),
    /// The body of a control-plane answer.
    Told {
        status: u16,
        body: Value,
    },
    Refused(Refusal),
}

json::variants!(Answer, Self::Posted, {
    Held(inner) = "held",
    Posted = "posted",
    Whoami { spec, tenant } = "whoami",
    Found { entry, open } = "found",
    Summary(inner) = "summary",
    Told { status, body } = "told",
    Refused(inner) = "refused",
});

/// A granted hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// 0 when the hold was dry.
    pub amount: Nanos,
    /// When it was made, by the account's clock: a posting names it.
    pub at: Millis,
    /// The places of the bids that are allowed and affordable.
    pub allowed: Vec<usize>,
    /// The deployment that answered last in the session, if that is not long ago; else empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub warm: String,
    /// What outcomes have taught since; empty for nothing new.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub taught: String,
    /// The deployments that were chosen lately in the mode that was asked about, and how often.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pool: Vec<(String, u64)>,
    /// Its payment has still to be settled, or looked at, before the work.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pays: bool,
    /// Of a channel: what was charged to it before, and how it is on chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<(u64, OnChain)>,
}

json::members!(Grant {
    amount, at = Millis(0), allowed, warm = String::new(), taught = String::new(), pool = Vec::new(),
    pays = false, channel,
});

/// What an admin asks for: the request as it came. The account reads it, so that there is one reader of each body and no
/// other form of it that two versions of the worker would have to agree on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AdminAsk {
    pub method: String,
    pub path: String,
    pub body: String,
    /// A ULID for what may be made.
    pub fresh: String,
    /// The key that may be made, of every kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<MadeKey>,
    /// What stands behind the path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Its `Idempotency-Key`, empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub once: String,
    /// Its `If-Match`, empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub if_match: String,
    /// Where it came from, for the audit trail.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
}

json::members!(default AdminAsk { method, path, body, fresh, keys, query, once, if_match, ip, user_agent });

/// A key's text is known to the worker alone, which tells it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MadeKey {
    pub id: String,
    pub kind: KeyKind,
    pub digest: String,
    pub redacted: String,
}

json::members!(MadeKey { id, kind, digest, redacted });
