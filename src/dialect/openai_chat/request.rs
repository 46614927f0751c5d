//! A caller's chat completion request to the hub.
use super::super::{
    carried::signed_id,
    reading::{self, Fields, media},
};
use crate::json::put;
use crate::{
    body::Body,
    chat::{CacheMark, Effort, Format, Media, Message, Part, Request, Role, Sampling, Tool, ToolChoice},
    fault::Fault,
    json::written,
};
use serde_json::{Map, Value};

pub(super) fn decode(body: &Body) -> Result<Request, Fault> {
    reading::decode(body, request)
}

fn request(fields: &mut Fields<'_>) -> Request {
    let model = fields.needed_text("model");
    let messages = messages(fields);
    let mut tools = tools(fields);
    let tool_choice = tool_choice(fields, &mut tools);
    let service_tier = fields.service_tier();
    // The newer name wins where a client sends both for the sake of older hosts.
    let (older, newer) = (fields.count("max_tokens", 0), fields.count("max_completion_tokens", 0));
    let mut wants_usage = None;
    fields.nested("stream_options", &mut |options| wants_usage = options.flag("include_usage"));
    let (user, safety_identifier) = (fields.text("user"), fields.text("safety_identifier"));
    Request {
        service_tier,
        separate: false,
        hosted: Vec::new(),
        headers: Vec::new(),
        model,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls: fields.flag("parallel_tool_calls"),
        format: format(fields),
        max_output_tokens: newer.or(older),
        sampling: Sampling {
            temperature: fields.number("temperature", 0, 2),
            top_p: fields.number("top_p", 0, 1),
            top_k: fields.count("top_k", 0),
            frequency_penalty: fields.number("frequency_penalty", -2, 2),
            presence_penalty: fields.number("presence_penalty", -2, 2),
            seed: fields.integer("seed"),
            stop: fields.texts("stop"),
        },
        effort: effort(fields),
        choices: choices(fields),
        stream: fields.flag("stream").unwrap_or(false),
        wants_usage: wants_usage.unwrap_or(false),
        user: safety_identifier.or(user),
        rest: fields.rest(),
    }
}

fn choices(fields: &mut Fields<'_>) -> Option<u32> {
    let count = fields.count("n", 1)?;
    let choices = u32::try_from(count).ok().filter(|count| *count <= 128);
    if choices.is_none() {
        fields.must_be("n", "a whole number from 1 to 128", &count.into());
    }
    choices
}

fn format(fields: &mut Fields<'_>) -> Format {
    let mut format = Format::Text;
    fields.nested("response_format", &mut |fields| {
        let kind = fields.needed_text("type");
        match kind.as_str() {
            "text" => {}
            "json_object" => format = Format::JsonObject,
            "json_schema" => fields.needed("json_schema", "an object with `name` and `schema`", &mut |fields| {
                format = fields.json_schema();
            }),
            _ => fields.must_be_one_of("type", &["text", "json_object", "json_schema"], &kind),
        }
    });
    format
}

/// The effort by `OpenAI`'s name, or inside the object `OpenRouter` knows.
fn effort(fields: &mut Fields<'_>) -> Option<Effort> {
    let named = fields.effort("reasoning_effort");
    let mut inside = None;
    fields.nested("reasoning", &mut |fields| inside = fields.effort("effort"));
    named.or(inside)
}

/// `tools`, and the deprecated `functions`.
fn tools(fields: &mut Fields<'_>) -> Vec<Tool> {
    let mut told = Vec::new();
    fields.each("tools", &mut |fields| {
        if let Some(kind) = fields.text("type").filter(|kind| kind != "function") {
            let mut native = fields.rest();
            put(&mut native, "type", kind.into());
            told.push(Tool::Native(Value::Object(native)));
            return;
        }
        let mut cache = cache_mark(fields);
        fields.needed("function", "an object with `name` and `parameters`", &mut |fields| {
            told.push(function(fields, cache.take()));
        });
    });
    fields.each("functions", &mut |fields| told.push(function(fields, None)));
    told
}

fn function(fields: &mut Fields<'_>, cache: Option<CacheMark>) -> Tool {
    Tool::Function {
        name: fields.needed_text("name"),
        description: fields.text("description"),
        parameters: fields.object("parameters").map(Value::Object),
        strict: fields.flag("strict"),
        cache,
    }
}

/// `tool_choice`, and the deprecated `function_call`. A choice among allowed tools is that many tools.
fn tool_choice(fields: &mut Fields<'_>, tools: &mut Vec<Tool>) -> Option<ToolChoice> {
    for name in ["tool_choice", "function_call"] {
        let mut choice = None;
        match fields.take(name) {
            None => continue,
            Some(Value::String(word)) => choice = fields.choice_word(name, &word),
            Some(value) => fields.object_in(name, value, &mut |fields| {
                choice = match name {
                    "function_call" => Some(ToolChoice::Named(fields.needed_text("name"))),
                    _ => choice_object(fields, tools),
                };
            }),
        }
        return choice;
    }
    None
}

