//! A caller's message request to the hub.
use super::super::reading::Fields;
use crate::{
    body::Body,
    chat::{CacheMark, Effort, Format, Media, Message, Part, Request, Role, Sampling, Tool, ToolChoice},
    fault::Fault,
};
use serde_json::Value;

pub(super) fn decode(body: &Body) -> Result<Request, Fault> {
    let mut fields = Fields::body(body)?;
    let model = fields.needed_text("model")?;
    let path = fields.path().member("max_tokens");
    let max_tokens =
        fields.count("max_tokens", 0)?.ok_or_else(|| path.missing("the most tokens the answer may have"))?;
    standard_prices_only(&mut fields)?;
    let messages = messages(&mut fields)?;
    let tools = fields.each("tools", tool)?;
    let (tool_choice, parallel_tool_calls) = fields.nested("tool_choice", tool_choice)?.unwrap_or((None, None));
    let (effort, format) = thinking_and_format(&mut fields)?;
    let user = fields.nested("metadata", |mut fields| fields.text("user_id"))?.flatten();
    Ok(Request {
        model,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        format,
        max_output_tokens: Some(max_tokens),
        sampling: Sampling {
            temperature: fields.number("temperature", 0.0, 1.0)?,
            top_p: fields.number("top_p", 0.0, 1.0)?,
            top_k: fields.count("top_k", 0)?,
            stop: fields.texts("stop_sequences")?,
            ..Sampling::default()
        },
        effort,
        choices: None,
        stream: fields.flag("stream")?.unwrap_or(false),
        wants_usage: true,
        user,
        rest: fields.rest(),
    })
}

/// The catalog holds the prices of the standard speed and of no particular place.
fn standard_prices_only(fields: &mut Fields<'_>) -> Result<(), Fault> {
    for (name, standard) in [("speed", &["standard"][..]), ("inference_geo", &["global", "not_available"])] {
        if let Some(word) = fields.text(name)?.filter(|word| !standard.contains(&word.as_str())) {
            let message = format!("`{name}` {word:?} has its own prices, which are not offered here. Leave it out.");
            return Err(Fault::invalid("unsupported_parameter", message).with_param(name));
        }
    }
    Ok(())
}

fn messages(fields: &mut Fields<'_>) -> Result<Vec<Message>, Fault> {
    let system = content(fields, "system", Role::System)?;
    let path = fields.path().member("messages");
    let told = fields.each("messages", |mut fields| {
        let word = fields.needed_text("role")?;
        let role = match word.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            // Between turns, as Claude Code sends it.
            "system" => Role::System,
            _ => {
                return Err(fields
                    .path()
                    .member("role")
                    .must_be("\"user\", \"assistant\" or \"system\"", &word.into()));
            }
        };
        let missing = fields.path().member("content").missing("a string or an array of content blocks");
        let parts = content(&mut fields, "content", role)?.ok_or(missing)?;
        Ok(Message { role, parts, name: None })
    })?;
    if told.is_empty() {
        return Err(path.missing("at least one message"));
    }
    let system =
        system.filter(|parts| !parts.is_empty()).map(|parts| Message { role: Role::System, parts, name: None });
    Ok(system.into_iter().chain(told).collect())
}

/// A string, an array of blocks, or nothing.
fn content(fields: &mut Fields<'_>, name: &str, role: Role) -> Result<Option<Vec<Part>>, Fault> {
    let path = fields.path().member(name);
    match fields.take(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(vec![Part::text(text)])),
        Some(Value::Array(items)) => {
            let mut parts = Vec::with_capacity(items.len());
            for (place, item) in items.into_iter().enumerate() {
                block(Fields::of(item, &path.item(place))?, role, &mut parts)?;
            }
            Ok(Some(parts))
        }
        Some(other) => Err(path.must_be("a string or an array of content blocks", &other)),
    }
}

fn block(mut fields: Fields<'_>, role: Role, parts: &mut Vec<Part>) -> Result<(), Fault> {
    let kind = fields.needed_text("type")?;
    if role == Role::System && kind != "text" {
        return Err(fields.path().member("type").must_be("\"text\" in this place", &kind.into()));
    }
    let path = fields.path();
    let missing = |what: &str| path.member(what).missing("what this block is about");
    let cache = match kind.as_str() {
        "thinking" | "redacted_thinking" => None,
        _ => cache_mark(&mut fields)?,
    };
    parts.push(match kind.as_str() {
        "text" => Part::Text { text: fields.text("text")?.ok_or_else(|| missing("text"))?, cache },
        "image" => {
            let missing = missing("source");
            Part::Image { source: fields.nested("source", source)?.ok_or(missing)?, detail: None, cache }
        }
        "document" => return document(fields, cache, parts),
        "thinking" => Part::Reasoning {
            text: fields.text("thinking")?.unwrap_or_default(),
            signature: fields.text("signature")?.filter(|text| !text.is_empty()),
        },
        "redacted_thinking" => Part::RedactedReasoning(fields.needed_text("data")?),
        "tool_use" => Part::ToolCall {
            id: fields.needed_text("id")?,
            name: fields.needed_text("name")?,
            arguments: fields
                .object("input")?
                .map_or_else(|| "{}".to_owned(), |input| Value::Object(input).to_string()),
        },
        "tool_result" => Part::ToolResult {
            id: fields.needed_text("tool_use_id")?,
            parts: content(&mut fields, "content", Role::Tool)?.unwrap_or_default(),
            is_error: fields.flag("is_error")?.unwrap_or(false),
            cache,
        },
        // What the provider's own tools did, search results and what is new: text to any other provider.
        _ => {
            let mut block = fields.rest();
            block.insert("type".to_owned(), kind.into());
            Part::Text { text: Value::Object(block).to_string(), cache }
        }
    });
    Ok(())
}

