//! HTTP 402: what an agent without an account is asked to pay, and what it shows as payment, in the words of x402.
//!
//! Version 2 travels in headers, version 1 in the body of the 402 and in headers of other names; both are served.
//! <https://github.com/x402-foundation/x402/blob/main/specs/x402-specification-v2.md>,
//! <https://github.com/x402-foundation/x402/blob/main/specs/transports-v2/http.md>
use crate::{endpoint::Headers, fault::Fault, json, json::json, mode::Mode, money::Nanos, time::Millis};
use evm::{Address, Signature, Word};
use serde::Serialize;
use serde_json::Value;

pub mod asset;
pub mod batch;
pub mod challenge;
pub mod contract;
pub mod evm;
pub mod exact;
pub mod facilitator;
mod permit2;
mod quote;
pub mod signin;
pub mod stripe;
mod upto;

pub use asset::NANOS_PER_UNIT;
use asset::{Network, Token};
use batch::Voucher;
pub use challenge::{Asked, Challenge, ModePrice, challenge, offers_by, options};
use contract::Sealed;
use facilitator::Known;
pub use quote::Bound;

/// How a payment is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// A fixed amount, settled before the work; what is not used stays in the payer's balance.
    #[default]
    Exact,
    /// At most an amount; what was used is settled after the work.
    Upto,
    /// A voucher of a channel; what was used of it is charged at once, and claimed on chain much later.
    #[serde(rename = "batch-settlement")]
    Batch,
    /// No payment: the wallet has signed in, and draws on its balance.
    Balance,
}

json::words!(Scheme { Exact = "exact", Upto = "upto", Batch = "batch-settlement", Balance = "balance" });

impl Scheme {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Upto => "upto",
            Self::Batch => "batch-settlement",
            Self::Balance => "balance",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Exact, Self::Upto, Self::Batch].into_iter().find(|scheme| scheme.word() == word)
    }
}

/// What payments this worker takes, where, and who settles them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The primary one first: its offers stand in the challenge, those of the others are told by `GET /v1/payment-options`.
    pub networks: Vec<&'static Network>,
    pub pay_to: Address,
    /// Base URLs, in the order they are asked.
    pub facilitators: Vec<String>,
    /// Networks, and where each can be looked at; empty where nobody can be asked.
    pub rpc_urls: Vec<(String, String)>,
    /// Ours, in whose name channels are claimed and given back: the first for new ones, the others for what they opened. Empty where
    /// that is left to facilitators.
    pub authorizers: Vec<Address>,
    /// What quotes are sealed with.
    pub secret: Word,
    /// What facilitators say of themselves.
    pub known: Known,
}

impl Terms {
    /// In whose name a scheme is settled on a network; `None` where nobody settles it.
    fn party(&self, scheme: Scheme, network: &str) -> Option<Address> {
        let Some(ours) = self.authorizers.first().filter(|_| scheme == Scheme::Batch) else {
            return self.known.address(scheme, network);
        };
        // What is no key makes no channels.
        let carried = *ours != Address::default() && !self.known.urls(scheme, network, None).is_empty();
        carried.then_some(*ours)
    }

    /// The base URLs of who settles what is settled in a name: channels in ours, anybody may carry.
    fn carriers(&self, scheme: Scheme, network: &str, name: Address) -> Vec<String> {
        let ours = scheme == Scheme::Batch && self.authorizers.contains(&name);
        self.known.urls(scheme, network, (!ours).then_some(name))
    }
}

/// A payment as it was shown: held against its offer, its signature not yet looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub payment: Payment,
    pub proofs: Vec<Proof>,
}

/// What must have been signed, by what signature, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub digest: Word,
    pub signature: Signature,
    pub signer: Address,
}

impl Proof {
    fn of(digest: Word, signature: &str, signer: Address) -> Result<Self, Fault> {
        let signature = Signature::read(signature)
            .ok_or_else(|| unpaid("The signature is not in hexadecimal, or shorter than 65 bytes."))?;
        Ok(Self { digest, signature, signer })
    }
}

