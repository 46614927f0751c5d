//! Token counts of chat completions, both ways.
use super::super::lenient::count;
use crate::json::{json, put, read_bytes};
use crate::{
    catalog::{Deployment, Quirk},
    money::Nanos,
    usage::Usage,
};
use serde_json::{Map, Value};

/// How a deployment counts its output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counting {
    excludes_reasoning: bool,
    total_minus_prompt: bool,
}

impl Counting {
    pub(super) fn of(deployment: &Deployment) -> Self {
        Self {
            excludes_reasoning: deployment.has(Quirk::OutputExcludesReasoning),
            total_minus_prompt: deployment.has(Quirk::OutputTotalMinusPrompt),
        }
    }

    /// The usage a chunk or an answer tells, if any. Zeros that are told are usage; a member without any count is none.
    pub(super) fn read(self, answer: &Value) -> Option<Usage> {
        let groq = || answer.get("x_groq").and_then(|x| x.get("usage"));
        let told = answer.get("usage").filter(|usage| usage.is_object()).or_else(groq)?;
        let (prompt, completion, total) =
            (count(told, &["prompt_tokens"]), count(told, &["completion_tokens"]), count(told, &["total_tokens"]));
        if prompt.is_none() && completion.is_none() && total.is_none() {
            return None;
        }
        // What one of the three lacks, the other two tell.
        let lacking = |known: Option<u64>| total.zip(known).map(|(total, known)| total.saturating_sub(known));
        let prompt_tokens = prompt.or_else(|| lacking(completion)).unwrap_or(0);
        let completion_tokens = completion.or_else(|| lacking(prompt)).unwrap_or(0);
        let reasoning = count(told, &["completion_tokens_details", "reasoning_tokens"]).unwrap_or(0);
        let output = if self.excludes_reasoning {
            completion_tokens.saturating_add(reasoning)
        } else if self.total_minus_prompt {
            total.map_or(completion_tokens, |total| total.saturating_sub(prompt_tokens).max(completion_tokens))
        } else {
            completion_tokens
        };
        // Google hides its thoughts in the total: what is not the visible answer is reasoning.
        let reasoning = if self.total_minus_prompt { reasoning.max(output - completion_tokens) } else { reasoning };
        let audio = count(told, &["prompt_tokens_details", "audio_tokens"]).unwrap_or(0);
        // Mistral counts what it hears beside the prompt.
        let beside = audio > 0 && total == Some(prompt_tokens.saturating_add(audio).saturating_add(completion_tokens));
        let written = if beside { prompt_tokens } else { prompt_tokens.saturating_sub(audio) };
        let usage = Usage::inclusive(written, cache_read(told), cache_write(told), output, reasoning);
        Some(Usage { audio_input: audio.min(if beside { audio } else { prompt_tokens }), ..usage })
    }
}

/// What a past answer used, as a provider tells it later: an object of chat completions' `usage`, or OpenRouter's members of
/// <https://openrouter.ai/docs/api-reference/get-a-generation>, both perhaps inside `data`.
pub fn of_generation(bytes: &[u8]) -> Option<Usage> {
    let answer: Value = read_bytes(bytes).ok()?;
    let told = answer.get("data").unwrap_or(&answer);
    Counting::default().read(told).or_else(|| {
        let output = count(told, &["native_tokens_completion"])?;
        let known = |name| count(told, &[name]).unwrap_or(0);
        let (prompt, cached) = (known("native_tokens_prompt"), known("native_tokens_cached"));
        Some(Usage::inclusive(prompt, cached, 0, output, known("native_tokens_reasoning")))
    })
}

/// OpenAI, then `DeepSeek`, Mistral, Moonshot.
fn cache_read(told: &Value) -> u64 {
    const PATHS: [&[&str]; 4] = [
        &["prompt_tokens_details", "cached_tokens"],
        &["prompt_cache_hit_tokens"],
        &["num_cached_tokens"],
        &["cached_tokens"],
    ];
    PATHS.into_iter().find_map(|path| count(told, path)).unwrap_or(0)
}

fn cache_write(told: &Value) -> u64 {
    count(told, &["prompt_tokens_details", "cache_write_tokens"]).unwrap_or(0)
}

