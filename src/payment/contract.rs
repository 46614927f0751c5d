//! Wallets that are contracts: whether a signature is theirs, only the chain can tell. A payment's is looked at by a facilitator
//! (EIP-1271, and ERC-6492 for one that is not deployed yet), a sign-in's by the contract itself, which is asked through a node.
//! A payment that comes again cannot be looked at any more, because its nonce is used: the account knows it by its signature.
//! <https://eips.ethereum.org/EIPS/eip-1271>
use super::{
    Payment, Scheme, Terms, Word,
    evm::{hex, number},
    facilitator::Call,
    node_of, unpaid,
};
use crate::{
    fault::Fault,
    json::{self, json},
    time::Millis,
};
use serde_json::Value;

/// `isValidSignature(bytes32,bytes)`, and what it answers where the signature is good: the same, as a word.
const MAGIC: &str = "0x1626ba7e";
const GOOD: &str = "0x1626ba7e00000000000000000000000000000000000000000000000000000000";
/// The longest signature that is looked at: a wallet of several owners has some hundred bytes, one to be deployed some thousand.
const BYTES_MAX: usize = 8_192;

/// What a contract is said to have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub digest: Word,
    pub signature: Vec<u8>,
}

/// So many signatures are looked at in a second: for each somebody else is asked, and anybody can make one up.
const LOOKS_PER_S: u32 = 20;

/// How many were looked at in which second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    second: u64,
    count: u32,
}

impl Looks {
    /// With one more.
    ///
    /// # Errors
    /// 503 where that would be one too many.
    pub fn one_more(self, now: Millis) -> Result<Self, Fault> {
        let second = now.seconds();
        let count = if second == self.second { self.count } else { 0 };
        if count >= LOOKS_PER_S {
            let text = "Too many signatures of contracts are being looked at. Send the same again in a moment.";
            return Err(Fault::unavailable("unavailable", text).retry_after(1));
        }
        Ok(Self { second, count: count + 1 })
    }
}

impl Sealed {
    /// Whether a payment may rest on it.
    ///
    /// # Errors
    /// 402: only what is settled before the work may, and it has a length.
    pub(super) fn admits(&self, payment: &Payment) -> Result<(), Fault> {
        if self.signature.len() > BYTES_MAX {
            return Err(unpaid("The signature is too long."));
        }
        match payment.scheme {
            Scheme::Exact | Scheme::Balance => Ok(()),
            Scheme::Upto | Scheme::Batch => {
                Err(unpaid("A wallet that is a contract pays by the scheme exact; others want the signature of a key."))
            }
        }
    }

    /// The call that asks the contract itself.
    ///
    /// # Errors
    /// 401 where its network has no node to be asked.
    pub fn call(&self, payment: &Payment, terms: &Terms) -> Result<Call, Fault> {
        let url = node_of(&terms.rpc_urls, &payment.network);
        if url.is_empty() {
            let text =
                "Wallets that are contracts cannot sign in here: this installation has no node of their network.";
            return Err(Fault::credential("sign_in_invalid", text));
        }
        let mut data = [&self.digest[..], &number(64), &number(self.signature.len() as u128), &self.signature].concat();
        data.resize(data.len().next_multiple_of(32), 0);
        let data = format!("{MAGIC}{}", hex(&data).trim_start_matches("0x"));
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{"to": payment.payer, "data": data}, "latest"],
        });
        Ok(Call { url: url.to_owned(), body: json::written(&body) })
    }
}

/// What a node answered: whether the signature is the contract's.
///
/// # Errors
/// 401 for one that is not, and where no contract is; 503 where nobody told.
pub fn signed_in(status: u16, body: &[u8]) -> Result<(), Fault> {
    let told: Value = json::read_bytes(body).unwrap_or_default();
    match told.get("result").and_then(Value::as_str) {
        Some(GOOD) if status < 300 => Ok(()),
        Some(_) if status < 300 => Err(not_its()),
        // A contract may refuse by a revert: code 3 of <https://github.com/ethereum/execution-apis>, which some nodes say in words alone.
        None if reverted(&told) => Err(not_its()),
        _ => Err(Fault::unavailable("unavailable", "The wallet's contract could not be asked. Try again in a moment.")
            .retry_after(2)),
    }
}

fn reverted(told: &Value) -> bool {
    let Some(error) = told.get("error") else { return false };
    let text = error.get("message").and_then(Value::as_str).unwrap_or_default();
    error.get("code").and_then(Value::as_i64) == Some(3) || text.contains("revert")
}

fn not_its() -> Fault {
    let text = "The sign-in is not signed by its wallet, or no contract stands at its address yet.";
    Fault::credential("sign_in_invalid", text)
}
