//! Token counts, normalised: every class counted once, whatever a provider's own sums include.
use crate::json;
use serde::Serialize;

/// What one answer used, in tokens. The three input classes are disjoint; reasoning is a part of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Input billed at the full rate: neither read from nor written to a cache.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to the provider's cache with its short life (Anthropic: five minutes).
    pub cache_write: u64,
    /// Input written to the provider's cache for an hour.
    pub cache_write_1h: u64,
    /// Spoken input, apart from the other classes.
    #[serde(skip_serializing_if = "is_none")]
    pub audio_input: u64,
    /// Everything billed as output, hidden reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning.
    pub reasoning: u64,
}

json::members!(default Usage { input, cache_read, cache_write, cache_write_1h, audio_input, output, reasoning });

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde asks with")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Every input token, of whatever class.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        [self.input, self.cache_read, self.cache_write, self.cache_write_1h, self.audio_input]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            audio_input: self.audio_input.saturating_add(other.audio_input),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }

    /// Counts whose input includes the cached part, as OpenAI and most compatible providers tell them.
    #[must_use]
    pub fn inclusive(prompt: u64, cache_read: u64, cache_write: u64, output: u64, reasoning: u64) -> Self {
        // OpenRouter tells what was written and at once read in both members: it is counted once, as read.
        let cached = cache_read.saturating_add(cache_write);
        let overlaps = cached > prompt && cache_read <= prompt && cache_write <= prompt;
        let (cache_write, cached) = if overlaps { (0, cache_read) } else { (cache_write, cached) };
        if cached > prompt {
            // Some hosts report the cached part beside the prompt although they claim the convention.
            return Self { input: prompt, cache_read, cache_write, output, reasoning, ..Self::default() };
        }
        Self {
            input: prompt - cached,
            cache_read,
            cache_write,
            output,
            reasoning: reasoning.min(output),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_input_is_counted_once() {
        let usage = Usage::inclusive(100, 60, 10, 20, 5);
        assert_eq!((usage.input, usage.prompt()), (30, 100));
        let both = Usage::inclusive(2168, 2161, 2161, 100, 0);
        assert_eq!((both.input, both.cache_read, both.cache_write, both.prompt()), (7, 2161, 0, 2168));
        assert_eq!(Usage::inclusive(10, 60, 0, 1, 9).input, 10, "more cached than prompt: it stands beside");
    }
}
