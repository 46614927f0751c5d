//! The items of a caller's `input` to the hub's messages.
//!
//! There are some thirty types, and more every year. What the hub has no word for never breaks a request: it is left out,
//! but for the text in it.
use super::{
    super::reading::{Fields, media},
    REDACTED, flat_name, request, unsealed,
};
use crate::json::{json, written};
use crate::{
    chat::{Media, Message, Part, Role, Tool},
    fault::Fault,
};
use serde_json::Value;

/// What a request has told so far.
#[derive(Default)]
pub(super) struct Asked {
    pub messages: Vec<Message>,
    pub tools: Vec<Tool>,
    /// The types of tools a provider would run.
    pub hosted: Vec<String>,
}

impl Asked {
    /// Adds a part: what the model said in one turn, and what came of its calls, are one message each.
    pub(super) fn push(&mut self, role: Role, part: Part) {
        match self.messages.last_mut() {
            Some(last) if last.role == role && matches!(role, Role::Assistant | Role::Tool) => last.parts.push(part),
            _ => self.messages.push(Message { role, parts: vec![part], name: None }),
        }
    }

    fn has_call(&self, wanted: &str) -> bool {
        let is_it = |part: &Part| matches!(part, Part::ToolCall { id, .. } if id == wanted);
        self.messages.iter().any(|message| message.parts.iter().any(is_it))
    }
}

pub(super) fn read(fields: &mut Fields<'_>, asked: &mut Asked) {
    const WANTED: &str = "a string or an array of items";
    match fields.take("input") {
        None => fields.missing("input", WANTED),
        Some(Value::String(text)) => asked.push(Role::User, Part::text(text)),
        Some(Value::Array(items)) => {
            fields.items("input", items, &mut |fields| item(fields, asked));
            if asked.messages.is_empty() {
                fields.missing("input", "at least one item with text");
            }
        }
        Some(other) => fields.must_be("input", WANTED, &other),
    }
}

fn item(fields: &mut Fields<'_>, asked: &mut Asked) {
    let kind = fields.text("type").unwrap_or_default();
    match kind.as_str() {
        "" | "message" => message(fields, asked),
        "function_call" | "custom_tool_call" => {
            let (id, name) = (fields.needed_text("call_id"), fields.needed_text("name"));
            let name = flat_name(fields.text("namespace").as_deref(), &name);
            let arguments = if kind == "function_call" {
                fields.text("arguments").unwrap_or_default()
            } else {
                written(&json!({"input": fields.text("input").unwrap_or_default()}))
            };
            asked.push(Role::Assistant, Part::ToolCall { id, name, arguments });
        }
        "function_call_output" | "custom_tool_call_output" => {
            let (id, mut parts) = (fields.needed_text("call_id"), Vec::new());
            content(fields, "output", &mut parts);
            asked.push(Role::Tool, Part::ToolResult { id, parts, is_error: false, cache: None });
        }
        "reasoning" => reasoning(fields, asked),
        "item_reference" => {
            let path = fields.path_of("id");
            let message = format!(
                "`{path}` names a stored item, and nothing is stored here. Send the item itself, as clients do with `store` false."
            );
            fields.wrong(Fault::invalid("unsupported_parameter", message).with_param(&path));
        }
        "additional_tools" => fields.each("tools", &mut |fields| request::tool(fields, None, asked)),
        _ => other(fields, &kind, asked),
    }
}

fn message(fields: &mut Fields<'_>, asked: &mut Asked) {
    let word = fields.needed_text("role");
    let role = match word.as_str() {
        "system" | "developer" => Role::System,
        "assistant" => Role::Assistant,
        _ => Role::User,
    };
    if role == Role::User && word != "user" {
        fields.must_be_one_of("role", &["user", "assistant", "system", "developer"], &word);
    }
    let mut parts = Vec::new();
    content(fields, "content", &mut parts);
    if role == Role::Assistant {
        for part in parts {
            asked.push(role, part);
        }
    } else if !parts.is_empty() {
        asked.messages.push(Message { role, parts, name: None });
    }
}

