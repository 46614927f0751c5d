//! What facilitators are asked, and what their answers mean. Two dialects of failure are known: 200 with `success: false`, and 400 or
//! 500 with the same body and other codes. So the body is read whatever the status, no code is branched on, and what cannot be
//! read is not a failure: it is not known.
//! <https://github.com/x402-foundation/x402/blob/main/specs/x402-specification-v2.md#7-facilitator-interface>
use super::{Payment, Scheme, batch::OnChain, evm::Address};
use crate::json;
use serde::Serialize;
use serde_json::Value;

/// What the facilitators tell of themselves, by network, and which of them fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    kinds: Vec<Kind>,
    /// Base URLs of those that did not answer when they were asked last: they are asked after the others.
    failing: Vec<String>,
}

/// As many kinds are remembered.
const KINDS_MAX: usize = 64;

/// A scheme that a facilitator settles on a network in its own name, and its base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    scheme: Scheme,
    network: String,
    address: Address,
    url: String,
}

impl Known {
    /// Takes in an answer of `GET /supported`, or that there was none. What was there first stays: facilitators are asked in order.
    pub fn learn(&mut self, url: &str, told: &Value) {
        let Some(kinds) = told.get("kinds").and_then(Value::as_array) else { return self.fails(url) };
        for kind in kinds {
            let text = |name: &str| kind.get(name).and_then(Value::as_str).unwrap_or_default();
            let (scheme, member) = match text("scheme") {
                "upto" => (Scheme::Upto, "facilitatorAddress"),
                "batch-settlement" => (Scheme::Batch, "receiverAuthorizer"),
                _ => continue,
            };
            let address = kind.get("extra").and_then(|extra| extra.get(member)?.as_str()).and_then(Address::parse);
            // Who has no name of its own for channels still carries ours.
            let address = address.or((scheme == Scheme::Batch).then(Address::default));
            let network = text("network");
            let known = |kind: &Kind| {
                kind.scheme == scheme && kind.network == network && Some(kind.address) == address && kind.url == url
            };
            if let Some(address) = address.filter(|_| !self.kinds.iter().any(known)) {
                self.kinds.push(Kind { scheme, network: network.to_owned(), address, url: url.to_owned() });
            }
        }
    }

    /// A facilitator did not answer: until it tells of itself again it comes last.
    pub fn fails(&mut self, url: &str) {
        if !self.is_failing(url) {
            self.failing.push(url.to_owned());
        }
    }

    fn is_failing(&self, url: &str) -> bool {
        self.failing.iter().any(|known| known == url)
    }

    /// Whether all answered when they were asked last.
    #[must_use]
    pub fn all_answer(&self) -> bool {
        self.failing.is_empty()
    }

    /// Facilitators in the order they are to be asked.
    #[must_use]
    pub fn ordered(&self, facilitators: &[String]) -> Vec<String> {
        let (mut all, failing): (Vec<_>, Vec<_>) = facilitators.iter().cloned().partition(|url| !self.is_failing(url));
        all.extend(failing);
        all
    }

    fn of(&self, scheme: Scheme, network: &str) -> impl Iterator<Item = &Kind> {
        let fits = move |kind: &&Kind| kind.scheme == scheme && kind.network == network;
        let failing = |kind: &&Kind| self.is_failing(&kind.url);
        self.kinds
            .iter()
            .filter(fits)
            .filter(move |kind| !failing(kind))
            .chain(self.kinds.iter().filter(fits).filter(failing))
    }

    /// In whose name a scheme is settled on a network: who moves what `upto` permits, who claims of channels.
    #[must_use]
    pub fn address(&self, scheme: Scheme, network: &str) -> Option<Address> {
        self.of(scheme, network).map(|kind| kind.address).find(|address| *address != Address::default())
    }

