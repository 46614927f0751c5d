//! `batch-settlement`: a payment channel. The payer deposits once and signs a voucher for each call, for all that was and may be
//! charged; vouchers are checked here, without a chain, and claimed together much later.
//! <https://github.com/x402-foundation/x402/blob/main/specs/schemes/batch-settlement/scheme_batch_settlement_evm.md>
use super::{
    Offered, Proof, Signed, address,
    evm::{self, Address, Word, bytes, decimal, hex, keccak, number, typed},
    malformed, member, text, unpaid, whole,
};
use crate::{
    fault::Fault,
    json::{self, json},
};
use serde::Serialize;
use serde_json::Value;

/// The contract that keeps channels, and the one that collects deposits by EIP-3009; at the same addresses everywhere.
const CONTRACT: &str = "0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003";
const COLLECTOR: &str = "0x4020806089470a89826cB9fB1f4059150b550004";
/// How long a payer waits who leaves without us: a day, within which we claim several times.
pub const WITHDRAW_DELAY_S: u64 = 86_400;
/// A first deposit is for so many calls, if the payer's client thinks so too.
pub const DEPOSIT_CALLS: u64 = 10;

const CHANNEL: &str = "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,\
                       uint40 withdrawDelay,bytes32 salt)";
const RECEIVE: &str = "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,\
                       bytes32 nonce)";

/// What a call shows of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Voucher {
    /// The channel's id.
    pub channel: String,
    /// Its configuration, as JSON.
    pub config: String,
    /// All that may be claimed by it, in atomic units.
    pub most: u64,
    pub signature: String,
    /// What is deposited with it; 0 for nothing.
    pub deposit: u64,
}

json::members!(default Voucher { channel, config, most, signature, deposit });

/// What is known of a channel on chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OnChain {
    pub balance: u64,
    pub claimed: u64,
    pub refunds: u64,
    /// When its payer began to leave, in seconds since 1970; 0 where it has not.
    pub leaving: u64,
}

json::members!(default OnChain { balance, claimed, refunds, leaving });

impl OnChain {
    /// What a facilitator tells of a channel.
    #[must_use]
    pub fn told(answer: &Value) -> Option<Self> {
        let extra = answer.get("extra")?;
        let state = extra.get("channelState").unwrap_or(extra);
        let number = |name: &str| state.get(name)?.as_str()?.parse().ok();
        Some(Self {
            balance: number("balance")?,
            claimed: number("totalClaimed")?,
            refunds: number("refundNonce")?,
            leaving: state.get("withdrawRequestedAt").and_then(Value::as_u64).unwrap_or_default(),
        })
    }
}

/// Reads a voucher, with a deposit or without.
pub(super) fn read(payload: &Value, offered: &Offered<'_>) -> Result<(Signed, Voucher), Fault> {
    let (config, voucher) = (member(payload, "channelConfig")?, member(payload, "voucher")?);
    let party = |name: &str| address(config, name);
    let (payer, authorizer) = (party("payer")?, party("payerAuthorizer")?);
    let delay = member(config, "withdrawDelay")?.as_u64();
    let salt: Word = bytes(text(config, "salt")?).ok_or_else(|| malformed("has a `salt` that is not 32 bytes"))?;
    let asked = |name: &str| offered.requirements.get("extra").and_then(|extra| extra.get(name));
    let receiver_authorizer = party("receiverAuthorizer")?;
    let ours = party("receiver")? == offered.terms.pay_to
        && asked("receiverAuthorizer").and_then(Value::as_str).and_then(Address::parse) == Some(receiver_authorizer)
        && party("token")? == offered.token.address
        && delay == asked("withdrawDelay").and_then(Value::as_u64);
    if !ours {
        return Err(unpaid("The channel is not one to us, as it was offered."));
    }
    let contract = Address::parse(CONTRACT).unwrap_or_default();
    let domain = evm::domain("x402 Batch Settlement", Some("1"), offered.network.chain_id, contract);
    let parties = [payer, authorizer, offered.terms.pay_to, receiver_authorizer, offered.token.address];
    let mut members: Vec<Word> = parties.into_iter().map(Address::word).collect();
    members.extend([number(delay.unwrap_or_default().into()), salt]);
    let id = evm::digest(domain, typed(CHANNEL, &members));
    if !text(voucher, "channelId")?.eq_ignore_ascii_case(&hex(&id)) {
        return Err(unpaid("The channel's id is not that of its configuration."));
    }
    let most = whole(voucher, "maxClaimableAmount")?;
    let message = typed("Voucher(bytes32 channelId,uint128 maxClaimableAmount)", &[id, number(most.into())]);
    // The account is the payer's: nobody else shall act in it.
    if authorizer != Address::default() && authorizer != payer {
        return Err(unpaid("Here the payer signs its vouchers itself."));
    }
    let signature = text(voucher, "signature")?.to_owned();
    let mut proofs = vec![Proof::of(evm::digest(domain, message), &signature, payer)?];
    let (mut deposit, mut valid_before) = (0, u64::MAX);
    let kind = text(payload, "type")?;
    if !["deposit", "voucher"].contains(&kind) {
        return Err(malformed("has a `type` that is neither deposit nor voucher"));
    }
    if kind == "deposit" {
        let told = member(payload, "deposit")?;
        deposit = whole(told, "amount")?;
        let permit = member(member(told, "authorization")?, "erc3009Authorization")?;
        valid_before = whole(permit, "validBefore")?;
        proofs.push(deposited(permit, offered, (payer, deposit), &id)?);
    }
    let units = whole(offered.requirements, "amount")?;
    if most < units {
        return Err(unpaid("The voucher does not cover the call."));
    }
    let channel = hex(&id);
    let nonce = format!("channel:{channel}");
    let voucher = Voucher { channel, config: json::written(config), most, signature, deposit };
    Ok((Signed { payer, proofs, units, nonce, valid_before }, voucher))
}

