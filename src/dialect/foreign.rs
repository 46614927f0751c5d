//! What a caller's own dialect can ask and no other can: refused before it is translated, or let go.
//!
//! Everything in [`Request::rest`] that is not named here only hints (metadata, caching keys, `store`, `verbosity`,
//! `prediction`, `logit_bias` with its tokenizer's own numbers): another dialect's model answers as well without it.
//! `docs/translation.md` lists both.
use crate::{chat::Request, fault::Fault};
use serde_json::Value;

/// Whether a member's value asks for anything.
type Asks = fn(&Value) -> bool;

/// Members that ask how likely each token was.
const LIKELIHOODS: [(&str, Asks); 2] = [
    ("logprobs", |value| value == &Value::Bool(true)),
    ("top_logprobs", |value| value.as_u64().is_some_and(|count| count > 0)),
];
/// Other members that change what the answer is.
const NEEDED: [(&str, Asks); 4] = [
    ("modalities", |value| value.as_array().is_some_and(|words| words.iter().any(|word| word != "text"))),
    ("audio", Value::is_object),
    ("moderation", Value::is_object),
    ("container", |value| !value.is_null()),
];

/// Refuses what would be lost in translation.
///
/// # Errors
/// A 400 that names the member.
pub fn translatable(request: &Request) -> Result<(), Fault> {
    without_likelihoods(request)?;
    refuse(request, &NEEDED)
}

/// Refuses the wish to be told how likely each token was.
pub(super) fn without_likelihoods(request: &Request) -> Result<(), Fault> {
    refuse(request, &LIKELIHOODS)
}

fn refuse(request: &Request, members: &[(&str, Asks)]) -> Result<(), Fault> {
    for &(name, asks) in members {
        if request.rest.get(name).is_some_and(asks) {
            let message = format!(
                "The chosen model's provider has nothing like `{name}`. Leave it out, or name a model whose provider has it."
            );
            return Err(Fault::invalid("unsupported_parameter", message).with_param(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_answer_is_refused_and_hints_are_not() {
        let told = |name: &str, value: Value| {
            let rest = [(name.to_owned(), value)].into_iter().collect();
            translatable(&Request { rest, ..Request::default() }).err().and_then(|fault| fault.into_inner().param)
        };
        for (name, value) in [
            ("logprobs", true.into()),
            ("top_logprobs", 2.into()),
            ("modalities", vec!["text", "audio"].into()),
            ("audio", crate::json::json!({"voice": "alloy"})),
        ] {
            assert_eq!(told(name, value).as_deref(), Some(name));
        }
        for (name, value) in
            [("logprobs", false.into()), ("top_logprobs", 0.into()), ("modalities", vec!["text"].into())]
        {
            assert_eq!(told(name, value), None, "{name}");
        }
        assert_eq!(told("metadata", crate::json::json!({"a": "b"})), None);
    }
}
