//! The 402: a menu of offers in the header for version 2, one of them in the body for version 1.
use super::{
    Purse, Scheme, Terms,
    asset::{Network, Token},
    batch,
    evm::Address,
    malformed, nanos_of, quote, signin, unpaid,
};
use crate::{
    base64,
    fault::Fault,
    json::{self, json, put, put_text, written},
    mode::Mode,
    time::Millis,
};
use serde_json::{Map, Value};

/// The largest header that every intermediary passes on: nginx keeps four kilobytes for an answer's head.
const HEADER_BYTES_MAX: usize = 4_096;
/// The longest menu.
const OFFERS_MAX: usize = 8;
/// How long a payment that is settled at once stays good, and one that is settled after the work: longer than any stream.
const TIMEOUT_S: u64 = 120;
const TIMEOUT_AFTER_S: u64 = 900;
const DESCRIPTION: &str = "A call to a model, at the provider's price.";

/// What a mode would cost and who would answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModePrice {
    pub mode: Mode,
    /// The most it can cost, in atomic units.
    pub units: u64,
    /// `provider/model` in the order they would be asked.
    pub models: Vec<String>,
    /// When its first token is to be expected.
    pub ttft_ms: u64,
}

/// What is asked for, and of whom.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    pub terms: &'a Terms,
    /// The URL without its query.
    pub resource: &'a str,
    pub bound: quote::Bound<'a>,
    /// The network it is to be paid on; the primary one where that is not served.
    pub network: &'a str,
    pub catalog_id: &'a str,
    /// The mode that was asked for, then the others.
    pub menu: &'a [ModePrice],
    /// Why there is a 402.
    pub error: &'a str,
    /// How a channel is whose voucher did not fit, and the token it is in.
    pub channel: Option<(Address, &'a Value)>,
    pub now: Millis,
    /// Chance, for what must be unlike any other.
    pub salt: u64,
}

/// What a 402 says beside the error.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenge {
    /// The `PAYMENT-REQUIRED` header.
    pub header: String,
    /// `x402Version` and `accepts` for the body, and what each mode would cost: the header has no room for all of them.
    pub members: Map<String, Value>,
}

/// An offer without its quote.
fn requirements(scheme: Scheme, network: &Network, token: &Token, units: u64, terms: &Terms) -> Value {
    let mut extra = json!({"name": token.name});
    let mut put = |name: &str, value: &str| {
        if let Some(extra) = extra.as_object_mut() {
            put_text(extra, name, value);
        }
    };
    // Clients take a token with both for one that takes permits, and ask it for a number it does not have.
    if token.signs {
        put("version", token.version);
    }
    let party = terms.party(scheme, network.id).unwrap_or_default().to_string();
    if scheme == Scheme::Upto || !token.signs {
        put("assetTransferMethod", "permit2");
    }
    match scheme {
        Scheme::Exact | Scheme::Balance => put("paymentFlow", "upfront"),
        Scheme::Upto => put("facilitatorAddress", &party),
        Scheme::Batch => {
            put("receiverAuthorizer", &party);
            put("minDeposit", &units.saturating_mul(batch::DEPOSIT_CALLS).to_string());
        }
    }
    if let Some(extra) = extra.as_object_mut().filter(|_| scheme == Scheme::Batch) {
        json::put(extra, "withdrawDelay", batch::WITHDRAW_DELAY_S.into());
    }
    json!({
        "scheme": scheme.word(),
        "network": network.id,
        "amount": units.to_string(),
        "asset": token.address,
        "payTo": terms.pay_to,
        "maxTimeoutSeconds": if scheme == Scheme::Exact { TIMEOUT_S } else { TIMEOUT_AFTER_S },
        "extra": extra,
    })
}

/// The offer of version 1. Its clients tell nothing of it back: the price is looked at when the request is planned.
fn offer_v1(network: &Network, token: &Token, units: u64, pay_to: Address, resource: &str) -> Value {
    json!({
        "scheme": "exact",
        "network": network.name_v1,
        "maxAmountRequired": units.to_string(),
        "asset": token.address,
        "payTo": pay_to,
        "resource": resource,
        "description": DESCRIPTION,
        "mimeType": "application/json",
        "maxTimeoutSeconds": TIMEOUT_S,
        "extra": {"name": token.name, "version": token.version},
    })
}