/// A string or an array of parts.
fn content(fields: &mut Fields<'_>, name: &str, parts: &mut Vec<Part>) {
    const WANTED: &str = "a string or an array of content parts";
    match fields.take(name) {
        None => fields.missing(name, WANTED),
        Some(Value::String(text)) => parts.push(Part::text(text)),
        Some(Value::Array(items)) => fields.items(name, items, &mut |fields| part(fields, parts)),
        Some(other) => fields.must_be(name, WANTED, &other),
    }
}

fn part(fields: &mut Fields<'_>, parts: &mut Vec<Part>) {
    let kind = fields.needed_text("type");
    let cache = fields.cache_mark("prompt_cache_breakpoint");
    let part = match kind.as_str() {
        "input_text" | "output_text" | "text" => Part::Text { text: fields.any_text("text"), cache },
        "input_image" => {
            let source = source(fields, &["image_url"], "`image_url` or `file_id`");
            Part::Image { source, detail: fields.text("detail"), cache }
        }
        "input_file" => {
            let name = fields.text("filename");
            let source = source(fields, &["file_data", "file_url"], "`file_data`, `file_url` or `file_id`");
            Part::File { source, name, cache }
        }
        "input_audio" => fields.input_audio(),
        "refusal" => Part::Refusal(fields.text("refusal").unwrap_or_default()),
        _ => match fields.take("text") {
            Some(Value::String(text)) => Part::Text { text, cache },
            _ => return,
        },
    };
    parts.push(part);
}

/// Bytes or an address under one of `names`, or a provider's id.
fn source(fields: &mut Fields<'_>, names: &[&str], wanted: &str) -> Media {
    for name in names {
        if let Some(told) = fields.text(name) {
            return media(told);
        }
    }
    let id = fields.text("file_id");
    if id.is_none() {
        fields.lacks(wanted);
    }
    Media::Id(id.unwrap_or_default())
}

/// Open models tell their reasoning in `content`, others a summary of it and the rest sealed.
fn reasoning(fields: &mut Fields<'_>, asked: &mut Asked) {
    let (mut summary, mut text) = (String::new(), String::new());
    for (name, into) in [("summary", &mut summary), ("content", &mut text)] {
        fields.each(name, &mut |fields| {
            if !into.is_empty() {
                into.push_str("\n\n");
            }
            into.push_str(&fields.text("text").unwrap_or_default());
        });
    }
    let text = if text.is_empty() { summary } else { text };
    let content = fields.text("encrypted_content").filter(|content| !content.is_empty());
    match content.as_deref().map(|content| content.strip_prefix(REDACTED).ok_or(content)) {
        Some(Ok(data)) => asked.push(Role::Assistant, Part::RedactedReasoning(data.to_owned())),
        Some(Err(content)) => asked.push(Role::Assistant, Part::Reasoning { text, signature: Some(unsealed(content)) }),
        None if !text.is_empty() => asked.push(Role::Assistant, Part::Reasoning { text, signature: None }),
        None => {}
    }
}

/// Items of tools only this dialect knows. Calls the caller answered stay calls, so that agents can go on with another
/// model; of the rest only text is left.
fn other(fields: &mut Fields<'_>, kind: &str, asked: &mut Asked) {
    let id = match fields.take("call_id") {
        Some(Value::String(id)) => id,
        _ => String::new(),
    };
    if kind == "tool_search_output" {
        fields.each("tools", &mut |fields| request::tool(fields, None, asked));
    }
    if let Some(name) = kind.strip_suffix("_call").filter(|_| !id.is_empty()) {
        let mut arguments = fields.rest();
        for name in ["id", "status"] {
            arguments.shift_remove(name);
        }
        let arguments = written(&Value::Object(arguments));
        asked.push(Role::Assistant, Part::ToolCall { id, name: name.to_owned(), arguments });
        return;
    }
    let part = fields.take("output").map(|output| match output {
        Value::String(text) => Part::text(text),
        // A picture of the screen.
        other => match other.get("image_url").and_then(Value::as_str) {
            Some(url) => Part::Image { source: media(url.to_owned()), detail: None, cache: None },
            None => Part::text(written(&other)),
        },
    });
    if kind.ends_with("_output") && asked.has_call(&id) {
        let parts = part.into_iter().collect();
        asked.push(Role::Tool, Part::ToolResult { id, parts, is_error: false, cache: None });
    } else if let Some(part @ Part::Text { .. }) = part {
        asked.push(Role::Assistant, part);
    }
}
