//! A chain of its own: two balances, nonces that are used once, channels; and a node that can be asked about it.
use crate::chance::Chance;
use megarouter::{
    payment::evm::{self, Address},
    time::Millis,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::LazyLock};

pub const PAYER: Address = Address([1; 20]);
pub const OPERATOR: Address = Address([9; 20]);
pub const NETWORK: &str = "eip155:84532";
const BLOCK_MS: u64 = 2_000;
/// How long a payer waits who leaves a channel without us.
pub const EXIT_MS: u64 = 86_400_000;

/// What the log of a transfer begins with.
static USED: LazyLock<String> = LazyLock::new(|| evm::hex(&evm::keccak(b"AuthorizationUsed(address,bytes32)")));
static TRANSFER: LazyLock<String> = LazyLock::new(|| evm::hex(&evm::keccak(b"Transfer(address,address,uint256)")));

/// The token that everything is paid in.
pub fn token() -> Address {
    Address::parse("0x036CbD53842c5426634e7929541eC2318f3dCF7e").expect("an address")
}

/// The nonce that the chain knows of a payment's.
pub fn bare(nonce: &str) -> &str {
    nonce.rsplit(':').next().unwrap_or_default()
}

/// What a signature lets somebody do.
#[derive(Clone, Debug)]
pub struct Order {
    pub by_payer: bool,
    pub nonce: String,
    pub units: u64,
    pub most: u64,
    pub valid_before: u64,
    /// It goes into this channel.
    pub channel: Option<String>,
    /// By the token's own authorization, which it tells of; through Permit2 otherwise.
    pub authorized: bool,
}

#[derive(Clone, Debug)]
pub struct Transfer {
    pub hash: String,
    pub by_payer: bool,
    pub units: u64,
    pub block: u64,
    pub nonce: String,
    pub in_channel: bool,
    pub authorized: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Channel {
    pub balance: u64,
    pub claimed: u64,
    pub refunds: u64,
    /// Its payer wants to leave, since then.
    pub leaves: Option<Millis>,
}

#[derive(Default)]
pub struct Chain {
    pub payer: u64,
    pub operator: u64,
    pub used: BTreeMap<String, String>,
    pub transfers: BTreeMap<String, Transfer>,
    pub reverted: BTreeMap<String, u64>,
    pub channels: BTreeMap<String, Channel>,
    unswept: u64,
    hashes: u64,
    /// What it was asked to do that nobody has signed.
    pub outrage: Option<String>,
}

pub fn block_of(now: Millis) -> u64 {
    now.0 / BLOCK_MS
}

/// What a voucher is signed by.
pub fn signature(channel: &str, most: u64) -> String {
    format!("signed {channel} {most}")
}

impl Chain {
    pub fn new(payer: u64, operator: u64) -> Self {
        Self { payer, operator, ..Self::default() }
    }

    pub fn hash(&mut self) -> String {
        self.hashes += 1;
        format!("0x{:064x}", self.hashes)
    }

    /// Why an order could not be carried out now.
    pub fn refuses(&self, order: &Order, now: Millis) -> Option<&'static str> {
        let funds = if order.by_payer { self.payer } else { self.operator };
        if order.units > order.most {
            return Some("invalid_amount");
        }
        if self.used.contains_key(&order.nonce) {
            return Some("nonce_already_used");
        }
        if order.valid_before <= now.seconds() {
            return Some("invalid_valid_before");
        }
        (order.units > funds).then_some("insufficient_funds")
    }