    /// The base URLs of who settles a scheme in a name, or in whatever name, in the order they are to be asked.
    #[must_use]
    pub fn urls(&self, scheme: Scheme, network: &str, name: Option<Address>) -> Vec<String> {
        let mut urls = Vec::new();
        for kind in self.of(scheme, network).filter(|kind| name.is_none_or(|name| kind.address == name)) {
            if !urls.contains(&kind.url) {
                urls.push(kind.url.clone());
            }
        }
        urls
    }

    /// Keeps what was known before behind what is known now: what was offered then may come back.
    pub fn remember(&mut self, before: &Self) {
        let new: Vec<Kind> = before.kinds.iter().filter(|kind| !self.kinds.contains(kind)).cloned().collect();
        self.kinds.extend(new);
        self.kinds.truncate(KINDS_MAX);
    }
}

/// What is asked of a facilitator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Verify,
    Settle,
}

/// A call of a facilitator: `POST` of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub url: String,
    pub body: String,
}

impl Payment {
    /// Who can settle it, of all.
    #[must_use]
    pub fn carriers<'a>(&'a self, all: &'a [String]) -> &'a [String] {
        if self.facilitators.is_empty() { all } else { &self.facilitators }
    }

    /// What a facilitator is asked.
    #[must_use]
    pub fn call(&self, verb: Verb, facilitator: &str, units: u64) -> Call {
        let word = if verb == Verb::Verify { "verify" } else { "settle" };
        Call { url: format!("{facilitator}/{word}"), body: json::written(&self.ask(units)) }
    }
}

/// What became of a settlement, or of a look at a payment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is settled, by this transaction; of a look: it can be. Empty where nothing had to move.
    Done {
        transaction: String,
        /// Of a channel: how it is now.
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<OnChain>,
    },
    /// It is not, and will not be.
    Failed { reason: String },
    /// Nobody knows. The transaction is one that was sent and not seen yet.
    #[default]
    Unknown,
}

/// Nobody could be asked.
pub const UNKNOWN: &str = "unknown";

impl Outcome {
    /// Of a look at a payment: what speaks against it.
    #[must_use]
    pub fn doubt(self) -> String {
        match self {
            Self::Done { .. } => String::new(),
            Self::Failed { reason } => reason,
            Self::Unknown => UNKNOWN.to_owned(),
        }
    }
}

json::variants!(Outcome, Self::Unknown, {
    Done { transaction, channel } = "done",
    Failed { reason } = "failed",
    Unknown = "unknown",
});

/// Facilitators, asked one after the other until one of them knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    place: usize,
    /// One of them may have settled: no other's failure says that it has not.
    doubt: bool,
    /// One of them does not settle such payments.
    declined: bool,
}

impl Tries {
    /// Who is asked now; `None` where nobody is left.
    #[must_use]
    pub fn asks<'a>(&self, payment: &'a Payment, facilitators: &'a [String]) -> Option<&'a str> {
        payment.carriers(facilitators).get(self.place).map(String::as_str)
    }

    /// What it comes to where nobody is left to be asked.
    #[must_use]
    pub fn nobody(self) -> Outcome {
        let declined = self.declined && !self.doubt;
        if declined { Outcome::Failed { reason: "not_settled_here".to_owned() } } else { Outcome::Unknown }
    }

    /// Takes an answer in: what it comes to, or `None` where the next one is to be asked.
    pub fn hears(&mut self, verb: Verb, outcome: Outcome) -> Option<Outcome> {
        match outcome {
            Outcome::Unknown => {
                (self.place, self.doubt) = (self.place + 1, self.doubt || verb == Verb::Settle);
                None
            }
            Outcome::Failed { reason } if DECLINES.contains(&reason.as_str()) => {
                (self.place, self.declined) = (self.place + 1, true);
                None
            }
            Outcome::Failed { .. } if self.doubt => Some(Outcome::Unknown),
            outcome => Some(outcome),
        }
    }
}

