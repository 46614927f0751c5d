//! The turns of a request to a deployment: written from the hub, and mended where a caller's own cannot stay.
use crate::json::json;
use crate::{
    body::Body,
    catalog::Deployment,
    chat::{CacheMark, Media, Message, Part, Request, Role},
    fault::Fault,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, value::RawValue};
use std::collections::HashMap;

/// A caller's messages as the deployment takes them; `None` where they may stay as they are.
///
/// Messages are copied as they came, but for two kinds: a system message between turns needs a beta header that is not
/// passed on, so it becomes the user's; thinking that no model of this maker signed comes from another provider and would be refused.
pub(super) fn mended(body: &Body, request: &Request, deployment: &Deployment) -> Option<String> {
    let known = deployment.provider.credential.is_some();
    let unsigned = |message: &Message| known && message.parts.iter().any(is_unsigned);
    // The hub has the `system` member as one message before these.
    let before = usize::from(body.set("system").is_some_and(|raw| raw.len() > "[]".len()));
    if !request.messages.iter().skip(before).any(|message| message.role == Role::System || unsigned(message)) {
        return None;
    }
    let raw = body.set("messages")?;
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let messages = request.messages.get(request.messages.len().checked_sub(items.len())?..)?;
    let (mut out, mut waiting) = (Vec::new(), Vec::new());
    for (item, message) in items.iter().zip(messages) {
        match message.role {
            Role::System => waiting.extend(as_user(item.get())),
            Role::Assistant => {
                out.append(&mut waiting);
                out.extend(if unsigned(message) { without_unsigned(item.get()) } else { Some(item.get().to_owned()) });
            }
            Role::User | Role::Tool => {
                // After the turn, not before: results of tools must come first in it.
                out.push(item.get().to_owned());
                out.append(&mut waiting);
            }
        }
    }
    out.append(&mut waiting);
    Some(format!("[{}]", out.join(",")))
}

fn is_unsigned(part: &Part) -> bool {
    matches!(part, Part::Reasoning { signature, .. } if !signature.as_deref().is_some_and(is_ours))
}

/// Signatures that stand under another maker's name would be refused.
pub(super) fn is_ours(signature: &str) -> bool {
    !signature.is_empty() && !["openai.", "gemini."].iter().any(|maker| signature.starts_with(maker))
}

fn as_user(raw: &str) -> Option<String> {
    let mut message: Map<String, Value> = serde_json::from_str(raw).ok()?;
    message.insert("role".to_owned(), "user".into());
    Some(Value::Object(message).to_string())
}

/// `None` if nothing of the message is left.
fn without_unsigned(raw: &str) -> Option<String> {
    let mut message: Map<String, Value> = serde_json::from_str(raw).ok()?;
    if let Some(Value::Array(blocks)) = message.get_mut("content") {
        let signed = |block: &Value| block.get("signature").and_then(Value::as_str).is_some_and(is_ours);
        blocks.retain(|block| block.get("type").and_then(Value::as_str) != Some("thinking") || signed(block));
        if blocks.is_empty() {
            return None;
        }
    }
    Some(Value::Object(message).to_string())
}

/// The hub's messages as system blocks and turns.
pub(super) fn encode(request: &Request) -> Result<(Vec<Value>, Vec<Value>), Fault> {
    let mut history = History::default();
    for (place, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System if history.turns.is_empty() => {
                history.system.extend(message.parts.iter().filter_map(text_block));
            }
            // Between turns only the newest models know it; the user's turn says it to all.
            Role::System => {
                message.parts.iter().filter_map(text_block).for_each(|block| history.push(false, block));
            }
            Role::User | Role::Tool => history.user(&message.parts, place)?,
            Role::Assistant => history.assistant(&message.parts),
        }
    }
    history.whole()
}

#[derive(Default)]
struct History {
    system: Vec<Value>,
    turns: Vec<Turn>,
    ids: ToolIds,
}

/// Consecutive messages of one side. Results of tools stand first in a user's turn.
#[derive(Default)]
struct Turn {
    assistant: bool,
    results: Vec<Value>,
    blocks: Vec<Value>,
}

impl History {
    /// Appends to the turn being written, or begins one of the other side. What a tool gave back goes before the rest.
    fn push(&mut self, assistant: bool, block: Value) {
        if self.turns.last().is_none_or(|turn| turn.assistant != assistant) {
            self.turns.push(Turn { assistant, ..Turn::default() });
        }
        if let Some(turn) = self.turns.last_mut() {
            let result = block.get("type").and_then(Value::as_str) == Some("tool_result");
            if result { turn.results.push(block) } else { turn.blocks.push(block) }
        }
    }

