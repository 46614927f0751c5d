//! Whole answers: the provider's to the hub, the hub's to the caller, and one passed on.
use super::{
    super::{Stamp, carried::made_up_id, lenient, priced, refusal},
    finish_of, finish_word, thinking_text, usage,
    usage::Counting,
};
use crate::json::{json, put, put_text, read_bytes, written};
use crate::{
    body::{Body, quoted},
    catalog::Deployment,
    chat::{Choice, Finish, Part, Response},
    fault::{Cause, UpstreamFault},
};
use serde_json::{Map, Value};
use std::borrow::Cow;

pub(super) fn decode(bytes: &[u8], deployment: &Deployment) -> Result<Response, UpstreamFault> {
    let no_answer = || UpstreamFault::new(200, Cause::Server, "The provider's answer is no chat completion.");
    let told: Value = read_bytes(bytes).map_err(|_| no_answer())?;
    if let Some(error) = refusal::error_of(&told) {
        return Err(refusal::classify_inside(error));
    }
    let id = lenient::text(&told, "id").unwrap_or_default();
    let choices: Vec<Choice> =
        lenient::list(&told, "choices").iter().enumerate().map(|(place, told)| choice(told, id, place)).collect();
    if choices.is_empty() {
        return Err(no_answer());
    }
    if let Some(choice) = choices.iter().find(|choice| choice.finish == Finish::Error) {
        return Err(super::gave_up(choice.native_finish.as_deref()));
    }
    Ok(Response {
        id: id.to_owned(),
        model: lenient::text(&told, "model").unwrap_or_default().to_owned(),
        choices,
        usage: Counting::of(deployment).read(&told),
    })
}

fn choice(told: &Value, id: &str, place: usize) -> Choice {
    let mut parts = Vec::new();
    if let Some(message) = told.get("message") {
        reasoning(message, &mut parts);
        content(message, &mut parts);
        parts.extend(lenient::text(message, "refusal").map(|text| Part::Refusal(text.to_owned())));
        let calls =
            lenient::list(message, "tool_calls").iter().chain(message.get("function_call").filter(|c| c.is_object()));
        parts.extend(calls.enumerate().filter_map(|(index, call)| tool_call(call, id, place, index)));
    }
    // Legacy completions have no message.
    parts.extend(lenient::text(told, "text").map(Part::text));
    let native = lenient::text(told, "finish_reason");
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let finish = match native.map_or(Finish::Stop, finish_of) {
        // Hosts say "stop" after a forced call, and some always.
        Finish::Stop if calls => Finish::ToolCalls,
        finish => finish,
    };
    Choice { parts, finish, native_finish: native.map(str::to_owned) }
}

fn reasoning(message: &Value, parts: &mut Vec<Part>) {
    let text = lenient::text(message, "reasoning_content").or_else(|| lenient::text(message, "reasoning"));
    let mut open = text.map(|text| (text.to_owned(), None));
    for detail in lenient::list(message, "reasoning_details") {
        if let Some(data) = lenient::text(detail, "data") {
            parts.push(Part::RedactedReasoning(data.to_owned()));
            continue;
        }
        let detail_text = lenient::text(detail, "text").or_else(|| lenient::text(detail, "summary"));
        let (known, signature) = open.get_or_insert_default();
        // The details repeat what the plain member tells.
        if text.is_none() {
            known.push_str(detail_text.unwrap_or_default());
        }
        if let Some(told) = lenient::text(detail, "signature") {
            *signature = Some(told.to_owned());
        }
    }
    parts.extend(open.map(|(text, signature)| Part::Reasoning { text, signature }));
}

fn content(message: &Value, parts: &mut Vec<Part>) {
    match message.get("content") {
        Some(Value::String(text)) if !text.is_empty() => parts.push(Part::text(text)),
        // Mistral's reasoning models answer in pieces.
        Some(Value::Array(items)) => {
            for item in items {
                if let Some(thinking) = item.get("thinking") {
                    parts.push(Part::Reasoning { text: thinking_text(thinking), signature: None });
                } else if let Some(text) = lenient::text(item, "text") {
                    parts.push(Part::text(text));
                }
            }
        }
        _ => {}
    }
}

