//! `upto`: at most an amount, by Permit2; what was used is settled after the work, by the facilitator the payer has signed for.
//! <https://github.com/x402-foundation/x402/blob/main/specs/schemes/upto/scheme_upto_evm.md>
use super::{
    Offered, Signed, address,
    evm::Address,
    member,
    permit2::{self, Witness},
    unpaid,
};
use crate::fault::Fault;
use serde_json::Value;

/// The contract that moves up to an amount by Permit2.
pub const SPENDER: &str = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002";

/// Reads what is signed.
pub fn read(payload: &Value, offered: &Offered<'_>) -> Result<Signed, Fault> {
    let witness = member(member(payload, "permit2Authorization")?, "witness")?;
    let facilitator = address(witness, "facilitator")?;
    let asked = offered.requirements.get("extra").and_then(|extra| extra.get("facilitatorAddress")?.as_str());
    if asked.and_then(Address::parse) != Some(facilitator) {
        return Err(unpaid("The payment is for another facilitator to settle."));
    }
    let kind = "Witness(address to,address facilitator,uint256 validAfter)";
    permit2::read(payload, offered, Witness { kind, members: vec![facilitator.word()], spender: SPENDER })
}
