//! `batch-settlement`: a payment channel. The payer deposits once and signs a voucher for each call, for all that was and may be
//! charged; vouchers are checked here, without a chain, and claimed together much later.
//! <https://github.com/x402-foundation/x402/blob/main/specs/schemes/batch-settlement/scheme_batch_settlement_evm.md>
use super::{
    Offered, Proof, Signed, address,
    asset::{Network, network_of},
    evm::{self, Address, Word, bytes, decimal, hex, keccak, number, typed},
    malformed, member, permit2, text, unpaid, whole,
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
    /// The channel is claimed and given back in our name: no facilitator does so by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}

json::members!(default Voucher { channel, config, most, signature, deposit, own });

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

/// Reads a voucher, with a deposit or without, or that its channel is to be given back.
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
    let domain = domain(offered.network);
    let (to, token) = (offered.terms.pay_to.word(), offered.token.address.word());
    let delay = number(delay.unwrap_or_default().into());
    let members = [payer.word(), authorizer.word(), to, receiver_authorizer.word(), token, delay, salt];
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
    if offered.leaves != (kind == "refund") || !["deposit", "voucher", "refund"].contains(&kind) {
        return Err(malformed("has another `type` than this request takes"));
    }
    if kind == "deposit" {
        let told = member(payload, "deposit")?;
        deposit = whole(told, "amount")?;
        let told = member(told, "authorization")?;
        let (proof, before) = if offered.token.signs {
            deposited(member(told, "erc3009Authorization")?, offered, (payer, deposit), &id)?
        } else {
            permit2::deposit(member(told, "permit2Authorization")?, offered, (payer, deposit), &id)?
        };
        valid_before = before;
        proofs.push(proof);
    }
    let asked = if offered.leaves { payload } else { offered.requirements };
    let units = if offered.leaves && payload.get("amount").is_none() { u64::MAX } else { whole(asked, "amount")? };
    if most < units && !offered.leaves {
        return Err(unpaid("The voucher does not cover the call."));
    }
    let channel = hex(&id);
    let nonce = format!("channel:{channel}");
    let own = offered.terms.authorizers.contains(&receiver_authorizer);
    let voucher = Voucher { channel, config: json::written(config), most, signature, deposit, own };
    Ok((Signed { payer, proofs, units, nonce, valid_before }, voucher))
}

fn domain(network: &Network) -> Word {
    let contract = Address::parse(CONTRACT).unwrap_or_default();
    evm::domain("x402 Batch Settlement", Some("1"), network.chain_id, contract)
}

/// What the payer must have signed for a deposit by the token itself.
fn deposited(
    permit: &Value,
    offered: &Offered<'_>,
    from: (Address, u64),
    channel: &Word,
) -> Result<(Proof, u64), Fault> {
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
    let proof = Proof::of(evm::digest(domain, typed(RECEIVE, &members)), text(permit, "signature")?, payer)?;
    Ok((proof, before))
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

/// Where signatures of ours stand in an errand. Until they are made (`edge/authorize.js`), the digests stand there that are to be signed.
const CLAIM_SIGNATURE: &str = "claimAuthorizerSignature";
const REFUND_SIGNATURE: &str = "refundAuthorizerSignature";
const CLAIM: &str = "ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)";
const CLAIMS: &str =
    "ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)";

impl Voucher {
    /// What is claimed by it, for what was charged.
    #[must_use]
    pub fn claim(&self, network: &str, charged: u64) -> Value {
        json!({"type": "claim", "claims": [self.claimed(charged)], CLAIM_SIGNATURE: self.claim_digest(network, charged)})
    }

    /// What is left of its channel goes back to the payer, at most so much of it unless that is 0, once what was charged is claimed.
    #[must_use]
    pub fn leave(&self, network: &str, charged: u64, on_chain: OnChain, most: u64) -> Value {
        let config: Value = json::read(&self.config).unwrap_or_default();
        let rest = on_chain.balance.saturating_sub(charged);
        let (amount, owes) = (if most > 0 { rest.min(most) } else { rest }, charged > on_chain.claimed);
        let members = [self.id(), number(on_chain.refunds.into()), number(amount.into())];
        let kind = "Refund(bytes32 channelId,uint256 nonce,uint128 amount)";
        json!({
            "type": "refund",
            "channelConfig": config,
            "voucher": {
                "channelId": self.channel, "maxClaimableAmount": self.most.to_string(), "signature": self.signature,
            },
            "amount": amount.to_string(),
            "refundNonce": on_chain.refunds.to_string(),
            "claims": owes.then(|| self.claimed(charged)).into_iter().collect::<Vec<_>>(),
            CLAIM_SIGNATURE: self.claim_digest(network, charged),
            REFUND_SIGNATURE: self.digest(network, typed(kind, &members)),
        })
    }

    fn claimed(&self, charged: u64) -> Value {
        let config: Value = json::read(&self.config).unwrap_or_default();
        json!({
            "voucher": {"channel": config, "maxClaimableAmount": self.most.to_string()},
            "signature": self.signature,
            "totalClaimed": charged.to_string(),
        })
    }

    /// In whose name its channel is claimed and given back.
    #[must_use]
    pub fn authorizer(&self) -> Option<Address> {
        self.party("receiverAuthorizer")
    }

    fn party(&self, name: &str) -> Option<Address> {
        let config: Value = json::read(&self.config).unwrap_or_default();
        config.get(name)?.as_str().and_then(Address::parse)
    }

    fn id(&self) -> Word {
        bytes(&self.channel).unwrap_or_default()
    }

    /// A batch of one claim.
    fn claim_digest(&self, network: &str, charged: u64) -> String {
        let entry = typed(CLAIM, &[self.id(), number(self.most.into()), number(charged.into())]);
        self.digest(network, typed(CLAIMS, &[keccak(&entry)]))
    }

    fn digest(&self, network: &str, message: Word) -> String {
        network_of(network).map_or_default(|network| hex(&evm::digest(domain(network), message)))
    }
}
