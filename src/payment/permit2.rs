//! Transfers through Permit2: a token that knows no signatures is moved by a contract that does, once it was allowed to.
//! <https://docs.uniswap.org/contracts/permit2/reference/signature-transfer>
use super::{
    Offered, Proof, Signed, address,
    evm::{self, Address, Word, decimal, hex, number, typed},
    malformed, member, text, unpaid, whole,
};
use crate::fault::Fault;
use serde_json::Value;

/// The contract, at the same address everywhere.
const PERMIT2: Address =
    Address([0, 0, 0, 0, 0, 0x22, 0xd4, 0x73, 0x03, 0x0f, 0x11, 0x6d, 0xde, 0xe9, 0xf6, 0xb4, 0x3a, 0xc7, 0x8b, 0xa3]);

const TRANSFER: &str = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness \
                        witness)TokenPermissions(address token,uint256 amount)";

/// What is witnessed beside the transfer: its type, and the members between the receiver and the time.
pub struct Witness {
    pub kind: &'static str,
    pub members: Vec<Word>,
    pub spender: &'static str,
}

/// Reads a transfer of `signature` and `permit2Authorization`.
pub fn read(payload: &Value, offered: &Offered<'_>, witness: Witness) -> Result<Signed, Fault> {
    let permit = member(payload, "permit2Authorization")?;
    let (permitted, told) = (member(permit, "permitted")?, member(permit, "witness")?);
    let (payer, to) = (address(permit, "from")?, address(told, "to")?);
    let (units, deadline, valid_after) =
        (whole(permitted, "amount")?, whole(permit, "deadline")?, whole(told, "validAfter")?);
    let nonce = decimal(text(permit, "nonce")?).ok_or_else(|| malformed("has a `nonce` that is no number"))?;
    if address(permitted, "token")? != offered.token.address {
        return Err(unpaid("The payment is in another token."));
    }
    let spender = address(permit, "spender")?;
    if Address::parse(witness.spender) != Some(spender) {
        return Err(unpaid("The payment is for another contract to spend."));
    }
    offered.pays(to, units)?;
    offered.in_time(valid_after, deadline)?;
    let mut members = vec![to.word()];
    members.extend(witness.members);
    members.push(number(valid_after.into()));
    let token = offered.token.address;
    let permissions = typed("TokenPermissions(address token,uint256 amount)", &[token.word(), number(units.into())]);
    let message = typed(
        &format!("{TRANSFER}{}", witness.kind),
        &[permissions, spender.word(), nonce, number(deadline.into()), typed(witness.kind, &members)],
    );
    let domain = evm::domain("Permit2", None, offered.network.chain_id, PERMIT2);
    Ok(Signed {
        payer,
        proofs: vec![Proof::of(evm::digest(domain, message), text(payload, "signature")?, payer)?],
        units,
        nonce: format!("permit2:{}", hex(&nonce)),
        valid_before: deadline,
    })
}
