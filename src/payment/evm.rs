//! What wallets sign: Keccak-256 (<https://keccak.team/keccak_specs_summary.html>), typed data (EIP-712) and messages (EIP-191).
//! Curves are left to a library: here it only says what was signed, and whose signature it would have to be.
use crate::json;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// A word of the machine: 32 bytes, big-endian.
pub type Word = [u8; 32];

/// Bytes of Keccak's state that take content, for 256 bits of digest.
const RATE: usize = 136;
/// Half the order of secp256k1: a signature with a larger `s` is the same one written otherwise (EIP-2).
const HALF_ORDER: Word = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// Keccak-256, as Ethereum has it: not SHA-3, which pads otherwise.
#[must_use]
pub fn keccak(content: &[u8]) -> Word {
    let mut padded = content.to_vec();
    padded.push(1);
    padded.resize(padded.len().next_multiple_of(RATE), 0);
    if let Some(last) = padded.last_mut() {
        *last |= 0x80;
    }
    let mut state = [0_u64; 25];
    for block in padded.as_chunks::<RATE>().0 {
        for (lane, bytes) in state.iter_mut().zip(block.as_chunks().0) {
            *lane ^= u64::from_le_bytes(*bytes);
        }
        keccak::f1600(&mut state);
    }
    let mut digest = [0; 32];
    for (bytes, lane) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = lane.to_le_bytes();
    }
    digest
}

/// An account on a chain.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// Of `0x` and 40 hexadecimal digits, in whatever case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        bytes(text).map(Self)
    }

    /// Whose key it is: an uncompressed point of 65 bytes.
    #[must_use]
    pub fn of_key(point: &[u8]) -> Option<Self> {
        let coordinates = point.strip_prefix(&[4]).filter(|rest| rest.len() == 64)?;
        keccak(coordinates).last_chunk().copied().map(Self)
    }

    /// As a word.
    #[must_use]
    pub fn word(self) -> Word {
        let mut word = [0; 32];
        if let Some(low) = word.last_chunk_mut() {
            *low = self.0;
        }
        word
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl json::Read for Address {
    fn blank() -> Self {
        Self::default()
    }

    fn fill(&mut self, value: Value) -> json::Filled {
        let text = json::text(value)?;
        *self = Self::parse(&text).ok_or_else(|| json::wrong(format!("{text:?} is no address")))?;
        Ok(())
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

/// `0x` and two digits a byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digits =
        bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|four| char::from_digit(four.into(), 16));
    "0x".chars().chain(digits).collect()
}

/// The bytes of a text of `0x` and digits.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let four = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(four(*high)? << 4 | four(*low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

/// Exactly so many bytes.
#[must_use]
pub fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    unhex(text)?.try_into().ok()
}

/// A number as a word.
#[must_use]
pub fn number(value: u128) -> Word {
    let mut word = [0; 32];
    if let Some(low) = word.last_chunk_mut() {
        *low = value.to_be_bytes();
    }
    word
}

/// A decimal number of up to 256 bits.
#[must_use]
pub fn decimal(text: &str) -> Option<Word> {
    let mut word = [0; 32];
    if text.is_empty() || text.len() > 78 {
        return None;
    }
    for digit in text.bytes() {
        let mut carry = u16::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        for byte in word.iter_mut().rev() {
            let [high, low] = (u16::from(*byte) * 10 + carry).to_be_bytes();
            (*byte, carry) = (low, high.into());
        }
        if carry > 0 {
            return None;
        }
    }
    Some(word)
}

/// The hash of a struct: its type in words, then its members.
#[must_use]
pub fn typed(kind: &str, members: &[Word]) -> Word {
    let mut content = keccak(kind.as_bytes()).to_vec();
    content.extend(members.iter().flatten());
    keccak(&content)
}

/// A domain's separator; Permit2's has no version.
#[must_use]
pub fn domain(name: &str, version: Option<&str>, chain_id: u64, contract: Address) -> Word {
    let (chain, contract) = (number(chain_id.into()), contract.word());
    let name = keccak(name.as_bytes());
    match version {
        Some(version) => typed(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
            &[name, keccak(version.as_bytes()), chain, contract],
        ),
        None => typed("EIP712Domain(string name,uint256 chainId,address verifyingContract)", &[name, chain, contract]),
    }
}

/// What is signed of typed data.
#[must_use]
pub fn digest(domain: Word, message: Word) -> Word {
    keccak(&[&[0x19, 1][..], &domain, &message].concat())
}