/// What a facilitator is told that a payment of version 1 was asked for: exactly what it pays.
pub fn requirements_v1(payload: &Value, terms: &Terms, resource: &str) -> Result<Value, Fault> {
    let told = |name: &str| payload.get(name).and_then(Value::as_str).unwrap_or_default();
    let network =
        terms.networks.iter().find(|network| !network.name_v1.is_empty() && network.name_v1 == told("network"));
    let network = network.ok_or_else(|| unpaid("This network is not offered to clients of x402 version 1."))?;
    if told("scheme") != "exact" {
        return Err(unpaid("Clients of x402 version 1 are offered the scheme exact."));
    }
    let value =
        payload.get("payload").and_then(|inner| inner.get("authorization")?.get("value")?.as_str()?.parse().ok());
    let units = value.ok_or_else(|| malformed("has no `payload.authorization.value` that is a number"))?;
    let token = network.tokens.first().ok_or_else(|| unpaid("This network is not offered."))?;
    Ok(offer_v1(network, token, units, terms.pay_to, resource))
}

impl Terms {
    /// The schemes a network's token can be paid by, in the order that clients should try them; who goes on with a channel is told of
    /// it where they look, in the first offer of one.
    fn schemes(&self, network: &Network, channel: Option<Address>) -> Vec<(Scheme, &'static Token)> {
        let mut all = Vec::new();
        // Other channels come last: where the header has no room they are the least missed.
        for (place, scheme) in [Scheme::Batch, Scheme::Upto, Scheme::Exact, Scheme::Batch].into_iter().enumerate() {
            if scheme != Scheme::Exact && self.party(scheme, network.id).is_none() {
                continue;
            }
            let first = |token: &Token| channel.map_or(token.signs, |asset| token.address == asset);
            let tokens = network.tokens.iter().filter(|token| scheme != Scheme::Batch || first(token) == (place == 0));
            all.extend(tokens.map(|token| (scheme, token)));
        }
        all
    }
}

impl Asked<'_> {
    /// The network that is offered.
    fn chosen(&self) -> Option<&'static Network> {
        let wanted = self.terms.networks.iter().find(|network| network.id == self.network);
        wanted.or(self.terms.networks.first()).copied()
    }

    fn offer(&self, scheme: Scheme, network: &Network, token: &Token, price: &ModePrice) -> Value {
        let mut offer = requirements(scheme, network, token, price.units, self.terms);
        // Of the mode that was asked for, the header need not say who would answer.
        let other = self.menu.first().is_some_and(|asked| asked.mode != price.mode);
        if let Some(extra) = offer.get_mut("extra").and_then(Value::as_object_mut).filter(|_| other) {
            put_text(extra, "mode", price.mode.word());
            put(extra, "models", json!(price.models));
            put(extra, "ttftMs", price.ttft_ms.into());
        }
        quote::seal(&mut offer, price.mode, self.catalog_id, &self.bound, &self.terms.secret, self.now);
        // What is said of a channel is no part of the offer: its payer signs again by the first one.
        let told = self.channel.filter(|(asset, _)| scheme == Scheme::Batch && *asset == token.address);
        if let Some(extra) = offer.get_mut("extra").and_then(Value::as_object_mut) {
            extra.extend(told.and_then(|(_, told)| told.as_object()).cloned().unwrap_or_default());
        }
        offer
    }

    /// Every scheme and token of a network for the mode that was asked for, then `upto` for each other mode.
    #[must_use]
    pub fn offers(&self, network: &'static Network) -> Vec<Value> {
        let Some((asked, others)) = self.menu.split_first() else { return Vec::new() };
        let schemes = self.terms.schemes(network, self.channel.map(|(asset, _)| asset));
        let mut offers: Vec<_> =
            schemes.iter().map(|(scheme, token)| self.offer(*scheme, network, token, asked)).collect();
        if let Some((_, token)) = schemes.iter().find(|(scheme, _)| *scheme == Scheme::Upto) {
            offers.extend(others.iter().map(|price| self.offer(Scheme::Upto, network, token, price)));
        }
        offers.truncate(OFFERS_MAX);
        offers
    }

    /// What clients and facilitators may add: gas that the facilitator pays for, a wallet that draws on its balance, and where the call is
    /// listed. Schemas are published, and each would be a kilobyte: only for a listing there has to be one, and it says next to nothing.
    fn extensions(&self) -> Value {
        json!({
            "eip2612GasSponsoring": {"info": {"version": "1"}},
            "erc20ApprovalGasSponsoring": {"info": {"version": "1"}},
            "sign-in-with-x": signin::asked(self.terms, self.resource, self.now, self.salt),
            "bazaar": {"info": {"input": {"type": "http", "method": "POST", "bodyType": "json"}}, "schema": {"type": "object"}},
        })
    }

    fn header(&self, offers: &[Value]) -> String {
        let required = json!({
            "x402Version": 2,
            "error": self.error,
            "resource": {"url": self.resource, "mimeType": "application/json", "serviceName": "MegaRouter"},
            "accepts": offers,
            "extensions": self.extensions(),
        });
        base64::padded(written(&required).as_bytes())
    }
}

