//! Reads what a provider wrote, leniently: what is missing or of another type is absent, never an error.
use crate::json::written;
use crate::sse::Frame;
use serde_json::Value;

/// A string member that is not empty.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// What kind of event a frame holds: said in the event, or by the frame's name.
pub(super) fn kind<'a>(told: &'a Value, frame: &Frame<'a>) -> &'a str {
    text(told, "type").unwrap_or(frame.event)
}

/// An array member; anything else is empty.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A token count. Negative and fractional ones are no counts.
pub(super) fn count(value: &Value, path: &[&str]) -> Option<u64> {
    path.iter().try_fold(value, |value, name| value.get(*name))?.as_u64()
}

/// JSON text as a member: a string as it is, an object as its text (some hosts do not stringify arguments).
pub(super) fn arguments(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => written(other),
    }
}
