//! Token counts of responses, both ways.
use super::super::lenient::count;
use crate::json::{json, put};
use crate::{money::Nanos, usage::Usage};
use serde_json::Value;

/// The usage an answer tells, if any.
pub(super) fn read(answer: &Value) -> Option<Usage> {
    let told = answer.get("usage")?;
    let (input, output) = (count(told, &["input_tokens"]), count(told, &["output_tokens"]));
    if input.is_none() && output.is_none() {
        return None;
    }
    let part = |path: &[&str]| count(told, path).unwrap_or(0);
    Some(Usage::inclusive(
        input.unwrap_or(0),
        part(&["input_tokens_details", "cached_tokens"]),
        part(&["input_tokens_details", "cache_write_tokens"]),
        output.unwrap_or(0),
        part(&["output_tokens_details", "reasoning_tokens"]),
    ))
}

/// Our usage object, every member present, with the charge where it is known.
pub(super) fn write(usage: &Usage, cost: Option<Nanos>) -> Value {
    let (prompt, written) = (usage.prompt(), usage.cache_write.saturating_add(usage.cache_write_1h));
    let mut told = json!({
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": prompt.saturating_add(usage.output),
    });
    if let (Some(cost), Some(members)) = (cost, told.as_object_mut()) {
        put(members, "cost_usd", cost.to_string().into());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_input_are_counted_once() {
        let told = json!({"usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
            "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 120}});
        let usage = read(&told).expect("told");
        assert_eq!((usage.input, usage.cache_read, usage.cache_write), (30, 60, 10));
        assert_eq!((usage.output, usage.reasoning), (20, 5));
        assert_eq!(write(&usage, None), told["usage"], "what we write reads the same");
        assert_eq!(write(&usage, Some(Nanos(1_500)))["cost_usd"], "0.0000015");
    }

    #[test]
    fn nonsense_is_absent_and_zero_is_not() {
        for usage in [json!(null), json!({}), json!("x"), json!({"input_tokens": -1, "output_tokens": 1.5})] {
            assert_eq!(read(&json!({ "usage": usage })), None);
        }
        assert_eq!(read(&json!({"usage": {"output_tokens": 0}})), Some(Usage::default()));
    }
}
