//! What a call can cost at most, before it; what it did cost, after it. Integers only, rounded once.
use crate::{
    catalog::{RateCard, Rates, When},
    money::{Nanos, nanos_half_even, nanos_up},
    usage::Usage,
};

/// The most a call can cost: every prompt token at the dearest input class, every output token up to the bound.
/// `None` where it does not fit an amount.
#[must_use]
pub fn quote(rates: &RateCard, when: When, prompt_tokens_max: u64, output_tokens_max: u64) -> Option<Nanos> {
    let dearest = |rates: &Rates| {
        let written = rates.cache_write.max(rates.cache_write_1h).max(rates.cache_read);
        let input = rates.input.max(written).max(rates.audio_input);
        input.times(prompt_tokens_max) + rates.output.times(output_tokens_max)
    };
    let tokens = nanos_up(rates.up_to(prompt_tokens_max, when).map(dearest).max()?)?;
    tokens.checked_add(rates.request)
}

/// The most output tokens per answer, up to `most`, that an amount still covers; 0 where it does not cover the prompt.
#[must_use]
pub fn output_within(
    rates: &RateCard,
    when: When,
    prompt_tokens_max: u64,
    answers: u64,
    most: u64,
    amount: Nanos,
) -> u64 {
    let fits = |output: u64| {
        quote(rates, when, prompt_tokens_max, output.saturating_mul(answers)).is_some_and(|quote| quote <= amount)
    };
    if fits(most) {
        return most;
    }
    let (mut low, mut high) = (0, most);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

/// What a call is expected to cost, for ranking only: input as estimated, uncached.
#[must_use]
pub fn expected(rates: &RateCard, when: When, prompt_tokens: u64, output_tokens: u64) -> Nanos {
    let usage = Usage { input: prompt_tokens, output: output_tokens, ..Usage::default() };
    charge(rates, when, &usage).unwrap_or(Nanos(crate::money::NANOS_MAX))
}

/// The same for a deployment that still has the prompt in its cache.
#[must_use]
pub fn expected_warm(rates: &RateCard, when: When, prompt_tokens: u64, output_tokens: u64) -> Nanos {
    let usage = Usage { cache_read: prompt_tokens, output: output_tokens, ..Usage::default() };
    charge(rates, when, &usage).unwrap_or(Nanos(crate::money::NANOS_MAX))
}

/// The exact charge, in nano-dollars, rounded half to even once. `None` where it does not fit an amount.
#[must_use]
pub fn charge(card: &RateCard, when: When, usage: &Usage) -> Option<Nanos> {
    charge_at(card.at(usage.prompt(), when), card.request, usage)
}

/// The exact charge at rates that are known: beside the tokens, what every call costs.
#[must_use]
pub fn charge_at(rates: &Rates, request: Nanos, usage: &Usage) -> Option<Nanos> {
    let pico = rates.input.times(usage.input)
        + rates.cache_read.times(usage.cache_read)
        + rates.cache_write.times(usage.cache_write)
        + rates.cache_write_1h.times(usage.cache_write_1h)
        + rates.audio_input.times(usage.audio_input)
        + rates.output.times(usage.output);
    nanos_half_even(pico)?.checked_add(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Deployment};
    use std::rc::Rc;

    fn deployment() -> Rc<Deployment> {
        let text = r#"{"version":1,"providers":[{"id":"p","name":"P","dialect":"openai_chat","base_url":"https://p.test"}],
            "models":[{"provider":"p","id":"m","context_length":1000000,"input_usd_per_mtok":"2",
            "output_usd_per_mtok":"12","cache_read_usd_per_mtok":"0.2","cache_write_usd_per_mtok":"2.5",
            "rates":[{"above_prompt_tokens":200000,"input_usd_per_mtok":"4","output_usd_per_mtok":"18"}]}]}"#;
        Rc::clone(Catalog::parse(text).expect("valid").deployment("p/m").expect("there"))
    }

    #[test]
    fn every_class_costs_its_rate() {
        let usage =
            Usage { input: 100, cache_read: 1_000, cache_write: 10, output: 50, reasoning: 40, ..Usage::default() };
        // 100 x 2,000 + 1,000 x 200 + 10 x 2,500 + 50 x 12,000 nano-dollars.
        assert_eq!(charge(&deployment().rates, When::default(), &usage), Some(Nanos(1_025_000)));
    }

    #[test]
    fn a_tier_is_a_cliff_and_counts_cached_input() {
        let usage = Usage { input: 1, cache_read: 200_000, output: 1, ..Usage::default() };
        assert_eq!(charge(&deployment().rates, When::default(), &usage), Some(Nanos(200_001 * 4_000 + 18_000)));
    }

    #[test]
    fn output_is_fitted_to_an_amount() {
        let card = &deployment().rates;
        let within = |amount| output_within(card, When::default(), 1_000, 2, 500, Nanos(amount));
        // 1,000 x 2,500 for the prompt, then 2 x 12,000 for each token of two answers.
        assert_eq!([2_499_999, 2_500_000, 2_524_000, 2_547_999, i64::MAX].map(within), [0, 0, 1, 1, 500]);
    }

    #[test]
    fn a_quote_bounds_every_charge() {
        let deployment = deployment();
        for prompt in [0, 1, 199_999, 200_000, 200_001, 900_000] {
            let bound = quote(&deployment.rates, When::default(), prompt, 1_000).expect("fits");
            for (input, cache_read, cache_write) in [(prompt, 0, 0), (0, prompt, 0), (0, 0, prompt)] {
                let usage = Usage { input, cache_read, cache_write, output: 1_000, ..Usage::default() };
                assert!(charge(&deployment.rates, When::default(), &usage).expect("fits") <= bound, "{usage:?}");
            }
        }
        assert_eq!(quote(&deployment.rates, When::default(), u64::MAX, u64::MAX), None);
    }
}
