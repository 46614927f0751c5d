//! Token counts of messages, both ways.
use super::super::lenient::count;
use crate::json::json;
use crate::{money::Nanos, usage::Usage};
use serde_json::{Map, Value};

/// The members of `usage`, each the last that was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl Counts {
    /// Takes what a `usage` object tells; whether it told anything.
    pub(super) fn take(&mut self, told: Option<&Value>) -> bool {
        let Some(told) = told else { return false };
        let mut any = false;
        let mut last = |slot: &mut Option<u64>, path: &[&str]| {
            if let Some(told) = count(told, path) {
                *slot = Some(told);
                any = true;
            }
        };
        last(&mut self.input, &["input_tokens"]);
        last(&mut self.cache_read, &["cache_read_input_tokens"]);
        last(&mut self.cache_write, &["cache_creation_input_tokens"]);
        last(&mut self.cache_write_5m, &["cache_creation", "ephemeral_5m_input_tokens"]);
        last(&mut self.cache_write_1h, &["cache_creation", "ephemeral_1h_input_tokens"]);
        last(&mut self.output, &["output_tokens"]);
        last(&mut self.thinking, &["output_tokens_details", "thinking_tokens"]);
        any
    }

    pub(super) fn usage(&self) -> Usage {
        let hour = self.cache_write_1h.unwrap_or(0);
        let parts = self.cache_write_5m.unwrap_or(0).saturating_add(hour);
        let written = self.cache_write.unwrap_or(0).max(parts);
        let output = self.output.unwrap_or(0);
        Usage {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write: written - hour,
            cache_write_1h: hour,
            audio_input: 0,
            output,
            reasoning: self.thinking.unwrap_or(0).min(output),
        }
    }
}

/// Our usage object; strict clients want every member.
pub(super) fn write(usage: &Usage, cost: Option<Nanos>) -> Map<String, Value> {
    let mut told = Map::new();
    let mut put = |name: &str, value: Value| told.insert(name.to_owned(), value);
    put("input_tokens", usage.input.saturating_add(usage.audio_input).into());
    put("cache_creation_input_tokens", usage.cache_write.saturating_add(usage.cache_write_1h).into());
    put("cache_read_input_tokens", usage.cache_read.into());
    put(
        "cache_creation",
        json!({"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": usage.cache_write_1h}),
    );
    put("output_tokens", usage.output.into());
    put("output_tokens_details", json!({"thinking_tokens": usage.reasoning}));
    put("server_tool_use", Value::Null);
    put("service_tier", "standard".into());
    put("inference_geo", Value::Null);
    if let Some(cost) = cost {
        put("cost_usd", cost.to_string().into());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_told_of_each_member_counts() {
        let mut counts = Counts::default();
        assert!(!counts.take(Some(&json!({"input_tokens": null, "output_tokens": -1}))) && !counts.take(None));
        assert!(counts.take(Some(&json!({"input_tokens": 43, "output_tokens": 1, "cache_creation_input_tokens": 9,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 7}}))));
        counts.take(Some(&json!({"input_tokens": 61, "output_tokens": 5, "cache_read_input_tokens": null,
            "output_tokens_details": {"thinking_tokens": 3}})));
        let usage = Usage {
            input: 61,
            cache_read: 0,
            cache_write: 2,
            cache_write_1h: 7,
            output: 5,
            reasoning: 3,
            audio_input: 0,
        };
        assert_eq!(counts.usage(), usage);
        let mut again = Counts::default();
        again.take(Some(&Value::Object(write(&usage, None))));
        assert_eq!(again.usage(), usage, "what we write reads the same");
    }
}
