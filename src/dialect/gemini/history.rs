//! The turns of a request to a deployment, written from the hub.
use super::super::{
    carried::{GEMINI, short_id, signature},
    turns::{self, BY_ADDRESS, BY_ID, Turn, Words, input_object, not_taken, with},
};
use crate::{
    catalog::{Deployment, Quirk},
    chat::{Media, Part, Request},
    fault::Fault,
    json::{json, put},
    table::Table,
};
use serde_json::Value;

/// Stands in for the signature of a call that another model made. Without one Gemini 3 refuses the first of a step.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// The hub's messages as the system's parts and contents.
pub(super) fn encode(request: &Request, deployment: &Deployment) -> Result<(Vec<Value>, Vec<Value>), Fault> {
    let (system, turns) = turns::of(request, &mut Parts { deployment, names: Table::default() })?;
    let mut contents = Vec::with_capacity(turns.len());
    for mut turn in turns {
        if turn.assistant {
            if !deployment.has(Quirk::ThinkingBudget) {
                sign(&mut turn.blocks);
            }
            contents.push(with(json!({"role": "model"}), "parts", turn.blocks.into()));
            continue;
        }
        // Results come alone, as many as there were calls.
        for parts in [turn.results, turn.blocks] {
            if !parts.is_empty() {
                contents.push(with(json!({"role": "user"}), "parts", parts.into()));
            }
        }
    }
    Ok((system, contents))
}

fn sign(parts: &mut [Value]) {
    let first = parts.iter_mut().filter_map(Value::as_object_mut).find(|part| part.contains_key("functionCall"));
    if let Some(part) = first
        && !part.contains_key("thoughtSignature")
    {
        put(part, "thoughtSignature", UNSIGNED.into());
    }
}

struct Parts<'a> {
    deployment: &'a Deployment,
    /// What was called, by the calls' ids: results name it again.
    names: Table<String, String>,
}

impl Words for Parts<'_> {
    fn part(&mut self, part: &Part, place: usize, turn: &mut Turn) -> Result<(), Fault> {
        let block = match part {
            Part::Text { text, .. } | Part::Refusal(text) if text.is_empty() => return Ok(()),
            Part::Text { text, .. } | Part::Refusal(text) => json!({ "text": text }),
            Part::Image { source, .. } => self.media(source, "image/jpeg", place)?,
            Part::File { source, .. } => self.media(source, "application/pdf", place)?,
            Part::Audio { data, format } => inline(&format!("audio/{format}"), data),
            Part::Reasoning { text, signature } => {
                // Another maker's is of no use here.
                let Some(signed) = signature.as_deref().and_then(|text| text.strip_prefix(GEMINI)) else {
                    return Ok(());
                };
                let block = json!({"text": text, "thoughtSignature": signed});
                if text.is_empty() { block } else { with(block, "thought", true.into()) }
            }
            Part::RedactedReasoning(_) => return Ok(()),
            Part::ToolCall { id, name, arguments } => {
                let short = short_id(id);
                self.names.insert(short.to_owned(), name.clone());
                let call = with(json!({"id": short, "name": name}), "args", input_object(arguments));
                let block = with(json!({}), "functionCall", call);
                match signature(id) {
                    Some(signature) => with(block, "thoughtSignature", signature.into()),
                    None => block,
                }
            }
            Part::ToolResult { id, parts, is_error, .. } => {
                return self.result(short_id(id), parts, *is_error, place, turn);
            }
        };
        turn.blocks.push(block);
        Ok(())
    }
}

impl Parts<'_> {
    fn result(&self, id: &str, parts: &[Part], is_error: bool, place: usize, turn: &mut Turn) -> Result<(), Fault> {
        let (mut told, mut media) = (String::new(), Vec::new());
        for part in parts {
            match part {
                Part::Text { text, .. } => {
                    if !told.is_empty() {
                        told.push_str("\n\n");
                    }
                    told.push_str(text);
                }
                Part::Image { source, .. } => media.push(self.media(source, "image/jpeg", place)?),
                Part::File { source, .. } => media.push(self.media(source, "application/pdf", place)?),
                _ => {}
            }
        }
        let object = serde_json::from_str(&told).ok().filter(|told: &Value| told.is_object() && !is_error);
        let response =
            object.unwrap_or_else(|| if is_error { json!({ "error": told }) } else { json!({ "output": told }) });
        let name = self.names.get(id).map_or(id, String::as_str);
        let mut result = with(json!({"id": id, "name": name}), "response", response);
        if self.deployment.has(Quirk::ThinkingBudget) {
            // Gemini 2 sees them only beside the result.
            turn.blocks.append(&mut media);
        } else if !media.is_empty() {
            result = with(result, "parts", media.into());
        }
        turn.results.push(with(json!({}), "functionResponse", result));
        Ok(())
    }

    fn media(&self, source: &Media, usual: &str, place: usize) -> Result<Value, Fault> {
        match source {
            Media::Base64 { media_type, data } => Ok(inline(media_type, data)),
            Media::Url(url) if fetched(url) && !self.deployment.has(Quirk::InlineImages) => {
                let kind = kind_of(url).unwrap_or(usual);
                Ok(json!({"fileData": {"mimeType": kind, "fileUri": url}}))
            }
            Media::Url(_) => Err(not_taken(place, BY_ADDRESS)),
            Media::Id(_) => Err(not_taken(place, BY_ID)),
        }
    }
}

fn fetched(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("gs://")
}

fn inline(kind: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": kind, "data": data}})
}

/// What an address is likely to hold.
fn kind_of(url: &str) -> Option<&'static str> {
    const KINDS: [(&str, &str); 8] = [
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("pdf", "application/pdf"),
        ("txt", "text/plain"),
        ("html", "text/html"),
    ];
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, extension) = path.rsplit_once('.')?;
    KINDS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
}
