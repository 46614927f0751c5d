//! Whole answers: the provider's to the hub, the hub's to the caller, and one passed on.
use super::{
    super::{
        Stamp, lenient, refusal,
        turns::{allowed_id, input_object},
    },
    finish_of, stop_reason, usage,
    usage::Counts,
};
use crate::json::{json, read_bytes, written};
use crate::{
    body::{Body, quoted},
    chat::{Choice, Finish, Part, Response},
    fault::{Cause, UpstreamFault},
};
use serde_json::{Map, Value};
use std::borrow::Cow;

pub(super) fn decode(bytes: &[u8]) -> Result<Response, UpstreamFault> {
    let no_answer = || UpstreamFault::new(200, Cause::Server, "The provider's answer is no message.");
    let told: Value = read_bytes(bytes).map_err(|_| no_answer())?;
    if let Some(error) = refusal::error_of(&told) {
        return Err(refusal::classify_inside(error));
    }
    let blocks = told.get("content").and_then(Value::as_array).ok_or_else(no_answer)?;
    let parts: Vec<Part> = blocks.iter().filter_map(part).collect();
    let native = lenient::text(&told, "stop_reason");
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let finish = match native.map_or(Finish::Stop, finish_of) {
        Finish::Error => return Err(UpstreamFault::new(200, Cause::Server, "The provider gave up.")),
        Finish::Stop if calls => Finish::ToolCalls,
        finish => finish,
    };
    let mut counts = Counts::default();
    let counted = counts.take(told.get("usage"));
    Ok(Response {
        id: lenient::text(&told, "id").unwrap_or_default().to_owned(),
        model: lenient::text(&told, "model").unwrap_or_default().to_owned(),
        choices: vec![Choice { parts, finish, native_finish: native.map(str::to_owned) }],
        usage: counted.then(|| counts.usage()),
    })
}

/// What other dialects can say of a block: what the provider's own tools did is not among it.
fn part(block: &Value) -> Option<Part> {
    let text = |name: &str| lenient::text(block, name).map(str::to_owned);
    match lenient::text(block, "type")? {
        "text" => text("text").map(Part::text),
        "thinking" => {
            Some(Part::Reasoning { text: text("thinking").unwrap_or_default(), signature: text("signature") })
        }
        "redacted_thinking" => text("data").map(Part::RedactedReasoning),
        "tool_use" => {
            let arguments = lenient::arguments(block.get("input"));
            let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
            Some(Part::ToolCall { id: text("id")?, name: text("name")?, arguments })
        }
        _ => None,
    }
}

pub(super) fn encode(response: &Response, stamp: &Stamp) -> Vec<u8> {
    let choice = response.choices.first();
    let parts = choice.map_or(&[][..], |choice| choice.parts.as_slice());
    let content: Vec<Value> = parts.iter().filter_map(block).collect();
    let reason = choice.map_or("end_turn", |choice| stop_reason(choice.finish, choice.native_finish.as_deref()));
    // Clients read the counts without asking whether they are there.
    let usage = usage::write(&response.usage.unwrap_or_default(), stamp.cost);
    written(&message(stamp, content, Some(reason), usage)).into_bytes()
}

/// The message object of whole answers and of a stream's start. Strict clients want the members that are null, too.
pub(super) fn message(stamp: &Stamp, content: Vec<Value>, reason: Option<&str>, usage: Map<String, Value>) -> Value {
    json!({
        "id": super::answer_id(&stamp.request_id),
        "type": "message",
        "role": "assistant",
        "model": stamp.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": null,
        "stop_details": null,
        "container": null,
        "usage": usage,
    })
}

fn block(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => {
            (!text.is_empty()).then(|| json!({"type": "text", "text": text, "citations": null}))
        }
        // Without a signature it came from another provider; clients want the member all the same.
        Part::Reasoning { text, signature } => {
            Some(json!({"type": "thinking", "thinking": text, "signature": signature.as_deref().unwrap_or_default()}))
        }
        Part::RedactedReasoning(data) => Some(json!({"type": "redacted_thinking", "data": data})),
        Part::ToolCall { id, name, arguments } => {
            Some(json!({"type": "tool_use", "id": allowed_id(id), "name": name, "input": input_object(arguments),
                "caller": {"type": "direct"}}))
        }
        Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::ToolResult { .. } => None,
    }
}

/// A provider's answer with our model name and the charge; every other byte of a member stays.
pub(super) fn relay(bytes: &[u8], stamp: &Stamp) -> Option<Vec<u8>> {
    let body = Body::parse(bytes.to_vec()).ok()?;
    let model = quoted(&stamp.model);
    let mut changes: Vec<(&str, Option<Cow<'_, str>>)> = vec![("model", Some(model.into()))];
    let usage = body.set("usage").zip(stamp.cost).and_then(|(usage, cost)| super::super::priced(usage, cost));
    changes.extend(usage.map(|usage| ("usage", Some(usage.into()))));
    Some(body.rewritten(&changes))
}

#[cfg(test)]
mod tests;