/// A document is a file, or text under a title.
fn document(mut fields: Fields<'_>, cache: Option<CacheMark>, parts: &mut Vec<Part>) -> Result<(), Fault> {
    let (title, context) = (fields.text("title")?, fields.text("context")?);
    let path = fields.path().member("source");
    let Some(value) = fields.take("source") else { return Err(path.missing("an object with the document")) };
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut source_fields = Fields::of(value, &path)?;
    let mut inner = match kind.as_str() {
        "text" => vec![Part::text(source_fields.needed_text("data")?)],
        "content" => content(&mut source_fields, "content", Role::User)?.unwrap_or_default(),
        _ => vec![Part::File { source: source(source_fields)?, name: title.clone(), cache: None }],
    };
    if let Some(Part::Text { cache: slot, .. } | Part::Image { cache: slot, .. } | Part::File { cache: slot, .. }) =
        inner.last_mut()
    {
        *slot = cache;
    }
    let told_by_name = matches!(inner.first(), Some(Part::File { .. }));
    parts.extend(title.filter(|_| !told_by_name).map(Part::text));
    parts.extend(context.map(Part::text));
    parts.append(&mut inner);
    Ok(())
}

fn source(mut fields: Fields<'_>) -> Result<Media, Fault> {
    let kind = fields.needed_text("type")?;
    match kind.as_str() {
        "base64" => {
            Ok(Media::Base64 { media_type: fields.needed_text("media_type")?, data: fields.needed_text("data")? })
        }
        "url" => fields.needed_text("url").map(Media::Url),
        "file" => fields.needed_text("file_id").map(Media::Id),
        _ => Err(fields.path().member("type").must_be("\"base64\", \"url\" or \"file\"", &kind.into())),
    }
}

fn cache_mark(fields: &mut Fields<'_>) -> Result<Option<CacheMark>, Fault> {
    fields.nested("cache_control", |mut fields| Ok(CacheMark { ttl: fields.text("ttl")? }))
}

fn tool(mut fields: Fields<'_>) -> Result<Tool, Fault> {
    // Tools of one's own often come without a type.
    let kind = fields.text("type")?.unwrap_or_else(|| "custom".to_owned());
    if kind != "custom" {
        let mut native = fields.rest();
        native.insert("type".to_owned(), kind.into());
        return Ok(Tool::Native(Value::Object(native)));
    }
    Ok(Tool::Function {
        name: fields.needed_text("name")?,
        description: fields.text("description")?,
        parameters: fields.object("input_schema")?.map(Value::Object),
        strict: fields.flag("strict")?,
        cache: cache_mark(&mut fields)?,
    })
}

fn tool_choice(mut fields: Fields<'_>) -> Result<(Option<ToolChoice>, Option<bool>), Fault> {
    let kind = fields.needed_text("type")?;
    let choice = match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(fields.needed_text("name")?),
        _ => {
            return Err(fields.path().member("type").must_be("\"auto\", \"any\", \"tool\" or \"none\"", &kind.into()));
        }
    };
    Ok((Some(choice), fields.flag("disable_parallel_tool_use")?.map(|disabled| !disabled)))
}

/// How much to think, from `thinking` and `output_config.effort`; the form, from `output_config.format`.
fn thinking_and_format(fields: &mut Fields<'_>) -> Result<(Option<Effort>, Format), Fault> {
    let thinking =
        fields.nested("thinking", |mut fields| Ok((fields.needed_text("type")?, fields.count("budget_tokens", 1)?)))?;
    let config = fields.nested("output_config", |mut fields| {
        let path = fields.path().member("effort");
        let effort = fields.text("effort")?.map(|word| {
            Effort::of_word(&word)
                .ok_or_else(|| path.must_be("\"low\", \"medium\", \"high\", \"xhigh\" or \"max\"", &word.into()))
        });
        Ok((effort.transpose()?, fields.nested("format", format)?))
    })?;
    let (effort, format_now) = config.unwrap_or((None, None));
    let format_before = fields.nested("output_format", format)?;
    let effort = match thinking {
        None => effort,
        Some((kind, _)) if kind == "disabled" => Some(Effort::None),
        Some((_, Some(budget))) => effort.or(Some(super::thinking::effort_of(budget))),
        // The provider's own default.
        Some((_, None)) => effort.or(Some(Effort::High)),
    };
    Ok((effort, format_now.or(format_before).unwrap_or_default()))
}

fn format(mut fields: Fields<'_>) -> Result<Format, Fault> {
    let kind = fields.needed_text("type")?;
    if kind != "json_schema" {
        return Err(fields.path().member("type").must_be("\"json_schema\"", &kind.into()));
    }
    let missing = fields.path().member("schema").missing("a JSON Schema");
    let schema = fields.object("schema")?.ok_or(missing)?;
    Ok(Format::JsonSchema {
        name: "answer".to_owned(),
        description: None,
        schema: Value::Object(schema),
        strict: Some(true),
    })
}

#[cfg(test)]
mod tests;
