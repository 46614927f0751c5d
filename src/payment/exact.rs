//! `exact`: a fixed amount, by the token's own signed transfer (EIP-3009) or by Permit2. It is settled before the work.
//! <https://github.com/x402-foundation/x402/blob/main/specs/schemes/exact/scheme_exact_evm.md>
use super::{
    Offered, Payment, Proof, Signed, address,
    asset::Network,
    evm::{self, Address, Word, bytes, hex, number, typed},
    malformed, member,
    permit2::{self, Witness},
    text, whole,
};
use crate::{
    fault::Fault,
    json::{self, json},
};
use serde_json::Value;

/// The contract that moves exact amounts by Permit2.
pub const SPENDER: &str = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001";

const TRANSFER: &str = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,\
                        bytes32 nonce)";

/// A payment of ours, to be signed: its digest, and the payment once the signature is known.
#[must_use]
pub fn ours(
    network: &'static Network,
    from: Address,
    to: Address,
    units: u64,
    nonce: Word,
    before: u64,
) -> Option<Ours> {
    let token = network.tokens.first()?;
    let members = [from.word(), to.word(), number(units.into()), number(0), number(before.into()), nonce];
    let domain = evm::domain(token.name, Some(token.version), network.chain_id, token.address);
    let authorization = json!({
        "from": from, "to": to, "value": units.to_string(), "validAfter": "0", "validBefore": before.to_string(), "nonce": hex(&nonce),
    });
    let requirements = json!({
        "scheme": "exact", "network": network.id, "amount": units.to_string(), "asset": token.address, "payTo": to,
        "maxTimeoutSeconds": REFUND_S, "extra": {"name": token.name, "version": token.version},
    });
    let payment = Payment {
        network: network.id.to_owned(),
        asset: token.address,
        payer: from,
        units,
        nonce: format!("{}:{}", token.address, hex(&nonce)),
        valid_before: before,
        version: 2,
        requirements: json::written(&requirements),
        ..Payment::default()
    };
    Some(Ours { digest: evm::digest(domain, typed(TRANSFER, &members)), authorization, requirements, payment })
}

/// How long a payment of ours can be settled.
pub const REFUND_S: u64 = 3_600;

/// See [`ours`].
#[derive(Clone, Debug)]
pub struct Ours {
    pub digest: Word,
    authorization: Value,
    requirements: Value,
    payment: Payment,
}

impl Ours {
    /// The payment, signed: `r`, `s` and `v`.
    #[must_use]
    pub fn signed(self, signature: &[u8]) -> Payment {
        let inner = json!({"signature": hex(signature), "authorization": self.authorization});
        let payload = json!({"x402Version": 2, "accepted": self.requirements, "payload": inner});
        Payment { payload: json::written(&payload), ..self.payment }
    }
}

/// Reads what is signed.
pub(super) fn read(payload: &Value, offered: &Offered<'_>) -> Result<Signed, Fault> {
    if !offered.token.signs || payload.get("permit2Authorization").is_some() {
        let kind = "Witness(address to,uint256 validAfter)";
        return permit2::read(payload, offered, Witness { kind, members: Vec::new(), spender: SPENDER });
    }
    let told = member(payload, "authorization")?;
    let (payer, to) = (address(told, "from")?, address(told, "to")?);
    let (units, after, before) = (whole(told, "value")?, whole(told, "validAfter")?, whole(told, "validBefore")?);
    let nonce: Word = bytes(text(told, "nonce")?).ok_or_else(|| malformed("has a `nonce` that is not 32 bytes"))?;
    offered.pays(to, units)?;
    offered.in_time(after, before)?;
    let members = [payer.word(), to.word(), number(units.into()), number(after.into()), number(before.into()), nonce];
    let token = offered.token;
    let domain = evm::domain(token.name, Some(token.version), offered.network.chain_id, token.address);
    Ok(Signed {
        payer,
        proofs: vec![Proof::of(evm::digest(domain, typed(TRANSFER, &members)), text(payload, "signature")?, payer)?],
        units,
        nonce: format!("{}:{}", token.address, hex(&nonce)),
        valid_before: before,
    })
}
