//! The items of a request to a deployment: written from the hub, and mended where a caller's own cannot stay.
use super::{
    super::carried::{SIGNED, short_id, shorten},
    OURS, call_words, input_of, is_foreign,
};
use crate::json::{json, put};
use crate::{
    chat::{Media, Part, Request, Role, Tool},
    fault::Fault,
};
use serde_json::{Map, Value, value::RawValue};
use std::borrow::Cow;

/// A caller's items as a provider takes them that has nothing stored; `None` where they may stay as they are.
pub(super) fn mended(raw: &str) -> Option<String> {
    let signed = raw.contains(SIGNED);
    if !signed && !raw.contains("\"reasoning\"") {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut kept: Vec<Cow<'_, str>> = Vec::with_capacity(items.len());
    for item in items.iter().map(|item| item.get()).filter(|item| can_stand(item)) {
        kept.push(if item.contains(SIGNED) { shortened(item)?.into() } else { item.into() });
    }
    (signed || kept.len() < items.len()).then(|| format!("[{}]", kept.join(",")))
}

/// An item without another maker's signature in its call's id.
fn shortened(raw: &str) -> Option<String> {
    let mut item: Map<String, Value> = serde_json::from_str(raw).ok()?;
    shorten(&mut item);
    Some(Value::Object(item).to_string())
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
pub(super) fn encode(request: &Request, system: &str) -> Result<(Option<String>, Vec<Value>), Fault> {
    let mut history = History { request, texts: Vec::new(), items: Vec::new(), wrong: None };
    let mut instructions = None;
    for (place, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System if history.items.is_empty() => {
                let told: &mut String = instructions.get_or_insert_default();
                if !told.is_empty() {
                    told.push_str("\n\n");
                }
                told.push_str(&joined(&message.parts));
            }
            Role::System => history.say(system, vec![json!({"type": "input_text", "text": joined(&message.parts)})]),
            Role::User | Role::Tool => history.user(&message.parts, place),
            Role::Assistant => history.assistant(&message.parts),
        }
    }
    if history.items.is_empty() {
        // Instructions alone are a prompt elsewhere; here a user has to speak.
        let text = instructions.take().unwrap_or_default();
        history.say("user", vec![json!({"type": "input_text", "text": text})]);
    }
    match history.wrong {
        None => Ok((instructions, history.items)),
        Some((what, place)) => {
            let path = format!("messages[{place}].content");
            let message =
                format!("`{path}` holds {what}, which the chosen model's provider does not take. Name another model.");
            Err(Fault::invalid("unsupported_parameter", message).with_param(&path))
        }
    }
}

struct History<'a> {
    request: &'a Request,
    /// The calls of tools whose input is text, by their ids.
    texts: Vec<&'a str>,
    items: Vec<Value>,
    /// What cannot be said, and in which message it stands.
    wrong: Option<(&'static str, usize)>,
}

impl<'a> History<'a> {
    fn say(&mut self, role: &str, content: Vec<Value>) {
        self.items.push(json!({"type": "message", "role": role, "content": content}));
    }

    fn user(&mut self, parts: &[Part], place: usize) {
        let mut beside = Vec::new();
        for part in parts {
            let Part::ToolResult { id, parts, .. } = part else {
                self.content(part, place, &mut beside);
                continue;
            };
            let mut output = Value::Array(Vec::new());
            if parts.iter().all(|part| matches!(part, Part::Text { .. })) {
                output = joined(parts).into();
            } else if let Value::Array(output) = &mut output {
                for part in parts {
                    self.content(part, place, output);
                }
            }
            let custom = self.texts.contains(&id.as_str());
            let kind = if custom { "custom_tool_call_output" } else { "function_call_output" };
            self.items.push(json!({"type": kind, "call_id": short_id(id), "output": output}));
        }
        if !beside.is_empty() {
            self.say("user", beside);
        }
    }

    fn assistant(&mut self, parts: &'a [Part]) {
        // Reasoning stands before what came of it, or not at all.
        let last = parts.iter().rposition(|part| !matches!(part, Part::Reasoning { .. } | Part::RedactedReasoning(_)));
        for part in parts.iter().take(last.map_or(0, |last| last + 1)) {
            match part {
                Part::Text { text, .. } => self.say("assistant", vec![json!({"type": "output_text", "text": text})]),
                Part::Refusal(text) => self.say("assistant", vec![json!({"type": "refusal", "refusal": text})]),
                Part::Reasoning { text, signature: Some(signature) } => {
                    // Another maker's would be refused.
                    if let Some(content) = signature.strip_prefix(OURS) {
                        let mut summary = Vec::new();
                        if !text.is_empty() {
                            summary.push(json!({"type": "summary_text", "text": text}));
                        }
                        self.items.push(json!({"type": "reasoning", "summary": summary, "encrypted_content": content}));
                    }
                }
                Part::ToolCall { id, name, arguments } => self.call(id, name, arguments),
                _ => {}
            }
        }
    }

    fn call(&mut self, id: &'a str, name: &str, arguments: &str) {
        let custom = self.request.tools.iter().any(|tool| is_custom(tool, name));
        let (kind, member) = call_words(custom);
        let input;
        let told = match arguments {
            _ if custom => {
                self.texts.push(id);
                input = input_of(arguments);
                &input
            }
            "" => "{}",
            arguments => arguments,
        };
        let mut item = Map::new();
        for (name, value) in [("type", kind), ("call_id", short_id(id)), ("name", name), (member, told)] {
            put(&mut item, name, value.into());
        }
        self.items.push(Value::Object(item));
    }

    /// A part of a user's message or of a tool's output.
    fn content(&mut self, part: &Part, place: usize, out: &mut Vec<Value>) {
        let mut told = Map::new();
        let mut text = |name: &str, value: &str| put(&mut told, name, value.into());
        let wrong = match part {
            Part::Text { text: words, .. } => {
                text("type", "input_text");
                text("text", words);
                None
            }
            Part::Image { source, detail, .. } => {
                text("type", "input_image");
                text("detail", detail.as_deref().unwrap_or("auto"));
                match source {
                    Media::Url(url) => text("image_url", url),
                    Media::Base64 { media_type, data } => text("image_url", &data_url(media_type, data)),
                    Media::Id(_) => {}
                }
                matches!(source, Media::Id(_)).then_some("an image known to another provider by its id")
            }
            Part::File { source, name, .. } => {
                text("type", "input_file");
                match source {
                    Media::Url(url) => text("file_url", url),
                    Media::Base64 { media_type, data } => {
                        text("filename", name.as_deref().unwrap_or("file"));
                        text("file_data", &data_url(media_type, data));
                    }
                    Media::Id(_) => {}
                }
                matches!(source, Media::Id(_)).then_some("a file known to another provider by its id")
            }
            Part::Audio { .. } => Some("sound"),
            _ => return,
        };
        out.push(Value::Object(told));
        if self.wrong.is_none() {
            self.wrong = wrong.map(|what| (what, place));
        }
    }
}

#[inline(never)]
fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

/// Whether it is a chat completion's tool of that name whose input is text.
pub(super) fn is_custom(tool: &Tool, name: &str) -> bool {
    let Tool::Native(native) = tool else { return false };
    native.get("custom").and_then(|custom| custom.get("name")).is_some_and(|told| told == name)
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
