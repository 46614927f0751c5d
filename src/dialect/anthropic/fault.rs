//! Faults as Anthropic's clients read them.
use crate::json::{json, put, written};
use crate::{fault::Fault, sse};
use serde_json::Value;

fn object(fault: &Fault, request_id: &str) -> Value {
    let mut error = json!({"type": kind(fault.status), "message": fault.message, "code": fault.code});
    if let Some(members) = error.as_object_mut() {
        members.extend(fault.param.as_deref().map(|param| ("param".to_owned(), param.into())));
        if !fault.metadata.is_empty() {
            put(members, "metadata", Value::Object(fault.metadata.clone()));
        }
    }
    json!({"type": "error", "error": error, "request_id": request_id})
}

/// Anthropic's closed set of types: clients branch on it.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    }
}

pub(super) fn encode(fault: &Fault, request_id: &str) -> Vec<u8> {
    written(&object(fault, request_id)).into_bytes()
}

pub(super) fn encode_in_stream(fault: &Fault, request_id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    sse::write_event(&mut out, "error", written(&object(fault, request_id)).as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_the_status() {
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "billing_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (413, "request_too_large"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (502, "api_error"),
            (503, "overloaded_error"),
            (504, "timeout_error"),
            (529, "overloaded_error"),
        ] {
            let told: Value =
                serde_json::from_slice(&encode(&Fault::new(status, "x", "code", "text"), "req_1")).expect("JSON");
            assert_eq!(told["error"]["type"], kind, "{status}");
            assert_eq!((&told["type"], &told["request_id"]), (&"error".into(), &"req_1".into()));
        }
        let event = String::from_utf8(encode_in_stream(&Fault::unavailable("c", "m"), "req_1")).expect("text");
        assert!(
            event.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\""),
            "{event}"
        );
    }
}