/// What is signed of a message that a person reads.
#[must_use]
pub fn message(text: &str) -> Word {
    keccak(format!("\x19Ethereum Signed Message:\n{}{text}", text.len()).as_bytes())
}

/// A signature of a key, or of a wallet that is a contract: whether one of those is good only the chain can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(pub Vec<u8>);

/// How long a key's signature is.
const KEY_BYTES: usize = 65;

impl Signature {
    /// Reads one. `None` for what is not in hexadecimal, or too short.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        unhex(text).filter(|bytes| bytes.len() >= KEY_BYTES).map(Self)
    }

    /// As a key's: which of two points, then `r` and `s`. `None` for what cannot be one: of another length, malleable, or with another
    /// recovery byte than 27, 28, 0 or 1.
    #[must_use]
    pub fn of_key(&self) -> Option<[u8; KEY_BYTES]> {
        let [numbers @ .., v] = <[u8; KEY_BYTES]>::try_from(self.0.as_slice()).ok()?;
        let place = v.checked_sub(27).unwrap_or(v);
        if place > 1 || *numbers.last_chunk::<32>()? > HALF_ORDER {
            return None;
        }
        let mut told = [place; KEY_BYTES];
        *told.last_chunk_mut()? = numbers;
        Some(told)
    }

    /// Whether its length says that it is no key's.
    #[must_use]
    pub fn is_of_contract(&self) -> bool {
        self.0.len() > KEY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// <https://keccak.team/archives.html>, and the empty text as every explorer shows it.
    #[test]
    fn keccak_is_ethereums() {
        assert_eq!(hex(&keccak(b"")), "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
        assert_eq!(hex(&keccak(b"abc")), "0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45");
        // Around the size of a block, where the padding is one byte, or a block of its own.
        let told: Vec<_> = [135, 136, 137].into_iter().map(|length| keccak(&vec![b'a'; length])).collect();
        assert!(told.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(hex(&told[0]), "0x34367dc248bbd832f4e3e69dfaac2f92638bd0bbd18f2912ba4ef454919cf446");
        assert_eq!(hex(&told[1]), "0xa6c4d403279fe3e0af03729caada8374b5ca54d8065329a3ebcaeb4b60aa386e");
    }

    #[test]
    fn numbers_are_words() {
        assert_eq!(decimal("340282366920938463463374607431768211455"), Some(number(u128::MAX)));
        let most = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(decimal(most), Some([255; 32]));
        for wrong in [
            "",
            "1a",
            "-1",
            "0x1",
            " 1",
            "115792089237316195423570985008687907853269984665640564039457584007913129639936",
        ] {
            assert_eq!(decimal(wrong), None, "{wrong}");
        }
        assert_eq!(Address::parse("0x00"), None);
        assert_eq!(unhex("0xZZ"), None);
        assert_eq!(unhex("0x123"), None);
    }

    /// The example of EIP-712: <https://eips.ethereum.org/EIPS/eip-712>, with the digest its own test asserts.
    #[test]
    fn typed_data_is_hashed_as_the_standard_does() {
        let contract = Address::parse("0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC").expect("an address");
        let domain = domain("Ether Mail", Some("1"), 1, contract);
        let person = |name: &str, wallet: &str| {
            let wallet = Address::parse(wallet).expect("an address").word();
            typed("Person(string name,address wallet)", &[keccak(name.as_bytes()), wallet])
        };
        let mail = typed(
            "Mail(Person from,Person to,string contents)Person(string name,address wallet)",
            &[
                person("Cow", "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"),
                person("Bob", "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"),
                keccak(b"Hello, Bob!"),
            ],
        );
        let digest = digest(domain, mail);
        assert_eq!(hex(&digest), "0xbe609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2");
    }

    #[test]
    fn a_signature_has_one_form() {
        let low = format!("0x{}{}", "11".repeat(32), "22".repeat(32));
        let read = |text: &str| Signature::read(text).expect("a signature");
        let key = |v: &str| read(&format!("{low}{v}")).of_key();
        assert!(key("1b").is_some() && key("1b") == key("00"));
        assert!(key("1c").is_some() && key("1c") == key("01"));
        assert_eq!([key("02"), key("1d"), key("1b00")], [None; 3]);
        assert_eq!(read(&format!("0x{}{}1b", "11".repeat(32), "ff".repeat(32))).of_key(), None, "a high s");
        assert!(read(&format!("{low}1b00")).is_of_contract() && !read(&format!("{low}02")).is_of_contract());
        assert_eq!(["0x", "11", low.as_str()].map(Signature::read), [None, None, None]);
    }
}