fn choice_object(fields: &mut Fields<'_>, tools: &mut Vec<Tool>) -> Option<ToolChoice> {
    let kind = fields.needed_text("type");
    let mut choice = None;
    match kind.as_str() {
        "function" | "custom" => fields.needed(&kind, "an object with the tool's `name`", &mut |fields| {
            choice = Some(ToolChoice::Named(fields.needed_text("name")));
        }),
        "allowed_tools" => fields.needed("allowed_tools", "an object with `mode` and `tools`", &mut |fields| {
            let mode = fields.text("mode");
            choice = fields.choice_word("mode", mode.as_deref().unwrap_or("auto"));
            let mut names = Vec::new();
            fields.each("tools", &mut |fields| {
                fields.nested("function", &mut |fields| names.push(fields.needed_text("name")));
            });
            tools.retain(|tool| match tool {
                Tool::Function { name, .. } => names.contains(name),
                Tool::Native(_) => true,
            });
        }),
        _ => fields.must_be_one_of("type", &["function", "custom", "allowed_tools"], &kind),
    }
    choice
}

fn messages(fields: &mut Fields<'_>) -> Vec<Message> {
    let mut told = Vec::new();
    // The deprecated function calls have no ids: a result answers the call before it.
    let mut function_call = None;
    fields.each("messages", &mut |fields| {
        let message = message(fields, told.len() + 1, &mut function_call);
        told.push(message);
    });
    if told.is_empty() {
        fields.missing("messages", "at least one message");
    }
    told
}

fn message(fields: &mut Fields<'_>, place: usize, function_call: &mut Option<String>) -> Message {
    const USER: [&str; 5] = ["text", "image_url", "input_audio", "file", "document_url"];
    let word = fields.needed_text("role");
    let mut parts = Vec::new();
    let role = match word.as_str() {
        "system" | "developer" => {
            content(fields, &["text"], true, &mut parts);
            Role::System
        }
        "user" => {
            content(fields, &USER, true, &mut parts);
            Role::User
        }
        "assistant" => {
            assistant(fields, place, function_call, &mut parts);
            Role::Assistant
        }
        "tool" | "function" => {
            let id = match &*function_call {
                _ if word == "tool" => fields.needed_text("tool_call_id"),
                Some(id) => id.clone(),
                None => format!("call_{place}"),
            };
            let (cache, mut inner) = (cache_mark(fields), Vec::new());
            content(fields, &["text", "image_url", "file"], false, &mut inner);
            parts.push(Part::ToolResult { id, parts: inner, is_error: false, cache });
            Role::Tool
        }
        _ => {
            fields.must_be_one_of("role", &["system", "developer", "user", "assistant", "tool"], &word);
            Role::User
        }
    };
    Message { role, parts, name: fields.text("name") }
}

/// `content`: a string, an array of parts of the `allowed` types, or nothing where it need not be there.
fn content(fields: &mut Fields<'_>, allowed: &[&str], needed: bool, parts: &mut Vec<Part>) {
    const WANTED: &str = "a string or an array of content parts";
    match fields.take("content") {
        None if needed => fields.missing("content", WANTED),
        None => {}
        Some(Value::String(text)) => parts.push(Part::Text { text, cache: cache_mark(fields) }),
        Some(Value::Array(items)) => {
            fields.items("content", items, &mut |fields| parts.push(part(fields, allowed)));
        }
        Some(other) => fields.must_be("content", WANTED, &other),
    }
}

fn part(fields: &mut Fields<'_>, allowed: &[&str]) -> Part {
    let kind = fields.needed_text("type");
    if !allowed.contains(&kind.as_str()) {
        let wanted = format!("one of \"{}\" in this place", allowed.join("\", \""));
        fields.must_be("type", &wanted, &kind.as_str().into());
    }
    let cache = cache_mark(fields);
    match kind.as_str() {
        "image_url" => image(fields, cache),
        "input_audio" => fields.input_audio(),
        "file" => {
            let (mut source, mut name) = (Media::Url(String::new()), None);
            fields.needed("file", "an object with `file_data` or `file_id`", &mut |fields| {
                name = fields.text("filename");
                match (fields.text("file_data"), fields.text("file_id")) {
                    (Some(data), _) => source = media(data),
                    (None, Some(id)) => source = Media::Id(id),
                    (None, None) => fields.lacks("`file_data` or `file_id`"),
                }
            });
            Part::File { source, name, cache }
        }
        // Mistral's.
        "document_url" => {
            let (url, name) = (fields.needed_text("document_url"), fields.text("document_name"));
            Part::File { source: media(url), name, cache }
        }
        "refusal" => Part::Refusal(fields.text("refusal").unwrap_or_default()),
        "thinking" => Part::Reasoning {
            text: fields.take("thinking").as_ref().map_or_default(super::thinking_text),
            signature: fields.text("signature"),
        },
        _ => Part::Text { text: fields.any_text("text"), cache },
    }
}

