//! HTTP 402: what an agent without an account is asked to pay, in the words of x402.
//!
//! One answer serves both generations: version 2 reads the `PAYMENT-REQUIRED` header, version 1 the body.
//! <https://github.com/x402-foundation/x402/blob/main/specs/x402-specification-v2.md>
pub mod stripe;

use crate::base64;
use crate::json::{json, written};
use crate::money::Nanos;
use serde_json::{Map, Value};

/// A stablecoin on a network, with the EIP-712 domain its transfers are signed under.
struct Asset {
    /// CAIP-2, and the name version 1 has for it.
    network: &'static str,
    network_v1: &'static str,
    address: &'static str,
    name: &'static str,
    version: &'static str,
}

/// USDC where stock clients know it: <https://developers.circle.com/stablecoins/usdc-contract-addresses>.
const ASSETS: [Asset; 2] = [
    Asset {
        network: "eip155:8453",
        network_v1: "base",
        address: "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        name: "USD Coin",
        version: "2",
    },
    Asset {
        network: "eip155:84532",
        network_v1: "base-sepolia",
        address: "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        name: "USDC",
        version: "2",
    },
];

/// How long a signed payment stays good: longer than any settlement takes.
const TIMEOUT_S: u32 = 120;
/// A token of six decimals: one atomic unit is 1,000 nano-dollars.
const NANOS_PER_UNIT: i64 = 1_000;

/// What a 402 says beside the error.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenge {
    /// The `PAYMENT-REQUIRED` header.
    pub header: String,
    /// `x402Version` and `accepts` for the body.
    pub members: Map<String, Value>,
}

/// Asks for `amount`, rounded up to the token's unit. `None` on a network whose assets we do not know.
#[must_use]
pub fn challenge(network: &str, pay_to: &str, resource: &str, amount: Nanos) -> Option<Challenge> {
    let asset = ASSETS.iter().find(|asset| asset.network == network)?;
    let units = (amount.0.max(1).checked_add(NANOS_PER_UNIT - 1)? / NANOS_PER_UNIT).to_string();
    let extra = json!({"name": asset.name, "version": asset.version});
    let description = "One call to a model. The amount is the most it can cost.";
    let required = json!({
        "x402Version": 2,
        "error": "PAYMENT-SIGNATURE header is required",
        "resource": {"url": resource, "description": description, "mimeType": "application/json"},
        "accepts": [{
            "scheme": "exact",
            "network": asset.network,
            "amount": units,
            "asset": asset.address,
            "payTo": pay_to,
            "maxTimeoutSeconds": TIMEOUT_S,
            "extra": extra,
        }],
    });
    let accepts_v1 = json!([{
        "scheme": "exact",
        "network": asset.network_v1,
        "maxAmountRequired": units,
        "asset": asset.address,
        "payTo": pay_to,
        "resource": resource,
        "description": description,
        "mimeType": "application/json",
        "maxTimeoutSeconds": TIMEOUT_S,
        "extra": extra,
    }]);
    let members = [("x402Version".to_owned(), json!(1)), ("accepts".to_owned(), accepts_v1)].into_iter().collect();
    Some(Challenge { header: base64::padded(written(&required).as_bytes()), members })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_read_the_same_offer() {
        let challenge =
            challenge("eip155:84532", "0xabc", "https://edge.test/v1/chat/completions", Nanos(1_500)).expect("known");
        let header = base64::of_padded(&challenge.header).expect("base64");
        let required: Value = serde_json::from_slice(&header).expect("json");
        assert_eq!(required["accepts"][0]["amount"], "2", "rounded up to the token's unit");
        assert_eq!(challenge.members["accepts"][0]["maxAmountRequired"], "2");
        assert_eq!((&required["x402Version"], &challenge.members["x402Version"]), (&json!(2), &json!(1)));
        assert!(challenge.header.len() < 2_048, "some intermediaries refuse longer headers");
        assert!(super::challenge("eip155:1", "0xabc", "https://x", Nanos(1)).is_none());
    }
}
