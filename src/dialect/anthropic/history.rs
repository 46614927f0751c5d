//! The turns of a request to a deployment: written from the hub, and mended where a caller's own cannot stay.
use super::super::{
    carried::{is_bare, is_signed, shorten},
    turns::{self, BY_ID, Ids, Turn, Words, input_object, not_taken},
};
use crate::json::{json, put, put_text, written};
use crate::{
    base64,
    body::Body,
    catalog::Deployment,
    chat::{CacheMark, Media, Message, Part, Request, Role},
    fault::Fault,
};
use serde_json::{Map, Value, value::RawValue};

/// A caller's messages as the deployment takes them; `None` where they may stay as they are.
///
/// Messages are copied as they came, but for three kinds: a system message between turns needs a beta header that is not
/// passed on, so it becomes the user's; thinking that no model of this maker signed comes from another provider and would
/// be refused; ids that carry another maker's signature are shortened.
pub(super) fn mended(body: &Body, request: &Request, deployment: &Deployment) -> Option<String> {
    let known = deployment.provider.credential.is_some();
    let foreign = |message: &Message| message.parts.iter().any(|part| (known && is_unsigned(part)) || is_signed(part));
    // The hub has the `system` member as one message before these.
    let before = usize::from(body.set("system").is_some_and(|raw| raw.len() > "[]".len()));
    if !request.messages.iter().skip(before).any(|message| message.role == Role::System || foreign(message)) {
        return None;
    }
    let raw = body.set("messages")?;
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let messages = request.messages.get(request.messages.len().checked_sub(items.len())?..)?;
    let (mut out, mut waiting) = (Vec::new(), Vec::new());
    for (item, message) in items.iter().zip(messages) {
        let told = if foreign(message) { domestic(item.get(), known) } else { Some(item.get().to_owned()) };
        match message.role {
            Role::System => waiting.extend(as_user(item.get())),
            Role::Assistant => {
                out.append(&mut waiting);
                out.extend(told);
            }
            Role::User | Role::Tool => {
                // After the turn, not before: results of tools must come first in it.
                out.extend(told);
                out.append(&mut waiting);
            }
        }
    }
    out.append(&mut waiting);
    Some(format!("[{}]", out.join(",")))
}

fn is_unsigned(part: &Part) -> bool {
    matches!(part, Part::Reasoning { signature, .. } if !signature.as_deref().is_some_and(is_bare))
        || matches!(part, Part::RedactedReasoning(data) if !is_bare(data))
}

fn as_user(raw: &str) -> Option<String> {
    let mut message: Map<String, Value> = serde_json::from_str(raw).ok()?;
    put_text(&mut message, "role", "user");
    Some(written(&Value::Object(message)))
}

/// A message without what other makers signed; `None` if nothing of it is left. Of an organisation's own provider we do not
/// know what it signs.
fn domestic(raw: &str, known: bool) -> Option<String> {
    let mut message: Map<String, Value> = serde_json::from_str(raw).ok()?;
    shorten(&mut message);
    if let Some(Value::Array(blocks)) = message.get_mut("content").filter(|_| known) {
        let ours = |block: &Value, name: &str| block.get(name).and_then(Value::as_str).is_some_and(is_bare);
        blocks.retain(|block| match block.get("type").and_then(Value::as_str) {
            Some("thinking") => ours(block, "signature"),
            Some("redacted_thinking") => ours(block, "data"),
            _ => true,
        });
        if blocks.is_empty() {
            return None;
        }
    }
    Some(written(&Value::Object(message)))
}

/// The hub's messages as system blocks and turns.
pub(super) fn encode(request: &Request) -> Result<(Vec<Value>, Vec<Value>), Fault> {
    let (system, turns) = turns::of(request, &mut Blocks::default())?;
    Ok((system, turns.into_iter().map(Turn::message).collect()))
}

#[derive(Default)]
struct Blocks {
    ids: Ids,
}