/// A payment that fits what was offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Payment {
    pub scheme: Scheme,
    /// CAIP-2.
    pub network: String,
    pub asset: Address,
    pub payer: Address,
    /// Atomic units: what it pays, or the most that it does. Of a channel that is to be given back, the most that is.
    pub units: u64,
    /// What the payer's account claims once.
    pub nonce: String,
    /// Until when it can be settled, in seconds since 1970.
    pub valid_before: u64,
    /// The generation of x402 it speaks, 1 or 2.
    pub version: u8,
    /// The mode whose offer was taken; none where the offer was of no quote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What its facilitator is told: the payload and the requirements, as JSON.
    pub payload: String,
    pub requirements: String,
    /// Only these facilitators can settle it, in the order they are to be asked; empty for any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facilitators: Vec<String>,
    /// The payer's permission to move the token comes with it, and the facilitator pays for the gas.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sponsored: bool,
    /// What it shows of a channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voucher: Option<Voucher>,
    /// Of one that a contract has signed: a hash of the signature. Once its nonce is on chain nobody can check that any more, and
    /// everybody has the nonce.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub seal: String,
    /// Why it pays for nothing new: no facilitator has vouched for that signature, it has run out, or it is too little by now. Empty
    /// where nothing speaks against it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub doubt: String,
}

json::members!(default Payment {
    scheme, network, asset, payer, units, nonce, valid_before, version, mode, payload, requirements, facilitators, sponsored,
    voucher, seal, doubt,
});

impl Payment {
    /// What it is worth.
    #[must_use]
    pub fn amount(&self) -> Nanos {
        nanos_of(self.units)
    }

    /// The payer's account, without its prefix: CAIP-10.
    #[must_use]
    pub fn caip10(&self) -> String {
        format!("{}:{}", self.network, self.payer)
    }

    /// Where its money stands in the ledger.
    #[must_use]
    pub fn source(&self) -> String {
        format!("asset:x402:{}:{}", self.network, self.asset)
    }

    /// Whether it is settled before the work.
    #[must_use]
    pub fn is_upfront(&self) -> bool {
        self.scheme == Scheme::Exact
    }

    /// What a facilitator is asked: `units` are what it is to settle.
    #[must_use]
    pub fn ask(&self, units: u64) -> Value {
        let mut requirements: Value = json::read(&self.requirements).unwrap_or_default();
        if let Some(members) = requirements.as_object_mut().filter(|_| self.version > 1) {
            json::put_text(members, "amount", &units.to_string());
        }
        let payload: Value = json::read(&self.payload).unwrap_or_default();
        json!({"x402Version": self.version, "paymentPayload": payload, "paymentRequirements": requirements})
    }
}

impl Payment {
    /// What became of it, as clients are told.
    #[must_use]
    pub fn settlement(&self, outcome: &facilitator::Outcome) -> Value {
        let (success, transaction, reason) = match outcome {
            facilitator::Outcome::Done { transaction, .. } => (true, transaction.as_str(), None),
            facilitator::Outcome::Failed { reason } => (false, "", Some(reason.as_str())),
            facilitator::Outcome::Unknown => (false, "", Some("settlement_pending")),
        };
        let network = if self.version > 1 { self.network.as_str() } else { asset::name_v1(&self.network) };
        let mut told = json!({"success": success, "transaction": transaction, "network": network, "payer": self.payer});
        if let (Some(members), Some(reason)) = (told.as_object_mut(), reason) {
            json::put_text(members, "errorReason", reason);
        }
        told
    }
}

/// What a request without a key brings along to pay with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Purse {
    pub payment: Option<Payment>,
    /// What is wrong with the payment it showed.
    pub refused: Option<Fault>,
    /// Method and path, and the SHA-256 of the body in hexadecimal: what a quote is bound to.
    pub target: String,
    /// Its URL without the query.
    pub resource: String,
    pub body_hash: String,
    /// The network it wants to be offered; empty for the primary one.
    pub network: String,
    /// The organisation whose member the wallet is, where that is to pay; else empty.
    pub organization: String,
}

impl Purse {
    /// What a payment of this request is claimed for.
    #[must_use]
    pub fn claimed_for(&self, payment: &Payment) -> String {
        format!("{}{}", self.body_hash, payment.seal)
    }

    /// What a quote for this request is bound to.
    #[must_use]
    pub fn bound(&self) -> Bound<'_> {
        Bound { target: &self.target, resource: &self.resource, body_hash: &self.body_hash }
    }
}

/// Where a network can be looked at, of networks with their nodes; empty for nowhere.
#[must_use]
pub fn node_of<'a>(rpc_urls: &'a [(String, String)], network: &str) -> &'a str {
    rpc_urls.iter().find(|(known, _)| known == network).map_or("", |(_, url)| url)
}

/// Atomic units as money.
#[must_use]
pub fn nanos_of(units: u64) -> Nanos {
    Nanos(i64::try_from(units).unwrap_or(i64::MAX).saturating_mul(NANOS_PER_UNIT))
}

