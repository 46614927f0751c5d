//! Money and prices as integers. No float ever holds an amount.
//!
//! An amount is [`Nanos`]: billionths of a US dollar in an `i64`. A price is [`Pico`]: trillionths of a US dollar per
//! token, so that $0.0028 per million tokens is 2,800 exactly. Products are `u128`, rounded once.
use crate::json;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::{fmt, iter::Sum};

/// The largest single amount: 2^53-1 nano-dollars, about $9 million. JavaScript numbers are exact up to here, and
/// amounts pass through JavaScript on their way to storage.
pub const NANOS_MAX: i64 = 9_007_199_254_740_991;

const NANOS_PER_USD: u64 = 1_000_000_000;

/// An amount in nano-dollars. In JSON a decimal string of US dollars with up to nine fraction digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub i64);

impl Nanos {
    pub const ZERO: Self = Self(0);

    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde asks with")]
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` past [`NANOS_MAX`] in either direction.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).filter(|sum| sum.abs() <= NANOS_MAX).map(Self)
    }

    /// The difference, or `None` past [`NANOS_MAX`] in either direction.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(Self(-other.0))
    }

    /// The sum of amounts that are each within bounds and few; saturates at [`NANOS_MAX`], which no balance reaches.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0).clamp(-NANOS_MAX, NANOS_MAX))
    }

    /// The difference, with the bounds of [`Nanos::plus`].
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self(-other.0))
    }

    /// Reads a decimal string of US dollars: `"12"`, `"0.000000001"`, `"-3.5"`.
    ///
    /// # Errors
    /// Says what is wrong: no digits, a foreign character, more than nine fraction digits, or out of bounds.
    pub fn parse_usd(text: &str) -> Result<Self, &'static str> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let nanos = parse_scaled(digits, 9)?;
        let nanos = i64::try_from(nanos).ok().filter(|n| *n <= NANOS_MAX).ok_or("is more than $9,007,199")?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, fraction) = (magnitude / NANOS_PER_USD, magnitude % NANOS_PER_USD);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{fraction:09}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl json::Read for Nanos {
    fn blank() -> Self {
        Self(0)
    }

    fn fill(&mut self, value: Value) -> json::Filled {
        let text = decimal_text(value)?;
        *self = Self::parse_usd(&text).map_err(|why| json::wrong(format!("amount {} {why}", json::write(&text))))?;
        Ok(())
    }
}

/// A price in pico-dollars per token. In JSON US dollars per million tokens, which is the same number divided by 10^6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pico(pub u64);

/// $1,000 per million tokens: far above every published price, and it catches "per token" entered as "per million".
pub const PICO_MAX: u64 = 1_000_000_000;

impl Pico {
    /// Reads US dollars per million tokens.
    ///
    /// # Errors
    /// Says what is wrong, as [`Nanos::parse_usd`], with six fraction digits and $1,000 as the bound.
    pub fn parse_usd_per_mtok(text: &str) -> Result<Self, &'static str> {
        let pico = parse_scaled(text, 6)?;
        u64::try_from(pico).ok().filter(|p| *p <= PICO_MAX).map(Self).ok_or("is more than $1,000 per million tokens")
    }

    /// The price of `tokens`, in pico-dollars.
    #[must_use]
    pub fn times(self, tokens: u64) -> u128 {
        u128::from(self.0) * u128::from(tokens)
    }

    /// US dollars per token as a decimal string: the unit of `GET /v1/models`.
    #[must_use]
    pub fn usd_per_token(self) -> String {
        let digits = format!("{:013}", self.0);
        let (whole, fraction) = digits.split_at(digits.len() - 12);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
    }
}

impl fmt::Display for Pico {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{fraction:06}").trim_end_matches('0'))
    }
}

impl Serialize for Pico {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl json::Read for Pico {
    fn blank() -> Self {
        Self(0)
    }

    fn fill(&mut self, value: Value) -> json::Filled {
        let text = decimal_text(value)?;
        *self = Self::parse_usd_per_mtok(&text)
            .map_err(|why| json::wrong(format!("price {} {why}", json::write(&text))))?;
        Ok(())
    }
}

/// Pico-dollars to nano-dollars, rounded half to even. `None` past [`NANOS_MAX`].
#[must_use]
pub fn nanos_half_even(pico: u128) -> Option<Nanos> {
    let (whole, rest) = (pico / 1_000, pico % 1_000);
    let up = rest > 500 || (rest == 500 && whole % 2 == 1);
    bounded(whole + u128::from(up))
}

/// Pico-dollars to nano-dollars, rounded up: for holds. `None` past [`NANOS_MAX`].
#[must_use]
pub fn nanos_up(pico: u128) -> Option<Nanos> {
    bounded(pico.div_ceil(1_000))
}

fn bounded(nanos: u128) -> Option<Nanos> {
    i64::try_from(nanos).ok().filter(|n| *n <= NANOS_MAX).map(Nanos)
}

/// `"12.5"` with `places` 3 is 12,500.
fn parse_scaled(text: &str, places: usize) -> Result<u128, &'static str> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || (fraction.is_empty() && text.contains('.')) || whole.len() > 18 {
        return Err("is not a decimal number like 12.50");
    }
    if fraction.len() > places {
        return Err("has more fraction digits than can be billed");
    }
    let digits = || whole.bytes().chain(fraction.bytes());
    if !digits().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a decimal number like 12.50");
    }
    let padding = std::iter::repeat_n(b'0', places - fraction.len());
    Ok(digits().chain(padding).fold(0, |sum, byte| sum * 10 + u128::from(byte - b'0')))
}

/// A JSON string as it stands, or a JSON number's shortest text.
fn decimal_text(value: Value) -> Result<String, json::Wrong> {
    match value {
        Value::String(text) => Ok(text),
        // The shortest text that reads back the same: what the person typed, for every sane amount.
        Value::Number(number) => Ok(plain(number.to_string())),
        other => Err(json::unlike(&other, "a decimal string like \"12.50\"")),
    }
}

/// A number's text without the exponent that JSON writes for a small fraction. The standard library writes none, but its way
/// to do so is 3 kB of the upload.
fn plain(text: String) -> String {
    let Some((digits, places)) = text.split_once("e-") else { return text };
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let zeros = "0".repeat(places.parse::<usize>().unwrap_or_default().saturating_sub(1));
    format!("{sign}0.{zeros}{}", digits.replace('.', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_fractions_are_written_out() {
        for fraction in [0.5, 0.00001, 1e-9, 1.25e-7, -1.25e-7, 3e-15, f64::MIN_POSITIVE] {
            assert_eq!(decimal_text(Value::from(fraction)).expect("a number"), fraction.to_string());
        }
    }

    #[test]
    fn usd_text_round_trips() {
        for (text, nanos) in [("0", 0), ("1000", 1_000_000_000_000), ("0.000000001", 1), ("-3.5", -3_500_000_000)] {
            assert_eq!(Nanos::parse_usd(text), Ok(Nanos(nanos)), "{text}");
            assert_eq!(Nanos(nanos).to_string(), text);
        }
        for bad in ["", "-", ".5", "1.", "1e3", "0.0000000001", "9007199.254740992", "1,5", "+1"] {
            assert!(Nanos::parse_usd(bad).is_err(), "{bad:?} was read");
        }
    }

    #[test]
    fn prices_are_exact() {
        assert_eq!(Pico::parse_usd_per_mtok("0.0028"), Ok(Pico(2_800)));
        assert_eq!(Pico(2_800).usd_per_token(), "0.0000000028");
        assert_eq!(Pico(180_000_000).to_string(), "180");
        assert!(Pico::parse_usd_per_mtok("1000.1").is_err());
        let price: Pico = json::read("0.075").expect("a number is read");
        assert_eq!(price, Pico(75_000));
    }

    #[test]
    fn rounding_is_half_even_once_and_up_for_holds() {
        assert_eq!(nanos_half_even(1_500), Some(Nanos(2)));
        assert_eq!(nanos_half_even(2_500), Some(Nanos(2)));
        assert_eq!(nanos_half_even(2_501), Some(Nanos(3)));
        assert_eq!(nanos_up(1), Some(Nanos(1)));
        assert_eq!(nanos_up(u128::MAX), None);
    }

    #[test]
    fn sums_stay_within_bounds() {
        assert_eq!(Nanos(NANOS_MAX).checked_add(Nanos(1)), None);
        assert_eq!(Nanos(NANOS_MAX).plus(Nanos(NANOS_MAX)), Nanos(NANOS_MAX));
    }
}
