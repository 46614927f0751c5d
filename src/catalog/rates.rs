//! What tokens cost: one card a deployment, with alternatives by prompt length, tier and time.
use crate::{
    body::quoted,
    chat::ServiceTier,
    json,
    money::{Nanos, Pico},
    time::Millis,
};
use serde::Serialize;

/// Prices per token. In JSON in US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rates {
    pub input: Pico,
    pub output: Pico,
    pub cache_read: Pico,
    pub cache_write: Pico,
    pub cache_write_1h: Pico,
    /// Spoken input.
    pub audio_input: Pico,
}

json::members!(default Rates { input, output, cache_read, cache_write, cache_write_1h, audio_input });

/// Input and output price.
type Shown = (Pico, Pico);

impl Rates {
    fn shown(&self) -> Shown {
        (self.input, self.output)
    }
}

/// What decides, beside the tokens, which rates a call meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// The moment the request arrived: its price stays what it was then, however long the answer takes.
    pub at: Millis,
    pub tier: Option<ServiceTier>,
}

/// A deployment's prices: the base, and alternatives with conditions, of which the last one that holds counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateCard {
    pub(super) base: Rates,
    pub(super) alternatives: Vec<Alternative>,
    /// What every call costs, whatever its tokens.
    pub request: Nanos,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alternative {
    rates: Rates,
    /// Only above that many prompt tokens, cached ones included; then *all* tokens of the call cost these rates.
    above: u64,
    tier: Option<ServiceTier>,
    from: Millis,
    until: Option<Millis>,
    /// Minutes of the day in UTC, the end excluded. Empty is all day.
    hours: Vec<(u64, u64)>,
    weekdays: bool,
}

impl Alternative {
    /// Whether every condition but the prompt's length holds.
    fn holds(&self, when: When) -> bool {
        let minute = when.at.minute_of_day();
        self.tier == when.tier
            && when.at >= self.from
            && self.until.is_none_or(|until| when.at < until)
            && (self.hours.is_empty() || self.hours.iter().any(|(from, to)| (*from..*to).contains(&minute)))
            && !(self.weekdays && when.at.is_weekend())
    }
}

impl RateCard {
    /// The rates of a request whose prompt has that many tokens, cached ones included.
    #[must_use]
    pub fn at(&self, prompt_tokens: u64, when: When) -> &Rates {
        let meets = |one: &&Alternative| prompt_tokens >= one.above && one.holds(when);
        self.alternatives.iter().rev().find(meets).map_or(&self.base, |one| &one.rates)
    }

    /// All rates a request of at most that many prompt tokens may meet.
    pub fn up_to(&self, prompt_tokens: u64, when: When) -> impl Iterator<Item = &Rates> {
        let met = self.alternatives.iter().filter(move |one| prompt_tokens >= one.above && one.holds(when));
        std::iter::once(&self.base).chain(met.map(|one| &one.rates))
    }

    /// Prices of input and output to compare with another card's: the base's, each alternative's where there are as many,
    /// and the dearest and the cheapest of all, because a slip may be in any of them.
    pub(super) fn pairs(&self, other: &Self) -> Vec<(Shown, Shown)> {
        let mut pairs = vec![(self.base.shown(), other.base.shown())];
        if self.alternatives.len() == other.alternatives.len() {
            let each = self.alternatives.iter().zip(&other.alternatives);
            pairs.extend(each.map(|(ours, theirs)| (ours.rates.shown(), theirs.rates.shown())));
        }
        pairs.extend([u64::max, u64::min].map(|pick| (self.extreme(pick), other.extreme(pick))));
        pairs
    }

    fn extreme(&self, pick: fn(u64, u64) -> u64) -> Shown {
        let all = self.alternatives.iter().map(|one| one.rates.shown());
        all.fold(self.base.shown(), |most, one| (Pico(pick(most.0.0, one.0.0)), Pico(pick(most.1.0, one.1.0))))
    }

    /// Whether the provider sells that tier.
    #[must_use]
    pub fn offers(&self, tier: ServiceTier) -> bool {
        self.alternatives.iter().any(|one| one.tier == Some(tier))
    }
}