/// Money as atomic units, rounded up.
#[must_use]
pub fn units_of(amount: Nanos) -> u64 {
    u64::try_from(amount.0.max(0)).unwrap_or_default().div_ceil(NANOS_PER_UNIT.unsigned_abs())
}

/// What a scheme's file finds in a payload.
struct Signed {
    payer: Address,
    proofs: Vec<Proof>,
    units: u64,
    nonce: String,
    valid_before: u64,
}

/// An offer as it stands in a payload: every member of it is ours, for its quote is.
struct Offered<'a> {
    terms: &'a Terms,
    network: &'static Network,
    token: &'static Token,
    requirements: &'a Value,
    /// Nothing is paid: a channel is to be given back.
    leaves: bool,
    now: Millis,
}

/// The payment a request shows, if it shows one.
///
/// # Errors
/// 400 for what is no payment; 402 for one that does not pay this request: the message says why.
pub fn shown(headers: &Headers, terms: &Terms, bound: &Bound<'_>, now: Millis) -> Result<Option<Shown>, Fault> {
    let (text, version) = match (headers.get("payment-signature"), headers.get("x-payment")) {
        (Some(text), _) => (text, 2),
        (None, Some(text)) => (text, 1),
        (None, None) => return Ok(None),
    };
    let payload: Option<Value> = crate::base64::of_padded(text.trim()).and_then(|text| json::read_bytes(&text).ok());
    let payload = payload.filter(Value::is_object).ok_or_else(|| malformed("is not a JSON object in base64"))?;
    if payload.get("x402Version").and_then(Value::as_u64) != Some(version.into()) {
        return Err(malformed(if version == 2 { "is not of x402Version 2" } else { "is not of x402Version 1" }));
    }
    let (requirements, mode, until) = if version == 2 {
        let accepted = payload.get("accepted").filter(|accepted| accepted.is_object());
        let accepted = accepted.ok_or_else(|| malformed("has no `accepted`"))?;
        let (mode, until) = quote::check(accepted, bound, terms)?;
        (accepted.clone(), Some(mode), until)
    } else {
        (challenge::requirements_v1(&payload, terms, bound.resource)?, None, u64::MAX)
    };
    let text = |name: &str| requirements.get(name).and_then(Value::as_str).unwrap_or_default();
    let scheme = Scheme::of_word(text("scheme")).ok_or_else(|| unpaid("This scheme is not offered."))?;
    let of_v1 = |network: &&&Network| version == 1 && network.name_v1 == text("network");
    let network = terms.networks.iter().find(|network| network.id == text("network") || of_v1(network));
    let network = *network.ok_or_else(|| unpaid("This network is not offered."))?;
    let token = network.token(text("asset")).ok_or_else(|| unpaid("This token is not offered."))?;
    let leaves = bound.target.starts_with("GET ");
    let offered = Offered { terms, network, token, requirements: &requirements, leaves, now };
    let inner = payload.get("payload").ok_or_else(|| malformed("has no `payload`"))?;
    let (signed, voucher) = match scheme {
        Scheme::Exact => (exact::read(inner, &offered)?, None),
        Scheme::Upto | Scheme::Balance => (upto::read(inner, &offered)?, None),
        Scheme::Batch => {
            let (signed, voucher) = batch::read(inner, &offered)?;
            (signed, Some(voucher))
        }
    };
    let extra =
        |name: &str| requirements.get("extra").and_then(|extra| extra.get(name)?.as_str()).and_then(Address::parse);
    let pinned = extra("facilitatorAddress").or(extra("receiverAuthorizer"));
    let facilitators = pinned.map_or_default(|name| terms.carriers(scheme, network.id, name));
    // Its call may have been served, and its settlement be not known: that is the account's to say.
    let late = until < now.seconds() || signed.valid_before < now.seconds().saturating_add(SETTLE_S);
    if late && voucher.is_some() {
        return Err(unpaid("The payment has run out."));
    }
    if scheme != Scheme::Exact && facilitators.is_empty() && !late {
        let text = "Whoever settles this offer cannot be asked now. Send the same payment again in a moment.";
        return Err(Fault::unavailable("x402_settlement_unknown", text).retry_after(2));
    }
    let payment = Payment {
        scheme,
        network: network.id.to_owned(),
        asset: token.address,
        payer: signed.payer,
        units: signed.units,
        nonce: signed.nonce,
        valid_before: signed.valid_before,
        version,
        mode,
        requirements: json::written(&requirements),
        payload: json::written(&payload),
        facilitators,
        doubt: if late { RUN_OUT.to_owned() } else { String::new() },
        sponsored: is_sponsored(&payload),
        voucher,
        ..Payment::default()
    };
    Ok(Some(Shown { payment, proofs: signed.proofs }))
}