/// What can be paid with, a row for each scheme and token of each network.
#[must_use]
pub fn options(terms: &Terms) -> Vec<Value> {
    let of_network = |network: &&'static Network| {
        let row = |(scheme, token): (Scheme, &Token)| {
            json!({
                "object": "payment_option",
                "id": format!("{}/{}/{}", network.id, token.symbol, scheme.word()),
                "network": network.id,
                "scheme": scheme.word(),
                "asset": token.address,
                "symbol": token.symbol,
                "decimals": 6,
                "pay_to": terms.pay_to,
                "primary": terms.networks.first() == Some(network),
            })
        };
        terms.schemes(network, None).into_iter().map(row).collect::<Vec<_>>()
    };
    terms.networks.iter().flat_map(of_network).collect()
}

/// The header that asks for a payment by one scheme, says why, and how a channel is. `None` where nothing is offered by it.
#[must_use]
pub fn offers_by(
    scheme: Scheme,
    terms: &Terms,
    purse: &Purse,
    units: u64,
    error: &str,
    channel: Option<(Address, &Value)>,
    now: Millis,
) -> Option<String> {
    let price = ModePrice { mode: Mode::default(), units, models: Vec::new(), ttft_ms: 0 };
    let asked = Asked {
        terms,
        resource: &purse.resource,
        bound: purse.bound(),
        network: &purse.network,
        catalog_id: "",
        menu: &[price],
        error,
        channel,
        now,
        salt: 0,
    };
    let mut offers = asked.offers(asked.chosen()?);
    offers.retain(|offer| offer.get("scheme").and_then(Value::as_str) == Some(scheme.word()));
    (!offers.is_empty()).then(|| asked.header(&offers))
}

/// Makes the 402. `None` where nothing can be paid with.
#[must_use]
pub fn challenge(asked: &Asked<'_>) -> Option<Challenge> {
    let network = asked.chosen()?;
    let mut offers = asked.offers(network);
    let mut header = asked.header(&offers);
    // The last ones are the least missed: whoever names another mode is told its price.
    while header.len() > HEADER_BYTES_MAX && offers.len() > 1 {
        offers.pop();
        header = asked.header(&offers);
    }
    let price = asked.menu.first()?;
    let token = network.tokens.first().filter(|_| !network.name_v1.is_empty());
    let old = token.map(|token| offer_v1(network, token, price.units, asked.terms.pay_to, asked.resource));
    let accepts = Value::Array(old.into_iter().collect());
    let mut members: Map<_, _> =
        [("x402Version".to_owned(), json!(1)), ("accepts".to_owned(), accepts)].into_iter().collect();
    if asked.menu.len() > 1 {
        let mode = |price: &ModePrice| {
            json!({
                "mode": price.mode.word(), "amount_usd": nanos_of(price.units), "models": price.models, "ttft_ms": price.ttft_ms,
            })
        };
        put(&mut members, "modes", asked.menu.iter().map(mode).collect());
    }
    Some(Challenge { header, members })
}
