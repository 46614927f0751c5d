//! The messages of a request to a deployment: written from the hub, and mended where a deployment wants them otherwise.
//!
//! A caller's own messages are copied as they came; only those that must change are parsed.
use super::super::carried::{is_signed, shorten};
use crate::json::{json, put, put_text, written};
use crate::{
    catalog::{Deployment, Quirk, sha256_hex},
    chat::{Media, Message, Part, Request, Role},
    fault::Fault,
};
use serde_json::{Map, Value, value::RawValue};

/// Names under which reasoning travels in an assistant's message.
const REASONING: [&str; 4] = ["reasoning_content", "reasoning", "reasoning_details", "thinking_blocks"];

/// A caller's messages as the deployment wants them; `None` where they may stay as they are.
pub(super) fn mended(raw: &str, request: &Request, deployment: &Deployment) -> Option<String> {
    // The hub has one message for each of the caller's, in order.
    let developer = deployment.has(Quirk::NoDeveloperRole) && raw.contains("\"developer\"");
    let last = request.messages.len().saturating_sub(1);
    let touched = |place: usize, message: &Message| {
        (developer && message.role == Role::System) || touches(message, place == last, deployment)
    };
    if !request.messages.iter().enumerate().any(|(place, message)| touched(place, message)) {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut out = String::with_capacity(raw.len() + 64);
    for (place, (item, message)) in items.iter().zip(&request.messages).enumerate() {
        out.push(if place == 0 { '[' } else { ',' });
        match serde_json::from_str(item.get()) {
            Ok(mut value) if touched(place, message) => {
                mend_message(&mut value, place == last, deployment);
                out.push_str(&written(&value));
            }
            _ => out.push_str(item.get()),
        }
    }
    out.push(']');
    Some(out)
}

/// Mends messages of our own writing.
pub(super) fn mend(messages: &mut [Value], deployment: &Deployment) {
    let last = messages.len().saturating_sub(1);
    for (place, message) in messages.iter_mut().enumerate() {
        mend_message(message, place == last, deployment);
    }
}

/// Whether a message may not go to the deployment as it stands.
fn touches(message: &Message, last: bool, deployment: &Deployment) -> bool {
    let is_reasoning = |part: &Part| matches!(part, Part::Reasoning { .. } | Part::RedactedReasoning(_));
    let assistant = message.role == Role::Assistant;
    // What an organisation's own provider (without a credential of ours) makes of reasoning, its callers know.
    let known = deployment.provider.credential.is_some();
    if assistant && (deployment.has(Quirk::ReasoningReplay) || (known && message.parts.iter().any(is_reasoning))) {
        return true;
    }
    message.parts.iter().any(is_signed)
        || (deployment.has(Quirk::KnownMembers) && message.parts.iter().any(is_marked))
        || (assistant && last && deployment.has(Quirk::PrefillPrefix))
        || (deployment.has(Quirk::ToolId9)
            && message.parts.iter().any(|part| match part {
                Part::ToolCall { id, .. } | Part::ToolResult { id, .. } => !is_nine(id),
                _ => false,
            }))
}

fn mend_message(message: &mut Value, last: bool, deployment: &Deployment) {
    let Some(members) = message.as_object_mut() else { return };
    let role = members.get("role").and_then(Value::as_str).unwrap_or_default();
    if role == "developer" && deployment.has(Quirk::NoDeveloperRole) {
        put_text(members, "role", "system");
        return;
    }
    let assistant = role == "assistant";
    shorten(members);
    if deployment.has(Quirk::KnownMembers) {
        unmark(members);
    }
    if deployment.has(Quirk::ToolId9) {
        nine(members.get_mut("tool_call_id"));
        if let Some(Value::Array(calls)) = members.get_mut("tool_calls") {
            for call in calls.iter_mut() {
                nine(call.get_mut("id"));
            }
        }
    }
    if assistant {
        mend_reasoning(members, deployment);
        if last && deployment.has(Quirk::PrefillPrefix) {
            put(members, "prefix", true.into());
        }
    }
}

/// Whether a part carries a mark of the prompt cache, which only imitators know in this place.
fn is_marked(part: &Part) -> bool {
    match part {
        Part::Text { cache, .. } | Part::Image { cache, .. } | Part::File { cache, .. } => cache.is_some(),
        Part::ToolResult { cache, parts, .. } => cache.is_some() || parts.iter().any(is_marked),
        _ => false,
    }
}

fn unmark(members: &mut Map<String, Value>) {
    members.shift_remove("cache_control");
    if let Some(Value::Array(parts)) = members.get_mut("content") {
        for part in parts.iter_mut().filter_map(Value::as_object_mut) {
            part.shift_remove("cache_control");
        }
    }
}

/// Most hosts refuse members they do not know; some refuse a history without its reasoning, even an empty one.
fn mend_reasoning(members: &mut Map<String, Value>, deployment: &Deployment) {
    let texts =
        ["reasoning_content", "reasoning"].map(|name| members.get(name).and_then(Value::as_str).map(str::to_owned));
    for name in REASONING {
        members.shift_remove(name);
    }
    if deployment.has(Quirk::ReasoningReplay) {
        let text = texts.into_iter().flatten().next().unwrap_or_default();
        put(members, "reasoning_content", text.into());
    }
}

fn is_nine(id: &str) -> bool {
    id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Replaces a call's id by nine letters of its hash: the call and its result stay together.
fn nine(id: Option<&mut Value>) {
    if let Some(Value::String(id)) = id
        && !is_nine(id)
    {
        let mut hash = sha256_hex(id.as_bytes());
        hash.truncate(9);
        *id = hash;
    }
}

/// The hub's messages in this dialect.
pub(in crate::dialect) fn encode(request: &Request) -> Result<Vec<Value>, Fault> {
    let mut told = Vec::with_capacity(request.messages.len());
    for (place, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System => told.push(json!({"role": "system", "content": joined(&message.parts, "\n\n")})),
            Role::Assistant => told.push(assistant(&message.parts)),
            Role::User | Role::Tool => user(&message.parts, place, &mut told)?,
        }
    }
    Ok(told)
}

/// The texts of a message. Hosts without arrays of parts take a string alone.
fn joined<'a>(parts: impl IntoIterator<Item = &'a Part>, between: &str) -> String {
    let texts: Vec<&str> = parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join(between)
}