impl Words for Blocks {
    fn part(&mut self, part: &Part, place: usize, turn: &mut Turn) -> Result<(), Fault> {
        let block = match part {
            Part::ToolResult { id, parts, is_error, cache } => {
                let mut content = Vec::new();
                for part in parts {
                    content.extend(block(part, place)?);
                }
                let mut told = Map::new();
                put_text(&mut told, "type", "tool_result");
                put(&mut told, "tool_use_id", self.ids.of(id).into());
                if !content.is_empty() {
                    put(&mut told, "content", content.into());
                }
                if *is_error {
                    put(&mut told, "is_error", true.into());
                }
                turn.results.push(marked(told, cache.as_ref()));
                return Ok(());
            }
            Part::Reasoning { text, signature: Some(signature) } if is_bare(signature) => {
                Some(json!({"type": "thinking", "thinking": text, "signature": signature}))
            }
            Part::RedactedReasoning(data) if is_bare(data) => Some(json!({"type": "redacted_thinking", "data": data})),
            Part::ToolCall { id, name, arguments } => {
                let id = self.ids.of(id);
                Some(json!({"type": "tool_use", "id": id, "name": name, "input": input_object(arguments)}))
            }
            Part::Image { .. } | Part::Audio { .. } | Part::File { .. } if turn.assistant => None,
            part => block(part, place)?,
        };
        turn.blocks.extend(block);
        Ok(())
    }
}

pub(super) fn cache_control(mark: &CacheMark) -> Value {
    match mark.ttl.as_deref() {
        None => json!({"type": "ephemeral"}),
        Some("5m") => json!({"type": "ephemeral", "ttl": "5m"}),
        // Whoever asks for longer gets the longest there is.
        Some(_) => json!({"type": "ephemeral", "ttl": "1h"}),
    }
}

fn marked(mut block: Map<String, Value>, cache: Option<&CacheMark>) -> Value {
    block.extend(cache.map(|mark| ("cache_control".to_owned(), cache_control(mark))));
    Value::Object(block)
}

/// A text block; blank ones are refused, so there is none.
fn text_block(part: &Part) -> Option<Value> {
    let Part::Text { text, cache } = part else { return None };
    if text.trim().is_empty() {
        return None;
    }
    let block = Map::from_iter([("type".to_owned(), "text".into()), ("text".to_owned(), text.as_str().into())]);
    Some(marked(block, cache.as_ref()))
}

fn block(part: &Part, place: usize) -> Result<Option<Value>, Fault> {
    let (kind, source, name, cache) = match part {
        Part::Text { .. } => return Ok(text_block(part)),
        Part::Refusal(text) => return Ok(text_block(&Part::text(text))),
        Part::Image { source, cache, .. } => ("image", source, None, cache),
        Part::File { source, name, cache } => ("document", source, name.as_ref(), cache),
        Part::Audio { .. } => return Err(not_taken(place, "sound")),
        Part::Reasoning { .. } | Part::RedactedReasoning(_) | Part::ToolCall { .. } | Part::ToolResult { .. } => {
            return Ok(None);
        }
    };
    let source = match source {
        Media::Url(url) => json!({"type": "url", "url": url}),
        Media::Base64 { media_type, data } => {
            if let Some(text) = plain_text(media_type, data) {
                json!({"type": "text", "media_type": "text/plain", "data": text})
            } else {
                json!({"type": "base64", "media_type": media_type, "data": data})
            }
        }
        Media::Id(_) => return Err(not_taken(place, BY_ID)),
    };
    let mut told = Map::from_iter([("type".to_owned(), kind.into()), ("source".to_owned(), source)]);
    told.extend(name.map(|name| ("title".to_owned(), name.as_str().into())));
    Ok(Some(marked(told, cache.as_ref())))
}

/// Files of text are sent as such: as bytes only PDF is taken.
fn plain_text(media_type: &str, data: &str) -> Option<String> {
    let is_text = media_type.starts_with("text/") || media_type == "application/json";
    String::from_utf8(base64::of_padded(data).filter(|_| is_text)?).ok()
}