fn image(fields: &mut Fields<'_>, cache: Option<CacheMark>) -> Part {
    let (mut url, mut detail) = (String::new(), None);
    match fields.take("image_url") {
        // Not by the book, but common.
        Some(Value::String(text)) => url = text,
        Some(value) => fields.object_in("image_url", value, &mut |fields| {
            url = fields.needed_text("url");
            detail = fields.text("detail");
        }),
        None => fields.missing("image_url", "an object with `url`"),
    }
    Part::Image { source: media(url), detail, cache }
}

/// Anthropic's `cache_control`, as `LiteLLM` and OpenRouter carry it, or OpenAI's explicit breakpoint.
fn cache_mark(fields: &mut Fields<'_>) -> Option<CacheMark> {
    let breakpoint = fields.cache_mark("prompt_cache_breakpoint");
    fields.cache_mark("cache_control").or(breakpoint)
}

fn assistant(fields: &mut Fields<'_>, place: usize, function_call: &mut Option<String>, parts: &mut Vec<Part>) {
    reasoning(fields, parts);
    content(fields, &["text", "refusal", "thinking"], false, parts);
    if let Some(text) = fields.text("refusal").filter(|text| !text.is_empty()) {
        parts.push(Part::Refusal(text));
    }
    fields.each("tool_calls", &mut |fields| parts.push(tool_call(fields)));
    fields.nested("function_call", &mut |fields| {
        let id = format!("call_{place}");
        *function_call = Some(id.clone());
        parts.push(called(fields, id));
    });
}

fn tool_call(fields: &mut Fields<'_>) -> Part {
    let id = fields.needed_text("id");
    // Google's own way to bring back what it signed.
    let extra = fields.take("extra_content").unwrap_or_default();
    let id = signed_id(&id, extra.pointer("/google/thought_signature").and_then(Value::as_str));
    let mut call = Part::Refusal(String::new());
    let custom = fields.nested("custom", &mut |fields| {
        let (name, input) = (fields.needed_text("name"), fields.text("input").unwrap_or_default());
        let arguments = written(&Value::Object(Map::from_iter([("input".to_owned(), input.into())])));
        call = Part::ToolCall { id: id.clone(), name, arguments };
    });
    if !custom {
        fields.needed("function", "an object with `name` and `arguments`", &mut |fields| {
            call = called(fields, id.clone());
        });
    }
    call
}

fn called(fields: &mut Fields<'_>, id: String) -> Part {
    Part::ToolCall { id, name: fields.needed_text("name"), arguments: fields.text("arguments").unwrap_or_default() }
}

/// Reasoning of earlier turns, under any of the names it travels by. Forms with signatures win over plain text.
fn reasoning(fields: &mut Fields<'_>, told: &mut Vec<Part>) {
    let (ours, other) = (fields.text("reasoning_content"), fields.text("reasoning"));
    let text = ours.or(other).filter(|text| !text.is_empty());
    let mut details = Vec::new();
    fields.each("thinking_blocks", &mut |fields| reasoning_piece(fields, told));
    fields.each("reasoning_details", &mut |fields| reasoning_piece(fields, &mut details));
    if told.is_empty() {
        *told = details;
    }
    match (told.first_mut(), text) {
        (None, Some(text)) => told.push(Part::Reasoning { text, signature: None }),
        (Some(Part::Reasoning { text: known, .. }), Some(text)) if known.is_empty() => *known = text,
        _ => {}
    }
}

/// A block in Anthropic's words, or a detail in OpenRouter's.
fn reasoning_piece(fields: &mut Fields<'_>, told: &mut Vec<Part>) {
    let kind = fields.text("type").unwrap_or_default();
    let member = match kind.as_str() {
        "redacted_thinking" | "reasoning.encrypted" => {
            told.extend(fields.text("data").map(Part::RedactedReasoning));
            return;
        }
        "thinking" => "thinking",
        "reasoning.text" => "text",
        "reasoning.summary" => "summary",
        _ => return,
    };
    let text = fields.text(member);
    if member == "summary" && text.is_none() {
        return;
    }
    let text = text.unwrap_or_default();
    let signature = if member == "summary" { None } else { fields.text("signature").filter(|text| !text.is_empty()) };
    match told.last_mut() {
        // OpenRouter streams a text's signature, and the text itself, in pieces of their own.
        Some(Part::Reasoning { text: known, signature: open @ None }) => {
            known.push_str(&text);
            *open = signature;
        }
        _ => told.push(Part::Reasoning { text, signature }),
    }
}

#[cfg(test)]
mod tests;