/// Whether a facilitator that answers so is not to be asked first for a while: nobody is there, somebody else answers, or it has too much
/// to do. A 500 alone is how one of the dialects refuses.
#[must_use]
pub fn is_failing(status: u16, body: &[u8]) -> bool {
    matches!(status, 429 | 502..=504) || body.first() != Some(&b'{')
}

/// Reads an answer; a status of 0 is none.
#[must_use]
pub fn outcome(verb: Verb, status: u16, body: &[u8]) -> Outcome {
    let told: Value = json::read_bytes(body).unwrap_or_default();
    let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (member, reason) = match verb {
        Verb::Verify => ("isValid", text("invalidReason")),
        Verb::Settle => ("success", text("errorReason")),
    };
    let transaction = hash(&text("transaction"));
    match told.get(member).and_then(Value::as_bool) {
        // What is said to be settled by nothing is not.
        Some(true)
            if status < 300 && (verb == Verb::Verify || !transaction.is_empty() || OnChain::told(&told).is_some()) =>
        {
            Outcome::Done { transaction, channel: OnChain::told(&told) }
        }
        // A transaction that was sent may still be mined. An error of theirs is none of the payment's.
        Some(false) if status < 500 && status != 429 && transaction.is_empty() && !is_of_theirs(&reason) => {
            Outcome::Failed { reason: plain(&reason) }
        }
        _ => Outcome::Unknown,
    }
}

/// Codes that say that the facilitator does not know either.
fn is_of_theirs(reason: &str) -> bool {
    reason == "settlement_pending" || reason.starts_with("unexpected")
}

/// Codes that say that the facilitator does not settle such payments: another may.
/// <https://github.com/x402-foundation/x402/blob/main/specs/x402-specification-v2.md#9-error-handling>
const DECLINES: [&str; 4] = ["invalid_network", "invalid_scheme", "unsupported_scheme", "invalid_x402_version"];

/// A transaction's hash as it is kept: some write it in capitals.
fn hash(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(80).collect::<String>().to_ascii_lowercase()
}

