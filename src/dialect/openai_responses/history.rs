//! The items of a request to a deployment: written from the hub, and mended where a caller's own cannot stay.
use super::{
    super::{
        carried::{SIGNED, short_id, shorten},
        drop_tools,
        writing::{member, open, text},
    },
    OURS, call_words, input_of, is_foreign,
};
use crate::{
    body::quoted,
    chat::{Media, Part, Request, Role, Tool},
    fault::Fault,
    json::written,
};
use serde_json::{Map, Value, value::RawValue};
use std::borrow::Cow;

/// Items in the middle of a conversation that offer further tools.
const OFFERING: [&str; 2] = ["\"additional_tools\"", "\"tool_search_output\""];

/// A caller's items as a provider takes them that has nothing stored; `None` where they may stay as they are.
pub(super) fn mended(raw: &str) -> Option<String> {
    let signed = raw.contains(SIGNED);
    let offers = OFFERING.iter().any(|kind| raw.contains(kind));
    if !signed && !offers && !raw.contains("\"reasoning\"") {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut kept: Vec<Cow<'_, str>> = Vec::with_capacity(items.len());
    for item in items.iter().map(|item| item.get()).filter(|item| can_stand(item)) {
        kept.push(if item.contains(SIGNED) {
            shortened(item)?.into()
        } else if OFFERING.iter().any(|kind| item.contains(kind)) {
            with_own_tools(item)?.into()
        } else {
            item.into()
        });
    }
    (signed || offers || kept.len() < items.len()).then(|| format!("[{}]", kept.join(",")))
}

/// An item that offers tools, without those a provider would run.
fn with_own_tools(raw: &str) -> Option<String> {
    let mut item: Value = serde_json::from_str(raw).ok()?;
    if let Some(Value::Array(tools)) = item.get_mut("tools") {
        drop_tools(tools, &|kind| !["function", "custom", "namespace"].contains(&kind));
    }
    Some(written(&item))
}

/// An item without another maker's signature in its call's id.
fn shortened(raw: &str) -> Option<String> {
    let mut item: Map<String, Value> = serde_json::from_str(raw).ok()?;
    shorten(&mut item);
    Some(written(&Value::Object(item)))
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

/// Writes the hub's messages as instructions and items.
pub(super) fn encode(request: &Request, system: &str, out: &mut String) -> Result<(), Fault> {
    let mut history = History { request, texts: Vec::new(), items: String::new(), wrong: None };
    let mut instructions = String::new();
    for (place, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System if history.items.is_empty() => {
                if !instructions.is_empty() {
                    instructions.push_str("\n\n");
                }
                instructions.push_str(&joined(&message.parts));
            }
            Role::System => history.say(system, "input_text", "text", &joined(&message.parts)),
            Role::User | Role::Tool => history.user(&message.parts, place),
            Role::Assistant => history.assistant(&message.parts),
        }
    }
    if history.items.is_empty() {
        // Instructions alone are a prompt elsewhere; here a user has to speak.
        history.say("user", "input_text", "text", &instructions);
        instructions.clear();
    }
    if let Some((what, place)) = history.wrong {
        let path = format!("messages[{place}].content");
        let message =
            format!("`{path}` holds {what}, which the chosen model's provider does not take. Name another model.");
        return Err(Fault::invalid("unsupported_parameter", message).with_param(&path));
    }
    if !instructions.is_empty() {
        text(out, "instructions", &instructions);
    }
    member(out, "input", "[");
    out.push_str(&history.items);
    out.push(']');
    Ok(())
}

struct History<'a> {
    request: &'a Request,
    /// The calls of tools whose input is text, by their ids.
    texts: Vec<&'a str>,
    /// JSON, one after the other.
    items: String,
    /// What cannot be said, and in which message it stands.
    wrong: Option<(&'static str, usize)>,
}

impl<'a> History<'a> {
    /// A message of one part.
    fn say(&mut self, role: &str, kind: &str, name: &str, words: &str) {
        let mut content = String::new();
        open(&mut content, '{');
        text(&mut content, "type", kind);
        text(&mut content, name, words);
        content.push('}');
        self.message(role, &content);
    }

    fn message(&mut self, role: &str, content: &str) {
        let out = &mut self.items;
        open(out, '{');
        text(out, "type", "message");
        text(out, "role", role);
        member(out, "content", "[");
        out.push_str(content);
        out.push_str("]}");
    }

    fn user(&mut self, parts: &[Part], place: usize) {
        let mut beside = String::new();
        for part in parts {
            let Part::ToolResult { id, parts, .. } = part else {
                self.content(part, place, &mut beside);
                continue;
            };
            let mut output = String::from("[");
            for part in parts {
                self.content(part, place, &mut output);
            }
            output.push(']');
            if parts.iter().all(|part| matches!(part, Part::Text { .. })) {
                output = quoted(&joined(parts));
            }
            let custom = self.texts.contains(&short_id(id));
            let out = &mut self.items;
            open(out, '{');
            text(out, "type", if custom { "custom_tool_call_output" } else { "function_call_output" });
            text(out, "call_id", short_id(id));
            member(out, "output", &output);
            out.push('}');
        }
        if !beside.is_empty() {
            self.message("user", &beside);
        }
    }

    fn assistant(&mut self, parts: &'a [Part]) {
        // Reasoning stands before what came of it, or not at all.
        let last = parts.iter().rposition(|part| !matches!(part, Part::Reasoning { .. } | Part::RedactedReasoning(_)));
        for part in parts.iter().take(last.map_or(0, |last| last + 1)) {
            match part {
                Part::Text { text, .. } => self.say("assistant", "output_text", "text", text),
                Part::Refusal(text) => self.say("assistant", "refusal", "refusal", text),
                Part::Reasoning { text: told, signature: Some(signature) } => {
                    // Another maker's would be refused.
                    let Some(content) = signature.strip_prefix(OURS) else { continue };
                    let out = &mut self.items;
                    open(out, '{');
                    text(out, "type", "reasoning");
                    text(out, "encrypted_content", content);
                    member(out, "summary", "[");
                    if !told.is_empty() {
                        open(out, '{');
                        text(out, "type", "summary_text");
                        text(out, "text", told);
                        out.push('}');
                    }
                    out.push_str("]}");
                }
                Part::ToolCall { id, name, arguments } => self.call(id, name, arguments),
                _ => {}
            }
        }
    }

    fn call(&mut self, id: &'a str, name: &str, arguments: &str) {
        let custom = self.request.tools.iter().any(|tool| is_custom(tool, name));
        let (kind, argument) = call_words(custom);
        let input;
        let told = match arguments {
            _ if custom => {
                self.texts.push(short_id(id));
                input = input_of(arguments);
                &input
            }
            "" => "{}",
            arguments => arguments,
        };
        open(&mut self.items, '{');
        for (name, value) in [("type", kind), ("call_id", short_id(id)), ("name", name), (argument, told)] {
            text(&mut self.items, name, value);
        }
        self.items.push('}');
    }

    /// A part of a user's message or of a tool's output.
    fn content(&mut self, part: &Part, place: usize, out: &mut String) {
        let (kind, source, bytes, address) = match part {
            Part::Text { text: words, .. } => {
                open(out, '{');
                text(out, "type", "input_text");
                text(out, "text", words);
                return out.push('}');
            }
            Part::Image { source, .. } => ("input_image", source, "image_url", "image_url"),
            Part::File { source, .. } => ("input_file", source, "file_data", "file_url"),
            Part::Audio { .. } => {
                self.wrong.get_or_insert(("sound", place));
                return;
            }
            _ => return,
        };
        open(out, '{');
        text(out, "type", kind);
        if let Part::Image { detail, .. } = part {
            text(out, "detail", detail.as_deref().unwrap_or("auto"));
        }
        match source {
            Media::Url(url) => text(out, address, url),
            Media::Base64 { media_type, data } => {
                if let Part::File { name, .. } = part {
                    text(out, "filename", name.as_deref().unwrap_or("file"));
                }
                text(out, bytes, &format!("data:{media_type};base64,{data}"));
            }
            Media::Id(_) => {
                self.wrong.get_or_insert(("a file known to another provider by its id", place));
            }
        }
        out.push('}');
    }
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
