//! Transfers through Permit2: a token that knows no signatures is moved by a contract that does, once it was allowed to.
//! <https://docs.uniswap.org/contracts/permit2/reference/signature-transfer>
use super::{
    Offered, Proof, Signed, address,
    evm::{self, Address, Word, bytes, decimal, hex, number, typed},
    malformed, member, text, unpaid, whole,
};
use crate::fault::Fault;
use serde_json::Value;

/// The contract, at the same address everywhere.
const PERMIT2: Address =
    Address([0, 0, 0, 0, 0, 0x22, 0xd4, 0x73, 0x03, 0x0f, 0x11, 0x6d, 0xde, 0xe9, 0xf6, 0xb4, 0x3a, 0xc7, 0x8b, 0xa3]);

/// The contract that collects deposits by Permit2; at the same address everywhere.
const COLLECTOR: &str = "0x4020425FAf3B746C082C2f942b4E5159887B0005";

const TRANSFER: &str =
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";
const DEPOSIT: &str = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,\
                       DepositWitness witness)DepositWitness(bytes32 channelId)TokenPermissions(address token,uint256 amount)";
const PERMISSIONS: &str = "TokenPermissions(address token,uint256 amount)";

/// What is witnessed beside the transfer: its type, and the members between the receiver and the time.
pub struct Witness {
    pub kind: &'static str,
    pub members: Vec<Word>,
    pub spender: &'static str,
}

/// Reads a transfer of `signature` and `permit2Authorization`.
pub fn read(payload: &Value, offered: &Offered<'_>, witness: Witness) -> Result<Signed, Fault> {
    let permit = member(payload, "permit2Authorization")?;
    let told = member(permit, "witness")?;
    let (to, valid_after) = (address(told, "to")?, whole(told, "validAfter")?);
    let Witness { kind, members, spender } = witness;
    let members = [vec![to.word()], members, vec![number(valid_after.into())]].concat();
    let types = format!("{TRANSFER}Witness witness){PERMISSIONS}{kind}");
    let signed = permitted(permit, offered, spender, (&types, typed(kind, &members)), text(payload, "signature")?)?;
    offered.pays(to, signed.units)?;
    offered.in_time(valid_after, signed.valid_before)?;
    Ok(signed)
}

/// What the payer must have signed for a deposit into a channel, and until when it is good.
pub fn deposit(
    permit: &Value,
    offered: &Offered<'_>,
    from: (Address, u64),
    channel: &Word,
) -> Result<(Proof, u64), Fault> {
    let kind = "DepositWitness(bytes32 channelId)";
    let witness = typed(kind, &[*channel]);
    let mut signed = permitted(permit, offered, COLLECTOR, (DEPOSIT, witness), text(permit, "signature")?)?;
    let told: Option<Word> = bytes(text(member(permit, "witness")?, "channelId")?);
    if (signed.payer, signed.units) != from || told != Some(*channel) {
        return Err(unpaid("The deposit is another's, of another amount, or for another channel."));
    }
    offered.in_time(0, signed.valid_before)?;
    let proof = signed.proofs.pop().ok_or_else(|| unpaid("The deposit is not signed."))?;
    Ok((proof, signed.valid_before))
}

/// What is permitted to be moved: `witness` are the types of the message, and the hash of what is witnessed.
fn permitted(
    permit: &Value,
    offered: &Offered<'_>,
    contract: &str,
    witness: (&str, Word),
    signature: &str,
) -> Result<Signed, Fault> {
    let permitted = member(permit, "permitted")?;
    let (payer, spender) = (address(permit, "from")?, address(permit, "spender")?);
    let (units, deadline) = (whole(permitted, "amount")?, whole(permit, "deadline")?);
    let nonce = decimal(text(permit, "nonce")?).ok_or_else(|| malformed("has a `nonce` that is no number"))?;
    let token = offered.token.address;
    if address(permitted, "token")? != token {
        return Err(unpaid("The payment is in another token."));
    }
    if Address::parse(contract) != Some(spender) {
        return Err(unpaid("The payment is for another contract to spend."));
    }
    let (types, witness) = witness;
    let permissions = typed(PERMISSIONS, &[token.word(), number(units.into())]);
    let message = typed(types, &[permissions, spender.word(), nonce, number(deadline.into()), witness]);
    let domain = evm::domain("Permit2", None, offered.network.chain_id, PERMIT2);
    Ok(Signed {
        payer,
        proofs: vec![Proof::of(evm::digest(domain, message), signature, payer)?],
        units,
        nonce: format!("permit2:{}", hex(&nonce)),
        valid_before: deadline,
    })
}
