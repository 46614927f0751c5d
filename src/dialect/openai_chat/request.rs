//! A caller's chat completion request to the hub.
use super::super::reading::{Fields, Path};
use crate::{
    body::Body,
    chat::{CacheMark, Effort, Format, Media, Message, Part, Request, Role, Sampling, Tool, ToolChoice},
    fault::Fault,
};
use serde_json::{Map, Value};

pub(super) fn decode(body: &Body) -> Result<Request, Fault> {
    let mut fields = Fields::body(body)?;
    let model = fields.needed_text("model")?;
    let messages = messages(&mut fields)?;
    let mut tools = tools(&mut fields)?;
    let tool_choice = tool_choice(&mut fields, &mut tools)?;
    standard_prices_only(&mut fields)?;
    // The newer name wins where a client sends both for the sake of older hosts.
    let (older, newer) = (fields.count("max_tokens", 1)?, fields.count("max_completion_tokens", 1)?);
    let wants_usage = fields.nested("stream_options", |mut options| options.flag("include_usage"))?.flatten();
    let (user, safety_identifier) = (fields.text("user")?, fields.text("safety_identifier")?);
    Ok(Request {
        model,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        format: format(&mut fields)?,
        max_output_tokens: newer.or(older),
        sampling: sampling(&mut fields)?,
        effort: effort(&mut fields)?,
        choices: choices(&mut fields)?,
        stream: fields.flag("stream")?.unwrap_or(false),
        wants_usage: wants_usage.unwrap_or(false),
        user: safety_identifier.or(user),
        rest: fields.rest(),
    })
}

/// The catalog holds the standard tier's prices. A dearer tier would overrun the hold, a cheaper one would be overcharged.
fn standard_prices_only(fields: &mut Fields<'_>) -> Result<(), Fault> {
    match fields.text("service_tier")?.as_deref() {
        None | Some("auto" | "default") => Ok(()),
        Some(tier) => Err(Fault::invalid(
            "unsupported_parameter",
            format!("`service_tier` {tier:?} has its own prices, which are not offered here. Leave it out, or send \"default\"."),
        )
        .with_param("service_tier")),
    }
}

fn sampling(fields: &mut Fields<'_>) -> Result<Sampling, Fault> {
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0, 2.0)?,
        top_p: fields.number("top_p", 0.0, 1.0)?,
        top_k: fields.count("top_k", 0)?,
        frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0)?,
        presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?,
        seed: fields.integer("seed")?,
        stop: fields.texts("stop")?,
    })
}

fn choices(fields: &mut Fields<'_>) -> Result<Option<u32>, Fault> {
    let path = fields.path().member("n");
    let Some(count) = fields.count("n", 1)? else { return Ok(None) };
    match u32::try_from(count).ok().filter(|count| *count <= 128) {
        Some(count) => Ok(Some(count)),
        None => Err(path.must_be("a whole number from 1 to 128", &count.into())),
    }
}

fn effort(fields: &mut Fields<'_>) -> Result<Option<Effort>, Fault> {
    let path = fields.path().member("reasoning_effort");
    let Some(word) = fields.text("reasoning_effort")? else { return Ok(None) };
    match Effort::of_word(&word) {
        Some(effort) => Ok(Some(effort)),
        None => Err(path.must_be(&one_of(Effort::ALL.map(Effort::word)), &word.into())),
    }
}

/// `"a", "b" or "c"`.
fn one_of<const N: usize>(words: [&str; N]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, firsts)) if !firsts.is_empty() => format!("{} or {last}", firsts.join(", ")),
        _ => quoted.concat(),
    }
}

fn format(fields: &mut Fields<'_>) -> Result<Format, Fault> {
    let read = |mut fields: Fields<'_>| {
        let kind = fields.needed_text("type")?;
        match kind.as_str() {
            "text" => Ok(Format::Text),
            "json_object" => Ok(Format::JsonObject),
            "json_schema" => {
                let missing = fields.path().member("json_schema").missing("an object with `name` and `schema`");
                fields.nested("json_schema", schema)?.ok_or(missing)
            }
            _ => {
                Err(fields.path().member("type").must_be(&one_of(["text", "json_object", "json_schema"]), &kind.into()))
            }
        }
    };
    Ok(fields.nested("response_format", read)?.unwrap_or_default())
}

fn schema(mut fields: Fields<'_>) -> Result<Format, Fault> {
    Ok(Format::JsonSchema {
        name: fields.needed_text("name")?,
        description: fields.text("description")?,
        schema: Value::Object(fields.object("schema")?.unwrap_or_default()),
        strict: fields.flag("strict")?,
    })
}