/// What the payer must have signed for a deposit.
fn deposited(permit: &Value, offered: &Offered<'_>, from: (Address, u64), channel: &Word) -> Result<Proof, Fault> {
    let (payer, amount) = from;
    let (after, before) = (whole(permit, "validAfter")?, whole(permit, "validBefore")?);
    offered.in_time(after, before)?;
    let salt = text(permit, "salt")?;
    let salt = bytes(salt).or_else(|| decimal(salt)).ok_or_else(|| malformed("has a `salt` that is no number"))?;
    let nonce = keccak(&[&channel[..], &salt].concat());
    let to = Address::parse(COLLECTOR).unwrap_or_default();
    let members = [payer.word(), to.word(), number(amount.into()), number(after.into()), number(before.into()), nonce];
    let token = offered.token;
    let domain = evm::domain(token.name, Some(token.version), offered.network.chain_id, token.address);
    Proof::of(evm::digest(domain, typed(RECEIVE, &members)), text(permit, "signature")?, payer)
}

/// What a facilitator is asked to do with channels of ours, beside what payers sign.
#[must_use]
pub fn errand(network: &str, asset: Address, pay_to: Address, payload: Value) -> Value {
    let accepted = json!({
        "scheme": "batch-settlement", "network": network, "asset": asset, "amount": "0", "payTo": pay_to,
        "maxTimeoutSeconds": 0, "extra": {},
    });
    let payment = json!({"x402Version": 2, "accepted": accepted, "payload": payload});
    json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": accepted})
}

/// What is left of a channel goes back to its payer, once what was charged is claimed.
#[must_use]
pub fn leave(voucher: &Voucher, charged: u64, on_chain: OnChain) -> Value {
    let config: Value = json::read(&voucher.config).unwrap_or_default();
    let owes = charged > on_chain.claimed;
    let claims: Vec<Value> = owes.then(|| claim(voucher, charged)).into_iter().collect();
    json!({
        "type": "refund",
        "channelConfig": config,
        "voucher": {
            "channelId": voucher.channel, "maxClaimableAmount": voucher.most.to_string(), "signature": voucher.signature,
        },
        "amount": on_chain.balance.saturating_sub(charged).to_string(),
        "refundNonce": on_chain.refunds.to_string(),
        "claims": claims,
    })
}

/// A claim of a voucher, for what was charged.
#[must_use]
pub fn claim(voucher: &Voucher, charged: u64) -> Value {
    let config: Value = json::read(&voucher.config).unwrap_or_default();
    json!({
        "voucher": {"channel": config, "maxClaimableAmount": voucher.most.to_string()},
        "signature": voucher.signature,
        "totalClaimed": charged.to_string(),
    })
}