fn assistant(parts: &[Part]) -> Value {
    let text = joined(parts, "");
    let (mut reasoning, mut refusal, mut calls) = (String::new(), String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Reasoning { text, .. } => reasoning.push_str(text),
            Part::Refusal(text) => refusal.push_str(text),
            Part::ToolCall { id, name, arguments } => {
                let arguments = if arguments.is_empty() { "{}" } else { arguments };
                calls.push(super::call_object(id, name, arguments));
            }
            _ => {}
        }
    }
    let silent = text.is_empty() && (!calls.is_empty() || !refusal.is_empty());
    let mut message = Map::new();
    put_text(&mut message, "role", "assistant");
    put(&mut message, "content", if silent { Value::Null } else { text.into() });
    if !refusal.is_empty() {
        put(&mut message, "refusal", refusal.into());
    }
    if !calls.is_empty() {
        put(&mut message, "tool_calls", calls.into());
    }
    // Taken out again unless the deployment wants it.
    if !reasoning.is_empty() {
        put(&mut message, "reasoning_content", reasoning.into());
    }
    Value::Object(message)
}

/// A user's turn: results of tools first, each a message of its own, then what stood beside or inside them.
fn user(parts: &[Part], place: usize, told: &mut Vec<Value>) -> Result<(), Fault> {
    let mut beside = Vec::new();
    for part in parts {
        let Part::ToolResult { id, parts, .. } = part else {
            beside.push(part);
            continue;
        };
        told.push(json!({"role": "tool", "tool_call_id": id, "content": joined(parts, "\n\n")}));
        // A tool message holds text alone.
        beside.extend(parts.iter().filter(|part| !matches!(part, Part::Text { .. })));
    }
    if beside.is_empty() {
        return Ok(());
    }
    let all_text = beside.iter().all(|part| matches!(part, Part::Text { .. }));
    let content = if all_text {
        Value::from(joined(beside, "\n\n"))
    } else {
        let mut told = Vec::with_capacity(beside.len());
        for part in beside {
            told.extend(user_part(part, place)?);
        }
        told.into()
    };
    told.push(json!({"role": "user", "content": content}));
    Ok(())
}

fn user_part(part: &Part, place: usize) -> Result<Option<Value>, Fault> {
    let elsewhere = |what: &str| {
        let path = format!("messages[{place}].content");
        let message =
            format!("`{path}` holds {what}, which the chosen model's provider cannot fetch. Send its bytes as base64.");
        Fault::invalid("unsupported_parameter", message).with_param(&path)
    };
    Ok(match part {
        Part::Text { text, .. } => Some(json!({"type": "text", "text": text})),
        Part::Image { source, detail, .. } => {
            let url = match source {
                Media::Url(url) => url.clone(),
                Media::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
                Media::Id(_) => return Err(elsewhere("an image known to another provider by its id")),
            };
            let mut image = json!({ "url": url });
            if let (Some(detail), Some(members)) = (detail, image.as_object_mut()) {
                put_text(members, "detail", detail.as_str());
            }
            Some(json!({"type": "image_url", "image_url": image}))
        }
        Part::Audio { data, format } => {
            Some(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}))
        }
        Part::File { source, name, .. } => {
            let data = match source {
                Media::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
                Media::Url(_) => return Err(elsewhere("the address of a file")),
                Media::Id(_) => return Err(elsewhere("a file known to another provider by its id")),
            };
            let name = name.as_deref().unwrap_or("file");
            Some(json!({"type": "file", "file": {"file_data": data, "filename": name}}))
        }
        Part::Refusal(_)
        | Part::Reasoning { .. }
        | Part::RedactedReasoning(_)
        | Part::ToolCall { .. }
        | Part::ToolResult { .. } => None,
    })
}