/// `tools`, and the deprecated `functions`.
fn tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, Fault> {
    let mut told = fields.each("tools", |mut fields| {
        let kind = fields.text("type")?.unwrap_or_else(|| "function".to_owned());
        if kind != "function" {
            let mut native = fields.rest();
            native.insert("type".to_owned(), kind.into());
            return Ok(Tool::Native(Value::Object(native)));
        }
        let cache = cache_mark(&mut fields)?;
        let missing = fields.path().member("function").missing("an object with `name` and `parameters`");
        fields.nested("function", |fields| function(fields, cache))?.ok_or(missing)
    })?;
    told.extend(fields.each("functions", |fields| function(fields, None))?);
    Ok(told)
}

fn function(mut fields: Fields<'_>, cache: Option<CacheMark>) -> Result<Tool, Fault> {
    Ok(Tool::Function {
        name: fields.needed_text("name")?,
        description: fields.text("description")?,
        parameters: fields.object("parameters")?.map(Value::Object),
        strict: fields.flag("strict")?,
        cache,
    })
}

/// `tool_choice`, and the deprecated `function_call`. A choice among allowed tools is that many tools.
fn tool_choice(fields: &mut Fields<'_>, tools: &mut Vec<Tool>) -> Result<Option<ToolChoice>, Fault> {
    for name in ["tool_choice", "function_call"] {
        let path = fields.path().member(name);
        match fields.take(name) {
            None => {}
            Some(Value::String(word)) => return choice_word(&word, &path).map(Some),
            Some(Value::Object(members)) if name == "function_call" => {
                let mut fields = Fields::of(Value::Object(members), &path)?;
                return Ok(Some(ToolChoice::Named(fields.needed_text("name")?)));
            }
            Some(value) => return choice_object(Fields::of(value, &path)?, tools).map(Some),
        }
    }
    Ok(None)
}

fn choice_word(word: &str, path: &Path<'_>) -> Result<ToolChoice, Fault> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        // Mistral's older word.
        "required" | "any" => Ok(ToolChoice::Required),
        _ => Err(path.must_be("\"auto\", \"none\", \"required\" or an object that names a tool", &word.into())),
    }
}

fn choice_object(mut fields: Fields<'_>, tools: &mut Vec<Tool>) -> Result<ToolChoice, Fault> {
    let kind = fields.needed_text("type")?;
    let path = fields.path();
    match kind.as_str() {
        "function" | "custom" => {
            let missing = path.member(&kind).missing("an object with the tool's `name`");
            fields.nested(&kind, |mut fields| fields.needed_text("name"))?.map(ToolChoice::Named).ok_or(missing)
        }
        "allowed_tools" => {
            let missing = path.member("allowed_tools").missing("an object with `mode` and `tools`");
            let read = |mut fields: Fields<'_>| {
                let mode = fields.text("mode")?.unwrap_or_else(|| "auto".to_owned());
                let choice = choice_word(&mode, &fields.path().member("mode"))?;
                let names = fields
                    .each("tools", |mut fields| fields.nested("function", |mut fields| fields.needed_text("name")))?;
                tools.retain(|tool| match tool {
                    Tool::Function { name, .. } => names.iter().flatten().any(|allowed| allowed == name),
                    Tool::Native(_) => true,
                });
                Ok(choice)
            };
            fields.nested("allowed_tools", read)?.ok_or(missing)
        }
        _ => Err(path.member("type").must_be(&one_of(["function", "custom", "allowed_tools"]), &kind.into())),
    }
}

fn messages(fields: &mut Fields<'_>) -> Result<Vec<Message>, Fault> {
    let path = fields.path().member("messages");
    // The deprecated function calls have no ids: a result answers the call before it.
    let mut function_call = None;
    let mut place = 0;
    let told = fields.each("messages", |fields| {
        place += 1;
        message(fields, place, &mut function_call)
    })?;
    if told.is_empty() { Err(path.missing("at least one message")) } else { Ok(told) }
}

fn message(mut fields: Fields<'_>, place: usize, function_call: &mut Option<String>) -> Result<Message, Fault> {
    let word = fields.needed_text("role")?;
    let (role, parts) = match word.as_str() {
        "system" | "developer" => (Role::System, content(&mut fields, &["text"], true)?),
        "user" => {
            (Role::User, content(&mut fields, &["text", "image_url", "input_audio", "file", "document_url"], true)?)
        }
        "assistant" => (Role::Assistant, assistant(&mut fields, place, function_call)?),
        "tool" => {
            let id = fields.needed_text("tool_call_id")?;
            (Role::Tool, vec![result(&mut fields, id)?])
        }
        "function" => {
            let id = function_call.clone().unwrap_or_else(|| format!("call_{place}"));
            (Role::Tool, vec![result(&mut fields, id)?])
        }
        _ => {
            let wanted = one_of(["system", "developer", "user", "assistant", "tool"]);
            return Err(fields.path().member("role").must_be(&wanted, &word.into()));
        }
    };
    Ok(Message { role, parts, name: fields.text("name")? })
}

