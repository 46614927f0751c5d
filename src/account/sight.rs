//! A payment's transfer, as the chain's logs show it.
use crate::{
    json::{self, json},
    payment::{
        Payment,
        evm::{self, Address},
    },
};
use serde_json::Value;

/// `Transfer(address,address,uint256)`, <https://eips.ethereum.org/EIPS/eip-20>.
pub(super) const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// `AuthorizationUsed(address,bytes32)`, <https://eips.ethereum.org/EIPS/eip-3009>.
pub(super) const AUTHORIZED: &str = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5";

/// The nonce of a transfer by the token's own authorization, which the chain tells of. Permit2 tells of none.
fn authorization(payment: &Payment) -> Option<&str> {
    let (token, nonce) = payment.nonce.split_once(':')?;
    Address::parse(token).map(|_| nonce)
}

fn topic(address: Address) -> String {
    evm::hex(&address.word())
}

/// The topics of `eth_getLogs` that find it: its transfer, and whether that was by an authorization, and by which.
pub(super) fn topics(payment: &Payment, to: Address) -> Value {
    let (from, to) = (topic(payment.payer), topic(to));
    match authorization(payment) {
        Some(nonce) => json!([[TRANSFER, AUTHORIZED], from, [to, nonce]]),
        None => json!([[TRANSFER, AUTHORIZED], from]),
    }
}

/// The transaction among logs that moved it: of its token, payer and amount, to whom it was to go, by its own authorization, or
/// by none where it has none, and not known as another payment's.
pub(super) fn transfer(payment: &Payment, units: u64, logs: &[Value], known: &dyn Fn(&str) -> bool) -> Option<String> {
    let requirements: Value = json::read(&payment.requirements).unwrap_or_default();
    let to = requirements.get("payTo").and_then(Value::as_str).and_then(Address::parse)?;
    let (from, to, amount) = (topic(payment.payer), topic(to), evm::hex(&evm::number(units.into())));
    // The third topic of a log of the token that is of this kind and of this payer.
    let told = |log: &Value, kind: &str| {
        let topic = |place: usize| log.get("topics").and_then(|topics| topics.get(place)?.as_str());
        let token = log.get("address").and_then(Value::as_str).and_then(Address::parse);
        let is_its = token == Some(payment.asset) && topic(0) == Some(kind) && topic(1) == Some(&from);
        topic(2).filter(|_| is_its).map(str::to_owned)
    };
    let hash = |log: &Value| log.get("transactionHash").and_then(Value::as_str).map(str::to_owned);
    let moved = logs.iter().filter(|log| told(log, TRANSFER).as_ref() == Some(&to));
    let moved = moved.filter(|log| log.get("data").and_then(Value::as_str) == Some(&amount));
    moved.filter_map(hash).find(|moved| {
        let of_it = logs.iter().filter(|log| hash(log).as_ref() == Some(moved));
        let mut nonces = of_it.filter_map(|log| told(log, AUTHORIZED));
        let fits = match authorization(payment) {
            Some(nonce) => nonces.any(|used| used == nonce),
            None => nonces.next().is_none(),
        };
        fits && !known(moved)
    })
}
