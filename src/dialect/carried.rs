//! What only one maker understands, on its way through the other dialects: in strings that even a client brings back that
//! drops the members it does not know.
//!
//! Signatures of reasoning have their maker's name in front ([`GEMINI`], [`BEDROCK`], [`OPENAI`]); Anthropic's alone are
//! bare. Gemini signs calls of tools too and refuses a history without that signature: it travels inside the call's id, as
//! `{id}__sig_{base64url of its text}`. Every encoder of a history but Gemini's sends [`short_id`], for calls and for their
//! results, because providers bound the length of ids. So does every path that passes a caller's own history on.
use crate::{base64, catalog::sha256_hex, chat::Part};
use serde_json::{Map, Value};

/// Before the signatures of Gemini's reasoning.
pub(super) const GEMINI: &str = "gemini.";
/// Before reasoning that Bedrock sealed, whoever's model reasoned.
pub(super) const BEDROCK: &str = "bedrock.";
/// Before `OpenAI`'s sealed reasoning.
const OPENAI: &str = "openai.";
/// Between a call's id and its signature.
pub(super) const SIGNED: &str = "__sig_";

/// Whether a signature, or sealed reasoning, has no other maker's name in front: it is Anthropic's.
pub(super) fn is_bare(signature: &str) -> bool {
    !signature.is_empty() && ![OPENAI, GEMINI, BEDROCK].iter().any(|maker| signature.starts_with(maker))
}

/// A call's id and the signature inside. Ids that only look so are no work of ours: they stay whole, and so distinct.
fn split(id: &str) -> Option<(&str, String)> {
    // The last mark: text in base64url never has two low lines in a row.
    let (mut mark, mut from) = (None, 0);
    while let Some(at) = id.get(from..)?.find(SIGNED) {
        mark = Some(from + at);
        from += at + 1;
    }
    let (short, marked) = id.split_at_checked(mark?)?;
    let packed = marked.strip_prefix(SIGNED)?;
    let signature = String::from_utf8(base64::of_url_safe(packed)?).ok()?;
    (!signature.is_empty()).then_some((short, signature))
}

/// A call's id with its signature inside, if it has one and none is inside yet.
pub(super) fn signed_id(id: &str, signature: Option<&str>) -> String {
    match signature {
        Some(signature) if split(id).is_none() => format!("{id}{SIGNED}{}", base64::url_safe(signature.as_bytes())),
        _ => id.to_owned(),
    }
}

/// A call's id without its signature.
pub(super) fn short_id(id: &str) -> &str {
    split(id).map_or(id, |(short, _)| short)
}

/// The signature inside a call's id.
pub(super) fn signature(id: &str) -> Option<String> {
    split(id).map(|(_, signature)| signature)
}

/// Whether a part is a call with a signature in its id, or the result of one.
pub(super) fn is_signed(part: &Part) -> bool {
    matches!(part, Part::ToolCall { id, .. } | Part::ToolResult { id, .. } if split(id).is_some())
}

/// Shortens the ids in a message as its caller wrote it: its own, and those of its calls and parts.
pub(super) fn shorten(message: &mut Map<String, Value>) {
    for name in ["id", "call_id", "tool_call_id", "tool_use_id"] {
        if let Some(Value::String(id)) = message.get_mut(name) {
            id.truncate(short_id(id).len());
        }
    }
    for name in ["tool_calls", "content"] {
        for item in message.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(members) = item.as_object_mut() {
                shorten(members);
            }
        }
    }
}

/// An id for a call that came without: the same for the same answer, and another for every other.
pub(super) fn made_up_id(answer: &str, choice: usize, index: usize) -> String {
    let mut id = sha256_hex(format!("{answer}/{choice}/{index}").as_bytes());
    id.truncate(24);
    format!("call_{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_messages_are_shortened() {
        let told = |text: &str| {
            let mut message: Map<String, Value> = serde_json::from_str(text).expect("an object");
            shorten(&mut message);
            Value::Object(message).to_string()
        };
        for (long, short) in [
            (
                r#"{"tool_calls":[{"id":"a__sig_QQ","x":"a__sig_QQ"}]}"#,
                r#"{"tool_calls":[{"id":"a","x":"a__sig_QQ"}]}"#,
            ),
            (r#"{"tool_call_id":"a__sig_QQ","content":"a__sig_QQ"}"#, r#"{"tool_call_id":"a","content":"a__sig_QQ"}"#),
            (
                r#"{"content":[{"id":"a__sig_QQ","input":{"id":"a__sig_QQ"}},{"tool_use_id":"b"},7]}"#,
                r#"{"content":[{"id":"a","input":{"id":"a__sig_QQ"}},{"tool_use_id":"b"},7]}"#,
            ),
        ] {
            assert_eq!(told(long), short);
        }
    }

    #[test]
    fn a_signature_comes_back_as_it_was() {
        for text in ["Eu0C+/==", "a-b_c", "é"] {
            let id = signed_id("call_1", Some(text));
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'), "{id}");
            assert_eq!((short_id(&id), signature(&id).as_deref()), ("call_1", Some(text)));
            assert_eq!(signed_id(&id, Some("other")), id, "the first stays");
        }
        assert_eq!(
            (signed_id("call_1", None).as_str(), short_id("call_1"), signature("call_1")),
            ("call_1", "call_1", None)
        );
        for foreign in ["a__sig_", "a__sig_%", "a__sig_/w==", "call__sig_one", "call__sig_two"] {
            assert_eq!((short_id(foreign), signature(foreign)), (foreign, None));
            let id = signed_id(foreign, Some("s__sig_"));
            assert_eq!((short_id(&id), signature(&id).as_deref()), (foreign, Some("s__sig_")));
        }
    }
}