    fn user(&mut self, parts: &[Part], place: usize) -> Result<(), Fault> {
        for part in parts {
            if let Part::ToolResult { id, parts, is_error, cache } = part {
                let content =
                    parts.iter().filter_map(|part| block(part, place).transpose()).collect::<Result<Vec<_>, _>>()?;
                let mut told = Map::new();
                told.insert("type".to_owned(), "tool_result".into());
                told.insert("tool_use_id".to_owned(), self.ids.of(id).into());
                if !content.is_empty() {
                    told.insert("content".to_owned(), content.into());
                }
                if *is_error {
                    told.insert("is_error".to_owned(), true.into());
                }
                self.push(false, marked(told, cache.as_ref()));
            } else if let Some(block) = block(part, place)? {
                self.push(false, block);
            }
        }
        Ok(())
    }

    fn assistant(&mut self, parts: &[Part]) {
        for part in parts {
            let block = match part {
                Part::Reasoning { text, signature: Some(signature) } if is_ours(signature) => {
                    Some(json!({"type": "thinking", "thinking": text, "signature": signature}))
                }
                Part::RedactedReasoning(data) => Some(json!({"type": "redacted_thinking", "data": data})),
                Part::Text { .. } => text_block(part),
                Part::Refusal(text) => text_block(&Part::text(text)),
                Part::ToolCall { id, name, arguments } => {
                    let id = self.ids.of(id);
                    Some(json!({"type": "tool_use", "id": id, "name": name, "input": super::input_object(arguments)}))
                }
                _ => None,
            };
            if let Some(block) = block {
                self.push(true, block);
            }
        }
    }

    fn whole(mut self) -> Result<(Vec<Value>, Vec<Value>), Fault> {
        if self.turns.is_empty() {
            // A system message alone is a prompt elsewhere; here a user has to speak.
            let blocks = std::mem::take(&mut self.system);
            if blocks.is_empty() {
                return Err(Fault::parameter("messages", "`messages` holds no text. Say something."));
            }
            self.turns.push(Turn { blocks, ..Turn::default() });
        }
        if self.turns.first().is_some_and(|turn| turn.assistant) {
            let blocks = vec![json!({"type": "text", "text": "Continue."})];
            self.turns.insert(0, Turn { blocks, ..Turn::default() });
        }
        if let Some(turn) = self.turns.last_mut().filter(|turn| turn.assistant) {
            trim_end(&mut turn.blocks);
        }
        let turns = self.turns.into_iter().map(|mut turn| {
            let role = if turn.assistant { "assistant" } else { "user" };
            turn.results.append(&mut turn.blocks);
            json!({"role": role, "content": turn.results})
        });
        Ok((self.system, turns.collect()))
    }
}

/// A prefill may not end in white space.
fn trim_end(blocks: &mut [Value]) {
    if let Some(Value::String(text)) = blocks.last_mut().and_then(|block| block.get_mut("text")) {
        text.truncate(text.trim_end().len());
    }
}

/// Ids in the letters this dialect allows: the same for a call and its result, different for different calls.
#[derive(Default)]
struct ToolIds {
    ours: HashMap<String, String>,
    taken: HashMap<String, u32>,
}

impl ToolIds {
    fn of(&mut self, theirs: &str) -> String {
        if let Some(ours) = self.ours.get(theirs) {
            return ours.clone();
        }
        let mut ours = super::tool_id(theirs);
        let uses = self.taken.entry(ours.clone()).or_insert(0);
        *uses += 1;
        if *uses > 1 {
            ours = format!("{ours}_{uses}");
        }
        self.ours.insert(theirs.to_owned(), ours.clone());
        ours
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
    let refused = |what: &str| {
        let path = format!("messages[{place}].content");
        let message = format!(
            "`{path}` holds {what}, which the chosen model's provider does not take. {}",
            "Name another model."
        );
        Fault::invalid("unsupported_parameter", message).with_param(&path)
    };
    let (kind, source, name, cache) = match part {
        Part::Text { .. } => return Ok(text_block(part)),
        Part::Refusal(text) => return Ok(text_block(&Part::text(text))),
        Part::Image { source, cache, .. } => ("image", source, None, cache),
        Part::File { source, name, cache } => ("document", source, name.as_ref(), cache),
        Part::Audio { .. } => return Err(refused("sound")),
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
        Media::Id(_) => return Err(refused("a file known to another provider by its id")),
    };
    let mut told = Map::from_iter([("type".to_owned(), kind.into()), ("source".to_owned(), source)]);
    told.extend(name.map(|name| ("title".to_owned(), name.as_str().into())));
    Ok(Some(marked(told, cache.as_ref())))
}

/// Files of text are sent as such: as bytes only PDF is taken.
fn plain_text(media_type: &str, data: &str) -> Option<String> {
    let is_text = media_type.starts_with("text/") || media_type == "application/json";
    String::from_utf8(STANDARD.decode(data).ok().filter(|_| is_text)?).ok()
}
