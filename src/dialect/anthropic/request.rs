//! A caller's message request to the hub.
use super::super::reading::{self, Fields};
use crate::json::put;
use crate::{
    body::{Body, quoted},
    chat::{CacheMark, Effort, Format, Media, Message, Part, Request, Role, Sampling, Tool, ToolChoice},
    fault::Fault,
    json::written,
};
use serde_json::Value;

pub(super) fn decode(body: &Body) -> Result<Request, Fault> {
    reading::decode(body, request)
}

fn request(fields: &mut Fields<'_>) -> Request {
    let model = fields.needed_text("model");
    let max_output_tokens = fields.count("max_tokens", 0);
    if max_output_tokens.is_none() {
        fields.missing("max_tokens", "the most tokens the answer may have");
    }
    standard_prices_only(fields);
    let messages = messages(fields);
    let mut tools = Vec::new();
    fields.each("tools", &mut |fields| tools.push(tool(fields)));
    let (mut tool_choice, mut parallel_tool_calls) = (None, None);
    fields.nested("tool_choice", &mut |fields| {
        tool_choice = choice(fields);
        parallel_tool_calls = fields.flag("disable_parallel_tool_use").map(|disabled| !disabled);
    });
    let (effort, format) = thinking_and_format(fields);
    let mut user = None;
    fields.nested("metadata", &mut |fields| user = fields.text("user_id"));
    Request {
        service_tier: None,
        separate: false,
        hosted: Vec::new(),
        headers: Vec::new(),
        model,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        format,
        max_output_tokens,
        sampling: Sampling {
            temperature: fields.number("temperature", 0, 1),
            top_p: fields.number("top_p", 0, 1),
            top_k: fields.count("top_k", 0),
            stop: fields.texts("stop_sequences"),
            ..Sampling::default()
        },
        effort,
        choices: None,
        stream: fields.flag("stream").unwrap_or(false),
        wants_usage: true,
        user,
        rest: fields.rest(),
    }
}

/// The catalog holds the prices of the standard speed and of no particular place.
fn standard_prices_only(fields: &mut Fields<'_>) {
    for (name, standard) in [("speed", &["standard"][..]), ("inference_geo", &["global", "not_available"])] {
        if let Some(word) = fields.text(name).filter(|word| !standard.contains(&word.as_str())) {
            let word = quoted(&word);
            let message = format!("`{name}` {word} has its own prices, which are not offered here. Leave it out.");
            fields.wrong(Fault::invalid("unsupported_parameter", message).with_param(name));
        }
    }
}

fn messages(fields: &mut Fields<'_>) -> Vec<Message> {
    let mut told = Vec::new();
    let mut parts = Vec::new();
    content(fields, "system", Role::System, &mut parts);
    if !parts.is_empty() {
        told.push(Message { role: Role::System, parts, name: None });
    }
    let before = told.len();
    fields.each("messages", &mut |fields| {
        let word = fields.needed_text("role");
        let role = match word.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            // Between turns, as Claude Code sends it.
            "system" => Role::System,
            _ => {
                fields.must_be_one_of("role", &["user", "assistant", "system"], &word);
                Role::User
            }
        };
        let mut parts = Vec::new();
        if !content(fields, "content", role, &mut parts) {
            fields.missing("content", "a string or an array of content blocks");
        }
        told.push(Message { role, parts, name: None });
    });
    if told.len() == before {
        fields.missing("messages", "at least one message");
    }
    told
}

/// A string, an array of blocks, or nothing; whether there was something.
fn content(fields: &mut Fields<'_>, name: &str, role: Role, parts: &mut Vec<Part>) -> bool {
    match fields.take(name) {
        None => return false,
        Some(Value::String(text)) => parts.push(Part::text(text)),
        Some(Value::Array(items)) => fields.items(name, items, &mut |fields| block(fields, role, parts)),
        Some(other) => fields.must_be(name, "a string or an array of content blocks", &other),
    }
    true
}

fn block(fields: &mut Fields<'_>, role: Role, parts: &mut Vec<Part>) {
    const NEEDED: &str = "what this block is about";
    let kind = fields.needed_text("type");
    if role == Role::System && kind != "text" {
        fields.must_be("type", "\"text\" in this place", &kind.as_str().into());
    }
    let thinks = matches!(kind.as_str(), "thinking" | "redacted_thinking");
    let cache = if thinks { None } else { fields.cache_mark("cache_control") };
    let part = match kind.as_str() {
        "text" => {
            let text = fields.text("text");
            if text.is_none() {
                fields.missing("text", NEEDED);
            }
            Part::Text { text: text.unwrap_or_default(), cache }
        }
        "image" => {
            let mut media = Media::Url(String::new());
            fields.needed("source", NEEDED, &mut |fields| {
                let kind = fields.needed_text("type");
                media = source(fields, &kind);
            });
            Part::Image { source: media, detail: None, cache }
        }
        "document" => return document(fields, cache, parts),
        "thinking" => Part::Reasoning {
            text: fields.text("thinking").unwrap_or_default(),
            signature: fields.text("signature").filter(|text| !text.is_empty()),
        },
        "redacted_thinking" => Part::RedactedReasoning(fields.needed_text("data")),
        "tool_use" => Part::ToolCall {
            id: fields.needed_text("id"),
            name: fields.needed_text("name"),
            arguments: written(&Value::Object(fields.object("input").unwrap_or_default())),
        },
        "tool_result" => {
            let (id, mut inner) = (fields.needed_text("tool_use_id"), Vec::new());
            content(fields, "content", Role::Tool, &mut inner);
            Part::ToolResult { id, parts: inner, is_error: fields.flag("is_error").unwrap_or(false), cache }
        }
        // What the provider's own tools did, search results and what is new: text to any other provider.
        _ => {
            let mut block = fields.rest();
            put(&mut block, "type", kind.into());
            Part::Text { text: written(&Value::Object(block)), cache }
        }
    };
    parts.push(part);
}