/// Our usage object, every member present, with the charge where it is known.
pub(super) fn write(usage: &Usage, cost: Option<Nanos>) -> Value {
    let (prompt, written) = (usage.prompt(), usage.cache_write.saturating_add(usage.cache_write_1h));
    let mut told = Map::new();
    put(&mut told, "prompt_tokens", prompt.into());
    put(&mut told, "completion_tokens", usage.output.into());
    put(&mut told, "total_tokens", prompt.saturating_add(usage.output).into());
    told.insert(
        "prompt_tokens_details".to_owned(),
        json!({"cached_tokens": usage.cache_read, "cache_write_tokens": written, "audio_tokens": usage.audio_input}),
    );
    told.insert(
        "completion_tokens_details".to_owned(),
        json!({"reasoning_tokens": usage.reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0}),
    );
    if let Some(cost) = cost {
        put(&mut told, "cost_usd", cost.to_string().into());
    }
    Value::Object(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Counting = Counting { excludes_reasoning: false, total_minus_prompt: false };

    #[test]
    fn a_past_answer_is_counted_in_either_form() {
        let told =
            |text: &str| of_generation(text.as_bytes()).map(|usage| (usage.input, usage.cache_read, usage.output));
        assert_eq!(told(r#"{"id":"a","usage":{"prompt_tokens":9,"completion_tokens":4}}"#), Some((9, 0, 4)));
        let native = r#"{"data":{"total_cost":0.1,"tokens_prompt":8,"native_tokens_prompt":9,"native_tokens_completion":4,
            "native_tokens_cached":5,"native_tokens_reasoning":1}}"#;
        assert_eq!(told(native), Some((4, 5, 4)));
        assert_eq!([told("{}"), told("?"), told(r#"{"data":{"total_cost":0.1}}"#)], [None; 3]);
    }

    #[test]
    fn each_hosts_cache_member_is_read() {
        for usage in [
            json!({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}),
            json!({"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}),
            json!({"prompt_tokens": 10, "completion_tokens": 2, "num_cached_tokens": 4, "prompt_tokens_details": null}),
        ] {
            let told = PLAIN.read(&json!({ "usage": usage })).expect("told");
            assert_eq!((told.input, told.cache_read, told.output), (6, 4, 2));
        }
        for (total, input) in [(14, 8), (12, 6)] {
            let heard = json!({"usage": {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": total,
                "prompt_tokens_details": {"audio_tokens": 2}}});
            let told = PLAIN.read(&heard).expect("told");
            assert_eq!(
                (told.input, told.audio_input, told.prompt()),
                (input, 2, total - 4),
                "beside the prompt, or in it"
            );
        }
        let written = json!({"usage": {"prompt_tokens": 10, "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5}}});
        assert_eq!(PLAIN.read(&written).map(|u| (u.input, u.cache_write)), Some((1, 5)));
    }

    #[test]
    fn hidden_output_is_billed() {
        let xai = json!({"usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 354,
            "completion_tokens_details": {"reasoning_tokens": 340}}});
        let counting = Counting { excludes_reasoning: true, ..PLAIN };
        assert_eq!(counting.read(&xai).map(|u| (u.output, u.reasoning)), Some((342, 340)));
        let google = json!({"usage": {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}});
        let counting = Counting { total_minus_prompt: true, ..PLAIN };
        assert_eq!(counting.read(&google).map(|u| (u.output, u.reasoning)), Some((74, 62)));
    }

    #[test]
    fn nonsense_is_absent_and_zero_is_not() {
        assert_eq!(PLAIN.read(&json!({"usage": null})), None);
        assert_eq!(PLAIN.read(&json!({"usage": {}})), None);
        assert_eq!(PLAIN.read(&json!({"usage": {"prompt_tokens": -4, "completion_tokens": 1.5}})), None);
        assert_eq!(PLAIN.read(&json!({"usage": {"prompt_tokens": 0, "completion_tokens": 0}})), Some(Usage::default()));
        let total = json!({"usage": {"prompt_tokens": 3, "completion_tokens": "x", "total_tokens": 8}});
        assert_eq!(PLAIN.read(&total).map(|u| u.output), Some(5));
        let more = json!({"usage": {"prompt_tokens": 3, "completion_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 9}}});
        assert_eq!(PLAIN.read(&more).map(|u| u.reasoning), Some(2), "clamped");
    }

    #[test]
    fn the_charge_is_a_decimal_string() {
        let told = write(&Usage { input: 3, cache_read: 4, output: 5, ..Usage::default() }, Some(Nanos(1_500)));
        assert_eq!(
            (&told["prompt_tokens"], &told["total_tokens"], &told["cost_usd"]),
            (&7.into(), &12.into(), &"0.0000015".into())
        );
    }
}
