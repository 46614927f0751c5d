//! Faults inside a stream; whole ones are as in chat completions.
use crate::json::{json, written};
use crate::{fault::Fault, sse};

/// The flat members are the published form, the inner object is what `OpenAI` sends: its Python client raises by a truthy
/// `error` alone, its JavaScript client by the event's name. `response.failed` would be just another event to both.
/// Who passed a stream on does not know how many events it had: then `sequence` is 0.
pub(super) fn encode_in_stream(fault: &Fault, sequence: u64) -> Vec<u8> {
    let error = json!({"type": fault.kind, "code": fault.code, "message": fault.message, "param": fault.param});
    let told = json!({
        "type": "error",
        "sequence_number": sequence,
        "code": fault.code,
        "message": fault.message,
        "param": fault.param,
        "error": error,
    });
    let mut out = Vec::new();
    sse::write_event(&mut out, "error", written(&told).as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_there() {
        let event = encode_in_stream(&Fault::unavailable("x", "y"), 4);
        assert_eq!(
            String::from_utf8_lossy(&event),
            "event: error\ndata: {\"type\":\"error\",\"sequence_number\":4,\"code\":\"x\",\"message\":\"y\",\"param\":null,\
             \"error\":{\"type\":\"unavailable\",\"code\":\"x\",\"message\":\"y\",\"param\":null}}\n\n"
        );
    }
}