fn result(fields: &mut Fields<'_>, id: String) -> Result<Part, Fault> {
    let cache = cache_mark(fields)?;
    Ok(Part::ToolResult { id, parts: content(fields, &["text", "image_url", "file"], false)?, is_error: false, cache })
}

/// `content`: a string, an array of parts of the `allowed` types, or nothing where it need not be there.
fn content(fields: &mut Fields<'_>, allowed: &[&str], needed: bool) -> Result<Vec<Part>, Fault> {
    let path = fields.path().member("content");
    match fields.take("content") {
        None if needed => Err(path.missing("a string or an array of content parts")),
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text { text, cache: cache_mark(fields)? }]),
        Some(Value::Array(items)) => {
            let read = |(place, item)| part(Fields::of(item, &path.item(place))?, allowed);
            items.into_iter().enumerate().map(read).collect()
        }
        Some(other) => Err(path.must_be("a string or an array of content parts", &other)),
    }
}

fn part(mut fields: Fields<'_>, allowed: &[&str]) -> Result<Part, Fault> {
    let kind = fields.needed_text("type")?;
    let path = fields.path();
    if !allowed.contains(&kind.as_str()) {
        let known: Vec<String> = allowed.iter().map(|kind| format!("\"{kind}\"")).collect();
        return Err(path.member("type").must_be(&format!("one of {} in this place", known.join(", ")), &kind.into()));
    }
    let cache = cache_mark(&mut fields)?;
    match kind.as_str() {
        "image_url" => image(fields, cache),
        "input_audio" => {
            let missing = path.member("input_audio").missing("an object with `data` and `format`");
            let read = |mut fields: Fields<'_>| {
                Ok(Part::Audio { data: fields.needed_text("data")?, format: fields.needed_text("format")? })
            };
            fields.nested("input_audio", read)?.ok_or(missing)
        }
        "file" => {
            let missing = path.member("file").missing("an object with `file_data` or `file_id`");
            fields.nested("file", |fields| file(fields, cache))?.ok_or(missing)
        }
        // Mistral's.
        "document_url" => {
            let (url, name) = (fields.needed_text("document_url")?, fields.text("document_name")?);
            Ok(Part::File { source: media(url), name, cache })
        }
        "refusal" => fields.text("refusal").map(|text| Part::Refusal(text.unwrap_or_default())),
        "thinking" => Ok(Part::Reasoning {
            text: fields.take("thinking").as_ref().map_or_default(super::thinking_text),
            signature: fields.text("signature")?,
        }),
        _ => {
            let text = fields.text("text")?.ok_or_else(|| path.member("text").missing("a string"))?;
            Ok(Part::Text { text, cache })
        }
    }
}

fn image(mut fields: Fields<'_>, cache: Option<CacheMark>) -> Result<Part, Fault> {
    let path = fields.path().member("image_url");
    match fields.take("image_url") {
        // Not by the book, but common.
        Some(Value::String(url)) => Ok(Part::Image { source: media(url), detail: None, cache }),
        Some(value) => {
            let mut fields = Fields::of(value, &path)?;
            Ok(Part::Image { source: media(fields.needed_text("url")?), detail: fields.text("detail")?, cache })
        }
        None => Err(path.missing("an object with `url`")),
    }
}

fn file(mut fields: Fields<'_>, cache: Option<CacheMark>) -> Result<Part, Fault> {
    let name = fields.text("filename")?;
    let source = match (fields.text("file_data")?, fields.text("file_id")?) {
        (Some(data), _) => media(data),
        (None, Some(id)) => Media::Id(id),
        (None, None) => {
            return Err(fields.path().fault(format!("`{}` needs `file_data` or `file_id`.", fields.path())));
        }
    };
    Ok(Part::File { source, name, cache })
}

/// A data URL becomes its bytes; anything else is an address.
pub(super) fn media(mut url: String) -> Media {
    let found = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"))
        .map(|(kind, data)| (kind.to_owned(), url.len() - data.len()));
    match found {
        Some((media_type, start)) => {
            // In place: the data may be megabytes.
            url.drain(..start);
            Media::Base64 { media_type, data: url }
        }
        None => Media::Url(url),
    }
}