/// A code as it may be told on.
fn plain(reason: &str) -> String {
    let plain: String =
        reason.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').take(80).collect();
    if plain.is_empty() || plain == UNKNOWN { "refused".to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    #[test]
    fn who_does_not_answer_comes_last() {
        let kinds = |address: &str| json!({"kinds": [{"scheme": "upto", "network": "eip155:1", "extra": {"facilitatorAddress": address}}]});
        let [first, second] =
            ["0x00000000000000000000000000000000000000a1", "0x00000000000000000000000000000000000000b2"];
        let (urls, address) = (["a".to_owned(), "b".to_owned()], |text: &str| Address::parse(text));
        let mut known = Known::default();
        known.learn("a", &kinds(first));
        known.learn("b", &kinds(second));
        assert!(known.all_answer() && known.ordered(&urls) == urls);
        assert_eq!(known.address(Scheme::Upto, "eip155:1"), address(first));
        known.fails("a");
        known.fails("a");
        assert_eq!(known.ordered(&urls), ["b", "a"]);
        assert_eq!(known.address(Scheme::Upto, "eip155:1"), address(second), "new offers name who answers");
        assert_eq!(known.urls(Scheme::Upto, "eip155:1", address(first)), ["a"], "what was offered is settled");
        known.fails("b");
        assert_eq!(known.address(Scheme::Upto, "eip155:1"), address(first), "where none answers, as ever");
        let mut again = Known::default();
        again.learn("a", &Value::Null);
        again.learn("b", &kinds(second));
        again.remember(&known);
        assert!(!again.all_answer() && again.ordered(&urls) == ["b", "a"], "asked again, and who answers is well");
        assert_eq!(again.urls(Scheme::Upto, "eip155:1", address(first)), ["a"]);
        again.learn("c", &kinds(first));
        assert_eq!(
            again.urls(Scheme::Upto, "eip155:1", address(first)),
            ["c", "a"],
            "one name may be at two addresses"
        );
        assert_eq!(again.urls(Scheme::Upto, "eip155:1", None), ["b", "c", "a"]);
        let failing = |status| is_failing(status, b"{}");
        assert_eq!([200, 400, 429, 500, 503].map(failing), [false, false, true, false, true]);
        assert!(is_failing(0, b"") && is_failing(500, b"<html>"));
    }

    #[test]
    fn who_can_settle_is_asked_one_after_the_other() {
        let all = ["a", "b", "c"].map(str::to_owned);
        let asked = |payment: &Payment, verb| {
            let (mut tries, mut asked) = (Tries::default(), Vec::new());
            while let Some(url) = tries.asks(payment, &all) {
                asked.push(url.to_owned());
                assert_eq!(tries.hears(verb, Outcome::Unknown), None);
            }
            asked
        };
        let some = Payment { facilitators: vec!["c".to_owned(), "b".to_owned()], ..Payment::default() };
        for verb in [Verb::Verify, Verb::Settle] {
            assert_eq!(asked(&Payment::default(), verb), all);
            assert_eq!(asked(&some, verb), ["c", "b"]);
        }
    }

    #[test]
    fn who_does_not_settle_such_payments_is_passed_over() {
        let failed = |reason: &str| Outcome::Failed { reason: reason.to_owned() };
        let hear = |answers: &[Outcome]| {
            let mut tries = Tries::default();
            let told = answers.iter().find_map(|answer| tries.hears(Verb::Settle, answer.clone()));
            told.unwrap_or_else(|| tries.nobody())
        };
        let declined = failed("invalid_network");
        assert_eq!(hear(&[declined.clone(), failed("insufficient_funds")]), failed("insufficient_funds"));
        assert_eq!(hear(&[declined.clone(), declined.clone()]), failed("not_settled_here"));
        assert_eq!(hear(&[Outcome::Unknown, declined.clone()]), Outcome::Unknown, "the first may have settled");
        assert_eq!(hear(&[declined, Outcome::Unknown, failed("insufficient_funds")]), Outcome::Unknown);
    }

    #[test]
    fn both_dialects_of_failure_are_read() {
        let settled = |status, body: Value| outcome(Verb::Settle, status, json::written(&body).as_bytes());
        let done = Outcome::Done { transaction: "0xabc".into(), channel: None };
        assert_eq!(settled(200, json!({"success": true, "transaction": "0xabc", "network": "eip155:1"})), done);
        let failed = Outcome::Failed { reason: "insufficient_funds".into() };
        assert_eq!(
            settled(200, json!({"success": false, "errorReason": "insufficient_funds", "transaction": ""})),
            failed
        );
        assert_eq!(settled(400, json!({"success": false, "errorReason": "insufficient_funds"})), failed);
        for (status, body) in [
            (200, json!({"success": false, "errorReason": "settlement_pending", "transaction": "0xabc"})),
            (200, json!({"success": false, "errorReason": "insufficient_funds", "transaction": "0xabc"})),
            (500, json!({"success": false, "errorReason": "unexpected_error"})),
            (400, json!({"success": false, "errorReason": "unexpected_settle_error"})),
            (502, json!({"success": true, "transaction": "0xabc"})),
            (429, json!({"success": false, "errorReason": "too_many_requests"})),
            (200, json!({"ok": true})),
            (0, Value::Null),
        ] {
            assert_eq!(settled(status, body.clone()), Outcome::Unknown, "{status} {body}");
        }
        let verified = outcome(Verb::Verify, 200, br#"{"isValid":true,"payer":"0x1"}"#);
        assert_eq!(verified, Outcome::Done { transaction: String::new(), channel: None });
        let refused = outcome(Verb::Verify, 200, br#"{"isValid":false,"invalidReason":"permit2_allowance_required"}"#);
        assert_eq!(refused, Outcome::Failed { reason: "permit2_allowance_required".into() });
        assert_eq!(outcome(Verb::Settle, 200, b"<html>"), Outcome::Unknown);
    }
}