/// Prices as people write them: US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Prices {
    pub input_usd_per_mtok: Pico,
    /// Absent for models that write nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_usd_per_mtok: Option<Pico>,
    /// Absent: cached input costs as much as fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_usd_per_mtok: Option<Pico>,
    /// Absent: written input costs as much as fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_usd_per_mtok: Option<Pico>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_1h_usd_per_mtok: Option<Pico>,
    /// Absent: spoken input costs as much as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input_usd_per_mtok: Option<Pico>,
}

json::members!(strict Prices {
    input_usd_per_mtok,
    output_usd_per_mtok,
    cache_read_usd_per_mtok,
    cache_write_usd_per_mtok,
    cache_write_1h_usd_per_mtok,
    audio_input_usd_per_mtok,
});

impl Prices {
    pub(super) fn rates(self) -> Rates {
        let cache_write = self.cache_write_usd_per_mtok.unwrap_or(self.input_usd_per_mtok);
        Rates {
            input: self.input_usd_per_mtok,
            output: self.output_usd_per_mtok.unwrap_or_default(),
            cache_read: self.cache_read_usd_per_mtok.unwrap_or(self.input_usd_per_mtok),
            cache_write,
            cache_write_1h: self.cache_write_1h_usd_per_mtok.unwrap_or(cache_write),
            audio_input: self.audio_input_usd_per_mtok.unwrap_or(self.input_usd_per_mtok),
        }
    }
}

/// Other prices of a model, and when they count. All conditions must hold; the last row that does counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateRow {
    /// Above that many prompt tokens, cached ones included, *all* tokens of a call cost these prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above_prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
    /// A date, from 00:00 UTC on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// A date, until 00:00 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Like `01:00-04:00`, in UTC.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub utc_hours: Vec<String>,
    /// Monday to Friday only, in UTC.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub weekdays: bool,
    #[serde(flatten)]
    pub prices: Prices,
}

json::members!(strict RateRow {
    above_prompt_tokens, service_tier, from, until, utc_hours = Vec::new(), weekdays = false,
} flat prices {
    input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, cache_write_usd_per_mtok, cache_write_1h_usd_per_mtok,
    audio_input_usd_per_mtok,
});

impl RateRow {
    pub(super) fn alternative(&self) -> Result<Alternative, String> {
        sane(&self.prices)?;
        let date = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                Millis::of_date(text).map(Some).ok_or_else(|| format!("{} is no date like 2027-01-31", quoted(text)))
            }
        };
        let mut hours = Vec::new();
        for span in &self.utc_hours {
            hours.push(minutes_of(span).ok_or_else(|| format!("{} is no span like 01:00-04:00", quoted(span)))?);
        }
        Ok(Alternative {
            rates: self.prices.rates(),
            above: self.above_prompt_tokens.map_or(0, |tokens| tokens.saturating_add(1)),
            tier: self.service_tier,
            from: date(&self.from)?.unwrap_or_default(),
            until: date(&self.until)?,
            hours,
            weekdays: self.weekdays,
        })
    }
}

/// Refuses prices that can only be a slip: cached input above fresh, or written input far above it.
///
/// # Errors
/// Says which.
pub(super) fn sane(prices: &Prices) -> Result<(), String> {
    let input = prices.input_usd_per_mtok.0;
    let above = |price: Option<Pico>, times: u64| price.is_some_and(|price| price.0 > input.saturating_mul(times));
    if above(prices.cache_read_usd_per_mtok, 1) {
        return Err("cache_read_usd_per_mtok is above input_usd_per_mtok".to_owned());
    }
    // An hour in Anthropic's cache costs twice the input: nobody asks more.
    if above(prices.cache_write_usd_per_mtok, 5) || above(prices.cache_write_1h_usd_per_mtok, 5) {
        return Err("cache_write_usd_per_mtok is more than five times input_usd_per_mtok".to_owned());
    }
    Ok(())
}

/// The minutes of the day a span like `01:00-04:00` goes from and to.
fn minutes_of(span: &str) -> Option<(u64, u64)> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute) = (hour.parse::<u64>().ok()?, minute.parse::<u64>().ok()?);
        (hour <= 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let (from, to) = span.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from < to && to <= 24 * 60).then_some((from, to))
}
