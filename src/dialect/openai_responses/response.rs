//! A provider's whole answer to the hub.
use super::{super::lenient, super::refusal, OURS, usage};
use crate::json::{json, read_bytes, written};
use crate::{
    chat::{Choice, Finish, Part, Response},
    fault::{Cause, UpstreamFault},
};
use serde_json::Value;

pub(super) fn decode(bytes: &[u8]) -> Result<Response, UpstreamFault> {
    let no_answer = || UpstreamFault::new(200, Cause::Server, "The provider's answer is no response.");
    let told: Value = read_bytes(bytes).map_err(|_| no_answer())?;
    if has_failed(&told) {
        return Err(refusal::classify_inside(&told));
    }
    let items = told.get("output").and_then(Value::as_array).ok_or_else(no_answer)?;
    let mut parts = Vec::new();
    for item in items {
        read_item(item, &mut parts);
    }
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let (finish, native) = finish(&told, calls);
    Ok(Response {
        id: lenient::text(&told, "id").unwrap_or_default().to_owned(),
        model: lenient::text(&told, "model").unwrap_or_default().to_owned(),
        choices: vec![Choice { parts, finish, native_finish: Some(native) }],
        usage: usage::read(&told),
    })
}

/// Whether a response is a failure, whatever its status was.
pub(super) fn has_failed(response: &Value) -> bool {
    let failed = matches!(lenient::text(response, "status"), Some("failed" | "cancelled"));
    failed || refusal::error_of(response).is_some()
}

/// Why an answer ended, and the provider's word for it.
pub(super) fn finish(response: &Value, calls: bool) -> (Finish, String) {
    let reason = response.get("incomplete_details").and_then(|details| lenient::text(details, "reason"));
    let status = lenient::text(response, "status").unwrap_or("completed");
    let finish = match reason {
        Some("content_filter") => Finish::ContentFilter,
        Some(_) => Finish::Length,
        None if status == "incomplete" => Finish::Length,
        None if calls => Finish::ToolCalls,
        None => Finish::Stop,
    };
    (finish, reason.unwrap_or(status).to_owned())
}

/// What other dialects can say of an item: what the provider's own tools did is not among it.
pub(super) fn read_item(item: &Value, parts: &mut Vec<Part>) {
    let text = |name: &str| lenient::text(item, name).map(str::to_owned);
    let kind = lenient::text(item, "type").unwrap_or_default();
    match kind {
        "message" => {
            for part in lenient::list(item, "content") {
                if let Some(text) = lenient::text(part, "refusal") {
                    parts.push(Part::Refusal(text.to_owned()));
                } else if let Some(text) = lenient::text(part, "text") {
                    parts.push(Part::text(text));
                }
            }
        }
        "reasoning" => {
            let content = texts(item, "content");
            let told = if content.is_empty() { texts(item, "summary") } else { content };
            let signature = text("encrypted_content").map(|content| format!("{OURS}{content}"));
            if signature.is_some() || !told.is_empty() {
                parts.push(Part::Reasoning { text: told, signature });
            }
        }
        "function_call" | "custom_tool_call" => {
            if let (Some(id), Some(name)) = (text("call_id").or_else(|| text("id")), text("name")) {
                parts.push(Part::ToolCall { id, name, arguments: arguments(item, kind == "custom_tool_call") });
            }
        }
        _ => {}
    }
}

/// A call's arguments. Input that is text stands in an object, as for a function.
fn arguments(item: &Value, custom: bool) -> String {
    if custom {
        return written(&json!({"input": lenient::text(item, "input").unwrap_or_default()}));
    }
    let told = lenient::arguments(item.get("arguments"));
    if told.is_empty() { "{}".to_owned() } else { told }
}

fn texts(item: &Value, name: &str) -> String {
    let mut told = String::new();
    for part in lenient::list(item, name) {
        if !told.is_empty() {
            told.push_str("\n\n");
        }
        told.push_str(lenient::text(part, "text").unwrap_or_default());
    }
    told
}

#[cfg(test)]
mod tests;