/// Anthropic's `cache_control`, as `LiteLLM` and OpenRouter carry it, or OpenAI's explicit breakpoint.
fn cache_mark(fields: &mut Fields<'_>) -> Result<Option<CacheMark>, Fault> {
    let read = |mut fields: Fields<'_>| Ok(CacheMark { ttl: fields.text("ttl")? });
    let breakpoint = fields.nested("prompt_cache_breakpoint", read)?;
    Ok(fields.nested("cache_control", read)?.or(breakpoint))
}

fn assistant(fields: &mut Fields<'_>, place: usize, function_call: &mut Option<String>) -> Result<Vec<Part>, Fault> {
    let mut parts = reasoning(fields)?;
    parts.extend(content(fields, &["text", "refusal", "thinking"], false)?);
    parts.extend(fields.text("refusal")?.filter(|text| !text.is_empty()).map(Part::Refusal));
    parts.extend(fields.each("tool_calls", tool_call)?);
    let legacy = |mut fields: Fields<'_>| {
        let (name, arguments) = (fields.needed_text("name")?, fields.text("arguments")?.unwrap_or_default());
        Ok(Part::ToolCall { id: format!("call_{place}"), name, arguments })
    };
    if let Some(call) = fields.nested("function_call", legacy)? {
        *function_call = Some(format!("call_{place}"));
        parts.push(call);
    }
    Ok(parts)
}

fn tool_call(mut fields: Fields<'_>) -> Result<Part, Fault> {
    let id = fields.needed_text("id")?;
    let path = fields.path();
    if let Some((name, input)) = fields
        .nested("custom", |mut fields| Ok((fields.needed_text("name")?, fields.text("input")?.unwrap_or_default())))?
    {
        let arguments = Value::Object(Map::from_iter([("input".to_owned(), input.into())])).to_string();
        return Ok(Part::ToolCall { id, name, arguments });
    }
    let read =
        |mut fields: Fields<'_>| Ok((fields.needed_text("name")?, fields.text("arguments")?.unwrap_or_default()));
    let missing = path.member("function").missing("an object with `name` and `arguments`");
    let (name, arguments) = fields.nested("function", read)?.ok_or(missing)?;
    Ok(Part::ToolCall { id, name, arguments })
}

/// Reasoning of earlier turns, under any of the names it travels by. Forms with signatures win over plain text.
fn reasoning(fields: &mut Fields<'_>) -> Result<Vec<Part>, Fault> {
    let (ours, other) = (fields.text("reasoning_content")?, fields.text("reasoning")?);
    let text = ours.or(other).filter(|text| !text.is_empty());
    let mut parts = fields.each("thinking_blocks", thinking_block)?;
    let details = fields.each("reasoning_details", reasoning_detail)?;
    if parts.iter().all(Option::is_none) {
        parts = details;
    }
    let mut told: Vec<Part> = Vec::new();
    for part in parts.into_iter().flatten() {
        match (told.last_mut(), part) {
            // OpenRouter streams a text's signature, and the text itself, in pieces of their own.
            (Some(Part::Reasoning { text, signature: open @ None }), Part::Reasoning { text: more, signature }) => {
                text.push_str(&more);
                *open = signature;
            }
            (_, part) => told.push(part),
        }
    }
    match (told.first_mut(), text) {
        (None, Some(text)) => told.push(Part::Reasoning { text, signature: None }),
        (Some(Part::Reasoning { text: known, .. }), Some(text)) if known.is_empty() => *known = text,
        _ => {}
    }
    Ok(told)
}

fn thinking_block(mut fields: Fields<'_>) -> Result<Option<Part>, Fault> {
    Ok(match fields.text("type")?.as_deref() {
        Some("redacted_thinking") => fields.text("data")?.map(Part::RedactedReasoning),
        Some("thinking") => Some(Part::Reasoning {
            text: fields.text("thinking")?.unwrap_or_default(),
            signature: fields.text("signature")?.filter(|text| !text.is_empty()),
        }),
        _ => None,
    })
}

fn reasoning_detail(mut fields: Fields<'_>) -> Result<Option<Part>, Fault> {
    Ok(match fields.text("type")?.as_deref() {
        Some("reasoning.encrypted") => fields.text("data")?.map(Part::RedactedReasoning),
        Some("reasoning.text") => Some(Part::Reasoning {
            text: fields.text("text")?.unwrap_or_default(),
            signature: fields.text("signature")?.filter(|text| !text.is_empty()),
        }),
        Some("reasoning.summary") => fields.text("summary")?.map(|text| Part::Reasoning { text, signature: None }),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