/// Whether a payload brings the permission along that Permit2 needs: a signed permit, or a signed transaction.
fn is_sponsored(payload: &Value) -> bool {
    let told = |extension: &str, member: &str| {
        payload
            .get("extensions")
            .and_then(|all| all.get(extension)?.get("info")?.get(member))
            .is_some_and(Value::is_string)
    };
    told("eip2612GasSponsoring", "signature") || told("erc20ApprovalGasSponsoring", "signedTransaction")
}

impl Shown {
    /// The payment, if it is signed by whom it has to be, and what a contract is said to have signed: of that only the chain knows.
    /// `recover` tells the uncompressed point of the key that signed a digest.
    ///
    /// # Errors
    /// 402: somebody else signed it, or something else was signed.
    pub fn signed(
        mut self,
        headers: &Headers,
        recover: &dyn Fn(&Word, &[u8; 65]) -> Vec<u8>,
    ) -> Result<(Payment, Option<Sealed>), Fault> {
        let mut sealed = None;
        for Proof { digest, signature, signer } in self.proofs {
            let is_its = |key: [u8; 65]| Address::of_key(&recover(&digest, &key)) == Some(signer);
            if signature.of_key().is_some_and(is_its) {
                continue;
            }
            // A contract's may be as long as a key's: then nobody is asked about it unless its sender says so, or all junk would be.
            if !signature.is_of_contract() && headers.get("payment-wallet") != Some("contract") {
                return Err(unpaid(
                    "The signature is not the payer's, or another message was signed. A wallet that is a contract and signs in 65 bytes \
                     says so: `payment-wallet: contract`.",
                ));
            }
            let told = Sealed { digest, signature: signature.0 };
            told.admits(&self.payment)?;
            self.payment.seal = evm::hex(&evm::keccak(&told.signature));
            sealed = Some(told);
        }
        Ok((self.payment, sealed))
    }
}

/// 402: this payment does not pay this request.
fn unpaid(why: &str) -> Fault {
    Fault::new(402, "payment_required", "x402_invalid", format!("{why} Pay by one of the offers of this answer."))
}

/// 400: nothing a client of x402 sends.
fn malformed(why: &str) -> Fault {
    let text = format!("The payment header {why}. Send what a client of x402 makes of the PAYMENT-REQUIRED header.");
    Fault::invalid("x402_malformed", text)
}

fn member<'a>(value: &'a Value, name: &str) -> Result<&'a Value, Fault> {
    value.get(name).ok_or_else(|| malformed(&format!("lacks `{name}` in its payload")))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Fault> {
    member(value, name)?.as_str().ok_or_else(|| malformed(&format!("has a `{name}` that is no text")))
}

fn address(value: &Value, name: &str) -> Result<Address, Fault> {
    Address::parse(text(value, name)?).ok_or_else(|| malformed(&format!("has a `{name}` that is no address")))
}

/// A number as text, as far as we can count.
fn whole(value: &Value, name: &str) -> Result<u64, Fault> {
    let number = text(value, name)?.parse();
    number.map_err(|_| malformed(&format!("has a `{name}` that is no whole number below 2^64")))
}

/// The doubt about a payment whose time, or whose offer's, is over.
pub const RUN_OUT: &str = "run_out";
/// The same of one that is of less than its call may cost by now.
pub const UNDERPAID: &str = "underpaid";

/// How long before its end a payment can no longer be settled: facilitators want six seconds, and the way there takes time.
const SETTLE_S: u64 = 10;
/// The longest that a payment may be good for, above what any offer says.
const VALID_S_MAX: u64 = 7_200;

impl Offered<'_> {
    /// Whether a payment is valid by now, and not for too long.
    fn in_time(&self, valid_after: u64, valid_before: u64) -> Result<(), Fault> {
        let now = self.now.seconds();
        if valid_after > now {
            return Err(unpaid("The payment is not valid yet."));
        }
        // What is refused is remembered until then.
        if valid_before > now.saturating_add(VALID_S_MAX) {
            return Err(unpaid("The payment is good for longer than an offer is."));
        }
        Ok(())
    }

    /// Whether it pays us what was asked. Of a payment of version 1 the price is looked at once the request is planned.
    fn pays(&self, to: Address, units: u64) -> Result<(), Fault> {
        if to != self.terms.pay_to {
            return Err(unpaid("The payment goes to another address."));
        }
        let asked = self.requirements.get("amount").and_then(Value::as_str);
        if asked.is_some_and(|asked| asked != units.to_string()) {
            return Err(unpaid("The payment is of another amount."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
