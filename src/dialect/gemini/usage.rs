//! Token counts.
use super::super::lenient::{count, list, text};
use crate::usage::Usage;
use serde_json::Value;

/// What `usageMetadata` tells, if it tells any count.
pub(super) fn read(answer: &Value) -> Option<Usage> {
    let told = answer.get("usageMetadata")?;
    let number = |name: &str| count(told, &[name]);
    let (prompt, candidates, thoughts) =
        (number("promptTokenCount"), number("candidatesTokenCount"), number("thoughtsTokenCount").unwrap_or(0));
    if prompt.is_none() && candidates.is_none() {
        return None;
    }
    let cached = number("cachedContentTokenCount").unwrap_or(0);
    let prompt = prompt.unwrap_or(0).saturating_add(number("toolUsePromptTokenCount").unwrap_or(0));
    let spoken = spoken(told, "promptTokensDetails").saturating_sub(spoken(told, "cacheTokensDetails"));
    let spoken = spoken.min(prompt.saturating_sub(cached));
    let output = candidates.unwrap_or(0).saturating_add(thoughts);
    Some(Usage { audio_input: spoken, ..Usage::inclusive(prompt - spoken, cached, 0, output, thoughts) })
}

/// The part of a sum that was heard.
fn spoken(told: &Value, name: &str) -> u64 {
    let heard = list(told, name).iter().filter(|detail| text(detail, "modality") == Some("AUDIO"));
    heard.filter_map(|detail| count(detail, &["tokenCount"])).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    #[test]
    fn every_token_is_counted_once() {
        let told = |usage: Value| read(&json!({ "usageMetadata": usage }));
        let whole = told(json!({"promptTokenCount": 1344, "candidatesTokenCount": 99, "totalTokenCount": 1517,
            "cachedContentTokenCount": 1274, "thoughtsTokenCount": 74}));
        let usage = Usage { input: 70, cache_read: 1274, output: 173, reasoning: 74, ..Usage::default() };
        assert_eq!(whole, Some(usage));
        let tools = told(json!({"promptTokenCount": 55, "candidatesTokenCount": 51, "toolUsePromptTokenCount": 89,
            "thoughtsTokenCount": 56, "totalTokenCount": 251}));
        assert_eq!(tools.map(|usage| (usage.prompt(), usage.output)), Some((144, 107)));
        let heard = told(json!({"promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 1,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 30}, {"modality": "AUDIO", "tokenCount": 70}],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}]}));
        let usage = Usage { input: 30, cache_read: 40, audio_input: 30, output: 1, ..Usage::default() };
        assert_eq!(heard, Some(usage));
    }

    #[test]
    fn no_count_is_no_usage_and_nonsense_is_clamped() {
        assert_eq!(read(&json!({"usageMetadata": {"trafficType": "ON_DEMAND"}})), None);
        assert_eq!(read(&json!({"usageMetadata": {"promptTokenCount": -4}})), None);
        assert_eq!(read(&json!({})), None);
        let early = read(&json!({"usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}}));
        assert_eq!(early.map(|usage| (usage.input, usage.output)), Some((9, 0)));
        let odd = json!({"promptTokenCount": 5, "cachedContentTokenCount": 9, "candidatesTokenCount": 1,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 99}]});
        assert_eq!(
            read(&json!({ "usageMetadata": odd })).map(|usage| (usage.cache_read, usage.audio_input)),
            Some((9, 0))
        );
    }
}