    /// Carries an order out, as that transaction.
    pub fn mine(&mut self, order: &Order, hash: &str, now: Millis) -> Result<(), &'static str> {
        let block = block_of(now);
        if let Some(why) = self.refuses(order, now) {
            self.reverted.insert(hash.to_owned(), block);
            return Err(why);
        }
        let Order { by_payer, nonce, units, authorized, .. } = order.clone();
        self.used.insert(nonce.clone(), hash.to_owned());
        if by_payer {
            self.payer -= units;
        } else {
            self.operator -= units;
        }
        match &order.channel {
            Some(id) => self.channels.entry(id.clone()).or_default().balance += units,
            None if by_payer => self.operator += units,
            None => self.payer += units,
        }
        let in_channel = order.channel.is_some();
        let transfer = Transfer { hash: hash.to_owned(), by_payer, units, block, nonce, in_channel, authorized };
        self.transfers.insert(hash.to_owned(), transfer);
        Ok(())
    }

    /// A claim of what was charged to a channel. One that was made before changes nothing.
    pub fn claim(&mut self, id: &str, most: u64, signed: &str, total: u64) -> Result<(), &'static str> {
        let Some(channel) = self.channels.get_mut(id) else { return Err("channel_not_found") };
        if signed != signature(id, most) || total > most {
            self.outrage = Some(format!("{total} is claimed of {id} by a voucher of {most}: {signed}"));
            return Err("claim_simulation_failed");
        }
        if total > channel.balance {
            return Err("claim_simulation_failed");
        }
        let more = total.saturating_sub(channel.claimed);
        channel.claimed += more;
        self.unswept += more;
        Ok(())
    }

    /// What was claimed with what failed did not come through either.
    pub fn take_back(&mut self, id: &str, kept: Option<Channel>) {
        if let (Some(kept), Some(channel)) = (kept, self.channels.get_mut(id)) {
            self.unswept -= channel.claimed - kept.claimed;
            channel.claimed = kept.claimed;
        }
    }

    /// A part of a channel goes back to its payer: how much.
    pub fn refund(&mut self, id: &str, amount: u64, nonce: u64) -> Result<u64, &'static str> {
        let Some(channel) = self.channels.get_mut(id) else { return Err("channel_not_found") };
        let amount = amount.min(channel.balance - channel.claimed);
        if amount == 0 {
            return Err("refund_no_balance");
        }
        if nonce != channel.refunds {
            return Err("refund_simulation_failed");
        }
        channel.balance -= amount;
        channel.refunds += 1;
        self.payer += amount;
        Ok(amount)
    }

    /// What was claimed is sent to the operator.
    pub fn sweep(&mut self) -> Result<(), &'static str> {
        if self.unswept == 0 {
            return Err("nothing_to_settle");
        }
        self.operator += std::mem::take(&mut self.unswept);
        Ok(())
    }

    /// The payer leaves by itself, a day after it said so.
    pub fn exit(&mut self, id: &str, now: Millis) -> bool {
        let Some(channel) = self.channels.get_mut(id) else { return false };
        match channel.leaves {
            None => channel.leaves = Some(now),
            Some(since) if now.since(since) >= EXIT_MS => {
                self.payer += channel.balance - channel.claimed;
                (channel.balance, channel.leaves) = (channel.claimed, None);
                return true;
            }
            Some(_) => {}
        }
        false
    }

    /// What a channel is told to be.
    pub fn told(&self, id: &str) -> Value {
        let Channel { balance, claimed, refunds, leaves } = self.channels.get(id).copied().unwrap_or_default();
        json!({
            "channelId": id, "balance": balance.to_string(), "totalClaimed": claimed.to_string(),
            "withdrawRequestedAt": leaves.map_or(0, Millis::seconds), "refundNonce": refunds.to_string(),
        })
    }

    /// That it was authorized, if so, and that it moved.
    fn logs(transfer: &Transfer) -> Vec<Value> {
        let topic = |address: Address| evm::hex(&address.word());
        let (from, to) = if transfer.by_payer { (PAYER, OPERATOR) } else { (OPERATOR, PAYER) };
        let log = |topics: Value, data: String| {
            json!({
                "address": token(), "topics": topics, "data": data, "transactionHash": transfer.hash,
                "blockNumber": format!("{:#x}", transfer.block),
            })
        };
        let used = log(json!([USED.as_str(), topic(from), transfer.nonce]), "0x".into());
        let moved =
            log(json!([TRANSFER.as_str(), topic(from), topic(to)]), evm::hex(&evm::number(transfer.units.into())));
        transfer.authorized.then_some(used).into_iter().chain([moved]).collect()
    }

    /// What a node says that is so many blocks behind.
    pub fn rpc(&self, body: &str, behind: u64, now: Millis) -> Value {
        let asked: Value = serde_json::from_str(body).expect("JSON");
        let head = block_of(now) - behind;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match asked["method"].as_str().expect("a method") {
            "eth_blockNumber" => json!(format!("{head:#x}")),
            "eth_getTransactionReceipt" => {
                let hash = text(&asked["params"][0]);
                let known = self.transfers.get(&hash).filter(|transfer| transfer.block <= head);
                match (known, self.reverted.get(&hash)) {
                    (Some(transfer), _) => json!({
                        "status": "0x1", "transactionHash": hash, "blockNumber": format!("{:#x}", transfer.block),
                        "logs": Self::logs(transfer),
                    }),
                    (None, Some(block)) if *block <= head => {
                        json!({"status": "0x0", "transactionHash": hash, "logs": []})
                    }
                    _ => Value::Null,
                }
            }
            "eth_getLogs" => {
                let filter = &asked["params"][0];
                let from = u64::from_str_radix(&text(&filter["fromBlock"])[2..], 16).expect("a block");
                let plain = self.transfers.values().filter(|transfer| !transfer.in_channel);
                let recent = plain.filter(|transfer| (from..=head).contains(&transfer.block)).flat_map(Self::logs);
                let fits = |log: &Value| {
                    let asked = filter["topics"].as_array().expect("topics").iter().enumerate();
                    let is_it = |(place, asked): (usize, &Value)| {
                        let topic = &log["topics"][place];
                        asked == topic || asked.as_array().is_some_and(|any| any.contains(topic))
                    };
                    log["address"] == filter["address"] && asked.clone().all(is_it)
                };
                Value::Array(recent.filter(fits).collect())
            }
            other => panic!("{other} is not served"),
        }
    }
}

/// What a node answers that may be down, busy, or behind.
pub fn node(chain: &Chain, chance: &mut Chance, one_in: u64, body: &str, now: Millis) -> (u16, Value, &'static str) {
    if !chance.one_in(one_in) {
        let result = chain.rpc(body, chance.below(4), now);
        return (200, json!({"jsonrpc": "2.0", "id": 1, "result": result}), "node tells");
    }
    match chance.below(5) {
        0 => (0, Value::Null, "node down"),
        1 => (429, json!({"error": {"code": -32005, "message": "rate limited"}}), "node busy"),
        2 => (
            200,
            json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "header not found"}}),
            "node fails",
        ),
        3 => (502, json!("<html>"), "node down"),
        _ if body.contains("eth_getLogs") || body.contains("eth_blockNumber") => {
            (200, json!({"jsonrpc": "2.0", "id": 1, "result": null}), "node tells nothing")
        }
        _ => (200, json!({"jsonrpc": "2.0", "id": 1, "result": chain.rpc(body, 30, now)}), "node behind"),
    }
}
