//! Identifiers: a prefix that says what it names, and a ULID (48 bits of time, 80 of chance).
use crate::{json, time::Millis};
use serde::Serialize;
use serde_json::Value;

/// Whose budget it is. Every layer on a key's path is always evaluated.
/// In JSON `organization`, `group:<id>`, `member:<id>` or `api_key:<id>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub enum Scope {
    Organization,
    Group(String),
    Member(String),
    ApiKey(String),
}

impl Scope {
    /// The word of the contract's `scope_type` and of the code `<word>_budget_exceeded`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Group(_) => "group",
            Self::Member(_) => "member",
            Self::ApiKey(_) => "api_key",
        }
    }

    /// The word in a sentence.
    #[must_use]
    pub fn plain(&self) -> String {
        self.word().replace('_', " ")
    }

    /// The id of whose budget it is; an organisation is the account itself and needs none.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Organization => None,
            Self::Group(id) | Self::Member(id) | Self::ApiKey(id) => Some(id),
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        match scope.id() {
            None => scope.word().to_owned(),
            Some(id) => format!("{}:{id}", scope.word()),
        }
    }
}

impl json::Read for Scope {
    fn blank() -> Self {
        Self::Organization
    }

    fn fill(&mut self, value: Value) -> json::Filled {
        let text = json::text(value)?;
        *self = match text.split_once(':') {
            None if text == "organization" => Self::Organization,
            Some(("group", id)) => Self::Group(id.to_owned()),
            Some(("member", id)) => Self::Member(id.to_owned()),
            Some(("api_key", id)) => Self::ApiKey(id.to_owned()),
            _ => return Err(json::wrong(format!("{} is no scope", json::write(&text)))),
        };
        Ok(())
    }
}

/// A small deterministic generator for ids, jitter and exploration: the seed is an argument, so a run can be repeated.
/// `SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>. Secrets never come from here.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Dice {
    /// A number from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        // 53 bits are what a double keeps.
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let bits = (self.roll() >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }
}

/// Crockford's alphabet, in lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The characters of a ULID after its prefix.
pub const ULID_LEN: usize = 26;

/// A new id such as `req_01k…`; `chance` should be random or a [`Dice`] roll pair.
#[must_use]
pub fn mint(prefix: &str, at: Millis, chance: u128) -> String {
    let bits = (u128::from(at.0) << 80) | (chance & ((1 << 80) - 1));
    let mut id = String::with_capacity(prefix.len() + 1 + ULID_LEN);
    id.push_str(prefix);
    id.push('_');
    push_base32(&mut id, bits, ULID_LEN);
    id
}

/// When an id was made: the first ten characters after its prefix are the milliseconds. `None` for what is no id of ours.
#[must_use]
pub fn made_at(id: &str) -> Option<Millis> {
    let (_, ulid) = id.split_once('_')?;
    let digit = |byte: u8| ALPHABET.iter().position(|known| *known == byte);
    let mut digits = ulid.get(..10)?.bytes().map(digit);
    digits.try_fold(0_u64, |bits, digit| Some((bits << 5) | digit? as u64)).map(Millis)
}

/// Appends the low `5 * len` bits, most significant first.
pub fn push_base32(text: &mut String, bits: u128, len: usize) {
    for place in (0..len).rev() {
        let index = (bits >> (5 * place)) as usize & 31;
        // Five bits always find one of the 32.
        text.extend(ALPHABET.get(index).copied().map(char::from));
    }
}

/// Whether the text could be a ULID's characters.
#[must_use]
pub fn is_base32(text: &str) -> bool {
    text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// Whether `id` is `prefix_` and a ULID.
#[must_use]
pub fn is_id(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .is_some_and(|ulid| ulid.len() == ULID_LEN && is_base32(ulid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_name_their_kind() {
        let mut dice = Dice::new(7);
        let mut chance = || (u128::from(dice.roll()) << 64) | u128::from(dice.roll());
        let (early, late) = (mint("req", Millis(1_000), chance()), mint("req", Millis(2_000), chance()));
        assert!(early < late);
        assert_eq!(made_at(&late), Some(Millis(2_000)));
        assert_eq!([made_at("req_short"), made_at("none"), made_at("req_uuuuuuuuuuuu")], [None; 3]);
        assert!(is_id("req", &early) && !is_id("key", &early) && !is_id("req", "req_short"));
    }
}
