//! Faults as `OpenAI`'s clients read them.
use crate::json::{json, put, written};
use crate::{fault::Fault, sse};
use serde_json::Value;

fn object(fault: &Fault) -> Value {
    let mut error = json!({"message": fault.message, "type": fault.kind, "param": fault.param, "code": fault.code});
    if let Some(members) = error.as_object_mut()
        && !fault.metadata.is_empty()
    {
        put(members, "metadata", Value::Object(fault.metadata.clone()));
    }
    json!({ "error": error })
}

pub(super) fn encode(fault: &Fault) -> Vec<u8> {
    written(&object(fault)).into_bytes()
}

/// Clients raise as soon as a chunk holds a truthy `error`; no `[DONE]` may follow, or it would look complete.
pub(super) fn encode_in_stream(fault: &Fault) -> Vec<u8> {
    let mut out = Vec::new();
    sse::write_data(&mut out, written(&object(fault)).as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_members_are_always_there() {
        let fault = Fault::parameter("n", "No.").with("limit", 3);
        assert_eq!(
            String::from_utf8_lossy(&encode(&fault)),
            r#"{"error":{"message":"No.","type":"invalid_request_error","param":"n","code":"invalid_parameter","metadata":{"limit":3}}}"#
        );
        let plain = String::from_utf8(encode_in_stream(&Fault::unavailable("x", "y"))).expect("text");
        assert_eq!(
            plain,
            "data: {\"error\":{\"message\":\"y\",\"type\":\"unavailable\",\"param\":null,\"code\":\"x\"}}\n\n"
        );
    }
}
