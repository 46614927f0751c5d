//! What legacy completions and embeddings are asked with: a text, several, or tokens already made.
use super::reading::Fields;
use crate::{
    chat::{Message, Part, Role},
    fault::Fault,
};
use serde_json::Value;

/// Reads a member as prompts, and how many there are. `absent` stands for one that is not there; empty means it must be.
pub(super) fn read(fields: &mut Fields<'_>, name: &str, absent: &str) -> (Vec<Message>, u64) {
    const WANTED: &str = "a string, an array of strings, or arrays of token numbers, none of them empty";
    let mut messages = Vec::new();
    let value = match fields.take(name) {
        Some(value) => value,
        None if absent.is_empty() => {
            fields.missing(name, WANTED);
            return (messages, 0);
        }
        None => absent.into(),
    };
    match &value {
        Value::Array(items) if !is_tokens(&value) => {
            for item in items {
                messages.extend(prompt(item));
            }
            // Items of one kind only: a number among texts is a slip.
            if messages.len() != items.len() || items.iter().any(Value::is_string) != items.iter().all(Value::is_string)
            {
                messages.clear();
            }
        }
        one => messages.extend(prompt(one)),
    }
    if messages.is_empty() {
        fields.must_be(name, WANTED, &value);
    }
    let count = messages.len() as u64;
    (messages, count)
}

/// One prompt. For each of its tokens stands a short word: never fewer bytes than tokens, and about as many by our estimate.
fn prompt(value: &Value) -> Option<Message> {
    let text = match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Array(tokens) if is_tokens(value) => "a ".repeat(tokens.len()),
        _ => return None,
    };
    Some(Message { role: Role::User, parts: vec![Part::text(text)], name: None })
}

fn is_tokens(value: &Value) -> bool {
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_u64))
}

/// The refusal where a call would have to be translated, which routing never plans.
pub(super) fn untranslated() -> Fault {
    Fault::invalid("unsupported_parameter", "This model is not served on this endpoint.").with_param("model")
}