/// A call of a function, a custom tool, or the deprecated form. One without a name cannot be made.
fn tool_call(call: &Value, id: &str, place: usize, index: usize) -> Option<Part> {
    let told = call.get("function").or_else(|| call.get("custom")).unwrap_or(call);
    let name = lenient::text(told, "name")?.to_owned();
    let arguments = lenient::arguments(told.get("arguments").or_else(|| told.get("input")));
    let call_id = lenient::text(call, "id").map_or_else(|| made_up_id(id, place, index), str::to_owned);
    Some(Part::ToolCall { id: call_id, name, arguments })
}

pub(super) fn encode(response: &Response, stamp: &Stamp) -> Vec<u8> {
    let choices: Vec<Value> = response
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| write_choice(index, choice, super::reads_functions(stamp)))
        .collect();
    let mut told = json!({
        "id": super::answer_id(&stamp.request_id),
        "object": "chat.completion",
        "created": stamp.created,
        "model": stamp.model,
        "service_tier": "default",
        "choices": choices,
    });
    if let (Some(usage), Some(members)) = (&response.usage, told.as_object_mut()) {
        put(members, "usage", usage::write(usage, stamp.cost));
    }
    written(&told).into_bytes()
}

fn write_choice(index: usize, choice: &Choice, legacy: bool) -> Value {
    let (mut text, mut refusal, mut reasoning) = (String::new(), String::new(), String::new());
    let (mut calls, mut details) = (Vec::new(), Vec::new());
    for part in &choice.parts {
        match part {
            Part::Text { text: more, .. } => text.push_str(more),
            Part::Refusal(more) => refusal.push_str(more),
            Part::Reasoning { text, signature } => {
                reasoning.push_str(text);
                if let Some(signature) = signature {
                    details.push(super::signed_detail(text, signature));
                }
            }
            Part::RedactedReasoning(data) => details.push(super::redacted_detail(data)),
            Part::ToolCall { id, name, arguments } => calls.push(super::call_object(id, name, arguments)),
            Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::ToolResult { .. } => {}
        }
    }
    let null_if = |text: String, null: bool| if null { Value::Null } else { Value::String(text) };
    let silent = text.is_empty() && (!calls.is_empty() || !refusal.is_empty());
    let mut message = Map::new();
    put_text(&mut message, "role", "assistant");
    put(&mut message, "content", null_if(text, silent));
    let refused = !refusal.is_empty();
    put(&mut message, "refusal", null_if(refusal, !refused));
    put(&mut message, "annotations", json!([]));
    if !reasoning.is_empty() {
        put(&mut message, "reasoning_content", reasoning.into());
    }
    if !details.is_empty() {
        put(&mut message, "reasoning_details", details.into());
    }
    let mut finish = finish_word(choice.finish);
    match calls.first().and_then(|call| call.get("function")).filter(|_| legacy) {
        Some(call) => {
            put(&mut message, "function_call", call.clone());
            finish = "function_call";
        }
        None if calls.is_empty() => {}
        None => {
            put(&mut message, "tool_calls", calls.into());
        }
    }
    json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish})
}

/// A provider's answer with our model name and the charge; every other byte of a member stays.
pub(super) fn relay(bytes: &[u8], stamp: &Stamp) -> Option<Vec<u8>> {
    let body = Body::parse(bytes.to_vec()).ok()?;
    let model = quoted(&stamp.model);
    let usage = with_cost(body.set("usage"), stamp);
    let mut changes: Vec<(&str, Option<Cow<'_, str>>)> = vec![("model", Some(model.into()))];
    if let Some(usage) = usage {
        changes.push(("usage", Some(usage.into())));
    }
    Some(body.rewritten(&changes))
}

fn with_cost(usage: Option<&str>, stamp: &Stamp) -> Option<String> {
    priced(usage?, stamp.cost?)
}

#[cfg(test)]
mod tests;