/// A document is a file, or text under a title.
fn document(fields: &mut Fields<'_>, cache: Option<CacheMark>, parts: &mut Vec<Part>) {
    let (mut title, context) = (fields.text("title"), fields.text("context"));
    let mut inner = Vec::new();
    fields.needed("source", "an object with the document", &mut |fields| {
        let kind = fields.needed_text("type");
        match kind.as_str() {
            "text" => inner.push(Part::text(fields.needed_text("data"))),
            "content" => drop(content(fields, "content", Role::User, &mut inner)),
            _ => inner.push(Part::File { source: source(fields, &kind), name: title.take(), cache: None }),
        }
    });
    if let Some(Part::Text { cache: slot, .. } | Part::Image { cache: slot, .. } | Part::File { cache: slot, .. }) =
        inner.last_mut()
    {
        *slot = cache;
    }
    parts.extend(title.map(Part::text));
    parts.extend(context.map(Part::text));
    parts.append(&mut inner);
}

fn source(fields: &mut Fields<'_>, kind: &str) -> Media {
    match kind {
        "base64" => Media::Base64 { media_type: fields.needed_text("media_type"), data: fields.needed_text("data") },
        "url" => Media::Url(fields.needed_text("url")),
        "file" => Media::Id(fields.needed_text("file_id")),
        _ => {
            fields.must_be_one_of("type", &["base64", "url", "file"], kind);
            Media::Url(String::new())
        }
    }
}

fn tool(fields: &mut Fields<'_>) -> Tool {
    // Tools of one's own often come without a type.
    if let Some(kind) = fields.text("type").filter(|kind| kind != "custom") {
        let mut native = fields.rest();
        put(&mut native, "type", kind.into());
        return Tool::Native(Value::Object(native));
    }
    Tool::Function {
        name: fields.needed_text("name"),
        description: fields.text("description"),
        parameters: fields.object("input_schema").map(Value::Object),
        strict: fields.flag("strict"),
        cache: fields.cache_mark("cache_control"),
    }
}

fn choice(fields: &mut Fields<'_>) -> Option<ToolChoice> {
    let kind = fields.needed_text("type");
    match kind.as_str() {
        "auto" => Some(ToolChoice::Auto),
        "any" => Some(ToolChoice::Required),
        "none" => Some(ToolChoice::None),
        "tool" => Some(ToolChoice::Named(fields.needed_text("name"))),
        _ => {
            fields.must_be_one_of("type", &["auto", "any", "tool", "none"], &kind);
            None
        }
    }
}

/// How much to think, from `thinking` and `output_config.effort`; the form, from `output_config.format`.
fn thinking_and_format(fields: &mut Fields<'_>) -> (Option<Effort>, Format) {
    let mut thinking = None;
    fields.nested("thinking", &mut |fields| {
        thinking = Some((fields.needed_text("type"), fields.count("budget_tokens", 1)));
    });
    let (mut effort, mut format_now, mut format_before) = (None, None, None);
    fields.nested("output_config", &mut |fields| {
        if let Some(word) = fields.text("effort") {
            effort = Effort::of_word(&word);
            if effort.is_none() {
                fields.must_be_one_of("effort", &["low", "medium", "high", "xhigh", "max"], &word);
            }
        }
        fields.nested("format", &mut |fields| format_now = Some(format(fields)));
    });
    fields.nested("output_format", &mut |fields| format_before = Some(format(fields)));
    let effort = match thinking {
        None => effort,
        Some((kind, _)) if kind == "disabled" => Some(Effort::None),
        Some((_, Some(budget))) => effort.or(Some(super::thinking::effort_of(budget))),
        // The provider's own default.
        Some((_, None)) => effort.or(Some(Effort::High)),
    };
    (effort, format_now.or(format_before).unwrap_or_default())
}

fn format(fields: &mut Fields<'_>) -> Format {
    let kind = fields.needed_text("type");
    if kind != "json_schema" {
        fields.must_be("type", "\"json_schema\"", &kind.into());
    }
    let schema = fields.object("schema");
    if schema.is_none() {
        fields.missing("schema", "a JSON Schema");
    }
    Format::JsonSchema {
        name: "answer".to_owned(),
        description: None,
        schema: Value::Object(schema.unwrap_or_default()),
        strict: Some(true),
    }
}

#[cfg(test)]
mod tests;
