//! The items of a request to a deployment: written from the hub, and mended where a caller's own cannot stay.
use super::{OURS, is_foreign};
use crate::json::{json, put};
use crate::{
    chat::{Media, Part, Request, Role, Tool},
    fault::Fault,
};
use serde_json::{Map, Value, value::RawValue};

/// A caller's items as a provider takes them that has nothing stored; `None` where they may stay as they are.
pub(super) fn mended(raw: &str) -> Option<String> {
    memchr::memmem::find(raw.as_bytes(), b"\"reasoning\"")?;
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let kept: Vec<&str> = items.iter().map(|item| item.get()).filter(|item| can_stand(item)).collect();
    (kept.len() < items.len()).then(|| format!("[{}]", kept.join(",")))
}

/// Reasoning that is sealed by another maker, or whose text its provider kept for itself, cannot be read by this one.
fn can_stand(raw: &str) -> bool {
    if !raw.contains("\"reasoning\"") {
        return true;
    }
    let item: Value = serde_json::from_str(raw).unwrap_or_default();
    let text = |name: &str| item.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match text("encrypted_content") {
        _ if text("type") != Some("reasoning") => true,
        Some(content) => !is_foreign(content),
        None => item.get("content").and_then(Value::as_array).is_some_and(|parts| !parts.is_empty()),
    }
}

/// The hub's messages as instructions and items.
pub(super) fn encode(request: &Request, system: &str) -> Result<(String, Vec<Value>), Fault> {
    let mut history = History { request, texts: Vec::new(), items: Vec::new() };
    let mut instructions = String::new();
    for (place, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System if history.items.is_empty() => {
                if !instructions.is_empty() {
                    instructions.push_str("\n\n");
                }
                instructions.push_str(&joined(&message.parts));
            }
            Role::System => history.say(system, vec![input_text(&joined(&message.parts))]),
            Role::User | Role::Tool => history.user(&message.parts, place)?,
            Role::Assistant => history.assistant(&message.parts),
        }
    }
    if history.items.is_empty() {
        // Instructions alone are a prompt elsewhere; here a user has to speak.
        history.say("user", vec![input_text(&std::mem::take(&mut instructions))]);
    }
    Ok((instructions, history.items))
}

struct History<'a> {
    request: &'a Request,
    /// The calls of tools whose input is text, by their ids.
    texts: Vec<&'a str>,
    items: Vec<Value>,
}

impl<'a> History<'a> {
    fn say(&mut self, role: &str, content: Vec<Value>) {
        self.items.push(json!({"type": "message", "role": role, "content": content}));
    }

    fn user(&mut self, parts: &[Part], place: usize) -> Result<(), Fault> {
        let mut beside = Vec::new();
        for part in parts {
            if let Part::ToolResult { id, parts, .. } = part {
                let output = if parts.iter().all(|part| matches!(part, Part::Text { .. })) {
                    joined(parts).into()
                } else {
                    let mut output = Vec::new();
                    for part in parts {
                        output.extend(content(part, place)?);
                    }
                    Value::Array(output)
                };
                let custom = self.texts.contains(&id.as_str());
                let kind = if custom { "custom_tool_call_output" } else { "function_call_output" };
                self.items.push(json!({"type": kind, "call_id": id, "output": output}));
            } else {
                beside.extend(content(part, place)?);
            }
        }
        if !beside.is_empty() {
            self.say("user", beside);
        }
        Ok(())
    }

    fn assistant(&mut self, parts: &'a [Part]) {
        let before = self.items.len();
        for part in parts {
            match part {
                Part::Text { text, .. } => self.say("assistant", vec![json!({"type": "output_text", "text": text})]),
                Part::Refusal(text) => self.say("assistant", vec![json!({"type": "refusal", "refusal": text})]),
                Part::Reasoning { text, signature: Some(signature) } => {
                    // Another maker's would be refused.
                    if let Some(content) = signature.strip_prefix(OURS) {
                        let summary =
                            if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) };
                        self.items.push(json!({"type": "reasoning", "summary": summary, "encrypted_content": content}));
                    }
                }
                Part::ToolCall { id, name, arguments } => self.call(id, name, arguments),
                _ => {}
            }
        }
        // Reasoning stands before what came of it, or not at all.
        while self.items.len() > before && self.items.last().is_some_and(|item| item["type"] == "reasoning") {
            self.items.pop();
        }
    }

    fn call(&mut self, id: &'a str, name: &str, arguments: &str) {
        if self.request.tools.iter().any(|tool| is_custom(tool, name)) {
            let input = match serde_json::from_str::<Value>(arguments) {
                Ok(Value::Object(mut members)) => members.remove("input").unwrap_or_default(),
                _ => arguments.into(),
            };
            self.texts.push(id);
            self.items.push(json!({"type": "custom_tool_call", "call_id": id, "name": name, "input": input}));
            return;
        }
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        self.items.push(json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments}));
    }
}

/// Whether it is a chat completion's tool of that name whose input is text.
pub(super) fn is_custom(tool: &Tool, name: &str) -> bool {
    matches!(tool, Tool::Native(native) if native.get("custom").and_then(|custom| custom.get("name")).is_some_and(|told| told == name))
}

fn joined(parts: &[Part]) -> String {
    let mut told = String::new();
    for part in parts {
        if let Part::Text { text, .. } = part {
            if !told.is_empty() {
                told.push_str("\n\n");
            }
            told.push_str(text);
        }
    }
    told
}

fn input_text(text: &str) -> Value {
    json!({"type": "input_text", "text": text})
}

/// A part of a user's message or of a tool's output.
fn content(part: &Part, place: usize) -> Result<Option<Value>, Fault> {
    let refused = |what: &str| {
        let path = format!("messages[{place}].content");
        let message =
            format!("`{path}` holds {what}, which the chosen model's provider does not take. Name another model.");
        Fault::invalid("unsupported_parameter", message).with_param(&path)
    };
    let mut told = Map::new();
    let mut text = |name: &str, value: &str| put(&mut told, name, value.into());
    match part {
        Part::Text { text, .. } => return Ok(Some(input_text(text))),
        Part::Image { source, detail, .. } => {
            text("type", "input_image");
            match source {
                Media::Url(url) => text("image_url", url),
                Media::Base64 { media_type, data } => text("image_url", &format!("data:{media_type};base64,{data}")),
                Media::Id(_) => return Err(refused("an image known to another provider by its id")),
            }
            text("detail", detail.as_deref().unwrap_or("auto"));
        }
        Part::File { source, name, .. } => {
            text("type", "input_file");
            match source {
                Media::Url(url) => text("file_url", url),
                Media::Base64 { media_type, data } => {
                    text("filename", name.as_deref().unwrap_or("file"));
                    text("file_data", &format!("data:{media_type};base64,{data}"));
                }
                Media::Id(_) => return Err(refused("a file known to another provider by its id")),
            }
        }
        Part::Audio { .. } => return Err(refused("sound")),
        Part::Refusal(_)
        | Part::Reasoning { .. }
        | Part::RedactedReasoning(_)
        | Part::ToolCall { .. }
        | Part::ToolResult { .. } => {
            return Ok(None);
        }
    }
    Ok(Some(Value::Object(told)))
}
