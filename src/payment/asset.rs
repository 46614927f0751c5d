//! Where stablecoins are: networks and tokens, as their issuers list them.
//! USDC: <https://developers.circle.com/stablecoins/usdc-contract-addresses>; USDT: <https://tether.to/en/supported-protocols>, and
//! <https://docs.usdt0.to/technical-documentation/deployments> for those that USDT0 carries.
use super::evm::Address;

/// A network that payments can be made on.
#[derive(Debug, PartialEq, Eq)]
pub struct Network {
    /// CAIP-2, and the name version 1 of x402 has for it; empty where it has none.
    pub id: &'static str,
    pub name_v1: &'static str,
    pub chain_id: u64,
    /// The first is what stock clients pay with.
    pub tokens: &'static [Token],
}

/// A token of six decimals that is worth a dollar: an atomic unit is 1,000 nano-dollars.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    pub symbol: &'static str,
    pub address: Address,
    /// The EIP-712 domain its own signatures are made under.
    pub name: &'static str,
    pub version: &'static str,
    /// It takes transfers and permits by signature (EIP-3009, EIP-2612); others go through Permit2 alone.
    pub signs: bool,
}

/// One atomic unit of every token here.
pub const NANOS_PER_UNIT: i64 = 1_000;

const fn usdc(name: &'static str, address: [u8; 20]) -> Token {
    Token { symbol: "USDC", address: Address(address), name, version: "2", signs: true }
}

const fn usdt(address: [u8; 20]) -> Token {
    Token { symbol: "USDT", address: Address(address), name: "Tether USD", version: "1", signs: false }
}

/// `0x` and 40 digits, read by the compiler.
const fn at(text: &str) -> [u8; 20] {
    let (text, mut bytes, mut place) = (text.as_bytes(), [0; 20], 0);
    while place < 40 {
        #[expect(clippy::indexing_slicing, reason = "read by the compiler, which would refuse")]
        let digit = text[place + 2];
        let four = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => (digit | 32) - b'a' + 10,
        };
        #[expect(clippy::indexing_slicing, reason = "read by the compiler, which would refuse")]
        {
            bytes[place / 2] = bytes[place / 2] << 4 | four;
        }
        place += 1;
    }
    bytes
}

const fn network(id: &'static str, name_v1: &'static str, chain_id: u64, tokens: &'static [Token]) -> Network {
    Network { id, name_v1, chain_id, tokens }
}

/// Base's USDT is bridged; the test network has one only where a local chain puts it.
const BASE_USDT: Token = usdt(at("0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2"));

const NETWORKS: &[Network] = &[
    network(
        "eip155:8453",
        "base",
        8_453,
        &[usdc("USD Coin", at("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")), BASE_USDT],
    ),
    network(
        "eip155:84532",
        "base-sepolia",
        84_532,
        &[usdc("USDC", at("0x036CbD53842c5426634e7929541eC2318f3dCF7e")), BASE_USDT],
    ),
    network(
        "eip155:1",
        "",
        1,
        &[
            usdc("USD Coin", at("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")),
            usdt(at("0xdAC17F958D2ee523a2206206994597C13D831ec7")),
        ],
    ),
    network(
        "eip155:137",
        "polygon",
        137,
        &[
            usdc("USD Coin", at("0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359")),
            usdt(at("0xc2132D05D31c914a87C6611C10748AEb04B58e8F")),
        ],
    ),
    network(
        "eip155:42161",
        "",
        42_161,
        &[
            usdc("USD Coin", at("0xaf88d065e77c8cC2239327C5EDb3A432268e5831")),
            usdt(at("0xFd086bC7CD5C481DCC9C85ebE478A1C0b69FCbb9")),
        ],
    ),
    network("eip155:11155111", "", 11_155_111, &[usdc("USDC", at("0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238"))]),
    network("eip155:421614", "", 421_614, &[usdc("USD Coin", at("0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d"))]),
    network("eip155:80002", "polygon-amoy", 80_002, &[usdc("USDC", at("0x41E94Eb019C0762f9Bfcf9Fb1E58725BfB0e7582"))]),
];

/// The network of that CAIP-2 id.
#[must_use]
pub fn network_of(id: &str) -> Option<&'static Network> {
    NETWORKS.iter().find(|network| network.id == id)
}

/// What version 1 calls a network.
#[must_use]
pub fn name_v1(id: &str) -> &'static str {
    network_of(id).map_or("", |network| network.name_v1)
}

impl Network {
    /// Its token at an address.
    #[must_use]
    pub fn token(&self, address: &str) -> Option<&'static Token> {
        let address = Address::parse(address)?;
        self.tokens.iter().find(|token| token.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_has_usdc_first() {
        for network in NETWORKS {
            assert_eq!(network.tokens[0].symbol, "USDC");
            assert!(network.tokens[0].signs);
            assert_eq!(network.id, format!("eip155:{}", network.chain_id));
            for token in network.tokens {
                assert_eq!(network.token(&token.address.to_string()), Some(token));
            }
        }
        let base = network_of("eip155:8453").expect("known");
        assert_eq!(base.tokens[0].address.to_string(), "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913");
        assert_eq!(network_of("eip155:2"), None);
    }
}
